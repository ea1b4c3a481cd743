//! A CPU's records, in pages as Linux's ring buffer has them (Linux: kernel/trace/ring_buffer.c).
//!
//! A page begins with the time of its first record and with how many bytes of records follow.
//! A record begins with a word: its length in words in the low five bits, above them the
//! nanoseconds since the one before. Where those do not fit, a time extend goes before it.
//! The oldest page is given up when there is no room for a further record.
//!
//! Who writes and who reads has the ring to himself: it is plain data.

use super::comms::Comms;
use crate::addr::PAGE_SIZE;
use crate::mm::alloc::{AllocError, KVec};
use crate::mm::gfp::Gfp;
use crate::mm::page_alloc::OwnedPage;

/// Bytes of a page's header: `u64 time_stamp; local_t commit` (Linux: BUF_PAGE_HDR_SIZE).
pub(super) const HEADER: usize = 16;
/// Bytes of records that a page holds.
pub(super) const ROOM: usize = PAGE_SIZE - HEADER;

/// Bits of a time delta (Linux: TS_SHIFT).
const TS_SHIFT: u32 = 27;
/// The most words of a record whose length stands in its first word.
const TYPE_LEN_MAX: u32 = 28;
const TYPE_TIME_EXTEND: u32 = 30;
/// Flag in `commit`: records before this page were lost; their number stands behind the page's
/// own records.
const MISSED_EVENTS: u64 = 1 << 31;
const MISSED_STORED: u64 = 1 << 30;

#[derive(Debug)]
struct Page {
    memory: OwnedPage,
    /// Bytes of records.
    commit: u16,
    records: u16,
}

impl Page {
    fn start(&mut self, now: u64) {
        (self.commit, self.records) = (0, 0);
        self.put(0, now);
        self.put(8, 0);
    }

    fn put(&mut self, at: usize, word: u64) {
        self.memory.bytes_mut()[at..at + 8].copy_from_slice(&word.to_le_bytes());
    }

    fn append(&mut self, bytes: &[u8]) {
        let at = HEADER + self.commit();
        self.memory.bytes_mut()[at..at + bytes.len()].copy_from_slice(bytes);
        self.commit += bytes.len() as u16;
    }

    fn commit(&self) -> usize {
        self.commit.into()
    }

    fn data(&self) -> &[u8] {
        &self.memory.bytes()[HEADER..HEADER + self.commit()]
    }

    fn time(&self) -> u64 {
        self.memory.bytes().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }
}

/// A ring of records.
#[derive(Debug)]
pub(super) struct Ring {
    pages: KVec<Page>,
    /// The oldest page, and the one that is written.
    head: usize,
    tail: usize,
    /// Time of the last record.
    stamp: u64,
    written: u64,
    overrun: u64,
    /// The names of the tasks that wrote.
    pub comms: Comms,
}

/// A record: when, and its bytes, which may be followed by some that fill it up to a word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Record<'a> {
    pub time: u64,
    pub data: &'a [u8],
}

impl Ring {
    /// A ring of as many pages, 2 at least. Process context.
    ///
    /// # Errors
    /// Memory is short.
    pub fn new(pages: usize) -> Result<Self, AllocError> {
        let gfp = Gfp::GFP_KERNEL | Gfp::__GFP_NORETRY | Gfp::__GFP_NOWARN;
        let mut all = KVec::with_capacity(pages.max(2), gfp)?;
        for _ in 0..pages.max(2) {
            let memory = OwnedPage::alloc(gfp | Gfp::__GFP_ZERO).ok_or(AllocError)?;
            let page = Page { memory, commit: 0, records: 0 };
            all.push_within_capacity(page).map_err(|_| AllocError)?;
        }
        let comms = Comms::new(gfp)?;
        Ok(Self { pages: all, head: 0, tail: 0, stamp: 0, written: 0, overrun: 0, comms })
    }

    /// Forgets all records, and that some were lost.
    pub fn clear(&mut self) {
        for page in &mut *self.pages {
            (page.commit, page.records) = (0, 0);
        }
        (self.head, self.tail, self.written, self.overrun) = (0, 0, 0, 0);
    }

    /// Records that are there.
    pub fn entries(&self) -> u64 {
        self.written - self.overrun
    }

    /// Records that were written since it was cleared.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Returns the number of records, among those, that newer ones overwrote.
    pub fn overrun(&self) -> u64 {
        self.overrun
    }

    /// Bytes of records that are there.
    pub fn bytes(&self) -> usize {
        self.used().map(Page::commit).sum()
    }

