//! Operations of directories and open files (Linux: struct inode_operations, struct
//! file_operations).
#![deny(unsafe_code)]

use super::{Dentry, DirEntry, Inode, Mmap, NewInode, OpenFile, Whence};
use crate::addr::UserAddr;
use crate::arch::uaccess::{IoSink, IoSource};
use crate::errno::Errno;
use crate::mm::alloc::KArc;

/// Changes to a directory. The VFS has checked permissions; names are neither empty, `.` nor `..`.
pub trait DirOps {
    /// Creates an inode with the name `name` in `dir`.
    ///
    /// # Errors
    /// `EEXIST`, `ENOENT` where the directory is gone, `ENOSPC`, `ENOMEM`, `ENAMETOOLONG`.
    fn create(
        &self,
        dir: &KArc<Dentry>,
        name: &[u8],
        new: &NewInode<'_>,
    ) -> Result<KArc<Dentry>, Errno>;

    /// Creates a regular file without a name; with `linkable` it may get one (Linux: tmpfile).
    ///
    /// # Errors
    /// `EOPNOTSUPP`, `ENOSPC`, `ENOMEM`.
    fn tmpfile(
        &self,
        dir: &KArc<Dentry>,
        new: &NewInode<'_>,
        linkable: bool,
    ) -> Result<KArc<Dentry>, Errno>;

    /// Gives `inode`, of the same file system, a further name.
    ///
    /// # Errors
    /// As [`DirOps::create`]; `ENOENT` where it has no name left, `EMLINK`.
    fn link(&self, dir: &KArc<Dentry>, name: &[u8], inode: &KArc<dyn Inode>) -> Result<(), Errno>;

    /// Takes the name of `entry`, which is no directory, out of `dir`.
    ///
    /// # Errors
    /// `ENOENT` where it isn't there any more.
    fn unlink(&self, dir: &KArc<Dentry>, entry: &KArc<Dentry>) -> Result<(), Errno>;

    /// Takes an empty directory out of `dir`.
    ///
    /// # Errors
    /// `ENOTEMPTY`; `ENOENT` where it isn't there any more.
    fn rmdir(&self, dir: &KArc<Dentry>, entry: &KArc<Dentry>) -> Result<(), Errno>;

    /// Gives the entry `old_name` of `old_dir` the name `new_name` in `new_dir`, of the same file
    /// system. `flags` are none, RENAME_NOREPLACE or RENAME_EXCHANGE. `may_delete` says of an
    /// entry and its directory whether the caller may take it away.
    ///
    /// # Errors
    /// Those of rename(2).
    fn rename(
        &self,
        old_dir: &KArc<Dentry>,
        old_name: &[u8],
        new_dir: &KArc<Dentry>,
        new_name: &[u8],
        rename: &Rename<'_>,
    ) -> Result<(), Errno>;
}

/// Says whether the caller may take an entry, the second, out of a directory.
pub type MayDelete<'a> = dyn Fn(&KArc<Dentry>, &KArc<Dentry>) -> Result<(), Errno> + 'a;

/// Details of a rename.
pub struct Rename<'a> {
    /// RENAME_NOREPLACE, RENAME_EXCHANGE, or none.
    pub flags: u32,
    /// The old path ends with a slash: it names a directory.
    pub old_slash: bool,
    /// The new path ends with a slash.
    pub new_slash: bool,
    /// Says whether the caller may take an entry out of its directory.
    pub may_delete: &'a MayDelete<'a>,
    /// Says whether the caller may write a directory, whose `..` changes.
    pub may_write: &'a dyn Fn(&KArc<Dentry>) -> Result<(), Errno>,
    /// Says whether something is mounted on an entry.
    pub is_mountpoint: &'a dyn Fn(&KArc<Dentry>) -> bool,
}

/// Operations on an open file (Linux: struct file_operations).
pub trait FileOps: Send + Sync {
    /// Reads from `pos` on, and moves it.
    ///
    /// # Errors
    /// `EINVAL` where the file can't be read; `EFAULT`.
    fn read(&self, _: &OpenFile, _pos: &mut u64, _: &mut dyn IoSink) -> Result<usize, Errno> {
        Err(Errno::EINVAL)
    }

    /// Writes at `pos`, and moves it. A file gets no larger than `limit` bytes by it.
    ///
    /// # Errors
    /// `EINVAL` where the file can't be written; `EFAULT`, `ENOSPC`, `EFBIG`.
    fn write(
        &self,
        _: &OpenFile,
        _pos: &mut u64,
        _: &mut dyn IoSource,
        _limit: u64,
    ) -> Result<usize, Errno> {
        Err(Errno::EINVAL)
    }

    /// Returns the position that lies `offset` from `whence`, of a file that is at `pos`.
    ///
    /// # Errors
    /// `EINVAL`, `ESPIPE`, `ENXIO`, `EOVERFLOW`.
    fn llseek(&self, file: &OpenFile, pos: u64, offset: i64, whence: Whence) -> Result<u64, Errno> {
        super::generic_llseek(file, pos, offset, whence)
    }

    /// Calls `emit` for the entries of a directory from `pos` on, `.` and `..` included, until it
    /// returns false; `pos` is then that of the entry that it did not take.
    ///
    /// # Errors
    /// `ENOTDIR`; `ENOENT` where the directory is gone.
    fn iterate(
        &self,
        _: &OpenFile,
        _pos: &mut u64,
        _emit: &mut dyn FnMut(&DirEntry<'_>) -> bool,
    ) -> Result<(), Errno> {
        Err(Errno::ENOTDIR)
    }

    /// Control of a device.
    ///
    /// # Errors
    /// `ENOTTY` for commands that the file doesn't know.
    fn ioctl(&self, _: &OpenFile, _command: u32, _arg: Option<UserAddr>) -> Result<u64, Errno> {
        Err(Errno::ENOTTY)
    }

    /// Allocates space or punches holes, by the flags of fallocate(2).
    ///
    /// # Errors
    /// `EOPNOTSUPP` for what the file system doesn't do; `ENOSPC`, `EFBIG`, `ENOMEM`, `EINTR`.
    fn fallocate(&self, _: &OpenFile, _mode: u32, _at: u64, _len: u64) -> Result<(), Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    /// Writes out what is not on a disk yet.
    ///
    /// # Errors
    /// `EINVAL` where a file can't be synchronised.
    fn fsync(&self, _: &OpenFile) -> Result<(), Errno> {
        Err(Errno::EINVAL)
    }

    /// Returns what mapping the file gives.
    ///
    /// # Errors
    /// `ENODEV` where it can't be mapped.
    fn mmap(&self, file: &OpenFile) -> Result<Mmap, Errno> {
        if file.inode().pages().is_some() { Ok(Mmap::File) } else { Err(Errno::ENODEV) }
    }

    /// Returns true for a file without positions, such as a terminal (Linux: FMODE_STREAM).
    fn is_stream(&self) -> bool {
        false
    }
}
