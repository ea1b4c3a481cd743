//! Entries of users' tables as they lie there, for code that goes over many of them under the
//! table's lock: the forms that [`UserPte`] names are told apart by their bits.
#![deny(unsafe_code)]

use super::{PteMarker, User, UserAttrs, UserPte};
use crate::addr::{PhysAddr, UserAddr};
use crate::arch::pgtable::descriptor::{AF, AP_RDONLY, DBM, Descriptor, Level, PTRS_PER_TABLE};
use crate::arch::pgtable::regime::{Attributes, Regime};
use crate::arch::pgtable::table::{Leaf, Table, TableAddr};

/// The bits of a page's address.
const PAGE: u64 = 0x0000_ffff_ffff_f000;

/// An entry of a user's last-level table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub struct PteWord(Descriptor);

impl PteWord {
    /// The empty entry.
    pub const NONE: Self = Self(Descriptor::INVALID);

    /// A page.
    #[inline(always)]
    #[must_use]
    pub fn page(pa: PhysAddr, attrs: UserAttrs) -> Self {
        Self(Descriptor::leaf_with(Level::Pte, pa, attrs.bits(), false))
    }
    /// A fact about an address where no page is.
    #[must_use]
    pub fn marker(marker: PteMarker) -> Self {
        Self(UserPte::Marker(marker).encode())
    }
    /// Returns whether the entry is empty.
    #[inline(always)]
    #[must_use]
    pub fn is_none(self) -> bool {
        self == Self::NONE
    }
    /// Returns whether walkers find a page.
    #[inline(always)]
    #[must_use]
    pub const fn is_valid(self) -> bool {
        self.0.is_valid()
    }
    /// The address of the page; a valid entry's.
    #[inline(always)]
    #[must_use]
    pub const fn phys(self) -> PhysAddr {
        PhysAddr::new(self.0.bits() & PAGE)
    }
    /// The attributes; a valid entry's.
    #[inline(always)]
    #[must_use]
    pub fn attrs(self) -> UserAttrs {
        UserAttrs::of_leaf(self.0)
    }
    /// All but the address of the page: pages with equal ones are mapped alike.
    #[inline(always)]
    #[must_use]
    pub const fn kind(self) -> u64 {
        self.0.bits() & !PAGE
    }
    /// The entry with the bits of `change`, a difference of two [`kind`](Self::kind)s, inverted.
    #[inline(always)]
    #[must_use]
    pub const fn changed_by(self, change: u64) -> Self {
        Self(Descriptor::from_bits(self.0.bits() ^ change))
    }
    /// The entry in full.
    #[must_use]
    pub fn decode(self) -> UserPte {
        UserPte::decode(self.0)
    }
    /// Returns whether hardware with FEAT_HAFDBS may change the entry at any time: the page is old,
    /// or clean and writable.
    #[inline(always)]
    #[must_use]
    pub const fn may_change(self) -> bool {
        let bits = self.0.bits();
        self.is_valid() && (bits & AF == 0 || bits & (DBM | AP_RDONLY) == DBM | AP_RDONLY)
    }
}

impl Table<User> {
    /// Index in a last-level table of the entry for `at`.
    #[inline(always)]
    #[must_use]
    pub const fn pte_index(at: UserAddr) -> usize {
        at.get() >> Level::Pte.shift() & 511
    }
    /// The entry at `index`, less than 512, of a last-level table.
    #[inline(always)]
    #[must_use]
    pub fn pte(&self, index: usize) -> PteWord {
        PteWord(self.descriptor(index % PTRS_PER_TABLE))
    }
    /// Stores an entry where no page is, or where no hardware may change what is there. What a page
    /// held before is seen by whoever finds the entry.
    #[inline(always)]
    pub fn set_pte(&self, index: usize, pte: PteWord) {
        core::sync::atomic::fence(core::sync::atomic::Ordering::Release);
        self.set_pte_relaxed(index, pte);
    }
    /// [`set_pte`](Self::set_pte) of a page whose contents all CPUs see already.
    #[inline(always)]
    pub fn set_pte_relaxed(&self, index: usize, pte: PteWord) {
        self.write(index % PTRS_PER_TABLE, pte.0);
    }
    /// Empties an entry that was read as `old`; returns it as hardware left it last.
    #[inline(always)]
    pub fn take_pte(&self, index: usize, old: PteWord) -> PteWord {
        if old.may_change() {
            return PteWord(self.take(index));
        }
        self.write(index, Descriptor::INVALID);
        old
    }
    /// Stores `new` if the entry still is `old`. Returns true if it was.
    #[inline(always)]
    pub fn exchange_pte(&self, index: usize, old: PteWord, new: PteWord) -> bool {
        self.exchange(index, old.0, new.0)
    }
    /// The table below the entry at `index` of a table above the last level.
    #[inline(always)]
    #[must_use]
    pub fn table_below(&self, index: usize) -> Option<TableAddr<User>> {
        self.next_table(index)
    }
    /// Links a table that is clear, and seen so by walkers.
    pub fn link_below(&self, index: usize, table: TableAddr<User>) {
        self.set_table(index, table, 0);
    }
    /// Takes a table out of the tree. Walkers may be in it until their TLBs are invalidated.
    pub fn unlink_below(&self, index: usize) {
        self.clear(index);
    }
}

impl From<Leaf<User>> for PteWord {
    fn from(leaf: Leaf<User>) -> Self {
        let word = leaf.descriptor(Level::Pte);
        Self(if leaf.valid { word } else { User::hide(word) })
    }
}
