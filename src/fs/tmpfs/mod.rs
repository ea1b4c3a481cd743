//! A file system in memory (Linux: mm/shmem.c, Documentation/filesystems/tmpfs.rst).
//!
//! | file | contents |
//! | --- | --- |
//! | `mod` | file systems: limits, options, the end of one |
//! | `inode` | inodes and their attributes |
//! | `file_ops` | reading, writing and listing |
//! | `dir_map` | the entries of a directory |
//! | `namespace` | making, removing and renaming them |
//!
//! The bytes of files are [`Shmem`](crate::mm::shmem::Shmem). A directory refers to its entries, and
//! an entry to its directory; that circle ends when a name is taken away, or with the last mount of
//! the file system ([`SuperBlock::kill`]).
//!
//! # Lock order
//! The sleeping lock of the directories (`SleepRank::Directories`), then the map of one directory
//! (`Rank::Directory`), then the name of an entry or the attributes of an inode (`Rank::Vfs`).
#![deny(unsafe_code)]

mod dir_map;
mod file_ops;
mod inode;
mod namespace;

use super::vfs::{
    Dentry, Inode, Kstatfs, Mount, MountFlags, NewInode, NewKind, SuperBlock, get_anon_dev,
};
use crate::addr::PAGE_SIZE;
use crate::errno::Errno;
use crate::mm::alloc::KArc;
use crate::mm::gfp::Gfp;
use crate::mm::page_alloc;
use crate::mm::shmem::{Limit, MAX_BYTES, ShmemLimits};
use crate::sched::RwSemaphore;
use crate::sync::SleepRank;
use crate::unsize;
use core::fmt;
use core::sync::atomic::AtomicU64;
use inode::TmpfsInode;
use linux_raw_sys::general::TMPFS_MAGIC;

/// A file system in memory (Linux: struct shmem_sb_info).
struct TmpfsSb {
    name: &'static str,
    dev: u64,
    limits: KArc<ShmemLimits>,
    next_ino: AtomicU64,
    /// The lock of all directories.
    tree: RwSemaphore,
    options: Options,
}

/// Options of a mount. Limits of 0 are none; without them half of RAM.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options {
    /// Pages of files.
    pub blocks: Option<u64>,
    /// Inodes.
    pub inodes: Option<u64>,
    /// Permissions of the root directory.
    pub mode: u32,
    /// Owner of the root directory.
    pub uid: u32,
    /// Group of the root directory.
    pub gid: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { blocks: None, inodes: None, mode: 0o1777, uid: 0, gid: 0 }
    }
}

/// Pages of RAM.
fn total_pages() -> u64 {
    page_alloc::zones().map(|zone| u64::from(zone.managed)).sum()
}

impl Options {
    /// Reads `size=`, `nr_blocks=`, `nr_inodes=`, `mode=`, `uid=` and `gid=`, with commas between
    /// them. Sizes may have a suffix, or a percent sign for a part of RAM (Linux:
    /// shmem_parse_one).
    ///
    /// # Errors
    /// `EINVAL` for an option that isn't known, or a value that is none.
    pub fn parse(text: &str) -> Result<Self, Errno> {
        let mut options = Self::default();
        for option in text.split(',').filter(|option| !option.is_empty()) {
            let (name, value) = option.split_once('=').ok_or(Errno::EINVAL)?;
            match name {
                "size" => {
                    let bytes = match value.strip_suffix('%') {
                        Some(part) => {
                            let part: u64 = part.parse().map_err(|_| Errno::EINVAL)?;
                            let pages = part.checked_mul(total_pages()).ok_or(Errno::EINVAL)?;
                            pages / 100 * PAGE_SIZE as u64
                        }
                        None => size(value)?,
                    };
                    options.blocks = Some(bytes.div_ceil(PAGE_SIZE as u64));
                }
                "nr_blocks" => options.blocks = Some(size(value)?),
                "nr_inodes" => options.inodes = Some(size(value)?),
                "mode" => {
                    let mode = u32::from_str_radix(value, 8).map_err(|_| Errno::EINVAL)?;
                    options.mode = mode & 0o7777;
                }
                "uid" => options.uid = value.parse().map_err(|_| Errno::EINVAL)?,
                "gid" => options.gid = value.parse().map_err(|_| Errno::EINVAL)?,
                _ => return Err(Errno::EINVAL),
            }
        }
        Ok(options)
    }
}

