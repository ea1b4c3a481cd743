// SPDX-License-Identifier: GPL-2.0 OR MIT
/* Calls that make, move and end mappings. */
#include <asm/mman.h>
#include <linux/mman.h>

#include "../sys.h"
#include "files.h"
#include "operations.h"
#include "place.h"
#include "text.h"

static const struct name map_flags[] = {
	{ MAP_SHARED_VALIDATE, "SHARED_VALIDATE" }, { MAP_SHARED, "SHARED" }, { MAP_PRIVATE, "PRIVATE" },
	{ 0x8, "DROPPABLE" }, { MAP_FIXED, "FIXED" }, { MAP_ANONYMOUS, "ANONYMOUS" },
	{ MAP_GROWSDOWN, "GROWSDOWN" }, { MAP_DENYWRITE, "DENYWRITE" }, { MAP_EXECUTABLE, "EXECUTABLE" },
	{ MAP_LOCKED, "LOCKED" }, { MAP_NORESERVE, "NORESERVE" }, { MAP_POPULATE, "POPULATE" },
	{ MAP_NONBLOCK, "NONBLOCK" }, { MAP_STACK, "STACK" }, { MAP_HUGETLB, "HUGETLB" },
	{ MAP_SYNC, "SYNC" }, { MAP_FIXED_NOREPLACE, "FIXED_NOREPLACE" },
};

static unsigned long pick_prot(struct random *random)
{
	static const unsigned char often[] = {
		PROT_READ | PROT_WRITE, PROT_READ | PROT_WRITE, PROT_READ | PROT_WRITE, PROT_READ | PROT_WRITE,
		PROT_READ, PROT_READ, PROT_NONE, PROT_READ | PROT_EXEC, PROT_READ | PROT_WRITE | PROT_EXEC,
	};

	return chance(random, 80) ? CHOOSE(random, often) : below(random, 8);
}

static long map(struct span span, unsigned long prot, unsigned long flags, enum file file, unsigned long offset)
{
	long result;

	put("mmap(");
	put_span(span);
	put(", ");
	put_prot(prot);
	put(", ");
	PUT_BITS(flags, map_flags);
	if (file != FILE_NONE || offset) {
		put(", ");
		put(file_name(file));
		put(", ");
		put_hex(offset);
	}
	put(") = ");
	result = sys(__NR_mmap, span.start, span.size, prot, flags, file_number(file), offset);
	put_address_result(result);
	return result;
}

/* Fills much of the arena, so that later operations meet something; with files in so many of a hundred cases. */
static void fill(struct random *random, unsigned int files)
{
	struct span span = { pick_unit(random), (3 + below(random, 10)) * place.unit };
	unsigned long flags = MAP_ANONYMOUS | MAP_FIXED | (chance(random, 90) ? MAP_PRIVATE : MAP_SHARED), offset = 0;
	unsigned long prot = chance(random, 70) ? PROT_READ | PROT_WRITE : pick_prot(random);
	enum file file = FILE_NONE;

	if (chance(random, files)) {
		flags = MAP_FIXED | (chance(random, 50) ? MAP_PRIVATE : MAP_SHARED);
		file = pick_writable_file(random);
		offset = below(random, 4) * PAGE;
	}
	map(span, prot, flags, file, offset);
}

void op_fill(struct random *random)
{
	fill(random, 12);
}

void op_fill_with_files(struct random *random)
{
	fill(random, 65);
}

/* Private memory in the arena: what merges and splits. */
void op_mmap_fixed(struct random *random)
{
	static const int more[] = {
		0, 0, 0, 0, 0, MAP_NORESERVE, MAP_POPULATE, MAP_LOCKED, MAP_STACK, MAP_POPULATE | MAP_NONBLOCK,
	};
	struct span span = pick_span(random);
	unsigned long flags = MAP_ANONYMOUS | (chance(random, 85) ? MAP_PRIVATE : MAP_SHARED);

	flags |= chance(random, 80) ? MAP_FIXED : MAP_FIXED_NOREPLACE;
	flags |= CHOOSE(random, more);
	map(span, pick_prot(random), flags, FILE_NONE, 0);
}

