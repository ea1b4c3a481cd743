//! Open files, their contents and their attributes (Linux: fs/read_write.c, fs/open.c, fs/stat.c,
//! fs/fcntl.c, fs/ioctl.c).

use super::path::read_path;
use super::{Args, get, put};
use crate::addr::UserAddr;
use crate::arch::uaccess::{UserBuffers, UserPtr, UserSlice};
use crate::errno::Errno;
use crate::fs::vfs::{self, Caller, MAX_RW_COUNT};
use crate::mm::alloc::KVec;
use crate::mm::gfp::Gfp;
use crate::user::process::Process;
use linux_raw_sys::general as abi;

/// Flags of close_range (Linux: include/uapi/linux/close_range.h).
const CLOSE_RANGE_UNSHARE: u32 = 1 << 1;
const CLOSE_RANGE_CLOEXEC: u32 = 1 << 2;

/// Most buffers of one call.
const UIO_MAXIOV: usize = 1024;

/// The `len` bytes at argument `n`, for a call on `fd`, which is looked at first.
fn buffer(
    caller: &Caller<'_>,
    fd: i32,
    args: &Args,
    n: usize,
    len: u64,
) -> Result<UserSlice, Errno> {
    let slice = args.slice(n, len as usize);
    if slice.is_err() {
        caller.files.get(fd)?;
    }
    let slice = slice?;
    Ok(slice.split_at(slice.len().min(MAX_RW_COUNT)).map_or(slice, |(first, _)| first))
}

/// The buffers that an array of `struct iovec` at argument 1 names (Linux: import_iovec).
fn buffers(caller: &Caller<'_>, fd: i32, args: &Args) -> Result<KVec<UserSlice>, Errno> {
    caller.files.get(fd)?;
    let count = args.get(2) as usize;
    if count > UIO_MAXIOV {
        return Err(Errno::EINVAL);
    }
    let array = args.ptr::<[u64; 2]>(1);
    let mut buffers = KVec::with_capacity(count, Gfp::GFP_KERNEL)?;
    let mut left = MAX_RW_COUNT;
    for n in 0..count {
        let at: UserPtr<[u64; 2]> = array?.offset(n).ok_or(Errno::EFAULT)?;
        let [base, len] = get(at)?;
        if (len as i64) < 0 {
            return Err(Errno::EINVAL);
        }
        // All of it must be the user's, though no more is used than a call may move.
        let start = super::user_addr(base)?;
        UserSlice::from_size(start, len as usize)?;
        let len = left.min(len as usize);
        left -= len;
        buffers.push(UserSlice::from_size(start, len)?, Gfp::GFP_KERNEL)?;
    }
    Ok(buffers)
}

pub(super) fn read(process: &Process, args: &Args) -> Result<u64, Errno> {
    process.with_caller(|caller| {
        let fd = args.int(0);
        let to = [buffer(caller, fd, args, 1, args.get(2))?];
        Ok(vfs::read(caller, fd, &mut UserBuffers::new(&to))? as u64)
    })
}

pub(super) fn write(process: &Process, args: &Args) -> Result<u64, Errno> {
    process.with_caller(|caller| {
        let fd = args.int(0);
        let from = [buffer(caller, fd, args, 1, args.get(2))?];
        Ok(vfs::write(caller, fd, &mut UserBuffers::new(&from))? as u64)
    })
}

pub(super) fn pread64(process: &Process, args: &Args) -> Result<u64, Errno> {
    process.with_caller(|caller| {
        let fd = args.int(0);
        let at = position(args.get(3))?;
        let to = [buffer(caller, fd, args, 1, args.get(2))?];
        Ok(vfs::pread(caller, fd, &mut UserBuffers::new(&to), at)? as u64)
    })
}

pub(super) fn pwrite64(process: &Process, args: &Args) -> Result<u64, Errno> {
    process.with_caller(|caller| {
        let fd = args.int(0);
        let at = position(args.get(3))?;
        let from = [buffer(caller, fd, args, 1, args.get(2))?];
        Ok(vfs::pwrite(caller, fd, &mut UserBuffers::new(&from), at)? as u64)
    })
}

