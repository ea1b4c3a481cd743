//! Allocations that fail, each in turn, on the emulated machine; in the kernel the image
//! `faults` does the same.

#[path = "../../../tests/harness/scenario.rs"]
mod scenario;

use crate as root;
use crate::addr::{Order, PfnRange, PhysAddr, PhysRange, VirtRange};
use crate::arch::hosted::Machine;
use crate::arch::hosted::mmu::Config;
use crate::arch::layout;
use crate::arch::pgtable::{KernelAttrs, MapFlags};
use crate::mm::heap::{EarlyBuffer, KernelHeap};
use crate::mm::mmzone::NodeId;
use crate::mm::page_alloc::{ZoneLimits, drain_all_pages, free_area_init};
use crate::mm::{cma, dma, init_mm, percpu, slab, sparse, vmalloc};
use core::alloc::{GlobalAlloc, Layout};
use scenario::Failing;

/// The heap, which on this machine is the kernel's in name alone.
fn extras() -> Option<()> {
    static BUFFER: EarlyBuffer = EarlyBuffer::new();
    // SAFETY: its buffer serves only before the slab allocator is up, which it is here.
    let heap = unsafe { KernelHeap::new(&BUFFER) };
    for size in [100, 5000, 300_000] {
        let layout = Layout::from_size_align(size, 16).expect("a layout");
        // SAFETY: sizes are not zero, and what was allocated is freed with its layout.
        unsafe {
            let at = heap.alloc(layout);
            if at.is_null() {
                return None;
            }
            let grown = heap.realloc(at, layout, 2 * size);
            if grown.is_null() {
                heap.dealloc(at, layout);
                return None;
            }
            heap.dealloc(grown, Layout::from_size_align(2 * size, 16).expect("a layout"));
        }
    }
    Some(())
}

fn settle() {
    dma::shrink();
    percpu::shrink();
    vmalloc::shrink();
    slab::shrink_all();
    drain_all_pages();
}

/// Two nodes of 24 MiB, and an area of 4 MiB in the first.
pub(in crate::mm) fn on_machine(f: impl FnOnce()) {
    const MIB: u64 = 1 << 20;
    const RAM: u64 = 0x4000_0000;
    let range = |start, size| PhysRange::from_size(PhysAddr::new(start), size);
    let ram = [range(RAM, 24 * MIB), range(RAM + 24 * MIB, 24 * MIB)];
    Machine::run(&ram, |m| {
        let nodes = ram.map(|range| range.whole_pages());
        let area = range(RAM + 4 * MIB, 4 * MIB).whole_pages();
        // SAFETY: the machine is fresh, and the area left out of what is free.
        let cma = unsafe { cma::cma_init_reserved_mem("linux,cma", area, Order::ZERO) };
        cma::set_default_area(cma.expect("a good area"));
        let present = (0..).filter_map(NodeId::new).zip(nodes);
        let free = [
            PfnRange::new(nodes[0].start(), area.start()),
            PfnRange::new(area.end(), nodes[0].end()),
            nodes[1],
        ];
        let mapped = sparse::Populate::Mapped;
        let limits = ZoneLimits::default();
        // SAFETY: as above.
        unsafe { free_area_init(limits, present, free.into_iter(), mapped) }.expect("sorted");
        cma::cma_init_reserved_areas();
        init_mm::install(init_mm::new_root().expect("memory"));
        m.mmu().attach(init_mm::root().expect("installed"), Config::eager(1));
        for &ram in &ram {
            let va = layout::LINEAR.start() + ram.start().get() as usize;
            let va = VirtRange::from_size(va, ram.len() as usize);
            init_mm::testing::map_range(va, ram.start(), KernelAttrs::KERNEL, MapFlags::empty())
                .expect("memory");
        }
        slab::kmem_cache_init(7);
        f();
        vmalloc::validate();
        slab::validate();
        assert_eq!(dma::live_mappings(), 0);
    });
}

#[test]
fn each_allocation_fails_and_nothing_is_lost() {
    on_machine(|| scenario::fail_each_call(Failing::Pages));
}

#[test]
fn each_object_fails_and_nothing_is_lost() {
    on_machine(|| scenario::fail_each_call(Failing::Objects));
}
