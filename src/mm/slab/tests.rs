use super::*;
use crate::addr::{Order, PhysAddr, PhysRange, VirtAddr};
use crate::arch::CpuId;
use crate::arch::hosted::Machine;
use crate::arch::hosted::irq::with_rival;
use crate::mm::alloc_pages;
use crate::mm::compaction::compact_stat;
use crate::mm::gfp::Gfp;
use crate::mm::page::Frame;
use crate::mm::page_alloc;
use crate::mm::validate;
use crate::mm::vmscan::vmscan_stat;
use core::ptr::NonNull;
use std::cell::{Cell, RefCell};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::vec::Vec;

pub(super) const K: Gfp = Gfp::GFP_KERNEL;

/// Runs `f` on a machine of `kib` KiB with the page and slab allocators up.
pub(super) fn on_machine<R>(kib: u64, f: impl FnOnce(&Machine) -> R) -> R {
    Machine::run(&[PhysRange::from_size(PhysAddr::new(0x4000_0000), kib << 10)], |m| {
        page_alloc::init(m.ram());
        kmem_cache_init(0x5eed);
        f(m)
    })
}

/// Full and empty sheaves share the barn's room.
#[test]
fn a_barn_takes_so_many_sheaves_and_no_more() {
    use super::barn::{BARN_SHEAVES, Barn};
    use super::sheaf::{OwnedSheaf, Sheaf};
    let empty = || OwnedSheaf::of(std::boxed::Box::leak(Sheaf::new(4).into()));
    let mut barn = Barn::new();
    for _ in 0..BARN_SHEAVES {
        assert!(barn.has_room() && barn.put_empty(empty()).is_ok());
    }
    assert!(!barn.has_room() && barn.put_empty(empty()).is_err());
    // One of them is full now: it takes as much room.
    let slot = empty();
    for n in 1..=4 {
        assert!(slot.push(VirtAddr::new(n << 12)));
    }
    assert!(barn.swap_full(&slot));
    let (full, spare) = barn.sheaves();
    assert_eq!((full.len(), spare.len(), slot.count()), (1, BARN_SHEAVES - 1, 0));
    assert!(!barn.has_room() && barn.put_empty(empty()).is_err());
}

/// A second start would set up caches that are in use.
#[test]
#[should_panic(expected = "kmem_cache_init: the slab allocator is up already")]
fn the_slab_allocator_starts_once() {
    on_machine(1024, |_| {
        kmem_cache_init(1);
    });
}

/// Runs `f` on CPU `cpu`.
pub(super) fn on_cpu(m: &Machine, cpu: usize, f: impl Fn() + Sync) {
    m.on_cpus(cpu + 1, |i| {
        if i == cpu {
            f();
        }
    });
}

/// Pages that somebody has.
pub(super) fn used_pages() -> u32 {
    validate::validate().expect("the page allocator is well");
    page_alloc::nr_used_pages()
}

pub(super) fn free_all(objects: impl IntoIterator<Item = NonNull<u8>>) {
    for object in objects {
        // SAFETY: the tests pass each of their allocations once.
        unsafe { kfree(object.as_ptr()) };
    }
}

pub(super) fn free(object: NonNull<u8>) {
    free_all([object]);
}

