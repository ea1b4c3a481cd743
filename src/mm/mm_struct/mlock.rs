//! mlock and its kin, and mseal (Linux: mm/mlock.c, mm/mseal.c).

use super::space::{Space, bounds, page_align, pages};
use super::{Limits, MmStruct};
use crate::addr::{PAGE_SHIFT, PAGE_SIZE, TASK_SIZE, UserRange};
use crate::errno::Errno;
use crate::mm::vma::{Fault, PageTables, Place, VmFlags, Vma};
use linux_raw_sys::general as uapi;

impl Space {
    /// Locks or unlocks `range`, which lies in the area at `place`; returns where the area that has it
    /// ends then (Linux: mlock_fixup).
    fn mlock_fixup(
        &mut self,
        place: Place,
        range: UserRange,
        new: VmFlags,
    ) -> Result<usize, Errno> {
        let vma = self.vmas.at(&place);
        let old = vma.flags();
        if new == old || !old.supports_mlock() {
            return Ok(vma.end());
        }
        let id = self.modify_flags(place, range, new)?;
        let count = pages(range.len());
        match (old.contains(VmFlags::LOCKED), new.contains(VmFlags::LOCKED)) {
            (false, true) => self.totals.locked += count,
            (true, false) => self.totals.locked -= count,
            _ => {}
        }
        Ok(self.vmas.get(id).end())
    }

    /// Calls `fixup` for the part of each area in `start..end`, which have no holes between them
    /// (Linux: apply_vma_lock_flags).
    fn apply(
        &mut self,
        start: usize,
        end: usize,
        mut fixup: impl FnMut(&mut Self, Place, UserRange) -> Result<usize, Errno>,
    ) -> Result<(), Errno> {
        let mut at = start;
        while at < end {
            let place = self.vmas.seek(at).ok_or(Errno::ENOMEM)?;
            let vma = self.vmas.at(&place);
            if vma.start().get() > at {
                return Err(Errno::ENOMEM);
            }
            let part = bounds(at, vma.end().min(end));
            at = fixup(self, place, part)?.max(part.end());
        }
        Ok(())
    }

    fn apply_lock_flags(&mut self, start: usize, end: usize, flags: VmFlags) -> Result<(), Errno> {
        self.apply(start, end, |space, place, range| {
            let old = space.vmas.at(&place).flags();
            space.mlock_fixup(place, range, old.difference(VmFlags::LOCKED_MASK) | flags)
        })
    }

    /// Pages of `start..end` that are locked already (Linux: count_mm_mlocked_page_nr).
    fn locked_within(&self, start: usize, end: usize) -> u64 {
        let areas = self.vmas.iter_from(start).take_while(|vma| vma.start().get() < end);
        let locked = areas.filter(|vma| vma.flags().contains(VmFlags::LOCKED));
        locked.map(|vma| pages(vma.end().min(end) - vma.start().get().max(start))).sum()
    }
}

/// Start and end of the pages that have `len` bytes at `start`; the end is 0 where it wraps.
fn pages_around(start: usize, len: usize) -> (usize, usize) {
    let offset = start & (PAGE_SIZE - 1);
    let len = len.checked_add(offset).and_then(page_align).unwrap_or(0);
    (start - offset, len)
}

impl<T: PageTables> MmStruct<T> {
    fn do_mlock(
        &self,
        start: usize,
        len: usize,
        flags: VmFlags,
        limits: &Limits,
    ) -> Result<(), Errno> {
        if limits.memlock == 0 && !limits.can_ipc_lock {
            return Err(Errno::EPERM);
        }
        let (start, len) = pages_around(super::untagged(start), len);
        let mut space = self.space.write()?;
        let end = start.checked_add(len);
        let most = limits.memlock >> PAGE_SHIFT;
        let mut locked = pages(len) + space.totals.locked;
        if locked > most && !limits.can_ipc_lock {
            locked -= space.locked_within(start, end.unwrap_or(usize::MAX));
        }
        if locked > most && !limits.can_ipc_lock {
            return Err(Errno::ENOMEM);
        }
        let end = end.ok_or(Errno::EINVAL)?;
        if start == end {
            return Ok(());
        }
        space.apply_lock_flags(start, end, flags)?;
        drop(space);
        self.populate(bounds(start, end), false, VmFlags::empty()).map_err(|fault| match fault {
            Fault::Oom => Errno::EAGAIN,
            Fault::Killed => Errno::EINTR,
            _ => Errno::ENOMEM,
        })
    }

    /// Locks pages into memory (Linux: mlock).
    ///
    /// # Errors
    /// Linux's.
    pub fn mlock(&self, start: usize, len: usize, limits: &Limits) -> Result<(), Errno> {
        self.do_mlock(start, len, VmFlags::LOCKED, limits)
    }

