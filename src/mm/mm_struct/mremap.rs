//! mremap (Linux: mm/mremap.c).

use super::layout::{Spot, Wanted, get_unmapped_area};
use super::space::{Space, bounds, free_tables, page_align, pages, user_range};
use super::sysctl::{max_map_count, mmap_min_addr};
use super::{Limits, MmStruct};
use crate::addr::{PAGE_SIZE, TASK_SIZE, UserAddr, UserRange};
use crate::errno::Errno;
use crate::mm::vma::{Hole, PageTables, Proposed, VmFlags, Vma, VmaId};
use linux_raw_sys::general as uapi;

/// A request to move or resize.
#[derive(Clone, Copy)]
struct Remap {
    addr: usize,
    old_len: usize,
    new_len: usize,
    flags: u32,
    new_addr: usize,
}

impl Remap {
    const fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }
}

/// Result: the address, and the range to bring in, if the area is locked.
type Remapped = (usize, Option<UserRange>);

impl Space {
    /// Returns the area at `addr`, if it can be resized (Linux: vma_to_resize).
    fn vma_to_resize(&self, remap: &Remap, limits: &Limits) -> Result<&Vma, Errno> {
        let &Remap { addr, old_len, new_len, .. } = remap;
        let at = UserAddr::new(addr).ok_or(Errno::EFAULT)?;
        let vma = self.vmas.find(at).ok_or(Errno::EFAULT)?;
        let flags = vma.flags();
        if old_len == 0 && !flags.intersects(VmFlags::SHARED | VmFlags::MAYSHARE) {
            return Err(Errno::EINVAL);
        }
        let fixed_size = VmFlags::DONTEXPAND | VmFlags::PFNMAP;
        if remap.has(uapi::MREMAP_DONTUNMAP) && flags.intersects(fixed_size) {
            return Err(Errno::EINVAL);
        }
        if old_len > vma.end() - addr {
            return Err(Errno::EFAULT);
        }
        if new_len == old_len {
            return Ok(vma);
        }
        vma.page_index(at).checked_add(pages(new_len)).ok_or(Errno::EINVAL)?;
        if flags.intersects(fixed_size) {
            return Err(Errno::EFAULT);
        }
        let grown = new_len.wrapping_sub(old_len);
        if !self.mlock_future_ok(flags, grown, limits) {
            return Err(Errno::EAGAIN);
        }
        if !self.may_expand_vm(flags, pages(grown) as i64, limits) {
            return Err(Errno::ENOMEM);
        }
        Ok(vma)
    }

    /// Lets the area that ends at the old end grow in place, if what comes then is free.
    fn grow(&mut self, remap: &Remap, limits: &Limits) -> Result<Option<Remapped>, Errno> {
        let vma = self.vma_to_resize(remap, limits)?;
        let (flags, end, start) = (vma.flags(), vma.end(), vma.start().get());
        if remap.old_len != end - remap.addr {
            return Ok(None);
        }
        let delta = remap.new_len - remap.old_len;
        let fits = end.checked_add(delta).filter(|&end| end - start <= TASK_SIZE - mmap_min_addr());
        let Some(range) = fits.and_then(|_| user_range(end, delta)) else { return Ok(None) };
        if self.vmas.find_intersection(range).is_some() {
            return Ok(None);
        }
        let attributes = vma.attributes().clone();
        let (pgoff, anon) = (vma.pgoff() + vma.pages(), vma.anon());
        let anon_pgoff = vma.anon_pgoff().wrapping_add(vma.pages());
        let count = pages(delta);
        if flags.contains(VmFlags::ACCOUNT) {
            self.enough_memory(count as i64, limits)?;
        }
        let proposed = Proposed { range, attributes: &attributes, pgoff, anon, anon_pgoff };
        let hole = self.vmas.hole_at(end).expect("nothing is there").narrowed(range);
        let insertion = self.vmas.plan_insertion(hole, &proposed);
        let merges =
            matches!(insertion.merge(), crate::mm::vma::Merge::Left | crate::mm::vma::Merge::Both);
        // An area that can't take anything in, as one of a device, does not grow.
        if !merges || self.vmas.reserve().is_err() {
            if flags.contains(VmFlags::ACCOUNT) {
                super::vm_acct_memory(-(count as i64));
            }
            return Err(Errno::ENOMEM);
        }
        self.vmas.insert(insertion, Vma::new(range, attributes, pgoff));
        self.account(flags, count);
        let mut populated = None;
        if flags.contains(VmFlags::LOCKED) {
            self.totals.locked += count;
            populated = Some(range);
        }
        Ok(Some((remap.addr, populated)))
    }

