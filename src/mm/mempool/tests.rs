use super::*;
use crate::addr::{Order, PhysAddr, PhysRange};
use crate::arch::hosted::Machine;
use crate::mm::page_alloc;
use crate::mm::slab::{
    FailSlab, SlabFlags, kmem_cache_create, kmem_cache_destroy, kmem_cache_init, set_failslab,
};
use proptest::prelude::*;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::vec::Vec;

const K: Gfp = Gfp::GFP_KERNEL;
const NO: Gfp = Gfp::GFP_NOWAIT;

fn on_machine(f: impl FnOnce(&Machine)) {
    Machine::run(&[PhysRange::from_size(PhysAddr::new(0x4000_0000), 2 << 20)], |m| {
        page_alloc::init(m.ram());
        kmem_cache_init(3);
        f(m);
    });
}

/// Objects of which there are so many, and no more.
struct Few {
    left: AtomicUsize,
}

// SAFETY: kmalloc gives memory that is no one else's.
#[expect(unsafe_code, reason = "a backing")]
unsafe impl Backing for Few {
    fn alloc(&self, gfp: Gfp) -> Option<NonNull<u8>> {
        self.left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).ok()?;
        crate::mm::slab::kmalloc(48, gfp)
    }
    unsafe fn free(&self, element: NonNull<u8>) {
        self.left.fetch_add(1, Relaxed);
        // SAFETY: it came from kmalloc.
        unsafe { crate::mm::slab::kfree(element.as_ptr()) }
    }
}

fn few(left: usize) -> Few {
    Few { left: AtomicUsize::new(left) }
}

fn free<B: Backing>(pool: &Mempool<B>, element: NonNull<u8>) {
    pool.take_back(Element(element));
}

#[test]
fn the_reserve_is_the_last_resort_and_the_first_to_be_refilled() {
    on_machine(|_| {
        let pool = Mempool::new(3, few(5)).expect("a pool");
        assert_eq!((pool.min_nr(), pool.reserved()), (3, 3));
        let mut all: Vec<_> = (0..5).map(|_| pool.alloc(NO).expect("one")).collect();
        assert_eq!(pool.reserved(), 0);
        assert_eq!(pool.alloc(NO), None);
        pool.validate();
        for n in 1..=3 {
            free(&pool, all.pop().expect("one"));
            assert_eq!((pool.reserved(), pool.backing.left.load(Relaxed)), (n, 0));
        }
        free(&pool, all.pop().expect("one"));
        assert_eq!((pool.reserved(), pool.backing.left.load(Relaxed)), (3, 1));
        let again = pool.alloc(NO).expect("one");
        assert_eq!(pool.reserved(), 3, "the backing is asked first");
        free(&pool, again);
        free(&pool, all.pop().expect("one"));
        pool.validate();
    });
}

#[test]
fn who_may_sleep_waits_for_a_free() {
    on_machine(|m| {
        let pool = Mempool::new(2, few(2)).expect("a pool");
        let held =
            Mutex::new((0..2).map(|_| Element(pool.alloc(NO).expect("one"))).collect::<Vec<_>>());
        let got = AtomicUsize::new(0);
        m.on_cpus(2, |cpu| {
            if cpu == 0 {
                let element = pool.alloc(K).expect("never fails");
                got.store(1, Relaxed);
                free(&pool, element);
            } else {
                (0..50).for_each(|_| std::thread::yield_now());
                assert_eq!(got.load(Relaxed), 0, "there was nothing to be had");
                let element = held.lock().unwrap().pop().expect("one");
                free(&pool, element.0);
            }
        });
        assert_eq!(got.load(Relaxed), 1);
        let last = held.lock().unwrap().pop().expect("one");
        free(&pool, last.0);
        pool.validate();
        assert_eq!(pool.reserved(), 2);
    });
}

