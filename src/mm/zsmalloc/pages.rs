//! A pool's pages: their slots, who is in them, and the lists of those with room.
//!
//! A record is on the list of free records if it has no page, on the list of its class if
//! its page has room, and else on none. A page without objects exists only while it is
//! isolated, or pinned.
#![deny(unsafe_code)]

use super::ZsInfo;
use super::record::{List, NONE, Record};
use crate::addr::PAGE_SIZE;
use crate::mm::migrate::clear_page_movable;
use crate::mm::page::Frame;
use crate::mm::page_alloc::OwnedPage;
use alloc::vec::Vec;

/// The most slots of a page: a word has a bit for each.
const MAX_SLOTS: usize = 64;

/// A place for an object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Slot {
    pub page: u32,
    pub index: u8,
}

/// The pages of a pool.
pub(super) struct Pages {
    table: Vec<Record>,
    /// The first record without a page.
    free: u32,
    /// The first page with room, by the number of slots.
    partial: [u32; MAX_SLOTS + 1],
    objects: usize,
    /// Records with a page.
    pages: usize,
    /// Records whose page is isolated.
    isolated: usize,
    moved: u64,
    /// True if the pool waits for its isolated pages before it ends.
    closing: bool,
}

impl Pages {
    pub fn new() -> Self {
        let partial = [NONE; MAX_SLOTS + 1];
        Self {
            table: Vec::new(),
            free: NONE,
            partial,
            objects: 0,
            pages: 0,
            isolated: 0,
            moved: 0,
            closing: false,
        }
    }

    /// Number of objects of `size` bytes that share a page, at least 1.
    pub fn per_page(size: usize) -> u8 {
        (PAGE_SIZE / size.next_multiple_of(8)).min(MAX_SLOTS) as u8
    }

    pub fn info(&self) -> ZsInfo {
        ZsInfo { objects: self.objects, pages: self.pages, moved: self.moved }
    }

    pub fn capacity(&self) -> usize {
        self.table.capacity()
    }

    /// Moves the records to `table`, if there is more room; returns what is left over.
    pub fn replace_table(&mut self, mut table: Vec<Record>) -> Vec<Record> {
        if table.capacity() <= self.table.capacity() {
            return table;
        }
        table.append(&mut self.table);
        core::mem::replace(&mut self.table, table)
    }

    // Lists.

    fn head(&mut self, list: List) -> &mut u32 {
        match list {
            List::Free => &mut self.free,
            List::Partial(per_page) => &mut self.partial[usize::from(per_page)],
        }
    }

    fn link(&mut self, n: u32, list: Option<List>) {
        let Some(list) = list else { return };
        let first = core::mem::replace(self.head(list), n);
        if let Some(first) = self.table.get_mut(first as usize) {
            first.prev = n;
        }
        let record = &mut self.table[n as usize];
        (record.prev, record.next) = (NONE, first);
    }

    fn unlink(&mut self, n: u32, list: Option<List>) {
        let Some(list) = list else { return };
        let Record { prev, next, .. } = self.table[n as usize];
        match self.table.get_mut(prev as usize) {
            Some(prev) => prev.next = next,
            None => *self.head(list) = next,
        }
        if let Some(next) = self.table.get_mut(next as usize) {
            next.prev = prev;
        }
    }

    /// Changes a record and keeps it on the list where it belongs.
    fn change<R>(&mut self, n: u32, f: impl FnOnce(&mut Record) -> R) -> R {
        let before = self.table[n as usize].list();
        let result = f(&mut self.table[n as usize]);
        let after = self.table[n as usize].list();
        if before != after {
            self.unlink(n, before);
            self.link(n, after);
        }
        result
    }

    // Objects.

    /// Takes a slot of a page that has one free.
    pub fn take_slot(&mut self, per_page: u8) -> Option<Slot> {
        let n = self.partial[usize::from(per_page)];
        (n != NONE).then(|| self.take_slot_of(n))
    }

