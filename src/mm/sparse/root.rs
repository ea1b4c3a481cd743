//! Table of the sections that are up: two levels that grow and are never taken back, read by all
//! CPUs without a lock while one adds to it.
//!
//! What was written before [`Root::add_leaf`] and [`Root::set_blocks`] is seen by those who
//! find what these added: the zeros of the leaf, the descriptors of the blocks.

use crate::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

/// Sections of a leaf: as many words as a page holds.
pub const LEAF_SECTIONS: usize = 1024;
/// Leaves that reach all frames.
pub const LEAVES: usize = 128;

/// A bit for each of the 32 blocks of each section.
pub type Leaf = [AtomicU32; LEAF_SECTIONS];

/// The upper level: addresses of the leaves, 0 where there is none.
pub struct Root([AtomicUsize; LEAVES]);

impl Root {
    pub const fn new() -> Self {
        Self([const { AtomicUsize::new(0) }; LEAVES])
    }

    #[inline]
    fn word(&self, section: usize) -> Option<&'static AtomicU32> {
        let at = self.0[section / LEAF_SECTIONS].load(Ordering::Acquire);
        if at == 0 {
            return None;
        }
        // SAFETY: `add_leaf` stored the address of a leaf that is never given back.
        let leaf = unsafe { &*core::ptr::with_exposed_provenance::<Leaf>(at) };
        Some(&leaf[section % LEAF_SECTIONS])
    }

    /// The blocks of `section` that are up, a bit each.
    #[inline]
    pub fn blocks(&self, section: usize) -> u32 {
        self.word(section).map_or(0, |word| word.load(Ordering::Acquire))
    }

    /// Returns whether `section` has a leaf. For who adds to the table.
    pub fn has_leaf(&self, section: usize) -> bool {
        self.0[section / LEAF_SECTIONS].load(Ordering::Relaxed) != 0
    }

    /// Gives `section` and its neighbours the leaf at the address `leaf`. One CPU at a time.
    ///
    /// # Safety
    /// A [`Leaf`] lies there, all zeros, that nobody else uses and that is never given back;
    /// its provenance is exposed.
    pub unsafe fn add_leaf(&self, section: usize, leaf: usize) {
        self.0[section / LEAF_SECTIONS].store(leaf, Ordering::Release);
    }

    /// Sets the blocks of `section` that are up. Returns false if it has no leaf. One CPU at a
    /// time.
    #[must_use]
    pub fn set_blocks(&self, section: usize, blocks: u32) -> bool {
        let word = self.word(section);
        word.inspect(|word| word.store(blocks, Ordering::Release)).is_some()
    }
}
