//! vmalloc on the emulated machine: contents, guards, life cycles, exhaustion.

mod flush;
mod large;
mod lazy;
mod misuse;
mod model;
mod nodes;
mod va_space;

use super::*;
use crate::addr::{Order, PMD_SIZE, PhysAddr, VirtRange};
use crate::arch::CpuId;
use crate::arch::hosted::Machine;
use crate::arch::hosted::mmu::{Access, Config, Fault, Mutation, Step};
use crate::mm::alloc_pages;
use crate::mm::page_alloc;
use crate::mm::validate;
use model::some_frames;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::format;
use std::vec::Vec;

/// Runs `f` on a machine of `kib` KiB of RAM.
pub(crate) fn machine<R>(kib: u64, f: impl FnOnce(&Machine) -> R) -> R {
    // Now and then a CPU walks what is being stored: enough to find what is forgotten.
    let mmu = Config { eagerness: 40, ..Config::eager(1) };
    machine_with(kib, mmu, f)
}

pub(crate) fn machine_with<R>(kib: u64, mmu: Config, f: impl FnOnce(&Machine) -> R) -> R {
    let ram = [PhysRange::from_size(PhysAddr::new(0x4000_0000), kib << 10)];
    Machine::run(&ram, |m| {
        page_alloc::init(m.ram());
        init_mm::install(init_mm::new_root().unwrap());
        m.mmu().attach(init_mm::root().unwrap(), mmu);
        f(m)
    })
}

/// [`super::vfree`].
#[track_caller]
pub(crate) fn vfree(va: VirtAddr) {
    free_area(va);
}

/// [`super::vunmap`].
#[track_caller]
pub(crate) fn vunmap(va: VirtAddr) {
    unmap_area_of_vmap(va);
}

/// [`super::vm_unmap_ram`].
#[track_caller]
pub(super) fn vm_unmap_ram(va: VirtAddr, pages: usize) {
    vmap_block::end(va, pages);
}

/// [`super::vread`].
pub(crate) fn vread(va: VirtAddr, buffer: &mut [u8]) -> usize {
    super::vread::read(va, buffer)
}

pub(super) fn take_all() -> Vec<Frame> {
    let gfp = Gfp::GFP_NOWAIT | Gfp::__GFP_MEMALLOC;
    core::iter::from_fn(|| alloc_pages::alloc_pages(gfp, Order::ZERO)).collect()
}

/// Returns the number of allocated pages.
pub(crate) fn used_pages() -> u32 {
    validate::validate().unwrap();
    page_alloc::nr_used_pages()
}

/// The addresses of `pages` pages from `va`.
fn range(va: VirtAddr, pages: usize) -> VirtRange {
    VirtRange::from_size(va, pages * PAGE_SIZE)
}

fn write(m: &Machine, va: VirtAddr, value: u64) {
    m.mmu().write(va, value).unwrap_or_else(|fault| panic!("write to {va}: {fault:?}"));
}

fn read(m: &Machine, va: VirtAddr) -> u64 {
    m.mmu().read(va).unwrap_or_else(|fault| panic!("read from {va}: {fault:?}"))
}

/// Marks every page of an area.
pub(super) fn fill(m: &Machine, va: VirtAddr, pages: usize, tag: u64) {
    for i in 0..pages {
        write(m, va + i * PAGE_SIZE, tag << 32 | i as u64);
        write(m, va + i * PAGE_SIZE + PAGE_SIZE - 8, !tag);
    }
}

pub(super) fn check(m: &Machine, va: VirtAddr, pages: usize, tag: u64) {
    for i in 0..pages {
        assert_eq!(read(m, va + i * PAGE_SIZE), tag << 32 | i as u64, "page {i} at {va}");
        assert_eq!(read(m, va + i * PAGE_SIZE + PAGE_SIZE - 8), !tag, "page {i} at {va}");
    }
}

