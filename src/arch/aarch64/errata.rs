//! Workarounds for errata of this machine's CPUs, collected as each CPU comes up.

use super::sysreg::{dsb_nsh, isb, tlbi_vmalle1};
use crate::arch::errata::{self, Erratum, Midr, Workarounds};
use crate::arch::pgtable::IdMmfr;
use aarch64_cpu::registers::{
    ID_AA64ISAR0_EL1, ID_AA64MMFR0_EL1, ID_AA64MMFR1_EL1, ID_AA64MMFR2_EL1, MIDR_EL1,
    ReadWriteable, Readable, TCR_EL1,
};
use core::fmt;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Union of the workarounds of all CPUs that are up.
static NEEDS: AtomicU32 = AtomicU32::new(0);

#[inline(always)]
fn midr() -> Midr {
    Midr::new(MIDR_EL1.get())
}

/// Reads this CPU's ID registers, less the features that its errata break (Linux: sanitised
/// registers). Plain integers only: the early boot calls it too.
#[inline(always)]
pub(super) fn id_registers() -> IdMmfr {
    let id = IdMmfr {
        mmfr0: ID_AA64MMFR0_EL1.get(),
        mmfr1: ID_AA64MMFR1_EL1.get(),
        mmfr2: ID_AA64MMFR2_EL1.get(),
        isar0: ID_AA64ISAR0_EL1.get(),
    };
    errata::sanitise(id, errata::workarounds(midr()))
}

/// Notes what this CPU needs. On each CPU, before it changes page tables.
pub(super) fn init_cpu() {
    let needs = errata::workarounds(midr());
    NEEDS.fetch_or(needs.bits(), Relaxed);
    if needs.contains(Workarounds::NO_DIRTY_STATE) {
        // The boot CPU, whose TCR_EL1 this is, may be one of another kind.
        // No table has an entry that would let hardware keep the dirty state; HD may be held in
        // the TLB, hence the invalidation.
        TCR_EL1.modify(TCR_EL1::HD::Disable);
        isb();
        tlbi_vmalle1();
        dsb_nsh();
        isb();
    }
}

/// Returns the workarounds that the CPUs that are up need. Any context.
#[inline(always)]
#[must_use]
pub fn workarounds() -> Workarounds {
    Workarounds::from_bits_retain(NEEDS.load(Relaxed))
}

/// The errata of this CPU that the kernel acts on.
pub fn found() -> impl Iterator<Item = &'static Erratum> {
    errata::of(midr())
}

/// The errata of this CPU that the kernel acts on, a line each.
pub struct Report;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if found().next().is_none() {
            return writeln!(f, "  none that this kernel has to act on");
        }
        for erratum in found() {
            writeln!(f, "  {:<20} {}", erratum.name, erratum.needs)?;
        }
        Ok(())
    }
}
