//! Values of properties: text, cells, lists of `reg` entries.

use super::header::be32;
use crate::addr::{PhysAddr, PhysRange};
use core::fmt;

/// Text from the firmware: meant to be UTF-8, printed as such, and never trusted to be.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Text<'a>(&'a [u8]);

impl<'a> Text<'a> {
    /// Takes bytes as text.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The bytes before the first NUL, or all.
    #[must_use]
    pub fn until_nul(bytes: &'a [u8]) -> Self {
        Self(bytes.split(|&byte| byte == 0).next().unwrap_or_default())
    }

    /// Returns the bytes.
    #[must_use]
    pub const fn bytes(self) -> &'a [u8] {
        self.0
    }

    /// Returns the string; `None` where it is not UTF-8.
    #[must_use]
    pub fn to_str(self) -> Option<&'a str> {
        core::str::from_utf8(self.0).ok()
    }

    /// Returns the longest prefix that is UTF-8.
    #[must_use]
    pub fn valid_prefix(self) -> &'a str {
        self.0.utf8_chunks().next().map_or("", |chunk| chunk.valid())
    }
}

impl PartialEq<str> for Text<'_> {
    fn eq(&self, other: &str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl PartialEq<&str> for Text<'_> {
    fn eq(&self, other: &&str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl fmt::Display for Text<'_> {
    /// Replaces bytes that are not UTF-8, and control characters, by U+FFFD: a hostile tree must
    /// not drive the terminal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write;
        for chunk in self.0.utf8_chunks() {
            for c in chunk.valid().chars() {
                f.write_char(if c.is_control() { char::REPLACEMENT_CHARACTER } else { c })?;
            }
            if !chunk.invalid().is_empty() {
                f.write_char(char::REPLACEMENT_CHARACTER)?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// The NUL-terminated strings of a value; a missing last NUL is forgiven.
#[derive(Clone, Copy)]
pub struct Strings<'a>(&'a [u8]);

impl<'a> Strings<'a> {
    /// The strings of this value.
    #[must_use]
    pub const fn new(value: &'a [u8]) -> Self {
        Self(value)
    }
}

impl<'a> Iterator for Strings<'a> {
    type Item = Text<'a>;

    fn next(&mut self) -> Option<Text<'a>> {
        if self.0.is_empty() {
            return None;
        }
        let text = Text::until_nul(self.0);
        self.0 = self.0.get(text.0.len() + 1..).unwrap_or_default();
        Some(text)
    }
}

/// Big-endian cells as one number: `None` if they are no multiple of four bytes or
/// exceed 64 bits. No cells make zero.
pub(super) fn number(cells: &[u8]) -> Option<u64> {
    let (words, tail) = cells.as_chunks::<4>();
    if !tail.is_empty() {
        return None;
    }
    let mut value = 0u64;
    for word in words {
        if value >> 32 != 0 {
            return None;
        }
        value = value << 32 | u64::from(u32::from_be_bytes(*word));
    }
    Some(value)
}

/// Number of 32-bit cells in an address and in a size (`#address-cells`, `#size-cells`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cells {
    /// Cells of an address.
    pub address: u32,
    /// Cells of a size.
    pub size: u32,
}

impl Default for Cells {
    /// Returns the specification's default for a node that says nothing.
    fn default() -> Self {
        Self { address: 2, size: 1 }
    }
}

impl Cells {
    /// Bytes of a pair of address and size; `None` where that is zero.
    #[must_use]
    pub const fn entry_size(self) -> Option<usize> {
        // Two counts of 32 bits times four: no 64-bit word overflows.
        match (self.address as usize + self.size as usize) * 4 {
            0 => None,
            bytes => Some(bytes),
        }
    }
}

/// A pair of address and size, as the tree has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reg {
    /// The first address.
    pub base: PhysAddr,
    /// Bytes from there; zero occurs, and so do sizes past the top of the address space.
    pub size: u64,
}

impl Reg {
    /// The addresses meant, cut at the top of the address space: nothing wraps to zero.
    #[must_use]
    pub const fn range(self) -> PhysRange {
        PhysRange::from_size(self.base, self.size)
    }
}

/// The entries of a list of address and size pairs. Whole entries only: a tail that
/// is too short for one is left out, and so is an entry above 64 bits.
#[derive(Clone, Copy)]
pub struct Regs<'a> {
    value: &'a [u8],
    cells: Cells,
}

impl<'a> Regs<'a> {
    /// The entries of this value.
    #[must_use]
    pub const fn new(value: &'a [u8], cells: Cells) -> Self {
        Self { value, cells }
    }

    /// Returns whether the value is no multiple of the size of an entry.
    #[must_use]
    pub fn is_ragged(&self) -> bool {
        match self.cells.entry_size() {
            Some(entry) => !self.value.len().is_multiple_of(entry),
            None => !self.value.is_empty(),
        }
    }
}

impl Iterator for Regs<'_> {
    type Item = Reg;

    fn next(&mut self) -> Option<Reg> {
        let entry_size = self.cells.entry_size()?;
        loop {
            #[cfg(test)]
            super::tests::work::step();
            let (entry, rest) = self.value.split_at_checked(entry_size)?;
            self.value = rest;
            let (address, size) = entry.split_at_checked(self.cells.address as usize * 4)?;
            if let (Some(base), Some(size)) = (number(address), number(size)) {
                return Some(Reg { base: PhysAddr::new(base), size });
            }
        }
    }
}

/// The words of a value; a tail of less than four bytes is left out.
pub(super) fn words(value: &[u8]) -> impl Iterator<Item = u32> + '_ {
    let mut at = 0;
    core::iter::from_fn(move || {
        let word = be32(value, at)?;
        at += 4;
        Some(word)
    })
}