/// A number with a suffix (Linux: memparse).
fn size(text: &str) -> Result<u64, Errno> {
    let (digits, shift) = match text.as_bytes().last() {
        Some(b'k' | b'K') => (&text[..text.len() - 1], 10),
        Some(b'm' | b'M') => (&text[..text.len() - 1], 20),
        Some(b'g' | b'G') => (&text[..text.len() - 1], 30),
        Some(b't' | b'T') => (&text[..text.len() - 1], 40),
        _ => (text, 0),
    };
    let number: u64 = digits.parse().map_err(|_| Errno::EINVAL)?;
    number.checked_mul(1 << shift).ok_or(Errno::EINVAL)
}

/// Mounts an empty file system of the kind `name` (tmpfs, devtmpfs, rootfs) nowhere yet. Process
/// context.
///
/// # Errors
/// `ENOMEM`; `ENOSPC` where the limits leave no room for a root directory.
pub fn new_mount(
    name: &'static str,
    source: &[u8],
    options: Options,
    flags: MountFlags,
) -> Result<KArc<Mount>, Errno> {
    let half = total_pages() / 2;
    let limits = ShmemLimits {
        blocks: Limit::new(options.blocks.unwrap_or(half)),
        inodes: Limit::new(options.inodes.unwrap_or(half)),
    };
    let sb = TmpfsSb {
        name,
        dev: get_anon_dev(),
        limits: KArc::new(limits, Gfp::GFP_KERNEL)?,
        next_ino: inode::first_ino(),
        tree: RwSemaphore::new(SleepRank::Directories),
        options,
    };
    let sb = KArc::new(sb, Gfp::GFP_KERNEL)?;
    let (kind, mode) = (NewKind::Directory, options.mode);
    let new = NewInode { kind, mode, uid: options.uid, gid: options.gid };
    let root = TmpfsInode::new(&sb, &new, 2, false)?;
    let root = Dentry::new_root(unsize!(KArc, root => dyn Inode))?;
    Mount::new(unsize!(KArc, sb => dyn SuperBlock), root, source, flags)
}

impl SuperBlock for TmpfsSb {
    fn fs_type(&self) -> &'static str {
        self.name
    }
    fn dev(&self) -> u64 {
        self.dev
    }
    fn max_bytes(&self) -> u64 {
        MAX_BYTES
    }

    fn statfs(&self) -> Kstatfs {
        let (blocks, inodes) = (&self.limits.blocks, &self.limits.inodes);
        Kstatfs {
            magic: TMPFS_MAGIC,
            bsize: PAGE_SIZE as u64,
            blocks: blocks.max(),
            bfree: blocks.max().saturating_sub(blocks.used()),
            files: inodes.max(),
            ffree: inodes.max().saturating_sub(inodes.used()),
            dev: self.dev,
            namelen: super::vfs::NAME_MAX as u64,
            flags: 0,
        }
    }

    fn show_options(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        if let Some(blocks) = self.options.blocks.filter(|&blocks| blocks > 0) {
            write!(out, ",size={}k", blocks * (PAGE_SIZE as u64 >> 10))?;
        }
        if let Some(inodes) = self.options.inodes {
            write!(out, ",nr_inodes={inodes}")?;
        }
        if self.options.mode != Options::default().mode {
            write!(out, ",mode={:03o}", self.options.mode)?;
        }
        for (name, id) in [("uid", self.options.uid), ("gid", self.options.gid)] {
            if id != 0 {
                write!(out, ",{name}={id}")?;
            }
        }
        Ok(())
    }

    /// Takes entries out from below, without recursion: a directory is left when it is empty.
    fn kill(&self, root: &KArc<Dentry>) {
        let mut at = root.clone();
        loop {
            let entry = TmpfsInode::of(&**at.inode()).with_dir(super::tmpfs::dir_map::DirMap::pop);
            match entry {
                Ok(Some(entry)) if entry.is_dir() => at = entry,
                Ok(Some(entry)) => drop(entry),
                _ => match at.parent() {
                    Some(parent) => at = parent,
                    None => return,
                },
            }
        }
    }
}
