//! Caches: of values, merged, by flags, in bulk, on nodes.

mod nodes;

use super::{on_cpu, on_machine, used_pages};
use crate::addr::{Order, PhysAddr, PhysRange, VirtAddr};
use crate::arch::CpuId;
use crate::arch::hosted::Machine;
use crate::mm::alloc_pages;
use crate::mm::gfp::Gfp;
use crate::mm::hooks::{SLAB_ALLOC_HOOKS, SLAB_FREE_HOOKS};
use crate::mm::mmzone::{Migratetype, NodeId, ZoneLimits};
use crate::mm::page::Frame;
use crate::mm::slab::*;
use crate::mm::{page_alloc, sparse};
use core::cell::Cell;
use core::ptr::NonNull;
use nodes::node;
use std::collections::BTreeSet;
use std::vec::Vec;

const K: Gfp = Gfp::GFP_KERNEL;

fn create(name: &'static str, size: usize, flags: SlabFlags) -> &'static RawCache {
    kmem_cache_create(name, size, 8, flags, None).expect("a cache")
}

/// Sends allocations and frees by way of the debugging tools, as any of those does that is on.
fn watch_objects(on: bool) {
    if on {
        SLAB_ALLOC_HOOKS.inc();
        SLAB_FREE_HOOKS.inc();
    }
}

fn destroy(cache: &'static RawCache) -> Result<(), DestroyError> {
    // SAFETY: the tests use it no more where that went well.
    unsafe { kmem_cache_destroy(cache) }
}

fn alloc(cache: &'static RawCache) -> NonNull<u8> {
    cache.alloc(K).expect("memory")
}

fn put(cache: &'static RawCache, object: NonNull<u8>) {
    // SAFETY: the tests free what they allocated.
    unsafe { cache.free(object) };
}

struct Noted<'a>(&'a Cell<u32>, [u64; 5]);

impl Drop for Noted<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

#[test]
fn a_cache_of_values_owns_them() {
    on_machine(1024, |_| {
        let before = used_pages();
        let dropped = Cell::new(0);
        let cache = KmemCache::new("noted", SlabFlags::NO_MERGE).expect("a cache");
        let mut a = cache.alloc(Noted(&dropped, [1; 5]), K).expect("memory");
        let b = cache.alloc_with(|| Noted(&dropped, [2; 5]), K).expect("memory");
        a.1[0] = 9;
        assert_eq!((a.1[0], b.1[4], cache.info().active_objects), (9, 2, 2));
        drop(a);
        assert_eq!((dropped.get(), cache.info().active_objects), (1, 1));
        let value = CacheBox::into_inner(b);
        assert_eq!((dropped.get(), value.1, cache.info().active_objects), (1, [2; 5], 0));
        drop(value);
        let raw = CacheBox::into_raw(cache.alloc(Noted(&dropped, [3; 5]), K).expect("memory"));
        // What is forgotten keeps the cache.
        let Err((cache, DestroyError::Live(1))) = cache.destroy() else {
            panic!("it has an object");
        };
        // SAFETY: it came from this cache.
        drop(unsafe { cache.from_raw(raw) });
        assert_eq!(dropped.get(), 3);
        assert!(cache.destroy().is_ok());
        assert!(slabinfo().all(|info| info.name != "noted"));
        drop(KmemCache::<[u64; 3]>::new("brief", SlabFlags::NO_MERGE).expect("a cache"));
        assert!(slabinfo().all(|info| info.name != "brief"));
        drop(KmemCache::<()>::new("empty", SlabFlags::empty()).expect("a cache"));
        shrink_all();
        assert_eq!(used_pages(), before);
    });
}

#[test]
fn want_of_memory_is_an_error() {
    on_machine(1024, |_| {
        let cache = KmemCache::<[u8; 3000]>::new("large", SlabFlags::empty()).expect("a cache");
        let mut all = Vec::new();
        let error = loop {
            match cache.alloc_uninit(Gfp::GFP_NOWAIT) {
                Ok(object) => all.push(object),
                Err(error) => break error,
            }
        };
        assert_eq!(error, AllocError);
        assert!(all.len() > 150);
        drop(all);
        assert!(cache.alloc([0; 3000], K).is_ok());
    });
}

