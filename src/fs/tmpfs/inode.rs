//! Inodes of tmpfs.
#![deny(unsafe_code)]

use super::TmpfsSb;
use super::dir_map::DirMap;
use crate::addr::PAGE_SIZE;
use crate::arch::irq::with_masked;
use crate::errno::Errno;
use crate::fs::devtmpfs;
use crate::fs::vfs::{
    Dentry, DirOps, FileOps, FileType, Iattr, Inode, InodeId, Kstat, NewInode, NewKind, OpenFile,
    Owner, Pages, Path, SuperBlock, Timespec,
};
use crate::mm::alloc::{KArc, KBox, KVec};
use crate::mm::gfp::Gfp;
use crate::mm::shmem::Shmem;
use crate::sync::{Rank, SpinLock};
use core::any::Any;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use linux_raw_sys::general::O_NOATIME;

/// Bytes of a directory's size for each entry (Linux: BOGO_DIRENT_SIZE).
const BOGO_DIRENT_SIZE: u64 = 20;
/// Seconds after which the time of a read is noted anew (Linux: relatime).
const DAY: i64 = 24 * 60 * 60;

/// An inode (Linux: struct shmem_inode_info).
pub(super) struct TmpfsInode {
    sb: KArc<TmpfsSb>,
    ino: u64,
    attrs: SpinLock<Attrs>,
    pub(super) kind: Kind,
}

/// Contents of an inode, by its type.
pub(super) enum Kind {
    File(Shmem),
    Dir(SpinLock<DirMap>),
    Symlink(KVec<u8>),
    /// Device node, FIFO or socket: the number of the device.
    Node(u64),
}

#[derive(Clone, Copy)]
pub(super) struct Attrs {
    owner: Owner,
    nlink: u32,
    /// A file without a name may get one yet (Linux: I_LINKABLE).
    linkable: bool,
    atime: Timespec,
    mtime: Timespec,
    ctime: Timespec,
    btime: Timespec,
}

impl TmpfsInode {
    /// An inode with `nlink` names, which counts in the file system's limit.
    ///
    /// # Errors
    /// `ENOSPC` at the limit; `ENOMEM`.
    pub fn new(
        sb: &KArc<TmpfsSb>,
        new: &NewInode<'_>,
        nlink: u32,
        linkable: bool,
    ) -> Result<KArc<Self>, Errno> {
        let (kind, file_type) = match new.kind {
            NewKind::Regular => {
                let shmem = Shmem::new(0, true, Some(sb.limits.clone()))?;
                (Kind::File(shmem), FileType::Regular)
            }
            NewKind::Directory => {
                (Kind::Dir(SpinLock::new(Rank::Directory, DirMap::new())), FileType::Directory)
            }
            NewKind::Symlink(target) => {
                let mut text = KVec::with_capacity(target.len(), Gfp::GFP_KERNEL)?;
                text.extend_from_slice(target, Gfp::GFP_KERNEL)?;
                (Kind::Symlink(text), FileType::Symlink)
            }
            NewKind::Node(file_type, dev) => (Kind::Node(dev), file_type),
        };
        let now = Timespec::now();
        let mode = file_type.to_mode() | new.mode & 0o7777;
        let owner = Owner { mode, uid: new.uid, gid: new.gid };
        let (atime, mtime, ctime, btime) = (now, now, now, now);
        let attrs = Attrs { owner, nlink, linkable, atime, mtime, ctime, btime };
        sb.limits.inodes.take(1)?;
        // From here on its drop gives it back.
        let attrs = SpinLock::new(Rank::Vfs, attrs);
        let inode = Self { sb: sb.clone(), ino: sb.next_ino.fetch_add(1, Relaxed), attrs, kind };
        Ok(KArc::new(inode, Gfp::GFP_KERNEL)?)
    }

    /// The inode of an entry in this file system.
    ///
    /// # Panics
    /// It is of another one.
    pub fn of(inode: &dyn Inode) -> &Self {
        inode.as_any().downcast_ref().expect("an inode of tmpfs")
    }

    pub(super) fn sb(&self) -> &KArc<TmpfsSb> {
        &self.sb
    }

    pub(super) fn with<R>(&self, f: impl FnOnce(&mut Attrs) -> R) -> R {
        with_masked(|irq| f(&mut self.attrs.lock(irq)))
    }

    /// Calls `f` with the entries of a directory.
    ///
    /// # Errors
    /// `ENOTDIR`
    pub(super) fn with_dir<R>(&self, f: impl FnOnce(&mut DirMap) -> R) -> Result<R, Errno> {
        match &self.kind {
            Kind::Dir(map) => Ok(with_masked(|irq| f(&mut map.lock(irq)))),
            _ => Err(Errno::ENOTDIR),
        }
    }

    /// Makes room for `n` more entries. The caller holds the lock of the directories.
    ///
    /// # Errors
    /// `ENOMEM`, `ENOTDIR`.
    pub(super) fn make_room(&self, n: usize) -> Result<(), Errno> {
        let (room, live) = self.with_dir(|map| (map.room(), map.len()))?;
        if room >= n {
            return Ok(());
        }
        let mut larger = DirMap::with_room(live + n)?;
        self.with_dir(|map| {
            if larger.absorb(map) {
                core::mem::swap(map, &mut larger);
            }
        })
    }

    fn size(&self) -> u64 {
        match &self.kind {
            Kind::File(shmem) => shmem.size(),
            Kind::Dir(map) => {
                let entries = with_masked(|irq| map.lock(irq).len());
                (2 + entries as u64) * BOGO_DIRENT_SIZE
            }
            Kind::Symlink(text) => text.len() as u64,
            Kind::Node(_) => 0,
        }
    }

