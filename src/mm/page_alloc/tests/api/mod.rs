//! Tests of the API's contract.

mod highatomic;
mod kinds;
mod misuse;
mod reserves;

use super::*;
use crate::mm::mmzone::Wmark;
use crate::mm::mmzone::WmarkFlags;
use crate::mm::shrinker::{Shrinker, register_shrinker};
use std::sync::Mutex;

fn on_16m(f: impl FnOnce(&Machine)) {
    on(&[ram(0x4000_0000, 16 * MIB)], f);
}

#[test]
fn all_is_merged_again() {
    on_16m(|_| {
        let before = zones().next().unwrap().nr_free;
        let mut pages = exhaust(KERNEL, Order::ZERO);
        assert_eq!(nr_used_pages(), pages.len() as u32);
        // Every other one first, so that nothing merges until late.
        let rest: Vec<_> = pages.iter().copied().skip(1).step_by(2).collect();
        pages = pages.into_iter().step_by(2).collect();
        for page in pages.into_iter().chain(rest) {
            free_pages(page, Order::ZERO);
        }
        with_masked(drain_local_pages);
        let after = zones().next().unwrap().nr_free;
        let by_order =
            |nr: [[u32; Migratetype::COUNT]; Order::COUNT]| nr.map(|o| o.iter().sum::<u32>());
        assert_eq!(by_order(before), by_order(after));
    });
}

#[test]
fn order_0_goes_round_on_one_cpu() {
    on_16m(|m| {
        let page = alloc_pages(KERNEL, Order::ZERO).unwrap();
        free_pages(page, Order::ZERO);
        assert_eq!(alloc_pages(KERNEL, Order::ZERO), Some(page));
        free_pages(page, Order::ZERO);
        m.on_cpus(2, |cpu| {
            if cpu == 1 {
                assert_ne!(alloc_pages(KERNEL, Order::ZERO), Some(page));
            }
        });
    });
}

#[test]
fn another_cpu_s_lists_drain_on_demand() {
    on(&[ram(0x4000_0000, 64 * MIB)], |m| {
        m.on_cpus(2, |cpu| {
            if cpu == 1 {
                let pages: Vec<_> = (0..40).map(|_| OwnedPage::alloc(KERNEL)).collect();
                drop(pages);
            }
        });
        let zone = || zones().next().unwrap();
        assert!(zone().pcp >= 20);
        drain_all_pages();
        // It can't be interrupted here, and does so at its next allocation.
        m.on_cpus(2, |cpu| {
            if cpu == 1 {
                let held = alloc_pages(KERNEL, Order::ZERO).unwrap();
                free_pages(held, Order::ZERO);
            }
        });
        assert!(zone().pcp <= zone().pcp_batch.next_power_of_two(), "{}", zone());
        // And keeps pages again afterwards.
        m.on_cpus(2, |cpu| {
            if cpu == 1 {
                let page = with_masked(|irq| pcp::alloc_fast(irq, KERNEL, Order::ZERO)).unwrap();
                prep_new_page(page, Order::ZERO, KERNEL);
                free_pages(page, Order::ZERO);
            }
        });
    });
}

/// The lists of a zone share what it lets a CPU keep: one that is used gets what others have
/// no use for, and all together don't get more.
#[test]
fn a_cpu_s_lists_share_their_bound() {
    on(&[ram(0x4000_0000, 64 * MIB)], |_| {
        let zone = || zones().next().unwrap();
        let (high, batch) = (zone().pcp_high, zone().pcp_batch.next_power_of_two());
        let around = |gfp, n: u8, blocks: u32| {
            let held: Vec<_> = (0..blocks).map(|_| alloc_pages(gfp, order(n)).unwrap()).collect();
            held.into_iter().for_each(|block| free_pages(block, order(n)));
            assert!(zone().pcp <= high + batch.max(1 << n), "order {n}: {}", zone());
            check_sums();
        };
        for (gfp, n) in [(KERNEL, 0), (MOVABLE, 0), (KERNEL, 3), (KERNEL, 4), (KERNEL, 0)] {
            around(gfp, n, (2 * high) >> n);
            // All of it, but for what was granted to others and is in use.
            assert!(zone().pcp + 2 * (batch << n) >= high, "order {n}: {}", zone());
            let on_list = with_masked(|irq| pcp::alloc_fast(irq, gfp, order(n))).unwrap();
            prep_new_page(on_list, order(n), gfp);
            free_pages(on_list, order(n));
        }
        // One that is never full takes nothing away.
        for _ in 0..1000 {
            around(KERNEL, 5, 1);
        }
        with_masked(drain_local_pages);
        assert_eq!((zone().pcp, nr_used_pages()), (0, 0));
    });
}

