//! mmap and munmap (Linux: mm/mmap.c).

use super::layout::{Spot, Wanted, get_unmapped_area};
use super::space::{Space, bounds, page_align, pages};
use super::sysctl::{max_map_count, mmap_min_addr};
use super::{Limits, MmStruct, Overcommit, overcommit_memory};
use crate::addr::{PAGE_SIZE, UserAddr};
use crate::errno::Errno;
use crate::mm::filemap::FileAccess;
use crate::mm::shmem::shmem_zero_setup;
use crate::mm::vma::{Attributes, PageTables, VmFile, VmFlags};
use linux_raw_sys::general as uapi;

/// Flags that MAP_SHARED ignores all others beside (Linux: LEGACY_MAP_MASK).
const LEGACY_MAP_MASK: u32 = uapi::MAP_SHARED
    | uapi::MAP_PRIVATE
    | uapi::MAP_FIXED
    | uapi::MAP_ANONYMOUS
    | uapi::MAP_DENYWRITE
    | uapi::MAP_EXECUTABLE
    | uapi::MAP_GROWSDOWN
    | uapi::MAP_LOCKED
    | uapi::MAP_NORESERVE
    | uapi::MAP_POPULATE
    | uapi::MAP_NONBLOCK
    | uapi::MAP_STACK
    | uapi::MAP_HUGETLB
    | uapi::MAP_HUGE_2MB
    | uapi::MAP_HUGE_1GB;

/// Linux: PROT_BTI of arm64
pub(super) const PROT_BTI: u32 = 0x10;

/// Returns whether the CPUs have guarded pages (Linux: system_supports_bti).
#[cfg(target_os = "none")]
#[inline]
pub(super) fn supports_bti() -> bool {
    use crate::arch::features::{Features, features};
    features().contains(Features::BTI)
}

/// Returns whether the CPUs have guarded pages: not those of the hosted machine.
#[cfg(not(target_os = "none"))]
pub(super) fn supports_bti() -> bool {
    false
}

/// Arguments of mmap.
#[derive(Default)]
pub struct MmapArgs {
    /// Address, a hint without MAP_FIXED.
    pub addr: usize,
    /// Bytes.
    pub len: usize,
    /// PROT_ flags.
    pub prot: u32,
    /// MAP_ flags.
    pub flags: u32,
    /// Open file, but with MAP_ANONYMOUS.
    pub file: Option<VmFile>,
    /// Page of the file.
    pub pgoff: u64,
}

/// Flags of an area by PROT_ flags (Linux: calc_vm_prot_bits).
#[inline]
pub(super) fn prot_flags(prot: u32) -> VmFlags {
    let mut flags = VmFlags::from_bits_truncate(u64::from(prot & 7));
    if prot & PROT_BTI != 0 && supports_bti() {
        flags |= VmFlags::BTI;
    }
    flags
}

/// Flags of an area by MAP_ flags (Linux: calc_vm_flag_bits).
#[inline]
fn map_flags(flags: u32) -> VmFlags {
    let mut vm_flags = VmFlags::empty();
    for (flag, vm_flag) in [
        (uapi::MAP_GROWSDOWN, VmFlags::GROWSDOWN),
        (uapi::MAP_LOCKED, VmFlags::LOCKED),
        (uapi::MAP_SYNC, VmFlags::SYNC),
        (uapi::MAP_STACK, VmFlags::NOHUGEPAGE),
    ] {
        if flags & flag != 0 {
            vm_flags |= vm_flag;
        }
    }
    vm_flags
}

/// Returns whether a file has these pages (Linux: file_mmap_ok).
fn file_mmap_ok(pgoff: u64, len: usize) -> bool {
    // MAX_LFS_FILESIZE
    let most = i64::MAX as u64 - len as u64;
    pgoff <= most / PAGE_SIZE as u64
}

/// Checks the request for a mapping of `file`, and what it may become (Linux: do_mmap).
fn file_flags(
    file: &VmFile,
    (prot, pgoff): (u32, u64),
    flags: u32,
    len: usize,
    mut vm_flags: VmFlags,
) -> Result<VmFlags, Errno> {
    if !file_mmap_ok(pgoff, len) {
        return Err(Errno::EOVERFLOW);
    }
    let may = file.may();
    match flags & uapi::MAP_TYPE {
        shared @ (uapi::MAP_SHARED | uapi::MAP_SHARED_VALIDATE) => {
            if shared == uapi::MAP_SHARED_VALIDATE
                && flags & !(LEGACY_MAP_MASK | uapi::MAP_TYPE) != 0
            {
                return Err(Errno::EOPNOTSUPP);
            }
            if prot & uapi::PROT_WRITE != 0 && !may.contains(FileAccess::WRITE) {
                return Err(Errno::EACCES);
            }
            vm_flags |= VmFlags::SHARED | VmFlags::MAYSHARE;
            if !may.contains(FileAccess::WRITE) {
                vm_flags -= VmFlags::MAYWRITE | VmFlags::SHARED;
            }
        }
        uapi::MAP_PRIVATE => {}
        _ => return Err(Errno::EINVAL),
    }
    if !may.contains(FileAccess::READ) {
        return Err(Errno::EACCES);
    }
    if may.contains(FileAccess::NOEXEC) {
        if vm_flags.contains(VmFlags::EXEC) {
            return Err(Errno::EPERM);
        }
        vm_flags -= VmFlags::MAYEXEC;
    }
    if vm_flags.contains(VmFlags::GROWSDOWN) {
        return Err(Errno::EINVAL);
    }
    Ok(vm_flags)
}

