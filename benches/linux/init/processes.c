// SPDX-License-Identifier: GPL-2.0 OR MIT
/* Processes: fork with little and much memory, pages copied on write. */
#include "line.h"
#include "sys.h"

#define PAGE		4096UL
#define MIB		(1UL << 20)
#define READ_WRITE	(PROT_READ | PROT_WRITE)

static inline void write_pages(char *start, unsigned long size)
{
	for (char *page = start; page < start + size; page += PAGE)
		*(volatile char *)page = 1;
}

/* A mapping of which each page is there. */
static char *map_written(unsigned long size, int advice)
{
	char *start = map(size, READ_WRITE, MAP_PRIVATE);

	advise(start, size, advice);
	write_pages(start, size);
	return start;
}

static inline void fork_exit_wait(void)
{
	int child = fork();

	if (child == 0)
		exit(0);
	wait_for(child, 0);
}

static void measure_fork(const char *name, unsigned int ops, unsigned long size, int advice)
{
	struct line line = { .name = name, .ops = ops };
	char *start = size ? map_written(size, advice) : 0;

	for (int round = 0; round <= ROUNDS; round++)
		ROUND_OF_OPS(&line, fork_exit_wait());
	line_print(&line);
	if (size)
		unmap(start, size);
}

/* A child that holds on to what it was born with, until it is killed. */
static int fork_stopped(void)
{
	int child = fork();

	if (child == 0) {
		sys(__NR_kill, sys(__NR_getpid, 0, 0, 0, 0, 0), SIGSTOP, 0, 0, 0);
		exit(0);
	}
	wait_for(child, WUNTRACED);
	return child;
}

static void measure_cow(void)
{
	unsigned long size = 16 * MIB;
	struct line copies = { .name = "cow_copy_16m_per_page", .ops = size / PAGE };
	struct line reuses = { .name = "cow_reuse_16m_per_page", .ops = size / PAGE };
	char *start = map_written(size, MADV_NOHUGEPAGE);

	for (int round = 0; round <= ROUNDS; round++) {
		int child = fork_stopped();

		ROUND(&copies, write_pages(start, size));
		check("kill", sys(__NR_kill, child, SIGKILL, 0, 0, 0));
		wait_for(child, 0);
		/* Write-protected for a child that is no more. */
		fork_exit_wait();
		ROUND(&reuses, write_pages(start, size));
	}
	line_print(&copies);
	line_print(&reuses);
	unmap(start, size);
}

void measure_processes(void)
{
	measure_fork("fork_exit_wait_bare", 100, 0, 0);
	measure_fork("fork_exit_wait_1m", 100, MIB, MADV_NOHUGEPAGE);
	measure_fork("fork_exit_wait_64m", 10, 64 * MIB, MADV_NOHUGEPAGE);
	measure_fork("fork_exit_wait_64m_thp", 50, 64 * MIB, MADV_HUGEPAGE);
	measure_cow();
}
