//! A short life of every allocator, in which any allocation of pages or objects may fail.
//!
//! The image `faults` and the host's tests run the same lines: who includes this file says
//! what `root` is, what else there is to be called, and how caches are emptied.

#[path = "scenario_kernel.rs"]
mod kernel;

use super::root as granule;
use super::{extras, settle};
use arrayvec::ArrayVec;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use granule::addr::{Order, PAGE_SIZE, PfnRange, PhysAddr};
use granule::arch::pgtable::KernelAttrs;
use granule::mm::alloc_pages::{
    FailPageAlloc, alloc_pages, alloc_pages_bulk, alloc_pages_exact, alloc_pages_node,
    set_fail_page_alloc,
};
use granule::mm::cma::{cma_alloc, cma_release, default_area};
use granule::mm::contig::alloc_contig_range;
use granule::mm::debug;
use granule::mm::gfp::Gfp;
use granule::mm::init_mm;
use granule::mm::ioremap::{ioremap, ioremap_cache, ioremap_wc};
use granule::mm::mmzone::NodeId;
use granule::mm::page::Frame;
use granule::mm::page_alloc::{
    self, OwnedPage, free_contig_range, free_pages, free_pages_exact, get_page, put_page,
    split_page,
};
use granule::mm::slab::{
    FailSlab, SlabFlags, kcalloc, kfree, kmalloc, kmalloc_array, kmem_cache_create,
    kmem_cache_destroy, krealloc, kzalloc, kzalloc_node, set_failslab,
};
use granule::mm::validate;
use granule::mm::vmalloc::VmArea;
use granule::mm::zsmalloc::ZsPool;

/// Gives back what it holds, whichever way its scope is left.
struct Held<T: Copy>(T, fn(T));

impl<T: Copy> Drop for Held<T> {
    fn drop(&mut self) {
        (self.1)(self.0);
    }
}

const QUIET: Gfp = Gfp::GFP_KERNEL.union(Gfp::__GFP_NOWARN);

/// Kind of calls that are made to fail.
#[derive(Clone, Copy, Debug)]
pub enum Failing {
    /// Allocations of pages.
    Pages,
    /// Allocations of slab objects.
    Objects,
}

impl Failing {
    /// Fails `times` allocations after `skip`, or, for `None`, none any more; how many failed.
    fn set(self, which: Option<(u32, u32)>) -> u32 {
        let (interval, min_order, probability) = (1, Order::ZERO, 100);
        match self {
            Self::Pages => set_fail_page_alloc(which.map(|(skip, times)| FailPageAlloc {
                skip,
                interval,
                times,
                min_order,
            })),
            Self::Objects => set_failslab(which.map(|(space, times)| FailSlab {
                interval,
                probability,
                space,
                times,
            })),
        }
    }
}

/// Resource that a call lacks when it fails.
#[derive(Clone, Copy, PartialEq)]
enum Short {
    OfPages,
    OfObjects,
    Either,
}
use Short::{Either, OfObjects, OfPages};

impl Short {
    const fn is(self, failing: Failing) -> bool {
        match failing {
            Failing::Pages => !matches!(self, OfObjects),
            Failing::Objects => !matches!(self, OfPages),
        }
    }
}

/// What a new cache needs: a place in the CPUs' units, which may be a page more of each, and on a
/// host an object.
const CACHES: Short = if cfg!(target_os = "none") { OfPages } else { OfObjects };

