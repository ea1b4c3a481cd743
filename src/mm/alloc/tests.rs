use super::*;
use crate::addr::{PhysAddr, PhysRange};
use crate::arch::hosted::Machine;
use crate::mm::gfp::Gfp;
use crate::mm::slab::{FailSlab, kmem_cache_init, set_failslab, shrink_all, slabinfo, validate};
use crate::mm::util::{kmemdup, kstrdup, kstrndup, kvfree, kvmalloc, kvmalloc_array, kvrealloc};
use crate::mm::{page_alloc, slab};
use core::cell::Cell;
use proptest::prelude::*;
use std::rc::Rc;
use std::string::String;
use std::vec::Vec as StdVec;

const K: Gfp = Gfp::GFP_KERNEL;

/// Runs `f` on a machine, and sees that it leaves nothing.
pub(super) fn on_machine(f: impl FnOnce()) {
    on_machine_with(|_| f());
}

pub(super) fn on_machine_with(f: impl FnOnce(&Machine)) {
    Machine::run(&[PhysRange::from_size(PhysAddr::new(0x4000_0000), 4 << 20)], |m| {
        page_alloc::init(m.ram());
        kmem_cache_init(3);
        let before = page_alloc::nr_used_pages();
        f(m);
        validate();
        let live: usize = slabinfo()
            .filter(|info| info.name.contains("kmalloc"))
            .map(|info| info.active_objects)
            .sum();
        assert_eq!(live, 0, "something was not freed");
        shrink_all();
        assert_eq!(page_alloc::nr_used_pages(), before);
    });
}

/// Counts how many of its kind are alive.
struct Counted<'a>(&'a Cell<i32>, u32);

impl<'a> Counted<'a> {
    fn new(count: &'a Cell<i32>, n: u32) -> Self {
        count.set(count.get() + 1);
        Self(count, n)
    }
}

