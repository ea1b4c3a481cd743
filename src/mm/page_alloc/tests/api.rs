//! Tests of the API's contract.

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

#[test]
fn watermarks_hold_and_reserves_open() {
    on_16m(|_| {
        let zone = || zones().next().unwrap();
        let [min, low, high] = zone().watermarks;
        assert!(0 < min && min < low && low < high);
        let quiet = |gfp| exhaust(gfp, order(4)).len();
        quiet(KERNEL);
        let after_kernel = zone().free();
        assert!(after_kernel >= min && after_kernel < min + 32, "{after_kernel} of {min}");
        assert_eq!(quiet(Gfp::GFP_NOWAIT), 0);
        assert!(quiet(Gfp::GFP_ATOMIC) > 0);
        let after_atomic = zone().free();
        // Both that it is urgent and that it can't wait lower the mark.
        assert!(after_atomic < min - min / 2 && after_atomic >= min * 3 / 8);
        assert_eq!(quiet(Gfp::GFP_ATOMIC | Gfp::__GFP_NOMEMALLOC), 0);
        exhaust(KERNEL | Gfp::__GFP_MEMALLOC, Order::ZERO);
        assert_eq!(zone().free(), 0);
        assert_eq!(alloc_pages(KERNEL | Gfp::__GFP_NOWARN, Order::ZERO), None);
    });
}