/// The calls that allocate, each of which has to fail at least once for want of what it
/// says. `scripts/test house::` looks for what is missing here. (What is in the way of
/// `cma_alloc` moves as for `alloc_contig_range`.)
const CALLS: &[(&str, Short)] = &[
    ("alloc_pages", OfPages),
    ("alloc_pages_node", OfPages),
    ("alloc_pages_bulk", OfPages),
    ("alloc_pages_exact", OfPages),
    ("OwnedPage::alloc", OfPages),
    ("ZsPool::malloc", OfPages),
    ("alloc_contig_range", OfPages),
    ("kmalloc", Either),
    ("kzalloc", OfObjects),
    ("kzalloc_node", OfObjects),
    ("kmalloc_array", Either),
    ("kcalloc", Either),
    ("krealloc", Either),
    ("kmalloc_node", OfObjects),
    ("kmem_cache_create", CACHES),
    ("RawCache::alloc", OfObjects),
    ("RawCache::zalloc", OfObjects),
    ("RawCache::alloc_bulk", Either),
    ("RawCache::alloc_node", OfObjects),
    ("KmemCache::new", CACHES),
    ("KmemCache::alloc", OfObjects),
    ("KmemCache::alloc_with", OfObjects),
    ("KmemCache::alloc_uninit", OfObjects),
    ("kmemdup", OfObjects),
    ("kmemdup_nul", OfObjects),
    ("kstrdup", OfObjects),
    ("kstrndup", OfObjects),
    ("kvmalloc", OfObjects),
    ("kvzalloc", OfPages),
    ("kvmalloc_aligned", OfObjects),
    ("kvmalloc_array", OfPages),
    ("kvcalloc", OfObjects),
    ("kvmalloc_node", OfPages),
    ("kvrealloc", Either),
    ("KBox::new", OfObjects),
    ("KBox::pin", OfObjects),
    ("KBox::new_uninit", OfObjects),
    ("KVBox::new", OfObjects),
    ("PerCpuBox::with_default", Either),
    ("KVec::push", OfObjects),
    ("KVec::reserve", OfObjects),
    ("KVec::from_elem", OfObjects),
    ("KVVec::with_capacity", OfObjects),
    ("KVVec::resize", Either),
    ("KVVec::extend_from_slice", OfPages),
    ("SlabPool::of_cache", OfObjects),
    ("PagePool::of_order", Either),
    ("KmallocPool::of_size", OfObjects),
    ("Mempool::resize", Either),
    ("vmalloc", OfPages),
    ("vzalloc", OfPages),
    ("vmalloc_aligned", OfPages),
    ("vmalloc_node", OfPages),
    ("vmalloc_huge", OfPages),
    ("vrealloc", OfPages),
    ("vmap", OfPages),
    ("vm_map_ram", OfPages),
    ("ioremap", OfPages),
    ("ioremap_wc", OfPages),
    ("ioremap_cache", OfPages),
    ("memremap", OfPages),
    ("set_memory_ro", OfPages),
    ("linear_map_split_to_ptes", OfPages),
    ("dma_alloc_coherent", OfPages),
    ("DmaPool::alloc", Either),
    ("DmaPool::zalloc", Either),
    ("swiotlb_init", OfPages),
    ("dma_map_page", OfPages),
    ("dma_map_single", OfPages),
    ("soft_offline_page", OfPages),
];

/// Calls that can only be made in the kernel.
const KERNEL_CALLS: &[(&str, Short)] = &[
    ("kthread_run", OfPages),
    ("kthread_create_on_cpu", OfPages),
    ("VBox::new", OfPages),
    ("VVec::with_capacity", OfPages),
    ("VVec::extend_with", OfPages),
];

const NR_CALLS: usize = CALLS.len() + KERNEL_CALLS.len();

granule::machine_local! {
    /// Flags of the calls that have failed.
    static FAILED: [AtomicBool; NR_CALLS] = [const { AtomicBool::new(false) }; NR_CALLS];
}

fn calls() -> impl Iterator<Item = (&'static str, Short)> {
    let more = if cfg!(target_os = "none") { KERNEL_CALLS } else { &[] };
    CALLS.iter().chain(more).copied()
}

/// Result of a call.
pub trait Outcome {
    fn is_failure(&self) -> bool;
}

impl<T> Outcome for Option<T> {
    fn is_failure(&self) -> bool {
        self.is_none()
    }
}

impl<T, E> Outcome for Result<T, E> {
    fn is_failure(&self) -> bool {
        self.is_err()
    }
}

/// Notes whether the call of that name failed, and returns its result.
#[track_caller]
pub fn had<O: Outcome>(call: &str, outcome: O) -> O {
    let Some(n) = calls().position(|(name, _)| name == call) else {
        panic!("{call} is not among the calls");
    };
    if outcome.is_failure() {
        FAILED[n].store(true, Relaxed);
    }
    outcome
}

/// Pages in use but for the tree of page tables: what the linear map was split into stays; and
/// but for the stacks of a debugged cache's users. A table that is lost is not in the tree, and
/// counts.
fn used_pages() -> u32 {
    let tree = init_mm::validate().expect("the tables are well formed");
    page_alloc::nr_used_pages() - tree.tables as u32 - debug::metadata_pages()
}

/// Fails each allocation of [`scenario`] in turn; each of [`CALLS`] has failed then that
/// needs what fails.
///
/// # Panics
/// Pages are lost, an invariant is broken, or a call never failed.
pub fn fail_each_call(failing: Failing) {
    FAILED.iter().for_each(|failed| failed.store(false, Relaxed));
    fail_each_in_turn(failing, scenario);
    let never = calls().zip(FAILED.iter()).filter_map(|((name, short), failed)| {
        (short.is(failing) && !failed.load(Relaxed)).then_some(name)
    });
    let never: ArrayVec<&str, NR_CALLS> = never.collect();
    assert!(never.is_empty(), "{failing:?}: these calls never failed: {never:?}");
}

