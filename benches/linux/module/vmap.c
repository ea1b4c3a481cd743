// SPDX-License-Identifier: GPL-2.0 OR MIT
/* Kernel mappings: vmalloc by size, ioremap, vmap, vm_map_ram. */
#include <linux/gfp.h>
#include <linux/io.h>
#include <linux/mm.h>
#include <linux/sizes.h>
#include <linux/vmalloc.h>

#include "line.h"

/*
 * A page of registers: the first virtio transport of QEMU's virt. It is mapped, never
 * read or written.
 */
#define DEVICE_ADDRESS	0x0a000000
#define PAGES		4

#define MAP_DEVICE	((void __force *)ioremap(DEVICE_ADDRESS, SZ_4K))
#define UNMAP_DEVICE(p)	iounmap((void __iomem *)(p))
#define MAP_RAM		vm_map_ram(pages, PAGES, NUMA_NO_NODE)
#define UNMAP_RAM(p)	vm_unmap_ram(p, PAGES)

static noinline int measure_vmalloc(void)
{
	int error;

	error = MEASURE_PAIR("vmalloc_4k", 1000, OPEN, vmalloc(SZ_4K), vfree);
	error = error ?: MEASURE_PAIR("vmalloc_64k", 1000, OPEN, vmalloc(SZ_64K), vfree);
	error = error ?: MEASURE_PAIR("vmalloc_1m", 100, OPEN, vmalloc(SZ_1M), vfree);
	error = error ?: MEASURE_PAIR("vmalloc_16m", 10, OPEN, vmalloc(SZ_16M), vfree);
	error = error ?: MEASURE_BATCH("vmalloc_4k", 1000, OPEN, vmalloc(SZ_4K), vfree);
	error = error ?: MEASURE_BATCH("vmalloc_64k", 1000, OPEN, vmalloc(SZ_64K), vfree);
	return error ?: MEASURE_BATCH("vmalloc_1m", 100, OPEN, vmalloc(SZ_1M), vfree);
}

static noinline int measure_ioremap(void)
{
	int error;

	error = MEASURE_PAIR("ioremap_4k", 1000, OPEN, MAP_DEVICE, UNMAP_DEVICE);
	return error ?: MEASURE_BATCH("ioremap_4k", 1000, OPEN, MAP_DEVICE, UNMAP_DEVICE);
}

static noinline int measure_pages_mapped(struct page **pages)
{
	int error;

	error = MEASURE_PAIR("vmap_4pages", 1000, OPEN,
			     vmap(pages, PAGES, VM_MAP, PAGE_KERNEL), vunmap);
	return error ?: MEASURE_PAIR("vm_map_ram_4pages", 1000, OPEN, MAP_RAM, UNMAP_RAM);
}

int measure_vmap(void)
{
	struct page *pages[PAGES] = {};
	int error;

	error = measure_vmalloc();
	error = error ?: measure_ioremap();
	if (error)
		return error;

	if (alloc_pages_bulk_array(GFP_KERNEL, PAGES, pages) == PAGES)
		error = measure_pages_mapped(pages);
	else
		error = line_failed("vmap");
	for (int i = 0; i < PAGES && pages[i]; i++)
		__free_page(pages[i]);
	return error;
}
