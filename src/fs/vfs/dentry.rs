//! Names of inodes in directories, and paths (Linux: struct dentry, struct path).
//!
//! A file system in memory has one dentry for each name, and its directories refer to those. One
//! whose entries are computed makes a dentry at each look-up. Either way the dentry of a directory
//! is found by its inode, which is in one directory at a time.
#![deny(unsafe_code)]

use super::{FileType, Inode, InodeId, Mount};
use crate::arch::irq::with_masked;
use crate::errno::Errno;
use crate::mm::alloc::{AllocError, KArc, KVec};
use crate::mm::gfp::Gfp;
use crate::sync::{Rank, SpinLock};
use core::fmt;

/// A name in a directory, and its inode (Linux: struct dentry).
pub struct Dentry {
    inode: KArc<dyn Inode>,
    place: SpinLock<Place>,
}

/// Place of a dentry.
struct Place {
    /// None at the root of a file system.
    parent: Option<KArc<Dentry>>,
    name: KVec<u8>,
    /// The directory has no such name any more.
    is_unlinked: bool,
}

/// A copy of a name. Context as `gfp` of the kernel's own.
fn copy(name: &[u8]) -> Result<KVec<u8>, AllocError> {
    let mut copy = KVec::with_capacity(name.len(), Gfp::GFP_KERNEL)?;
    copy.extend_from_slice(name, Gfp::GFP_KERNEL)?;
    Ok(copy)
}

impl Dentry {
    /// The root of a file system. Process context (Linux: d_make_root).
    ///
    /// # Errors
    /// Memory is short.
    pub fn new_root(inode: KArc<dyn Inode>) -> Result<KArc<Self>, AllocError> {
        let place = Place { parent: None, name: KVec::new(), is_unlinked: false };
        let place = SpinLock::new(Rank::Vfs, place);
        KArc::new(Self { inode, place }, Gfp::GFP_KERNEL)
    }

    /// The name `name` of `inode` in `parent`. Process context.
    ///
    /// # Errors
    /// Memory is short.
    pub fn new(
        parent: &KArc<Self>,
        name: &[u8],
        inode: KArc<dyn Inode>,
    ) -> Result<KArc<Self>, AllocError> {
        let place = Place { parent: Some(parent.clone()), name: copy(name)?, is_unlinked: false };
        KArc::new(Self { inode, place: SpinLock::new(Rank::Vfs, place) }, Gfp::GFP_KERNEL)
    }

    /// The inode.
    #[must_use]
    pub fn inode(&self) -> &KArc<dyn Inode> {
        &self.inode
    }

    /// Returns true for a directory.
    #[must_use]
    pub fn is_dir(&self) -> bool {
        self.file_type() == FileType::Directory
    }

    /// Type of the file.
    #[must_use]
    pub fn file_type(&self) -> FileType {
        self.inode.owner().file_type()
    }

    /// The directory that it is in, or was in last; `None` at the root of a file system. Any
    /// context.
    #[must_use]
    pub fn parent(&self) -> Option<KArc<Self>> {
        with_masked(|irq| self.place.lock(irq).parent.clone())
    }

    /// Returns true if the name was taken away. Any context (Linux: d_unlinked).
    #[must_use]
    pub fn is_unlinked(&self) -> bool {
        with_masked(|irq| self.place.lock(irq).is_unlinked)
    }

    /// Calls `f` with the name, under a spin lock. Any context.
    pub fn with_name<R>(&self, f: impl FnOnce(&[u8]) -> R) -> R {
        with_masked(|irq| f(&self.place.lock(irq).name))
    }

    /// Notes that the name was taken away.
    pub fn set_unlinked(&self) {
        with_masked(|irq| self.place.lock(irq).is_unlinked = true);
    }

    /// Makes a copy of the dentry's name, for [`Dentry::set_place`].
    ///
    /// # Errors
    /// Memory is short.
    pub fn new_name(name: &[u8]) -> Result<KVec<u8>, AllocError> {
        copy(name)
    }

