/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * A line of the output, and the loops that fill it: a warm-up round, then ROUNDS that
 * count. An operation's figure holds the four instructions of the loop round it.
 */
#ifndef GRANULE_LINE_H
#define GRANULE_LINE_H

#include <linux/errno.h>
#include <linux/irqflags.h>
#include <linux/types.h>

#include "counter.h"
#include "mark.h"

#define ROUNDS		5
/* The objects that one batch holds at most. */
#define MOST_OBJECTS	10000

struct line {
	const char *name;
	u32 loops;	/* the iterations of a round */
	u32 per_loop;	/* the operations of an iteration */
	u32 rounds;	/* so far, the warm-up too */
	u64 min, sum;	/* instructions of a round */
};

/* What is allocated in a batch. */
extern void *objects[MOST_OBJECTS];

void line_add(struct line *line, u32 took);
void line_print(const struct line *line);
/* Says which line failed. */
int line_failed(const char *name);

/* The interrupts, where a line is to be exact (MASKED), or to sleep (OPEN). */
#define MASKED	true
#define OPEN	false

/*
 * A round of `line`: what `body` takes, with `i` for the iteration. The line is in memory
 * that the body may change for all the compiler knows, so that the loop is the same four
 * instructions everywhere: load, add, compare, branch.
 */
#define ROUND(line, masked, body)					\
	do {								\
		unsigned long flags = 0;				\
		u32 begin;						\
									\
		if (masked)						\
			local_irq_save(flags);				\
		if ((line)->rounds)					\
			MARK(MARK_BEGIN, line);				\
		begin = counter_read();					\
		for (u32 i = 0; i < (line)->loops; i++) {		\
			body;						\
		}							\
		begin = counter_read() - begin;				\
		MARK(MARK_END, NULL);					\
		line_add(line, begin);					\
		if (masked)						\
			local_irq_restore(flags);			\
	} while (0)

/*
 * name_pair: `alloc` gives a pointer, `free(p)` takes it back. That the allocation can be
 * made at all is tried outside of the loop. 0, or -ENOMEM.
 */
#define MEASURE_PAIR(NAME, LOOPS, masked, alloc, free)			\
	({								\
		struct line line = {					\
			.name = NAME "_pair", .loops = LOOPS, .per_loop = 1, \
		};							\
		void *trial = (void *)(alloc);				\
		int error = 0;						\
									\
		if (trial) {						\
			free(trial);					\
			for (int round = 0; round <= ROUNDS; round++)	\
				ROUND(&line, masked,			\
				      void *p = (void *)(alloc); free(p)); \
			line_print(&line);				\
		} else {						\
			error = line_failed(line.name);			\
		}							\
		error;							\
	})

/* name_batch_alloc and name_batch_free: `LOOPS` objects, then all of them back. */
#define MEASURE_BATCH(NAME, LOOPS, masked, alloc, free)			\
	({								\
		struct line allocs = {					\
			.name = NAME "_batch_alloc", .loops = LOOPS, .per_loop = 1, \
		};							\
		struct line frees = {					\
			.name = NAME "_batch_free", .loops = LOOPS, .per_loop = 1, \
		};							\
		int error = 0;						\
									\
		for (int round = 0; round <= ROUNDS && !error; round++) { \
			ROUND(&allocs, masked, objects[i] = (void *)(alloc)); \
			for (u32 n = 0; n < (LOOPS); n++)		\
				if (!objects[n])			\
					error = line_failed(allocs.name); \
			if (!error)					\
				ROUND(&frees, masked, free(objects[i])); \
		}							\
		for (u32 n = 0; error && n < (LOOPS); n++)		\
			if (objects[n])					\
				free(objects[n]);			\
		if (!error) {						\
			line_print(&allocs);				\
			line_print(&frees);				\
		}							\
		error;							\
	})

/* The subjects, in the order in which they are measured. 0, or an error of Linux's. */
int measure_pages(void);
int measure_slab(void);
int measure_vmap(void);
int measure_dma(void);

#endif
