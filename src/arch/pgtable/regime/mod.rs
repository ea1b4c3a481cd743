//! Translation regimes as types (Arm ARM D8.1.2): what is different between the tables of the
//! kernel, of users, and of guests is part of the type of a table, of its leaves, and of the
//! invalidation that an edit owes.
#![deny(unsafe_code)]

mod kernel;
mod user;

pub use kernel::Kernel;
pub use user::{
    Gathered, MigrationPte, MmuGather, Prot, PteMarker, SwapPte, User, UserAttrs, UserPte,
};

use super::descriptor::{Descriptor, Level};
use super::flush::Reach;
use super::tlbi::{RangeOp, VaOp};
use crate::addr::{VirtAddr, VirtRange};
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
}

/// A translation regime. The types that have one as a parameter name it alone.
pub trait Regime: Tables + Tlbi + Copy + Eq + Hash + Debug + 'static {
    /// Address that the regime translates.
    type Addr: Copy + Eq + Debug;
    /// Range of such addresses.
    type Range: Copy + Eq + Debug;
    /// Attributes of mappings.
    type Attrs: Attributes;
}

/// The format of a regime's tables.
///
/// Code that edits tables deals with input addresses of every regime as [`VirtAddr`], a number
/// of up to 64 bits; [`Regime::Addr`] and [`Regime::Range`] are what its callers have.
pub trait Tables: Sized {
    /// The level of the root.
    const ROOT: Level;
    /// True if hardware may change valid leaves in memory at any time: their access flag and dirty
    /// state.
    const HARDWARE_UPDATES: bool;
    /// Bits that descriptors of tables have besides the address and the kind.
    const TABLE_BITS: u64;

    /// The input addresses of a range.
    fn input_range(range: Self::Range) -> VirtRange
    where
        Self: Regime;
    /// The input address.
    fn input(at: Self::Addr) -> VirtAddr
    where
        Self: Regime;
    /// The regime's address of an input address that its tables translate.
    fn output(at: VirtAddr) -> Self::Addr
    where
        Self: Regime;
    /// The valid leaf as an entry that walkers take for invalid.
    fn hide(leaf: Descriptor) -> Descriptor;
    /// The valid leaf that [`Tables::hide`] made `entry` from; `None` of others.
    fn show(entry: Descriptor) -> Option<Descriptor>;
    /// Returns whether a word that is neither valid nor a hidden leaf is software's own.
    fn is_software_entry(word: Descriptor, level: Level) -> bool;
    /// Says what a valid leaf has that none of the regime may.
    fn defect(leaf: Descriptor) -> Option<&'static str>;
}

/// Invalidation of a regime's TLB entries. Before one the tables' edits are visible to walkers,
/// and it is complete after `dsb ish`.
pub trait Tlbi: Sized {
    /// Tag under which a tree's translations are cached.
    type Tag: Copy;

    /// Returns whether anything can be cached under `tag`.
    fn may_be_cached(tag: Self::Tag) -> bool;
    /// The operand for `at`.
    fn op(at: VirtAddr, tag: Self::Tag) -> VaOp;
    /// The largest range operand for at most `pages` pages from `at` on.
    fn range_op(at: VirtAddr, pages: usize, tag: Self::Tag) -> Option<RangeOp>;
    /// Invalidates one address.
    fn tlbi(op: VaOp, reach: Reach);
    /// Invalidates a range. The CPU must have FEAT_TLBIRANGE.
    fn tlbi_range(op: RangeOp, reach: Reach);
    /// Invalidates everything under `tag`.
    fn tlbi_all(tag: Self::Tag);
}