/* All flags, those that no call has too. */
void op_mmap_other(struct random *random)
{
	static const int types[] = {
		MAP_PRIVATE, MAP_PRIVATE, MAP_PRIVATE, MAP_SHARED, MAP_SHARED, MAP_SHARED_VALIDATE, 0, 8, 4, 0xf,
	};
	static const int extras[] = {
		MAP_GROWSDOWN, MAP_DENYWRITE, MAP_EXECUTABLE, MAP_LOCKED, MAP_NORESERVE, MAP_POPULATE, MAP_NONBLOCK,
		MAP_STACK, MAP_SYNC, MAP_FIXED_NOREPLACE, MAP_FIXED, 0x200000, 0x80, 0x10000000,
	};
	struct span span = pick_span(random);
	unsigned long flags = CHOOSE(random, types), prot = pick_prot(random), offset = 0;
	enum file file = FILE_NONE;

	if (chance(random, 80))
		flags |= MAP_ANONYMOUS;
	else
		file = pick_file(random);
	if (chance(random, 70))
		flags |= MAP_FIXED;
	for (unsigned long n = below(random, 3); n; n--)
		flags |= CHOOSE(random, extras);
	if (chance(random, 10))
		prot |= 1UL << below(random, 32);
	if (chance(random, 15))
		offset = chance(random, 50) ? PAGE * below(random, 20) : -PAGE * (1 + below(random, 3)) + below(random, 2);
	/* Mapped with a growing start, a page that is touched would take all below it. */
	if (!(flags & MAP_FIXED) && (flags & MAP_GROWSDOWN))
		flags |= MAP_FIXED;
	map(span, prot, flags, file, offset);
}

/* The distance from a base, the same wherever a kernel puts that. */
static unsigned long offset_of(unsigned long address)
{
	if (address >= place.mmap_top - (1UL << 38))
		return address - place.mmap_top;
	return address - (address < place.arena - (1UL << 30) ? place.brk : place.arena);
}

void op_mmap_file(struct random *random)
{
	static const int more[] = { 0, 0, 0, 0, MAP_POPULATE, MAP_LOCKED, MAP_NORESERVE, MAP_DENYWRITE };
	struct span span = pick_span(random);
	unsigned long flags = chance(random, 50) ? MAP_PRIVATE : chance(random, 80) ? MAP_SHARED : MAP_SHARED_VALIDATE;
	unsigned long offset = below(random, 8) * PAGE;
	enum file file = pick_file(random);

	/* Often so that neighbours continue each other. */
	if (chance(random, 50))
		offset = offset_of(span.start) & 15 * PAGE;
	if (chance(random, 3))
		offset += 8;
	if (chance(random, 3))
		offset = chance(random, 50) ? -PAGE : (1UL << 63) - PAGE;
	if (chance(random, 90))
		flags |= MAP_FIXED;
	flags |= CHOOSE(random, more);
	map(span, pick_prot(random), flags, file, offset);
}

/* Where the kernel chooses, with a hint or without one. */
void op_mmap_hint(struct random *random)
{
	struct span span = { chance(random, 60) ? 0 : pick_any(random), pick_size(random) };
	unsigned long flags = chance(random, 80) ? MAP_PRIVATE : MAP_SHARED, offset = 0;
	enum file file = FILE_NONE;
	long result;

	if (chance(random, 15)) {
		file = pick_file(random);
		offset = below(random, 4) * PAGE;
	} else {
		flags |= MAP_ANONYMOUS;
	}
	result = map(span, pick_prot(random), flags, file, offset);
	place_chosen(random, result, span.size);
}

/* Sizes that accounting looks at; nothing is ever touched. */
void op_mmap_large(struct random *random)
{
	static const unsigned long sizes[] = {
		1UL << 24, 1UL << 25, 3UL << 24, 1UL << 26, 1UL << 30, 1UL << 36, 1UL << 40, 1UL << 46,
	};
	static const int types[] = {
		MAP_PRIVATE, MAP_PRIVATE, MAP_PRIVATE | MAP_NORESERVE, MAP_SHARED, MAP_SHARED | MAP_NORESERVE,
	};
	unsigned long prot = pick_prot(random);
	struct span span = { 0, CHOOSE(random, sizes) };
	long result = map(span, prot, CHOOSE(random, types) | MAP_ANONYMOUS, FILE_NONE, 0);

	if (is_error(result))
		return;
	switch (below(random, 3)) {
	case 0:
		put("; mprotect ");
		prot = pick_prot(random);
		put_prot(prot);
		put(" = ");
		put_result(sys(__NR_mprotect, result, span.size, prot));
		break;
	case 1:
		put("; munmap = ");
		put_result(sys(__NR_munmap, result, span.size));
		break;
	}
}

void op_growsdown(struct random *random)
{
	struct span span = { pick_unit(random), (1 + below(random, 4)) * PAGE };

	map(span, chance(random, 85) ? PROT_READ | PROT_WRITE : pick_prot(random),
	    MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN | (chance(random, 80) ? MAP_FIXED : MAP_FIXED_NOREPLACE), FILE_NONE, 0);
}

void op_munmap(struct random *random)
{
	struct span span = pick_span(random);

	put("munmap(");
	put_span(span);
	put(") = ");
	put_result(sys(__NR_munmap, span.start, span.size));
}

