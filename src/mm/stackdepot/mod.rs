//! Deduplicated storage of stacks, by a handle of 32 bits (Linux: lib/stackdepot.c).
//!
//! A record is some words of a pool: its hash and the handle of the next record of its
//! bucket; how many return addresses it has, and how many pages `super::page_owner`
//! counts for it; the return addresses. A handle is the number of a record's first word
//! among those of all pools, plus 1. Records never change but for the count, and are never
//! freed, so they are found without a lock; one lock is for those who add some.

#![deny(unsafe_code)]

mod call;
#[expect(unsafe_code, reason = "the words are memory of the linear map")]
mod words;

pub use call::{Call, Symbolizer, set_symbolizer};
pub use words::metadata_pages;
pub(in crate::mm) use words::{FreshWords, WORDS, note_metadata, take_words, words_of};

use crate::addr::{Order, Pfn};
use crate::arch;
use crate::arch::irq::with_masked;
use crate::machine_local;
use crate::mm::page::Frame;
use crate::sync::{Rank, SpinLock};
use core::fmt;
use core::num::NonZeroU32;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Return addresses that a stack is remembered by, the innermost ones.
pub const DEPTH: usize = 16;

/// A pool is a block of this order (Linux: DEPOT_POOL_ORDER).
const POOL_ORDER: Order = match Order::new(2) {
    Some(order) => order,
    None => unreachable!(),
};
const POOL_WORDS: usize = WORDS * POOL_ORDER.pages() as usize;
/// Pools that there can be.
const POOLS: usize = 512;
/// The table of buckets is a block of this order: two buckets in a word.
const TABLE_ORDER: Order = POOL_ORDER;
const BUCKETS: usize = POOL_WORDS * 2;

const _: () = assert!(BUCKETS.is_power_of_two() && 2 + DEPTH <= POOL_WORDS);

/// A stack that was saved. All zeros is no handle, so `Option` of it is 32 bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Handle(NonZeroU32);

impl Handle {
    /// Converts a handle to a number, 0 for none.
    #[must_use]
    pub fn number(handle: Option<Self>) -> u32 {
        handle.map_or(0, |handle| handle.0.get())
    }
    /// Back from [`Handle::number`].
    #[must_use]
    pub(in crate::mm) fn from_number(number: u32) -> Option<Self> {
        NonZeroU32::new(number).map(Self)
    }
}

/// State of the pools that adding records changes, under the lock.
struct Adding {
    pools: usize,
    used: usize,
}

machine_local! {
    /// Each pool's first frame, plus 1.
    static POOL: [AtomicU32; POOLS] = [const { AtomicU32::new(0) }; POOLS];
    /// The table of buckets' first frame, plus 1.
    static TABLE: AtomicU32 = AtomicU32::new(0);
    static ADDING: SpinLock<Adding> =
        SpinLock::new(Rank::StackDepot, Adding { pools: 0, used: POOL_WORDS });
    /// Stacks that were not saved for want of memory.
    static LOST: AtomicU32 = AtomicU32::new(0);
}

fn block(at: &AtomicU32, order: Order) -> Option<&'static [AtomicU64]> {
    let pfn = at.load(Ordering::Acquire).checked_sub(1)?;
    Some(words_of(Frame::new(Pfn::new(pfn))?, order))
}

/// The record of a handle: its words.
fn record(handle: Handle) -> Option<&'static [AtomicU64]> {
    let at = handle.0.get() as usize - 1;
    let pool = block(POOL.get(at / POOL_WORDS)?, POOL_ORDER)?;
    let words = pool.get(at % POOL_WORDS..)?;
    words.get(..2 + size(words))
}

fn size(record: &[AtomicU64]) -> usize {
    record.get(1).map_or(0, |word| word.load(Ordering::Relaxed) as u32 as usize)
}

