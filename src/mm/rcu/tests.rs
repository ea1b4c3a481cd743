//! Values that readers see while others replace them, on small machines.

use super::*;
use crate::addr::{PhysAddr, PhysRange};
use crate::arch::hosted::Machine;
use crate::mm::alloc::KBox;
use crate::mm::gfp::Gfp;
use crate::mm::slab::{self, SlabFlags, kmem_cache_create, kmem_cache_destroy};
use crate::mm::util::kvmalloc;
use crate::mm::validate;
use crate::mm::{page_alloc, shrinker};
use crate::sched::rcu::{RcuHead, rcu_barrier, rcu_pending, rcu_read_lock, synchronize_rcu};
use core::ptr::NonNull;
use core::sync::atomic::AtomicUsize;
use core::sync::atomic::Ordering::SeqCst;
use std::sync::Arc;
use std::vec::Vec;

const K: Gfp = Gfp::GFP_KERNEL;

fn on_machine(f: impl FnOnce(&Machine)) {
    Machine::run(&[PhysRange::from_size(PhysAddr::new(0x4000_0000), 4 << 20)], |m| {
        page_alloc::init(m.ram());
        slab::kmem_cache_init(7);
        f(m);
        rcu_barrier();
        slab::validate();
        validate::validate().expect("a sound allocator");
    });
}

fn active_objects() -> usize {
    slab::slabinfo()
        .filter(|info| !["slab_sheaf", "kmem_cache"].contains(&info.name))
        .map(|info| info.active_objects)
        .sum()
}

/// A value that says when it is dropped.
struct Counted(u64, Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0 = 0xdead;
        self.1.fetch_add(1, SeqCst);
    }
}

#[test]
fn a_value_is_dropped_when_its_readers_are_done() {
    on_machine(|m| {
        let dropped = Arc::new(AtomicUsize::new(0));
        let value = |n| RcuBox::new(Counted(n, Arc::clone(&dropped)), K).expect("memory");
        let shared = Rcu::new(value(1));
        let step = AtomicUsize::new(0);
        let wait_for = |n: usize| {
            while step.load(SeqCst) < n {
                std::thread::yield_now();
            }
        };
        m.on_cpus(2, |cpu| {
            if cpu == 0 {
                let guard = rcu_read_lock();
                let seen = shared.read(&guard).expect("a value");
                step.store(1, SeqCst);
                wait_for(2);
                // The other waits for this one now, or is about to.
                (0..200).for_each(|_| std::thread::yield_now());
                assert_eq!((seen.0, dropped.load(SeqCst)), (1, 0));
                // Who looks again finds the new one.
                assert_eq!(shared.read(&guard).map(|new| new.0), Some(2));
                step.store(3, SeqCst);
            } else {
                wait_for(1);
                let old = shared.replace(Some(value(2)));
                assert_eq!(old.as_ref().map(|old| old.0), Some(1));
                drop(old);
                assert_eq!((rcu_pending(), dropped.load(SeqCst)), (1, 0));
                step.store(2, SeqCst);
                rcu_barrier();
                assert_eq!(step.load(SeqCst), 3, "the reader was waited for");
                assert_eq!((rcu_pending(), dropped.load(SeqCst)), (0, 1));
            }
        });
        drop(shared);
        rcu_barrier();
        assert_eq!(dropped.load(SeqCst), 2);
    });
}

/// Readers on some CPUs, and one that replaces what they read as fast as it can: nobody sees a
/// value that was dropped.
#[test]
fn nobody_sees_what_is_gone() {
    on_machine(|m| {
        let before = active_objects();
        let dropped = Arc::new(AtomicUsize::new(0));
        let value = |n| RcuBox::new(Counted(n, Arc::clone(&dropped)), K).expect("memory");
        let shared = Rcu::new(value(0));
        let rounds = if cfg!(miri) { 20 } else { 2000 };
        let done = AtomicUsize::new(0);
        m.on_cpus(3, |cpu| {
            if cpu == 0 {
                for n in 1..=rounds {
                    drop(shared.replace(Some(value(n))));
                    if n % 8 == 0 {
                        synchronize_rcu();
                        rcu_barrier();
                    }
                }
                done.store(1, SeqCst);
            } else {
                let mut last = 0;
                while done.load(SeqCst) == 0 {
                    let guard = rcu_read_lock();
                    let outer = rcu_read_lock();
                    let seen = shared.read(&guard).expect("a value").0;
                    assert!(seen >= last && seen <= rounds, "{seen} after {last}");
                    last = seen;
                    drop(guard);
                    let seen = shared.read(&outer).expect("a value");
                    std::thread::yield_now();
                    assert!(seen.0 <= rounds);
                }
            }
        });
        drop(shared);
        rcu_barrier();
        assert_eq!(dropped.load(SeqCst) as u64, rounds + 1);
        assert_eq!(active_objects(), before);
    });
}

