//! Permissions and presence of kernel memory, as the misbehaving MMU finds them.

mod model;
mod mutations;

use super::*;
use crate::addr::PMD_SIZE;
use crate::arch::CpuId;
use crate::arch::hosted::Machine;
use crate::arch::hosted::mmu::{Access, Fault};
use crate::arch::pgtable::KernelAttrs;
use crate::arch::pgtable::MapFlags;
use crate::mm::alloc_pages::alloc_pages;
use crate::mm::gfp::Gfp;
use crate::mm::page_alloc::free_pages;
use crate::mm::ptdump;
use crate::mm::vmalloc::tests::{machine, used_pages};
use crate::mm::vmalloc::tests::{vfree, vunmap};
use crate::mm::vmalloc::{vm_unmap_aliases, vmalloc, vmap};
use std::format;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::vec::Vec;

/// A machine whose linear map has all of its RAM, in blocks.
fn linear_machine<R>(kib: u64, f: impl FnOnce(&Machine) -> R) -> R {
    machine(kib, |m| {
        map_linear(m);
        f(m)
    })
}

pub(super) fn map_linear(m: &Machine) {
    for ram in m.ram() {
        let va = linear_address_of(ram.start()).unwrap();
        let va = VirtRange::from_size(va, ram.len() as usize);
        init_mm::testing::map_range(va, ram.start(), KernelAttrs::KERNEL, MapFlags::empty())
            .unwrap();
    }
}

/// Changes pages of an area as the call of this name does, and pages of the linear map as such a
/// call changes them along.
pub(super) fn set_memory_ro(va: VirtAddr, pages: usize) -> Result<(), SetMemoryError> {
    apply(pages_from(va, pages)?, Change::Permission(Permission::Ro))
}
pub(super) fn set_memory_rw(va: VirtAddr, pages: usize) -> Result<(), SetMemoryError> {
    apply(pages_from(va, pages)?, Change::Permission(Permission::Rw))
}
pub(super) fn set_memory_x(va: VirtAddr, pages: usize) -> Result<(), SetMemoryError> {
    apply(pages_from(va, pages)?, Change::Permission(Permission::Rx))
}
pub(super) fn set_memory_nx(va: VirtAddr, pages: usize) -> Result<(), SetMemoryError> {
    apply(pages_from(va, pages)?, Change::Nx)
}
pub(in crate::mm) fn set_memory_valid(
    va: VirtAddr,
    pages: usize,
    valid: bool,
) -> Result<(), SetMemoryError> {
    apply(pages_from(va, pages)?, Change::Valid(valid))
}
pub(super) fn kernel_map_pages(frame: Frame, order: Order, enable: bool) -> bool {
    set_block(frame, order, enable).is_some()
}
fn set_direct_map_invalid_noflush(frame: Frame) -> Option<TlbFlush> {
    set_block(frame, Order::ZERO, false)
}
fn set_direct_map_default_noflush(frame: Frame) -> Option<TlbFlush> {
    set_block(frame, Order::ZERO, true)
}

fn page() -> (Frame, VirtAddr) {
    let frame = alloc_pages(Gfp::GFP_KERNEL, Order::ZERO).unwrap();
    (frame, linear_address_of(frame.phys()).unwrap())
}

#[track_caller]
fn is(m: &Machine, va: VirtAddr, can: &str) {
    is_by(m, CpuId::BOOT, va, can);
    assert_eq!(ptdump::check_wx(|run| panic!("{run}")), 0);
}

#[track_caller]
pub(super) fn is_by(m: &Machine, cpu: CpuId, va: VirtAddr, can: &str) {
    let tests = [('r', Access::Read), ('w', Access::Write), ('x', Access::Exec)];
    for (letter, access) in tests {
        for _ in 0..3 {
            let got = m.mmu().access_by(cpu, va, access);
            assert_eq!(got.is_ok(), can.contains(letter), "{access:?} of {va}: {got:?}");
        }
    }
}

