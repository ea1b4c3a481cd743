//! mprotect (Linux: mm/mprotect.c).

use super::mmap::{PROT_BTI, prot_flags, supports_bti};
use super::space::{Space, bounds, page_align, pages};
use super::{Limits, MmStruct};
use crate::addr::{PAGE_SIZE, TASK_SIZE, UserRange};
use crate::errno::Errno;
use crate::mm::vma::{PageTables, Place, VmFlags};
use linux_raw_sys::general as uapi;

/// Linux: PROT_SEM
const PROT_SEM: u32 = 8;

/// Returns whether mprotect knows these PROT_ flags (Linux: arch_validate_prot).
fn is_valid(prot: u32) -> bool {
    let bti = if supports_bti() { PROT_BTI } else { 0 };
    prot & !(uapi::PROT_READ | uapi::PROT_WRITE | uapi::PROT_EXEC | PROT_SEM | bti) == 0
}

impl Space {
    /// Gives `range`, which lies in the area at `place`, new flags, and what is mapped there new rights
    /// (Linux: mprotect_fixup). Returns where the area that has it ends then.
    #[inline]
    fn mprotect_fixup(
        &mut self,
        tables: &impl PageTables,
        place: Place,
        range: UserRange,
        mut new: VmFlags,
        limits: &Limits,
        written: &mut Option<UserRange>,
    ) -> Result<usize, Errno> {
        let vma = self.vmas.at(&place);
        let old = vma.flags();
        if old.contains(VmFlags::SEALED) {
            return Err(Errno::EPERM);
        }
        if new == old {
            return Ok(vma.end());
        }
        let count = pages(range.len());
        let mut charged = 0;
        if new.contains(VmFlags::WRITE) {
            if !self.may_expand_vm(new, count as i64, limits)
                && self.may_expand_vm(old, count as i64, limits)
            {
                return Err(Errno::ENOMEM);
            }
            let counted = VmFlags::ACCOUNT
                | VmFlags::WRITE
                | VmFlags::HUGETLB
                | VmFlags::SHARED
                | VmFlags::NORESERVE;
            if !old.intersects(counted) {
                charged = count as i64;
                self.enough_memory(charged, limits)?;
                new |= VmFlags::ACCOUNT;
            }
        } else if old.contains(VmFlags::ACCOUNT) && vma.is_anonymous() && vma.anon().is_none() {
            new -= VmFlags::ACCOUNT;
        }
        let id = match self.modify_flags(place, range, new) {
            Ok(id) => id,
            Err(error) => {
                super::vm_acct_memory(-charged);
                return Err(error);
            }
        };
        let vma = self.vmas.get(id);
        let end = vma.end();
        tables.change_protection(range, vma);
        if old.contains(VmFlags::ACCOUNT) && !new.contains(VmFlags::ACCOUNT) {
            super::vm_acct_memory(-(count as i64));
        }
        self.unaccount(old, count);
        self.account(new, count);
        let locked = VmFlags::WRITE | VmFlags::SHARED | VmFlags::LOCKED;
        if old & locked == VmFlags::LOCKED && new.contains(VmFlags::WRITE) {
            *written =
                Some(bounds(written.map_or(range, |first| first).start().get(), range.end()));
        }
        Ok(end)
    }

    /// Changes the rights to memory (Linux: do_mprotect_pkey).
    #[inline]
    fn mprotect(
        &mut self,
        tables: &impl PageTables,
        range: UserRange,
        prot: u32,
        grows_down: bool,
        limits: &Limits,
        written: &mut Option<UserRange>,
    ) -> Result<(), Errno> {
        let (mut start, end) = (range.start().get(), range.end());
        let mut place = self.vmas.seek(start).ok_or(Errno::ENOMEM)?;
        let first = self.vmas.at(&place);
        if first.start().get() >= end {
            return Err(Errno::ENOMEM);
        }
        if grows_down {
            start = first.start().get();
            if !first.flags().contains(VmFlags::GROWSDOWN) {
                return Err(Errno::EINVAL);
            }
        } else if first.start().get() > start {
            return Err(Errno::ENOMEM);
        }
        let cleared = VmFlags::ACCESS | VmFlags::BTI;
        let mut at = start;
        loop {
            let vma = self.vmas.at(&place);
            let old = vma.flags();
            let mut prot = prot;
            if limits.read_implies_exec
                && prot & uapi::PROT_READ != 0
                && old.contains(VmFlags::MAYEXEC)
            {
                prot |= uapi::PROT_EXEC;
            }
            let new = prot_flags(prot) | old.difference(cleared);
            if !new.beyond_may().is_empty() {
                return Err(Errno::EACCES);
            }
            let part = bounds(at, vma.end().min(end));
            at = self.mprotect_fixup(tables, place, part, new, limits, written)?;
            if at >= end {
                return Ok(());
            }
            place = self.vmas.seek(at).ok_or(Errno::ENOMEM)?;
            if self.vmas.at(&place).start().get() != at {
                return Err(Errno::ENOMEM);
            }
        }
    }
}

impl<T: PageTables> MmStruct<T> {
    /// Changes the rights to memory. What lies before an error has them (Linux: mprotect).
    ///
    /// # Errors
    /// Linux's.
    pub fn mprotect(
        &self,
        start: usize,
        len: usize,
        prot: u32,
        limits: &Limits,
    ) -> Result<(), Errno> {
        let start = super::untagged(start);
        let both = uapi::PROT_GROWSDOWN | uapi::PROT_GROWSUP;
        let (grows, prot) = (prot & both, prot & !both);
        if grows == both || !start.is_multiple_of(PAGE_SIZE) {
            return Err(Errno::EINVAL);
        }
        if len == 0 {
            return Ok(());
        }
        let len = page_align(len).filter(|&len| len > 0).ok_or(Errno::ENOMEM)?;
        start.checked_add(len).ok_or(Errno::ENOMEM)?;
        if !is_valid(prot) {
            return Err(Errno::EINVAL);
        }
        let grows_down = grows == uapi::PROT_GROWSDOWN;
        let mut space = self.space.write()?;
        if grows == uapi::PROT_GROWSUP {
            // No area grows upwards on arm64.
            let is_there = |vma: &crate::mm::vma::Vma| vma.start().get() <= start;
            let found = space.vmas.find_at_or_above(start).is_some_and(is_there);
            return Err(if found { Errno::EINVAL } else { Errno::ENOMEM });
        }
        let mut written = None;
        // Beyond users' addresses nothing is mapped.
        let result = match super::space::user_range(start, len) {
            Some(range) => {
                space.mprotect(&self.tables, range, prot, grows_down, limits, &mut written)
            }
            None if start >= TASK_SIZE => Err(Errno::ENOMEM),
            None => {
                let rest = bounds(start, TASK_SIZE);
                space
                    .mprotect(&self.tables, rest, prot, grows_down, limits, &mut written)
                    .and(Err(Errno::ENOMEM))
            }
        };
        drop(space);
        if let Some(range) = written {
            // Locked pages are copied now, so that no write has to wait.
            let _ = self.populate(range, true, VmFlags::LOCKED);
        }
        result
    }
}