pub(in crate::mm) fn hash(entries: &[usize]) -> u32 {
    // FNV-1a over words: stacks are not chosen by an enemy.
    let mix = |h: u64, &entry: &usize| (h ^ entry as u64).wrapping_mul(0x0000_0100_0000_01b3);
    let h = entries.iter().fold(0xcbf2_9ce4_8422_2325, mix);
    (h ^ h >> 32) as u32
}

/// The first record of a bucket.
fn bucket(table: &[AtomicU64], hash: u32) -> (&AtomicU64, u32) {
    let n = hash as usize & (BUCKETS - 1);
    (&table[n / 2], (n as u32 & 1) * 32)
}

fn find(first: Option<Handle>, hash: u32, entries: &[usize]) -> Option<Handle> {
    let mut at = first;
    while let Some(handle) = at {
        let record = record(handle)?;
        let head = record[0].load(Ordering::Relaxed);
        let same = head as u32 == hash
            && record.len() - 2 == entries.len()
            && record[2..].iter().zip(entries).all(|(a, &b)| a.load(Ordering::Relaxed) == b as u64);
        if same {
            return Some(handle);
        }
        at = Handle::from_number((head >> 32) as u32);
    }
    None
}

/// Returns the table, and allocates it at first use. If there is no memory, a later call tries
/// again.
fn table() -> Option<&'static [AtomicU64]> {
    if let Some(table) = block(&TABLE, TABLE_ORDER) {
        return Some(table);
    }
    let fresh = FreshWords::take(TABLE_ORDER)?;
    let own = fresh.number();
    match TABLE.compare_exchange(0, own, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => fresh.keep().map(|(_, words)| words),
        // Another CPU was first: this one's goes back.
        Err(_) => block(&TABLE, TABLE_ORDER),
    }
}

/// Allocates the table. Returns false if there is no memory.
pub(in crate::mm) fn early_init() -> bool {
    table().is_some()
}

/// Remembers a stack: the handle of its only copy. With `can_alloc` it may take memory,
/// without waiting; without, it may be called under any lock but its own. `None` where
/// memory is short, or `entries` empty (Linux: stack_depot_save_flags).
pub fn save(entries: &[usize], can_alloc: bool) -> Option<Handle> {
    let entries = &entries[..entries.len().min(DEPTH)];
    if entries.is_empty() {
        return None;
    }
    let saved = find_or_add(entries, can_alloc);
    if saved.is_none() {
        LOST.fetch_add(1, Ordering::Relaxed);
    }
    saved
}

fn find_or_add(entries: &[usize], can_alloc: bool) -> Option<Handle> {
    let hash = hash(entries);
    let table = if can_alloc { table()? } else { block(&TABLE, TABLE_ORDER)? };
    let (word, shift) = bucket(table, hash);
    let first = || Handle::from_number((word.load(Ordering::Acquire) >> shift) as u32);
    if let Some(found) = find(first(), hash, entries) {
        return Some(found);
    }
    let mut fresh = None;
    // What is left of it is given back: another CPU took some at the same time.
    loop {
        let at = (word, shift);
        match with_masked(|irq| add(&mut ADDING.lock(irq), entries, at, &mut fresh)) {
            Ok(handle) => return Some(handle),
            // Without the lock, under which nobody gets memory.
            Err(NotAdded::NoRoom) if can_alloc && fresh.is_none() => {
                fresh = Some(FreshWords::take(POOL_ORDER)?);
            }
            Err(_) => return None,
        }
    }
}

/// Reason why a stack was not added.
enum NotAdded {
    /// The last pool is full.
    NoRoom,
    /// There are as many pools as there can be.
    TooMany,
}

