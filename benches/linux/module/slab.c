// SPDX-License-Identifier: GPL-2.0 OR MIT
/* The slab allocator: kmalloc by size, caches of our own, pools. */
#include <linux/mempool.h>
#include <linux/slab.h>

#include "line.h"

#define OBJECT_SIZE	104
#define BULK		64
/* What a pool keeps in reserve; it stays full, so that frees go through to the slab. */
#define POOL_RESERVE	16

#define MEASURE_KMALLOC(size)						\
	({								\
		int failed;						\
									\
		failed = MEASURE_PAIR("kmalloc_" #size, 1000, MASKED,	\
				      kmalloc(size, GFP_KERNEL), kfree); \
		failed ?: MEASURE_BATCH("kmalloc_" #size, 1000, MASKED,	\
					kmalloc(size, GFP_KERNEL), kfree); \
	})

static noinline int measure_kmalloc_small(void)
{
	int error;

	error = MEASURE_KMALLOC(8);
	error = error ?: MEASURE_KMALLOC(16);
	error = error ?: MEASURE_KMALLOC(32);
	error = error ?: MEASURE_KMALLOC(64);
	error = error ?: MEASURE_KMALLOC(96);
	error = error ?: MEASURE_KMALLOC(128);
	error = error ?: MEASURE_KMALLOC(192);
	return error ?: MEASURE_KMALLOC(256);
}

static noinline int measure_kmalloc_large(void)
{
	int error;

	error = MEASURE_KMALLOC(512);
	error = error ?: MEASURE_KMALLOC(1024);
	error = error ?: MEASURE_KMALLOC(2048);
	error = error ?: MEASURE_KMALLOC(4096);
	error = error ?: MEASURE_KMALLOC(8192);
	return error ?: MEASURE_KMALLOC(65536);
}

static noinline int measure_kmalloc_kinds(void)
{
	size_t size = 64;
	int error;

	/* From here on the compiler does not know it. */
	OPTIMIZER_HIDE_VAR(size);
	error = MEASURE_PAIR("kmalloc_64_runtime_size", 1000, MASKED,
			     kmalloc(size, GFP_KERNEL), kfree);
	error = error ?: MEASURE_PAIR("kzalloc_64", 1000, MASKED,
				      kzalloc(64, GFP_KERNEL), kfree);
	return error ?: MEASURE_PAIR("kmalloc_64_account", 1000, MASKED,
				     kmalloc(64, GFP_KERNEL_ACCOUNT), kfree);
}

#define FREE_OBJECT(p)	kmem_cache_free(cache, p)

static noinline int measure_bulk(struct kmem_cache *cache)
{
	struct line line = {
		.name = "kmem_cache_104_bulk64_pair_per_object", .loops = 16, .per_loop = BULK,
	};

	/* All or nothing. */
	if (!kmem_cache_alloc_bulk(cache, GFP_KERNEL, BULK, objects))
		return line_failed(line.name);
	kmem_cache_free_bulk(cache, BULK, objects);

	for (int round = 0; round <= ROUNDS; round++)
		ROUND(&line, MASKED,
		      kmem_cache_alloc_bulk(cache, GFP_KERNEL, BULK, objects);
		      kmem_cache_free_bulk(cache, BULK, objects));
	line_print(&line);
	return 0;
}

static noinline int measure_cache(struct kmem_cache *cache)
{
	int error;

	error = MEASURE_PAIR("kmem_cache_104", 1000, MASKED,
			     kmem_cache_alloc(cache, GFP_KERNEL), FREE_OBJECT);
	error = error ?: MEASURE_BATCH("kmem_cache_104", 1000, MASKED,
				       kmem_cache_alloc(cache, GFP_KERNEL), FREE_OBJECT);
	error = error ?: MEASURE_BATCH("kmem_cache_104_10k", 10000, MASKED,
				       kmem_cache_alloc(cache, GFP_KERNEL), FREE_OBJECT);
	error = error ?: MEASURE_PAIR("kmem_cache_zalloc_104", 1000, MASKED,
				      kmem_cache_zalloc(cache, GFP_KERNEL), FREE_OBJECT);
	return error ?: measure_bulk(cache);
}

#define FREE_TO_POOL(p)	mempool_free(p, pool)

static noinline int measure_slab_pool(mempool_t *pool)
{
	int error;

	error = MEASURE_PAIR("mempool_slab_104", 1000, MASKED,
			     mempool_alloc(pool, GFP_KERNEL), FREE_TO_POOL);
	return error ?: MEASURE_BATCH("mempool_slab_104", 1000, MASKED,
				      mempool_alloc(pool, GFP_KERNEL), FREE_TO_POOL);
}

static noinline int measure_page_pool(mempool_t *pool)
{
	return MEASURE_PAIR("mempool_page_o0", 1000, MASKED,
			    mempool_alloc(pool, GFP_KERNEL), FREE_TO_POOL);
}

static int measure_pools(struct kmem_cache *cache)
{
	mempool_t *slab_pool = mempool_create_slab_pool(POOL_RESERVE, cache);
	mempool_t *page_pool = mempool_create_page_pool(POOL_RESERVE, 0);
	int error = -ENOMEM;

	if (slab_pool && page_pool) {
		error = measure_slab_pool(slab_pool);
		error = error ?: measure_page_pool(page_pool);
	} else {
		line_failed("mempool_create");
	}
	mempool_destroy(page_pool);
	mempool_destroy(slab_pool);
	return error;
}

/* A cache that is shared with no other of its size. */
static struct kmem_cache *create_cache(void)
{
	return kmem_cache_create("granule_bench", OBJECT_SIZE, 0, SLAB_NO_MERGE, NULL);
}

static noinline int measure_create(void)
{
	struct line line = { .name = "kmem_cache_create_destroy", .loops = 10, .per_loop = 1 };
	struct kmem_cache *trial = create_cache();

	if (!trial)
		return line_failed(line.name);
	kmem_cache_destroy(trial);
	/* Both sleep, and taking a cache that could not be made down is allowed. */
	for (int round = 0; round <= ROUNDS; round++)
		ROUND(&line, OPEN, kmem_cache_destroy(create_cache()));
	line_print(&line);
	return 0;
}

int measure_slab(void)
{
	struct kmem_cache *cache;
	int error;

	error = measure_kmalloc_small();
	error = error ?: measure_kmalloc_large();
	error = error ?: measure_kmalloc_kinds();
	if (error)
		return error;

	cache = create_cache();
	if (!cache)
		return line_failed("kmem_cache_create");
	error = measure_cache(cache);
	error = error ?: measure_pools(cache);
	kmem_cache_destroy(cache);
	return error ?: measure_create();
}
