//! A few objects of kmalloc and kmem caches, each on a page of its own between pages that are not mapped
//! (Linux: kfence.sample_interval=, mm/kfence/core.c). What goes past an object's page or
//! touches it after its free faults; what goes past the object inside of its page is found
//! when it is freed. Cheap enough for every day: an allocation in each interval is taken.
//!
//! The pool is a block of the linear map, mapped page by page. Its first two pages are never
//! mapped; then pages of objects and of guard take turns. An object lies at the end of its
//! page or at the start, by chance; a pattern fills the rest.
//!
//! The gate: the tick of a timer opens it when the interval is over, by switching
//! `SLAB_ALLOC_HOOKS` on, and the next allocation closes it. Frees are looked at all
//! the time.
//!
//! A report does not end the kernel: the page that faulted is mapped, and the access goes on.
//!
//! Locks: one, over the objects; pages are mapped and unmapped under it, which takes none.

mod access;
mod gate;
mod report;

pub use access::kfence_handle_page_fault;

use super::memory;
use super::report::Trail;
use super::stackdepot::{self, Handle};
use crate::addr::{Order, PAGE_SIZE, PfnRange, VirtAddr, VirtRange};
use crate::arch::cpu;
use crate::arch::irq::with_masked;
use crate::machine_local;
use crate::mm::gfp::Gfp;
pub use crate::mm::hooks::is_kfence_address;
use crate::mm::hooks::{self, KFENCE_POOL_ORDER, KfenceObject, SLAB_ALLOC_HOOKS};
use crate::mm::page::{Frame, PageFlags, PageType};
use crate::mm::page_alloc::Pages;
use crate::mm::set_memory::linear_map_split_to_ptes;
use crate::mm::stackdepot::note_metadata;
use crate::sched;
use crate::sync::{Rank, SpinLock};
use core::mem::ManuallyDrop;
use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::{AtomicU32, AtomicU64};
use gate::Gate;
use report::Kind;

/// Objects of the pool (Linux: CONFIG_KFENCE_NUM_OBJECTS).
pub const NUM_OBJECTS: usize = 127;
const POOL_ORDER: Order = KFENCE_POOL_ORDER;
const _: () = assert!((NUM_OBJECTS + 1) * 2 == POOL_ORDER.pages() as usize);

/// State of an object's slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Slot that was never used.
    Unused,
    Allocated,
    Freed,
}

/// Event in an object's life: the thread, the CPU, the time and the stack.
#[derive(Clone, Copy, Debug)]
struct Track {
    pid: u32,
    cpu: u8,
    time: u64,
    stack: Option<Handle>,
}

impl Track {
    const NONE: Self = Self { pid: 0, cpu: 0, time: 0, stack: None };

    fn here() -> Self {
        Self {
            pid: sched::current().pid(),
            cpu: with_masked(|irq| cpu::id(irq).index()) as u8,
            time: cpu::sched_clock(),
            stack: stackdepot::save_here(true),
        }
    }
}

/// Metadata of an object (Linux: struct kfence_metadata).
#[derive(Clone, Copy, Debug)]
struct Meta {
    state: State,
    /// Bytes of the object.
    range: VirtRange,
    alloc: Track,
    free: Track,
    /// The place that was allocated or freed before it, and after; by number plus 1.
    next: u8,
    /// Guard page of the object, if it is mapped since an access to it was reported.
    unprotected: Option<Frame>,
}

impl Meta {
    const NEW: Self = Self {
        state: State::Unused,
        range: VirtRange::new(VirtAddr::new(0), VirtAddr::new(0)),
        alloc: Track::NONE,
        free: Track::NONE,
        next: 0,
        unprotected: None,
    };
}

struct Pool {
    /// Never dropped with the pool.
    pages: Option<ManuallyDrop<Pages>>,
    /// The places to be used next, from the one that was freed longest ago: first, last.
    free: (u8, u8),
    random: u64,
    metas: [Meta; NUM_OBJECTS],
}

machine_local! {
    static POOL: SpinLock<Pool> = SpinLock::new(Rank::Kfence, Pool {
        pages: None,
        free: (0, 0),
        random: 1,
        metas: [Meta::NEW; NUM_OBJECTS],
    });
    /// Nanoseconds between samples; 0 for off.
    static INTERVAL: AtomicU64 = AtomicU64::new(0);
    static NEXT_SAMPLE: AtomicU64 = AtomicU64::new(0);
    /// Gate that lets KFENCE take the next allocation. Its key is `SLAB_ALLOC_HOOKS`, which
    /// other tools may have on too.
    static GATE: Gate = Gate::new();
    static SAMPLES: AtomicU32 = AtomicU32::new(0);
}

