//! The protocols, each as short as it can be and still go wrong.

pub mod asid;
pub mod locks;
pub mod mm;

use crate::arch::CpuId;
use crate::arch::irq::with_masked;
use crate::root::{LEAF_SECTIONS, Leaf, Root};
use crate::sched::rq::RunQueue;
use crate::sched::task::TaskState;
use crate::sched::wait::WaitQueue;
use crate::sched::{look_beside, task};
use crate::shim::atomic::{AtomicU32, Ordering};
use crate::shim::become_cpu;
use crate::shim::sched::{Cpu0, attach, detach};
use crate::sync::{Rank, Request, SpinLock};
use loom::cell::UnsafeCell;
use loom::thread;
use std::sync::Arc;

/// Adds 1 in two steps: loom reports whoever is there at the same time, or does not see what
/// was there before.
fn add(value: &UnsafeCell<u32>) {
    // SAFETY: loom checks that nobody else is there.
    let before = value.with(|at| unsafe { *at });
    // SAFETY: as above.
    value.with_mut(|at| unsafe { *at = before + 1 });
}

fn lock_of_two() -> Arc<SpinLock<UnsafeCell<u32>>> {
    let lock = SpinLock::new(Rank::Zone, UnsafeCell::new(0));
    // The word is made here, before there is a second CPU.
    with_masked(|irq| drop(lock.lock(irq)));
    Arc::new(lock)
}

pub fn spinlock_excludes_and_publishes() {
    let lock = lock_of_two();
    let other = Arc::clone(&lock);
    let second = thread::spawn(move || {
        become_cpu(1);
        with_masked(|irq| add(&other.lock(irq)));
    });
    with_masked(|irq| add(&lock.lock(irq)));
    second.join().expect("no panic");
    // SAFETY: the other CPU is gone.
    with_masked(|irq| lock.lock(irq).with(|at| assert_eq!(unsafe { *at }, 2)));
}

pub fn try_lock_excludes_and_publishes() {
    let lock = lock_of_two();
    let other = Arc::clone(&lock);
    let second = thread::spawn(move || {
        become_cpu(1);
        with_masked(|irq| other.try_lock(irq).map(|value| add(&value)).is_some())
    });
    let first = with_masked(|irq| lock.try_lock(irq).map(|value| add(&value)).is_some());
    let second = second.join().expect("no panic");
    assert!(first || second, "one of them finds it open");
    let sum = u32::from(first) + u32::from(second);
    // SAFETY: the other CPU is gone.
    with_masked(|irq| lock.lock(irq).with(|at| assert_eq!(unsafe { *at }, sum)));
}

/// Two CPUs ask, each about what it has made ready; a third does what it sees to be ready, in
/// interrupts that come at any time.
pub fn what_is_asked_is_done() {
    struct Shared {
        request: Request,
        /// Data that each of them made ready, and that was done with it.
        ready: [AtomicU32; 2],
        done: [AtomicU32; 2],
    }
    impl Shared {
        fn interrupt(&self) {
            self.request.run_if_requested(|| {
                for (ready, done) in self.ready.iter().zip(&self.done) {
                    done.store(ready.load(Ordering::Relaxed), Ordering::Relaxed);
                }
            });
        }
        fn is_done(&self, n: usize) -> bool {
            self.done[n].load(Ordering::Relaxed) == 1
        }
    }
    let words = || [AtomicU32::new(0), AtomicU32::new(0)];
    let shared = Arc::new(Shared { request: Request::new(), ready: words(), done: words() });
    for word in shared.ready.iter().chain(&shared.done) {
        assert_eq!(word.load(Ordering::Relaxed), 0);
    }
    shared.request.run_if_requested(|| unreachable!("nobody asked"));
    let ask = |n: usize| {
        let shared = Arc::clone(&shared);
        move || {
            shared.ready[n].store(1, Ordering::Relaxed);
            let ticket = shared.request.ask();
            let early = shared.request.is_answered(ticket);
            assert!(!early || shared.is_done(n), "answered, and not done");
            ticket
        }
    };
    let askers = [thread::spawn(ask(0)), thread::spawn(ask(1))];
    shared.interrupt();
    shared.interrupt();
    let tickets = askers.map(|asker| asker.join().expect("no panic"));
    // The interrupt of the last question.
    shared.interrupt();
    for (n, ticket) in tickets.into_iter().enumerate() {
        assert!(shared.request.is_answered(ticket), "a question was lost");
        assert!(shared.is_done(n), "answered, and not done");
    }
}