    /// Adds the area that pages are to be moved to, or lets one beside it grow (Linux: copy_vma).
    fn copy_vma(&mut self, old: UserAddr, hole: Hole, keep: bool) -> VmaId {
        let range = hole.range();
        let vma = self.vmas.find(old).expect("the area that is moved");
        let attributes = vma.attributes().clone();
        let (mut pgoff, anon) = (vma.page_index(old), vma.anon());
        let anon_pgoff = vma.anon_pgoff() + pages(old.get() - vma.start().get());
        let is_untouched = vma.is_anonymous() && anon.is_none();
        if is_untouched {
            // It has no pages: it may as well begin there, and merge.
            pgoff = pages(range.start().get());
        }
        let source = vma.start();
        let proposed = Proposed { range, attributes: &attributes, pgoff, anon, anon_pgoff };
        let may = |vma: &Vma| !(is_untouched && keep && vma.start() == source);
        let insertion = self.vmas.plan_insertion_beside(hole, &proposed, may);
        let mut new = Vma::new(range, attributes, pgoff);
        new.set_identity(anon, anon_pgoff);
        self.vmas.insert(insertion, new)
    }

    /// Moves what is mapped to `spot`, which is free (Linux: move_vma).
    fn move_vma(
        &mut self,
        tables: &impl PageTables,
        remap: &Remap,
        hole: Hole,
        limits: &Limits,
    ) -> Result<Remapped, Errno> {
        let &Remap { addr, old_len, new_len, .. } = remap;
        let keep = remap.has(uapi::MREMAP_DONTUNMAP);
        if self.vmas.len() + 3 >= max_map_count() {
            return Err(Errno::ENOMEM);
        }
        let old = UserAddr::new(addr).ok_or(Errno::EFAULT)?;
        let vma = self.vmas.find(old).ok_or(Errno::EFAULT)?;
        let (flags, bounds_of) = (vma.flags(), vma.range());
        let (cuts_start, cuts_end) = (bounds_of.start() != old, bounds_of.end() != addr + old_len);
        if vma.is_special_mapping() && (cuts_start || cuts_end) {
            return Err(Errno::EINVAL);
        }
        if keep && flags.contains(VmFlags::LOCKED) {
            // The old one is locked no longer, and so an area by itself.
            for (at, cuts) in [(addr, cuts_start), (addr + old_len, cuts_end)] {
                if cuts && let Some(at) = UserAddr::new(at) {
                    self.vmas.reserve()?;
                    self.vmas.split_at(at);
                }
            }
        }
        let added = if keep { new_len } else { new_len - old_len };
        let is_accounted = flags.contains(VmFlags::ACCOUNT);
        if is_accounted {
            self.enough_memory(pages(added) as i64, limits)?;
        }
        let undo = |error| {
            if is_accounted {
                super::vm_acct_memory(-(pages(added) as i64));
            }
            Err(error)
        };
        if let Err(error) = self.vmas.reserve() {
            return undo(error.into());
        }
        let to = hole.range();
        let new_addr = to.start();
        self.copy_vma(old, hole, keep);
        if let Err(moved) = tables.move_tables(old, new_addr, old_len) {
            // Back, for which the tables are there, and the new area goes again.
            let back = tables.move_tables(new_addr, old, moved);
            debug_assert!(back.is_ok(), "tables that were there");
            self.account(flags, pages(new_len));
            if flags.contains(VmFlags::LOCKED) {
                self.totals.locked += pages(new_len);
            }
            // The pages that are removed are counted as promised with the area.
            if is_accounted {
                super::vm_acct_memory(pages(new_len) as i64 - pages(added) as i64);
            }
            let removal = self.vmas.plan_removal(to).expect("the new area");
            self.vmas.reserve().unwrap_or(());
            self.complete_removal(tables, to, removal);
            return Err(Errno::ENOMEM);
        }
        self.account(flags, pages(new_len));
        if keep {
            self.forget_pages(old, old_len);
            if flags.contains(VmFlags::LOCKED) {
                // As many are locked as before.
                return Ok((new_addr.get(), None));
            }
            return Ok((new_addr.get(), None));
        }
        let hiwater = self.hiwater_vm;
        if old_len > 0 {
            self.remove_source(tables, bounds(addr, addr + old_len), is_accounted);
        }
        self.hiwater_vm = hiwater;
        let mut populated = None;
        if flags.contains(VmFlags::LOCKED) {
            self.totals.locked += pages(new_len);
            let grown = new_len.saturating_sub(old_len);
            populated =
                user_range(new_addr.get() + old_len, grown).filter(|range| !range.is_empty());
        }
        Ok((new_addr.get(), populated))
    }