#[test]
fn vmalloc_areas_are_mapped_to_their_end_and_apart() {
    machine(2048, |m| {
        let before = used_pages();
        let a = vmalloc(3 * PAGE_SIZE, Gfp::GFP_KERNEL).unwrap();
        let b = vmalloc(1, Gfp::GFP_KERNEL).unwrap();
        fill(m, a, 3, 1);
        fill(m, b, 1, 2);
        check(m, a, 3, 1);
        assert_eq!(b, a + 4 * PAGE_SIZE, "one guard page between");
        assert_eq!(init_mm::translate(a + 3 * PAGE_SIZE), None);
        assert_eq!(init_mm::translate(b + PAGE_SIZE), None);
        assert!(is_vmalloc_addr(a) && !is_vmalloc_addr(VirtAddr::new(0x1000)));
        let frame = vmalloc_to_page(a + PAGE_SIZE + 5).unwrap();
        assert_eq!(frame.phys() + 5, init_mm::translate(a + PAGE_SIZE + 5).unwrap().0);
        assert_eq!(vmalloc_to_page(b + PAGE_SIZE), None);
        assert_eq!(vmalloc_stat().mapped, 4);
        validate();
        vfree(a);
        vfree(b);
        vfree(VirtAddr::new(0));
        assert_eq!(init_mm::translate(a), None);
        validate();
        shrink();
        assert_eq!(vmalloc_stat(), VmallocStat::default());
        assert_eq!(used_pages(), before);
    });
}

#[test]
fn vzalloc_zeroes_what_others_left() {
    machine(1024, |m| {
        let dirty = vmalloc(8 * PAGE_SIZE, Gfp::GFP_KERNEL).unwrap();
        fill(m, dirty, 8, !0);
        vfree(dirty);
        vm_unmap_aliases();
        let va = vzalloc(8 * PAGE_SIZE, Gfp::GFP_KERNEL).unwrap();
        for at in (0..8 * PAGE_SIZE).step_by(8) {
            assert_eq!(read(m, va + at), 0);
        }
    });
}

#[test]
fn vmalloc_refuses_nonsense() {
    machine(1024, |_| {
        let before = used_pages();
        for size in [0, usize::MAX, usize::MAX - PAGE_SIZE, 1 << 45, 1 << 40, 2 << 20] {
            assert_eq!(vmalloc(size, Gfp::GFP_KERNEL), None, "{size:#x} bytes");
        }
        assert_eq!(vmap(&[], KernelAttrs::KERNEL), None);
        validate();
        shrink();
        assert_eq!(used_pages(), before);
    });
}

#[test]
fn an_area_larger_than_ram_takes_nothing_from_others() {
    machine(1024, |_| {
        let on_lists = || page_alloc::zones().map(|zone| zone.pcp).sum::<u32>();
        page_alloc::drain_all_pages();
        assert_eq!(vmalloc((4 << 20) + PAGE_SIZE, Gfp::GFP_KERNEL), None);
        assert_eq!(on_lists(), 0, "pages were taken and given back");
    });
}

#[test]
fn pages_wait_for_the_flush_and_addresses_too() {
    machine(1024, |_| {
        let va = vmalloc(4 * PAGE_SIZE, Gfp::GFP_KERNEL).unwrap();
        let frames: Vec<_> = (0..4).map(|i| vmalloc_to_page(va + i * PAGE_SIZE).unwrap()).collect();
        vfree(va);
        let stat = vmalloc_stat();
        assert_eq!((stat.mapped, stat.lazy, stat.lazy_frames), (0, 5, 4));
        let taken = take_all();
        assert!(taken.iter().all(|frame| !frames.contains(frame)), "reused before the flush");
        // SAFETY: allocated here, and nobody uses it any more.
        taken.into_iter().for_each(|frame| unsafe { page_alloc::free_pages(frame, Order::ZERO) });
        assert_ne!(vmalloc(4 * PAGE_SIZE, Gfp::GFP_KERNEL), Some(va), "reused before the flush");
        vm_unmap_aliases();
        let taken = take_all();
        assert!(frames.iter().all(|frame| taken.contains(frame)), "not given back by the purge");
        // SAFETY: allocated here, and nobody uses it any more.
        taken.into_iter().for_each(|frame| unsafe { page_alloc::free_pages(frame, Order::ZERO) });
        assert_eq!(vmalloc(4 * PAGE_SIZE, Gfp::GFP_KERNEL), Some(va), "the lowest gap that fits");
    });
}

#[test]
fn waiting_pages_are_bounded_and_pools_serve_the_same_size() {
    machine(4096, |_| {
        init(1, 4096);
        let mut seen = Vec::new();
        for _ in 0..100 {
            let va = vmalloc(3 * PAGE_SIZE, Gfp::GFP_KERNEL).unwrap();
            seen.push(va);
            vfree(va);
            assert!(vmalloc_stat().lazy_frames <= 16);
            validate();
        }
        seen.sort();
        seen.dedup();
        assert!(seen.len() <= 12, "{} different areas", seen.len());
        assert!(vmalloc_stat().pooled > 0);
    });
}

