//! Context of a call: root and working directory, descriptors, credentials, limits.
#![deny(unsafe_code)]

use super::{Cred, FdTable, Path, mount};
use crate::arch::irq::with_masked;
use crate::errno::Errno;
use crate::sync::{Rank, SpinLock};
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use linux_raw_sys::general::AT_FDCWD;

/// Root and working directory of a process, and the permissions that new files don't get (Linux:
/// struct fs_struct).
pub struct FsContext {
    dirs: SpinLock<Dirs>,
    umask: AtomicU32,
}

struct Dirs {
    root: Path,
    pwd: Path,
}

impl FsContext {
    /// A context in which both directories are the root of all mounts; files that are created are not writable for
    /// others.
    ///
    /// # Errors
    /// `ENOENT` before a file system is mounted.
    pub fn new() -> Result<Self, Errno> {
        let root = mount::root()?;
        let dirs = Dirs { pwd: root.clone(), root };
        Ok(Self { dirs: SpinLock::new(Rank::Vfs, dirs), umask: AtomicU32::new(0o022) })
    }

    /// A copy, for a child (Linux: copy_fs_struct).
    #[must_use]
    pub fn copy(&self) -> Self {
        let (root, pwd) = (self.root(), self.pwd());
        let dirs = SpinLock::new(Rank::Vfs, Dirs { root, pwd });
        Self { dirs, umask: AtomicU32::new(self.umask()) }
    }

    /// The root directory. Any context.
    #[must_use]
    pub fn root(&self) -> Path {
        with_masked(|irq| self.dirs.lock(irq).root.clone())
    }
    /// The working directory. Any context.
    #[must_use]
    pub fn pwd(&self) -> Path {
        with_masked(|irq| self.dirs.lock(irq).pwd.clone())
    }
    /// Sets the root directory.
    pub fn set_root(&self, root: Path) {
        let _old = with_masked(|irq| core::mem::replace(&mut self.dirs.lock(irq).root, root));
    }
    /// Sets the working directory.
    pub fn set_pwd(&self, pwd: Path) {
        let _old = with_masked(|irq| core::mem::replace(&mut self.dirs.lock(irq).pwd, pwd));
    }
    /// Permissions that new files don't get.
    #[must_use]
    pub fn umask(&self) -> u32 {
        self.umask.load(Relaxed)
    }
    /// Sets them, and returns those before (Linux: umask).
    pub fn set_umask(&self, mask: u32) -> u32 {
        self.umask.swap(mask & 0o777, Relaxed)
    }
}

/// Limits of the caller's process that calls on files look at (Linux: struct rlimit).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FileLimits {
    /// Descriptors (RLIMIT_NOFILE).
    pub nofile: u64,
    /// Bytes of a file that it makes longer (RLIMIT_FSIZE).
    pub fsize: u64,
}

/// The caller of a function of this room.
#[derive(Clone, Copy)]
pub struct Caller<'a> {
    /// Descriptors.
    pub files: &'a FdTable,
    /// Root and working directory.
    pub fs: &'a FsContext,
    /// Credentials.
    pub cred: &'a Cred,
    /// Limits.
    pub limits: FileLimits,
}

impl Caller<'_> {
    /// The directory, or other place, that a path without a slash at its start is counted from.
    ///
    /// # Errors
    /// `EBADF`
    pub(super) fn start(&self, dirfd: i32) -> Result<Path, Errno> {
        if dirfd == AT_FDCWD {
            return Ok(self.fs.pwd());
        }
        self.files.get_raw(dirfd).map(|file| file.path().clone())
    }
}
