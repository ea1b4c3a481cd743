//! Interrupt masking: PSTATE.I and PSTATE.F.

use super::sysreg;
use crate::arch::IrqMasked;
use aarch64_cpu::registers::{DAIF, Readable};

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