#[test]
fn cpus_at_once() {
    let rounds = if cfg!(miri) { 10 } else { 2000 };
    on_16m(|m| {
        let moved: Mutex<Vec<(Frame, Order)>> = Mutex::new(Vec::new());
        m.on_cpus(4, |cpu| {
            let mut held = Vec::new();
            for i in 0..rounds {
                let order = order(((i + cpu) % 5) as u8);
                if let Some(frame) = alloc_pages(KERNEL | Gfp::__GFP_NOWARN, order) {
                    bytes(frame)[0] = cpu as u8;
                    held.push((frame, order));
                }
                if held.len() > 20 {
                    let (frame, order) = held.swap_remove(i % 20);
                    assert_eq!(bytes(frame)[0], cpu as u8);
                    // Some go to be freed on another CPU.
                    if i % 3 == 0 {
                        moved.lock().unwrap().push((frame, order))
                    } else {
                        free_pages(frame, order);
                    }
                }
                let taken = if i % 5 == 0 { moved.lock().unwrap().pop() } else { None };
                if let Some((frame, order)) = taken {
                    free_pages(frame, order);
                }
            }
            for (frame, order) in held {
                free_pages(frame, order);
            }
        });
        for (frame, order) in moved.into_inner().unwrap() {
            free_pages(frame, order);
        }
        assert_eq!(nr_used_pages(), 0);
    });
}

#[test]
#[should_panic(expected = "may sleep (Gfp(__GFP_IO | __GFP_FS | __GFP_DIRECT_RECLAIM")]
fn who_may_not_sleep_may_not_ask_for_it() {
    on_16m(|_| {
        let atomic = with_masked(|_| alloc_pages(Gfp::GFP_ATOMIC, Order::ZERO)).unwrap();
        free_pages(atomic, Order::ZERO);
        with_masked(|_| alloc_pages(Gfp::GFP_KERNEL, Order::ZERO));
    });
}

#[test]
fn zero_means_zero() {
    on_16m(|_| {
        for n in [0, 1, 4] {
            let dirty = alloc_pages(KERNEL, order(n)).unwrap();
            dirty.block(order(n)).for_each(|f| bytes(f).fill(0xa5));
            free_pages(dirty, order(n));
            let clean = alloc_pages(KERNEL | Gfp::__GFP_ZERO, order(n)).unwrap();
            assert_eq!(clean, dirty);
            assert!(clean.block(order(n)).all(|f| bytes(f).iter().all(|&b| b == 0)));
            free_pages(clean, order(n));
        }
    });
}

/// Holds pages until it is asked to give them back.
struct Cache(Mutex<Vec<Frame>>);
static CACHE: Cache = Cache(Mutex::new(Vec::new()));

impl Shrinker for Cache {
    fn name(&self) -> &'static str {
        "test"
    }
    fn count(&self, _: Gfp) -> usize {
        self.0.lock().unwrap().len()
    }
    fn scan(&self, gfp: Gfp, objects: usize) -> usize {
        // It may allocate, and is not asked again for that.
        assert!(alloc_pages(gfp | Gfp::__GFP_NOWARN, Order::MAX).is_none());
        let mut held = self.0.lock().unwrap();
        let objects = objects.min(held.len());
        held.drain(..objects).for_each(|page| free_pages(page, Order::ZERO));
        objects
    }
}

#[test]
fn shrinkers_are_asked_before_failure() {
    on_16m(|_| {
        register_shrinker(&CACHE).unwrap();
        *CACHE.0.lock().unwrap() = exhaust(Gfp::GFP_NOWAIT, Order::ZERO);
        let held = CACHE.0.lock().unwrap().len();
        assert_eq!(alloc_pages(Gfp::GFP_NOWAIT, Order::ZERO), None);
        assert_eq!(CACHE.0.lock().unwrap().len(), held, "asked without permission");
        assert!(alloc_pages(KERNEL, Order::ZERO).is_some());
        assert!(CACHE.0.lock().unwrap().len() < held);
        // A large block needs many rounds; without permission to go on there is one.
        let light = KERNEL | Gfp::__GFP_NORETRY | Gfp::__GFP_NOWARN;
        assert_eq!(alloc_pages(light, order(8)), None);
        assert!(alloc_pages(KERNEL | Gfp::__GFP_RETRY_MAYFAIL, order(8)).is_some());
        let rest = core::mem::take(&mut *CACHE.0.lock().unwrap());
        rest.into_iter().for_each(|page| free_pages(page, Order::ZERO));
    });
}

