//! Tracks of an object: the stacks that allocated and freed it (Linux: struct track,
//! SLAB_STORE_USER).
//!
//! Stacks are in the depot, once each; beside an object lie their handles. It is asked before
//! or after a node's lock, never under one, so it may take memory. What it has no room for is
//! a track without a stack.
#![deny(unsafe_code)]

use super::kmem_cache::RawCache;
use super::memory::Slots;
use crate::arch::cpu;
use crate::arch::irq::with_masked;
use crate::mm::stackdepot::{self, Handle, Stack};
use crate::sched::{self, jiffies};
use core::fmt;
use core::panic::Location;

/// Index of an object's two tracks.
#[derive(Clone, Copy)]
pub(super) enum TrackItem {
    Alloc,
    Free,
}

/// Record of one operation.
pub(super) struct Track {
    pub caller: &'static Location<'static>,
    pid: u32,
    cpu: u32,
    when: u64,
    stack: Option<Handle>,
}

impl Track {
    /// Caller, check word, thread and stack, CPU, time.
    const WORDS: usize = 5;
    /// Bytes that one takes beside an object.
    pub const BYTES: usize = Self::WORDS * 8;

    fn offset(cache: &RawCache, item: TrackItem) -> u32 {
        cache.layout().track + item as u32 * Self::BYTES as u32
    }

    /// Computes a key that a stray write can't know: a track that doesn't fit it is not decoded.
    /// `who` is the word of thread and stack.
    fn key(cache: &RawCache, slots: &Slots, index: u16, who: u64) -> u64 {
        cache.encode(slots.address(index), who)
    }

    /// Notes that `caller` did it now. No node lock may be held.
    #[inline(always)]
    pub fn set(
        cache: &RawCache,
        slots: &Slots,
        index: u16,
        item: TrackItem,
        caller: &'static Location<'static>,
    ) {
        let at = Self::offset(cache, item);
        let cpu = with_masked(|irq| cpu::id(irq).index());
        let pid = sched::current().pid();
        let stack = Handle::number(stackdepot::save_here(true));
        let who = u64::from(pid) << 32 | u64::from(stack);
        slots.set_location(index, at, caller, Self::key(cache, slots, index, who));
        slots.set_word(index, at + 16, who);
        slots.set_word(index, at + 24, cpu as u64);
        slots.set_word(index, at + 32, jiffies());
    }

    /// Forgets what memory held before it became a slab's.
    pub fn clear(cache: &RawCache, slots: &Slots, index: u16) {
        for item in [TrackItem::Alloc, TrackItem::Free] {
            slots.fill(index, Self::offset(cache, item) as i32, Self::BYTES as u32, 0);
        }
    }

    /// Returns the last record; `None` if there is none, or it has been written over.
    pub fn get(cache: &RawCache, slots: &Slots, index: u16, item: TrackItem) -> Option<Self> {
        let at = Self::offset(cache, item);
        let who = slots.word(index, at + 16);
        Some(Self {
            caller: slots.location(index, at, Self::key(cache, slots, index, who))?,
            pid: (who >> 32) as u32,
            cpu: slots.word(index, at + 24) as u32,
            when: slots.word(index, at + 32),
            stack: Handle::from_number(who as u32),
        })
    }
}

/// Prints the record as Linux does: function, age in jiffies, CPU, thread; and the stack.
impl fmt::Display for Track {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { caller, pid, cpu, when, stack } = self;
        let age = jiffies().saturating_sub(*when);
        writeln!(f, "{caller} age={age} cpu={cpu} pid={pid}")?;
        Stack(*stack).fmt(f)
    }
}
