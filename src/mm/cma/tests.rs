//! Areas on small machines, and the bit map against a vector of flags.

use super::*;
use crate::addr::{PhysAddr, PhysRange};
use crate::arch::hosted::Machine;
use crate::mm::alloc::AllocError;
use crate::mm::alloc_pages::alloc_pages;
use crate::mm::gfp::Gfp;
use crate::mm::mmzone::{Migratetype, NodeId};
use crate::mm::page_alloc::{
    ZoneLimits, drain_local_pages, free_area_init, free_pages, nr_used_pages, zones,
};
use crate::mm::sparse;
use crate::mm::validate::validate;
use crate::mm::zsmalloc::{ZsHandle, ZsPool};
use proptest::prelude::*;
use std::vec::Vec;

const RAM: u64 = 0x4000_0000;
const MIB: u64 = 1 << 20;
const MOVABLE: Gfp = Gfp::GFP_HIGHUSER_MOVABLE.union(Gfp::__GFP_MEMALLOC).union(Gfp::__GFP_NOWARN);
const KERNEL: Gfp = Gfp::GFP_KERNEL.union(Gfp::__GFP_MEMALLOC).union(Gfp::__GFP_NOWARN);

fn frames(start: u64, size: u64) -> PfnRange {
    PhysRange::from_size(PhysAddr::new(start), size).whole_pages()
}

fn check() {
    if let Err(invalid) = validate() {
        panic!("{invalid}");
    }
}

