//! Data-cache maintenance by virtual address (Arm ARM D7.5.9).
//!
//! Used where somebody who does not share our caches looks at memory: the table
//! walker and our own loads before the MMU is on, other cores that wait with
//! their caches off, devices.

use super::sysreg::{
    CTR, CTR_EL0, dc_civac, dc_cvac, dc_cvau, dc_ivac, dmb_sy, dsb_ish, dsb_sy, ic_ivau, isb,
};
use super::{errata, phys_to_virt};
use crate::addr::{PAGE_SIZE, PhysAddr, PhysRange, VirtAddr, VirtRange};
use crate::arch::errata::Workarounds;
use crate::arch::lines::Lines;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use tock_registers::interfaces::Readable;

/// The smallest line of any data cache of a CPU that is up, in bytes.
static LINE: AtomicUsize = AtomicUsize::new(usize::MAX);
/// The most that a write-back of any of them takes along, in bytes.
static GRANULE: AtomicU64 = AtomicU64::new(0);

/// The smallest line of this CPU's data caches, in bytes (CTR_EL0.DminLine).
#[inline(always)]
fn own_line_size() -> usize {
    4 << CTR_EL0.read(CTR::DminLine)
}

/// Notes this CPU's caches. On each CPU, before it maintains any.
pub(super) fn init_cpu() {
    LINE.fetch_min(own_line_size(), Relaxed);
    let granule = match CTR_EL0.read(CTR::CWG) {
        0 => 128,
        cwg => 4 << cwg,
    };
    GRANULE.fetch_max(granule, Relaxed);
}

/// The smallest line of any data cache of the CPUs that are up, in bytes: the step of a loop
/// that leaves out no line, wherever it runs (Linux: the sanitised CTR_EL0.DminLine).
#[inline(always)]
#[must_use]
pub fn line_size() -> usize {
    LINE.load(Relaxed)
}

/// Discards what the caches hold of `start..end`, without writing it back: for
/// memory that was written with the MMU off. Begins with `dmb sy`, which such writes
/// need to come before (Linux: preserve_boot_args), and ends with `dsb sy`.
///
/// # Safety
/// Lines that reach beyond the range are lost too: both ends are aligned to lines,
/// or nothing in the lines at the edges is dirty. Nothing in the range that
/// matters is dirty in a cache.
#[inline(always)]
pub unsafe fn invalidate_poc(start: usize, end: usize) {
    dmb_sy();
    for line in Lines::of(start, end, own_line_size()) {
        // SAFETY: the caller owns the range.
        unsafe { dc_ivac(line.at) };
    }
    dsb_sy();
}

/// Writes back what the caches hold of `start..end` to the point of coherency.
/// Ends with `dsb sy`.
///
/// # Safety
/// The range is mapped.
pub unsafe fn clean_poc(start: usize, end: usize) {
    let invalidate_too = errata::workarounds().contains(Workarounds::CLEAN_INVALIDATE);
    for line in Lines::of(start, end, line_size()) {
        // SAFETY: neither changes a byte; the caller says that it is mapped.
        unsafe {
            if invalidate_too {
                dc_civac(line.at);
            } else {
                dc_cvac(line.at);
            }
        }
    }
    dsb_sy();
}

/// The most that a write-back takes along, in bytes (CTR_EL0.CWG; 128 where it is not told,
/// as Linux has it), on any CPU that is up: what a device writes to must share no such piece
/// with other data.
#[must_use]
pub fn writeback_granule() -> u64 {
    GRANULE.load(Relaxed)
}

/// The lines of RAM in the linear map.
fn lines(ram: PhysRange) -> Lines {
    let range = VirtRange::from_size(phys_to_virt(ram.start()), ram.len() as usize);
    Lines::of(range.start().get(), range.end().get(), line_size())
}

/// Writes back what the caches hold of RAM, for a device to read (Linux: dcache_clean_poc).
///
/// # Safety
/// It is RAM that is mapped in the linear map, and stays so.
pub unsafe fn dcache_clean_poc(ram: PhysRange) {
    let start = phys_to_virt(ram.start()).get();
    // SAFETY: mapped, as the caller says.
    unsafe { clean_poc(start, start + ram.len() as usize) }
}

/// Drops what the caches hold of RAM that a device has written to; what shares a line with
/// an end of it is written back first (Linux: dcache_inval_poc).
///
/// # Safety
/// As for [`dcache_clean_poc`]; and nobody needs what a CPU wrote there and no cache has
/// written back yet, which may be lost, or may be not.
pub unsafe fn dcache_inval_poc(ram: PhysRange) {
    for line in lines(ram) {
        // SAFETY: lines that reach beyond the range lose nothing; in the others what the
        // CPU wrote is meant to be lost.
        unsafe {
            if line.whole {
                dc_ivac(line.at);
            } else {
                dc_civac(line.at);
            }
        }
    }
    dsb_sy();
}

/// Writes back and drops what the caches hold of RAM that is mapped at `at`, and need not be in
/// the linear map: maintenance by an address reaches the line whatever the memory type of that
/// address is (Arm ARM D7.5.9; Linux: dcache_clean_inval_poc). Ends with `dsb sy`.
///
/// # Safety
/// `ram` is mapped at `at`.
pub unsafe fn dcache_clean_inval_poc_at(at: VirtAddr, ram: PhysRange) {
    let range = VirtRange::from_size(at, ram.len() as usize);
    for line in Lines::of(range.start().get(), range.end().get(), line_size()) {
        // SAFETY: changes no byte of memory, which is mapped, as the caller says.
        unsafe { dc_civac(line.at) };
    }
    dsb_sy();
}

/// Lets instruction fetches of all CPUs see what was stored in the page of RAM at `page` (Linux:
/// sync_icache_aliases, caches_clean_inval_pou). CPUs whose data caches lie at the point of
/// unification (CTR_EL0.IDC), or whose instruction caches need no invalidation (DIC), do less.
///
/// # Safety
/// The page is RAM that is mapped in the linear map, and stays so.
pub unsafe fn sync_icache_page(page: PhysAddr) {
    let start = phys_to_virt(page).get();
    let lines = || Lines::of(start, start + PAGE_SIZE, line_size());
    if !CTR_EL0.is_set(CTR::IDC) {
        let clean_to_memory = errata::workarounds().contains(Workarounds::CLEAN_INVALIDATE);
        for line in lines() {
            // SAFETY: changes no byte of memory that is mapped, as the caller says.
            unsafe {
                if clean_to_memory {
                    dc_civac(line.at);
                } else {
                    dc_cvau(line.at);
                }
            }
        }
    }
    dsb_ish();
    if !CTR_EL0.is_set(CTR::DIC) {
        let step = (4usize << CTR_EL0.read(CTR::IminLine)).min(PAGE_SIZE);
        for at in (start..start + PAGE_SIZE).step_by(step) {
            // SAFETY: drops what is cached of instructions.
            unsafe { ic_ivau(at) };
        }
        dsb_ish();
    }
    isb();
}
