//! Changing what kernel memory may be used for, while it is in use (Linux:
//! arch/arm64/mm/pageattr.c, include/linux/set_memory.h).
//!
//! For areas of vmalloc; the image and device mappings keep what the boot and `ioremap` gave
//! them, and the linear map's pages can be hidden and shown. Blocks and contiguous sets that a range cuts are split.
//! Permissions change in place and are flushed before the call returns.
//!
//! # Never writable and executable
//! A mapping can't say so ([`KernelAttrs`](crate::arch::pgtable::KernelAttrs)); here, making writable memory executable or
//! executable memory writable is refused, so the order is read-only first, executable
//! then, as in a module loader. Pages of vmalloc have a second mapping, the linear map's,
//! which becomes read-only and writable along with theirs (Linux: rodata=full), and
//! writable again when the area is freed. Nothing changes the rights of the one mapping alone, so
//! code can't be written by its other address; and nothing is made executable that `vmap` has
//! mapped once more to be written, nor mapped so while it may be code.
//!
//! # Single pages
//! [`kernel_map_pages`] and [`set_direct_map_invalid_noflush`] and its kin hide pages from the
//! MMU and show them again. Where [`linear_map_split_to_ptes`] has prepared the range they
//! take no lock and no memory, in any context, the page allocator's insides included.

mod permission;

use crate::addr::{Order, PAGE_SIZE, Pfn, PfnRange, PhysAddr, VirtAddr, VirtRange};
use crate::arch::layout;
use crate::arch::pgtable::{MapError, Permission};
use crate::mm::init_mm::{self, TlbFlush, for_each_alias, linear_address_of, note_code};
use crate::mm::page::{Frame, PageType};
use crate::mm::page_alloc::{State, state_of};
use crate::mm::vmalloc::{self, VmFlags};
use arrayvec::ArrayVec;
use core::ops::ControlFlow;
use permission::Change;

/// Reason why memory was not changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SetMemoryError {
    /// Not whole pages, or neither in the linear map nor within one area of vmalloc.
    Invalid,
    /// Part of it isn't allocated: it is free, or the image's, or a hole.
    NotInUse,
    /// The memory would be writable and executable.
    WritableAndExecutable,
    /// No memory for a page table.
    NoMemory,
}

impl core::fmt::Display for SetMemoryError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Invalid => "no whole pages of the linear map or of one vmalloc area",
            Self::NotInUse => "part of the memory is not allocated",
            Self::WritableAndExecutable => "memory can't be writable and executable",
            Self::NoMemory => "no memory for a page table",
        })
    }
}

impl core::error::Error for SetMemoryError {}

impl From<MapError> for SetMemoryError {
    fn from(error: MapError) -> Self {
        match error {
            MapError::NoMemory => Self::NoMemory,
            MapError::Refused => Self::WritableAndExecutable,
            _ => Self::Invalid,
        }
    }
}

/// Makes `pages` pages of an area of vmalloc, from `va` on, read-only, and so their mapping in the
/// linear map. Process context: tables may be needed.
///
/// # Errors
/// Nothing has changed then.
///
/// # Safety
/// The pages are the caller's, and nobody writes to them: that would fault.
pub unsafe fn set_memory_ro(va: VirtAddr, pages: usize) -> Result<(), SetMemoryError> {
    change_area(va, pages, Change::Permission(Permission::Ro))
}

/// Makes pages of an area readable and writable, by both of their addresses.
///
/// # Errors
/// As for [`set_memory_ro`]; `WritableAndExecutable` where some are executable.
///
/// # Safety
/// The pages are the caller's, and nobody has a shared reference to their bytes that a write would
/// belie.
pub unsafe fn set_memory_rw(va: VirtAddr, pages: usize) -> Result<(), SetMemoryError> {
    change_area(va, pages, Change::Permission(Permission::Rw))
}

/// Makes pages of an area executable, which is refused where any mapping of them, here or elsewhere,
/// lets them be written.
///
/// # Errors
/// As for [`set_memory_ro`]; `WritableAndExecutable` where some are writable.
///
/// # Safety
/// The pages are the caller's, and hold instructions or what nobody jumps to.
pub unsafe fn set_memory_x(va: VirtAddr, pages: usize) -> Result<(), SetMemoryError> {
    change_area(va, pages, Change::Permission(Permission::Rx))
}

