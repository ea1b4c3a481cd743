//! The way along a path (Linux: fs/namei.c, Documentation/filesystems/path-lookup.rst).
#![deny(unsafe_code)]

use super::{Caller, FileType, Link, May, PATH_MAX, Path, mount};
use crate::errno::Errno;
use crate::mm::alloc::KVec;
use crate::mm::gfp::Gfp;
use core::ops::Range;

/// Bytes of the longest name (Linux: NAME_MAX).
pub const NAME_MAX: usize = 255;
/// Symbolic links that are followed on the way along a path (Linux: MAXSYMLINKS).
const MAXSYMLINKS: u32 = 40;

/// The path that is walked: that of the caller, or what symbolic links made of it.
enum Text<'a> {
    Callers(&'a [u8]),
    Own(KVec<u8>),
}

impl Text<'_> {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Callers(bytes) => bytes,
            Self::Own(bytes) => bytes,
        }
    }
}

/// Kind of a path's last part (Linux: enum last_type).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum LastKind {
    /// A name.
    Norm,
    /// There is none: the path is slashes.
    Root,
    /// `.`
    Dot,
    /// `..`
    DotDot,
}

/// The last part of a path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Last {
    pub kind: LastKind,
    name: Range<usize>,
    /// A slash follows: the path names a directory.
    pub slash: bool,
}

/// A walk along a path (Linux: struct nameidata).
pub(super) struct Walk<'a> {
    caller: &'a Caller<'a>,
    root: Path,
    /// Place that it has come to.
    pub at: Path,
    text: Text<'a>,
    /// Length of the part that has been walked.
    done: usize,
    /// Symbolic links that were followed.
    links: u32,
}

impl<'a> Walk<'a> {
    /// A walk from the directory of `dirfd`, or from the root.
    ///
    /// # Errors
    /// `ENOENT` for an empty path, `ENAMETOOLONG` for one that is too long, `EBADF`.
    pub fn new(caller: &'a Caller<'a>, dirfd: i32, path: &'a [u8]) -> Result<Self, Errno> {
        if path.len() >= PATH_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        let root = caller.fs.root();
        let at = match path.first() {
            None => return Err(Errno::ENOENT),
            Some(b'/') => root.clone(),
            Some(_) => caller.start(dirfd)?,
        };
        Ok(Self { caller, root, at, text: Text::Callers(path), done: 0, links: 0 })
    }

    /// The name of a last part.
    pub fn name(&self, last: &Last) -> &[u8] {
        &self.text.bytes()[last.name.clone()]
    }

    /// Walks up to the last part of the path, which is then to be looked up in `at` (Linux:
    /// link_path_walk).
    ///
    /// # Errors
    /// `ENOENT`, `ENOTDIR`, `EACCES`, `ELOOP`, `ENAMETOOLONG`, `ENOMEM`.
    pub fn parent(&mut self) -> Result<Last, Errno> {
        loop {
            let rest = &self.text.bytes()[self.done..];
            let begin = self.done + rest.iter().take_while(|&&byte| byte == b'/').count();
            let rest = &self.text.bytes()[begin..];
            if rest.is_empty() {
                let name = begin..begin;
                return Ok(Last { kind: LastKind::Root, name, slash: false });
            }
            let len = rest.iter().position(|&byte| byte == b'/').unwrap_or(rest.len());
            let behind = &rest[len..];
            let slashes = behind.iter().take_while(|&&byte| byte == b'/').count();
            let is_last = slashes == behind.len();
            let kind = match &rest[..len] {
                b"." => LastKind::Dot,
                b".." => LastKind::DotDot,
                _ => LastKind::Norm,
            };
            let last = Last { kind, name: begin..begin + len, slash: slashes > 0 };
            self.done = begin + len;
            if !self.at.dentry.is_dir() {
                return Err(Errno::ENOTDIR);
            }
            self.caller.cred.permission(self.at.inode().owner(), May::EXEC)?;
            if is_last {
                return Ok(last);
            }
            let found = self.step(&last)?;
            if found.dentry.file_type() == FileType::Symlink {
                if let Some(target) = self.follow(&found)? {
                    self.at = target;
                }
            } else {
                self.at = found;
            }
        }
    }

