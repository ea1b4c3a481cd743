//! Misuse of objects: double frees, foreign pointers, writes out of place. Each ends in a panic
//! that names the object.

use super::{K, create, free, free_all, on_cpu, on_machine, put};
use crate::addr::{Order, PAGE_SIZE, VirtAddr};
use crate::arch::irq::with_masked;
use crate::mm::alloc_pages;
use crate::mm::mmzone::NodeId;
use crate::mm::slab::*;
use core::panic::Location;
use std::sync::Mutex;
use std::vec::Vec;

/// Bytes that a user writes never look like a free object's link, whichever byte it is.
#[test]
fn any_byte_of_an_object_is_its_users() {
    on_machine(1024, |_| {
        for at in 0..8 {
            for value in 0..=u8::MAX {
                let object = kmalloc(8, K).expect("memory");
                // SAFETY: a byte of the object that was allocated just now.
                unsafe { object.as_ptr().add(at).write(value) };
                free(object);
            }
        }
        validate();
    });
}

#[test]
#[should_panic(expected = "slab kmalloc-64: double free of object")]
fn double_free_at_once() {
    on_machine(1024, |_| {
        let object = kmalloc(64, K).expect("memory");
        free(object);
        free(object);
    });
}

#[test]
#[cfg_attr(not(debug_assertions), ignore = "marks in free objects are for debug builds")]
#[should_panic(expected = "slab kmalloc-64: double free of object")]
fn double_free_later() {
    on_machine(1024, |_| {
        let objects: Vec<_> = (0..200).map(|_| kmalloc(64, K).expect("memory")).collect();
        free_all(objects.iter().copied());
        free(objects[3]);
    });
}

#[test]
#[cfg_attr(not(debug_assertions), ignore = "marks in free objects are for debug builds")]
#[should_panic(expected = "slab kmalloc-64: double free of object")]
fn double_free_on_another_cpu() {
    on_machine(1024, |m| {
        let object = kmalloc(64, K).expect("memory");
        let at = VirtAddr::from_ptr(object.as_ptr());
        free(object);
        let caught = Mutex::new(None);
        on_cpu(m, 1, || {
            let again = core::ptr::with_exposed_provenance::<u8>(at.get());
            // SAFETY: none: it is to be caught.
            let result = std::panic::catch_unwind(|| unsafe { kfree(again) });
            *caught.lock().unwrap() = result.err();
        });
        if let Some(panic) = caught.into_inner().unwrap() {
            std::panic::resume_unwind(panic);
        }
    });
}

/// The first object of `cache`, and a slab of its own, open.
fn opened(cache: &'static RawCache) -> (crate::mm::slab::slab::Open<'static>, VirtAddr) {
    let slab = crate::mm::slab::slab::Slab::allocate(cache, None, K).expect("memory");
    let mut open = slab.open(cache);
    let first = open.take().expect("an object");
    (open, first)
}

/// Misuse that builds without marks in the objects find too.
#[test]
#[should_panic(expected = "slab none: double free of object")]
fn an_object_too_many_for_its_slab() {
    on_machine(1024, |_| {
        let (mut open, first) = opened(create("none", 64, SlabFlags::empty()));
        let second = open.take().expect("another");
        let caller = Location::caller();
        assert!(open.put(first, caller) && open.put(second, caller));
        // It isn't the next to be given, but none is out.
        open.put(first, caller);
    });
}

#[test]
#[should_panic(expected = "slab top: double free of object")]
fn double_free_on_top_of_a_sheaf() {
    on_machine(1024, |_| {
        let cache = create("top", 64, SlabFlags::empty());
        let object = VirtAddr::from_ptr(cache.alloc(K).expect("memory").as_ptr());
        cache.free_slow(object, Location::caller());
        cache.free_slow(object, Location::caller());
    });
}

