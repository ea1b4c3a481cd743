//! The data cache as a device that does not snoop comes to know it.
//!
//! RAM of the machine is what its CPUs see. Behind it lies what is at the point of coherency,
//! which a device reads and writes ([`read_by_device`], [`write_by_device`]). The two differ
//! until software cleans or invalidates the lines, and the cache is as unkind as it may be:
//! nothing is written back by itself before a device reads, and every line that a CPU has
//! written to is written back right after a device wrote to it. What the linear map shows is
//! fetched ahead at once after it was dropped.

use super::{irq, machine, mmu, phys_to_virt};
use crate::addr::{PhysAddr, PhysRange, VirtAddr};
use crate::arch::layout;
use crate::arch::lines::Lines;
use crate::machine_local;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Bytes of a line.
const LINE: u64 = 64;
type Bytes = [u8; LINE as usize];

/// State of a line that was cleaned, invalidated or written to by a device.
#[derive(Clone, Copy)]
struct Line {
    /// Content at the point of coherency.
    memory: Bytes,
    /// Content that the cache fetched from there; bytes that differ now are dirty.
    fetched: Bytes,
}

machine_local! {
    static LINES: Mutex<BTreeMap<PhysAddr, Line>> = Mutex::new(BTreeMap::new());
    /// Pages that instruction fetches see as they were last synchronized.
    static SYNCED: Mutex<BTreeSet<PhysAddr>> = Mutex::new(BTreeSet::new());
    /// Lines that no cache has, clean ones neither.
    static DROPPED: Mutex<BTreeSet<PhysAddr>> = Mutex::new(BTreeSet::new());
}

fn lines() -> MutexGuard<'static, BTreeMap<PhysAddr, Line>> {
    LINES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The lines of `ram`, and whether each lies in it as a whole.
fn each(ram: PhysRange, mut f: impl FnMut(PhysAddr, bool)) {
    for line in Lines::of(ram.start().get() as usize, ram.end().get() as usize, LINE as usize) {
        f(PhysAddr::new(line.at as u64), line.whole);
    }
}

fn bytes(at: PhysAddr) -> *mut Bytes {
    assert!(machine::current().is_ram(at), "cache maintenance of {at}, which is no RAM");
    core::ptr::with_exposed_provenance_mut(phys_to_virt(at).get())
}

/// A line that nobody has cleaned yet is dirty, and memory holds what it held before.
fn line(lines: &mut BTreeMap<PhysAddr, Line>, at: PhysAddr) -> &mut Line {
    lines.entry(at).or_insert(Line { memory: [0xa5; 64], fetched: [0xa5; 64] })
}

fn clean(lines: &mut BTreeMap<PhysAddr, Line>, at: PhysAddr) {
    // SAFETY: a line of this machine's RAM, which nobody writes to while it is maintained.
    let now = unsafe { bytes(at).read() };
    let line = line(lines, at);
    if now != line.fetched {
        *line = Line { memory: now, fetched: now };
    }
}

fn invalidate(lines: &mut BTreeMap<PhysAddr, Line>, at: PhysAddr) {
    let line = line(lines, at);
    line.fetched = line.memory;
    // SAFETY: as above; what is lost is what an invalidation loses.
    unsafe { bytes(at).write(line.memory) };
}

/// The most that a write-back takes along.
#[must_use]
pub fn writeback_granule() -> u64 {
    LINE
}

/// Writes back what the caches hold of RAM.
///
/// # Safety
/// It is RAM of the machine.
pub unsafe fn dcache_clean_poc(ram: PhysRange) {
    let mut lines = lines();
    each(ram, |at, _| clean(&mut lines, at));
}

/// Drops what the caches hold of RAM; what shares a line with an end is written back first.
///
/// # Safety
/// It is RAM of the machine, and nobody needs what was written there since it was cleaned.
pub unsafe fn dcache_inval_poc(ram: PhysRange) {
    let mut lines = lines();
    each(ram, |at, whole| {
        if !whole {
            clean(&mut lines, at);
        }
        invalidate(&mut lines, at);
    });
}

/// Writes back and drops what the caches hold of RAM, by the address `at` of its own.
///
/// # Safety
/// It is RAM of the machine, mapped at `at`.
pub unsafe fn dcache_clean_inval_poc_at(at: VirtAddr, ram: PhysRange) {
    // SAFETY: as the caller says.
    unsafe { dcache_clean_poc(ram) };
    let mut dropped = DROPPED.lock().unwrap_or_else(PoisonError::into_inner);
    irq::with_masked(|irq| {
        each(ram, |line, _| {
            let offset = line.get().saturating_sub(ram.start().get()) as usize;
            assert!(mmu::wait_mapped(at + offset, irq), "cache maintenance of {at}: not mapped");
            let linear = layout::LINEAR.start() + line.get() as usize;
            if mmu::wait_mapped(linear, irq) {
                dropped.remove(&line)
            } else {
                dropped.insert(line)
            };
        });
    });
}

/// Returns true if a cache may hold a line of `ram`, clean or dirty.
#[must_use]
pub fn may_hold(ram: PhysRange) -> bool {
    let dropped = DROPPED.lock().unwrap_or_else(PoisonError::into_inner);
    let mut held = false;
    each(ram, |line, _| held |= !dropped.contains(&line));
    held
}

/// Reads as a device that does not snoop: what is at the point of coherency.
///
/// # Safety
/// It is RAM of the machine.
pub unsafe fn read_by_device(at: PhysAddr, buffer: &mut [u8]) {
    let mut lines = lines();
    for (n, byte) in buffer.iter_mut().enumerate() {
        let at = at + n as u64;
        *byte = line(&mut lines, at.align_down(LINE)).memory[(at.get() % LINE) as usize];
    }
}

/// A device that does not snoop writes.
///
/// # Safety
/// It is RAM of the machine, and whoever uses it expects a device to write there.
pub unsafe fn write_by_device(at: PhysAddr, data: &[u8]) {
    let mut lines = lines();
    for (n, byte) in data.iter().enumerate() {
        let at = at + n as u64;
        line(&mut lines, at.align_down(LINE)).memory[(at.get() % LINE) as usize] = *byte;
    }
    each(PhysRange::from_size(at, data.len() as u64), |at, _| {
        clean(&mut lines, at);
    });
}

/// Lets instruction fetches see what was stored in the page of RAM at `page`.
///
/// # Safety
/// The page is RAM of the machine.
pub unsafe fn sync_icache_page(page: PhysAddr) {
    assert!(machine::current().is_ram(page), "cache maintenance of {page}, which is no RAM");
    SYNCED.lock().unwrap_or_else(PoisonError::into_inner).insert(page);
}

/// Takes note of whether [`sync_icache_page`] was called for a page since this was called last.
#[must_use]
pub fn take_synced(page: PhysAddr) -> bool {
    SYNCED.lock().unwrap_or_else(PoisonError::into_inner).remove(&page)
}
