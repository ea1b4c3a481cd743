//! The kernel's virtual memory. Interrupts stay on, as they are for those who call it.

use crate::batch_names;
use crate::harness::{Bench, OPERATIONS, slots};
use core::hint::black_box;
use granule::addr::{Order, PhysAddr};
use granule::arch::pgtable::KernelAttrs;
use granule::mm::alloc_pages::alloc_pages;
use granule::mm::gfp::Gfp;
use granule::mm::ioremap::ioremap;
use granule::mm::page::Frame;
use granule::mm::page_alloc::free_pages;
use granule::mm::vmalloc::{vfree, vm_map_ram, vm_unmap_ram, vmalloc, vmap, vunmap};

const GFP: Gfp = Gfp::GFP_KERNEL;
/// The flash of QEMU's virt: device memory on a machine that has it.
const DEVICE: PhysAddr = PhysAddr::new(0);

/// All of this file.
pub fn run(bench: &Bench) {
    for (name, size, ops) in [
        ("vmalloc_4k_pair", 4 << 10, OPERATIONS),
        ("vmalloc_64k_pair", 64 << 10, OPERATIONS),
        ("vmalloc_1m_pair", 1 << 20, 100),
        ("vmalloc_16m_pair", 16 << 20, 20),
    ] {
        bench.pair_of(name, ops, || {
            if let Some(area) = black_box(vmalloc(size, GFP)) {
                // SAFETY: allocated just now, and nobody uses it.
                unsafe { vfree(area) };
            }
        });
    }
    let mut areas = slots(OPERATIONS);
    for (names, size, ops) in [
        (batch_names!("vmalloc_4k"), 4 << 10, OPERATIONS),
        (batch_names!("vmalloc_64k"), 64 << 10, OPERATIONS),
        (batch_names!("vmalloc_1m"), 1 << 20, 100),
    ] {
        bench.batch(
            names,
            &mut areas[..ops],
            || vmalloc(size, GFP),
            |area| {
                // SAFETY: allocated by the batch, which frees each area once.
                unsafe { vfree(area) }
            },
        );
    }
    let map = || black_box(ioremap(DEVICE, 4096)).ok();
    bench.pair("ioremap_4k_pair", || drop(map()));
    let mut mappings = slots(OPERATIONS);
    bench.batch(batch_names!("ioremap_4k"), &mut mappings, map, drop);
    drop(mappings);
    four_pages(bench);
}

fn four_pages(bench: &Bench) {
    let mut pages = [None; 4];
    for page in &mut pages {
        *page = alloc_pages(GFP, Order::ZERO);
    }
    if let [Some(a), Some(b), Some(c), Some(d)] = pages {
        let pages: [Frame; 4] = [a, b, c, d];
        bench.pair("vmap_4pages_pair", || {
            if let Some(area) = black_box(vmap(&pages, KernelAttrs::KERNEL)) {
                // SAFETY: mapped just now, and nobody uses it.
                unsafe { vunmap(area) };
            }
        });
        bench.pair("vm_map_ram_4pages_pair", || {
            if let Some(area) = black_box(vm_map_ram(&pages)) {
                // SAFETY: as above.
                unsafe { vm_unmap_ram(area, pages.len()) };
            }
        });
    }
    for frame in pages.into_iter().flatten() {
        // SAFETY: allocated here, and nobody uses it any more.
        unsafe { free_pages(frame, Order::ZERO) };
    }
}
