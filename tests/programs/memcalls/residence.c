// SPDX-License-Identifier: GPL-2.0 OR MIT
/* Calls about what is resident, and accesses. */
#include <asm/mman.h>
#include <linux/mman.h>

#include "../sys.h"
#include "access.h"
#include "operations.h"
#include "place.h"
#include "text.h"

#define HUGE_SPAN	(1UL << 47)

static const struct name advices[] = {
	{ MADV_NORMAL, "NORMAL" }, { MADV_RANDOM, "RANDOM" }, { MADV_SEQUENTIAL, "SEQUENTIAL" },
	{ MADV_WILLNEED, "WILLNEED" }, { MADV_DONTNEED, "DONTNEED" }, { MADV_FREE, "FREE" },
	{ MADV_REMOVE, "REMOVE" }, { MADV_DONTFORK, "DONTFORK" }, { MADV_DOFORK, "DOFORK" },
	{ MADV_HUGEPAGE, "HUGEPAGE" }, { MADV_NOHUGEPAGE, "NOHUGEPAGE" }, { MADV_DONTDUMP, "DONTDUMP" },
	{ MADV_DODUMP, "DODUMP" }, { MADV_WIPEONFORK, "WIPEONFORK" }, { MADV_KEEPONFORK, "KEEPONFORK" },
	{ MADV_COLD, "COLD" }, { MADV_PAGEOUT, "PAGEOUT" }, { MADV_POPULATE_READ, "POPULATE_READ" },
	{ MADV_POPULATE_WRITE, "POPULATE_WRITE" }, { MADV_DONTNEED_LOCKED, "DONTNEED_LOCKED" },
	/* These are no advice at all. */
	{ 5, "5" }, { 7, "7" }, { 26, "26" }, { 99, "99" }, { 1000, "1000" }, { -1UL, "-1" },
};

void op_madvise(struct random *random)
{
	struct span span = pick_span(random);
	const struct name *advice = &CHOOSE(random, advices);

	/* More often what drops pages: DONTNEED, FREE and REMOVE. */
	if (chance(random, 24)) {
		static const unsigned char dropping[] = { 4, 4, 4, 4, 5, 6, 6 };

		advice = &advices[CHOOSE(random, dropping)];
	}
	/* It goes over holes, to the program's own stack. */
	if (span.size >= HUGE_SPAN)
		advice = &advices[below(random, 3)];
	put("madvise(");
	put_span(span);
	put(", ");
	put(advice->name);
	put(") = ");
	put_result(sys(__NR_madvise, span.start, span.size, advice->value));
}

void op_mincore(struct random *random)
{
	static unsigned char residence[1 << 14];
	struct span span = pick_span(random);
	unsigned long pages = (span.size + PAGE - 1) / PAGE, run;
	void *to = residence;
	long result;

	if (chance(random, 30))
		span.start = pick_any(random);
	/* The kernel's: a kernel for 52 bits looks at those from TASK_SIZE on later than one for 48 does. */
	if (chance(random, 5))
		to = (void *)-PAGE;
	memset(residence, 0, sizeof(residence));
	put("mincore(");
	put_span(span);
	put(to == residence ? ") = " : ", bad) = ");
	result = sys(__NR_mincore, span.start, span.size, to);
	put_result(result);
	if (is_error(result) || pages > sizeof(residence))
		return;
	for (unsigned long i = 0; i < pages; i += run) {
		for (run = 1; i + run < pages && residence[i + run] == residence[i]; run++)
			;
		put_char(' ');
		put_dec(run);
		put_char('*');
		put_dec(residence[i]);
	}
}

void op_msync(struct random *random)
{
	static const struct name names[] = { { 1, "ASYNC" }, { 2, "INVALIDATE" }, { 4, "SYNC" } };
	static const unsigned char often[] = { 1, 4, 2, 3, 6 };
	struct span span = pick_span(random);
	unsigned long flags = chance(random, 80) ? CHOOSE(random, often) : below(random, 16);

	if (chance(random, 20))
		span.start = pick_any(random);
	put("msync(");
	put_span(span);
	put(", ");
	PUT_BITS(flags, names);
	put(") = ");
	put_result(sys(__NR_msync, span.start, span.size, flags));
}

