//! A growable table of slots that are named by `u32`: the memory under the trees.
//!
//! Trees and lists over slot numbers need no `unsafe`; this is the mechanism below
//! them, and all of its `unsafe` is here. Slots lie in single pages of the page
//! allocator, so growth asks for no contiguous memory, and a slot never moves:
//!
//! ```text
//! number:  directory (9 bits and up) | page (9 bits) | slot in the page
//! root ──► directory page ──► slot page: header, slot 1, slot 2, ...
//! ```
//!
//! The table never allocates by itself. Where a slot or a directory is missing,
//! [`SlotTable::insert`] hands the value back, and the caller, who can drop its lock
//! and may sleep, fetches a [`TablePage`] and donates it. Pages without a live
//! slot come back to the caller in the same way, all but one, and so do directories without
//! a page.
//!
//! Invariants: the first word of a slot is `LIVE` exactly while its value may be
//! read, so a stale number is a panic and never a wild access; slot 0 of every page
//! is its header, so number 0 is never a slot: links use it as null.

use crate::addr::PAGE_SIZE;
use core::marker::PhantomData;
use core::mem::MaybeUninit;
use core::ptr::{with_exposed_provenance, with_exposed_provenance_mut};

/// A page of memory that a table can own, made and freed by the room that has the pages.
///
/// # Safety
/// `into_address` returns the address of `PAGE_SIZE` bytes, aligned to that, with exposed
/// provenance, which nobody else uses until they are passed to `from_address`.
pub unsafe trait TablePage: Sized {
    /// Gives up ownership and returns the page's address.
    fn into_address(self) -> usize;

    /// Takes ownership of the page back.
    ///
    /// # Safety
    /// `address` is the result of `into_address`, passed for the first time since, and nobody
    /// uses the page.
    unsafe fn from_address(address: usize) -> Self;
}

/// No slot.
pub const NIL: u32 = 0;

/// Entries of a directory page.
const DIR_SHIFT: u32 = 9;
const DIR: usize = 1 << DIR_SHIFT;
/// Directory pages at most: 2 million slots of 128 bytes.
const ROOT: usize = 128;
/// First word of a slot in use. Free slots hold the number of the next free slot there.
const LIVE: u32 = u32::MAX;
/// End of a list of pages.
const NO_PAGE: u32 = u32::MAX >> 1;
/// Directory entry without a page: this bit, and above it the next such entry.
const HOLE: usize = 1;
/// No directory.
const NO_DIR: u8 = u8::MAX;

const _: () = assert!(ROOT < NO_DIR as usize && DIR <= u16::MAX as usize);

#[repr(C)]
struct Slot<T> {
    link: u32,
    value: MaybeUninit<T>,
}

/// Slot 0 of a page.
#[repr(C)]
struct Header {
    /// Word in the place of a slot's link; never `LIVE`.
    not_live: u32,
    /// First free slot of the page; 0: none.
    free: u32,
    live: u32,
    /// Neighbours on the list of pages that have a free slot.
    next: u32,
    prev: u32,
}

/// A table of `T`s in pages of type `P`. See the module's documentation. Tables of statics end with the machine: what is
/// in one when it is dropped is not, nor are its pages given back. [`SlotTable::clear`] does that.
pub struct SlotTable<T, P> {
    root: [usize; ROOT],
    /// Slot pages of each directory.
    used: [u16; ROOT],
    /// A directory that may have lost its last page, or none.
    idle: u8,
    /// First page with a free slot.
    partial: u32,
    /// First directory entry whose page was given back.
    holes: u32,
    /// Directory entries ever used.
    entries: u32,
    /// Slot pages now.
    pages: u32,
    /// Slot pages without a live slot: 0 or 1 between calls.
    empty: u32,
    /// Number of the spare page, if there is one.
    spare: u32,
    live: usize,
    of: PhantomData<(T, fn() -> P)>,
}

