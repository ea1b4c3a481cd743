//! Every barrier, every TLB invalidation and every break of a change is needed: with any one
//! of them taken out, some CPU of the misbehaving MMU goes wrong.
#![deny(unsafe_code)]

use super::{
    is_by, kernel_map_pages, map_linear, set_memory_nx, set_memory_ro, set_memory_rw,
    set_memory_valid, set_memory_x,
};
use crate::addr::PMD_SIZE;
use crate::arch::CpuId;
use crate::arch::hosted::mmu::{Config, Mutation};
use crate::arch::hosted::quiet::quietly;
use crate::mm::alloc_pages::alloc_pages;
use crate::mm::gfp::Gfp;
use crate::mm::set_memory::*;
use crate::mm::vmalloc::tests::machine_with;
use crate::mm::vmalloc::vmalloc;
use std::vec::Vec;

/// A change of the first of three pages, and what they can be used for before it and after.
struct Edit {
    name: &'static str,
    /// Number of them that change.
    pages: usize,
    /// Pages of the linear map, in the midst of a block, or of vmalloc.
    of: fn() -> VirtAddr,
    before: fn(VirtAddr),
    could: &'static str,
    edit: fn(VirtAddr),
    can: &'static str,
}

/// Three pages in the midst of a block of 2 MiB.
fn linear() -> VirtAddr {
    let block = alloc_pages(Gfp::GFP_KERNEL, Order::PAGEBLOCK).unwrap();
    linear_address_of(block.phys()).unwrap() + 21 * PAGE_SIZE
}

fn area() -> VirtAddr {
    vmalloc(3 * PAGE_SIZE, Gfp::GFP_KERNEL).unwrap()
}

fn frame_at(va: VirtAddr) -> Frame {
    Frame::new(init_mm::entry(va).unwrap().pa.pfn().unwrap()).unwrap()
}

fn prepare(va: VirtAddr) {
    let first = frame_at(va).pfn();
    linear_map_split_to_ptes(PfnRange::new(first, first + 3)).unwrap();
}

fn show(va: VirtAddr, enable: bool) {
    assert!(kernel_map_pages(frame_at(va), Order::ZERO, enable));
}

const CHANGES: &[Edit] = &[
    Edit {
        name: "read-only, splitting a block",
        pages: 3,
        of: linear,
        before: |_| {},
        could: "rw",
        edit: |va| set_memory_ro(va, 3).unwrap(),
        can: "r",
    },
    Edit {
        name: "writable",
        pages: 3,
        of: linear,
        before: |va| set_memory_ro(va, 3).unwrap(),
        could: "r",
        edit: |va| set_memory_rw(va, 3).unwrap(),
        can: "rw",
    },
    Edit {
        name: "executable",
        pages: 3,
        of: linear,
        before: |va| set_memory_ro(va, 3).unwrap(),
        could: "r",
        edit: |va| set_memory_x(va, 3).unwrap(),
        can: "rx",
    },
    Edit {
        name: "not executable",
        pages: 3,
        of: linear,
        before: |va| {
            set_memory_ro(va, 3).unwrap();
            set_memory_x(va, 3).unwrap();
        },
        could: "rx",
        edit: |va| set_memory_nx(va, 3).unwrap(),
        can: "r",
    },
    Edit {
        name: "hidden, splitting a block",
        pages: 3,
        of: linear,
        before: |_| {},
        could: "rw",
        edit: |va| set_memory_valid(va, 3, false).unwrap(),
        can: "",
    },
    Edit {
        name: "shown",
        pages: 3,
        of: linear,
        before: |va| set_memory_valid(va, 3, false).unwrap(),
        could: "",
        edit: |va| set_memory_valid(va, 3, true).unwrap(),
        can: "rw",
    },
    Edit {
        name: "prepared for changes without a lock",
        pages: 3,
        of: linear,
        before: |_| {},
        could: "rw",
        edit: prepare,
        can: "rw",
    },
    Edit {
        name: "hidden without a lock",
        pages: 1,
        of: linear,
        before: prepare,
        could: "rw",
        edit: |va| show(va, false),
        can: "",
    },
    Edit {
        name: "shown without a lock",
        pages: 1,
        of: linear,
        before: |va| {
            prepare(va);
            show(va, false);
        },
        could: "",
        edit: |va| show(va, true),
        can: "rw",
    },
    Edit {
        name: "an area and its pages in the linear map",
        pages: 3,
        of: area,
        before: |_| {},
        could: "rw",
        edit: |va| set_memory_ro(va, 3).unwrap(),
        can: "r",
    },
];

/// Makes a change with `mutation`; how many steps it took.
fn attempt(change: &Edit, mutation: Option<Mutation>, seed: u64) -> usize {
    machine_with(8192, Config::eager(seed), |m| {
        map_linear(m);
        let va = (change.of)();
        let pages: Vec<_> = (0..3).map(|n| va + n * PAGE_SIZE).collect();
        let alias = |&va| linear_address_of(init_mm::entry(va).unwrap().pa).unwrap();
        let aliases: Vec<_> = pages.iter().map(alias).collect();
        let block = aliases[0].align_down(PMD_SIZE);
        let elsewhere = block + ((aliases[0] - block) ^ (PMD_SIZE / 2));
        let look = |can| {
            for cpu in [0, 1].map(|n| CpuId::new(n).unwrap()) {
                for (n, (&va, &alias)) in pages.iter().zip(&aliases).enumerate() {
                    let can = if n < change.pages { can } else { "rw" };
                    is_by(m, cpu, va, can);
                    is_by(m, cpu, alias, can);
                }
                is_by(m, cpu, elsewhere, "rw");
            }
        };
        (change.before)(va);
        look(change.could);
        m.mmu().mutate(mutation);
        (change.edit)(va);
        let steps = m.mmu().steps().len();
        m.mmu().mutate(None);
        look(change.can);
        steps
    })
}

/// Checks that each step of a change is needed: without it some CPU goes wrong.
#[test]
fn each_step_of_a_change_is_needed() {
    let seeds = if cfg!(miri) { 2 } else { 30 };
    for change in CHANGES {
        let steps = (0..seeds).map(|seed| attempt(change, None, seed)).max().unwrap();
        assert!(steps >= 2, "{}", change.name);
        for n in 0..steps {
            let without = Some(Mutation::WithoutNth(n));
            let fails = |seed| quietly(|| attempt(change, without, seed)).is_err();
            let noticed = (0..seeds).any(fails);
            assert!(noticed, "{}: nobody misses step {n} of {steps}", change.name);
        }
    }
}