#[test]
fn pooled_addresses_serve_those_whose_alignment_they_have() {
    machine(4096, |_| {
        init(1, 4096);
        let get = |align| vmalloc_aligned(3 * PAGE_SIZE, align, Gfp::GFP_KERNEL).unwrap();
        let held: Vec<_> = (0..8).map(|_| get(PAGE_SIZE)).collect();
        held.into_iter().for_each(vfree);
        purge(Wait::Yes);
        assert_eq!(vmalloc_stat().pooled, 8 * 4);
        let aligned: Vec<_> = (0..8).map(|_| get(16 * PAGE_SIZE)).collect();
        assert!(aligned.iter().all(|va| va.is_aligned(16 * PAGE_SIZE)), "{aligned:?}");
        aligned.into_iter().for_each(vfree);
        validate();
    });
}

/// Edits by way of the tables that were walked to lately end where one by a walk does.
#[test]
fn edits_by_remembered_tables_keep_to_their_addresses() {
    machine(4096, |_| {
        let frames: Vec<_> = (0..4)
            .map(|_| alloc_pages::alloc_pages(Gfp::GFP_KERNEL, Order::ZERO).unwrap())
            .collect();
        let map = |va, n: usize| {
            mapping::map_pages(va, frames[..n].iter().map(|f| f.phys()), KernelAttrs::KERNEL)
        };
        let near = layout::VMALLOC.start();
        // Where a table has the same place among those remembered.
        for far in [8 * PMD_SIZE, 512 * PMD_SIZE, 4096 * PMD_SIZE] {
            map(near, 2).unwrap();
            map(near + far, 1).unwrap();
            mapping::unmap(range(near, 2)).flush();
            assert!(
                init_mm::is_mapped(range(near + far, 1)) && !init_mm::is_mapped(range(near, 2))
            );
            mapping::unmap(range(near + far, 1)).flush();
        }
        // What was mapped before it met something is taken back.
        map(near + 2 * PAGE_SIZE, 1).unwrap();
        assert_eq!(map(near, 4), Err(crate::arch::pgtable::MapError::AlreadyMapped));
        assert!(
            !init_mm::is_mapped(range(near, 2))
                && init_mm::is_mapped(range(near + 2 * PAGE_SIZE, 1))
        );
        mapping::unmap(range(near, 4)).flush();
        // SAFETY: allocated here, and nobody uses it any more.
        frames.into_iter().for_each(|frame| unsafe { page_alloc::free_pages(frame, Order::ZERO) });
    });
}

#[test]
fn memory_that_waits_is_no_reason_to_fail() {
    machine(4096, |_| {
        init(1, 1 << 20);
        let lazy_max_frames = 1024;
        with_areas(|areas| areas.set_limits(Limits { lazy_max_frames, ..FIRST_LIMITS }));
        for gfp in [Gfp::GFP_KERNEL, Gfp::GFP_NOWAIT] {
            for _ in 0..3 {
                let va = vmalloc(600 * PAGE_SIZE, gfp).expect("less than there is");
                vfree(va);
                assert_eq!(vmalloc_stat().lazy_frames, 600);
            }
        }
        // Nor for others, who may reclaim.
        let before = page_alloc::nr_free_pages();
        let frame = |_| alloc_pages::alloc_pages(Gfp::GFP_KERNEL, Order::ZERO);
        let taken: Vec<_> = (0..before + 100).map_while(frame).collect();
        assert_eq!(taken.len() as u32, before + 100);
        assert_eq!(vmalloc_stat().lazy_frames, 0);
    });
}

#[test]
fn vfree_with_interrupts_masked_defers_the_purge() {
    machine(2048, |_| {
        init(1, 256);
        let areas: Vec<_> = (0..8).map(|_| vmalloc(PAGE_SIZE, Gfp::GFP_KERNEL).unwrap()).collect();
        with_masked(|_| areas.iter().for_each(|va| vfree(*va)));
        assert_eq!(vmalloc_stat().lazy_frames, 8);
        let va = vmalloc(PAGE_SIZE, Gfp::GFP_KERNEL).unwrap();
        vfree(va);
        assert_eq!(vmalloc_stat().lazy_frames, 0);
    });
}

