//! The state of an address space under its lock: areas, totals and limits.

use super::commit::{vm_acct_memory, vm_enough_memory};
use super::layout::Layout;
use super::sysctl::max_map_count;
use super::{Limits, Marks};
use crate::addr::{PAGE_SHIFT, PMD_SIZE, UserAddr, UserRange};
use crate::errno::Errno;
use crate::mm::vma::{
    Attributes, PageTables, Place, Proposed, Removal, Totals, VmFlags, Vma, VmaId, VmaTree,
};

/// See the module's documentation.
pub struct Space {
    pub(super) vmas: VmaTree,
    pub(super) totals: Totals,
    /// Largest number of pages before the last decrease (Linux: hiwater_vm).
    pub(super) hiwater_vm: u64,
    /// Flags of new areas, by mlockall (Linux: def_flags).
    pub(super) def_flags: VmFlags,
    pub(super) layout: Layout,
    pub(super) marks: Marks,
    /// Limits of the process, for stacks that grow by faults.
    pub(super) limits: Limits,
}

/// Pages of `bytes`.
#[inline(always)]
pub(super) const fn pages(bytes: usize) -> u64 {
    (bytes >> PAGE_SHIFT) as u64
}

/// Rounds up to a page; `None` past 2^64.
#[inline(always)]
pub(super) fn page_align(bytes: usize) -> Option<usize> {
    bytes.checked_next_multiple_of(1 << PAGE_SHIFT)
}

/// Range of `len` bytes at `start`, if it is one of a user's.
#[inline(always)]
pub(super) fn user_range(start: usize, len: usize) -> Option<UserRange> {
    UserRange::from_size(UserAddr::new(start)?, len)
}

/// Range of two bounds of areas.
#[inline(always)]
#[track_caller]
pub(super) fn bounds(start: usize, end: usize) -> UserRange {
    user_range(start, end - start).expect("bounds of areas")
}

impl Space {
    pub(super) const fn new(mm: u64, layout: Layout) -> Self {
        Self {
            vmas: VmaTree::new(mm),
            totals: Totals { pages: 0, locked: 0, accounted: 0, exec: 0, stack: 0, data: 0 },
            hiwater_vm: 0,
            def_flags: VmFlags::empty(),
            layout,
            marks: Marks::NONE,
            limits: Limits::ROOT,
        }
    }

    /// Returns whether there may be `pages` pages more with `flags`; negative if there will be fewer
    /// (Linux: may_expand_vm).
    #[inline]
    pub(super) fn may_expand_vm(&self, flags: VmFlags, pages: i64, limits: &Limits) -> bool {
        let total = self.totals.pages.wrapping_add_signed(pages);
        if total > limits.as_ >> PAGE_SHIFT {
            return false;
        }
        let data = self.totals.data.wrapping_add_signed(pages);
        // Linux lets a limit of 0, which valgrind sets, count as the hard one.
        !flags.is_data_mapping()
            || data <= limits.data >> PAGE_SHIFT
            || limits.data == 0 && data <= limits.data_max >> PAGE_SHIFT
    }

    /// Returns whether `bytes` more may be locked, if `flags` say that they will be (Linux:
    /// mlock_future_ok).
    #[inline]
    pub(super) fn mlock_future_ok(&self, flags: VmFlags, bytes: usize, limits: &Limits) -> bool {
        !flags.contains(VmFlags::LOCKED)
            || limits.can_ipc_lock
            || pages(bytes) + self.totals.locked <= limits.memlock >> PAGE_SHIFT
    }

    /// Promises pages (Linux: security_vm_enough_memory_mm).
    #[inline]
    pub(super) fn enough_memory(&self, pages: i64, limits: &Limits) -> Result<(), Errno> {
        vm_enough_memory(pages, Some(self.totals.pages), limits.can_sys_admin)
    }

