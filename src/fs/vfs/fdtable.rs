//! Descriptors of open files (Linux: struct files_struct, fs/file.c).
#![deny(unsafe_code)]

use super::OpenFile;
use crate::arch::irq::with_masked;
use crate::errno::Errno;
use crate::mm::alloc::{KArc, KVVec};
use crate::mm::gfp::Gfp;
use crate::sync::{Rank, SpinLock};
use core::mem::replace;

/// The most descriptors that a table has (Linux: NR_OPEN).
pub const NR_OPEN: u64 = 1 << 20;

/// A place in the table.
enum Entry {
    Free,
    /// Given out, and without a file yet.
    Reserved,
    Open {
        file: KArc<OpenFile>,
        cloexec: bool,
    },
}

struct Table {
    entries: KVVec<Entry>,
    /// All places below are taken.
    next: usize,
}

/// The descriptors of a process (Linux: struct files_struct).
pub struct FdTable {
    table: SpinLock<Table>,
}

impl Default for FdTable {
    fn default() -> Self {
        Self::new()
    }
}

/// A descriptor without a file; free again when dropped.
#[must_use]
pub struct ReservedFd<'a> {
    table: &'a FdTable,
    fd: u32,
}

impl Table {
    fn entry(&mut self, fd: u32) -> Option<&mut Entry> {
        self.entries.get_mut(fd as usize)
    }
}

impl FdTable {
    /// A table without open files.
    #[must_use]
    pub const fn new() -> Self {
        let table = Table { entries: KVVec::new(), next: 0 };
        Self { table: SpinLock::new(Rank::Vfs, table) }
    }

    fn with<R>(&self, f: impl FnOnce(&mut Table) -> R) -> R {
        with_masked(|irq| f(&mut self.table.lock(irq)))
    }

    /// The file of a descriptor, but for one that only names a place. Any context (Linux: fget).
    ///
    /// # Errors
    /// `EBADF`
    pub fn get(&self, fd: i32) -> Result<KArc<OpenFile>, Errno> {
        self.get_raw(fd).and_then(|file| if file.is_path() { Err(Errno::EBADF) } else { Ok(file) })
    }

    /// The file of a descriptor. Any context (Linux: fget_raw).
    ///
    /// # Errors
    /// `EBADF`
    pub fn get_raw(&self, fd: i32) -> Result<KArc<OpenFile>, Errno> {
        self.get_with_flag(fd).map(|(file, _)| file)
    }

    /// The file of a descriptor, and whether exec closes it.
    ///
    /// # Errors
    /// `EBADF`
    pub(super) fn get_with_flag(&self, fd: i32) -> Result<(KArc<OpenFile>, bool), Errno> {
        let fd = u32::try_from(fd).map_err(|_| Errno::EBADF)?;
        self.with(|table| match table.entry(fd) {
            Some(Entry::Open { file, cloexec }) => Ok((file.clone(), *cloexec)),
            _ => Err(Errno::EBADF),
        })
    }

    /// Makes room for descriptor `fd`. Process context.
    fn grow(&self, fd: usize) -> Result<(), Errno> {
        let capacity = self.with(|table| table.entries.capacity());
        if fd < capacity {
            return Ok(());
        }
        let wanted = (fd + 1).next_power_of_two().max(64);
        let mut larger = KVVec::with_capacity(wanted, Gfp::GFP_KERNEL)?;
        self.with(|table| {
            if table.entries.capacity() < larger.capacity() {
                for entry in table.entries.as_mut_slice() {
                    let _fits = larger.push_within_capacity(replace(entry, Entry::Free));
                }
                core::mem::swap(&mut table.entries, &mut larger);
            }
        });
        Ok(())
    }

