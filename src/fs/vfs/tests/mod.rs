//! The VFS over tmpfs: paths, against the file system of the host, and what it does alone.

mod calls;
mod host;
mod paths;
mod rename;
mod rights;

use super::*;
use crate::addr::{PhysAddr, PhysRange};
use crate::arch::hosted::Machine;
use crate::arch::uaccess::KernelSink;
use crate::errno::Errno;
use crate::fs::tmpfs;
use crate::mm::page_alloc;
use crate::mm::slab::{kmem_cache_init, shrink_all};
use crate::mm::validate::validate;
use linux_raw_sys::general::*;
use std::format;
use std::string::String;
use std::vec;
use std::vec::Vec;

/// Limits of a process that has none.
pub(in crate::fs) const LIMITS: FileLimits = FileLimits { nofile: 1024, fsize: u64::MAX };

/// A process and what it sees.
pub(in crate::fs) struct World {
    pub files: FdTable,
    pub fs: FsContext,
    pub cred: Cred,
}

impl World {
    pub fn caller(&self) -> Caller<'_> {
        Caller { files: &self.files, fs: &self.fs, cred: &self.cred, limits: LIMITS }
    }

    /// Opens a file; its descriptor.
    pub fn open(&self, path: &str, flags: u32) -> Result<i32, Errno> {
        openat(&self.caller(), AT_FDCWD, path.as_bytes(), flags, 0o666).map(|fd| fd as i32)
    }
    pub fn close(&self, fd: i32) {
        close(&self.caller(), fd).unwrap();
    }
    pub fn mkdir(&self, path: &str) -> Result<(), Errno> {
        mkdirat(&self.caller(), AT_FDCWD, path.as_bytes(), 0o777)
    }
    pub fn unlink(&self, path: &str) -> Result<(), Errno> {
        unlinkat(&self.caller(), AT_FDCWD, path.as_bytes(), 0)
    }
    pub fn rmdir(&self, path: &str) -> Result<(), Errno> {
        unlinkat(&self.caller(), AT_FDCWD, path.as_bytes(), AT_REMOVEDIR)
    }
    pub fn symlink(&self, target: &str, path: &str) -> Result<(), Errno> {
        symlinkat(&self.caller(), target.as_bytes(), AT_FDCWD, path.as_bytes())
    }
    pub fn link(&self, old: &str, new: &str) -> Result<(), Errno> {
        linkat(&self.caller(), AT_FDCWD, old.as_bytes(), AT_FDCWD, new.as_bytes(), 0)
    }
    pub fn rename(&self, old: &str, new: &str, flags: u32) -> Result<(), Errno> {
        renameat2(&self.caller(), AT_FDCWD, old.as_bytes(), AT_FDCWD, new.as_bytes(), flags)
    }
    pub fn stat(&self, path: &str) -> Result<Kstat, Errno> {
        fstatat(&self.caller(), AT_FDCWD, path.as_bytes(), 0)
    }
    pub fn lstat(&self, path: &str) -> Result<Kstat, Errno> {
        fstatat(&self.caller(), AT_FDCWD, path.as_bytes(), AT_SYMLINK_NOFOLLOW)
    }
    pub fn write(&self, path: &str, bytes: &[u8]) -> Result<(), Errno> {
        let fd = self.open(path, O_WRONLY | O_CREAT | O_TRUNC)?;
        let written = write(&self.caller(), fd, &mut &*bytes);
        self.close(fd);
        assert_eq!(written?, bytes.len());
        Ok(())
    }
    pub fn read(&self, path: &str) -> Result<Vec<u8>, Errno> {
        let fd = self.open(path, O_RDONLY)?;
        let mut all = Vec::new();
        let mut bytes = [0; 1000];
        loop {
            let mut sink = KernelSink::new(&mut bytes);
            match read(&self.caller(), fd, &mut sink) {
                Ok(0) => break,
                Ok(len) => all.extend_from_slice(&bytes[..len]),
                Err(why) => {
                    self.close(fd);
                    return Err(why);
                }
            }
        }
        self.close(fd);
        Ok(all)
    }
    pub fn readlink(&self, path: &str) -> Result<Vec<u8>, Errno> {
        let mut bytes = [0; 5000];
        let mut sink = KernelSink::new(&mut bytes);
        readlinkat(&self.caller(), AT_FDCWD, path.as_bytes(), &mut sink)?;
        Ok(sink.filled().to_vec())
    }
    /// Names in a directory but `.` and `..`, as getdents64 returns them.
    pub fn list(&self, path: &str) -> Result<Vec<(String, u8)>, Errno> {
        let fd = self.open(path, O_RDONLY | O_DIRECTORY)?;
        let mut entries = Vec::new();
        while let Some(more) = self.getdents(fd, 300) {
            entries.extend(more);
        }
        self.close(fd);
        entries.retain(|(name, ..)| name != "." && name != "..");
        Ok(entries)
    }
    /// Records of one getdents64; `None` at the end.
    pub fn getdents(&self, fd: i32, room: usize) -> Option<Vec<(String, u8)>> {
        let mut bytes = vec![0; room];
        let len = getdents64(&self.caller(), fd, &mut KernelSink::new(&mut bytes)).unwrap();
        let (mut at, mut entries) = (0, Vec::new());
        while at < len {
            let reclen = usize::from(u16::from_ne_bytes([bytes[at + 16], bytes[at + 17]]));
            let name = bytes[at + 19..at + reclen].split(|&byte| byte == 0).next().unwrap();
            entries.push((String::from_utf8(name.to_vec()).unwrap(), bytes[at + 18]));
            at += reclen;
        }
        (len > 0).then_some(entries)
    }
    pub fn chdir(&self, path: &str) -> Result<(), Errno> {
        chdir(&self.caller(), path.as_bytes())
    }
    pub fn getcwd(&self) -> Result<String, Errno> {
        let mut bytes = [0; 5000];
        let mut sink = KernelSink::new(&mut bytes);
        let len = getcwd(&self.caller(), &mut sink)?;
        let (end, path) = sink.filled().split_last().unwrap();
        assert_eq!((*end, path.len() + 1), (0, len));
        Ok(String::from_utf8(path.to_vec()).unwrap())
    }
}

/// Takes the mounts away while their machine is there, after a panic too.
struct End;

impl Drop for End {
    fn drop(&mut self) {
        mount::detach_all();
    }
}

/// Runs `f` in a world whose root is an empty tmpfs with `options`, and sees that no page stays.
pub(in crate::fs) fn in_world<R>(options: &str, f: impl FnOnce(&World, &Machine) -> R) -> R {
    Machine::run(&[PhysRange::from_size(PhysAddr::new(0x4000_0000), 16 << 20)], |machine| {
        page_alloc::init(machine.ram());
        kmem_cache_init(1);
        let before = page_alloc::nr_used_pages();
        let options = tmpfs::Options::parse(options).unwrap();
        let root = tmpfs::new_mount("tmpfs", b"tmpfs", options, MountFlags::default()).unwrap();
        mount::attach(&root, None).unwrap();
        drop(root);
        let (files, fs) = (FdTable::new(), FsContext::new().unwrap());
        let end = End;
        let result = f(&World { files, fs, cred: Cred::ROOT }, machine);
        drop(end);
        validate().unwrap();
        shrink_all();
        machine.on_cpus(2, |_| shrink_all());
        assert_eq!(page_alloc::nr_used_pages(), before, "pages were lost");
        result
    })
}
