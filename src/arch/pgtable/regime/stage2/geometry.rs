//! Extent of a guest's physical memory, and the register that says where walks of it start (Arm ARM
//! D8.2.9, D24.2.210 VTCR_EL2).
#![deny(unsafe_code)]

use crate::arch::pgtable::descriptor::Level;
use crate::arch::pgtable::tcr::IdMmfr;
use aarch64_cpu::registers::VTCR_EL2;

/// Fewest bits of an intermediate physical address (Linux: KVM_PHYS_SHIFT's least, 32).
const MIN_IPA_BITS: u32 = 32;
/// Bits that tables of the first level can translate beyond one: up to sixteen lie one after the
/// other, and save a level.
const CONCATENATED_BITS: u32 = 4;

/// Size of a guest's physical address space, and with it the level of the first tables and their
/// number.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Geometry {
    ipa_bits: u32,
}

impl Geometry {
    /// Intermediate addresses of `ipa_bits` bits. `None` below 32, and where the CPU's physical
    /// addresses have fewer (Linux: kvm_get_ipa_limit).
    #[must_use]
    pub const fn new(id: &IdMmfr, ipa_bits: u32) -> Option<Self> {
        if ipa_bits < MIN_IPA_BITS || ipa_bits > id.pa_bits() {
            return None;
        }
        Some(Self { ipa_bits })
    }

    /// The bits of an intermediate address.
    #[must_use]
    pub const fn ipa_bits(self) -> u32 {
        self.ipa_bits
    }

    /// The level of the first tables: the lowest that needs sixteen of them at the most (Linux:
    /// stage2_pgtable_levels).
    #[must_use]
    pub const fn start_level(self) -> Level {
        const fn reaches(level: Level, ipa_bits: u32) -> bool {
            ipa_bits <= level.table_span().trailing_zeros() + CONCATENATED_BITS
        }
        if reaches(Level::Pmd, self.ipa_bits) {
            Level::Pmd
        } else if reaches(Level::Pud, self.ipa_bits) {
            Level::Pud
        } else {
            Level::Pgd
        }
    }

    /// The number of first tables: 1 to 16, in memory one after the other, aligned to their size.
    #[must_use]
    pub const fn root_tables(self) -> usize {
        1 << self.ipa_bits.saturating_sub(self.start_level().table_span().trailing_zeros())
    }

    /// The value of `VTCR_EL2` for a CPU with these features: the 4 KiB granule, cacheable inner
    /// shareable walks, VMIDs as wide as they come, hardware access flag where there.
    #[must_use]
    pub const fn vtcr(self, id: &IdMmfr) -> u64 {
        let pa_range = id.mmfr0 & 0xf;
        let ps = if pa_range > 5 { 5 } else { pa_range };
        let sl0 = match self.start_level() {
            Level::Pgd => 2,
            Level::Pud => 1,
            _ => 0,
        };
        let mut vtcr = VTCR_EL2::RES1.val(1).value
            | VTCR_EL2::T0SZ.val(64 - self.ipa_bits as u64).value
            | VTCR_EL2::SL0.val(sl0).value
            // Write-back, read and write allocate.
            | VTCR_EL2::IRGN0.val(0b01).value
            | VTCR_EL2::ORGN0.val(0b01).value
            | VTCR_EL2::SH0.val(0b11).value
            | VTCR_EL2::TG0.val(0b00).value
            | VTCR_EL2::PS.val(ps).value;
        if id.vmid_bits() == 16 {
            vtcr |= VTCR_EL2::VS.val(1).value;
        }
        if id.has_access_flag_update() {
            vtcr |= VTCR_EL2::HA.val(1).value;
        }
        vtcr
    }
}