pub(super) fn create(name: &'static str, size: usize, flags: SlabFlags) -> &'static RawCache {
    kmem_cache_create(name, size, 8, flags | SlabFlags::NO_MERGE, None).expect("a cache")
}

pub(super) fn put(cache: &'static RawCache, object: NonNull<u8>) {
    // SAFETY: the tests free what they allocated, or mean to be caught.
    unsafe { cache.free(object) };
}

#[test]
fn classes_are_as_in_linux() {
    on_machine(1024, |_| {
        let cases = [
            (1, 8),
            (8, 8),
            (9, 16),
            (16, 16),
            (17, 32),
            (33, 64),
            (64, 64),
            (65, 96),
            (96, 96),
            (97, 128),
            (129, 192),
            (192, 192),
            (193, 256),
            (257, 512),
            (1024, 1024),
            (1025, 2048),
            (4097, 8192),
            (8192, 8192),
            (8193, 16384),
            (16385, 32768),
        ];
        for (size, class) in cases {
            let object = kmalloc(size, K).expect("memory");
            // SAFETY: just allocated.
            assert_eq!(unsafe { ksize(object.as_ptr()) }, class, "size {size}");
            assert_eq!(kmalloc_size_roundup(size), Some(class));
            assert_eq!(object.addr().get() % (1 << class.trailing_zeros()).min(32768), 0);
            free(object);
        }
        validate();
    });
}

#[test]
fn slab_orders_waste_little() {
    use super::layout::CacheLayout;
    for size in (8..9000).step_by(8) {
        let layout = CacheLayout::new(size, 8, SlabFlags::empty(), false).expect("a layout");
        let bytes = layout.order.bytes();
        assert!(layout.order.get() <= 3 && bytes % size <= bytes / 2, "size {size}: {layout:?}");
        assert!(layout.objects(layout.order) >= 3, "size {size}: {layout:?}");
    }
    let order = |size| CacheLayout::new(size, 8, SlabFlags::empty(), false).map(|l| l.order.get());
    assert_eq!([64, 256, 1024, 4096, 8192].map(order), [0, 1, 3, 3, 3].map(Ok));
    assert_eq!(order(40_000), Ok(4));
    assert_eq!(order(0), Err(CreateError::Size));
    assert_eq!(order(Order::MAX.bytes() + 1), Err(CreateError::Size));
    let aligned = |align| CacheLayout::new(24, align, SlabFlags::empty(), false).map(|l| l.size);
    assert_eq!(aligned(16), Ok(32));
    assert_eq!(aligned(3), Err(CreateError::Align));
    assert_eq!(aligned(8192), Err(CreateError::Align));
    let line = |size| CacheLayout::new(size, 8, SlabFlags::HWCACHE_ALIGN, false).map(|l| l.size);
    assert_eq!([20, 40, 65].map(line), [32, 64, 128].map(Ok));
}

#[test]
fn a_sheaf_is_last_in_first_out_and_takes_nothing_twice() {
    use super::sheaf::{OwnedSheaf, SHEAF_OBJECTS, Sheaf};
    let at = |n: u32| VirtAddr::new(0x1000 + n as usize);
    let none = OwnedSheaf::none();
    assert!(!none.push(at(0)) && none.pop().is_none());
    for capacity in [1, 6, SHEAF_OBJECTS as u32] {
        let sheaf = OwnedSheaf::of(std::boxed::Box::leak(Sheaf::new(capacity).into()));
        assert_eq!((sheaf.pop(), sheaf.top(), sheaf.room()), (None, None, capacity));
        for n in 0..capacity {
            assert_eq!(sheaf.count(), n);
            assert!(sheaf.push(at(n)));
            assert!(!sheaf.push(at(n)), "it lies on top");
            assert_eq!(sheaf.top(), Some(at(n)));
        }
        assert!(!sheaf.push(at(capacity)) && sheaf.room() == 0);
        assert!(sheaf.iter(capacity).eq((0..capacity).rev().map(at)));
        for n in (0..capacity).rev() {
            assert_eq!(sheaf.pop(), Some(at(n)));
        }
        assert_eq!(sheaf.pop(), None);
    }
}

/// A report counts what a CPU has while that may give the sheaf's memory back.
#[test]
fn a_sheaf_is_counted_without_a_look_into_it() {
    use super::sheaf::SheafSlot;
    let room = |n: usize| SheafSlot::at(0x7000_0000_0000_0200 + 8 * n);
    assert_eq!(room(0).count_from_afar(60), 60);
    assert_eq!(room(13).count_from_afar(60), 47);
    assert_eq!(room(60).count_from_afar(60), 0);
    // Of another cache's, which the slot may have had just before.
    assert_eq!(room(60).count_from_afar(10), 0);
    assert_eq!(SheafSlot::new().count_from_afar(60), 0);
}

/// Whatever the memory of a sheaf is used for by the time another CPU looks at it, no more is read
/// than there could be in the sheaf.
#[test]
fn a_look_from_afar_stays_within_the_sheaf() {
    use super::sheaf::SheafSlot;
    #[repr(align(512))]
    struct Memory([usize; 64]);
    // With what the capacity was written over too.
    let memory = Memory([usize::MAX; 64]);
    for (at, capacity, objects) in
        [(0, 60, 60), (13, 60, 47), (60, 60, 0), (61, 10, 0), (0, 99, 62)]
    {
        let top = memory.0.as_ptr().wrapping_add(at).expose_provenance();
        let sheaf = SheafSlot::at(top);
        assert_eq!(sheaf.iter(capacity).count(), objects);
        assert!(sheaf.iter(capacity).all(|object| object.get() == usize::MAX));
    }
}

/// While a CPU gets an empty sheaf for its full one, another fills the node's barn up.
#[test]
fn a_sheaf_for_which_the_barn_has_no_room_any_more_is_given_back() {
    let other = CpuId::new(1).expect("a CPU");
    let in_use = || slabinfo().map(|info| info.active_objects).sum::<usize>();
    on_machine(64 << 10, |m| {
        let before = in_use();
        for nth in 0.. {
            let cache = create("barn", 500, SlabFlags::empty());
            // So many that sheaves go to the barn, again and again.
            let take =
                |n: usize| -> Vec<_> { (0..n).map(|_| cache.alloc(K).expect("memory")).collect() };
            let (ours, theirs) = (take(1000), RefCell::new(take(3000)));
            shrink_all();
            let points = Cell::new(0);
            let rival = || {
                if points.replace(points.get() + 1) == nth {
                    m.on_cpu(other, || {
                        theirs.take().into_iter().for_each(|object| put(cache, object));
                    });
                }
            };
            with_rival(&rival, || ours.into_iter().for_each(|object| put(cache, object)));
            theirs.take().into_iter().for_each(|object| put(cache, object));
            m.on_cpu(other, || cache.shrink());
            cache.shrink();
            validate();
            // SAFETY: its objects are gone, and nobody else knows it.
            unsafe { kmem_cache_destroy(cache) }.expect("no objects");
            assert_eq!(in_use(), before, "at {nth}");
            if points.get() <= nth {
                assert!(nth > 10, "the barn is not reached");
                break;
            }
        }
    });
}

#[test]
fn a_sheaf_is_filled_gathered_and_drained() {
    use super::sheaf::{OwnedSheaf, Sheaf};
    let at = |n: usize| VirtAddr::new(0x1000 + n);
    let sheaf = OwnedSheaf::of(std::boxed::Box::leak(Sheaf::new(10).into()));
    let held = || -> Vec<usize> {
        sheaf.iter(sheaf.capacity()).map(|object| object.get() - 0x1000).collect()
    };
    let mut few = 0..4;
    assert_eq!(sheaf.fill(|| few.next().map(at)), 4);
    assert_eq!(held(), [3, 2, 1, 0], "as many as there are");
    let mut many = 4..;
    assert_eq!(sheaf.fill(|| many.next().map(at)), 6);
    assert_eq!(held(), [9, 8, 7, 6, 5, 4, 3, 2, 1, 0], "as many as there is room for");
    assert_eq!(many.next(), Some(10), "no more was asked for");
    assert_eq!(sheaf.gather(|object| object.get().is_multiple_of(3)), 3);
    let mut gathered = held();
    assert!(gathered[..3].iter().all(|n| (0x1000 + n).is_multiple_of(3)), "{gathered:?}");
    let mut taken = Vec::new();
    sheaf.drain(|object| {
        let takes = object.get().is_multiple_of(3);
        if takes {
            taken.push(object.get() - 0x1000);
        }
        takes
    });
    assert_eq!(taken, gathered[..3], "the last put first, as long as they are taken");
    assert_eq!(held(), gathered[3..]);
    sheaf.drain(|_| true);
    assert_eq!((sheaf.count(), sheaf.room()), (0, 10));
    gathered.sort_unstable();
    assert!(gathered.into_iter().eq(0..10));
}

#[test]
fn nothing_is_a_fine_size_and_pointer() {
    on_machine(1024, |_| {
        assert_eq!(kmalloc(0, K), Some(ZERO_SIZE_PTR));
        // SAFETY: both are allowed.
        unsafe {
            kfree(core::ptr::null());
            kfree(ZERO_SIZE_PTR.as_ptr());
            assert_eq!(ksize(core::ptr::null()), 0);
        }
        assert_eq!(kcalloc(usize::MAX / 2, 3, K), None);
        assert_eq!(kmalloc(KMALLOC_MAX_SIZE + 1, K), None);
        assert_eq!(kmalloc(usize::MAX, K), None);
    });
}

#[test]
#[should_panic(expected = "an allocation that may sleep")]
fn who_may_not_sleep_may_not_ask_for_it() {
    on_machine(1024, |_| {
        free(crate::arch::irq::with_masked(|_| kmalloc(64, Gfp::GFP_ATOMIC)).expect("memory"));
        crate::arch::irq::with_masked(|_| kmalloc(64, K));
    });
}

#[test]
fn zeroed_memory_is_zero() {
    on_machine(4096, |_| {
        for size in [8, 100, 192, 1000, 8192, 20000] {
            for _ in 0..3 {
                let object = kzalloc(size, K).expect("memory");
                // SAFETY: `size` bytes of it are ours.
                let bytes = unsafe { core::slice::from_raw_parts_mut(object.as_ptr(), size) };
                assert!(bytes.iter().all(|&b| b == 0), "size {size}");
                bytes.fill(0xee);
                free(object);
            }
        }
    });
}

fn bytes_of<'a>(object: NonNull<u8>, len: usize) -> &'a [u8] {
    // SAFETY: the tests ask for bytes of theirs that are initialised.
    unsafe { core::slice::from_raw_parts(object.as_ptr(), len) }
}

/// Objects that users have, not the allocator itself.
fn active_objects() -> usize {
    slabinfo()
        .filter(|info| !["slab_sheaf", "kmem_cache"].contains(&info.name))
        .map(|info| info.active_objects)
        .sum()
}

fn resize(object: NonNull<u8>, size: usize, gfp: Gfp) -> Option<NonNull<u8>> {
    // SAFETY: the tests go on with what comes back.
    unsafe { krealloc(object.as_ptr(), size, gfp) }
}

#[test]
fn realloc_stays_in_its_class() {
    on_machine(1024, |_| {
        let zero = K | Gfp::__GFP_ZERO;
        let object = kzalloc(20, K).expect("memory");
        // SAFETY: 20 bytes are ours.
        unsafe { object.write_bytes(7, 20) };
        assert_eq!(resize(object, 32, zero), Some(object));
        assert_eq!(bytes_of(object, 32), [[7; 20].as_slice(), &[0; 12]].concat());
        assert_eq!(resize(object, 10, zero), Some(object));
        assert_eq!(resize(object, 32, zero), Some(object));
        assert_eq!(bytes_of(object, 32), [[7; 10].as_slice(), &[0; 22]].concat());
        assert_eq!(resize(object, 0, K), Some(ZERO_SIZE_PTR));
        assert_eq!(active_objects(), 0);
    });
}

#[test]
fn realloc_moves_with_its_bytes() {
    on_machine(4096, |_| {
        // SAFETY: null allocates.
        let mut object = unsafe { krealloc(core::ptr::null(), 30, K) }.expect("memory");
        // SAFETY: 30 bytes are ours.
        unsafe { object.write_bytes(7, 30) };
        for size in [40, 100, 9000, 30000] {
            let moved = resize(object, size, K).expect("memory");
            assert_ne!(moved, object);
            assert_eq!(bytes_of(moved, 30), [7; 30]);
            object = moved;
            assert_eq!(active_objects(), usize::from(size <= 8192));
        }
        assert_eq!(resize(object, KMALLOC_MAX_SIZE, K), None, "there is not so much");
        assert_eq!(bytes_of(object, 30), [7; 30]);
        free(object);
        validate();
    });
}

#[test]
fn frees_are_reused_last_first_and_shrink_gives_all_back() {
    on_machine(4096, |m| {
        let before = used_pages();
        let objects: Vec<_> = (0..2000).map(|_| kmalloc(64, K).expect("memory")).collect();
        validate();
        let unique: std::collections::BTreeSet<_> = objects.iter().collect();
        assert_eq!(unique.len(), objects.len());
        let info = slabinfo().find(|info| info.name == "kmalloc-64").expect("listed");
        assert_eq!(info.active_objects, 2000);
        assert_eq!(info.total_objects, 2048);
        let last = *objects.last().expect("some");
        free(last);
        assert_eq!(kmalloc(64, K), Some(last));
        free_all(objects);
        validate();
        let info = slabinfo().find(|info| info.name == "kmalloc-64").expect("listed");
        assert_eq!(info.active_objects, 0);
        assert!(info.slabs < 32, "empty slabs go back: {info:?}");
        m.on_cpus(1, |_| shrink_all());
        validate();
        assert_eq!(used_pages(), before);
    });
}

/// A node keeps fewer empty slabs than the partial ones that it keeps at least, whatever the order
/// in which objects come back.
#[test]
fn empty_slabs_are_kept_up_to_min_partial() {
    on_machine(4096, |_| {
        // Its objects come back to their slabs at once, and not to a sheaf.
        let cache = create("partial", 1000, SlabFlags::CONSISTENCY_CHECKS);
        let least = cache.layout().min_partial();
        let per_slab = cache.info().objects_per_slab;
        for in_turn in [false, true] {
            let objects: Vec<_> =
                (0..20 * per_slab).map(|_| cache.alloc(K).expect("memory")).collect();
            assert_eq!(cache.info().slabs, 20);
            let (first, rest): (Vec<_>, Vec<_>) =
                objects.into_iter().enumerate().partition(|(n, _)| in_turn && n % per_slab == 0);
            first.into_iter().chain(rest).for_each(|(_, object)| put(cache, object));
            let info = cache.info();
            assert_eq!(info.active_objects, 0);
            assert_eq!(info.slabs, least - 1, "{info:?}");
            validate();
        }
    });
}

struct Tell<'a>(&'a AtomicBool);

