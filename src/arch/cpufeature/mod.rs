//! Features that a further core must have, given those of the boot CPU (Linux:
//! arch/arm64/kernel/cpufeature.c, verify_local_cpu_capabilities).
//!
//! The kernel asks the boot CPU's ID registers what it may use, and uses it on all CPUs: the
//! tables' format and TCR_EL1 are the same everywhere, and an instruction that a core lacks is
//! undefined there.
#![deny(unsafe_code)]

mod elf_hwcap;

use super::pgtable::IdMmfr;
use aarch64_cpu::registers::ID_AA64DFR0_EL1;

pub use elf_hwcap::{UserIds, decode_mrs};

#[cfg(test)]
mod tests;

/// The ID registers that requirements are made from.
#[derive(Clone, Copy, Debug)]
pub struct IdRegisters {
    /// ID_AA64MMFR0_EL1 to MMFR2 and ID_AA64ISAR0_EL1, sanitised.
    pub mm: IdMmfr,
    /// ID_AA64DFR0_EL1.
    pub dfr0: u64,
    /// ID_AA64PFR0_EL1.
    pub pfr0: u64,
}

/// Returns true if a CPU with this ID_AA64PFR0_EL1 has floating point and SIMD: the fields FP and
/// AdvSIMD are signed.
#[must_use]
pub fn has_fpsimd(pfr0: u64) -> bool {
    [16, 20].into_iter().all(|field| pfr0 >> field & 8 == 0)
}

impl IdRegisters {
    /// Returns true if the PMU is a PMUv3 (ID_AA64DFR0_EL1.PMUVer).
    #[must_use]
    pub fn has_pmu(&self) -> bool {
        (1..15).contains(&ID_AA64DFR0_EL1::PMUVer.read(self.dfr0))
    }
}

/// Requirement on a value of the ID registers.
struct Requirement {
    name: &'static str,
    value: fn(&IdRegisters) -> u64,
    /// The least value that the kernel makes use of; 0 where it uses all that the boot CPU has.
    used_from: u64,
}

const fn require(
    name: &'static str,
    used_from: u64,
    value: fn(&IdRegisters) -> u64,
) -> Requirement {
    Requirement { name, value, used_from }
}

/// Features that the kernel uses on all CPUs.
const REQUIREMENTS: [Requirement; 9] = [
    require("the boot CPU's PAN", 1, |id| id.mm.has_pan().into()),
    require("the boot CPU's TLBI by range", 1, |id| id.mm.has_tlb_range().into()),
    require("the boot CPU's access flag by hardware", 1, |id| {
        id.mm.has_access_flag_update().into()
    }),
    require("the boot CPU's ASIDs of 16 bits", 16, |id| id.mm.asid_bits().into()),
    require("the boot CPU's common TLB entries", 1, |id| id.mm.has_cnp().into()),
    require("the boot CPU's E0PD", 1, |id| id.mm.has_e0pd().into()),
    require("the boot CPU's cycle counter", 1, |id| id.has_pmu().into()),
    require("the boot CPU's floating point and SIMD", 1, |id| has_fpsimd(id.pfr0).into()),
    require("the boot CPU's physical addresses", 0, |id| id.mm.pa_bits().into()),
];

/// Checks that a core has what the kernel uses on all CPUs, by the features of the boot CPU.
///
/// # Errors
/// The number of the first requirement that it lacks, for [`requirement_name`].
pub fn check(boot: &IdRegisters, core: &IdRegisters) -> Result<(), usize> {
    let lacks = |requirement: &Requirement| {
        let there = (requirement.value)(boot);
        let needed = if requirement.used_from == 0 { there } else { requirement.used_from };
        there >= needed && (requirement.value)(core) < needed
    };
    match REQUIREMENTS.iter().position(lacks) {
        Some(lacking) => Err(lacking),
        None if !core.mm.has_4k_granule() => Err(REQUIREMENTS.len()),
        None => Ok(()),
    }
}

/// A requirement in words.
#[must_use]
pub fn requirement_name(number: usize) -> &'static str {
    REQUIREMENTS.get(number).map_or("the 4 KiB granule", |requirement| requirement.name)
}