/// A position in a file, which is not negative.
fn position(value: u64) -> Result<i64, Errno> {
    i64::try_from(value).map_err(|_| Errno::EINVAL)
}

pub(super) fn readv(process: &Process, args: &Args) -> Result<u64, Errno> {
    process.with_caller(|caller| {
        let fd = args.int(0);
        let buffers = buffers(caller, fd, args)?;
        Ok(vfs::read(caller, fd, &mut UserBuffers::new(&buffers))? as u64)
    })
}

pub(super) fn writev(process: &Process, args: &Args) -> Result<u64, Errno> {
    process.with_caller(|caller| {
        let fd = args.int(0);
        let buffers = buffers(caller, fd, args)?;
        Ok(vfs::write(caller, fd, &mut UserBuffers::new(&buffers))? as u64)
    })
}

pub(super) fn preadv(process: &Process, args: &Args) -> Result<u64, Errno> {
    process.with_caller(|caller| {
        let fd = args.int(0);
        let at = position(args.get(3))?;
        let buffers = buffers(caller, fd, args)?;
        Ok(vfs::pread(caller, fd, &mut UserBuffers::new(&buffers), at)? as u64)
    })
}

pub(super) fn pwritev(process: &Process, args: &Args) -> Result<u64, Errno> {
    process.with_caller(|caller| {
        let fd = args.int(0);
        let at = position(args.get(3))?;
        let buffers = buffers(caller, fd, args)?;
        Ok(vfs::pwrite(caller, fd, &mut UserBuffers::new(&buffers), at)? as u64)
    })
}

pub(super) fn lseek(process: &Process, args: &Args) -> Result<u64, Errno> {
    process.with_caller(|caller| vfs::lseek(caller, args.int(0), args.get(1) as i64, args.uint(2)))
}

pub(super) fn sendfile(process: &Process, args: &Args) -> Result<u64, Errno> {
    process.with_caller(|caller| {
        let (out, from, count) = (args.int(0), args.int(1), args.get(3) as usize);
        let Some(pointer) = args.ptr_or_null::<i64>(2)? else {
            return Ok(vfs::sendfile(caller, out, from, None, count)? as u64);
        };
        let mut at = get(pointer)?;
        let result = vfs::sendfile(caller, out, from, Some(&mut at), count);
        put(pointer, at)?;
        Ok(result? as u64)
    })
}

pub(super) fn getdents64(process: &Process, args: &Args) -> Result<u64, Errno> {
    process.with_caller(|caller| {
        let fd = args.int(0);
        let to = [buffer(caller, fd, args, 1, args.uint(2).into())?];
        Ok(vfs::getdents64(caller, fd, &mut UserBuffers::new(&to))? as u64)
    })
}

pub(super) fn openat(process: &Process, args: &Args) -> Result<u64, Errno> {
    let path = read_path(args.get(1))?;
    process.with_caller(|caller| {
        Ok(vfs::openat(caller, args.int(0), &path, args.uint(2), args.uint(3))?.into())
    })
}

pub(super) fn close(process: &Process, args: &Args) -> Result<u64, Errno> {
    process.with_caller(|caller| vfs::close(caller, args.int(0)).map(|()| 0))
}

pub(super) fn close_range(process: &Process, args: &Args) -> Result<u64, Errno> {
    let (first, last, flags) = (args.uint(0), args.uint(1), args.uint(2));
    if flags & !(CLOSE_RANGE_UNSHARE | CLOSE_RANGE_CLOEXEC) != 0 || first > last {
        return Err(Errno::EINVAL);
    }
    process.with_caller(|caller| {
        caller.files.close_range(first, last, flags & CLOSE_RANGE_CLOEXEC != 0);
        Ok(0)
    })
}

pub(super) fn dup(process: &Process, args: &Args) -> Result<u64, Errno> {
    process.with_caller(|caller| Ok(vfs::dup(caller, args.int(0))?.into()))
}

pub(super) fn dup3(process: &Process, args: &Args) -> Result<u64, Errno> {
    process
        .with_caller(|caller| Ok(vfs::dup3(caller, args.int(0), args.int(1), args.uint(2))?.into()))
}

