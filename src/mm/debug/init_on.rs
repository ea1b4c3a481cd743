//! Zeros in memory that is allocated or freed: nobody reads what another left (Linux:
//! init_on_alloc=, init_on_free=, CONFIG_INIT_ON_ALLOC_DEFAULT_ON).

use super::memory;
use crate::addr::Order;
use crate::machine_local;
use crate::mm::gfp::Gfp;
use crate::mm::page::Frame;
use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

machine_local! {
    static ON_ALLOC: AtomicBool = AtomicBool::new(false);
    static ON_FREE: AtomicBool = AtomicBool::new(false);
}

/// Says what is filled with zeros, for good.
pub(in crate::mm) fn enable(on_alloc: bool, on_free: bool) {
    ON_ALLOC.store(on_alloc, Relaxed);
    ON_FREE.store(on_free, Relaxed);
    if on_alloc || on_free {
        super::watch_pages();
        super::watch_allocs();
        super::watch_frees();
    }
}

/// Returns true if memory is cleared when it is allocated, although `gfp` does not ask for it
/// (Linux: want_init_on_alloc).
pub(in crate::mm) fn want_init_on_alloc(gfp: Gfp) -> bool {
    ON_ALLOC.load(Relaxed) && !gfp.contains(Gfp::__GFP_ZERO)
}

/// Returns true if memory is cleared when it is freed (Linux: want_init_on_free).
pub(in crate::mm) fn want_init_on_free() -> bool {
    ON_FREE.load(Relaxed)
}

/// Clears a block that was just allocated, unless its allocator is about to.
pub(super) fn page_allocated(frame: Frame, order: Order, gfp: Gfp) {
    if want_init_on_alloc(gfp) {
        frame.block(order).for_each(memory::clear);
    }
}

/// Clears a block that is about to be free.
pub(super) fn page_freed(frame: Frame, order: Order) {
    if want_init_on_free() {
        frame.block(order).for_each(memory::clear);
    }
}

/// Summary of the memory that is filled with zeros, as text (Linux: report_meminit).
#[derive(Clone, Copy, Debug)]
pub struct MemAutoInit;

/// Linux's line of the boot log.
#[must_use]
pub fn mem_auto_init() -> MemAutoInit {
    MemAutoInit
}

impl fmt::Display for MemAutoInit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |on: &AtomicBool| if on.load(Relaxed) { "on" } else { "off" };
        write!(
            f,
            "mem auto-init: stack:off, heap alloc:{}, heap free:{}",
            word(&ON_ALLOC),
            word(&ON_FREE)
        )
    }
}
