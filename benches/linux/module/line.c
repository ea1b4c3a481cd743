// SPDX-License-Identifier: GPL-2.0 OR MIT
#include <linux/math64.h>
#include <linux/minmax.h>
#include <linux/printk.h>

#include "line.h"

void *objects[MOST_OBJECTS];

void line_add(struct line *line, u32 took)
{
	/* The first round warms up. */
	if (line->rounds++ == 0)
		return;
	line->min = line->rounds == 2 ? took : min_t(u64, line->min, took);
	line->sum += took;
}

/* Hundredths of an instruction for each of `ops` operations. */
static u64 per_op(u64 instructions, u64 ops)
{
	return div64_u64(instructions * 100 + ops / 2, ops);
}

void line_print(const struct line *line)
{
	u32 ops = line->loops * line->per_loop;
	u64 min = per_op(line->min, ops);
	u64 mean = per_op(line->sum, (u64)ROUNDS * ops);

	MARK(MARK_ROW, line);
	/* As urgent as can be: the console shows nothing less (loglevel=3). */
	pr_emerg("{\"bench\":\"%s\",\"instructions_per_op\":%llu.%02llu,\"min\":%llu.%02llu,\"mean\":%llu.%02llu,\"ops\":%u}\n",
		 line->name, min / 100, min % 100, min / 100, min % 100,
		 mean / 100, mean % 100, ops);
}

int line_failed(const char *name)
{
	pr_emerg("error: %s: the allocation failed\n", name);
	return -ENOMEM;
}
