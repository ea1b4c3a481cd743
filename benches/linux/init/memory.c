// SPDX-License-Identifier: GPL-2.0 OR MIT
/* Mappings and page faults of one process, and mappings moved. */
#include "line.h"
#include "sys.h"

#define PAGE		4096UL
#define MIB		(1UL << 20)
#define READ_WRITE	(PROT_READ | PROT_WRITE)
/* Mappings that are there at once. */
#define MANY		1000

static inline void write_pages(char *start, unsigned long size)
{
	for (char *page = start; page < start + size; page += PAGE)
		*(volatile char *)page = 1;
}

static inline void read_pages(char *start, unsigned long size)
{
	for (char *page = start; page < start + size; page += PAGE)
		(void)*(volatile char *)page;
}

static void measure_mmap(void)
{
	MEASURE("mmap_munmap_4k", 1000, unmap(map(PAGE, READ_WRITE, MAP_PRIVATE), PAGE));
	MEASURE("mmap_munmap_1m", 1000, unmap(map(MIB, READ_WRITE, MAP_PRIVATE), MIB));
	MEASURE("mmap_touch_munmap_4k", 1000,
		char *page = map(PAGE, READ_WRITE, MAP_PRIVATE);
		*(volatile char *)page = 1;
		unmap(page, PAGE));
}

/* Neighbours differ in what they permit, so that each stays a mapping of its own. */
static void measure_many(void)
{
	static char *at[MANY];
	struct line maps = { .name = "mmap_many_4k", .ops = MANY };
	struct line unmaps = { .name = "munmap_many_4k", .ops = MANY };

	for (int round = 0; round <= ROUNDS; round++) {
		ROUND(&maps, for (int i = 0; i < MANY; i++)
			at[i] = map(PAGE, i & 1 ? PROT_READ : READ_WRITE, MAP_PRIVATE));
		ROUND(&unmaps, for (int i = 0; i < MANY; i++)
			unmap(at[i], PAGE));
	}
	line_print(&maps);
	line_print(&unmaps);
}

/* The first write to each page of a new mapping, and the end of that mapping. */
static void measure_faults(const char *fault_name, const char *unmap_name, unsigned long size,
			   int flags, int advice)
{
	struct line faults = { .name = fault_name, .ops = size / PAGE };
	struct line unmaps = { .name = unmap_name, .ops = size / PAGE };

	for (int round = 0; round <= ROUNDS; round++) {
		char *start = map(size, READ_WRITE, flags);

		if (advice != MADV_NORMAL)
			advise(start, size, advice);
		ROUND(&faults, write_pages(start, size));
		ROUND(&unmaps, unmap(start, size));
	}
	line_print(&faults);
	line_print(&unmaps);
}

static void measure_reads(void)
{
	unsigned long size = 16 * MIB;
	struct line reads = { .name = "fault_read_16m_per_page", .ops = size / PAGE };
	struct line writes = { .name = "fault_write_after_read_16m_per_page", .ops = size / PAGE };

	for (int round = 0; round <= ROUNDS; round++) {
		char *start = map(size, READ_WRITE, MAP_PRIVATE);

		advise(start, size, MADV_NOHUGEPAGE);
		ROUND(&reads, read_pages(start, size));
		ROUND(&writes, write_pages(start, size));
		unmap(start, size);
	}
	line_print(&reads);
	line_print(&writes);
}

static void measure_dontneed(void)
{
	unsigned long size = 16 * MIB;
	struct line drops = { .name = "madv_dontneed_16m_per_page", .ops = size / PAGE };
	struct line again = { .name = "retouch_after_dontneed_16m_per_page", .ops = size / PAGE };
	char *start = map(size, READ_WRITE, MAP_PRIVATE);

	advise(start, size, MADV_NOHUGEPAGE);
	write_pages(start, size);
	for (int round = 0; round <= ROUNDS; round++) {
		ROUND(&drops, advise(start, size, MADV_DONTNEED));
		ROUND(&again, write_pages(start, size));
	}
	line_print(&drops);
	line_print(&again);
	MEASURE("madv_dontneed_touch_1page", 1000,
		advise(start, PAGE, MADV_DONTNEED);
		*(volatile char *)start = 1);
	unmap(start, size);
}

/* Moves the end of the heap, or dies. */
static inline void set_brk(char *end)
{
	if (__builtin_expect(brk(end) != end, 0))
		die("brk", 0);
}

