//! The part of a descriptor that says how users have the page: how often it is mapped, its
//! flags as user memory, and the object and index that it is found by (Linux: `_mapcount`,
//! PG_lru and its like, `mapping`, `index` of struct folio).
//!
//! | field | contents for a page of users |
//! | --- | --- |
//! | `mapcount` | bits 0 to 22 the number of mappings (of an anonymous page, further ones), bits 23 to 31 [`UserFlags`] |
//! | `owner` | bits 60 to 63 the [`MappingKind`], 36 to 59 the object, 0 to 35 the index |
//! | `private` | swap entry, or the file system's word |
//! | `next`, `prev` | place on an LRU list |
#![deny(unsafe_code)]

use super::Page;
use bitflags::bitflags;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// The most further mappings that are counted. A page that has more is not mapped again.
pub const MAPCOUNT_MAX: u32 = (1 << MAPCOUNT_BITS) - 1;
/// Room above the counts that are allowed, for CPUs that count at once.
const MAPCOUNT_SLACK: u32 = 1 << 10;
/// Width of the count in `mapcount`.
const MAPCOUNT_BITS: u32 = 23;

bitflags! {
    /// Flags of a page of users, beside its [`PageFlags`](super::PageFlags). They lie above the
    /// map count, in the word that a fault and an unmapping write anyway.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct UserFlags: u32 {
        /// Used since it was looked at last (Linux: PG_referenced).
        const REFERENCED = 1 << 23;
        /// On an active list, or to go to one (Linux: PG_active).
        const ACTIVE = 1 << 24;
        /// On an LRU list (Linux: PG_lru).
        const LRU = 1 << 25;
        /// Not to be reclaimed (Linux: PG_unevictable).
        const UNEVICTABLE = 1 << 26;
        /// Mapped by an area that is locked in memory (Linux: PG_mlocked).
        const MLOCKED = 1 << 27;
        /// Backed by swap and not by a file (Linux: PG_swapbacked).
        const SWAPBACKED = 1 << 28;
        /// In the swap cache; `private` is the swap entry (Linux: PG_swapcache).
        const SWAPCACHE = 1 << 29;
        /// Part of a working set that was reclaimed and came back (Linux: PG_workingset).
        const WORKINGSET = 1 << 30;
        /// Anonymous, and of one mm alone: a write fault need not copy it (Linux:
        /// PG_anon_exclusive).
        const ANON_EXCLUSIVE = 1 << 31;
    }
}

const _: () = assert!(UserFlags::all().bits() == !MAPCOUNT_MAX);

/// The kind of object that a page of users belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum MappingKind {
    /// Anonymous: the object is a family of mms, the index a virtual page number.
    Anon = 1,
    /// In the page cache: the object is a file, the index a page offset in it.
    File = 2,
    /// Shared by contents (Linux: PAGE_MAPPING_KSM).
    Ksm = 3,
}

/// The object that a page of users belongs to, and its place in it (Linux: `mapping` and
/// `index` of struct folio). Packs into the word `owner`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mapping {
    kind: MappingKind,
    object: u32,
    index: u64,
}

impl Mapping {
    /// Number of objects of a kind: numbers below it name one.
    pub const OBJECTS: u32 = 1 << 24;
    /// Number of pages of an object: 2^36 pages are an address space of 48 bits.
    pub const INDICES: u64 = 1 << Self::INDEX_BITS;
    const INDEX_BITS: u32 = 36;
    const KIND_SHIFT: u32 = 60;

    /// The page at `index` of an object; `None` if a number is too large.
    #[must_use]
    pub const fn new(kind: MappingKind, object: u32, index: u64) -> Option<Self> {
        if object < Self::OBJECTS && index < Self::INDICES {
            Some(Self { kind, object, index })
        } else {
            None
        }
    }

    /// Kind of the object.
    #[must_use]
    pub const fn kind(self) -> MappingKind {
        self.kind
    }
    /// Number of the object.
    #[must_use]
    pub const fn object(self) -> u32 {
        self.object
    }
    /// Place of the page in the object, in pages.
    #[must_use]
    pub const fn index(self) -> u64 {
        self.index
    }

    /// The word that is stored in the descriptor.
    #[must_use]
    pub const fn to_word(self) -> usize {
        (self.kind as usize) << Self::KIND_SHIFT
            | (self.object as usize) << Self::INDEX_BITS
            | self.index as usize
    }

    /// Reads such a word; `None` for a page that is not users', whose owner is an address or a
    /// small number.
    #[must_use]
    pub const fn from_word(word: usize) -> Option<Self> {
        let kind = match word >> Self::KIND_SHIFT {
            1 => MappingKind::Anon,
            2 => MappingKind::File,
            3 => MappingKind::Ksm,
            _ => return None,
        };
        let object = (word >> Self::INDEX_BITS) as u32 & (Self::OBJECTS - 1);
        Some(Self { kind, object, index: word as u64 & (Self::INDICES - 1) })
    }
}

impl Page {
    /// The object that a page of users belongs to; `None` for other pages.
    #[must_use]
    pub fn mapping(&self) -> Option<Mapping> {
        Mapping::from_word(self.owner())
    }

    /// Flags of a page of users.
    #[must_use]
    pub fn user_flags(&self) -> UserFlags {
        UserFlags::from_bits_truncate(self.mapcount.load(Relaxed))
    }

    /// Number of mappings of a page of a file; of an anonymous page, number of further ones: 0 if it
    /// is mapped once or never. All mappings together hold one reference.
    #[inline(always)]
    #[must_use]
    pub fn mapcount(&self) -> u32 {
        self.mapcount.load(Relaxed) & MAPCOUNT_MAX
    }

    /// Makes a page that was just allocated one of users that is mapped nowhere yet.
    #[inline(always)]
    pub(in crate::mm) fn init_user(&self, mapping: Mapping) {
        debug_assert!(self.mapcount.load(Relaxed) == 0, "a free page has a map count");
        self.set_owner(mapping.to_word());
    }
    /// Counts one more mapping, and returns the number before; `None`, and nothing is counted, where
    /// there are [`MAPCOUNT_MAX`] (Linux: atomic_inc of _mapcount).
    #[inline(always)]
    pub(in crate::mm) fn mapcount_add(&self) -> Option<u32> {
        let was = self.mapcount.fetch_add(1, Relaxed) & MAPCOUNT_MAX;
        // As many CPUs as there are may come here at once.
        if was >= MAPCOUNT_MAX - MAPCOUNT_SLACK {
            self.mapcount.fetch_sub(1, Relaxed);
            return None;
        }
        Some(was)
    }
    /// Counts one mapping less, and returns the number before. Of 0, which is one mapping of an
    /// anonymous page, nothing is taken, and the result is `None`.
    pub(in crate::mm) fn mapcount_sub(&self) -> Option<u32> {
        let less = |word: u32| (word & MAPCOUNT_MAX != 0).then(|| word - 1);
        let was = self.mapcount.fetch_update(Relaxed, Relaxed, less).ok()?;
        Some(was & MAPCOUNT_MAX)
    }
    /// The lock of a page table, in its descriptor; see [`lock_word`](crate::sync::lock_word).
    #[inline(always)]
    pub(in crate::mm) fn table_lock(&self) -> &AtomicU32 {
        &self.mapcount
    }
}
