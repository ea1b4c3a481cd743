//! Types and flags of pages, as they lie in one halfword of the descriptor.
#![deny(unsafe_code)]

use bitflags::bitflags;
use core::fmt;

/// Type of a page (Linux: enum pagetype, PGTY_*): what the kernel itself uses the frame for. A
/// page has one type at a time. Pages of users, and those that their owner can move, have none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u16)]
pub enum PageType {
    /// No type: reserved, inside a free block, or in use by an owner that needs none.
    None = 0,
    /// The head of a free block in a buddy list; `private` is its order.
    Buddy = 1,
    /// The head of a block on a per-CPU list.
    Pcp = 2,
    /// Holds a page table.
    Table = 3,
    /// Backs part of the vmalloc area.
    Vmalloc = 4,
    /// No RAM here: the frame has a descriptor because its neighbours need one.
    Hole = 5,
    /// Reserved: holds descriptors, or what finds them (Linux: PageVmemmapSelfHosted).
    Vmemmap = 6,
    /// The frame is in a section that is offline, and must not be allocated.
    Offline = 7,
    /// Part of a slab; `owner` is its cache. The one type with this bit, so that
    /// [`Page::is_slab`](super::Page::is_slab) tests a single bit.
    Slab = 1 << 3,
}

/// Bits of the halfword that hold the type.
pub(super) const TYPE_MASK: u16 = 0xf;

impl PageType {
    /// All types, in the order of their numbers.
    pub const ALL: [Self; 9] = [
        Self::None,
        Self::Buddy,
        Self::Pcp,
        Self::Table,
        Self::Vmalloc,
        Self::Hole,
        Self::Vmemmap,
        Self::Offline,
        Self::Slab,
    ];

    /// Name of the type in reports; empty for a page without one.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Buddy => "BUDDY",
            Self::Pcp => "PCP",
            Self::Table => "TABLE",
            Self::Vmalloc => "VMALLOC",
            Self::Hole => "HOLE",
            Self::Vmemmap => "VMEMMAP",
            Self::Offline => "OFFLINE",
            Self::Slab => "SLAB",
        }
    }

    /// The halfword of a page of this type with `flags`.
    #[inline(always)]
    pub(super) const fn with(self, flags: PageFlags) -> u16 {
        self as u16 | flags.bits()
    }
}

bitflags! {
    /// Flags of a page (Linux: enum pageflags), beside its [`PageType`].
    ///
    /// The last seven are for the owner of a page with file data or user memory; those that
    /// concern its mappings and its place on the LRU lists are
    /// [`UserFlags`](super::UserFlags). A free page has none.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct PageFlags: u16 {
        /// The head of a compound page.
        const HEAD = 1 << 4;
        /// A tail of a compound page; `prev` is its head.
        const TAIL = 1 << 5;
        /// An owner is registered who can move it.
        const MOVABLE = 1 << 6;
        /// Bad memory: never to be handed out.
        const HWPOISON = 1 << 7;
        /// A block of several pages, of which some are `HWPOISON`.
        const HAS_HWPOISONED = 1 << 8;
        /// Locked: one thread reads, writes, moves or removes the page (Linux: PG_locked).
        const LOCKED = 1 << 9;
        /// The contents are those of the file, or newer (Linux: PG_uptodate).
        const UPTODATE = 1 << 10;
        /// The contents are newer than the file's or the swap area's (Linux: PG_dirty).
        const DIRTY = 1 << 11;
        /// The contents are being written (Linux: PG_writeback).
        const WRITEBACK = 1 << 12;
        /// `private` is the file system's (Linux: PG_private).
        const PRIVATE = 1 << 13;
        /// To be freed as soon as it is written (Linux: PG_reclaim).
        const RECLAIM = 1 << 14;
        /// A read of this page starts the next read ahead (Linux: PG_readahead).
        const READAHEAD = 1 << 15;
    }
}

const _: () = assert!(PageFlags::all().bits() == !TYPE_MASK);

/// The type and the flags of a page, read at one moment. A report shows them as
/// `SLAB | HEAD`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PageMarks(pub(super) u16);

impl PageMarks {
    /// The halfword of the descriptor: bits 0 to 3 the type, above them the flags.
    #[must_use]
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// The type.
    #[inline]
    #[must_use]
    pub const fn page_type(self) -> PageType {
        match self.0 & TYPE_MASK {
            0 => PageType::None,
            1 => PageType::Buddy,
            2 => PageType::Pcp,
            3 => PageType::Table,
            4 => PageType::Vmalloc,
            5 => PageType::Hole,
            6 => PageType::Vmemmap,
            7 => PageType::Offline,
            // No larger number is stored.
            _ => PageType::Slab,
        }
    }

    /// Returns true if the type is `page_type`.
    #[inline(always)]
    #[must_use]
    pub const fn is_type(self, page_type: PageType) -> bool {
        match page_type {
            PageType::Slab => self.0 & PageType::Slab as u16 != 0,
            other => self.0 & TYPE_MASK == other as u16,
        }
    }

    /// The flags.
    #[inline(always)]
    #[must_use]
    pub const fn flags(self) -> PageFlags {
        PageFlags::from_bits_truncate(self.0)
    }

    /// Names of the type, if there is one, and of the flags.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let page_type = Some(self.page_type().name()).filter(|name| !name.is_empty());
        page_type.into_iter().chain(self.flags().iter_names().map(|(name, _)| name))
    }
}

/// True for a page of this type without flags.
impl PartialEq<PageType> for PageMarks {
    fn eq(&self, other: &PageType) -> bool {
        self.0 == *other as u16
    }
}

impl fmt::Debug for PageMarks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PageMarks(")?;
        for (n, name) in self.names().enumerate() {
            write!(f, "{}{name}", if n == 0 { "" } else { " | " })?;
        }
        f.write_str(if self.0 == 0 { "0x0)" } else { ")" })
    }
}
