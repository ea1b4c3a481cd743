//! Entries of users' last-level tables: what walkers find there, and what software keeps in the
//! words that walkers take for invalid (Linux: include/linux/swapops.h).
//!
//! | form | bits 58:56 | the rest |
//! | --- | --- | --- |
//! | none | 0 | 0 |
//! | present, and hidden from walkers | 1 | the leaf without its valid bit and NG |
//! | swap | 2 | entry in 43:12, exclusive in 2, write-protected by userfaultfd in 3 |
//! | migration | 3 | frame in 43:12, writable in 2, exclusive in 3, young in 4, dirty in 5 |
//! | marker | 4 | poisoned in 12, write-protected by userfaultfd in 13, guard in 14 |
//!
//! All have bit 0 clear, and bit 11 too: an entry that the *kernel's* tables hide has that one set
//! (`Descriptor::present_invalid`), so neither is ever taken for the other.
#![deny(unsafe_code)]

use super::User;
use crate::addr::Pfn;
use crate::arch::pgtable::descriptor::{Descriptor, Kind, Level};
use crate::arch::pgtable::regime::{Attributes, Regime};
use crate::arch::pgtable::table::Leaf;
use bitflags::bitflags;

const FORM_SHIFT: u32 = 56;
pub(super) const FORM: u64 = 7 << FORM_SHIFT;
pub(super) const HIDDEN: u64 = 1 << FORM_SHIFT;
const SWAP: u64 = 2 << FORM_SHIFT;
const MIGRATION: u64 = 3 << FORM_SHIFT;
const MARKER: u64 = 4 << FORM_SHIFT;

/// Place of 32-bit numbers.
const NUMBER_SHIFT: u32 = 12;
const NUMBER: u64 = (u32::MAX as u64) << NUMBER_SHIFT;

const SWAP_EXCLUSIVE: u64 = 1 << 2;
const SWAP_UFFD_WP: u64 = 1 << 3;
const MIGRATION_WRITE: u64 = 1 << 2;
const MIGRATION_EXCLUSIVE: u64 = 1 << 3;
const MIGRATION_YOUNG: u64 = 1 << 4;
const MIGRATION_DIRTY: u64 = 1 << 5;

/// A swap entry in a page's place (Linux: swp_pte).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SwapPte {
    /// Device and offset, as the swap code lays them out (Linux: swp_entry_t).
    pub entry: u32,
    /// True if no other address space has the page (Linux: pte_swp_exclusive).
    pub exclusive: bool,
    /// Write-protected by userfaultfd (Linux: pte_swp_uffd_wp).
    pub uffd_wp: bool,
}

/// A page that is being moved to another frame; accesses wait (Linux: make_writable_migration_entry
/// and its kin).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MigrationPte {
    /// The frame that it is moved from.
    pub pfn: Pfn,
    /// True if the mapping may be written.
    pub writable: bool,
    /// True if no other address space has the page.
    pub exclusive: bool,
    /// The mapping's access flag.
    pub young: bool,
    /// The mapping's dirty state.
    pub dirty: bool,
}

bitflags! {
    /// Facts about an address where no page is (Linux: pte_marker).
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct PteMarker: u8 {
        /// The page was lost: an access gets SIGBUS (Linux: PTE_MARKER_POISONED).
        const POISONED = 1 << 0;
        /// Write-protected by userfaultfd (Linux: PTE_MARKER_UFFD_WP).
        const UFFD_WP = 1 << 1;
        /// An access gets SIGSEGV (Linux: PTE_MARKER_GUARD, MADV_GUARD_INSTALL).
        const GUARD = 1 << 2;
    }
}

/// An entry of a user's last-level table, decoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UserPte {
    /// An empty entry.
    None,
    /// A page, which walkers find or which is hidden from them (Linux: PROT_NONE of a page that
    /// is there).
    Present(Leaf<User>),
    /// A page that has been swapped out.
    Swap(SwapPte),
    /// A page that is on its way.
    Migration(MigrationPte),
    /// No page, and a fact about the address. Never empty.
    Marker(PteMarker),
    /// A word that nobody writes (Linux: print_bad_pte).
    Bad(Descriptor),
}

impl From<Leaf<User>> for UserPte {
    fn from(leaf: Leaf<User>) -> Self {
        Self::Present(leaf)
    }
}

impl UserPte {
    /// Decodes a word.
    #[must_use]
    pub fn decode(word: Descriptor) -> Self {
        let pte = Self::decode_unchecked(word);
        if pte.encode() == word { pte } else { Self::Bad(word) }
    }

    fn decode_unchecked(word: Descriptor) -> Self {
        let bits = word.bits();
        let number = ((bits & NUMBER) >> NUMBER_SHIFT) as u32;
        let has = |bit| bits & bit != 0;
        match bits & FORM {
            _ if word.is_valid() => Self::leaf(word, true),
            0 => Self::None,
            HIDDEN => User::show(word).map_or(Self::None, |leaf| Self::leaf(leaf, false)),
            SWAP => Self::Swap(SwapPte {
                entry: number,
                exclusive: has(SWAP_EXCLUSIVE),
                uffd_wp: has(SWAP_UFFD_WP),
            }),
            MIGRATION => Self::Migration(MigrationPte {
                pfn: Pfn::new(number),
                writable: has(MIGRATION_WRITE),
                exclusive: has(MIGRATION_EXCLUSIVE),
                young: has(MIGRATION_YOUNG),
                dirty: has(MIGRATION_DIRTY),
            }),
            MARKER => match PteMarker::from_bits((bits >> NUMBER_SHIFT) as u8) {
                Some(marker) if !marker.is_empty() => Self::Marker(marker),
                _ => Self::None,
            },
            _ => Self::None,
        }
    }

    fn leaf(leaf: Descriptor, valid: bool) -> Self {
        match leaf.kind(Level::Pte) {
            Kind::Leaf(pa, _) => {
                let attrs = super::UserAttrs::of_leaf(leaf);
                Self::Present(Leaf { pa, attrs, contiguous: leaf.is_contiguous(), valid })
            }
            _ => Self::None,
        }
    }

    /// The word for it.
    #[must_use]
    pub fn encode(self) -> Descriptor {
        let bit = |is, bit| if is { bit } else { 0 };
        let number = |n: u32| u64::from(n) << NUMBER_SHIFT;
        Descriptor::from_bits(match self {
            Self::None => 0,
            Self::Present(leaf) => {
                let word = leaf.descriptor(Level::Pte);
                return if leaf.valid { word } else { User::hide(word) };
            }
            Self::Swap(SwapPte { entry, exclusive, uffd_wp }) => {
                SWAP | number(entry) | bit(exclusive, SWAP_EXCLUSIVE) | bit(uffd_wp, SWAP_UFFD_WP)
            }
            Self::Migration(MigrationPte { pfn, writable, exclusive, young, dirty }) => {
                MIGRATION
                    | number(pfn.get())
                    | bit(writable, MIGRATION_WRITE)
                    | bit(exclusive, MIGRATION_EXCLUSIVE)
                    | bit(young, MIGRATION_YOUNG)
                    | bit(dirty, MIGRATION_DIRTY)
            }
            Self::Marker(marker) if marker.is_empty() => 0,
            Self::Marker(marker) => MARKER | u64::from(marker.bits()) << NUMBER_SHIFT,
            Self::Bad(word) => return word,
        })
    }
}
