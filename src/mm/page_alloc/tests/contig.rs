//! Ranges of pageblocks of several types.

use super::*;
use crate::mm::page_alloc::isolation::{start_isolate, undo_isolate};
use crate::mm::zsmalloc::ZsPool;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

fn types(range: PfnRange) -> Vec<Migratetype> {
    range.blocks(order(9)).map(|(pfn, _)| pageblock_migratetype(Frame::new(pfn).unwrap())).collect()
}

/// The populated zone.
fn zone() -> ZoneId {
    ZoneId::all().find(|id| id.zone().is_populated()).unwrap()
}

#[test]
fn a_range_of_mixed_types_is_had_and_keeps_them() {
    on(&[ram(0x4000_0000, 32 * MIB)], |_| {
        let range = frames(0x4080_0000, 16 * MIB);
        let kinds = [
            Migratetype::Unmovable,
            Migratetype::Movable,
            Migratetype::Reclaimable,
            Migratetype::HighAtomic,
        ];
        for (n, (pfn, _)) in range.blocks(order(9)).enumerate() {
            let first = Frame::new(pfn).unwrap();
            with_masked(|irq| {
                let mut locked = zone().zone().lock(irq);
                locked.split_to_pageblock(first);
                let from = pageblock_migratetype(first);
                locked.move_freepages_block(first, from, kinds[n / 2]);
                locked.merge_pageblock(first, kinds[n / 2]);
            });
        }
        zone().zone().reserved_highatomic.store(1024, Relaxed);
        let before = types(range);
        let blocks = free_blocks();
        assert_eq!(before[1..7], [0, 1, 1, 2, 2, 3].map(|n| kinds[n]));
        check_sums();
        // It fails as a whole while a page of it is in use.
        let held = range.start() + 2700;
        let page = PfnRange::new(held, held + 1);
        alloc_contig_range(page).unwrap();
        assert_eq!(types(range), before);
        assert_eq!(alloc_contig_range(range), Err(ContigError::Busy(held)));
        assert_eq!(types(range), before);
        assert_eq!(nr_used_pages(), 1);
        check_sums();
        free_contig_range(page);
        assert_eq!(free_blocks(), blocks);
        alloc_contig_range(range).unwrap();
        assert_eq!(types(range), before);
        assert_eq!(nr_used_pages(), range.len());
        check_sums();
        free_contig_range(range);
        assert_eq!(free_blocks(), blocks);
        check_sums();
    });
}

fn free_blocks() -> [[u32; Migratetype::COUNT]; Order::COUNT] {
    zones().next().unwrap().nr_free
}

#[test]
fn another_who_empties_a_pageblock_is_not_disturbed() {
    on(&[ram(0x4000_0000, 32 * MIB)], |_| {
        let range = frames(0x4080_0000, 4 * MIB);
        start_isolate(zone(), range).unwrap();
        let first = Frame::new(range.start()).unwrap();
        let second = first.within(Order::MAX, 512);
        // From before it, from the middle of its first pageblock, and as a whole.
        for (start, len) in [(0x4060_0000, 4 * MIB), (0x4080_3000, 4096), (0x4080_0000, 8 * MIB)] {
            assert_eq!(alloc_contig_range(frames(start, len)), Err(ContigError::Busy(first.pfn())));
            assert_eq!(pageblock_migratetype(first), Migratetype::Isolate);
            assert_eq!(pageblock_migratetype(second), Migratetype::Isolate);
        }
        assert_eq!(types(frames(0x4060_0000, 2 * MIB)), [Migratetype::Movable]);
        undo_isolate(zone(), range);
        assert_eq!(types(range), [Migratetype::Movable; 2]);
        alloc_contig_range(range).unwrap();
        free_contig_range(range);
    });
}

