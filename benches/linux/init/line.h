/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/* A line of the output, measured from EL0 with the counter that the module has started. */
#ifndef GRANULE_LINE_H
#define GRANULE_LINE_H

#include "../module/mark.h"

#define ROUNDS	5

struct line {
	const char *name;
	unsigned int ops;	/* in a round */
	unsigned int rounds;	/* so far, the warm-up too */
	unsigned long min, sum;	/* instructions of a round */
};

/* Instructions so far, at EL0 and EL1, modulo 2^32. */
static inline unsigned int counter_read(void)
{
	unsigned long count;

	asm volatile("isb\n\tmrs %0, pmevcntr0_el0" : "=r" (count) : : "memory");
	return count;
}

void line_add(struct line *line, unsigned int took);
void line_print(const struct line *line);

/* A round of `line`: what `body` takes. */
#define ROUND(line, body)					\
	do {							\
		unsigned int begin;				\
								\
		if ((line)->rounds)				\
			MARK(MARK_BEGIN, line);			\
		begin = counter_read();				\
		body;						\
		begin = counter_read() - begin;			\
		MARK(MARK_END, (void *)0);			\
		line_add(line, begin);				\
	} while (0)

/* A round in which `body` is run once an operation, in a loop of two instructions. */
#define ROUND_OF_OPS(line, body)				\
	ROUND(line, for (unsigned int left = (line)->ops; left; left--) { body; })

/* A line whose rounds are alike. */
#define MEASURE(NAME, OPS, body)				\
	do {							\
		struct line line = { .name = NAME, .ops = OPS };	\
								\
		for (int round = 0; round <= ROUNDS; round++)	\
			ROUND_OF_OPS(&line, body);		\
		line_print(&line);				\
	} while (0)

/* The subjects, in the order in which they are measured. */
void measure_memory(void);
void measure_processes(void);

#endif