    /// Counts pages with `flags` (Linux: vm_stat_account).
    #[inline]
    pub(super) fn account(&mut self, flags: VmFlags, pages: u64) {
        let totals = &mut self.totals;
        totals.pages += pages;
        if flags.is_exec_mapping() {
            totals.exec += pages;
        } else if flags.is_stack_mapping() {
            totals.stack += pages;
        } else if flags.is_data_mapping() {
            totals.data += pages;
        }
    }

    /// Takes pages with `flags` out of the counts.
    #[inline]
    pub(super) fn unaccount(&mut self, flags: VmFlags, pages: u64) {
        let totals = &mut self.totals;
        totals.pages -= pages;
        if flags.is_exec_mapping() {
            totals.exec -= pages;
        } else if flags.is_stack_mapping() {
            totals.stack -= pages;
        } else if flags.is_data_mapping() {
            totals.data -= pages;
        }
    }

    /// Computes the removal of `range`, and whether it is allowed (Linux: vms_gather_munmap_vmas).
    ///
    /// # Errors
    /// `ENOMEM` if there would be too many areas, `EPERM` where one is sealed, `EINVAL` where one
    /// can't be cut. Areas before that one are cut at the ends of the range by then, as in Linux.
    #[inline(always)]
    pub(super) fn plan_removal(&mut self, range: UserRange) -> Result<Option<Removal>, Errno> {
        let Some(removal) = self.vmas.plan_removal(range) else { return Ok(None) };
        let first = self.vmas.first_of(&removal);
        let cuts_start = first.start() < range.start();
        let within = cuts_start && range.end() < first.end();
        if within && self.vmas.len() >= max_map_count() {
            return Err(Errno::ENOMEM);
        }
        let unusual = VmFlags::SEALED | VmFlags::SPECIAL_MAPPING;
        if first.end() >= range.end() && !first.flags().intersects(unusual) {
            return Ok(Some(removal));
        }
        self.check_removal(range, removal).map(Some)
    }

    #[inline(never)]
    fn check_removal(&mut self, range: UserRange, removal: Removal) -> Result<Removal, Errno> {
        let first = self.vmas.first_of(&removal);
        let cuts_start = first.start() < range.start();
        if cuts_start && first.is_sealed() {
            return Err(Errno::EPERM);
        }
        if cuts_start && first.is_special_mapping() {
            return Err(Errno::EINVAL);
        }
        let in_range = self.vmas.iter_from(range.start().get());
        let error = in_range.take_while(|vma| vma.start().get() < range.end()).find_map(|vma| {
            let cuts_end = vma.end() > range.end();
            match (vma.is_sealed(), vma.is_special_mapping() && cuts_end) {
                (true, _) => Some(Errno::EPERM),
                (_, true) => Some(Errno::EINVAL),
                _ => None,
            }
        });
        let Some(error) = error else { return Ok(removal) };
        if cuts_start {
            self.split_at(range.start());
        }
        Err(error)
    }

    /// Leaves areas cut at the ends of `range`, as a call of Linux does that fails after that.
    #[cold]
    #[inline(never)]
    pub(super) fn leave_cut(&mut self, range: UserRange) {
        self.split_at(range.start());
        if let Some(end) = UserAddr::new(range.end()) {
            self.split_at(end);
        }
    }

    /// Cuts the area at `at`, if there is memory for that.
    fn split_at(&mut self, at: UserAddr) {
        if self.vmas.reserve().is_ok() {
            self.vmas.split_at(at);
        }
    }

    /// Carries out a removal; there is room. What was there is unmapped and no longer counted (Linux:
    /// vms_complete_munmap_vmas).
    #[inline(always)]
    pub(super) fn complete_removal(
        &mut self,
        tables: &impl PageTables,
        range: UserRange,
        removal: Removal,
    ) {
        let (removed, floor, ceiling) = (removal.totals, removal.floor, removal.ceiling);
        self.vmas.remove(removal);
        tables.zap(range);
        free_tables(tables, range, floor, ceiling);
        let totals = &mut self.totals;
        self.hiwater_vm = self.hiwater_vm.max(totals.pages);
        totals.pages -= removed.pages;
        totals.locked -= removed.locked;
        totals.exec -= removed.exec;
        totals.stack -= removed.stack;
        totals.data -= removed.data;
        vm_acct_memory(-(removed.accounted as i64));
    }

