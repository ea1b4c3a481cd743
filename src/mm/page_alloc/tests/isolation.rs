//! Ranges that can't be taken, and what becomes of their pageblocks.

use super::*;

#[test]
fn a_pageblock_that_another_empties_leaves_those_before_it_as_they_were() {
    on(&[ram(0x4000_0000, 16 * MIB)], |_| {
        // A pageblock in use stands for one that another CPU is emptying.
        let block = Order::PAGEBLOCK;
        let taken = alloc_pages(KERNEL, Order::MAX).unwrap();
        split_page(taken, Order::MAX);
        let (lower, upper) = (taken, taken.within(Order::MAX, block.pages()));
        for frame in lower.block(block) {
            free_pages(frame, Order::ZERO);
        }
        drain_all_pages();
        let mt = pageblock_migratetype(lower);
        upper.set_block_migratetype(Migratetype::Isolate);
        for start in [lower.pfn() + 5, lower.pfn(), upper.pfn(), upper.pfn() + 1] {
            let range = PfnRange::new(start, upper.pfn() + 5);
            assert_eq!(alloc_contig_range(range), Err(ContigError::Busy(upper.pfn())));
            assert_eq!(pageblock_migratetype(lower), mt);
            assert_eq!(pageblock_migratetype(upper), Migratetype::Isolate, "it is another's");
        }
        assert_eq!(zones().map(|zone| zone.isolated).sum::<u32>(), 0);
        upper.set_block_migratetype(mt);
        for frame in upper.block(block) {
            free_pages(frame, Order::ZERO);
        }
        drain_all_pages();
    });
}

/// The pageblocks of a large block, by their types while it is in use.
fn freed_with_types(lower: Migratetype, upper: Migratetype) {
    let block = alloc_pages(KERNEL, Order::MAX).unwrap();
    block.set_block_migratetype(lower);
    block.buddy(Order::PAGEBLOCK).set_block_migratetype(upper);
    free_pages(block, Order::MAX);
}

#[test]
fn pageblocks_of_a_large_block_go_to_their_own_lists() {
    use Migratetype::{Isolate, Movable, Reclaimable, Unmovable};
    on(&[ram(0x4000_0000, 16 * MIB)], |_| {
        let large = || zones().map(|zone| zone.blocks(Order::MAX)).sum::<u32>();
        let before = large();
        for (lower, upper) in [(Movable, Reclaimable), (Unmovable, Movable)] {
            freed_with_types(lower, upper);
            check_sums();
            assert_eq!(large(), before, "both may be merged");
        }
        for (types, isolated) in [((Movable, Isolate), 512), ((Isolate, Movable), 1024)] {
            freed_with_types(types.0, types.1);
            check_sums();
            assert_eq!(zones().map(|zone| zone.isolated).sum::<u32>(), isolated);
        }
        assert_eq!(large(), before - 2);
    });
}