impl Drop for Tell<'_> {
    fn drop(&mut self) {
        self.0.fetch_or(std::thread::panicking(), Relaxed);
    }
}

#[test]
fn objects_travel_between_cpus_by_the_sheaf() {
    on_machine(8192, |m| {
        let before = used_pages();
        let channel = Mutex::new(Vec::<usize>::new());
        let failed = AtomicBool::new(false);
        let rounds = if cfg!(miri) { 200 } else { 6000 };
        m.on_cpus(4, |cpu| {
            // A CPU that panics must not leave the others waiting for it.
            let _tell = Tell(&failed);
            if cpu % 2 == 0 {
                for _ in 0..rounds {
                    let object = kmalloc(256, K).expect("memory");
                    // SAFETY: 256 bytes are ours.
                    unsafe { object.cast::<usize>().write(object.addr().get()) };
                    channel.lock().unwrap().push(object.as_ptr().expose_provenance());
                    while channel.lock().unwrap().len() > 300 {
                        assert!(!failed.load(Relaxed), "another CPU failed");
                        std::thread::yield_now();
                    }
                }
            } else {
                let mut freed = 0;
                while freed < rounds {
                    assert!(!failed.load(Relaxed), "another CPU failed");
                    let Some(object) = channel.lock().unwrap().pop() else {
                        continue;
                    };
                    let ptr = core::ptr::with_exposed_provenance::<usize>(object);
                    // SAFETY: the object was handed over to this CPU.
                    unsafe {
                        assert_eq!(ptr.read(), object);
                        kfree(ptr.cast());
                    }
                    freed += 1;
                }
            }
        });
        validate();
        let info = slabinfo().find(|info| info.name == "kmalloc-256").expect("listed");
        assert_eq!(info.active_objects, 0, "{info:?}");
        m.on_cpus(4, |_| shrink_all());
        m.on_cpus(1, |_| shrink_all());
        assert_eq!(used_pages(), before);
    });
}

