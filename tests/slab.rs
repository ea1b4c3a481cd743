//! The slab allocator, and the heap on top of it, on the running kernel.

#![no_std]
#![no_main]

extern crate alloc;

mod harness;

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::ptr::NonNull;
use granule::addr::VirtAddr;
use granule::arch::CpuId;
use granule::drivers::console::warnings;
use granule::mm::alloc::{AllocError, KBox, KVVec, KVec, VBox, VVec};
use granule::mm::gfp::Gfp;
use granule::mm::kthread::kthread_create_on_cpu;
use granule::mm::mempool::KmallocPool;
use granule::mm::slab::{
    DestroyError, FailSlab, KMALLOC_MAX_SIZE, KmemCache, SlabFlags, ZERO_SIZE_PTR, kfree, kmalloc,
    kmalloc_array, kmalloc_size_roundup, kmem_cache_create, kmem_cache_destroy, krealloc, ksize,
    kzalloc, set_failslab, slabinfo, validate,
};
use granule::mm::util::{kvcalloc, kvfree, kvmalloc, kvrealloc};
use granule::mm::vmalloc::is_vmalloc_addr;
use granule::sched::schedule;
use granule::sync::Once;
use harness::Random;

fn bytes(at: NonNull<u8>, len: usize) -> &'static mut [u8] {
    // SAFETY: the caller has allocated as much there and uses it by one slice at a time.
    unsafe { core::slice::from_raw_parts_mut(at.as_ptr(), len) }
}

fn free(at: NonNull<u8>) {
    // SAFETY: the tests free what they allocated, once.
    unsafe { kfree(at.as_ptr()) }
}

