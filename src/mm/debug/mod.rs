//! Finding bugs (Linux: mm/Kconfig.debug, Documentation/dev-tools/).
//!
//! Each tool is switched on the command line, by Linux's name; `docs/debugging.md` lists
//! them. Off, each costs a `nop` in the paths that it looks at: `PAGE_HOOKS` in those of
//! pages, `SLAB_ALLOC_HOOKS` and `SLAB_FREE_HOOKS` in those of objects. On, they lead to `hooks`, out of line.
//!
//! | file | what it is |
//! | --- | --- |
//! | `hooks` | what the allocators call, and which tool gets told |
//! | [`stackdepot`] | one copy of each stack that somebody remembers |
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
//! | `dump_page` | a frame's descriptor in words |
//! | `report` | where reports go |
//!
//! What the tools keep is never freed, and taken with `busy` set, so that no tool watches
//! itself.
//!
//! Lock order: the tools' own locks come after the allocators'. No hook is called under a
//! zone's lock but `hooks::taken_off_list`, which takes no memory.

#![deny(unsafe_code)]

mod debug_pagealloc;
mod debugobjects;
mod dump_page;
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

pub use crate::mm::hooks::ObjectType;
pub use crate::mm::stackdepot::{self, metadata_pages};
pub use debug_pagealloc::{FaultInfo, debug_pagealloc_enabled, linear_map_flags};
pub use debugobjects::{
    ObjectState, debug_object_activate, debug_object_active_state, debug_object_assert_init,
    debug_object_deactivate, debug_object_destroy, debug_object_free, debug_object_init,
    debug_object_state, debug_objects_on, debug_objects_warnings,
};
pub use dump_page::PageDump;
use hooks::{watch_allocs, watch_frees, watch_pages};
#[cfg(test)]
pub(in crate::mm) use init_on::enable as enable_init_on;
pub use init_on::{MemAutoInit, mem_auto_init};
pub use kfence::{
    NUM_OBJECTS, is_kfence_address, kfence_handle_page_fault, kfence_samples, kfence_tick,
};
#[cfg(target_os = "none")]
pub(crate) use kmemleak::add_root;
pub use kmemleak::{
    Leaks, ScanResult, clear as kmemleak_clear, kmemleak_ignore, kmemleak_no_scan,
    kmemleak_not_leak, kmemleak_objects, kmemleak_on, kmemleak_scan_area, off as kmemleak_off,
    scan as kmemleak_scan,
};
pub use page_owner::{Comm, Owner, PageOwner, Stacks, owner_of, page_owner_on};
pub use page_poison::PAGE_POISON;

#[cfg(test)]
#[expect(unsafe_code, reason = "tests give pages back by their frames")]
mod tests;

use crate::firmware::cmdline::CommandLine;
use crate::mm::hooks::PAGE_HOOKS;

/// The tools that the command line asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options {
    page_owner: bool,
    page_poison: bool,
    debug_pagealloc: bool,
    kmemleak: bool,
    debug_objects: bool,
    init_on_alloc: bool,
    init_on_free: bool,
    kfence_sample_interval: u64,
}

/// Reads what the command line asks for, before the linear map is made, which may depend on
/// it. `warn` is told of values that make no sense (Linux: early_param of each tool). The
/// functions below bring the tools up, in the order in which they stand here; each says what
/// it did at the level of debugging.
pub fn early_params(
    line: &CommandLine<'_>,
    warn: &mut dyn FnMut(core::fmt::Arguments<'_>),
) -> Options {
    let mut on = |key: &'static str| match line.switch(key) {
        Ok(value) => value.unwrap_or(false),
        Err(error) => {
            warn(format_args!("{error}"));
            false
        }
    };
    let mut options = Options {
        page_owner: on("page_owner"),
        page_poison: on("page_poison"),
        debug_pagealloc: on("debug_pagealloc"),
        kmemleak: on("kmemleak"),
        debug_objects: on("debug_objects"),
        init_on_alloc: on("init_on_alloc"),
        init_on_free: on("init_on_free"),
        kfence_sample_interval: 0,
    };
    match line.number("kfence.sample_interval") {
        Ok(ms) => options.kfence_sample_interval = ms.unwrap_or(0),
        Err(error) => warn(format_args!("{error}")),
    }
    if options.debug_pagealloc {
        debug_pagealloc::want();
    }
    options
}

