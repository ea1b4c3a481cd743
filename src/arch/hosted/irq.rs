//! Interrupt masking: a flag per thread.

use crate::arch::IrqMasked;
use std::cell::Cell;

std::thread_local! {
    static MASKED: Cell<bool> = const { Cell::new(false) };
}

/// Runs `f` with interrupts masked on this CPU, and restores the mask afterwards.
pub fn with_masked<R>(f: impl FnOnce(&IrqMasked) -> R) -> R {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            MASKED.set(self.0);
        }
    }
    let _restore = Restore(MASKED.replace(true));
    // SAFETY: the flag that stands for the mask is set until `_restore` drops, after `f`.
    f(&unsafe { IrqMasked::assume() })
}

/// Whether interrupts are masked on this CPU.
#[must_use]
pub fn is_masked() -> bool {
    MASKED.get()
}
