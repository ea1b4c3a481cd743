// SPDX-License-Identifier: GPL-2.0 OR MIT
/* The page allocator: alloc_pages by order, zeroed pages, in bulk. */
#include <linux/gfp.h>
#include <linux/mm.h>
#include <linux/string.h>

#include "line.h"

/* An order known at compile time; `batch` blocks of it at once. */
#define MEASURE_ORDER(order, batch)					\
	({								\
		int failed;						\
									\
		failed = MEASURE_PAIR("alloc_pages_o" #order, 1000, MASKED, \
				      alloc_pages(GFP_KERNEL, order), FREE_##order); \
		failed ?: MEASURE_BATCH("alloc_pages_o" #order, batch, MASKED, \
					alloc_pages(GFP_KERNEL, order), FREE_##order); \
	})
#define FREE_0(p)	__free_pages(p, 0)
#define FREE_1(p)	__free_pages(p, 1)
#define FREE_2(p)	__free_pages(p, 2)
#define FREE_3(p)	__free_pages(p, 3)
#define FREE_4(p)	__free_pages(p, 4)
#define FREE_9(p)	__free_pages(p, 9)
#define FREE_10(p)	__free_pages(p, 10)
#define FREE_ZEROED(p)	free_page((unsigned long)(p))

static noinline int measure_orders(void)
{
	int error;

	error = MEASURE_ORDER(0, 1000);
	error = error ?: MEASURE_ORDER(1, 1000);
	error = error ?: MEASURE_ORDER(2, 1000);
	error = error ?: MEASURE_ORDER(3, 1000);
	error = error ?: MEASURE_ORDER(4, 1000);
	error = error ?: MEASURE_ORDER(9, 256);
	return error ?: MEASURE_ORDER(10, 128);
}

static noinline int measure_zeroed(void)
{
	int error;

	error = MEASURE_PAIR("get_zeroed_page", 1000, MASKED,
			     get_zeroed_page(GFP_KERNEL), FREE_ZEROED);
	return error ?: MEASURE_BATCH("get_zeroed_page", 1000, MASKED,
				      get_zeroed_page(GFP_KERNEL), FREE_ZEROED);
}

/* `count` pages by one call, then freed one by one. */
static noinline int measure_bulk(const char *alloc_name, const char *free_name, u32 count)
{
	struct line allocs = { .name = alloc_name, .loops = 1, .per_loop = count };
	struct line frees = { .name = free_name, .loops = count, .per_loop = 1 };
	unsigned long got = 0;

	for (int round = 0; round <= ROUNDS; round++) {
		memset(objects, 0, count * sizeof(*objects));
		ROUND(&allocs, MASKED,
		      got = alloc_pages_bulk_array(GFP_KERNEL, count, (struct page **)objects));
		if (got != count) {
			while (got)
				__free_page(objects[--got]);
			return line_failed(alloc_name);
		}
		ROUND(&frees, MASKED, __free_page(objects[i]));
	}
	line_print(&allocs);
	line_print(&frees);
	return 0;
}
#define MEASURE_BULK(count)						\
	measure_bulk("alloc_pages_bulk_" #count "_alloc_per_page",	\
		     "alloc_pages_bulk_" #count "_free_per_page", count)

int measure_pages(void)
{
	int error;

	error = measure_orders();
	error = error ?: measure_zeroed();
	error = error ?: MEASURE_BULK(8);
	error = error ?: MEASURE_BULK(64);
	error = error ?: MEASURE_BULK(256);
	return error ?: MEASURE_BULK(1000);
}
