//! Machines whose memory is scattered, and what compaction makes of them.

mod skip;

use super::*;
use crate::addr::{PhysAddr, PhysRange};
use crate::arch::hosted::Machine;
use crate::arch::irq::with_masked;
use crate::mm::alloc_pages::alloc_pages;
use crate::mm::gfp::Gfp;
use crate::mm::page::{BlockSkip, Frame};
use crate::mm::page_alloc::{self, State, free_pages, nr_used_pages, set_min_free_kbytes, zones};
use crate::mm::validate::validate;
use crate::mm::zsmalloc::{ZsHandle, ZsPool};
use std::collections::BTreeSet;
use std::vec::Vec;

const MIB: u64 = 1 << 20;
const MOVABLE: Gfp = Gfp::GFP_HIGHUSER_MOVABLE.union(Gfp::__GFP_MEMALLOC).union(Gfp::__GFP_NOWARN);
const KERNEL: Gfp = Gfp::GFP_KERNEL.union(Gfp::__GFP_NOWARN);

fn check() {
    if let Err(invalid) = validate() {
        panic!("{invalid}");
    }
}

/// A machine of `mib` MiB that keeps next to nothing in reserve.
fn on_machine<R>(mib: u64, f: impl FnOnce(&Machine) -> R) -> R {
    let ram = PhysRange::from_size(PhysAddr::new(0x4000_0000), mib * MIB);
    Machine::run(&[ram], |m| {
        page_alloc::init(m.ram());
        set_min_free_kbytes(64);
        let result = f(m);
        check();
        result
    })
}

fn zone() -> ZoneId {
    zones().next().expect("a zone").id
}

fn free_now() -> u32 {
    zones().map(|zone| zone.free()).sum()
}

/// Objects of a page each, that say their number.
struct Objects {
    pool: std::sync::Arc<ZsPool>,
    numbered: Vec<(u32, ZsHandle)>,
}

impl Objects {
    /// Fills all memory.
    fn fill() -> Self {
        let pool = std::sync::Arc::new(ZsPool::new().expect("a pool"));
        let all = core::iter::from_fn(|| pool.malloc(4096, MOVABLE));
        let numbered: Vec<_> = (0u32..).zip(all).collect();
        for &(number, object) in &numbered {
            pool.with(object, |bytes| {
                bytes.fill(number as u8);
                bytes[..4].copy_from_slice(&number.to_le_bytes());
            });
        }
        Self { pool, numbered }
    }

    /// Frees those whose frame is picked.
    fn free(&mut self, picked: impl Fn(Frame) -> bool) {
        let pool = &self.pool;
        self.numbered.retain(|&(_, object)| {
            let goes = picked(pool.frame(object));
            if goes {
                pool.free(object);
            }
            !goes
        });
    }

    fn check(&self) {
        for &(number, object) in &self.numbered {
            self.pool.with(object, |bytes| {
                assert_eq!(bytes[..4], number.to_le_bytes());
                assert!(bytes[4..].iter().all(|&b| b == number as u8), "object {number}");
            });
        }
        self.pool.validate().expect("the pool is well");
    }
}

impl Drop for Objects {
    /// Keeps the pool where a test fails: it would wait for pages that are isolated for good.
    fn drop(&mut self) {
        if std::thread::panicking() {
            core::mem::forget(std::sync::Arc::clone(&self.pool));
        }
    }
}

#[test]
fn scattered_memory_becomes_blocks() {
    on_machine(32, |_| {
        let mut objects = Objects::fill();
        objects.free(|frame| frame.pfn().get() % 2 == 0);
        let order = Order::new(9).unwrap();
        let before = ContigPageInfo::of(zone(), order);
        assert_eq!(before.suitable, 0);
        assert!(before.fragmentation_index().unwrap() > 900);
        assert_eq!(before.unusable_free_index(), 1000);
        assert_eq!(alloc_pages(KERNEL - Gfp::__GFP_IO, order), None, "without compaction");
        let block = alloc_pages(KERNEL, order).expect("half of memory is free");
        check();
        objects.check();
        let stat = compact_stat();
        assert!(stat.success >= 1 && stat.moved >= 256, "{stat:?}");
        // SAFETY: allocated here, and nobody uses it any more.
        unsafe { free_pages(block, order) };
    });
}