#[test]
fn the_reserve_of_large_blocks_stays_what_it_is() {
    if cfg!(miri) {
        return;
    }
    on(&[ram(0x4000_0000, 256 * MIB)], |_| {
        exhaust(KERNEL, order(9));
        exhaust(KERNEL, order(4));
        let reserved = || zone().zone().reserved_highatomic.load(Relaxed);
        let urgent = alloc_pages(Gfp::GFP_ATOMIC, order(4)).unwrap();
        let block = urgent.align_down(order(9));
        let range = PfnRange::new(block.pfn(), block.pfn() + 512);
        assert_eq!(reserved(), 512);
        assert!(alloc_contig_range(range).is_err());
        assert_eq!((types(range)[0], reserved()), (Migratetype::HighAtomic, 512));
        check_sums();
        // Free pages of it are had, and come back to the reserve.
        free_pages(urgent, order(4));
        let part = PfnRange::new(urgent.pfn(), urgent.pfn() + 16);
        alloc_contig_range(part).unwrap();
        assert_eq!((types(range)[0], reserved()), (Migratetype::HighAtomic, 512));
        check_sums();
        free_contig_range(part);
        assert_eq!((types(range)[0], reserved()), (Migratetype::HighAtomic, 512));
    });
}

#[test]
fn what_is_in_use_and_movable_is_moved_out_of_any_pageblock() {
    on(&[ram(0x4000_0000, 32 * MIB)], |_| {
        let pool = ZsPool::new().unwrap();
        let objects: Vec<_> = (0..1500u32)
            .map(|n| {
                let object = pool.malloc(4096, KERNEL).unwrap();
                pool.with(object, |bytes| bytes[..4].copy_from_slice(&n.to_le_bytes()));
                object
            })
            .collect();
        // One pageblock of them is taken over by another kind.
        let first = pool.frame(objects[1200]).align_down(order(9));
        with_masked(|irq| {
            let mut locked = zone().zone().lock(irq);
            locked.split_to_pageblock(first);
            let from = pageblock_migratetype(first);
            locked.move_freepages_block(first, from, Migratetype::Reclaimable);
        });
        let start = first.align_down(Order::MAX).pfn();
        let range = PfnRange::new(start, start + 1024);
        let before = types(range);
        let pin = pool.pin(objects[1200]);
        assert_eq!(alloc_contig_range(range), Err(ContigError::Busy(pin.frame().pfn())));
        assert_eq!(types(range), before);
        drop(pin);
        alloc_contig_range(range).unwrap();
        assert_eq!(types(range), before);
        for (n, &object) in (0u32..).zip(&objects) {
            assert!(!range.contains(pool.frame(object).pfn()));
            pool.with(object, |bytes| assert_eq!(bytes[..4], n.to_le_bytes()));
        }
        free_contig_range(range);
    });
}

/// Makes the pageblock at the start of the second 8 MiB CMA's; its range.
fn with_cma(f: impl FnOnce(PfnRange)) {
    with_cma_of(|_, range| f(range));
}

fn with_cma_of(f: impl FnOnce(&Machine, PfnRange)) {
    on(&[ram(0x4000_0000, 32 * MIB)], |m| {
        let range = frames(0x4080_0000, 2 * MIB);
        let first = Frame::new(range.start()).unwrap();
        with_masked(|irq| {
            let mut locked = zone().zone().lock(irq);
            locked.split_to_pageblock(first);
            let from = pageblock_migratetype(first);
            locked.move_freepages_block(first, from, Migratetype::Cma);
            locked.merge_pageblock(first, Migratetype::Cma);
        });
        check_sums();
        f(m, range);
    });
}

/// Takes `count` pages from `range`'s `at`th on.
fn take(range: PfnRange, at: u32, count: u32) -> PfnRange {
    let part = PfnRange::new(range.start() + at, range.start() + at + count);
    alloc_contig_range(part).unwrap();
    part
}

#[test]
fn small_pieces_merge_at_once() {
    with_cma(|range| {
        let whole = free_blocks();
        for (at, count) in [(0, 1), (7, 1), (4, 4), (16, 3)] {
            free_contig_range(take(range, at, count));
            assert_eq!(free_blocks(), whole);
            check_sums();
        }
        // Two neighbours: the second one's free merges both.
        let (left, right) = (take(range, 8, 1), take(range, 9, 1));
        free_contig_range(left);
        assert_ne!(free_blocks(), whole);
        free_contig_range(right);
        assert_eq!(free_blocks(), whole);
    });
}

#[test]
fn a_piece_is_whole_again_when_its_pageblock_is_emptied() {
    with_cma(|range| {
        let whole = free_blocks();
        free_contig_range(take(range, 7, 1));
        start_isolate(zone(), range).unwrap();
        check_sums();
        undo_isolate(zone(), range);
        check_sums();
        assert_eq!(free_blocks(), whole);
    });
}

