//! Executable files become address spaces (Linux: fs/exec.c, fs/binfmt_elf.c,
//! fs/binfmt_script.c).
//!
//! | file | what is there |
//! | --- | --- |
//! | [`elf`] | the headers of an ELF file |
//! | [`load`] | segments become mappings, by an [`AddressSpace`](load::AddressSpace) |
//! | [`random`] | random places of the stack and the heap |
//! | [`script`] | the first line of a script |
//! | [`args`] | strings of arguments and environment, and their limits |
//! | [`stack`] | the first stack: strings, auxiliary vector, pointers |
//!
//! Files are whatever anybody wrote: addresses and sizes of their headers are plain numbers here,
//! which wrap around as in C, until the address space checks them. The order of the checks is
//! Linux's, so that a file with two errors has Linux's error.
#![deny(unsafe_code)]

pub mod args;
pub mod elf;
pub mod load;
pub mod random;
pub mod script;
pub mod stack;

#[cfg(test)]
mod tests;

use crate::errno::Errno;

/// Bytes at the start of a file by which its format is told (Linux: BINPRM_BUF_SIZE).
pub const BINPRM_BUF_SIZE: usize = 256;

/// File that is executed, as far as its bytes go.
pub trait ExecFile {
    /// Reads bytes from `offset` on into `to`; returns how many there were, fewer at the end of the
    /// file alone. Process context (Linux: kernel_read).
    ///
    /// # Errors
    /// Those of the file.
    fn read_at(&self, offset: u64, to: &mut [u8]) -> Result<usize, Errno>;
}

/// Fills `to` from `offset` on.
///
/// # Errors
/// EIO if the file ends before; those of the file.
fn read_exact(file: &dyn ExecFile, offset: u64, to: &mut [u8]) -> Result<(), Errno> {
    // A position is signed (Linux: loff_t).
    if i64::try_from(offset).is_err() {
        return Err(Errno::EINVAL);
    }
    if file.read_at(offset, to)? == to.len() { Ok(()) } else { Err(Errno::EIO) }
}