    /// Puts the dentry into `parent` as `name`. Process context (Linux: d_move).
    pub fn set_place(&self, parent: &KArc<Self>, name: KVec<u8>) {
        let parent = Some(parent.clone());
        let place = Place { parent, name, is_unlinked: false };
        let _old = with_masked(|irq| core::mem::replace(&mut *self.place.lock(irq), place));
    }

    /// Returns true if `dir` is this dentry or lies above it, up to the root of the file system.
    #[must_use]
    pub fn is_below(&self, dir: &Self) -> bool {
        let id = dir.inode.id();
        let mut at = None;
        loop {
            let here = at.as_deref().unwrap_or(self);
            if here.inode.id() == id {
                return true;
            }
            match here.parent() {
                Some(parent) => at = Some(parent),
                None => return false,
            }
        }
    }
}

impl Drop for Dentry {
    fn drop(&mut self) {
        // Directories above that nobody else has are dropped one after the other, and not each
        // within the other, which a deep tree would not have the stack for.
        let mut above = self.place.get_mut().parent.take();
        while let Some(mut dir) = above {
            above = KArc::get_mut(&mut dir).and_then(|dir| dir.place.get_mut().parent.take());
        }
    }
}

/// A place in the tree of all mounts (Linux: struct path).
#[derive(Clone)]
pub struct Path {
    /// The mount.
    pub mnt: KArc<Mount>,
    /// The dentry in its file system.
    pub dentry: KArc<Dentry>,
}

impl fmt::Debug for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Path({:?} in mount {})", self.id(), self.mnt.id())
    }
}

impl Path {
    /// The inode.
    #[must_use]
    pub fn inode(&self) -> &KArc<dyn Inode> {
        self.dentry.inode()
    }

    /// Returns true if both are the same directory of the same mount.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        KArc::ptr_eq(&self.mnt, &other.mnt) && self.id() == other.id()
    }

    /// Numbers of the inode.
    #[must_use]
    pub fn id(&self) -> InodeId {
        self.inode().id()
    }

    /// Returns true at the root of its mount.
    pub(in crate::fs) fn is_mount_root(&self) -> bool {
        self.id() == self.mnt.root().inode().id()
    }

    /// The directory above, in this mount.
    pub(super) fn parent(&self) -> Option<Self> {
        let dentry = self.dentry.parent()?;
        Some(Self { mnt: self.mnt.clone(), dentry })
    }
}

/// Bytes of the longest path, its zero included (Linux: PATH_MAX).
pub const PATH_MAX: usize = linux_raw_sys::general::PATH_MAX as usize;

/// The path from `root` to `path` as text (Linux: d_path). The second result is false where `root`
/// is not above it: the text begins at the root of all mounts then.
///
/// # Errors
/// `ENAMETOOLONG` for a text of [`PATH_MAX`] bytes or more; `ENOMEM`.
pub fn d_path(path: &Path, root: Option<&Path>) -> Result<(KVec<u8>, bool), Errno> {
    // From its end backwards.
    let mut text = KVec::from_elem(0, PATH_MAX, Gfp::GFP_KERNEL)?;
    let mut start = text.len();
    let mut at = path.clone();
    let reachable = loop {
        if root.is_some_and(|root| root.is_same(&at)) {
            break true;
        }
        if at.is_mount_root() {
            match at.mnt.mountpoint() {
                Some(below) => at = below,
                None => break root.is_none(),
            }
            continue;
        }
        start = at.dentry.with_name(|name| {
            let begin = start.checked_sub(name.len() + 1).ok_or(Errno::ENAMETOOLONG)?;
            text.as_mut_slice()[begin] = b'/';
            text.as_mut_slice()[begin + 1..start].copy_from_slice(name);
            Ok::<_, Errno>(begin)
        })?;
        match at.parent() {
            Some(parent) => at = parent,
            None => break false,
        }
    };
    if start == text.len() {
        start -= 1;
        text.as_mut_slice()[start] = b'/';
    }
    let len = text.len() - start;
    text.as_mut_slice().copy_within(start.., 0);
    text.truncate(len);
    if len >= PATH_MAX { Err(Errno::ENAMETOOLONG) } else { Ok((text, reachable)) }
}
