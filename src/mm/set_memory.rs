//! Changing what kernel memory may be used for, while it is in use (Linux:
//! arch/arm64/mm/pageattr.c, include/linux/set_memory.h).
//!
//! For the linear map and for areas of vmalloc; the image and device mappings keep what
//! the boot and `ioremap` gave them. Blocks and contiguous sets that a range cuts are split.
//! Permissions change in place and are flushed before the call returns.
//!
//! # Never writable and executable
//! A mapping can't say so ([`KernelAttrs`]); here, making writable memory executable or
//! executable memory writable is refused, so the order is read-only first, executable
//! then, as in a module loader. Pages of vmalloc have a second mapping, the linear map's,
//! which becomes read-only and writable along with theirs (Linux: rodata=full), and
//! writable again when the area is freed.
//!
//! # Single pages
//! [`kernel_map_pages`] and [`set_direct_map_invalid_noflush`] and its kin hide pages from the
//! MMU and show them again. Where [`linear_map_split_to_ptes`] has prepared the range they
//! take no lock and no memory, in any context, the page allocator's insides included.
#![deny(unsafe_code)]

use crate::addr::{Order, PAGE_SIZE, Pfn, PfnRange, PhysAddr, VirtAddr, VirtRange};
use crate::arch::layout;
use crate::arch::pgtable::{KernelAttrs, MapError, Permission};
use crate::mm::init_mm::{self, TlbFlush};
use crate::mm::page::{Frame, PageFlags};
use crate::mm::page_alloc::{State, state_of};
use crate::mm::vmalloc;

/// Why memory stays as it was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SetMemoryError {
    /// Not whole pages, or neither in the linear map nor within one area of vmalloc.
    Invalid,
    /// Part of it isn't allocated: it is free, or the image's, or a hole.
    NotInUse,
    /// It would be writable and executable.
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

impl From<MapError> for SetMemoryError {
    fn from(error: MapError) -> Self {
        match error {
            MapError::NoMemory => Self::NoMemory,
            MapError::Refused => Self::WritableAndExecutable,
            _ => Self::Invalid,
        }
    }
}

/// Makes `pages` pages from `va` on read-only. Process context: tables may be needed.
///
/// # Errors
/// Nothing has changed then.
pub fn set_memory_ro(va: VirtAddr, pages: usize) -> Result<(), SetMemoryError> {
    change(va, pages, Change::Permission(Permission::Ro))
}

/// Makes them readable and writable.
///
/// # Errors
/// As for [`set_memory_ro`]; `WritableAndExecutable` where some are executable.
pub fn set_memory_rw(va: VirtAddr, pages: usize) -> Result<(), SetMemoryError> {
    change(va, pages, Change::Permission(Permission::Rw))
}

/// Makes them executable, which only read-only memory can be.
///
/// # Errors
/// As for [`set_memory_ro`]; `WritableAndExecutable` where some are writable.
pub fn set_memory_x(va: VirtAddr, pages: usize) -> Result<(), SetMemoryError> {
    change(va, pages, Change::Permission(Permission::Rx))
}

/// Makes them not executable.
///
/// # Errors
/// As for [`set_memory_ro`].
pub fn set_memory_nx(va: VirtAddr, pages: usize) -> Result<(), SetMemoryError> {
    change(va, pages, Change::Nx)
}

/// Hides them from the MMU, so that every access faults, or shows them again as they were.
///
/// # Errors
/// As for [`set_memory_ro`].
pub fn set_memory_valid(va: VirtAddr, pages: usize, valid: bool) -> Result<(), SetMemoryError> {
    change(va, pages, Change::Valid(valid))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    Permission(Permission),
    Nx,
    Valid(bool),
}

impl Change {
    /// What `old` becomes; `None` where it would be writable and executable.
    fn attrs(self, old: KernelAttrs) -> Option<KernelAttrs> {
        match (self, old.permission()) {
            (Self::Permission(Permission::Rw), Permission::Rx)
            | (Self::Permission(Permission::Rx), Permission::Rw) => None,
            // Code that is read-only already stays code.
            (Self::Permission(Permission::Ro), Permission::Rx) => Some(old),
            (Self::Permission(new), _) => old.with_permission(new),
            (Self::Nx, Permission::Rx) => old.with_permission(Permission::Ro),
            (Self::Nx | Self::Valid(_), _) => Some(old),
        }
    }

    fn make(self, va: VirtRange) -> Result<TlbFlush, MapError> {
        match self {
            Self::Valid(valid) => init_mm::set_valid(va, valid),
            _ => init_mm::change(va, |old| self.attrs(old)),
        }
    }
}

