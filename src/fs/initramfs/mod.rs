//! The initramfs: archives that the boot loader left, unpacked into the root file system (Linux:
//! init/initramfs.c, Documentation/driver-api/early-userspace/buffer-format.rst).
//!
//! | file | contents |
//! | --- | --- |
//! | `mod` | archives one after the other, plain or compressed |
//! | `cpio` | the state machine that reads an archive piece by piece |
//! | `tree` | making what an archive names |
//! | `gzip` | decompression into a window of 32 KiB |
//!
//! An archive is read as it is decompressed, so that it needs no memory beside its files. What its
//! bytes say is not trusted: names lead nowhere but below the root, lengths are checked before they
//! are used.
#![deny(unsafe_code)]

mod cpio;
mod gzip;
#[cfg(test)]
mod tests;
mod tree;

use super::vfs::Caller;
use crate::errno::Errno;
use core::fmt;
use cpio::Reader;

/// Reason why an archive was not unpacked to its end. Its files so far are there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UnpackError {
    /// A header begins with something else than `070701` or `070702`.
    NoMagic,
    /// A header has something else than hexadecimal digits.
    Malformed,
    /// The archive ends in the middle of something.
    Truncated,
    /// A file's checksum is wrong.
    Checksum,
    /// The data is neither an archive nor compressed by gzip.
    Junk,
    /// The compressed data is damaged.
    Damaged,
    /// A file could not be made or written, for want of memory or of space.
    Write(Errno),
}

impl fmt::Display for UnpackError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoMagic => "no cpio magic",
            Self::Malformed => "malformed cpio header",
            Self::Truncated => "archive is truncated",
            Self::Checksum => "wrong checksum of a file",
            Self::Junk => "neither a cpio archive nor gzip",
            Self::Damaged => "compressed data is damaged",
            Self::Write(why) => return write!(f, "a file can't be written: {why:?}"),
        })
    }
}

impl core::error::Error for UnpackError {}

/// Figures of what was unpacked.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Unpacked {
    /// Entries of the archives.
    pub entries: u64,
    /// Entries that were left out: with names that none can have, or in the way of others.
    pub skipped: u64,
    /// Bytes of files.
    pub bytes: u64,
}

/// Unpacks archives, with zeros between them, into the caller's root. Process context.
///
/// # Errors
/// [`UnpackError`]; what came before is there.
pub fn unpack(caller: &Caller<'_>, mut data: &[u8]) -> Result<Unpacked, UnpackError> {
    let mut reader = Reader::new(caller);
    loop {
        let zeros = data.iter().take_while(|&&byte| byte == 0).count();
        data = &data[zeros..];
        if data.is_empty() {
            return Ok(reader.figures());
        }
        data = if data.starts_with(b"0707") {
            let used = reader.archive(data)?;
            &data[used..]
        } else if data.starts_with(&gzip::MAGIC) {
            let used = gzip::decompress(data, &mut |bytes| reader.feed(bytes))?;
            reader.end()?;
            &data[used..]
        } else {
            return Err(UnpackError::Junk);
        };
    }
}
