//! Reading, writing and positions (Linux: fs/read_write.c, fs/readdir.c).
#![deny(unsafe_code)]

use super::stat::{DIRENT_MAX, dirent64};
use super::{Caller, FileType, Iattr, May, OpenFile, Whence};
use crate::addr::PAGE_SIZE;
use crate::arch::uaccess::{IoSink, IoSource, KernelSink};
use crate::errno::Errno;
use crate::mm::alloc::{KArc, KVec};
use crate::mm::gfp::Gfp;
use crate::sched::cond_resched;
use linux_raw_sys::general::{SEEK_CUR, SEEK_DATA, SEEK_END, SEEK_HOLE, SEEK_SET};

/// The most bytes that a call moves (Linux: MAX_RW_COUNT).
pub const MAX_RW_COUNT: usize = i32::MAX as usize & !(PAGE_SIZE - 1);

/// A file that is open for reading.
fn readable(caller: &Caller<'_>, fd: i32) -> Result<KArc<OpenFile>, Errno> {
    let file = caller.files.get(fd)?;
    if !file.is_open_for(May::READ) {
        return Err(Errno::EBADF);
    }
    if file.file_type() == FileType::Directory { Err(Errno::EISDIR) } else { Ok(file) }
}

/// A file that is open for writing.
fn writable(caller: &Caller<'_>, fd: i32) -> Result<KArc<OpenFile>, Errno> {
    let file = caller.files.get(fd)?;
    if file.is_open_for(May::WRITE) { Ok(file) } else { Err(Errno::EBADF) }
}

/// A position that a caller gave.
fn position(file: &OpenFile, at: i64) -> Result<u64, Errno> {
    let at = u64::try_from(at).map_err(|_| Errno::EINVAL)?;
    if file.ops().is_stream() { Err(Errno::ESPIPE) } else { Ok(at) }
}

/// Reads from a file's position on, which moves. Process context.
///
/// # Errors
/// Those of read(2).
pub fn read(caller: &Caller<'_>, fd: i32, sink: &mut dyn IoSink) -> Result<usize, Errno> {
    let file = readable(caller, fd)?;
    let (_lock, mut pos) = file.lock_pos();
    let done = file.ops().read(&file, &mut pos, sink)?;
    file.set_pos(pos);
    Ok(done)
}

/// Reads from position `at` on. Process context.
///
/// # Errors
/// Those of pread(2).
pub fn pread(caller: &Caller<'_>, fd: i32, sink: &mut dyn IoSink, at: i64) -> Result<usize, Errno> {
    if at < 0 {
        return Err(Errno::EINVAL);
    }
    let file = readable(caller, fd)?;
    let mut pos = position(&file, at)?;
    file.ops().read(&file, &mut pos, sink)
}

/// Writes at a file's position, which moves. Process context.
///
/// # Errors
/// Those of write(2). `EFBIG` is for the caller to send SIGXFSZ with where its limit was met.
pub fn write(caller: &Caller<'_>, fd: i32, source: &mut dyn IoSource) -> Result<usize, Errno> {
    let file = writable(caller, fd)?;
    let (_lock, mut pos) = file.lock_pos();
    let done = write_file(caller, &file, &mut pos, source)?;
    file.set_pos(pos);
    Ok(done)
}

/// Writes at position `at`. Process context.
///
/// # Errors
/// Those of pwrite(2).
pub fn pwrite(
    caller: &Caller<'_>,
    fd: i32,
    source: &mut dyn IoSource,
    at: i64,
) -> Result<usize, Errno> {
    if at < 0 {
        return Err(Errno::EINVAL);
    }
    let file = writable(caller, fd)?;
    let mut pos = position(&file, at)?;
    write_file(caller, &file, &mut pos, source)
}

fn write_file(
    caller: &Caller<'_>,
    file: &OpenFile,
    pos: &mut u64,
    source: &mut dyn IoSource,
) -> Result<usize, Errno> {
    let owner = file.inode().owner();
    if source.remaining() > 0
        && owner.file_type() == FileType::Regular
        && let Some(mode) = caller.cred.remove_privs(owner.mode)
    {
        file.inode().setattr(&Iattr { mode: Some(mode), ..Iattr::default() })?;
    }
    file.ops().write(file, pos, source, caller.limits.fsize)
}