#[test]
fn an_area_that_was_given_up_leads_nowhere_when_its_page_changes() {
    for restrict in
        [(|va| set_memory_ro(va, 1)) as fn(VirtAddr) -> Result<(), SetMemoryError>, |va| {
            set_memory_valid(va, 1, false)
        }]
    {
        linear_machine(8192, |m| {
            let (frame, va) = page();
            let area = vmap(&[frame], KernelAttrs::KERNEL).unwrap();
            is_by(m, CpuId::BOOT, area, "rw");
            vunmap(area);
            restrict(va).unwrap();
            is_by(m, CpuId::BOOT, area, "");
            set_memory_valid(va, 1, true).unwrap();
            set_memory_rw(va, 1).unwrap();
            // SAFETY: allocated here, and nobody uses it any more.
            unsafe { free_pages(frame, Order::ZERO) };
        });
    }
}

#[test]
fn the_linear_map_changes_page_by_page() {
    linear_machine(8192, |m| {
        let (frame, va) = page();
        let next = if va.is_aligned(PMD_SIZE) { va + PAGE_SIZE } else { va - PAGE_SIZE };
        is(m, va, "rw");
        set_memory_ro(va, 1).unwrap();
        is(m, va, "r");
        is(m, next, "rw");
        set_memory_x(va, 1).unwrap();
        is(m, va, "rx");
        assert_eq!(set_memory_rw(va, 1), Err(SetMemoryError::WritableAndExecutable));
        set_memory_ro(va, 1).unwrap();
        is(m, va, "rx");
        set_memory_nx(va, 1).unwrap();
        is(m, va, "r");
        set_memory_valid(va, 1, false).unwrap();
        is(m, va, "");
        assert!(!kernel_page_present(frame));
        assert!(ptdump::runs(VirtRange::from_size(va, PAGE_SIZE)).all(|run| {
            let line = format!("{run}");
            line.contains("PTE F     ro NX")
        }));
        // Hidden, it can still be changed.
        set_memory_rw(va, 1).unwrap();
        is(m, va, "");
        set_memory_valid(va, 1, true).unwrap();
        is(m, va, "rw");
        assert_eq!(set_memory_x(va, 1), Err(SetMemoryError::WritableAndExecutable));
        is(m, va, "rw");
        is(m, next, "rw");
        init_mm::validate().unwrap();
        // SAFETY: allocated here, and nobody uses it any more.
        unsafe { free_pages(frame, Order::ZERO) };
    });
}

#[test]
fn a_range_is_changed_whole_or_not_at_all() {
    linear_machine(8192, |m| {
        let block = alloc_pages(Gfp::GFP_KERNEL, Order::new(5).unwrap()).unwrap();
        let va = linear_address_of(block.phys()).unwrap();
        set_memory_ro(va + 4 * PAGE_SIZE, 2).unwrap();
        set_memory_x(va + 4 * PAGE_SIZE, 1).unwrap();
        assert_eq!(set_memory_rw(va, 32), Err(SetMemoryError::WritableAndExecutable));
        is(m, va + 4 * PAGE_SIZE, "rx");
        is(m, va + 5 * PAGE_SIZE, "r");
        set_memory_nx(va, 32).unwrap();
        set_memory_rw(va, 32).unwrap();
        for n in 0..32 {
            is(m, va + n * PAGE_SIZE, "rw");
        }
        set_memory_valid(va, 32, false).unwrap();
        // Part of what is hidden.
        set_memory_valid(va + 7 * PAGE_SIZE, 2, true).unwrap();
        for n in 0..32 {
            is(m, va + n * PAGE_SIZE, if n == 7 || n == 8 { "rw" } else { "" });
        }
        set_memory_valid(va, 32, true).unwrap();
        is(m, va, "rw");
        // SAFETY: allocated here, and nobody uses it any more.
        unsafe { free_pages(block, Order::new(5).unwrap()) };
        assert_eq!(set_memory_ro(va, 1), Err(SetMemoryError::NotInUse));
        assert_eq!(set_memory_ro(va + 1, 1), Err(SetMemoryError::Invalid));
        assert_eq!(set_memory_ro(va, usize::MAX), Err(SetMemoryError::Invalid));
        assert_eq!(set_memory_ro(VirtAddr::new(0x1000), 1), Err(SetMemoryError::Invalid));
        assert_eq!(set_memory_ro(layout::KIMAGE.start(), 1), Err(SetMemoryError::Invalid));
    });
}

