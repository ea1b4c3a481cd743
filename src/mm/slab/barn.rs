//! The barn: a node's spare sheaves (Linux: struct node_barn, mm/slub.c of 6.18).
//!
//! Full sheaves wait here for a CPU that ran out, empty ones for a CPU that ran
//! over, so objects that one CPU allocates and another frees travel by the sheaf.
//! Exchanges keep the number of sheaves; only `put_empty` adds one.
#![deny(unsafe_code)]

use super::sheaf::{OwnedSheaf, SheafSlot};
use arrayvec::ArrayVec;

/// Number of sheaves that a node keeps, full and empty ones together.
pub(super) const BARN_SHEAVES: usize = 10;

/// Full and empty sheaves of one cache. Guarded by the node's lock.
pub(super) struct Barn {
    full: ArrayVec<OwnedSheaf, BARN_SHEAVES>,
    empty: ArrayVec<OwnedSheaf, BARN_SHEAVES>,
}

impl Barn {
    pub const fn new() -> Self {
        Self { full: ArrayVec::new_const(), empty: ArrayVec::new_const() }
    }

    /// Lets `slot` have a full sheaf for its empty one, if there is one; says whether.
    pub fn swap_empty(&mut self, slot: &SheafSlot) -> bool {
        debug_assert!(slot.count() == 0 && slot.capacity() != 0);
        let Some(full) = self.full.pop() else {
            return false;
        };
        self.empty.push(slot.replace(full));
        true
    }

    /// Lets `slot` have an empty sheaf for its full one, if there is one; says whether.
    pub fn swap_full(&mut self, slot: &SheafSlot) -> bool {
        debug_assert!(slot.room() == 0 && slot.capacity() != 0);
        let Some(empty) = self.empty.pop() else {
            return false;
        };
        self.full.push(slot.replace(empty));
        true
    }

    /// Returns whether one more sheaf has room.
    pub fn has_room(&self) -> bool {
        self.full.len() + self.empty.len() < BARN_SHEAVES
    }

    /// Takes in an empty sheaf; gives it back where there are enough.
    pub fn put_empty(&mut self, empty: OwnedSheaf) -> Result<(), OwnedSheaf> {
        debug_assert!(empty.count() == 0 && empty.capacity() != 0);
        if !self.has_room() {
            return Err(empty);
        }
        self.empty.push(empty);
        Ok(())
    }

    /// Takes any sheaf, full ones first.
    pub fn take(&mut self) -> Option<OwnedSheaf> {
        self.full.pop().or_else(|| self.empty.pop())
    }

    /// The full sheaves and the empty ones.
    pub fn sheaves(&self) -> (&[OwnedSheaf], &[OwnedSheaf]) {
        (&self.full, &self.empty)
    }
}
