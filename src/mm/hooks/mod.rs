//! Hooks of the allocators: what the debugging tools ([`crate::mm::debug`]) and the trace points
//! ([`crate::trace`]) want to know of, without an import of either.
//!
//! Each kind of hook stands behind a static key, a `nop` while it is off. Whoever switches a key
//! on has registered a sink before: [`register_tools`] for the tools, [`points::set_sink`] for
//! the events.
#![deny(unsafe_code)]

#[cfg_attr(target_os = "none", expect(unsafe_code, reason = "static keys are patched code"))]
mod keys;
pub(crate) mod points;

pub(crate) use keys::{
    PAGE_HOOKS, RARE_EVENTS, SLAB_ALLOC_HOOKS, SLAB_FREE_HOOKS, are_areas_watched,
    are_freed_areas_watched, are_rare_events_on,
};

use crate::addr::{Order, VirtAddr};
use crate::arch::irq::with_masked;
use crate::machine_local;
use crate::mm::gfp::Gfp;
use crate::mm::page::Frame;
use crate::per_cpu;
use crate::sync::Once;
use core::cell::Cell;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Type of an object whose life `debug_objects` follows (Linux: struct debug_obj_descr).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum ObjectType {
    /// A registered shrinker.
    Shrinker,
    /// A kmem cache.
    KmemCache,
    /// A test's own.
    Test,
}

impl ObjectType {
    /// All of them.
    pub(in crate::mm) const ALL: [Self; 3] = [Self::Shrinker, Self::KmemCache, Self::Test];

    /// Returns the name that reports print.
    pub(in crate::mm) const fn name(self) -> &'static str {
        match self {
            Self::Shrinker => "shrinker",
            Self::KmemCache => "kmem_cache",
            Self::Test => "test",
        }
    }
}

/// Object in a page of KFENCE's pool.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::mm) struct KfenceObject {
    /// True if the object is allocated.
    pub allocated: bool,
    /// Size of the object in bytes.
    pub size: usize,
}

/// The debugging tools, as the allocators call them. Each method is for any context.
pub(in crate::mm) trait Tools: Sync {
    /// A block was just allocated: `gfp` is what for.
    fn page_allocated(&self, frame: Frame, order: Order, gfp: Gfp);
    /// A block was taken off the free lists without an allocation. May be called under a zone's
    /// lock.
    fn page_taken(&self, frame: Frame, order: Order);
    /// The frame's section is about to lose free blocks by [`Tools::page_taken`].
    fn prepare_to_take(&self, frame: Frame);
    /// A block is about to be freed.
    fn page_freed(&self, frame: Frame, order: Order);
    /// A block is taken apart into single pages.
    fn page_split(&self, frame: Frame, order: Order);
    /// `size` bytes of an object, or of an area of vmalloc, were allocated.
    fn object_allocated(&self, at: VirtAddr, size: usize, gfp: Gfp);
    /// An object is about to be freed, all `size` bytes of it; 0 where that is not known.
    fn object_freed(&self, at: VirtAddr, size: usize);
    /// Returns true if memory is cleared when it is allocated, although `gfp` does not ask for
    /// it.
    fn want_init_on_alloc(&self, gfp: Gfp) -> bool;
    /// Returns true if memory is cleared when it is freed.
    fn want_init_on_free(&self) -> bool;
    /// KFENCE takes an allocation of `size` bytes, or not.
    fn kfence_alloc(&self, size: usize, align: usize, gfp: Gfp, owner: usize) -> Option<VirtAddr>;
    /// KFENCE takes an object of its pool back; with `wipe` it is filled with zeros.
    fn kfence_free(&self, at: VirtAddr, wipe: bool);
    /// A cache, `owner`, is about to be destroyed; see [`kfence_shutdown_cache`].
    fn kfence_shutdown_cache(&self, owner: usize, heir: usize) -> usize;
    /// The object of KFENCE's pool that `frame` is for, if it ever had one.
    fn kfence_object(&self, frame: Frame) -> Option<KfenceObject>;
    /// The bytes of an object of KFENCE's pool, if `at` is in one.
    fn kfence_ksize(&self, at: VirtAddr) -> Option<usize>;
    /// An object is ready to be used.
    fn debug_object_init(&self, at: VirtAddr, kind: ObjectType);
    /// An object is in use.
    fn debug_object_activate(&self, at: VirtAddr, kind: ObjectType);
    /// An object is no longer in use.
    fn debug_object_deactivate(&self, at: VirtAddr, kind: ObjectType);
    /// An object is freed.
    fn debug_object_free(&self, at: VirtAddr, kind: ObjectType);
}

