//! The reserve of large blocks for urgent allocations.

use super::*;

#[test]
fn urgent_large_blocks_have_a_reserve() {
    if cfg!(miri) {
        return;
    }
    // One percent of it is more than a pageblock.
    on(&[ram(0x4000_0000, 256 * MIB)], |_| {
        exhaust(KERNEL, order(9));
        exhaust(KERNEL, order(4));
        let id = ZoneId::all().find(|id| id.zone().is_populated()).unwrap();
        let reserved = || id.zone().reserved_highatomic.load(Relaxed);
        assert_eq!(reserved(), 0);
        let urgent = alloc_pages(Gfp::GFP_ATOMIC, order(4)).unwrap();
        assert_eq!(buddy::pageblock_migratetype(urgent), Migratetype::HighAtomic);
        assert_eq!(reserved(), 512);
        check_sums();
        // Others get nothing of it, the urgent do.
        let few = exhaust(KERNEL | Gfp::__GFP_NORETRY, Order::ZERO);
        assert!(few.iter().all(|f| buddy::pageblock_migratetype(*f) != Migratetype::HighAtomic));
        let next = alloc_pages(Gfp::GFP_ATOMIC, order(4)).unwrap();
        assert_eq!(buddy::pageblock_migratetype(next), Migratetype::HighAtomic);
        free_pages(next, order(4));
        check_sums();
        // Who may wait gets it when nothing else is left.
        set_min_free_kbytes(0);
        exhaust(KERNEL, Order::ZERO);
        assert_eq!(nr_free_pages(), 0);
    });
}

/// Checks that the high-atomic reserve is at most 1 % of a zone, in whole pageblocks.
#[test]
fn the_reserve_of_large_blocks_is_one_percent() {
    if cfg!(miri) {
        return;
    }
    for (mib, most) in [(150, 0), (256, 1024), (500, 1536)] {
        on(&[ram(0x4000_0000, mib * MIB)], |_| {
            // What others leave is enough for the urgent ones below.
            set_min_free_kbytes(64 << 10);
            exhaust(KERNEL, order(9));
            let id = ZoneId::all().find(|id| id.zone().is_populated()).unwrap();
            let percent = id.zone().managed() / 100;
            assert!(most == 0 || (most - 512..=most).contains(&percent), "{percent}");
            // Each takes a pageblock of its own.
            let gfp = Gfp::GFP_ATOMIC | Gfp::__GFP_NOWARN;
            let urgent: Vec<_> =
                core::iter::from_fn(|| alloc_pages(gfp, order(9))).take(12).collect();
            assert!(urgent.len() >= 6, "{}", urgent.len());
            let reserved = id.zone().reserved_highatomic.load(Relaxed);
            assert_eq!(reserved, most, "{mib} MiB");
            let blocks = urgent.iter().map(|f| f.align_down(Order::PAGEBLOCK).pfn());
            let mut kept: Vec<_> = blocks
                .filter(|pfn| {
                    let first = Frame::new(*pfn).unwrap();
                    buddy::pageblock_migratetype(first) == Migratetype::HighAtomic
                })
                .collect();
            kept.dedup();
            assert_eq!(kept.len() as u32 * 512, most);
            check_sums();
            urgent.into_iter().for_each(|frame| free_pages(frame, order(9)));
        });
    }
}

/// Free pages of the reserve do not count for other allocations: their watermarks leave them
/// out.
#[test]
fn the_reserve_of_large_blocks_is_not_free_to_others() {
    if cfg!(miri) {
        return;
    }
    on(&[ram(0x4000_0000, 256 * MIB)], |_| {
        set_min_free_kbytes(16 << 10);
        exhaust(KERNEL, order(9));
        exhaust(KERNEL, order(4));
        let zone = ZoneId::all().find(|id| id.zone().is_populated()).unwrap().zone();
        let urgent = alloc_pages(Gfp::GFP_ATOMIC, order(7)).unwrap();
        let kept = zone.free_highatomic.load(Relaxed);
        assert_eq!(kept, 512 - 128);
        let ok =
            |order: Order, mark, flags| zone.watermark_ok(order, mark, ZoneType::Normal, flags);
        let free = zone.free();
        let none = WmarkFlags::empty();
        assert!(ok(order(0), free - kept - 1, none));
        for mark in [free - kept, free - kept + 1, free - 1] {
            assert!(!ok(order(0), mark, none), "{mark} of {free}");
            assert!(!ok(order(3), mark, none), "{mark} of {free}");
        }
        assert!(ok(order(0), free - 1, WmarkFlags::HIGHATOMIC));
        // And so it is left when others have taken all that they may.
        set_min_free_kbytes(0);
        exhaust(KERNEL | Gfp::__GFP_NORETRY, Order::ZERO);
        assert!(nr_free_pages() >= kept);
        free_pages(urgent, order(7));
    });
}