/// A thread waits for a condition that another CPU makes true.
pub fn no_wake_up_is_lost() {
    let (init, idle, other) = (task("init"), task("idle"), task("other"));
    let mut queue = RunQueue::new();
    queue.bring_up(CpuId::BOOT, init.clone());
    queue.add_new(&idle);
    queue.make_idle(idle.clone());
    let cpu0 = Cpu0(Arc::new(SpinLock::new(Rank::RunQueue, queue)));
    let waits = Arc::new(WaitQueue::new());
    let condition = Arc::new(AtomicU32::new(0));
    assert_eq!(condition.load(Ordering::Relaxed), 0);
    assert!(!waits.is_active());
    attach(cpu0.clone(), init.clone());
    crate::sched::set_current_state(TaskState::Running);
    let waker = thread::spawn({
        let (waits, condition, cpu0) = (Arc::clone(&waits), Arc::clone(&condition), cpu0.clone());
        move || {
            become_cpu(1);
            attach(cpu0, other);
            condition.store(1, Ordering::Relaxed);
            waits.wake_up();
            detach();
        }
    });
    waits.wait_event(|| condition.load(Ordering::Relaxed) == 1);
    waker.join().expect("no panic");
    assert!(!waits.is_active());
    detach();
}

/// Two CPUs have a reference each to a task, and use it; one takes a further one for a while.
pub fn a_task_goes_when_nobody_uses_it() {
    let task = task("shared");
    let user = thread::spawn({
        let task = task.clone();
        move || {
            become_cpu(1);
            let further = task.get();
            drop(task);
            look_beside(&further);
        }
    });
    look_beside(&task);
    drop(task);
    user.join().expect("no panic");
}

/// Brings up two sections of a leaf on one CPU, while others check whether their descriptors are
/// there, and read them if so.
pub fn a_section_is_seen_whole_or_not_at_all() {
    struct Shared {
        root: Root,
        leaf: Box<Leaf>,
        descriptors: [UnsafeCell<u32>; 2],
    }
    // SAFETY: loom checks who is at the descriptors, and when.
    unsafe impl Sync for Shared {}
    const FIRST: usize = 5 * LEAF_SECTIONS + 7;
    let leaf: Box<Leaf> = Box::new([const { AtomicU32::new(0) }; LEAF_SECTIONS]);
    let descriptors = [UnsafeCell::new(0), UnsafeCell::new(0)];
    let shared = Arc::new(Shared { root: Root::new(), leaf, descriptors });
    // Their words are made here, before there is a second CPU.
    assert!(!shared.root.has_leaf(FIRST));
    assert!((0..2).all(|n| shared.leaf[FIRST % LEAF_SECTIONS + n].load(Ordering::Relaxed) == 0));
    let look = || {
        let shared = Arc::clone(&shared);
        move || {
            for n in [1, 0] {
                let blocks = shared.root.blocks(FIRST + n);
                if blocks != 0 {
                    assert_eq!(blocks, 3 << n);
                    // SAFETY: loom checks that nobody writes it any more.
                    shared.descriptors[n].with(|at| assert_eq!(unsafe { *at }, 9));
                }
            }
        }
    };
    let others = [thread::spawn(look()), thread::spawn(look())];
    for (n, descriptor) in shared.descriptors.iter().enumerate() {
        // SAFETY: loom checks that nobody is there yet.
        descriptor.with_mut(|at| unsafe { *at = 9 });
        if n == 0 {
            let leaf = core::ptr::from_ref::<Leaf>(&shared.leaf).expose_provenance();
            // SAFETY: it is as it was made, and outlives the table.
            unsafe { shared.root.add_leaf(FIRST, leaf) };
        }
        assert!(shared.root.set_blocks(FIRST + n, 3 << n));
    }
    others.into_iter().for_each(|other| other.join().expect("no panic"));
    assert_eq!([0, 1].map(|n| shared.root.blocks(FIRST + n)), [3, 6]);
}
