//! Open files (Linux: struct file).
#![deny(unsafe_code)]

use super::{FileOps, FileType, Inode, Kstat, May, Mmap, Path, Whence, d_path};
use crate::errno::Errno;
use crate::mm::alloc::{KArc, KBox};
use crate::mm::filemap::{AddressSpace, FaultError, FileAccess, MappedFile, VmFile};
use crate::mm::gfp::Gfp;
use crate::mm::page::Frame;
use crate::mm::shmem::shmem_zero_setup;
use crate::sched::{Mutex, MutexGuard};
use crate::sync::SleepRank;
use crate::unsize;
use core::fmt;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use linux_raw_sys::general::{
    O_ACCMODE, O_APPEND, O_DIRECT, O_LARGEFILE, O_NOATIME, O_NONBLOCK, O_PATH,
};

/// Status flags that F_SETFL changes.
const SETFL_MASK: u32 = O_APPEND | O_NONBLOCK | O_DIRECT | O_NOATIME;

/// An open file (Linux: struct file).
pub struct OpenFile {
    path: Path,
    /// Flags of open(2) that F_GETFL shows.
    flags: AtomicU32,
    /// Access that it was opened for.
    mode: May,
    pos: AtomicU64,
    pos_lock: Mutex,
    /// Operations of this open file, where they are not the inode's.
    ops: Option<KBox<dyn FileOps>>,
}

/// Memory that a mapping of a file gives.
#[derive(Debug)]
pub enum MmapKind {
    /// A file: this one, or shared memory for a shared mapping of zeros.
    File(VmFile),
    /// Anonymous memory: a private mapping of zeros.
    Anonymous,
}

impl fmt::Debug for dyn MappedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (dev, ino) = self.id();
        write!(f, "MappedFile({dev:#x}:{ino})")
    }
}

impl OpenFile {
    /// Opens the inode at `path`; who may was checked. Process context (Linux: vfs_open).
    ///
    /// # Errors
    /// Those of the inode; `ENOMEM`.
    pub fn new(path: Path, flags: u32) -> Result<KArc<Self>, Errno> {
        let is_path = flags & O_PATH != 0;
        let mode = match flags & O_ACCMODE {
            _ if is_path => May::empty(),
            0 => May::READ,
            1 => May::WRITE,
            2 => May::READ | May::WRITE,
            // For ioctl alone.
            _ => May::empty(),
        };
        let ops = if is_path { None } else { path.inode().clone().open(&path, flags)? };
        let (pos, pos_lock) = (AtomicU64::new(0), Mutex::new(SleepRank::FilePos));
        let flags = AtomicU32::new(flags | if is_path { 0 } else { O_LARGEFILE });
        Ok(KArc::new(Self { path, flags, mode, pos, pos_lock, ops }, Gfp::GFP_KERNEL)?)
    }

    /// Path by which it was found.
    #[must_use]
    pub const fn path(&self) -> &Path {
        &self.path
    }
    /// The inode.
    #[must_use]
    pub fn inode(&self) -> &dyn Inode {
        &**self.path.inode()
    }
    /// Operations.
    #[must_use]
    pub fn ops(&self) -> &dyn FileOps {
        self.ops.as_deref().unwrap_or_else(|| self.inode().file_ops())
    }
    /// Flags of open(2).
    #[must_use]
    pub fn flags(&self) -> u32 {
        self.flags.load(Relaxed)
    }
    /// Changes the status flags that can be changed (Linux: setfl).
    pub fn set_status(&self, flags: u32) {
        let kept = self.flags() & !SETFL_MASK;
        self.flags.store(kept | flags & SETFL_MASK, Relaxed);
    }
    /// Returns true if it was opened for `may`.
    #[must_use]
    pub const fn is_open_for(&self, may: May) -> bool {
        self.mode.contains(may)
    }
    /// Returns true if it only names a place (Linux: FMODE_PATH).
    #[must_use]
    pub fn is_path(&self) -> bool {
        self.flags() & O_PATH != 0
    }
    /// Attributes of the file.
    #[must_use]
    pub fn getattr(&self) -> Kstat {
        super::vfs_getattr(&self.path)
    }

    /// The position, and the lock that its users take one after the other.
    pub(super) fn lock_pos(&self) -> (Option<MutexGuard<'_>>, u64) {
        let guard = (!self.ops().is_stream()).then(|| self.pos_lock.lock());
        (guard, self.pos.load(Relaxed))
    }
    /// Sets the position.
    pub(super) fn set_pos(&self, pos: u64) {
        self.pos.store(pos, Relaxed);
    }

