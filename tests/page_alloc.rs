//! The page allocator on the running kernel.

#![no_std]
#![no_main]

extern crate alloc;

mod harness;

use alloc::vec::Vec;
use granule::addr::{Order, PAGE_SIZE};
use granule::mm::alloc_pages::{alloc_pages, alloc_pages_bulk};
use granule::mm::gfp::Gfp;
use granule::mm::mmzone::ZoneType;
use granule::mm::page::Frame;
use granule::mm::page_alloc::{drain_all_pages, free_pages, nr_free_pages, zones};
use granule::mm::validate::validate;
use harness::Random;

/// The bytes of a block, as the kernel reaches them.
fn words(frame: Frame, order: Order) -> &'static mut [u64] {
    let ptr = core::ptr::with_exposed_provenance_mut(frame.virt().get());
    // SAFETY: the caller has allocated the block and uses it by one such slice at a time.
    unsafe { core::slice::from_raw_parts_mut(ptr, order.bytes() / 8) }
}

/// Free blocks of each order, in all zones, when no page is on a per-CPU list.
fn free_blocks() -> [u32; Order::COUNT] {
    drain_all_pages();
    let mut blocks = [0; Order::COUNT];
    for zone in zones() {
        for order in Order::ZERO.and_up() {
            blocks[order.index()] += zone.blocks(order);
        }
    }
    blocks
}