/// Makes pages of an area not executable.
///
/// # Errors
/// As for [`set_memory_ro`].
///
/// # Safety
/// The pages are the caller's, and no CPU runs what is there.
pub unsafe fn set_memory_nx(va: VirtAddr, pages: usize) -> Result<(), SetMemoryError> {
    change_area(va, pages, Change::Nx)
}

/// Makes pages of an area or of the linear map invalid, so that every access faults, or valid
/// again as they were.
///
/// # Errors
/// As for [`set_memory_ro`]; `NotInUse` where pages of the linear map are not allocated.
///
/// # Safety
/// The pages are the caller's, and nobody uses them by these addresses while they are invalid.
pub unsafe fn set_memory_valid(
    va: VirtAddr,
    pages: usize,
    valid: bool,
) -> Result<(), SetMemoryError> {
    change_area(va, pages, Change::Valid(valid))
}

fn make(change: Change, va: VirtRange) -> Result<TlbFlush, MapError> {
    // SAFETY: memory of the caller of `change`, or the linear map's mapping of it.
    unsafe {
        match change {
            Change::Valid(valid) => init_mm::set_valid(va, valid),
            _ => init_mm::change(va, |old| change.attrs(old)),
        }
    }
}

/// The pages of an area of vmalloc, or of the linear map where `change` shows or hides them.
fn change_area(va: VirtAddr, pages: usize, change: Change) -> Result<(), SetMemoryError> {
    let range = pages_from(va, pages)?;
    // The rights in the linear map follow those of the areas that have its pages: by themselves
    // they would let code be written that an area lets run (Linux: change_memory_common).
    if !range.is_empty()
        && !layout::VMALLOC.contains_range(range)
        && !matches!(change, Change::Valid(_))
    {
        return Err(SetMemoryError::Invalid);
    }
    apply(range, change)
}

fn pages_from(va: VirtAddr, pages: usize) -> Result<VirtRange, SetMemoryError> {
    let bytes = pages.checked_mul(PAGE_SIZE).ok_or(SetMemoryError::Invalid)?;
    let end = va.checked_add(bytes).ok_or(SetMemoryError::Invalid)?;
    if va.is_aligned(PAGE_SIZE) {
        Ok(VirtRange::new(va, end))
    } else {
        Err(SetMemoryError::Invalid)
    }
}

fn apply(range: VirtRange, change: Change) -> Result<(), SetMemoryError> {
    if range.is_empty() {
        return Ok(());
    }
    // Addresses that were given up may still lead there, with the rights of before (Linux:
    // change_memory_common).
    if change.restricts() {
        vmalloc::flush_unmapped();
    }
    if layout::LINEAR.contains_range(range) {
        all_usable(range)?;
        init_mm::split(range)?;
        make(change, range)?.flush();
        return Ok(());
    }
    let linear = change.changes_alias();
    if !vmalloc::set_memory(range, linear) {
        return Err(SetMemoryError::Invalid);
    }
    init_mm::split(range)?;
    if linear {
        // All that needs memory comes first.
        for_each_alias(range, init_mm::split)?;
    }
    if change == Change::Permission(Permission::Rx) {
        // Before another mapping of the pages is looked for: who makes one sees this.
        note_code();
        if is_writable_elsewhere(range)? {
            return Err(SetMemoryError::WritableAndExecutable);
        }
    }
    let mut owed = make(change, range)?;
    if linear {
        // Leaves by themselves, and never executable: this can't fail.
        for_each_alias(range, |alias| {
            let more = make(change, alias)?;
            let before = core::mem::replace(&mut owed, TlbFlush::NONE);
            owed = before.merge(more);
            Ok(())
        })?;
    }
    owed.flush();
    Ok(())
}