#[test]
fn nofail_uses_the_last_page() {
    on_16m(|_| {
        exhaust(Gfp::GFP_ATOMIC, Order::ZERO);
        let left = nr_free_pages();
        assert!(left > 0);
        let page = alloc_pages(KERNEL | Gfp::__GFP_NOFAIL, Order::ZERO);
        assert!(page.is_some());
    });
}

#[test]
fn bulk_and_exact() {
    on_16m(|_| {
        let mut pages = [const { None }; 100];
        pages[7] = OwnedPage::alloc(KERNEL);
        let kept = pages[7].as_ref().map(OwnedPage::frame);
        assert_eq!(alloc_pages_bulk(KERNEL, &mut pages), 100);
        assert_eq!(pages[7].as_ref().map(OwnedPage::frame), kept);
        assert_eq!(nr_used_pages(), 100);
        drop(pages);

        let exact = alloc_pages_exact(KERNEL, 5 * 4096 + 1).unwrap();
        assert_eq!(nr_used_pages(), 6);
        check_sums();
        free_pages_exact(exact, 5 * 4096 + 1);
        assert_eq!(nr_used_pages(), 0);
        assert_eq!(alloc_pages_exact(KERNEL, (4 << 20) + 1), None);
        assert_eq!(alloc_pages_exact(KERNEL, 0), None);

        let mut many: Vec<_> = core::iter::repeat_with(|| None).take(5000).collect();
        let got = alloc_pages_bulk(KERNEL | Gfp::__GFP_NOWARN, &mut many);
        assert_eq!(got, many.iter().flatten().count());
        assert!(got < 4096);
    });
}

#[test]
fn compound_pages_share_one_count() {
    on_16m(|_| {
        let head = alloc_pages(KERNEL | Gfp::__GFP_COMP, order(3)).unwrap();
        let tail = head.within(order(3), 5);
        assert_eq!(compound_head(tail), head);
        assert_eq!(block_order(head), order(3));
        get_page(tail);
        assert_eq!(head.page().refcount(), 2);
        put_page(head);
        assert_eq!(nr_used_pages(), 8);
        put_page(tail);
        assert_eq!(nr_used_pages(), 0);
        check_sums();
    });
}

#[test]
fn min_free_kbytes_moves_the_marks() {
    on_16m(|_| {
        set_min_free_kbytes(1024);
        assert_eq!(zones().next().unwrap().watermarks[0], 256);
        exhaust(KERNEL, Order::ZERO);
        assert_eq!(nr_free_pages(), 256);
        set_min_free_kbytes(0);
        assert_eq!(exhaust(KERNEL, Order::ZERO).len(), 256);
    });
}

#[test]
fn each_allocation_can_fail_in_turn() {
    on_16m(|_| {
        let fail = |skip, interval, times, min_order| {
            set_fail_page_alloc(Some(FailPageAlloc { skip, interval, times, min_order }))
        };
        let outcome = |gfp, order| {
            let page = alloc_pages(gfp, order);
            page.into_iter().for_each(|page| free_pages(page, order));
            page.is_some()
        };
        outcome(KERNEL, Order::ZERO);
        for skip in 0..5 {
            fail(skip, 1, 1, Order::ZERO);
            for n in 0..8 {
                assert_eq!(outcome(KERNEL, Order::ZERO), n != skip);
            }
            assert_eq!(set_fail_page_alloc(None), 1);
        }
        fail(0, 3, u32::MAX, Order::ZERO);
        let passed: Vec<_> = (0..6).map(|_| outcome(KERNEL, order(2))).collect();
        assert_eq!(passed, [true, true, false, true, true, false]);
        assert_eq!(fail(0, 1, u32::MAX, order(1)), 2);
        assert!(outcome(KERNEL, Order::ZERO));
        assert!(!outcome(KERNEL, order(1)));
        assert!(outcome(KERNEL | Gfp::__GFP_NOFAIL, order(1)));
        set_fail_page_alloc(None);
        assert!((0..100).all(|_| outcome(KERNEL, Order::ZERO)));
    });
}
