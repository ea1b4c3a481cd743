//! The second half of the scenario: what is built on pages, objects and areas.

use super::granule::addr::{Order, PAGE_SIZE, PfnRange, PhysAddr, VirtAddr};
use super::granule::arch::layout;
use super::granule::dma::{
    self, CoherentMemory, DmaAddr, DmaDevice, DmaDirection, DmaPool, DmaRange, dma_alloc_coherent,
    dma_free_coherent, dma_map_page, dma_map_single, dma_unmap_single, is_swiotlb_buffer,
    swiotlb_exit, swiotlb_init,
};
use super::granule::memremap::{MemRemap, MemremapFlags, memremap};
use super::granule::mm::alloc::{AllocError, KBox, KVBox, KVVec, KVec, VBox, VVec};
use super::granule::mm::alloc_pages::{alloc_pages, alloc_pages_bulk};
use super::granule::mm::gfp::Gfp;
use super::granule::mm::init_mm;
use super::granule::mm::memory_failure::{soft_offline_page, unpoison_memory};
use super::granule::mm::mempool::{KmallocPool, PagePool, SlabPool};
use super::granule::mm::mmzone::NodeId;
use super::granule::mm::page::Frame;
use super::granule::mm::page_alloc::free_pages;
use super::granule::mm::percpu::PerCpuBox;
use super::granule::mm::set_memory::{
    SetMemoryError, linear_map_split_to_ptes, set_memory_nx, set_memory_ro, set_memory_rw,
    set_memory_valid, set_memory_x,
};
use super::granule::mm::slab::{
    CreateError, KmemCache, SlabFlags, kmalloc_node, kmem_cache_create, kmem_cache_destroy,
};
use super::granule::mm::util::{
    kmemdup, kmemdup_nul, kstrdup, kstrndup, kvcalloc, kvfree, kvmalloc, kvmalloc_aligned,
    kvmalloc_array, kvmalloc_node, kvrealloc, kvzalloc,
};
use super::granule::mm::vmalloc::{self, VmArea};
use super::granule::mm::zsmalloc::ZsPool;
use super::{Held, QUIET, free_object, had};
use core::alloc::Layout;
use core::ptr::NonNull;

const NODE: NodeId = NodeId::FIRST;
/// vmalloc's area is out of a pointer's reach on the emulated machine.
const REACHABLE: bool = cfg!(target_os = "none");

pub fn run() -> Option<()> {
    copies()?;
    boxes().ok()?;
    per_cpu().ok()?;
    vectors().ok()?;
    typed_cache()?;
    bulk()?;
    mempools()?;
    large_areas()?;
    short_mappings()?;
    device_memory()?;
    permissions()?;
    coherent()?;
    blocks()?;
    bounced()?;
    bad_page()
}

fn kv_free(object: NonNull<u8>) {
    // SAFETY: `Held` has it from the allocator, and calls this once.
    unsafe { kvfree(object.as_ptr()) }
}

fn page() -> Option<Held<Frame>> {
    let frame = alloc_pages(QUIET, Order::ZERO)?;
    // SAFETY: allocated here, and nobody uses it any more.
    Some(Held(frame, |frame| unsafe { free_pages(frame, Order::ZERO) }))
}

