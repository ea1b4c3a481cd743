/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/* System calls without a C library: what they take is Linux's, and Linux's to copy. */
#ifndef GRANULE_SYS_H
#define GRANULE_SYS_H

#include <asm/mman.h>
#include <asm/unistd.h>
#include <linux/fcntl.h>
#include <linux/mman.h>
#include <linux/reboot.h>
#include <linux/signal.h>
#include <linux/wait.h>

/* What the kernel gives back: below 0, and no further than 4095 from it, an error. */
static inline long sys(long number, long a, long b, long c, long d, long e)
{
	register long x8 asm("x8") = number;
	register long x0 asm("x0") = a;
	register long x1 asm("x1") = b;
	register long x2 asm("x2") = c;
	register long x3 asm("x3") = d;
	register long x4 asm("x4") = e;
	register long x5 asm("x5") = 0;

	asm volatile("svc #0"
		     : "+r" (x0)
		     : "r" (x8), "r" (x1), "r" (x2), "r" (x3), "r" (x4), "r" (x5)
		     : "memory", "cc");
	return x0;
}

static inline int is_error(long result)
{
	return result < 0 && result >= -4095;
}

/* Says what failed, with the error, and turns the machine off. */
void die(const char *what, long error) __attribute__((noreturn));

static inline long check(const char *what, long result)
{
	if (__builtin_expect(is_error(result), 0))
		die(what, result);
	return result;
}

static inline char *map(unsigned long size, int prot, int flags)
{
	return (char *)check("mmap", sys(__NR_mmap, 0, size, prot, flags | MAP_ANONYMOUS, -1));
}

static inline void unmap(char *start, unsigned long size)
{
	check("munmap", sys(__NR_munmap, (long)start, size, 0, 0, 0));
}

static inline void advise(char *start, unsigned long size, int advice)
{
	check("madvise", sys(__NR_madvise, (long)start, size, advice, 0, 0));
}

static inline void protect(char *start, unsigned long size, int prot)
{
	check("mprotect", sys(__NR_mprotect, (long)start, size, prot, 0, 0));
}

static inline char *brk(char *end)
{
	return (char *)sys(__NR_brk, (long)end, 0, 0, 0, 0);
}

/* 0 in the child. */
static inline int fork(void)
{
	return check("fork", sys(__NR_clone, SIGCHLD, 0, 0, 0, 0));
}

static inline void wait_for(int child, int options)
{
	check("wait4", sys(__NR_wait4, child, 0, options, 0, 0));
}

static inline void exit(int code)
{
	for (;;)
		sys(__NR_exit_group, code, 0, 0, 0, 0);
}

/* What goes to the console. */
void say(const char *text);

#endif