    fn take_slot_of(&mut self, n: u32) -> Slot {
        self.objects += 1;
        let index = self.change(n, |record| {
            let index = record.used.trailing_ones();
            record.used |= 1 << index;
            index as u8
        });
        Slot { page: n, index }
    }

    /// Adds `page`, cut into `per_page` slots, and takes the first; `None` where the table
    /// has to grow first.
    pub fn add_page(&mut self, page: &mut Option<OwnedPage>, per_page: u8) -> Option<Slot> {
        if self.free == NONE {
            if self.table.len() == self.table.capacity() {
                return None;
            }
            self.table.push(Record::EMPTY);
            self.link(self.table.len() as u32 - 1, Some(List::Free));
        }
        let n = self.free;
        self.change(n, |record| {
            record.page = page.take();
            record.per_page = per_page;
        });
        self.pages += 1;
        Some(self.take_slot_of(n))
    }

    /// The page of record `n`.
    pub fn page(&self, n: u32) -> Option<&OwnedPage> {
        self.table.get(n as usize)?.page.as_ref()
    }

    #[track_caller]
    fn check(&self, slot: Slot) {
        let record = self.table.get(slot.page as usize);
        let there = record.is_some_and(|r| r.page.is_some() && r.used >> slot.index & 1 != 0);
        assert!(there, "zsmalloc: {slot:?} holds no object: freed already, or of another pool");
    }

    /// Frees an object; the page, if it was its last.
    #[track_caller]
    pub fn free_slot(&mut self, slot: Slot) -> Option<OwnedPage> {
        self.check(slot);
        self.objects -= 1;
        self.change(slot.page, |record| record.used &= !(1 << slot.index));
        self.take_unused(slot.page)
    }

    /// Takes the page out of record `n` if nobody needs it any more.
    fn take_unused(&mut self, n: u32) -> Option<OwnedPage> {
        if !self.table[n as usize].is_unused() {
            return None;
        }
        let page = self.change(n, |record| {
            record.per_page = 0;
            record.page.take()
        });
        self.pages -= usize::from(page.is_some());
        page.inspect(clear_page_movable)
    }

    /// The bytes of an object.
    #[track_caller]
    pub fn bytes(&mut self, slot: Slot) -> &mut [u8] {
        self.check(slot);
        let record = &mut self.table[slot.page as usize];
        let len = (PAGE_SIZE / usize::from(record.per_page)) & !7;
        let page = record.page.as_mut().expect("checked");
        &mut page.bytes_mut()[usize::from(slot.index) * len..][..len]
    }

    /// The frame that an object lies in.
    #[track_caller]
    pub fn frame(&self, slot: Slot) -> Frame {
        self.check(slot);
        self.page(slot.page).expect("checked").frame()
    }

    /// Keeps an object's page in its place; the page's number, and its frame.
    #[track_caller]
    pub fn pin(&mut self, slot: Slot) -> (u32, Frame) {
        let frame = self.frame(slot);
        self.table[slot.page as usize].pin();
        (slot.page, frame)
    }

    /// Ends a pin of page `n`; the page, if that was the last one and its last object is gone.
    pub fn unpin(&mut self, n: u32) -> Option<OwnedPage> {
        self.table[n as usize].unpin();
        self.take_unused(n)
    }

    /// The record of a page, for tests.
    #[cfg(test)]
    pub fn record(&mut self, n: u32) -> &mut Record {
        &mut self.table[n as usize]
    }

    // Moving.

    fn holds(&self, n: u32, frame: Frame) -> bool {
        self.page(n).is_some_and(|page| page.frame() == frame)
    }

    /// Isolates page `n`, if that is still the one at `frame` and may be moved.
    pub fn isolate(&mut self, n: u32, frame: Frame) -> bool {
        let may = self.holds(n, frame) && {
            let record = &self.table[n as usize];
            !self.closing && !record.isolated && record.pins == 0
        };
        if may {
            self.table[n as usize].isolated = true;
            self.isolated += 1;
        }
        may
    }