impl Clone for Counted<'_> {
    fn clone(&self) -> Self {
        Self::new(self.0, self.1)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// Pushing takes constant time in the long run.
#[test]
fn a_vector_grows_by_what_it_has() {
    on_machine(|| {
        let mut of = KVec::new();
        let mut moves = 0;
        for n in 0..10_000u32 {
            let before = of.capacity();
            of.push(n, K).expect("memory");
            if of.capacity() != before {
                assert!(of.capacity() >= 2 * before, "{before} became {}", of.capacity());
                moves += 1;
            }
        }
        assert!(moves <= 15, "it grew {moves} times");
        assert!(of.iter().copied().eq(0..10_000));
    });
}

#[test]
fn a_box_owns_its_value() {
    on_machine(|| {
        let count = Cell::new(0);
        let mut boxed = KBox::new(Counted::new(&count, 7), K).expect("memory");
        boxed.1 += 1;
        assert_eq!((boxed.1, count.get()), (8, 1));
        let again = KVBox::new(Counted::new(&count, 1), K).expect("memory");
        drop(again);
        assert_eq!(count.get(), 1);
        let raw = Box::into_raw(boxed);
        // SAFETY: it came from there.
        let back = unsafe { KBox::from_raw(raw) };
        let value = Box::into_inner(back);
        assert_eq!((value.1, count.get()), (8, 1));
        drop(value);
        assert_eq!(count.get(), 0);
        let nothing = KBox::new((), K).expect("none needed");
        assert_eq!(Box::into_inner(nothing), ());
        #[repr(align(1024))]
        struct Wide(u8);
        let wide = KBox::new(Wide(3), K).expect("memory");
        assert!((&raw const *wide).addr().is_multiple_of(1024) && wide.0 == 3);
        let uninit = KBox::<u64>::new_uninit(K | Gfp::__GFP_ZERO).expect("memory");
        // SAFETY: zeros are a number.
        assert_eq!(*unsafe { Box::assume_init(uninit) }, 0);
    });
}

#[test]
fn a_vector_grows_and_shrinks() {
    on_machine(|| {
        let mut vec = KVec::with_capacity(3, K).expect("memory");
        assert_eq!((vec.len(), vec.capacity()), (0, 3));
        for n in 0..100u32 {
            vec.push(n, K).expect("memory");
        }
        assert_eq!(vec, StdVec::from_iter(0..100));
        assert_eq!((vec.remove(5), vec.remove(99), vec.pop()), (Some(5), None, Some(99)));
        assert_eq!(vec.len(), 98);
        vec.retain(|n| n.is_multiple_of(10));
        assert_eq!(vec, [0, 10, 20, 30, 40, 50, 60, 70, 80, 90]);
        vec.truncate(3);
        vec.shrink_to(0, K).expect("memory");
        assert_eq!((vec.capacity(), vec.as_slice()), (3, [0, 10, 20].as_slice()));
        assert_eq!(vec.push_within_capacity(9), Err(PushError(9)));
        vec.reserve(2, K).expect("memory");
        assert_eq!(vec.insert_within_capacity(1, 5), Ok(()));
        assert_eq!(vec.insert_within_capacity(9, 5), Err(PushError(5)));
        vec.extend_from_slice(&[1, 2], K).expect("memory");
        vec.resize(8, 4, K).expect("memory");
        assert_eq!(vec, [0, 5, 10, 20, 1, 2, 4, 4]);
        assert_eq!(
            vec.into_iter().map(|n| n + 1).collect::<StdVec<_>>(),
            [1, 6, 11, 21, 2, 3, 5, 5]
        );
        let mut units = KVec::new();
        (0..1000).for_each(|_| units.push((), K).expect("none needed"));
        assert_eq!((units.len(), units.capacity()), (1000, usize::MAX));
    });
}

#[test]
fn each_value_is_dropped_once() {
    on_machine(|| {
        let count = Cell::new(0);
        let mut vec = KVVec::from_elem(Counted::new(&count, 1), 10, K).expect("memory");
        assert_eq!(count.get(), 10);
        vec.truncate(7);
        drop(vec.remove(0));
        assert_eq!(count.get(), 6);
        let mut iter = vec.into_iter();
        drop(iter.next());
        assert_eq!(count.get(), 5);
        drop(iter);
        assert_eq!(count.get(), 0);
        let mut none = KVec::new();
        none.extend_with(0, Counted::new(&count, 1), K).expect("nothing");
        assert_eq!((none.len(), count.get()), (0, 0));
    });
}

#[test]
#[cfg_attr(miri, ignore = "too slow")]
fn want_of_memory_is_an_error_and_changes_nothing() {
    on_machine(|| {
        let quiet = K | Gfp::__GFP_NOWARN;
        assert_eq!(KVec::<u8>::with_capacity(64 << 20, quiet).err(), Some(AllocError));
        assert_eq!(KVec::<u64>::with_capacity(usize::MAX, quiet).err(), Some(AllocError));
        assert_eq!(VVec::<u8>::with_capacity(8, quiet).err(), Some(AllocError), "on a host");
        let mut vec = KVec::new();
        vec.extend_from_slice(&[1u8; 100], K).expect("memory");
        assert_eq!(vec.reserve(usize::MAX, quiet), Err(AllocError));
        assert_eq!(vec.reserve(usize::MAX - 100, quiet), Err(AllocError));
        assert_eq!(vec.reserve(8 << 20, quiet), Err(AllocError));
        assert_eq!(vec, [1u8; 100]);
        // Until nothing is left.
        let mut last = vec;
        while last.push(1, quiet).is_ok() {}
        assert!(last.len() >= 1 << 20 && last.iter().all(|&byte| byte == 1));
    });
}

/// Each operation with each of its allocations failing: an error, and nothing is lost.
#[test]
fn the_nth_allocation_fails() {
    on_machine(|| {
        let count = Cell::new(0);
        let all = || -> Result<(), AllocError> {
            let mut vec = KVec::with_capacity(1, K)?;
            for n in 0..40 {
                vec.push(Counted::new(&count, n), K)?;
            }
            let copy = KVVec::from_elem(Counted::new(&count, 0), 20, K)?;
            let boxed = KBox::new(copy, K)?;
            vec.extend_from_slice(&boxed, K)?;
            vec.truncate(2);
            vec.shrink_to(2, K)?;
            let _ = KBox::pin(vec, K)?;
            Ok(())
        };
        let mut failures = 0;
        for nth in 0.. {
            let fail = FailSlab { interval: 1, probability: 100, space: nth, times: 1 };
            let _ = set_failslab(Some(fail));
            let result = all();
            let failed = set_failslab(None);
            // A grown block that fails is asked for once more, smaller.
            assert!(result.is_ok() || failed == 1, "allocation {nth}");
            assert_eq!(count.get(), 0, "allocation {nth}");
            failures += u32::from(result.is_err());
            if failed == 0 {
                break;
            }
        }
        assert!(failures >= 5, "{failures}");
    });
}

#[test]
fn copies_are_their_own() {
    on_machine(|| {
        let free = |at: *const u8| {
            // SAFETY: from kmalloc, once.
            unsafe { slab::kfree(at) }
        };
        let text = kstrdup(c"granule", K).expect("memory");
        let short = kstrndup(c"granule", 4, K).expect("memory");
        // SAFETY: strings for C.
        let str = |at: core::ptr::NonNull<core::ffi::c_char>| unsafe {
            String::from(core::ffi::CStr::from_ptr(at.as_ptr()).to_str().expect("text"))
        };
        assert_eq!((str(text), str(short)), ("granule".into(), "gran".into()));
        free(text.as_ptr().cast());
        free(short.as_ptr().cast());
        let bytes = kmemdup(&[1, 2, 3], K).expect("memory");
        // SAFETY: three bytes.
        assert_eq!(unsafe { core::slice::from_raw_parts(bytes.as_ptr(), 3) }, [1, 2, 3]);
        free(bytes.as_ptr());
        assert_eq!(kmemdup(&[], K), Some(slab::ZERO_SIZE_PTR));
    });
}

#[test]
fn kvmalloc_is_kmalloc_where_that_has_it() {
    on_machine(|| {
        let small = kvmalloc(100, K).expect("memory");
        // SAFETY: 100 bytes are ours.
        unsafe { small.write_bytes(5, 100) };
        // SAFETY: it is used through what comes back.
        let large = unsafe { kvrealloc(small.as_ptr(), 20_000, K) }.expect("memory");
        // SAFETY: 100 bytes of it are written.
        let bytes = unsafe { core::slice::from_raw_parts(large.as_ptr(), 100) };
        assert_eq!(bytes, [5; 100]);
        assert_eq!(kvmalloc_array(usize::MAX, 2, K), None);
        // SAFETY: it stays as it is.
        assert_eq!(unsafe { kvrealloc(large.as_ptr(), 64 << 20, K) }, None);
        // SAFETY: from there, once; null is fine.
        unsafe {
            kvfree(large.as_ptr());
            kvfree(core::ptr::null());
        }
    });
}

#[derive(Clone, Debug)]
enum Op {
    Push(u32),
    Pop,
    Insert(usize, u32),
    Remove(usize),
    Truncate(usize),
    Retain(u32),
    Extend(StdVec<u32>),
    Resize(usize),
    ShrinkTo(usize),
    Reserve(usize),
}

fn op() -> impl Strategy<Value = Op> {
    let at = 0usize..200;
    prop_oneof![
        4 => any::<u32>().prop_map(Op::Push),
        2 => Just(Op::Pop),
        2 => (at.clone(), any::<u32>()).prop_map(|(at, value)| Op::Insert(at, value)),
        2 => at.clone().prop_map(Op::Remove),
        1 => at.clone().prop_map(Op::Truncate),
        1 => (2u32..5).prop_map(Op::Retain),
        2 => prop::collection::vec(any::<u32>(), 0..60).prop_map(Op::Extend),
        1 => at.clone().prop_map(Op::Resize),
        1 => at.clone().prop_map(Op::ShrinkTo),
        1 => at.prop_map(Op::Reserve),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 2 } else { 60 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]
    /// Values that own memory: a lost or a doubled one is found.
    #[test]
    fn a_vector_is_as_the_standard_one(ops in prop::collection::vec(op(), 1..60)) {
        on_machine(|| {
            let one = |value: &u32| Rc::new(*value);
            let mut vec = KVec::new();
            let mut model = StdVec::new();
            for op in &ops {
                match op {
                    Op::Push(value) => {
                        vec.push(one(value), K).expect("memory");
                        model.push(one(value));
                    }
                    Op::Pop => assert_eq!(vec.pop(), model.pop()),
                    Op::Insert(at, value) => {
                        vec.reserve(1, K).expect("memory");
                        let went = vec.insert_within_capacity(*at, one(value)).is_ok();
                        assert_eq!(went, *at <= model.len());
                        if went {
                            model.insert(*at, one(value));
                        }
                    }
                    Op::Remove(at) => {
                        let gone = (*at < model.len()).then(|| model.remove(*at));
                        assert_eq!(vec.remove(*at), gone);
                    }
                    Op::Truncate(len) => {
                        vec.truncate(*len);
                        model.truncate(*len);
                    }
                    Op::Retain(of) => {
                        vec.retain(|value| !value.is_multiple_of(*of));
                        model.retain(|value| !value.is_multiple_of(*of));
                    }
                    Op::Extend(values) => {
                        let values: StdVec<_> = values.iter().map(one).collect();
                        vec.extend_from_slice(&values, K).expect("memory");
                        model.extend_from_slice(&values);
                    }
                    Op::Resize(len) => {
                        vec.resize(*len, one(&1), K).expect("memory");
                        model.resize(*len, one(&1));
                    }
                    Op::ShrinkTo(to) => vec.shrink_to(*to, K).expect("memory"),
                    Op::Reserve(more) => {
                        vec.reserve(*more, K).expect("memory");
                        assert!(vec.capacity() >= model.len() + more);
                    }
                }
                assert_eq!(vec, model);
            }
        });
    }
}
