//! The kernel's own regime: EL1&0, upper half, by TTBR1_EL1.
#![deny(unsafe_code)]

use super::{Attributes, Regime, Tables, Tlbi};
use crate::addr::{VirtAddr, VirtRange};
use crate::arch::mmu;
use crate::arch::pgtable::descriptor::{Descriptor, KernelAttrs, Level, UXN_TABLE};
use crate::arch::pgtable::flush::Reach;
use crate::arch::pgtable::tlbi::{RangeOp, VaOp};

/// The kernel's regime. Its translations are global, so invalidations reach all ASIDs.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Kernel {}

impl Regime for Kernel {
    type Addr = VirtAddr;
    type Range = VirtRange;
    type Attrs = KernelAttrs;
}

impl Attributes for KernelAttrs {
    #[inline(always)]
    fn of_leaf(leaf: Descriptor) -> Self {
        leaf.kernel_attrs()
    }
    #[inline(always)]
    fn bits(self) -> u64 {
        self.bits()
    }
    #[inline(always)]
    fn same_memory(self, other: Self) -> bool {
        self.same_memory(other)
    }
}

impl Tables for Kernel {
    const ROOT: Level = Level::Pgd;
    const HARDWARE_UPDATES: bool = false;
    /// UXNTable: no leaf under a table is executable at EL0; for EL1 the leaves decide.
    const TABLE_BITS: u64 = UXN_TABLE;

    #[inline(always)]
    fn input_range(range: VirtRange) -> VirtRange {
        range
    }
    #[inline(always)]
    fn input(at: VirtAddr) -> VirtAddr {
        at
    }
    #[inline(always)]
    fn output(at: VirtAddr) -> VirtAddr {
        at
    }
    #[inline(always)]
    fn hide(leaf: Descriptor) -> Descriptor {
        leaf.present_invalid()
    }
    #[inline(always)]
    fn show(entry: Descriptor) -> Option<Descriptor> {
        entry.undo_present_invalid()
    }
    fn is_software_entry(_: Descriptor, _: Level) -> bool {
        false
    }
    fn defect(leaf: Descriptor) -> Option<&'static str> {
        if leaf.is_writable_and_executable() {
            Some("writable and executable")
        } else if leaf.is_open_to_el0() {
            Some("open to EL0")
        } else {
            None
        }
    }
}

impl Tlbi for Kernel {
    type Tag = ();

    #[inline(always)]
    fn may_be_cached((): ()) -> bool {
        true
    }
    #[inline(always)]
    fn op(at: VirtAddr, (): ()) -> VaOp {
        VaOp::from(at)
    }
    #[inline(always)]
    fn range_op(at: VirtAddr, pages: usize, (): ()) -> Option<RangeOp> {
        RangeOp::largest(at, pages)
    }
    #[inline(always)]
    fn tlbi(op: VaOp, reach: Reach) {
        match reach {
            Reach::LastLevel => mmu::tlbi_vaale1is(op),
            Reach::AllLevels => mmu::tlbi_vaae1is(op),
        }
    }
    #[inline(always)]
    fn tlbi_range(op: RangeOp, reach: Reach) {
        match reach {
            Reach::LastLevel => mmu::tlbi_rvaale1is(op),
            Reach::AllLevels => mmu::tlbi_rvaae1is(op),
        }
    }
    #[inline(always)]
    fn tlbi_all((): ()) {
        mmu::tlbi_vmalle1is();
    }
}