#[test]
fn dma_memory_is_of_its_own_slabs() {
    on_machine(1024, |_| {
        let active =
            |name| slabinfo().find(|info| info.name == name).map(|info| info.active_objects);
        let a = kmalloc(32, Gfp::GFP_KERNEL | Gfp::__GFP_DMA).expect("memory");
        let b = kmalloc(32, Gfp::GFP_KERNEL | Gfp::__GFP_RECLAIMABLE).expect("memory");
        let c = kmalloc(32, Gfp::GFP_DMA32).expect("memory");
        assert_eq!(active("dma-kmalloc-32"), Some(2));
        assert_eq!(active("kmalloc-rcl-32"), Some(1));
        assert_eq!(active("kmalloc-32"), Some(0));
        let dma = create("dma", 32, SlabFlags::CACHE_DMA);
        assert!(dma.page_gfp(K).contains(Gfp::__GFP_DMA));
        let plain = create("plain", 32, SlabFlags::empty());
        let asked = K | Gfp::__GFP_DMA | Gfp::__GFP_ZERO | Gfp::__GFP_MOVABLE;
        assert_eq!(plain.page_gfp(asked), K, "where the memory lies is the cache's");
        free_all([a, b, c]);
    });
}

#[test]
fn out_of_memory_is_none_and_passes() {
    on_machine(1024, |m| {
        for size in [8, 96, 1024, 8192, 20000] {
            let before = used_pages();
            let objects: Vec<_> = core::iter::from_fn(|| kmalloc(size, Gfp::GFP_NOWAIT)).collect();
            let bytes = objects.len() * kmalloc_size_roundup(size).expect("a class");
            assert!(bytes > 700 << 10, "size {size}: got {}", objects.len());
            assert_eq!(kmalloc(size, K), None);
            validate();
            let (some, rest) = objects.split_at(objects.len().min(200));
            free_all(some.iter().copied());
            let again: Vec<_> = core::iter::from_fn(|| kmalloc(size, Gfp::GFP_NOWAIT)).collect();
            assert!(again.len() >= some.len(), "size {size}: {} of {}", again.len(), some.len());
            validate();
            free_all(again);
            free_all(rest.iter().copied());
            validate();
            free(kmalloc(size, K).expect("memory again"));
            m.on_cpus(1, |_| shrink_all());
            assert_eq!(used_pages(), before, "size {size}");
        }
    });
}

