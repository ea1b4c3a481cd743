//! Tests of lazy flushes, the pools' reserves, and frees on the slow path.

use super::{fill, machine, take_all, used_pages, vfree, vunmap};
use crate::addr::Order;
use crate::arch::CpuId;
use crate::arch::hosted::irq::with_interrupts;
use crate::arch::hosted::mmu::Access;
use crate::mm::alloc_pages;
use crate::mm::page_alloc;
use crate::mm::vmalloc::*;
use std::cell::Cell;
use std::vec::Vec;

const UNBOUNDED: Limits =
    Limits { lazy_max_pages: 1 << 20, lazy_max_frames: 1 << 20, pool_max_pages: 1 << 20 };

fn set_limits(limits: Limits) {
    with_areas(|areas| areas.set_limits(limits));
}

fn some_frames(count: usize) -> Vec<Frame> {
    let page = |_| alloc_pages::alloc_pages(Gfp::GFP_KERNEL, Order::ZERO).unwrap();
    (0..count).map(page).collect()
}

#[test]
fn limits_are_for_the_machine() {
    let of = |cpus, ram| {
        let Limits { lazy_max_pages, lazy_max_frames, pool_max_pages } = limits(cpus, ram);
        (lazy_max_pages, lazy_max_frames, pool_max_pages)
    };
    assert_eq!(of(1, 4096), (LAZY_MAX_PAGES, 16, 4 * 8192));
    assert_eq!(of(8, 1 << 22), (LAZY_MAX_PAGES, LAZY_MAX_FRAMES, 4 * 8192));
    assert_eq!(of(64, 1 << 22), (LAZY_MAX_PAGES, LAZY_MAX_FRAMES, 7 * 8192));
}

/// Foreign pages are kept from nobody: their areas wait until there are enough addresses.
#[test]
fn addresses_that_wait_are_bounded() {
    machine(4096, |_| {
        set_limits(Limits { lazy_max_pages: 64, lazy_max_frames: 8, ..UNBOUNDED });
        let frames = some_frames(3);
        let before = used_pages();
        for round in 0..3 {
            for n in 1..=16 {
                vunmap(vmap(&frames, KernelAttrs::KERNEL).unwrap());
                let stat = vmalloc_stat();
                assert_eq!((stat.lazy, stat.lazy_frames), (4 * n, 0), "round {round}");
            }
            validate();
            vunmap(vmap(&frames, KernelAttrs::KERNEL).unwrap());
            let stat = vmalloc_stat();
            assert_eq!((stat.lazy, stat.pooled), (0, 17 * 4), "round {round}");
            validate();
        }
        // What has pages of its own goes by their number.
        for _ in 0..2 {
            vfree(vmalloc(4 * PAGE_SIZE, Gfp::GFP_KERNEL).unwrap());
            assert_ne!(vmalloc_stat().lazy, 0);
        }
        vfree(vmalloc(PAGE_SIZE, Gfp::GFP_KERNEL).unwrap());
        assert_eq!((vmalloc_stat().lazy, vmalloc_stat().lazy_frames), (0, 0));
        shrink();
        assert_eq!(used_pages(), before);
    });
}

/// Frees `count` areas of `pages` pages, and purges them.
fn free_many(pages: usize, count: usize) {
    let areas: Vec<_> =
        (0..count).map(|_| vmalloc(pages * PAGE_SIZE, Gfp::GFP_KERNEL).unwrap()).collect();
    areas.into_iter().for_each(vfree);
    purge(Wait::Yes);
    validate();
}

#[test]
fn pools_are_bounded_whether_areas_come_as_lists_or_one_by_one() {
    machine(8192, |_| {
        set_limits(Limits { pool_max_pages: 200, ..UNBOUNDED });
        // Lists that fit go in whole, to the last page.
        free_many(3, 50);
        assert_eq!(vmalloc_stat().pooled, 200);
        free_many(3, 50);
        assert_eq!(vmalloc_stat().pooled, 200);
        // Those that don't go in as far as there is room.
        free_many(3, 51);
        assert_eq!(vmalloc_stat().pooled, 200);
        vm_unmap_aliases();
        assert_eq!(vmalloc_stat().pooled, 0);
        free_many(4, 50);
        assert_eq!(vmalloc_stat().pooled, 200);
        free_many(1, 2);
        assert_eq!(vmalloc_stat().pooled, 200);
        // Large areas are never on a list by size.
        vm_unmap_aliases();
        free_many(100, 2);
        assert_eq!(vmalloc_stat().pooled, 101);
        free_many(255, 1);
        assert_eq!(vmalloc_stat().pooled, 101);
        vm_unmap_aliases();
        set_limits(UNBOUNDED);
        free_many(255, 1);
        assert_eq!(vmalloc_stat().pooled, 256);
        free_many(256, 1);
        assert_eq!(vmalloc_stat().pooled, 256);
    });
}

/// A small area gets the pages that wait where memory is short, without reclaim too.
#[test]
fn pages_that_wait_serve_small_areas() {
    machine(8192, |_| {
        set_limits(UNBOUNDED);
        let areas: Vec<_> =
            (0..20).map(|_| vmalloc(9 * PAGE_SIZE, Gfp::GFP_KERNEL).unwrap()).collect();
        free_many(9, 2);
        areas.into_iter().for_each(vfree);
        let taken = take_all();
        let va = vmalloc(9 * PAGE_SIZE, Gfp::GFP_NOWAIT | Gfp::__GFP_NOWARN);
        vfree(va.expect("pages wait"));
        // SAFETY: allocated here, and nobody uses it any more.
        taken.into_iter().for_each(|frame| unsafe { page_alloc::free_pages(frame, Order::ZERO) });
        validate();
    });
}