/// Settles how many words a frame has beside its descriptor (Linux: page_ext_init_flatmem,
/// invoke_need_callbacks). They come by section, later.
pub fn page_ext_init_flatmem(options: &Options) {
    if options.page_owner {
        page_ext::require(page_owner::WORDS);
    }
    if options.page_poison || options.debug_pagealloc {
        page_ext::require(0);
    }
    log::debug!("page_ext: {} bytes a frame", page_ext::frame_bytes());
}

/// Switches on what every page passes by, before the page allocator has one (Linux:
/// mem_debugging_and_hardening_init).
pub fn mem_debugging_and_hardening_init(
    options: &Options,
    warn: &mut dyn FnMut(core::fmt::Arguments<'_>),
) {
    let Options { page_poison: poison, init_on_alloc: alloc, init_on_free: free, .. } = *options;
    if poison && (alloc || free) {
        warn(format_args!(
            "mem auto-init: page_poison takes precedence over init_on_alloc and init_on_free"
        ));
    }
    if poison {
        page_poison::enable();
    }
    if options.debug_pagealloc {
        debug_pagealloc::enable();
    }
    init_on::enable(alloc && !poison, free && !poison);
    log::debug!("hardening: hooks of pages are {}", Switch(PAGE_HOOKS.is_enabled()));
}

/// Takes the memory of the stack depot's table, if a tool will need it: as soon as the page
/// allocator is there (Linux: stack_depot_early_init, from memblock).
pub fn stack_depot_early_init(options: &Options) {
    let Options { page_owner, kmemleak, debug_objects, kfence_sample_interval, .. } = *options;
    let wanted = page_owner || kmemleak || debug_objects || kfence_sample_interval != 0;
    let there = wanted && stackdepot::early_init();
    log::debug!("stackdepot: table is {}", Switch(there));
}

/// Takes the pool of KFENCE, before others may have broken up the blocks (Linux:
/// kfence_alloc_pool_and_metadata, from memblock).
pub fn kfence_alloc_pool(options: &Options) {
    let pool = kfence::alloc_pool(options.kfence_sample_interval);
    log::debug!("kfence: pool is {}", Switch(pool));
}

/// Lets page_owner note who allocates pages (Linux: page_ext_init_flatmem_late,
/// init_page_owner).
pub fn page_ext_init_flatmem_late(options: &Options) {
    if options.page_owner {
        page_owner::enable();
    }
    log::debug!("page_owner: {}", Switch(options.page_owner));
}

/// Lets kmemleak note objects, of which none was allocated yet (Linux: kmemleak_init).
pub fn kmemleak_init(options: &Options) {
    if options.kmemleak {
        kmemleak::enable();
    }
    log::debug!("kmemleak: {}", Switch(options.kmemleak));
}

/// Lets debug_objects note objects (Linux: debug_objects_mem_init).
pub fn debug_objects_mem_init(options: &Options) {
    if options.debug_objects {
        debugobjects::enable();
    }
    log::debug!("debug_objects: {}", Switch(options.debug_objects));
}

/// Protects the pages of KFENCE's pool, and samples from here on; once the linear map can be
/// split. `seed` is for what is left to chance (Linux: kfence_init).
pub fn kfence_init(seed: u64) {
    if let Some(pool) = kfence::init(seed) {
        log::info!(
            "kfence: initialized - using {} bytes for {NUM_OBJECTS} objects at {}-{}",
            pool.len(),
            pool.start(),
            pool.end()
        );
    }
}

/// State of an option: prints `on` or `off`.
struct Switch(bool);

impl core::fmt::Display for Switch {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(if self.0 { "on" } else { "off" })
    }
}