    /// Looks a part up in `at`; symbolic links are not followed (Linux: step_into).
    ///
    /// # Errors
    /// `ENOENT`, `ENAMETOOLONG`, `ENOMEM`.
    pub fn step(&self, last: &Last) -> Result<Path, Errno> {
        match last.kind {
            LastKind::Root | LastKind::Dot => Ok(self.at.clone()),
            LastKind::DotDot => Ok(self.dotdot()),
            LastKind::Norm => {
                let name = self.name(last);
                if name.len() > NAME_MAX {
                    return Err(Errno::ENAMETOOLONG);
                }
                let dentry = self.at.inode().lookup(&self.at.dentry, name)?;
                let found = Path { mnt: self.at.mnt.clone(), dentry };
                Ok(if found.dentry.is_dir() { mount::traverse(found) } else { found })
            }
        }
    }

    /// The directory above, which at the root is the root (Linux: handle_dots).
    fn dotdot(&self) -> Path {
        let mut at = self.at.clone();
        loop {
            if at.is_same(&self.root) {
                return at;
            }
            if !at.is_mount_root() {
                break;
            }
            match at.mnt.mountpoint() {
                Some(below) => at = below,
                None => return at,
            }
        }
        mount::traverse(at.parent().unwrap_or(at))
    }

    /// Goes on along the symbolic link `link`, which lies in `at`: what is left of the path comes
    /// behind its text. Returns the target where the link leads to no path but a place (Linux:
    /// pick_link).
    ///
    /// # Errors
    /// `ELOOP` after 40 links; `ENOENT` for an empty one; `ENOMEM`.
    pub fn follow(&mut self, link: &Path) -> Result<Option<Path>, Errno> {
        self.links += 1;
        if self.links > MAXSYMLINKS {
            return Err(Errno::ELOOP);
        }
        let mut text = match link.inode().get_link()? {
            Link::Jump(target) => return Ok(Some(target)),
            Link::Text(text) => text,
        };
        match text.first() {
            None => return Err(Errno::ENOENT),
            Some(b'/') => self.at = self.root.clone(),
            Some(_) => {}
        }
        text.extend_from_slice(&self.text.bytes()[self.done..], Gfp::GFP_KERNEL)?;
        self.text = Text::Own(text);
        self.done = 0;
        Ok(None)
    }

    /// Walks to the end of the path. `follow` says whether a symbolic link there is followed; one
    /// with a slash behind it is (Linux: path_lookupat).
    ///
    /// # Errors
    /// As [`Walk::parent`]; `ENOTDIR` where the path ends with a slash and names no directory.
    pub fn end(&mut self, follow: bool) -> Result<Path, Errno> {
        loop {
            let last = self.parent()?;
            let found = self.step(&last)?;
            let is_link = found.dentry.file_type() == FileType::Symlink;
            let found = if is_link && (follow || last.slash) {
                match self.follow(&found)? {
                    None => continue,
                    Some(target) => target,
                }
            } else {
                found
            };
            if last.slash && !found.dentry.is_dir() {
                return Err(Errno::ENOTDIR);
            }
            return Ok(found);
        }
    }
}

/// Finds the place of a path. An empty path is `dirfd` itself where `empty` allows it. Process
/// context (Linux: user_path_at).
///
/// # Errors
/// Those of a path: `ENOENT`, `ENOTDIR`, `EACCES`, `ELOOP`, `ENAMETOOLONG`, `EBADF`, `ENOMEM`.
pub fn path_at(
    caller: &Caller<'_>,
    dirfd: i32,
    path: &[u8],
    follow: bool,
    empty: bool,
) -> Result<Path, Errno> {
    if path.is_empty() && empty {
        return caller.start(dirfd);
    }
    Walk::new(caller, dirfd, path)?.end(follow)
}
