//! Table pages: the only words that a walker reads, and who may write them.
//!
//! A [`TableAddr`] is the proof that a frame holds a table; the links between tables
//! are read as such proofs and written from them, so the code that edits the tree
//! needs no `unsafe`. [`TableAccess`] is the door from a table's address to its words
//! and the source of table pages.

use super::descriptor::{Descriptor, Kind, Level, PTRS_PER_TABLE};
use super::mapper::{MapError, check_page};
use super::recent::RecentTables;
use super::regime::{Attributes, Kernel, Regime};
use super::sets::Sets;
use crate::addr::{PhysAddr, VirtAddr, VirtRange};
use crate::arch::mmu;
use core::marker::PhantomData;
use core::sync::atomic::AtomicU64;

/// A frame that holds a translation table of the regime `R`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(transparent)]
pub struct TableAddr<R: Regime = Kernel>(PhysAddr, PhantomData<R>);

impl<R: Regime> TableAddr<R> {
    /// # Safety
    /// The frame at `pa`, a multiple of 4 KiB, is used as a table of the regime and nothing else for
    /// as long as the value or a copy is used, and holds either a table already (its
    /// links leading to such frames again) or is cleared before it is read.
    #[must_use]
    pub const unsafe fn new(pa: PhysAddr) -> Self {
        Self::of_link(pa)
    }
    /// The table that a link leads to, or that is a mark for none.
    pub(super) const fn of_link(pa: PhysAddr) -> Self {
        Self(pa, PhantomData)
    }
    /// Returns the physical address.
    #[must_use]
    pub const fn phys(self) -> PhysAddr {
        self.0
    }
}

/// An entry of a table, read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Entry<R: Regime = Kernel> {
    /// Maps nothing.
    Invalid,
    /// The table below.
    Table(TableAddr<R>),
    /// Memory.
    Leaf(Leaf<R>),
}

/// A page or block of memory as an entry maps it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Leaf<R: Regime = Kernel> {
    /// Start of the memory.
    pub pa: PhysAddr,
    /// Attributes of the mapping.
    pub attrs: R::Attrs,
    /// True if the entry is one of a contiguous set of sixteen.
    pub contiguous: bool,
    /// True if walkers find the entry. A present-invalid entry keeps its contents.
    pub valid: bool,
}

impl<R: Regime> Leaf<R> {
    /// Returns the valid leaf's descriptor in a table of `level`.
    #[inline(always)]
    pub(super) fn descriptor(self, level: Level) -> Descriptor {
        Descriptor::leaf_with(level, self.pa, self.attrs.bits(), self.contiguous)
    }
    /// Returns the word for the leaf, valid or hidden.
    #[inline(always)]
    fn word(self, level: Level) -> Descriptor {
        if self.valid { self.descriptor(level) } else { R::hide(self.descriptor(level)) }
    }
}

/// The words of a table.
#[repr(C, align(4096))]
pub struct Table<R: Regime = Kernel> {
    words: [AtomicU64; PTRS_PER_TABLE],
    regime: PhantomData<R>,
}

impl<R: Regime> Table<R> {
    /// The table that can be accessed at `va`.
    ///
    /// # Safety
    /// `va`, a multiple of 4 KiB, is mapped read and write to the frame of a [`TableAddr`] of `R`
    /// for all of `'a`.
    #[must_use]
    pub unsafe fn at<'a>(va: VirtAddr) -> &'a Self {
        // SAFETY: mapped for `'a` as the caller says; the words are atomics, for which
        // any bytes are valid and which everybody may share.
        unsafe { &*core::ptr::with_exposed_provenance::<Self>(va.get()) }
    }

