//! Credentials of a caller, and the accesses that they permit (Linux: struct cred, inode_permission).
#![deny(unsafe_code)]

use super::{FileType, Iattr, Inode, Owner};
use crate::errno::Errno;
use bitflags::bitflags;
use linux_raw_sys::general::{
    CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER, CAP_FSETID, CAP_MKNOD, S_ISGID,
    S_ISUID, S_ISVTX,
};

/// A set of capabilities, bit n for the one of number n (Linux: kernel_cap_t).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Capabilities(pub u64);

impl Capabilities {
    /// All that Linux 6.12 knows.
    pub const FULL: Self = Self((1 << 41) - 1);
    /// None.
    pub const NONE: Self = Self(0);

    /// Returns whether capability `number` is in the set.
    #[must_use]
    pub const fn has(self, number: u32) -> bool {
        self.0 >> number & 1 != 0
    }
}

/// User, group and capabilities that file accesses are checked with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cred {
    /// User (Linux: fsuid).
    pub uid: u32,
    /// Group (Linux: fsgid).
    pub gid: u32,
    /// Capabilities in effect.
    pub caps: Capabilities,
}

impl Cred {
    /// The superuser.
    pub const ROOT: Self = Self { uid: 0, gid: 0, caps: Capabilities::FULL };
}

bitflags! {
    /// Kinds of access (Linux: MAY_).
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct May: u32 {
        /// Permission to execute, or to look names up in a directory.
        const EXEC = 1;
        /// Permission to write.
        const WRITE = 2;
        /// Permission to read.
        const READ = 4;
    }
}

impl Cred {
    /// Checks access to an inode (Linux: generic_permission).
    ///
    /// # Errors
    /// `EACCES`
    pub fn permission(&self, owner: Owner, may: May) -> Result<(), Errno> {
        let shift = match owner {
            _ if self.uid == owner.uid => 6,
            _ if self.gid == owner.gid => 3,
            _ => 0,
        };
        if May::from_bits_truncate(owner.mode >> shift & 7).contains(may) {
            return Ok(());
        }
        let is_dir = owner.file_type() == FileType::Directory;
        let read_search = self.caps.has(CAP_DAC_READ_SEARCH);
        // Reading, and searching directories.
        if read_search && (may == May::READ || is_dir && !may.contains(May::WRITE)) {
            return Ok(());
        }
        // A file is executable if it is so for somebody.
        let executable = is_dir || !may.contains(May::EXEC) || owner.mode & 0o111 != 0;
        if self.caps.has(CAP_DAC_OVERRIDE) && executable { Ok(()) } else { Err(Errno::EACCES) }
    }

    /// Returns true for the owner of an inode, and for who has the rights of owners (Linux:
    /// inode_owner_or_capable).
    #[must_use]
    pub fn owns(&self, owner: Owner) -> bool {
        self.uid == owner.uid || self.caps.has(CAP_FOWNER)
    }

    /// Returns true if the sticky bit of a directory keeps the caller from taking an entry away
    /// (Linux: check_sticky).
    #[must_use]
    pub fn is_sticky(&self, dir: Owner, entry: Owner) -> bool {
        dir.mode & S_ISVTX != 0
            && self.uid != entry.uid
            && self.uid != dir.uid
            && !self.caps.has(CAP_FOWNER)
    }

    /// Checks a change of permissions, and returns those that are set: who is not of the file's
    /// group can't have it run with the rights of that group (Linux: setattr_prepare).
    ///
    /// # Errors
    /// `EPERM`
    pub(super) fn chmod(&self, inode: &dyn Inode, mode: u32) -> Result<Iattr, Errno> {
        let owner = inode.owner();
        if !self.owns(owner) {
            return Err(Errno::EPERM);
        }
        let keeps = self.gid == owner.gid || self.caps.has(CAP_FSETID);
        let mode = if keeps { mode } else { mode & !S_ISGID };
        Ok(Iattr { mode: Some(mode & 0o7777), ..Iattr::default() })
    }

    /// Checks a change of user and group; the permissions lose their set-id bits by it (Linux:
    /// chown_common).
    ///
    /// # Errors
    /// `EPERM`
    pub(super) fn chown(
        &self,
        inode: &dyn Inode,
        uid: Option<u32>,
        gid: Option<u32>,
    ) -> Result<Iattr, Errno> {
        let owner = inode.owner();
        let is_owner = self.uid == owner.uid;
        let may_uid = uid.is_none_or(|uid| is_owner && uid == owner.uid);
        let may_gid = gid.is_none_or(|gid| is_owner && (gid == owner.gid || gid == self.gid));
        if !(self.caps.has(CAP_CHOWN) || may_uid && may_gid) {
            return Err(Errno::EPERM);
        }
        let is_dir = owner.file_type() == FileType::Directory;
        let mode = if is_dir { owner.mode } else { without_set_id(owner.mode) };
        Ok(Iattr { mode: Some(mode & 0o7777), uid, gid, ..Iattr::default() })
    }

    /// Permissions that a write leaves to a file that runs with its owner's rights (Linux:
    /// file_remove_privs); `None` if nothing changes.
    pub(super) fn remove_privs(&self, mode: u32) -> Option<u32> {
        let kept = without_set_id(mode);
        (kept != mode && !self.caps.has(CAP_FSETID)).then_some(kept & 0o7777)
    }

    /// Returns true if the caller may make device nodes.
    pub(super) fn may_mknod(&self) -> bool {
        self.caps.has(CAP_MKNOD)
    }
}

/// A mode without the bit that sets the user, and without the one that sets the group where the
/// group may execute the file (Linux: setattr_should_drop_suidgid).
fn without_set_id(mode: u32) -> u32 {
    let mode = mode & !S_ISUID;
    if mode & 0o010 != 0 { mode & !S_ISGID } else { mode }
}
