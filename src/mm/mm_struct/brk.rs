//! brk (Linux: mm/mmap.c).

use super::space::{Space, page_align, pages, user_range};
use super::sysctl::{max_map_count, mmap_min_addr, stack_guard_gap};
use super::{Limits, MmStruct};
use crate::addr::{PAGE_SIZE, TASK_SIZE, UserRange};
use crate::errno::Errno;
use crate::mm::vma::{AnonVma, Attributes, PageTables, Proposed, VmFlags, Vma};

impl Space {
    /// Adds `range`, where nothing is, to the heap (Linux: do_brk_flags).
    fn grow_heap(
        &mut self,
        range: UserRange,
        extra: VmFlags,
        limits: &Limits,
    ) -> Result<(), Errno> {
        let count = pages(range.len());
        let mut flags = extra | VmFlags::DATA_DEFAULT | VmFlags::ACCOUNT | self.def_flags;
        if limits.read_implies_exec {
            flags |= VmFlags::EXEC;
        }
        if !self.may_expand_vm(flags, count as i64, limits) || self.vmas.len() > max_map_count() {
            return Err(Errno::ENOMEM);
        }
        self.enough_memory(count as i64, limits)?;
        if let Err(error) = self.vmas.reserve() {
            super::vm_acct_memory(-(count as i64));
            return Err(error.into());
        }
        let hole = self.vmas.hole_at(range.start().get()).expect("nothing is there");
        let hole = hole.narrowed(range);
        let attributes = Attributes::anonymous(flags);
        let pgoff = pages(range.start().get());
        let proposed = Proposed {
            range,
            attributes: &attributes,
            pgoff,
            anon: AnonVma::NONE,
            anon_pgoff: pgoff,
        };
        // It grows upwards; whatever comes after it stays by itself.
        let start = range.start();
        let insertion = self.vmas.plan_insertion_beside(hole, &proposed, |vma| vma.start() < start);
        self.vmas.insert(insertion, Vma::new(range, attributes, pgoff));
        self.totals.pages += count;
        self.totals.data += count;
        if flags.contains(VmFlags::LOCKED) {
            self.totals.locked += count;
        }
        Ok(())
    }

    /// Moves the end of the heap; returns the range to bring in (Linux: brk).
    #[inline]
    fn brk(
        &mut self,
        tables: &impl PageTables,
        brk: usize,
        limits: &Limits,
    ) -> Option<Option<UserRange>> {
        let marks = self.marks;
        if brk < marks.start_brk {
            return None;
        }
        if limits.data != u64::MAX {
            let heap = (brk - marks.start_brk) as u64;
            if heap + (marks.end_data - marks.start_data) as u64 > limits.data {
                return None;
            }
        }
        let (new, old) = (page_align(brk)?, page_align(marks.brk)?);
        if new == old {
            self.marks.brk = brk;
            return Some(None);
        }
        if brk <= marks.brk {
            let range = user_range(new, old - new)?;
            let first = self.vmas.find_intersection(range)?;
            if first.start().get() >= old {
                return None;
            }
            let removal = self.plan_removal(range).ok()??;
            self.vmas.reserve().ok()?;
            self.complete_removal(tables, range, removal);
            self.marks.brk = brk;
            return Some(None);
        }
        let range = user_range(old, new - old)?;
        if range.len() > TASK_SIZE - mmap_min_addr()
            || !self.mlock_future_ok(self.def_flags, range.len(), limits)
        {
            return None;
        }
        // A page stays free before what comes next, and a stack's gap.
        let next = self.vmas.find_at_or_above(old);
        if next.is_some_and(|next| new + PAGE_SIZE > next.start_gap(stack_guard_gap())) {
            return None;
        }
        self.grow_heap(range, VmFlags::empty(), limits).ok()?;
        self.marks.brk = brk;
        Some(self.def_flags.contains(VmFlags::LOCKED).then_some(range))
    }
}

impl<T: PageTables> MmStruct<T> {
    /// Moves the end of the heap to `brk`; returns where it is then (Linux: brk).
    pub fn brk(&self, brk: usize, limits: &Limits) -> usize {
        // A task that is to end does not see the result.
        let Ok(mut space) = self.space.write() else { return 0 };
        let populated = space.brk(&self.tables, brk, limits);
        let end = space.marks.brk;
        drop(space);
        if let Some(Some(range)) = populated {
            let _ = self.populate(range, true, VmFlags::empty());
        }
        end
    }

    /// Maps zeroes at `start` in place of what is there, as the rest of a program's data, executable if
    /// `exec` (Linux: vm_brk_flags).
    ///
    /// # Errors
    /// `EINVAL` for an address that is not that of a page, `ENOMEM`, `EAGAIN` by RLIMIT_MEMLOCK.
    pub fn vm_brk_flags(
        &self,
        start: usize,
        len: usize,
        exec: bool,
        limits: &Limits,
    ) -> Result<(), Errno> {
        let len = page_align(len).ok_or(Errno::ENOMEM)?;
        if len == 0 {
            return Ok(());
        }
        let range = user_range(start, len).ok_or(Errno::ENOMEM)?;
        if !start.is_multiple_of(PAGE_SIZE) {
            return Err(Errno::EINVAL);
        }
        let mut space = self.space.write()?;
        if !space.mlock_future_ok(space.def_flags, len, limits) {
            return Err(Errno::EAGAIN);
        }
        space.munmap(&self.tables, start, len)?;
        let exec = if exec { VmFlags::EXEC } else { VmFlags::empty() };
        space.grow_heap(range, exec, limits)?;
        let locked = space.def_flags.contains(VmFlags::LOCKED);
        drop(space);
        if locked {
            let _ = self.populate(range, true, VmFlags::empty());
        }
        Ok(())
    }
}
