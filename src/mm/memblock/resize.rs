//! The arrays' growth, and their end.

use super::find::ANYWHERE;
use super::region::RegionArray;
use super::{Kind, Memblock, MemblockError, Region};
use crate::addr::{PAGE_SIZE, PhysRange, align_up};

/// The kernel's part in growth: makes a range of RAM, whole pages and reserved for
/// nothing else, reachable, and gives it as slots for regions. `None` where it cannot.
pub type Grow = fn(PhysRange) -> Option<&'static mut [Region]>;

/// Function that fills a range of RAM that nobody uses with zeros. Returns false if the CPU
/// can't reach it.
pub type Clear = fn(PhysRange) -> bool;

/// The most regions of an array that a kernel makes reachable: arrays don't grow beyond it.
pub const MAX_REGIONS: usize = 8192;

/// Bytes, in whole pages, for this many regions.
pub(super) fn bytes_for(regions: usize) -> Option<u64> {
    align_up((regions as u64).checked_mul(size_of::<Region>() as u64)?, PAGE_SIZE as u64)
}

impl Memblock {
    /// Lets the arrays grow from now on, by memory that `grow` makes reachable. It is taken where
    /// memory looks free, so what is in use is reserved before (Linux: memblock_allow_resize).
    pub const fn allow_resize(&mut self, grow: Grow) {
        self.grow = Some(grow);
    }

    /// Lets allocations be filled with zeros from now on, by `clear`.
    pub const fn set_clear(&mut self, clear: Clear) {
        self.clear = Some(clear);
    }

    /// Does what `attempt` does, growing the array as long as it does not fit.
    /// `range` is what the attempt is about: no array goes there.
    pub(super) fn growing(
        &mut self,
        kind: Kind,
        range: PhysRange,
        mut attempt: impl FnMut(&mut RegionArray) -> Result<(), MemblockError>,
    ) -> Result<(), MemblockError> {
        loop {
            match attempt(self.array_mut(kind)) {
                Err(MemblockError::Full) => self.double_array(kind, range)?,
                done => return done,
            }
        }
    }

    /// Doubles an array (Linux: memblock_double_array).
    #[cold]
    fn double_array(&mut self, kind: Kind, avoid: PhysRange) -> Result<(), MemblockError> {
        // The range of the new array has to be reserved, that of the old one freed.
        if kind == Kind::Memory && self.reserved.room() < 2 {
            self.double_one(Kind::Reserved, avoid)?;
        }
        self.double_one(kind, avoid)
    }

    fn double_one(&mut self, kind: Kind, avoid: PhysRange) -> Result<(), MemblockError> {
        let grow = self.grow.ok_or(MemblockError::Full)?;
        let slots = self.array(kind).capacity().checked_mul(2).ok_or(MemblockError::Full)?;
        if slots > MAX_REGIONS {
            return Err(MemblockError::Full);
        }
        let bytes = bytes_for(slots).ok_or(MemblockError::Full)?;
        let above = PhysRange::new(avoid.end(), self.current_limit);
        let below = PhysRange::new(ANYWHERE.start(), avoid.start().min(self.current_limit));
        let place = |within| self.find_in_range(bytes, PAGE_SIZE as u64, within, None);
        let place = place(above).or_else(|_| place(below)).map_err(|_| MemblockError::Full)?;
        let slots = grow(place).ok_or(MemblockError::Full)?;
        self.install(kind, slots, place)
    }

    /// Moves an array into `slots`, which lie in `place`, and reserves that.
    pub(super) fn install(
        &mut self,
        kind: Kind,
        slots: &'static mut [Region],
        place: PhysRange,
    ) -> Result<(), MemblockError> {
        if kind == Kind::Memory && self.reserved.room() < 2 {
            return Err(MemblockError::Full);
        }
        let before = self.array_mut(kind).move_to(slots, place)?;
        let reserved = Region::new(place, None, super::RegionFlags::empty());
        self.reserved.add(reserved)?;
        match before {
            Some(before) => self.reserved.remove(before),
            None => Ok(()),
        }
    }

    /// Number of regions that fit without growth.
    #[must_use]
    pub fn capacity(&self, kind: Kind) -> usize {
        self.array(kind).capacity()
    }

    /// Number of regions that can be added without growth.
    #[must_use]
    pub fn room(&self, kind: Kind) -> usize {
        self.array(kind).room()
    }

    /// The ranges that hold grown arrays.
    pub fn arrays(&self) -> impl Iterator<Item = PhysRange> + use<> {
        [self.memory.grown_at(), self.reserved.grown_at()].into_iter().flatten()
    }

    /// Ends its life: forgets all regions, and gives the ranges that held grown
    /// arrays, for the buddy allocator (Linux: memblock_discard). The hook's slots are
    /// no longer used.
    pub fn discard(&mut self) -> impl Iterator<Item = PhysRange> + use<> {
        self.grow = None;
        [self.memory.discard(), self.reserved.discard()].into_iter().flatten()
    }
}
