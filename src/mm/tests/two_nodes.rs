//! A machine of two nodes on which all of `mm` is up.

use crate::addr::{Order, PfnRange, PhysAddr, PhysRange, VirtRange};
use crate::arch::hosted::Machine;
use crate::arch::hosted::mmu::Config;
use crate::arch::layout;
use crate::arch::pgtable::{KernelAttrs, MapFlags};
use crate::mm::mmzone::NodeId;
use crate::mm::page_alloc::{ZoneLimits, free_area_init};
use crate::mm::{cma, init_mm, slab, sparse, vmalloc};

/// Two nodes of 24 MiB, and an area of 4 MiB in the first.
pub(crate) fn on_two_nodes(f: impl FnOnce()) {
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
    });
}