impl<T, P: TablePage> SlotTable<T, P> {
    /// Bytes of a slot: a power of two, or three quarters of one.
    pub const SLOT_SIZE: usize = {
        let (size, power) = (size_of::<Slot<T>>(), size_of::<Slot<T>>().next_power_of_two());
        if size <= power / 4 * 3 { power / 4 * 3 } else { power }
    };
    /// Slots of a page, the header included.
    const PER_PAGE: u32 = (PAGE_SIZE / Self::SLOT_SIZE) as u32;
    /// log2 of the numbers that a page has.
    const SHIFT: u32 = Self::PER_PAGE.next_power_of_two().ilog2();
    const FITS: () = assert!(
        size_of::<Header>() <= Self::SLOT_SIZE
            && Self::SLOT_SIZE.is_multiple_of(align_of::<Slot<T>>())
            && Self::SLOT_SIZE <= PAGE_SIZE / 4
    );

    /// An empty table, which holds no page.
    pub const fn new() -> Self {
        () = Self::FITS;
        Self {
            root: [0; ROOT],
            used: [0; ROOT],
            idle: NO_DIR,
            partial: NO_PAGE,
            holes: NO_PAGE,
            entries: 0,
            pages: 0,
            empty: 0,
            spare: NO_PAGE,
            live: 0,
            of: PhantomData,
        }
    }

    /// The number of live slots.
    pub const fn len(&self) -> usize {
        self.live
    }

    /// The number of pages that the table holds, directories included.
    pub fn pages_held(&self) -> usize {
        self.pages as usize + self.root.iter().filter(|&&dir| dir != 0).count()
    }

    /// Returns true if the next [`SlotTable::insert`] will succeed.
    pub const fn has_room(&self) -> bool {
        self.partial != NO_PAGE
    }

    /// Returns true if the next `count` calls of [`SlotTable::insert`] will succeed. `count` is less
    /// than the slots of a page.
    pub const fn has_room_for(&self, count: usize) -> bool {
        assert!(count < Self::PER_PAGE as usize);
        self.pages as usize * (Self::PER_PAGE as usize - 1) - self.live >= count
    }

    /// The value of slot `number`.
    ///
    /// # Panics
    /// Where the slot is not live: a stale link.
    #[inline]
    #[track_caller]
    pub fn get(&self, number: u32) -> &T {
        match self.live_slot(number) {
            // SAFETY: a live slot holds a value, which changes through `&mut self` alone.
            Some(slot) => unsafe { (*slot).value.assume_init_ref() },
            None => stale(number),
        }
    }

    /// The value of slot `number`; `None` where it is not live.
    #[inline]
    pub fn try_get(&self, number: u32) -> Option<&T> {
        // SAFETY: as in `get`.
        self.live_slot(number).map(|slot| unsafe { (*slot).value.assume_init_ref() })
    }

    /// The value of slot `number`, to change it.
    ///
    /// # Panics
    /// Where the slot is not live: a stale link.
    #[inline]
    #[track_caller]
    pub fn get_mut(&mut self, number: u32) -> &mut T {
        match self.live_slot(number) {
            // SAFETY: a live slot holds a value, and `&mut self` makes the borrow the only one.
            Some(slot) => unsafe { (*slot).value.assume_init_mut() },
            None => stale(number),
        }
    }

    /// Takes a slot for `value`; its number, or `None` where a page must be donated first.
    pub fn insert(&mut self, value: T) -> Option<u32> {
        let page = self.partial;
        if page == NO_PAGE {
            return None;
        }
        let header = self.header(page);
        let at = header.free;
        if header.live == 0 {
            self.empty -= 1;
        }
        let number = page << Self::SHIFT | at;
        let slot = self.slot(number).expect("a page on the list is in its directory");
        // SAFETY: the slot lies in a page of the table, and no reference to it exists:
        // it is free, and `self` is borrowed mutably.
        let next = unsafe {
            (*slot).value.write(value);
            core::mem::replace(&mut (*slot).link, LIVE)
        };
        let header = self.header(page);
        header.free = next;
        header.live += 1;
        if next == 0 {
            self.unlink(page);
        }
        self.live += 1;
        Some(number)
    }

