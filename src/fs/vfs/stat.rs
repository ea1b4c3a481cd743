//! Times, device numbers, and the structures of stat, statx, statfs and getdents64 as bytes.
#![deny(unsafe_code)]

use super::{DirEntry, Kstat};
use crate::time;
use core::mem::offset_of;
use linux_raw_sys::general::{
    STATX_BASIC_STATS, STATX_BTIME, STATX_MNT_ID, linux_dirent64, stat, statfs, statx,
    statx_timestamp,
};

/// A time since 1970 (Linux: struct timespec64).
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Timespec {
    /// Seconds.
    pub sec: i64,
    /// Nanoseconds, below 10^9.
    pub nsec: u32,
}

impl Timespec {
    /// The realtime clock (Linux: current_time). Any context.
    #[must_use]
    pub fn now() -> Self {
        let now = time::ktime_get_real();
        let (sec, nsec) = (now / time::NSEC_PER_SEC, now % time::NSEC_PER_SEC);
        Self { sec: sec as i64, nsec: nsec as u32 }
    }
}

/// Packs a device number as system calls have it (Linux: new_encode_dev).
#[must_use]
pub const fn makedev(major: u32, minor: u32) -> u64 {
    (minor & 0xff | major << 8 | (minor & !0xff) << 12) as u64
}

/// Major number of a device (Linux: new_decode_dev).
#[must_use]
pub const fn major(dev: u64) -> u32 {
    (dev as u32 & 0xf_ff00) >> 8
}

/// Minor number of a device.
#[must_use]
pub const fn minor(dev: u64) -> u32 {
    dev as u32 & 0xff | (dev as u32 >> 12) & 0xf_ff00
}

/// Writes fields of a structure of the ABI into bytes that are 0 otherwise, so that no padding
/// tells anything. The compiler checks that each value has its field's type.
macro_rules! put {
    ($bytes:ident: $type:ty { $($($field:ident).+ = $value:expr;)+ }) => {
        $({
            let value = $value;
            let _same_type = |all: &mut $type| all.$($field).+ = value;
            let bytes = value.to_ne_bytes();
            $bytes[offset_of!($type, $($field).+)..][..bytes.len()].copy_from_slice(&bytes);
        })+
    };
}

impl Kstat {
    /// The structure of newfstatat and fstat.
    #[must_use]
    pub fn to_stat(&self) -> [u8; size_of::<stat>()] {
        let mut bytes = [0; size_of::<stat>()];
        put! { bytes: stat {
            st_dev = self.id.dev;
            st_ino = self.id.ino;
            st_mode = self.owner.mode;
            st_nlink = self.nlink as _;
            st_uid = self.owner.uid;
            st_gid = self.owner.gid;
            st_rdev = self.rdev;
            st_size = self.size as _;
            st_blksize = self.blksize as _;
            st_blocks = self.blocks as _;
            st_atime = self.atime.sec as _;
            st_atime_nsec = self.atime.nsec.into();
            st_mtime = self.mtime.sec as _;
            st_mtime_nsec = self.mtime.nsec.into();
            st_ctime = self.ctime.sec as _;
            st_ctime_nsec = self.ctime.nsec.into();
        } }
        bytes
    }

    /// The structure of statx, with all that is known whatever was asked for.
    #[must_use]
    pub fn to_statx(&self) -> [u8; size_of::<statx>()] {
        let mut bytes = [0; size_of::<statx>()];
        put! { bytes: statx {
            stx_mask = STATX_BASIC_STATS | STATX_BTIME | STATX_MNT_ID;
            stx_blksize = self.blksize;
            stx_nlink = self.nlink;
            stx_uid = self.owner.uid;
            stx_gid = self.owner.gid;
            stx_mode = self.owner.mode as u16;
            stx_ino = self.id.ino;
            stx_size = self.size;
            stx_blocks = self.blocks;
            stx_rdev_major = major(self.rdev);
            stx_rdev_minor = minor(self.rdev);
            stx_dev_major = major(self.id.dev);
            stx_dev_minor = minor(self.id.dev);
            stx_mnt_id = self.mnt_id;
        } }
        for (at, time) in [
            (offset_of!(statx, stx_atime), self.atime),
            (offset_of!(statx, stx_btime), self.btime),
            (offset_of!(statx, stx_ctime), self.ctime),
            (offset_of!(statx, stx_mtime), self.mtime),
        ] {
            let part = &mut bytes[at..][..size_of::<statx_timestamp>()];
            put! { part: statx_timestamp { tv_sec = time.sec; tv_nsec = time.nsec; } }
        }
        bytes
    }
}

/// Figures of a file system (Linux: struct kstatfs).
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Kstatfs {
    /// Number of the kind of file system.
    pub magic: u32,
    /// Bytes of a block.
    pub bsize: u64,
    /// Blocks.
    pub blocks: u64,
    /// Blocks that are free.
    pub bfree: u64,
    /// Inodes.
    pub files: u64,
    /// Inodes that are free.
    pub ffree: u64,
    /// Device number, which tells file systems apart.
    pub dev: u64,
    /// Bytes of the longest name.
    pub namelen: u64,
    /// Flags of the mount (Linux: ST_ of include/linux/statfs.h).
    pub flags: u64,
}

impl Kstatfs {
    /// The structure of statfs and fstatfs.
    #[must_use]
    pub fn to_statfs(&self) -> [u8; size_of::<statfs>()] {
        let mut bytes = [0; size_of::<statfs>()];
        put! { bytes: statfs {
            f_type = self.magic.into();
            f_bsize = self.bsize as _;
            f_blocks = self.blocks as _;
            f_bfree = self.bfree as _;
            f_bavail = self.bfree as _;
            f_files = self.files as _;
            f_ffree = self.ffree as _;
            f_namelen = self.namelen as _;
            f_frsize = self.bsize as _;
            f_flags = self.flags as _;
        } }
        let id = self.dev.to_ne_bytes();
        bytes[offset_of!(statfs, f_fsid)..][..id.len()].copy_from_slice(&id);
        bytes
    }
}

/// Bytes before the name in a record of getdents64.
const DIRENT_NAME: usize = offset_of!(linux_dirent64, d_name);
/// Bytes of the longest record.
pub(super) const DIRENT_MAX: usize = (DIRENT_NAME + 256).next_multiple_of(8);

/// Writes the record of getdents64 for `entry` into `bytes`, and returns its length (Linux:
/// filldir64).
///
/// # Panics
/// The name has more than 255 bytes.
pub(super) fn dirent64(entry: &DirEntry<'_>, bytes: &mut [u8; DIRENT_MAX]) -> usize {
    let len = (DIRENT_NAME + entry.name.len() + 1).next_multiple_of(8);
    bytes[..len].fill(0);
    bytes[offset_of!(linux_dirent64, d_ino)..][..8].copy_from_slice(&entry.ino.to_ne_bytes());
    bytes[offset_of!(linux_dirent64, d_off)..][..8].copy_from_slice(&entry.next.to_ne_bytes());
    let reclen = (len as u16).to_ne_bytes();
    bytes[offset_of!(linux_dirent64, d_reclen)..][..2].copy_from_slice(&reclen);
    bytes[offset_of!(linux_dirent64, d_type)] = entry.kind.to_dtype();
    bytes[DIRENT_NAME..][..entry.name.len()].copy_from_slice(entry.name);
    len
}