kernel_tests! {
    fn the_allocator_is_sound_after_boot() {
        validate().expect("every invariant holds");
    }

    fn figures_add_up() {
        for zone in zones() {
            assert_eq!(zone.present, zone.managed + zone.reserved());
            assert_eq!(zone.managed, zone.free() + zone.used());
            assert!(zone.present > 0);
            let [min, low, high] = zone.watermarks;
            assert!(min <= low && low <= high, "{min} {low} {high}");
        }
    }

    fn every_order_is_aligned_and_its_own() {
        let mut blocks = Vec::new();
        for order in Order::ZERO.and_up() {
            let frame = alloc_pages(Gfp::GFP_KERNEL, order).expect("memory");
            assert!(frame.pfn().is_aligned(order), "{frame:?} of order {order}");
            words(frame, order).fill(0x1111_1111_1111_1111 * u64::from(order.get() + 1));
            blocks.push((frame, order));
        }
        for &(frame, order) in &blocks {
            let mark = 0x1111_1111_1111_1111 * u64::from(order.get() + 1);
            assert!(words(frame, order).iter().all(|&word| word == mark), "{frame:?} is shared");
        }
        for (frame, order) in blocks {
            // SAFETY: allocated here, and nobody uses it any more.
            unsafe { free_pages(frame, order) };
        }
    }

    fn zeroed_pages_are_zero() {
        for order in [0, 3, 10].map(|n| Order::new(n).expect("an order")) {
            let dirty = alloc_pages(Gfp::GFP_KERNEL, order).expect("memory");
            words(dirty, order).fill(!0);
            // SAFETY: allocated here, and nobody uses it any more.
            unsafe { free_pages(dirty, order) };
            let clean = alloc_pages(Gfp::GFP_KERNEL | Gfp::__GFP_ZERO, order).expect("memory");
            assert!(words(clean, order).iter().all(|&word| word == 0));
            // SAFETY: allocated here, and nobody uses it any more.
            unsafe { free_pages(clean, order) };
        }
    }

    fn what_was_split_merges_again() {
        // Bring up what the rest of this test may touch first.
        let frame = alloc_pages(Gfp::GFP_KERNEL, Order::MAX).expect("memory");
        // SAFETY: allocated here, and nobody uses it any more.
        unsafe { free_pages(frame, Order::MAX) };
        let before = free_blocks();
        let mut pages = Vec::new();
        for _ in 0..2 * Order::MAX.pages() {
            pages.push(alloc_pages(Gfp::GFP_KERNEL, Order::ZERO).expect("memory"));
        }
        // Every other page first: nothing can merge until the rest comes.
        for page in pages.iter().step_by(2) {
            // SAFETY: allocated here, and nobody uses it any more.
            unsafe { free_pages(*page, Order::ZERO) };
        }
        for page in pages.iter().skip(1).step_by(2) {
            // SAFETY: allocated here, and nobody uses it any more.
            unsafe { free_pages(*page, Order::ZERO) };
        }
        drop(pages);
        harness::settled_pages();
        let after = free_blocks();
        assert_eq!(before[10], after[10], "blocks of 4 MiB: {before:?} {after:?}");
    }

    fn a_zone_modifier_is_obeyed() {
        for (gfp, limit) in [(Gfp::GFP_DMA, 1u64 << 32), (Gfp::GFP_DMA32, 1 << 32)] {
            let frame = alloc_pages(gfp, Order::ZERO).expect("memory");
            assert!(frame.phys().get() < limit, "{frame:?} for {gfp:?}");
            // SAFETY: allocated here, and nobody uses it any more.
            unsafe { free_pages(frame, Order::ZERO) };
        }
    }

    fn bulk_allocation_fills_the_array() {
        let mut pages = [const { None }; 100];
        assert_eq!(alloc_pages_bulk(Gfp::GFP_KERNEL, &mut pages), 100);
        let mut numbers: Vec<u32> =
            pages.iter().flatten().map(|page| page.frame().pfn().get()).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), 100, "a page was given out twice");
    }

    fn all_memory_can_be_taken_and_given_back() {
        let gfp = Gfp::GFP_KERNEL | Gfp::__GFP_NORETRY | Gfp::__GFP_NOWARN;
        // Blocks are linked through their own first words.
        let mut taken: Option<(Frame, Order)> = None;
        let mut pages = 0;
        for order in Order::ZERO.and_up().rev() {
            while let Some(frame) = alloc_pages(gfp, order) {
                let (pfn, of) = taken.map_or((u64::MAX, 0), |(f, o)| (f.pfn().get().into(), o.get().into()));
                words(frame, order)[..2].copy_from_slice(&[pfn, of]);
                taken = Some((frame, order));
                pages += order.pages();
            }
        }
        let left = nr_free_pages();
        let mut given = 0;
        while let Some((frame, order)) = taken {
            let &mut [pfn, of, ..] = words(frame, order) else { unreachable!() };
            taken = u32::try_from(pfn).ok().map(|pfn| {
                let frame = Frame::new(granule::addr::Pfn::new(pfn)).expect("a frame");
                (frame, Order::new(of as u8).expect("an order"))
            });
            // SAFETY: allocated here, and nobody uses it any more.
            unsafe { free_pages(frame, order) };
            given += order.pages();
        }
        assert_eq!(given, pages);
        // ZONE_MOVABLE is not for the kernel.
        let own = || zones().filter(|zone| zone.id.kind() != ZoneType::Movable);
        let total: u32 = own().map(|zone| zone.managed).sum();
        assert!(u64::from(pages) * 10 > u64::from(total) * 8, "only {pages} of {total} pages were to be had");
        // What was refused is the reserves of the watermarks, not lost memory.
        let reserves: u32 = own().map(|zone| zone.watermarks[2]).sum();
        let movable: u32 = zones().map(|zone| zone.managed).sum::<u32>() - total;
        let lowmem = total / 32;
        assert!(left <= reserves + lowmem + movable, "{left} pages were free and not given out");
        validate().expect("every invariant holds");
    }

    fn an_atomic_allocation_reaches_into_the_reserves() {
        let gfp = Gfp::GFP_NOWAIT | Gfp::__GFP_NOWARN;
        let mut pages = Vec::new();
        // Few large blocks take most of it; then single pages down to the watermark.
        for order in Order::ZERO.and_up().rev() {
            while let Some(frame) = alloc_pages(gfp, order) {
                pages.push((frame, order));
            }
        }
        let more = alloc_pages(Gfp::GFP_ATOMIC, Order::ZERO);
        for (frame, order) in pages {
            // SAFETY: allocated here, and nobody uses it any more.
            unsafe { free_pages(frame, order) };
        }
        let more = more.expect("a page of the reserve");
        // SAFETY: allocated here, and nobody uses it any more.
        unsafe { free_pages(more, Order::ZERO) };
    }

    fn random_operations_keep_every_invariant() {
        let mut random = Random::new(1);
        let mut blocks: Vec<(Frame, Order, u64)> = Vec::new();
        for step in 0..4000u64 {
            if blocks.len() < 200 && random.below(2) == 0 {
                let order = Order::new(random.below(7) as u8).expect("an order");
                let gfp = [Gfp::GFP_KERNEL, Gfp::GFP_HIGHUSER_MOVABLE, Gfp::GFP_ATOMIC][random.below(3)];
                let frame = alloc_pages(gfp, order).expect("memory");
                let all = words(frame, order);
                all[0] = step;
                all[order.bytes() / 8 - 1] = step;
                blocks.push((frame, order, step));
            } else if !blocks.is_empty() {
                let (frame, order, mark) = blocks.swap_remove(random.below(blocks.len()));
                let all = words(frame, order);
                assert_eq!((all[0], all[order.bytes() / 8 - 1]), (mark, mark), "{frame:?} was overwritten");
                // SAFETY: allocated here, and nobody uses it any more.
                unsafe { free_pages(frame, order) };
            }
            if step % 500 == 0 {
                validate().expect("every invariant holds");
            }
        }
        for (frame, order, _) in blocks {
            // SAFETY: allocated here, and nobody uses it any more.
            unsafe { free_pages(frame, order) };
        }
    }

    fn a_page_is_a_page_of_ram() {
        let frame = alloc_pages(Gfp::GFP_KERNEL, Order::ZERO).expect("memory");
        assert_eq!(Frame::from_virt(frame.virt()), Some(frame));
        assert_eq!(frame.virt().page_offset(), 0);
        assert_eq!(words(frame, Order::ZERO).len() * 8, PAGE_SIZE);
        // SAFETY: allocated here, and nobody uses it any more.
        unsafe { free_pages(frame, Order::ZERO) };
    }
}
