//! Files of processes: `/proc/PID`, `/proc/self`, `/proc/PID/fd`, `/proc/PID/task` (Linux:
//! fs/proc/base.c), and those of /proc that the VFS has.
//!
//! The room that has processes registers a [`ProcPid`], which tells who there is and which files
//! each one has.
#![deny(unsafe_code)]

use super::decimal;
use super::text::{PidStore, Source, TextFile};
use crate::errno::Errno;
use crate::fs::vfs::{DirEntry, FdTable, FileOps, FileType, Link, Path, d_path, mount};
use crate::machine_local;
use crate::mm::alloc::{KArc, KBox, KVec};
use crate::mm::gfp::Gfp;
use crate::sync::Once;
use crate::unsize;
use core::fmt;

/// Kind of a file in `/proc/PID`. The number is the process's.
#[derive(Clone, Copy)]
pub enum PidKind {
    /// A text.
    Text(fn(u32, &mut dyn fmt::Write) -> Result<(), Errno>),
    /// A text that can be written too.
    Store(fn(u32, &mut dyn fmt::Write) -> Result<(), Errno>, fn(u32, &str) -> Result<(), Errno>),
    /// A symbolic link to a place.
    Link(fn(u32) -> Result<Path, Errno>),
    /// A file with operations of its own.
    Ops(fn(u32) -> Result<KBox<dyn FileOps>, Errno>),
}

/// A file in `/proc/PID`.
pub struct PidFile {
    /// Name.
    pub name: &'static str,
    /// Permissions.
    pub mode: u32,
    /// Kind.
    pub kind: PidKind,
}

/// The processes, as /proc asks for them.
pub trait ProcPid: Sync {
    /// Returns whether there is such a process.
    fn lookup(&self, pid: u32) -> bool;
    /// The lowest process from `pid` on.
    fn pids_from(&self, pid: u32) -> Option<u32>;
    /// The process that runs here; none for a thread of the kernel.
    fn current_pid(&self) -> Option<u32>;
    /// Descriptors of a process.
    fn files_of(&self, pid: u32) -> Option<KArc<FdTable>>;
    /// Files of each process.
    fn files(&self) -> &'static [PidFile];
}

machine_local! {
    static PROCESSES: Once<&'static dyn ProcPid> = Once::new();
}

/// Has /proc show processes. The first call counts.
pub fn register_proc_pid(processes: &'static dyn ProcPid) {
    PROCESSES.call_once(|| processes);
}

fn processes() -> Option<&'static dyn ProcPid> {
    PROCESSES.get().copied()
}

/// Files of /proc itself that are here, and not in the constant tree.
pub(super) struct RootFile {
    name: &'static str,
    kind: RootKind,
}

