//! Faults: the area of an address, stacks that grow, and pages that are brought in (Linux:
//! arch/arm64/mm/fault.c, expand_stack of mm/mmap.c, mm_populate of mm/gup.c).

use super::space::{Space, bounds, pages};
use super::sysctl::{mmap_min_addr, stack_guard_gap};
use super::user_tables::area;
use super::{Limits, MmStruct};
use crate::addr::{PAGE_SIZE, UserAddr, UserRange};
use crate::arch::IrqMasked;
use crate::errno::Errno;
use crate::mm::vma::{Access, AnonVma, Fault, PageTables, Place, VmFlags, Vma};

/// Returns whether `b`, which follows `a`, may share its identity of anonymous pages: rights may
/// differ (Linux: anon_vma_compatible).
fn is_compatible(a: &Vma, b: &Vma) -> bool {
    let differs = (a.flags() ^ b.flags()).difference(VmFlags::ACCESS | VmFlags::SOFTDIRTY);
    let is_same_file = match (a.file(), b.file()) {
        (None, None) => true,
        (Some(a), Some(b)) => crate::mm::alloc::KArc::ptr_eq(a, b),
        _ => false,
    };
    a.end() == b.start().get()
        && a.attributes().policy == b.attributes().policy
        && is_same_file
        && differs.is_empty()
        && b.pgoff() == a.pgoff().wrapping_add(a.pages())
}

impl Space {
    /// Lets the stack at `place` grow down to the page of `at` (Linux: expand_downwards). `anon` is
    /// the identity of its pages from then on.
    ///
    /// # Errors
    /// `EFAULT` if it is no stack, `EPERM` below the lowest address, `ENOMEM` by a limit.
    pub(super) fn expand_downwards(
        &mut self,
        place: Place,
        at: UserAddr,
        anon: AnonVma,
        limits: &Limits,
    ) -> Result<(), Errno> {
        let vma = self.vmas.at(&place);
        let (flags, old, end) = (vma.flags(), vma.start().get(), vma.end());
        if !flags.contains(VmFlags::GROWSDOWN) {
            return Err(Errno::EFAULT);
        }
        let start = at.align_down(PAGE_SIZE);
        if start.get() < mmap_min_addr() {
            return Err(Errno::EPERM);
        }
        if start.get() >= old {
            return Ok(());
        }
        if let Some(before) = self.vmas.before(&place)
            && !before.flags().contains(VmFlags::GROWSDOWN)
            && before.is_accessible()
            && start.get().wrapping_sub(before.end()) < stack_guard_gap()
        {
            return Err(Errno::ENOMEM);
        }
        if self.vmas.before(&place).is_some_and(|before| before.end() > start.get()) {
            return Err(Errno::ENOMEM);
        }
        let grow = pages(old - start.get());
        if grow > vma.pgoff()
            || !self.may_expand_vm(flags, grow as i64, limits)
            || (end - start.get()) as u64 > limits.stack
            || !self.mlock_future_ok(flags, old - start.get(), limits)
        {
            return Err(Errno::ENOMEM);
        }
        self.enough_memory(grow as i64, limits)?;
        vma.prepare_anon(anon);
        self.vmas.expand_downwards(place, start);
        if flags.contains(VmFlags::LOCKED) {
            self.totals.locked += grow;
        }
        self.account(flags, grow);
        Ok(())
    }
}

impl super::UserMm {
    /// Makes an access possible if all that takes is at hand, and returns true then. Interrupts are
    /// masked.
    #[inline]
    pub fn try_handle_fault(&self, at: UserAddr, access: Access, irq: &IrqMasked) -> bool {
        let Some(space) = self.space.try_read() else { return false };
        let Some(vma) = space.vmas.find(at) else { return false };
        let flags = vma.flags();
        // The first anonymous page of an area takes a look at its neighbours.
        if vma.anon().is_none() && access == Access::Write && !flags.contains(VmFlags::SHARED) {
            return false;
        }
        self.check(vma, access).is_ok()
            && self.tables.try_handle_mm_fault(irq, &area(self.family, vma), at, access)
    }
}

impl<T: PageTables> MmStruct<T> {
    /// Returns the identity that the anonymous pages of `vma` are to have: its own, that of a
    /// neighbour which it may become one with later, or a new one (Linux: find_mergeable_anon_vma).
    pub(super) fn anon_for(&self, space: &Space, vma: &Vma) -> AnonVma {
        if !vma.anon().is_none() {
            return vma.anon();
        }
        let next = space.vmas.find_at_or_above(vma.end());
        let next = next.filter(|next| next.anon().is_singular() && is_compatible(vma, next));
        if let Some(next) = next {
            return next.anon();
        }
        let before = space.vmas.find_below(vma.start().get());
        let before = before.filter(|vma2| vma2.anon().is_singular() && is_compatible(vma2, vma));
        before.map_or_else(|| self.next_anon_vma(), Vma::anon)
    }

