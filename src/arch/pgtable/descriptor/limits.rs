//! Hierarchical attributes: limits that table descriptors set for what is below them.
#![deny(unsafe_code)]

use super::{
    AP_EL0, AP_RDONLY, AP_TABLE_NO_EL0, AP_TABLE_RDONLY, Descriptor, PXN, PXN_TABLE, UXN, UXN_TABLE,
};

/// Limits that the tables on the way to a leaf set for it: APTable, PXNTable, UXNTable (Arm ARM
/// D8.3.1, D8.4.3).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct TableLimits(u64);

impl TableLimits {
    const ALL: u64 = AP_TABLE_RDONLY | AP_TABLE_NO_EL0 | PXN_TABLE | UXN_TABLE;

    /// No limits.
    pub const NONE: Self = Self(0);

    /// Adds those of one more table's descriptor.
    #[inline(always)]
    #[must_use]
    pub const fn and(self, table: Descriptor) -> Self {
        Self(self.0 | table.bits() & Self::ALL)
    }
    /// Returns whether nothing below can be written.
    #[must_use]
    pub const fn is_read_only(self) -> bool {
        self.0 & AP_TABLE_RDONLY != 0
    }
    /// The bits of a leaf of EL1&0 with the rights that are left of its own.
    #[inline(always)]
    #[must_use]
    pub const fn apply(self, leaf: u64) -> u64 {
        let set = self.bit(AP_TABLE_RDONLY, AP_RDONLY)
            | self.bit(PXN_TABLE, PXN)
            | self.bit(UXN_TABLE, UXN);
        (leaf | set) & !self.bit(AP_TABLE_NO_EL0, AP_EL0)
    }
    const fn bit(self, table: u64, leaf: u64) -> u64 {
        if self.0 & table != 0 { leaf } else { 0 }
    }
}
