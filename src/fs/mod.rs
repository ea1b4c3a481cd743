//! Files (Linux: fs/).
//!
//! | room | what it holds |
//! | --- | --- |
//! | [`vfs`] | system calls on files, paths, open files, descriptors |
//! | [`tmpfs`], [`devtmpfs`], [`pseudo`] | file systems: in memory, devices, `/proc` and `/sys` |
//! | [`mounts`], [`initramfs`] | mounting by name, and the archive that the root file system comes from |
//!
//! # The constant tree
//! The files that people who know Linux look into: `/proc`, `/sys/kernel/debug`,
//! `/sys/kernel/tracing`, `/sys/devices` (Linux: fs/proc, fs/debugfs, seq_file). Each file is a function that writes its text, and the
//! tree is a constant. So listing and reading need no memory, and work when there is none
//! left. The text is what holds while it is written; `mm::stat` tells which figures are read
//! together.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `tree` | directories and files, and the way along a path |
//! | `snapshot` | the state of memory as JSON |
//! | `proc`, `proc_stat`, `sysctl`, `debugfs`, `sysfs`, `tracing` | the files, by where they are mounted |
#![deny(unsafe_code)]

mod debugfs;
pub mod devtmpfs;
pub mod initramfs;
pub mod mounts;
mod proc;
#[cfg(target_os = "none")]
mod proc_stat;
pub mod pseudo;
pub mod snapshot;
mod sysctl;
mod sysfs;
#[cfg(test)]
#[expect(unsafe_code, reason = "a test reserves memory for an area")]
mod tests;
pub mod tmpfs;
mod tracing;
mod tree;
pub mod vfs;

pub use proc::{set_cmdline, set_kallsyms, set_model};
pub use snapshot::Snapshot;
pub use tree::Entry;

use core::fmt;
use tree::{Found, ROOT, Store};

/// Reason why a file can't be read, written or listed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FsError {
    /// There is no such file (Linux: ENOENT).
    NotFound,
    /// A directory is no file (Linux: EISDIR).
    IsADirectory,
    /// A file is no directory (Linux: ENOTDIR).
    NotADirectory,
    /// The file's mode does not allow it (Linux: EACCES).
    PermissionDenied,
    /// The file does not take such a text (Linux: EINVAL).
    InvalidArgument,
    /// There is no memory for it (Linux: ENOMEM).
    OutOfMemory,
    /// Something that is on is in the way (Linux: EBUSY).
    Busy,
    /// The receiver of the text refused it (Linux: EIO).
    Output,
}

impl fmt::Display for FsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotFound => "No such file or directory",
            Self::IsADirectory => "Is a directory",
            Self::NotADirectory => "Not a directory",
            Self::PermissionDenied => "Permission denied",
            Self::InvalidArgument => "Invalid argument",
            Self::OutOfMemory => "Cannot allocate memory",
            Self::Busy => "Device or resource busy",
            Self::Output => "Input/output error",
        })
    }
}

impl core::error::Error for FsError {}

/// Description of a file or directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Metadata {
    /// The permissions, as of an inode: `0o444`.
    pub mode: u16,
    /// True if it is a directory.
    pub is_dir: bool,
}

/// Describes the file or directory at `path`. A path begins at the root, with or without its
/// slash; `.` and `..` are as in Linux. Any context.
///
/// # Errors
/// [`FsError::NotFound`], or [`FsError::NotADirectory`] for what is said to lie below a file.
pub fn metadata(path: &str) -> Result<Metadata, FsError> {
    Ok(match ROOT.find(path)? {
        Found::Dir(_) => Metadata { mode: 0o555, is_dir: true },
        Found::File(file, _) => Metadata { mode: file.mode, is_dir: false },
    })
}

/// Writes the text of the file at `path` into `out`. Allocates nothing. Process context: some
/// texts are long.
///
/// # Errors
/// [`FsError`]; with `Output` some of the text has been written.
pub fn read(path: &str, out: &mut dyn fmt::Write) -> Result<(), FsError> {
    match ROOT.find(path)? {
        Found::Dir(_) => Err(FsError::IsADirectory),
        Found::File(file, _) if file.mode & 0o444 == 0 => Err(FsError::PermissionDenied),
        Found::File(file, of) => (file.show)(of, out).map_err(|_| FsError::Output),
    }
}

/// Has the file at `path` act on `text`; white space at its end does not count. Process
/// context.
///
/// # Errors
/// [`FsError`]; nothing has been done then.
pub fn write(path: &str, text: &str) -> Result<(), FsError> {
    match ROOT.find(path)? {
        Found::Dir(_) => Err(FsError::IsADirectory),
        Found::File(file, of) => match file.store {
            Some(Store::One(store)) => store(text.trim_ascii_end()),
            Some(Store::Of(store)) => store(of, text.trim_ascii_end()),
            None => Err(FsError::PermissionDenied),
        },
    }
}

/// Calls `f` with what is in the directory at `path`, in its order, or with the file at `path`.
/// Allocates nothing. Any context.
///
/// # Errors
/// As [`metadata`].
pub fn list(path: &str, f: &mut dyn FnMut(Entry<'_>)) -> Result<(), FsError> {
    match ROOT.find(path)? {
        Found::Dir(dir) => dir.for_each(f),
        Found::File(file, _) => f(Entry { name: file.name, mode: file.mode, is_dir: false }),
    }
    Ok(())
}

/// Calls `f` with the path of each file, directory by directory. Allocates nothing. Any
/// context.
pub fn for_each_file(f: &mut dyn FnMut(&str)) {
    ROOT.for_each_file(f);
}
