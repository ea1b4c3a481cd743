//! Making the files that an archive names.
#![deny(unsafe_code)]

use super::UnpackError;
use crate::errno::Errno;
use crate::fs::vfs::{
    Caller, FileType, NewTime, OpenFile, fchmodat, fchownat, fstatat, linkat, makedev, mkdirat,
    mknodat, open_file, symlinkat, unlinkat, utimensat,
};
use crate::mm::alloc::{KArc, KVec};
use crate::mm::gfp::Gfp;
use linux_raw_sys::general::{
    AT_FDCWD, AT_REMOVEDIR, AT_SYMLINK_NOFOLLOW, O_CREAT, O_NOFOLLOW, O_TRUNC, O_WRONLY, S_IFBLK,
    S_IFCHR, S_IFDIR, S_IFIFO, S_IFMT, S_IFSOCK,
};

/// An entry's header.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Entry {
    pub ino: u32,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub nlink: u32,
    pub mtime: u32,
    pub dev: (u32, u32),
    pub rmajor: u32,
    pub rminor: u32,
}

/// A file that may get further names: numbers in the archive, and its first name.
struct Linked {
    key: (u32, u32, u32, u32),
    name: KVec<u8>,
}

/// Lists of linked files, by their numbers.
const BUCKETS: usize = 64;

/// The tree that is made.
pub(super) struct Tree<'a> {
    caller: &'a Caller<'a>,
    links: [KVec<Linked>; BUCKETS],
    /// The file whose bytes come: none where it was left out.
    file: Option<(KArc<OpenFile>, KVec<u8>)>,
    pos: u64,
}

/// Turns the errors that an archive is to blame for into `false`, and those that end the unpacking
/// into an error.
fn made(result: Result<(), Errno>) -> Result<bool, UnpackError> {
    match result {
        Ok(()) => Ok(true),
        Err(why @ (Errno::ENOMEM | Errno::ENOSPC | Errno::EFBIG)) => Err(UnpackError::Write(why)),
        Err(_) => Ok(false),
    }
}

fn copy(name: &[u8]) -> Result<KVec<u8>, UnpackError> {
    let mut copy = KVec::new();
    let added = copy.extend_from_slice(name, Gfp::GFP_KERNEL);
    added.map_err(|why| UnpackError::Write(why.into()))?;
    Ok(copy)
}

/// Removes what has the name, unless it is of the type that comes (Linux: clean_path).
fn clean(caller: &Caller<'_>, name: &[u8], mode: u32) {
    let Ok(stat) = fstatat(caller, AT_FDCWD, name, AT_SYMLINK_NOFOLLOW) else { return };
    if (stat.owner.mode ^ mode) & S_IFMT == 0 {
        return;
    }
    let is_dir = stat.owner.file_type() == FileType::Directory;
    // What can't be removed is in the way, which the next call finds.
    let _removed = unlinkat(caller, AT_FDCWD, name, if is_dir { AT_REMOVEDIR } else { 0 });
}

impl<'a> Tree<'a> {
    pub fn new(caller: &'a Caller<'a>) -> Self {
        Self { caller, links: [const { KVec::new() }; BUCKETS], file: None, pos: 0 }
    }

    /// Forgets files that may get further names: those of another archive are others.
    pub fn forget_links(&mut self) {
        self.links.iter_mut().for_each(KVec::clear);
    }

    /// Gives a file owner, permissions and time; all or as far as possible.
    fn set(&self, name: &[u8], entry: &Entry) -> Result<(), Errno> {
        let caller = self.caller;
        fchownat(caller, AT_FDCWD, name, entry.uid, entry.gid, AT_SYMLINK_NOFOLLOW)?;
        if entry.mode & S_IFMT != linux_raw_sys::general::S_IFLNK {
            fchmodat(caller, AT_FDCWD, name, entry.mode & 0o7777, 0)?;
        }
        let time = NewTime { sec: entry.mtime.into(), nsec: 0 };
        utimensat(caller, AT_FDCWD, Some(name), Some([time; 2]), AT_SYMLINK_NOFOLLOW)
    }

