//! Attributes of files: stat, permissions, owners, times, sizes (Linux: fs/stat.c, fs/open.c,
//! fs/utimes.c, fs/statfs.c).
#![deny(unsafe_code)]

use super::{Caller, Capabilities, Cred, FileType, Iattr, Kstat, Kstatfs, May, OpenFile, Path};
use super::{Timespec, path_at};
use crate::errno::Errno;
use linux_raw_sys::general::{
    AT_EACCESS, AT_EMPTY_PATH, AT_NO_AUTOMOUNT, AT_STATX_SYNC_TYPE, AT_SYMLINK_NOFOLLOW,
    FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE, STATX__RESERVED, UTIME_NOW, UTIME_OMIT,
};

/// Flags of a path that is looked up: whether the last link is followed, and whether it may be
/// empty.
///
/// # Errors
/// `EINVAL` for flags that are not in `known`.
fn lookup_flags(flags: u32, known: u32) -> Result<(bool, bool), Errno> {
    if flags & !known != 0 {
        return Err(Errno::EINVAL);
    }
    Ok((flags & AT_SYMLINK_NOFOLLOW == 0, flags & AT_EMPTY_PATH != 0))
}

fn path_with(
    caller: &Caller<'_>,
    dirfd: i32,
    path: &[u8],
    flags: u32,
    known: u32,
) -> Result<Path, Errno> {
    let (follow, empty) = lookup_flags(flags, known)?;
    path_at(caller, dirfd, path, follow, empty)
}

/// Attributes of the file at a path (Linux: vfs_getattr).
pub(super) fn vfs_getattr(path: &Path) -> Kstat {
    Kstat { mnt_id: path.mnt.id().into(), ..path.inode().getattr() }
}

/// Attributes of a file, of `dirfd` itself with `AT_EMPTY_PATH` and an empty path. Process
/// context.
///
/// # Errors
/// Those of fstatat(2).
pub fn fstatat(caller: &Caller<'_>, dirfd: i32, path: &[u8], flags: u32) -> Result<Kstat, Errno> {
    let known = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH | AT_STATX_SYNC_TYPE;
    path_with(caller, dirfd, path, flags, known).map(|path| vfs_getattr(&path))
}

/// Attributes of an open file.
///
/// # Errors
/// `EBADF`
pub fn fstat(caller: &Caller<'_>, fd: i32) -> Result<Kstat, Errno> {
    caller.files.get_raw(fd).map(|file| file.getattr())
}

/// Attributes of a file for statx. Process context.
///
/// # Errors
/// Those of statx(2).
pub fn statx(
    caller: &Caller<'_>,
    dirfd: i32,
    path: &[u8],
    flags: u32,
    mask: u32,
) -> Result<Kstat, Errno> {
    if mask & STATX__RESERVED != 0 || flags & AT_STATX_SYNC_TYPE == AT_STATX_SYNC_TYPE {
        return Err(Errno::EINVAL);
    }
    fstatat(caller, dirfd, path, flags)
}

/// Figures of the file system that a path is in. Process context.
///
/// # Errors
/// Those of statfs(2).
pub fn statfs(caller: &Caller<'_>, path: &[u8]) -> Result<Kstatfs, Errno> {
    let at = linux_raw_sys::general::AT_FDCWD;
    path_at(caller, at, path, true, false).map(|path| statfs_of(&path))
}

/// Figures of the file system that a file is in.
///
/// # Errors
/// `EBADF`
pub fn fstatfs(caller: &Caller<'_>, fd: i32) -> Result<Kstatfs, Errno> {
    caller.files.get_raw(fd).map(|file| statfs_of(file.path()))
}

/// Flags of statfs (Linux: include/linux/statfs.h; they are in no header of its ABI).
const ST_RDONLY: u64 = 0x1;
const ST_NOSUID: u64 = 0x2;
const ST_NODEV: u64 = 0x4;
const ST_NOEXEC: u64 = 0x8;
const ST_VALID: u64 = 0x20;
const ST_RELATIME: u64 = 0x1000;

fn statfs_of(path: &Path) -> Kstatfs {
    let flags = path.mnt.flags();
    let set = [
        (flags.read_only, ST_RDONLY),
        (flags.no_suid, ST_NOSUID),
        (flags.no_dev, ST_NODEV),
        (flags.no_exec, ST_NOEXEC),
    ];
    let set = set.iter().filter(|(is_set, _)| *is_set).fold(0, |all, (_, flag)| all | flag);
    Kstatfs { flags: ST_VALID | ST_RELATIME | set, ..path.mnt.sb().statfs() }
}