    /// Removes what was moved away; the promise for it is that of the new area.
    fn remove_source(&mut self, tables: &impl PageTables, range: UserRange, is_accounted: bool) {
        let removal = self.vmas.plan_removal(range).expect("the old area");
        if self.vmas.reserve().is_err() {
            // It stays, without pages, and is counted twice, as in Linux.
            if is_accounted {
                super::vm_acct_memory(pages(range.len()) as i64);
            }
            return;
        }
        let mut removal = removal;
        removal.totals.accounted = 0;
        let (floor, ceiling) = (removal.floor, removal.ceiling);
        self.complete_removal(tables, range, removal);
        free_tables(tables, range, floor, ceiling);
    }

    /// Lets the area whose pages were moved away be as if it had none (Linux: the end of move_vma
    /// with MREMAP_DONTUNMAP).
    fn forget_pages(&mut self, old: UserAddr, old_len: usize) {
        let Some(place) = self.vmas.seek(old.get()) else { return };
        let vma = self.vmas.at(&place);
        let (id, flags) = (place.id(), vma.flags());
        if vma.start() == old && vma.end() == old.get() + old_len {
            self.vmas.forget_pages(id);
        }
        if flags.contains(VmFlags::LOCKED) {
            self.vmas.reset_flags(id, flags - VmFlags::LOCKED_MASK);
        }
    }

    /// Moves to an address that is given, or that has to be another one (Linux: mremap_to).
    fn mremap_to(
        &mut self,
        tables: &impl PageTables,
        mut remap: Remap,
        limits: &Limits,
    ) -> Result<Remapped, Errno> {
        let Remap { addr, old_len, new_len, new_addr, .. } = remap;
        let fixed = remap.has(uapi::MREMAP_FIXED);
        if !new_addr.is_multiple_of(PAGE_SIZE)
            || new_len > TASK_SIZE
            || new_addr > TASK_SIZE - new_len
            || addr.wrapping_add(old_len) > new_addr && new_addr + new_len > addr
        {
            return Err(Errno::EINVAL);
        }
        if self.vmas.len() + 2 + 3 >= max_map_count() {
            return Err(Errno::ENOMEM);
        }
        if fixed {
            self.munmap(tables, new_addr, new_len)?;
        }
        if old_len > new_len {
            self.munmap(tables, addr + new_len, old_len - new_len)?;
            remap.old_len = new_len;
        }
        let vma = self.vma_to_resize(&remap, limits)?;
        let (flags, anonymous) = (vma.flags(), vma.is_anonymous());
        let dontunmap = remap.has(uapi::MREMAP_DONTUNMAP);
        if dontunmap && !self.may_expand_vm(flags, pages(remap.old_len) as i64, limits) {
            return Err(Errno::ENOMEM);
        }
        let wanted = Wanted { addr: new_addr, len: new_len, fixed, anonymous };
        let hole = self.hole(wanted, limits)?;
        self.move_vma(tables, &remap, hole, limits)
    }

