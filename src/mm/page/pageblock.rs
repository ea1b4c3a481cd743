//! State of a pageblock, in a byte of its first frame's descriptor (Linux: pageblock_flags).
#![deny(unsafe_code)]

use super::Page;
use crate::mm::ids::Migratetype;
use bitflags::bitflags;
use core::sync::atomic::Ordering::Relaxed;

bitflags! {
    /// Bits of a pageblock's byte: what compaction does not find there.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub(in crate::mm) struct BlockSkip: u8 {
        /// Pages to move away.
        const SOURCE = 1 << 3;
        /// Free pages to move others to.
        const TARGET = 1 << 4;
    }
}

/// Bit of a pageblock's byte, above its migratetype and the skip hints: the pageblock is
/// isolated, and its pages are freed to the zone.
pub(super) const BLOCK_ISOLATED: u8 = 1 << 5;
/// Bit of a pageblock's byte: its section is offline.
pub(super) const BLOCK_OFFLINE: u8 = 1 << 6;

impl Page {
    /// The migratetype of the pageblock that starts here: `Isolate` while it is being emptied.
    #[inline]
    pub(crate) fn block_migratetype(&self) -> Migratetype {
        let block = self.block.load(Relaxed);
        if block & BLOCK_ISOLATED != 0 {
            Migratetype::Isolate
        } else {
            Migratetype::from_bits(block)
        }
    }
    /// The migratetype that the pageblock that starts here has when it is not being emptied
    /// (Linux: get_pageblock_migratetype, beside PB_migrate_isolate).
    pub(in crate::mm) fn block_kept_migratetype(&self) -> Migratetype {
        Migratetype::from_bits(self.block.load(Relaxed))
    }
    /// Returns true if the section of the pageblock that starts here is offline.
    pub(in crate::mm) fn block_is_offline(&self) -> bool {
        self.block.load(Relaxed) & BLOCK_OFFLINE != 0
    }
    /// Hints about the pageblock that starts here: what compaction did not find in it last time
    /// (Linux: PB_migrate_skip, one bit for both).
    pub(in crate::mm) fn block_skip(&self) -> BlockSkip {
        BlockSkip::from_bits_truncate(self.block.load(Relaxed))
    }
    /// Adds to these hints; a new migratetype takes them back.
    pub(in crate::mm) fn add_block_skip(&self, skip: BlockSkip) {
        // Others may set the migratetype meanwhile.
        self.block.fetch_or(skip.bits(), Relaxed);
    }
    /// Takes all these hints back.
    pub(in crate::mm) fn clear_block_skip(&self) {
        self.block.fetch_and(!BlockSkip::all().bits(), Relaxed);
    }
}
