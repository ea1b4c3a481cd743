//! Coherent memory of CMA's, and where that has none.

use super::*;
use crate::addr::{Order, PAGE_SIZE, PhysRange};
use crate::mm::cma::{CmaPages, cma_alloc, cma_release, default_area};
use crate::mm::fault_tests::on_machine;
use crate::mm::gfp::Gfp;
use crate::mm::page_alloc::nr_used_pages;
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