/// Pages of slabs of 1024 bytes: as many as slabinfo says.
fn pages_of_1024() -> usize {
    let frames = page_alloc::zones().flat_map(|zone| zone.id.zone().spanned().iter());
    let is_its = |frame| slab_of(frame).is_some_and(|slab| slab.cache == "kmalloc-1k");
    let pages = frames.filter_map(Frame::new).filter(|&frame| is_its(frame)).count();
    let info = slabinfo().find(|info| info.name == "kmalloc-1k").expect("listed");
    assert_eq!(info.pages, pages, "{info:?}");
    pages
}

/// A block for more objects at once is not worth waiting for where a page will do, and slabs of
/// either order are counted.
#[test]
fn short_memory_is_used_by_the_page() {
    on_machine(1024, |_| {
        // Leave every second page, so that no block of a higher order is to be had.
        let gfp = Gfp::GFP_NOWAIT | Gfp::__GFP_MEMALLOC;
        let mut pages: Vec<_> =
            core::iter::from_fn(|| alloc_pages::alloc_pages(gfp, Order::ZERO)).collect();
        pages.sort();
        let (free, kept): (Vec<_>, Vec<_>) =
            pages.into_iter().partition(|frame| frame.pfn().get() % 2 == 0);
        for frame in free {
            // SAFETY: allocated here, and nobody uses it any more.
            unsafe { page_alloc::free_pages(frame, Order::ZERO) };
        }
        let before = (vmscan_stat(), compact_stat());
        let object = kmalloc(1024, K).expect("a slab of a single page will do");
        let after = (vmscan_stat(), compact_stat());
        assert_eq!(after.0.allocstall, before.0.allocstall, "reclaim for more than one page");
        assert_eq!((after.1.success, after.1.fail), (before.1.success, before.1.fail));
        validate();
        let lesser: Vec<_> = (0..20).map(|_| kmalloc(1024, K).expect("memory")).collect();
        assert!(pages_of_1024() >= 6);
        self::free(object);
        assert_eq!(kmalloc(8192, K), None);
        for frame in kept {
            // SAFETY: allocated here, and nobody uses it any more.
            unsafe { page_alloc::free_pages(frame, Order::ZERO) };
        }
        let more: Vec<_> = (0..40).map(|_| kmalloc(1024, K).expect("memory")).collect();
        validate();
        assert!(pages_of_1024() >= 16);
        free_all(more);
        free_all(lesser);
        validate();
        pages_of_1024();
    });
}

