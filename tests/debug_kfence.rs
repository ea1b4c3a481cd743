//! Objects between pages that are not mapped, on the running kernel.
//!
//! Command line: kfence.sample_interval=10 init_on_free=1

#![no_std]
#![no_main]

extern crate alloc;

mod harness;
#[path = "harness/reports.rs"]
mod reports;
#[path = "harness/says.rs"]
mod says;

use alloc::format;
use alloc::vec::Vec;
use arrayvec::ArrayString;
use core::ptr::NonNull;
use granule::addr::{PAGE_SIZE, VirtAddr};
use granule::arch::irq::with_masked;
use granule::mm::debug::{NUM_OBJECTS, is_kfence_address, kfence_samples};
use granule::mm::gfp::Gfp;
use granule::mm::mmzone::NodeId;
use granule::mm::page::Frame;
use granule::mm::page_alloc::drain_local_pages;
use granule::mm::slab::{
    DestroyError, RawCache, SlabFlags, kfree, kmalloc, kmem_cache_create, kmem_cache_destroy,
    ksize, kzalloc, slab_of,
};
use granule::sched::jiffies;
use granule::sync::{Rank, SpinLock};
use says::assert_says;

/// Side of its page on which an object is to lie.
#[derive(Clone, Copy, PartialEq)]
enum Side {
    Left,
    Right,
}

/// An object of KFENCE's, as soon as there is one.
#[inline(never)]
fn allocate_here(size: usize, side: Option<Side>) -> *mut u8 {
    loop {
        let object = kmalloc(size, Gfp::GFP_KERNEL).expect("memory").as_ptr();
        let at = VirtAddr::from_ptr(object);
        let left = at.page_offset() == 0;
        let there = side.is_none_or(|side| (side == Side::Left) == left);
        if is_kfence_address(at) && there {
            return object;
        }
        free_there(object);
    }
}

#[inline(never)]
fn free_there(object: *mut u8) {
    // SAFETY: the tests say what they free, and some of them must not.
    unsafe { kfree(object) };
    // No tail call: this function is to be in the stack.
    core::hint::black_box(object);
}

/// An object of KFENCE's, of a cache.
#[inline(never)]
fn allocate_of_cache(cache: &'static RawCache) -> NonNull<u8> {
    loop {
        let object = cache.alloc(Gfp::GFP_KERNEL).expect("memory");
        if is_kfence_address(VirtAddr::from_ptr(object.as_ptr())) {
            return object;
        }
        free_of_cache(cache, object);
    }
}

#[inline(never)]
fn free_of_cache(cache: &'static RawCache, object: NonNull<u8>) {
    // SAFETY: the tests say what they free.
    unsafe { cache.free(object) };
    core::hint::black_box(object);
}

fn construct(object: NonNull<u8>) {
    // SAFETY: as large as the cache's objects.
    unsafe { object.write_bytes(0xc5, 56) };
}

#[inline(never)]
fn read_at(at: *const u8) -> u8 {
    // SAFETY: not sound where the tests mean it not to be: it faults, and goes on.
    let value = unsafe { at.read_volatile() };
    core::hint::black_box(value)
}

#[inline(never)]
fn write_at(at: *mut u8, value: u8) {
    // SAFETY: as above.
    unsafe { at.write_volatile(value) };
    core::hint::black_box(at);
}

/// Reads by way of eight calls that no other number has.
fn read_by_way_of(n: u32, at: *const u8) {
    fn next(n: u32, left: u32, at: *const u8) {
        match (left, n & 1) {
            (0, _) => _ = read_at(at),
            (_, 0) => left_turn(n / 2, left - 1, at),
            _ => right_turn(n / 2, left - 1, at),
        }
    }
    #[inline(never)]
    fn left_turn(n: u32, left: u32, at: *const u8) {
        next(n, left, at);
        core::hint::black_box(at);
    }
    #[inline(never)]
    fn right_turn(n: u32, left: u32, at: *const u8) {
        next(n, left, at);
        core::hint::black_box(at);
    }
    next(n, 8, at);
}

fn report_of(f: impl FnOnce()) -> ArrayString<4096> {
    reports::of(f)
}

