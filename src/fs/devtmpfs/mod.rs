//! Character devices and `/dev` (Linux: drivers/char/mem.c, drivers/char/random.c,
//! drivers/base/devtmpfs.c, fs/char_dev.c).
//!
//! | file | devices |
//! | --- | --- |
//! | `mem` | null, zero, full, random, urandom |
//! | `kmsg` | the kernel's log |
//! | `tty` | console and tty: the console's UART |
//! | `line` | policy: lines that are typed |
//!
//! Devices have fixed numbers (Linux: Documentation/admin-guide/devices.txt), in a table that
//! [`chrdev_open`] looks them up in, whatever file system the device node is in.
#![deny(unsafe_code)]

#[cfg(target_os = "none")]
mod kmsg;
#[cfg_attr(not(target_os = "none"), allow(dead_code, reason = "serves the console of bare metal"))]
mod line;
mod mem;
#[cfg(target_os = "none")]
mod tty;

use super::tmpfs::{self, Options};
use super::vfs::{FileOps, FileType, Mount, MountFlags, NewInode, NewKind, major, makedev, minor};
use crate::errno::Errno;
use crate::mm::alloc::{KArc, KBox};
use crate::mm::gfp::Gfp;
use crate::unsize;

/// A character device.
struct CharDevice {
    name: &'static str,
    major: u32,
    minor: u32,
    /// Permissions of its node.
    mode: u32,
    open: fn() -> Result<KBox<dyn FileOps>, Errno>,
}

/// A function that opens a device whose operations are those of `$ops`.
macro_rules! opens {
    ($ops:expr) => {
        || Ok(unsize!(KBox, KBox::new($ops, Gfp::GFP_KERNEL)? => dyn FileOps))
    };
}

const DEVICES: &[CharDevice] = &[
    CharDevice { name: "null", major: 1, minor: 3, mode: 0o666, open: opens!(mem::Null) },
    CharDevice { name: "zero", major: 1, minor: 5, mode: 0o666, open: opens!(mem::Zero) },
    CharDevice { name: "full", major: 1, minor: 7, mode: 0o666, open: opens!(mem::Full) },
    #[cfg(target_os = "none")]
    CharDevice { name: "random", major: 1, minor: 8, mode: 0o666, open: opens!(mem::Random) },
    #[cfg(target_os = "none")]
    CharDevice { name: "urandom", major: 1, minor: 9, mode: 0o666, open: opens!(mem::Random) },
    #[cfg(target_os = "none")]
    CharDevice { name: "kmsg", major: 1, minor: 11, mode: 0o644, open: opens!(kmsg::Kmsg::new()) },
    #[cfg(target_os = "none")]
    CharDevice { name: "tty", major: 5, minor: 0, mode: 0o666, open: opens!(tty::Console) },
    #[cfg(target_os = "none")]
    CharDevice { name: "console", major: 5, minor: 1, mode: 0o600, open: opens!(tty::Console) },
];

/// Opens the character device of a number. Process context (Linux: chrdev_open).
///
/// # Errors
/// `ENXIO` where there is none; `ENOMEM`.
pub fn chrdev_open(dev: u64) -> Result<KBox<dyn FileOps>, Errno> {
    let found = DEVICES.iter().find(|of| (of.major, of.minor) == (major(dev), minor(dev)));
    found.ok_or(Errno::ENXIO).and_then(|device| (device.open)())
}

/// A file system with a node for each device, mounted nowhere yet. Process context (Linux:
/// devtmpfs_init).
///
/// # Errors
/// `ENOMEM`
pub fn new_mount() -> Result<KArc<Mount>, Errno> {
    let options = Options { mode: 0o755, ..Options::default() };
    let mount = tmpfs::new_mount("devtmpfs", b"devtmpfs", options, MountFlags::default())?;
    let root = mount.root();
    let dir = root.inode().dir_ops().ok_or(Errno::ENOTDIR)?;
    for device in DEVICES {
        let kind = NewKind::Node(FileType::Char, makedev(device.major, device.minor));
        let new = NewInode { kind, mode: device.mode, uid: 0, gid: 0 };
        dir.create(root, device.name.as_bytes(), &new)?;
    }
    Ok(mount)
}