#[test]
fn constructed_objects_stay_constructed() {
    fn ctor(object: NonNull<u8>) {
        // SAFETY: an object of 24 bytes.
        unsafe { object.write_bytes(0x11, 24) };
    }
    on_machine(1024, |_| {
        let cache = kmem_cache_create("ctor", 24, 8, SlabFlags::empty(), Some(ctor)).expect("one");
        let objects: Vec<_> = (0..300).map(|_| cache.alloc(K).expect("memory")).collect();
        for object in &objects {
            // SAFETY: 24 bytes are ours.
            let bytes = unsafe { core::slice::from_raw_parts(object.as_ptr(), 24) };
            assert!(bytes.iter().all(|&b| b == 0x11));
            // SAFETY: ours.
            unsafe { object.write(0x22) };
        }
        objects.iter().for_each(|&object| put(cache, object));
        for _ in 0..300 {
            let object = cache.alloc(K).expect("memory");
            // SAFETY: 24 bytes are ours.
            let bytes = unsafe { core::slice::from_raw_parts(object.as_ptr(), 24) };
            assert!(bytes[0] == 0x22 || bytes[0] == 0x11);
            assert!(bytes[1..].iter().all(|&b| b == 0x11));
        }
    });
}

#[test]
fn destroy_refuses_live_objects_and_gives_all_back() {
    on_machine(1024, |m| {
        let before = used_pages();
        let cache = create("mortal", 100, SlabFlags::HWCACHE_ALIGN);
        let other = create("other", 100, SlabFlags::empty());
        let object = cache.alloc(K).expect("memory");
        on_cpu(m, 1, || put(cache, cache.alloc(K).expect("memory")));
        // SAFETY: nobody else uses it.
        assert_eq!(unsafe { kmem_cache_destroy(cache) }, Err(DestroyError::Live(1)));
        assert!(slabinfo().any(|info| info.name == "mortal" && info.active_objects == 1));
        put(cache, object);
        // SAFETY: nobody uses it again.
        assert_eq!(unsafe { kmem_cache_destroy(cache) }, Ok(()));
        assert!(slabinfo().all(|info| info.name != "mortal"));
        assert!(slabinfo().any(|info| info.name == "other"));
        let third = create("third", 8, SlabFlags::empty());
        validate();
        // SAFETY: nobody uses them again.
        unsafe {
            assert_eq!(kmem_cache_destroy(other), Ok(()));
            assert_eq!(kmem_cache_destroy(third), Ok(()));
        }
        let kmalloc_8 = super::kmalloc::caches().next().expect("one");
        // SAFETY: it is refused.
        assert_eq!(unsafe { kmem_cache_destroy(kmalloc_8) }, Err(DestroyError::Permanent));
        shrink_all();
        validate();
        assert_eq!(used_pages(), before);
    });
}

#[test]
fn it_is_not_available_before_it_is_up() {
    Machine::run(&[PhysRange::from_size(PhysAddr::new(0x4000_0000), 1 << 20)], |m| {
        page_alloc::init(m.ram());
        assert!(!slab_is_available());
        kmem_cache_init(1);
        assert!(slab_is_available());
        assert_eq!(slabinfo().count(), 2 + 3 * 13);
    });
}

// Misuse.