/// The one who waits asks again after so many rounds by himself; within them it is the free
/// that he goes on for, as the element is not the backing's then.
#[test]
fn a_pool_without_a_reserve_hands_a_freed_element_to_who_waits() {
    for resized in [false, true] {
        on_machine(|_| {
            let pool = Mempool::new(if resized { 2 } else { 0 }, few(2)).expect("a pool");
            let held: Vec<_> = (0..2).map(|_| pool.alloc(NO).expect("one")).collect();
            pool.resize(0).expect("memory");
            assert_eq!(pool.alloc(NO), None);
            free(&pool, held[0]);
            assert_eq!((pool.reserved(), pool.backing.left.load(Relaxed)), (1, 0), "for him");
            pool.validate();
            // Whoever does not wait has it too, and the next goes to the backing.
            assert_eq!(pool.alloc(NO), Some(held[0]));
            free(&pool, held[0]);
            free(&pool, held[1]);
            assert_eq!((pool.reserved(), pool.backing.left.load(Relaxed)), (1, 1));
            pool.resize(3).expect_err("there are two");
            pool.resize(2).expect("memory");
            assert_eq!((pool.reserved(), pool.backing.left.load(Relaxed)), (2, 0));
            pool.validate();
        });
    }
}

/// Remembers how it was asked.
struct Listening(Mutex<Vec<Gfp>>);

// SAFETY: kmalloc gives memory that is no one else's.
#[expect(unsafe_code, reason = "a backing")]
unsafe impl Backing for Listening {
    fn alloc(&self, gfp: Gfp) -> Option<NonNull<u8>> {
        let mut asked = self.0.lock().unwrap();
        asked.push(gfp);
        // What is asked without reclaim is refused.
        let may = gfp.contains(Gfp::__GFP_DIRECT_RECLAIM);
        may.then(|| crate::mm::slab::kmalloc(48, gfp)).flatten()
    }
    unsafe fn free(&self, element: NonNull<u8>) {
        // SAFETY: it came from kmalloc.
        unsafe { crate::mm::slab::kfree(element.as_ptr()) }
    }
}

/// The backing is asked without reclaim first, and at most for one try with it then; it is not
/// to touch other reserves for the pool, nor to fill what the pool's own reserve would not.
#[test]
fn the_backing_is_asked_gently() {
    on_machine(|_| {
        let pool = Mempool::new(1, Listening(Mutex::default())).expect("a pool");
        let first = pool.alloc(K | Gfp::__GFP_ZERO | Gfp::__GFP_NOFAIL).expect("the reserve's");
        let second = pool.alloc(K | Gfp::__GFP_ZERO).expect("by reclaim");
        let asked = core::mem::take(&mut *pool.backing.0.lock().unwrap());
        let always = Gfp::__GFP_NOMEMALLOC | Gfp::__GFP_NORETRY | Gfp::__GFP_NOWARN;
        let light = (K - (Gfp::__GFP_DIRECT_RECLAIM | Gfp::__GFP_IO)) | always;
        // One for the reserve; for the first, which the reserve had; for the second.
        assert_eq!(asked, [K, light, light, K | always]);
        free(&pool, first);
        free(&pool, second);
    });
}

#[test]
fn the_size_changes() {
    on_machine(|_| {
        let pool = Mempool::new(2, few(6)).expect("a pool");
        pool.resize(4).expect("memory");
        assert_eq!((pool.reserved(), pool.backing.left.load(Relaxed)), (4, 2));
        pool.resize(1).expect("memory");
        assert_eq!((pool.reserved(), pool.backing.left.load(Relaxed)), (1, 5));
        // More than there are: the size holds, and frees fill it.
        let one = pool.alloc(NO).expect("one");
        assert_eq!(pool.resize(9), Err(AllocError));
        assert_eq!((pool.min_nr(), pool.reserved()), (9, 5));
        free(&pool, one);
        assert_eq!(pool.reserved(), 6);
        pool.resize(0).expect("memory");
        // Of nothing it keeps none, but what is freed next.
        assert_eq!((pool.reserved(), pool.backing.left.load(Relaxed)), (0, 6));
        pool.validate();
        assert!(Mempool::new(7, few(6)).is_err());
    });
}

