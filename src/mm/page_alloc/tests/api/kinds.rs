//! Pageblocks by kinds, and which change hands.

use super::*;

#[test]
fn kinds_keep_apart_by_pageblocks() {
    on_16m(|_| {
        let blocks = |gfp: Gfp| {
            let mut blocks: Vec<_> = (0..100)
                .map(|_| alloc_pages(gfp, Order::ZERO).unwrap().align_down(Order::PAGEBLOCK))
                .collect();
            blocks.sort();
            blocks.dedup();
            blocks
        };
        let unmovable = blocks(KERNEL);
        let movable = blocks(MOVABLE);
        let reclaimable = blocks(KERNEL | Gfp::__GFP_RECLAIMABLE);
        assert_eq!(unmovable.len(), 1);
        assert_eq!(reclaimable.len(), 1);
        assert!(!movable.contains(&unmovable[0]) && !movable.contains(&reclaimable[0]));
        assert_ne!(unmovable, reclaimable);
        assert_eq!(buddy::pageblock_migratetype(unmovable[0]), Migratetype::Unmovable);
        assert_eq!(buddy::pageblock_migratetype(reclaimable[0]), Migratetype::Reclaimable);
    });
}

#[test]
fn a_pageblock_that_is_half_free_changes_hands() {
    on(&[ram(0x4000_0000, 4 * MIB)], |_| {
        // One pageblock is movable and full, one movable and all free but one page.
        let pages = exhaust(MOVABLE | Gfp::__GFP_MEMALLOC, Order::ZERO);
        let last = pages[0].align_down(Order::MAX).within(Order::MAX, 1023);
        let block = last.align_down(Order::PAGEBLOCK);
        for &page in pages.iter().filter(|p| **p > block) {
            free_pages(page, Order::ZERO);
        }
        with_masked(drain_local_pages);
        check_sums();
        assert_eq!(buddy::pageblock_migratetype(block), Migratetype::Movable);
        let page = alloc_pages(KERNEL, Order::ZERO).unwrap();
        assert_eq!(page.align_down(Order::PAGEBLOCK), block);
        assert_eq!(buddy::pageblock_migratetype(block), Migratetype::Unmovable);
        check_sums();
    });
}

/// A pageblock of unmovable pages in which `free` pages, from its second on, are free and
/// `movable` others can be moved, all else being in use; the type that it is of when a movable
/// page was taken from it.
fn taken_over(free: u32, movable: u32) -> Migratetype {
    let mut left = None;
    on(&[ram(0x4000_0000, 4 * MIB)], |_| {
        let gfp = KERNEL | Gfp::__GFP_MEMALLOC;
        let pages = exhaust(gfp, Order::ZERO);
        let block = pages[0].align_down(Order::MAX).within(Order::MAX, 512);
        let at = |n| block.within(Order::PAGEBLOCK, n);
        (1..=free).for_each(|n| free_pages(at(n), Order::ZERO));
        with_masked(drain_local_pages);
        for n in free + 1..=free + movable {
            at(n).page().add_flags(PageFlags::MOVABLE);
        }
        assert_eq!(buddy::pageblock_migratetype(block), Migratetype::Unmovable);
        let page = alloc_pages(MOVABLE | Gfp::__GFP_MEMALLOC, Order::ZERO).expect("some are free");
        assert_eq!(page.align_down(Order::PAGEBLOCK), block);
        left = Some(buddy::pageblock_migratetype(block));
        check_sums();
        for n in free + 1..=free + movable {
            at(n).page().remove_flags(PageFlags::MOVABLE);
        }
    });
    left.expect("set above")
}

#[test]
fn movable_pages_take_over_what_is_half_free_or_movable() {
    assert_eq!(taken_over(511, 0), Migratetype::Movable);
    assert_eq!(taken_over(100, 0), Migratetype::Unmovable);
    // What can be moved is alike.
    assert_eq!(taken_over(100, 200), Migratetype::Movable);
    assert_eq!(taken_over(100, 100), Migratetype::Unmovable);
}
