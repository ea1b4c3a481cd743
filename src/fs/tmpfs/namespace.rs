//! Changes to the directories of tmpfs (Linux: shmem_dir_inode_operations, vfs_rename).
//!
//! All of them hold the lock of the file system's directories for writing, and look-ups for
//! reading, so that a name that is replaced is there at any moment. Memory is allocated before the
//! first change.
#![deny(unsafe_code)]

use super::inode::TmpfsInode;
use crate::errno::Errno;
use crate::fs::vfs::{Dentry, DirOps, Inode, NAME_MAX, NewInode, NewKind, Rename, Timespec};
use crate::mm::alloc::KArc;
use crate::unsize;
use linux_raw_sys::general::{RENAME_EXCHANGE, RENAME_NOREPLACE};

/// Largest number of names (Linux: LINK_MAX of file systems without one is u32::MAX).
const LINK_MAX: u32 = u32::MAX - 1;

impl TmpfsInode {
    /// Checks that `dir` can get the name: it isn't there, and `dir` still is.
    fn may_add(&self, dir: &Dentry, name: &[u8]) -> Result<(), Errno> {
        if name.len() > NAME_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        if self.with_dir(|map| map.find(name).is_some())? {
            return Err(Errno::EEXIST);
        }
        if dir.is_unlinked() { Err(Errno::ENOENT) } else { Ok(()) }
    }

    /// The entry with a name.
    fn find(&self, name: &[u8]) -> Result<KArc<Dentry>, Errno> {
        self.with_dir(|map| map.find(name).cloned())?.ok_or(Errno::ENOENT)
    }

    /// Adds an entry that there is room for.
    fn add(&self, entry: &KArc<Dentry>, now: Timespec) {
        let entry = entry.clone();
        self.with_dir(|map| map.insert(entry)).expect("entries are added to directories");
        self.with(|attrs| attrs.changed(now));
    }

    /// Takes an entry out, if it is still there.
    fn take(&self, entry: &KArc<Dentry>) -> Result<KArc<Dentry>, Errno> {
        self.with_dir(|map| {
            // The name is read under the lock of its entry alone, so it is compared here.
            let mut name = [0; NAME_MAX];
            let len = entry.with_name(|of| {
                name[..of.len()].copy_from_slice(of);
                of.len()
            });
            let name = &name[..len];
            match map.find(name) {
                Some(there) if KArc::ptr_eq(there, entry) => map.remove(name),
                _ => None,
            }
        })?
        .ok_or(Errno::ENOENT)
    }

    fn is_empty(&self) -> bool {
        self.with_dir(|map| map.len() == 0).unwrap_or(true)
    }
}

/// Takes away one name of what was in `dir`.
fn drop_name(dir: &TmpfsInode, entry: &Dentry, now: Timespec) {
    let inode = TmpfsInode::of(&**entry.inode());
    entry.set_unlinked();
    if entry.is_dir() {
        // Its own `.`, and the `..` that names its parent.
        inode.with(|attrs| attrs.add_links(-2, now));
        dir.with(|attrs| attrs.add_links(-1, now));
    } else {
        inode.with(|attrs| attrs.add_links(-1, now));
    }
    dir.with(|attrs| attrs.changed(now));
}

impl DirOps for TmpfsInode {
    fn create(
        &self,
        dir: &KArc<Dentry>,
        name: &[u8],
        new: &NewInode<'_>,
    ) -> Result<KArc<Dentry>, Errno> {
        let _tree = self.sb().tree.write();
        self.may_add(dir, name)?;
        let is_dir = matches!(new.kind, NewKind::Directory);
        let inode = TmpfsInode::new(self.sb(), new, if is_dir { 2 } else { 1 }, false)?;
        let entry = Dentry::new(dir, name, unsize!(KArc, inode => dyn Inode))?;
        self.make_room(1)?;
        let now = Timespec::now();
        self.add(&entry, now);
        if is_dir {
            self.with(|attrs| attrs.add_links(1, now));
        }
        Ok(entry)
    }

    fn tmpfile(
        &self,
        dir: &KArc<Dentry>,
        new: &NewInode<'_>,
        linkable: bool,
    ) -> Result<KArc<Dentry>, Errno> {
        let inode = TmpfsInode::new(self.sb(), new, 0, linkable)?;
        // Shown as `/dir/#ino (deleted)`.
        let mut name = arrayvec::ArrayString::<24>::new();
        let _fits = core::fmt::Write::write_fmt(&mut name, format_args!("#{}", inode.id().ino));
        let inode = unsize!(KArc, inode => dyn Inode);
        let entry = Dentry::new(dir, name.as_bytes(), inode)?;
        entry.set_unlinked();
        Ok(entry)
    }

