//! The record of a page in a pool's table: its slots, its pins and its list.
#![deny(unsafe_code)]

use crate::mm::page_alloc::OwnedPage;

/// The end of a list.
pub(super) const NONE: u32 = u32::MAX;

/// A page, or the place for one.
pub(super) struct Record {
    pub page: Option<OwnedPage>,
    /// A bit for each slot with an object.
    pub used: u64,
    /// Number of slots that the page is cut into; 0 without a page.
    pub per_page: u8,
    pub isolated: bool,
    pub pins: u32,
    pub next: u32,
    pub prev: u32,
}

impl Record {
    pub const EMPTY: Self =
        Self { page: None, used: 0, per_page: 0, isolated: false, pins: 0, next: NONE, prev: NONE };

    pub fn has_room(&self) -> bool {
        self.page.is_some() && self.used.count_ones() < u32::from(self.per_page)
    }

    /// The list that it belongs on.
    pub fn list(&self) -> Option<List> {
        match (&self.page, self.has_room()) {
            (None, _) => Some(List::Free),
            (Some(_), true) => Some(List::Partial(self.per_page)),
            (Some(_), false) => None,
        }
    }

    pub fn is_unused(&self) -> bool {
        self.used == 0 && !self.isolated && self.pins == 0
    }

    /// Counts a pin. When as many are counted as can be, the page is pinned for good.
    pub fn pin(&mut self) {
        self.pins = self.pins.saturating_add(1);
    }

    /// Takes one pin off the count, unless the page is pinned for good.
    ///
    /// # Panics
    /// There is none.
    pub fn unpin(&mut self) {
        if self.pins != u32::MAX {
            self.pins = self.pins.checked_sub(1).expect("zsmalloc: unpin of what is not pinned");
        }
    }
}

/// A list of records.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum List {
    /// Records without a page.
    Free,
    /// Pages with room, by their number of slots.
    Partial(u8),
}
