//! Memory that is cleared when it is allocated and when it is freed, on the running kernel.
//!
//! Command line: init_on_alloc=1 init_on_free=1

#![no_std]
#![no_main]

mod harness;

use core::ptr::NonNull;
use granule::addr::Order;
use granule::mm::alloc_pages::alloc_pages;
use granule::mm::debug::mem_auto_init;
use granule::mm::gfp::Gfp;
use granule::mm::page::Frame;
use granule::mm::page_alloc::free_pages;
use granule::mm::slab::{SlabFlags, kfree, kmalloc, kmem_cache_create, kmem_cache_destroy};

fn bytes(frame: Frame, order: Order) -> &'static mut [u8] {
    let at = core::ptr::with_exposed_provenance_mut((frame.virt()).get());
    // SAFETY: a block that the test allocated, or has just freed and only looks at.
    unsafe { core::slice::from_raw_parts_mut(at, order.bytes()) }
}

fn object_bytes(at: NonNull<u8>, len: usize) -> &'static mut [u8] {
    // SAFETY: the caller has allocated as much there, or has just freed it and only looks.
    unsafe { core::slice::from_raw_parts_mut(at.as_ptr(), len) }
}

kernel_tests! {
    fn the_boot_says_so() {
        let text = arrayvec::ArrayString::<100>::try_from(format_args!("{}", mem_auto_init()));
        assert_eq!(
            text.expect("room").as_str(),
            "mem auto-init: stack:off, heap alloc:on, heap free:on"
        );
    }

    fn pages_come_and_go_as_zeros() {
        for order in [0, 1, 3, 5, 9] {
            let order = Order::new(order).expect("an order");
            let frame = alloc_pages(Gfp::GFP_KERNEL, order).expect("memory");
            assert!(bytes(frame, order).iter().all(|&byte| byte == 0), "allocated, order {order}");
            bytes(frame, order).fill(0x5a);
            // SAFETY: allocated here, and nobody uses it any more.
            unsafe { free_pages(frame, order) };
            assert!(bytes(frame, order).iter().all(|&byte| byte == 0), "freed, order {order}");
        }
    }

    fn objects_come_as_zeros_and_leave_nothing() {
        for size in [8, 24, 64, 192, 1000, 8192] {
            // Several at once, so that what comes back is not what was freed last alone.
            for round in 0..3 {
                let objects: [_; 20] =
                    core::array::from_fn(|_| kmalloc(size, Gfp::GFP_KERNEL).expect("memory"));
                for object in objects {
                    let bytes = object_bytes(object, size);
                    assert!(bytes.iter().all(|&byte| byte == 0), "{size} bytes, round {round}");
                    bytes.fill(0x5a);
                }
                for object in objects {
                    // SAFETY: allocated above, freed once.
                    unsafe { kfree(object.as_ptr()) };
                    // A word may be the allocator's own mark; no byte of the user's is left.
                    let left = object_bytes(object, size).iter().filter(|&&b| b == 0x5a).count();
                    assert!(left < 4, "{left} of {size} bytes are left");
                    let other = object_bytes(object, size).iter().filter(|&&b| b != 0).count();
                    assert!(other <= 8, "{other} of {size} bytes are not zero");
                }
            }
        }
    }

    fn a_constructors_work_stays() {
        fn construct(object: NonNull<u8>) {
            object_bytes(object, 64).fill(0xc5);
        }
        let cache = kmem_cache_create("test_ctor", 64, 64, SlabFlags::empty(), Some(construct))
            .expect("a cache");
        for _ in 0..2 {
            let object = cache.alloc(Gfp::GFP_KERNEL).expect("memory");
            assert!(object_bytes(object, 64).iter().all(|&byte| byte == 0xc5));
            // SAFETY: from this cache, freed once.
            unsafe { cache.free(object) };
        }
        // SAFETY: nobody else knows the cache.
        assert_eq!(unsafe { kmem_cache_destroy(cache) }, Ok(()));
    }
}