    /// Finds a hole to move to.
    fn hole(&mut self, wanted: Wanted, limits: &Limits) -> Result<Hole, Errno> {
        match get_unmapped_area(&mut self.vmas, self.layout, wanted, limits)? {
            Spot::Hole(hole) => Ok(hole),
            Spot::Fixed(range) => {
                let hole = self.vmas.hole_at(range.start().get()).ok_or(Errno::ENOMEM)?;
                if hole.holds(range) { Ok(hole.narrowed(range)) } else { Err(Errno::ENOMEM) }
            }
        }
    }

    /// Resizes or moves (Linux: mremap).
    fn mremap(
        &mut self,
        tables: &impl PageTables,
        remap: Remap,
        limits: &Limits,
    ) -> Result<Remapped, Errno> {
        let Remap { addr, old_len, new_len, .. } = remap;
        let at = UserAddr::new(addr).ok_or(Errno::EFAULT)?;
        let vma = self.vmas.find(at).ok_or(Errno::EFAULT)?;
        if vma.is_sealed() {
            return Err(Errno::EPERM);
        }
        if remap.has(uapi::MREMAP_FIXED | uapi::MREMAP_DONTUNMAP) {
            return self.mremap_to(tables, remap, limits);
        }
        if old_len >= new_len {
            if old_len > new_len {
                self.munmap(tables, addr + new_len, old_len - new_len)?;
            }
            return Ok((addr, None));
        }
        let anonymous = vma.is_anonymous();
        if let Some(done) = self.grow(&remap, limits)? {
            return Ok(done);
        }
        if !remap.has(uapi::MREMAP_MAYMOVE) {
            return Err(Errno::ENOMEM);
        }
        let wanted = Wanted { addr: 0, len: new_len, fixed: false, anonymous };
        let hole = self.hole(wanted, limits)?;
        self.move_vma(tables, &remap, hole, limits)
    }
}

impl<T: PageTables> MmStruct<T> {
    /// Resizes a mapping, and moves it; returns its address (Linux: mremap).
    ///
    /// # Errors
    /// Linux's.
    pub fn mremap(
        &self,
        addr: usize,
        old_len: usize,
        new_len: usize,
        flags: u32,
        new_addr: usize,
        limits: &Limits,
    ) -> Result<usize, Errno> {
        let addr = super::untagged(addr);
        let (fixed, maymove, dontunmap) =
            (uapi::MREMAP_FIXED, uapi::MREMAP_MAYMOVE, uapi::MREMAP_DONTUNMAP);
        if flags & !(fixed | maymove | dontunmap) != 0
            || flags & fixed != 0 && flags & maymove == 0
            || flags & dontunmap != 0 && (flags & maymove == 0 || old_len != new_len)
            || !addr.is_multiple_of(PAGE_SIZE)
        {
            return Err(Errno::EINVAL);
        }
        // Lengths next to 2^64 are rounded up to 0, as in Linux.
        let old_len = page_align(old_len).unwrap_or(0);
        let new_len = page_align(new_len).filter(|&len| len > 0).ok_or(Errno::EINVAL)?;
        let remap = Remap { addr, old_len, new_len, flags, new_addr };
        let mut space = self.space.write()?;
        let (at, populated) = space.mremap(&self.tables, remap, limits)?;
        drop(space);
        if let Some(range) = populated {
            let _ = self.populate(range, true, VmFlags::empty());
        }
        Ok(at)
    }
}