#[test]
#[expect(unsafe_code, reason = "a cache is destroyed")]
fn slab_kmalloc_and_pages_back_pools() {
    on_machine(|_| {
        let cache = kmem_cache_create("pool", 104, 8, SlabFlags::NO_MERGE, None).expect("a cache");
        // SAFETY: the pool is dropped before.
        let slab = unsafe { SlabPool::of_cache(4, cache) }.expect("a pool");
        let bytes = KmallocPool::of_size(4, 700).expect("a pool");
        let pages = PagePool::of_order(2, Order::new(1).expect("an order")).expect("a pool");
        assert_eq!(cache.info().active_objects, 4);
        let (a, b, c) = (slab.alloc(K), bytes.alloc(K), pages.alloc(K));
        let [a, b, c] = [a, b, c].map(|element| element.expect("memory"));
        // SAFETY: they are ours.
        unsafe {
            a.write_bytes(1, 104);
            b.write_bytes(1, 700);
            c.write_bytes(1, 8192);
        }
        assert!(c.addr().get().is_multiple_of(8192));
        assert_eq!(cache.info().active_objects, 5);
        // Where the allocators have nothing, the reserve does.
        let fail = FailSlab { interval: 1, probability: 100, space: 0, times: u32::MAX };
        let _ = set_failslab(Some(fail));
        let more: Vec<_> = core::iter::from_fn(|| slab.alloc(NO)).collect();
        assert_eq!(more.len(), 4);
        let _ = set_failslab(None);
        more.into_iter().for_each(|element| free(&slab, element));
        // SAFETY: from these pools, once.
        unsafe {
            slab.free(a);
            bytes.free(b);
            pages.free(c);
        }
        slab.validate();
        drop(slab);
        assert_eq!(cache.info().active_objects, 0);
        // SAFETY: nobody uses it.
        assert_eq!(unsafe { kmem_cache_destroy(cache) }, Ok(()));
    });
}

#[derive(Clone, Debug)]
enum Op {
    Alloc(usize),
    Free(usize, usize),
    Preallocated,
    Resize(usize),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (1usize..8).prop_map(Op::Alloc),
        4 => (0usize..100, 1usize..8).prop_map(|(first, count)| Op::Free(first, count)),
        1 => Just(Op::Preallocated),
        1 => (0usize..12).prop_map(Op::Resize),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 2 } else { 60 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]
    #[test]
    fn elements_are_held_reserved_or_left(
        ops in prop::collection::vec(op(), 1..60), total in 0usize..30
    ) {
        on_machine(|_| {
            let pool = Mempool::new(0, few(total)).expect("a pool");
            let mut held = Vec::new();
            for op in ops {
                let (reserved, left) = (pool.reserved(), pool.backing.left.load(Relaxed));
                match op {
                    Op::Alloc(count) => {
                        let got: Vec<_> = (0..count).map_while(|_| pool.alloc(NO)).collect();
                        assert_eq!(got.len(), count.min(reserved + left));
                        assert_eq!(pool.reserved(), reserved - got.len().saturating_sub(left));
                        held.extend(got);
                    }
                    Op::Free(first, count) => {
                        let first = first.checked_rem(held.len()).unwrap_or(0);
                        let end = (first + count).min(held.len());
                        let gone = end - first;
                        held.drain(first..end).for_each(|element| free(&pool, element));
                        let want = reserved.max((reserved + gone).min(pool.min_nr().max(1)));
                        assert_eq!(pool.reserved(), want);
                    }
                    Op::Preallocated => {
                        let element = pool.alloc_preallocated();
                        assert_eq!(element.is_some(), reserved > 0);
                        held.extend(element);
                    }
                    Op::Resize(min_nr) => {
                        let went = pool.resize(min_nr).is_ok();
                        assert_eq!(went, reserved + left >= min_nr);
                        assert_eq!(pool.min_nr(), min_nr);
                    }
                }
                pool.validate();
                let left = pool.backing.left.load(Relaxed);
                assert_eq!(held.len() + pool.reserved() + left, total);
            }
            held.drain(..).for_each(|element| free(&pool, element));
        });
    }
}