per_cpu! {
    /// True while this CPU runs a tool's code.
    static BUSY: Cell<bool> = Cell::new(false);
}

machine_local! {
    static TOOLS: Once<&'static dyn Tools> = Once::new();
    /// Address of KFENCE's pool; 0 while there is none.
    static KFENCE_POOL: AtomicUsize = AtomicUsize::new(0);
}

/// Lets the hooks call `tools`. The first ones count.
pub(in crate::mm) fn register_tools(tools: &'static dyn Tools) {
    TOOLS.call_once(|| tools);
}

fn tools() -> Option<&'static dyn Tools> {
    TOOLS.get().copied()
}

/// Runs `f` on a tool's own account: what it allocates is not watched. `None`, and nothing
/// done, where this CPU does so already, an interrupted part of it included.
pub(in crate::mm) fn busy<R>(f: impl FnOnce() -> R) -> Option<R> {
    if with_masked(|irq| BUSY.get(irq).replace(true)) {
        return None;
    }
    let result = f();
    with_masked(|irq| BUSY.get(irq).set(false));
    Some(result)
}

/// Returns whether this CPU is inside of a tool.
pub(in crate::mm) fn is_busy() -> bool {
    with_masked(|irq| BUSY.get(irq).get())
}

/// A block was just allocated: `gfp` is what for (Linux: post_alloc_hook). Zeros that `gfp`
/// asks for are the caller's to write, afterwards.
#[cold]
#[inline(never)]
pub(in crate::mm) fn post_alloc_hook(frame: Frame, order: Order, gfp: Gfp) {
    if let Some(tools) = tools() {
        tools.page_allocated(frame, order, gfp);
    }
    points::mm_page_alloc(Some(frame), order, gfp);
}

/// The frame's section is about to lose free blocks by [`taken_off_list`], for which there may
/// be no memory to note that in. Not under a lock that the page allocator may take.
pub(in crate::mm) fn prepare_to_take(frame: Frame) {
    if let Some(tools) = tools() {
        tools.prepare_to_take(frame);
    }
}

/// A block was taken off the free lists without an allocation (compaction, CMA). May be
/// called under a zone's lock.
pub(in crate::mm) fn taken_off_list(frame: Frame, order: Order) {
    if PAGE_HOOKS.is_enabled() {
        if let Some(tools) = tools() {
            tools.page_taken(frame, order);
        }
        points::mm_page_alloc(Some(frame), order, Gfp::__GFP_MOVABLE);
    }
}

/// A block is about to be freed (Linux: free_pages_prepare).
#[cold]
#[inline(never)]
pub(in crate::mm) fn free_pages_prepare(frame: Frame, order: Order) {
    points::mm_page_free(frame, order);
    if let Some(tools) = tools() {
        tools.page_freed(frame, order);
    }
}

/// A block is taken apart into single pages (Linux: split_page_owner).
pub(in crate::mm) fn split_page_hook(frame: Frame, order: Order) {
    if PAGE_HOOKS.is_enabled()
        && let Some(tools) = tools()
    {
        tools.page_split(frame, order);
    }
}

/// `size` bytes of an object, or of an area of vmalloc, were allocated.
pub(in crate::mm) fn object_allocated(at: VirtAddr, size: usize, gfp: Gfp) {
    if let Some(tools) = tools() {
        tools.object_allocated(at, size, gfp);
    }
}

/// An object is about to be freed, all `size` bytes of it; 0 where that is not known.
pub(in crate::mm) fn object_freed(at: VirtAddr, size: usize) {
    if let Some(tools) = tools() {
        tools.object_freed(at, size);
    }
}