fn change(va: VirtAddr, pages: usize, change: Change) -> Result<(), SetMemoryError> {
    let bytes = pages.checked_mul(PAGE_SIZE).ok_or(SetMemoryError::Invalid)?;
    let end = va.checked_add(bytes).ok_or(SetMemoryError::Invalid)?;
    if !va.is_aligned(PAGE_SIZE) {
        return Err(SetMemoryError::Invalid);
    }
    let range = VirtRange::new(va, end);
    if range.is_empty() {
        return Ok(());
    }
    // Addresses that were given up may still lead there, with the rights of before (Linux:
    // change_memory_common).
    if matches!(change, Change::Permission(Permission::Ro | Permission::Rx) | Change::Valid(false))
    {
        vmalloc::flush_unmapped();
    }
    if layout::LINEAR.contains_range(range) {
        all_usable(range)?;
        init_mm::split(range)?;
        change.make(range)?.flush();
        return Ok(());
    }
    let linear = matches!(change, Change::Permission(Permission::Ro | Permission::Rw));
    if !vmalloc::set_memory(range, linear) {
        return Err(SetMemoryError::Invalid);
    }
    init_mm::split(range)?;
    if linear {
        // All that needs memory comes first.
        for_each_alias(range, init_mm::split)?;
    }
    let mut owed = change.make(range)?;
    if linear {
        // Leaves by themselves, and never executable: this can't fail.
        for_each_alias(range, |alias| {
            let more = change.make(alias)?;
            let before = core::mem::replace(&mut owed, TlbFlush::NONE);
            owed = before.merge(more);
            Ok(())
        })?;
    }
    owed.flush();
    Ok(())
}

/// Calls `f` with the linear-map address of each page of a vmalloc area.
fn for_each_alias(
    range: VirtRange,
    mut f: impl FnMut(VirtRange) -> Result<(), MapError>,
) -> Result<(), MapError> {
    (0..range.len()).step_by(PAGE_SIZE).try_for_each(|offset| {
        let entry = init_mm::entry(range.start() + offset);
        match entry.and_then(|entry| linear_address_of(entry.pa)) {
            Some(alias) => f(VirtRange::from_size(alias, PAGE_SIZE)),
            None => Ok(()),
        }
    })
}

fn linear_address_of(pa: PhysAddr) -> Option<VirtAddr> {
    let va = layout::LINEAR.start().saturating_add(usize::try_from(pa.get()).ok()?);
    layout::LINEAR.contains(va).then_some(va)
}

/// Whether every frame of a range of the linear map is allocated.
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

/// Gives the linear map's pages behind an area of vmalloc back what [`set_memory_ro`] took:
/// before they are freed (Linux: vm_reset_perms). The caller flushes.
pub(super) fn reset_linear_alias(range: VirtRange) -> TlbFlush {
    let mut owed = TlbFlush::NONE;
    let reset = for_each_alias(range, |alias| {
        let entry = init_mm::entry(alias.start());
        if entry.is_none_or(|entry| entry.valid && entry.attrs.is_writable()) {
            return Ok(());
        }
        let more = init_mm::change(alias, |old| old.with_permission(Permission::Rw))?;
        let shown = init_mm::set_valid(alias, true)?;
        let before = core::mem::replace(&mut owed, TlbFlush::NONE);
        owed = before.merge(more).merge(shown);
        Ok(())
    });
    assert!(reset.is_ok(), "{range:?}: pages that were split are whole again: {reset:?}");
    owed
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

/// Shows the pages of a block in the linear map, or hides them, with the flush; whether they
/// were prepared for it ([`linear_map_split_to_ptes`]; where not, some may be changed). The
/// caller owns the block. Any context, no lock. (Linux: __kernel_map_pages.)
#[must_use]
pub fn kernel_map_pages(frame: Frame, order: Order, enable: bool) -> bool {
    set_block(frame, order, enable).is_some()
}

/// Hides a page of the linear map; the flush is the caller's. `None` where the page is
/// not prepared. Any context, no lock. (Linux: set_direct_map_invalid_noflush.)
#[must_use]
pub fn set_direct_map_invalid_noflush(frame: Frame) -> Option<TlbFlush> {
    set_block(frame, Order::ZERO, false)
}

/// Shows a page of the linear map, readable and writable. What is shown needs no flush.
/// (Linux: set_direct_map_default_noflush.)
#[must_use]
pub fn set_direct_map_default_noflush(frame: Frame) -> Option<TlbFlush> {
    set_block(frame, Order::ZERO, true)
}

/// Whether a page can be reached through the linear map (Linux: kernel_page_present).
#[must_use]
pub fn kernel_page_present(frame: Frame) -> bool {
    linear_address_of(frame.phys()).is_some_and(|va| init_mm::translate(va).is_some())
}

fn set_block(frame: Frame, order: Order, valid: bool) -> Option<TlbFlush> {
    debug_assert!(!frame.page().flags().contains(PageFlags::HOLE));
    let mut owed = TlbFlush::NONE;
    for single in frame.block(order) {
        let more = init_mm::set_page_valid(linear_address_of(single.phys())?, valid)?;
        owed = owed.merge(more);
    }
    Some(owed)
}

#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod mutation_tests;
#[cfg(test)]
#[expect(unsafe_code, reason = "tests give pages back by their frames")]
mod tests;
