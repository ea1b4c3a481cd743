//! File systems, and where they are mounted (Linux: fs/namespace.c, fs/super.c).
#![deny(unsafe_code)]

use super::{Dentry, InodeId, Kstatfs, Path, makedev};
use crate::arch::irq::with_masked;
use crate::errno::Errno;
use crate::machine_local;
use crate::mm::alloc::{KArc, KVec};
use crate::mm::gfp::Gfp;
use crate::mm::shmem::SHMEM_DEV;
use crate::sync::{Rank, SpinLock};
use core::fmt;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// A file system (Linux: struct super_block).
pub trait SuperBlock: Send + Sync {
    /// Name of the kind, such as `tmpfs`.
    fn fs_type(&self) -> &'static str;
    /// Device number.
    fn dev(&self) -> u64;
    /// Figures of the file system.
    fn statfs(&self) -> Kstatfs;
    /// Writes the options that it was mounted with, each with a comma before it.
    ///
    /// # Errors
    /// Those of `out`.
    fn show_options(&self, _out: &mut dyn fmt::Write) -> fmt::Result {
        Ok(())
    }
    /// Takes the tree apart when its last mount has gone (Linux: kill_litter_super).
    fn kill(&self, _root: &KArc<Dentry>) {}
    /// Bytes of the largest file (Linux: s_maxbytes).
    fn max_bytes(&self) -> u64 {
        i64::MAX as u64
    }
}

/// Restrictions of a mount.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct MountFlags {
    /// Changes (Linux: MNT_READONLY).
    pub read_only: bool,
    /// Execution of programs (Linux: MNT_NOEXEC).
    pub no_exec: bool,
    /// Device nodes (Linux: MNT_NODEV).
    pub no_dev: bool,
    /// The rights of a program's owner (Linux: MNT_NOSUID).
    pub no_suid: bool,
}

/// A file system at a place (Linux: struct mount).
pub struct Mount {
    id: u32,
    sb: KArc<dyn SuperBlock>,
    root: KArc<Dentry>,
    flags: MountFlags,
    source: KVec<u8>,
    /// The directory that it covers; none at the root of all.
    at: SpinLock<Option<Path>>,
}

/// A mount that is part of the tree, and the directory that it covers.
struct Attached {
    mount: KArc<Mount>,
    /// Number of the mount below, and the inode there.
    over: Option<(u32, InodeId)>,
}

machine_local! {
    static MOUNTS: SpinLock<KVec<Attached>> = SpinLock::new(Rank::Vfs, KVec::new());
    static NEXT_ID: AtomicU32 = AtomicU32::new(1);
    static NEXT_DEV: AtomicU32 = AtomicU32::new(SHMEM_DEV as u32 + 1);
}

/// Returns a device number for a file system without a device. Any context (Linux: get_anon_bdev).
#[must_use]
pub fn get_anon_dev() -> u64 {
    makedev(0, NEXT_DEV.fetch_add(1, Relaxed))
}

impl Mount {
    /// A mount of a file system that is nowhere yet. Process context.
    ///
    /// # Errors
    /// `ENOMEM`
    pub fn new(
        sb: KArc<dyn SuperBlock>,
        root: KArc<Dentry>,
        source: &[u8],
        flags: MountFlags,
    ) -> Result<KArc<Self>, Errno> {
        let mut name = KVec::new();
        name.extend_from_slice(source, Gfp::GFP_KERNEL)?;
        let source = name;
        let id = NEXT_ID.fetch_add(1, Relaxed);
        let at = SpinLock::new(Rank::Vfs, None);
        Ok(KArc::new(Self { id, sb, root, flags, source, at }, Gfp::GFP_KERNEL)?)
    }

    /// Number of the mount.
    #[must_use]
    pub const fn id(&self) -> u32 {
        self.id
    }
    /// Root of what is mounted.
    #[must_use]
    pub const fn root(&self) -> &KArc<Dentry> {
        &self.root
    }
    /// File system.
    #[must_use]
    pub fn sb(&self) -> &dyn SuperBlock {
        &*self.sb
    }
    /// Restrictions of the mount.
    #[must_use]
    pub const fn flags(&self) -> MountFlags {
        self.flags
    }
    /// The directory that it covers. Any context.
    #[must_use]
    pub fn mountpoint(&self) -> Option<Path> {
        with_masked(|irq| self.at.lock(irq).clone())
    }

    /// Checks that the mount permits changes (Linux: mnt_want_write).
    ///
    /// # Errors
    /// `EROFS`
    pub(super) fn want_write(&self) -> Result<(), Errno> {
        if self.flags.read_only { Err(Errno::EROFS) } else { Ok(()) }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        self.sb.kill(&self.root);
    }
}

/// The root of a mount, as a path.
#[must_use]
pub fn root_of(mount: &KArc<Mount>) -> Path {
    Path { mnt: mount.clone(), dentry: mount.root.clone() }
}