#[test]
#[should_panic(expected = "slab short: freelist of slab at")]
fn a_freelist_that_ends_too_soon() {
    on_machine(1024, |_| {
        let cache = create("short", 64, SlabFlags::empty());
        let (open, _) = opened(cache);
        let (slab, _) = open.close();
        let (slots, next) = (slab.slots(cache), slab.first_free());
        slots.set_link(next, cache.encode(slots.address(next), crate::mm::slab::slab::END.into()));
        let mut open = slab.open(cache);
        assert_eq!(open.take(), Some(slots.address(next)));
        open.close();
    });
}

#[test]
#[should_panic(expected = "slab here: invalid free of")]
fn an_object_of_another_cache_reaches_its_slab() {
    on_machine(1024, |_| {
        let here = create("here", 64, SlabFlags::empty());
        let there = create("there", 64, SlabFlags::empty());
        let object = there.alloc(K).expect("memory");
        here.free_slow(VirtAddr::from_ptr(object.as_ptr()), Location::caller());
        here.shrink();
    });
}

#[test]
#[should_panic(expected = "slab inside: invalid free of")]
fn the_inside_of_an_object_reaches_its_slab() {
    on_machine(1024, |_| {
        let cache = create("inside", 64, SlabFlags::empty());
        let object = VirtAddr::from_ptr(cache.alloc(K).expect("memory").as_ptr());
        with_masked(|irq| {
            let mut discard = crate::mm::slab::node::SlabList::new();
            let mut node = cache.node(NodeId::FIRST).lock(irq);
            node.put(cache, object + 8, Location::caller(), &mut discard);
        });
    });
}

#[test]
#[should_panic(expected = "BUG checked: Object already free")]
fn double_free_with_consistency_checks() {
    on_machine(1024, |_| {
        let cache = create("checked", 40, SlabFlags::CONSISTENCY_CHECKS);
        let objects: Vec<_> = (0..50).map(|_| cache.alloc(K).expect("memory")).collect();
        objects.iter().for_each(|&object| put(cache, object));
        put(cache, objects[20]);
    });
}

#[test]
fn links_tell_nothing() {
    on_machine(1024, |_| {
        let one = create("one", 8, SlabFlags::empty());
        let two = create("two", 8, SlabFlags::empty());
        let (a, b) = (VirtAddr::new(0x1000), VirtAddr::new(0x1008));
        let words = [one.encode(a, 1), one.encode(b, 1), two.encode(a, 1), two.encode(b, 1)];
        for (i, word) in words.iter().enumerate() {
            assert!(*word > 0xffff_ffff && words[..i].iter().all(|other| other != word));
        }
        assert_eq!(one.decode(a, words[0]), 1);
        assert_eq!(two.decode(b, words[3]), 1);
    });
}

#[test]
#[should_panic(expected = "slab checked: freelist of slab at")]
fn freelist_overwritten_with_what_could_be_a_link() {
    on_machine(1024, |_| {
        let cache = create("checked", 40, SlabFlags::CONSISTENCY_CHECKS);
        let object = cache.alloc(K).expect("memory");
        put(cache, object);
        // SAFETY: none: it is to be caught.
        unsafe { object.cast::<[u64; 5]>().write([3; 5]) };
        let _ = cache.alloc(K);
    });
}

#[test]
#[should_panic(expected = "slab checked: freelist of slab at")]
fn overwritten_freelist() {
    on_machine(1024, |_| {
        let cache = create("checked", 40, SlabFlags::CONSISTENCY_CHECKS);
        let object = cache.alloc(K).expect("memory");
        put(cache, object);
        // SAFETY: none: it is to be caught.
        unsafe { object.write_bytes(0x41, 40) };
        let _ = cache.alloc(K);
    });
}

#[test]
#[cfg_attr(not(debug_assertions), ignore = "marks in free objects are for debug builds")]
#[should_panic(expected = "was modified after free")]
fn write_after_free() {
    on_machine(1024, |_| {
        let object = kmalloc(64, K).expect("memory");
        free(object);
        // SAFETY: none: it is to be caught.
        unsafe { object.write_bytes(0x41, 64) };
        let _ = kmalloc(64, K);
    });
}

#[test]
#[should_panic(expected = "kfree: free of")]
fn free_of_a_foreign_pointer() {
    on_machine(1024, |_| {
        let here = 5u8;
        // SAFETY: none: it is to be caught.
        unsafe { kfree(&raw const here) };
    });
}

