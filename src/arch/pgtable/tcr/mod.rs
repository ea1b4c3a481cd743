//! The translation control register of EL1 (Arm ARM D24.2.194 TCR_EL1).
#![deny(unsafe_code)]

#[cfg(test)]
mod tests;

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

/// A field of four bits at `shift`.
#[inline(always)]
pub(in crate::arch) const fn field(register: u64, shift: u32) -> u64 {
    register >> shift & 0xf
}

impl IdMmfr {
    /// Returns whether the 4 KiB granule is there at stage 1 (`TGran4`).
    #[must_use]
    pub const fn has_4k_granule(&self) -> bool {
        field(self.mmfr0, 28) != 0xf
    }
    /// Bits of a physical address, at most the 48 that the descriptors hold (`PARange`).
    #[must_use]
    pub const fn pa_bits(&self) -> u32 {
        match field(self.mmfr0, 0) {
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
        if field(self.mmfr0, 4) == 2 { 16 } else { 8 }
    }
    /// Returns whether hardware sets the access flag (`HAFDBS`).
    #[must_use]
    pub const fn has_access_flag_update(&self) -> bool {
        field(self.mmfr1, 0) >= 1
    }
    /// Returns whether hardware keeps the dirty state too (`HAFDBS`).
    #[must_use]
    pub const fn has_dirty_state(&self) -> bool {
        field(self.mmfr1, 0) >= 2
    }
    /// Bits of a virtual machine identifier: 8 or 16 (`VMIDBits`).
    #[must_use]
    pub const fn vmid_bits(&self) -> u32 {
        if field(self.mmfr1, 4) == 2 { 16 } else { 8 }
    }
    /// Returns whether `PSTATE.PAN` is there (`PAN`).
    #[must_use]
    pub const fn has_pan(&self) -> bool {
        field(self.mmfr1, 20) >= 1
    }
    /// Returns whether CPUs may share TLB entries (`CnP`).
    #[must_use]
    pub const fn has_cnp(&self) -> bool {
        field(self.mmfr2, 0) >= 1
    }
    /// Returns how block sizes may change without break-before-make: 0, 1 or 2 (`BBM`).
    #[must_use]
    pub const fn bbm_level(&self) -> u32 {
        field(self.mmfr2, 52) as u32
    }
    /// Returns whether EL0 can be kept off the kernel's half without a walk (`E0PD`).
    #[must_use]
    pub const fn has_e0pd(&self) -> bool {
        field(self.mmfr2, 60) >= 1
    }
    /// Returns whether TLB entries can be invalidated by range (`ID_AA64ISAR0_EL1.TLB`).
    #[must_use]
    pub const fn has_tlb_range(&self) -> bool {
        field(self.isar0, 56) >= 2
    }
    /// Returns whether the large system extensions' atomics are there
    /// (`ID_AA64ISAR0_EL1.Atomic`).
    #[must_use]
    pub const fn has_lse(&self) -> bool {
        field(self.isar0, 20) >= 2
    }
}

/// T0SZ and T1SZ: 64 minus 48 bits of virtual address.
const TXSZ: u64 = 16;
/// IRGN and ORGN: walks are write-back, read and write allocate.
const WALK_WBWA: u64 = 0b01;
/// SH: walks are inner shareable.
const WALK_INNER_SHAREABLE: u64 = 0b11;
/// TG0: 4 KiB.
const TG0_4K: u64 = 0b00;
/// TG1: 4 KiB. The encoding differs from TG0's.
const TG1_4K: u64 = 0b10;

/// The value of `TCR_EL1` for a CPU with these features: 48-bit addresses and the
/// 4 KiB granule in both halves, cacheable inner shareable walks, ASIDs as wide as
/// they come and taken from TTBR0, no tagged addresses, hardware access flag and
/// dirty state where there. With `no_ttbr0_walks` the lower half faults (EPD0).
#[must_use]
pub const fn tcr_el1(id: &IdMmfr, no_ttbr0_walks: bool) -> u64 {
    let pa_range = field(id.mmfr0, 0);
    let ips = if pa_range > 5 { 5 } else { pa_range };
    let mut tcr = TXSZ
        | (no_ttbr0_walks as u64) << 7
        | WALK_WBWA << 8
        | WALK_WBWA << 10
        | WALK_INNER_SHAREABLE << 12
        | TG0_4K << 14
        | TXSZ << 16
        | WALK_WBWA << 24
        | WALK_WBWA << 26
        | WALK_INNER_SHAREABLE << 28
        | TG1_4K << 30
        | ips << 32;
    if id.asid_bits() == 16 {
        tcr |= 1 << 36;
    }
    if id.has_access_flag_update() {
        tcr |= 1 << 39;
    }
    if id.has_dirty_state() {
        tcr |= 1 << 40;
    }
    if id.has_e0pd() {
        tcr |= 1 << 56;
    }
    tcr
}