/// Makes `mount` part of the tree: over the directory `at`, or as the root of all. Process context
/// (Linux: do_add_mount).
///
/// # Errors
/// `ENOTDIR` where a directory is to cover something else; `EBUSY` if it is mounted already;
/// `ENOMEM`.
pub fn attach(mount: &KArc<Mount>, at: Option<&Path>) -> Result<(), Errno> {
    if at.is_some_and(|at| !at.dentry.is_dir()) || !mount.root.is_dir() {
        return Err(Errno::ENOTDIR);
    }
    let over = at.map(|at| (at.mnt.id, at.id()));
    loop {
        let len = with_masked(|irq| MOUNTS.lock(irq).len());
        let mut larger = KVec::with_capacity(len + 1, Gfp::GFP_KERNEL)?;
        let mut attached = Some(Attached { mount: mount.clone(), over });
        let done = with_masked(|irq| {
            let mut mounts = MOUNTS.lock(irq);
            if mounts.iter().any(|other| KArc::ptr_eq(&other.mount, mount)) {
                return Err(Errno::EBUSY);
            }
            if mounts.len() >= larger.capacity() {
                return Ok(false);
            }
            core::mem::swap(&mut *mounts, &mut larger);
            while !larger.is_empty() {
                let first = larger.remove(0).expect("it is not empty");
                let _fits = mounts.push_within_capacity(first);
            }
            let _fits = attached.take().map(|new| mounts.push_within_capacity(new));
            Ok(true)
        })?;
        if done {
            break;
        }
    }
    let at = at.cloned();
    let _old = with_masked(|irq| core::mem::replace(&mut *mount.at.lock(irq), at));
    Ok(())
}

/// Takes a mount out of the tree. It ends when nobody refers to it any more (Linux: do_umount with
/// MNT_DETACH, and without it `force` is false).
///
/// # Errors
/// `EINVAL` where it isn't part of the tree, or is the root of all; `EBUSY` without `force` where
/// another is mounted in it, or somebody has a file of it.
pub fn detach(mount: &KArc<Mount>, force: bool) -> Result<(), Errno> {
    let attached = with_masked(|irq| {
        let mut mounts = MOUNTS.lock(irq);
        let place = mounts.iter().position(|other| KArc::ptr_eq(&other.mount, mount));
        let place = place.filter(|&n| mounts[n].over.is_some()).ok_or(Errno::EINVAL)?;
        let covered = |other: &Attached| other.over.is_some_and(|(id, _)| id == mount.id);
        if mounts.iter().any(covered) {
            return Err(Errno::EBUSY);
        }
        // The caller's reference, and the tree's.
        if !force && KArc::strong_count(mount) > 2 {
            return Err(Errno::EBUSY);
        }
        mounts.remove(place).ok_or(Errno::EINVAL)
    })?;
    let _at = with_masked(|irq| mount.at.lock(irq).take());
    drop(attached);
    Ok(())
}

/// Takes all mounts out of the tree. What nobody has open ends with it. Process context.
pub fn detach_all() {
    let mounts = with_masked(|irq| core::mem::take(&mut *MOUNTS.lock(irq)));
    for attached in mounts.iter().rev() {
        let _at = with_masked(|irq| attached.mount.at.lock(irq).take());
    }
    let mut mounts = mounts;
    while let Some(attached) = mounts.pop() {
        drop(attached);
    }
}

/// The root of what is mounted over a directory, and over that, up to what can be seen (Linux:
/// traverse_mounts). Any context.
#[must_use]
pub fn traverse(mut path: Path) -> Path {
    while let Some(over) = lookup_mnt(&path) {
        path = root_of(&over);
    }
    path
}

/// The mount over a directory, the last one of several.
#[must_use]
pub fn lookup_mnt(path: &Path) -> Option<KArc<Mount>> {
    let over = Some((path.mnt.id, path.id()));
    with_masked(|irq| {
        let mounts = MOUNTS.lock(irq);
        mounts.iter().rev().find(|other| other.over == over).map(|other| other.mount.clone())
    })
}

/// Returns true if something is mounted over the inode `id`, found by whatever mount.
pub(super) fn is_mountpoint(id: InodeId) -> bool {
    with_masked(|irq| {
        let mounts = MOUNTS.lock(irq);
        mounts.iter().any(|other| other.over.is_some_and(|(_, over)| over == id))
    })
}

/// The root of all mounts, what covers it included.
///
/// # Errors
/// `ENOENT` before there is one.
pub fn root() -> Result<Path, Errno> {
    let first = with_masked(|irq| MOUNTS.lock(irq).first().map(|first| first.mount.clone()));
    first.map(|mount| traverse(root_of(&mount))).ok_or(Errno::ENOENT)
}

/// The `n`th mount of the tree.
#[must_use]
pub fn nth(n: usize) -> Option<KArc<Mount>> {
    with_masked(|irq| MOUNTS.lock(irq).get(n).map(|attached| attached.mount.clone()))
}

/// Writes /proc/mounts: a line for each mount that can be seen from the root of all (Linux:
/// show_vfsmnt).
///
/// # Errors
/// Those of `out`, and want of memory for a path.
pub fn show_mounts(out: &mut dyn fmt::Write) -> fmt::Result {
    let mut n = 0;
    while let Some(mount) = nth(n) {
        n += 1;
        let (path, _) = super::d_path(&root_of(&mount), None).map_err(|_| fmt::Error)?;
        escape(out, &mount.source)?;
        out.write_char(' ')?;
        escape(out, &path)?;
        let write = if mount.flags.read_only { "ro" } else { "rw" };
        write!(out, " {} {write}", mount.sb.fs_type())?;
        for (is_set, text) in [
            (mount.flags.no_suid, ",nosuid"),
            (mount.flags.no_dev, ",nodev"),
            (mount.flags.no_exec, ",noexec"),
        ] {
            if is_set {
                out.write_str(text)?;
            }
        }
        out.write_str(",relatime")?;
        mount.sb.show_options(out)?;
        writeln!(out, " 0 0")?;
    }
    Ok(())
}

/// Writes a path with white space and backslashes in octal (Linux: mangle_path).
fn escape(out: &mut dyn fmt::Write, path: &[u8]) -> fmt::Result {
    for &byte in path {
        match byte {
            b' ' | b'\t' | b'\n' | b'\\' | 0x80.. => write!(out, "\\{byte:03o}")?,
            _ => out.write_char(char::from(byte))?,
        }
    }
    Ok(())
}
