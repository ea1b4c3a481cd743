// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Measures what operations of Linux's memory management take, in instructions, and prints
 * one JSON object a line: the same operations under the same names as scripts/bench does
 * of Granule. All is done when the module is loaded; it stays, so that the count can be
 * read from EL0 from then on.
 */
#include <linux/compiler.h>
#include <linux/module.h>

#include "line.h"

static void measure_empty_loop(void)
{
	struct line line = { .name = "empty_loop", .loops = 1000, .per_loop = 1 };

	for (int round = 0; round <= ROUNDS; round++)
		ROUND(&line, MASKED, barrier());
	line_print(&line);
}

static int __init granule_bench_init(void)
{
	int error = counter_start();

	if (error)
		return error;
	MARK(MARK_START, NULL);
	measure_empty_loop();
	error = measure_pages();
	error = error ?: measure_slab();
	error = error ?: measure_vmap();
	return error ?: measure_dma();
}
module_init(granule_bench_init);

MODULE_DESCRIPTION("Instructions of memory management operations");
MODULE_LICENSE("Dual MIT/GPL");