    /// Gives slot `number` back. With it may come a page that is no longer needed.
    ///
    /// # Panics
    /// Where the slot is not live: freed twice.
    #[track_caller]
    pub fn remove(&mut self, number: u32) -> (T, Option<P>) {
        let Some(slot) = self.live_slot(number) else { stale(number) };
        let page = number >> Self::SHIFT;
        let header = self.header(page);
        let was_full = core::mem::replace(&mut header.free, Self::place(number));
        header.live -= 1;
        let now_empty = header.live == 0;
        // SAFETY: the slot is live, so it holds a value, which is moved out as the link ceases
        // to say so; the table is borrowed mutably.
        let value = unsafe {
            (*slot).link = was_full;
            (*slot).value.assume_init_read()
        };
        self.live -= 1;
        if was_full == 0 {
            self.link(page);
        }
        if now_empty && self.empty > 0 {
            // The lower one stays, so that higher directories come to have none.
            let (low, high) = (page.min(self.spare), page.max(self.spare));
            self.spare = low;
            return (value, Some(self.release(high)));
        }
        if now_empty {
            (self.empty, self.spare) = (1, page);
        }
        if self.idle == NO_DIR {
            return (value, None);
        }
        let idle = core::mem::replace(&mut self.idle, NO_DIR);
        (value, self.release_directory(usize::from(idle)))
    }

    /// Takes in a page, as slots or as the directory that is missing for them:
    /// donate until [`SlotTable::has_room`], or [`SlotTable::has_room_for`] as many as are wanted.
    /// Gives the page back where all slots of a page are free already, or where the table has
    /// reached its largest size.
    pub fn donate(&mut self, page: P) -> Result<(), P> {
        let number = if self.holes != NO_PAGE { self.holes } else { self.next_entry() };
        let at = (number >> DIR_SHIFT) as usize;
        if self.empty > 0 || at >= ROOT {
            return Err(page);
        }
        if self.root[at] == 0 {
            let address = page.into_address();
            let entries = with_exposed_provenance_mut::<usize>(address);
            // The entries of a directory that was given back are holes, each with the next.
            let reused = number < self.entries;
            for i in 0..DIR {
                let next = if i + 1 < DIR { number + i as u32 + 1 } else { NO_PAGE };
                let hole = if reused { (next as usize) << 1 | HOLE } else { HOLE };
                // SAFETY: `address` is a page which the table owns since `into_address`.
                unsafe { entries.add(i).write(hole) }
            }
            self.root[at] = address;
            if reused {
                self.holes = number;
            }
            return Ok(());
        }
        if number == self.holes {
            self.holes = (*self.entry(number) >> 1) as u32;
        } else {
            self.entries += 1;
        }
        let address = page.into_address();
        *self.entry(number) = address;
        self.used[at] += 1;
        let header = Header { not_live: 0, free: 1, live: 0, next: NO_PAGE, prev: NO_PAGE };
        // SAFETY: `address` is a page which the table owns since `into_address`; header
        // and slots lie within it (`FITS`) and are aligned to a slot's size.
        unsafe { with_exposed_provenance_mut::<Header>(address).write(header) };
        for i in 1..Self::PER_PAGE {
            let slot = with_exposed_provenance_mut::<u32>(address + i as usize * Self::SLOT_SIZE);
            // SAFETY: as above; the link is the first word of a slot (`repr(C)`).
            unsafe { slot.write((i + 1) % Self::PER_PAGE) };
        }
        self.pages += 1;
        (self.empty, self.spare) = (self.empty + 1, number);
        self.link(number);
        Ok(())
    }

    /// Takes a page out that holds nothing: the spare one, and directories without a page. Call
    /// until `None`.
    pub fn shrink(&mut self) -> Option<P> {
        if self.empty > 0 {
            self.empty -= 1;
            return Some(self.release(self.spare));
        }
        self.idle = NO_DIR;
        (0..ROOT).find_map(|at| self.release_directory(at))
    }

    /// Drops all values and gives all pages back. Process context.
    pub fn clear(&mut self) {
        for number in 0..self.entries {
            if self.page(number).is_none() {
                continue;
            }
            for i in 1..Self::PER_PAGE {
                let number = number << Self::SHIFT | i;
                if self.live_slot(number).is_some() {
                    drop(self.remove(number));
                }
            }
        }
        while let Some(page) = self.shrink() {
            drop(page);
        }
    }

