/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/* Where operations take place, and how addresses are printed: relative to bases. */
#ifndef MEMCALLS_PLACE_H
#define MEMCALLS_PLACE_H

#include "random.h"

#define TASK_SIZE	(1UL << 48)
/* The arena is round an address at which a table of every level ends. */
#define ARENA_MIDDLE	(1UL << 39)
#define ARENA_UNITS	48
#define SLOTS		4

struct place {
	unsigned long arena;
	unsigned long unit;		/* bytes: what the starts and lengths are multiples of */
	unsigned long brk;		/* the break at the start */
	unsigned long mmap_top;		/* the end of what mmap chooses addresses from */
	unsigned long stack_end;
	struct {
		unsigned long start, size;
	} slots[SLOTS];			/* where mmap and mremap chose an address */
};

extern struct place place;

struct span {
	unsigned long start, size;
};

/* Sets the bases, once maps_begin() has set those of the process. */
void place_begin(unsigned long unit);
/* `a+0x3000` in the arena, `b+` at the heap, `m-` below the first mapping, `s-` on the stack. */
void put_address(unsigned long address);
/* A range, as start and size. */
void put_span(struct span span);
/* An address or an error. */
void put_address_result(long result);
/* Keeps the address that a call has chosen. */
void place_chosen(struct random *random, long start, unsigned long size);

/* The start of a unit of the arena. */
unsigned long pick_unit(struct random *random);
/* A number of bytes: a few units. */
unsigned long pick_size(struct random *random);
/* An address at which a page may be changed without harm to the program; mostly aligned. */
unsigned long pick_own(struct random *random);
/* Any address. */
unsigned long pick_any(struct random *random);
/* A range that may be changed: within what pick_own() gives, or such that no call takes it. */
struct span pick_span(struct random *random);

#endif
