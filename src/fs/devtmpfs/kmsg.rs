//! `/dev/kmsg`: the kernel's log (Linux: kernel/printk/printk.c, devkmsg_read).
#![deny(unsafe_code)]

use crate::arch::irq::with_masked;
use crate::arch::uaccess::{IoSink, IoSource};
use crate::drivers::console;
use crate::errno::Errno;
use crate::fs::vfs::{FileOps, OpenFile, Whence};
use crate::sched::{fatal_signal_pending, msleep};
use crate::sync::{Rank, SpinLock};
use arrayvec::{ArrayString, ArrayVec};
use core::fmt::Write;
use linux_raw_sys::general::O_NONBLOCK;
use log::info;

/// Bytes of the longest line that is read or written; the rest is left out.
const LINE: usize = 1024;
/// Milliseconds between looks at the log, for who waits for the next line.
const POLL_MS: u64 = 20;

/// An open `/dev/kmsg`: where it has read the log up to.
pub(super) struct Kmsg {
    next: SpinLock<Next>,
}

#[derive(Clone, Copy)]
struct Next {
    /// Byte of the log.
    from: usize,
    /// Number of the line.
    line: u64,
}

impl Kmsg {
    /// Begins with the oldest line that is kept.
    pub const fn new() -> Self {
        Self { next: SpinLock::new(Rank::Vfs, Next { from: 0, line: 0 }) }
    }

    /// The next whole line, and where the one behind it begins.
    fn line(from: usize) -> Option<(ArrayVec<u8, LINE>, usize)> {
        let mut bytes = [0; LINE];
        let (count, end) = console::read_log(from, &mut bytes);
        let begin = end - count;
        let len = bytes[..count].iter().position(|&byte| byte == b'\n').or({
            // A line that is longer than the buffer ends where that does.
            if count == LINE { Some(count - 1) } else { None }
        })?;
        Some((bytes[..len].iter().copied().collect(), begin + len + 1))
    }
}

impl FileOps for Kmsg {
    fn read(&self, file: &OpenFile, _: &mut u64, sink: &mut dyn IoSink) -> Result<usize, Errno> {
        let next = with_masked(|irq| *self.next.lock(irq));
        let (line, behind) = loop {
            match Self::line(next.from) {
                Some(line) => break line,
                None if file.flags() & O_NONBLOCK != 0 => return Err(Errno::EAGAIN),
                None if fatal_signal_pending() => return Err(Errno::EINTR),
                None => msleep(POLL_MS),
            }
        };
        // Level, number and microseconds of a record.
        let text = core::str::from_utf8(&line).unwrap_or("");
        let (stamp, text) =
            text.strip_prefix('[').and_then(|rest| rest.split_once("] ")).unwrap_or(("", text));
        let (sec, us) = stamp.trim().split_once('.').unwrap_or(("0", "0"));
        let micros = sec.parse::<u64>().unwrap_or(0) * 1_000_000 + us.parse::<u64>().unwrap_or(0);
        let level = match text {
            _ if text.starts_with("error: ") => 3,
            _ if text.starts_with("warning: ") => 4,
            _ => 6,
        };
        let mut record = ArrayString::<{ LINE + 64 }>::new();
        let _fits = writeln!(record, "{level},{},{micros},-;{text}", next.line);
        if record.len() > sink.remaining() {
            return Err(Errno::EINVAL);
        }
        if sink.put(record.as_bytes()) < record.len() {
            return Err(Errno::EFAULT);
        }
        let line = next.line + 1;
        with_masked(|irq| *self.next.lock(irq) = Next { from: behind, line });
        Ok(record.len())
    }

    fn write(
        &self,
        _: &OpenFile,
        _: &mut u64,
        source: &mut dyn IoSource,
        _: u64,
    ) -> Result<usize, Errno> {
        let len = source.remaining();
        if len >= LINE {
            return Err(Errno::EINVAL);
        }
        let mut bytes = [0; LINE];
        if source.take(&mut bytes[..len]) < len {
            return Err(Errno::EFAULT);
        }
        // A level in angle brackets is for a log with levels.
        let text = core::str::from_utf8(&bytes[..len]).map_err(|_| Errno::EINVAL)?;
        let text = match text.strip_prefix('<').and_then(|rest| rest.split_once('>')) {
            Some((level, rest)) if level.parse::<u32>().is_ok() => rest,
            _ => text,
        };
        info!("{}", text.trim_end_matches('\n'));
        Ok(len)
    }

    fn llseek(&self, _: &OpenFile, _: u64, offset: i64, whence: Whence) -> Result<u64, Errno> {
        match (whence, offset) {
            (Whence::Set | Whence::Data, 0) => {
                with_masked(|irq| *self.next.lock(irq) = Next { from: 0, line: 0 });
                Ok(0)
            }
            (Whence::End, 0) => {
                while let next = with_masked(|irq| *self.next.lock(irq))
                    && let Some((_, from)) = Self::line(next.from)
                {
                    let line = next.line + 1;
                    with_masked(|irq| *self.next.lock(irq) = Next { from, line });
                }
                Ok(0)
            }
            (_, 0) => Err(Errno::EINVAL),
            _ => Err(Errno::ESPIPE),
        }
    }
}
