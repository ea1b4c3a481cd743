//! Parts of the per-CPU page lists: the words that hold a list's top, and the bytes that say
//! which list a block goes to. `page_alloc::pcp` has the policy.

use crate::addr::Order;
use crate::mm::mmzone::{Migratetype, ZoneId};
use crate::mm::page::{Frame, PageFlags};
use core::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};

/// A stack of free blocks through the descriptors' `next`, and how many pages more it may
/// hold, in one word. Changed by its CPU alone, with interrupts masked; others may look.
pub(in crate::mm) struct PcpList(AtomicU64);

/// Value of a [`PcpList`] at some moment: the raw top in the high half, the room in the low one,
/// where adding to it clears the other.
#[derive(Clone, Copy)]
pub(in crate::mm) struct Top(u64);

impl Top {
    /// The block that was put on it last.
    #[inline(always)]
    pub(in crate::mm) fn frame(self) -> Option<Frame> {
        // SAFETY: only frames are stored, or none.
        unsafe { Frame::from_inside((self.0 >> u32::BITS) as u32) }
    }

    /// Returns the number of pages that there is room for; negative where the list holds too
    /// many.
    #[inline(always)]
    pub(in crate::mm) fn room(self) -> i32 {
        self.0 as i32
    }

    /// Returns the word with another block at the top, and room for `pages` more.
    #[inline(always)]
    pub(in crate::mm) fn after(self, frame: Option<Frame>, pages: i32) -> Self {
        let room = (self.0 as u32).wrapping_add_signed(pages);
        Self(u64::from(frame.map_or(0, Frame::inside)) << u32::BITS | u64::from(room))
    }
}

impl PcpList {
    /// Creates an empty list with room for nothing.
    pub(in crate::mm) const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Reads the list's word.
    #[inline(always)]
    pub(in crate::mm) fn get(&self) -> Top {
        Top(self.0.load(Relaxed))
    }

    /// Makes it hold that.
    #[inline(always)]
    pub(in crate::mm) fn set(&self, top: Top) {
        self.0.store(top.0, Relaxed);
    }

    /// Makes room for `pages` more, or less.
    pub(in crate::mm) fn add_room(&self, pages: i32) {
        let top = self.get();
        self.set(top.after(top.frame(), pages));
    }

    /// Takes the block of `order` that was put on it last.
    #[inline(always)]
    pub(in crate::mm) fn pop(&self, order: Order) -> Option<Frame> {
        let top = self.get();
        let frame = top.frame()?;
        self.set(top.after(frame.page().next(), order.pages() as i32));
        Some(frame)
    }

    /// Puts a block of `order` on it; whether there was room.
    #[inline(always)]
    pub(in crate::mm) fn push(&self, frame: Frame, order: Order) -> bool {
        let top = self.get();
        let page = frame.page();
        page.set_next(top.frame());
        page.set_flags(PageFlags::PCP);
        let top = top.after(Some(frame), -(order.pages() as i32));
        self.set(top);
        top.room() >= 0
    }
}

/// A zone and one of the migratetypes that per-CPU lists are of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::mm) struct PcpColumn(u8);

impl PcpColumn {
    /// Columns of a zone; a power of two.
    pub(in crate::mm) const PER_ZONE: usize = 4;
    /// Number of columns.
    pub(in crate::mm) const COUNT: usize = ZoneId::COUNT * Self::PER_ZONE;

    /// The column where a CPU keeps pages of `zone` for allocations of `mt`, or of pageblocks
    /// of `mt`; `None` where those go straight to the zone.
    pub(in crate::mm) const fn new(zone: ZoneId, mt: Migratetype) -> Option<Self> {
        match mt.pcp_migratetype() {
            Some(mt) => Some(Self((zone.index() * Self::PER_ZONE + mt.index()) as u8)),
            None => None,
        }
    }

    /// Returns the index, below [`PcpColumn::COUNT`].
    #[inline(always)]
    pub(in crate::mm) const fn index(self) -> usize {
        // SAFETY: `new` makes no other, and `from_byte` gives back what it made.
        unsafe { core::hint::assert_unchecked((self.0 as usize) < Self::COUNT) };
        self.0 as usize
    }
}

const _: () = assert!(Migratetype::PCPTYPES <= PcpColumn::PER_ZONE);

/// No column: the sign, so that it takes one instruction to see.
const NO_COLUMN: u8 = 1 << 7;
const _: () = assert!(PcpColumn::COUNT <= NO_COLUMN as usize);

impl PcpColumn {
    /// The byte that says `column`.
    #[inline(always)]
    pub(in crate::mm) const fn to_byte(column: Option<Self>) -> u8 {
        match column {
            Some(column) => column.0,
            None => NO_COLUMN,
        }
    }

    /// The column that `byte` says.
    ///
    /// # Safety
    /// It came from [`to_byte`](Self::to_byte), or is 0, which is the first column.
    #[inline(always)]
    pub(in crate::mm) const unsafe fn from_byte(byte: u8) -> Option<Self> {
        if byte & NO_COLUMN == 0 { Some(Self(byte)) } else { None }
    }
}

/// A place that remembers a column, or none.
pub(in crate::mm) struct ColumnLink(AtomicU8);

impl ColumnLink {
    /// Creates a link to no column.
    pub(in crate::mm) const fn new() -> Self {
        Self(AtomicU8::new(NO_COLUMN))
    }

    /// The column that was stored last.
    #[inline(always)]
    pub(in crate::mm) fn get(&self) -> Option<PcpColumn> {
        // SAFETY: `set` alone stores here.
        unsafe { PcpColumn::from_byte(self.0.load(Relaxed)) }
    }

    /// Remembers a column, or none.
    pub(in crate::mm) fn set(&self, column: Option<PcpColumn>) {
        self.0.store(PcpColumn::to_byte(column), Relaxed);
    }
}