    /// Checks every page, list and count.
    ///
    /// # Panics
    /// Where an invariant is broken.
    pub fn validate(&self) {
        let (mut pages, mut live, mut empty, mut partial) = (0, 0, 0, 0);
        let (mut used, mut holes) = ([0; ROOT], 0);
        for number in 0..self.entries {
            let dir = (number >> DIR_SHIFT) as usize;
            let Some(address) = self.page(number) else {
                holes += u32::from(self.root[dir] != 0);
                continue;
            };
            used[dir] += 1;
            // SAFETY: a page in a directory has its header at its start, and no
            // mutable reference to it exists while `self` is borrowed.
            let header = unsafe { &*with_exposed_provenance::<Header>(address) };
            assert!(header.live != 0 || number == self.spare, "page {number} is another spare one");
            let (mut free, mut at) = (0, header.free);
            while at != 0 {
                free += 1;
                assert!(at < Self::PER_PAGE && free < Self::PER_PAGE, "free list of page {number}");
                let slot = self.slot(number << Self::SHIFT | at).expect("the page is there");
                // SAFETY: the slot lies in a page of the table; links are always initialised.
                at = unsafe { (*slot).link };
            }
            assert_ne!(header.not_live, LIVE);
            assert_eq!(free + header.live, Self::PER_PAGE - 1, "slots of page {number}");
            pages += 1;
            live += header.live as usize;
            empty += u32::from(header.live == 0);
            partial += u32::from(free > 0);
            let in_page = 1..Self::PER_PAGE;
            let counted = in_page.filter(|i| self.live_slot(number << Self::SHIFT | i).is_some());
            assert_eq!(counted.count() as u32, header.live, "live slots of page {number}");
        }
        assert_eq!((pages, live, empty), (self.pages, self.live, self.empty));
        assert_eq!(used, self.used, "slot pages of the directories");
        let mut hole = self.holes;
        while hole != NO_PAGE {
            assert!(hole < self.entries && self.page(hole).is_none(), "hole {hole}");
            let dir = self.root[(hole >> DIR_SHIFT) as usize];
            assert!(dir != 0 && holes > 0, "list of holes");
            holes -= 1;
            // SAFETY: a directory page of the table.
            hole = unsafe { self.hole(hole) };
        }
        assert_eq!(holes, 0, "holes that are not on the list");
        assert!(empty <= 1, "{empty} empty pages are kept");
        let (mut at, mut before) = (self.partial, NO_PAGE);
        while at != NO_PAGE {
            let address = self.page(at).expect("a page on the list is in its directory");
            // SAFETY: as above.
            let header = unsafe { &*with_exposed_provenance::<Header>(address) };
            assert_eq!(header.prev, before, "list of pages with room");
            assert_ne!(header.free, 0, "page {at} has no room");
            partial -= 1;
            (before, at) = (at, header.next);
        }
        assert_eq!(partial, 0, "pages with room that are not on the list");
    }

    /// The address of slot page `number`.
    #[inline(always)]
    fn page(&self, number: u32) -> Option<usize> {
        // A number too large for the table is none of its slots, whichever it leads to.
        let dir = self.root[(number >> DIR_SHIFT) as usize % ROOT];
        if dir == 0 {
            return None;
        }
        let entry = with_exposed_provenance::<usize>(dir).wrapping_add(number as usize % DIR);
        // SAFETY: a root entry that is not null is a directory page of the table,
        // written in full when it was donated.
        let entry = unsafe { *entry };
        if entry & HOLE == 0 { Some(entry) } else { None }
    }

    /// Place of slot `number` in its page.
    #[inline(always)]
    const fn place(number: u32) -> u32 {
        number & ((1 << Self::SHIFT) - 1)
    }

    #[inline(always)]
    fn slot(&self, number: u32) -> Option<*mut Slot<T>> {
        let place = Self::place(number);
        // Some numbers are those of no slot where a page has fewer than a power of two.
        if place >= Self::PER_PAGE {
            return None;
        }
        let at = place as usize * Self::SLOT_SIZE;
        Some(with_exposed_provenance_mut(self.page(number >> Self::SHIFT)? + at))
    }

    #[inline(always)]
    fn live_slot(&self, number: u32) -> Option<*mut Slot<T>> {
        let slot = self.slot(number)?;
        // SAFETY: the address lies in a page of the table. Its first word is a link, or
        // `not_live` in slot 0; both are initialised with the page.
        if unsafe { (&raw const (*slot).link).read() } == LIVE { Some(slot) } else { None }
    }