/// Allocates the pool, if a sample is asked for every `ms` milliseconds and not never. Returns
/// true if there is a pool.
pub(super) fn alloc_pool(ms: u64) -> bool {
    INTERVAL.store(ms.saturating_mul(1_000_000), Relaxed);
    if ms == 0 {
        return false;
    }
    let pages = hooks::busy(|| Pages::alloc(Gfp::GFP_NOWAIT, POOL_ORDER)).flatten();
    with_pool(|pool| {
        pool.pages = pages.map(ManuallyDrop::new);
        pool.pages.is_some()
    })
}

/// Protects the pool, and lets objects be taken from it. Says its range.
pub(super) fn init(seed: u64) -> Option<VirtRange> {
    let first = with_pool(|pool| pool.first())?;
    let end = first.pfn() + POOL_ORDER.pages();
    if linear_map_split_to_ptes(PfnRange::new(first.pfn(), end)).is_err() {
        drop(with_pool(|pool| pool.pages.take()).map(ManuallyDrop::into_inner));
        return None;
    }
    note_metadata(POOL_ORDER.pages());
    for page in first.block(POOL_ORDER) {
        protect(page, true);
    }
    with_pool(|pool| {
        pool.random = seed | 1;
        (1..=NUM_OBJECTS as u8).for_each(|place| pool.push_free(place));
    });
    hooks::set_kfence_pool(first.virt());
    super::watch_frees();
    Some(VirtRange::from_size(first.virt(), POOL_ORDER.bytes()))
}

fn with_pool<R>(f: impl FnOnce(&mut Pool) -> R) -> R {
    with_masked(|irq| f(&mut POOL.lock(irq)))
}

fn protect(page: Frame, on: bool) {
    let done = memory::set_mapped(page, !on);
    assert!(done, "kfence: {page:?} of the pool is not mapped by itself");
}

/// A tick of a timer: opens the gate when it is time (Linux: toggle_allocation_gate).
pub fn kfence_tick() {
    if !hooks::has_kfence_pool() || !GATE.is_closed() {
        return;
    }
    let now = cpu::sched_clock();
    if now >= NEXT_SAMPLE.load(Relaxed) {
        GATE.open(|| {
            NEXT_SAMPLE.store(now.saturating_add(INTERVAL.load(Relaxed)), Relaxed);
            SLAB_ALLOC_HOOKS.inc();
        });
    }
}

/// Number of objects that were allocated from the pool.
#[must_use]
pub fn kfence_samples() -> u32 {
    SAMPLES.load(Relaxed)
}

impl Pool {
    fn random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    fn push_free(&mut self, place: u8) {
        self.metas[place as usize - 1].next = 0;
        match self.free.1 {
            0 => self.free.0 = place,
            last => self.metas[last as usize - 1].next = place,
        }
        self.free.1 = place;
    }

    fn pop_free(&mut self) -> Option<u8> {
        let place = self.free.0;
        if place == 0 {
            return None;
        }
        self.free.0 = self.metas[place as usize - 1].next;
        if self.free.0 == 0 {
            self.free.1 = 0;
        }
        Some(place)
    }

    /// The pool's first page.
    fn first(&self) -> Option<Frame> {
        self.pages.as_ref().map(|pages| pages.frame())
    }

    /// The page of object `place`, numbered from 1.
    fn page(&self, place: u8) -> Option<Frame> {
        Some(self.first()?.within(POOL_ORDER, 2 * u32::from(place)))
    }

    /// The object whose page, or guard page behind it, holds an address of the pool.
    fn place_at(&self, at: VirtAddr) -> Option<u8> {
        let page = (at - self.first()?.virt()) / PAGE_SIZE;
        (2..2 * (NUM_OBJECTS + 1)).contains(&page).then_some((page / 2) as u8)
    }
}