    /// Reserves the lowest descriptor from `min` on that is free and below `limit`. Process context
    /// (Linux: alloc_fd).
    ///
    /// # Errors
    /// `EMFILE` where there is none; `ENOMEM`.
    pub fn reserve(&self, min: u32, limit: u64) -> Result<ReservedFd<'_>, Errno> {
        let limit = limit.min(NR_OPEN) as usize;
        loop {
            // A descriptor, or the one that there is no room for.
            let found = self.with(|table| {
                let from = table.next.max(min as usize);
                let taken = |entry: &Entry| !matches!(entry, Entry::Free);
                let at = (from..table.entries.len()).find(|&n| !taken(&table.entries[n]));
                let fd = at.unwrap_or(from.max(table.entries.len()));
                if fd >= limit {
                    return Err(Errno::EMFILE);
                }
                while table.entries.len() <= fd {
                    if table.entries.push_within_capacity(Entry::Free).is_err() {
                        return Ok(Err(fd));
                    }
                }
                table.entries[fd] = Entry::Reserved;
                if min as usize <= table.next {
                    table.next = fd + 1;
                }
                Ok(Ok(fd))
            })?;
            match found {
                Ok(fd) => return Ok(ReservedFd { table: self, fd: fd as u32 }),
                Err(fd) => self.grow(fd)?,
            }
        }
    }

    /// Gives `file` the lowest free descriptor from `min` on. Process context.
    ///
    /// # Errors
    /// As [`FdTable::reserve`]
    pub fn install(
        &self,
        file: KArc<OpenFile>,
        cloexec: bool,
        min: u32,
        limit: u64,
    ) -> Result<u32, Errno> {
        Ok(self.reserve(min, limit)?.install(file, cloexec))
    }

    /// Gives `file` the descriptor `fd`, whose file is closed. Process context (Linux: do_dup2).
    ///
    /// # Errors
    /// `EBADF` from `limit` on; `EBUSY` where another thread is opening it; `ENOMEM`.
    pub fn replace(
        &self,
        fd: u32,
        file: KArc<OpenFile>,
        cloexec: bool,
        limit: u64,
    ) -> Result<(), Errno> {
        if u64::from(fd) >= limit.min(NR_OPEN) {
            return Err(Errno::EBADF);
        }
        let mut new = Some(Entry::Open { file, cloexec });
        loop {
            let old = self.with(|table| {
                while table.entries.len() <= fd as usize {
                    if table.entries.push_within_capacity(Entry::Free).is_err() {
                        return Ok(None);
                    }
                }
                let entry = &mut table.entries[fd as usize];
                if matches!(entry, Entry::Reserved) {
                    return Err(Errno::EBUSY);
                }
                Ok(new.take().map(|new| replace(entry, new)))
            })?;
            match old {
                Some(old) => {
                    drop(old);
                    return Ok(());
                }
                None => self.grow(fd as usize)?,
            }
        }
    }

    /// Takes the file of a descriptor out (Linux: close_fd). Any context.
    ///
    /// # Errors
    /// `EBADF`
    pub fn close(&self, fd: i32) -> Result<KArc<OpenFile>, Errno> {
        let fd = u32::try_from(fd).map_err(|_| Errno::EBADF)?;
        self.with(|table| {
            let entry = table.entry(fd).ok_or(Errno::EBADF)?;
            match replace(entry, Entry::Free) {
                Entry::Open { file, .. } => {
                    table.next = table.next.min(fd as usize);
                    Ok(file)
                }
                other => {
                    *entry = other;
                    Err(Errno::EBADF)
                }
            }
        })
    }

    /// Says whether exec closes a descriptor.
    ///
    /// # Errors
    /// `EBADF`
    pub fn set_cloexec(&self, fd: i32, on: bool) -> Result<(), Errno> {
        let fd = u32::try_from(fd).map_err(|_| Errno::EBADF)?;
        self.with(|table| match table.entry(fd) {
            Some(Entry::Open { cloexec, .. }) => {
                *cloexec = on;
                Ok(())
            }
            _ => Err(Errno::EBADF),
        })
    }

    /// The lowest descriptor from `from` on that has a file (for /proc/PID/fd).
    #[must_use]
    pub fn next_open(&self, from: u32) -> Option<u32> {
        self.with(|table| {
            let open = |&n: &usize| matches!(table.entries[n], Entry::Open { .. });
            (from as usize..table.entries.len()).find(open).map(|n| n as u32)
        })
    }

    /// Closes descriptors `first..=last`, or with `cloexec` those of them that exec closes.
    pub fn close_range(&self, first: u32, last: u32, cloexec: bool) {
        let mut from = first;
        while let Some(fd) = self.next_open(from).filter(|&fd| fd <= last) {
            from = fd + 1;
            let closes = |(_, is_set): (KArc<OpenFile>, bool)| is_set || !cloexec;
            if self.get_with_flag(fd as i32).is_ok_and(closes) {
                drop(self.close(fd as i32));
            }
        }
    }

    /// Closes what exec closes (Linux: do_close_on_exec).
    pub fn close_on_exec(&self) {
        self.close_range(0, u32::MAX - 1, true);
    }
}

impl ReservedFd<'_> {
    /// The number.
    #[must_use]
    pub const fn fd(&self) -> u32 {
        self.fd
    }

    /// Gives the descriptor its file, and returns its number. Any context (Linux: fd_install).
    pub fn install(self, file: KArc<OpenFile>, cloexec: bool) -> u32 {
        let fd = self.fd;
        self.table.with(|table| {
            if let Some(entry) = table.entry(fd) {
                *entry = Entry::Open { file, cloexec };
            }
        });
        core::mem::forget(self);
        fd
    }
}

impl Drop for ReservedFd<'_> {
    fn drop(&mut self) {
        self.table.with(|table| {
            table.next = table.next.min(self.fd as usize);
            if let Some(entry) = table.entry(self.fd) {
                *entry = Entry::Free;
            }
        });
    }
}