/// A hidden block of 2 MiB is split like any other.
#[test]
fn a_hidden_block_can_be_shown_in_part() {
    linear_machine(16 << 10, |m| {
        let block = alloc_pages(Gfp::GFP_KERNEL, Order::PAGEBLOCK).unwrap();
        let va = linear_address_of(block.phys()).unwrap();
        set_memory_valid(va, 512, false).unwrap();
        is(m, va + 77 * PAGE_SIZE, "");
        set_memory_valid(va + 77 * PAGE_SIZE, 1, true).unwrap();
        is(m, va + 77 * PAGE_SIZE, "rw");
        is(m, va + 78 * PAGE_SIZE, "");
        is(m, va, "");
        set_memory_valid(va, 512, true).unwrap();
        is(m, va + 511 * PAGE_SIZE, "rw");
        init_mm::validate().unwrap();
    });
}

#[test]
fn pages_of_vmalloc_change_by_both_of_their_addresses() {
    linear_machine(8192, |m| {
        let va = vmalloc(5 * PAGE_SIZE, Gfp::GFP_KERNEL).unwrap();
        let alias = |n| linear_address_of(init_mm::entry(va + n * PAGE_SIZE).unwrap().pa).unwrap();
        let aliases: Vec<_> = (0..5).map(alias).collect();
        set_memory_ro(va + PAGE_SIZE, 3).unwrap();
        set_memory_x(va + PAGE_SIZE, 1).unwrap();
        for (n, alias) in aliases.iter().enumerate() {
            let (own, linear) = match n {
                1 => ("rx", "r"),
                2 | 3 => ("r", "r"),
                _ => ("rw", "rw"),
            };
            is(m, va + n * PAGE_SIZE, own);
            is(m, *alias, linear);
        }
        set_memory_rw(va + 2 * PAGE_SIZE, 1).unwrap();
        is(m, aliases[2], "rw");
        set_memory_valid(va, 5, false).unwrap();
        is(m, va, "");
        is(m, aliases[0], "rw");
        // The guard page and what lies beyond are no part of the area.
        assert_eq!(set_memory_ro(va, 6), Err(SetMemoryError::Invalid));
        assert_eq!(set_memory_ro(va + 5 * PAGE_SIZE, 1), Err(SetMemoryError::Invalid));
        vfree(va);
        assert_eq!(set_memory_ro(va, 1), Err(SetMemoryError::Invalid));
        vm_unmap_aliases();
        for alias in aliases {
            is(m, alias, "rw");
        }
    });
}

#[test]
fn prepared_pages_come_and_go_without_lock_or_memory() {
    linear_machine(8192, |m| {
        let block = alloc_pages(Gfp::GFP_KERNEL, Order::new(4).unwrap()).unwrap();
        assert!(set_direct_map_invalid_noflush(block).is_none(), "not prepared");
        assert!(!kernel_map_pages(block, Order::ZERO, false));
        is(m, linear_address_of(block.phys()).unwrap(), "rw");
        let range = PfnRange::new(block.pfn(), block.pfn() + 16);
        linear_map_split_to_ptes(range).unwrap();
        let used = used_pages();
        let order = Order::new(4).unwrap();
        for _ in 0..3 {
            // As inside of the page allocator, with its locks' order to keep.
            crate::arch::irq::with_masked(|irq| {
                let _zone = block.zone().zone().lock(irq);
                assert!(kernel_map_pages(block, order, false));
            });
            for single in block.block(order) {
                is(m, linear_address_of(single.phys()).unwrap(), "");
            }
            let third = block.within(order, 3);
            assert!(set_direct_map_default_noflush(third).is_some_and(|owed| owed.is_none()));
            is(m, linear_address_of(third.phys()).unwrap(), "rw");
            assert!(kernel_map_pages(block, order, true));
            for single in block.block(order) {
                is(m, linear_address_of(single.phys()).unwrap(), "rw");
            }
        }
        let owed = set_direct_map_invalid_noflush(block).unwrap();
        let again = set_direct_map_invalid_noflush(block).unwrap();
        assert!(again.is_none() && !owed.is_none());
        owed.merge(again).flush();
        is(m, linear_address_of(block.phys()).unwrap(), "");
        assert!(kernel_map_pages(block, order, true));
        assert_eq!(used_pages(), used);
        // SAFETY: allocated here, and nobody uses it any more.
        unsafe { free_pages(block, order) };
    });
}

