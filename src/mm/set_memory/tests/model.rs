//! Random changes by several CPUs, against what each page ought to allow.
#![deny(unsafe_code)]

use super::{
    is_by, map_linear, set_memory_nx, set_memory_ro, set_memory_rw, set_memory_valid, set_memory_x,
};
use crate::arch::CpuId;
use crate::arch::hosted::Machine;
use crate::arch::hosted::mmu::Config;
use crate::mm::alloc_pages::alloc_pages;
use crate::mm::gfp::Gfp;
use crate::mm::set_memory::*;
use crate::mm::vmalloc::tests::machine_with;
use crate::mm::vmalloc::tests::vfree;
use crate::mm::vmalloc::{vm_unmap_aliases, vmalloc};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};
use std::sync::Mutex;
use std::vec;
use std::vec::Vec;

/// Pages of the linear map, or of an area, that one CPU changes.
const PAGES: usize = 24;
const CPUS: usize = 3;
/// Machines, each with whole blocks at first, and changes by each CPU of one.
const RUNS: u64 = if cfg!(miri) { 1 } else { 24 };
const CHANGES: usize = if cfg!(miri) { 2 } else { 500 };

#[derive(Clone, Copy, Debug)]
enum Op {
    Ro,
    Rw,
    X,
    Nx,
    Valid(bool),
}

/// Expected access to a page.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Page {
    permission: Permission,
    hidden: bool,
    /// True if the linear map lets a page of an area be written.
    alias_writable: bool,
}

impl Page {
    const NEW: Self = Self { permission: Permission::Rw, hidden: false, alias_writable: true };

    fn allows(self) -> &'static str {
        match self.permission {
            _ if self.hidden => "",
            Permission::Rw => "rw",
            Permission::Rx => "rx",
            _ => "r",
        }
    }
}

/// Pages in a row, by either of their addresses.
struct Pages {
    at: VirtAddr,
    aliases: Vec<VirtAddr>,
    is_area: bool,
    pages: Vec<Page>,
}

impl Pages {
    fn new(at: VirtAddr, is_area: bool) -> Self {
        let alias = |n| linear_address_of(init_mm::entry(at + n * PAGE_SIZE).unwrap().pa).unwrap();
        let aliases = (0..PAGES).map(alias).collect();
        Self { at, aliases, is_area, pages: vec![Page::NEW; PAGES] }
    }

    fn apply(&mut self, op: Op, first: usize, count: usize) {
        let (va, pages) = (self.at + first * PAGE_SIZE, &mut self.pages[first..first + count]);
        let (result, refused) = match op {
            Op::Ro => (set_memory_ro(va, count), None),
            Op::Rw => (set_memory_rw(va, count), Some(Permission::Rx)),
            Op::X => (set_memory_x(va, count), Some(Permission::Rw)),
            Op::Nx => (set_memory_nx(va, count), None),
            Op::Valid(valid) => (set_memory_valid(va, count, valid), None),
        };
        if pages.iter().any(|page| Some(page.permission) == refused) {
            assert_eq!(result, Err(SetMemoryError::WritableAndExecutable));
            return;
        }
        assert_eq!(result, Ok(()), "{op:?} of {count} pages from {first} on");
        for page in pages {
            match op {
                Op::Ro if page.permission == Permission::Rw => page.permission = Permission::Ro,
                Op::Rw => page.permission = Permission::Rw,
                Op::X => page.permission = Permission::Rx,
                Op::Nx if page.permission == Permission::Rx => page.permission = Permission::Ro,
                Op::Valid(valid) => page.hidden = !valid,
                _ => {}
            }
            match op {
                Op::Ro => page.alias_writable = false,
                Op::Rw => page.alias_writable = true,
                _ => {}
            }
        }
    }

    /// Looks at page `n` through the eyes of `cpu`.
    fn check(&self, m: &Machine, cpu: CpuId, n: usize) {
        is_by(m, cpu, self.at + n * PAGE_SIZE, self.pages[n].allows());
        if self.is_area {
            let can = if self.pages[n].alias_writable { "rw" } else { "r" };
            is_by(m, cpu, self.aliases[n], can);
        }
    }
}

fn any_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => Just(Op::Ro),
        3 => Just(Op::Rw),
        2 => Just(Op::X),
        2 => Just(Op::Nx),
        3 => any::<bool>().prop_map(Op::Valid),
    ]
}

/// The CPUs take turns in any order, on pages of their own in the same blocks.
#[test]
fn random_changes_do_what_the_model_says() {
    for seed in 0..RUNS {
        let mmu = Config { cpus: CPUS, eagerness: 24, ..Config::eager(seed) };
        machine_with(8192, mmu, |m| {
            map_linear(m);
            let block = alloc_pages(Gfp::GFP_KERNEL, Order::PAGEBLOCK).unwrap();
            let linear = linear_address_of(block.phys()).unwrap();
            let turn = Mutex::new(());
            m.on_cpus(CPUS, |cpu| {
                let wait = || turn.lock().unwrap_or_else(|e| e.into_inner());
                let mine = wait();
                let area = vmalloc(PAGES * PAGE_SIZE, Gfp::GFP_KERNEL).unwrap();
                // Next to each other, and across the bounds of contiguous sets.
                let own = linear + (5 + cpu * PAGES) * PAGE_SIZE;
                let mut all = [Pages::new(own, false), Pages::new(area, true)];
                drop(mine);
                let rng = [(seed as usize * CPUS + cpu) as u8; 32];
                let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &rng);
                let mut runner = TestRunner::new_with_rng(ProptestConfig::default(), rng);
                let change = (any_op(), 0..2usize, 0..PAGES, 1..7usize, 0..CPUS, 0..PAGES);
                for _ in 0..CHANGES {
                    let (op, which, first, count, by, seen) =
                        change.new_tree(&mut runner).unwrap().current();
                    let _mine = wait();
                    let pages = &mut all[which];
                    pages.apply(op, first, count.min(PAGES - first));
                    for n in [first, seen] {
                        pages.check(m, CpuId::new(by).unwrap(), n);
                    }
                }
                let _mine = wait();
                for n in 0..PAGES {
                    all.iter().for_each(|pages| pages.check(m, CpuId::new(cpu).unwrap(), n));
                }
                // Their permissions in the linear map are reset.
                let aliases = all[1].aliases.clone();
                vfree(area);
                vm_unmap_aliases();
                aliases.into_iter().for_each(|at| is_by(m, CpuId::new(cpu).unwrap(), at, "rw"));
            });
            init_mm::validate().unwrap();
        });
    }
}
