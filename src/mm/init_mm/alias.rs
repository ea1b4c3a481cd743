//! Second mapping of memory of vmalloc: that of the linear map.

use super::{TlbFlush, change, entry, set_valid};
use crate::addr::{PAGE_SIZE, PhysAddr, VirtAddr, VirtRange};
use crate::arch::layout;
use crate::arch::pgtable::{KernelAttrs, MapError, Permission};
use crate::machine_local;
use core::sync::atomic::{AtomicBool, Ordering::SeqCst};

machine_local! {
    /// True if memory of vmalloc was ever made executable.
    static ANY_CODE: AtomicBool = AtomicBool::new(false);
}

/// Notes that memory of vmalloc is about to become executable: before its other mappings are
/// looked at.
pub(in crate::mm) fn note_code() {
    ANY_CODE.store(true, SeqCst);
}

/// Returns whether pages may get one more mapping with these attributes: none that lets them be
/// written whose other mappings do not, since that may be code (Linux: set_memory_x).
pub(in crate::mm) fn may_map(
    mut pages: impl Iterator<Item = PhysAddr>,
    attrs: KernelAttrs,
) -> bool {
    if !attrs.is_writable() || !ANY_CODE.load(SeqCst) {
        return true;
    }
    pages.all(|pa| {
        let found = linear_address_of(pa).and_then(entry);
        found.is_none_or(|entry| entry.attrs.is_writable())
    })
}

/// Calls `f` with the linear-map address of each page of a vmalloc area.
pub(in crate::mm) fn for_each_alias(
    range: VirtRange,
    mut f: impl FnMut(VirtRange) -> Result<(), MapError>,
) -> Result<(), MapError> {
    (0..range.len()).step_by(PAGE_SIZE).try_for_each(|offset| {
        let found = entry(range.start() + offset);
        match found.and_then(|entry| linear_address_of(entry.pa)) {
            Some(alias) => f(VirtRange::from_size(alias, PAGE_SIZE)),
            None => Ok(()),
        }
    })
}

/// Returns where the linear map has a physical address.
pub(in crate::mm) fn linear_address_of(pa: PhysAddr) -> Option<VirtAddr> {
    let va = layout::LINEAR.start().saturating_add(usize::try_from(pa.get()).ok()?);
    layout::LINEAR.contains(va).then_some(va)
}

/// Gives the linear map's pages behind an area of vmalloc back what `set_memory_ro` took:
/// before they are freed (Linux: vm_reset_perms). The caller flushes.
pub(in crate::mm) fn reset_linear_alias(range: VirtRange) -> TlbFlush {
    let mut owed = TlbFlush::NONE;
    let reset = for_each_alias(range, |alias| {
        let found = entry(alias.start());
        if found.is_none_or(|entry| entry.valid && entry.attrs.is_writable()) {
            return Ok(());
        }
        // SAFETY: the page is of an area that has ended, so nobody runs it or counts on it.
        let more = unsafe { change(alias, |old| old.with_permission(Permission::Rw)) }?;
        // SAFETY: as above.
        let shown = unsafe { set_valid(alias, true) }?;
        let before = core::mem::replace(&mut owed, TlbFlush::NONE);
        owed = before.merge(more).merge(shown);
        Ok(())
    });
    assert!(reset.is_ok(), "{range:?}: pages that were split are whole again: {reset:?}");
    owed
}