#[test]
fn nearly_all_that_is_free_is_made_contiguous() {
    on_machine(64, |_| {
        let mut objects = Objects::fill();
        // Three of four pages stay, one here, one there.
        objects.free(|frame| (frame.pfn().get() * 7 + frame.pfn().get() / 13) % 4 == 0);
        let free = free_now();
        let order = Order::new(9).unwrap();
        let blocks: Vec<_> = core::iter::from_fn(|| alloc_pages(MOVABLE, order)).collect();
        let most = free / order.pages();
        assert!(blocks.len() as u32 >= most - most.div_ceil(20), "{} of {most}", blocks.len());
        objects.check();
        check();
        // SAFETY: allocated here, and nobody uses it any more.
        blocks.into_iter().for_each(|block| unsafe { free_pages(block, order) });
        assert_eq!(free_now(), free);
        let largest: Vec<_> = core::iter::from_fn(|| alloc_pages(KERNEL, Order::MAX)).collect();
        assert!(!largest.is_empty());
        objects.check();
        // SAFETY: allocated here, and nobody uses it any more.
        largest.into_iter().for_each(|block| unsafe { free_pages(block, Order::MAX) });
    });
}

#[test]
fn what_stays_is_worked_round() {
    on_machine(32, |_| {
        let mut objects = Objects::fill();
        // Pages that nobody can move, one in every fourth pageblock.
        let pinned: Vec<_> = objects
            .numbered
            .iter()
            .map(|&(_, object)| object)
            .filter(|&object| objects.pool.frame(object).pfn().get() % 2048 == 1001)
            .collect();
        let pool = objects.pool.clone();
        let pins: Vec<_> = pinned.iter().map(|&object| pool.pin(object)).collect();
        assert!(pins.len() >= 3);
        objects.free(|frame| frame.pfn().get() % 2 == 0);
        let order = Order::new(9).unwrap();
        let blocks: Vec<_> = core::iter::from_fn(|| alloc_pages(MOVABLE, order)).collect();
        assert!(blocks.len() >= 5, "{}", blocks.len());
        for (object, pin) in pinned.into_iter().zip(pins) {
            assert_eq!(objects.pool.frame(object), pin.frame());
        }
        objects.check();
        // SAFETY: allocated here, and nobody uses it any more.
        blocks.into_iter().for_each(|block| unsafe { free_pages(block, order) });
    });
}

#[test]
fn all_of_a_zone_on_demand() {
    on_machine(32, |_| {
        let used = nr_used_pages();
        let mut objects = Objects::fill();
        objects.free(|frame| frame.pfn().get() % 3 != 0);
        let moved = compact_zone(zone());
        assert!(moved > 500, "{moved}");
        check();
        objects.check();
        let info = ContigPageInfo::of(zone(), Order::new(9).unwrap());
        // The pageblock where the scanners met, and the one with the descriptors.
        assert!(info.suitable >= info.free_pages / 512 - 1, "{info:?}");
        // Nothing is left to do.
        assert!(compact_zone(zone()) < 600);
        drop(objects);
        assert_eq!(nr_used_pages(), used);
    });
}

