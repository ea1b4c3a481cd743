//! `/proc` and `/sys` as file systems (Linux: fs/proc, fs/kernfs).
//!
//! | file | contents |
//! | --- | --- |
//! | `mod` | the file systems, and inodes of constant files |
//! | `text` | open files whose text is computed when it is read |
//! | `pid` | `/proc/PID` and `/proc/self`: hooks for the room that has processes |
//!
//! The constant tree (`super::tree`) says which files there are; an inode refers to its part of
//! that tree and is made at each look-up, so that the file systems hold no memory of their own.
#![deny(unsafe_code)]

mod pid;
#[cfg(test)]
mod tests;
mod text;

pub use pid::{PidFile, PidKind, ProcPid, register_proc_pid};

use super::tree::{Dir, File, Found, ROOT};
use super::vfs::{
    Dentry, DirEntry, FileOps, FileType, Inode, InodeId, Kstat, Kstatfs, Mount, MountFlags,
    OpenFile, Owner, Path, SuperBlock, Timespec, get_anon_dev,
};
use crate::addr::PAGE_SIZE;
use crate::errno::Errno;
use crate::mm::alloc::{KArc, KBox};
use crate::mm::gfp::Gfp;
use crate::time;
use crate::unsize;
use arrayvec::ArrayString;
use core::any::Any;
use linux_raw_sys::general::{PROC_SUPER_MAGIC, SYSFS_MAGIC};
use text::TextFile;

/// A file system whose files are computed.
struct PseudoSb {
    name: &'static str,
    dev: u64,
    magic: u32,
    root: Dir,
}

impl SuperBlock for PseudoSb {
    fn fs_type(&self) -> &'static str {
        self.name
    }
    fn dev(&self) -> u64 {
        self.dev
    }
    fn statfs(&self) -> Kstatfs {
        Kstatfs {
            magic: self.magic,
            bsize: PAGE_SIZE as u64,
            dev: self.dev,
            namelen: super::vfs::NAME_MAX as u64,
            ..Kstatfs::default()
        }
    }
}

/// Mounts `/proc` nowhere yet. Process context.
///
/// # Errors
/// `ENOMEM`
pub fn new_proc(source: &[u8], flags: MountFlags) -> Result<KArc<Mount>, Errno> {
    new_mount("proc", PROC_SUPER_MAGIC, source, flags)
}

/// Mounts `/sys` nowhere yet. Process context.
///
/// # Errors
/// `ENOMEM`
pub fn new_sysfs(source: &[u8], flags: MountFlags) -> Result<KArc<Mount>, Errno> {
    new_mount("sysfs", SYSFS_MAGIC, source, flags)
}

fn new_mount(
    name: &'static str,
    magic: u32,
    source: &[u8],
    flags: MountFlags,
) -> Result<KArc<Mount>, Errno> {
    let Ok(Found::Dir(root)) = ROOT.find(if name == "proc" { "proc" } else { "sys" }) else {
        return Err(Errno::ENODEV);
    };
    let sb = KArc::new(PseudoSb { name, dev: get_anon_dev(), magic, root }, Gfp::GFP_KERNEL)?;
    let node = if name == "proc" { Node::Pid(pid::Node::Root) } else { Node::Dir(root) };
    let root = Dentry::new_root(inode(&sb, node)?)?;
    Mount::new(unsize!(KArc, sb => dyn SuperBlock), root, source, flags)
}

/// An inode's part of the tree.
#[derive(Clone, Copy)]
enum Node {
    Dir(Dir),
    /// A file, and whose it is.
    File(&'static File, usize),
    /// A place that depends on processes.
    Pid(pid::Node),
}

/// An inode, which lives as long as somebody refers to it.
struct PseudoInode {
    sb: KArc<PseudoSb>,
    node: Node,
}

fn inode(sb: &KArc<PseudoSb>, node: Node) -> Result<KArc<dyn Inode>, Errno> {
    let inode = KArc::new(PseudoInode { sb: sb.clone(), node }, Gfp::GFP_KERNEL)?;
    Ok(unsize!(KArc, inode => dyn Inode))
}

/// A number for a part of the constant tree: its address, and above it whose it is.
fn ino<T: ?Sized>(of: &T, n: usize) -> u64 {
    const ADDRESS: u64 = (1 << 40) - 1;
    core::ptr::from_ref(of).cast::<u8>().addr() as u64 & ADDRESS | (n as u64) << 40
}

impl Node {
    fn ino(self) -> u64 {
        match self {
            Self::Dir(Dir::Static(nodes)) => ino(nodes, 0),
            // Apart from the first of its files.
            Self::Dir(Dir::Of(n, files)) => ino(files, n) + 1,
            Self::File(file, n) => ino(file, n),
            Self::Pid(node) => node.ino(),
        }
    }