    /// Unmaps `len` bytes at `start` (Linux: do_vmi_munmap).
    #[inline(always)]
    pub(super) fn munmap(
        &mut self,
        tables: &impl PageTables,
        start: usize,
        len: usize,
    ) -> Result<(), Errno> {
        let range = page_align(len).filter(|&len| len > 0 && start.is_multiple_of(1 << PAGE_SHIFT));
        let range = range.and_then(|len| user_range(start, len)).ok_or(Errno::EINVAL)?;
        let Some(removal) = self.plan_removal(range)? else { return Ok(()) };
        self.vmas.reserve()?;
        self.complete_removal(tables, range, removal);
        Ok(())
    }

    /// Gives `range`, which lies in the area at `place`, other attributes: merges or cuts (Linux:
    /// vma_modify). Page tables and totals stay as they are.
    ///
    /// # Errors
    /// `ENOMEM` where there would be too many areas, or memory is short. Where just the second cut
    /// is one too many, the first one is made, as in Linux. `EINVAL` where the area can't be cut.
    #[inline]
    pub(super) fn modify(
        &mut self,
        place: Place,
        range: UserRange,
        attributes: Attributes,
    ) -> Result<VmaId, Errno> {
        let modification = self.vmas.plan_modification(place, range, &attributes);
        let splits = modification.splits();
        if splits > 0 {
            let room = max_map_count().saturating_sub(self.vmas.len());
            let is_special = attributes.flags.contains(VmFlags::SPECIAL_MAPPING);
            if room < splits || is_special {
                if room == 1 && !is_special {
                    self.split_at(range.start());
                }
                return Err(if room == 0 || !is_special { Errno::ENOMEM } else { Errno::EINVAL });
            }
        }
        self.vmas.reserve()?;
        Ok(self.vmas.modify(modification, attributes))
    }

    /// Changes the flags of `range`, which lies in the area at `place` (Linux: vma_modify_flags).
    #[inline]
    pub(super) fn modify_flags(
        &mut self,
        place: Place,
        range: UserRange,
        flags: VmFlags,
    ) -> Result<VmaId, Errno> {
        let attributes = Attributes { flags, ..self.vmas.at(&place).attributes().clone() };
        self.modify(place, range, attributes)
    }

    /// Adds an area with `attributes` at a hole of its size, or lets a neighbour grow; there is room.
    #[inline(always)]
    pub(super) fn add(
        &mut self,
        hole: crate::mm::vma::Hole,
        attributes: Attributes,
        pgoff: u64,
    ) -> VmaId {
        let range = hole.range();
        let proposed = Proposed {
            range,
            attributes: &attributes,
            pgoff,
            anon: crate::mm::vma::AnonVma::NONE,
            anon_pgoff: pages(range.start().get()),
        };
        let insertion = self.vmas.plan_insertion(hole, &proposed);
        self.vmas.insert(insertion, Vma::new(range, attributes, pgoff))
    }
}

/// Frees tables that `range`, within a hole from `floor` to `ceiling`, has left empty.
#[inline]
pub(super) fn free_tables(
    tables: &impl PageTables,
    range: UserRange,
    floor: usize,
    ceiling: usize,
) {
    // No last-level table lies within the hole.
    if floor.next_multiple_of(PMD_SIZE) + PMD_SIZE > ceiling {
        return;
    }
    const PGDIR: usize = 1 << 39;
    let start = floor.max(range.start().get() & !(PGDIR - 1));
    let end = ceiling.min(range.end().next_multiple_of(PGDIR));
    if let Some(hole) = user_range(start, end - start) {
        tables.free_tables(hole);
    }
}