kernel_tests! {
    fn caches_are_sound_after_boot() {
        validate();
        assert!(slabinfo().count() > 10, "the kmalloc classes are there");
    }

    fn every_size_is_served_aligned_and_its_own() {
        let sizes = [1, 8, 9, 63, 64, 65, 96, 97, 128, 192, 193, 1000, 4096, 8192, 8193, 100_000, 4 << 20];
        let mut all = Vec::new();
        for (n, &size) in sizes.iter().enumerate() {
            let at = kmalloc(size, Gfp::GFP_KERNEL).expect("memory");
            // SAFETY: just allocated.
            let real = unsafe { ksize(at.as_ptr()) };
            assert!(real >= size);
            assert_eq!(Some(real), kmalloc_size_roundup(size));
            if size.is_power_of_two() {
                assert_eq!(at.addr().get() % size.max(8), 0, "{size} bytes at {at:?}");
            }
            bytes(at, real).fill(n as u8);
            all.push((at, real, n as u8));
        }
        for (at, real, mark) in all {
            assert!(bytes(at, real).iter().all(|&byte| byte == mark));
            free(at);
        }
    }

    fn what_cannot_be_is_refused() {
        assert_eq!(kmalloc(KMALLOC_MAX_SIZE + 1, Gfp::GFP_KERNEL), None);
        assert_eq!(kmalloc(usize::MAX, Gfp::GFP_KERNEL), None);
        assert_eq!(kmalloc_array(usize::MAX / 2, 3, Gfp::GFP_KERNEL), None);
        assert_eq!(kmalloc(0, Gfp::GFP_KERNEL), Some(ZERO_SIZE_PTR));
        free(ZERO_SIZE_PTR);
        // SAFETY: null is fine.
        unsafe { kfree(core::ptr::null()) };
    }

    fn zeroed_objects_are_zero() {
        for size in [8, 64, 500, 8192, 20_000] {
            let dirty = kmalloc(size, Gfp::GFP_KERNEL).expect("memory");
            bytes(dirty, size).fill(0xff);
            free(dirty);
            let clean = kzalloc(size, Gfp::GFP_KERNEL).expect("memory");
            assert!(bytes(clean, size).iter().all(|&byte| byte == 0), "{size} bytes");
            free(clean);
        }
    }

    fn growing_keeps_the_bytes() {
        let mut at = kmalloc(10, Gfp::GFP_KERNEL).expect("memory");
        for (n, byte) in bytes(at, 10).iter_mut().enumerate() {
            *byte = n as u8;
        }
        for size in [16, 100, 9000, 50] {
            // SAFETY: `at` is this loop's allocation.
            at = unsafe { krealloc(at.as_ptr(), size, Gfp::GFP_KERNEL) }.expect("memory");
            assert!(bytes(at, 10).iter().enumerate().all(|(n, &byte)| byte == n as u8));
        }
        free(at);
    }

    fn a_cache_lives_and_dies() {
        let cache = kmem_cache_create("test_120", 120, 8, SlabFlags::NO_MERGE, None).expect("a cache");
        let objects: Vec<_> =
            (0..1000).map(|_| cache.alloc(Gfp::GFP_KERNEL).expect("memory")).collect();
        let mut addresses: Vec<_> = objects.iter().map(|object| object.addr().get()).collect();
        addresses.sort_unstable();
        assert!(addresses.windows(2).all(|pair| pair[1] - pair[0] >= 120), "objects overlap");
        // SAFETY: nobody else knows the cache.
        let refused = unsafe { kmem_cache_destroy(cache) };
        assert_eq!(refused, Err(DestroyError::Live(1000)));
        for object in objects {
            // SAFETY: from this cache, freed once.
            unsafe { cache.free(object) };
        }
        cache.validate();
        // SAFETY: nobody else knows the cache.
        assert_eq!(unsafe { kmem_cache_destroy(cache) }, Ok(()));
        assert!(slabinfo().all(|info| info.name != "test_120"));
    }

    fn a_constructor_sees_each_object_once() {
        fn construct(object: NonNull<u8>) {
            bytes(object, 64).fill(0xc5);
        }
        let cache = kmem_cache_create("test_ctor", 64, 64, SlabFlags::empty(), Some(construct))
            .expect("a cache");
        for _ in 0..3 {
            let object = cache.alloc(Gfp::GFP_KERNEL).expect("memory");
            assert!(bytes(object, 64).iter().all(|&byte| byte == 0xc5));
            // SAFETY: from this cache, freed once.
            unsafe { cache.free(object) };
        }
        // SAFETY: nobody else knows the cache.
        assert_eq!(unsafe { kmem_cache_destroy(cache) }, Ok(()));
    }

    fn zeros_of_a_cache_with_a_constructor_are_warned_of_once() {
        fn construct(object: NonNull<u8>) {
            bytes(object, 72).fill(0xc5);
        }
        let cache = kmem_cache_create("test_made", 72, 8, SlabFlags::empty(), Some(construct))
            .expect("a cache");
        let before = warnings().count;
        for _ in 0..3 {
            let object = cache.zalloc(Gfp::GFP_KERNEL).expect("memory");
            assert!(bytes(object, 72).iter().all(|&byte| byte == 0xc5));
            // SAFETY: from this cache, freed once.
            unsafe { cache.free(object) };
        }
        assert_eq!(warnings().count, before + 1);
        assert!(warnings().last.starts_with("slab test_made: __GFP_ZERO with a constructor"));
        // SAFETY: nobody else knows the cache.
        assert_eq!(unsafe { kmem_cache_destroy(cache) }, Ok(()));
    }

    fn collections_live_on_it() {
        let mut map = BTreeMap::new();
        for n in 0..2000u32 {
            let mut text = String::new();
            for _ in 0..n % 40 {
                text.push('x');
            }
            map.insert(n.wrapping_mul(2_654_435_761), Box::new(text));
        }
        let keys: Vec<u32> = map.keys().copied().collect();
        assert!(keys.is_sorted() && keys.len() == 2000);
        for n in (0..2000u32).step_by(2) {
            assert!(map.remove(&n.wrapping_mul(2_654_435_761)).is_some_and(|text| text.len() == (n % 40) as usize));
        }
        assert_eq!(map.len(), 1000);
    }

    fn random_operations_keep_every_invariant() {
        let mut random = Random::new(2);
        let mut all: Vec<(NonNull<u8>, usize, u8)> = Vec::new();
        for step in 0..20_000u32 {
            if all.len() < 500 && random.below(2) == 0 {
                let size = 1 << random.below(14);
                let size = size + random.below(size);
                let at = kmalloc(size, Gfp::GFP_KERNEL).expect("memory");
                let mark = step as u8;
                bytes(at, size)[0] = mark;
                bytes(at, size)[size - 1] = mark;
                all.push((at, size, mark));
            } else if !all.is_empty() {
                let (at, size, mark) = all.swap_remove(random.below(all.len()));
                assert_eq!((bytes(at, size)[0], bytes(at, size)[size - 1]), (mark, mark));
                free(at);
            }
            if step % 4000 == 0 {
                validate();
            }
        }
        for (at, ..) in all {
            free(at);
        }
    }

    fn exhaustion_is_an_answer() {
        let gfp = Gfp::GFP_KERNEL | Gfp::__GFP_NORETRY | Gfp::__GFP_NOWARN;
        // A list through the objects' own first words.
        let mut last: Option<NonNull<u8>> = None;
        let mut n = 0u32;
        while let Some(at) = kmalloc(1 << 20, gfp) {
            let next = last.map_or(0, |at| at.addr().get());
            bytes(at, 8).copy_from_slice(&next.to_ne_bytes());
            last = Some(at);
            n += 1;
        }
        assert!(n > 10);
        // Small ones too: from what is left, until nothing is.
        let mut small: Option<NonNull<u8>> = None;
        while let Some(at) = kmalloc(8192, gfp) {
            let next = small.map_or(0, |at| at.addr().get());
            bytes(at, 8).copy_from_slice(&next.to_ne_bytes());
            small = Some(at);
        }
        for mut list in [last, small] {
            while let Some(at) = list {
                let next = usize::from_ne_bytes(bytes(at, 8).try_into().expect("eight bytes"));
                list = NonNull::new(core::ptr::with_exposed_provenance_mut(next));
                free(at);
            }
        }
        let again = kmalloc(1 << 20, Gfp::GFP_KERNEL).expect("it is there again");
        free(again);
    }

    fn boxes_and_vectors_say_what_they_may_do() {
        fn fill() -> Result<KVec<u64>, AllocError> {
            let mut vec = KVec::with_capacity(10, Gfp::GFP_KERNEL)?;
            for n in 0..1000 {
                vec.push(n, Gfp::GFP_KERNEL)?;
            }
            Ok(vec)
        }
        let vec = fill().expect("memory");
        assert!(vec.iter().copied().eq(0..1000));
        let boxed = KBox::new([7u8; 3000], Gfp::GFP_KERNEL).expect("memory");
        assert!(boxed.iter().all(|&byte| byte == 7));
        let area = VBox::new([8u8; 3000], Gfp::GFP_KERNEL).expect("memory");
        assert!(is_vmalloc_addr(VirtAddr::from_ptr(&raw const *area)));
        let mut wide = VVec::from_elem(1u32, 5000, Gfp::GFP_KERNEL).expect("memory");
        wide.extend_with(20_000, 2, Gfp::GFP_KERNEL).expect("memory");
        assert!(wide[..5000].iter().all(|&n| n == 1) && wide[5000..].iter().all(|&n| n == 2));
        assert!(is_vmalloc_addr(VirtAddr::from_ptr(wide.as_ptr())));
        // More than kmalloc has: pages one by one.
        let mut large = KVVec::with_capacity(100, Gfp::GFP_KERNEL).expect("memory");
        assert!(!is_vmalloc_addr(VirtAddr::from_ptr(large.as_ptr())));
        large.resize(9 << 20, 3u8, Gfp::GFP_KERNEL).expect("memory");
        assert!(is_vmalloc_addr(VirtAddr::from_ptr(large.as_ptr())));
        large.truncate(10);
        large.shrink_to(10, Gfp::GFP_KERNEL).expect("memory");
        assert!(!is_vmalloc_addr(VirtAddr::from_ptr(large.as_ptr())) && large == [3; 10]);
    }

    fn want_of_memory_is_an_error_to_all_of_them() {
        let gfp = Gfp::GFP_KERNEL | Gfp::__GFP_NOWARN | Gfp::__GFP_NORETRY;
        let all = 1 << 40;
        assert_eq!(KVec::<u8>::with_capacity(all, gfp).err(), Some(AllocError));
        assert_eq!(VVec::<u8>::with_capacity(all, gfp).err(), Some(AllocError));
        assert_eq!(KVVec::<u8>::with_capacity(all, gfp).err(), Some(AllocError));
        assert_eq!(KVec::<u64>::with_capacity(usize::MAX, gfp).err(), Some(AllocError));
        assert!(KBox::<[u8; 5 << 20]>::new_uninit(gfp).is_err());
        // Until nothing is left: then each of them fails, and gives all back.
        let mut blocks = KVec::new();
        while let Ok(block) = KBox::<[u8; 1 << 20]>::new_uninit(gfp) {
            if blocks.push(block, gfp).is_err() {
                break;
            }
        }
        let mut pages = KVVec::new();
        while let Ok(page) = KBox::<[u8; 4096]>::new_uninit(gfp) {
            if pages.push(page, gfp).is_err() {
                break;
            }
        }
        assert_eq!(VVec::<u8>::with_capacity(1 << 20, gfp).err(), Some(AllocError));
        assert_eq!(KVVec::<u8>::with_capacity(1 << 20, gfp).err(), Some(AllocError));
        assert_eq!(KVec::<u8>::with_capacity(1 << 16, gfp).err(), Some(AllocError));
        assert!(blocks.len() > 10 && pages.len() > 10);
        drop((blocks, pages));
        assert!(KVVec::<u8>::with_capacity(1 << 20, gfp).is_ok());
    }

    fn kvmalloc_moves_from_blocks_to_pages() {
        let small = kvmalloc(5000, Gfp::GFP_KERNEL).expect("memory");
        bytes(small, 5000).fill(9);
        // SAFETY: it is used through what comes back, three times.
        let large = unsafe { kvrealloc(small.as_ptr(), 9 << 20, Gfp::GFP_KERNEL) }.expect("memory");
        assert!(is_vmalloc_addr(VirtAddr::from_ptr(large.as_ptr())));
        assert!(bytes(large, 5000).iter().all(|&byte| byte == 9));
        // SAFETY: as above.
        let same = unsafe { kvrealloc(large.as_ptr(), 8 << 20, Gfp::GFP_KERNEL) };
        assert_eq!(same, Some(large));
        // SAFETY: as above.
        let back = unsafe { kvrealloc(large.as_ptr(), 100, Gfp::GFP_KERNEL) }.expect("memory");
        assert!(!is_vmalloc_addr(VirtAddr::from_ptr(back.as_ptr())));
        assert!(bytes(back, 100).iter().all(|&byte| byte == 9));
        // SAFETY: from there, once.
        unsafe { kvfree(back.as_ptr()) };
        let zero = kvcalloc(9 << 17, 8, Gfp::GFP_KERNEL).expect("memory");
        assert!(bytes(zero, 9 << 20).iter().all(|&byte| byte == 0));
        // SAFETY: from there, once.
        unsafe { kvfree(zero.as_ptr()) };
    }

    fn a_cache_of_values_is_a_rust_value() {
        let cache = KmemCache::new("test_values", SlabFlags::NO_MERGE).expect("a cache");
        let mut all = KVec::new();
        for n in 0..500u64 {
            let value = cache.alloc([n; 9], Gfp::GFP_KERNEL).expect("memory");
            all.push(value, Gfp::GFP_KERNEL).expect("memory");
        }
        assert_eq!(cache.info().active_objects, 500);
        assert!(all.iter().enumerate().all(|(n, value)| **value == [n as u64; 9]));
        drop(all);
        assert_eq!(cache.info().active_objects, 0);
        assert!(cache.destroy().is_ok());
    }

    fn who_may_sleep_waits_for_an_element() {
        static POOL: Once<KmallocPool> = Once::new();
        let pool = POOL.call_once(|| KmallocPool::of_size(2, 300).expect("a pool"));
        // Nothing but the reserve is left.
        let fail = FailSlab { interval: 1, probability: 100, space: 0, times: u32::MAX };
        let _ = set_failslab(Some(fail));
        let held = [pool.alloc(Gfp::GFP_NOWAIT), pool.alloc(Gfp::GFP_NOWAIT)];
        let [Some(a), Some(b)] = held else { panic!("the reserve was not full") };
        assert_eq!(pool.alloc(Gfp::GFP_NOWAIT), None);
        let _ = set_failslab(None);
        let waiter = kthread_create_on_cpu("waiter", CpuId::BOOT, || {
            let element = POOL.get().and_then(|pool| pool.alloc(Gfp::GFP_KERNEL));
            // SAFETY: from the pool, once.
            element.map_or(1, |element| unsafe {
                POOL.get().map_or(2, |pool| {
                    pool.free(element);
                    0
                })
            })
        });
        let waiter = waiter.expect("a thread");
        let _ = set_failslab(Some(fail));
        waiter.wake_up();
        for _ in 0..5 {
            schedule();
        }
        assert!(!waiter.has_ended(), "it waits");
        // SAFETY: from the pool, once each.
        unsafe { pool.free(a) };
        assert_eq!(waiter.join(), 0);
        // SAFETY: as above.
        unsafe { pool.free(b) };
        let _ = set_failslab(None);
        pool.validate();
        assert_eq!(pool.reserved(), 2);
        pool.resize(0).expect("nothing is needed");
    }
}
