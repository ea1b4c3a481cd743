//! madvise and process_madvise (Linux: mm/madvise.c).

use super::MmStruct;
use super::space::{Space, bounds, page_align};
use crate::addr::{PAGE_SIZE, UserRange};
use crate::errno::Errno;
use crate::mm::alloc::KArc;
use crate::mm::vma::{AnonName, Attributes, Fault, PageTables, VmFlags, Vma};
use linux_raw_sys::general as uapi;

/// Advice that is taken with the areas held for reading.
const READ: [u32; 9] = [
    uapi::MADV_REMOVE,
    uapi::MADV_WILLNEED,
    uapi::MADV_DONTNEED,
    uapi::MADV_DONTNEED_LOCKED,
    uapi::MADV_COLD,
    uapi::MADV_PAGEOUT,
    uapi::MADV_FREE,
    uapi::MADV_POPULATE_READ,
    uapi::MADV_POPULATE_WRITE,
];

/// Linux 6.13: MADV_GUARD_INSTALL
pub const MADV_GUARD_INSTALL: u32 = 102;
/// Linux 6.13: MADV_GUARD_REMOVE
pub const MADV_GUARD_REMOVE: u32 = 103;

/// Advice that changes the flags of areas, or guards.
const WRITE: [u32; 13] = [
    uapi::MADV_NORMAL,
    uapi::MADV_RANDOM,
    uapi::MADV_SEQUENTIAL,
    uapi::MADV_DONTFORK,
    uapi::MADV_DOFORK,
    uapi::MADV_HUGEPAGE,
    uapi::MADV_NOHUGEPAGE,
    uapi::MADV_DONTDUMP,
    uapi::MADV_DODUMP,
    uapi::MADV_WIPEONFORK,
    uapi::MADV_KEEPONFORK,
    MADV_GUARD_INSTALL,
    MADV_GUARD_REMOVE,
];

/// Returns whether mseal() forbids `advice` in `vma` (Linux: can_modify_vma_madv).
fn is_sealed_for(vma: &Vma, advice: u32) -> bool {
    let discards = matches!(
        advice,
        uapi::MADV_FREE
            | uapi::MADV_DONTNEED
            | uapi::MADV_DONTNEED_LOCKED
            | uapi::MADV_REMOVE
            | uapi::MADV_DONTFORK
            | uapi::MADV_WIPEONFORK
            | MADV_GUARD_INSTALL
    );
    let is_ro_anon =
        vma.file().is_none() && !vma.flags().intersects(VmFlags::SHARED | VmFlags::WRITE);
    discards && vma.is_sealed() && is_ro_anon
}

/// Returns the flags that `vma` gets by `advice`; the error is `EINVAL` (Linux:
/// madvise_vma_behavior).
fn flags_by(vma: &Vma, advice: u32) -> Result<VmFlags, Errno> {
    let flags = vma.flags();
    Ok(match advice {
        uapi::MADV_NORMAL => flags - (VmFlags::RAND_READ | VmFlags::SEQ_READ),
        uapi::MADV_SEQUENTIAL => (flags - VmFlags::RAND_READ) | VmFlags::SEQ_READ,
        uapi::MADV_RANDOM => (flags - VmFlags::SEQ_READ) | VmFlags::RAND_READ,
        uapi::MADV_DONTFORK => flags | VmFlags::DONTCOPY,
        uapi::MADV_DOFORK if flags.contains(VmFlags::IO) => return Err(Errno::EINVAL),
        uapi::MADV_DOFORK => flags - VmFlags::DONTCOPY,
        uapi::MADV_WIPEONFORK if vma.file().is_some() || flags.contains(VmFlags::SHARED) => {
            return Err(Errno::EINVAL);
        }
        uapi::MADV_WIPEONFORK => flags | VmFlags::WIPEONFORK,
        uapi::MADV_KEEPONFORK if flags.contains(VmFlags::DROPPABLE) => return Err(Errno::EINVAL),
        uapi::MADV_KEEPONFORK => flags - VmFlags::WIPEONFORK,
        uapi::MADV_DONTDUMP => flags | VmFlags::DONTDUMP,
        uapi::MADV_DODUMP if flags.intersects(VmFlags::SPECIAL | VmFlags::DROPPABLE) => {
            return Err(Errno::EINVAL);
        }
        uapi::MADV_DODUMP => flags - VmFlags::DONTDUMP,
        uapi::MADV_HUGEPAGE => (flags - VmFlags::NOHUGEPAGE) | VmFlags::HUGEPAGE,
        uapi::MADV_NOHUGEPAGE => (flags - VmFlags::HUGEPAGE) | VmFlags::NOHUGEPAGE,
        _ => return Err(Errno::EINVAL),
    })
}

/// Checks the range of a call, and rounds it to pages; `None` if it is empty.
fn checked(start: usize, len: usize) -> Result<Option<(usize, usize)>, Errno> {
    if !start.is_multiple_of(PAGE_SIZE) {
        return Err(Errno::EINVAL);
    }
    let rounded = page_align(len).ok_or(Errno::EINVAL)?;
    start.checked_add(rounded).ok_or(Errno::EINVAL)?;
    if rounded == 0 {
        return Ok(None);
    }
    let start = super::untagged(start);
    Ok(Some((start, start.checked_add(rounded).ok_or(Errno::EINVAL)?)))
}