    /// Links to the file's first name, if it had one in this archive (Linux: maybe_link). Returns
    /// true if it did.
    fn link(
        &mut self,
        name: &[u8],
        entry: &Entry,
    ) -> Result<Option<Result<(), Errno>>, UnpackError> {
        if entry.nlink < 2 {
            return Ok(None);
        }
        let key = (entry.ino, entry.dev.0, entry.dev.1, entry.mode & S_IFMT);
        let bucket = &mut self.links[entry.ino as usize % BUCKETS];
        if let Some(first) = bucket.iter().find(|linked| linked.key == key) {
            let old = &first.name;
            clean(self.caller, name, 0);
            return Ok(Some(linkat(self.caller, AT_FDCWD, old, AT_FDCWD, name, 0)));
        }
        let linked = Linked { key, name: copy(name)? };
        let added = bucket.push(linked, Gfp::GFP_KERNEL);
        added.map_err(|why| UnpackError::Write(why.into()))?;
        Ok(None)
    }

    /// Makes a directory, device node, FIFO or socket. Returns false where it was left out.
    pub fn make(&mut self, name: &[u8], entry: &Entry) -> Result<bool, UnpackError> {
        let caller = self.caller;
        clean(self.caller, name, entry.mode);
        let result = match entry.mode & S_IFMT {
            S_IFDIR => match mkdirat(caller, AT_FDCWD, name, 0o700) {
                Err(Errno::EEXIST) => Ok(()),
                other => other,
            },
            S_IFCHR | S_IFBLK | S_IFIFO | S_IFSOCK => match self.link(name, entry)? {
                Some(linked) => linked,
                None => {
                    let dev = makedev(entry.rmajor, entry.rminor);
                    match mknodat(caller, AT_FDCWD, name, entry.mode, dev) {
                        // One of the same type is replaced.
                        Err(Errno::EEXIST) => unlinkat(caller, AT_FDCWD, name, 0)
                            .and_then(|()| mknodat(caller, AT_FDCWD, name, entry.mode, dev)),
                        other => other,
                    }
                }
            },
            _ => Err(Errno::EINVAL),
        };
        made(result.and_then(|()| self.set(name, entry)))
    }

    /// Makes a symbolic link. Returns false where it was left out.
    pub fn symlink(
        &mut self,
        name: &[u8],
        target: &[u8],
        entry: &Entry,
    ) -> Result<bool, UnpackError> {
        clean(self.caller, name, 0);
        let result = symlinkat(self.caller, target, AT_FDCWD, name);
        made(result.and_then(|()| self.set(name, entry)))
    }

    /// Opens a regular file for the `len` bytes that come. Returns false where it was left out.
    pub fn open(&mut self, name: &[u8], entry: &Entry, len: u64) -> Result<bool, UnpackError> {
        (self.file, self.pos) = (None, 0);
        clean(self.caller, name, entry.mode);
        let linked = match self.link(name, entry)? {
            Some(Ok(())) => true,
            Some(Err(why)) => return made(Err(why)),
            None => false,
        };
        // A further name of a file has its bytes, or the first one had them.
        if linked && len == 0 {
            return Ok(true);
        }
        let flags = O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW;
        match open_file(self.caller, AT_FDCWD, name, flags, 0o600) {
            Ok(file) => {
                self.file = Some((file, copy(name)?));
                Ok(true)
            }
            Err(why) => made(Err(why)),
        }
    }

    /// Writes bytes of the file that is open; returns how many.
    pub fn write(&mut self, bytes: &[u8]) -> Result<usize, UnpackError> {
        let Some((file, _)) = &self.file else { return Ok(0) };
        let mut source = bytes;
        while !source.is_empty() {
            let written = file.ops().write(file, &mut self.pos, &mut source, u64::MAX);
            match written {
                Ok(0) => return Err(UnpackError::Write(Errno::EIO)),
                Ok(_) => {}
                Err(why) => return Err(UnpackError::Write(why)),
            }
        }
        Ok(bytes.len())
    }

    /// Closes the file and sets its attributes.
    pub fn finish(&mut self, entry: &Entry) -> Result<(), UnpackError> {
        match self.file.take() {
            Some((_, name)) => made(self.set(&name, entry)).map(drop),
            None => Ok(()),
        }
    }
}
