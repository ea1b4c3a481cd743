// SPDX-License-Identifier: GPL-2.0 OR MIT
#include "../sys.h"
#include "place.h"
#include "text.h"

#define MARGIN_UNITS	8

struct place place;

void place_begin(unsigned long unit)
{
	place.unit = unit;
	place.arena = ARENA_MIDDLE - ARENA_UNITS / 2 * unit;
	for (int i = 0; i < SLOTS; i++) {
		place.slots[i].start = pick_unit(&(struct random){ i });
		place.slots[i].size = unit;
	}
}

static int put_relative(unsigned long address, const char *name, unsigned long base,
			unsigned long under, unsigned long above)
{
	if (address < base - under || address > base + above)
		return 0;
	put(name);
	if (address < base) {
		put_char('-');
		put_hex(base - address);
	} else {
		put_char('+');
		put_hex(address - base);
	}
	return 1;
}

void put_address(unsigned long address)
{
	if (put_relative(address, "a", place.arena, 1UL << 30, 1UL << 30))
		return;
	if (place.brk && put_relative(address, "b", place.brk, 1UL << 20, 1UL << 30))
		return;
	if (put_relative(address, "s", place.stack_end, 1UL << 26, 0))
		return;
	if (place.mmap_top && put_relative(address, "m", place.mmap_top, 1UL << 38, 1UL << 20))
		return;
	put_hex(address);
}

void put_span(struct span span)
{
	put_address(span.start);
	put(", ");
	put_hex(span.size);
}

void put_address_result(long result)
{
	if (is_error(result))
		put_error(result);
	else
		put_address(result);
}

void place_chosen(struct random *random, long start, unsigned long size)
{
	unsigned long slot = below(random, SLOTS);

	if (is_error(start))
		return;
	place.slots[slot].start = start;
	place.slots[slot].size = (size + PAGE - 1) & -PAGE;
}

unsigned long pick_unit(struct random *random)
{
	return place.arena + below(random, ARENA_UNITS) * place.unit;
}

/* Mostly small, so that one area has many neighbours. */
static unsigned long pick_units(struct random *random)
{
	return 1 + below(random, 1 + below(random, MARGIN_UNITS));
}

/* What no range can have, wherever it begins. */
static const unsigned long impossible[] = {
	-1UL, -PAGE, -PAGE + 1, 1UL << 63, TASK_SIZE, TASK_SIZE + PAGE, (1UL << 63) - 1, -(1UL << 39),
};

static unsigned long make_odd(struct random *random, unsigned long value)
{
	static const unsigned long odd[] = { 1, 8, 0x10, 0x7ff, 0x800, 0xff8, 0xfff };

	return value + CHOOSE(random, odd);
}

unsigned long pick_size(struct random *random)
{
	unsigned long kind = below(random, 100);
	unsigned long size = pick_units(random) * place.unit;

	if (kind < 88)
		return size;
	if (kind < 95)
		return make_odd(random, size - PAGE);
	if (kind < 97)
		return 0;
	return CHOOSE(random, impossible);
}

unsigned long pick_own(struct random *random)
{
	unsigned long kind = below(random, 100);
	unsigned long address = pick_unit(random);
	unsigned long slot = below(random, SLOTS);
	unsigned long offset = below(random, 16) * PAGE;

	if (kind >= 98)
		return make_odd(random, address);
	if (kind >= 94)
		return place.brk + offset;
	if (kind >= 86)
		return place.slots[slot].start + offset % place.slots[slot].size;
	/* Within a unit of many pages, too. */
	if (kind >= 80)
		return address + offset % place.unit;
	return address;
}

unsigned long pick_any(struct random *random)
{
	static const unsigned long extreme[] = {
		0, PAGE, 0x7000, 0x8000, 0x10000, 1UL << 47, TASK_SIZE - PAGE, TASK_SIZE, TASK_SIZE + PAGE,
		1UL << 52, -(1UL << 48), -(1UL << 47), -PAGE, -1UL, 1UL << 63,
	};

	if (chance(random, 15))
		return CHOOSE(random, extreme);
	return pick_own(random);
}

/* The number of bytes from `start` on that belong to operations. */
static unsigned long room_at(unsigned long start)
{
	unsigned long arena_end = place.arena + (ARENA_UNITS + MARGIN_UNITS) * place.unit;

	for (int i = 0; i < SLOTS; i++)
		if (start - place.slots[i].start < place.slots[i].size)
			return place.slots[i].start + place.slots[i].size - start;
	if (start - place.arena < arena_end - place.arena)
		return arena_end - start;
	return 16 * PAGE;
}

struct span pick_span(struct random *random)
{
	struct span span = { pick_own(random), pick_size(random) };
	unsigned long room = room_at(span.start);

	if (span.size > room && span.size < TASK_SIZE)
		span.size = room;
	return span;
}
