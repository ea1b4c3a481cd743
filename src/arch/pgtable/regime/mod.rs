//! Translation regimes as types (Arm ARM D8.1.2): what is different between the tables of the
//! kernel, of users, and of guests is part of the type of a table, of its leaves, and of the
//! invalidation that an edit owes.
#![deny(unsafe_code)]

mod kernel;
mod stage2;
mod user;

pub use kernel::Kernel;
pub use stage2::{
    El2, Geometry, Stage2, Stage2Attrs, Stage2Memory, Stage2Prot, Stage2Root, Vm, Vmid,
};
pub use user::{
    MigrationPte, Prot, PteMarker, PteWord, SwapPte, User, UserAttrs, UserPte, flush_spurious,
};

use super::descriptor::{Descriptor, Level, TableLimits};
use super::flush::{Issued, Reach};
use super::table::{Entry, Leaf, Table, TableAddr};
use super::tlbi::{RangeOp, VaOp};
use crate::addr::{VirtAddr, VirtRange};
use crate::arch::mmu;
use core::fmt::Debug;
use core::hash::Hash;

/// Attributes of mappings in a regime: the bits of leaves that are neither the address nor the
/// descriptor's kind.
pub trait Attributes: Copy + Eq + Debug {
    /// The attributes of a leaf, valid or not.
    fn of_leaf(leaf: Descriptor) -> Self;
    /// The descriptor bits.
    fn bits(self) -> u64;
    /// Returns whether a live mapping may change from one to the other in place, without
    /// break-before-make (Arm ARM D8.17.1, R_WHZWS).
    fn same_memory(self, other: Self) -> bool;
    /// The same attributes, young if either is, and dirty if either is: the state of memory that
    /// one TLB entry maps and several descriptors do.
    fn with_state_of(self, other: Self) -> Self;
    /// The same with the rights that tables above leave.
    fn limited(self, limits: TableLimits) -> Self;
}

/// A translation regime: the format of its tables, and the invalidation of its TLB entries. The
/// types that have one as a parameter name it alone.
///
/// Code that edits tables deals with input addresses of every regime as [`VirtAddr`], a number
/// of up to 64 bits; [`Regime::Addr`] and [`Regime::Range`] are what its callers have.
pub trait Regime: Copy + Eq + Hash + Debug + 'static {
    /// Address that the regime translates.
    type Addr: Copy + Eq + Debug;
    /// Range of such addresses.
    type Range: Copy + Eq + Debug;
    /// Attributes of mappings.
    type Attrs: Attributes;
    /// The tables at the top.
    type Root: Copy;
    /// Contents of an entry that is no table.
    type Pte: Copy + Eq + Debug + From<Leaf<Self>>;
    /// True if hardware may change valid leaves in memory at any time: their access flag and dirty
    /// state.
    const HARDWARE_UPDATES: bool;
    /// Bits that descriptors of tables have besides the address and the kind.
    const TABLE_BITS: u64;

    /// The table at the top that translates `at`, and its level. `at` is in
    /// [reach](Regime::reaches).
    fn top(root: Self::Root, at: VirtAddr) -> (TableAddr<Self>, Level);
    /// Number of bytes that the tables at the top translate.
    fn span(root: Self::Root) -> usize;
    /// Returns whether the tables at the top translate `at`.
    #[inline(always)]
    fn reaches(_: Self::Root, _at: VirtAddr) -> bool {
        true
    }
    /// The contents of an entry that is no table; `None` of an empty one.
    fn pte(level: Level, word: Descriptor) -> Option<Self::Pte>;
    /// The leaf that an entry maps or hides.
    fn leaf(pte: Self::Pte) -> Option<Leaf<Self>>;
    /// The input addresses of a range.
    fn input_range(range: Self::Range) -> VirtRange;
    /// The input address.
    fn input(at: Self::Addr) -> VirtAddr;
    /// The regime's address of an input address that its tables translate.
    fn output(at: VirtAddr) -> Self::Addr;
    /// The valid leaf as an entry that walkers take for invalid.
    fn hide(leaf: Descriptor) -> Descriptor;
    /// The valid leaf that [`Regime::hide`] made `entry` from; `None` of others.
    fn show(entry: Descriptor) -> Option<Descriptor>;
    /// Returns whether a word that is neither valid nor a hidden leaf is software's own.
    fn is_software_entry(_word: Descriptor, _level: Level) -> bool {
        false
    }
    /// Says what a valid leaf has, below tables with these limits, that none of the regime may.
    fn defect(leaf: Descriptor, limits: TableLimits) -> Option<&'static str>;

    // Invalidation of TLB entries. Before one the tables' edits are visible to walkers.

    /// Tag under which a tree's translations are cached.
    type Tag: Copy;

    /// Returns whether anything can be cached under `tag`.
    fn may_be_cached(tag: Self::Tag) -> bool;
    /// The operand for `at`.
    fn op(at: VirtAddr, tag: Self::Tag) -> VaOp;
    /// The largest range operand for at most `pages` pages from `at` on.
    fn range_op(at: VirtAddr, pages: usize, tag: Self::Tag) -> Option<RangeOp>;
    /// Invalidates one address.
    fn tlbi(op: VaOp, reach: Reach, tag: Self::Tag);
    /// Invalidates a range. The CPU must have FEAT_TLBIRANGE.
    fn tlbi_range(op: RangeOp, reach: Reach, tag: Self::Tag);
    /// Invalidates everything under `tag`.
    fn tlbi_all(tag: Self::Tag);
    /// Runs `issue`, which issues invalidations for `tag`, and waits until they are complete.
    #[inline(always)]
    fn complete(_tag: Self::Tag, issue: impl FnOnce() -> Issued) {
        issue();
        mmu::dsb_ish();
    }
    /// Makes what was edited or invalidated hold for this CPU's next instruction.
    #[inline(always)]
    fn synchronize() {
        mmu::isb();
    }
}

/// The leaf in a word of a table, of regimes that have no other entries.
#[inline(always)]
fn leaf_of<R: Regime>(level: Level, word: Descriptor) -> Option<Leaf<R>> {
    match Table::<R>::decode(level, word) {
        Entry::Leaf(leaf) => Some(leaf),
        _ => None,
    }
}
