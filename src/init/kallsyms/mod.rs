//! Names for addresses: the symbol table that `scripts/mkimage` puts behind the
//! image. A header of 16 bytes (the magic, the length of the text), then lines
//! `<16 hexadecimal digits> <mangled name>`, sorted by address.
#![deny(unsafe_code)]

use core::fmt;

#[cfg(test)]
mod tests;

/// The first eight bytes of the table.
const MAGIC: &[u8] = b"GRSYMS01";

/// A symbol table.
#[derive(Clone, Copy)]
pub struct Symbols<'a> {
    text: &'a [u8],
}

impl<'a> Symbols<'a> {
    /// Reads the table's header; `None` where it is not one.
    #[must_use]
    pub fn new(blob: &'a [u8]) -> Option<Self> {
        let rest = blob.strip_prefix(MAGIC)?;
        let (length, rest) = rest.split_first_chunk::<8>()?;
        let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
        Some(Self { text: rest.get(..length)? })
    }

    /// The function that holds `address`, and how far into it that is.
    #[must_use]
    pub fn lookup(&self, address: usize) -> Option<(&'a str, usize)> {
        // The start of the line that holds byte `at`.
        let line_start = |at: usize| {
            self.text[..at].iter().rposition(|&b| b == b'\n').map_or(0, |newline| newline + 1)
        };
        // `low` starts a line at or below the address, `high` one above it or the end.
        let (mut low, mut high) = (0, self.text.len());
        let (first, _) = self.line(0)?;
        if address < first {
            return None;
        }
        loop {
            let mut middle = line_start(low + (high - low) / 2);
            if middle == low {
                // The upper half is within the first line: step to the next one.
                let length = self.text[low..].iter().position(|&b| b == b'\n')?;
                middle = low + length + 1;
                if middle >= high {
                    break;
                }
            }
            let (at, _) = self.line(middle)?;
            if at <= address {
                low = middle;
            } else {
                high = middle;
            }
        }
        let (at, name) = self.line(low)?;
        Some((name, address - at))
    }

    /// Iterates over the functions, each with its address, by rising addresses.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &'a str)> {
        let lines = self.text.split(|&b| b == b'\n');
        lines.map_while(Self::parse)
    }

    fn line(&self, start: usize) -> Option<(usize, &'a str)> {
        Self::parse(self.text.get(start..)?.split(|&b| b == b'\n').next()?)
    }

    fn parse(line: &'a [u8]) -> Option<(usize, &'a str)> {
        let (address, name) = core::str::from_utf8(line).ok()?.split_once(' ')?;
        Some((usize::from_str_radix(address, 16).ok()?, name))
    }
}

/// The table as `/proc/kallsyms` has it: a line for each function with its address and kind (Linux:
/// kernel/kallsyms.c).
impl fmt::Display for Symbols<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.iter().try_for_each(|(at, name)| {
            writeln!(f, "{at:016x} t {:#}", rustc_demangle::demangle(name))
        })
    }
}

/// An address as `function+0x12`, or as a number where no symbol covers it.
pub struct Symbolized<'a> {
    /// The table, if the image has one.
    pub symbols: Option<Symbols<'a>>,
    /// The address.
    pub address: usize,
}

impl fmt::Display for Symbolized<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.symbols.and_then(|s| s.lookup(self.address)) {
            Some((name, offset)) => {
                write!(f, "{:#}+{offset:#x}", rustc_demangle::demangle(name))
            }
            None => write!(f, "{:#x}", self.address),
        }
    }
}