fn copies() -> Option<()> {
    let _copy = Held(had("kmemdup", kmemdup(&[7; 300], QUIET))?, free_object);
    let _text = Held(had("kstrdup", kstrdup(c"a short life", QUIET))?.cast(), free_object);
    let _start = Held(had("kstrndup", kstrndup(c"a short life", 7, QUIET))?.cast(), free_object);
    let _closed = Held(had("kmemdup_nul", kmemdup_nul(&[1; 20], QUIET))?.cast(), free_object);
    let _near = Held(had("kmalloc_node", kmalloc_node(700, QUIET, NODE))?, free_object);
    let _small = Held(had("kvmalloc", kvmalloc(1000, QUIET))?, kv_free);
    let _large = Held(had("kvzalloc", kvzalloc(90_000, QUIET))?, kv_free);
    let _placed = Held(had("kvmalloc_node", kvmalloc_node(20_000, QUIET, NODE))?, kv_free);
    let _many = Held(had("kvmalloc_array", kvmalloc_array(300, 100, QUIET))?, kv_free);
    let _cleared = Held(had("kvcalloc", kvcalloc(30, 50, QUIET))?, kv_free);
    let layout = Layout::from_size_align(600, 256).expect("a layout");
    let _aligned = Held(had("kvmalloc_aligned", kvmalloc_aligned(layout, QUIET))?, kv_free);
    let mut grows = Held(had("kvmalloc", kvmalloc(600, QUIET))?, kv_free);
    for size in [3000, 9000, 70_000, 500] {
        // SAFETY: an object of kvmalloc; where it fails the old one stays.
        grows.0 = had("kvrealloc", unsafe { kvrealloc(grows.0.as_ptr(), size, QUIET) })?;
    }
    Some(())
}

fn boxes() -> Result<(), AllocError> {
    let inner = had("KBox::new", KBox::new([1u64; 9], QUIET))?;
    let outer = had("KBox::new", KBox::new(inner, QUIET))?;
    let _pinned = had("KBox::pin", KBox::pin(outer, QUIET))?;
    let _wide = had("KVBox::new", KVBox::new([0u8; 3000], QUIET))?;
    let _later = had("KBox::new_uninit", KBox::<[u64; 50]>::new_uninit(QUIET))?;
    if REACHABLE {
        let _area = had("VBox::new", VBox::new([0u8; 3000], QUIET))?;
    }
    Ok(())
}

/// More than half of a unit, so that the second of two needs memory of its own.
struct WidePerCpu([u8; 9 << 10]);

impl Default for WidePerCpu {
    fn default() -> Self {
        Self([7; 9 << 10])
    }
}

fn per_cpu() -> Result<(), AllocError> {
    let make = || PerCpuBox::<WidePerCpu>::with_default(QUIET);
    let first = had("PerCpuBox::with_default", make())?;
    let second = had("PerCpuBox::with_default", make())?;
    let mut all = first.iter().chain(second.iter());
    assert!(all.all(|value| value.0.iter().all(|&byte| byte == 7)));
    Ok(())
}

fn vectors() -> Result<(), AllocError> {
    let mut boxes = KVec::new();
    for n in 0..70u32 {
        let next = had("KBox::new", KBox::new(n, QUIET))?;
        had("KVec::push", boxes.push(next, QUIET))?;
    }
    boxes.truncate(3);
    boxes.shrink_to(3, QUIET)?;
    had("KVec::reserve", boxes.reserve(200, QUIET))?;
    let _same = had("KVec::from_elem", KVec::from_elem(7u8, 900, QUIET))?;
    let mut bytes = had("KVVec::with_capacity", KVVec::with_capacity(10, QUIET))?;
    for size in [500, 6000, 40_000] {
        had("KVVec::resize", bytes.resize(size, 5u8, QUIET))?;
    }
    had("KVVec::extend_from_slice", bytes.extend_from_slice(&[6; 30_000], QUIET))?;
    if REACHABLE {
        let mut area = had("VVec::with_capacity", VVec::with_capacity(10, QUIET))?;
        had("VVec::extend_with", area.extend_with(40_000, 1u8, QUIET))?;
        area.reserve(100_000, QUIET)?;
        let failed = area.reserve(usize::MAX / 2, QUIET);
        assert!(failed.is_err() && area.len() == 40_000);
    }
    Ok(())
}

fn typed_cache() -> Option<()> {
    let created = KmemCache::<[u64; 40]>::new("scenario typed", SlabFlags::NO_MERGE);
    let created = had("KmemCache::new", created);
    assert!(matches!(created, Ok(_) | Err(CreateError::NoMemory)));
    let cache = created.ok()?;
    let first = had("KmemCache::alloc", cache.alloc([3; 40], QUIET)).ok()?;
    let second = had("KmemCache::alloc_with", cache.alloc_with(|| [4; 40], QUIET)).ok()?;
    let _third =
        had("KmemCache::alloc_uninit", cache.alloc_uninit(QUIET | Gfp::__GFP_ZERO)).ok()?;
    assert_eq!((first[39], second[0]), (3, 4));
    drop((first, second));
    // Where there is one like it, that is shared.
    KmemCache::<[u64; 41]>::new("scenario shared", SlabFlags::empty()).ok().map(drop)
}