    /// Notes a read, if the last one that was noted is old (Linux: touch_atime, relatime).
    pub(super) fn accessed(&self, file: &OpenFile) {
        if file.flags() & O_NOATIME != 0 || file.path().mnt.flags().read_only {
            return;
        }
        let now = Timespec::now();
        self.with(|attrs| {
            let old = attrs.atime <= attrs.mtime || attrs.atime <= attrs.ctime;
            if old || now.sec - attrs.atime.sec >= DAY {
                attrs.atime = now;
            }
        });
    }

    /// Notes a change of the contents.
    pub(super) fn modified(&self) {
        let now = Timespec::now();
        self.with(|attrs| (attrs.mtime, attrs.ctime) = (now, now));
    }

    pub(super) fn shmem(&self) -> Result<&Shmem, Errno> {
        match &self.kind {
            Kind::File(shmem) => Ok(shmem),
            Kind::Dir(_) => Err(Errno::EISDIR),
            _ => Err(Errno::EINVAL),
        }
    }
}

impl Attrs {
    /// Number of names.
    pub const fn nlink(&self) -> u32 {
        self.nlink
    }
    /// Returns true if the inode may get a further name.
    pub const fn is_linkable(&self) -> bool {
        self.nlink > 0 || self.linkable
    }
    /// Changes the number of names, at `now`.
    pub fn add_links(&mut self, by: i32, now: Timespec) {
        self.nlink = self.nlink.checked_add_signed(by).expect("names of an inode are counted");
        self.ctime = now;
    }
    /// Notes a change of a directory's entries.
    pub fn changed(&mut self, now: Timespec) {
        (self.mtime, self.ctime) = (now, now);
    }
    /// Notes a change of the inode.
    pub fn touched(&mut self, now: Timespec) {
        self.ctime = now;
    }
}

impl Drop for TmpfsInode {
    fn drop(&mut self) {
        self.sb.limits.inodes.give(1);
    }
}

impl Inode for TmpfsInode {
    fn id(&self) -> InodeId {
        InodeId { dev: self.sb.dev, ino: self.ino }
    }
    fn owner(&self) -> Owner {
        self.with(|attrs| attrs.owner)
    }
    fn getattr(&self) -> Kstat {
        let attrs = self.with(|attrs| *attrs);
        let (pages, rdev) = match &self.kind {
            Kind::File(shmem) => (shmem.nr_pages(), 0),
            Kind::Node(dev) => (0, *dev),
            _ => (0, 0),
        };
        Kstat {
            id: self.id(),
            owner: attrs.owner,
            nlink: attrs.nlink,
            rdev,
            size: self.size(),
            blocks: pages * (PAGE_SIZE as u64 / 512),
            blksize: PAGE_SIZE as u32,
            atime: attrs.atime,
            mtime: attrs.mtime,
            ctime: attrs.ctime,
            btime: attrs.btime,
            mnt_id: 0,
        }
    }
    fn sb(&self) -> &dyn SuperBlock {
        &*self.sb
    }
    fn file_ops(&self) -> &dyn FileOps {
        self
    }
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn setattr(&self, attr: &Iattr) -> Result<(), Errno> {
        let now = Timespec::now();
        self.with(|attrs| {
            if let Some(mode) = attr.mode {
                attrs.owner.mode = attrs.owner.mode & !0o7777 | mode & 0o7777;
            }
            attrs.owner.uid = attr.uid.unwrap_or(attrs.owner.uid);
            attrs.owner.gid = attr.gid.unwrap_or(attrs.owner.gid);
            attrs.atime = attr.atime.unwrap_or(attrs.atime);
            attrs.mtime = attr.mtime.unwrap_or(attrs.mtime);
            attrs.ctime = now;
        });
        Ok(())
    }

    fn lookup(&self, _: &KArc<Dentry>, name: &[u8]) -> Result<KArc<Dentry>, Errno> {
        let _tree = self.sb.tree.read();
        self.with_dir(|map| map.find(name).cloned())?.ok_or(Errno::ENOENT)
    }

    fn dir_ops(&self) -> Option<&dyn DirOps> {
        matches!(self.kind, Kind::Dir(_)).then_some(self)
    }

    fn readlink(&self) -> Result<KVec<u8>, Errno> {
        let Kind::Symlink(text) = &self.kind else { return Err(Errno::EINVAL) };
        let mut copy = KVec::with_capacity(text.len(), Gfp::GFP_KERNEL)?;
        copy.extend_from_slice(text, Gfp::GFP_KERNEL)?;
        Ok(copy)
    }

    fn open(&self, _: &Path, _: u32) -> Result<Option<KBox<dyn FileOps>>, Errno> {
        match &self.kind {
            Kind::Node(dev) if self.owner().file_type() == FileType::Char => {
                devtmpfs::chrdev_open(*dev).map(Some)
            }
            // FIFOs, sockets and disks have nothing behind them.
            Kind::Node(_) => Err(Errno::ENXIO),
            _ => Ok(None),
        }
    }

    fn pages(&self) -> Option<&dyn Pages> {
        matches!(self.kind, Kind::File(_)).then_some(self)
    }

    fn truncate(&self, size: u64) -> Result<(), Errno> {
        self.shmem()?.truncate(size)?;
        self.modified();
        Ok(())
    }
}

/// Number of the next inode of a file system.
pub(super) const fn first_ino() -> AtomicU64 {
    AtomicU64::new(1)
}
