//! Files as areas of user memory see them.
#![deny(unsafe_code)]

use super::AddressSpace;
use crate::errno::Errno;
use crate::mm::alloc::KArc;
use crate::mm::page::Frame;
use bitflags::bitflags;
use core::fmt;

bitflags! {
    /// Access that a file permits its mappings.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct FileAccess: u8 {
        /// Open for reading (Linux: FMODE_READ).
        const READ = 1 << 0;
        /// Open for writing (Linux: FMODE_WRITE).
        const WRITE = 1 << 1;
        /// Not to be mapped executable (Linux: path_noexec).
        const NOEXEC = 1 << 2;
    }
}

/// Reason why a file has no page for a fault (Linux: VM_FAULT_SIGBUS, VM_FAULT_OOM).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FaultError {
    /// The page lies past the end of the file, or a limit forbids one more.
    Sigbus,
    /// Memory is short.
    Oom,
}

/// An open file that can be mapped (Linux: struct file with `mmap` and `vm_operations_struct`).
pub trait MappedFile: Send + Sync {
    /// Pages of the file.
    fn mapping(&self) -> &AddressSpace;

    /// Returns the page at `index`, in pages, with a reference that the caller drops by
    /// `put_page`. `write_shared` says that a shared mapping is to be written. Process context, no
    /// spin lock held; takes no sleeping lock of rank `Inode` or before (Linux: `fault`).
    ///
    /// # Errors
    /// [`FaultError`]
    fn fault(&self, index: u64, write_shared: bool) -> Result<Frame, FaultError>;

    /// Numbers of device and inode, as `/proc/PID/maps` shows them.
    fn id(&self) -> (u64, u64);

    /// Writes the path, with ` (deleted)` behind it where the file has no name any more (Linux:
    /// file_path).
    ///
    /// # Errors
    /// Those of `out`.
    fn fmt_path(&self, out: &mut dyn fmt::Write) -> fmt::Result;

    /// Access that the file permits.
    fn may(&self) -> FileAccess;

    /// Notes one more area that maps the file; `shared_writable` if it is shared and may become
    /// writable (Linux: mapping_map_writable).
    ///
    /// # Errors
    /// Such as `EPERM`, where the file forbids it; nothing is noted. A file that forbids nothing
    /// need not count either.
    fn on_map(&self, shared_writable: bool) -> Result<(), Errno> {
        let _ = shared_writable;
        Ok(())
    }

    /// Takes back what [`MappedFile::on_map`] noted.
    fn on_unmap(&self, shared_writable: bool) {
        let _ = shared_writable;
    }

    /// Frees the memory of `len` bytes at `at`, whole pages; the size stays (Linux: vfs_fallocate
    /// with FALLOC_FL_PUNCH_HOLE, by MADV_REMOVE). Process context, without the locks of address
    /// spaces.
    ///
    /// # Errors
    /// `EINVAL` of a file that can't do that.
    fn punch_hole(&self, at: u64, len: u64) -> Result<(), Errno> {
        let _ = (at, len);
        Err(Errno::EINVAL)
    }

    /// Returns true if it is the file behind shared anonymous memory, which may have a name as
    /// such (Linux: vma_is_anon_shmem).
    fn is_anon_shmem(&self) -> bool {
        false
    }

    /// Returns true if the file is shared memory, whose pages count as such in the figures of an
    /// address space.
    fn is_shmem(&self) -> bool {
        false
    }
}

/// A file as areas refer to it.
pub type VmFile = KArc<dyn MappedFile>;
