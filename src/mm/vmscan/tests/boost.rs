//! Boosted watermarks: how far, who hears of it, and how they go.

use super::*;
use crate::mm::mmzone::watermark_boost_factor;

#[test]
fn the_boost_is_a_pageblock_at_a_time_up_to_a_share_of_high() {
    on_machine(64, || {
        // Of 65024 KiB, which are 64 MiB less the descriptors, 1019 are kept free, or 254 pages; the
        // gap is a quarter of that.
        let zone = zone();
        let marks = || [Wmark::Min, Wmark::Low, Wmark::High].map(|mark| zone.wmark_pages(mark));
        assert_eq!(marks(), [254, 317, 380]);
        let boost = || with_masked(|irq| zone.lock(irq).boost_watermark());
        assert_eq!(watermark_boost_factor(), 15_000);
        boost();
        assert_eq!((zone.boost(), marks()), (512, [254, 317 + 512, 380 + 512]));
        boost();
        // 380 times 15000/10000.
        assert_eq!(zone.boost(), 570);
        with_masked(|irq| zone.lock(irq).end_boost(500));
        assert_eq!(zone.boost(), 70);
        set_watermark_boost_factor(30_000);
        boost();
        assert_eq!(zone.boost(), 582);
        // Above the low mark an allocation wakes the background nevertheless.
        assert!(with_masked(|_| zone.take_boosted()) && !zone.take_boosted(), "it is told once");
        let above = zone.watermark(Wmark::Low) + 200;
        let taken = core::iter::from_fn(|| alloc_pages(QUIET, order(3)));
        taken.take_while(|_| zone.free() > above).for_each(drop);
        assert_eq!(vmscan_stat().kswapd_wake, 0);
        assert!(alloc_pages(Gfp::GFP_NOWAIT, order(4)).is_some());
        assert_eq!(vmscan_stat().kswapd_wake, 1);
        page_alloc::set_min_free_kbytes(1024);
        assert_eq!(zone.boost(), 0, "new marks are not boosted");
        set_watermark_boost_factor(0);
        boost();
        assert_eq!(zone.boost(), 0);
    });
    // Less than four pageblocks.
    on_machine(7, || {
        with_masked(|irq| zone().lock(irq).boost_watermark());
        assert_eq!(zone().boost(), 0);
    });
}

/// Leaves a page free here and there, all of pageblocks of movable pages.
fn only_movable_is_left() -> Vec<Frame> {
    let mut pages = take_all(MOVABLE);
    for page in pages.extract_if(.., |page| page.pfn().get() % 3 == 0) {
        // SAFETY: allocated here, and nobody uses it any more.
        unsafe { free_pages(page, Order::ZERO) };
    }
    drain_all_pages();
    pages
}

#[test]
fn a_pageblock_that_changes_hands_gets_the_background_to_work() {
    on_machine(32, || {
        only_movable_is_left();
        assert_eq!((zone().boost(), vmscan_stat().kswapd_wake), (0, 0));
        assert!(free() > zone().watermark(Wmark::High), "memory is not short");
        // Movable pages change nothing.
        alloc_pages(MOVABLE, Order::ZERO).expect("there are");
        assert_eq!(zone().boost(), 0);
        alloc_pages(Gfp::__GFP_NOWARN, Order::ZERO).expect("there are");
        assert!(zone().boost() >= 512);
        assert_eq!(vmscan_stat().kswapd_wake, 0, "by one who wakes nobody");
        // It is made up for: a boosted zone takes others the long way, which tell of it.
        let cache = Cache::register(Gfp::empty());
        *cache.pages.lock().expect("no panic") =
            (0..1000).map_while(|_| alloc_pages(MOVABLE, Order::ZERO)).collect();
        alloc_pages(Gfp::GFP_NOWAIT | Gfp::__GFP_THISNODE, Order::ZERO).expect("there are");
        assert_eq!(vmscan_stat().kswapd_wake, 1);
        let (boost, held) = (zone().boost() as usize, cache.len());
        assert!(kswapd::work(NODE));
        assert_eq!(zone().boost(), 0, "it was worked off");
        let freed = held - cache.len();
        assert!(freed >= boost.min(held / 2), "{freed} of {boost}");
        assert_eq!(kcompactd_wanted(NODE), Some(Order::PAGEBLOCK));
        // Asked for nothing, with nothing boosted, it is let sleep.
        wakeup_kswapd(NODE, Gfp::empty(), Order::ZERO, ZoneType::Movable);
        assert!(!kswapd::work(NODE));
    });
}

#[test]
fn a_boost_goes_though_nothing_can_be_reclaimed() {
    on_machine(32, || {
        only_movable_is_left();
        for _ in 0..2 * MAX_RECLAIM_RETRIES {
            with_masked(|irq| zone().lock(irq).boost_watermark());
            wakeup_kswapd(NODE, Gfp::empty(), Order::ZERO, ZoneType::Movable);
            assert!(kswapd::work(NODE), "that is no failure to give up for");
            assert_eq!(zone().boost(), 0);
        }
    });
}