/// Finds or adds a stack in its bucket, in the `shift`ed half of `word`; where the last pool is
/// full, `fresh` becomes the next one.
fn add(
    adding: &mut Adding,
    entries: &[usize],
    (word, shift): (&AtomicU64, u32),
    fresh: &mut Option<FreshWords>,
) -> Result<Handle, NotAdded> {
    let hash = hash(entries);
    let first = Handle::from_number((word.load(Ordering::Acquire) >> shift) as u32);
    if let Some(found) = find(first, hash, entries) {
        return Ok(found);
    }
    if adding.used + 2 + entries.len() > POOL_WORDS {
        let next = POOL.get(adding.pools).ok_or(NotAdded::TooMany)?;
        let fresh = fresh.take().ok_or(NotAdded::NoRoom)?;
        next.store(fresh.number(), Ordering::Release);
        fresh.keep();
        adding.pools += 1;
        adding.used = 0;
    }
    let at = (adding.pools - 1) * POOL_WORDS + adding.used;
    let number = u32::try_from(at + 1).map_err(|_| NotAdded::TooMany)?;
    let handle = Handle::from_number(number).ok_or(NotAdded::TooMany)?;
    let pool = POOL.get(adding.pools - 1).and_then(|pool| block(pool, POOL_ORDER));
    let words = &pool.ok_or(NotAdded::TooMany)?[adding.used..];
    let next = u64::from(Handle::number(first));
    words[0].store(next << 32 | u64::from(hash), Ordering::Relaxed);
    words[1].store(entries.len() as u64, Ordering::Relaxed);
    for (word, &entry) in words[2..].iter().zip(entries) {
        word.store(entry as u64, Ordering::Relaxed);
    }
    adding.used += 2 + entries.len();
    let other = word.load(Ordering::Relaxed) & !(u64::from(u32::MAX) << shift);
    word.store(other | u64::from(number) << shift, Ordering::Release);
    Ok(handle)
}

/// Remembers the caller's stack. As [`save`].
#[inline(never)]
pub fn save_here(can_alloc: bool) -> Option<Handle> {
    let mut entries = [0; DEPTH];
    let n = arch::save_stack_trace(&mut entries);
    save(entries.get(..n)?, can_alloc)
}

/// The return addresses of a stack, the innermost first (Linux: stack_depot_fetch).
pub fn fetch(handle: Handle) -> impl Iterator<Item = usize> {
    let entries = record(handle).map_or(&[][..], |record| &record[2..]);
    entries.iter().map(|word| word.load(Ordering::Relaxed) as usize)
}

/// Adds to the pages that a stack is counted for; what they are now.
pub(in crate::mm) fn count(handle: Handle, pages: i32) {
    if let Some(record) = record(handle) {
        let by = (i64::from(pages) << 32) as u64;
        record[1].fetch_add(by, Ordering::Relaxed);
    }
}

/// All stacks, each with the pages that it is counted for. What is added meanwhile may be
/// left out.
pub(in crate::mm) fn all() -> impl Iterator<Item = (Handle, u32)> {
    let (pools, used) = with_masked(|irq| {
        let adding = ADDING.lock(irq);
        (adding.pools, adding.used)
    });
    let mut at = 0;
    core::iter::from_fn(move || {
        loop {
            let (pool, offset) = (at / POOL_WORDS, at % POOL_WORDS);
            if pool + 1 > pools || (pool + 1 == pools && offset >= used) {
                return None;
            }
            let handle = Handle::from_number(u32::try_from(at).ok()? + 1)?;
            let words = record(handle).filter(|record| record.len() > 2);
            let Some(words) = words else {
                // The end of a pool that the next record did not fit in.
                at = (pool + 1) * POOL_WORDS;
                continue;
            };
            at += words.len();
            return Some((handle, (words[1].load(Ordering::Relaxed) >> 32) as u32));
        }
    })
}

/// Number of stacks that were not saved for want of memory.
#[must_use]
pub fn lost() -> u32 {
    LOST.load(Ordering::Relaxed)
}

/// A stack as text: a call a line (Linux: stack_depot_snprint).
#[derive(Clone, Copy, Debug)]
pub struct Stack(pub Option<Handle>);

impl fmt::Display for Stack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(handle) = self.0 else { return writeln!(f, " (no stack was saved)") };
        fetch(handle).try_for_each(|entry| writeln!(f, " {}", Call(entry)))
    }
}
