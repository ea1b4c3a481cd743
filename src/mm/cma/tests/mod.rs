//! Areas on small machines, and the bit map against a vector of flags.

mod model;
mod moving;

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