#[test]
fn vmap_maps_the_given_pages_as_asked() {
    machine(1024, |m| {
        let before = used_pages();
        let mut frames = take_all();
        // SAFETY: allocated here, and nobody uses it any more.
        frames
            .split_off(5)
            .into_iter()
            .for_each(|f| unsafe { page_alloc::free_pages(f, Order::ZERO) });
        frames.reverse();
        let va = vmap(&frames, KernelAttrs::KERNEL_RO).unwrap();
        let again = vmap(&frames[1..2], KernelAttrs::KERNEL).unwrap();
        for (i, frame) in frames.iter().enumerate() {
            let (pa, attrs) = init_mm::translate(va + i * PAGE_SIZE).unwrap();
            assert_eq!((pa, attrs), (frame.phys(), KernelAttrs::KERNEL_RO));
        }
        write(m, again, 42);
        assert_eq!(read(m, va + PAGE_SIZE), 42);
        assert_eq!(init_mm::translate(va + 5 * PAGE_SIZE), None);
        vunmap(va);
        vunmap(again);
        shrink();
        // SAFETY: allocated here, and nobody uses it any more.
        frames.into_iter().for_each(|frame| unsafe { page_alloc::free_pages(frame, Order::ZERO) });
        assert_eq!(used_pages(), before);
    });
}

#[test]
fn vmallocinfo_lists_areas_in_order_as_linux_does() {
    machine(1024, |_| {
        let a = vmalloc(2 * PAGE_SIZE, Gfp::GFP_KERNEL).unwrap();
        let b = vmalloc(PAGE_SIZE, Gfp::GFP_KERNEL).unwrap();
        let line = line!() + 1;
        let c = vmap(&[vmalloc_to_page(a).unwrap()], KernelAttrs::KERNEL).unwrap();
        vfree(b);
        let info: Vec<_> = vmallocinfo().collect();
        let expected = [(range(a, 3), VmFlags::VM_ALLOC, 2), (range(c, 2), VmFlags::VM_MAP, 1)];
        assert_eq!(
            info.iter().map(|i| (i.range, i.flags, i.nr_pages)).collect::<Vec<_>>(),
            expected
        );
        let text = format!("{}", info[1]);
        let file = file!();
        assert_eq!(
            text,
            format!("0xffff800100005000-0xffff800100007000    8192 {file}:{line} pages=1 vmap")
        );
        assert!(format!("{}", info[0]).ends_with("pages=2 vmalloc"));
    });
}

/// An allocation, tried with every number of free pages from none to enough, works or leaves no
/// trace.
#[test]
fn vmalloc_out_of_memory_leaks_nothing() {
    machine(1024, |m| {
        let total = used_pages();
        let (mut worked, most) = (0, 74);
        for left in 0..most {
            let mut taken = take_all();
            let rest = taken.split_off(taken.len() - left);
            // SAFETY: allocated here, and nobody uses it any more.
            rest.into_iter().for_each(|f| unsafe { page_alloc::free_pages(f, Order::ZERO) });
            let used = used_pages();
            let frames = &taken[..4];
            // The second reaches deeper for its pages than page tables do.
            for gfp in [Gfp::GFP_KERNEL, Gfp::GFP_KERNEL | Gfp::__GFP_MEMALLOC] {
                let va = vmalloc(8 * PAGE_SIZE, gfp | Gfp::__GFP_NOWARN);
                let mapped = vmap(frames, KernelAttrs::KERNEL);
                validate();
                if let Some(va) = va {
                    fill(m, va, 8, 7);
                    check(m, va, 8, 7);
                    vfree(va);
                    worked += 1;
                }
                if let Some(va) = mapped {
                    vunmap(va);
                }
                shrink();
                assert_eq!(used_pages(), used, "pages are lost");
                assert_eq!(vmalloc_stat(), VmallocStat::default());
            }
            // SAFETY: allocated here, and nobody uses it any more.
            taken.into_iter().for_each(|f| unsafe { page_alloc::free_pages(f, Order::ZERO) });
            assert_eq!(used_pages(), total);
        }
        assert!((most..2 * most).contains(&worked), "{worked} of {} allocations worked", 2 * most);
    });
}