/// Tables that were forgotten and areas that are not noted any more are a matter of time alone.
#[test]
fn areas_all_over_the_range_are_freed() {
    machine(32 << 10, |m| {
        set_limits(UNBOUNDED);
        let before = used_pages();
        for round in 0..2 {
            let mut areas: Vec<_> = (0..3000)
                .map(|n| {
                    let va = vmalloc(PAGE_SIZE, Gfp::GFP_KERNEL).unwrap();
                    m.mmu().write(va, n).unwrap();
                    (va, n)
                })
                .collect();
            let mut at = 0;
            while !areas.is_empty() {
                at = (at + 997 + round) % areas.len();
                let (va, n) = areas.swap_remove(at);
                assert_eq!(m.mmu().read(va), Ok(n));
                vfree(va);
                assert!(!init_mm::is_mapped(VirtRange::from_size(va, PAGE_SIZE)));
            }
            let stat = vmalloc_stat();
            assert_eq!((stat.mapped, stat.lazy, stat.lazy_frames), (0, 6000, 3000));
            validate();
            purge(Wait::Yes);
            assert_eq!((vmalloc_stat().lazy, vmalloc_stat().pooled), (0, 6000));
            validate();
        }
        shrink();
        assert_eq!(used_pages(), before);
    });
}

/// Backings of large areas wait with the others', wherever an area was unmapped.
#[test]
fn areas_with_something_of_their_own_wait_one_by_one() {
    machine(8192, |m| {
        set_limits(UNBOUNDED);
        let before = used_pages();
        for pages in [15, 16, 17, 31, 32, 33, 100] {
            let va = vmalloc(pages * PAGE_SIZE, Gfp::GFP_KERNEL).unwrap();
            for n in 0..pages {
                m.mmu().write(va + n * PAGE_SIZE, n as u64).unwrap();
            }
            vfree(va);
            assert!(!init_mm::is_mapped(VirtRange::from_size(va, pages * PAGE_SIZE)), "{pages}");
            assert_eq!(vmalloc_stat().lazy_frames, pages);
            validate();
            purge(Wait::Yes);
            for n in 0..pages {
                assert!(m.mmu().read(va + n * PAGE_SIZE).is_err(), "{pages}: page {n}");
            }
            validate();
        }
        shrink();
        assert_eq!(used_pages(), before);
    });
}

/// Pages are given back when no TLB leads to them any more: at each point at which a purge can be
/// interrupted, those that are free have no translation left on any CPU.
#[test]
fn pages_are_given_back_after_the_flush() {
    machine(8192, |m| {
        set_limits(UNBOUNDED);
        let cpus = [CpuId::BOOT, CpuId::new(1).unwrap()];
        for pages in [1, 9, 40, 300] {
            let va = vmalloc(pages * PAGE_SIZE, Gfp::GFP_KERNEL).unwrap();
            fill(m, va, pages, 7);
            let at: Vec<_> = (0..pages).map(|n| va + n * PAGE_SIZE).collect();
            for &page in &at {
                m.mmu().access_by(cpus[1], page, Access::Read).unwrap();
            }
            let frames: Vec<_> = at.iter().map(|&page| vmalloc_to_page(page).unwrap()).collect();
            vfree(va);
            let (free, points, stale) = (Cell::new(0), Cell::new(0), Cell::new(None));
            let is_allocated =
                |frame| matches!(page_alloc::state_of(frame), page_alloc::State::Allocated { .. });
            let handler = || {
                points.set(points.get() + 1);
                let given_back = frames.iter().zip(&at).filter(|(frame, _)| !is_allocated(**frame));
                free.set(0);
                for (frame, &page) in given_back {
                    free.set(free.get() + 1);
                    let reads = |&cpu: &CpuId| m.mmu().access_by(cpu, page, Access::Read).is_ok();
                    if let Some(cpu) = cpus.into_iter().find(reads) {
                        stale.set(Some((cpu, page, *frame)));
                    }
                }
            };
            assert!(with_interrupts(&handler, || purge(Wait::Yes)));
            assert_eq!(stale.get(), None, "a CPU reads a page by an address, and it is free");
            assert!(points.get() > 1 && free.get() == pages, "{pages}: {free:?}, {points:?}");
            validate();
        }
    });
}

/// Addresses that wait for a flush serve an area for which there are no others.
#[test]
fn addresses_that_wait_serve_who_finds_no_others() {
    machine(4096, |_| {
        set_limits(Limits { lazy_max_pages: usize::MAX, ..UNBOUNDED });
        let frame = some_frames(1)[0];
        // Nearly 16 TiB, of which the first page is mapped.
        let reserve = || {
            let request = Request::new(u32::MAX - 1, VmFlags::VM_MAP, Gfp::GFP_KERNEL);
            request.map(Backing::None, |used| {
                let first = VirtRange::from_size(used.start(), PAGE_SIZE);
                mapping::map_range(first, frame.phys(), KernelAttrs::KERNEL)
            })
        };
        let all: Vec<_> = core::iter::from_fn(reserve).collect();
        assert!(all.len() >= 2, "{all:?}");
        assert_eq!(reserve(), None);
        vunmap(all[1]);
        assert_eq!(vmalloc_stat().lazy, u32::MAX as usize, "the addresses wait");
        assert_eq!(reserve(), Some(all[1]));
        assert_eq!(vmalloc_stat().lazy, 0);
        validate();
        all.into_iter().for_each(vunmap);
    });
}
