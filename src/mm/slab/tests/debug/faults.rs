//! Allocations that fail on purpose, and what a name keeps alive.

use super::*;

#[test]
fn only_caches_that_are_marked_fail() {
    booted_with("A,kmalloc-64,mine", || {
        let other = kmem_cache_create("other", 64, 8, SlabFlags::empty(), None).expect("one");
        let mine = kmem_cache_create("mine", 64, 8, SlabFlags::empty(), None).expect("one");
        assert!(!core::ptr::eq(mine, other));
        let _ = fail(2, 100, 0, u32::MAX);
        let got = |of: &dyn Fn() -> Option<NonNull<u8>>| -> [bool; 4] {
            core::array::from_fn(|_| of().is_some())
        };
        assert_eq!(got(&|| other.alloc(K)), [true; 4]);
        assert_eq!(got(&|| kmalloc(128, K)), [true; 4]);
        // Those of others are not counted either.
        assert_eq!(got(&|| kmalloc(64, K)), [true, false, true, false]);
        assert_eq!(got(&|| mine.alloc(K)), [true, false, true, false]);
        assert_eq!(set_failslab(None), 4);
        set_failslab_cache_filter(false);
        let _ = fail(1, 100, 0, u32::MAX);
        assert_eq!(got(&|| kmalloc(128, K)), [false; 4]);
        let _ = set_failslab(None);
    });
}

/// A list of all that is live: `destroy` names it, whichever list its slab is on.
#[test]
fn what_keeps_a_cache_alive_is_counted() {
    on_machine(1024, |_| {
        let cache = debugged(1000);
        let objects: Vec<_> = (0..30).map(|_| alloc(cache).0).collect();
        cache.validate();
        // SAFETY: it is refused.
        assert_eq!(unsafe { kmem_cache_destroy(cache) }, Err(DestroyError::Live(30)));
        cache.validate();
        objects.into_iter().for_each(|object| drop(free(cache, object)));
        // SAFETY: nobody uses it again.
        assert_eq!(unsafe { kmem_cache_destroy(cache) }, Ok(()));
    });
}

fn fail(interval: u32, probability: u32, space: u32, times: u32) -> u32 {
    set_failslab(Some(FailSlab { interval, probability, space, times }))
}

#[test]
fn allocations_fail_when_they_are_told_to() {
    on_machine(1024, |_| {
        let mut sheaf: Vec<_> = (0..10).map(|_| kmalloc(64, K).expect("memory")).collect();
        let _ = fail(3, 100, 2, 4);
        let results: Vec<_> = (0..20).map(|_| kmalloc(64, K)).collect();
        let failed: Vec<_> =
            results.iter().enumerate().filter(|(_, r)| r.is_none()).map(|(n, _)| n).collect();
        assert_eq!(failed, [4, 7, 10, 13]);
        sheaf.extend(results.into_iter().flatten());
        assert_eq!(fail(1, 100, 0, 1), 4);
        assert!(kmalloc(64, K | Gfp::__GFP_NOFAIL).is_some_and(|object| {
            sheaf.push(object);
            true
        }));
        let mut bulk = [Some(NonNull::dangling()); 5];
        let classes = slabinfo().filter(|info| info.name == "kmalloc-64").count();
        assert_eq!(classes, 1);
        let cache = kmem_cache_create("fails", 40, 8, SlabFlags::NO_MERGE, None);
        assert!(matches!(cache, Err(CreateError::NoMemory)));
        // A name for which there is no memory is no user.
        let alike = kmem_cache_create("alike", 1000, 8, SlabFlags::ACCOUNT, None).expect("a cache");
        let _ = fail(1, 100, 0, 1);
        let cache = kmem_cache_create("alias", 1000, 8, SlabFlags::ACCOUNT, None);
        assert!(matches!(cache, Err(CreateError::NoMemory)));
        assert_eq!(alike.refcount.load(Relaxed), 1);
        let cache = kmem_cache_create("alias", 1000, 8, SlabFlags::ACCOUNT, None).expect("memory");
        assert!(core::ptr::eq(cache, alike));
        let _ = set_failslab(None);
        let cache = kmem_cache_create("fails", 40, 8, SlabFlags::NO_MERGE, None).expect("a cache");
        let _ = fail(5, 100, 0, 1);
        assert!(!cache.alloc_bulk(K, &mut bulk) && bulk == [None; 5]);
        assert_eq!(cache.info().active_objects, 0);
        assert_eq!(set_failslab(None), 1);
        let some = fail(1, 30, 0, u32::MAX);
        assert_eq!(some, 0);
        sheaf.extend((0..200).filter_map(|_| kmalloc(64, K)));
        let some = set_failslab(None);
        assert!((30..90).contains(&some), "{some} of 200 failed");
        for object in sheaf {
            // SAFETY: from kmalloc, once.
            unsafe { kfree(object.as_ptr()) };
        }
        validate();
        // Sheaves are filled again.
        let object = kmalloc(64, K).expect("memory");
        let info = slabinfo().find(|info| info.name == "kmalloc-64").expect("listed");
        assert!(info.in_sheaves > 0);
        // SAFETY: from kmalloc, once.
        unsafe { kfree(object.as_ptr()) };
    });
}
