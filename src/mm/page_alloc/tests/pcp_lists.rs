//! A CPU's lists: which of them has room, and what goes by them alone.

use super::*;
use crate::mm::page_alloc::isolation::{start_isolate, undo_isolate};

fn zone() -> ZoneInfo {
    zones().next().unwrap()
}

/// Puts blocks of `n` on the list of what the kernel has until the lists hold all they may.
fn fill(n: u8) -> Vec<Frame> {
    let high = zone().pcp_high;
    let mut held: Vec<_> =
        (0..(2 * high) >> n).map(|_| alloc_pages(KERNEL, order(n)).unwrap()).collect();
    while zone().pcp + (1 << n) <= high {
        free_pages(held.pop().unwrap(), order(n));
    }
    held
}

fn free_all(blocks: Vec<Frame>, n: u8) {
    blocks.into_iter().for_each(|block| free_pages(block, order(n)));
}

#[test]
fn what_refilled_a_list_may_come_back_to_it() {
    on(&[ram(0x4000_0000, 64 * MIB)], |_| {
        let held = fill(0);
        for n in [3, 4, 5] {
            let block = alloc_pages(KERNEL, order(n)).unwrap();
            let left = with_masked(|irq| pcp::free(irq, block, order(n)));
            assert_eq!(left, pcp::Left::Nothing, "order {n}");
        }
        free_all(held, 0);
    });
}

#[test]
fn what_is_freed_by_the_lists_alone_stays_within_their_bound() {
    on(&[ram(0x4000_0000, 64 * MIB)], |_| {
        let (high, batch) = (zone().pcp_high, zone().pcp_batch);
        let held: Vec<_> = (0..high).map(|_| alloc_pages(KERNEL, order(2)).unwrap()).collect();
        for block in held {
            assert!(free_listed(block));
            assert!(zone().pcp <= high + batch, "{}", zone());
        }
        check_sums();
    });
}

#[test]
fn what_is_being_emptied_takes_no_short_way() {
    on(&[ram(0x4000_0000, 32 * MIB)], |_| {
        let block = alloc_pages(KERNEL, order(2)).unwrap();
        let pageblock = block.align_down(Order::PAGEBLOCK).pfn();
        let range = PfnRange::new(pageblock, pageblock + Order::PAGEBLOCK.pages());
        let id = block.page().zone();
        start_isolate(id, range).unwrap();
        assert!(!free_listed(block));
        free_pages(block, order(2));
        with_masked(drain_local_pages);
        assert_eq!(nr_used_pages(), 0);
        undo_isolate(id, range);
    });
}

/// The way past the zones stays closed until nobody has a reason left.
#[test]
fn the_short_way_is_closed_for_each_reason() {
    on(&[ram(0x4000_0000, 16 * MIB)], |_| {
        let is_open = || {
            free_pages(alloc_pages(KERNEL, Order::ZERO).unwrap(), Order::ZERO);
            match alloc_listed(KERNEL, Order::ZERO) {
                Some(page) => {
                    free_pages(page, Order::ZERO);
                    true
                }
                None => false,
            }
        };
        assert!(is_open());
        for (one, other) in [(FastPath::Walls, FastPath::Hooks), (FastPath::Hooks, FastPath::Walls)]
        {
            set_fast_path(one, false);
            assert!(!is_open(), "{one:?}");
            set_fast_path(other, false);
            set_fast_path(one, true);
            assert!(!is_open(), "{other:?}");
            set_fast_path(other, true);
            assert!(is_open());
        }
    });
}
