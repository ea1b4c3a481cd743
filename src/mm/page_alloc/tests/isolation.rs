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
        upper.page().set_block_migratetype(Migratetype::Isolate);
        let range = PfnRange::new(lower.pfn() + 5, upper.pfn() + 5);
        assert_eq!(alloc_contig_range(range, mt), Err(ContigError::Busy(upper.pfn())));
        assert_eq!(pageblock_migratetype(lower), mt);
        assert_eq!(zones().map(|zone| zone.isolated).sum::<u32>(), 0);
        upper.page().set_block_migratetype(mt);
        for frame in upper.block(block) {
            free_pages(frame, Order::ZERO);
        }
        drain_all_pages();
    });
}