    /// Returns what a mapping of the file is made of. Process context.
    ///
    /// # Errors
    /// `EACCES` where it isn't open for reading, or a shared one that is to be written not for
    /// writing; `ENODEV` where the file can't be mapped; `ENOMEM`.
    pub fn mmap(
        this: &KArc<Self>,
        shared: bool,
        writable: bool,
        len: u64,
    ) -> Result<MmapKind, Errno> {
        if this.is_path() {
            return Err(Errno::EBADF);
        }
        if shared && writable && !this.is_open_for(May::WRITE) || !this.is_open_for(May::READ) {
            return Err(Errno::EACCES);
        }
        Ok(match this.ops().mmap(this)? {
            Mmap::File => MmapKind::File(unsize!(KArc, this.clone() => dyn MappedFile)),
            Mmap::Zero if shared => MmapKind::File(shmem_zero_setup(len, false)?),
            Mmap::Zero => MmapKind::Anonymous,
        })
    }
}

/// Moves a position by the size of the file (Linux: generic_file_llseek).
///
/// # Errors
/// `EINVAL` for a position below 0 or beyond the largest file; `ENXIO` beyond the end where data
/// or holes are looked for.
pub(in crate::fs) fn generic_llseek(
    file: &OpenFile,
    pos: u64,
    offset: i64,
    whence: Whence,
) -> Result<u64, Errno> {
    let size = || file.inode().getattr().size;
    let base = match whence {
        Whence::Set => 0,
        Whence::Current => pos,
        Whence::End => size(),
        // All is data, and the hole is behind it.
        Whence::Data | Whence::Hole => {
            let at = u64::try_from(offset).ok().filter(|&at| at < size()).ok_or(Errno::ENXIO)?;
            return Ok(if whence == Whence::Data { at } else { size() });
        }
    };
    let to = i64::try_from(base).ok().and_then(|base| base.checked_add(offset));
    let to = to.and_then(|to| u64::try_from(to).ok()).ok_or(Errno::EINVAL)?;
    if to > file.inode().sb().max_bytes() { Err(Errno::EINVAL) } else { Ok(to) }
}

impl MappedFile for OpenFile {
    fn mapping(&self) -> &AddressSpace {
        self.inode().pages().expect("a file that is mapped has pages").mapping()
    }
    fn fault(&self, index: u64, _: bool) -> Result<Frame, FaultError> {
        self.inode().pages().map_or(Err(FaultError::Sigbus), |pages| pages.fault(index))
    }
    fn id(&self) -> (u64, u64) {
        let id = self.inode().id();
        (id.dev, id.ino)
    }
    fn fmt_path(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let (path, _) = d_path(&self.path, None).map_err(|_| fmt::Error)?;
        for chunk in path.utf8_chunks() {
            out.write_str(chunk.valid())?;
            // What is no text is shown as Latin-1: a program's view of it is for eyes alone.
            chunk.invalid().iter().try_for_each(|&byte| out.write_char(char::from(byte)))?;
        }
        if self.path.dentry.is_unlinked() { out.write_str(" (deleted)") } else { Ok(()) }
    }
    fn may(&self) -> FileAccess {
        let mut access = FileAccess::empty();
        access.set(FileAccess::READ, self.is_open_for(May::READ));
        access.set(FileAccess::WRITE, self.is_open_for(May::WRITE));
        access.set(FileAccess::NOEXEC, self.path.mnt.flags().no_exec);
        access
    }
    fn is_shmem(&self) -> bool {
        self.inode().pages().is_some_and(super::Pages::is_shmem)
    }
}

impl fmt::Debug for OpenFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OpenFile({:?}, flags {:#o})", self.inode().id(), self.flags())
    }
}

/// Reads `bytes.len()` bytes of a file for the kernel, from `at` on; fewer at its end. Process
/// context (Linux: kernel_read).
///
/// # Errors
/// `EINVAL` where it can't be read; `EBADF` where it isn't open for reading.
pub fn kernel_read(file: &OpenFile, at: u64, bytes: &mut [u8]) -> Result<usize, Errno> {
    if !file.is_open_for(May::READ) {
        return Err(Errno::EBADF);
    }
    let mut sink = crate::arch::uaccess::KernelSink::new(bytes);
    let (mut pos, mut done) = (at, 0);
    loop {
        let read = file.ops().read(file, &mut pos, &mut sink)?;
        done += read;
        if read == 0 || crate::arch::uaccess::IoSink::remaining(&sink) == 0 {
            return Ok(done);
        }
    }
}

/// Type of the file, for checks that one is regular.
impl OpenFile {
    /// Type of the file.
    #[must_use]
    pub fn file_type(&self) -> FileType {
        self.inode().owner().file_type()
    }
}
