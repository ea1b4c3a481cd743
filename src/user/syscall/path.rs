//! Names of files (Linux: fs/namei.c, fs/open.c, fs/stat.c, fs/utimes.c, fs/d_path.c).

use super::{Args, get, user_addr};
use crate::addr::TASK_SIZE;
use crate::arch::uaccess::{UserBuffers, UserSlice};
use crate::errno::Errno;
use crate::fs::mounts;
use crate::fs::vfs::{self, NewTime, PATH_MAX};
use crate::mm::alloc::KVec;
use crate::mm::gfp::Gfp;
use crate::user::process::Process;
use linux_raw_sys::general as abi;

/// Copies a path from the program, without the zero at its end (Linux: getname).
pub(super) fn read_path(pointer: u64) -> Result<KVec<u8>, Errno> {
    let start = user_addr(pointer)?;
    let max = PATH_MAX.min(TASK_SIZE - start.get());
    let string = UserSlice::from_size(start, max)?;
    let len = string.strnlen()?;
    if len == max {
        return Err(if max == PATH_MAX { Errno::ENAMETOOLONG } else { Errno::EFAULT });
    }
    let mut path = KVec::from_elem(0, len, Gfp::GFP_KERNEL)?;
    let (string, _) = string.split_at(len).ok_or(Errno::EFAULT)?;
    string.copy_to(&mut path)?;
    // The program may have changed it meanwhile.
    let end = path.iter().position(|&byte| byte == 0).unwrap_or(len);
    path.truncate(end);
    Ok(path)
}

pub(super) fn mkdirat(process: &Process, args: &Args) -> Result<u64, Errno> {
    let path = read_path(args.get(1))?;
    process.with_caller(|caller| vfs::mkdirat(caller, args.int(0), &path, args.uint(2)).map(|()| 0))
}

pub(super) fn mknodat(process: &Process, args: &Args) -> Result<u64, Errno> {
    let path = read_path(args.get(1))?;
    process.with_caller(|caller| {
        let dev = args.uint(3).into();
        vfs::mknodat(caller, args.int(0), &path, args.uint(2), dev).map(|()| 0)
    })
}

pub(super) fn unlinkat(process: &Process, args: &Args) -> Result<u64, Errno> {
    let path = read_path(args.get(1))?;
    process
        .with_caller(|caller| vfs::unlinkat(caller, args.int(0), &path, args.uint(2)).map(|()| 0))
}

/// renameat2, and renameat, which has no flags.
fn rename(process: &Process, args: &Args, flags: u32) -> Result<u64, Errno> {
    let old = read_path(args.get(1))?;
    let new = read_path(args.get(3))?;
    process.with_caller(|caller| {
        vfs::renameat2(caller, args.int(0), &old, args.int(2), &new, flags).map(|()| 0)
    })
}

pub(super) fn renameat(process: &Process, args: &Args) -> Result<u64, Errno> {
    rename(process, args, 0)
}

pub(super) fn renameat2(process: &Process, args: &Args) -> Result<u64, Errno> {
    rename(process, args, args.uint(4))
}

pub(super) fn linkat(process: &Process, args: &Args) -> Result<u64, Errno> {
    let old = read_path(args.get(1))?;
    let new = read_path(args.get(3))?;
    process.with_caller(|caller| {
        vfs::linkat(caller, args.int(0), &old, args.int(2), &new, args.uint(4)).map(|()| 0)
    })
}

pub(super) fn symlinkat(process: &Process, args: &Args) -> Result<u64, Errno> {
    let target = read_path(args.get(0))?;
    let path = read_path(args.get(2))?;
    process.with_caller(|caller| vfs::symlinkat(caller, &target, args.int(1), &path).map(|()| 0))
}

pub(super) fn readlinkat(process: &Process, args: &Args) -> Result<u64, Errno> {
    if args.int(3) <= 0 {
        return Err(Errno::EINVAL);
    }
    let path = read_path(args.get(1))?;
    let to = [args.slice(2, args.int(3) as usize)?];
    process.with_caller(|caller| {
        Ok(vfs::readlinkat(caller, args.int(0), &path, &mut UserBuffers::new(&to))? as u64)
    })
}

