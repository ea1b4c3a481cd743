//! Descriptors and directories of a process (Linux: fs/fcntl.c, fs/file.c, fs/open.c).
#![deny(unsafe_code)]

use super::{Caller, May, d_path, path_at};
use crate::addr::UserAddr;
use crate::arch::uaccess::IoSink;
use crate::errno::Errno;
use linux_raw_sys::general::{
    AT_FDCWD, F_DUPFD, F_DUPFD_CLOEXEC, F_GETFD, F_GETFL, F_SETFD, F_SETFL, FD_CLOEXEC, O_CLOEXEC,
    O_PATH,
};

/// Closes a descriptor.
///
/// # Errors
/// `EBADF`
pub fn close(caller: &Caller<'_>, fd: i32) -> Result<(), Errno> {
    caller.files.close(fd).map(drop)
}

/// Gives the file of a descriptor a further one.
///
/// # Errors
/// `EBADF`, `EMFILE`, `ENOMEM`.
pub fn dup(caller: &Caller<'_>, fd: i32) -> Result<u32, Errno> {
    let file = caller.files.get_raw(fd)?;
    caller.files.install(file, false, 0, caller.limits.nofile)
}

/// Gives the file of a descriptor the descriptor `new`, whose file is closed.
///
/// # Errors
/// Those of dup3(2).
pub fn dup3(caller: &Caller<'_>, old: i32, new: i32, flags: u32) -> Result<u32, Errno> {
    if flags & !O_CLOEXEC != 0 || old == new {
        return Err(Errno::EINVAL);
    }
    let new = u32::try_from(new).map_err(|_| Errno::EBADF)?;
    if u64::from(new) >= caller.limits.nofile {
        return Err(Errno::EBADF);
    }
    let file = caller.files.get_raw(old)?;
    caller.files.replace(new, file, flags & O_CLOEXEC != 0, caller.limits.nofile)?;
    Ok(new)
}

/// Operations on a descriptor. Those that are not here are `EINVAL`: locks, leases, owners.
///
/// # Errors
/// Those of fcntl(2).
pub fn fcntl(caller: &Caller<'_>, fd: i32, command: u32, arg: u64) -> Result<u64, Errno> {
    let (file, cloexec) = caller.files.get_with_flag(fd)?;
    let allowed_with_path =
        matches!(command, F_DUPFD | F_DUPFD_CLOEXEC | F_GETFD | F_SETFD) || command == F_GETFL;
    if file.flags() & O_PATH != 0 && !allowed_with_path {
        return Err(Errno::EBADF);
    }
    match command {
        F_DUPFD | F_DUPFD_CLOEXEC => {
            // The argument is as wide as a pointer, and a descriptor an int.
            let min = arg as u32;
            if u64::from(min) >= caller.limits.nofile {
                return Err(Errno::EINVAL);
            }
            let cloexec = command == F_DUPFD_CLOEXEC;
            caller.files.install(file, cloexec, min, caller.limits.nofile).map(u64::from)
        }
        F_GETFD => Ok(if cloexec { FD_CLOEXEC.into() } else { 0 }),
        F_SETFD => {
            caller.files.set_cloexec(fd, arg as u32 & FD_CLOEXEC != 0)?;
            Ok(0)
        }
        F_GETFL => Ok(file.flags().into()),
        F_SETFL => {
            file.set_status(arg as u32);
            Ok(0)
        }
        _ => Err(Errno::EINVAL),
    }
}

/// Control of a device.
///
/// # Errors
/// `EBADF`; `ENOTTY` for commands that the file doesn't know.
pub fn ioctl(
    caller: &Caller<'_>,
    fd: i32,
    command: u32,
    arg: Option<UserAddr>,
) -> Result<u64, Errno> {
    use linux_raw_sys::ioctl::{FIOCLEX, FIONCLEX};
    let file = caller.files.get(fd)?;
    match command {
        FIOCLEX | FIONCLEX => {
            caller.files.set_cloexec(fd, command == FIOCLEX)?;
            Ok(0)
        }
        _ => file.ops().ioctl(&file, command, arg),
    }
}

/// Makes the directory at a path the working directory. Process context.
///
/// # Errors
/// Those of chdir(2).
pub fn chdir(caller: &Caller<'_>, path: &[u8]) -> Result<(), Errno> {
    enter(caller, path).map(|dir| caller.fs.set_pwd(dir))
}

/// Makes the directory at a path the root. Process context.
///
/// # Errors
/// Those of chroot(2).
pub fn chroot(caller: &Caller<'_>, path: &[u8]) -> Result<(), Errno> {
    let dir = enter(caller, path)?;
    if !caller.cred.caps.has(linux_raw_sys::general::CAP_SYS_CHROOT) {
        return Err(Errno::EPERM);
    }
    caller.fs.set_root(dir);
    Ok(())
}

fn enter(caller: &Caller<'_>, path: &[u8]) -> Result<super::Path, Errno> {
    let dir = path_at(caller, AT_FDCWD, path, true, false)?;
    if !dir.dentry.is_dir() {
        return Err(Errno::ENOTDIR);
    }
    caller.cred.permission(dir.inode().owner(), May::EXEC)?;
    Ok(dir)
}

/// Makes an open directory the working directory.
///
/// # Errors
/// Those of fchdir(2).
pub fn fchdir(caller: &Caller<'_>, fd: i32) -> Result<(), Errno> {
    let file = caller.files.get_raw(fd)?;
    let dir = file.path();
    if !dir.dentry.is_dir() {
        return Err(Errno::ENOTDIR);
    }
    caller.cred.permission(dir.inode().owner(), May::EXEC)?;
    caller.fs.set_pwd(dir.clone());
    Ok(())
}

/// Copies the path of the working directory into `sink`, with a zero behind it, and returns the
/// number of bytes. Process context.
///
/// # Errors
/// Those of getcwd(2).
pub fn getcwd(caller: &Caller<'_>, sink: &mut dyn IoSink) -> Result<usize, Errno> {
    let pwd = caller.fs.pwd();
    if pwd.dentry.is_unlinked() {
        return Err(Errno::ENOENT);
    }
    let (path, reachable) = d_path(&pwd, Some(&caller.fs.root()))?;
    let prefix: &[u8] = if reachable { b"" } else { b"(unreachable)" };
    let len = prefix.len() + path.len() + 1;
    if len > sink.remaining() {
        return Err(Errno::ERANGE);
    }
    let copied = sink.put(prefix) + sink.put(&path) + sink.put_zeros(1);
    if copied < len { Err(Errno::EFAULT) } else { Ok(len) }
}