/// Fails each allocation of `scenario` in turn, alone and with all that follow it, until
/// there is none left to fail; each time all is given back.
///
/// # Panics
/// Pages are lost, or an invariant is broken.
pub fn fail_each_in_turn(failing: Failing, scenario: impl Fn() -> Option<()>) {
    settle();
    let before = used_pages();
    for times in [1, u32::MAX] {
        for skip in 0.. {
            failing.set(Some((skip, times)));
            let done = scenario();
            let failed = failing.set(None);
            settle();
            if skip % 16 == 0 || failed == 0 {
                validate::validate().expect("every invariant holds");
            }
            let what = (failing, skip, times);
            assert_eq!(before, used_pages(), "{what:?}: failing, allocations before, times");
            if failed == 0 {
                assert!(done.is_some(), "{skip} allocations succeeded, and the scenario did not");
                assert!(skip > 0, "nothing is allocated");
                break;
            }
        }
    }
}

/// Calls everything that allocates pages; `None` where something could not be had. What it
/// got has gone back then too.
fn scenario() -> Option<()> {
    kernel::direct_map()?;
    pages()?;
    movable_pages()?;
    objects()?;
    caches()?;
    areas()?;
    kernel::run()?;
    extras()
}

fn pages() -> Option<()> {
    let held = |gfp, order| {
        let order = Order::new(order)?;
        let frame = had("alloc_pages", alloc_pages(gfp | Gfp::__GFP_NOWARN, order))?;
        // SAFETY: allocated here, and nobody uses it any more.
        Some(Held((frame, order), |(frame, order)| unsafe { free_pages(frame, order) }))
    };
    let _plain = held(QUIET, 0)?;
    let _zeroed = held(QUIET | Gfp::__GFP_ZERO, 1)?;
    let _huge = held(Gfp::GFP_TRANSHUGE, 9)?;
    let _dma = held(Gfp::GFP_DMA, 2)?;
    let _urgent = held(Gfp::GFP_ATOMIC, 3)?;
    let _reserve = held(QUIET | Gfp::__GFP_MEMALLOC, 4)?;
    let _reclaimable = held(QUIET | Gfp::__GFP_RECLAIMABLE, 5)?;
    let shared = alloc_pages(QUIET | Gfp::__GFP_COMP, Order::PAGEBLOCK)?;
    // SAFETY: the reference is this value's.
    let put: fn(Frame) = |frame| unsafe { put_page(frame) };
    let shared = Held(shared, put);
    get_page(shared.0);
    let _again = Held(shared.0, put);
    let near = had(
        "alloc_pages_node",
        alloc_pages_node(NodeId::FIRST, QUIET | Gfp::__GFP_THISNODE, Order::ZERO),
    )?;
    // SAFETY: allocated here, and nobody uses it any more.
    let _near = Held(near, |frame| unsafe { free_pages(frame, Order::ZERO) });
    let far = had("alloc_pages_node", alloc_pages_node(NodeId::new(1)?, QUIET, Order::ZERO))?;
    // SAFETY: allocated here, and nobody uses it any more.
    let _far = Held(far, |frame| unsafe { free_pages(frame, Order::ZERO) });
    let mut bulk = [const { None }; 6];
    let got = alloc_pages_bulk(QUIET, &mut bulk);
    had("alloc_pages_bulk", (got == bulk.len()).then_some(()))?;
    const EXACT: usize = 5 * PAGE_SIZE;
    let _exact = Held(had("alloc_pages_exact", alloc_pages_exact(QUIET, EXACT))?, |frame| {
        // SAFETY: allocated here, and nobody uses it any more.
        unsafe { free_pages_exact(frame, EXACT) }
    });
    let two = Order::new(1)?;
    let split = alloc_pages(QUIET, two)?;
    // SAFETY: allocated here, and freed page by page.
    unsafe { split_page(split, two) };
    // SAFETY: allocated here, and nobody uses it any more.
    split.block(two).for_each(|frame| unsafe { free_pages(frame, Order::ZERO) });
    had("OwnedPage::alloc", OwnedPage::alloc(QUIET)).map(drop)
}

/// Memory that is lent, moved and taken back.
fn movable_pages() -> Option<()> {
    let pool = ZsPool::new().expect("a pool");
    let mut objects = [None; 12];
    for (n, object) in objects.iter_mut().enumerate() {
        let got = had("ZsPool::malloc", pool.malloc([4096, 700, 30][n % 3], QUIET))?;
        pool.with(got, |bytes| bytes.fill(n as u8));
        *object = Some(got);
    }
    let intact = || {
        (0..)
            .zip(objects.iter().flatten())
            .all(|(n, &object)| pool.with(object, |bytes| bytes.iter().all(|&byte| byte == n)))
    };
    // The page of an object as contiguous memory: the object has to move.
    let frame = pool.frame(objects[0]?);
    let range = PfnRange::new(frame.pfn(), frame.pfn() + 1);
    let taken = had("alloc_contig_range", alloc_contig_range(range));
    assert!(intact(), "an object was lost");
    if taken.is_ok() {
        assert_ne!(pool.frame(objects[0]?), frame);
        // SAFETY: allocated here, and nobody uses it any more.
        unsafe { free_contig_range(range) };
    }
    taken.ok()?;
    let area = default_area().expect("there is an area");
    let run = cma_alloc(area, 300, Order::ZERO)?;
    let _run = Held(run, |run| {
        let area = default_area().expect("there is an area");
        // SAFETY: allocated here, and nobody uses it any more.
        assert!(unsafe { cma_release(area, run, 300) });
    });
    assert!(intact(), "an object was lost");
    assert_eq!(pool.validate(), Ok(()));
    Some(())
}

