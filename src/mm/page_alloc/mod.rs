//! The page allocator (Linux: mm/page_alloc.c).
//!
//! | file | subject |
//! | --- | --- |
//! | `buddy` | splitting and merging of free blocks |
//! | `fallback` | fallback to other migratetypes, claiming pageblocks |
//! | `pcp` | per-CPU page lists |
//! | `batch` | refilling them from a zone and freeing from them to it |
//! | `listed` | inlined allocation and free that use only these lists |
//! | `highatomic` | the reserve of large blocks for atomic allocations |
//! | `deferred` | initialisation of sections of memory when they are first needed |
//! | `memmap` | the pages that their frame descriptors take |
//! | `online` | initialisation of one section |
//! | `isolation` | emptying pageblocks |
//! | `contig` | taking given ranges off the lists, and freeing them |
//! | `compound` | compound pages and reference counts |
//! | `poison` | taking bad memory out of use |
//! | `numa` | nodes and their distances |
//! | `owned`, `page_list` | pages that are freed when they are dropped, and lists of them |
//! | `node_data` | memory for the zones of further nodes |
//! | `raw` | unsafe frees of pages by their frames |
//! | `extfrag` | counts of mixed migratetypes |
//! | `sysctl` | setting watermarks and reserves |
//! | `check` | checks of frees |
//! | `validate` | checks of a zone |
//!
//! A block that is allocated has one reference, no flags (or `HEAD`, its tails `TAIL`),
//! and its order in its head's descriptor. A free block's frames have no
//! references and its head is `BUDDY`, or `PCP` with the one reference that its next owner
//! gets. What is neither was never the allocator's:
//! the descriptor of a reserved frame is all zeros, with no references.
//!
//! A reference may be taken only by who holds one, so a count of one stays one while its
//! holder frees the page, and neither end needs an atomic instruction.
//!
//! Lock order: `Rank::Section`, then one zone's lock (`Rank::Zone`). Per-CPU lists are
//! reached with interrupts masked.

mod batch;
mod buddy;
mod bulk;
mod chain;
mod check;
mod compound;
mod contig;
mod deferred;
mod extfrag;
mod fallback;
mod highatomic;
mod isolation;
mod listed;
mod memmap;
mod node_data;
mod numa;
mod online;
mod owned;
mod page_list;
pub(in crate::mm) mod pcp;
mod poison;
mod raw;
mod report;
mod sysctl;
#[cfg(test)]
mod tests;
mod validate;

pub(in crate::mm) use buddy::{add, buddy_order, pageblock_migratetype, sub};
pub(in crate::mm) use bulk::AT_ONCE;
pub use bulk::free_pages_bulk;
pub(in crate::mm) use chain::alloc_pages_chain;
pub use check::{State, state_of};
pub use compound::{block_order, compound_head, get_page, try_get_page};
pub(in crate::mm) use contig::{TakeFrom, prepare};
pub use deferred::{InitError, NotUp, manages, not_up};
pub(in crate::mm) use deferred::{
    grow_zone, online_range, present_in, validate_deferred, validate_tables,
};
pub use extfrag::{Extfrag, ExtfragEvents, extfrag_events};
pub(in crate::mm) use fallback::Reach;
pub use fallback::set_group_by_mobility;
pub use isolation::ContigError;
pub(in crate::mm) use isolation::{
    free_block_around, pageblocks, single_zone, start_isolate, undo_isolate, unmovable_page,
};
pub(in crate::mm) use listed::{MAX_PCP, NO_PCP_FLAGS, alloc_pcp};
pub use node_data::alloc_node_data;
pub use numa::{
    cpu_dead, cpu_online, cpu_to_node, cpus_online, node_distance, numa_node_id, set_cpu_numa_node,
    set_node_distances,
};
pub use owned::{ContigPages, OwnedPage, Pages};
pub(in crate::mm) use owned::{clear_page_movable, set_page_movable};
pub use page_list::PageList;
pub(in crate::mm) use pcp::{FastPath, drain_all_pages_forced, set_fast_path};
pub use pcp::{drain_all_pages, drain_if_requested, drain_local_pages};
pub use poison::num_poisoned_pages;
pub(in crate::mm) use poison::{
    Marked, count_poisoned, give_up_mark, is_mark_kept, mark_poisoned, page_handle_poison,
    put_page_back_buddy, uncount_poisoned,
};
pub(in crate::mm) use raw::{free_chain_to_zones, free_pages_chain, free_pcp};
pub use raw::{free_contig_range, free_pages, free_pages_exact, put_page, split_page};
pub use report::{
    ZoneInfo, node_has_memory, nr_free_pages, nr_used_pages, pcp_count, totalram_pages, zone_info,
    zones, zones_on,
};
pub use sysctl::{set_lowmem_reserve_ratio, set_watermark_scale_factor};
pub use validate::Invalid;
pub(in crate::mm) use validate::validate_zone;