/// Returns whether another mapping of an area's pages lets them be written: the linear map's, or
/// one that [`vmalloc::vmap`] or [`vmalloc::vm_map_ram`] made.
fn is_writable_elsewhere(range: VirtRange) -> Result<bool, MapError> {
    let mut found = false;
    for_each_alias(range, |alias| {
        found |= init_mm::entry(alias.start()).is_some_and(|entry| entry.attrs.is_writable());
        Ok(())
    })?;
    let mut offset = 0;
    while offset < range.len() && !found {
        // Some pages at a time, and for them all that `vmap` mapped.
        let mut pages = ArrayVec::<u64, 64>::new();
        while offset < range.len() && !pages.is_full() {
            pages.extend(init_mm::entry(range.start() + offset).map(|page| page.pa.get()));
            offset += PAGE_SIZE;
        }
        pages.sort_unstable();
        let borrows = VmFlags::VM_MAP | VmFlags::VM_MAP_RAM;
        for area in vmalloc::vmallocinfo().filter(|area| area.flags.intersects(borrows)) {
            init_mm::for_each_leaf(area.range, |_, leaf| {
                let (start, end) = (leaf.pa.get(), leaf.pa.get() + leaf.level.size() as u64);
                let next = pages.get(pages.partition_point(|&page| page < start));
                found |= leaf.attrs.is_writable() && next.is_some_and(|&page| page < end);
                if found { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
        }
    }
    Ok(found)
}

/// Returns whether every frame of a range of the linear map is allocated.
fn all_usable(range: VirtRange) -> Result<(), SetMemoryError> {
    let base = layout::LINEAR.start();
    let pfn = |va: VirtAddr| PhysAddr::new((va - base) as u64).pfn();
    let (Some(first), Some(last)) = (pfn(range.start()), pfn(range.end() - 1)) else {
        return Err(SetMemoryError::NotInUse);
    };
    let in_use = |pfn| matches!(Frame::new(pfn).map(state_of), Some(State::Allocated { .. }));
    if PfnRange::new(first, last + 1).iter().all(in_use) {
        Ok(())
    } else {
        Err(SetMemoryError::NotInUse)
    }
}

/// Prepares a range of the linear map for [`kernel_map_pages`] and its kin: maps it page by
/// page. Costs a page table for each 2 MiB. (Linux does so to all of RAM at boot where a
/// debugging option may want it: can_set_direct_map.)
///
/// # Errors
/// `NoMemory`: part of it is prepared then.
pub fn linear_map_split_to_ptes(range: PfnRange) -> Result<(), SetMemoryError> {
    let va = |pfn: Pfn| linear_address_of(pfn.phys()).ok_or(SetMemoryError::Invalid);
    let range = VirtRange::new(va(range.start())?, va(range.end())?);
    Ok(init_mm::split_to_pages(range)?)
}

/// Makes the pages of a block valid in the linear map, or invalid, with the flush. Returns false
/// if they were not prepared for it ([`linear_map_split_to_ptes`]); some may be changed then. Any
/// context, no lock (Linux: __kernel_map_pages).
///
/// # Safety
/// The block is the caller's, and nobody uses it by these addresses while it is invalid.
#[must_use]
pub unsafe fn kernel_map_pages(frame: Frame, order: Order, enable: bool) -> bool {
    set_block(frame, order, enable).is_some()
}

/// Makes a page of the linear map invalid; the flush is the caller's. `None` if the page is
/// not prepared. Any context, no lock. (Linux: set_direct_map_invalid_noflush.)
///
/// # Safety
/// As for [`kernel_map_pages`].
#[must_use]
pub unsafe fn set_direct_map_invalid_noflush(frame: Frame) -> Option<TlbFlush> {
    set_block(frame, Order::ZERO, false)
}

/// Shows a page of the linear map, with the rights that it had. What is shown needs no flush.
/// (Linux: set_direct_map_default_noflush.)
///
/// # Safety
/// As for [`kernel_map_pages`].
#[must_use]
pub unsafe fn set_direct_map_default_noflush(frame: Frame) -> Option<TlbFlush> {
    set_block(frame, Order::ZERO, true)
}

/// Returns whether a page can be reached through the linear map (Linux: kernel_page_present).
#[must_use]
pub fn kernel_page_present(frame: Frame) -> bool {
    linear_address_of(frame.phys()).is_some_and(|va| init_mm::translate(va).is_some())
}

fn set_block(frame: Frame, order: Order, valid: bool) -> Option<TlbFlush> {
    debug_assert!(!frame.page().is_type(PageType::Hole));
    let mut owed = TlbFlush::NONE;
    for single in frame.block(order) {
        let va = linear_address_of(single.phys())?;
        // SAFETY: a page of the block of the caller of `kernel_map_pages` and its kin.
        let more = unsafe { init_mm::set_page_valid(va, valid) }?;
        owed = owed.merge(more);
    }
    Some(owed)
}

#[cfg(test)]
#[expect(unsafe_code, reason = "tests give pages back by their frames")]
pub(in crate::mm) mod tests;
