//! vmalloc on the emulated machine: contents, guards, life cycles, exhaustion.

use super::*;
use crate::addr::{Order, PMD_SIZE, PhysAddr, VirtRange};
use crate::arch::CpuId;
use crate::arch::hosted::Machine;
use crate::arch::hosted::mmu::{Access, Config, Fault, Mutation, Step};
use crate::mm::alloc_pages;
use crate::mm::page_alloc;
use crate::mm::validate;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::format;
use std::vec::Vec;

/// Runs `f` on a machine of `kib` KiB of RAM.
pub(in crate::mm) fn machine<R>(kib: u64, f: impl FnOnce(&Machine) -> R) -> R {
    // Now and then a CPU walks what is being stored: enough to find what is forgotten.
    let mmu = Config { eagerness: 40, ..Config::eager(1) };
    machine_with(kib, mmu, f)
}

pub(in crate::mm) fn machine_with<R>(kib: u64, mmu: Config, f: impl FnOnce(&Machine) -> R) -> R {
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
pub(in crate::mm) fn vfree(va: VirtAddr) {
    free_area(va);
}

/// [`super::vunmap`].
#[track_caller]
pub(in crate::mm) fn vunmap(va: VirtAddr) {
    unmap_area_of_vmap(va);
}

/// [`super::vm_unmap_ram`].
#[track_caller]
pub(super) fn vm_unmap_ram(va: VirtAddr, pages: usize) {
    vmap_block::end(va, pages);
}

/// [`super::vread`].
pub(in crate::mm) fn vread(va: VirtAddr, buffer: &mut [u8]) -> usize {
    super::vread::read(va, buffer)
}

pub(super) fn take_all() -> Vec<Frame> {
    let gfp = Gfp::GFP_NOWAIT | Gfp::__GFP_MEMALLOC;
    core::iter::from_fn(|| alloc_pages::alloc_pages(gfp, Order::ZERO)).collect()
}

/// Returns the number of allocated pages.
pub(in crate::mm) fn used_pages() -> u32 {
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

#[test]
#[should_panic(expected = "vfree: no such area is in use at 0xffff800100000000")]
fn vfree_twice_is_caught() {
    machine(1024, |_| {
        let va = vmalloc(1, Gfp::GFP_KERNEL).unwrap();
        vfree(va);
        vfree(va);
    });
}

#[test]
#[should_panic(expected = "vfree: no such area")]
fn vfree_into_the_middle_is_caught() {
    machine(1024, |_| vfree(vmalloc(9000, Gfp::GFP_KERNEL).unwrap() + PAGE_SIZE));
}

#[test]
#[should_panic(expected = "vunmap: no such area")]
fn vunmap_of_a_vmalloc_area_is_caught() {
    machine(1024, |_| vunmap(vmalloc(9000, Gfp::GFP_KERNEL).unwrap()));
}

#[test]
#[should_panic(expected = "vunmap: no such area")]
fn vunmap_of_a_vmalloc_area_is_caught_on_the_short_way() {
    machine(1024, |_| {
        let get = |()| vmalloc(9000, Gfp::GFP_KERNEL).unwrap();
        // From here on their table is remembered.
        [(), ()].map(get).into_iter().for_each(vfree);
        vunmap(get(()));
    });
}

#[test]
#[should_panic(expected = "backs a vmalloc area")]
fn a_page_taken_from_under_an_area_is_caught() {
    machine(1024, |_| {
        let va = vmalloc(9000, Gfp::GFP_KERNEL).unwrap();
        let page = vmalloc_to_page(va).unwrap().page();
        page.set_flags(crate::mm::page::PageFlags::SLAB);
        vfree(va);
        vm_unmap_aliases();
    });
}

/// An allocation, tried with every number of free pages from none to enough, works or leaves no
/// trace.
#[test]
fn vmalloc_out_of_memory_leaks_nothing() {
    machine(1024, |m| {
        let total = used_pages();
        let (mut worked, most) = (0, 70);
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

/// Allocates, touches, frees, purges and allocates again at the same address, with two
/// CPUs that keep stale translations for as long as they may.
fn reuse(m: &Machine) {
    let other = CpuId::new(1).unwrap();
    let both = |va, access| {
        let here = m.mmu().access(va, access);
        assert_eq!(here, m.mmu().access_by(other, va, access), "at {va}");
        here
    };
    let first = vmalloc(3 * PAGE_SIZE, Gfp::GFP_KERNEL).unwrap();
    fill(m, first, 3, 1);
    both(first, Access::Read).unwrap();
    assert_eq!(both(first + 3 * PAGE_SIZE, Access::Read), Err(Fault::Translation), "no guard");
    vfree(first);
    vm_unmap_aliases();
    for i in 0..3 {
        let gone = both(first + i * PAGE_SIZE, Access::Write);
        assert_eq!(gone, Err(Fault::Translation), "page {i} is reached after the purge");
    }
    // Keeps the former pages from being the new ones.
    let _held: Vec<_> =
        (0..3).map(|_| alloc_pages::alloc_pages(Gfp::GFP_KERNEL, Order::ZERO)).collect();
    let second = vmalloc(3 * PAGE_SIZE, Gfp::GFP_KERNEL).unwrap();
    assert_eq!(second, first);
    for i in 0..3 {
        let at = second + i * PAGE_SIZE;
        assert_eq!(both(at, Access::Write), Ok(vmalloc_to_page(at).unwrap().phys()));
    }
}

#[test]
fn a_purge_leaves_no_stale_translation() {
    for seed in 0..if cfg!(miri) { 1 } else { 40 } {
        machine_with(1024, Config::eager(seed), reuse);
    }
}

/// The test above can fail: it does for each step of the flush that is left out.
#[test]
fn every_step_of_the_flush_is_needed() {
    for step in [Step::DsbIshst, Step::TlbiVaLast, Step::DsbIsh] {
        let found = (0..20).any(|seed| {
            let run = |m: &Machine| {
                m.mmu().mutate(Some(Mutation::Without(step)));
                reuse(m);
            };
            let run = || machine_with(1024, Config::eager(seed), run);
            std::panic::catch_unwind(run).is_err()
        });
        assert!(found, "nobody misses {step:?}");
    }
    let local = |m: &Machine| {
        m.mmu().mutate(Some(Mutation::LocalOnly));
        reuse(m);
    };
    let run = || machine_with(1024, Config::eager(1), local);
    assert!(std::panic::catch_unwind(run).is_err(), "nobody misses the broadcast");
}

#[derive(Clone, Debug)]
enum Op {
    Vmalloc(usize),
    Vmap(usize),
    Free(usize),
    Purge,
    Shrink,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (1usize..20).prop_map(Op::Vmalloc),
        1 => (250usize..270).prop_map(Op::Vmalloc),
        2 => (1usize..9).prop_map(Op::Vmap),
        6 => any::<usize>().prop_map(Op::Free),
        1 => Just(Op::Purge),
        1 => Just(Op::Shrink),
    ]
}

/// Areas in use, as `address -> (pages, tag)`; those without a tag are vmap's.
type Model = BTreeMap<VirtAddr, (usize, Option<u64>)>;

fn step(m: &Machine, model: &mut Model, op: &Op, tag: u64, shared: &[Frame]) {
    match *op {
        Op::Vmalloc(pages) => {
            let Some(va) = vmalloc(pages * PAGE_SIZE - 7, Gfp::GFP_KERNEL) else { return };
            fill(m, va, pages, tag);
            assert_eq!(init_mm::translate(va + pages * PAGE_SIZE), None, "the guard page");
            assert!(model.insert(va, (pages, Some(tag))).is_none());
        }
        Op::Vmap(pages) => {
            let Some(va) = vmap(&shared[..pages], KernelAttrs::KERNEL) else { return };
            assert_eq!(vmalloc_to_page(va + (pages - 1) * PAGE_SIZE), Some(shared[pages - 1]));
            assert!(model.insert(va, (pages, None)).is_none());
        }
        Op::Free(n) => {
            if let Some(va) = model.keys().nth(n % model.len().max(1)).copied() {
                match model.remove(&va).unwrap() {
                    (pages, Some(tag)) => {
                        check(m, va, pages, tag);
                        vfree(va);
                    }
                    (_, None) => vunmap(va),
                }
            }
        }
        Op::Purge => vm_unmap_aliases(),
        Op::Shrink => shrink(),
    }
}

fn end(m: &Machine, mut model: Model, shared: &[Frame]) {
    while !model.is_empty() {
        step(m, &mut model, &Op::Free(0), 0, shared);
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 2 } else { 60 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]
    #[test]
    fn vmalloc_random_operations_agree_with_the_model(
        ops in prop::collection::vec(op(), 1..if cfg!(miri) { 20 } else { 120 })
    ) {
        machine(4096, |m| {
            init(1, 8192);
            let shared = some_frames(9);
            let before = used_pages();
            let mut model = Model::new();
            for (tag, op) in ops.iter().enumerate() {
                step(m, &mut model, op, tag as u64, &shared);
                validate();
                let areas: Vec<_> = vmallocinfo().map(|i| (i.range, i.nr_pages as usize)).collect();
                let expected = model.iter().map(|(va, (n, _))| (range(*va, n + 1), *n));
                assert_eq!(areas, expected.collect::<Vec<_>>());
            }
            end(m, model, &shared);
            shrink();
            validate();
            assert_eq!(vmalloc_stat(), VmallocStat::default());
            assert_eq!(used_pages(), before);
        });
    }
}

pub(super) fn some_frames(n: usize) -> Vec<Frame> {
    (0..n).map(|_| alloc_pages::alloc_pages(Gfp::GFP_KERNEL, Order::ZERO).unwrap()).collect()
}

#[test]
fn vmalloc_on_several_cpus_keeps_areas_apart() {
    let rounds = if cfg!(miri) { 10 } else { 1500 };
    machine(8192, |m| {
        init(1, 8192);
        let shared = some_frames(9);
        let before = used_pages();
        m.on_cpus(4, |cpu| {
            let mut random = 0x9e37_79b9_7f4a_7c15 ^ (cpu as u64 + 1);
            let mut model = Model::new();
            for round in 0..rounds {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                let n = (random >> 8) as usize;
                let op = match random % 16 {
                    0..6 => Op::Vmalloc(n % 12 + 1),
                    6..8 => Op::Vmap(n % 9 + 1),
                    15 if n.is_multiple_of(8) => Op::Shrink,
                    15 => Op::Purge,
                    _ => Op::Free(n),
                };
                step(m, &mut model, &op, (cpu * rounds + round) as u64, &shared);
            }
            end(m, model, &shared);
        });
        validate();
        shrink();
        validate();
        assert_eq!(vmalloc_stat(), VmallocStat::default());
        assert_eq!(used_pages(), before);
    });
}
