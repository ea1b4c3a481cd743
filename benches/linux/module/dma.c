// SPDX-License-Identifier: GPL-2.0 OR MIT
/* Contiguous memory: for a device's DMA, and straight from the CMA area. */
#include <linux/dma-mapping.h>
#include <linux/err.h>
#include <linux/mm.h>
#include <linux/moduleparam.h>
#include <linux/platform_device.h>

#include "line.h"

/*
 * Modules are not given these two: the init reads their addresses in /proc/kallsyms. They
 * take what cma_alloc and cma_release do, from the default area where the device is NULL.
 */
static unsigned long alloc_address, release_address;
module_param_named(dma_alloc_from_contiguous, alloc_address, ulong, 0);
module_param_named(dma_release_from_contiguous, release_address, ulong, 0);

typedef struct page *alloc_function(struct device *, size_t, unsigned int, bool);
typedef bool release_function(struct device *, struct page *, int);

#define COHERENT(pages)							\
	dma_alloc_coherent(device, (pages) * PAGE_SIZE, &address, GFP_KERNEL)
#define FREE_1P(p)	dma_free_coherent(device, PAGE_SIZE, p, address)
#define FREE_256P(p)	dma_free_coherent(device, 256 * PAGE_SIZE, p, address)
#define FREE_4096P(p)	dma_free_coherent(device, 4096 * PAGE_SIZE, p, address)

static noinline int measure_coherent(struct device *device)
{
	dma_addr_t address;
	int error;

	error = MEASURE_PAIR("dma_alloc_coherent_1p", 1000, OPEN, COHERENT(1), FREE_1P);
	error = error ?: MEASURE_PAIR("dma_alloc_coherent_256p", 20, OPEN,
				      COHERENT(256), FREE_256P);
	return error ?: MEASURE_PAIR("dma_alloc_coherent_4096p", 5, OPEN,
				     COHERENT(4096), FREE_4096P);
}

/* A device that reaches all of memory and sees the CPU's caches. */
static int measure_device(void)
{
	struct platform_device *bus;
	int error;

	bus = platform_device_register_simple("granule_bench", PLATFORM_DEVID_NONE, NULL, 0);
	if (IS_ERR(bus))
		return PTR_ERR(bus);
	bus->dev.dma_coherent = true;
	error = dma_set_mask_and_coherent(&bus->dev, DMA_BIT_MASK(64));
	error = error ?: measure_coherent(&bus->dev);
	platform_device_unregister(bus);
	return error;
}

#define RELEASE_1P(p)		release(NULL, p, 1)
#define RELEASE_256P(p)		release(NULL, p, 256)
#define RELEASE_4096P(p)	release(NULL, p, 4096)

/* Not aligned to more than a page. */
static noinline int measure_cma(alloc_function *alloc, release_function *release)
{
	int error;

	error = MEASURE_PAIR("cma_1p", 20, OPEN, alloc(NULL, 1, 0, false), RELEASE_1P);
	error = error ?: MEASURE_BATCH("cma_1p", 16, OPEN,
				       alloc(NULL, 1, 0, false), RELEASE_1P);
	error = error ?: MEASURE_PAIR("cma_256p", 20, OPEN,
				      alloc(NULL, 256, 0, false), RELEASE_256P);
	error = error ?: MEASURE_BATCH("cma_256p", 16, OPEN,
				       alloc(NULL, 256, 0, false), RELEASE_256P);
	error = error ?: MEASURE_PAIR("cma_4096p", 5, OPEN,
				      alloc(NULL, 4096, 0, false), RELEASE_4096P);
	return error ?: MEASURE_BATCH("cma_4096p", 3, OPEN,
				      alloc(NULL, 4096, 0, false), RELEASE_4096P);
}

int measure_dma(void)
{
	int error = measure_device();

	if (error)
		return error;
	if (!alloc_address || !release_address) {
		pr_emerg("error: cma: no addresses of dma_alloc_from_contiguous and its release\n");
		return -EINVAL;
	}
	return measure_cma((alloc_function *)alloc_address, (release_function *)release_address);
}
