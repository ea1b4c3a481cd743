//! Inodes: what a file system implements (Linux: struct inode, struct inode_operations).
#![deny(unsafe_code)]

use super::{Dentry, DirOps, FileOps, Path, SuperBlock, Timespec};
use crate::errno::Errno;
use crate::mm::alloc::{KArc, KBox, KVec};
use crate::mm::filemap::{AddressSpace, FaultError};
use crate::mm::page::Frame;
use core::any::Any;
use linux_raw_sys::general::{
    DT_BLK, DT_CHR, DT_DIR, DT_FIFO, DT_LNK, DT_REG, DT_SOCK, S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO,
    S_IFLNK, S_IFMT, S_IFREG, S_IFSOCK,
};

/// The type of a file, a part of its mode.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FileType {
    /// Regular file.
    Regular,
    /// Directory.
    Directory,
    /// Symbolic link.
    Symlink,
    /// Character device.
    Char,
    /// Block device.
    Block,
    /// FIFO.
    Fifo,
    /// Socket.
    Socket,
}

impl FileType {
    /// Type in the mode of an inode; `None` for bits that are no type.
    #[must_use]
    pub const fn of_mode(mode: u32) -> Option<Self> {
        Some(match mode & S_IFMT {
            S_IFREG => Self::Regular,
            S_IFDIR => Self::Directory,
            S_IFLNK => Self::Symlink,
            S_IFCHR => Self::Char,
            S_IFBLK => Self::Block,
            S_IFIFO => Self::Fifo,
            S_IFSOCK => Self::Socket,
            _ => return None,
        })
    }

    /// Bits of a mode.
    #[must_use]
    pub const fn to_mode(self) -> u32 {
        match self {
            Self::Regular => S_IFREG,
            Self::Directory => S_IFDIR,
            Self::Symlink => S_IFLNK,
            Self::Char => S_IFCHR,
            Self::Block => S_IFBLK,
            Self::Fifo => S_IFIFO,
            Self::Socket => S_IFSOCK,
        }
    }

    /// Type in a directory's records (Linux: fs_umode_to_dtype).
    #[must_use]
    pub const fn to_dtype(self) -> u8 {
        (match self {
            Self::Regular => DT_REG,
            Self::Directory => DT_DIR,
            Self::Symlink => DT_LNK,
            Self::Char => DT_CHR,
            Self::Block => DT_BLK,
            Self::Fifo => DT_FIFO,
            Self::Socket => DT_SOCK,
        }) as u8
    }
}

/// Numbers of device and inode, which no two inodes share.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InodeId {
    /// Device, as [`makedev`](super::makedev) packs it.
    pub dev: u64,
    /// Inode.
    pub ino: u64,
}

/// Type, permissions and owner of an inode.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Owner {
    /// Type and permissions (Linux: i_mode).
    pub mode: u32,
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

impl Owner {
    /// Type of the file.
    ///
    /// # Panics
    /// The mode has no type: the file system is wrong.
    #[must_use]
    pub fn file_type(self) -> FileType {
        FileType::of_mode(self.mode).expect("the mode of an inode has a type")
    }
}

/// Attributes of an inode (Linux: struct kstat).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Kstat {
    /// Device and inode.
    pub id: InodeId,
    /// Type, permissions, owner.
    pub owner: Owner,
    /// Number of names.
    pub nlink: u32,
    /// Device that a device node stands for.
    pub rdev: u64,
    /// Bytes.
    pub size: u64,
    /// Units of 512 bytes that it takes.
    pub blocks: u64,
    /// Bytes that are read or written best at a time.
    pub blksize: u32,
    /// Time of the last read.
    pub atime: Timespec,
    /// Time of the last change of its contents.
    pub mtime: Timespec,
    /// Time of the last change of the inode.
    pub ctime: Timespec,
    /// Time of its creation.
    pub btime: Timespec,
    /// Mount that it was found by.
    pub mnt_id: u64,
}

/// Changes to an inode's attributes; `None` leaves one as it is (Linux: struct iattr).
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Iattr {
    /// Permissions, without the type.
    pub mode: Option<u32>,
    /// User.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Time of the last read.
    pub atime: Option<Timespec>,
    /// Time of the last change of the contents.
    pub mtime: Option<Timespec>,
}

/// The kind of inode that a directory is to get.
#[derive(Debug)]
pub enum NewKind<'a> {
    /// Regular file without bytes.
    Regular,
    /// Empty directory.
    Directory,
    /// Symbolic link to a path.
    Symlink(&'a [u8]),
    /// Device node, FIFO or socket: type, and device number.
    Node(FileType, u64),
}