pub(super) fn fcntl(process: &Process, args: &Args) -> Result<u64, Errno> {
    process.with_caller(|caller| vfs::fcntl(caller, args.int(0), args.uint(1), args.get(2)))
}

pub(super) fn ioctl(process: &Process, args: &Args) -> Result<u64, Errno> {
    process.with_caller(|caller| {
        vfs::ioctl(caller, args.int(0), args.uint(1), UserAddr::new(args.get(2) as usize))
    })
}

/// Writes a structure's bytes to argument `n`.
fn put_bytes(args: &Args, n: usize, bytes: &[u8]) -> Result<u64, Errno> {
    args.slice(n, bytes.len())?.copy_from(bytes)?;
    Ok(0)
}

pub(super) fn newfstatat(process: &Process, args: &Args) -> Result<u64, Errno> {
    let path = read_path(args.get(1))?;
    let stat =
        process.with_caller(|caller| vfs::fstatat(caller, args.int(0), &path, args.uint(3)))?;
    put_bytes(args, 2, &stat.to_stat())
}

pub(super) fn fstat(process: &Process, args: &Args) -> Result<u64, Errno> {
    let stat = process.with_caller(|caller| vfs::fstat(caller, args.int(0)))?;
    put_bytes(args, 1, &stat.to_stat())
}

pub(super) fn statx(process: &Process, args: &Args) -> Result<u64, Errno> {
    let path = read_path(args.get(1))?;
    let stat = process
        .with_caller(|caller| vfs::statx(caller, args.int(0), &path, args.uint(2), args.uint(3)))?;
    put_bytes(args, 4, &stat.to_statx())
}

pub(super) fn statfs(process: &Process, args: &Args) -> Result<u64, Errno> {
    let path = read_path(args.get(0))?;
    let stat = process.with_caller(|caller| vfs::statfs(caller, &path))?;
    put_bytes(args, 1, &stat.to_statfs())
}

pub(super) fn fstatfs(process: &Process, args: &Args) -> Result<u64, Errno> {
    let stat = process.with_caller(|caller| vfs::fstatfs(caller, args.int(0)))?;
    put_bytes(args, 1, &stat.to_statfs())
}

pub(super) fn ftruncate(process: &Process, args: &Args) -> Result<u64, Errno> {
    process
        .with_caller(|caller| vfs::ftruncate(caller, args.int(0), args.get(1) as i64).map(|()| 0))
}

pub(super) fn fallocate(process: &Process, args: &Args) -> Result<u64, Errno> {
    process.with_caller(|caller| {
        let (at, len) = (args.get(2) as i64, args.get(3) as i64);
        vfs::fallocate(caller, args.int(0), args.uint(1), at, len).map(|()| 0)
    })
}

pub(super) fn fsync(process: &Process, args: &Args) -> Result<u64, Errno> {
    process.with_caller(|caller| vfs::fsync(caller, args.int(0)).map(|()| 0))
}

/// sync: nothing is on its way to a disk.
pub(super) fn sync(_: &Process, _: &Args) -> Result<u64, Errno> {
    Ok(0)
}

/// fadvise64: advice about files that are in memory anyway.
pub(super) fn fadvise64(process: &Process, args: &Args) -> Result<u64, Errno> {
    process.with_caller(|caller| caller.files.get(args.int(0)).map(drop))?;
    if (args.get(2) as i64) < 0 || args.uint(3) > abi::POSIX_FADV_NOREUSE {
        return Err(Errno::EINVAL);
    }
    Ok(0)
}

pub(super) fn fchmod(process: &Process, args: &Args) -> Result<u64, Errno> {
    process.with_caller(|caller| vfs::fchmod(caller, args.int(0), args.uint(1)).map(|()| 0))
}

pub(super) fn fchown(process: &Process, args: &Args) -> Result<u64, Errno> {
    process.with_caller(|caller| {
        vfs::fchown(caller, args.int(0), args.uint(1), args.uint(2)).map(|()| 0)
    })
}

pub(super) fn umask(process: &Process, args: &Args) -> Result<u64, Errno> {
    process.with_caller(|caller| Ok(caller.fs.set_umask(args.uint(0)).into()))
}