/// A machine of 16 MiB with an area of `size` MiB, 4 MiB from its start.
fn with_area(size: u64, per_bit: u8, f: impl FnOnce(&Machine, &'static Cma)) {
    with_area_at(4, size, per_bit, f);
}

/// A machine of 16 MiB with an area of `size` MiB, `offset` MiB from its start.
fn with_area_at(offset: u64, size: u64, per_bit: u8, f: impl FnOnce(&Machine, &'static Cma)) {
    let ram = PhysRange::from_size(PhysAddr::new(RAM), 16 * MIB);
    Machine::run(&[ram], |m| {
        let all = ram.whole_pages();
        let area = frames(RAM + offset * MIB, size * MIB);
        let per_bit = Order::new(per_bit).unwrap();
        // SAFETY: the machine is fresh, and the area left out of what is free.
        let cma = unsafe { cma_init_reserved_mem("linux,cma", area, per_bit) }.unwrap();
        let free = [PfnRange::new(all.start(), area.start()), PfnRange::new(area.end(), all.end())];
        let present = [(NodeId::FIRST, all)].into_iter();
        let mapped = sparse::Populate::Mapped;
        let limits = ZoneLimits::default();
        // SAFETY: as above.
        unsafe { free_area_init(limits, present, free.into_iter(), mapped) }.unwrap();
        let reserved = zones().next().unwrap().reserved();
        cma_init_reserved_areas();
        assert_eq!(zones().next().unwrap().reserved(), reserved - area.len());
        assert_eq!(zones().next().unwrap().cma, area.len());
        check();
        f(m, cma);
        check();
    });
}

fn take_all(gfp: Gfp) -> Vec<Frame> {
    core::iter::from_fn(|| alloc_pages(gfp, Order::ZERO)).collect()
}

#[test]
fn a_small_piece_merges_when_it_is_released() {
    with_area(8, 0, |_, cma| {
        let free = || zones().next().unwrap().nr_free.map(|order| order[Migratetype::Cma.index()]);
        let whole = free();
        for count in [1, 1, 4, 3, cma.range().len()] {
            let frame = cma_alloc(cma, count, Order::ZERO).unwrap();
            // SAFETY: allocated here, and nobody uses it any more.
            assert!(unsafe { cma_release(cma, frame, count) });
            assert_eq!(free(), whole);
            check();
        }
        let held = [(); 2].map(|()| cma_alloc(cma, 1, Order::ZERO).unwrap());
        assert_eq!(held[1], held[0].buddy(Order::ZERO));
        for (frame, left) in held.into_iter().zip([1, 0]) {
            // SAFETY: allocated here, and nobody uses it any more.
            assert!(unsafe { cma_release(cma, frame, 1) });
            assert_eq!(free()[0], left);
            check();
        }
        assert_eq!(free(), whole);
    });
}

#[test]
fn areas_lend_to_movable_allocations_alone() {
    with_area(4, 0, |_, cma| {
        let inside = |f: &&Frame| cma.range().contains(f.pfn());
        let kernel = take_all(KERNEL);
        assert_eq!(kernel.iter().filter(inside).count(), 0);
        check();
        let movable = take_all(MOVABLE);
        assert_eq!(movable.iter().filter(inside).count(), 1024);
        assert_eq!(movable.len(), 1024);
        assert_eq!(cma_alloc(cma, 1, Order::ZERO), None);
        check();
        let page = movable[77];
        // SAFETY: allocated here, and nobody uses it any more.
        unsafe { free_pages(page, Order::ZERO) };
        assert_eq!(cma_alloc(cma, 1, Order::ZERO), Some(page));
        assert_eq!(cma.info().failures, 1);
        assert_eq!(cma.info().successes, 1);
    });
}

#[test]
fn movable_allocations_fill_it_before_the_rest_runs_out() {
    with_area(8, 0, |_, cma| {
        // Most of what is free is CMA's, so it is used first.
        let first: Vec<_> = (0..100).map(|_| alloc_pages(MOVABLE, Order::ZERO).unwrap()).collect();
        assert!(first.iter().any(|f| cma.range().contains(f.pfn())));
    });
}

#[test]
fn all_of_an_area_at_once() {
    with_area(6, 0, |_, cma| {
        let used = nr_used_pages();
        for _ in 0..3 {
            let all = cma_alloc(cma, 1536, Order::ZERO).unwrap();
            assert_eq!(all.pfn(), cma.range().start());
            assert_eq!(nr_used_pages(), used + 1536);
            assert_eq!(cma.info().allocated, 1536);
            check();
            assert_eq!(cma_alloc(cma, 1, Order::ZERO), None);
            // SAFETY: allocated here, and nobody uses it any more.
            assert!(unsafe { cma_release(cma, all, 1536) });
            assert_eq!(nr_used_pages(), used);
            assert_eq!(cma.info().longest, 1536);
            check();
        }
        assert_eq!(cma_alloc(cma, 1537, Order::ZERO), None);
        assert_eq!(cma_alloc(cma, 0, Order::ZERO), None);
        // It is one run of free blocks again.
        let blocks = zones().next().unwrap().nr_free[10][Migratetype::Cma.index()];
        assert_eq!(blocks, 1);
    });
}

#[test]
fn a_page_in_use_is_passed_by() {
    with_area(4, 0, |_, cma| {
        let mut pages = take_all(MOVABLE);
        pages.sort();
        let pinned = cma.range().start() + 100;
        for page in pages.into_iter().filter(|p| p.pfn() != pinned) {
            // SAFETY: allocated here, and nobody uses it any more.
            unsafe { free_pages(page, Order::ZERO) };
        }
        let before = zones().next().unwrap().free();
        assert_eq!(cma_alloc(cma, 1024, Order::ZERO), None);
        check();
        assert_eq!(zones().next().unwrap().free(), before);
        assert_eq!(cma.info().allocated, 0);
        let some = cma_alloc(cma, 300, Order::ZERO).unwrap();
        assert!(some.pfn() > pinned);
        let aligned = cma_alloc(cma, 64, Order::new(6).unwrap()).unwrap();
        assert!(aligned.pfn().is_aligned(Order::new(6).unwrap()));
        check();
        // Part by part is fine.
        // SAFETY: allocated here, and nobody uses it any more.
        assert!(unsafe { cma_release(cma, some, 100) });
        let rest = Frame::new(some.pfn() + 100).unwrap();
        // SAFETY: allocated here, and nobody uses it any more.
        assert!(unsafe { cma_release(cma, rest, 200) });
        // SAFETY: allocated here, and nobody uses it any more.
        assert!(unsafe { cma_release(cma, aligned, 64) });
    });
}

/// The area begins at an odd multiple of 2 MiB: alignment is that of the frame, and not of its
/// place in the area.
#[test]
fn what_is_aligned_is_so_in_memory() {
    with_area_at(6, 6, 0, |_, cma| {
        let frame = cma_alloc(cma, 16, Order::MAX).expect("4 MiB lie in it, aligned");
        assert!(frame.pfn().is_aligned(Order::MAX), "{frame:?}");
        // SAFETY: allocated here, and nobody uses it any more.
        assert!(unsafe { cma_release(cma, frame, 16) });
    });
}

/// Objects of a page each in all of memory, less as much room elsewhere as the area has
/// and some more; each says its number.
fn fill_with_objects(pool: &ZsPool, cma: &Cma) -> Vec<ZsHandle> {
    let all: Vec<_> = core::iter::from_fn(|| pool.malloc(4096, MOVABLE)).collect();
    let lent = |&object: &ZsHandle| cma.range().contains(pool.frame(object).pfn());
    let (mut objects, mut outside): (Vec<_>, Vec<_>) = all.into_iter().partition(lent);
    assert_eq!(objects.len() as u32, cma.range().len());
    outside.drain(..objects.len() + 300).for_each(|object| pool.free(object));
    objects.extend(outside);
    write_numbers(pool, &objects);
    objects
}

fn write_numbers(pool: &ZsPool, objects: &[ZsHandle]) {
    for (number, &object) in (0u32..).zip(objects) {
        pool.with(object, |bytes| {
            bytes.fill(number as u8);
            bytes[..4].copy_from_slice(&number.to_le_bytes());
        });
    }
}

fn check_objects(pool: &ZsPool, objects: &[ZsHandle]) {
    for (number, &object) in (0u32..).zip(objects) {
        pool.with(object, |bytes| {
            assert_eq!(bytes[..4], number.to_le_bytes());
            assert!(bytes[4..].iter().all(|&b| b == number as u8), "object {number}");
        });
    }
}

#[test]
fn what_was_lent_is_moved_away() {
    with_area(4, 0, |_, cma| {
        let before = nr_used_pages();
        let pool = ZsPool::new().unwrap();
        let objects = fill_with_objects(&pool, cma);
        let used = nr_used_pages();
        let all = cma_alloc(cma, 1024, Order::ZERO).expect("every page can be moved");
        assert_eq!(all.pfn(), cma.range().start());
        check();
        assert_eq!(nr_used_pages(), used + 1024);
        check_objects(&pool, &objects);
        assert!(objects.iter().all(|&o| !cma.range().contains(pool.frame(o).pfn())));
        // SAFETY: allocated here, and nobody uses it any more.
        assert!(unsafe { cma_release(cma, all, 1024) });
        drop(pool);
        assert_eq!(nr_used_pages(), before);
    });
}

#[test]
fn one_pinned_page_fails_it_whole() {
    with_area(4, 0, |_, cma| {
        let pool = ZsPool::new().unwrap();
        let objects = fill_with_objects(&pool, cma);
        let inside = |&&o: &&ZsHandle| cma.range().contains(pool.frame(o).pfn());
        let pinned = *objects.iter().filter(inside).nth(500).unwrap();
        let pin = pool.pin(pinned);
        let used = nr_used_pages();
        assert_eq!(cma_alloc(cma, 1024, Order::ZERO), None);
        check();
        assert_eq!(nr_used_pages(), used);
        assert_eq!((cma.info().allocated, cma.info().failures), (0, 1));
        assert_eq!(pool.frame(pinned), pin.frame());
        check_objects(&pool, &objects);
        // The area is lent out again.
        assert_eq!(zones().map(|zone| zone.isolated).sum::<u32>(), 0);
        let more = pool.malloc(4096, MOVABLE).unwrap();
        pool.free(more);
        drop(pin);
        let all = cma_alloc(cma, 1024, Order::ZERO).expect("it is pinned no more");
        check_objects(&pool, &objects);
        // SAFETY: allocated here, and nobody uses it any more.
        assert!(unsafe { cma_release(cma, all, 1024) });
    });
}

#[test]
fn without_memory_to_move_to_it_fails() {
    with_area(8, 0, |_, cma| {
        let pool = ZsPool::new().unwrap();
        let objects: Vec<_> = core::iter::from_fn(|| pool.malloc(4096, MOVABLE)).collect();
        write_numbers(&pool, &objects);
        assert_eq!(cma_alloc(cma, 2048, Order::ZERO), None);
        check();
        check_objects(&pool, &objects);
        let (some, rest) = objects.split_at(objects.len() - 2200);
        rest.iter().for_each(|&object| pool.free(object));
        assert!(cma_alloc(cma, 2048, Order::ZERO).is_some());
        check_objects(&pool, some);
    });
}

#[test]
fn another_cpu_s_lists_are_waited_for_not_broken() {
    with_area(4, 0, |m, cma| {
        m.on_cpus(2, |cpu| {
            if cpu == 1 {
                let pages = take_all(MOVABLE);
                // SAFETY: allocated here, and nobody uses it any more.
                pages.into_iter().for_each(|page| unsafe { free_pages(page, Order::ZERO) });
            }
        });
        // What the other CPU holds can't be taken yet.
        let early = cma_alloc(cma, 1024, Order::ZERO);
        check();
        m.on_cpus(2, |_| with_masked(drain_local_pages));
        let all = early.or_else(|| cma_alloc(cma, 1024, Order::ZERO)).unwrap();
        // SAFETY: allocated here, and nobody uses it any more.
        assert!(unsafe { cma_release(cma, all, 1024) });
    });
}

#[test]
fn units_of_more_than_a_page() {
    with_area(4, 3, |_, cma| {
        let a = cma_alloc(cma, 5, Order::ZERO).unwrap();
        let b = cma_alloc(cma, 8, Order::ZERO).unwrap();
        assert_eq!(b.pfn() - a.pfn(), 8);
        assert_eq!(cma.info().allocated, 16);
        // SAFETY: allocated here, and nobody uses it any more.
        assert!(unsafe { cma_release(cma, a, 5) });
        assert_eq!(cma.info().allocated, 8);
        assert_eq!(cma_alloc(cma, 9, Order::ZERO).unwrap().pfn() - b.pfn(), 8);
    });
}

#[test]
fn what_is_not_the_area_s_is_not_released() {
    with_area(4, 0, |_, cma| {
        let page = alloc_pages(KERNEL, Order::ZERO).unwrap();
        // SAFETY: allocated here, and nobody uses it any more.
        assert!(!unsafe { cma_release(cma, page, 1) });
        let last = cma_alloc(cma, 1024, Order::ZERO).unwrap();
        // SAFETY: allocated here, and nobody uses it any more.
        assert!(!unsafe { cma_release(cma, last, 1025) });
        // SAFETY: allocated here, and nobody uses it any more.
        assert!(!unsafe { cma_release(cma, last, 0) });
        // SAFETY: allocated here, and nobody uses it any more.
        assert!(!unsafe { cma_release(cma, last, u32::MAX) });
    });
}

/// A run of an area of larger units is given back whole; else its first pages may go.
#[test]
fn runs_by_hand_are_given_back_in_parts() {
    for (per_bit, freed) in [(0, 3), (2, 0)] {
        with_area(4, per_bit, |_, cma| {
            crate::mm::slab::kmem_cache_init(1);
            assert_eq!(cma.alloc_mem(8), Ok(()));
            assert_eq!(cma.alloc_mem(2000), Err(AllocError));
            assert_eq!(cma.free_mem(3), freed);
            assert_eq!(cma.info().allocated, 8 - freed);
            assert_eq!(cma.alloc_mem(4), Ok(()));
            // The latest run goes first.
            assert_eq!(cma.free_mem(4), 4);
            assert_eq!(cma.info().allocated, 8 - freed);
            assert_eq!(cma.free_mem(100), 8 - freed);
            assert_eq!((cma.free_mem(1), cma.info().allocated), (0, 0));
            crate::mm::slab::shrink_all();
        });
    }
}

#[test]
#[should_panic(expected = "double free")]
fn double_release() {
    with_area(4, 0, |_, cma| {
        let page = cma_alloc(cma, 2, Order::ZERO).unwrap();
        // SAFETY: allocated here, and nobody uses it any more.
        unsafe { cma_release(cma, page, 2) };
        // SAFETY: allocated here, and nobody uses it any more.
        unsafe { cma_release(cma, page, 2) };
    });
}

#[test]
fn bad_areas_are_refused() {
    with_area(4, 0, |_, cma| {
        let declare = |range| {
            // SAFETY: refused, or never activated.
            unsafe { cma_init_reserved_mem("bad", range, Order::ZERO) }.err()
        };
        assert_eq!(declare(frames(RAM, 0)), Some(CmaError::Misaligned));
        assert_eq!(declare(frames(RAM + 4096, 4 * MIB)), Some(CmaError::Misaligned));
        assert_eq!(declare(frames(RAM, 2 * MIB + 4096)), Some(CmaError::Misaligned));
        assert_eq!(declare(cma.range()), Some(CmaError::Overlap));
        // Memory that is the allocator's, and memory that is none.
        assert_eq!(declare(frames(RAM + 8 * MIB, 2 * MIB)), None);
        assert_eq!(declare(frames(RAM + 64 * MIB, 2 * MIB)), None);
        let free = zones().next().unwrap().free();
        cma_init_reserved_areas();
        check();
        assert_eq!(zones().next().unwrap().free(), free);
        let active: Vec<_> = areas().map(|area| area.info().active).collect();
        assert_eq!(active, [true, false, false]);
        assert_eq!(cma_alloc(areas().nth(1).unwrap(), 1, Order::ZERO), None);
        for n in 3..MAX_CMA_AREAS as u64 {
            assert_eq!(declare(frames(RAM + (64 + 4 * n) * MIB, 2 * MIB)), None);
        }
        assert_eq!(declare(frames(RAM, 2 * MIB)), Some(CmaError::TooMany));
    });
}

#[derive(Clone, Debug)]
enum Op {
    Alloc { movable: bool, order: u8 },
    Free { which: usize },
    Cma { count: u32, align: u8 },
    Release { which: usize },
    Drain,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (any::<bool>(), prop_oneof![4 => Just(0u8), 1 => 0..=9u8])
            .prop_map(|(movable, order)| Op::Alloc { movable, order }),
        5 => any::<usize>().prop_map(|which| Op::Free { which }),
        3 => (prop_oneof![1..40u32, 1..600u32], 0..=9u8)
            .prop_map(|(count, align)| Op::Cma { count, align }),
        2 => any::<usize>().prop_map(|which| Op::Release { which }),
        1 => Just(Op::Drain),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 1 } else { 24 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Lending and taking back, against the set of what is owned.
    #[test]
    fn lending_against_a_model(
        ops in proptest::collection::vec(op(), 1..if cfg!(miri) { 12 } else { 100 }),
        per_bit in 0..4u8,
    ) {
        with_area(6, per_bit, |_, cma| {
            let used = nr_used_pages();
            let mut pages: Vec<(Frame, Order)> = Vec::new();
            let mut runs: Vec<(Frame, u32)> = Vec::new();
            for op in ops {
                match op {
                    Op::Alloc { movable, order } => {
                        let order = Order::new(order).unwrap();
                        let gfp = if movable { MOVABLE } else { KERNEL };
                        if let Some(frame) = alloc_pages(gfp, order) {
                            assert!(movable || !cma.range().contains(frame.pfn()));
                            pages.push((frame, order));
                        }
                    }
                    Op::Free { which } if !pages.is_empty() => {
                        let (frame, order) = pages.swap_remove(which % pages.len());
                        // SAFETY: allocated here, and nobody uses it any more.
                        unsafe { free_pages(frame, order) };
                    }
                    Op::Cma { count, align } => {
                        let align = Order::new(align).unwrap();
                        if let Some(frame) = cma_alloc(cma, count, align) {
                            assert!(frame.pfn().is_aligned(align));
                            runs.push((frame, count));
                        }
                    }
                    Op::Release { which } if !runs.is_empty() => {
                        let (frame, count) = runs.swap_remove(which % runs.len());
                        // SAFETY: allocated here, and nobody uses it any more.
                        assert!(unsafe { cma_release(cma, frame, count) });
                    }
                    Op::Drain => with_masked(drain_local_pages),
                    _ => {}
                }
                check();
                let mut owned: Vec<_> = pages.iter().map(|(f, o)| (f.pfn(), o.pages()))
                    .chain(runs.iter().map(|(f, n)| (f.pfn(), *n))).collect();
                owned.sort();
                assert!(owned.windows(2).all(|w| w[0].0 + w[0].1 <= w[1].0), "overlap");
                assert_eq!(nr_used_pages() - used, owned.iter().map(|o| o.1).sum::<u32>());
                let unit = |n: u32| n.next_multiple_of(1 << per_bit);
                assert_eq!(cma.info().allocated, runs.iter().map(|r| unit(r.1)).sum::<u32>());
            }
        });
    }

    /// The bit map against a vector of flags.
    #[test]
    fn bitmap_against_a_model(
        bits in 1..300usize,
        ops in proptest::collection::vec(
            (0..300usize, 1..70usize, 0..5u32, 0..16usize, any::<bool>()), 1..60),
    ) {
        let words: Vec<AtomicU64> = (0..bits.div_ceil(64)).map(|_| AtomicU64::new(0)).collect();
        prop_assert!(Bitmap::new(&words, words.len() * 64 + 1).is_none());
        let map = Bitmap::new(&words, bits).unwrap();
        let mut model = std::vec![false; bits];
        for (from, count, align, offset, set) in ops {
            let align = 1 << align;
            let offset = offset & (align - 1);
            let expected = (from..bits).find(|at| {
                (at + offset) % align == 0 && at + count <= bits
                    && !model[*at..at + count].contains(&true)
            });
            prop_assert_eq!(map.find_zero_area(from, count, align, offset), expected);
            if let Some(at) = expected.filter(|_| set) {
                map.set(at..at + count);
                model[at..at + count].fill(true);
            } else {
                let range = from.min(bits)..(from + count).min(bits);
                map.clear(range.clone());
                model[range].fill(false);
            }
            let part = bits / 3..bits - bits / 4;
            let set = model[part.clone()].iter().filter(|b| **b).count();
            prop_assert_eq!(map.count(part), set);
            let longest = model.split(|b| *b).map(<[bool]>::len).max().unwrap();
            prop_assert_eq!(map.longest_zero_area(), longest);
        }
    }
}

#[test]
fn pages_of_an_area_go_back_with_their_owner() {
    with_area(8, 0, |_, cma| {
        let used = nr_used_pages();
        let mut pages = CmaPages::alloc(cma, 300, Order::ZERO).unwrap();
        assert_eq!((pages.count(), pages.bytes().len()), (300, 300 << 12));
        assert!(cma.range().contains_range(pages.range()) && pages.range().len() == 300);
        pages.bytes_mut().fill(7);
        assert_eq!((cma.info().allocated, nr_used_pages()), (300, used + 300));
        let kept = CmaPages::alloc(cma, 5, Order::ZERO).unwrap();
        drop(pages);
        assert_eq!((cma.info().allocated, nr_used_pages()), (5, used + 5));
        let raw = kept.into_raw();
        assert_eq!(cma.info().allocated, 5);
        // SAFETY: the pages are the test's, and nobody uses them.
        drop(unsafe { CmaPages::from_raw(cma, raw, 5) });
        assert_eq!((cma.info().allocated, nr_used_pages()), (0, used));
        assert!(CmaPages::alloc(cma, cma.range().len() + 1, Order::ZERO).is_none());
    });
}

/// A name of a page lets anybody keep it from being freed, so an owner's end takes that for no
/// error.
#[test]
fn pages_that_others_hold_outlive_their_owner() {
    with_area(2, 0, |_, cma| {
        let used = nr_used_pages();
        let mut pages = CmaPages::alloc(cma, 8, Order::ZERO).unwrap();
        let held = [2, 6].map(|n| Frame::new(pages.frame().pfn() + n).unwrap());
        held.iter().for_each(|&page| page_alloc::get_page(page));
        assert!(pages.release_first(4));
        drop(pages);
        assert_eq!((cma.info().allocated, nr_used_pages()), (0, used + 2));
        check();
        // Others get what is free around them.
        let others = CmaPages::alloc(cma, 8, Order::ZERO).unwrap();
        assert!(!held.iter().any(|page| others.range().contains(page.pfn())));
        drop(others);
        // SAFETY: the references from above.
        held.iter().for_each(|&page| unsafe { page_alloc::put_page(page) });
        with_masked(drain_local_pages);
        assert_eq!(nr_used_pages(), used);
        let all = CmaPages::alloc(cma, cma.range().len(), Order::ZERO).unwrap();
        assert_eq!(all.range(), cma.range());
    });
}
