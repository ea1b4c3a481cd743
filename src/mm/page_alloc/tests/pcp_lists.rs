//! A CPU's lists: which of them has room, and what goes by them alone.

use super::*;
use crate::arch::CpuId;
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
            assert_eq!(left, pcp::FreeResult::Done, "order {n}");
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
            assert!(free_pcp(block));
            assert!(zone().pcp <= high + batch, "{}", zone());
        }
        check_sums();
    });
}

/// An allocation that can't wait leaves other CPUs alone, however often it fails.
#[test]
fn an_atomic_allocation_that_fails_drains_no_other_cpu() {
    on(&[ram(0x4000_0000, 64 * MIB)], |m| {
        set_min_free_kbytes(0);
        let other = CpuId::new(1).unwrap();
        let kept = m.on_cpu(other, || {
            let pages: Vec<_> =
                (0..20).map(|_| alloc_pages(KERNEL, Order::ZERO).unwrap()).collect();
            free_all(pages, 0);
            zone().pcp
        });
        let held = exhaust(Gfp::GFP_NOWAIT, Order::MAX);
        for _ in 0..5 {
            assert_eq!(alloc_pages(Gfp::GFP_ATOMIC | Gfp::__GFP_NOWARN, Order::MAX), None);
        }
        m.on_cpu(other, || {
            assert_eq!(zone().pcp, kept);
            let page = alloc_pages(KERNEL, Order::ZERO).unwrap();
            assert_eq!(zone().pcp, kept - 1, "its list was emptied");
            free_pages(page, Order::ZERO);
        });
        // Who can wait has them emptied.
        let gfp = KERNEL | Gfp::__GFP_NOWARN | Gfp::__GFP_NORETRY;
        assert_eq!(alloc_pages(gfp, Order::MAX), None);
        m.on_cpu(other, || {
            let page = alloc_pages(KERNEL, Order::ZERO).unwrap();
            assert_ne!(zone().pcp, kept - 1);
            free_pages(page, Order::ZERO);
        });
        held.into_iter().for_each(|block| free_pages(block, Order::MAX));
    });
}

/// A CPU's list that is full is the one in use: what others hold goes back to the zone first.
#[test]
fn a_full_list_is_spared_while_others_hold_blocks() {
    on(&[ram(0x4000_0000, 64 * MIB)], |_| {
        let bulk = |pages: &mut Vec<Frame>| {
            let take = pages.split_off(pages.len() - 8);
            let mut entries: Vec<_> =
                take.into_iter().map(|frame| Some(OwnedPage::of(frame))).collect();
            free_pages_bulk(&mut entries);
        };
        let single = |pages: &mut Vec<Frame>| free_pages(pages.pop().unwrap(), Order::ZERO);
        for one in [&single as &dyn Fn(&mut Vec<Frame>), &bulk] {
            drain_all_pages();
            let (high, batch) = (zone().pcp_high, zone().pcp_batch);
            let mut pages: Vec<_> =
                (0..2 * high).map(|_| alloc_pages(KERNEL, Order::ZERO).unwrap()).collect();
            let pairs: Vec<_> =
                (0..batch).map(|_| alloc_pages(KERNEL, order(1)).unwrap()).collect();
            drain_all_pages();
            let column = pages[0].pcp_column().unwrap();
            let held = |row| pcp::of(CpuId::BOOT).blocks(row, column).count();
            free_all(pairs, 1);
            let (mut own, mut others, mut given_back) = (held(0), held(1), 0);
            // As long as they hold as much as goes back at a time.
            while 2 * others >= batch as usize {
                one(&mut pages);
                assert!(held(0) > own, "{own} pages, {others} pairs, after {given_back} times");
                given_back += u32::from(held(1) < others);
                (own, others) = (held(0), held(1));
            }
            assert!(given_back > 0);
            // There is nobody else's to give back.
            while held(0) > own {
                own = held(0);
                one(&mut pages);
            }
            free_all(pages, 0);
        }
    });
}

#[test]
fn what_is_being_emptied_takes_no_short_way() {
    on(&[ram(0x4000_0000, 32 * MIB)], |_| {
        let block = alloc_pages(KERNEL, order(2)).unwrap();
        let pageblock = block.align_down(Order::PAGEBLOCK).pfn();
        let range = PfnRange::new(pageblock, pageblock + Order::PAGEBLOCK.pages());
        let id = block.zone();
        start_isolate(id, range).unwrap();
        assert!(!free_pcp(block));
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
            match alloc_pcp(KERNEL, Order::ZERO) {
                Some(page) => {
                    free_pages(page, Order::ZERO);
                    true
                }
                None => false,
            }
        };
        assert!(is_open());
        for (one, other) in
            [(FastPath::MemsAllowed, FastPath::Hooks), (FastPath::Hooks, FastPath::MemsAllowed)]
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
