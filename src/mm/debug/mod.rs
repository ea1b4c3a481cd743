//! Finding bugs (Linux: mm/Kconfig.debug, Documentation/dev-tools/).
//!
//! Each tool is switched on the command line, by Linux's name; `docs/debugging.md` lists
//! them. Off, each costs a `nop` in the paths that it looks at: [`PAGE_HOOKS`] in those of
//! pages, [`SLAB_ALLOC_HOOKS`] and [`SLAB_FREE_HOOKS`] in those of objects. On, they lead to `hooks`, out of line.
//!
//! | file | what it is |
//! | --- | --- |
//! | `hooks` | what the allocators call, and which tool gets told |
//! | `stackdepot` | one copy of each stack that somebody remembers |
//! | `page_ext` | words beside a frame's descriptor, for those who asked for them |
//! | `page_owner` | who allocated each page, and who freed it |
//! | `page_poison` | a pattern in free pages |
//! | `init_on` | zeros in memory that is allocated or freed |
//! | `debug_pagealloc` | free pages that are not mapped |
//! | `kmemleak` | memory that nobody can free any more |
//! | `kfence` | a few objects between pages that are not mapped |
//! | `debugobjects` | mistakes in the life of objects |
//! | `objects` | objects by address, for the two that remember them |
//! | `memory` | the mechanism: all that touches memory itself |
//! | `report` | where reports go |
//!
//! What the tools keep is never freed, and taken with [`busy`] set, so that no tool watches
//! itself.
//!
//! Lock order: the tools' own locks come after the allocators'. No hook is called under a
//! zone's lock but `hooks::taken_off_list`, which takes no memory.

#![deny(unsafe_code)]

mod debug_pagealloc;
mod debugobjects;
mod hooks;
mod init_on;
mod kfence;
mod kmemleak;
#[expect(unsafe_code, reason = "the mechanism")]
mod memory;
mod objects;
mod page_ext;
mod page_owner;
mod page_poison;
pub mod report;
pub mod stackdepot;

pub use debug_pagealloc::{FaultInfo, debug_pagealloc_enabled, linear_map_flags};
pub use debugobjects::{
    ObjectState, ObjectType, debug_object_activate, debug_object_active_state,
    debug_object_assert_init, debug_object_deactivate, debug_object_destroy, debug_object_free,
    debug_object_init, debug_object_state, debug_objects_on, debug_objects_warnings,
};
pub(in crate::mm) use hooks::{
    free_hook, free_pages_prepare, object_allocated, object_freed, post_alloc_hook,
    split_page_hook, taken_off_list,
};
pub use init_on::{MemAutoInit, mem_auto_init};
pub(in crate::mm) use init_on::{want_init_on_alloc, want_init_on_free};
pub use kfence::{
    NUM_OBJECTS, is_kfence_address, kfence_handle_page_fault, kfence_samples, kfence_tick,
};
pub(in crate::mm) use kfence::{kfence_alloc, kfence_free, kfence_ksize};
pub use kmemleak::{
    ScanResult, add_root, kmemleak_alloc, kmemleak_free, kmemleak_ignore, kmemleak_no_scan,
    kmemleak_not_leak, kmemleak_objects, kmemleak_on, kmemleak_scan_area, scan as kmemleak_scan,
};
pub use memory::metadata_pages;
pub(in crate::mm) use memory::{are_areas_watched, are_freed_areas_watched};
pub use page_owner::{PageOwner, Stacks, owner_of, page_owner_on};
pub use page_poison::PAGE_POISON;

#[cfg(test)]
mod tests;

use crate::arch::NR_CPUS;
use crate::arch::irq::with_masked;
use crate::arch::jump_label::StaticKey;
use crate::firmware::cmdline::CommandLine;
use crate::machine_local;
use crate::percpu::PerCpu;
use core::cell::Cell;

machine_local! {
    /// Whether a tool wants to know of pages that are allocated and freed.
    pub(in crate::mm) static PAGE_HOOKS: StaticKey = StaticKey::new();
    /// Whether a tool wants to know of objects that are allocated.
    pub(in crate::mm) static SLAB_ALLOC_HOOKS: StaticKey = StaticKey::new();
    /// Whether a tool wants to know of objects that are freed.
    pub(in crate::mm) static SLAB_FREE_HOOKS: StaticKey = StaticKey::new();
    /// Whether this CPU is inside of a tool.
    static BUSY: PerCpu<Cell<bool>> = PerCpu::new([const { Cell::new(false) }; NR_CPUS]);
}

/// Runs `f` on a tool's own account: what it allocates is not watched. `None`, and nothing
/// done, where this CPU does so already, an interrupted part of it included.
fn busy<R>(f: impl FnOnce() -> R) -> Option<R> {
    if with_masked(|irq| BUSY.get(irq).replace(true)) {
        return None;
    }
    let result = f();
    with_masked(|irq| BUSY.get(irq).set(false));
    Some(result)
}

/// Whether this CPU is inside of a tool.
fn is_busy() -> bool {
    with_masked(|irq| BUSY.get(irq).get())
}

/// Switches the tools on that the command line asks for; before the page allocator has
/// given out anything that they could miss. `warn` is told of values that make no sense
/// (Linux: init_mem_debugging_and_hardening, and the early parameters of each tool).
pub fn init(line: &CommandLine<'_>, warn: &mut dyn FnMut(core::fmt::Arguments<'_>)) {
    let mut on = |key: &'static str| match line.switch(key) {
        Ok(value) => value.unwrap_or(false),
        Err(error) => {
            warn(format_args!("{error}"));
            false
        }
    };
    let (owner, poison) = (on("page_owner"), on("page_poison"));
    let (unmap, leaks, objects) = (on("debug_pagealloc"), on("kmemleak"), on("debug_objects"));
    let (alloc, free) = (on("init_on_alloc"), on("init_on_free"));
    if poison && (alloc || free) {
        warn(format_args!(
            "mem auto-init: page_poison takes precedence over init_on_alloc and init_on_free"
        ));
    }
    if owner {
        page_owner::enable();
    }
    if poison {
        page_poison::enable();
    }
    if unmap {
        debug_pagealloc::enable();
    }
    if objects {
        debugobjects::enable();
    }
    if leaks {
        kmemleak::enable();
    }
    match line.number("kfence.sample_interval") {
        Ok(ms) => kfence::enable(ms.unwrap_or(0)),
        Err(error) => warn(format_args!("{error}")),
    }
    init_on::enable(alloc && !poison, free && !poison);
}

/// What needs the page allocator, before the first object is allocated. `seed` is for what is
/// left to chance (Linux: kfence_init, page_ext_init, kmemleak_init).
pub fn late_init(seed: u64, info: &mut dyn FnMut(core::fmt::Arguments<'_>)) {
    if let Some(pool) = kfence::init(seed) {
        info(format_args!(
            "kfence: initialized - using {} bytes for {NUM_OBJECTS} objects at {}-{}",
            pool.len(),
            pool.start(),
            pool.end()
        ));
    }
}