kernel_tests! {
    fn allocations_are_sampled() {
        let before = kfence_samples();
        let (mut sampled, mut all) = (0, 0);
        while sampled < 5 {
            let object = kmalloc(100, Gfp::GFP_KERNEL).expect("memory").as_ptr();
            sampled += u32::from(is_kfence_address(VirtAddr::from_ptr(object)));
            all += 1;
            free_there(object);
        }
        assert!(kfence_samples() >= before + 5);
        assert!(all > 100, "{sampled} of {all} allocations were taken");
    }

    fn an_object_is_its_owners() {
        for size in [1, 8, 33, 100, 1000, 4096] {
            let object = allocate_here(size, None);
            // SAFETY: the object is the test's.
            assert_eq!(unsafe { ksize(object) }, size);
            // SAFETY: as above.
            unsafe { object.write_bytes(0xff, size) };
            assert_eq!(report_of(|| free_there(object)).as_str(), "", "{size} bytes");
        }
        loop {
            let object = kzalloc(77, Gfp::GFP_KERNEL).expect("memory").as_ptr();
            // SAFETY: as above.
            assert!(unsafe { core::slice::from_raw_parts(object, 77) }.iter().all(|&b| b == 0));
            free_there(object);
            if is_kfence_address(VirtAddr::from_ptr(object)) {
                break;
            }
        }
    }

    fn a_read_to_the_right_is_reported() {
        let object = allocate_here(32, Some(Side::Right));
        let beyond = object.wrapping_add(32);
        assert_eq!(VirtAddr::from_ptr(beyond).page_offset(), 0);
        // The page is mapped for that access, so the next one passes.
        let text = report_of(|| { read_at(beyond); read_at(beyond); });
        assert_eq!(text.matches("BUG: KFENCE").count(), 1);
        assert_says(&text, &[
            "BUG: KFENCE: out-of-bounds read in debug_kfence::read_at+",
            &format!("Out-of-bounds read at {} (0B right of kfence-#", VirtAddr::from_ptr(beyond)),
            "read_at+", "a_read_to_the_right_is_reported", "kfence-#",
            &format!(": {}-", VirtAddr::from_ptr(object)), "size=32",
            "allocated by task 1 on cpu 0", "allocate_here+",
        ]);
        assert!(!text.contains("freed by"));
        free_there(object);
        // It is protected again, if no neighbour's object has taken over meanwhile.
        assert!(report_of(|| { read_at(beyond); }).contains("BUG: KFENCE: "));
    }

    fn a_write_to_the_left_is_reported() {
        let object = allocate_here(200, Some(Side::Left));
        let text = report_of(|| write_at(object.wrapping_sub(3), 1));
        assert_says(&text, &[
            "BUG: KFENCE: out-of-bounds write in debug_kfence::write_at+", "(3B left of kfence-#",
            "a_write_to_the_left_is_reported", "size=200", "allocated by task", "allocate_here+",
        ]);
        free_there(object);
    }

    fn a_use_after_free_is_reported() {
        let object = allocate_here(64, None);
        free_there(object);
        let text = report_of(|| { read_at(object.wrapping_add(5)); });
        assert_says(&text, &[
            "BUG: KFENCE: use-after-free read in debug_kfence::read_at+",
            &format!("Use-after-free read at {} (in kfence-#", VirtAddr::from_ptr(object) + 5),
            "allocated by task 1", "allocate_here+", "freed by task 1", "free_there+", "a_use_after_free_is_reported",
        ]);
    }

    fn what_was_freed_holds_zeros() {
        let object = allocate_here(64, None);
        // SAFETY: the object is the test's.
        unsafe { object.write_bytes(0x5a, 64) };
        free_there(object);
        let mut left = Vec::with_capacity(64);
        let text = report_of(|| left.extend((0..64).map(|n| read_at(object.wrapping_add(n)))));
        assert_says(&text, &["BUG: KFENCE: use-after-free read in"]);
        assert!(left.iter().all(|&byte| byte == 0), "{left:x?}");
        // What a constructor made stays.
        let cache = kmem_cache_create("test_kfence_made", 56, 8, SlabFlags::NO_MERGE, Some(construct))
            .expect("a cache");
        let object = allocate_of_cache(cache);
        free_of_cache(cache, object);
        let text = report_of(|| assert_eq!(read_at(object.as_ptr()), 0xc5));
        assert_says(&text, &["BUG: KFENCE: use-after-free read in"]);
        // SAFETY: nobody else knows the cache.
        assert_eq!(unsafe { kmem_cache_destroy(cache) }, Ok(()));
    }

    fn an_access_to_the_first_page_is_no_objects() {
        let mut object = allocate_here(64, None);
        let mut first = VirtAddr::from_ptr(object).align_down(PAGE_SIZE);
        while is_kfence_address(VirtAddr::new(first.get() - PAGE_SIZE)) {
            first = VirtAddr::new(first.get() - PAGE_SIZE);
        }
        let at = |offset: usize| core::ptr::with_exposed_provenance_mut::<u8>(first.get() + offset);
        // The first object's page, which could be taken for what was meant: all places are used
        // in turn, so either it is had within one round, or somebody has it all the time.
        for _ in 0..NUM_OBJECTS + 10 {
            if VirtAddr::from_ptr(object).align_down(PAGE_SIZE) == first + 2 * PAGE_SIZE {
                break;
            }
            free_there(object);
            object = allocate_here(64, None);
        }
        let text = report_of(|| { read_at(at(142)); });
        assert_says(&text, &[
            "BUG: KFENCE: invalid read in debug_kfence::read_at+",
            &format!("Invalid read at {}:", first + 142), "an_access_to_the_first_page",
        ]);
        assert!(!text.contains("kfence-#"), "{text}");
        free_there(object);
    }

    fn a_page_of_the_pool_is_a_slab_of_one_object() {
        for size in [40, 1000] {
            let object = allocate_here(size, None);
            let frame = Frame::from_virt(VirtAddr::from_ptr(object)).expect("it has a descriptor");
            let slab = slab_of(frame).expect("marked as a slab's");
            assert_eq!((slab.in_use, slab.objects, slab.object_size), (1, 1, size));
            assert!(slab.cache.starts_with("kmalloc-"));
            free_there(object);
            let slab = slab_of(frame).expect("marked as a slab's");
            assert_eq!((slab.in_use, slab.objects, slab.object_size), (0, 1, size));
        }
    }

    fn an_access_under_the_allocators_locks_is_reported() {
        static ZONE: SpinLock<()> = SpinLock::new(Rank::Zone, ());
        // Of stacks of their own: more than fit in the memory that is there for stacks.
        for n in 0..150 {
            let object = allocate_here(64, None);
            free_there(object);
            let text = report_of(|| with_masked(|irq| {
                // Whoever takes memory has to take a zone's lock for it.
                drain_local_pages(irq);
                let _held = ZONE.lock(irq);
                read_by_way_of(n, object);
            }));
            assert_says(&text, &[
                "BUG: KFENCE: use-after-free read in debug_kfence::read_at+", "read_at+",
                "_turn+", "freed by task",
            ]);
        }
    }

    fn a_second_free_is_reported() {
        let object = allocate_here(64, None);
        free_there(object);
        let text = report_of(|| free_there(object));
        assert_says(&text, &[
            "BUG: KFENCE: invalid free in debug_kfence::free_there+", &format!("Invalid free of {} (in kfence-#", VirtAddr::from_ptr(object)),
            "free_there+", "allocated by task 1", "freed by task 1", "free_there+",
        ]);
    }

    fn a_free_of_the_inside_is_reported() {
        let object = allocate_here(64, None);
        let text = report_of(|| free_there(object.wrapping_add(8)));
        assert_says(&text, &["BUG: KFENCE: invalid free in", "Invalid free of", "free_there+", "allocated by task 1"]);
        assert!(!text.contains("freed by"));
        assert_eq!(report_of(|| free_there(object)).as_str(), "", "it was not freed by that");
    }

    fn what_goes_past_an_object_in_its_page_is_found_at_its_free() {
        let object = allocate_here(73, Some(Side::Left));
        // Within the page, and so no fault.
        assert_eq!(report_of(|| write_at(object.wrapping_add(73), 0x42)).as_str(), "");
        let text = report_of(|| free_there(object));
        assert_says(&text, &[
            "BUG: KFENCE: memory corruption in",
            &format!("Corrupted memory at {} [ 0x42 . . .", VirtAddr::from_ptr(object) + 73),
            "(in kfence-#", "free_there+", "size=73", "allocated by task 1", "allocate_here+",
        ]);
    }

    fn objects_of_caches_are_taken_too() {
        let cache = kmem_cache_create("test_kfence", 56, 8, SlabFlags::NO_MERGE, Some(construct))
            .expect("a cache");
        let object = allocate_of_cache(cache);
        // SAFETY: the object is the test's.
        let bytes = unsafe { core::slice::from_raw_parts(object.as_ptr(), 56) };
        assert!(bytes.iter().all(|&byte| byte == 0xc5), "it is constructed");
        // SAFETY: nobody else knows the cache, and it stays as long as the object does.
        assert_eq!(unsafe { kmem_cache_destroy(cache) }, Err(DestroyError::Live(1)));
        free_of_cache(cache, object);
        let text = report_of(|| { read_at(object.as_ptr()); });
        assert_says(&text, &[
            "BUG: KFENCE: use-after-free read in debug_kfence::read_at+", "size=56",
            "allocated by task 1", "allocate_of_cache+", "objects_of_caches_are_taken_too",
            "freed by task 1", "free_of_cache+", "objects_of_caches_are_taken_too",
        ]);
        // SAFETY: as above.
        assert_eq!(unsafe { kmem_cache_destroy(cache) }, Ok(()));
        // What is left of the object belongs to no cache that is gone.
        let text = report_of(|| free_there(object.as_ptr()));
        assert_says(&text, &["BUG: KFENCE: invalid free in debug_kfence::free_there+", "size=56"]);
    }

    fn objects_of_a_node_and_many_at_once_are_taken_too() {
        #[inline(never)]
        fn of_node(cache: &'static RawCache) -> NonNull<u8> {
            loop {
                let object = cache.alloc_node(ZEROED, NodeId::FIRST).expect("memory");
                if is_kfence_address(VirtAddr::from_ptr(object.as_ptr())) {
                    return object;
                }
                free_of_cache(cache, object);
            }
        }
        /// Sixteen objects, of which one is KFENCE's, which is the first of what is returned.
        #[inline(never)]
        fn of_bulk(cache: &'static RawCache) -> Vec<NonNull<u8>> {
            loop {
                let mut objects = [None; 16];
                assert!(cache.alloc_bulk(ZEROED, &mut objects));
                let mut objects: Vec<_> = objects.into_iter().flatten().collect();
                assert_eq!(objects.len(), 16);
                let guarded = |at: &NonNull<u8>| is_kfence_address(VirtAddr::from_ptr(at.as_ptr()));
                if let Some(at) = objects.iter().position(guarded) {
                    objects.swap(0, at);
                    return objects;
                }
                // SAFETY: allocated above, and freed once.
                unsafe { cache.free_bulk(&objects) };
            }
        }
        const ZEROED: Gfp = Gfp::GFP_KERNEL.union(Gfp::__GFP_ZERO);
        let zeros = |object: NonNull<u8>| {
            // SAFETY: the object is the test's.
            unsafe { core::slice::from_raw_parts(object.as_ptr(), 72) }.iter().all(|&byte| byte == 0)
        };
        let cache = kmem_cache_create("test_kfence_many", 72, 8, SlabFlags::NO_MERGE, None).expect("a cache");
        let object = of_node(cache);
        assert!(zeros(object));
        free_of_cache(cache, object);
        let text = report_of(|| { read_at(object.as_ptr()); });
        assert_says(&text, &["BUG: KFENCE: use-after-free read in", "size=72", "of_node+", "free_of_cache+"]);

        let objects = of_bulk(cache);
        assert!(objects.iter().all(|&object| zeros(object)));
        let text = report_of(|| { read_at(objects[0].as_ptr().wrapping_add(PAGE_SIZE)); });
        assert_says(&text, &["BUG: KFENCE: out-of-bounds read in", "size=72", "of_bulk+"]);
        // SAFETY: allocated above, and freed once.
        unsafe { cache.free_bulk(&objects) };
        let text = report_of(|| { read_at(objects[0].as_ptr()); });
        assert_says(&text, &["BUG: KFENCE: use-after-free read in", "size=72", "of_bulk+"]);
        assert_eq!(cache.info().active_objects, 0);
        // SAFETY: nobody else knows the cache.
        assert_eq!(unsafe { kmem_cache_destroy(cache) }, Ok(()));
    }

    fn when_all_places_are_taken_nothing_is() {
        /// Allocates until KFENCE takes an object, for some intervals.
        fn sampled() -> Option<*mut u8> {
            let (since, mut tried) = (jiffies(), 0);
            // And if the emulator was not run for a while, its timer comes next.
            while jiffies() < since + 20 || tried < 20_000 {
                tried += 1;
                let object = kmalloc(24, Gfp::GFP_KERNEL).expect("memory").as_ptr();
                if is_kfence_address(VirtAddr::from_ptr(object)) {
                    return Some(object);
                }
                free_there(object);
            }
            None
        }
        let mut held = Vec::with_capacity(NUM_OBJECTS);
        while let Some(object) = sampled() {
            held.push(object);
        }
        // The kernel has some too.
        assert!((NUM_OBJECTS - 20..=NUM_OBJECTS).contains(&held.len()), "{} taken", held.len());
        free_there(held.pop().expect("one"));
        held.push(sampled().expect("the place that was freed"));
        held.drain(..).for_each(free_there);
    }

    fn places_are_used_again() {
        let before = kfence_samples();
        let mut held = Vec::new();
        // More than the pool has, one after the other, a few at a time.
        while kfence_samples() < before + 140 {
            let object = allocate_here(16 + held.len(), None);
            write_at(object, held.len() as u8);
            held.push(object);
            if held.len() == 20 {
                held.drain(..).for_each(free_there);
            }
        }
        held.drain(..).for_each(free_there);
        assert_eq!(PAGE_SIZE, 4096);
    }
}
