//! Hierarchical attributes: limits that table descriptors set for what is below them.
#![deny(unsafe_code)]

use super::{
    AP_EL0, AP_RDONLY, AP_TABLE_NO_EL0, AP_TABLE_RDONLY, Descriptor, PXN, PXN_TABLE, UXN, UXN_TABLE,
};

/// Limits that the tables on the way to a leaf set for it: APTable, PXNTable, UXNTable (Arm ARM
/// D8.3.1, D8.4.3).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct TableLimits {
    /// Bits of leaves that they set.
    set: u64,
    /// Bits of leaves that they clear.
    clear: u64,
}

impl TableLimits {
    /// No limits.
    pub const NONE: Self = Self { set: 0, clear: 0 };

    /// Adds those of one more table's descriptor.
    #[inline(always)]
    #[must_use]
    pub const fn and(self, table: Descriptor) -> Self {
        // Each bit of the table lies as far above that of the leaf as the others of its kind.
        const XN: u32 = UXN_TABLE.trailing_zeros() - UXN.trailing_zeros();
        const AP: u32 = AP_TABLE_RDONLY.trailing_zeros() - AP_RDONLY.trailing_zeros();
        const {
            assert!(PXN_TABLE >> XN == PXN && AP_TABLE_NO_EL0 >> AP == AP_EL0);
        }
        let bits = table.bits();
        let set = (bits & (PXN_TABLE | UXN_TABLE)) >> XN | (bits & AP_TABLE_RDONLY) >> AP;
        let clear = (bits & AP_TABLE_NO_EL0) >> AP;
        Self { set: self.set | set, clear: self.clear | clear }
    }
    /// Returns whether nothing below can be written.
    #[must_use]
    pub const fn is_read_only(self) -> bool {
        self.set & AP_RDONLY != 0
    }
    /// The bits of a leaf of EL1&0 with the rights that are left of its own.
    #[inline(always)]
    #[must_use]
    pub const fn apply(self, leaf: u64) -> u64 {
        (leaf | self.set) & !self.clear
    }
}