    /// Locks pages into memory, with MLOCK_ONFAULT as they come (Linux: mlock2).
    ///
    /// # Errors
    /// Linux's.
    pub fn mlock2(
        &self,
        start: usize,
        len: usize,
        flags: u32,
        limits: &Limits,
    ) -> Result<(), Errno> {
        let vm_flags = match flags {
            0 => VmFlags::LOCKED,
            uapi::MLOCK_ONFAULT => VmFlags::LOCKED | VmFlags::LOCKONFAULT,
            _ => return Err(Errno::EINVAL),
        };
        self.do_mlock(start, len, vm_flags, limits)
    }

    /// Unlocks pages (Linux: munlock).
    ///
    /// # Errors
    /// Linux's.
    pub fn munlock(&self, start: usize, len: usize) -> Result<(), Errno> {
        let (start, len) = pages_around(super::untagged(start), len);
        let mut space = self.space.write()?;
        let end = start.checked_add(len).ok_or(Errno::EINVAL)?;
        space.apply_lock_flags(start, end, VmFlags::empty())
    }

    /// Locks all pages, those of now, of what is to come, or both (Linux: mlockall).
    ///
    /// # Errors
    /// Linux's.
    pub fn mlockall(&self, flags: u32, limits: &Limits) -> Result<(), Errno> {
        let (current, future, onfault) = (uapi::MCL_CURRENT, uapi::MCL_FUTURE, uapi::MCL_ONFAULT);
        if flags == 0 || flags & !(current | future | onfault) != 0 || flags == onfault {
            return Err(Errno::EINVAL);
        }
        if limits.memlock == 0 && !limits.can_ipc_lock {
            return Err(Errno::EPERM);
        }
        let mut space = self.space.write()?;
        let is_within = space.totals.pages <= limits.memlock >> PAGE_SHIFT;
        if flags & current != 0 && !is_within && !limits.can_ipc_lock {
            return Err(Errno::ENOMEM);
        }
        let mut locked = VmFlags::LOCKED;
        if flags & onfault != 0 {
            locked |= VmFlags::LOCKONFAULT;
        }
        space.def_flags -= VmFlags::LOCKED_MASK;
        if flags & future != 0 {
            space.def_flags |= locked;
            if flags & current == 0 {
                return Ok(());
            }
        }
        space.lock_all(if flags & current != 0 { locked } else { VmFlags::empty() });
        drop(space);
        if flags & current != 0 {
            let _ = self.populate(bounds(0, TASK_SIZE), true, VmFlags::empty());
        }
        Ok(())
    }

    /// Unlocks all pages, and those to come (Linux: munlockall).
    ///
    /// # Errors
    /// `EINTR` where the task has got SIGKILL.
    pub fn munlockall(&self) -> Result<(), Errno> {
        let mut space = self.space.write()?;
        space.def_flags -= VmFlags::LOCKED_MASK;
        space.lock_all(VmFlags::empty());
        Ok(())
    }

    /// Forbids to change memory from now on (Linux: mseal).
    ///
    /// # Errors
    /// Linux's.
    pub fn mseal(&self, start: usize, len: usize, flags: u64) -> Result<(), Errno> {
        let start = super::untagged(start);
        if flags != 0 || !start.is_multiple_of(PAGE_SIZE) {
            return Err(Errno::EINVAL);
        }
        let len = page_align(len).ok_or(Errno::EINVAL)?;
        let end = start.checked_add(len).ok_or(Errno::EINVAL)?;
        if len == 0 {
            return Ok(());
        }
        let mut space = self.space.write()?;
        // All of it or nothing, as far as holes go.
        let mut at = start;
        while at < end {
            let vma = space.vmas.find_at_or_above(at).ok_or(Errno::ENOMEM)?;
            if vma.start().get() > at {
                return Err(Errno::ENOMEM);
            }
            at = vma.end();
        }
        space.apply(start, end, |space, place, range| {
            let vma = space.vmas.at(&place);
            let flags = vma.flags() | VmFlags::SEALED;
            if vma.is_sealed() {
                return Ok(vma.end());
            }
            let id = space.modify_flags(place, range, flags)?;
            Ok(space.vmas.get(id).end())
        })
    }
}

impl Space {
    /// Locks or unlocks all areas; errors are ignored, as in Linux (apply_mlockall_flags).
    fn lock_all(&mut self, flags: VmFlags) {
        let mut at = 0;
        while let Some(place) = self.vmas.seek(at) {
            let vma: &Vma = self.vmas.at(&place);
            let (range, old) = (vma.range(), vma.flags());
            let new = old.difference(VmFlags::LOCKED_MASK) | flags;
            at = self.mlock_fixup(place, range, new).unwrap_or(range.end());
        }
    }
}
