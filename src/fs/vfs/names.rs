//! Names of files: making, removing and changing them (Linux: fs/namei.c).
#![deny(unsafe_code)]

use super::namei::{Last, LastKind, Walk};
use super::open::{may_create, new_inode};
use super::{Caller, Dentry, DirOps, FileType, May, NewInode, NewKind, PATH_MAX, Path, Rename};
use super::{mount, path_at};
use crate::arch::uaccess::IoSink;
use crate::errno::Errno;
use crate::mm::alloc::KArc;
use linux_raw_sys::general::{
    AT_EMPTY_PATH, AT_REMOVEDIR, AT_SYMLINK_FOLLOW, RENAME_EXCHANGE, RENAME_NOREPLACE,
};

/// The directory, and the name in it that is to be made (Linux: filename_create).
///
/// # Errors
/// `EEXIST` where there is one, or the path ends in no name; `ENOENT` for a name with a slash
/// behind it, unless it is to be a directory.
fn new_name<'a>(walk: &'a mut Walk<'_>, is_dir: bool) -> Result<(Last, &'a Walk<'a>), Errno> {
    let last = walk.parent()?;
    if last.kind != LastKind::Norm {
        return Err(Errno::EEXIST);
    }
    match walk.step(&last) {
        Ok(_) => Err(Errno::EEXIST),
        Err(Errno::ENOENT) if last.slash && !is_dir => Err(Errno::ENOENT),
        Err(Errno::ENOENT) => Ok((last, walk)),
        Err(why) => Err(why),
    }
}

/// Changes to a directory that its file system can make.
fn dir_ops(dir: &Path) -> Result<&dyn DirOps, Errno> {
    dir.inode().dir_ops().ok_or(Errno::EPERM)
}

fn create_at<'a>(
    caller: &Caller<'_>,
    dirfd: i32,
    path: &[u8],
    is_dir: bool,
    new: impl FnOnce(&Path) -> NewInode<'a>,
) -> Result<(), Errno> {
    let mut walk = Walk::new(caller, dirfd, path)?;
    let (last, walk) = new_name(&mut walk, is_dir)?;
    may_create(caller, &walk.at)?;
    let ops = dir_ops(&walk.at)?;
    ops.create(&walk.at.dentry, walk.name(&last), &new(&walk.at)).map(drop)
}

/// Makes a directory. Process context.
///
/// # Errors
/// Those of mkdirat(2).
pub fn mkdirat(caller: &Caller<'_>, dirfd: i32, path: &[u8], mode: u32) -> Result<(), Errno> {
    let mode = mode & 0o1777;
    create_at(caller, dirfd, path, true, |dir| new_inode(caller, dir, NewKind::Directory, mode))
}

/// Makes a device node, a FIFO, a socket or a regular file. Process context.
///
/// # Errors
/// Those of mknodat(2).
pub fn mknodat(
    caller: &Caller<'_>,
    dirfd: i32,
    path: &[u8],
    mode: u32,
    dev: u64,
) -> Result<(), Errno> {
    let permissions = mode & 0o7777;
    let kind = match FileType::of_mode(mode) {
        _ if mode & linux_raw_sys::general::S_IFMT == 0 => NewKind::Regular,
        Some(FileType::Regular) => NewKind::Regular,
        Some(FileType::Directory) => return Err(Errno::EPERM),
        Some(FileType::Symlink) | None => return Err(Errno::EINVAL),
        Some(kind @ (FileType::Char | FileType::Block)) => {
            if !caller.cred.may_mknod() {
                return Err(Errno::EPERM);
            }
            NewKind::Node(kind, dev)
        }
        Some(kind) => NewKind::Node(kind, 0),
    };
    create_at(caller, dirfd, path, false, |dir| new_inode(caller, dir, kind, permissions))
}

/// Makes a symbolic link with the text `target`. Process context.
///
/// # Errors
/// Those of symlinkat(2).
pub fn symlinkat(caller: &Caller<'_>, target: &[u8], dirfd: i32, path: &[u8]) -> Result<(), Errno> {
    match target.len() {
        0 => return Err(Errno::ENOENT),
        PATH_MAX.. => return Err(Errno::ENAMETOOLONG),
        _ => {}
    }
    create_at(caller, dirfd, path, false, |dir| {
        let new = new_inode(caller, dir, NewKind::Symlink(target), 0o777);
        NewInode { mode: 0o777, ..new }
    })
}

/// Gives a file a further name. Process context.
///
/// # Errors
/// Those of linkat(2).
pub fn linkat(
    caller: &Caller<'_>,
    old_dirfd: i32,
    old: &[u8],
    new_dirfd: i32,
    new: &[u8],
    flags: u32,
) -> Result<(), Errno> {
    if flags & !(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL);
    }
    let (follow, empty) = (flags & AT_SYMLINK_FOLLOW != 0, flags & AT_EMPTY_PATH != 0);
    let old = path_at(caller, old_dirfd, old, follow, empty)?;
    let mut walk = Walk::new(caller, new_dirfd, new)?;
    let (last, walk) = new_name(&mut walk, false)?;
    if !KArc::ptr_eq(&old.mnt, &walk.at.mnt) {
        return Err(Errno::EXDEV);
    }
    may_create(caller, &walk.at)?;
    let ops = dir_ops(&walk.at)?;
    if old.dentry.is_dir() {
        return Err(Errno::EPERM);
    }
    ops.link(&walk.at.dentry, walk.name(&last), old.inode())
}

