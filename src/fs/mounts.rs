//! Mounting by name: the system calls, and what is mounted at boot (Linux: fs/namespace.c,
//! init/do_mounts.c).
#![deny(unsafe_code)]

use super::vfs::{Caller, Cred, FdTable, FileLimits, FsContext, Mount, MountFlags, mount};
use super::vfs::{mkdirat, path_at};
use super::{devtmpfs, pseudo, tmpfs};
use crate::errno::Errno;
use crate::mm::alloc::KArc;
use linux_raw_sys::general::{
    AT_FDCWD, CAP_SYS_ADMIN, MNT_DETACH, MNT_EXPIRE, MNT_FORCE, MS_BIND, MS_MOVE, MS_NODEV,
    MS_NOEXEC, MS_NOSUID, MS_RDONLY, MS_REMOUNT, UMOUNT_NOFOLLOW,
};

/// Makes a file system of a kind, mounted nowhere yet.
fn new_mount(
    kind: &[u8],
    source: &[u8],
    flags: MountFlags,
    options: &[u8],
) -> Result<KArc<Mount>, Errno> {
    let options = || {
        let text = core::str::from_utf8(options).map_err(|_| Errno::EINVAL)?;
        tmpfs::Options::parse(text)
    };
    match kind {
        b"tmpfs" => tmpfs::new_mount("tmpfs", source, options()?, flags),
        b"ramfs" => tmpfs::new_mount("tmpfs", source, tmpfs::Options::default(), flags),
        b"devtmpfs" => devtmpfs::new_mount(),
        b"proc" => pseudo::new_proc(source, flags),
        b"sysfs" => pseudo::new_sysfs(source, flags),
        _ => Err(Errno::ENODEV),
    }
}

/// Mounts a file system over the directory at `target`. Process context.
///
/// # Errors
/// Those of mount(2): `EPERM`, `ENODEV` for a kind that isn't known, `ENOTDIR`, `EINVAL` for what
/// isn't there: bind mounts, moving, changing flags.
pub fn do_mount(
    caller: &Caller<'_>,
    source: &[u8],
    target: &[u8],
    kind: &[u8],
    flags: u32,
    options: &[u8],
) -> Result<(), Errno> {
    let at = path_at(caller, AT_FDCWD, target, true, false)?;
    if !caller.cred.caps.has(CAP_SYS_ADMIN) {
        return Err(Errno::EPERM);
    }
    if flags & (MS_BIND | MS_MOVE | MS_REMOUNT) != 0 {
        return Err(Errno::EINVAL);
    }
    let flags = MountFlags {
        read_only: flags & MS_RDONLY != 0,
        no_exec: flags & MS_NOEXEC != 0,
        no_dev: flags & MS_NODEV != 0,
        no_suid: flags & MS_NOSUID != 0,
    };
    mount::attach(&new_mount(kind, source, flags, options)?, Some(&at))
}

/// Unmounts the file system whose root is at `target`. Process context.
///
/// # Errors
/// Those of umount2(2): `EINVAL` where no file system begins there, `EBUSY`, `EPERM`.
pub fn umount(caller: &Caller<'_>, target: &[u8], flags: u32) -> Result<(), Errno> {
    if flags & !(MNT_FORCE | MNT_DETACH | MNT_EXPIRE | UMOUNT_NOFOLLOW) != 0 {
        return Err(Errno::EINVAL);
    }
    let follow = flags & UMOUNT_NOFOLLOW == 0;
    let at = path_at(caller, AT_FDCWD, target, follow, false)?;
    if !at.is_mount_root() {
        return Err(Errno::EINVAL);
    }
    if !caller.cred.caps.has(CAP_SYS_ADMIN) {
        return Err(Errno::EPERM);
    }
    let mount = at.mnt.clone();
    drop(at);
    mount::detach(&mount, flags & MNT_DETACH != 0)
}

/// Mounts an empty root file system (Linux: init_rootfs). Once, in process context, before anybody
/// has a [`FsContext`].
///
/// # Errors
/// `ENOMEM`; `EBUSY` where there is one.
pub fn mount_root() -> Result<(), Errno> {
    if mount::root().is_ok() {
        return Err(Errno::EBUSY);
    }
    let options = tmpfs::Options { mode: 0o755, ..tmpfs::Options::default() };
    let root = tmpfs::new_mount("rootfs", b"rootfs", options, MountFlags::default())?;
    mount::attach(&root, None)
}

/// Mounts `/proc`, `/sys`, `/dev` and `/dev/shm`, whose directories are made where they are
/// missing. Process context.
///
/// # Errors
/// Those of mkdir(2) and mount(2).
pub fn mount_defaults(caller: &Caller<'_>) -> Result<(), Errno> {
    for (kind, target, mode) in [
        ("proc", "/proc", 0o555),
        ("sysfs", "/sys", 0o555),
        ("devtmpfs", "/dev", 0o755),
        ("tmpfs", "/dev/shm", 0o1777),
        ("tmpfs", "/tmp", 0o1777),
    ] {
        match mkdirat(caller, AT_FDCWD, target.as_bytes(), mode) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(why) => return Err(why),
        }
        // Of /tmp the root file system's own directory serves, with its permissions.
        if target != "/tmp" {
            do_mount(caller, kind.as_bytes(), target.as_bytes(), kind.as_bytes(), 0, b"")?;
        }
    }
    Ok(())
}

/// Calls `f` as the kernel itself: root, without limits, in the root directory.
///
/// # Errors
/// `ENOENT` before there is a root file system; those of `f`.
pub fn as_kernel<R>(f: impl FnOnce(&Caller<'_>) -> Result<R, Errno>) -> Result<R, Errno> {
    let (files, fs) = (FdTable::new(), FsContext::new()?);
    fs.set_umask(0);
    let limits = FileLimits { nofile: 1024, fsize: u64::MAX };
    f(&Caller { files: &files, fs: &fs, cred: &Cred::ROOT, limits })
}
