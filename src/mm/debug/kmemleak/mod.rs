//! Finding memory that nobody can free any more (Linux: kmemleak=on, mm/kmemleak.c).
//!
//! Each object of kmalloc, kmem caches and vmalloc is noted, with the stack that allocated it. A scan looks
//! at each word of the kernel's data, and of every object that it finds an address of: what
//! it has found no address of, inside or at the start, is white, and a leak when it stays so
//! unchanged from one scan to the next. Objects with enough references are grey, and are
//! scanned themselves; black ones are neither scanned nor reported.
//!
//! It watches from before the first allocation, and its own memory comes from the page
//! allocator: there is no log of what came earlier, and nothing of its own to watch.
//! Where it finds no room for an object it switches itself off, and says so.
//!
//! Locks: one, over the objects. A scan holds it for a piece of memory at a time, so what it
//! looks at is not freed meanwhile.

mod scan;

pub use scan::{Leaks, ScanResult, clear, scan};

use super::objects::{AREA, BLACK, DEAD_LINK, MIN_COUNT, Node, ObjectFlags, Objects, PID, STACK};
use super::report::report;
use super::stackdepot::{self, Handle};
use crate::addr::{VirtAddr, VirtRange};
use crate::arch::cpu;
use crate::arch::irq::with_masked;
use crate::machine_local;
use crate::mm::hooks::{self, SLAB_ALLOC_HOOKS, SLAB_FREE_HOOKS};
use crate::sched;
use crate::sync::{Rank, SpinLock};
use arrayvec::ArrayVec;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Ranges that are scanned from.
const ROOTS: usize = 16;

/// State of kmemleak.
struct State {
    objects: Objects,
    roots: ArrayVec<VirtRange, ROOTS>,
    /// True if a scan runs.
    scanning: bool,
    /// Objects that are to be scanned.
    grey: Node,
    /// Objects that were freed during a scan.
    dead: Node,
}

machine_local! {
    static ON: AtomicBool = AtomicBool::new(false);
    static STATE: SpinLock<State> = SpinLock::new(Rank::Kmemleak, State {
        objects: Objects::new(),
        roots: ArrayVec::new_const(),
        scanning: false,
        grey: 0,
        dead: 0,
    });
}

fn with_state<R>(f: impl FnOnce(&mut State) -> R) -> R {
    with_masked(|irq| f(&mut STATE.lock(irq)))
}

/// Switches it on, before the first object is allocated.
pub(super) fn enable() {
    if !ON.swap(true, Relaxed) {
        super::watch_allocs();
        super::watch_frees();
    }
}

/// Returns whether it is on.
#[must_use]
pub fn kmemleak_on() -> bool {
    ON.load(Relaxed)
}

/// Switches it off for good: it lacks what it needs to be right (Linux: kmemleak_disable).
fn disable(why: &str) {
    if ON.swap(false, Relaxed) {
        SLAB_ALLOC_HOOKS.dec();
        SLAB_FREE_HOOKS.dec();
        report!("kmemleak: {why}: switched off");
    }
}

/// Switches it off for good, because somebody asks for that.
pub fn off() {
    disable("asked for");
}

/// Scans from a range too: data in which addresses are kept (Linux: scan_large_block of
/// .data and .bss). At boot.
///
/// # Panics
/// Where there are too many.
#[cfg_attr(not(target_os = "none"), expect(dead_code, reason = "the image is one on bare metal"))]
pub fn add_root(range: VirtRange) {
    with_state(|state| state.roots.push(range));
}

/// An object was allocated. With `min_count` 0 it is reachable anyhow (Linux: kmemleak_alloc).
pub fn kmemleak_alloc(at: VirtAddr, size: usize, min_count: u32) {
    let size = u32::try_from(size).unwrap_or(u32::MAX);
    if !kmemleak_on() || size == 0 || hooks::is_busy() {
        return;
    }
    let stack = Handle::number(stackdepot::save_here(true));
    let (now, pid) = (cpu::sched_clock(), sched::current().pid());
    let mut spare = None;
    let added = loop {
        let added = with_state(|state| {
            let objects = &mut state.objects;
            if let Some(block) = spare.take() {
                objects.add_block(block);
            }
            if objects.is_full() {
                return if objects.is_at_limit() { Some(false) } else { None };
            }
            let Some(node) = objects.insert(at, size) else { return Some(false) };
            objects.set(node, STACK, stack);
            objects.set(node, MIN_COUNT, min_count);
            objects.set(node, PID, pid);
            objects.set_time(node, now);
            Some(true)
        });
        if let Some(added) = added {
            break added;
        }
        spare = Objects::take_block();
        if spare.is_none() {
            return disable("no memory for its objects");
        }
    };
    if !added {
        disable("an object overlaps another, or there are too many");
    }
}

/// An object is about to be freed (Linux: kmemleak_free).
pub fn kmemleak_free(at: VirtAddr) {
    if !kmemleak_on() {
        return;
    }
    with_state(|state| {
        let Some(node) = state.objects.remove(at) else { return };
        if state.scanning {
            state.objects.set_flag(node, ObjectFlags::DEAD, true);
            state.objects.set(node, DEAD_LINK, state.dead);
            state.dead = node;
        } else {
            state.objects.free_node(node);
        }
    });
}

/// Changes what is known of the object that starts at `at`.
fn change(at: VirtAddr, f: impl FnOnce(&Objects, Node)) {
    if !kmemleak_on() {
        return;
    }
    with_state(|state| {
        let objects = &state.objects;
        if let Some(node) = objects.find(at).filter(|&node| objects.start(node) == at) {
            f(objects, node);
        }
    });
}

/// No leak, wherever its address is: it is scanned (Linux: kmemleak_not_leak).
pub fn kmemleak_not_leak(at: VirtAddr) {
    change(at, |objects, node| objects.set(node, MIN_COUNT, 0));
}

/// No leak, and nothing to be scanned (Linux: kmemleak_ignore).
pub fn kmemleak_ignore(at: VirtAddr) {
    change(at, |objects, node| objects.set(node, MIN_COUNT, BLACK));
}

/// Excludes the object from scans: it holds no addresses (Linux: kmemleak_no_scan).
pub fn kmemleak_no_scan(at: VirtAddr) {
    change(at, |objects, node| objects.set_flag(node, ObjectFlags::NO_SCAN, true));
}

/// Restricts scans of the object at `at` to `len` bytes from `offset` on, both rounded to words,
/// and within its first 512 KiB (Linux: kmemleak_scan_area, which takes several).
pub fn kmemleak_scan_area(at: VirtAddr, offset: usize, len: usize) {
    change(at, |objects, node| {
        let (first, words) = (offset / 8, (offset % 8 + len).div_ceil(8));
        if let (Ok(first), Ok(words)) = (u16::try_from(first), u16::try_from(words)) {
            objects.set(node, AREA, u32::from(first) | u32::from(words) << 16);
            objects.set_flag(node, ObjectFlags::SCAN_AREA, true);
        }
    });
}

/// Returns the number of objects watched.
#[must_use]
pub fn kmemleak_objects() -> usize {
    with_state(|state| state.objects.len)
}
