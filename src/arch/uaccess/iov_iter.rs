//! Buffers of reads and writes, in a user's memory or in the kernel's (Linux: include/linux/uio.h,
//! struct iov_iter). File systems copy between these and their pages without a buffer between.
//!
//! A copy that stops before its length has met the end of the buffer or, while
//! [`remaining`](IoSink::remaining) is not 0, memory that the user may not access.

use super::UserSlice;

/// A buffer that a read fills from its start on.
pub trait IoSink {
    /// Number of bytes that still fit.
    fn remaining(&self) -> usize;

    /// Appends `from` as far as it fits, and returns the number of bytes that were copied.
    fn put(&mut self, from: &[u8]) -> usize;

    /// Appends `len` zeros as far as they fit, and returns the number of bytes that were written.
    fn put_zeros(&mut self, len: usize) -> usize;
}

/// A buffer that a write takes its bytes from.
pub trait IoSource {
    /// Number of bytes that are left.
    fn remaining(&self) -> usize;

    /// Takes bytes into the start of `to` as far as there are any, and returns their number.
    fn take(&mut self, to: &mut [u8]) -> usize;
}

/// A buffer of the kernel's to read into.
#[derive(Debug)]
pub struct KernelSink<'a> {
    buffer: &'a mut [u8],
    done: usize,
}

impl<'a> KernelSink<'a> {
    /// The whole of `buffer`.
    #[must_use]
    pub fn new(buffer: &'a mut [u8]) -> Self {
        Self { buffer, done: 0 }
    }

    /// The bytes that were written.
    #[must_use]
    pub fn filled(&self) -> &[u8] {
        &self.buffer[..self.done]
    }

    fn next(&mut self, len: usize) -> &mut [u8] {
        let len = len.min(self.buffer.len() - self.done);
        let at = self.done;
        self.done += len;
        &mut self.buffer[at..][..len]
    }
}

impl IoSink for KernelSink<'_> {
    fn remaining(&self) -> usize {
        self.buffer.len() - self.done
    }

    fn put(&mut self, from: &[u8]) -> usize {
        let to = self.next(from.len());
        to.copy_from_slice(&from[..to.len()]);
        to.len()
    }

    fn put_zeros(&mut self, len: usize) -> usize {
        let to = self.next(len);
        to.fill(0);
        to.len()
    }
}

/// Bytes of the kernel's to be written: what is left of the slice is what was not taken.
impl IoSource for &[u8] {
    fn remaining(&self) -> usize {
        self.len()
    }

    fn take(&mut self, to: &mut [u8]) -> usize {
        let len = to.len().min(self.len());
        let (now, rest) = self.split_at(len);
        to[..len].copy_from_slice(now);
        *self = rest;
        len
    }
}

/// Buffers of a user's, one after the other, as readv and writev have them. The end of one is not
/// seen by the file system.
#[derive(Debug)]
pub struct UserBuffers<'a> {
    /// The buffer that is in use; the others follow.
    now: UserSlice,
    rest: &'a [UserSlice],
    left: usize,
}

impl<'a> UserBuffers<'a> {
    /// Buffers in their order. Of more than `isize::MAX` bytes the first ones serve.
    #[must_use]
    pub fn new(buffers: &'a [UserSlice]) -> Self {
        let all = buffers.iter().fold(0, |sum: usize, buffer| sum.saturating_add(buffer.len()));
        Self { now: UserSlice::EMPTY, rest: buffers, left: all.min(isize::MAX as usize) }
    }

    /// Shortens the buffers to `len` bytes in all.
    pub fn truncate(&mut self, len: usize) {
        self.left = self.left.min(len);
    }

    /// Copies up to `len` bytes, one part of a buffer after the other: `copy` gets the part and
    /// the number of bytes before it, and returns how many it did not copy.
    fn advance(&mut self, len: usize, mut copy: impl FnMut(UserSlice, usize) -> usize) -> usize {
        let len = len.min(self.left);
        let mut done = 0;
        while done < len {
            if self.now.is_empty() {
                let Some((first, rest)) = self.rest.split_first() else { break };
                (self.now, self.rest) = (*first, rest);
                continue;
            }
            let part = self.now.len().min(len - done);
            let Some((part, _)) = self.now.split_at(part) else { break };
            let copied = part.len() - copy(part, done);
            let Some((_, behind)) = self.now.split_at(copied) else { break };
            self.now = behind;
            done += copied;
            if copied < part.len() {
                break;
            }
        }
        self.left -= done;
        done
    }
}

impl From<UserSlice> for UserBuffers<'_> {
    fn from(buffer: UserSlice) -> Self {
        Self { now: buffer, rest: &[], left: buffer.len() }
    }
}

impl IoSink for UserBuffers<'_> {
    fn remaining(&self) -> usize {
        self.left
    }

    fn put(&mut self, from: &[u8]) -> usize {
        self.advance(from.len(), |part, at| {
            part.copy_from(&from[at..][..part.len()]).map_or_else(|fault| fault.not_copied, |()| 0)
        })
    }

    fn put_zeros(&mut self, len: usize) -> usize {
        self.advance(len, |part, _| part.clear().map_or_else(|fault| fault.not_copied, |()| 0))
    }
}

impl IoSource for UserBuffers<'_> {
    fn remaining(&self) -> usize {
        self.left
    }

    fn take(&mut self, to: &mut [u8]) -> usize {
        self.advance(to.len(), |part, at| {
            part.copy_to(&mut to[at..][..part.len()]).map_or_else(|fault| fault.not_copied, |()| 0)
        })
    }
}