fn bulk() -> Option<()> {
    let flags = SlabFlags::DEBUG_DEFAULT | SlabFlags::NO_MERGE;
    for flags in [SlabFlags::NO_MERGE, flags] {
        let cache =
            had("kmem_cache_create", kmem_cache_create("scenario bulk", 500, 8, flags, None))
                .ok()?;
        let cache = Held(cache, |cache| {
            // SAFETY: its objects are gone, and nobody else knows it.
            unsafe { kmem_cache_destroy(cache) }.expect("it has no objects");
        });
        let mut objects = [None; 50];
        let got = cache.0.alloc_bulk(QUIET, &mut objects);
        assert!(got || objects == [None; 50], "all or none");
        had("RawCache::alloc_bulk", got.then_some(()))?;
        let objects = objects.map(|object| object.expect("all or none"));
        // SAFETY: allocated just now.
        unsafe { cache.0.free_bulk(&objects) };
        let near = had("RawCache::alloc_node", cache.0.alloc_node(QUIET, NODE))?;
        // SAFETY: as above.
        unsafe { cache.0.free(near) };
    }
    Some(())
}

fn mempools() -> Option<()> {
    let cache = KmemCache::<[u64; 30]>::new("scenario pool", SlabFlags::NO_MERGE).ok()?;
    // SAFETY: the pool is dropped before its cache.
    let objects = unsafe { SlabPool::of_cache(3, cache.raw().as_ref()) };
    let objects = had("SlabPool::of_cache", objects).ok()?;
    let pages = had("PagePool::of_order", PagePool::of_order(2, Order::new(1)?)).ok()?;
    let bytes = had("KmallocPool::of_size", KmallocPool::of_size(4, 600)).ok()?;
    // As many as the reserve has: whatever fails, these are there.
    let held = [0; 3].map(|_| objects.alloc(QUIET).expect("the reserve"));
    let blocks = [0; 2].map(|_| pages.alloc(QUIET).expect("the reserve"));
    let kept = bytes.alloc(QUIET).expect("the reserve");
    let more = (
        had("Mempool::resize", bytes.resize(40)),
        had("Mempool::resize", pages.resize(5)),
        objects.resize(1),
    );
    // SAFETY: each came from its pool, and is given back once.
    unsafe {
        held.into_iter().for_each(|object| objects.free(object));
        blocks.into_iter().for_each(|block| pages.free(block));
        bytes.free(kept);
    }
    objects.validate();
    pages.validate();
    bytes.validate();
    // Where there was memory for the size alone, frees fill it.
    let size = |result: Result<(), AllocError>, now, old, new| {
        assert!(now == new || result.is_err() && now == old, "{result:?}: {now}");
    };
    size(more.0, bytes.min_nr(), 4, 40);
    size(more.1, pages.min_nr(), 2, 5);
    size(more.2, objects.min_nr(), 3, 1);
    (more.0.is_ok() && more.1.is_ok() && more.2.is_ok()).then_some(())
}

fn large_areas() -> Option<()> {
    let near = had("vmalloc_node", VmArea::vmalloc_node(3 * PAGE_SIZE, QUIET, NODE))?;
    let _far = had("vmalloc_node", VmArea::vmalloc_node(PAGE_SIZE, QUIET, NodeId::new(1)?))?;
    let _huge = had("vmalloc_huge", VmArea::vmalloc_huge(5 << 20, QUIET))?;
    let small = vmalloc::vmalloc(PAGE_SIZE, QUIET)?;
    // SAFETY: the area is this scenario's, which goes on with what it gets.
    let grown = had("vrealloc", unsafe { vmalloc::vrealloc(small, 9 * PAGE_SIZE, QUIET) });
    // SAFETY: the area that it is now, which nobody uses any more.
    unsafe { vmalloc::vfree(grown.unwrap_or(small)) };
    grown?;
    let mut buffer = [1; 100];
    // SAFETY: nobody writes to the area.
    assert_eq!(unsafe { vmalloc::vread(near.virt() + PAGE_SIZE - 50, &mut buffer) }, 100);
    Some(())
}