    /// Gives `vma` an identity of anonymous pages, before an access that makes one.
    #[inline(always)]
    fn prepare(&self, space: &Space, vma: &Vma, access: Access) {
        if access == Access::Write && vma.anon().is_none() && !vma.flags().contains(VmFlags::SHARED)
        {
            vma.prepare_anon(self.anon_for(space, vma));
        }
    }

    /// Makes an access of the program, or of the kernel for it, possible. Process context (Linux:
    /// do_page_fault, handle_mm_fault).
    ///
    /// # Errors
    /// [`Fault`]
    pub fn handle_fault(&self, at: UserAddr, access: Access) -> Result<(), Fault> {
        let space = self.space.read();
        if let Some(vma) = space.vmas.find(at) {
            self.check(vma, access)?;
            self.prepare(&space, vma, access);
            return self.tables.handle_mm_fault(self.family, vma, at, access);
        }
        drop(space);
        self.grow_stack(at, access)
    }

    /// Checks the rights to an area (Linux: the check of vm_flags in do_page_fault).
    #[inline(always)]
    fn check(&self, vma: &Vma, access: Access) -> Result<(), Fault> {
        let any = match access {
            // What can be written or executed can be read on arm64.
            Access::Read => VmFlags::ACCESS,
            Access::Write => VmFlags::WRITE,
            Access::Exec => VmFlags::EXEC,
        };
        if vma.flags().intersects(any) { Ok(()) } else { Err(Fault::AccErr) }
    }

    /// Lets a stack grow down to `at`, if there is one above it, and handles the fault (Linux:
    /// lock_mm_and_find_vma, expand_stack).
    #[cold]
    #[inline(never)]
    fn grow_stack(&self, at: UserAddr, access: Access) -> Result<(), Fault> {
        let mut space = self.space.write().map_err(|_| Fault::Killed)?;
        let place = space.vmas.seek(at.get()).ok_or(Fault::MapErr)?;
        let vma = space.vmas.at(&place);
        let old = vma.start();
        if old > at {
            if !vma.flags().contains(VmFlags::GROWSDOWN) {
                return Err(Fault::MapErr);
            }
            let anon = self.anon_for(&space, vma);
            let limits = space.limits;
            space.expand_downwards(place, at, anon, &limits).map_err(|_| Fault::MapErr)?;
        }
        let space = space.downgrade();
        let vma = space.vmas.find(at).ok_or(Fault::MapErr)?;
        self.check(vma, access)?;
        self.prepare(&space, vma, access);
        if old > at && vma.flags().contains(VmFlags::LOCKED) {
            let grown = bounds(vma.start().get(), old.get());
            let _ = self.populate_part(&space, vma, grown, vma.flags().contains(VmFlags::WRITE));
        }
        self.tables.handle_mm_fault(self.family, vma, at, access)
    }

    /// Brings in all pages of a part of `vma`, for writing if `write`.
    pub(super) fn populate_part(
        &self,
        space: &Space,
        vma: &Vma,
        range: UserRange,
        write: bool,
    ) -> Result<(), Fault> {
        self.prepare(space, vma, if write { Access::Write } else { Access::Read });
        self.tables.populate(self.family, vma, range, write)
    }

    /// Brings in the pages of all areas in `range`, as their rights allow: private memory that may be
    /// written is written to (Linux: __mm_populate). Holes are passed over, areas without flag `only` too, and
    /// so are faults if `ignores_errors`.
    ///
    /// # Errors
    /// That of the first page that can't be had.
    pub(super) fn populate(
        &self,
        range: UserRange,
        ignores_errors: bool,
        only: VmFlags,
    ) -> Result<(), Fault> {
        let (mut at, mut result) = (range.start().get(), Ok(()));
        while at < range.end() {
            let space = self.space.read();
            let Some(vma) = space.vmas.find_at_or_above(at) else { break };
            if vma.start().get() >= range.end() {
                break;
            }
            let part = bounds(at.max(vma.start().get()), vma.end().min(range.end()));
            at = part.end();
            let flags = vma.flags();
            if flags.intersects(VmFlags::IO | VmFlags::PFNMAP)
                || flags.contains(VmFlags::LOCKONFAULT)
                || !flags.contains(only)
            {
                continue;
            }
            let write = flags & (VmFlags::WRITE | VmFlags::SHARED) == VmFlags::WRITE;
            let done = if flags.intersects(VmFlags::ACCESS) {
                self.populate_part(&space, vma, part, write)
            } else {
                Err(Fault::AccErr)
            };
            if done.is_err() {
                result = done;
                if !ignores_errors {
                    break;
                }
            }
        }
        result
    }
}