    fn link(&self, dir: &KArc<Dentry>, name: &[u8], inode: &KArc<dyn Inode>) -> Result<(), Errno> {
        let _tree = self.sb().tree.write();
        self.may_add(dir, name)?;
        let linked = TmpfsInode::of(&**inode);
        linked.with(|attrs| match attrs.nlink() {
            _ if !attrs.is_linkable() => Err(Errno::ENOENT),
            LINK_MAX.. => Err(Errno::EMLINK),
            _ => Ok(()),
        })?;
        let entry = Dentry::new(dir, name, inode.clone())?;
        self.make_room(1)?;
        let now = Timespec::now();
        linked.with(|attrs| attrs.add_links(1, now));
        self.add(&entry, now);
        Ok(())
    }

    fn unlink(&self, _: &KArc<Dentry>, entry: &KArc<Dentry>) -> Result<(), Errno> {
        let _tree = self.sb().tree.write();
        if entry.is_dir() {
            return Err(Errno::EISDIR);
        }
        let entry = self.take(entry)?;
        drop_name(self, &entry, Timespec::now());
        Ok(())
    }

    fn rmdir(&self, _: &KArc<Dentry>, entry: &KArc<Dentry>) -> Result<(), Errno> {
        let _tree = self.sb().tree.write();
        let inode = TmpfsInode::of(&**entry.inode());
        if !inode.is_empty() {
            return Err(Errno::ENOTEMPTY);
        }
        let entry = self.take(entry)?;
        drop_name(self, &entry, Timespec::now());
        Ok(())
    }

    fn rename(
        &self,
        old_dir: &KArc<Dentry>,
        old_name: &[u8],
        new_dir: &KArc<Dentry>,
        new_name: &[u8],
        rename: &Rename<'_>,
    ) -> Result<(), Errno> {
        let _tree = self.sb().tree.write();
        let to = TmpfsInode::of(&**new_dir.inode());
        let exchange = rename.flags & RENAME_EXCHANGE != 0;
        let old = self.find(old_name)?;
        let new = match to.find(new_name) {
            Ok(_) if rename.flags & RENAME_NOREPLACE != 0 => return Err(Errno::EEXIST),
            Err(Errno::ENOENT) if !exchange => None,
            found => Some(found?),
        };
        let new_is_dir = new.as_ref().is_some_and(|new| new.is_dir());
        let old_is_dir = old.is_dir();
        if exchange && !new_is_dir && rename.new_slash
            || !old_is_dir && (rename.old_slash || rename.new_slash && !exchange)
        {
            return Err(Errno::ENOTDIR);
        }
        // A directory doesn't move below itself, nor does one go that the other lies in.
        if old_is_dir && new_dir.is_below(&old) {
            return Err(Errno::EINVAL);
        }
        if let Some(new) = &new
            && new_is_dir
            && old_dir.is_below(new)
        {
            return Err(if exchange { Errno::EINVAL } else { Errno::ENOTEMPTY });
        }
        if let Some(new) = &new
            && new.inode().id() == old.inode().id()
        {
            return Ok(());
        }
        (rename.may_delete)(old_dir, &old)?;
        if let Some(new) = &new {
            (rename.may_delete)(new_dir, new)?;
            match (old_is_dir, new_is_dir) {
                (true, false) if !exchange => return Err(Errno::ENOTDIR),
                (false, true) if !exchange => return Err(Errno::EISDIR),
                _ => {}
            }
        } else if new_dir.is_unlinked() {
            return Err(Errno::ENOENT);
        }
        if old_dir.inode().id() != new_dir.inode().id() {
            if old_is_dir {
                (rename.may_write)(&old)?;
            }
            if let Some(new) = &new
                && exchange
                && new_is_dir
            {
                (rename.may_write)(new)?;
            }
        }
        if (rename.is_mountpoint)(&old) || new.as_ref().is_some_and(rename.is_mountpoint) {
            return Err(Errno::EBUSY);
        }
        if let Some(new) = &new
            && new_is_dir
            && !exchange
            && !TmpfsInode::of(&**new.inode()).is_empty()
        {
            return Err(Errno::ENOTEMPTY);
        }
        let name = Dentry::new_name(new_name)?;
        let back = if exchange { Some(Dentry::new_name(old_name)?) } else { None };
        // One of the two may be in the same directory as the other.
        to.make_room(2)?;
        if exchange {
            self.make_room(2)?;
        }

        let now = Timespec::now();
        let _old = self.take(&old);
        let _new = new.as_ref().map(|new| to.take(new));
        if let Some(new) = &new {
            match back {
                Some(back) => {
                    new.set_place(old_dir, back);
                    self.add(new, now);
                    TmpfsInode::of(&**new.inode()).with(|attrs| attrs.touched(now));
                }
                None => drop_name(to, new, now),
            }
        }
        old.set_place(new_dir, name);
        to.add(&old, now);
        TmpfsInode::of(&**old.inode()).with(|attrs| attrs.touched(now));
        self.with(|attrs| attrs.changed(now));
        // The `..` of directories that moved.
        let (from, into) = (old_is_dir, exchange && new_is_dir);
        if from != into && old_dir.inode().id() != new_dir.inode().id() {
            let by = if from { 1 } else { -1 };
            self.with(|attrs| attrs.add_links(-by, now));
            to.with(|attrs| attrs.add_links(by, now));
        }
        Ok(())
    }
}
