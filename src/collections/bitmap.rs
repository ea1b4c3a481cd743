//! The search for a run of clear bits (Linux: lib/bitmap.c, bitmap_find_next_zero_area_off).
#![deny(unsafe_code)]

use core::ops::Range;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A bit map over words that its owner guards by a lock.
#[derive(Clone, Copy)]
pub(crate) struct Bitmap<'a> {
    words: &'a [AtomicU64],
    bits: usize,
}

impl<'a> Bitmap<'a> {
    /// A map of `bits` bits; `None` where `words` are too few.
    pub(crate) fn new(words: &'a [AtomicU64], bits: usize) -> Option<Self> {
        (bits.div_ceil(64) <= words.len()).then_some(Self { words, bits })
    }

    fn get(&self, word: usize) -> u64 {
        self.words[word].load(Relaxed)
    }

    /// Bits `32 * n` and up, those behind the end clear; `None` where all are.
    pub(crate) fn word32(&self, n: usize) -> Option<u32> {
        (n * 32 < self.bits).then(|| (self.get(n / 2) >> (n % 2 * 32)) as u32)
    }

    /// The first bit of `from..end` that is `set` or not, or `end`.
    fn find_next(&self, from: usize, end: usize, set: bool) -> usize {
        if from >= end {
            return end;
        }
        let flip = if set { 0 } else { !0 };
        let mut word = from / 64;
        let mut left = (self.get(word) ^ flip) & (!0 << (from % 64));
        while left == 0 {
            word += 1;
            if word * 64 >= end {
                return end;
            }
            left = self.get(word) ^ flip;
        }
        (word * 64 + left.trailing_zeros() as usize).min(end)
    }

    /// The first run of `count` clear bits at or after `from` whose first bit plus `offset`
    /// is a multiple of `align`, a power of two.
    pub(crate) fn find_zero_area(
        &self,
        from: usize,
        count: usize,
        align: usize,
        offset: usize,
    ) -> Option<usize> {
        let mut from = from;
        loop {
            let clear = self.find_next(from, self.bits, false);
            let start = (clear + offset).checked_next_multiple_of(align)? - offset;
            let end = start.checked_add(count).filter(|&end| end <= self.bits)?;
            let set = self.find_next(start, end, true);
            if set == end {
                return Some(start);
            }
            from = set + 1;
        }
    }

    /// Changes the bits of `range` through `change(word, mask)`.
    fn each(&self, range: Range<usize>, mut change: impl FnMut(&AtomicU64, u64)) {
        assert!(range.start <= range.end && range.end <= self.bits);
        let mut at = range.start;
        while at < range.end {
            let end = ((at / 64 + 1) * 64).min(range.end);
            let mask = (!0 >> (64 - (end - at))) << (at % 64);
            change(&self.words[at / 64], mask);
            at = end;
        }
    }

    /// Sets the bits of `range`.
    pub(crate) fn set(&self, range: Range<usize>) {
        self.each(range, |word, mask| word.store(word.load(Relaxed) | mask, Relaxed));
    }
    /// Clears the bits of `range`.
    pub(crate) fn clear(&self, range: Range<usize>) {
        self.each(range, |word, mask| word.store(word.load(Relaxed) & !mask, Relaxed));
    }
    /// Counts the set bits of `range`.
    pub(crate) fn count(&self, range: Range<usize>) -> usize {
        let mut count = 0;
        self.each(range, |word, mask| count += (word.load(Relaxed) & mask).count_ones() as usize);
        count
    }
    /// Returns the number of bits.
    pub(crate) fn len(&self) -> usize {
        self.bits
    }
    /// The longest run of clear bits.
    pub(crate) fn longest_zero_area(&self) -> usize {
        let (mut longest, mut at) = (0, 0);
        while at < self.bits {
            let start = self.find_next(at, self.bits, false);
            at = self.find_next(start, self.bits, true);
            longest = longest.max(at - start);
        }
        longest
    }
}
