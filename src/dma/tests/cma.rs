//! Coherent memory of CMA's, and where that has none.

use super::on_two_nodes as on_machine;
use crate::addr::{Order, PAGE_SIZE, Pfn, PhysAddr, PhysRange};
use crate::arch::hosted::Machine;
use crate::dma::*;
use crate::mm::cma::{CmaPages, cma_alloc, cma_release, default_area};
use crate::mm::gfp::Gfp;
use crate::mm::mmzone::{NodeId, ZoneType};
use crate::mm::page::Frame;
use crate::mm::page_alloc::{ZoneLimits, free_area_init, nr_used_pages};
use crate::mm::sparse;
use std::vec::Vec;

#[test]
fn a_full_area_is_no_want_of_memory() {
    const K: Gfp = Gfp::GFP_KERNEL;
    on_machine(|| {
        let area = default_area().expect("there is one");
        let lent = |memory: &CoherentMemory| {
            let start = memory.phys().start().pfn().expect("it has a frame");
            area.range().contains(start)
        };
        for coherent in [false, true] {
            let device = DmaDevice { name: "disk", mask: u64::MAX, ranges: &[], coherent };
            let first = dma_alloc_coherent(&device, 3 * PAGE_SIZE, K).expect("memory");
            assert!(lent(&first), "{first:?}");
            assert_eq!(area.info().allocated, 3);
            // A page is the page allocator's, and so is what may not wait.
            for (pages, gfp) in [(1, K), (3, Gfp::GFP_ATOMIC)] {
                let memory = dma_alloc_coherent(&device, pages * PAGE_SIZE, gfp).expect("memory");
                assert!(!lent(&memory), "{memory:?}");
                dma_free_coherent(memory);
            }
            let all: Vec<_> = core::iter::from_fn(|| cma_alloc(area, 1, Order::ZERO)).collect();
            assert_eq!(area.info().allocated, area.range().len());
            let other = dma_alloc_coherent(&device, 3 * PAGE_SIZE, K).expect("memory");
            assert!(!lent(&other), "{other:?}");
            dma_free_coherent(other);
            dma_free_coherent(first);
            assert_eq!(area.info().allocated as usize, all.len());
            let again = dma_alloc_coherent(&device, 3 * PAGE_SIZE, K).expect("memory");
            assert!(lent(&again), "what was freed is CMA's again: {again:?}");
            dma_free_coherent(again);
            // SAFETY: allocated here, and nobody uses it any more.
            all.into_iter().for_each(|frame| assert!(unsafe { cma_release(area, frame, 1) }));
            assert_eq!(area.info().allocated, 0);
        }
    });
}

/// Memory that the device does not reach goes back to its allocator.
#[test]
fn memory_out_of_reach_is_not_kept() {
    on_machine(|| {
        let area = default_area().expect("there is one");
        // All but the area, or nothing of RAM.
        let cpu = PhysRange::from_size(area.range().phys().end(), 8 << 20);
        let ranges = [DmaRange { cpu, bus: DmaAddr::new(0) }];
        let above = DmaDevice { name: "disk", mask: u64::MAX, ranges: &ranges, coherent: true };
        let nowhere = DmaDevice { mask: 0xfff, ranges: &[], ..above };
        let used = nr_used_pages();
        for device in [above, nowhere] {
            for coherent in [false, true] {
                let device = DmaDevice { coherent, ..device };
                match dma_alloc_coherent(&device, 3 * PAGE_SIZE, Gfp::GFP_KERNEL) {
                    Ok(memory) => {
                        assert!(cpu.contains_range(memory.phys()), "{memory:?}");
                        dma_free_coherent(memory);
                    }
                    Err(why) => assert_eq!(why, DmaError::OutOfReach),
                }
                let info = area.info();
                assert!(info.successes > 0, "the area was not asked");
                assert_eq!(info.allocated, 0, "{}: memory of the area is lost", device.name);
                let all = CmaPages::alloc(area, area.range().len(), Order::ZERO);
                drop(all.expect("all of it"));
            }
        }
        crate::mm::vmalloc::shrink();
        let tables = 4;
        assert!(nr_used_pages() <= used + tables, "pages are lost");
    });
}

/// A device that reaches the lowest memory alone gets its memory from there, however much is free
/// above.
#[test]
fn the_zone_of_narrow_devices_is_tried_for_them() {
    const MIB: u64 = 1 << 20;
    const RAM: u64 = 0x4000_0000;
    let ram = PhysRange::from_size(PhysAddr::new(RAM), 32 * MIB);
    Machine::run(&[ram], |_| {
        let pfn = |mib: u64| Pfn::new(((RAM + mib * MIB) >> 12) as u32);
        let limits = ZoneLimits { dma: pfn(4), dma32: pfn(16), ..ZoneLimits::default() };
        let (all, mapped) = (ram.whole_pages(), sparse::Populate::Mapped);
        let present = [(NodeId::FIRST, all)].into_iter();
        // SAFETY: the machine is fresh.
        unsafe { free_area_init(limits, present, [all].into_iter(), mapped) }.expect("memory");
        for (mib, zone) in [(4, ZoneType::Dma), (16, ZoneType::Dma32), (32, ZoneType::Normal)] {
            let mask = RAM + mib * MIB - 1;
            let device = DmaDevice { name: "narrow", mask, ranges: &[], coherent: true };
            for pages in [1, 5] {
                let memory = dma_alloc_coherent(&device, pages * PAGE_SIZE, Gfp::GFP_KERNEL);
                let memory = memory.unwrap_or_else(|error| panic!("below {mib} MiB: {error}"));
                let last = memory.phys().end().get() - 1;
                assert!(last <= mask, "{memory:?}");
                let frame = Frame::new(memory.phys().start().pfn().expect("a frame"));
                assert_eq!(frame.expect("RAM").zone().kind(), zone);
                dma_free_coherent(memory);
            }
        }
    });
}