    /// Adds a record of at most [`ROOM`] - 16 bytes, a multiple of 4, at a time not before the
    /// last one's.
    pub fn write(&mut self, now: u64, data: &[u8]) {
        let words = (data.len() / 4) as u32;
        let is_short = (1..=TYPE_LEN_MAX).contains(&words);
        let len = if is_short { 4 } else { 8 } + data.len();
        let mut delta = now.saturating_sub(self.stamp);
        let extend = |delta: u64| if delta >> TS_SHIFT != 0 { 8 } else { 0 };
        let tail = &self.pages[self.tail];
        let is_first = tail.commit == 0;
        if is_first || tail.commit() + len + extend(delta) > ROOM {
            if !is_first {
                self.next_page();
            }
            // A page's first record is told by the page's time.
            self.pages[self.tail].start(now);
            delta = 0;
        }
        let page = &mut self.pages[self.tail];
        let low = |delta: u64| (delta as u32 & ((1 << TS_SHIFT) - 1)) << 5;
        if extend(delta) != 0 {
            page.append(&(TYPE_TIME_EXTEND | low(delta)).to_le_bytes());
            page.append(&((delta >> TS_SHIFT) as u32).to_le_bytes());
            delta = 0;
        }
        if is_short {
            page.append(&(words | low(delta)).to_le_bytes());
        } else {
            page.append(&low(delta).to_le_bytes());
            page.append(&(data.len() as u32 + 4).to_le_bytes());
        }
        page.append(data);
        page.records += 1;
        page.put(8, page.commit.into());
        (self.stamp, self.written) = (now, self.written + 1);
    }

    fn next_page(&mut self) {
        let after = |at: usize| (at + 1) % self.pages.len();
        self.tail = after(self.tail);
        if self.tail == self.head {
            self.overrun += u64::from(self.pages[self.head].records);
            self.head = after(self.head);
        }
    }

    /// Page `nth` of those that may have records, the oldest first.
    fn nth_page(&self, nth: usize) -> Option<&Page> {
        let len = self.pages.len();
        let last = (self.tail + len - self.head) % len;
        (nth <= last).then(|| &self.pages[(self.head + nth) % len])
    }

    /// The pages with records, the oldest first.
    fn used(&self) -> impl Iterator<Item = &Page> {
        (0..).map_while(|nth| self.nth_page(nth)).filter(|page| page.commit != 0)
    }

    /// The records, the oldest first.
    pub fn records(&self) -> Records<'_> {
        self.records_from(Cursor::default())
    }

    /// The records from `at` on, where the reading of this ring, which was not written since, has
    /// stopped.
    pub fn records_from(&self, at: Cursor) -> Records<'_> {
        Records { ring: self, at }
    }

    /// Calls `out` with the pieces of each page with records, [`PAGE_SIZE`] bytes in all; the
    /// first tells how many records were lost before it (Linux: ring_buffer_read_page).
    pub fn raw_pages(&self, out: &mut dyn FnMut(&[u8])) {
        let mut lost = self.overrun;
        for page in self.used() {
            let mut commit = u64::from(page.commit);
            let stored = lost != 0 && page.commit() + 8 <= ROOM;
            if lost != 0 {
                commit |= MISSED_EVENTS | if stored { MISSED_STORED } else { 0 };
            }
            out(&page.memory.bytes()[..8]);
            out(&commit.to_le_bytes());
            out(page.data());
            let mut end = HEADER + page.commit();
            if stored {
                out(&lost.to_le_bytes());
                end += 8;
            }
            out(&page.memory.bytes()[end..]);
            lost = 0;
        }
    }

    /// Returns the number of pages that [`raw_pages`](Self::raw_pages) gives.
    pub fn nr_raw_pages(&self) -> usize {
        self.used().count()
    }
}

/// Place in a ring from which its records are read on; the default is the oldest record.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Cursor {
    /// Pages that were read.
    pages: usize,
    /// Bytes of the next page that were read.
    bytes: usize,
    /// Time of the last record of those.
    time: u64,
}

/// The records of a ring.
pub(super) struct Records<'a> {
    ring: &'a Ring,
    at: Cursor,
}

impl Records<'_> {
    /// Returns the place of the next record.
    pub fn cursor(&self) -> Cursor {
        self.at
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Record<'a>> {
        loop {
            let page = self.ring.nth_page(self.at.pages)?;
            let time = if self.at.bytes == 0 { page.time() } else { self.at.time };
            let mut records = PageRecords { rest: &page.data()[self.at.bytes..], time };
            if let Some(record) = records.next() {
                self.at.bytes = page.commit() - records.rest.len();
                self.at.time = records.time;
                return Some(record);
            }
            self.at = Cursor { pages: self.at.pages + 1, bytes: 0, time: 0 };
        }
    }
}

/// The records of a page.
struct PageRecords<'a> {
    rest: &'a [u8],
    time: u64,
}

impl<'a> PageRecords<'a> {
    fn word(&mut self) -> Option<u32> {
        let (word, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(u32::from_le_bytes(*word))
    }
}

impl<'a> Iterator for PageRecords<'a> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Record<'a>> {
        loop {
            let word = self.word()?;
            self.time += u64::from(word >> 5);
            let len = match word & 31 {
                TYPE_TIME_EXTEND => {
                    self.time += u64::from(self.word()?) << TS_SHIFT;
                    continue;
                }
                0 => self.word()?.checked_sub(4)? as usize,
                words => words as usize * 4,
            };
            let (data, rest) = self.rest.split_at_checked(len)?;
            self.rest = rest;
            return Some(Record { time: self.time, data });
        }
    }
}
