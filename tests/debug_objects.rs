//! Mistakes in the life of objects, on the running kernel.
//!
//! Command line: debug_objects=on

#![no_std]
#![no_main]

extern crate alloc;

mod harness;
#[path = "harness/reports.rs"]
mod reports;
#[path = "harness/says.rs"]
mod says;

use alloc::boxed::Box;
use alloc::format;
use core::ptr::NonNull;
use granule::addr::{Order, VirtAddr};
use granule::mm::alloc_pages::alloc_pages;
use granule::mm::debug::{
    ObjectState, ObjectType, debug_object_activate, debug_object_active_state,
    debug_object_assert_init, debug_object_deactivate, debug_object_destroy, debug_object_free,
    debug_object_init, debug_object_state, debug_objects_on, debug_objects_warnings,
};
use granule::mm::gfp::Gfp;
use granule::mm::page_alloc::free_pages;
use granule::mm::shrinker::{Shrinker, register_shrinker};
use granule::mm::slab::{SlabFlags, kfree, kmalloc, kmem_cache_create, kmem_cache_destroy};
use says::assert_says;

const TEST: ObjectType = ObjectType::Test;

#[inline(never)]
fn initialize_here(at: VirtAddr) {
    debug_object_init(at, TEST);
    core::hint::black_box(at);
}

#[inline(never)]
fn activate_here(at: VirtAddr) {
    debug_object_activate(at, TEST);
    core::hint::black_box(at);
}

#[inline(never)]
fn free_there(object: NonNull<u8>) {
    // SAFETY: what the tests free is theirs, and freed once.
    unsafe { kfree(object.as_ptr()) };
    core::hint::black_box(object);
}

fn object() -> (NonNull<u8>, VirtAddr) {
    let object = kmalloc(192, Gfp::GFP_KERNEL).expect("memory");
    (object, VirtAddr::from_ptr(object.as_ptr()) + 64)
}

/// Report of a step; empty if the step is right.
fn told(step: fn(VirtAddr, ObjectType), at: VirtAddr) -> arrayvec::ArrayString<4096> {
    reports::of(|| step(at, TEST))
}

/// Shrinker that never reads its own fields: it may be called after it was freed.
struct Registered(#[expect(dead_code, reason = "so that it has an address")] [u8; 64]);

impl Shrinker for Registered {
    fn name(&self) -> &'static str {
        "registered"
    }
    fn count(&self, _: Gfp) -> usize {
        0
    }
    fn scan(&self, _: Gfp, _: usize) -> usize {
        0
    }
}

kernel_tests! {
    fn the_boot_makes_no_mistakes() {
        assert!(debug_objects_on());
        assert_eq!(debug_objects_warnings(), 0);
    }

    fn a_life_in_order_is_not_reported() {
        let (memory, at) = object();
        let text = reports::of(|| {
            for _ in 0..2 {
                initialize_here(at);
                assert_eq!(debug_object_state(at), ObjectState::Init);
                debug_object_assert_init(at, TEST);
                activate_here(at);
                assert_eq!(debug_object_state(at), ObjectState::Active);
                debug_object_active_state(at, TEST, 0, 3);
                debug_object_active_state(at, TEST, 3, 0);
                debug_object_deactivate(at, TEST);
                assert_eq!(debug_object_state(at), ObjectState::Inactive);
                activate_here(at);
                debug_object_deactivate(at, TEST);
            }
            debug_object_destroy(at, TEST);
            assert_eq!(debug_object_state(at), ObjectState::Destroyed);
            debug_object_free(at, TEST);
            assert_eq!(debug_object_state(at), ObjectState::None);
            free_there(memory);
        });
        assert_eq!(text.as_str(), "");
    }

    fn steps_out_of_order_are() {
        let (memory, at) = object();
        let says = |text: &str, what: &str| {
            assert_says(text, &[&format!("ODEBUG: {what}"), &format!("object: {at} object type: test")]);
        };
        says(&told(debug_object_activate, at), "activate not available (active state 0)");
        says(&told(debug_object_deactivate, at), "deactivate not available");
        says(&told(debug_object_assert_init, at), "assert_init not available");
        initialize_here(at);
        activate_here(at);
        says(&told(debug_object_activate, at), "activate active");
        let text = told(debug_object_init, at);
        says(&text, "init active");
        assert_says(&text, &["steps_out_of_order_are", "initialized by:", "initialize_here+", "activated by:", "activate_here+"]);
        says(&told(debug_object_destroy, at), "destroy active");
        says(&reports::of(|| debug_object_active_state(at, TEST, 1, 2)), "active_state active (active state 0)");
        debug_object_active_state(at, TEST, 0, 7);
        says(&told(debug_object_deactivate, at), "deactivate active (active state 7)");
        debug_object_active_state(at, TEST, 7, 0);
        debug_object_deactivate(at, TEST);
        debug_object_destroy(at, TEST);
        says(&told(debug_object_init, at), "init destroyed");
        says(&told(debug_object_activate, at), "activate destroyed");
        says(&told(debug_object_destroy, at), "destroy destroyed");
        debug_object_free(at, TEST);
        free_there(memory);
    }

    fn a_free_while_active_is_reported() {
        let (memory, at) = object();
        initialize_here(at);
        activate_here(at);
        let text = reports::of(|| free_there(memory));
        assert_says(&text, &[
            &format!("ODEBUG: free active (active state 0) object: {at} object type: test"),
            "free_there+", "a_free_while_active_is_reported", "initialized by:", "initialize_here+",
            "activated by:", "activate_here+",
        ]);
        assert_eq!(debug_object_state(at), ObjectState::None, "it is known no more");
        // One that is idle may go, and is forgotten.
        let (memory, at) = object();
        initialize_here(at);
        assert_eq!(reports::of(|| free_there(memory)).as_str(), "");
        assert_eq!(debug_object_state(at), ObjectState::None);
    }

    fn pages_are_looked_through_too() {
        let order = Order::new(2).expect("an order");
        let frame = alloc_pages(Gfp::GFP_KERNEL, order).expect("memory");
        let inside = [frame.virt() + 8, frame.virt() + 0x2ff8];
        inside.into_iter().for_each(initialize_here);
        inside.into_iter().for_each(activate_here);
        // SAFETY: allocated here, and nobody uses it any more.
        let text = reports::of(|| unsafe { free_pages(frame, order) });
        assert_says(&text, &[&format!("free active (active state 0) object: {}", inside[0]),
            &format!("free active (active state 0) object: {}", inside[1])]);
    }

    fn caches_and_shrinkers_are_watched() {
        let cache = kmem_cache_create("test_odebug", 100, 8, SlabFlags::empty(), None).expect("a cache");
        let at = VirtAddr::from_ptr(cache);
        assert_eq!(debug_object_state(at), ObjectState::Active);
        // SAFETY: nobody else knows it.
        assert_eq!(unsafe { kmem_cache_destroy(cache) }, Ok(()));
        assert_eq!(debug_object_state(at), ObjectState::None);
        let shrinker: &'static Registered = Box::leak(Box::new(Registered([0; 64])));
        assert!(register_shrinker(shrinker).is_ok());
        // It is still on the list of those that are asked for memory.
        let memory = NonNull::from(shrinker).cast();
        assert_says(&reports::of(|| free_there(memory)), &[
            "ODEBUG: free active", &format!("object: {} object type: shrinker", VirtAddr::from_ptr(shrinker)),
            "free_there+", "activated by:", "register_shrinker",
        ]);
    }
}