fn short_mappings() -> Option<()> {
    let mut pages = [const { None }; 40];
    let got = alloc_pages_bulk(QUIET, &mut pages);
    if got < pages.len() {
        return None;
    }
    let frames = pages.each_ref().map(|page| page.as_ref().expect("all are there").frame());
    // The tables of earlier areas would do.
    vmalloc::shrink();
    // From a block of small mappings, and too many for that.
    let _few = VmArea::vm_map_ram(&frames[..5])?;
    let _many = had("vm_map_ram", VmArea::vm_map_ram(&[frames[0]; 600]))?;
    Some(())
}

fn device_memory() -> Option<()> {
    // The tables of earlier areas would do.
    vmalloc::shrink();
    let flags = MemremapFlags::MEMREMAP_WB;
    let log = had("memremap", memremap(PhysAddr::new(0x82_0000_0000), 9000, flags)).ok()?;
    let slow = MemremapFlags::MEMREMAP_WC;
    let _frame_buffer =
        had("memremap", memremap(PhysAddr::new(0x82_4000_0000), 3 << 20, slow)).ok()?;
    let page = page()?;
    let ram = memremap(page.0.phys(), 100, flags).expect("it is in the linear map");
    assert!(matches!((&log, &ram), (MemRemap::Mapped(_), MemRemap::Ram(_))));
    Some(())
}

/// Splits the linear map, which stays split and needs memory once: comes before the calls that
/// can do without what failed.
pub fn direct_map() -> Option<()> {
    let apart = alloc_pages(QUIET, Order::PAGEBLOCK)?;
    // SAFETY: allocated here, and nobody uses it any more.
    let apart = Held(apart, |frame| unsafe { free_pages(frame, Order::PAGEBLOCK) });
    let range = PfnRange::new(apart.0.pfn() + 9, apart.0.pfn() + 11);
    changed(had("linear_map_split_to_ptes", linear_map_split_to_ptes(range)))
}

/// Returns `None` if a change was not made for lack of memory, where `f` may need tables.
fn changed(result: Result<(), SetMemoryError>) -> Option<()> {
    assert!(matches!(result, Ok(()) | Err(SetMemoryError::NoMemory)), "{result:?}");
    result.ok()
}

/// A page in the midst of a large block, in the linear map and in an area.
fn permissions() -> Option<()> {
    let page = page()?;
    let linear = linear_address(page.0);
    // SAFETY: pages of this scenario's, here and below, which it only changes.
    changed(unsafe { set_memory_valid(linear, 1, false) })?;
    // SAFETY: as above.
    changed(unsafe { set_memory_valid(linear, 1, true) })?;
    let area = VmArea::vmalloc_huge(4 << 20, QUIET)?;
    let part = area.virt() + (2 << 20) + 5 * PAGE_SIZE;
    let before = init_mm::entry(part).map(|entry| entry.attrs);
    // SAFETY: as above.
    let Some(()) = changed(had("set_memory_ro", unsafe { set_memory_ro(part, 3) })) else {
        assert_eq!(init_mm::entry(part).map(|entry| entry.attrs), before, "half a change");
        return None;
    };
    // SAFETY: as above, and nobody jumps there.
    changed(unsafe { set_memory_x(part, 2) })?;
    // SAFETY: as above.
    changed(unsafe { set_memory_nx(part, 2) })?;
    // SAFETY: as above.
    changed(unsafe { set_memory_rw(part, 1) })
}

fn linear_address(frame: Frame) -> VirtAddr {
    layout::LINEAR.start() + frame.phys().get() as usize
}

