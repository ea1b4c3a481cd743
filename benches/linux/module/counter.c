// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * The PMU's event counter 0, by its registers: the kernel's own driver leaves them alone
 * for as long as nobody opens an event.
 */
#include <linux/bits.h>
#include <linux/errno.h>
#include <linux/irqflags.h>
#include <linux/printk.h>

#include <asm/barrier.h>
#include <asm/sysreg.h>

#include "counter.h"

#define INST_RETIRED	0x08
#define PMCR_E		BIT(0)
#define PMUSERENR_EN	BIT(0)

/* Of two instructions an iteration. */
#define CHECK_ITERATIONS	1000000

static u32 check_loop(void)
{
	unsigned long left = CHECK_ITERATIONS;
	unsigned long flags;
	u32 begin, took;

	local_irq_save(flags);
	begin = counter_read();
	asm volatile("1: subs %0, %0, #1\n\tb.ne 1b" : "+r" (left) : : "cc");
	took = counter_read() - begin;
	local_irq_restore(flags);
	return took;
}

int counter_start(void)
{
	u32 took;

	if (!(read_sysreg(pmceid0_el0) & BIT(INST_RETIRED))) {
		pr_emerg("error: the PMU does not count instructions here (QEMU needs -icount)\n");
		return -ENODEV;
	}
	/* Counts at EL0 and EL1: none of the filter bits is set. */
	write_sysreg(INST_RETIRED, pmevtyper0_el0);
	write_sysreg(BIT(0), pmcntenset_el0);
	write_sysreg(read_sysreg(pmcr_el0) | PMCR_E, pmcr_el0);
	write_sysreg(PMUSERENR_EN, pmuserenr_el0);
	isb();

	took = check_loop();
	if (took < 2 * CHECK_ITERATIONS || took > 2 * CHECK_ITERATIONS + 16) {
		pr_emerg("error: the PMU counted %u for a loop of %u instructions\n",
			 took, 2 * CHECK_ITERATIONS);
		return -ENODEV;
	}
	return 0;
}