/// faccessat2, and faccessat, which has no flags.
fn access(process: &Process, args: &Args, flags: u32) -> Result<u64, Errno> {
    let path = read_path(args.get(1))?;
    process.with_caller(|caller| {
        let (dirfd, mode) = (args.int(0), args.uint(2));
        vfs::faccessat(caller, caller.cred, dirfd, &path, mode, flags).map(|()| 0)
    })
}

pub(super) fn faccessat(process: &Process, args: &Args) -> Result<u64, Errno> {
    access(process, args, 0)
}

pub(super) fn faccessat2(process: &Process, args: &Args) -> Result<u64, Errno> {
    access(process, args, args.uint(3))
}

pub(super) fn fchmodat(process: &Process, args: &Args) -> Result<u64, Errno> {
    let path = read_path(args.get(1))?;
    process.with_caller(|caller| {
        vfs::fchmodat(caller, args.int(0), &path, args.uint(2), 0).map(|()| 0)
    })
}

pub(super) fn fchownat(process: &Process, args: &Args) -> Result<u64, Errno> {
    let path = read_path(args.get(1))?;
    process.with_caller(|caller| {
        let (uid, gid) = (args.uint(2), args.uint(3));
        vfs::fchownat(caller, args.int(0), &path, uid, gid, args.uint(4)).map(|()| 0)
    })
}

pub(super) fn utimensat(process: &Process, args: &Args) -> Result<u64, Errno> {
    let times = args.ptr_or_null::<[i64; 4]>(2)?.map(get).transpose()?;
    let times = times.map(|[asec, ansec, msec, mnsec]| {
        [NewTime { sec: asec, nsec: ansec }, NewTime { sec: msec, nsec: mnsec }]
    });
    let path = match args.get(1) {
        0 if args.int(0) == abi::AT_FDCWD => return Err(Errno::EFAULT),
        0 => None,
        pointer => Some(read_path(pointer)?),
    };
    process.with_caller(|caller| {
        vfs::utimensat(caller, args.int(0), path.as_deref(), times, args.uint(3)).map(|()| 0)
    })
}

pub(super) fn truncate(process: &Process, args: &Args) -> Result<u64, Errno> {
    let path = read_path(args.get(0))?;
    process.with_caller(|caller| vfs::truncate(caller, &path, args.get(1) as i64).map(|()| 0))
}

pub(super) fn chdir(process: &Process, args: &Args) -> Result<u64, Errno> {
    let path = read_path(args.get(0))?;
    process.with_caller(|caller| vfs::chdir(caller, &path).map(|()| 0))
}

pub(super) fn fchdir(process: &Process, args: &Args) -> Result<u64, Errno> {
    process.with_caller(|caller| vfs::fchdir(caller, args.int(0)).map(|()| 0))
}

pub(super) fn chroot(process: &Process, args: &Args) -> Result<u64, Errno> {
    let path = read_path(args.get(0))?;
    process.with_caller(|caller| vfs::chroot(caller, &path).map(|()| 0))
}

pub(super) fn getcwd(process: &Process, args: &Args) -> Result<u64, Errno> {
    let to = [args.slice(0, (args.get(1) as usize).min(PATH_MAX))?];
    process.with_caller(|caller| Ok(vfs::getcwd(caller, &mut UserBuffers::new(&to))? as u64))
}

/// A string of mount(2), which may be missing.
fn read_option(pointer: u64) -> Result<KVec<u8>, Errno> {
    if pointer == 0 { Ok(KVec::new()) } else { read_path(pointer) }
}

pub(super) fn mount(process: &Process, args: &Args) -> Result<u64, Errno> {
    let kind = read_option(args.get(2))?;
    let source = read_option(args.get(0))?;
    let options = read_option(args.get(4))?;
    let target = read_path(args.get(1))?;
    process.with_caller(|caller| {
        mounts::do_mount(caller, &source, &target, &kind, args.uint(3), &options).map(|()| 0)
    })
}

pub(super) fn umount2(process: &Process, args: &Args) -> Result<u64, Errno> {
    let target = read_path(args.get(0))?;
    process.with_caller(|caller| mounts::umount(caller, &target, args.uint(1)).map(|()| 0))
}
