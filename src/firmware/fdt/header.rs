//! The header: magic, version, where the blocks are.

use core::fmt;

/// The largest tree that is taken: what the arm64 boot protocol allows
/// (Linux: Documentation/arch/arm64/booting.rst, "must not exceed 2 megabytes").
pub const MAX_SIZE: usize = 2 << 20;

const MAGIC: u32 = 0xd00d_feed;
/// Bytes of a header of version 17; version 16 lacks the last word.
const SIZE_V17: usize = 40;
const SIZE_V16: usize = 36;
/// Bytes of an entry of the reservation map: address and size.
pub(super) const RESERVATION_SIZE: usize = 16;

/// Reason why a blob is refused as a device tree.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FdtError {
    /// Shorter than a header.
    NoHeader {
        /// The bytes there are.
        length: usize,
    },
    /// The blob does not start with the magic number.
    Magic(u32),
    /// Not readable as version 16 or 17.
    Version {
        /// The header's `version`.
        version: u32,
        /// The header's `last_comp_version`.
        last_compatible: u32,
    },
    /// Longer than [`MAX_SIZE`], or too short to hold its own header.
    TotalSize(usize),
    /// The blob ends before the tree does.
    Truncated {
        /// The header's `totalsize`.
        total_size: usize,
        /// The bytes there are.
        length: usize,
    },
    /// A block does not lie inside the blob.
    Block(&'static str),
    /// The structure block does not start at a multiple of four bytes.
    Unaligned(usize),
    /// The reservation map does not end inside the blob.
    Reservations,
    /// The structure block makes no tree.
    Structure {
        /// Offset of the defect, in bytes from the start of the structure block.
        offset: usize,
        /// Description of the defect.
        defect: &'static str,
    },
}

impl fmt::Display for FdtError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bad device tree: ")?;
        match *self {
            Self::NoHeader { length } => write!(f, "{length} bytes do not hold a header"),
            Self::Magic(magic) => write!(f, "magic number {magic:#010x} instead of {MAGIC:#010x}"),
            Self::Version { version, last_compatible } => write!(
                f,
                "version {version} (compatible back to {last_compatible}) cannot be read as 16 or 17"
            ),
            Self::TotalSize(size) => {
                write!(f, "total size {size:#x} is not between a header and {MAX_SIZE:#x} bytes")
            }
            Self::Truncated { total_size, length } => {
                write!(f, "total size {total_size:#x}, but only {length:#x} bytes are there")
            }
            Self::Block(block) => write!(f, "the {block} block lies outside the blob"),
            Self::Unaligned(offset) => {
                write!(f, "the structure block starts at {offset:#x}, no multiple of 4")
            }
            Self::Reservations => f.write_str("the reservation map has no end"),
            Self::Structure { offset, defect } => {
                write!(f, "{defect} at {offset:#x} of the structure block")
            }
        }
    }
}

impl core::error::Error for FdtError {}

/// The big-endian word at `at`.
pub(super) fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..)?.first_chunk::<4>()?;
    Some(u32::from_be_bytes(*word))
}

/// The bytes that the tree takes, from the first bytes of its blob (40 are enough).
///
/// # Errors
/// Those of the header: too short, magic, version, size.
pub fn total_size(first_bytes: &[u8]) -> Result<usize, FdtError> {
    Header::parse(first_bytes).map(|header| header.total_size)
}

/// The words of the header that are used, checked as far as they alone allow.
#[derive(Clone, Copy)]
pub(super) struct Header {
    pub(super) total_size: usize,
    pub(super) boot_cpu: u32,
    structure_offset: usize,
    /// Absent in version 16: the block is then taken to reach the end of the blob.
    structure_size: Option<usize>,
    strings_offset: usize,
    strings_size: usize,
    reservations_offset: usize,
}

impl Header {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, FdtError> {
        let short = FdtError::NoHeader { length: bytes.len() };
        let word = |index: usize| be32(bytes, index * 4).ok_or(short);
        let magic = word(0)?;
        if magic != MAGIC {
            return Err(FdtError::Magic(magic));
        }
        let (version, last_compatible) = (word(5)?, word(6)?);
        if version < 16 || last_compatible > 17 || last_compatible > version {
            return Err(FdtError::Version { version, last_compatible });
        }
        let header_size = if version == 16 { SIZE_V16 } else { SIZE_V17 };
        let total_size = word(1)? as usize;
        if !(header_size..=MAX_SIZE).contains(&total_size) {
            return Err(FdtError::TotalSize(total_size));
        }
        let this = Self {
            total_size,
            boot_cpu: word(7)?,
            structure_offset: word(2)? as usize,
            structure_size: if version == 16 { None } else { Some(word(9)? as usize) },
            strings_offset: word(3)? as usize,
            strings_size: word(8)? as usize,
            reservations_offset: word(4)? as usize,
        };
        for (offset, block) in [
            (this.structure_offset, "structure"),
            (this.strings_offset, "strings"),
            (this.reservations_offset, "reservation"),
        ] {
            if offset < header_size {
                return Err(FdtError::Block(block));
            }
        }
        if !this.structure_offset.is_multiple_of(4) {
            return Err(FdtError::Unaligned(this.structure_offset));
        }
        Ok(this)
    }

    pub(super) fn structure<'a>(&self, blob: &'a [u8]) -> Result<&'a [u8], FdtError> {
        let rest = blob.get(self.structure_offset..);
        match self.structure_size {
            Some(size) => rest.and_then(|rest| rest.get(..size)),
            None => rest,
        }
        .ok_or(FdtError::Block("structure"))
    }

    pub(super) fn strings<'a>(&self, blob: &'a [u8]) -> Result<&'a [u8], FdtError> {
        blob.get(self.strings_offset..)
            .and_then(|rest| rest.get(..self.strings_size))
            .ok_or(FdtError::Block("strings"))
    }

    /// The entries of the reservation map without the one that ends it: the first
    /// of size zero, as `dtc` and libfdt have it.
    pub(super) fn reservations<'a>(&self, blob: &'a [u8]) -> Result<&'a [u8], FdtError> {
        let map = blob.get(self.reservations_offset..).ok_or(FdtError::Block("reservation"))?;
        let (entries, _) = map.as_chunks::<RESERVATION_SIZE>();
        let end = entries.iter().position(|entry| entry[8..] == [0; 8]);
        let end = end.ok_or(FdtError::Reservations)?;
        map.get(..end * RESERVATION_SIZE).ok_or(FdtError::Reservations)
    }
}
