//! Truncating memblock to `mem=`, and capping it to a range.

use super::find::ANYWHERE;
use super::{Memblock, MemblockError, Region};
use crate::addr::{PhysAddr, PhysRange};
use arrayvec::ArrayVec;

impl Memblock {
    /// The address below which `limit` bytes of RAM lie; `None` if there are no more
    /// than that.
    fn address_of_limit(&self, limit: u64) -> Option<PhysAddr> {
        let mut left = limit;
        for region in self.memory() {
            if left < region.range.len() {
                return Some(region.range.start() + left);
            }
            left -= region.range.len();
        }
        None
    }

    /// Keeps the lowest `limit` bytes of RAM: the rest goes, mapped or not, and so do
    /// the reservations above (Linux: memblock_enforce_memory_limit).
    ///
    /// # Errors
    /// [`MemblockError::Full`].
    pub fn enforce_memory_limit(&mut self, limit: u64) -> Result<(), MemblockError> {
        let Some(end) = self.address_of_limit(limit) else { return Ok(()) };
        let above = PhysRange::new(end, ANYWHERE.end());
        self.remove(above)?;
        self.free_others(above)
    }

    /// Frees a range but for memblock's own arrays, which stay reserved whatever happens.
    fn free_others(&mut self, range: PhysRange) -> Result<(), MemblockError> {
        let mut own: ArrayVec<PhysRange, 2> = self.arrays().collect();
        own.sort_unstable_by_key(|array| array.start());
        let mut at = range.start();
        for array in own.iter().filter(|array| array.overlaps(range)) {
            if at < array.start() {
                self.free(PhysRange::new(at, array.start()))?;
            }
            at = at.max(array.end());
        }
        if at < range.end() { self.free(PhysRange::new(at, range.end())) } else { Ok(()) }
    }

    /// Keeps the lowest `limit` bytes of RAM, and above them what stays out of the
    /// linear map anyway (Linux: memblock_mem_limit_remove_map).
    ///
    /// # Errors
    /// [`MemblockError::Full`].
    pub fn mem_limit_remove_map(&mut self, limit: u64) -> Result<(), MemblockError> {
        let Some(end) = self.address_of_limit(limit) else { return Ok(()) };
        self.cap_memory_range(PhysRange::new(PhysAddr::new(0), end))
    }

    /// Keeps the RAM inside `range`, and outside of it what stays out of the linear
    /// map anyway; reservations outside go (Linux: memblock_cap_memory_range).
    ///
    /// # Errors
    /// [`MemblockError::Full`]; what has gone by then stays gone.
    pub fn cap_memory_range(&mut self, range: PhysRange) -> Result<(), MemblockError> {
        let below = PhysRange::new(ANYWHERE.start(), range.start());
        let above = PhysRange::new(range.end(), ANYWHERE.end());
        for outside in [below, above] {
            let mapped = |region: &&Region| !region.is_nomap();
            while let Some(region) = { self.memory.overlapping(outside).find(mapped).copied() } {
                self.remove(region.range.intersect(outside))?;
            }
            self.free_others(outside)?;
        }
        Ok(())
    }

    /// Cuts every region of RAM to multiples of `align`, a power of two (Linux:
    /// memblock_trim_memory).
    ///
    /// # Errors
    /// [`MemblockError::Invalid`].
    pub fn trim_memory(&mut self, align: u64) -> Result<(), MemblockError> {
        if !align.is_power_of_two() {
            return Err(MemblockError::Invalid);
        }
        let mut index = 0;
        while let Some(&Region { range, .. }) = self.memory().get(index) {
            let start = range.start().align_up(align).unwrap_or(range.end()).min(range.end());
            let end = range.end().align_down(align);
            if start < end {
                index += 1;
                self.remove(PhysRange::new(range.start(), start))?;
                self.remove(PhysRange::new(end, range.end()))?;
            } else {
                self.remove(range)?;
            }
        }
        Ok(())
    }
}
