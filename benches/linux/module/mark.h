/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * Tells a cache model (scripts/plugin/cache.c) which instructions belong to which line: HINTs
 * that are NOPs to a CPU, with the line's address in X0. For the module and for init alike.
 */
#ifndef GRANULE_MARK_H
#define GRANULE_MARK_H

#define MARK_BEGIN	112
#define MARK_END	113
#define MARK_ROW	114
#define MARK_START	115
#define MARK(hint, line)						\
	do {								\
		register const void *x0 asm("x0") = (line);		\
									\
		asm volatile("hint %0" : : "i" (hint), "r" (x0) : "memory"); \
	} while (0)

#endif
