use crate::mm::alloc::tests::{on_machine, on_machine_with};
use crate::mm::alloc::{KArc, KBox};
use crate::mm::gfp::Gfp;
use crate::mm::slab::{FailSlab, set_failslab};
use crate::unsize;
use std::format;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

const K: Gfp = Gfp::GFP_KERNEL;

static ALIVE: AtomicU32 = AtomicU32::new(0);

/// Counts how many of its kind are alive.
struct Counted<const N: usize>([u8; N]);

impl<const N: usize> Counted<N> {
    fn new(alive: &'static AtomicU32) -> Self {
        alive.fetch_add(1, SeqCst);
        Self([N as u8; N])
    }
}

impl<const N: usize> Drop for Counted<N> {
    fn drop(&mut self) {
        ALIVE.fetch_sub(1, SeqCst);
    }
}

trait Sum: Send + Sync {
    fn sum(&self) -> usize;
}

impl<const N: usize> Sum for Counted<N> {
    fn sum(&self) -> usize {
        self.0.iter().map(|&n| usize::from(n)).sum()
    }
}

/// A type whose alignment puts padding between count and value.
#[repr(align(64))]
struct Wide(u8);

impl Sum for Wide {
    fn sum(&self) -> usize {
        assert!(core::ptr::from_ref(self).addr().is_multiple_of(64));
        self.0.into()
    }
}

#[test]
fn a_value_lives_as_long_as_its_references() {
    on_machine(|| {
        let first = KArc::new(Counted::<3>::new(&ALIVE), K).expect("memory");
        let mut second = first.clone();
        assert_eq!((KArc::strong_count(&first), first.sum()), (2, 9));
        assert!(KArc::ptr_eq(&first, &second) && KArc::as_ptr(&first) == KArc::as_ptr(&second));
        assert!(KArc::get_mut(&mut second).is_none());
        drop(first);
        assert_eq!(ALIVE.load(SeqCst), 1);
        KArc::get_mut(&mut second).expect("it is alone").0[0] = 7;
        let unsized_too: KArc<dyn Sum> = unsize!(KArc, second => dyn Sum);
        let again = unsized_too.clone();
        drop(unsized_too);
        assert_eq!((again.sum(), KArc::strong_count(&again), ALIVE.load(SeqCst)), (13, 1, 1));
        let mut all: [KArc<dyn Sum>; 3] = [
            again,
            unsize!(KArc, KArc::new(Counted::<100>::new(&ALIVE), K).expect("memory") => dyn Sum),
            unsize!(KArc, KArc::new(Wide(4), K).expect("memory") => dyn Sum),
        ];
        assert_eq!(all.each_ref().map(|one| one.sum()), [13, 10_000, 4]);
        assert!(KArc::get_mut(&mut all[1]).is_some());
        let boxed = KBox::new(Counted::<5>::new(&ALIVE), K).expect("memory");
        let boxed: KBox<dyn Sum> = unsize!(KBox, boxed => dyn Sum);
        assert_eq!((boxed.sum(), ALIVE.load(SeqCst)), (25, 3));
        // A value of size 0 has no memory.
        let nothing: KBox<dyn Fn() -> u8> =
            unsize!(KBox, KBox::new(|| 3u8, K).expect("none needed") => dyn Fn() -> u8);
        assert_eq!(nothing(), 3);
        drop((all, boxed));
        assert_eq!(ALIVE.load(SeqCst), 0);
        let text = KArc::new("shown", K).expect("memory");
        assert_eq!(format!("{text} {text:?}"), "shown \"shown\"");
    });
}

#[test]
fn cpus_share_a_value() {
    on_machine_with(|machine| {
        struct Flag<'a>(&'a AtomicU32, AtomicU32);
        impl Drop for Flag<'_> {
            fn drop(&mut self) {
                assert_eq!(*self.1.get_mut(), 200);
                self.0.fetch_add(1, SeqCst);
            }
        }
        let dropped = AtomicU32::new(0);
        let flag = KArc::new(Flag(&dropped, AtomicU32::new(0)), K).expect("memory");
        machine.on_cpus(2, |_| {
            for _ in 0..100 {
                flag.clone().1.fetch_add(1, SeqCst);
            }
        });
        drop(flag);
        assert_eq!(dropped.load(SeqCst), 1);
    });
}

#[test]
fn too_many_references_are_a_panic() {
    on_machine(|| {
        let arc = KArc::new(1u8, K).expect("memory");
        arc.inner().refcount.store(super::MAX, SeqCst);
        let panic = catch_unwind(AssertUnwindSafe(|| core::mem::forget(arc.clone())));
        assert!(panic.is_err(), "the count would wrap");
        arc.inner().refcount.store(1, SeqCst);
    });
}

#[test]
fn want_of_memory_drops_the_value() {
    on_machine(|| {
        static HERE: AtomicU32 = AtomicU32::new(0);
        struct Here;
        impl Drop for Here {
            fn drop(&mut self) {
                HERE.fetch_add(1, SeqCst);
            }
        }
        set_failslab(Some(FailSlab { interval: 1, probability: 100, space: 0, times: u32::MAX }));
        assert!(KArc::new(Here, K).is_err());
        assert_eq!(set_failslab(None), 1);
        assert_eq!(HERE.load(SeqCst), 1);
    });
}