use crate::addr::{Order, PfnRange};
use crate::arch::irq::with_masked;
use crate::arch::jump_label::static_branch_unlikely;
use crate::arch::{self};
use crate::machine_local;
use crate::mm::gfp::Gfp;
use crate::mm::hooks;
pub use crate::mm::mmzone::ZoneLimits;
use crate::mm::mmzone::{self, NodeId, ZoneId, ZoneType, Zonelist};
use crate::mm::page::{Frame, PageFlags, PageType};
use crate::mm::sparse::{FreeRam, Populate};
use crate::percpu::possible_cpus;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Starts the page allocator: from here on [`alloc_pages`](crate::mm::alloc_pages::alloc_pages) works, and all of `free` is
/// its to give out. Costs as much as there are ranges, not as they are large, and brings
/// up the first section of the zone that the kernel's own allocations prefer.
///
/// Nodes other than the first are given their zones before ([`alloc_node_data`]).
/// `present` is all RAM with the node it belongs to, `free` the part of it that nobody
/// uses; both in rising order. The frame descriptors' array is mapped through `populate`.
///
/// # Errors
/// [`InitError`], which says what is wrong with the ranges, or that there is no memory.
///
/// # Safety
/// The `free` ranges are RAM that is mapped in the linear map and that nobody uses.
pub unsafe fn free_area_init(
    limits: ZoneLimits,
    present: impl Iterator<Item = (NodeId, PfnRange)> + Clone,
    free: impl Iterator<Item = PfnRange> + Clone,
    populate: Populate,
) -> Result<(), InitError> {
    // SAFETY: the caller's promise is the same.
    let free = free.map(|range| unsafe { FreeRam::new(range) });
    let nodes = present.clone().map(|(node, _)| node);
    #[cfg(not(target_os = "none"))]
    node_data::of_hosted_machine(nodes.clone());
    node_data::check(nodes)?;
    with_masked(|irq| {
        deferred::init(irq, limits, present, free, populate)?;
        mmzone::build_zonelists(|a, b| u32::from(a != b));
        setup_watermarks();
        let mut zones = Zonelist::of(NodeId::FIRST).zones(ZoneType::Normal);
        if zones.any(|id| deferred::grow_zone(irq, id) || id.zone().free() != 0) {
            Ok(())
        } else {
            Err(InitError::NoMemory)
        }
    })
}

machine_local! {
    /// Value that was set, in KiB; `u64::MAX` for the value computed from the size of memory.
    static MIN_FREE_KBYTES: AtomicU64 = AtomicU64::new(u64::MAX);
}

/// Computes watermarks and what depends on them from the memory and the CPUs there are now.
/// Any thread (Linux: init_per_zone_wmark_min).
pub(in crate::mm) fn setup_watermarks() {
    let min_free = MIN_FREE_KBYTES.load(Relaxed);
    let min_free = if min_free == u64::MAX { None } else { Some(min_free) };
    mmzone::setup_per_zone_wmarks(numa::cpus_near, min_free);
    for cpu in possible_cpus() {
        pcp::setup(cpu, cpu_to_node(cpu));
    }
}

