//! Files of shared memory that have no name: shared anonymous memory, `/dev/zero` (Linux:
//! shmem_kernel_file_setup, shmem_zero_setup).
#![deny(unsafe_code)]

use super::Shmem;
use crate::errno::Errno;
use crate::mm::alloc::KArc;
use crate::mm::filemap::{AddressSpace, FaultError, FileAccess, MappedFile, VmFile};
use crate::mm::gfp::Gfp;
use crate::mm::page::Frame;
use crate::unsize;
use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Device number of the kernel's own file system of shared memory, which is mounted nowhere
/// (Linux: shm_mnt, the first anonymous device).
pub const SHMEM_DEV: u64 = 1;

crate::machine_local! {
    static NEXT_INO: AtomicU64 = AtomicU64::new(1);
}

/// Returns an inode number that was not given out before. Any context (Linux: get_next_ino).
#[must_use]
pub fn get_next_ino() -> u64 {
    NEXT_INO.fetch_add(1, Relaxed)
}

/// A file without a name in any directory.
struct KernelFile {
    shmem: Shmem,
    ino: u64,
    name: &'static str,
}

impl MappedFile for KernelFile {
    fn mapping(&self) -> &AddressSpace {
        self.shmem.mapping()
    }
    fn fault(&self, index: u64, _: bool) -> Result<Frame, FaultError> {
        self.shmem.fault(index)
    }
    fn id(&self) -> (u64, u64) {
        (SHMEM_DEV, self.ino)
    }
    fn fmt_path(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        write!(out, "/{} (deleted)", self.name)
    }
    fn may(&self) -> FileAccess {
        FileAccess::READ | FileAccess::WRITE
    }
    fn punch_hole(&self, at: u64, len: u64) -> Result<(), Errno> {
        self.shmem.punch_hole(at, len);
        Ok(())
    }
    fn is_anon_shmem(&self) -> bool {
        true
    }
    fn is_shmem(&self) -> bool {
        true
    }
}

/// A file of `size` bytes of shared memory, shown as `/name (deleted)`. Process context (Linux:
/// shmem_kernel_file_setup; with `noreserve` as VM_NORESERVE says).
///
/// # Errors
/// `EINVAL` for a size that no file can have; `ENOMEM`.
pub fn shmem_kernel_file(name: &'static str, size: u64, noreserve: bool) -> Result<VmFile, Errno> {
    let shmem = Shmem::new(size, noreserve, None)?;
    let file = KArc::new(KernelFile { shmem, ino: get_next_ino(), name }, Gfp::GFP_KERNEL)?;
    Ok(unsize!(KArc, file => dyn MappedFile))
}

/// A file behind shared anonymous memory of `size` bytes (Linux: shmem_zero_setup). Process
/// context.
///
/// # Errors
/// As [`shmem_kernel_file`].
pub fn shmem_zero_setup(size: u64, noreserve: bool) -> Result<VmFile, Errno> {
    shmem_kernel_file("dev/zero", size, noreserve)
}
