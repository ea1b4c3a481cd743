//! Map of the allocated parts of a chunk's units (Linux: pcpu_chunk.alloc_map and bound_map in
//! mm/percpu.c).
//!
//! One bit stands for a granule of 8 bytes. `used` says which are allocated; `starts`, which of
//! those begin an area.
#![deny(unsafe_code)]

/// Bytes that a bit stands for (Linux: PCPU_MIN_ALLOC_SIZE).
pub(super) const GRANULE: usize = 8;
/// Bytes of the largest unit, and so of the largest area (Linux: PCPU_MIN_UNIT_SIZE).
pub(super) const MAX_UNIT: usize = 32 << 10;

const WORDS: usize = MAX_UNIT / GRANULE / 64;

/// The areas of one chunk.
pub(super) struct Map {
    used: [u64; WORDS],
    starts: [u64; WORDS],
    /// Granules of a unit, and those that are free.
    len: u32,
    free: u32,
}

fn get(words: &[u64; WORDS], n: u32) -> bool {
    words[n as usize / 64] >> (n % 64) & 1 != 0
}

fn set(words: &mut [u64; WORDS], n: u32, value: bool) {
    let bit = 1 << (n % 64);
    let word = &mut words[n as usize / 64];
    *word = if value { *word | bit } else { *word & !bit };
}

impl Map {
    /// A map of units of `bytes`, all free.
    pub fn new(bytes: usize) -> Self {
        assert!(bytes <= MAX_UNIT && bytes.is_multiple_of(GRANULE));
        let len = (bytes / GRANULE) as u32;
        Self { used: [0; WORDS], starts: [0; WORDS], len, free: len }
    }

    /// Returns true if nothing is allocated.
    pub fn is_empty(&self) -> bool {
        self.free == self.len
    }

    /// The first `granules` free ones in a row from a multiple of `align` on, which are taken;
    /// `None` where there are none.
    pub fn alloc(&mut self, granules: u32, align: u32) -> Option<u32> {
        if granules == 0 || granules > self.free {
            return None;
        }
        let mut at = 0;
        while at + granules <= self.len {
            match (at..at + granules).rev().find(|&n| get(&self.used, n)) {
                // What lies before the last one in the way can't be the start.
                Some(taken) => at = (taken + 1).next_multiple_of(align),
                None => {
                    (at..at + granules).for_each(|n| set(&mut self.used, n, true));
                    set(&mut self.starts, at, true);
                    self.free -= granules;
                    return Some(at);
                }
            }
        }
        None
    }

    /// Number of granules of the area that starts at `at`; `None` if no area does.
    fn size(&self, at: u32) -> Option<u32> {
        if at >= self.len || !get(&self.starts, at) {
            return None;
        }
        let goes_on = |&n: &u32| get(&self.used, n) && !get(&self.starts, n);
        Some(1 + (at + 1..self.len).take_while(goes_on).count() as u32)
    }

    /// Frees the area that starts at `at`. Returns the number of its granules; `None` if there
    /// is no such area.
    pub fn free(&mut self, at: u32) -> Option<u32> {
        let granules = self.size(at)?;
        (at..at + granules).for_each(|n| set(&mut self.used, n, false));
        set(&mut self.starts, at, false);
        self.free += granules;
        Some(granules)
    }

    /// Checks the counts.
    ///
    /// # Panics
    /// Where they disagree.
    pub fn validate(&self) {
        let used: u32 = self.used.iter().map(|word| word.count_ones()).sum();
        assert_eq!(used + self.free, self.len, "percpu: a chunk's free areas are miscounted");
        let sizes: u32 = (0..self.len).filter_map(|at| self.size(at)).sum();
        assert_eq!(sizes, used, "percpu: a chunk has an area without a start");
    }
}