#[test]
fn marks_are_linux_s() {
    use crate::mm::mmzone::{min_free_kbytes, zone_batchsize};
    // Linux 6.12 prints these for machines of so many KiB of low memory.
    assert_eq!(min_free_kbytes(16 * 1024), 512);
    assert_eq!(min_free_kbytes(512 * 1024), 2896);
    assert_eq!(min_free_kbytes(1), 128);
    assert_eq!(min_free_kbytes(1 << 40), 262_144);
    // 16 MiB, 512 MiB and 4 GiB of pages.
    assert_eq!(zone_batchsize(4096), 0);
    assert_eq!(zone_batchsize(131_072), 31);
    assert_eq!(zone_batchsize(1 << 20), 63);
    on(&[ram(0x4000_0000, 16 * MIB)], |_| {
        let zone = ZoneId::all().map(ZoneId::zone).find(|z| z.is_populated()).unwrap();
        // Of 4096 pages 33 are descriptors and tables, which are not managed.
        assert_eq!(min_free_kbytes(4063 * 4), 509);
        assert_eq!(zone.watermark(Wmark::Min), 127);
        assert_eq!(zone.watermark(Wmark::Low), 127 + 31);
        assert_eq!(zone.watermark(Wmark::High), 127 + 62);
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

fn panics_on_free(f: impl FnOnce()) {
    Machine::run(&[ram(0x4000_0000, 16 * MIB)], |m| {
        init(m.ram());
        f();
    });
}

#[test]
#[should_panic(expected = "double free: Frame(0x40")]
fn double_free_on_the_cpu_s_list() {
    panics_on_free(|| {
        let page = alloc_pages(KERNEL, Order::ZERO).unwrap();
        free_pages(page, Order::ZERO);
        free_pages(page, Order::ZERO);
    });
}

#[test]
#[should_panic(expected = "it is free, in Frame(0x")]
fn double_free_in_the_buddy() {
    panics_on_free(|| {
        let page = alloc_pages(KERNEL, order(6)).unwrap();
        free_pages(page, order(6));
        free_pages(page, order(6));
    });
}

#[test]
#[should_panic(expected = "wrong order")]
fn wrong_order() {
    panics_on_free(|| free_pages(alloc_pages(KERNEL, order(4)).unwrap(), order(3)));
}

#[test]
#[should_panic(expected = "free of the inside of a block")]
fn the_inside_of_a_block() {
    panics_on_free(|| {
        let page = alloc_pages(KERNEL, order(4)).unwrap();
        free_pages(page.within(order(4), 4), order(2));
    });
}

#[test]
#[should_panic(expected = "never allocated")]
fn reserved_page() {
    panics_on_free(|| free_pages(Frame::new(Pfn::new(0x4_0000)).unwrap(), Order::ZERO));
}

/// A free of a page that others hold drops one reference, and the last holder's put frees it.
#[test]
fn shared_page() {
    for (gfp, n) in [(KERNEL, 0), (KERNEL | Gfp::__GFP_COMP, 3), (KERNEL | Gfp::__GFP_ACCOUNT, 0)] {
        on_16m(|_| {
            let page = alloc_pages(gfp, order(n)).unwrap();
            get_page(page);
            assert!(try_get_page(page));
            free_pages(page, order(n));
            assert_eq!(page.page().refcount(), 2);
            assert_eq!(nr_used_pages(), order(n).pages());
            put_page(page);
            assert_eq!(nr_used_pages(), order(n).pages());
            put_page(page);
            assert_eq!((nr_used_pages(), nr_accounted_pages()), (0, 0));
        });
    }
}

/// A free of a block that is no compound page, whose first page others hold, frees the other
/// pages.
#[test]
fn the_rest_of_a_shared_block_is_freed_at_once() {
    for gfp in [KERNEL, KERNEL | Gfp::__GFP_ACCOUNT] {
        for n in [1, 4, 10] {
            on_16m(|_| {
                let block = alloc_pages(gfp, order(n)).unwrap();
                get_page(block);
                free_pages(block, order(n));
                assert_eq!((block.page().refcount(), block_order(block)), (1, Order::ZERO));
                assert_eq!(nr_used_pages(), 1);
                check_sums();
                put_page(block);
                assert_eq!((nr_used_pages(), nr_accounted_pages()), (0, 0));
            });
        }
    }
}

/// A count that would overflow stays where it is, and its page is never freed in use.
#[test]
fn references_saturate() {
    on_16m(|_| {
        let page = alloc_pages(KERNEL, Order::ZERO).unwrap();
        let count = || page.page().refcount();
        page.page().set_refcount(REFCOUNT_MAX - 1);
        assert!(try_get_page(page));
        assert_eq!(count(), REFCOUNT_MAX);
        assert!(!try_get_page(page), "one more than can be counted");
        assert_eq!(count(), REFCOUNT_MAX);
        put_page(page);
        assert_eq!(count(), REFCOUNT_MAX - 1, "not saturated yet");
        get_page(page);
        get_page(page);
        assert_eq!(count(), REFCOUNT_SATURATED);
        for _ in 0..3 {
            get_page(page);
            assert_eq!(count(), REFCOUNT_SATURATED);
            put_page(page);
            assert_eq!(count(), REFCOUNT_SATURATED);
        }
        free_pages(page, Order::ZERO);
        assert_eq!((count(), nr_used_pages()), (REFCOUNT_SATURATED, 1));
        // Two CPUs at the edge: neither end is near.
        page.page().set_refcount(u32::MAX);
        get_page(page);
        assert_eq!(count(), REFCOUNT_SATURATED);
    });
}

#[test]
fn nobody_gets_a_page_that_is_free() {
    on_16m(|_| {
        let page = alloc_pages(KERNEL, Order::ZERO).unwrap();
        free_pages(page, Order::ZERO);
        assert!(!try_get_page(page), "on a CPU's list");
        drain_all_pages();
        assert!(!try_get_page(page));
        assert_eq!(page.page().refcount(), 0);
        check_sums();
    });
}

#[test]
#[should_panic(expected = "still marked as in use")]
fn slab_page() {
    panics_on_free(|| {
        let page = alloc_pages(KERNEL, Order::ZERO).unwrap();
        page.page().set_flags(PageFlags::SLAB);
        free_pages(page, Order::ZERO);
    });
}

#[test]
#[should_panic(expected = "free of the inside of a block")]
fn tail_of_a_compound_page() {
    panics_on_free(|| {
        let head = alloc_pages(KERNEL | Gfp::__GFP_COMP, order(2)).unwrap();
        free_pages(head.within(order(2), 1), Order::ZERO);
    });
}

#[test]
#[should_panic(expected = "get_page of Frame(0x")]
fn reference_to_a_free_page() {
    panics_on_free(|| {
        let page = alloc_pages(KERNEL, Order::ZERO).unwrap();
        free_pages(page, Order::ZERO);
        get_page(page);
    });
}

#[test]
fn the_panic_is_located_at_the_caller() {
    use std::sync::Arc;
    let place = Arc::new(Mutex::new(None));
    let seen = place.clone();
    let me = std::thread::current().id();
    let before = std::panic::take_hook();
    std::panic::set_hook(std::boxed::Box::new(move |info| {
        if std::thread::current().id() == me {
            *seen.lock().unwrap() = info.location().map(|l| std::string::String::from(l.file()));
        } else {
            before(info);
        }
    }));
    let result = std::panic::catch_unwind(|| {
        panics_on_free(|| {
            let page = alloc_pages(KERNEL, Order::ZERO).unwrap();
            free_pages(page, Order::ZERO);
            put_page(page);
        });
    });
    assert!(result.is_err());
    let place = place.lock().unwrap().clone().unwrap();
    assert!(place.ends_with("api.rs"), "{place}");
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
fn urgent_large_blocks_have_a_reserve() {
    if cfg!(miri) {
        return;
    }
    // One percent of it is more than a pageblock.
    on(&[ram(0x4000_0000, 256 * MIB)], |_| {
        exhaust(KERNEL, order(9));
        exhaust(KERNEL, order(4));
        let id = ZoneId::all().find(|id| id.zone().is_populated()).unwrap();
        let reserved = || id.zone().reserved_highatomic.load(Relaxed);
        assert_eq!(reserved(), 0);
        let urgent = alloc_pages(Gfp::GFP_ATOMIC, order(4)).unwrap();
        assert_eq!(buddy::pageblock_migratetype(urgent), Migratetype::HighAtomic);
        assert_eq!(reserved(), 512);
        check_sums();
        // Others get nothing of it, the urgent do.
        let few = exhaust(KERNEL | Gfp::__GFP_NORETRY, Order::ZERO);
        assert!(few.iter().all(|f| buddy::pageblock_migratetype(*f) != Migratetype::HighAtomic));
        let next = alloc_pages(Gfp::GFP_ATOMIC, order(4)).unwrap();
        assert_eq!(buddy::pageblock_migratetype(next), Migratetype::HighAtomic);
        free_pages(next, order(4));
        check_sums();
        // Who may wait gets it when nothing else is left.
        set_min_free_kbytes(0);
        exhaust(KERNEL, Order::ZERO);
        assert_eq!(nr_free_pages(), 0);
    });
}

/// Checks that the high-atomic reserve is at most 1 % of a zone, in whole pageblocks.
#[test]
fn the_reserve_of_large_blocks_is_one_percent() {
    if cfg!(miri) {
        return;
    }
    for (mib, most) in [(150, 0), (256, 1024), (500, 1536)] {
        on(&[ram(0x4000_0000, mib * MIB)], |_| {
            // What others leave is enough for the urgent ones below.
            set_min_free_kbytes(64 << 10);
            exhaust(KERNEL, order(9));
            let id = ZoneId::all().find(|id| id.zone().is_populated()).unwrap();
            let percent = id.zone().managed() / 100;
            assert!(most == 0 || (most - 512..=most).contains(&percent), "{percent}");
            // Each takes a pageblock of its own.
            let gfp = Gfp::GFP_ATOMIC | Gfp::__GFP_NOWARN;
            let urgent: Vec<_> =
                core::iter::from_fn(|| alloc_pages(gfp, order(9))).take(12).collect();
            assert!(urgent.len() >= 6, "{}", urgent.len());
            let reserved = id.zone().reserved_highatomic.load(Relaxed);
            assert_eq!(reserved, most, "{mib} MiB");
            let blocks = urgent.iter().map(|f| f.align_down(Order::PAGEBLOCK).pfn());
            let mut kept: Vec<_> = blocks
                .filter(|pfn| {
                    let first = Frame::new(*pfn).unwrap();
                    buddy::pageblock_migratetype(first) == Migratetype::HighAtomic
                })
                .collect();
            kept.dedup();
            assert_eq!(kept.len() as u32 * 512, most);
            check_sums();
            urgent.into_iter().for_each(|frame| free_pages(frame, order(9)));
        });
    }
}

/// Free pages of the reserve do not count for other allocations: their watermarks leave them
/// out.
#[test]
fn the_reserve_of_large_blocks_is_not_free_to_others() {
    if cfg!(miri) {
        return;
    }
    on(&[ram(0x4000_0000, 256 * MIB)], |_| {
        set_min_free_kbytes(16 << 10);
        exhaust(KERNEL, order(9));
        exhaust(KERNEL, order(4));
        let zone = ZoneId::all().find(|id| id.zone().is_populated()).unwrap().zone();
        let urgent = alloc_pages(Gfp::GFP_ATOMIC, order(7)).unwrap();
        let kept = zone.free_highatomic.load(Relaxed);
        assert_eq!(kept, 512 - 128);
        let ok =
            |order: Order, mark, flags| zone.watermark_ok(order, mark, ZoneType::Normal, flags);
        let free = zone.free();
        let none = WmarkFlags::empty();
        assert!(ok(order(0), free - kept - 1, none));
        for mark in [free - kept, free - kept + 1, free - 1] {
            assert!(!ok(order(0), mark, none), "{mark} of {free}");
            assert!(!ok(order(3), mark, none), "{mark} of {free}");
        }
        assert!(ok(order(0), free - 1, WmarkFlags::HIGHATOMIC));
        // And so it is left when others have taken all that they may.
        set_min_free_kbytes(0);
        exhaust(KERNEL | Gfp::__GFP_NORETRY, Order::ZERO);
        assert!(nr_free_pages() >= kept);
        free_pages(urgent, order(7));
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
