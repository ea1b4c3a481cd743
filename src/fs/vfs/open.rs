//! Opening files (Linux: fs/open.c, path_openat).
#![deny(unsafe_code)]

use super::namei::{LastKind, Walk};
use super::{Caller, FileType, May, NewInode, NewKind, OpenFile, Path};
use crate::errno::Errno;
use crate::mm::alloc::KArc;
use linux_raw_sys::general::{
    __O_TMPFILE, O_ACCMODE, O_APPEND, O_CLOEXEC, O_CREAT, O_DIRECT, O_DIRECTORY, O_DSYNC, O_EXCL,
    O_LARGEFILE, O_NOATIME, O_NOCTTY, O_NOFOLLOW, O_NONBLOCK, O_PATH, O_SYNC, O_TMPFILE, O_TRUNC,
    O_WRONLY, S_ISGID,
};

/// Flags that open(2) knows (Linux: VALID_OPEN_FLAGS).
const VALID: u32 = O_ACCMODE
    | O_CREAT
    | O_EXCL
    | O_NOCTTY
    | O_TRUNC
    | O_APPEND
    | O_NONBLOCK
    | O_DSYNC
    | O_SYNC
    | O_DIRECT
    | O_LARGEFILE
    | O_DIRECTORY
    | O_NOFOLLOW
    | O_NOATIME
    | O_CLOEXEC
    | O_PATH
    | __O_TMPFILE;
/// Flags that count beside O_PATH.
const WITH_PATH: u32 = O_DIRECTORY | O_NOFOLLOW | O_PATH | O_CLOEXEC;

/// An open that is asked for (Linux: struct open_flags).
struct Request {
    flags: u32,
    mode: u32,
    /// Access to the inode.
    may: May,
}

impl Request {
    /// Checks flags (Linux: build_open_flags).
    fn new(flags: u32, mode: u32) -> Result<Self, Errno> {
        let mut flags = flags & VALID;
        let creates = flags & (O_CREAT | __O_TMPFILE) != 0;
        let mode = if creates { mode & 0o7777 } else { 0 };
        if flags & (O_DIRECTORY | O_CREAT) == O_DIRECTORY | O_CREAT {
            return Err(Errno::EINVAL);
        }
        // The value 3 asks for the rights of both, and gives neither.
        let mut may = match flags & O_ACCMODE {
            0 => May::READ,
            O_WRONLY => May::WRITE,
            _ => May::READ | May::WRITE,
        };
        if flags & __O_TMPFILE != 0 && (flags & O_TMPFILE != O_TMPFILE || !may.contains(May::WRITE))
        {
            return Err(Errno::EINVAL);
        }
        if flags & O_PATH != 0 {
            flags &= WITH_PATH;
            may = May::empty();
        }
        if flags & O_TRUNC != 0 {
            may |= May::WRITE;
        }
        Ok(Self { flags, mode, may })
    }

    fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }
}

/// Opens a file and returns a descriptor. Process context (Linux: do_sys_openat2).
///
/// # Errors
/// Those of open(2).
pub fn openat(
    caller: &Caller<'_>,
    dirfd: i32,
    path: &[u8],
    flags: u32,
    mode: u32,
) -> Result<u32, Errno> {
    let request = Request::new(flags, mode)?;
    if path.is_empty() {
        return Err(Errno::ENOENT);
    }
    let fd = caller.files.reserve(0, caller.limits.nofile)?;
    let file = open(caller, dirfd, path, &request)?;
    Ok(fd.install(file, flags & O_CLOEXEC != 0))
}

/// Opens a file without a descriptor, for the kernel (Linux: file_open_name).
///
/// # Errors
/// Those of open(2).
pub fn open_file(
    caller: &Caller<'_>,
    dirfd: i32,
    path: &[u8],
    flags: u32,
    mode: u32,
) -> Result<KArc<OpenFile>, Errno> {
    open(caller, dirfd, path, &Request::new(flags, mode)?)
}

/// Opens a program to be executed. With `AT_EMPTY_PATH` and an empty path it is `dirfd` itself
/// (Linux: do_open_execat).
///
/// # Errors
/// `EACCES` for other than regular files, without the right to execute, or where its mount forbids it; `ELOOP`
/// for a symbolic link with `AT_SYMLINK_NOFOLLOW`; `EINVAL` for other flags; those of a path.
pub fn open_exec(
    caller: &Caller<'_>,
    dirfd: i32,
    path: &[u8],
    flags: u32,
) -> Result<KArc<OpenFile>, Errno> {
    use linux_raw_sys::general::{AT_EMPTY_PATH, AT_SYMLINK_NOFOLLOW};
    if flags & !(AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) != 0 {
        return Err(Errno::EINVAL);
    }
    let (follow, empty) = (flags & AT_SYMLINK_NOFOLLOW == 0, flags & AT_EMPTY_PATH != 0);
    let path = super::path_at(caller, dirfd, path, follow, empty)?;
    match path.dentry.file_type() {
        FileType::Symlink => return Err(Errno::ELOOP),
        FileType::Regular => {}
        _ => return Err(Errno::EACCES),
    }
    if path.mnt.flags().no_exec {
        return Err(Errno::EACCES);
    }
    caller.cred.permission(path.inode().owner(), May::EXEC)?;
    OpenFile::new(path, O_LARGEFILE)
}