/// Keeps `kib` KiB free instead of what the size of memory suggests, shared among the zones
/// as their min watermarks (Linux: vm.min_free_kbytes). An allocation on another CPU may see some
/// of the marks changed and others not yet. Any thread.
pub fn set_min_free_kbytes(kib: u64) {
    MIN_FREE_KBYTES.store(kib, Relaxed);
    setup_watermarks();
}

/// Starts the page allocator of a hosted machine with all of `ram` free on one node.
///
/// # Panics
/// Where some of it is no RAM of the machine, and for a second call.
#[cfg(not(target_os = "none"))]
pub fn init(ram: &[crate::addr::PhysRange]) {
    init_nodes(&ram.iter().map(|range| (NodeId::FIRST, *range)));
}

/// Like [`init`], with the node that each range of RAM belongs to.
#[cfg(not(target_os = "none"))]
pub fn init_nodes(ram: &(impl Iterator<Item = (NodeId, crate::addr::PhysRange)> + Clone)) {
    let present = ram.clone().map(|(node, range)| (node, range.whole_pages()));
    let ranges = present.clone().map(|(_, range)| range);
    let limits = ZoneLimits::default();
    let mapped = crate::mm::sparse::Populate::Mapped;
    assert!(ram.clone().all(|(_, range)| arch::hosted::has_ram(range)), "no RAM of this machine");
    // SAFETY: all RAM of a hosted machine is mapped, and fresh: what uses it comes from here.
    let result = unsafe { free_area_init(limits, present, ranges, mapped) };
    result.expect("RAM of a hosted machine is sorted");
}

/// Frees the block of `order` at `frame`, whose only reference is the caller's: what
/// [`free_pages`] does.
#[inline]
#[track_caller]
fn free_block(frame: Frame, order: Order) {
    if are_watched() && frame.page().is_plain(order) {
        hooks::free_pages_prepare(frame, order);
    }
    let result = if pcp::has_lists(order) {
        with_masked(|irq| pcp::free(irq, frame, order))
    } else {
        pcp::FreeResult::Isolated
    };
    match result {
        pcp::FreeResult::Done => {}
        pcp::FreeResult::ListFull => pcp::free_pcppages_bulk(frame, order),
        pcp::FreeResult::Isolated => free_to_buddy(frame, order),
        pcp::FreeResult::Unusual => free_unusual(frame, order),
    }
}

/// A page with flags, or one that can't be freed.
#[cold]
#[inline(never)]
#[track_caller]
fn free_unusual(frame: Frame, order: Order) {
    let page = frame.page();
    // Types that say what the page was good for, and need no undoing.
    let harmless = matches!(page.page_type(), PageType::None | PageType::Table | PageType::Vmalloc);
    let bad = PageFlags::HWPOISON | PageFlags::HAS_HWPOISONED;
    let flags = page.flags() - PageFlags::MOVABLE - bad;
    let references = page.refcount();
    let is_bad = !harmless || !(flags - PageFlags::HEAD).is_empty();
    if references == 0 || page.order() != order.get() || is_bad {
        check::bad_free(frame, order);
    }
    if references > 1 {
        return compound::put_shared(frame, order);
    }
    if flags.contains(PageFlags::HEAD) {
        compound::unprep_compound(frame, order);
    }
    if page.flags().intersects(bad) {
        return poison::free_good_part(frame, order);
    }
    page.clear_type(PageFlags::MOVABLE);
    free_block(frame, order);
}

/// Gives a block to its zone. Bad memory is marked under the zone's lock, so the flags are
/// looked at under it.
#[inline(never)]
#[track_caller]
fn free_to_buddy(frame: Frame, order: Order) {
    let is_plain = with_masked(|irq| {
        // Of a block that is not plain the zone may be any; it is not freed then.
        let mut zone = frame.zone().zone().lock(irq);
        if !frame.page().is_plain(order) {
            return false;
        }
        frame.page().set_refcount(0);
        let mt = buddy::pageblock_migratetype(frame);
        zone.free_one(frame, order, mt);
        true
    });
    if !is_plain {
        free_unusual(frame, order);
    }
}