/// An inode to be created.
#[derive(Debug)]
pub struct NewInode<'a> {
    /// Kind of inode.
    pub kind: NewKind<'a>,
    /// Permissions.
    pub mode: u32,
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// Target of a symbolic link (Linux: get_link).
#[derive(Debug)]
pub enum Link {
    /// The path that is its text.
    Text(KVec<u8>),
    /// A place that no path need lead to, as links in /proc do.
    Jump(Path),
}

/// An entry of a directory, as getdents64 returns it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DirEntry<'a> {
    /// Name.
    pub name: &'a [u8],
    /// Number of the inode.
    pub ino: u64,
    /// Type of the file.
    pub kind: FileType,
    /// Position behind this entry.
    pub next: u64,
}

/// Kinds of memory that an open file may be mapped as.
#[derive(Debug)]
pub enum Mmap {
    /// Pages of the file itself.
    File,
    /// Fresh zeros (Linux: mmap_zero).
    Zero,
}

/// Pages of a file that can be mapped.
pub trait Pages: Send + Sync {
    /// The page cache.
    fn mapping(&self) -> &AddressSpace;
    /// Returns a page with a reference, as [`MappedFile::fault`](crate::mm::filemap::MappedFile)
    /// does.
    ///
    /// # Errors
    /// [`FaultError`]
    fn fault(&self, index: u64) -> Result<Frame, FaultError>;
    /// Returns true for pages of shared memory.
    fn is_shmem(&self) -> bool;
}

/// Position from which lseek counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Whence {
    /// The start of the file.
    Set,
    /// The file's position.
    Current,
    /// The end of the file.
    End,
    /// The next byte of data.
    Data,
    /// The next hole.
    Hole,
}

/// An inode (Linux: struct inode with its operations). All may sleep.
pub trait Inode: Send + Sync {
    /// Device and inode number.
    fn id(&self) -> InodeId;
    /// Type, permissions, owner.
    fn owner(&self) -> Owner;
    /// Attributes, but for the mount.
    fn getattr(&self) -> Kstat;
    /// File system that it belongs to.
    fn sb(&self) -> &dyn SuperBlock;
    /// Operations on an open file.
    fn file_ops(&self) -> &dyn FileOps;
    /// The value itself, for its file system.
    fn as_any(&self) -> &dyn Any;

    /// Changes attributes; who may was checked.
    ///
    /// # Errors
    /// `EPERM` where the file system doesn't allow it.
    fn setattr(&self, _: &Iattr) -> Result<(), Errno> {
        Err(Errno::EPERM)
    }

    /// Looks a name up in the directory `dir`, which this is the inode of.
    ///
    /// # Errors
    /// `ENOENT`, `ENAMETOOLONG`, `ENOMEM`; `ENOTDIR` if this is no directory.
    fn lookup(&self, _dir: &KArc<Dentry>, _name: &[u8]) -> Result<KArc<Dentry>, Errno> {
        Err(Errno::ENOTDIR)
    }

    /// Changes to the directory; `None` where its file system makes none.
    fn dir_ops(&self) -> Option<&dyn DirOps> {
        None
    }

    /// Text of a symbolic link.
    ///
    /// # Errors
    /// `EINVAL` for other files.
    fn readlink(&self) -> Result<KVec<u8>, Errno> {
        Err(Errno::EINVAL)
    }

    /// Target of a symbolic link.
    ///
    /// # Errors
    /// As [`Inode::readlink`].
    fn get_link(&self) -> Result<Link, Errno> {
        self.readlink().map(Link::Text)
    }

    /// Prepares an open file, whose operations are those of the result, or if it is `None` of
    /// the inode.
    ///
    /// # Errors
    /// Such as `ENXIO` where there is no such device.
    fn open(&self, _: &Path, _flags: u32) -> Result<Option<KBox<dyn FileOps>>, Errno> {
        Ok(None)
    }

    /// Pages of the file, if it has a page cache.
    fn pages(&self) -> Option<&dyn Pages> {
        None
    }

    /// Makes a regular file `size` bytes long.
    ///
    /// # Errors
    /// `EINVAL` where the file system has no such operation; `EFBIG`, `ENOMEM`.
    fn truncate(&self, _size: u64) -> Result<(), Errno> {
        Err(Errno::EINVAL)
    }
}
