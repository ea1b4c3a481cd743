//! Pageblocks that are left out, and those that are not.

use super::*;

#[test]
fn pageblocks_of_other_kinds_are_moved_into_as_the_last_try() {
    on_machine(32, |_| {
        let mut objects = Objects::fill();
        page_alloc::drain_all_pages();
        // Movable pages that once overflowed into pageblocks of the kernel's.
        let size = Order::PAGEBLOCK.pages();
        let span = zone().zone().spanned();
        for start in (span.start().get()..span.end().get()).step_by(size as usize) {
            let first = Frame::new(crate::addr::Pfn::new(start)).unwrap();
            let in_use = |frame: Frame| !matches!(page_alloc::state_of(frame), State::Free { .. });
            if first.block(Order::PAGEBLOCK).all(in_use) {
                first.set_block_migratetype(Migratetype::Unmovable);
            }
        }
        objects.free(|frame| frame.pfn().get() % 2 == 0);
        let order = Order::new(9).unwrap();
        assert_eq!(ContigPageInfo::of(zone(), order).suitable, 0);
        let block = alloc_pages(KERNEL, order).expect("half of memory is free, all of it movable");
        objects.check();
        // SAFETY: allocated here, and nobody uses it any more.
        unsafe { free_pages(block, order) };
    });
}

/// Two nodes whose memory takes turns, 8 MiB each time.
#[test]
fn pageblocks_of_other_zones_are_left_alone() {
    let ranges: Vec<_> = (0..4)
        .map(|n| PhysRange::from_size(PhysAddr::new(0x4000_0000 + n * 8 * MIB), 8 * MIB))
        .collect();
    Machine::run(&ranges, |_| {
        let node = |n: usize| crate::mm::mmzone::NodeId::new(n % 2).unwrap();
        page_alloc::init_nodes(&ranges.iter().enumerate().map(|(n, ram)| (node(n), *ram)));
        set_min_free_kbytes(64);
        let zone_of = |frame: Frame| frame.zone();
        let ids: Vec<_> = zones().map(|zone| zone.id).collect();
        assert_eq!(ids.len(), 2);
        assert!(ids[0].zone().spanned().end() > ids[1].zone().spanned().start());
        for id in ids {
            let mut objects = Objects::fill();
            objects.free(|frame| frame.pfn().get() % 2 == 0);
            page_alloc::drain_all_pages();
            let places = |objects: &Objects| -> Vec<Frame> {
                objects.numbered.iter().map(|&(_, object)| objects.pool.frame(object)).collect()
            };
            let before = places(&objects);
            assert!(compact_zone(id) > 500);
            let after = places(&objects);
            for (from, to) in before.iter().zip(&after) {
                assert_eq!(zone_of(*from), zone_of(*to), "{from:?} went to {to:?}");
                assert!(zone_of(*from) == id || from == to, "{from:?} is of another zone");
            }
            objects.check();
            check();
            drop(objects);
        }
    });
}