enum RootKind {
    Text(fn(&mut dyn fmt::Write) -> fmt::Result),
    /// A link to the process that runs, or to its thread.
    Own {
        thread: bool,
    },
    /// A link to a path.
    To(&'static str),
}

const ROOT_FILES: &[RootFile] = &[
    RootFile {
        name: "filesystems",
        kind: RootKind::Text(|out| {
            ["sysfs", "tmpfs", "proc", "devtmpfs"]
                .iter()
                .try_for_each(|name| writeln!(out, "nodev\t{name}"))
        }),
    },
    RootFile { name: "mounts", kind: RootKind::To("self/mounts") },
    RootFile { name: "self", kind: RootKind::Own { thread: false } },
    RootFile { name: "thread-self", kind: RootKind::Own { thread: true } },
];

/// A place in /proc that depends on processes.
#[derive(Clone, Copy)]
pub(super) enum Node {
    /// /proc
    Root,
    /// A file in /proc.
    RootFile(&'static RootFile),
    /// /proc/PID, or with `task` /proc/PID/task/TID.
    Process { pid: u32, task: bool },
    /// /proc/PID/task
    Tasks(u32),
    /// /proc/PID/fd
    Fds(u32),
    /// /proc/PID/fd/N
    Fd(u32, u32),
    /// /proc/PID/mounts
    Mounts(u32),
    /// A file of a process.
    File(u32, &'static PidFile),
}

/// First position of processes in /proc.
const FIRST_PID: u64 = 1 << 32;

impl Node {
    pub fn ino(self) -> u64 {
        // Above the numbers of the constant tree, by kind, process and number of the file.
        let (kind, pid, n) = match self {
            Self::Root => return 1,
            Self::RootFile(file) => return super::ino(file, 0),
            Self::Process { pid, task } => (1 + u64::from(task), pid, 0),
            Self::Tasks(pid) => (3, pid, 0),
            Self::Fds(pid) => (4, pid, 0),
            Self::Fd(pid, fd) => (5, pid, fd.into()),
            Self::Mounts(pid) => (6, pid, 0),
            Self::File(pid, file) => {
                let files = processes().map_or(&[][..], |processes| processes.files());
                let n = files.iter().position(|other| core::ptr::eq(other, file));
                (7, pid, n.unwrap_or(0) as u64)
            }
        };
        1 << 63 | kind << 56 | n << 32 | u64::from(pid)
    }

    pub fn mode(self) -> u32 {
        let (kind, mode) = match self {
            Self::Root | Self::Process { .. } | Self::Tasks(_) => (FileType::Directory, 0o555),
            Self::Fds(_) => (FileType::Directory, 0o500),
            Self::RootFile(file) => match file.kind {
                RootKind::Text(_) => (FileType::Regular, 0o444),
                _ => (FileType::Symlink, 0o777),
            },
            Self::Fd(..) => (FileType::Symlink, 0o700),
            Self::Mounts(_) => (FileType::Regular, 0o444),
            Self::File(_, file) => match file.kind {
                PidKind::Link(_) => (FileType::Symlink, 0o777),
                _ => (FileType::Regular, file.mode),
            },
        };
        kind.to_mode() | mode
    }

    /// Looks a name up; `None` where it isn't one of processes.
    pub fn lookup(self, name: &str) -> Result<Option<Self>, Errno> {
        let number = || {
            let canonical = name == "0" || !name.starts_with(['0', '+']);
            name.parse::<u32>().ok().filter(|_| canonical)
        };
        let processes = processes().ok_or(Errno::ENOENT);
        let exists = |pid: &u32| processes.is_ok_and(|processes| processes.lookup(*pid));
        Ok(match self {
            Self::Root => {
                let file = ROOT_FILES.iter().find(|file| file.name == name).map(Self::RootFile);
                let process = |pid| Self::Process { pid, task: false };
                file.or_else(|| number().filter(exists).map(process))
            }
            Self::Process { pid, .. } if !exists(&pid) => return Err(Errno::ENOENT),
            Self::Process { pid, task } => match name {
                "fd" => Some(Self::Fds(pid)),
                "mounts" => Some(Self::Mounts(pid)),
                "task" if !task => Some(Self::Tasks(pid)),
                _ => {
                    let found = processes?.files().iter().find(|file| file.name == name);
                    found.map(|file| Self::File(pid, file))
                }
            },
            // A process is one task.
            Self::Tasks(pid) => number()
                .filter(|&tid| tid == pid && exists(&pid))
                .map(|pid| Self::Process { pid, task: true }),
            Self::Fds(pid) => match number() {
                Some(fd) => {
                    let files = processes?.files_of(pid).ok_or(Errno::ENOENT)?;
                    files.get_raw(fd as i32).ok().map(|_| Self::Fd(pid, fd))
                }
                None => None,
            },
            _ => return Err(Errno::ENOTDIR),
        })
    }

    /// Emits entries of processes, the first of which has position `first`.
    pub fn iterate(
        self,
        first: u64,
        pos: &mut u64,
        emit: &mut dyn FnMut(&DirEntry<'_>) -> bool,
    ) -> Result<(), Errno> {
        let mut put = |pos: &mut u64, name: &str, node: Self, next: u64| {
            let kind = FileType::of_mode(node.mode()).unwrap_or(FileType::Regular);
            let done = emit(&DirEntry { name: name.as_bytes(), ino: node.ino(), kind, next });
            if done {
                *pos = next;
            }
            done
        };
        let processes = processes();
        match self {
            Self::Root => {
                for (at, file) in (first..).zip(ROOT_FILES) {
                    if at >= *pos && !put(pos, file.name, Self::RootFile(file), at + 1) {
                        return Ok(());
                    }
                }
                let mut from = pos.saturating_sub(FIRST_PID) as u32;
                while let Some(pid) = processes.and_then(|of| of.pids_from(from)) {
                    let node = Self::Process { pid, task: false };
                    if !put(pos, &decimal(pid), node, FIRST_PID + u64::from(pid) + 1) {
                        return Ok(());
                    }
                    from = pid + 1;
                }
            }
            Self::Process { pid, task } => {
                let processes = processes.filter(|of| of.lookup(pid)).ok_or(Errno::ENOENT)?;
                let own = [("fd", Self::Fds(pid)), ("mounts", Self::Mounts(pid))];
                let tasks = (!task).then_some(("task", Self::Tasks(pid)));
                let files = processes.files().iter().map(|file| (file.name, Self::File(pid, file)));
                for (at, (name, node)) in (first..).zip(own.into_iter().chain(tasks).chain(files)) {
                    if at >= *pos && !put(pos, name, node, at + 1) {
                        return Ok(());
                    }
                }
            }
            Self::Tasks(pid) => {
                if *pos <= first && processes.is_some_and(|of| of.lookup(pid)) {
                    put(pos, &decimal(pid), Self::Process { pid, task: true }, first + 1);
                }
            }
            Self::Fds(pid) => {
                let files = processes.and_then(|of| of.files_of(pid)).ok_or(Errno::ENOENT)?;
                let mut from = pos.saturating_sub(first) as u32;
                while let Some(fd) = files.next_open(from) {
                    if !put(pos, &decimal(fd), Self::Fd(pid, fd), first + u64::from(fd) + 1) {
                        return Ok(());
                    }
                    from = fd + 1;
                }
            }
            _ => return Err(Errno::ENOTDIR),
        }
        Ok(())
    }

    pub fn open(self, _flags: u32) -> Result<Option<KBox<dyn FileOps>>, Errno> {
        let source = match self {
            Self::RootFile(RootFile { kind: RootKind::Text(show), .. }) => Source::Plain(*show),
            Self::Mounts(_) => Source::Plain(mount::show_mounts),
            Self::File(pid, file) => match file.kind {
                PidKind::Text(show) => Source::Pid(pid, show, None),
                PidKind::Store(show, store) => Source::Pid(pid, show, Some(store as PidStore)),
                PidKind::Ops(open) => return open(pid).map(Some),
                PidKind::Link(_) => return Ok(None),
            },
            _ => return Ok(None),
        };
        let ops = KBox::new(TextFile::new(source), Gfp::GFP_KERNEL)?;
        Ok(Some(unsize!(KBox, ops => dyn FileOps)))
    }

    /// The place that a link leads to.
    fn target(self) -> Result<Path, Errno> {
        match self {
            Self::Fd(pid, fd) => {
                let files = processes().and_then(|of| of.files_of(pid)).ok_or(Errno::ENOENT)?;
                let file = files.get_raw(fd as i32).map_err(|_| Errno::ENOENT)?;
                Ok(file.path().clone())
            }
            Self::File(pid, PidFile { kind: PidKind::Link(target), .. }) => target(pid),
            _ => Err(Errno::EINVAL),
        }
    }

    pub fn readlink(self) -> Result<KVec<u8>, Errno> {
        let mut text = KVec::new();
        let mut add = |part: &str| text.extend_from_slice(part.as_bytes(), Gfp::GFP_KERNEL);
        match self {
            Self::RootFile(RootFile { kind: RootKind::To(path), .. }) => add(path)?,
            Self::RootFile(RootFile { kind: RootKind::Own { thread }, .. }) => {
                let pid = processes().and_then(|of| of.current_pid()).ok_or(Errno::ENOENT)?;
                add(&decimal(pid))?;
                if *thread {
                    add("/task/")?;
                    add(&decimal(pid))?;
                }
            }
            _ => {
                let target = self.target()?;
                let (mut path, _) = d_path(&target, None)?;
                if target.dentry.is_unlinked() {
                    path.extend_from_slice(b" (deleted)", Gfp::GFP_KERNEL)?;
                }
                return Ok(path);
            }
        }
        Ok(text)
    }

    pub fn get_link(self) -> Result<Link, Errno> {
        match self {
            Self::RootFile(_) => self.readlink().map(Link::Text),
            _ => self.target().map(Link::Jump),
        }
    }
}