/// Carries out advice for `range`, which lies in `vma`, that leaves areas as they are.
fn advise(tables: &impl PageTables, vma: &Vma, range: UserRange, advice: u32) -> Result<(), Errno> {
    let flags = vma.flags();
    match advice {
        // Nothing is swapped out or read ahead.
        uapi::MADV_WILLNEED => Ok(()),
        uapi::MADV_COLD | uapi::MADV_PAGEOUT => {
            let fixed = VmFlags::LOCKED | VmFlags::PFNMAP | VmFlags::HUGETLB;
            if flags.intersects(fixed) { Err(Errno::EINVAL) } else { Ok(()) }
        }
        uapi::MADV_DONTNEED | uapi::MADV_DONTNEED_LOCKED | uapi::MADV_FREE => {
            let locked = advice != uapi::MADV_DONTNEED_LOCKED && flags.contains(VmFlags::LOCKED);
            if locked || flags.contains(VmFlags::PFNMAP) {
                return Err(Errno::EINVAL);
            }
            if advice != uapi::MADV_FREE {
                tables.zap_pages(range);
            } else if !vma.is_anonymous() {
                return Err(Errno::EINVAL);
            }
            // Pages that are free to go stay until memory is short; nothing takes them yet.
            Ok(())
        }
        _ => Err(Errno::EINVAL),
    }
}

impl Space {
    /// Sets the properties of `range`, which lies in the area at `place` (Linux: madvise_update_vma).
    /// Returns where the area that has it ends then.
    fn update(
        &mut self,
        place: crate::mm::vma::Place,
        range: UserRange,
        attributes: Attributes,
    ) -> Result<usize, Errno> {
        let vma = self.vmas.at(&place);
        let is_same = vma.attributes().is_mergeable(&attributes);
        if is_same && vma.flags() == attributes.flags {
            return Ok(vma.end());
        }
        // Linux: EAGAIN, since a kernel resource was short.
        let id = self
            .modify(place, range, attributes)
            .map_err(|error| if error == Errno::ENOMEM { Errno::EAGAIN } else { error })?;
        Ok(self.vmas.get(id).end())
    }

    /// Calls `visit` for the part of each area in `start..end`; it returns where to go on. Holes are
    /// an error in the end (Linux: madvise_walk_vmas).
    fn walk(
        &mut self,
        start: usize,
        end: usize,
        mut visit: impl FnMut(&mut Self, crate::mm::vma::Place, UserRange) -> Result<usize, Errno>,
    ) -> Result<(), Errno> {
        let (mut at, mut result) = (start, Ok(()));
        while at < end {
            let place = self.vmas.seek(at).ok_or(Errno::ENOMEM)?;
            let vma = self.vmas.at(&place);
            if at < vma.start().get() {
                result = Err(Errno::ENOMEM);
                at = vma.start().get();
                if at >= end {
                    break;
                }
            }
            let part = bounds(at, vma.end().min(end));
            at = visit(self, place, part)?.max(part.end());
        }
        result
    }
}

impl<T: PageTables> MmStruct<T> {
    /// Gives advice about memory (Linux: madvise).
    ///
    /// # Errors
    /// Linux's.
    pub fn madvise(&self, start: usize, len: usize, advice: u32) -> Result<(), Errno> {
        let reads = READ.contains(&advice);
        if !reads && !WRITE.contains(&advice) {
            return Err(Errno::EINVAL);
        }
        let Some((start, end)) = checked(start, len)? else { return Ok(()) };
        if !reads {
            return self.space.write()?.walk(start, end, |space, place, range| {
                let vma = space.vmas.at(&place);
                if is_sealed_for(vma, advice) {
                    return Err(Errno::EPERM);
                }
                match advice {
                    MADV_GUARD_INSTALL | MADV_GUARD_REMOVE => {
                        self.guard(vma, range, advice == MADV_GUARD_INSTALL)?;
                        Ok(vma.end())
                    }
                    _ => {
                        let flags = flags_by(vma, advice)?;
                        let attributes = Attributes { flags, ..vma.attributes().clone() };
                        space.update(place, range, attributes)
                    }
                }
            });
        }
        match advice {
            uapi::MADV_POPULATE_READ => self.madvise_populate(start, end, false),
            uapi::MADV_POPULATE_WRITE => self.madvise_populate(start, end, true),
            uapi::MADV_REMOVE => self.madvise_remove(start, end),
            _ => self.madvise_read(start, end, advice),
        }
    }