    /// Moves isolated page `n` from `from` to `to`; the old page. `None`, and `to` left,
    /// while it is pinned.
    pub fn migrate(
        &mut self,
        n: u32,
        from: Frame,
        to: &mut Option<OwnedPage>,
    ) -> Option<OwnedPage> {
        self.check_isolated(n, from);
        let record = &mut self.table[n as usize];
        if record.pins != 0 {
            return None;
        }
        record.isolated = false;
        self.isolated -= 1;
        self.moved += 1;
        // Its last object may be gone meanwhile.
        if let Some(unused) = self.take_unused(n) {
            return Some(unused);
        }
        let record = &mut self.table[n as usize];
        let mut new = to.take()?;
        let old = record.page.take()?;
        new.bytes_mut().copy_from_slice(old.bytes());
        crate::mm::migrate::inherit_mark(&old, &new);
        record.page = Some(new);
        clear_page_movable(&old);
        Some(old)
    }

    /// Ends the isolation of page `n`; the page, if its last object went meanwhile.
    pub fn putback(&mut self, n: u32, frame: Frame) -> Option<OwnedPage> {
        self.check_isolated(n, frame);
        self.table[n as usize].isolated = false;
        self.isolated -= 1;
        self.take_unused(n)
    }

    fn check_isolated(&self, n: u32, frame: Frame) {
        let isolated = self.holds(n, frame) && self.table[n as usize].isolated;
        assert!(isolated, "zsmalloc: {frame:?} was not isolated as page {n}");
    }

    /// Returns true if a page is about to be moved.
    pub fn any_isolated(&self) -> bool {
        self.isolated != 0
    }

    /// Notes that the pool is to end as soon as no page is isolated.
    pub fn close(&mut self) {
        self.closing = true;
    }

    /// Returns true if the pool waits to end, and can end now.
    pub fn may_end(&self) -> bool {
        self.closing && self.isolated == 0
    }

    /// Takes the marks off all pages, which are about to be freed, and takes out those that are
    /// pinned, by pins that nobody can end any more. Returns the number of those.
    pub fn unmark_all(&mut self) -> usize {
        self.table.iter().filter_map(|record| record.page.as_ref()).for_each(clear_page_movable);
        let pinned = self.table.iter_mut().filter(|record| record.pins > 0);
        pinned.filter_map(|record| record.page.take().map(OwnedPage::into_raw)).count()
    }

    /// Checks every invariant.
    pub fn validate(&self) -> Result<(), &'static str> {
        let (mut objects, mut listed, mut pages, mut isolated) = (0, 0, 0, 0);
        for record in &self.table {
            pages += usize::from(record.page.is_some());
            isolated += usize::from(record.isolated);
            objects += record.used.count_ones() as usize;
            listed += usize::from(record.list().is_some());
            let slots = u32::from(record.per_page);
            if record.page.is_some() != (slots != 0) {
                return Err("a page is cut into no slots, or slots have no page");
            }
            if u64::BITS - record.used.leading_zeros() > slots {
                return Err("an object lies behind the end of its page");
            }
            if record.page.is_some() && record.is_unused() {
                return Err("a page that nobody uses was kept");
            }
        }
        if objects != self.objects {
            return Err("the count of objects is wrong");
        }
        if (pages, isolated) != (self.pages, self.isolated) {
            return Err("the count of pages, or of isolated ones, is wrong");
        }
        let heads = core::iter::once((List::Free, self.free))
            .chain((0..).zip(self.partial).map(|(per_page, head)| (List::Partial(per_page), head)));
        for (list, head) in heads {
            let (mut at, mut prev) = (head, NONE);
            while at != NONE {
                let Some(record) = self.table.get(at as usize) else {
                    return Err("a list leads to no record");
                };
                if record.list() != Some(list) || record.prev != prev {
                    return Err("a page is on a wrong list");
                }
                listed = listed.checked_sub(1).ok_or("a list is a circle")?;
                (prev, at) = (at, record.next);
            }
        }
        if listed != 0 {
            return Err("a page with room is on no list");
        }
        Ok(())
    }
}