/// Says that it is over, also when its CPU panics.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

/// Other CPUs use a block all the while it is split: they fault for a moment and try again.
#[test]
fn blocks_in_use_are_split_under_other_cpus() {
    let (cpus, rounds) = if cfg!(miri) { (2, 2) } else { (4, 60) };
    linear_machine(64 << 10, |m| {
        let blocks: Vec<_> = (0..rounds.min(24))
            .map(|_| alloc_pages(Gfp::GFP_KERNEL, Order::PAGEBLOCK).unwrap())
            .collect();
        let (at, done, seen) = (AtomicUsize::new(0), AtomicBool::new(false), AtomicUsize::new(0));
        m.on_cpus(cpus, |cpu| {
            let _over = Over(&done);
            if cpu > 0 {
                let mut n = cpu * 31;
                while !done.load(SeqCst) {
                    let block = blocks[at.load(SeqCst)];
                    n = (n * 5 + 1) % 512;
                    let va = linear_address_of(block.phys()).unwrap() + n * PAGE_SIZE;
                    // The page that changes is the splitter's alone.
                    if n != 100 {
                        let found = m.mmu().access_retried(va, Access::Write);
                        assert_eq!(found, Ok(block.phys() + (n * PAGE_SIZE) as u64), "at {va}");
                        seen.fetch_add(1, SeqCst);
                    }
                }
                return;
            }
            for (n, block) in blocks.iter().enumerate() {
                at.store(n, SeqCst);
                let before = seen.load(SeqCst);
                let va = linear_address_of(block.phys()).unwrap() + 100 * PAGE_SIZE;
                set_memory_ro(va, 1).unwrap();
                assert_eq!(m.mmu().access(va, Access::Write), Err(Fault::Permission));
                set_memory_valid(va, 1, false).unwrap();
                set_memory_valid(va, 1, true).unwrap();
                set_memory_rw(va, 1).unwrap();
                while seen.load(SeqCst) < before + 20 && !done.load(SeqCst) {
                    std::thread::yield_now();
                }
            }
        });
        init_mm::validate().unwrap();
    });
}

#[test]
fn without_memory_for_a_table_nothing_changes() {
    linear_machine(8192, |m| {
        let (frame, va) = page();
        let area = vmalloc(PAGE_SIZE, Gfp::GFP_KERNEL).unwrap();
        let gfp = Gfp::GFP_NOWAIT | Gfp::__GFP_MEMALLOC;
        let taken: Vec<_> = core::iter::from_fn(|| alloc_pages(gfp, Order::ZERO)).collect();
        assert_eq!(set_memory_ro(va, 1), Err(SetMemoryError::NoMemory));
        assert_eq!(set_memory_ro(area, 1), Err(SetMemoryError::NoMemory));
        let range = PfnRange::new(frame.pfn(), frame.pfn() + 1);
        assert_eq!(linear_map_split_to_ptes(range), Err(SetMemoryError::NoMemory));
        is(m, va, "rw");
        is(m, area, "rw");
        // SAFETY: allocated here, and nobody uses it any more.
        taken.into_iter().for_each(|frame| unsafe { free_pages(frame, Order::ZERO) });
        set_memory_ro(va, 1).unwrap();
        is(m, va, "r");
    });
}
