//! Names for addresses: the symbol table that `scripts/mkimage` puts behind the
//! image. A header of 16 bytes (the magic, the length of the text), then lines
//! `<16 hexadecimal digits> <mangled name>`, sorted by address.
#![deny(unsafe_code)]

use core::fmt;

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

    fn line(&self, start: usize) -> Option<(usize, &'a str)> {
        let line = self.text.get(start..)?.split(|&b| b == b'\n').next()?;
        let (address, name) = core::str::from_utf8(line).ok()?.split_once(' ')?;
        Some((usize::from_str_radix(address, 16).ok()?, name))
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;
    use std::vec::Vec;

    fn blob(lines: &str) -> Vec<u8> {
        let mut blob = MAGIC.to_vec();
        blob.extend((lines.len() as u64).to_le_bytes());
        blob.extend(lines.bytes());
        blob.extend([0; 100]);
        blob
    }

    #[test]
    fn every_address_finds_its_function() {
        let starts = [0x1000, 0x1004, 0x1100, 0x2000, 0x2040, 0xffff_8000_0000_0000usize];
        let names = ["a", "bb", "_ZN3foo3barE", "d_longer_name", "e", "_stext"];
        for n in 1..=starts.len() {
            let lines: std::string::String =
                starts.iter().zip(names).take(n).map(|(a, s)| format!("{a:016x} {s}\n")).collect();
            let blob = blob(&lines);
            let symbols = Symbols::new(&blob).expect("a table");
            assert_eq!(symbols.lookup(0xfff), None);
            for i in 0..n {
                let next = if i + 1 < n { starts[i + 1] } else { starts[i] + 0x100 };
                for address in [starts[i], starts[i] + 1, next - 1] {
                    let found = symbols.lookup(address);
                    assert_eq!(found, Some((names[i], address - starts[i])), "{n} {address:#x}");
                }
            }
        }
    }

    #[test]
    fn names_are_demangled() {
        let blob = blob("0000000000001000 _ZN3foo3bar17h0123456789abcdefE\n");
        let symbols = Symbols::new(&blob);
        let at = |address| format!("{}", Symbolized { symbols, address });
        assert_eq!(at(0x1010), "foo::bar+0x10");
        assert_eq!(at(0x10), "0x10");
    }

    #[test]
    fn what_is_no_table_is_refused() {
        assert!(Symbols::new(b"").is_none());
        assert!(Symbols::new(b"GRSYMS01").is_none());
        assert!(Symbols::new(b"GRSYMS01\xff\xff\xff\xff\xff\xff\xff\xff").is_none());
        assert!(Symbols::new(&[0; 64]).is_none());
        let empty = blob("");
        assert!(Symbols::new(&empty).is_some_and(|s| s.lookup(5).is_none()));
        let torn = blob("zz\n0000");
        assert!(Symbols::new(&torn).is_some_and(|s| s.lookup(5).is_none()));
    }
}
