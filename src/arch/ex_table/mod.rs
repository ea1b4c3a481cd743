//! The exception table: instructions that may fault, and where to go on if they do (Linux:
//! lib/extable.c, arch/arm64/include/asm/asm-extable.h).
//!
//! The entries are sorted by instruction: scripts/mkimage does that to an image.
#![deny(unsafe_code)]

#[cfg(test)]
mod tests;

use core::cmp::Ordering;

/// An entry: two places in the image, each as a distance from the word that holds it.
#[repr(C)]
pub struct Entry {
    instruction: i32,
    fixup: i32,
    kind: u32,
}

/// The access that an entry lets fail, by the number that assembly writes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// An access to the kernel's half, or an instruction that may be undefined: 0. The fixup finds
    /// -1 in x0.
    Kernel,
    /// An access to a user's memory: 1. The fixup finds the registers as they were.
    User,
    /// An access to a user's memory: 2. The fixup finds -1 in x0.
    UserX0,
}

impl Entry {
    /// The address of the instruction.
    #[must_use]
    pub fn instruction(&self) -> u64 {
        relative(&self.instruction)
    }

    /// The address to go on at.
    #[must_use]
    pub fn fixup(&self) -> u64 {
        relative(&self.fixup)
    }

    /// The access; `None` for a number without a meaning.
    #[must_use]
    pub fn kind(&self) -> Option<Kind> {
        match self.kind {
            0 => Some(Kind::Kernel),
            1 => Some(Kind::User),
            2 => Some(Kind::UserX0),
            _ => None,
        }
    }
}

fn relative(distance: &i32) -> u64 {
    (core::ptr::from_ref(distance).addr() as u64).wrapping_add_signed(i64::from(*distance))
}

/// Finds the entry of the instruction at `pc` in a sorted table (Linux: search_extable).
#[must_use]
pub fn search(table: &[Entry], pc: u64) -> Option<&Entry> {
    let n = table.binary_search_by(|entry| entry.instruction().cmp(&pc)).ok()?;
    table.get(n)
}

/// Returns true if `table` is sorted, with no instruction twice.
#[must_use]
pub fn is_sorted(table: &[Entry]) -> bool {
    table.windows(2).all(|two| two[0].instruction().cmp(&two[1].instruction()) == Ordering::Less)
}