    fn header(&mut self, page: u32) -> &mut Header {
        let address = self.page(page).expect("a page of the table is in its directory");
        // SAFETY: a slot page begins with its header, which is reached through
        // `&mut self` alone here.
        unsafe { &mut *with_exposed_provenance_mut::<Header>(address) }
    }

    fn entry(&mut self, page: u32) -> &mut usize {
        let dir = self.root[(page >> DIR_SHIFT) as usize];
        assert_ne!(dir, 0, "page {page} of the table has no directory");
        // SAFETY: a directory page of the table, reached through `&mut self` alone.
        unsafe { &mut *with_exposed_provenance_mut::<usize>(dir).add(page as usize % DIR) }
    }

    /// Puts `page` at the front of the list of pages with a free slot.
    fn link(&mut self, page: u32) {
        let next = core::mem::replace(&mut self.partial, page);
        let header = self.header(page);
        (header.next, header.prev) = (next, NO_PAGE);
        if next != NO_PAGE {
            self.header(next).prev = page;
        }
    }

    fn unlink(&mut self, page: u32) {
        let header = self.header(page);
        let (next, prev) = (header.next, header.prev);
        if prev == NO_PAGE {
            self.partial = next;
        } else {
            self.header(prev).next = next;
        }
        if next != NO_PAGE {
            self.header(next).prev = prev;
        }
    }

    /// The entry that comes next where there is no hole: one of a directory that was given back,
    /// or one that was never used.
    fn next_entry(&self) -> u32 {
        let used = self.entries.div_ceil(DIR as u32) as usize;
        match self.root[..used].iter().position(|dir| *dir == 0) {
            Some(at) => (at as u32) << DIR_SHIFT,
            None => self.entries,
        }
    }

    /// The hole that comes after hole `number`.
    ///
    /// # Safety
    /// Its directory is there.
    unsafe fn hole(&self, number: u32) -> u32 {
        let dir = with_exposed_provenance::<usize>(self.root[(number >> DIR_SHIFT) as usize]);
        // SAFETY: a directory page of the table, as the caller says.
        let entry = unsafe { *dir.add(number as usize % DIR) };
        (entry >> 1) as u32
    }

    /// Takes directory `at` out of the table where it is there and has no page.
    fn release_directory(&mut self, at: usize) -> Option<P> {
        if self.root[at] == 0 || self.used[at] != 0 {
            return None;
        }
        // Its entries are no holes any more.
        let is_of_it = |number: u32| (number >> DIR_SHIFT) as usize == at;
        let (mut number, mut last) = (self.holes, NO_PAGE);
        self.holes = NO_PAGE;
        while number != NO_PAGE {
            // SAFETY: holes lie in directories that are there.
            let next = unsafe { self.hole(number) };
            if !is_of_it(number) {
                if last == NO_PAGE {
                    self.holes = number;
                } else {
                    *self.entry(last) = (number as usize) << 1 | HOLE;
                }
                last = number;
            }
            number = next;
        }
        if last != NO_PAGE {
            *self.entry(last) = (NO_PAGE as usize) << 1 | HOLE;
        }
        let address = core::mem::take(&mut self.root[at]);
        // SAFETY: the table had it, and nothing in the table leads there any more.
        let page = unsafe { P::from_address(address) };
        // Entries behind the last directory were never used.
        while let Some(last) = self.entries.checked_sub(1)
            && self.root[(last >> DIR_SHIFT) as usize] == 0
        {
            self.entries = last >> DIR_SHIFT << DIR_SHIFT;
        }
        Some(page)
    }

    /// Takes `page`, which has no live slot, out of the table.
    fn release(&mut self, page: u32) -> P {
        self.unlink(page);
        self.pages -= 1;
        let dir = (page >> DIR_SHIFT) as usize;
        self.used[dir] -= 1;
        if self.used[dir] == 0 {
            self.idle = dir as u8;
        }
        let hole = (core::mem::replace(&mut self.holes, page) as usize) << 1 | HOLE;
        let address = core::mem::replace(self.entry(page), hole);
        // SAFETY: the table had it, and nothing in the table leads there any more.
        unsafe { P::from_address(address) }
    }
}

#[cold]
#[inline(never)]
#[track_caller]
fn stale(number: u32) -> ! {
    panic!("slot {number:#x} is not live: a stale link, or freed twice");
}