/// Checks that the caller may take `entry` out of `dir` (Linux: may_delete).
fn may_delete(caller: &Caller<'_>, dir: &KArc<Dentry>, entry: &KArc<Dentry>) -> Result<(), Errno> {
    let (dir, entry) = (dir.inode().owner(), entry.inode().owner());
    caller.cred.permission(dir, May::WRITE | May::EXEC)?;
    if caller.cred.is_sticky(dir, entry) { Err(Errno::EPERM) } else { Ok(()) }
}

/// Takes a name away: that of an empty directory with `AT_REMOVEDIR`. Process context.
///
/// # Errors
/// Those of unlinkat(2).
pub fn unlinkat(caller: &Caller<'_>, dirfd: i32, path: &[u8], flags: u32) -> Result<(), Errno> {
    if flags & !AT_REMOVEDIR != 0 {
        return Err(Errno::EINVAL);
    }
    let removes_dir = flags & AT_REMOVEDIR != 0;
    let mut walk = Walk::new(caller, dirfd, path)?;
    let last = walk.parent()?;
    match last.kind {
        LastKind::Norm => {}
        LastKind::DotDot if removes_dir => return Err(Errno::ENOTEMPTY),
        LastKind::Dot if removes_dir => return Err(Errno::EINVAL),
        LastKind::Root if removes_dir => return Err(Errno::EBUSY),
        _ => return Err(Errno::EISDIR),
    }
    walk.at.mnt.want_write()?;
    let dir = walk.at.clone();
    let entry = dir.inode().lookup(&dir.dentry, checked(walk.name(&last))?)?;
    let is_dir = entry.is_dir();
    if !removes_dir && last.slash {
        return Err(if is_dir { Errno::EISDIR } else { Errno::ENOTDIR });
    }
    may_delete(caller, &dir.dentry, &entry)?;
    match (removes_dir, is_dir) {
        (true, false) => return Err(Errno::ENOTDIR),
        (false, true) => return Err(Errno::EISDIR),
        _ => {}
    }
    let ops = dir_ops(&dir)?;
    if is_dir && mount::is_mountpoint(entry.inode().id()) {
        return Err(Errno::EBUSY);
    }
    if removes_dir { ops.rmdir(&dir.dentry, &entry) } else { ops.unlink(&dir.dentry, &entry) }
}

/// A name that is no longer than names may be.
fn checked(name: &[u8]) -> Result<&[u8], Errno> {
    if name.len() > super::NAME_MAX { Err(Errno::ENAMETOOLONG) } else { Ok(name) }
}

/// Gives a file another name. Process context.
///
/// # Errors
/// Those of renameat2(2).
pub fn renameat2(
    caller: &Caller<'_>,
    old_dirfd: i32,
    old: &[u8],
    new_dirfd: i32,
    new: &[u8],
    flags: u32,
) -> Result<(), Errno> {
    if flags & !(RENAME_NOREPLACE | RENAME_EXCHANGE) != 0
        || flags == RENAME_NOREPLACE | RENAME_EXCHANGE
    {
        return Err(Errno::EINVAL);
    }
    let mut from = Walk::new(caller, old_dirfd, old)?;
    let old_last = from.parent()?;
    let mut to = Walk::new(caller, new_dirfd, new)?;
    let new_last = to.parent()?;
    if !KArc::ptr_eq(&from.at.mnt, &to.at.mnt) {
        return Err(Errno::EXDEV);
    }
    if old_last.kind != LastKind::Norm {
        return Err(Errno::EBUSY);
    }
    if new_last.kind != LastKind::Norm {
        return Err(if flags & RENAME_NOREPLACE != 0 { Errno::EEXIST } else { Errno::EBUSY });
    }
    from.at.mnt.want_write()?;
    let (old_name, new_name) = (checked(from.name(&old_last))?, checked(to.name(&new_last))?);
    // Who may not add a name finds out before anything is changed.
    let target_dir = to.at.inode().owner();
    let Some(ops) = from.at.inode().dir_ops() else {
        from.at.inode().lookup(&from.at.dentry, old_name)?;
        return Err(Errno::EPERM);
    };
    let may_add = caller.cred.permission(target_dir, May::WRITE | May::EXEC);
    let rename = Rename {
        flags,
        old_slash: old_last.slash,
        new_slash: new_last.slash,
        may_delete: &|dir, entry| may_delete(caller, dir, entry).and(may_add),
        may_write: &|dir| caller.cred.permission(dir.inode().owner(), May::WRITE),
        is_mountpoint: &|entry| mount::is_mountpoint(entry.inode().id()),
    };
    ops.rename(&from.at.dentry, old_name, &to.at.dentry, new_name, &rename)
}

/// Copies the text of a symbolic link into `sink`, as much as fits. An empty path is `dirfd`
/// itself. Process context.
///
/// # Errors
/// Those of readlinkat(2).
pub fn readlinkat(
    caller: &Caller<'_>,
    dirfd: i32,
    path: &[u8],
    sink: &mut dyn IoSink,
) -> Result<usize, Errno> {
    if sink.remaining() == 0 {
        return Err(Errno::EINVAL);
    }
    let is_empty = path.is_empty();
    let path = path_at(caller, dirfd, path, false, true)?;
    if path.dentry.file_type() != FileType::Symlink {
        return Err(if is_empty { Errno::ENOENT } else { Errno::EINVAL });
    }
    let text = path.inode().readlink()?;
    let len = text.len().min(sink.remaining());
    if sink.put(&text[..len]) < len { Err(Errno::EFAULT) } else { Ok(len) }
}