/// Moves a file's position and returns it.
///
/// # Errors
/// Those of lseek(2).
pub fn lseek(caller: &Caller<'_>, fd: i32, offset: i64, whence: u32) -> Result<u64, Errno> {
    let file = caller.files.get(fd)?;
    let whence = match whence {
        SEEK_SET => Whence::Set,
        SEEK_CUR => Whence::Current,
        SEEK_END => Whence::End,
        SEEK_DATA => Whence::Data,
        SEEK_HOLE => Whence::Hole,
        _ => return Err(Errno::EINVAL),
    };
    if file.ops().is_stream() {
        return Err(Errno::ESPIPE);
    }
    let (_lock, pos) = file.lock_pos();
    let to = file.ops().llseek(&file, pos, offset, whence)?;
    file.set_pos(to);
    Ok(to)
}

/// Fills `sink` with records of a directory's entries, and returns the number of bytes. Process
/// context (Linux: getdents64).
///
/// # Errors
/// Those of getdents64(2): `EINVAL` where not one record fits.
pub fn getdents64(caller: &Caller<'_>, fd: i32, sink: &mut dyn IoSink) -> Result<usize, Errno> {
    let file = caller.files.get(fd)?;
    if file.file_type() != FileType::Directory {
        return Err(Errno::ENOTDIR);
    }
    let (_lock, mut pos) = file.lock_pos();
    let (mut done, mut failed) = (0, None);
    let mut record = [0; DIRENT_MAX];
    let result = file.ops().iterate(&file, &mut pos, &mut |entry| {
        let len = dirent64(entry, &mut record);
        if sink.remaining() < len {
            failed = Some(Errno::EINVAL);
            return false;
        }
        if sink.put(&record[..len]) < len {
            failed = Some(Errno::EFAULT);
            return false;
        }
        done += len;
        true
    });
    file.set_pos(pos);
    match (result, failed) {
        _ if done > 0 => Ok(done),
        (Err(why), _) | (Ok(()), Some(why)) => Err(why),
        (Ok(()), None) => Ok(0),
    }
}

/// Copies up to `count` bytes from one file to another: from `at` on, which moves, or from the
/// file's own position. Process context (Linux: do_sendfile).
///
/// # Errors
/// Those of sendfile(2).
pub fn sendfile(
    caller: &Caller<'_>,
    out_fd: i32,
    in_fd: i32,
    at: Option<&mut i64>,
    count: usize,
) -> Result<usize, Errno> {
    let from = readable(caller, in_fd)?;
    let to = writable(caller, out_fd)?;
    if to.flags() & linux_raw_sys::general::O_APPEND != 0 {
        return Err(Errno::EINVAL);
    }
    if from.ops().is_stream() {
        return Err(if at.is_some() { Errno::ESPIPE } else { Errno::EINVAL });
    }
    let start = match &at {
        Some(at) => u64::try_from(**at).map_err(|_| Errno::EINVAL)?,
        None => from.lock_pos().1,
    };
    let mut buffer = KVec::from_elem(0, PAGE_SIZE, Gfp::GFP_KERNEL)?;
    let count = count.min(MAX_RW_COUNT);
    let (mut pos, mut done, mut failed) = (start, 0, None);
    while done < count {
        let len = buffer.len().min(count - done);
        let mut sink = KernelSink::new(&mut buffer.as_mut_slice()[..len]);
        let mut next = pos;
        let read = match from.ops().read(&from, &mut next, &mut sink) {
            Ok(0) => break,
            Ok(read) => read,
            Err(why) => {
                failed = Some(why);
                break;
            }
        };
        let mut source = &buffer[..read];
        let written = {
            let (_lock, mut out_pos) = to.lock_pos();
            let written = write_file(caller, &to, &mut out_pos, &mut source);
            to.set_pos(out_pos);
            written
        };
        match written {
            Ok(written) => {
                done += written;
                pos += written as u64;
                if written < read {
                    break;
                }
            }
            Err(why) => {
                failed = Some(why);
                break;
            }
        }
        cond_resched();
    }
    match at {
        Some(at) => *at = pos as i64,
        None => from.set_pos(pos),
    }
    match failed {
        Some(why) if done == 0 => Err(why),
        _ => Ok(done),
    }
}
