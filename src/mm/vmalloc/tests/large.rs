//! Large areas and how they are mapped, short-lived mappings, and reading areas.

use super::{
    check, fill, machine, machine_with, some_frames, take_all, used_pages, vfree, vm_unmap_ram,
    vread,
};
use crate::addr::Order;
use crate::arch::hosted::mmu::{Access, Config};
use crate::arch::pgtable::Level;
use crate::mm::page_alloc;
use crate::mm::set_memory;
use crate::mm::vmalloc::*;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::vec::Vec;

/// The levels and sets in which an area is mapped: pages in blocks, in sets, alone.
fn pieces(va: VirtAddr, pages: usize) -> [usize; 3] {
    let mut found = [0; 3];
    for n in 0..pages {
        let t = init_mm::entry(va + n * PAGE_SIZE).expect("mapped");
        match (t.level, t.contiguous) {
            (Level::Pmd, _) => found[0] += 1,
            (Level::Pte, true) => found[1] += 1,
            _ => found[2] += 1,
        }
    }
    found
}

#[test]
fn large_areas_are_mapped_in_large_pieces() {
    machine(32 << 10, |m| {
        let before = used_pages();
        let pages = 2 * 512 + 64 + 16 + 3;
        let va = vmalloc_huge(pages * PAGE_SIZE, Gfp::GFP_KERNEL).unwrap();
        assert_eq!(pieces(va, pages), [1024, 80, 3]);
        assert_eq!(init_mm::entry(va + pages * PAGE_SIZE), None, "the guard page");
        fill(m, va, pages, 5);
        check(m, va, pages, 5);
        for n in [0, 511, 512, 1024, pages - 1] {
            let frame = vmalloc_to_page(va + n * PAGE_SIZE).unwrap();
            assert_eq!(frame.phys(), init_mm::translate(va + n * PAGE_SIZE).unwrap().0);
        }
        validate();
        let small = vmalloc(16 * PAGE_SIZE, Gfp::GFP_KERNEL).unwrap();
        assert_eq!(pieces(small, 16), [0, 16, 0]);
        vfree(small);
        vfree(va);
        // Its addresses serve again, in pages this time.
        vm_unmap_aliases();
        let again = vmalloc(15 * PAGE_SIZE, Gfp::GFP_KERNEL).unwrap();
        assert_eq!(pieces(again, 15), [0, 0, 15]);
        vfree(again);
        shrink();
        assert_eq!(vmalloc_stat(), VmallocStat::default());
        assert_eq!(used_pages(), before);
    });
}

#[test]
fn scattered_memory_serves_large_areas_too() {
    machine(8192, |m| {
        let mut all = take_all();
        all.sort_by_key(|frame| frame.phys());
        let (give, keep): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|frame| frame.pfn().get() % 4 != 0);
        // SAFETY: allocated here, and nobody uses it any more.
        give.into_iter().for_each(|frame| unsafe { page_alloc::free_pages(frame, Order::ZERO) });
        let before = used_pages();
        let va = vmalloc(600 * PAGE_SIZE, Gfp::GFP_KERNEL).unwrap();
        assert_eq!(pieces(va, 600), [0, 0, 600]);
        fill(m, va, 600, 9);
        check(m, va, 600, 9);
        vfree(va);
        shrink();
        assert_eq!(used_pages(), before);
        // SAFETY: allocated here, and nobody uses it any more.
        keep.into_iter().for_each(|frame| unsafe { page_alloc::free_pages(frame, Order::ZERO) });
    });
}

/// An allocation of a large area, tried with every number of free pages, works or leaves no
/// trace.
#[test]
fn a_large_area_out_of_memory_leaks_nothing() {
    machine(2048, |m| {
        let (mut worked, mut failed) = (0, 0);
        for left in (0..90).step_by(3) {
            let mut taken = take_all();
            let rest = taken.split_off(taken.len() - left);
            // SAFETY: allocated here, and nobody uses it any more.
            rest.into_iter().for_each(|f| unsafe { page_alloc::free_pages(f, Order::ZERO) });
            let used = used_pages();
            let gfp = Gfp::GFP_KERNEL | Gfp::__GFP_MEMALLOC | Gfp::__GFP_NOWARN;
            match vmalloc(40 * PAGE_SIZE, gfp) {
                Some(va) => {
                    fill(m, va, 40, 3);
                    check(m, va, 40, 3);
                    vfree(va);
                    worked += 1;
                }
                None => failed += 1,
            }
            shrink();
            assert_eq!((used_pages(), vmalloc_stat()), (used, VmallocStat::default()));
            // SAFETY: allocated here, and nobody uses it any more.
            taken.into_iter().for_each(|f| unsafe { page_alloc::free_pages(f, Order::ZERO) });
        }
        assert!(worked > 5 && failed > 5, "{worked} worked, {failed} failed");
    });
}