#[test]
fn memory_is_freed_by_its_address() {
    struct Object {
        head: RcuHead,
        _rest: [u64; 20],
    }
    on_machine(|_| {
        let before = active_objects();
        for size in [64, 5000, 20_000] {
            let plain = kvmalloc(size, K).expect("memory");
            // SAFETY: from there, once.
            unsafe { kvfree_rcu_mightsleep(plain) };
        }
        let object = KBox::new(Object { head: RcuHead::new(), _rest: [0; 20] }, K).expect("memory");
        let object = KBox::into_raw(object);
        // SAFETY: from kmalloc, once; the head is a part of it.
        unsafe {
            let head = NonNull::new_unchecked(&raw mut (*object.as_ptr()).head);
            kvfree_rcu(object.cast(), head);
        }
        assert_eq!(rcu_pending(), 4);
        assert!(active_objects() > before, "nothing is freed yet");
        rcu_barrier();
        assert_eq!((rcu_pending(), active_objects()), (0, before));
    });
}

/// Without memory to remember it by, memory is freed all the same.
#[test]
fn freeing_needs_no_memory() {
    on_machine(|_| {
        let plain = kvmalloc(100, K).expect("memory");
        let value = RcuBox::new([0u64; 9], K).expect("memory");
        let fail = slab::FailSlab { interval: 1, probability: 100, space: 0, times: u32::MAX };
        let _ = slab::set_failslab(Some(fail));
        // SAFETY: from there, once.
        unsafe { kvfree_rcu_mightsleep(plain) };
        assert_eq!(rcu_pending(), 0, "it waited");
        drop(value);
        assert_eq!(rcu_pending(), 1);
        rcu_barrier();
        assert!(slab::set_failslab(None) > 0);
        assert_eq!(active_objects(), 0);
    });
}

#[test]
fn reclaim_frees_what_waits() {
    on_machine(|_| {
        for _ in 0..100 {
            drop(RcuBox::new([0u64; 200], K).expect("memory"));
        }
        assert_eq!(shrinker::reclaimable(K), 100);
        {
            let _guard = rcu_read_lock();
            assert_eq!(shrinker::shrink_slab(K, 0).freed, 0, "not under a reader");
        }
        assert_eq!(shrinker::shrink_slab(K, 0).freed, 100);
        assert_eq!((rcu_pending(), active_objects()), (0, 0));
    });
}

#[test]
#[should_panic(expected = "inside of an RCU read section")]
fn a_reader_does_not_wait_for_readers() {
    on_machine(|_| {
        let _guard = rcu_read_lock();
        synchronize_rcu();
    });
}

#[test]
#[cfg_attr(not(debug_assertions), ignore = "checked in debug builds")]
#[should_panic(expected = "not GFP_ATOMIC or GFP_NOWAIT: inside of an RCU read section")]
fn a_reader_does_not_sleep_for_memory() {
    on_machine(|_| {
        let _guard = rcu_read_lock();
        let _ = slab::kmalloc(64, K);
    });
}

/// The memory of a slab that became empty is a slab of its cache's until readers are done.
#[test]
fn pages_of_a_type_safe_cache_wait_for_readers() {
    for debug in [SlabFlags::empty(), SlabFlags::DEBUG_DEFAULT] {
        on_machine(|_| {
            let before = page_alloc::nr_used_pages();
            let flags = SlabFlags::TYPESAFE_BY_RCU | debug;
            let cache = kmem_cache_create("safe", 96, 8, flags, None).expect("a cache");
            let other = kmem_cache_create("safe_too", 96, 8, flags, None).expect("a cache");
            assert!(!core::ptr::eq(cache, other), "never merged");
            let objects: Vec<_> = (0..1000).map(|_| cache.alloc(K).expect("memory")).collect();
            for object in &objects {
                // SAFETY: 96 bytes are ours.
                unsafe { object.write_bytes(0x5a, 96) };
            }
            let guard = rcu_read_lock();
            for &object in &objects {
                // SAFETY: from this cache, once.
                unsafe { cache.free(object) };
            }
            cache.shrink();
            assert_eq!(cache.info().slabs, 0, "they are the cache's no more");
            for object in &objects {
                // SAFETY: its memory is still there, as it was when it was freed: a reader may
                // look at it.
                let bytes = unsafe { core::slice::from_raw_parts(object.as_ptr(), 96) };
                assert!(bytes.iter().all(|&byte| byte == 0x5a), "{bytes:x?}");
                let at = crate::addr::VirtAddr::from_ptr(object.as_ptr());
                let frame = crate::mm::page::Frame::from_virt(at).expect("a frame");
                let slab = slab::slab_of(frame).expect("a slab's still");
                assert_eq!((slab.cache, slab.in_use), ("safe", 0));
            }
            drop(guard);
            // Not one is left that names it.
            // SAFETY: nobody uses it.
            assert_eq!(unsafe { kmem_cache_destroy(cache) }, Ok(()));
            assert_eq!(rcu_pending(), 0);
            // SAFETY: nor the other.
            assert_eq!(unsafe { kmem_cache_destroy(other) }, Ok(()));
            slab::shrink_all();
            page_alloc::drain_all_pages();
            assert_eq!(page_alloc::nr_used_pages(), before);
        });
    }
}