/// Checks the request for anonymous memory, and what it may become (Linux: do_mmap).
#[inline]
fn anonymous_flags(flags: u32, mut vm_flags: VmFlags) -> Result<VmFlags, Errno> {
    let is_stack = vm_flags.contains(VmFlags::GROWSDOWN);
    match flags & uapi::MAP_TYPE {
        uapi::MAP_PRIVATE => {}
        uapi::MAP_SHARED if is_stack => return Err(Errno::EINVAL),
        uapi::MAP_SHARED => vm_flags |= VmFlags::SHARED | VmFlags::MAYSHARE,
        uapi::MAP_DROPPABLE => {
            if flags & (uapi::MAP_LOCKED | uapi::MAP_HUGETLB) != 0 || is_stack {
                return Err(Errno::EINVAL);
            }
            vm_flags |=
                VmFlags::DROPPABLE | VmFlags::NORESERVE | VmFlags::WIPEONFORK | VmFlags::DONTDUMP;
        }
        _ => return Err(Errno::EINVAL),
    }
    Ok(vm_flags)
}

/// Errors of MAP_HUGETLB: there are no huge pages (Linux: ksys_mmap_pgoff).
fn hugetlb(args: &MmapArgs) -> Errno {
    let size = args.flags >> uapi::MAP_HUGE_SHIFT & uapi::MAP_HUGE_MASK;
    let is_size = matches!(size, 0 | 16 | 21 | 25 | 30);
    if args.file.is_some() || !is_size || args.len == 0 { Errno::EINVAL } else { Errno::ENOMEM }
}

impl Space {
    /// Maps; returns the address, and whether the pages are to be brought in (Linux: do_mmap).
    #[inline(always)]
    pub(super) fn mmap(
        &mut self,
        tables: &impl PageTables,
        args: MmapArgs,
        limits: &Limits,
    ) -> Result<(UserAddr, usize), Errno> {
        if args.len == 0 {
            return Err(Errno::EINVAL);
        }
        let (mut prot, mut flags, mut addr) = (args.prot, args.flags, args.addr);
        if prot & uapi::PROT_READ != 0 && limits.read_implies_exec {
            let noexec =
                args.file.as_ref().is_some_and(|file| file.may().contains(FileAccess::NOEXEC));
            prot |= if noexec { 0 } else { uapi::PROT_EXEC };
        }
        if flags & uapi::MAP_FIXED_NOREPLACE != 0 {
            flags |= uapi::MAP_FIXED;
        }
        let fixed = flags & uapi::MAP_FIXED != 0;
        if !fixed {
            addr &= !(PAGE_SIZE - 1);
            if addr != 0 && addr < mmap_min_addr() {
                addr = mmap_min_addr();
            }
        }
        let len = page_align(args.len).ok_or(Errno::ENOMEM)?;
        if args.pgoff.checked_add(pages(len)).is_none() {
            return Err(Errno::EOVERFLOW);
        }
        if self.vmas.len() > max_map_count() {
            return Err(Errno::ENOMEM);
        }
        let may = VmFlags::MAYREAD | VmFlags::MAYWRITE | VmFlags::MAYEXEC;
        let mut vm_flags = prot_flags(prot) | map_flags(flags) | self.def_flags | may;
        let is_shared = flags & uapi::MAP_SHARED != 0;
        let anonymous = args.file.is_none() && !is_shared;
        let wanted = Wanted { addr, len, fixed, anonymous };
        let spot = get_unmapped_area(&mut self.vmas, self.layout, wanted, limits)?;
        let range = spot.range();
        if flags & uapi::MAP_FIXED_NOREPLACE != 0 && self.vmas.find_intersection(range).is_some() {
            return Err(Errno::EEXIST);
        }
        if flags & uapi::MAP_LOCKED != 0 && limits.memlock == 0 && !limits.can_ipc_lock {
            return Err(Errno::EPERM);
        }
        if !self.mlock_future_ok(vm_flags, len, limits) {
            return Err(Errno::EAGAIN);
        }
        let mut pgoff = args.pgoff;
        if let Some(file) = &args.file {
            vm_flags = file_flags(file, (prot, args.pgoff), flags, len, vm_flags)?;
        } else {
            vm_flags = anonymous_flags(flags, vm_flags)?;
            pgoff = if is_shared { 0 } else { pages(range.start().get()) };
        }
        if flags & uapi::MAP_NORESERVE != 0 && overcommit_memory() != Overcommit::Never {
            vm_flags |= VmFlags::NORESERVE;
        }
        let start = range.start();
        let attributes = Attributes { file: args.file, ..Attributes::anonymous(vm_flags) };
        self.mmap_region(tables, spot, attributes, pgoff, limits)?;
        let populates = flags & (uapi::MAP_POPULATE | uapi::MAP_NONBLOCK) == uapi::MAP_POPULATE;
        let populated = if populates || vm_flags.contains(VmFlags::LOCKED) { len } else { 0 };
        Ok((start, populated))
    }