#[test]
fn alike_caches_share_slabs() {
    on_machine(1024, |_| {
        let before = slabinfo().count();
        let names = || slab_aliases().collect::<Vec<_>>();
        // As a kmalloc class.
        let like_64 = create("like_64", 60, SlabFlags::empty());
        assert_eq!(like_64.name(), "kmalloc-64");
        assert_eq!(names(), [("like_64", "kmalloc-64")]);
        // As another.
        let first = create("first", 104, SlabFlags::empty());
        let second = create("second", 100, SlabFlags::empty());
        assert!(core::ptr::eq(first, second) && first.name() == "first");
        // Another size, kind of memory, alignment, and what is never alike.
        let ctor: Constructor = |_| {};
        let others = [
            create("size", 90, SlabFlags::NO_MERGE),
            create("kind", 104, SlabFlags::RECLAIM_ACCOUNT),
            create("charged", 104, SlabFlags::ACCOUNT),
            create("zero", 104, SlabFlags::ZERO),
            create("poison", 104, SlabFlags::POISON),
            create("alone", 104, SlabFlags::NO_MERGE),
            kmem_cache_create("ctor", 104, 8, SlabFlags::empty(), Some(ctor)).expect("one"),
            kmem_cache_create("aligned", 96, 64, SlabFlags::empty(), None).expect("one"),
        ];
        assert_eq!(others[7].name(), "kmalloc-128", "which is aligned to itself");
        for (n, other) in others[..7].iter().enumerate() {
            assert!(!core::ptr::eq(*other, first), "{}", other.name());
            assert!(others[..n].iter().all(|o| !core::ptr::eq(*o, *other)));
        }
        // A larger object does not fit though the slots are as large.
        let (narrow, wide) =
            (create("narrow", 113, SlabFlags::empty()), create("wide", 120, SlabFlags::empty()));
        assert_eq!((narrow.name(), wide.name()), ("narrow", "wide"));
        assert_eq!((destroy(narrow), destroy(wide)), (Ok(()), Ok(())));
        // Slots as large, of which every other is not aligned as asked for.
        let lines = |align| kmem_cache_create("lines", 320, align, SlabFlags::empty(), None);
        let (loose, tight) = (lines(8).expect("one"), lines(64).expect("one"));
        assert!(!core::ptr::eq(loose, tight), "{:?}", tight.layout());
        assert!(core::ptr::eq(lines(32).expect("one"), tight), "aligned better than asked for");
        assert_eq!([tight, tight, loose].map(destroy), [Ok(()); 3]);
        let object = alloc(second);
        assert_eq!(destroy(second), Ok(()), "the first has it still");
        put(first, object);
        assert_eq!(destroy(first), Ok(()));
        others.into_iter().for_each(|other| assert_eq!(destroy(other), Ok(())));
        assert_eq!(destroy(like_64), Ok(()));
        assert_eq!(destroy(like_64), Err(DestroyError::Permanent));
        assert_eq!((names(), slabinfo().count()), (Vec::new(), before));
        set_slab_nomerge();
        assert_eq!(create("like_64", 64, SlabFlags::empty()).name(), "like_64");
        validate();
    });
}

#[test]
fn flags_do_what_they_say() {
    on_machine(1024, |_| {
        let zero = create("zero", 40, SlabFlags::ZERO);
        for _ in 0..3 {
            let objects: Vec<_> = (0..100).map(|_| alloc(zero)).collect();
            for object in &objects {
                // SAFETY: 40 bytes are ours.
                let bytes = unsafe { core::slice::from_raw_parts_mut(object.as_ptr(), 40) };
                assert!(bytes.iter().all(|&byte| byte == 0));
                bytes.fill(0xff);
            }
            objects.into_iter().for_each(|object| put(zero, object));
            let mut bulk = [None; 3];
            assert!(zero.alloc_bulk(K, &mut bulk));
            for object in bulk.into_iter().flatten() {
                // SAFETY: 40 bytes are ours.
                assert_eq!(unsafe { object.cast::<[u64; 5]>().read() }, [0; 5]);
                put(zero, object);
            }
        }
        let ctor: Constructor = |_| {};
        let both = kmem_cache_create("both", 40, 8, SlabFlags::ZERO, Some(ctor));
        assert!(matches!(both, Err(CreateError::Flags)));
        let before = slab_pages(None);
        let flags = SlabFlags::RECLAIM_ACCOUNT | SlabFlags::ACCOUNT | SlabFlags::NO_MERGE;
        let counted = create("counted", 40, flags);
        let object = alloc(counted);
        let after = slab_pages(None);
        assert_eq!(after.reclaimable, before.reclaimable + 1);
        assert_eq!(after.accounted, before.accounted + 1);
        assert!(counted.page_gfp(K).contains(Gfp::__GFP_ACCOUNT | Gfp::__GFP_RECLAIMABLE));
        put(counted, object);
    });
}

