//! Tests of allocations that take pages or whole pageblocks of another migratetype.

use super::*;
use crate::mm::zsmalloc::{ZsHandle, ZsPool};

const UNMOVABLE: Gfp = Gfp::GFP_KERNEL.union(Gfp::__GFP_MEMALLOC).union(Gfp::__GFP_NOWARN);

/// Fills all memory with movable objects of a page, frees `free` pages of one of their
/// pageblocks, no two of them side by side where that can be, and allocates one that can't be
/// moved: the pageblock's type afterwards.
fn type_after(free: u32) -> Migratetype {
    let mut mt = None;
    on(&[ram(0x4000_0000, 16 * MIB)], |_| {
        let pool = ZsPool::new().unwrap();
        let gfp = MOVABLE | Gfp::__GFP_MEMALLOC | Gfp::__GFP_NOWARN;
        let objects: Vec<ZsHandle> = core::iter::from_fn(|| pool.malloc(4096, gfp)).collect();
        // Nothing is left that an allocation of any kind could have.
        exhaust(UNMOVABLE, Order::ZERO);
        let by_block = |object: ZsHandle| pool.frame(object).align_down(Order::PAGEBLOCK);
        let full = objects.iter().map(|&object| by_block(object)).find(|&first| {
            pageblock_migratetype(first) == Migratetype::Movable
                && objects.iter().filter(|&&object| by_block(object) == first).count() == 512
        });
        let first = full.expect("a pageblock of objects alone");
        let mut inside: Vec<_> = objects.iter().filter(|&&o| by_block(o) == first).collect();
        // Even ones, then odd ones.
        inside.sort_by_key(|&&object| {
            let n = pool.frame(object).pfn() - first.pfn();
            (n % 2, n)
        });
        inside.iter().take(free as usize).for_each(|&&object| pool.free(object));
        drain_all_pages();
        assert_eq!(nr_free_pages(), free);
        let page = alloc_pages(UNMOVABLE, Order::ZERO).unwrap();
        assert_eq!(page.align_down(Order::PAGEBLOCK), first);
        mt = Some(pageblock_migratetype(first));
        check_sums();
        free_pages(page, Order::ZERO);
        for &object in &objects {
            if !inside.iter().take(free as usize).any(|&&gone| gone == object) {
                pool.free(object);
            }
        }
    });
    mt.unwrap()
}

/// Half of it has to be free, or in use by pages of the new kind.
#[test]
fn a_pageblock_changes_hands_when_half_of_it_does() {
    if cfg!(miri) {
        return;
    }
    for (free, expected) in [
        (1, Migratetype::Movable),
        (64, Migratetype::Movable),
        (255, Migratetype::Movable),
        (256, Migratetype::Unmovable),
        (400, Migratetype::Unmovable),
    ] {
        assert_eq!(type_after(free), expected, "{free} pages are free");
    }
}
