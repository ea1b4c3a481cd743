//! CPUs: threads.

use crate::arch::{CpuId, IrqMasked};
use std::cell::Cell;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

static HOLDERS: AtomicU32 = AtomicU32::new(1);

std::thread_local! {
    static HOLDER: u32 = HOLDERS.fetch_add(1, Relaxed);
    static ID: Cell<CpuId> = const { Cell::new(CpuId::BOOT) };
    static HELD: Cell<u64> = const { Cell::new(0) };
    /// Number of locks that this CPU holds.
    static LOCKS: Cell<u32> = const { Cell::new(0) };
}

/// Returns the calling CPU's number.
#[must_use]
pub fn id(_irq: &IrqMasked) -> CpuId {
    super::irq::assert_masked();
    ID.get()
}

/// Returns the number of this thread's CPU, interrupts masked or not.
pub(super) fn own_id() -> CpuId {
    ID.get()
}

/// A clock that goes on by one each time that it is read.
#[must_use]
pub fn sched_clock() -> u64 {
    static CLOCK: AtomicU64 = AtomicU64::new(1);
    CLOCK.fetch_add(1, Relaxed)
}

/// Waits a moment in a spin loop.
pub fn relax() {
    super::irq::interrupt_point();
    std::thread::yield_now();
}

/// Waits a moment: threads of the host have nothing that tells of a store.
pub fn wait_changed(_: &AtomicU32, _: u32) {
    relax();
}

/// Returns the calling CPU as the holder of a lock, not 0. The number is the thread's own:
/// outside of a machine, all threads are CPU 0.
#[must_use]
pub(crate) fn holder(_irq: &IrqMasked) -> u32 {
    super::irq::assert_masked();
    if LOCKS.get() == 0 {
        super::irq::rival_point();
    }
    HOLDER.with(|&holder| holder)
}

/// Notes that this CPU has taken the lock whose word is at `lock`: stores to page tables by its
/// last holder come before the accesses of this CPU from here on.
pub(crate) fn lock_taken(lock: usize) {
    LOCKS.set(LOCKS.get() + 1);
    super::mmu::lock_taken(lock);
}

/// Notes that this CPU is about to release the lock whose word is at `lock`.
pub(crate) fn lock_given_up(lock: usize) {
    LOCKS.set(LOCKS.get() - 1);
    super::mmu::lock_given_up(lock);
}

/// Runs `f` on the bit set of lock ranks that this CPU holds.
pub(crate) fn held_ranks<R>(_irq: &IrqMasked, f: impl FnOnce(&Cell<u64>) -> R) -> R {
    HELD.with(f)
}

/// Makes the calling thread CPU `id` of the machine that it is attached to.
pub(super) fn set_id(id: CpuId) {
    ID.set(id);
}
