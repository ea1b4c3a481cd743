//! Open files whose text is computed (Linux: fs/seq_file.c).
//!
//! The text is made when a file is read at its start, as a whole, so that what a program reads in
//! pieces belongs together.
#![deny(unsafe_code)]

use super::super::FsError;
use super::super::tree::{File, Store};
use crate::arch::irq::with_masked;
use crate::arch::uaccess::{IoSink, IoSource};
use crate::errno::Errno;
use crate::fs::vfs::{FileOps, OpenFile, Whence};
use crate::mm::alloc::{KArc, KVVec};
use crate::mm::gfp::Gfp;
use crate::sync::{Rank, SpinLock};
use core::fmt;

/// Bytes of the longest text that is written to a file.
const STORE_MAX: usize = 4096;

/// Function that writes the text.
#[derive(Clone, Copy)]
pub(super) enum Source {
    /// A file of the constant tree, and whose it is.
    File(&'static File, usize),
    /// A function that is told the process.
    Pid(u32, fn(u32, &mut dyn fmt::Write) -> Result<(), Errno>, Option<PidStore>),
    /// A function.
    Plain(fn(&mut dyn fmt::Write) -> fmt::Result),
}

/// Acts on a text for a process.
pub(super) type PidStore = fn(u32, &str) -> Result<(), Errno>;

/// An open file.
pub(super) struct TextFile {
    source: Source,
    text: SpinLock<Option<KArc<KVVec<u8>>>>,
}

/// Collects a text; remembers that memory was short.
struct Collect {
    bytes: KVVec<u8>,
    is_short: bool,
}

impl fmt::Write for Collect {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let added = self.bytes.extend_from_slice(text.as_bytes(), Gfp::GFP_KERNEL);
        added.map_err(|_| {
            self.is_short = true;
            fmt::Error
        })
    }
}

impl From<FsError> for Errno {
    fn from(error: FsError) -> Self {
        match error {
            FsError::NotFound => Self::ENOENT,
            FsError::IsADirectory => Self::EISDIR,
            FsError::NotADirectory => Self::ENOTDIR,
            FsError::PermissionDenied => Self::EACCES,
            FsError::InvalidArgument => Self::EINVAL,
            FsError::OutOfMemory => Self::ENOMEM,
            FsError::Busy => Self::EBUSY,
            FsError::Output => Self::EIO,
        }
    }
}

impl TextFile {
    pub fn new(source: Source) -> Self {
        Self { source, text: SpinLock::new(Rank::Vfs, None) }
    }

    fn make(&self) -> Result<KArc<KVVec<u8>>, Errno> {
        let mut out = Collect { bytes: KVVec::new(), is_short: false };
        let written = match self.source {
            Source::File(file, of) => (file.show)(of, &mut out).map_err(|_| Errno::EIO),
            Source::Pid(pid, show, _) => show(pid, &mut out),
            Source::Plain(show) => show(&mut out).map_err(|_| Errno::EIO),
        };
        if out.is_short {
            return Err(Errno::ENOMEM);
        }
        written?;
        Ok(KArc::new(out.bytes, Gfp::GFP_KERNEL)?)
    }
}

impl FileOps for TextFile {
    fn read(&self, _: &OpenFile, pos: &mut u64, sink: &mut dyn IoSink) -> Result<usize, Errno> {
        let kept = with_masked(|irq| self.text.lock(irq).clone());
        let text = match kept {
            Some(text) if *pos > 0 => text,
            _ => {
                let text = self.make()?;
                let new = Some(text.clone());
                let _old = with_masked(|irq| core::mem::replace(&mut *self.text.lock(irq), new));
                text
            }
        };
        let from = usize::try_from(*pos).unwrap_or(usize::MAX).min(text.len());
        let len = (text.len() - from).min(sink.remaining());
        let put = sink.put(&text[from..][..len]);
        if put == 0 && len > 0 {
            return Err(Errno::EFAULT);
        }
        *pos += put as u64;
        Ok(put)
    }

    fn write(
        &self,
        _: &OpenFile,
        pos: &mut u64,
        source: &mut dyn IoSource,
        _: u64,
    ) -> Result<usize, Errno> {
        let len = source.remaining();
        if len >= STORE_MAX {
            return Err(Errno::EINVAL);
        }
        let mut bytes = KVVec::from_elem(0, len, Gfp::GFP_KERNEL)?;
        if source.take(bytes.as_mut_slice()) < len {
            return Err(Errno::EFAULT);
        }
        let text = core::str::from_utf8(&bytes).map_err(|_| Errno::EINVAL)?.trim_ascii_end();
        match self.source {
            Source::File(file, of) => match file.store {
                Some(Store::One(store)) => store(text)?,
                Some(Store::Of(store)) => store(of, text)?,
                None => return Err(Errno::EACCES),
            },
            Source::Pid(pid, _, Some(store)) => store(pid, text)?,
            Source::Pid(..) | Source::Plain(_) => return Err(Errno::EACCES),
        }
        *pos += len as u64;
        Ok(len)
    }

    fn llseek(&self, _: &OpenFile, pos: u64, offset: i64, whence: Whence) -> Result<u64, Errno> {
        let base = match whence {
            Whence::Set => 0,
            Whence::Current => pos as i64,
            // A text has no end before it is read.
            _ => return Err(Errno::EINVAL),
        };
        base.checked_add(offset).and_then(|to| u64::try_from(to).ok()).ok_or(Errno::EINVAL)
    }
}