/// Checks what the caller may do with a file. With `AT_EACCESS` its effective ids count, as they
/// do in `cred`; without, `real` does. Process context.
///
/// # Errors
/// Those of faccessat2(2).
pub fn faccessat(
    caller: &Caller<'_>,
    real: &Cred,
    dirfd: i32,
    path: &[u8],
    mode: u32,
    flags: u32,
) -> Result<(), Errno> {
    if mode & !7 != 0 {
        return Err(Errno::EINVAL);
    }
    let known = AT_EACCESS | AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH;
    // A real user other than root has no capabilities here.
    let real = match real.uid {
        0 => *real,
        _ => Cred { caps: Capabilities::NONE, ..*real },
    };
    let cred = if flags & AT_EACCESS != 0 { caller.cred } else { &real };
    let caller = Caller { cred, ..*caller };
    let path = path_with(&caller, dirfd, path, flags, known)?;
    let (owner, may) = (path.inode().owner(), May::from_bits_truncate(mode));
    let is_regular = owner.file_type() == FileType::Regular;
    if may.contains(May::EXEC) && is_regular && path.mnt.flags().no_exec {
        return Err(Errno::EACCES);
    }
    cred.permission(owner, may)?;
    let changes =
        matches!(owner.file_type(), FileType::Regular | FileType::Directory | FileType::Symlink);
    if may.contains(May::WRITE) && changes { path.mnt.want_write() } else { Ok(()) }
}

/// Sets permissions. Process context (Linux: fchmodat2).
///
/// # Errors
/// Those of fchmodat(2).
pub fn fchmodat(
    caller: &Caller<'_>,
    dirfd: i32,
    path: &[u8],
    mode: u32,
    flags: u32,
) -> Result<(), Errno> {
    let path = path_with(caller, dirfd, path, flags, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)?;
    chmod(caller, &path, mode)
}

/// Sets permissions of an open file.
///
/// # Errors
/// Those of fchmod(2).
pub fn fchmod(caller: &Caller<'_>, fd: i32, mode: u32) -> Result<(), Errno> {
    chmod(caller, caller.files.get(fd)?.path(), mode)
}

fn chmod(caller: &Caller<'_>, path: &Path, mode: u32) -> Result<(), Errno> {
    path.mnt.want_write()?;
    if path.dentry.file_type() == FileType::Symlink {
        return Err(Errno::EOPNOTSUPP);
    }
    path.inode().setattr(&caller.cred.chmod(&**path.inode(), mode & 0o7777)?)
}

/// Sets user and group; `u32::MAX` leaves one as it is. Process context.
///
/// # Errors
/// Those of fchownat(2).
pub fn fchownat(
    caller: &Caller<'_>,
    dirfd: i32,
    path: &[u8],
    uid: u32,
    gid: u32,
    flags: u32,
) -> Result<(), Errno> {
    let path = path_with(caller, dirfd, path, flags, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)?;
    chown(caller, &path, uid, gid)
}

/// Sets user and group of an open file.
///
/// # Errors
/// Those of fchown(2).
pub fn fchown(caller: &Caller<'_>, fd: i32, uid: u32, gid: u32) -> Result<(), Errno> {
    chown(caller, caller.files.get(fd)?.path(), uid, gid)
}

fn chown(caller: &Caller<'_>, path: &Path, uid: u32, gid: u32) -> Result<(), Errno> {
    path.mnt.want_write()?;
    let set = |id: u32| (id != u32::MAX).then_some(id);
    path.inode().setattr(&caller.cred.chown(&**path.inode(), set(uid), set(gid))?)
}

/// A time that utimensat is to set: seconds, and nanoseconds or `UTIME_NOW` or `UTIME_OMIT`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NewTime {
    /// Seconds since 1970.
    pub sec: i64,
    /// Nanoseconds.
    pub nsec: i64,
}

impl NewTime {
    fn is_now(self) -> bool {
        self.nsec == i64::from(UTIME_NOW)
    }
    fn is_omitted(self) -> bool {
        self.nsec == i64::from(UTIME_OMIT)
    }
    /// The time to set, if there is one.
    fn get(self) -> Result<Option<Timespec>, Errno> {
        match self.nsec {
            _ if self.is_omitted() => Ok(None),
            _ if self.is_now() => Ok(Some(Timespec::now())),
            nsec @ 0..1_000_000_000 => Ok(Some(Timespec { sec: self.sec, nsec: nsec as u32 })),
            _ => Err(Errno::EINVAL),
        }
    }
}

