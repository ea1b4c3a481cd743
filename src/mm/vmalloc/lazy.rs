//! Areas that wait for a flush, in lists by size, so that a purge moves whole lists into the
//! pools whatever their length, and what they held, gathered when they were freed.
#![deny(unsafe_code)]

use super::area::{Backing, VmapArea};
use super::area_pages::{AreaPages, free_singles};
use super::memtype::{Claims, IoType, Reservation};
use super::va_space::AreaId;
use crate::addr::PhysRange;
use crate::collections::slots::NIL;
use crate::mm::init_mm::Flushed;
use core::mem::ManuallyDrop;

/// The largest area on such a list, in pages mapped.
pub const SIZED_PAGES: usize = 32;
const SIZES: usize = SIZED_PAGES + 1;

/// Areas of one size, linked through their records.
#[derive(Clone, Copy)]
pub struct AreaList {
    /// The one that came last, or none.
    pub head: u32,
    /// The one that came first, if there is one.
    pub tail: u32,
}

/// A list for each size up to [`SIZED_PAGES`].
pub struct SizedLists {
    /// A bit for each list that isn't empty.
    used: u64,
    lists: [AreaList; SIZES],
}

const _: () = assert!(SIZES <= u64::BITS as usize);

impl SizedLists {
    /// Empty ones.
    pub const fn new() -> Self {
        Self { used: 0, lists: [AreaList { head: NIL, tail: NIL }; SIZES] }
    }

    /// Returns whether all are empty.
    pub const fn are_empty(&self) -> bool {
        self.used == 0
    }

    /// Puts `area`, whose number is `id` and which maps `size` pages, on the list of that size.
    ///
    /// # Panics
    /// Where it is larger than [`SIZED_PAGES`].
    #[inline(always)]
    pub fn push(&mut self, id: AreaId, area: &mut VmapArea, size: usize) {
        let list = &mut self.lists[size];
        area.next = core::mem::replace(&mut list.head, id.get());
        if area.next == NIL {
            list.tail = id.get();
            self.used |= 1 << size;
        }
    }

    /// Takes a list out that isn't empty, with the pages that its areas map.
    #[inline(always)]
    pub fn take(&mut self) -> Option<(usize, AreaList)> {
        if self.used == 0 {
            return None;
        }
        let size = self.used.trailing_zeros() as usize;
        self.used &= self.used - 1;
        let list = self.lists.get_mut(size)?;
        Some((size, core::mem::replace(list, AreaList { head: NIL, tail: NIL })))
    }

    /// Puts a list in place of an empty one, as [`take`](Self::take) gave it.
    #[inline(always)]
    pub fn put(&mut self, (size, list): (usize, AreaList)) {
        debug_assert!(self.lists[size].head == NIL, "areas of {size} pages are lost");
        self.lists[size] = list;
        self.used |= 1 << size;
    }

    /// The lists that aren't empty, as [`take`](Self::take) gives them.
    pub fn iter(&self) -> impl Iterator<Item = (usize, AreaList)> {
        let used = self.used;
        let lists = self.lists.iter().copied().enumerate();
        lists.filter(move |(size, list)| {
            assert_eq!(used >> size & 1 == 1, list.head != NIL, "areas of {size} pages");
            list.head != NIL
        })
    }
}

/// Backings of lazily freed areas; a purge must take and [release](Self::release) it (leaked on
/// drop by design).
pub struct Held {
    pages: ManuallyDrop<AreaPages>,
    claims: Claims,
}

impl Held {
    /// Empty set.
    pub const NONE: Self =
        Self { pages: ManuallyDrop::new(AreaPages::EMPTY), claims: Claims::NONE };

    /// Takes over the backing of `area` if it is of a kind that can be gathered. Returns true if
    /// nothing is left.
    #[inline(always)]
    pub fn gather(&mut self, area: &mut VmapArea) -> bool {
        let VmapArea { backing, phys, nr_pages, .. } = area;
        let left = match core::mem::take(backing) {
            Backing::None => return true,
            Backing::Pages(chain) if chain.is_single_pages() => {
                self.pages.prepend(chain);
                return true;
            }
            Backing::Io(reservation) => match self.claims.add(reservation, *phys, *nr_pages) {
                Ok(()) => return true,
                Err(reservation) => Backing::Io(reservation),
            },
            large => large,
        };
        // Nothing is there since the start.
        core::mem::forget(core::mem::replace(backing, left));
        false
    }

    /// Gives all of it back, after the flush.
    #[inline(always)]
    pub fn release(&mut self, _: &Flushed) {
        let pages = core::mem::replace(&mut *self.pages, AreaPages::EMPTY);
        if pages.len() > 0 {
            free_singles(pages);
        }
        core::mem::replace(&mut self.claims, Claims::NONE).release();
    }

    /// A claim that waits, for who maps the same with the same type again. What waits with it
    /// is flushed by the time the new area's end has been: the claim lasts as long as it must.
    #[inline(always)]
    pub fn reuse_claim(&mut self, range: PhysRange, io: IoType) -> Option<Reservation> {
        self.claims.reuse(range, io)
    }

    /// Takes the backing with such a claim back, which must not end before the flush.
    pub fn put_back(&mut self, backing: Backing) {
        if let Backing::Io(reservation) = backing {
            self.claims.put_back(reservation);
        }
    }

    /// Returns the pages, for checks.
    pub fn pages(&self) -> &AreaPages {
        &self.pages
    }
}
