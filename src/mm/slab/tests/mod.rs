mod caches;
mod debug;
mod memory;
mod misuse;
mod sheaves;

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
