//! The translation control register of EL1 (Arm ARM D24.2.194 TCR_EL1).
#![deny(unsafe_code)]

use aarch64_cpu::registers::{
    ID_AA64MMFR0_EL1, ID_AA64MMFR1_EL1, ID_AA64MMFR2_EL1, TCR_EL1 as TCR,
};
use tock_registers::fields::Field;
use tock_registers::register_bitfields;

#[cfg(test)]
mod tests;

register_bitfields! { u64,
    // Fields that `aarch64-cpu` lacks.
    ID_AA64ISAR0 [
        TLB OFFSET(56) NUMBITS(4) [],
        Atomic OFFSET(20) NUMBITS(4) [],
    ],
    TCR_E0PD [
        E0PD1 OFFSET(56) NUMBITS(1) [],
    ],
}

/// The ID registers that say what the MMU can do, as read.
#[derive(Clone, Copy, Debug)]
pub struct IdMmfr {
    /// `ID_AA64MMFR0_EL1`.
    pub mmfr0: u64,
    /// `ID_AA64MMFR1_EL1`.
    pub mmfr1: u64,
    /// `ID_AA64MMFR2_EL1`.
    pub mmfr2: u64,
    /// `ID_AA64ISAR0_EL1`.
    pub isar0: u64,
}

/// A field of a register's value. [`Field::read`], for constants.
#[inline(always)]
const fn read<R: tock_registers::RegisterLongName>(field: Field<u64, R>, register: u64) -> u64 {
    register >> field.shift & field.mask
}

impl IdMmfr {
    /// Returns whether the 4 KiB granule is there at stage 1 (`TGran4`).
    #[must_use]
    pub const fn has_4k_granule(&self) -> bool {
        read(ID_AA64MMFR0_EL1::TGran4, self.mmfr0) != 0xf
    }
    /// Bits of a physical address, at most the 48 that the descriptors hold (`PARange`).
    #[must_use]
    pub const fn pa_bits(&self) -> u32 {
        match read(ID_AA64MMFR0_EL1::PARange, self.mmfr0) {
            0 => 32,
            1 => 36,
            2 => 40,
            3 => 42,
            4 => 44,
            _ => 48,
        }
    }
    /// Bits of an address space identifier: 8 or 16 (`ASIDBits`).
    #[must_use]
    pub const fn asid_bits(&self) -> u32 {
        if read(ID_AA64MMFR0_EL1::ASIDBits, self.mmfr0) == 2 { 16 } else { 8 }
    }
    /// Returns whether hardware sets the access flag (`HAFDBS`).
    #[must_use]
    pub const fn has_access_flag_update(&self) -> bool {
        read(ID_AA64MMFR1_EL1::HAFDBS, self.mmfr1) >= 1
    }
    /// Returns whether hardware keeps the dirty state too (`HAFDBS`).
    #[must_use]
    pub const fn has_dirty_state(&self) -> bool {
        read(ID_AA64MMFR1_EL1::HAFDBS, self.mmfr1) >= 2
    }
    /// Bits of a virtual machine identifier: 8 or 16 (`VMIDBits`).
    #[must_use]
    pub const fn vmid_bits(&self) -> u32 {
        if read(ID_AA64MMFR1_EL1::VMIDBits, self.mmfr1) == 2 { 16 } else { 8 }
    }
    /// Returns whether `PSTATE.PAN` is there (`PAN`).
    #[must_use]
    pub const fn has_pan(&self) -> bool {
        read(ID_AA64MMFR1_EL1::PAN, self.mmfr1) >= 1
    }
    /// Returns whether CPUs may share TLB entries (`CnP`).
    #[must_use]
    pub const fn has_cnp(&self) -> bool {
        read(ID_AA64MMFR2_EL1::CnP, self.mmfr2) >= 1
    }
    /// Returns how block sizes may change without break-before-make: 0, 1 or 2 (`BBM`).
    #[must_use]
    pub const fn bbm_level(&self) -> u32 {
        read(ID_AA64MMFR2_EL1::BBM, self.mmfr2) as u32
    }
    /// Returns whether EL0 can be kept off the kernel's half without a walk (`E0PD`).
    #[must_use]
    pub const fn has_e0pd(&self) -> bool {
        read(ID_AA64MMFR2_EL1::E0PD, self.mmfr2) >= 1
    }
    /// Returns whether TLB entries can be invalidated by range (`ID_AA64ISAR0_EL1.TLB`).
    #[must_use]
    pub const fn has_tlb_range(&self) -> bool {
        read(ID_AA64ISAR0::TLB, self.isar0) >= 2
    }
    /// Returns whether the large system extensions' atomics are there
    /// (`ID_AA64ISAR0_EL1.Atomic`).
    #[must_use]
    pub const fn has_lse(&self) -> bool {
        read(ID_AA64ISAR0::Atomic, self.isar0) >= 2
    }
}

/// Bits of a virtual address, in both halves.
const VA_BITS: u64 = 48;

/// The value of `TCR_EL1` for a CPU with these features: 48-bit addresses and the
/// 4 KiB granule in both halves, cacheable inner shareable walks, ASIDs as wide as
/// they come and taken from TTBR0, no tagged addresses, hardware access flag and
/// dirty state where there. With `no_ttbr0_walks` the lower half faults (EPD0).
#[must_use]
pub const fn tcr_el1(id: &IdMmfr, no_ttbr0_walks: bool) -> u64 {
    let pa_range = read(ID_AA64MMFR0_EL1::PARange, id.mmfr0);
    let ips = if pa_range > 5 { 5 } else { pa_range };
    let mut tcr = TCR::T0SZ.val(64 - VA_BITS).value
        | TCR::IRGN0::WriteBack_ReadAlloc_WriteAlloc_Cacheable.value
        | TCR::ORGN0::WriteBack_ReadAlloc_WriteAlloc_Cacheable.value
        | TCR::SH0::Inner.value
        | TCR::TG0::KiB_4.value
        | TCR::T1SZ.val(64 - VA_BITS).value
        | TCR::IRGN1::WriteBack_ReadAlloc_WriteAlloc_Cacheable.value
        | TCR::ORGN1::WriteBack_ReadAlloc_WriteAlloc_Cacheable.value
        | TCR::SH1::Inner.value
        | TCR::TG1::KiB_4.value
        | TCR::IPS.val(ips).value;
    if no_ttbr0_walks {
        tcr |= TCR::EPD0::DisableTTBR0Walks.value;
    }
    if id.asid_bits() == 16 {
        tcr |= TCR::AS::ASID16Bits.value;
    }
    if id.has_access_flag_update() {
        tcr |= TCR::HA::Enable.value;
    }
    if id.has_dirty_state() {
        tcr |= TCR::HD::Enable.value;
    }
    if id.has_e0pd() {
        tcr |= TCR_E0PD::E0PD1::SET.value;
    }
    tcr
}