fn free_object(object: NonNull<u8>) {
    // SAFETY: `Held` has it from the allocator, and calls this once.
    unsafe { kfree(object.as_ptr()) }
}

fn objects() -> Option<()> {
    let sizes = [8, 200, 3000, 8192, 20_000, 100_000];
    let mut small = [None; 6];
    let mut full = true;
    for (object, size) in small.iter_mut().zip(sizes) {
        *object = had("kmalloc", kmalloc(size, QUIET));
        full &= object.is_some();
    }
    let _small = Held(small, |small| small.into_iter().flatten().for_each(free_object));
    if !full {
        return None;
    }
    let _zeroed = Held(had("kzalloc", kzalloc(64, QUIET))?, free_object);
    let _near = Held(had("kzalloc_node", kzalloc_node(64, QUIET, NodeId::FIRST))?, free_object);
    let _array = Held(had("kmalloc_array", kmalloc_array(40, 300, QUIET))?, free_object);
    let _few = Held(had("kmalloc_array", kmalloc_array(4, 300, QUIET))?, free_object);
    let _cleared = Held(had("kcalloc", kcalloc(9, 1000, QUIET))?, free_object);
    let _short = Held(had("kcalloc", kcalloc(9, 100, QUIET))?, free_object);
    let mut grows = Held(had("kmalloc", kmalloc(500, QUIET))?, free_object);
    for size in [900, 10_000, 50_000] {
        // SAFETY: an object of kmalloc; where it fails the old one stays.
        grows.0 = had("krealloc", unsafe { krealloc(grows.0.as_ptr(), size, QUIET) })?;
    }
    Some(())
}

fn caches() -> Option<()> {
    let cache =
        had("kmem_cache_create", kmem_cache_create("scenario", 1300, 64, SlabFlags::empty(), None))
            .ok()?;
    let cache = Held(cache, |cache| {
        // SAFETY: its objects are gone, and nobody else knows it.
        unsafe { kmem_cache_destroy(cache) }.expect("it has no objects");
    });
    for n in 0..30 {
        let object = if n % 2 == 0 {
            had("RawCache::alloc", cache.0.alloc(QUIET))?
        } else {
            had("RawCache::zalloc", cache.0.zalloc(QUIET))?
        };
        // SAFETY: allocated just now.
        unsafe { cache.0.free(object) };
    }
    let (first, second) = (cache.0.alloc(QUIET), cache.0.alloc(QUIET));
    for object in [first, second].into_iter().flatten() {
        // SAFETY: as above.
        unsafe { cache.0.free(object) };
    }
    first.and(second).map(drop)
}

fn areas() -> Option<()> {
    let _plain = had("vmalloc", VmArea::vmalloc(9 * PAGE_SIZE, QUIET))?;
    let _zeroed = had("vzalloc", VmArea::vzalloc(PAGE_SIZE, QUIET))?;
    let _aligned = had("vmalloc_aligned", VmArea::vmalloc_aligned(PAGE_SIZE, 16 << 20, QUIET))?;
    let mut pages: [Option<OwnedPage>; 3] = [const { None }; 3];
    alloc_pages_bulk(QUIET, &mut pages);
    let frame = |n: usize| pages[n].as_ref().map(OwnedPage::frame);
    let (a, b, c) = (frame(0)?, frame(1)?, frame(2)?);
    let _mapped = VmArea::vmap(&[a, c, b], KernelAttrs::KERNEL)?;
    // So many that they need a table of their own.
    let _many = had("vmap", VmArea::vmap(&[a; 600], KernelAttrs::KERNEL))?;
    let device = PhysAddr::new(0x83_0000_0000);
    let _device = had("ioremap", ioremap(device + 0x200, 3 << 20)).ok()?;
    let _far = had("ioremap_wc", ioremap_wc(PhysAddr::new(0x80_0000_0000), 5 << 20)).ok()?;
    had("ioremap_cache", ioremap_cache(PhysAddr::new(0x81_0000_0000), 1)).ok().map(drop)
}
