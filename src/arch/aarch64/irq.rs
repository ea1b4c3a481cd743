//! Interrupt masking: PSTATE.I and PSTATE.F.

use super::sysreg;
use crate::arch::IrqMasked;
use crate::per_cpu;
use aarch64_cpu::registers::{DAIF, Readable};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Runs `f` with interrupts masked on this CPU, and restores the mask afterwards.
#[inline(always)]
pub fn with_masked<R>(f: impl FnOnce(&IrqMasked) -> R) -> R {
    // Memory accesses inside don't move out over this, nor over the other end.
    let daif = sysreg::save_and_mask_interrupts();
    // SAFETY: masked just now, until the mask is restored after `f`.
    let result = f(&unsafe { IrqMasked::assume() });
    // SAFETY: restores the mask that was there.
    unsafe { sysreg::restore_interrupts(daif) };
    result
}

/// Returns true if interrupts are masked on this CPU: IRQs and FIQs both, as [`with_masked`] and
/// exceptions do. One of the two alone may be masked on a CPU that nobody can interrupt
/// (`enable_unhandled`), in process context.
#[must_use]
pub fn is_masked() -> bool {
    DAIF.matches_all(DAIF::I::Masked + DAIF::F::Masked)
}

per_cpu! {
    /// SPSR_EL1 of the interrupt that is handled, or was last.
    static INTERRUPTED: AtomicU64 = AtomicU64::new(0);
}

/// Notes the state that an interrupt came in.
pub(super) fn note_interrupted(spsr: u64, irq: &IrqMasked) {
    INTERRUPTED.get(irq).store(spsr, Relaxed);
}

/// Returns true if the interrupt that is handled came to code at EL0. Handlers of interrupts
/// (Linux: `user_mode(get_irq_regs())`).
#[must_use]
pub fn interrupted_el0(irq: &IrqMasked) -> bool {
    // EL0t is the mode without a bit.
    INTERRUPTED.get(irq).load(Relaxed) & 0xf == 0
}

/// Unmasks interrupts on this CPU for good.
///
/// # Safety
/// No borrow of an [`IrqMasked`] lives on this CPU: the call is in no closure of [`with_masked`],
/// nor in a thread whose CPU was left inside one. The handler and the controller are ready, and the
/// current stack has room for the handler.
pub unsafe fn enable() {
    // SAFETY: as the caller says.
    unsafe { sysreg::unmask_interrupts() };
}

/// Unmasks interrupts for good on a CPU that has no controller by which one could come: what
/// follows is process context, as on a CPU that has one. An IRQ or FIQ that comes all the same is
/// masked where it interrupted, with a warning, and the other of the two stays unmasked.
///
/// # Safety
/// As for [`enable`], but for handler and controller.
pub(crate) unsafe fn enable_unhandled() {
    with_masked(super::exception::expect_no_irq);
    // SAFETY: as the caller says.
    unsafe { sysreg::unmask_interrupts() };
}