#[test]
fn buddies_that_nobody_merges_are_found() {
    with_cma(|_| {
        let pair = alloc_pages(KERNEL, order(1)).unwrap();
        with_masked(|irq| {
            let mut locked = zone().zone().lock(irq);
            let mt = pageblock_migratetype(pair);
            for half in pair.block(order(1)) {
                half.page().set_refcount(0);
                locked.account_add(mt, 1);
                locked.add_to_free_list(half, Order::ZERO, mt, false);
            }
        });
        let apart = validate().err().map(|invalid| invalid.what);
        assert_eq!(apart, Some("two free buddies were not merged"));
        // The next free of a neighbour merges them; here the pair is taken back as it was.
        with_masked(|irq| {
            let mut locked = zone().zone().lock(irq);
            let mt = pageblock_migratetype(pair);
            for half in pair.block(order(1)) {
                locked.del_from_free_list(half, Order::ZERO, mt);
                locked.account_sub(mt, 1);
            }
            locked.free_one(pair, order(1), mt);
        });
        assert_eq!(validate().err(), None);
    });
}

/// A free of pages that others hold drops one reference to each, and the rest of the range is
/// free at once; the last who holds a page frees it.
#[test]
fn a_range_with_shared_pages_is_freed_but_for_them() {
    for watched in [false, true] {
        with_cma(|range| {
            if watched {
                crate::mm::page_alloc::watch_pages();
            }
            let used = nr_used_pages();
            let (whole, part) = (free_blocks(), take(range, 3, 70));
            let held = [4, 40, 41, 69].map(|n| Frame::new(part.start() + n).unwrap());
            held.iter().for_each(|&page| get_page(page));
            get_page(held[1]);
            free_contig_range(part);
            assert_eq!(held.map(|page| page.page().refcount()), [1, 2, 1, 1]);
            assert_eq!(nr_used_pages(), used + 4);
            check_sums();
            // Nothing of them is in the way of others.
            free_contig_range(take(range, 0, 7));
            assert_eq!(alloc_contig_range(part), Err(ContigError::Busy(held[0].pfn())));
            put_page(held[1]);
            assert_eq!(nr_used_pages(), used + 4);
            held.iter().for_each(|&page| put_page(page));
            with_masked(drain_local_pages);
            assert_eq!((nr_used_pages(), free_blocks()), (used, whole));
            if watched {
                crate::mm::page_alloc::unwatch_pages();
            }
        });
    }
}

/// A page that its owner and another holder give back at the same moment is freed by one of them.
#[test]
fn a_shared_page_is_freed_once() {
    with_cma_of(|m, range| {
        let used = nr_used_pages();
        let rounds = if cfg!(miri) { 2 } else { 300 };
        for _ in 0..rounds {
            let part = take(range, 0, 512);
            let held: Vec<_> = part.iter().step_by(3).map(|pfn| Frame::new(pfn).unwrap()).collect();
            held.iter().for_each(|&page| get_page(page));
            let ready = AtomicU32::new(0);
            m.on_cpus(2, |cpu| {
                ready.fetch_add(1, Relaxed);
                while ready.load(Relaxed) < 2 {
                    core::hint::spin_loop();
                }
                if cpu == 0 {
                    free_contig_range(part);
                } else {
                    // Backwards: pages that the owner has let go of, and not come to again.
                    held.iter().rev().for_each(|&page| put_page(page));
                    with_masked(drain_local_pages);
                }
            });
            assert_eq!(nr_used_pages(), used);
            check_sums();
        }
    });
}

/// A shared page that turns out to be bad stays out when the last one gives it back, and one
/// that is bad and not shared does at once.
#[test]
fn bad_pages_of_a_range_with_shared_ones_stay_out() {
    with_cma(|range| {
        let part = take(range, 0, 8);
        let page = |n| Frame::new(part.start() + n).unwrap();
        for n in [2, 5] {
            assert_eq!(mark_poisoned(page(n)), Marked::InUse);
            count_poisoned();
        }
        get_page(page(5));
        get_page(page(6));
        free_contig_range(part);
        assert_eq!(state_of(page(2)), State::Poisoned);
        assert_eq!((page(5).page().refcount(), page(6).page().refcount()), (1, 1));
        check_sums();
        put_page(page(5));
        put_page(page(6));
        assert_eq!(state_of(page(5)), State::Poisoned);
        assert_eq!(nr_used_pages(), 2, "the bad pages");
    });
}
