//! A reader of cpio archives in the formats newc and crc, piece by piece.
//!
//! A crate reads archives that lie in memory as a whole (`cpio_reader`); here the archive never
//! does, as it comes out of a window of 32 KiB.
#![deny(unsafe_code)]

use super::tree::{Entry, Tree};
use super::{UnpackError, Unpacked};
use crate::fs::vfs::{Caller, PATH_MAX};
use crate::mm::alloc::KVec;
use crate::mm::gfp::Gfp;
use linux_raw_sys::general::{S_IFLNK, S_IFMT, S_IFREG};

/// Bytes of a header: a magic number and 13 numbers of 8 hexadecimal digits.
const HEADER: usize = 6 + 13 * 8;
/// Name of the entry that ends an archive.
const TRAILER: &[u8] = b"TRAILER!!!";

/// Meaning of the next bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Zeros, and then a header.
    Start,
    /// A header.
    Header,
    /// A name.
    Name,
    /// The text of a symbolic link.
    Link,
    /// Bytes of a file.
    Body,
    /// Bytes that are passed over.
    Skip,
}

/// The reader. See the module's documentation.
pub(super) struct Reader<'a> {
    tree: Tree<'a>,
    state: State,
    /// Bytes since the start of this archive.
    offset: u64,
    /// Offset of what comes next, with what fills up to it.
    next: u64,
    /// Bytes that are collected: a header, a name or the text of a link.
    text: KVec<u8>,
    /// Bytes of the entry's body.
    body: u64,
    entry: Entry,
    /// The name of the entry whose link text comes.
    name: KVec<u8>,
    /// Sum of the body's bytes, and what it should be.
    sum: u32,
    wanted: Option<u32>,
    figures: Unpacked,
    is_at_end: bool,
}

impl<'a> Reader<'a> {
    /// A reader that unpacks into the caller's root.
    pub fn new(caller: &'a Caller<'a>) -> Self {
        Self {
            tree: Tree::new(caller),
            state: State::Start,
            offset: 0,
            next: 0,
            text: KVec::new(),
            body: 0,
            entry: Entry::default(),
            name: KVec::new(),
            sum: 0,
            wanted: None,
            figures: Unpacked::default(),
            is_at_end: false,
        }
    }

    /// Figures of what was unpacked so far.
    pub const fn figures(&self) -> Unpacked {
        self.figures
    }

    /// Reads one archive, and returns the number of its bytes.
    ///
    /// # Errors
    /// [`UnpackError`]
    pub fn archive(&mut self, data: &[u8]) -> Result<usize, UnpackError> {
        let mut at = 0;
        self.is_at_end = false;
        while at < data.len() && !self.is_at_end {
            at += self.step(&data[at..])?;
        }
        self.end()?;
        Ok(at)
    }

    /// Reads bytes of archives that follow those before.
    ///
    /// # Errors
    /// [`UnpackError`]
    pub fn feed(&mut self, mut bytes: &[u8]) -> Result<(), UnpackError> {
        while !bytes.is_empty() {
            bytes = &bytes[self.step(bytes)?..];
        }
        Ok(())
    }

    /// Checks that the bytes did not end in the middle of an entry.
    ///
    /// # Errors
    /// [`UnpackError::Truncated`]
    pub fn end(&mut self) -> Result<(), UnpackError> {
        if self.state == State::Start { Ok(()) } else { Err(UnpackError::Truncated) }
    }

    /// Reads some of `bytes`, and returns how many.
    fn step(&mut self, bytes: &[u8]) -> Result<usize, UnpackError> {
        let used = match self.state {
            State::Start => {
                let zeros = bytes.iter().take_while(|&&byte| byte == 0).count();
                if zeros < bytes.len() {
                    self.collect(State::Header);
                    (self.offset, self.next) = (0, HEADER as u64);
                    return Ok(zeros);
                }
                zeros
            }
            State::Header | State::Name | State::Link => {
                let left = (self.next - self.offset) as usize;
                let used = left.min(bytes.len());
                let add = self.text.extend_from_slice(&bytes[..used], Gfp::GFP_KERNEL);
                add.map_err(|why| UnpackError::Write(why.into()))?;
                used
            }
            State::Body => {
                let used = (self.next - self.offset).min(bytes.len() as u64) as usize;
                self.write(&bytes[..used])?;
                used
            }
            State::Skip => (self.next - self.offset).min(bytes.len() as u64) as usize,
        };
        self.offset += used as u64;
        if self.state != State::Start && self.offset == self.next {
            self.done()?;
        }
        Ok(used)
    }