    /// The raw word at `index`.
    #[inline]
    #[must_use]
    pub fn descriptor(&self, index: usize) -> Descriptor {
        mmu::read_descriptor(&self.words[index])
    }
    /// The entry at `index` of this table of `level`.
    #[inline]
    #[must_use]
    pub fn entry(&self, level: Level, index: usize) -> Entry<R> {
        Self::decode(level, self.descriptor(index))
    }
    #[inline(always)]
    pub(super) fn decode(level: Level, descriptor: Descriptor) -> Entry<R> {
        let contiguous = descriptor.is_contiguous();
        match descriptor.kind(level) {
            Kind::Table(pa) => Entry::Table(TableAddr::of_link(pa)),
            Kind::Invalid if descriptor == Descriptor::INVALID => Entry::Invalid,
            Kind::Invalid => Self::present_invalid_entry(level, descriptor),
            Kind::Leaf(pa, _) => {
                let attrs = R::Attrs::of_leaf(descriptor);
                Entry::Leaf(Leaf { pa, attrs, contiguous, valid: true })
            }
        }
    }
    /// Decodes an invalid word, which may be a present-invalid entry.
    #[cold]
    fn present_invalid_entry(level: Level, descriptor: Descriptor) -> Entry<R> {
        let contiguous = descriptor.is_contiguous();
        let Some(leaf) = R::show(descriptor) else { return Entry::Invalid };
        match leaf.kind(level) {
            Kind::Leaf(pa, _) => {
                let attrs = R::Attrs::of_leaf(leaf);
                Entry::Leaf(Leaf { pa, attrs, contiguous, valid: false })
            }
            _ => Entry::Invalid,
        }
    }
    /// Returns whether all entries are empty, neither valid nor present-invalid.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        (0..PTRS_PER_TABLE).all(|i| self.descriptor(i) == Descriptor::INVALID)
    }

    /// Invalidates all entries of a table that isn't linked yet.
    pub(super) fn clear_all(&self) {
        mmu::clear_table(&self.words);
    }
    #[inline]
    pub(super) fn clear(&self, index: usize) {
        clear::<R>(&self.words[index]);
    }
    /// Stores a word.
    #[inline(always)]
    pub(super) fn write(&self, index: usize, word: Descriptor) {
        mmu::write_descriptor(&self.words[index], word);
    }
    /// Invalidates an entry; the word that it was last.
    #[inline]
    pub(super) fn take(&self, index: usize) -> Descriptor {
        let old = self.descriptor(index);
        if R::HARDWARE_UPDATES {
            // Most are empty, and those need no store.
            return if old == Descriptor::INVALID { old } else { swap(&self.words[index]) };
        }
        self.write(index, Descriptor::INVALID);
        old
    }
    /// Invalidates an entry of this table of `level`; what it said last.
    #[inline]
    pub(super) fn take_entry(&self, level: Level, index: usize) -> Entry<R> {
        Self::decode(level, self.take(index))
    }
    /// Stores a word if the one there is `old`. Returns true if it was.
    #[inline]
    pub(super) fn exchange(&self, index: usize, old: Descriptor, new: Descriptor) -> bool {
        mmu::exchange_descriptor(&self.words[index], old, new)
    }
    /// Changes the entry at `index`, which was read as `leaf`, as hardware has left it since.
    #[inline]
    pub(super) fn update_leaf(
        &self,
        level: Level,
        index: usize,
        leaf: Leaf<R>,
        change: impl Fn(Leaf<R>) -> Leaf<R>,
    ) {
        if !R::HARDWARE_UPDATES {
            return self.set_leaf(level, index, change(leaf));
        }
        loop {
            let old = self.descriptor(index);
            let Entry::Leaf(leaf) = Self::decode(level, old) else { return };
            if self.exchange(index, old, change(leaf).word(level)) {
                return;
            }
        }
    }
    #[inline]
    pub(super) fn set_leaf(&self, level: Level, index: usize, leaf: Leaf<R>) {
        mmu::write_descriptor(&self.words[index], leaf.word(level));
    }
    /// Gives `count` entries from `first` on memory that is contiguous, as `leaf` has it for
    /// the first of them.
    #[inline]
    pub(super) fn set_leaves(&self, level: Level, first: usize, count: usize, leaf: Leaf<R>) {
        let mut d = leaf.descriptor(level);
        for word in &self.words[first..first + count] {
            mmu::write_descriptor(word, if leaf.valid { d } else { R::hide(d) });
            d = d.further(level.size());
        }
    }
    /// Sets the entries from `first` on to `next`, and then to the pages that `pages` yields,
    /// until no page is left, the table ends, or an entry or a page won't do. Returns their
    /// number.
    #[inline(always)]
    pub(super) fn set_pages(
        &self,
        first: usize,
        attrs: R::Attrs,
        next: &mut Option<PhysAddr>,
        pages: &mut impl Iterator<Item = PhysAddr>,
    ) -> (usize, Result<(), MapError>) {
        let words = &self.words[first..];
        for (done, word) in words.iter().enumerate() {
            let Some(pa) = *next else { return (done, Ok(())) };
            if is_used(word) {
                return (done, Err(MapError::AlreadyMapped));
            }
            if let Err(error) = check_page(pa) {
                return (done, Err(error));
            }
            let leaf = Leaf::<R> { pa, attrs, contiguous: false, valid: true };
            mmu::write_descriptor(word, leaf.descriptor(Level::Pte));
            *next = pages.next();
        }
        (words.len(), Ok(()))
    }
    /// The first of `count` entries from `first` on that is valid or present-invalid.
    #[inline]
    pub(super) fn first_used(&self, first: usize, count: usize) -> Option<usize> {
        let words = &self.words[first..first + count];
        Some(first + words.iter().position(is_used)?)
    }
    /// Clears `count` entries from `first` on; the first and the last that were not clear.
    #[inline]
    pub(super) fn clear_range(&self, first: usize, count: usize) -> Option<(usize, usize)> {
        let words = &self.words[first..first + count];
        let low = words.iter().position(is_used)?;
        let high = words.iter().rposition(is_used)?;
        for word in &words[low..=high] {
            clear::<R>(word);
        }
        Some((first + low, first + high))
    }
    /// Clears `count` entries from `first` on, fewer than a contiguous set has. Returns true if
    /// any was not clear; `None`, and nothing done, if they cut such a set or the table ends.
    #[inline(always)]
    pub(super) fn clear_few(&self, first: usize, count: usize) -> Option<bool> {
        let words = self.words.get(first..first + count)?;
        let [start, .., end] = words else { return Self::clear_one(words) };
        // A set that is cut has the first of them or the last.
        if is_contiguous(start) || is_contiguous(end) {
            return None;
        }
        let mut any = 0;
        for word in words {
            any |= mmu::read_descriptor(word).bits();
            mmu::write_descriptor(word, Descriptor::INVALID);
        }
        Some(any != 0)
    }
    /// Like `clear_few`, of one at the most.
    #[inline(always)]
    fn clear_one(words: &[AtomicU64]) -> Option<bool> {
        let [word] = words else { return Some(false) };
        let old = mmu::read_descriptor(word);
        if old.is_contiguous() {
            return None;
        }
        mmu::write_descriptor(word, Descriptor::INVALID);
        Some(old != Descriptor::INVALID)
    }
    /// The `count` entries from `first` on, which are those of contiguous sets.
    #[inline(always)]
    pub(super) fn sets(&self, first: usize, count: usize) -> Sets<'_, R> {
        Sets::new(&self.words[first..first + count])
    }
    /// The table below the entry at `index` of a table above the last level.
    #[inline]
    pub(super) fn next_table(&self, index: usize) -> Option<TableAddr<R>> {
        self.descriptor(index).next_table().map(TableAddr::of_link)
    }
    /// Links a table with `bits` beside those that all of the regime have.
    #[inline]
    pub(super) fn set_table(&self, index: usize, table: TableAddr<R>, bits: u64) {
        self.write(index, Descriptor::table_with(table.0, R::TABLE_BITS | bits));
    }

    /// Makes a page present-invalid or valid, without a lock. Returns true if that changed it;
    /// `None` if the word is no page's, or one's in a contiguous set, or another CPU changes it
    /// at the same time.
    pub(super) fn exchange_valid(&self, index: usize, valid: bool) -> Option<bool> {
        let old = self.descriptor(index);
        if old.is_contiguous() {
            return None;
        }
        let new = match (valid, R::show(old)) {
            (true, Some(shown)) => shown,
            (false, None) if old.is_valid() => R::hide(old),
            (true, None) if old.is_valid() => return Some(false),
            (false, Some(_)) => return Some(false),
            _ => return None,
        };
        mmu::exchange_descriptor(&self.words[index], old, new).then_some(true)
    }

    /// The next of a chain of empty tables out of the tree: to walkers an invalid descriptor.
    pub(super) fn dead_link(&self) -> Option<TableAddr<R>> {
        let bits = self.descriptor(0).bits();
        (bits & DEAD_LINK != 0).then_some(TableAddr::of_link(PhysAddr::new(bits & !DEAD_LINK)))
    }
    pub(super) fn set_dead_link(&self, next: Option<TableAddr<R>>) {
        if let Some(next) = next {
            self.write(0, Descriptor::from_bits(next.0.get() | DEAD_LINK));
        }
    }
}