/// Takes an allocation of `size` bytes, if the gate is open and there is room; the object lies
/// in a frame that is marked as one of a slab of `owner`. Any context (Linux: __kfence_alloc).
pub(in crate::mm::debug) fn kfence_alloc(
    size: usize,
    align: usize,
    gfp: Gfp,
    owner: usize,
) -> Option<VirtAddr> {
    let zones = Gfp::__GFP_DMA | Gfp::__GFP_DMA32 | Gfp::__GFP_HIGHMEM;
    if !GATE.is_open() || size == 0 || size > PAGE_SIZE || gfp.intersects(zones) {
        return None;
    }
    if !GATE.pass(|| SLAB_ALLOC_HOOKS.dec()) {
        return None;
    }
    let track = Track::here();
    let at = with_pool(|pool| {
        let place = pool.pop_free()?;
        let page = pool.page(place)?;
        let right = pool.random() & 1 != 0;
        // The pages on both sides too: an access that was reported may have left one mapped.
        for guard in [2 * u32::from(place) - 1, 2 * u32::from(place) + 1] {
            protect(pool.first()?.within(POOL_ORDER, guard), true);
        }
        let meta = &mut pool.metas[place as usize - 1];
        meta.unprotected = None;
        protect(page, false);
        let offset = if right { (PAGE_SIZE - size) / align.max(1) * align.max(1) } else { 0 };
        let range = VirtRange::from_size(page.virt() + offset, size);
        *meta = Meta { state: State::Allocated, range, alloc: track, ..*meta };
        memory::fill_canary(page, range);
        page.page().set_owner(owner);
        // It stays one when its object is freed, so that a use of that is reported.
        if !page.page().is_slab() {
            page.page().add_type(PageType::Slab, PageFlags::empty());
        }
        Some(range.start())
    })?;
    SAMPLES.fetch_add(1, Relaxed);
    Some(at)
}

/// Takes an object of the pool back, and checks it; with `wipe` it is filled with zeros. Any
/// context (Linux: __kfence_free).
pub(in crate::mm::debug) fn kfence_free(at: VirtAddr, wipe: bool) {
    let track = Track::here();
    let mut found = None;
    with_pool(|pool| {
        let Some((place, page)) =
            pool.place_at(at).and_then(|place| Some((place, pool.page(place)?)))
        else {
            found = Some((Kind::InvalidFree, 0, Meta::NEW, None));
            return;
        };
        let meta = &mut pool.metas[place as usize - 1];
        if meta.state != State::Allocated || meta.range.start() != at {
            found = Some((Kind::InvalidFree, place, *meta, None));
            return;
        }
        if let Some(damage) = memory::check_canary(page, meta.range) {
            found = Some((Kind::Corruption, place, *meta, Some(damage)));
        }
        if wipe {
            memory::clear_part(page, meta.range);
        }
        *meta = Meta { state: State::Freed, free: track, ..*meta };
        if let Some(guard) = meta.unprotected.take() {
            protect(guard, true);
        }
        // The frame stays marked, so that a second free of it comes here too.
        protect(page, true);
        pool.push_free(place);
    });
    if let Some((kind, place, meta, damage)) = found {
        let at = damage.map_or(at, |(at, _)| at);
        report::print(kind, at, place, &meta, Trail::Saved(track.stack), damage);
    }
}

/// A cache, `owner`, is about to be destroyed: how many objects of the pool are its users' yet;
/// they are named. Where there are none, `heir`, a cache that stays, becomes the owner of those
/// that were freed, so that a second free of one still finds a cache (Linux:
/// kfence_shutdown_cache).
pub(in crate::mm::debug) fn kfence_shutdown_cache(owner: usize, heir: usize) -> usize {
    if !hooks::has_kfence_pool() {
        return 0;
    }
    with_pool(|pool| {
        let of_it = |pool: &Pool, place: u8| {
            let used = pool.metas[place as usize - 1].state != State::Unused;
            pool.page(place).filter(|page| used && page.page().owner() == owner)
        };
        let mut live = 0;
        for place in 1..=NUM_OBJECTS as u8 {
            let meta = &pool.metas[place as usize - 1];
            if meta.state == State::Allocated && of_it(pool, place).is_some() {
                report::print_live(place, meta);
                live += 1;
            }
        }
        if live == 0 {
            let all = (1..=NUM_OBJECTS as u8).filter_map(|place| of_it(pool, place));
            all.for_each(|page| page.page().set_owner(heir));
        }
        live
    })
}

/// The object of the pool that `frame` is for, if it ever had one. Any context.
pub(in crate::mm::debug) fn kfence_object(frame: Frame) -> Option<KfenceObject> {
    if !is_kfence_address(frame.virt()) {
        return None;
    }
    with_pool(|pool| {
        let place = pool.place_at(frame.virt()).filter(|&place| pool.page(place) == Some(frame))?;
        let Meta { state, range, .. } = pool.metas[place as usize - 1];
        let object = KfenceObject { allocated: state == State::Allocated, size: range.len() };
        (state != State::Unused).then_some(object)
    })
}

/// The bytes of an object of the pool, if `at` is in one (Linux: kfence_ksize).
pub(in crate::mm::debug) fn kfence_ksize(at: VirtAddr) -> Option<usize> {
    if !is_kfence_address(at) {
        return None;
    }
    with_pool(|pool| {
        let place = pool.place_at(at)?;
        Some(pool.metas[place as usize - 1].range.len())
    })
}