#[test]
#[should_panic(expected = "kmem_cache_create: failed to create slab 'vital'")]
fn a_vital_cache_panics() {
    on_machine(1024, |_| {
        let _ = kmem_cache_create("vital", 0, 8, SlabFlags::PANIC, None);
    });
}

#[test]
fn bulks_are_whole_or_nothing() {
    for watched in [false, true] {
        on_machine(1024, |m| {
            watch_objects(watched);
            let cache = create("bulk", 200, SlabFlags::NO_MERGE);
            for count in [0, 1, 27, 28, 29, 100, 500] {
                let mut objects = std::vec![None; count];
                assert!(cache.alloc_bulk(K, &mut objects));
                let objects: Vec<_> = objects.into_iter().flatten().collect();
                assert_eq!(objects.iter().collect::<BTreeSet<_>>().len(), count);
                assert_eq!(cache.info().active_objects, count);
                cache.validate();
                let split = count / 3;
                // SAFETY: each is freed once.
                unsafe {
                    cache.free_bulk(&objects[..split]);
                    cache.free_bulk(&objects[split..]);
                }
                assert_eq!(cache.info().active_objects, 0);
                cache.validate();
            }
            // Whatever was there before: nobody may take it for an object.
            let mut too_many = std::vec![Some(NonNull::dangling()); 20_000];
            assert!(!cache.alloc_bulk(Gfp::GFP_NOWAIT, &mut too_many));
            assert!(too_many.iter().all(Option::is_none));
            assert_eq!(cache.info().active_objects, 0);
            cache.validate();
            on_cpu(m, 0, || cache.shrink());
            assert_eq!(cache.info().slabs, 0);
        });
    }
}

#[test]
#[cfg_attr(not(debug_assertions), ignore = "marks in free objects are for debug builds")]
#[should_panic(expected = "slab bulk: double free of object")]
fn a_bulk_with_an_object_twice() {
    on_machine(1024, |_| {
        let cache = create("bulk", 200, SlabFlags::NO_MERGE);
        let (a, b) = (alloc(cache), alloc(cache));
        // SAFETY: none: it is to be caught.
        unsafe { cache.free_bulk(&[a, b, a]) };
    });
}

#[test]
fn new_slabs_are_in_random_order() {
    on_machine(4096, |_| {
        let rises = |seed: usize| {
            let cache = create("order", 64, SlabFlags::NO_MERGE);
            let objects: Vec<_> = (0..64 * seed).map(|_| alloc(cache)).collect();
            let unique: BTreeSet<_> = objects.iter().collect();
            assert_eq!(unique.len(), objects.len());
            cache.validate();
            let rises = objects.windows(2).filter(|pair| pair[1] > pair[0]).count();
            objects.into_iter().for_each(|object| put(cache, object));
            assert_eq!(destroy(cache), Ok(()));
            rises * 100 / (64 * seed)
        };
        set_freelist_random(true);
        let half = rises(10);
        assert!((35..65).contains(&half), "{half} of 100 rise");
        set_freelist_random(false);
        let all = rises(10);
        assert!(!(35..65).contains(&all), "{all} of 100 rise");
    });
}