/// Returns true if memory is cleared when it is allocated, although `gfp` does not ask for it
/// (Linux: want_init_on_alloc).
pub(in crate::mm) fn want_init_on_alloc(gfp: Gfp) -> bool {
    tools().is_some_and(|tools| tools.want_init_on_alloc(gfp))
}

/// Returns true if memory is cleared when it is freed (Linux: want_init_on_free).
pub(in crate::mm) fn want_init_on_free() -> bool {
    tools().is_some_and(Tools::want_init_on_free)
}

/// Order of KFENCE's pool.
pub(in crate::mm) const KFENCE_POOL_ORDER: Order = match Order::new(8) {
    Some(order) => order,
    None => unreachable!(),
};

/// Tells where KFENCE's pool is, for good.
pub(in crate::mm) fn set_kfence_pool(base: VirtAddr) {
    KFENCE_POOL.store(base.get(), Relaxed);
}

/// Returns true if KFENCE has a pool.
pub(in crate::mm) fn has_kfence_pool() -> bool {
    KFENCE_POOL.load(Relaxed) != 0
}

/// Returns true if an address is in KFENCE's pool. Any context.
#[inline]
#[must_use]
pub fn is_kfence_address(at: VirtAddr) -> bool {
    let base = KFENCE_POOL.load(Relaxed);
    base != 0 && at.get().wrapping_sub(base) < KFENCE_POOL_ORDER.bytes()
}

/// KFENCE takes an allocation of `size` bytes, if it is time for a sample; the object lies in a
/// frame that is marked as one of a slab of `owner`. Any context (Linux: kfence_alloc).
pub(in crate::mm) fn kfence_alloc(
    size: usize,
    align: usize,
    gfp: Gfp,
    owner: usize,
) -> Option<VirtAddr> {
    tools()?.kfence_alloc(size, align, gfp, owner)
}

/// KFENCE takes an object of its pool back, and checks it; with `wipe` it is filled with zeros.
/// Any context (Linux: __kfence_free).
pub(in crate::mm) fn kfence_free(at: VirtAddr, wipe: bool) {
    if let Some(tools) = tools() {
        tools.kfence_free(at, wipe);
    }
}

/// A cache, `owner`, is about to be destroyed: how many objects of KFENCE's pool are its users'
/// yet; they are named. Where there are none, `heir`, a cache that stays, becomes the owner of
/// those that were freed, so that a second free of one still finds a cache (Linux:
/// kfence_shutdown_cache).
pub(in crate::mm) fn kfence_shutdown_cache(owner: usize, heir: usize) -> usize {
    tools().map_or(0, |tools| tools.kfence_shutdown_cache(owner, heir))
}

/// The object of KFENCE's pool that `frame` is for, if it ever had one. Any context.
pub(in crate::mm) fn kfence_object(frame: Frame) -> Option<KfenceObject> {
    if is_kfence_address(frame.virt()) { tools()?.kfence_object(frame) } else { None }
}

/// The bytes of an object of KFENCE's pool, if `at` is in one (Linux: kfence_ksize).
#[inline]
pub(in crate::mm) fn kfence_ksize(at: VirtAddr) -> Option<usize> {
    if is_kfence_address(at) { tools()?.kfence_ksize(at) } else { None }
}

/// An object is ready to be used (Linux: debug_object_init).
pub(in crate::mm) fn debug_object_init(at: VirtAddr, kind: ObjectType) {
    if let Some(tools) = tools() {
        tools.debug_object_init(at, kind);
    }
}

/// An object is in use (Linux: debug_object_activate).
pub(in crate::mm) fn debug_object_activate(at: VirtAddr, kind: ObjectType) {
    if let Some(tools) = tools() {
        tools.debug_object_activate(at, kind);
    }
}

/// An object is no longer in use (Linux: debug_object_deactivate).
pub(in crate::mm) fn debug_object_deactivate(at: VirtAddr, kind: ObjectType) {
    if let Some(tools) = tools() {
        tools.debug_object_deactivate(at, kind);
    }
}

/// An object is freed (Linux: debug_object_free).
pub(in crate::mm) fn debug_object_free(at: VirtAddr, kind: ObjectType) {
    if let Some(tools) = tools() {
        tools.debug_object_free(at, kind);
    }
}