    /// Maps at `spot`, in place of what is there (Linux: mmap_region).
    #[inline(always)]
    pub(super) fn mmap_region(
        &mut self,
        tables: &impl PageTables,
        spot: Spot,
        mut attributes: Attributes,
        pgoff: u64,
        limits: &Limits,
    ) -> Result<(), Errno> {
        let shared_maywrite = VmFlags::SHARED | VmFlags::MAYWRITE;
        if let Some(file) = &attributes.file
            && attributes.flags.contains(shared_maywrite)
        {
            // It may forbid such a mapping.
            file.on_map(true)?;
            file.on_unmap(true);
        }
        let range = spot.range();
        let removal = match spot {
            Spot::Hole(_) => None,
            Spot::Fixed(range) => self.plan_removal(range)?,
        };
        let removed = removal.as_ref().map_or(Default::default(), |removal| removal.totals);
        let added = pages(range.len());
        let result = self.charge(&mut attributes, added, removed.pages, removed.accounted, limits);
        let charged = match result {
            Ok(charged) => charged,
            Err(error) => {
                if removal.is_some() {
                    self.leave_cut(range);
                }
                return Err(error);
            }
        };
        let result = self.prepare(&mut attributes, range.len());
        if let Err(error) = result {
            super::vm_acct_memory(-charged);
            return Err(error);
        }
        if let Some(mut removal) = removal {
            if attributes.flags.contains(VmFlags::ACCOUNT) {
                // The new ones have taken their promise over.
                removal.totals.accounted = 0;
            }
            self.complete_removal(tables, range, removal);
        }
        let hole = match spot {
            Spot::Hole(hole) => hole,
            Spot::Fixed(range) => {
                let hole = self.vmas.hole_at(range.start().get());
                hole.expect("nothing is there any more").narrowed(range)
            }
        };
        let flags = attributes.flags;
        if flags.contains(VmFlags::LOCKED) {
            if flags.supports_mlock() {
                self.totals.locked += added;
            } else {
                attributes.flags -= VmFlags::LOCKED_MASK;
            }
        }
        self.add(hole, attributes, pgoff);
        self.account(flags, added);
        Ok(())
    }

    /// Checks the limits for `added` pages in place of `removed`, of which `accounted` count as
    /// committed, and promises them. Returns how many more are promised.
    #[inline(always)]
    fn charge(
        &self,
        attributes: &mut Attributes,
        added: u64,
        removed: u64,
        accounted: u64,
        limits: &Limits,
    ) -> Result<i64, Errno> {
        if !self.may_expand_vm(attributes.flags, added as i64 - removed as i64, limits) {
            return Err(Errno::ENOMEM);
        }
        if !attributes.flags.is_accountable() {
            return Ok(0);
        }
        let charged = added as i64 - accounted as i64;
        if charged != 0 {
            self.enough_memory(charged, limits)?;
        }
        attributes.flags |= VmFlags::ACCOUNT;
        Ok(charged)
    }

    /// Makes room, and the file of shared anonymous memory.
    #[inline(always)]
    fn prepare(&mut self, attributes: &mut Attributes, len: usize) -> Result<(), Errno> {
        self.vmas.reserve()?;
        if attributes.flags.contains(VmFlags::SHARED) && attributes.file.is_none() {
            let noreserve = attributes.flags.contains(VmFlags::NORESERVE);
            attributes.file = Some(shmem_zero_setup(len as u64, noreserve)?);
        }
        Ok(())
    }
}

impl<T: PageTables> MmStruct<T> {
    /// Maps memory or a file; returns the address (Linux: mmap).
    ///
    /// # Errors
    /// Linux's.
    pub fn mmap(&self, args: MmapArgs, limits: &Limits) -> Result<UserAddr, Errno> {
        if args.flags & uapi::MAP_HUGETLB != 0 {
            return Err(hugetlb(&args));
        }
        let mut space = self.space.write()?;
        let (at, populated) = space.mmap(&self.tables, args, limits)?;
        drop(space);
        if populated != 0 {
            // What can't be had is left out, as in Linux.
            let _ = self.populate(bounds(at.get(), at.get() + populated), true, VmFlags::empty());
        }
        Ok(at)
    }

    /// Unmaps memory (Linux: munmap).
    ///
    /// # Errors
    /// Linux's.
    pub fn munmap(&self, start: usize, len: usize) -> Result<(), Errno> {
        let start = super::untagged(start);
        self.space.write()?.munmap(&self.tables, start, len)
    }
}