/// Invalidates a word.
#[inline(always)]
fn clear<R: Regime>(word: &AtomicU64) {
    if R::HARDWARE_UPDATES {
        swap(word);
    } else {
        mmu::write_descriptor(word, Descriptor::INVALID);
    }
}

/// Invalidates a word that hardware may be changing; the word that it was last.
#[inline(always)]
fn swap(word: &AtomicU64) -> Descriptor {
    mmu::swap_descriptor(word, Descriptor::INVALID)
}

#[inline]
fn is_used(word: &AtomicU64) -> bool {
    mmu::read_descriptor(word) != Descriptor::INVALID
}

#[inline]
fn is_contiguous(word: &AtomicU64) -> bool {
    mmu::read_descriptor(word).is_contiguous()
}

/// Marks a link of the dead; bit 0, which makes a descriptor valid, stays clear.
const DEAD_LINK: u64 = 1 << 1;

/// Access of the table editor to table words, and its source of table pages. The words may be
/// reached on the hosted arena, through the linear map, or, before there is one, through a
/// fixmap window: uses of [`TableAccess::with`] never nest.
pub trait TableAccess {
    /// The regime of the tables.
    type Regime: Regime;

    /// A page for a table, its content unspecified; `None` when memory is short.
    fn alloc(&mut self) -> Option<TableAddr<Self::Regime>>;
    /// Takes back a table page that no walker can reach any more; [`TableAccess::recent`]
    /// forgets it.
    fn free(&mut self, table: TableAddr<Self::Regime>);
    /// Runs `f` on a table's words.
    fn with<T>(
        &self,
        table: TableAddr<Self::Regime>,
        f: impl FnOnce(&Table<Self::Regime>) -> T,
    ) -> T;
    /// The tag under which the tree's translations may be cached, once its edits are visible to
    /// walkers.
    fn tag(&self) -> <Self::Regime as Regime>::Tag;
    /// The tables that were walked to lately, where they are remembered.
    #[inline(always)]
    fn recent(&mut self) -> Option<&mut RecentTables<Self::Regime>> {
        None
    }
    /// A table's words, where they are in reach without more ado.
    #[inline(always)]
    fn near(&self, _table: TableAddr<Self::Regime>) -> Option<&Table<Self::Regime>> {
        None
    }
    /// The address through which [`TableAccess::with`] reaches the table while `broken`
    /// maps nothing.
    fn window(&self, table: TableAddr<Self::Regime>, broken: VirtRange) -> VirtAddr;
    /// Returns whether `va` may be unmapped for a moment while its descriptors change: nothing
    /// that runs meanwhile (this code, its stack) uses the range; other CPUs' faults in it are
    /// retried.
    fn may_break(&self, va: VirtRange) -> bool;
    /// Begins a window, until [`TableAccess::end_bbm`], in which `va` may map nothing.
    fn begin_bbm(&mut self, va: VirtRange);
    /// Ends the window: all is mapped again, and visible.
    fn end_bbm(&mut self);
}