/// Free pages of the reserve of large blocks, and of pageblocks that others are emptying, are
/// no place for what is moved, however hard compaction tries.
#[test]
fn nothing_is_moved_into_reserved_or_isolated_pageblocks() {
    on_machine(32, |_| {
        let mut objects = Objects::fill();
        page_alloc::drain_all_pages();
        let zone = zone();
        let size = Order::PAGEBLOCK.pages();
        // The highest pageblocks are those that pages are moved to.
        let end = zone.zone().spanned().end();
        let top = |n: u32| Frame::new(crate::addr::Pfn::new(end.get() - n * size)).unwrap();
        let kept = [(top(1), Migratetype::HighAtomic), (top(3), Migratetype::Isolate)];
        for (first, mt) in kept {
            let in_use = |frame: Frame| !matches!(page_alloc::state_of(frame), State::Free { .. });
            assert!(first.block(Order::PAGEBLOCK).all(in_use));
            first.set_block_migratetype(mt);
        }
        zone.zone().reserved_highatomic.store(size, Relaxed);
        objects.free(|frame| frame.pfn().get() % 2 == 0);
        let inside = |objects: &Objects, first: Frame| {
            let frames = objects.numbered.iter().map(|&(_, object)| objects.pool.frame(object));
            let mut frames: Vec<_> =
                frames.filter(|frame| frame.align_down(Order::PAGEBLOCK) == first).collect();
            frames.sort();
            frames
        };
        let before = kept.map(|(first, _)| inside(&objects, first));
        assert!(before.iter().all(|frames| frames.len() > 200));
        let mut moved = 0;
        for mode in [MigrateMode::Async, MigrateMode::SyncLight, MigrateMode::Sync] {
            let span = zone.zone().spanned();
            let mut scanners = Scanners::new(zone, mode, Order::MAX, span.start(), span.end());
            while scanners.step() != Step::Met {}
            moved += scanners.moved;
        }
        assert!(moved > 500, "{moved}");
        for ((first, mt), before) in kept.into_iter().zip(before) {
            let after = inside(&objects, first);
            assert!(after.iter().all(|frame| before.contains(frame)), "moved into {mt:?}");
        }
        objects.check();
        // As it was, so that all adds up.
        drop(objects);
        page_alloc::drain_all_pages();
    });
}

#[test]
fn pageblocks_without_movable_pages_are_left_out_the_next_time() {
    on_machine(16, |_| {
        let gfp = MOVABLE - Gfp::__GFP_MOVABLE;
        let mut pages: Vec<_> = core::iter::from_fn(|| alloc_pages(gfp, Order::ZERO)).collect();
        pages.retain(|&page| {
            let goes = page.pfn().get() % 2 == 0;
            if goes {
                // SAFETY: allocated here, and nobody uses it any more.
                unsafe { free_pages(page, Order::ZERO) };
            }
            !goes
        });
        page_alloc::drain_all_pages();
        let scanned = |mode| {
            let span = zone().zone().spanned();
            let mut scanners = Scanners::new(zone(), mode, Order::MAX, span.start(), span.end());
            while scanners.step() != Step::Met {}
            scanners.scanned
        };
        let first = scanned(MigrateMode::SyncLight);
        assert!(first > 3000, "{first}");
        assert_eq!(scanned(MigrateMode::SyncLight), 0);
        // Who has to try all does.
        assert_eq!(scanned(MigrateMode::Sync), first);
        reset_isolation_suitable(zone());
        assert_eq!(scanned(MigrateMode::SyncLight), first);
        // Hints are no part of what a pageblock is.
        check();
        // SAFETY: allocated here, and nobody uses it any more.
        pages.into_iter().for_each(|page| unsafe { free_pages(page, Order::ZERO) });
    });
}

/// A pageblock out of which pages were moved is gone through again the next time: others may
/// come to lie there.
#[test]
fn pageblocks_with_movable_pages_are_gone_through_again() {
    on_machine(32, |_| {
        let mut objects = Objects::fill();
        objects.free(|frame| frame.pfn().get() % 2 == 0);
        page_alloc::drain_all_pages();
        let span = zone().zone().spanned();
        let mut scanners =
            Scanners::new(zone(), MigrateMode::Async, Order::MAX, span.start(), span.end());
        let left: BTreeSet<_> = objects
            .numbered
            .iter()
            .map(|&(_, object)| objects.pool.frame(object).align_down(Order::PAGEBLOCK))
            .collect();
        while scanners.step() != Step::Met {}
        let (met, _) = scanners.places();
        let through: Vec<_> =
            left.iter().filter(|first| first.pfn() + Order::PAGEBLOCK.pages() <= met).collect();
        assert!(through.len() >= 5, "{} pageblocks up to {met:?}", through.len());
        for first in through {
            let skip = first.page().block_skip();
            assert!(!skip.contains(BlockSkip::SOURCE), "{first:?} had pages to move");
        }
        objects.check();
    });
}