#[test]
fn vread_sees_areas_and_zeros_between_them() {
    machine(1024, |m| {
        let a = vmalloc(2 * PAGE_SIZE, Gfp::GFP_KERNEL).unwrap();
        let b = vmap(&some_frames(1), KernelAttrs::KERNEL_RO).unwrap();
        m.mmu().write(a + PAGE_SIZE - 8, 0x1122_3344_5566_7788).unwrap();
        m.mmu().write(a + PAGE_SIZE, 42).unwrap();
        let mut buffer = [1; 4 * PAGE_SIZE];
        let found = vread(a + PAGE_SIZE - 6, &mut buffer[..PAGE_SIZE + 6 + 10]);
        assert_eq!(found, PAGE_SIZE + 6, "one page and a part, and none of the guard page");
        assert_eq!(buffer[..8], [0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 42, 0]);
        assert_eq!(buffer[PAGE_SIZE + 6..PAGE_SIZE + 16], [0; 10]);
        assert_eq!(buffer[PAGE_SIZE + 16], 1, "beyond the buffer");
        let whole = vread(a, &mut buffer);
        assert_eq!(whole, 3 * PAGE_SIZE, "two pages, a guard, and one page of {b}");
        vfree(a);
        assert_eq!(vread(a, &mut buffer), PAGE_SIZE);
        assert!(buffer[..3 * PAGE_SIZE].iter().all(|&byte| byte == 0));
    });
}

/// Pages that the linear map hides are as those of no area: to read them would fault.
#[test]
fn vread_passes_over_pages_that_the_linear_map_hides() {
    machine(8192, |m| {
        for ram in m.ram() {
            let linear = layout::LINEAR.start() + ram.start().get() as usize;
            let linear = VirtRange::from_size(linear, ram.len() as usize);
            let flags = crate::arch::pgtable::MapFlags::empty();
            let rw = KernelAttrs::KERNEL;
            init_mm::testing::map_range(linear, ram.start(), rw, flags).unwrap();
        }
        let area = vmalloc(3 * PAGE_SIZE, Gfp::GFP_KERNEL).unwrap();
        for n in 0..3 {
            m.mmu().write(area + n * PAGE_SIZE, 7 + n as u64).unwrap();
        }
        let hidden = init_mm::entry(area + PAGE_SIZE).unwrap().pa;
        let linear = layout::LINEAR.start() + hidden.get() as usize;
        set_memory::tests::set_memory_valid(linear, 1, false).unwrap();
        let mut buffer = [1; 3 * PAGE_SIZE];
        assert_eq!(vread(area, &mut buffer), 2 * PAGE_SIZE);
        assert_eq!([0, 1, 2].map(|n| buffer[n * PAGE_SIZE]), [7, 0, 9]);
        set_memory::tests::set_memory_valid(linear, 1, true).unwrap();
        assert_eq!(vread(area, &mut buffer), 3 * PAGE_SIZE);
        assert_eq!([0, 1, 2].map(|n| buffer[n * PAGE_SIZE]), [7, 8, 9]);
        vfree(area);
    });
}

#[test]
fn short_mappings_come_from_blocks_and_end_by_one_flush() {
    machine(4096, |m| {
        let frames = some_frames(40);
        let before = used_pages();
        let a = vm_map_ram(&frames[..3]).unwrap();
        let b = vm_map_ram(&frames[1..2]).unwrap();
        assert_eq!(b, a + 4 * PAGE_SIZE, "the next addresses, behind a guard page");
        m.mmu().write(b, 7).unwrap();
        assert_eq!(m.mmu().read(a + PAGE_SIZE), Ok(7));
        assert!(init_mm::entry(a + 3 * PAGE_SIZE).is_none());
        let seen = |at| {
            let cpus = [0, 1].map(|n| crate::arch::CpuId::new(n).unwrap());
            let tries = cpus.into_iter().cycle().take(12);
            tries.filter(|cpu| m.mmu().access_by(*cpu, at, Access::Read).is_ok()).count()
        };
        assert_eq!(seen(a), 12);
        vm_unmap_ram(a, 3);
        validate();
        // While others of its block are in use.
        vm_unmap_aliases();
        assert_eq!((seen(a), seen(b)), (0, 12));
        assert_ne!(vm_map_ram(&frames[..3]).unwrap(), a, "used again before the flush");
        vm_unmap_aliases();
        assert!(m.mmu().read(a).is_err());
        // Too many for a block.
        let large = vm_map_ram(&frames).unwrap();
        assert_eq!(vmalloc_to_page(large + 39 * PAGE_SIZE), Some(frames[39]));
        vm_unmap_ram(large, 40);
        vm_unmap_ram(b, 1);
        vm_unmap_ram(a + 6 * PAGE_SIZE, 3);
        shrink();
        assert_eq!(vmalloc_stat(), VmallocStat::default());
        assert_eq!(used_pages(), before);
        assert_eq!(vm_map_ram(&[]), None);
    });
}