#[test]
fn it_is_put_off_where_it_brings_nothing() {
    on_machine(16, |_| {
        // Every second page is the kernel's, which nobody can move.
        let mut pages: Vec<_> =
            core::iter::from_fn(|| alloc_pages(MOVABLE - Gfp::__GFP_MOVABLE, Order::ZERO))
                .collect();
        pages.retain(|&page| {
            let goes = page.pfn().get() % 2 == 0;
            if goes {
                // SAFETY: allocated here, and nobody uses it any more.
                unsafe { free_pages(page, Order::ZERO) };
            }
            !goes
        });
        let order = Order::new(9).unwrap();
        for _ in 0..40 {
            assert_eq!(alloc_pages(KERNEL, order), None);
        }
        let scanned = compact_stat();
        assert!(scanned.fail >= 2 && scanned.fail < 20, "{scanned:?}");
        assert_eq!(scanned.success, 0);
        let history = &HISTORY[zone().index()];
        assert!(history.shift.load(Relaxed) > 1);
        // Until there is a huge page more.
        let free = free_now();
        history.defer(order, free);
        assert!(history.deferred(order, free + 511));
        assert!(!history.deferred(order, free + 512));
        // A smaller one was not put off, and succeeds without.
        assert!(alloc_pages(KERNEL, Order::ZERO).is_some());
        // What succeeds ends it.
        // SAFETY: allocated here, and nobody uses it any more.
        pages.into_iter().for_each(|page| unsafe { free_pages(page, Order::ZERO) });
        compaction_succeeded(zone(), order);
        assert!(!history.deferred(order, 0));
        assert!(alloc_pages(KERNEL, order).is_some());
    });
}

#[test]
fn too_little_memory_is_not_compacted() {
    on_machine(16, |_| {
        let mut objects = Objects::fill();
        objects.free(|frame| frame.pfn().get() % 16 == 0);
        assert_eq!(alloc_pages(KERNEL, Order::new(9).unwrap()), None);
        assert_eq!(compact_stat().moved, 0, "there is no room for a block and its copy");
    });
}

#[test]
fn cpus_use_memory_meanwhile() {
    let rounds = if cfg!(miri) { 2 } else { 300 };
    on_machine(32, |m| {
        let used = nr_used_pages();
        let mut objects = Objects::fill();
        objects.free(|frame| frame.pfn().get() % 2 == 0);
        m.on_cpus(3, |cpu| match cpu {
            0 => {
                for _ in 0..rounds / 20 + 1 {
                    compact_zone(zone());
                }
            }
            1 => {
                let order = Order::new(9).unwrap();
                for _ in 0..rounds {
                    if let Some(block) = alloc_pages(KERNEL, order) {
                        // SAFETY: allocated here, and nobody uses it any more.
                        unsafe { free_pages(block, order) };
                    }
                }
            }
            _ => {
                let mut held = Vec::new();
                for i in 0..rounds * 20 {
                    if i % 3 == 2
                        && let Some(object) = held.pop()
                    {
                        objects.pool.free(object);
                    } else if let Some(object) = objects.pool.malloc(1000 + i % 3000, KERNEL) {
                        objects.pool.with(object, |bytes| bytes.fill(0xee));
                        held.push(object);
                    }
                    if held.len() > 500 {
                        held.drain(..).for_each(|object| objects.pool.free(object));
                    }
                }
                held.into_iter().for_each(|object| objects.pool.free(object));
            }
        });
        objects.check();
        drop(objects);
        m.on_cpus(3, |_| with_masked(page_alloc::drain_local_pages));
        assert_eq!(nr_used_pages(), used);
    });
}

#[test]
fn a_thread_in_the_background_makes_blocks() {
    on_machine(32, |_| {
        let mut objects = Objects::fill();
        objects.free(|frame| frame.pfn().get() % 2 == 0);
        let order = Order::new(9).unwrap();
        let node = zone().node();
        assert_eq!(ContigPageInfo::of(zone(), order).suitable, 0);
        kcompactd::make_block(node, order);
        assert!(ContigPageInfo::of(zone(), order).suitable >= 1);
        // Just one: that was asked for.
        assert!(fragmentation_score(node) > 80, "{}", fragmentation_score(node));
        set_compaction_proactiveness(0);
        let moved = compact_stat().moved;
        kcompactd::check(node);
        assert_eq!(compact_stat().moved, moved, "it is off");
        set_compaction_proactiveness(90);
        kcompactd::check(node);
        assert!(fragmentation_score(node) <= 30, "{}", fragmentation_score(node));
        check();
        objects.check();
    });
}