    fn mode(self) -> u32 {
        match self {
            Self::Dir(_) => FileType::Directory.to_mode() | 0o555,
            Self::File(file, _) => FileType::Regular.to_mode() | u32::from(file.mode),
            Self::Pid(node) => node.mode(),
        }
    }
}

impl From<Found> for Node {
    fn from(found: Found) -> Self {
        match found {
            Found::Dir(dir) => Self::Dir(dir),
            Found::File(file, of) => Self::File(file, of),
        }
    }
}

impl Inode for PseudoInode {
    fn id(&self) -> InodeId {
        InodeId { dev: self.sb.dev, ino: self.node.ino() }
    }
    fn owner(&self) -> Owner {
        Owner { mode: self.node.mode(), uid: 0, gid: 0 }
    }
    fn getattr(&self) -> Kstat {
        let owner = self.owner();
        let is_dir = owner.file_type() == FileType::Directory;
        // Files of a kernel that is up since then.
        let boot = time::getboottime64();
        let (sec, nsec) = (boot / time::NSEC_PER_SEC, boot % time::NSEC_PER_SEC);
        let booted = Timespec { sec: sec as i64, nsec: nsec as u32 };
        Kstat {
            id: self.id(),
            owner,
            nlink: if is_dir { 2 } else { 1 },
            rdev: 0,
            size: 0,
            blocks: 0,
            blksize: 1024,
            atime: booted,
            mtime: booted,
            ctime: booted,
            btime: booted,
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

    fn lookup(&self, dir: &KArc<Dentry>, name: &[u8]) -> Result<KArc<Dentry>, Errno> {
        let text = core::str::from_utf8(name).map_err(|_| Errno::ENOENT)?;
        let node = match self.node {
            Node::Dir(of) => of.get(text).map(Node::from),
            Node::File(..) => return Err(Errno::ENOTDIR),
            Node::Pid(node) => match node.lookup(text)? {
                None if matches!(node, pid::Node::Root) => self.sb.root.get(text).map(Node::from),
                found => found.map(Node::Pid),
            },
        };
        let node = node.ok_or(Errno::ENOENT)?;
        Ok(Dentry::new(dir, name, inode(&self.sb, node)?)?)
    }

    fn open(&self, _: &Path, flags: u32) -> Result<Option<KBox<dyn FileOps>>, Errno> {
        match self.node {
            Node::Dir(_) => Ok(None),
            Node::File(file, of) => {
                let ops = KBox::new(TextFile::new(text::Source::File(file, of)), Gfp::GFP_KERNEL)?;
                Ok(Some(unsize!(KBox, ops => dyn FileOps)))
            }
            Node::Pid(node) => node.open(flags),
        }
    }

    fn readlink(&self) -> Result<crate::mm::alloc::KVec<u8>, Errno> {
        match self.node {
            Node::Pid(node) => node.readlink(),
            _ => Err(Errno::EINVAL),
        }
    }

    fn get_link(&self) -> Result<super::vfs::Link, Errno> {
        match self.node {
            Node::Pid(node) => node.get_link(),
            _ => Err(Errno::EINVAL),
        }
    }

    fn truncate(&self, _: u64) -> Result<(), Errno> {
        // A shell opens files that it writes so.
        Ok(())
    }
}

impl FileOps for PseudoInode {
    /// Entries have the positions 0 and 1 for `.` and `..`, then those of the constant tree in its
    /// order, and in /proc those of processes behind.
    fn iterate(
        &self,
        file: &OpenFile,
        pos: &mut u64,
        emit: &mut dyn FnMut(&DirEntry<'_>) -> bool,
    ) -> Result<(), Errno> {
        let dentry = &file.path().dentry;
        while *pos < 2 {
            let (name, ino): (&[u8], _) = match *pos {
                0 => (b".", self.id().ino),
                _ => (b"..", dentry.parent().map_or(self.id().ino, |up| up.inode().id().ino)),
            };
            let next = *pos + 1;
            if !emit(&DirEntry { name, ino, kind: FileType::Directory, next }) {
                return Ok(());
            }
            *pos = next;
        }
        let constant = match self.node {
            Node::Dir(dir) => Some(dir),
            Node::Pid(pid::Node::Root) => Some(self.sb.root),
            Node::Pid(_) => None,
            Node::File(..) => return Err(Errno::ENOTDIR),
        };
        // The tree is walked in one go: its entries before the position are passed over, and
        // those after one that did not fit too.
        let (mut at, mut is_full) = (2, false);
        if let Some(dir) = constant {
            dir.visit(&mut |name, found| {
                if at >= *pos && !is_full {
                    let node = Node::from(found);
                    let kind = FileType::of_mode(node.mode()).unwrap_or(FileType::Regular);
                    let entry =
                        DirEntry { name: name.as_bytes(), ino: node.ino(), kind, next: at + 1 };
                    is_full = !emit(&entry);
                    if !is_full {
                        *pos = at + 1;
                    }
                }
                at += 1;
            });
        }
        match self.node {
            Node::Pid(node) if !is_full => node.iterate(at, pos, emit),
            _ => Ok(()),
        }
    }

    fn fsync(&self, _: &OpenFile) -> Result<(), Errno> {
        Ok(())
    }
}

/// A number as a name.
fn decimal(n: u32) -> ArrayString<12> {
    let mut text = ArrayString::new();
    let _fits = core::fmt::Write::write_fmt(&mut text, format_args!("{n}"));
    text
}
