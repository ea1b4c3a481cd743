//! A value under a sleeping lock for readers or a writer (Linux: mmap_lock).

use crate::errno::Errno;
use crate::sched::{RwReadGuard, RwSemaphore, RwWriteGuard};
use crate::sync::SleepRank;
use core::cell::UnsafeCell;
use core::ops::{Deref, DerefMut};

/// A `T` and its lock.
pub(super) struct MmapLock<T> {
    lock: RwSemaphore,
    value: UnsafeCell<T>,
}

// SAFETY: the value is reached under the lock alone: by several tasks for reading, or by one.
unsafe impl<T: Send + Sync> Sync for MmapLock<T> {}

/// The value, held for reading.
pub(super) struct Reader<'a, T> {
    value: &'a T,
    _guard: RwReadGuard<'a>,
}

/// The value, held for writing.
pub(super) struct Writer<'a, T> {
    lock: &'a MmapLock<T>,
    guard: RwWriteGuard<'a>,
}

impl<T> MmapLock<T> {
    pub const fn new(value: T) -> Self {
        Self { lock: RwSemaphore::new(SleepRank::Mmap), value: UnsafeCell::new(value) }
    }

    /// Takes it for reading (Linux: mmap_read_lock).
    #[inline]
    #[track_caller]
    pub fn read(&self) -> Reader<'_, T> {
        let guard = self.lock.read();
        // SAFETY: no writer has it while this guard is there.
        Reader { value: unsafe { &*self.value.get() }, _guard: guard }
    }

    /// Takes it for reading if that needs no waiting. Any context (Linux: mmap_read_trylock).
    #[inline]
    pub fn try_read(&self) -> Option<Reader<'_, T>> {
        let guard = self.lock.try_read()?;
        // SAFETY: as above.
        Some(Reader { value: unsafe { &*self.value.get() }, _guard: guard })
    }

    /// Takes it for writing; SIGKILL ends the wait (Linux: mmap_write_lock_killable).
    ///
    /// # Errors
    /// `EINTR` where the task has got SIGKILL.
    #[inline]
    #[track_caller]
    pub fn write(&self) -> Result<Writer<'_, T>, Errno> {
        let guard = self.lock.write_killable().map_err(|_| Errno::EINTR)?;
        Ok(Writer { lock: self, guard })
    }

    /// Takes it for writing, whatever comes (Linux: mmap_write_lock).
    #[track_caller]
    pub fn write_always(&self) -> Writer<'_, T> {
        Writer { lock: self, guard: self.lock.write() }
    }
}

impl<'a, T> Writer<'a, T> {
    /// Goes on as a reader (Linux: mmap_write_downgrade).
    pub fn downgrade(self) -> Reader<'a, T> {
        let Self { lock, guard } = self;
        let guard = guard.downgrade();
        // SAFETY: no writer has it while this guard is there.
        Reader { value: unsafe { &*lock.value.get() }, _guard: guard }
    }
}

impl<T> Deref for Reader<'_, T> {
    type Target = T;
    #[inline(always)]
    fn deref(&self) -> &T {
        self.value
    }
}

impl<T> Deref for Writer<'_, T> {
    type Target = T;
    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: nobody else has it while the writer's guard is there.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T> DerefMut for Writer<'_, T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above; this one is borrowed mutably.
        unsafe { &mut *self.lock.value.get() }
    }
}
