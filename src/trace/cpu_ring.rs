//! The rings of CPUs, in a list by their numbers: as many as there are, and none for CPUs that the
//! machine lacks.

use super::ring::{Cursor, Record, Ring};
use crate::arch::CpuId;
use crate::mm::alloc::{AllocError, KBox};
use crate::mm::gfp::Gfp;
use core::cell::Cell;

/// Ring of a CPU.
#[derive(Debug)]
pub(super) struct CpuRing {
    pub cpu: CpuId,
    pub ring: Ring,
    reading: Reading,
    next: Option<KBox<CpuRing>>,
}

/// Progress of whoever prints the records of several rings.
#[derive(Debug, Default)]
struct Reading {
    at: Cell<Cursor>,
    /// Time of the record there.
    time: Cell<Option<u64>>,
}

impl CpuRing {
    /// Creates the ring of `cpu`, of as many pages, 2 at least. Process context.
    ///
    /// # Errors
    /// Memory is short.
    pub fn new(cpu: CpuId, pages: usize) -> Result<KBox<Self>, AllocError> {
        let gfp = Gfp::GFP_KERNEL | Gfp::__GFP_NORETRY | Gfp::__GFP_NOWARN;
        KBox::new(
            Self { cpu, ring: Ring::new(pages)?, reading: Reading::default(), next: None },
            gfp,
        )
    }

    /// Begins to read at the oldest record.
    pub fn rewind(&self) {
        self.reading.at.set(Cursor::default());
        self.look();
    }

    /// Returns the time of the record that [`read`](Self::read) returns next.
    pub fn time(&self) -> Option<u64> {
        self.reading.time.get()
    }

    /// Returns true if no record was read since [`rewind`](Self::rewind).
    pub fn is_at_first(&self) -> bool {
        self.reading.at.get() == Cursor::default()
    }

    /// Reads the next record.
    pub fn read(&self) -> Option<Record<'_>> {
        let mut records = self.ring.records_from(self.reading.at.get());
        let record = records.next();
        self.reading.at.set(records.cursor());
        self.look();
        record
    }

    fn look(&self) {
        let next = self.ring.records_from(self.reading.at.get()).next();
        self.reading.time.set(next.map(|record| record.time));
    }
}

/// List of rings, by rising CPU numbers.
#[derive(Debug)]
pub(super) struct RingList {
    first: Option<KBox<CpuRing>>,
}

impl RingList {
    /// Creates an empty list.
    pub const fn new() -> Self {
        Self { first: None }
    }

    /// Adds a ring as the first: its CPU's number is below those of the others.
    pub fn push_front(&mut self, mut ring: KBox<CpuRing>) {
        debug_assert!(self.first.as_ref().is_none_or(|first| ring.cpu < first.cpu));
        ring.next = self.first.take();
        self.first = Some(ring);
    }

    /// Takes the first ring out.
    pub fn pop_front(&mut self) -> Option<KBox<CpuRing>> {
        let mut first = self.first.take()?;
        self.first = first.next.take();
        Some(first)
    }

    /// Iterates over the rings.
    pub fn iter(&self) -> impl Iterator<Item = &CpuRing> + Clone {
        core::iter::successors(self.first.as_deref(), |ring| ring.next.as_deref())
    }

    /// Calls `f` with each ring.
    pub fn for_each_mut(&mut self, mut f: impl FnMut(&mut Ring)) {
        let mut link = &mut self.first;
        while let Some(ring) = link {
            f(&mut ring.ring);
            link = &mut ring.next;
        }
    }

    /// Returns the ring of a CPU.
    pub fn get(&self, cpu: CpuId) -> Option<&Ring> {
        self.iter().find(|ring| ring.cpu == cpu).map(|ring| &ring.ring)
    }
}

impl Drop for RingList {
    /// Drops one ring after the other: each by way of the one before would take a stack as deep as
    /// the list is long.
    fn drop(&mut self) {
        while self.pop_front().is_some() {}
    }
}
