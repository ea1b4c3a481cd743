//! CPUs: threads.

use crate::arch::{CpuId, IrqMasked};
use std::cell::Cell;

std::thread_local! {
    static ID: Cell<CpuId> = const { Cell::new(CpuId::BOOT) };
    static HELD: Cell<u32> = const { Cell::new(0) };
}

/// Which CPU this is.
#[must_use]
pub fn id(_irq: &IrqMasked) -> CpuId {
    ID.get()
}

/// Waits a moment in a spin loop.
pub fn relax() {
    std::thread::yield_now();
}

/// Runs `f` on the bit set of lock ranks that this CPU holds.
pub fn held_ranks<R>(_irq: &IrqMasked, f: impl FnOnce(&Cell<u32>) -> R) -> R {
    HELD.with(f)
}

/// Makes the calling thread CPU `id` of the machine that it is attached to.
pub(super) fn set_id(id: CpuId) {
    ID.set(id);
}
