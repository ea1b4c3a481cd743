//! Areas that a new program gets: its stack, and the kernel's pages (Linux: fs/exec.c,
//! install_special_mapping).

use super::space::{pages, user_range};
use super::sysctl::{max_map_count, stack_guard_gap};
use super::{Limits, MmStruct};
use crate::addr::{PAGE_SIZE, UserAddr, UserRange};
use crate::errno::Errno;
use crate::mm::vma::{AnonVma, Attributes, PageTables, Proposed, VmFile, VmFlags, Vma};

/// Mapping of the kernel's own pages, as the vDSO's (Linux: struct vm_special_mapping).
pub struct SpecialMapping {
    /// Addresses.
    pub range: UserRange,
    /// Flags, such as `READ | EXEC | MAYREAD | MAYEXEC`.
    pub flags: VmFlags,
    /// The pages, by an object whose path is the name in `/proc/PID/maps`.
    pub pages: VmFile,
}

impl<T: PageTables> MmStruct<T> {
    /// Maps the stack of a new program: `size` bytes below `top`, which the caller has moved down by a
    /// random number of pages (Linux: setup_arg_pages).
    ///
    /// # Errors
    /// `EINVAL` for a range that a user can't have, `ENOMEM`.
    pub fn setup_arg_pages(
        &self,
        top: usize,
        size: usize,
        exec: bool,
        limits: &Limits,
    ) -> Result<UserRange, Errno> {
        let start = top.checked_sub(size).ok_or(Errno::EINVAL)?;
        let is_whole =
            start.is_multiple_of(PAGE_SIZE) && size.is_multiple_of(PAGE_SIZE) && size > 0;
        let range = user_range(start, size).filter(|_| is_whole).ok_or(Errno::EINVAL)?;
        let mut flags = VmFlags::STACK;
        if exec || limits.read_implies_exec {
            flags |= VmFlags::EXEC;
        }
        let mut space = self.space.write()?;
        flags |= space.def_flags;
        let added = pages(size);
        if !space.may_expand_vm(flags, added as i64, limits) {
            return Err(Errno::ENOMEM);
        }
        space.enough_memory(added as i64, limits)?;
        let result = space.insert_alone(range, Attributes::anonymous(flags), pages(start));
        if let Err(error) = result {
            super::vm_acct_memory(-(added as i64));
            return Err(error);
        }
        space.account(flags, added);
        if flags.contains(VmFlags::LOCKED) {
            space.totals.locked += added;
        }
        space.marks.start_stack = top;
        Ok(range)
    }

    /// Maps the kernel's own pages (Linux: _install_special_mapping).
    ///
    /// # Errors
    /// `ENOMEM` where something is mapped there, or memory is short.
    pub fn insert_special(&self, special: SpecialMapping) -> Result<(), Errno> {
        let SpecialMapping { range, flags, pages: file } = special;
        let mut space = self.space.write()?;
        let flags = (flags | space.def_flags | VmFlags::DONTEXPAND | VmFlags::SPECIAL_MAPPING)
            .difference(VmFlags::LOCKED_MASK);
        let attributes = Attributes { file: Some(file), ..Attributes::anonymous(flags) };
        space.insert_alone(range, attributes, 0)?;
        space.account(flags, pages(range.len()));
        Ok(())
    }

    /// Finds addresses for `len` bytes, at `hint` if they are free, for the kernel's pages (Linux:
    /// get_unmapped_area).
    ///
    /// # Errors
    /// `ENOMEM`
    pub fn get_unmapped_area(
        &self,
        hint: usize,
        len: usize,
        limits: &Limits,
    ) -> Result<UserAddr, Errno> {
        let mut space = self.space.write()?;
        let layout = space.layout;
        let wanted = super::layout::Wanted { addr: hint, len, fixed: false, anonymous: false };
        super::layout::get_unmapped_area(&mut space.vmas, layout, wanted, limits)
            .map(|spot| spot.range().start())
    }

    /// Lets the stack whose area begins at `start` grow down to `to` (Linux: expand_stack_locked by
    /// setup_arg_pages).
    ///
    /// # Errors
    /// As for a fault there.
    pub fn expand_stack(
        &self,
        start: UserAddr,
        to: UserAddr,
        limits: &Limits,
    ) -> Result<(), Errno> {
        let mut space = self.space.write()?;
        let place = space.vmas.seek(start.get()).ok_or(Errno::EFAULT)?;
        let anon = self.anon_for(&space, space.vmas.at(&place));
        space.expand_downwards(place, to, anon, limits)
    }

    /// Bytes that stay free below a stack.
    #[must_use]
    pub fn stack_guard_gap() -> usize {
        stack_guard_gap()
    }
}

impl super::space::Space {
    /// Adds an area that merges with nothing where nothing is (Linux: insert_vm_struct).
    fn insert_alone(
        &mut self,
        range: UserRange,
        attributes: Attributes,
        pgoff: u64,
    ) -> Result<(), Errno> {
        let hole = self.vmas.hole_at(range.start().get()).filter(|hole| hole.holds(range));
        if hole.is_none() || self.vmas.len() >= max_map_count() {
            return Err(Errno::ENOMEM);
        }
        self.vmas.reserve()?;
        let hole = self.vmas.hole_at(range.start().get()).expect("it was there").narrowed(range);
        let proposed = Proposed {
            range,
            attributes: &attributes,
            pgoff,
            anon: AnonVma::NONE,
            anon_pgoff: pgoff,
        };
        let insertion = self.vmas.plan_insertion_beside(hole, &proposed, |_| false);
        self.vmas.insert(insertion, Vma::new(range, attributes, pgoff));
        Ok(())
    }
}