/// Sets the times of a read and of a change, both to now without `times`. Without a path it is
/// `dirfd` itself. Process context (Linux: do_utimes).
///
/// # Errors
/// Those of utimensat(2).
pub fn utimensat(
    caller: &Caller<'_>,
    dirfd: i32,
    path: Option<&[u8]>,
    times: Option<[NewTime; 2]>,
    flags: u32,
) -> Result<(), Errno> {
    let set = times.map(|[atime, mtime]| Ok::<_, Errno>([atime.get()?, mtime.get()?]));
    let set = set.transpose()?;
    if times.is_some_and(|times| times.iter().all(|time| time.is_omitted())) {
        return Ok(());
    }
    let path = match path {
        None if flags != 0 => return Err(Errno::EINVAL),
        None => caller.files.get(dirfd)?.path().clone(),
        Some(path) => path_with(caller, dirfd, path, flags, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)?,
    };
    path.mnt.want_write()?;
    let owner = path.inode().owner();
    // Who may write a file may say that it was used just now.
    let all_now = times.is_none_or(|times| times.iter().all(|time| time.is_now()));
    if !caller.cred.owns(owner) {
        if !all_now {
            return Err(Errno::EPERM);
        }
        caller.cred.permission(owner, May::WRITE)?;
    }
    let now = Some(Timespec::now());
    let [atime, mtime] = set.unwrap_or([now, now]);
    path.inode().setattr(&Iattr { atime, mtime, ..Iattr::default() })
}

/// Makes the file at a path `len` bytes long. Process context.
///
/// # Errors
/// Those of truncate(2).
pub fn truncate(caller: &Caller<'_>, path: &[u8], len: i64) -> Result<(), Errno> {
    let len = u64::try_from(len).map_err(|_| Errno::EINVAL)?;
    let path = path_at(caller, linux_raw_sys::general::AT_FDCWD, path, true, false)?;
    match path.dentry.file_type() {
        FileType::Directory => return Err(Errno::EISDIR),
        FileType::Regular => {}
        _ => return Err(Errno::EINVAL),
    }
    path.mnt.want_write()?;
    caller.cred.permission(path.inode().owner(), May::WRITE)?;
    resize(caller, &path, len)
}

/// Makes an open file `len` bytes long. Process context.
///
/// # Errors
/// Those of ftruncate(2).
pub fn ftruncate(caller: &Caller<'_>, fd: i32, len: i64) -> Result<(), Errno> {
    let len = u64::try_from(len).map_err(|_| Errno::EINVAL)?;
    let file = caller.files.get(fd)?;
    if file.file_type() != FileType::Regular || !file.is_open_for(May::WRITE) {
        return Err(Errno::EINVAL);
    }
    resize(caller, file.path(), len)
}

fn resize(caller: &Caller<'_>, path: &Path, len: u64) -> Result<(), Errno> {
    let inode = path.inode();
    if len > inode.getattr().size && len > caller.limits.fsize {
        return Err(Errno::EFBIG);
    }
    if let Some(mode) = caller.cred.remove_privs(inode.owner().mode) {
        inode.setattr(&Iattr { mode: Some(mode), ..Iattr::default() })?;
    }
    inode.truncate(len)
}

/// Allocates space of a file, or gives some back. Process context.
///
/// # Errors
/// Those of fallocate(2).
pub fn fallocate(caller: &Caller<'_>, fd: i32, mode: u32, at: i64, len: i64) -> Result<(), Errno> {
    let file = caller.files.get(fd)?;
    let at = u64::try_from(at).map_err(|_| Errno::EINVAL)?;
    let len = u64::try_from(len).ok().filter(|&len| len > 0).ok_or(Errno::EINVAL)?;
    if mode & !(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE) != 0 || mode == FALLOC_FL_PUNCH_HOLE {
        return Err(Errno::EOPNOTSUPP);
    }
    if !file.is_open_for(May::WRITE) {
        return Err(Errno::EBADF);
    }
    match file.file_type() {
        FileType::Regular => {}
        FileType::Directory => return Err(Errno::EISDIR),
        FileType::Fifo => return Err(Errno::ESPIPE),
        _ => return Err(Errno::ENODEV),
    }
    let end = at.checked_add(len).filter(|&end| end <= file.inode().sb().max_bytes());
    let end = end.ok_or(Errno::EFBIG)?;
    let grows = mode & FALLOC_FL_KEEP_SIZE == 0 && end > file.inode().getattr().size;
    if grows && end > caller.limits.fsize {
        return Err(Errno::EFBIG);
    }
    file.ops().fallocate(&file, mode, at, len)
}

/// Writes out a file (Linux: fsync, fdatasync).
///
/// # Errors
/// `EBADF`; `EINVAL` where the file can't be synchronised.
pub fn fsync(caller: &Caller<'_>, fd: i32) -> Result<(), Errno> {
    let file = caller.files.get(fd)?;
    let file: &OpenFile = &file;
    file.ops().fsync(file)
}