    fn collect(&mut self, state: State) {
        self.state = state;
        self.text.clear();
    }

    /// Goes on behind what has been read as a whole.
    fn done(&mut self) -> Result<(), UnpackError> {
        match self.state {
            State::Header => self.header(),
            State::Name => self.named(),
            State::Link => {
                let text = core::mem::take(&mut self.text);
                let text = text.split(|&byte| byte == 0).next().unwrap_or(&[]);
                let made = self.tree.symlink(&self.name, text, &self.entry)?;
                self.count(made);
                self.pass_over(0);
                Ok(())
            }
            State::Body => {
                self.tree.finish(&self.entry)?;
                if self.wanted.is_some_and(|wanted| wanted != self.sum) {
                    return Err(UnpackError::Checksum);
                }
                self.pass_over(0);
                Ok(())
            }
            State::Skip | State::Start => {
                self.collect(State::Header);
                self.next = self.offset + HEADER as u64;
                Ok(())
            }
        }
    }

    /// Passes over `len` bytes, and those up to the next multiple of 4.
    fn pass_over(&mut self, len: u64) {
        self.state = State::Skip;
        self.next = (self.offset + len).next_multiple_of(4);
        if self.next == self.offset {
            self.collect(State::Header);
            self.next = self.offset + HEADER as u64;
        }
    }

    fn count(&mut self, made: bool) {
        self.figures.entries += 1;
        self.figures.skipped += u64::from(!made);
    }

    fn header(&mut self) -> Result<(), UnpackError> {
        let header = core::mem::take(&mut self.text);
        let has_sum = match &header[..6] {
            b"070701" => false,
            b"070702" => true,
            _ => return Err(UnpackError::NoMagic),
        };
        let mut fields = [0; 13];
        for (field, digits) in fields.iter_mut().zip(header[6..].chunks_exact(8)) {
            if !digits.iter().all(u8::is_ascii_hexdigit) {
                return Err(UnpackError::Malformed);
            }
            let digits = core::str::from_utf8(digits).map_err(|_| UnpackError::Malformed)?;
            *field = u32::from_str_radix(digits, 16).map_err(|_| UnpackError::Malformed)?;
        }
        let [ino, mode, uid, gid, nlink, mtime, size, major, minor, rmajor, rminor, name, sum] =
            fields;
        self.entry =
            Entry { ino, mode, uid, gid, nlink, mtime, dev: (major, minor), rmajor, rminor };
        self.body = size.into();
        self.wanted = has_sum.then_some(sum);
        self.sum = 0;
        let is_link = mode & S_IFMT == S_IFLNK;
        // The zero at its end counts.
        if name == 0 || name as usize > PATH_MAX || is_link && size as usize > PATH_MAX {
            self.count(false);
            // The name is filled up before the body is.
            self.next = self.offset + u64::from(name);
            self.pass_over_name_and_body(name);
            return Ok(());
        }
        self.collect(State::Name);
        self.next = (self.offset + u64::from(name)).next_multiple_of(4);
        Ok(())
    }

    fn pass_over_name_and_body(&mut self, name: u32) {
        let name_end = (self.offset + u64::from(name)).next_multiple_of(4);
        self.state = State::Skip;
        self.next = (name_end + self.body).next_multiple_of(4);
        if self.next == self.offset {
            self.pass_over(0);
        }
    }

    fn named(&mut self) -> Result<(), UnpackError> {
        let text = core::mem::take(&mut self.text);
        let len = text.iter().position(|&byte| byte == 0).unwrap_or(text.len());
        let name = &text[..len];
        if name == TRAILER {
            self.tree.forget_links();
            self.is_at_end = true;
            self.state = State::Start;
            return Ok(());
        }
        match self.entry.mode & S_IFMT {
            S_IFLNK => {
                let mut kept = text;
                kept.truncate(len);
                self.name = kept;
                self.collect(State::Link);
                self.next = self.offset + self.body;
                if self.body == 0 {
                    self.done()?;
                }
            }
            S_IFREG => {
                let made = self.tree.open(name, &self.entry, self.body)?;
                self.count(made);
                self.state = State::Body;
                self.next = self.offset + self.body;
                if self.body == 0 {
                    self.done()?;
                }
            }
            _ => {
                let made = self.tree.make(name, &self.entry)?;
                self.count(made);
                self.pass_over(self.body);
            }
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), UnpackError> {
        if self.wanted.is_some() {
            self.sum = bytes.iter().fold(self.sum, |sum, &byte| sum.wrapping_add(byte.into()));
        }
        self.figures.bytes += self.tree.write(bytes)? as u64;
        Ok(())
    }
}