void op_mprotect(struct random *random)
{
	struct span span = pick_span(random);
	unsigned long prot = pick_prot(random);

	if (chance(random, 10)) {
		static const unsigned long odd[] = {
			PROT_GROWSDOWN, PROT_GROWSUP, PROT_GROWSDOWN | PROT_GROWSUP, PROT_SEM, 0x10, 0x20, 0x40, 1UL << 31,
		};

		prot |= CHOOSE(random, odd);
	}
	put("mprotect(");
	put_span(span);
	put(", ");
	put_prot(prot);
	put(") = ");
	put_result(sys(__NR_mprotect, span.start, span.size, prot));
}

static const struct name mremap_flags[] = {
	{ MREMAP_MAYMOVE, "MAYMOVE" }, { MREMAP_FIXED, "FIXED" }, { MREMAP_DONTUNMAP, "DONTUNMAP" },
};

static void remap(struct random *random, struct span old, unsigned long size, unsigned long flags, unsigned long to)
{
	long result;

	put("mremap(");
	put_span(old);
	put(", ");
	put_hex(size);
	put(", ");
	PUT_BITS(flags, mremap_flags);
	if (flags & (MREMAP_FIXED | MREMAP_DONTUNMAP)) {
		put(", ");
		put_address(to);
	}
	put(") = ");
	result = sys(__NR_mremap, old.start, old.size, size, flags, to);
	put_address_result(result);
	if (!is_error(result) && (unsigned long)result != old.start && result != (long)to)
		place_chosen(random, result, size);
}

/* A target has room for the size, so that nothing of the program's own is replaced. */
static unsigned long pick_target(struct random *random)
{
	return chance(random, 3) ? pick_any(random) & ~(PAGE - 1) & (TASK_SIZE - 1) & ~(1UL << 47) : pick_unit(random);
}

void op_mremap(struct random *random)
{
	static const unsigned long flags[] = {
		0, MREMAP_MAYMOVE, MREMAP_MAYMOVE, MREMAP_MAYMOVE | MREMAP_FIXED, MREMAP_MAYMOVE | MREMAP_FIXED,
		MREMAP_MAYMOVE | MREMAP_FIXED, MREMAP_MAYMOVE | MREMAP_DONTUNMAP,
		MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP,
	};
	struct span old = { pick_own(random) & -PAGE, 0 };
	unsigned long flag = CHOOSE(random, flags), size;

	/* One page or unit, as areas are: a longer one seldom lies in one area. */
	old.size = (1 + below(random, 1 + below(random, 3))) * (chance(random, 70) ? place.unit : PAGE);
	size = chance(random, 50) || flag & MREMAP_DONTUNMAP ? old.size : (1 + below(random, 6)) * place.unit;
	remap(random, old, size, flag, pick_target(random));
}

void op_mremap_odd(struct random *random)
{
	struct span old = pick_span(random);
	unsigned long size = chance(random, 50) ? old.size : pick_size(random);
	unsigned long flags = below(random, 8), to = pick_target(random);

	if (chance(random, 20))
		old.size = 0;
	if (chance(random, 10))
		flags |= 8UL << below(random, 20);
	if (chance(random, 10))
		to += 0x800;
	remap(random, old, size, flags, to);
}

void op_brk(struct random *random)
{
	unsigned long to = place.brk + below(random, 40) * PAGE;

	if (chance(random, 20))
		to += below(random, PAGE);
	if (chance(random, 10))
		to = chance(random, 50) ? pick_any(random) : place.brk - PAGE;
	put("brk(");
	put_address(to);
	put(") = ");
	put_address_result(sys(__NR_brk, to));
}

void op_remap_file_pages(struct random *random)
{
	struct span span = pick_span(random);
	unsigned long prot = chance(random, 10) ? below(random, 8) : 0;
	unsigned long offset = below(random, 12);
	unsigned long flags = chance(random, 80) ? 0 : chance(random, 50) ? MAP_NONBLOCK : below(random, 64);

	if (chance(random, 5))
		offset = -1UL - below(random, 2);
	put("remap_file_pages(");
	put_span(span);
	put(", ");
	put_prot(prot);
	put(", ");
	put_hex(offset);
	put(", ");
	PUT_BITS(flags, map_flags);
	put(") = ");
	put_result(sys(__NR_remap_file_pages, span.start, span.size, prot, offset, flags));
}

void op_mseal(struct random *random)
{
	struct span span = pick_span(random);
	unsigned long flags = chance(random, 10) ? below(random, 4) : 0;

	put("mseal(");
	put_span(span);
	put(", ");
	put_hex(flags);
	put(") = ");
	put_result(sys(462, span.start, span.size, flags));
}
