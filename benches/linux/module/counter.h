/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/* The count of executed instructions: event counter 0 of the PMU. */
#ifndef GRANULE_COUNTER_H
#define GRANULE_COUNTER_H

#include <linux/types.h>

/*
 * Starts the counter, at EL1 and EL0, and lets EL0 read it. Fails where the CPU has no
 * such event, or where it does not count each instruction once (QEMU without -icount).
 */
int counter_start(void);

/*
 * Instructions so far, modulo 2^32. What comes before in the program has been counted,
 * and nothing after.
 */
static __always_inline u32 counter_read(void)
{
	u64 count;

	asm volatile("isb\n\tmrs %0, pmevcntr0_el0" : "=r" (count) : : "memory");
	return count;
}

#endif
