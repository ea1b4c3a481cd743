//! The registers in which EL0 keeps its thread-local storage: TPIDR_EL0, TPIDRRO_EL0 and, where the
//! CPU has SME, TPIDR2_EL0 (Linux: tls_thread_switch, arch/arm64/kernel/process.c; Arm ARM
//! D24.2.199).
//!
//! The kernel has no use for them. They are loaded when a task with users' memory comes to run, and
//! saved when it leaves its CPU; other tasks leave them as they are, and reach no EL0.

use super::sysreg::{ID_AA64PFR1, TPIDR2_EL0};
use crate::arch::IrqMasked;
use aarch64_cpu::registers::{ID_AA64PFR1_EL1, Readable, TPIDR_EL0, TPIDRRO_EL0, Writeable};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Returns true if this CPU has SME, and TPIDR2_EL0 with it.
pub(super) fn has_tpidr2() -> bool {
    ID_AA64PFR1::SME.is_set(ID_AA64PFR1_EL1.get())
}

/// A task's registers of thread-local storage, as they are while it does not run.
pub struct TlsRegs {
    tpidr: AtomicU64,
    tpidrro: AtomicU64,
    tpidr2: AtomicU64,
}

impl TlsRegs {
    pub(in crate::arch) const fn new() -> Self {
        Self { tpidr: AtomicU64::new(0), tpidrro: AtomicU64::new(0), tpidr2: AtomicU64::new(0) }
    }

    /// Saves this CPU's registers. EL0 can't write TPIDRRO_EL0: its value is here already.
    pub(super) fn save(&self, _irq: &IrqMasked) {
        self.tpidr.store(TPIDR_EL0.get(), Relaxed);
        if has_tpidr2() {
            self.tpidr2.store(TPIDR2_EL0.get(), Relaxed);
        }
    }

    /// Loads this CPU's registers.
    pub(super) fn load(&self, _irq: &IrqMasked) {
        TPIDR_EL0.set(self.tpidr.load(Relaxed));
        TPIDRRO_EL0.set(self.tpidrro.load(Relaxed));
        if has_tpidr2() {
            TPIDR2_EL0.set(self.tpidr2.load(Relaxed));
        }
    }

    /// Clears the registers, here and on this CPU, for a program that begins (Linux:
    /// tls_thread_flush).
    pub(super) fn flush(&self, irq: &IrqMasked) {
        for register in [&self.tpidr, &self.tpidrro, &self.tpidr2] {
            register.store(0, Relaxed);
        }
        self.load(irq);
    }

    /// Gives TPIDR_EL0 and TPIDRRO_EL0 values, here and on this CPU.
    pub(super) fn set(&self, tpidr: u64, tpidrro: u64, irq: &IrqMasked) {
        self.save(irq);
        self.tpidr.store(tpidr, Relaxed);
        self.tpidrro.store(tpidrro, Relaxed);
        self.load(irq);
    }
}