#[test]
#[should_panic(expected = "kfree: free of")]
fn free_of_a_page_that_is_no_slab() {
    on_machine(1024, |_| {
        let page = alloc_pages::alloc_pages(K, Order::ZERO).expect("memory");
        // SAFETY: none: it is to be caught.
        unsafe { kfree(core::ptr::with_exposed_provenance(page.virt().get())) };
    });
}

#[test]
#[should_panic(expected = "kfree: free of")]
fn double_free_of_a_large_allocation() {
    on_machine(1024, |_| {
        let large = kmalloc(20000, K).expect("memory");
        free(large);
        free(large);
    });
}

#[test]
#[should_panic(expected = "kfree: free of")]
fn double_free_of_an_allocation_too_large_for_lists() {
    on_machine(4096, |_| {
        let large = kmalloc(200_000, K).expect("memory");
        free(large);
        free(large);
    });
}

#[test]
#[should_panic(expected = "kfree: free of")]
fn free_of_the_first_page_s_inside_of_a_large_allocation() {
    on_machine(1024, |_| {
        let large = kmalloc(20000, K).expect("memory");
        // SAFETY: none: it is to be caught.
        unsafe { kfree(large.as_ptr().wrapping_add(16)) };
    });
}

#[test]
#[should_panic(expected = "kfree: free of")]
fn free_of_the_middle_of_a_large_allocation() {
    on_machine(1024, |_| {
        let large = kmalloc(20000, K).expect("memory");
        // SAFETY: none: it is to be caught.
        unsafe { kfree(large.as_ptr().wrapping_add(PAGE_SIZE)) };
    });
}

#[test]
#[cfg_attr(not(debug_assertions), ignore = "found when it reaches its slab")]
#[should_panic(expected = "slab kmalloc-64: invalid free of")]
fn free_of_the_middle_of_an_object() {
    on_machine(1024, |_| {
        let object = kmalloc(64, K).expect("memory");
        // SAFETY: none: it is to be caught.
        unsafe { kfree(object.as_ptr().wrapping_add(8)) };
    });
}

#[test]
#[cfg_attr(not(debug_assertions), ignore = "found when it reaches its slab")]
#[should_panic(expected = "slab one: invalid free of")]
fn free_to_the_wrong_cache() {
    on_machine(1024, |_| {
        let one = create("one", 64, SlabFlags::empty());
        let other = create("other", 64, SlabFlags::empty());
        put(one, other.alloc(K).expect("memory"));
    });
}

#[test]
#[should_panic(expected = "BUG red: Right Redzone overwritten")]
fn write_past_the_end() {
    on_machine(1024, |_| {
        let cache = create("red", 21, SlabFlags::RED_ZONE);
        let object = cache.alloc(K).expect("memory");
        // SAFETY: none: it is to be caught.
        unsafe { object.add(21).write(0) };
        put(cache, object);
    });
}

#[test]
#[should_panic(expected = "BUG poisoned: Poison overwritten")]
fn write_after_free_into_poison() {
    on_machine(1024, |_| {
        let cache = create("poisoned", 21, SlabFlags::POISON);
        let object = cache.alloc(K).expect("memory");
        put(cache, object);
        // SAFETY: none: it is to be caught.
        unsafe { object.add(20).write(0) };
        let _ = cache.alloc(K);
    });
}

#[test]
fn debug_caches_work_when_nothing_is_wrong() {
    on_machine(1024, |_| {
        let cache = create("debug", 21, SlabFlags::DEBUG_DEFAULT);
        for _ in 0..3 {
            let objects: Vec<_> = (0..300).map(|_| cache.alloc(K).expect("memory")).collect();
            for object in &objects {
                // SAFETY: 21 bytes are ours.
                unsafe { object.write_bytes(0xff, 21) };
            }
            validate();
            objects.into_iter().for_each(|object| put(cache, object));
            validate();
        }
        // SAFETY: nobody uses it again.
        assert_eq!(unsafe { kmem_cache_destroy(cache) }, Ok(()));
    });
}
