//! Who allocated an object, and who freed it (Linux: struct track, SLAB_STORE_USER).
#![deny(unsafe_code)]

use super::kmem_cache::RawCache;
use super::memory::Slots;
use super::stack::StackTrace;
use crate::arch::cpu;
use crate::arch::irq::with_masked;
use crate::sched::jiffies;
use core::fmt;
use core::panic::Location;

/// Which of an object's two tracks.
#[derive(Clone, Copy)]
pub(super) enum TrackItem {
    Alloc,
    Free,
}

/// What is kept of one operation.
pub(super) struct Track {
    pub caller: &'static Location<'static>,
    cpu: u32,
    when: u64,
    stack: StackTrace,
}

impl Track {
    /// Caller, check word, CPU, time, and the stack.
    const WORDS: usize = 4 + StackTrace::WORDS;
    /// Bytes that one takes beside an object.
    pub const BYTES: usize = Self::WORDS * 8;

    fn offset(cache: &RawCache, item: TrackItem) -> u32 {
        cache.layout().track + item as u32 * Self::BYTES as u32
    }

    /// What a stray write can't know: a track that doesn't fit it is not looked into.
    fn key(cache: &RawCache, slots: &Slots, index: u16) -> u64 {
        cache.encode(slots.address(index), 0)
    }

    /// Notes that `caller` did it now.
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
        slots.set_location(index, at, caller, Self::key(cache, slots, index));
        slots.set_word(index, at + 16, cpu as u64);
        slots.set_word(index, at + 24, jiffies());
        StackTrace::capture().store(slots, index, at + 32);
    }

    /// Forgets what memory held before it became a slab's.
    pub fn clear(cache: &RawCache, slots: &Slots, index: u16) {
        for item in [TrackItem::Alloc, TrackItem::Free] {
            slots.fill(index, Self::offset(cache, item) as i32, Self::BYTES as u32, 0);
        }
    }

    /// What was noted last; `None` if nothing was, or it has been written over.
    pub fn get(cache: &RawCache, slots: &Slots, index: u16, item: TrackItem) -> Option<Self> {
        let at = Self::offset(cache, item);
        Some(Self {
            caller: slots.location(index, at, Self::key(cache, slots, index))?,
            cpu: slots.word(index, at + 16) as u32,
            when: slots.word(index, at + 24),
            stack: StackTrace::load(slots, index, at + 32),
        })
    }
}

/// As in Linux: who, how many jiffies ago, on which CPU; and the stack.
impl fmt::Display for Track {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let age = jiffies().saturating_sub(self.when);
        writeln!(f, "{} age={age} cpu={}", self.caller, self.cpu)?;
        self.stack.fmt(f)
    }
}
