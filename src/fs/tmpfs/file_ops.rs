//! Reading, writing and listing files of tmpfs (Linux: shmem_file_operations, simple_offset_dir).
#![deny(unsafe_code)]

use super::dir_map::FIRST_COOKIE;
use super::inode::{Kind, TmpfsInode};
use crate::arch::uaccess::{IoSink, IoSource};
use crate::errno::Errno;
use crate::fs::vfs::{DirEntry, FileOps, FileType, Inode, OpenFile, Pages, Whence};
use crate::mm::filemap::{AddressSpace, FaultError};
use crate::mm::page::Frame;
use linux_raw_sys::general::{FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE, O_APPEND};

impl Pages for TmpfsInode {
    fn mapping(&self) -> &AddressSpace {
        match &self.kind {
            Kind::File(shmem) => shmem.mapping(),
            _ => unreachable!("`pages` gives those of regular files alone"),
        }
    }
    fn fault(&self, index: u64) -> Result<Frame, FaultError> {
        self.shmem().map_or(Err(FaultError::Sigbus), |shmem| shmem.fault(index))
    }
    fn is_shmem(&self) -> bool {
        true
    }
}

impl FileOps for TmpfsInode {
    fn read(&self, file: &OpenFile, pos: &mut u64, sink: &mut dyn IoSink) -> Result<usize, Errno> {
        let done = self.shmem()?.read(*pos, sink)?;
        *pos += done as u64;
        self.accessed(file);
        Ok(done)
    }

    fn write(
        &self,
        file: &OpenFile,
        pos: &mut u64,
        source: &mut dyn IoSource,
        limit: u64,
    ) -> Result<usize, Errno> {
        let at = (file.flags() & O_APPEND == 0).then_some(*pos);
        let (done, start) = self.shmem()?.write(at, source, limit)?;
        *pos = start + done as u64;
        if done > 0 {
            self.modified();
        }
        Ok(done)
    }

    fn llseek(&self, file: &OpenFile, pos: u64, offset: i64, whence: Whence) -> Result<u64, Errno> {
        match (&self.kind, whence) {
            (Kind::File(shmem), Whence::Data | Whence::Hole) => {
                let at = u64::try_from(offset).map_err(|_| Errno::ENXIO)?;
                shmem.seek_data(at, whence == Whence::Hole)
            }
            // Cookies of entries; the end is nowhere.
            (Kind::Dir(_), Whence::Set | Whence::Current) => {
                let base = if whence == Whence::Set { 0 } else { pos as i64 };
                let to = base.checked_add(offset).and_then(|to| u64::try_from(to).ok());
                to.ok_or(Errno::EINVAL)
            }
            (Kind::Dir(_), _) => Err(Errno::EINVAL),
            _ => crate::fs::vfs::generic_llseek(file, pos, offset, whence),
        }
    }

    fn iterate(
        &self,
        file: &OpenFile,
        pos: &mut u64,
        emit: &mut dyn FnMut(&DirEntry<'_>) -> bool,
    ) -> Result<(), Errno> {
        let dentry = &file.path().dentry;
        if dentry.is_unlinked() {
            return Err(Errno::ENOENT);
        }
        while *pos < FIRST_COOKIE {
            let (name, ino): (&[u8], _) = match *pos {
                0 => (b".", self.id().ino),
                _ => (b"..", dentry.parent().map_or(self.id().ino, |up| up.inode().id().ino)),
            };
            let entry = DirEntry { name, ino, kind: FileType::Directory, next: *pos + 1 };
            if !emit(&entry) {
                return Ok(());
            }
            *pos += 1;
        }
        let mut name = [0; crate::fs::vfs::NAME_MAX];
        while let Some((cookie, entry)) =
            self.with_dir(|map| map.next(*pos).map(|(cookie, entry)| (cookie, entry.clone())))?
        {
            let len = entry.with_name(|of| {
                name[..of.len()].copy_from_slice(of);
                of.len()
            });
            let (ino, kind) = (entry.inode().id().ino, entry.file_type());
            if !emit(&DirEntry { name: &name[..len], ino, kind, next: cookie + 1 }) {
                *pos = cookie;
                return Ok(());
            }
            *pos = cookie + 1;
        }
        self.accessed(file);
        Ok(())
    }

    fn fallocate(&self, _: &OpenFile, mode: u32, at: u64, len: u64) -> Result<(), Errno> {
        let shmem = self.shmem()?;
        if mode & FALLOC_FL_PUNCH_HOLE != 0 {
            shmem.punch_hole(at, len);
        } else {
            shmem.allocate(at, len, mode & FALLOC_FL_KEEP_SIZE != 0)?;
        }
        self.modified();
        Ok(())
    }

    fn fsync(&self, _: &OpenFile) -> Result<(), Errno> {
        match self.kind {
            Kind::File(_) | Kind::Dir(_) => Ok(()),
            _ => Err(Errno::EINVAL),
        }
    }
}