fn open(
    caller: &Caller<'_>,
    dirfd: i32,
    path: &[u8],
    request: &Request,
) -> Result<KArc<OpenFile>, Errno> {
    let mut walk = Walk::new(caller, dirfd, path)?;
    if request.has(__O_TMPFILE) {
        let dir = walk.end(!request.has(O_NOFOLLOW))?;
        return open_tmpfile(caller, dir, request);
    }
    loop {
        let last = walk.parent()?;
        let is_name = last.kind == LastKind::Norm;
        if is_name && last.slash && request.has(O_CREAT) {
            return Err(Errno::EISDIR);
        }
        let found = match walk.step(&last) {
            Err(Errno::ENOENT) if is_name && request.has(O_CREAT) => {
                match create(caller, &walk.at, walk.name(&last), request) {
                    // Somebody else was faster, and that counts as having been there.
                    Err(Errno::EEXIST) if !request.has(O_EXCL) => walk.step(&last)?,
                    created => return finish(created?, request, true),
                }
            }
            found => found?,
        };
        if is_name && request.has(O_CREAT) && request.has(O_EXCL) {
            return Err(Errno::EEXIST);
        }
        let exclusive = request.has(O_CREAT) && request.has(O_EXCL);
        let follows = !request.has(O_NOFOLLOW) && !exclusive;
        let is_link = found.dentry.file_type() == FileType::Symlink;
        let found = if is_link && (follows || last.slash) {
            match walk.follow(&found)? {
                None => continue,
                Some(target) => target,
            }
        } else {
            found
        };
        if exclusive {
            return Err(Errno::EEXIST);
        }
        let is_dir = found.dentry.is_dir();
        if request.has(O_CREAT) && is_dir {
            return Err(Errno::EISDIR);
        }
        if (last.slash || request.has(O_DIRECTORY)) && !is_dir {
            return Err(Errno::ENOTDIR);
        }
        may_open(caller, &found, request)?;
        return finish(found, request, false);
    }
}

/// Checks access to what was found (Linux: may_open).
fn may_open(caller: &Caller<'_>, path: &Path, request: &Request) -> Result<(), Errno> {
    if request.has(O_PATH) {
        return Ok(());
    }
    let owner = path.inode().owner();
    match owner.file_type() {
        FileType::Symlink => return Err(Errno::ELOOP),
        FileType::Directory if request.may.contains(May::WRITE) => return Err(Errno::EISDIR),
        FileType::Char | FileType::Block if path.mnt.flags().no_dev => return Err(Errno::EACCES),
        _ => {}
    }
    let writes = request.may.contains(May::WRITE);
    // A device, FIFO or socket can be written on any file system.
    if writes && matches!(owner.file_type(), FileType::Regular | FileType::Directory) {
        path.mnt.want_write()?;
    }
    caller.cred.permission(owner, request.may)?;
    if request.has(O_NOATIME) && !caller.cred.owns(owner) {
        return Err(Errno::EPERM);
    }
    Ok(())
}

/// Opens what was found or created (Linux: do_open).
fn finish(path: Path, request: &Request, is_new: bool) -> Result<KArc<OpenFile>, Errno> {
    let truncates = request.has(O_TRUNC) && !is_new;
    // Flags that only say how the file is found don't stay.
    let kept = request.flags & !(O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC | O_CLOEXEC);
    let file = OpenFile::new(path, kept)?;
    if truncates && file.file_type() == FileType::Regular {
        file.inode().truncate(0)?;
    }
    Ok(file)
}

/// Permissions and owner of a file that is created in `dir` (Linux: inode_init_owner).
pub(super) fn new_inode<'a>(
    caller: &Caller<'_>,
    dir: &Path,
    kind: NewKind<'a>,
    mode: u32,
) -> NewInode<'a> {
    let owner = dir.inode().owner();
    let mut mode = mode & !caller.fs.umask();
    let inherits = owner.mode & S_ISGID != 0;
    if inherits && matches!(kind, NewKind::Directory) {
        mode |= S_ISGID;
    }
    let gid = if inherits { owner.gid } else { caller.cred.gid };
    NewInode { kind, mode, uid: caller.cred.uid, gid }
}

/// Checks that the caller may add a name to `dir` (Linux: may_create).
pub(super) fn may_create(caller: &Caller<'_>, dir: &Path) -> Result<(), Errno> {
    dir.mnt.want_write()?;
    caller.cred.permission(dir.inode().owner(), May::WRITE | May::EXEC)
}

fn create(caller: &Caller<'_>, dir: &Path, name: &[u8], request: &Request) -> Result<Path, Errno> {
    may_create(caller, dir)?;
    let ops = dir.inode().dir_ops().ok_or(Errno::EACCES)?;
    let new = new_inode(caller, dir, NewKind::Regular, request.mode);
    let dentry = ops.create(&dir.dentry, name, &new)?;
    Ok(Path { mnt: dir.mnt.clone(), dentry })
}

fn open_tmpfile(
    caller: &Caller<'_>,
    dir: Path,
    request: &Request,
) -> Result<KArc<OpenFile>, Errno> {
    if !dir.dentry.is_dir() {
        return Err(Errno::ENOTDIR);
    }
    may_create(caller, &dir)?;
    let ops = dir.inode().dir_ops().ok_or(Errno::EOPNOTSUPP)?;
    let new = new_inode(caller, &dir, NewKind::Regular, request.mode);
    let dentry = ops.tmpfile(&dir.dentry, &new, !request.has(O_EXCL))?;
    finish(Path { mnt: dir.mnt, dentry }, request, true)
}
