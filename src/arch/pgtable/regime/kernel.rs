//! The kernel's own regime: EL1&0, upper half, by TTBR1_EL1.
#![deny(unsafe_code)]

use super::{Attributes, Regime, leaf_of};
use crate::addr::{VirtAddr, VirtRange};
use crate::arch::mmu;
use crate::arch::pgtable::descriptor::{
    Descriptor, KernelAttrs, Level, TableLimits, UXN_TABLE, VA_BITS,
};
use crate::arch::pgtable::flush::Reach;
use crate::arch::pgtable::table::{Leaf, TableAddr};
use crate::arch::pgtable::tlbi::{RangeOp, VaOp};

/// The kernel's regime. Its translations are global, so invalidations reach all ASIDs.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Kernel {}

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
    /// Memory of the kernel has neither state.
    #[inline(always)]
    fn with_state_of(self, _: Self) -> Self {
        self
    }
    #[inline(always)]
    fn limited(self, limits: TableLimits) -> Self {
        self.limited(limits)
    }
}

impl Regime for Kernel {
    type Addr = VirtAddr;
    type Range = VirtRange;
    type Attrs = KernelAttrs;
    type Root = TableAddr;
    type Pte = Leaf;
    const HARDWARE_UPDATES: bool = false;
    /// UXNTable: no leaf under a table is executable at EL0; for EL1 the leaves decide.
    const TABLE_BITS: u64 = UXN_TABLE;

    #[inline(always)]
    fn top(root: TableAddr, _: VirtAddr) -> (TableAddr, Level) {
        (root, Level::Pgd)
    }
    fn span(_: TableAddr) -> usize {
        1 << VA_BITS
    }
    fn pte(level: Level, word: Descriptor) -> Option<Leaf> {
        leaf_of(level, word)
    }
    fn leaf(pte: Leaf) -> Option<Leaf> {
        Some(pte)
    }
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
    fn defect(leaf: Descriptor, limits: TableLimits) -> Option<&'static str> {
        let leaf = Descriptor::from_bits(limits.apply(leaf.bits()));
        if leaf.is_writable_and_executable() {
            Some("writable and executable")
        } else if leaf.is_open_to_el0() {
            Some("open to EL0")
        } else {
            None
        }
    }

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
    fn tlbi(op: VaOp, reach: Reach, (): ()) {
        match reach {
            Reach::LastLevel => mmu::tlbi_vaale1is(op),
            Reach::AllLevels => mmu::tlbi_vaae1is(op),
        }
    }
    #[inline(always)]
    fn tlbi_range(op: RangeOp, reach: Reach, (): ()) {
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