/// Caches come and go on one CPU while others walk over all of them.
#[test]
fn a_cache_is_not_destroyed_under_who_looks_at_it() {
    on_machine(4096, |m| {
        let rounds = if cfg!(miri) { 3 } else { 300 };
        m.on_cpus(3, |cpu| {
            for _ in 0..rounds {
                if cpu == 0 {
                    let cache = create("brief", 72, SlabFlags::NO_MERGE);
                    put(cache, alloc(cache));
                    assert_eq!(destroy(cache), Ok(()));
                } else if cpu == 1 {
                    shrink_all();
                } else {
                    assert!(slabinfo().count() >= 41);
                }
            }
        });
        validate();
    });
}

/// Checks that a pinned cache is not destroyed before it is unpinned, however long that takes.
#[test]
fn who_destroys_a_cache_waits_for_who_looks_at_it() {
    use core::sync::atomic::{AtomicBool, Ordering::SeqCst};
    on_machine(1024, |m| {
        let cache = create("brief", 72, SlabFlags::NO_MERGE);
        let (pinned, destroyed) = (AtomicBool::new(false), AtomicBool::new(false));
        m.on_cpus(2, |cpu| {
            if cpu == 0 {
                while !pinned.load(SeqCst) {
                    std::thread::yield_now();
                }
                assert_eq!(destroy(cache), Ok(()));
                destroyed.store(true, SeqCst);
            } else {
                let pin = crate::mm::slab::caches::pinned()
                    .find(|c| c.name() == "brief")
                    .expect("listed");
                pinned.store(true, SeqCst);
                // Off the list, and still there.
                while slabinfo().any(|info| info.name == "brief") {
                    std::thread::yield_now();
                }
                (0..100).for_each(|_| std::thread::yield_now());
                assert!(!destroyed.load(SeqCst) && pin.name() == "brief");
            }
        });
        assert!(destroyed.load(SeqCst));
    });
}

/// And gives way, where the one that looks at it is a thread of the same CPU: that would not
/// come to run otherwise.
#[test]
fn who_destroys_a_cache_gives_way_to_who_looks_at_it() {
    on_machine(1024, |_| {
        let cache = create("brief", 72, SlabFlags::NO_MERGE);
        let mut pin = crate::mm::slab::caches::pinned().find(|c| c.name() == "brief");
        let mut rounds = 0;
        let other = move || {
            rounds += 1;
            if rounds == 3 {
                drop(pin.take());
            }
        };
        let destroyed = crate::sched::with_other_thread(other, || destroy(cache));
        assert_eq!(destroyed, Ok(()));
    });
}

/// Zeros would undo a constructor's work, for whoever has the object next too.
#[test]
fn what_a_constructor_made_is_not_filled_with_zeros() {
    fn construct(object: NonNull<u8>) {
        // SAFETY: objects of the cache below have as many bytes.
        unsafe { object.write_bytes(0xc5, 48) };
    }
    let zero = K | Gfp::__GFP_ZERO;
    let cases = [SlabFlags::empty(), SlabFlags::DEBUG_DEFAULT];
    for (debug, watched) in cases.into_iter().flat_map(|flags| [(flags, false), (flags, true)]) {
        on_machine(1024, |_| {
            watch_objects(watched);
            let cache = kmem_cache_create("made", 48, 8, debug, Some(construct)).expect("one");
            let mut bulk = [None; 30];
            for round in 0..4 {
                let objects: Vec<_> = match round {
                    0 => (0..30).filter_map(|_| cache.zalloc(K)).collect(),
                    1 => (0..30).filter_map(|_| cache.alloc_node(zero, node(0))).collect(),
                    2 => {
                        assert!(cache.alloc_bulk(zero, &mut bulk));
                        bulk.iter_mut().filter_map(Option::take).collect()
                    }
                    _ => (0..30).filter_map(|_| cache.alloc(K)).collect(),
                };
                assert_eq!(objects.len(), 30);
                for object in objects {
                    // SAFETY: 48 bytes are ours.
                    let bytes = unsafe { core::slice::from_raw_parts(object.as_ptr(), 48) };
                    assert!(bytes.iter().all(|&byte| byte == 0xc5), "round {round}: {bytes:x?}");
                    put(cache, object);
                }
            }
            cache.validate();
            assert_eq!(destroy(cache), Ok(()));
        });
    }
}
