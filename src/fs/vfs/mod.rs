//! The layer between system calls and file systems (Linux: fs/).
//!
//! | file | contents |
//! | --- | --- |
//! | `inode`, `ops` | traits of a file system: inodes, directories, open files |
//! | `dentry` | names of inodes, paths and their text |
//! | `mount` | file systems and where they are mounted |
//! | `namei` | the way along a path |
//! | `cred` | permissions |
//! | `context` | who calls: directories, descriptors, credentials, limits |
//! | `open`, `read_write`, `names`, `attr`, `fcntl` | the system calls, over values of the kernel |
//! | `file`, `fdtable` | open files and their descriptors |
//! | `stat` | structures of the ABI as bytes, times, device numbers |
//!
//! A call takes the [`Caller`] first. Paths are bytes without their zero. Buffers are
//! [`IoSink`](crate::arch::uaccess::IoSink) and [`IoSource`](crate::arch::uaccess::IoSource), of a
//! user or of the kernel, so that the bytes of files are copied once.
//!
//! # Locks
//! Sleeping: the position of an open file (`SleepRank::FilePos`), then the directories of a file
//! system (`Directories`), then the contents of a file (`Inode`); memory of users is copied under
//! them, and the locks of address spaces come after. Names, mounts, tables of descriptors and
//! attributes have spin locks of `Rank::Vfs`, no two of which are held at once; nothing is dropped
//! under them that could be the last reference to anything.
#![deny(unsafe_code)]

mod attr;
mod context;
mod cred;
mod dentry;
mod fcntl;
mod fdtable;
mod file;
mod inode;
pub mod mount;
mod namei;
mod names;
mod open;
mod ops;
mod read_write;
mod stat;
#[cfg(test)]
pub(in crate::fs) mod tests;

use attr::vfs_getattr;
pub use attr::{
    NewTime, faccessat, fallocate, fchmod, fchmodat, fchown, fchownat, fstat, fstatat, fstatfs,
    fsync, ftruncate, statfs, statx, truncate, utimensat,
};
pub use context::{Caller, FileLimits, FsContext};
pub use cred::{Capabilities, Cred, May};
pub use dentry::{Dentry, PATH_MAX, Path, d_path};
pub use fcntl::{chdir, chroot, close, dup, dup3, fchdir, fcntl, getcwd, ioctl};
pub use fdtable::{FdTable, NR_OPEN, ReservedFd};
pub(super) use file::generic_llseek;
pub use file::{MmapKind, OpenFile, kernel_read};
pub use inode::{
    DirEntry, FileType, Iattr, Inode, InodeId, Kstat, Link, Mmap, NewInode, NewKind, Owner, Pages,
    Whence,
};
pub use mount::{Mount, MountFlags, SuperBlock, get_anon_dev};
pub use namei::{NAME_MAX, path_at};
pub use names::{linkat, mkdirat, mknodat, readlinkat, renameat2, symlinkat, unlinkat};
pub use open::{open_exec, open_file, openat};
pub use ops::{DirOps, FileOps, MayDelete, Rename};
pub use read_write::{MAX_RW_COUNT, getdents64, lseek, pread, pwrite, read, sendfile, write};
pub use stat::{Kstatfs, Timespec, major, makedev, minor};