const DEVICE: DmaDevice<'static> =
    DmaDevice { name: "scenario", mask: u64::MAX, ranges: &[], coherent: false };

fn coherent() -> Option<()> {
    let snooping = DmaDevice { coherent: true, ..DEVICE };
    let mut all: [Option<CoherentMemory>; 3] = [const { None }; 3];
    let wanted = [(&DEVICE, 3), (&DEVICE, 1), (&snooping, 5)];
    for (memory, (device, pages)) in all.iter_mut().zip(wanted) {
        *memory =
            had("dma_alloc_coherent", dma_alloc_coherent(device, pages * PAGE_SIZE, QUIET)).ok();
    }
    let got = all.iter().all(Option::is_some);
    all.into_iter().flatten().for_each(dma_free_coherent);
    got.then_some(())
}

/// Blocks of two pieces of memory, and what the pool notes of more than it had room for.
fn blocks() -> Option<()> {
    let snooping = DmaDevice { coherent: true, ..DEVICE };
    let pool = DmaPool::create("scenario", &snooping, 2048, 0, 0).expect("a good shape");
    let mut all = [const { None }; 9];
    for slot in &mut all {
        *slot = had("DmaPool::alloc", pool.alloc(QUIET)).ok();
    }
    let got = all.iter().all(Option::is_some);
    assert_eq!(pool.info().used, all.iter().flatten().count());
    let clear = had("DmaPool::zalloc", pool.zalloc(QUIET)).is_ok();
    (got && clear).then_some(())
}

/// A device that reaches nothing but the bounce buffers.
fn bounced() -> Option<()> {
    let page = page()?;
    let pool = had("swiotlb_init", swiotlb_init());
    let _pool = Held((), |()| assert!(swiotlb_exit(), "a buffer was left in use"));
    let ranges = [DmaRange { cpu: pool?, bus: DmaAddr::new(0x1000) }];
    let device = DmaDevice { ranges: &ranges, ..DEVICE };
    let direction = DmaDirection::Bidirectional;
    // The first of the mappings needs a page of records.
    let from = DmaDirection::FromDevice;
    // SAFETY: the test's own memory, which it leaves alone meanwhile.
    let near =
        had("dma_map_single", unsafe { dma_map_single(&DEVICE, page.0.virt() + 10, 100, from) });
    // SAFETY: the test's own memory, which it leaves alone meanwhile.
    unsafe { dma_unmap_single(&DEVICE, near.ok()?, 100, from) };
    dma::shrink();
    // SAFETY: the test's own memory, which it leaves alone meanwhile.
    let at = had("dma_map_page", unsafe { dma_map_page(&device, page.0, 0, PAGE_SIZE, direction) })
        .ok()?;
    // SAFETY: the test's own memory, which it leaves alone meanwhile.
    let near = unsafe { dma_map_page(&DEVICE, page.0, 10, 100, from) };
    assert!(is_swiotlb_buffer(device.memory_at(at)?));
    // SAFETY: the test's own memory, which it leaves alone meanwhile.
    unsafe { dma_unmap_single(&device, at, PAGE_SIZE, direction) };
    // SAFETY: the test's own memory, which it leaves alone meanwhile.
    unsafe { dma_unmap_single(&DEVICE, near.ok()?, 100, from) };
    Some(())
}

/// A frame that is to go while an object is in it, and comes back.
fn bad_page() -> Option<()> {
    let pool = ZsPool::new().expect("a pool");
    let object = had("ZsPool::malloc", pool.malloc(3000, QUIET))?;
    pool.with(object, |bytes| bytes.fill(9));
    let frame = pool.frame(object);
    let gone = had("soft_offline_page", soft_offline_page(frame.pfn()));
    assert!(pool.with(object, |bytes| bytes.iter().all(|&byte| byte == 9)), "it was lost");
    if gone.is_ok() {
        assert_ne!(pool.frame(object), frame);
        unpoison_memory(frame.pfn()).expect("it was taken out");
    } else {
        assert_eq!(pool.frame(object), frame);
    }
    pool.free(object);
    gone.ok()
}