#[test]
fn a_block_may_be_handed_out_to_its_last_page_and_end() {
    machine(4096, |_| {
        let frames = some_frames(3);
        let before = used_pages();
        for _ in 0..2 {
            // With their guard pages 256, which is a block.
            let all: Vec<_> = (0..64).map(|_| vm_map_ram(&frames).unwrap()).collect();
            assert_eq!(all[63], all[0] + 63 * 4 * PAGE_SIZE);
            all.into_iter().for_each(|va| vm_unmap_ram(va, 3));
            vm_unmap_aliases();
            validate();
        }
        let next = vm_map_ram(&frames).unwrap();
        vm_unmap_ram(next, 3);
        shrink();
        assert_eq!(vmalloc_stat(), VmallocStat::default());
        assert_eq!(used_pages(), before);
    });
}

#[test]
#[should_panic(expected = "vm_unmap_ram: no such area is in use")]
fn vm_unmap_ram_twice_is_caught() {
    machine(1024, |_| {
        let frames = some_frames(2);
        let _other = vm_map_ram(&frames);
        let va = vm_map_ram(&frames).unwrap();
        vm_unmap_ram(va, 2);
        vm_unmap_ram(va, 2);
    });
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 1 } else { 30 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]
    #[test]
    fn short_mappings_agree_with_the_model(
        seed: u64,
        ops in prop::collection::vec((1usize..20, any::<usize>(), 0u8..40), 1..150)
    ) {
        machine_with(4096, Config { eagerness: 16, ..Config::eager(seed) }, |m| {
            init(1, 8192);
            let frames = some_frames(20);
            let before = used_pages();
            let mut model: BTreeMap<VirtAddr, usize> = BTreeMap::new();
            for (count, n, what) in ops {
                match what {
                    0..20 => {
                        let va = vm_map_ram(&frames[..count]).unwrap();
                        for (i, frame) in frames[..count].iter().enumerate() {
                            let at = va + i * PAGE_SIZE;
                            let access = Access::Write;
                            assert_eq!(m.mmu().access(at, access), Ok(frame.phys()));
                        }
                        let below = model.range(..=va).next_back();
                        assert!(below.is_none_or(|(at, n)| *at + (n + 1) * PAGE_SIZE <= va));
                        assert!(model.insert(va, count).is_none());
                    }
                    20..38 => {
                        if let Some((&va, &n)) = model.iter().nth(n % model.len().max(1)) {
                            model.remove(&va);
                            vm_unmap_ram(va, n);
                        }
                    }
                    38 => vm_unmap_aliases(),
                    _ => shrink(),
                }
                validate();
            }
            model.into_iter().for_each(|(va, n)| vm_unmap_ram(va, n));
            shrink();
            assert_eq!(vmalloc_stat(), VmallocStat::default());
            assert_eq!(used_pages(), before);
        });
    }
}

/// Mixed sizes on four CPUs, freed by others, end with an empty area.
#[test]
fn after_a_stress_on_four_cpus_the_area_is_empty() {
    let rounds = if cfg!(miri) { 6 } else { 700 };
    machine(64 << 10, |m| {
        init(4, 16384);
        let before = used_pages();
        let shared: std::sync::Mutex<Vec<(VirtAddr, usize, u64)>> = Default::default();
        m.on_cpus(4, |cpu| {
            let mut random = 0x9e37_79b9_7f4a_7c15 ^ (cpu as u64 + 1);
            for round in 0..rounds {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                let n = (random >> 8) as usize;
                let pages = match n % 40 {
                    0 => 512 + n % 100,
                    1..6 => 16 + n % 60,
                    _ => 1 + n % 12,
                };
                if random % 9 < 5
                    && let Some(va) = vmalloc(pages * PAGE_SIZE, Gfp::GFP_KERNEL)
                {
                    let tag = (cpu * rounds + round) as u64;
                    fill(m, va, pages, tag);
                    shared.lock().unwrap().push((va, pages, tag));
                } else {
                    let mut all = shared.lock().unwrap();
                    let taken =
                        (!all.is_empty()).then(|| n % all.len()).map(|i| all.swap_remove(i));
                    drop(all);
                    if let Some((va, pages, tag)) = taken {
                        check(m, va, pages, tag);
                        vfree(va);
                    }
                }
            }
        });
        for (va, pages, tag) in shared.into_inner().unwrap() {
            check(m, va, pages, tag);
            vfree(va);
        }
        vm_unmap_aliases();
        assert_eq!(vmallocinfo().count(), 0);
        let stat = vmalloc_stat();
        assert_eq!((stat.mapped, stat.lazy, stat.lazy_frames, stat.pooled), (0, 0, 0, 0));
        shrink();
        validate();
        assert_eq!(used_pages(), before);
    });
}
