//! Free pages are not mapped: who touches one faults there and then (Linux:
//! debug_pagealloc=on, mm/debug_page_alloc.c).
//!
//! The linear map is of single pages then, from the start. Memory that was never allocated
//! stays mapped until it is first freed.

use super::memory;
use super::page_ext::{self, PageExtFlags};
use super::page_owner::History;
use crate::addr::{Order, VirtAddr};
use crate::arch::layout;
use crate::arch::pgtable::MapFlags;
use crate::machine_local;
use crate::mm::page::Frame;
use crate::mm::page_alloc::state_of;
use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

machine_local! {
    static ON: AtomicBool = AtomicBool::new(false);
}

/// Says that it will be on, before the linear map is made (Linux:
/// _debug_pagealloc_enabled_early).
pub(super) fn want() {
    ON.store(true, Relaxed);
}

/// Lets pages be unmapped from their next free on; once.
pub(super) fn enable() {
    super::watch_pages();
}

/// Returns whether it is on.
#[must_use]
pub fn debug_pagealloc_enabled() -> bool {
    ON.load(Relaxed)
}

/// Returns the flags that the linear map is made with (Linux: can_set_direct_map).
#[must_use]
pub fn linear_map_flags() -> MapFlags {
    if debug_pagealloc_enabled() {
        MapFlags::NO_BLOCK | MapFlags::NO_CONT
    } else {
        MapFlags::empty()
    }
}

/// Maps a block that is free no more. Any context, no lock (Linux: debug_pagealloc_map_pages).
pub(super) fn map(frame: Frame, order: Order) {
    if !debug_pagealloc_enabled() {
        return;
    }
    for page in frame.block(order) {
        let Some(ext) = page_ext::lookup(page) else { continue };
        if ext.flags().contains(PageExtFlags::UNMAPPED) {
            ext.set_flags(PageExtFlags::UNMAPPED, false);
            let shown = memory::set_mapped(page, true);
            assert!(shown, "debug_pagealloc: {page:?}, which was unmapped, can't be mapped");
        }
    }
}

/// Unmaps a block that is about to be free. Any context, no lock.
pub(super) fn unmap(frame: Frame, order: Order) {
    if !debug_pagealloc_enabled() {
        return;
    }
    for page in frame.block(order) {
        if let Some(ext) = page_ext::lookup(page)
            && memory::set_mapped(page, false)
        {
            ext.set_flags(PageExtFlags::UNMAPPED, true);
        }
    }
}

/// Report on the page at an address that faulted; empty where it is none of the linear map's.
pub struct FaultInfo(pub VirtAddr);

impl fmt::Display for FaultInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let frame = layout::LINEAR.contains(self.0).then(|| Frame::from_virt(self.0)).flatten();
        let Some(page) = frame else { return Ok(()) };
        writeln!(f, "  page of {page:?}: {}", state_of(page))?;
        let ext = page_ext::lookup(page);
        if ext.is_some_and(|ext| ext.flags().contains(PageExtFlags::UNMAPPED)) {
            writeln!(f, "  debug_pagealloc: it was unmapped when it was freed")?;
        }
        if super::page_owner_on() { write!(f, "{}", History(page)) } else { Ok(()) }
    }
}
