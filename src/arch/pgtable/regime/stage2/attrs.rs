//! Attributes of mappings at stage 2 (Arm ARM D8.3.1, D8.4.2, D8.6.5).
//!
//! They limit what the guest's own tables say: the rights are those of both stages, and the memory
//! type is the more restrictive of the two. HCR_EL2.FWB is clear, so a guest can make what is
//! Normal here non-cacheable for itself.
#![deny(unsafe_code)]

use super::super::Attributes;
use crate::arch::pgtable::descriptor::{AF, Descriptor, SH_INNER, SH_OUTER, TableLimits};
use bitflags::bitflags;

bitflags! {
    /// Rights of a guest to its memory. Code must be readable: without that it isn't executed.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Stage2Prot: u8 {
        /// Read.
        const READ = 1 << 0;
        /// Write.
        const WRITE = 1 << 1;
        /// Execute, at EL1 and EL0.
        const EXEC = 1 << 2;
    }
}

/// The least restrictive memory type that a guest can make of its memory.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Stage2Memory {
    /// RAM: Normal, write-back, inner and outer.
    Normal = 0b1111,
    /// Normal, non-cacheable.
    NormalNc = 0b0101,
    /// Device-nGnRE.
    Device = 0b0001,
}

const MEM_ATTR_SHIFT: u32 = 2;
pub(super) const MEM_ATTR: u64 = 0xf << MEM_ATTR_SHIFT;
const S2AP_READ: u64 = 1 << 6;
const S2AP_WRITE: u64 = 1 << 7;
/// XN\[1\]: no execution at EL1 or EL0. XN\[0\] is RES0 without FEAT_XNX.
const XN: u64 = 1 << 54;
const ATTRS: u64 = MEM_ATTR | S2AP_READ | S2AP_WRITE | SH_INNER | AF | XN;

/// Attributes of a mapping in a guest's tables of stage 2.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Stage2Attrs(u64);

impl Stage2Attrs {
    /// A mapping of `memory` with rights `prot`, young. `None` for code in Device memory.
    #[must_use]
    pub const fn new(memory: Stage2Memory, prot: Stage2Prot) -> Option<Self> {
        let exec = prot.contains(Stage2Prot::EXEC);
        if exec && matches!(memory, Stage2Memory::Device) {
            return None;
        }
        let sh = if matches!(memory, Stage2Memory::Normal) { SH_INNER } else { SH_OUTER };
        let read = if prot.contains(Stage2Prot::READ) { S2AP_READ } else { 0 };
        let write = if prot.contains(Stage2Prot::WRITE) { S2AP_WRITE } else { 0 };
        let xn = if exec { 0 } else { XN };
        Some(Self((memory as u64) << MEM_ATTR_SHIFT | sh | AF | read | write | xn))
    }
    /// The same memory and state with other rights. `None` as for [`Stage2Attrs::new`].
    #[must_use]
    pub const fn with_prot(self, prot: Stage2Prot) -> Option<Self> {
        match Self::new(self.memory(), prot) {
            Some(new) => Some(Self(new.0 & !AF | self.0 & AF)),
            None => None,
        }
    }
    /// The memory type; [`Stage2Memory::Device`] of a word from elsewhere that has another.
    #[must_use]
    pub const fn memory(self) -> Stage2Memory {
        match (self.0 & MEM_ATTR) >> MEM_ATTR_SHIFT {
            0b1111 => Stage2Memory::Normal,
            0b0101 => Stage2Memory::NormalNc,
            _ => Stage2Memory::Device,
        }
    }
    /// The rights of the guest.
    #[must_use]
    pub const fn prot(self) -> Stage2Prot {
        let mut prot = Stage2Prot::empty();
        if self.0 & S2AP_READ != 0 {
            prot = prot.union(Stage2Prot::READ);
        }
        if self.0 & S2AP_WRITE != 0 {
            prot = prot.union(Stage2Prot::WRITE);
        }
        if self.0 & XN == 0 {
            prot = prot.union(Stage2Prot::EXEC);
        }
        prot
    }
    /// Takes the right to write away (Linux: kvm_pgtable_stage2_wrprotect).
    #[must_use]
    pub const fn write_protected(self) -> Self {
        Self(self.0 & !S2AP_WRITE)
    }
    /// Returns whether it has been accessed since it was last made old.
    #[must_use]
    pub const fn is_young(self) -> bool {
        self.0 & AF != 0
    }
    /// Sets the access flag.
    #[must_use]
    pub const fn young(self) -> Self {
        Self(self.0 | AF)
    }
    /// Clears the access flag: the next access sets it, or faults (Linux:
    /// kvm_pgtable_stage2_test_clear_young).
    #[must_use]
    pub const fn old(self) -> Self {
        Self(self.0 & !AF)
    }
}

impl Attributes for Stage2Attrs {
    #[inline(always)]
    fn of_leaf(leaf: Descriptor) -> Self {
        Self(leaf.bits() & ATTRS)
    }
    #[inline(always)]
    fn bits(self) -> u64 {
        self.0
    }
    #[inline(always)]
    fn same_memory(self, other: Self) -> bool {
        (self.0 ^ other.0) & (MEM_ATTR | SH_INNER) == 0
    }
    #[inline(always)]
    fn with_state_of(self, other: Self) -> Self {
        Self(self.0 | other.0 & AF)
    }
    /// There are no limits at stage 2.
    #[inline(always)]
    fn limited(self, _: TableLimits) -> Self {
        self
    }
}

impl core::fmt::Debug for Stage2Attrs {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let young = if self.is_young() { " young" } else { "" };
        write!(f, "{:?} {:?}{young}", self.memory(), self.prot())
    }
}