    fn madvise_read(&self, start: usize, end: usize, advice: u32) -> Result<(), Errno> {
        let space = self.space.read();
        let (mut at, mut result) = (start, Ok(()));
        while at < end {
            let vma = space.vmas.find_at_or_above(at).ok_or(Errno::ENOMEM)?;
            if at < vma.start().get() {
                result = Err(Errno::ENOMEM);
                at = vma.start().get();
                if at >= end {
                    break;
                }
            }
            if is_sealed_for(vma, advice) {
                return Err(Errno::EPERM);
            }
            let part = bounds(at, vma.end().min(end));
            advise(&self.tables, vma, part, advice)?;
            at = part.end();
        }
        result
    }

    /// Installs or removes guards (Linux: madvise_guard_install, madvise_guard_remove).
    fn guard(&self, vma: &Vma, range: UserRange, installs: bool) -> Result<(), Errno> {
        // Linux 6.13 knows them in private anonymous memory that may be written and is not locked.
        let mut forbidden = VmFlags::SPECIAL | VmFlags::HUGETLB;
        if installs {
            forbidden |= VmFlags::LOCKED;
        }
        let may = !installs || vma.flags().contains(VmFlags::MAYWRITE);
        if !vma.is_anonymous() || !may || vma.flags().intersects(forbidden) {
            return Err(Errno::EINVAL);
        }
        if !installs {
            self.tables.remove_guard(range);
            return Ok(());
        }
        self.tables.install_guard(range).map_err(|_| Errno::ENOMEM)
    }

    /// Brings pages in (Linux: madvise_populate).
    fn madvise_populate(&self, start: usize, end: usize, write: bool) -> Result<(), Errno> {
        let space = self.space.read();
        let mut at = start;
        while at < end {
            let vma = space.vmas.find_at_or_above(at).ok_or(Errno::ENOMEM)?;
            if vma.start().get() > at {
                return Err(Errno::ENOMEM);
            }
            let flags = vma.flags();
            let right = if write { VmFlags::WRITE } else { VmFlags::READ };
            if flags.intersects(VmFlags::IO | VmFlags::PFNMAP) || !flags.contains(right) {
                return Err(Errno::EINVAL);
            }
            let part = bounds(at, vma.end().min(end));
            self.populate_part(&space, vma, part, write).map_err(|fault| match fault {
                Fault::Oom => Errno::ENOMEM,
                Fault::Killed => Errno::EINTR,
                _ => Errno::EFAULT,
            })?;
            at = part.end();
        }
        Ok(())
    }

    /// Frees memory of shared files (Linux: madvise_remove).
    fn madvise_remove(&self, start: usize, end: usize) -> Result<(), Errno> {
        let (mut at, mut result) = (start, Ok(()));
        while at < end {
            let (part, file, pgoff) = {
                let space = self.space.read();
                let vma = space.vmas.find_at_or_above(at).ok_or(Errno::ENOMEM)?;
                if at < vma.start().get() {
                    result = Err(Errno::ENOMEM);
                    at = vma.start().get();
                    if at >= end {
                        break;
                    }
                }
                if is_sealed_for(vma, uapi::MADV_REMOVE) {
                    return Err(Errno::EPERM);
                }
                let flags = vma.flags();
                let file = vma.file().filter(|_| !vma.is_special_mapping()).cloned();
                if flags.contains(VmFlags::LOCKED) {
                    return Err(Errno::EINVAL);
                }
                let file = file.ok_or(Errno::EINVAL)?;
                if !flags.contains(VmFlags::SHARED | VmFlags::MAYWRITE) {
                    return Err(Errno::EACCES);
                }
                let part = bounds(at, vma.end().min(end));
                (part, file, vma.page_index(part.start()))
            };
            // Without the lock: it waits for others that change the file.
            file.punch_hole(pgoff * PAGE_SIZE as u64, part.len() as u64)?;
            at = part.end();
        }
        result
    }

    /// Gives another process advice that destroys nothing (Linux: process_madvise).
    ///
    /// # Errors
    /// Those of madvise; `EINVAL` for other advice.
    pub fn process_madvise(&self, start: usize, len: usize, advice: u32) -> Result<(), Errno> {
        let allowed = [uapi::MADV_COLD, uapi::MADV_PAGEOUT, uapi::MADV_WILLNEED];
        if allowed.contains(&advice) {
            self.madvise(start, len, advice)
        } else {
            Err(Errno::EINVAL)
        }
    }

    /// Names anonymous memory, or takes the name away (Linux: prctl(PR_SET_VMA_ANON_NAME)).
    ///
    /// # Errors
    /// `EBADF` where a file is mapped; those of madvise.
    pub fn set_anon_name(
        &self,
        start: usize,
        len: usize,
        name: Option<KArc<AnonName>>,
    ) -> Result<(), Errno> {
        let Some((start, end)) = checked(start, len)? else { return Ok(()) };
        self.space.write()?.walk(start, end, |space, place, range| {
            let vma = space.vmas.at(&place);
            // Shared anonymous memory may have a name too.
            if vma.file().is_some_and(|file| !file.is_anon_shmem()) {
                return Err(Errno::EBADF);
            }
            let attributes = Attributes { anon_name: name.clone(), ..vma.attributes().clone() };
            space.update(place, range, attributes)
        })
    }
}