void op_mlock(struct random *random)
{
	struct span span = pick_span(random);

	put("mlock(");
	put_span(span);
	put(") = ");
	put_result(sys(__NR_mlock, span.start, span.size));
}

void op_mlock2(struct random *random)
{
	static const struct name names[] = { { 1, "ONFAULT" } };
	struct span span = pick_span(random);
	unsigned long flags = chance(random, 80) ? 1 : below(random, 4);

	put("mlock2(");
	put_span(span);
	put(", ");
	PUT_BITS(flags, names);
	put(") = ");
	put_result(sys(__NR_mlock2, span.start, span.size, flags));
}

void op_munlock(struct random *random)
{
	struct span span = pick_span(random);

	put("munlock(");
	put_span(span);
	put(") = ");
	put_result(sys(__NR_munlock, span.start, span.size));
}

void op_mlockall(struct random *random)
{
	static const struct name names[] = { { 1, "CURRENT" }, { 2, "FUTURE" }, { 4, "ONFAULT" } };
	unsigned long flags = chance(random, 90) ? below(random, 8) : 8;

	put("mlockall(");
	PUT_BITS(flags, names);
	put(") = ");
	put_result(sys(__NR_mlockall, flags));
}

void op_munlockall(struct random *random)
{
	(void)random;
	put("munlockall() = ");
	put_result(sys(__NR_munlockall));
}

/* Code is only ever at this offset of a page, and nothing else. */
#define CODE_OFFSET	0xff0

static unsigned long pick_byte(struct random *random)
{
	unsigned long page = pick_own(random) & -PAGE;

	if (chance(random, 4))
		return pick_any(random);
	return page + below(random, 15) * 0x100 + below(random, 64);
}

void op_read(struct random *random)
{
	unsigned long address = pick_byte(random);

	put("read ");
	put_address(address);
	put(" = ");
	access_try(ACCESS_READ, address, 0);
}

/* An extreme address might be one of the program's own: of these the kernel's half alone. */
void op_write(struct random *random)
{
	unsigned long address = pick_byte(random), value = 1 + below(random, 255);

	if (address >= TASK_SIZE - PAGE && address < TASK_SIZE)
		address += PAGE;
	if ((address & (PAGE - 1)) >= CODE_OFFSET)
		address &= -PAGE;
	put("write ");
	put_address(address);
	put(" = ");
	access_try(ACCESS_WRITE, address, value);
}

void op_exec(struct random *random)
{
	unsigned long address = (pick_own(random) & -PAGE) + CODE_OFFSET;

	if (chance(random, 5))
		address = TASK_SIZE + (pick_any(random) & -PAGE & ~TASK_SIZE);
	put("exec ");
	put_address(address);
	put(" = ");
	access_try(ACCESS_EXEC, address, 0);
}

/* Writes a `ret`. */
void op_plant(struct random *random)
{
	unsigned long address = (pick_own(random) & -PAGE) + CODE_OFFSET;

	put("plant ");
	put_address(address);
	put(" =");
	for (int i = 0; i < 4; i++) {
		put_char(' ');
		access_try(ACCESS_WRITE, address + i, 0xd65f03c0U >> 8 * i & 0xff);
	}
	/* Where the caches need it, fetches from there see what was written. */
	asm volatile("dsb ish\n\tisb" : : : "memory");
}

/* Below the stack, which grows. */
void op_stack(struct random *random)
{
	unsigned long distance = below(random, chance(random, 30) ? 12UL << 20 : 1UL << 19);
	unsigned long address = place.stack_end - (0x10000 + distance & ~15UL);
	enum access access = chance(random, 50) ? ACCESS_READ : ACCESS_WRITE;

	put(access == ACCESS_READ ? "stack read " : "stack write ");
	put_address(address);
	put(" = ");
	access_try(access, address, 0x77);
}