/// Returns true if a tool has to be called for each page that is allocated or freed.
#[inline(always)]
pub(in crate::mm) fn are_watched() -> bool {
    static_branch_unlikely!(hooks::PAGE_HOOKS)
}

/// Turns the page hooks on for one more tool: from here on every allocation and free of pages
/// calls them.
pub(crate) fn watch_pages() {
    hooks::PAGE_HOOKS.inc();
    set_fast_path(FastPath::Hooks, false);
}

/// Turns the page hooks off for one tool. One call at a time.
pub(crate) fn unwatch_pages() {
    hooks::PAGE_HOOKS.dec();
    set_fast_path(FastPath::Hooks, !hooks::PAGE_HOOKS.is_enabled());
}

/// Makes a block that was just taken off the zone's lists its owner's.
pub(in crate::mm) fn prep_new_page(frame: Frame, order: Order, gfp: Gfp) {
    frame.page().hand_out();
    dress_new_page(frame, order, gfp, || {
        if are_watched() {
            hooks::post_alloc_hook(frame, order, gfp);
        }
    });
}

/// Second half of prep_new_page: sets flags, runs hooks (`tell`), then zeroes.
#[inline(always)]
pub(in crate::mm) fn dress_new_page(frame: Frame, order: Order, gfp: Gfp, tell: impl FnOnce()) {
    if gfp.contains(Gfp::__GFP_COMP) && order > Order::ZERO {
        compound::prep_compound(frame, order);
    }
    tell();
    if gfp.contains(Gfp::__GFP_ZERO) {
        clear_block(frame, order);
    }
}

/// Fills a block that was just allocated with zeros.
fn clear_block(frame: Frame, order: Order) {
    for single in frame.block(order) {
        // SAFETY: the frame is RAM of a block that was just taken off the free lists,
        // and whose owner does not know of it yet.
        unsafe { arch::clear_page(single.phys()) }
    }
}

/// Gives memory that was reserved at boot to the allocator: the image's init part, tables
/// that served until now. Returns how many pages (Linux: free_reserved_area).
///
/// # Panics
/// Where a frame of it is a hole, the allocator's already, or not in the linear map.
///
/// # Safety
/// The range is RAM that is mapped in the linear map, and nobody uses it any more.
#[track_caller]
pub unsafe fn free_reserved_area(range: PfnRange) -> u32 {
    with_masked(|irq| {
        if deferred::online_reserved(irq, range).is_err() {
            return 0;
        }
        release_reserved(irq, range)
    })
}

/// Turns reserved memory into CMA's; see `contig`.
///
/// # Safety
/// The range is RAM that is mapped in the linear map, was reserved for this, and nobody uses it.
pub(in crate::mm) unsafe fn init_cma_reserved(range: PfnRange) -> Result<(), ContigError> {
    with_masked(|irq| contig::init_cma_reserved(irq, range))
}

/// Puts reserved frames with descriptors on the free lists.
#[track_caller]
fn release_reserved(irq: &arch::IrqMasked, range: PfnRange) -> u32 {
    for pfn in range.iter() {
        if Frame::new(pfn).map(state_of) != Some(State::Reserved) {
            check::bad_range(pfn, "reserved memory can't be freed");
        }
        // Memory that is marked no-map is reserved too, and has a descriptor.
        let va = arch::layout::LINEAR.start() + pfn.phys().get() as usize;
        if !arch::mmu::wait_mapped(va, irq) {
            check::bad_range(pfn, "memory outside of the linear map can't be freed");
        }
    }
    let mut freed = 0;
    for (pfn, order) in range.blocks(Order::MAX) {
        let Some(frame) = Frame::new(pfn) else { continue };
        let id: ZoneId = frame.zone();
        let mut zone = id.zone().lock(irq);
        zone.add_managed(order.pages());
        let mt = buddy::pageblock_migratetype(frame);
        zone.free_one(frame, order, mt);
        freed += order.pages();
    }
    freed
}
