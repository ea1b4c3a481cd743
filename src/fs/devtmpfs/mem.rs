//! Devices that have no hardware (Linux: drivers/char/mem.c, drivers/char/random.c).
#![deny(unsafe_code)]

use crate::arch::uaccess::{IoSink, IoSource};
#[cfg(target_os = "none")]
use crate::drivers::random;
use crate::errno::Errno;
use crate::fs::vfs::{FileOps, Mmap, OpenFile, Whence};
use crate::sched::{cond_resched, fatal_signal_pending};

/// Bytes that are moved before others get the CPU.
const PART: usize = 4096;

/// Takes all of `source` and has `f` look at it.
#[cfg(target_os = "none")]
fn drain(source: &mut dyn IoSource, mut f: impl FnMut(&[u8])) -> Result<usize, Errno> {
    let mut done = 0;
    let mut bytes = [0; 256];
    while source.remaining() > 0 {
        let taken = source.take(&mut bytes);
        f(&bytes[..taken]);
        done += taken;
        if taken == 0 {
            return if done == 0 { Err(Errno::EFAULT) } else { Ok(done) };
        }
        cond_resched();
    }
    Ok(done)
}

/// Fills `sink` by `f`, which puts up to so many bytes.
fn fill(
    sink: &mut dyn IoSink,
    mut f: impl FnMut(&mut dyn IoSink, usize) -> usize,
) -> Result<usize, Errno> {
    let mut done = 0;
    while sink.remaining() > 0 {
        let part = sink.remaining().min(PART);
        let put = f(sink, part);
        done += put;
        if put < part {
            return if done == 0 { Err(Errno::EFAULT) } else { Ok(done) };
        }
        if fatal_signal_pending() {
            break;
        }
        cond_resched();
    }
    Ok(done)
}

/// The position of a device that has none (Linux: null_lseek).
fn null_lseek() -> Result<u64, Errno> {
    Ok(0)
}

/// `/dev/null`
pub(super) struct Null;

impl FileOps for Null {
    fn read(&self, _: &OpenFile, _: &mut u64, _: &mut dyn IoSink) -> Result<usize, Errno> {
        Ok(0)
    }
    fn write(
        &self,
        _: &OpenFile,
        _: &mut u64,
        source: &mut dyn IoSource,
        _: u64,
    ) -> Result<usize, Errno> {
        // What is thrown away need not be there.
        Ok(source.remaining())
    }
    fn llseek(&self, _: &OpenFile, _: u64, _: i64, _: Whence) -> Result<u64, Errno> {
        null_lseek()
    }
}

/// `/dev/zero`
pub(super) struct Zero;

impl FileOps for Zero {
    fn read(&self, _: &OpenFile, _: &mut u64, sink: &mut dyn IoSink) -> Result<usize, Errno> {
        fill(sink, |sink, len| sink.put_zeros(len))
    }
    fn write(
        &self,
        _: &OpenFile,
        _: &mut u64,
        source: &mut dyn IoSource,
        _: u64,
    ) -> Result<usize, Errno> {
        Ok(source.remaining())
    }
    fn llseek(&self, _: &OpenFile, _: u64, _: i64, _: Whence) -> Result<u64, Errno> {
        null_lseek()
    }
    fn mmap(&self, _: &OpenFile) -> Result<Mmap, Errno> {
        Ok(Mmap::Zero)
    }
}

/// `/dev/full`
pub(super) struct Full;

impl FileOps for Full {
    fn read(&self, _: &OpenFile, _: &mut u64, sink: &mut dyn IoSink) -> Result<usize, Errno> {
        fill(sink, |sink, len| sink.put_zeros(len))
    }
    fn write(
        &self,
        _: &OpenFile,
        _: &mut u64,
        _: &mut dyn IoSource,
        _: u64,
    ) -> Result<usize, Errno> {
        Err(Errno::ENOSPC)
    }
    fn llseek(&self, _: &OpenFile, _: u64, _: i64, _: Whence) -> Result<u64, Errno> {
        null_lseek()
    }
}

/// `/dev/random` and `/dev/urandom`. What is written is mixed into the generator's state.
#[cfg(target_os = "none")]
pub(super) struct Random;

#[cfg(target_os = "none")]
impl FileOps for Random {
    fn read(&self, _: &OpenFile, _: &mut u64, sink: &mut dyn IoSink) -> Result<usize, Errno> {
        let mut bytes = [0; 256];
        fill(sink, |sink, len| {
            let mut done = 0;
            while done < len {
                let part = bytes.len().min(len - done);
                random::get_random_bytes(&mut bytes[..part]);
                let put = sink.put(&bytes[..part]);
                done += put;
                if put < part {
                    break;
                }
            }
            done
        })
    }
    fn write(
        &self,
        _: &OpenFile,
        _: &mut u64,
        source: &mut dyn IoSource,
        _: u64,
    ) -> Result<usize, Errno> {
        drain(source, random::add_bootloader_randomness)
    }
    fn llseek(&self, _: &OpenFile, pos: u64, _: i64, _: Whence) -> Result<u64, Errno> {
        Ok(pos)
    }
}