static void measure_brk(void)
{
	char *heap = (char *)(((unsigned long)brk(0) + PAGE - 1) & -PAGE);
	struct line all = { .name = "brk_grow_touch_shrink_1m_per_page", .ops = MIB / PAGE };
	struct line writes = { .name = "brk_touch_1m_per_page", .ops = MIB / PAGE };
	struct line shrinks = { .name = "brk_shrink_touched_1m_per_page", .ops = MIB / PAGE };

	set_brk(heap);
	for (int round = 0; round <= ROUNDS; round++)
		ROUND(&all, set_brk(heap + MIB); write_pages(heap, MIB); set_brk(heap));
	for (int round = 0; round <= ROUNDS; round++) {
		set_brk(heap + MIB);
		ROUND(&writes, write_pages(heap, MIB));
		ROUND(&shrinks, set_brk(heap));
	}
	line_print(&all);
	line_print(&writes);
	line_print(&shrinks);
	MEASURE("brk_grow_shrink_4k_untouched", 1000, set_brk(heap + PAGE); set_brk(heap));
}

/* To read-only and back, each an operation. */
static void measure_protect(const char *name, char *page)
{
	struct line line = { .name = name, .ops = 1000 };

	for (int round = 0; round <= ROUNDS; round++)
		ROUND(&line, for (unsigned int left = line.ops / 2; left; left--) {
			protect(page, PAGE, PROT_READ);
			protect(page, PAGE, READ_WRITE);
		});
	line_print(&line);
}

static void measure_mprotect(void)
{
	unsigned long size = 64 * MIB;
	struct line to_ro = { .name = "mprotect_64m_to_ro_per_page", .ops = size / PAGE };
	struct line to_rw = { .name = "mprotect_64m_to_rw_per_page", .ops = size / PAGE };
	char *start = map(size, READ_WRITE, MAP_PRIVATE), *page;

	advise(start, size, MADV_NOHUGEPAGE);
	write_pages(start, size);
	page = start + size / 2;
	measure_protect("mprotect_1page_inside_split_merge", page);
	for (int round = 0; round <= ROUNDS; round++) {
		ROUND(&to_ro, protect(start, size, PROT_READ));
		ROUND(&to_rw, protect(start, size, READ_WRITE));
	}
	line_print(&to_ro);
	line_print(&to_rw);
	unmap(start, size);

	page = map(PAGE, READ_WRITE, MAP_PRIVATE);
	*(volatile char *)page = 1;
	measure_protect("mprotect_1page_own_mapping", page);
	unmap(page, PAGE);
}

static inline void move(char *from, unsigned long size, char *to)
{
	check("mremap", sys(__NR_mremap, (long)from, size, size,
			    MREMAP_MAYMOVE | MREMAP_FIXED, (long)to));
}

/* A mapping at `start` in place of what is there. */
static void map_over(char *start, unsigned long size, int prot)
{
	check("mmap", sys(__NR_mmap, (long)start, size, prot,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1));
}

/*
 * Moves pages between two places, of which one is `offset` off a PMD's reach. Where they
 * go is reserved before, as it is where a program asks for an address.
 */
static void measure_mremap(const char *name, unsigned long offset)
{
	unsigned long size = 16 * MIB, align = 2 * MIB;
	/* Room for both, and for aligning them. */
	char *room = map(4 * size, PROT_NONE, MAP_PRIVATE);
	char *from = (char *)(((unsigned long)room + align - 1) & -align);
	char *to = from + 2 * size + offset;
	struct line line = { .name = name, .ops = 1 };

	unmap(room, 4 * size);
	map_over(from, size, READ_WRITE);
	advise(from, size, MADV_NOHUGEPAGE);
	write_pages(from, size);
	for (int round = 0; round <= ROUNDS; round++) {
		char *old = from;

		map_over(to, size, PROT_NONE);
		ROUND(&line, move(from, size, to));
		from = to;
		to = old;
	}
	line_print(&line);
	unmap(from, size);
}

void measure_memory(void)
{
	measure_mmap();
	measure_many();
	measure_faults("fault_anon_write_64m_per_page", "munmap_touched_64m_per_page",
		       64 * MIB, MAP_PRIVATE, MADV_NOHUGEPAGE);
	measure_faults("fault_anon_write_1m_per_page", "munmap_touched_1m_per_page",
		       MIB, MAP_PRIVATE, MADV_NOHUGEPAGE);
	measure_faults("fault_anon_thp_64m_per_page", "munmap_thp_64m_per_page",
		       64 * MIB, MAP_PRIVATE, MADV_HUGEPAGE);
	measure_faults("fault_anon_noadvice_64m_per_page", "munmap_noadvice_64m_per_page",
		       64 * MIB, MAP_PRIVATE, MADV_NORMAL);
	measure_faults("fault_shared_anon_16m_per_page", "munmap_shared_16m_per_page",
		       16 * MIB, MAP_SHARED, MADV_NORMAL);
	measure_reads();
	measure_dontneed();
	measure_brk();
	measure_mprotect();
	measure_mremap("mremap_move_16m_2m_aligned", 0);
	measure_mremap("mremap_move_16m_4k_offset", PAGE);
}
