//! The run queue, lists and pids against models, and each order in which sleeper and waker can
//! act.

mod fair;
mod lists;
mod might_sleep;
mod pids;
mod rq;
mod select;
mod wake_up;

use super::current::memory;
use super::rq::{RunQueue, Switch, Woken};
use super::task::{Departure, Life, TASK_NORMAL, Task, TaskState, comm};
use super::task_list::SchedList;
use super::task_ref::{TaskMemory, TaskRef};
use crate::arch::CpuId;
use crate::arch::cpumask::CpuMask;
use proptest::prelude::*;
use std::vec::Vec;

fn cpu(n: usize) -> CpuId {
    CpuId::new(n).expect("a CPU")
}

fn task(name: &str) -> TaskRef {
    memory().write(Task::new(name, CpuId::BOOT, CpuMask::ALL, |_| {}))
}

/// Adds a task that sleeps.
fn asleep(rq: &mut RunQueue, name: &str) -> TaskRef {
    let task = task(name);
    rq.add_new(&task);
    task
}

/// A CPU that runs `init`, and its idle task.
fn up() -> (RunQueue, TaskRef, TaskRef) {
    let mut rq = RunQueue::new();
    let init = task("init");
    rq.bring_up(CpuId::BOOT, init.clone());
    let idle = asleep(&mut rq, "swapper");
    rq.make_idle(idle.clone());
    (rq, init, idle)
}

/// Wakes a task, and queues it here. Returns true if it slept.
fn wake(rq: &mut RunQueue, task: &Task, states: u8) -> bool {
    match rq.wake(task, states) {
        Woken::No => false,
        Woken::GoesOn(_) => true,
        Woken::Ready(task) => {
            rq.enqueue(task);
            true
        }
    }
}

fn started(rq: &mut RunQueue, name: &str) -> TaskRef {
    let task = asleep(rq, name);
    assert!(wake(rq, &task, TASK_NORMAL));
    task
}

/// Switches, and leaves the stack of the task before; the names of that and of the next.
fn pick(rq: &mut RunQueue) -> Option<(std::string::String, std::string::String)> {
    let Switch { prev, next, gone } = rq.pick()?;
    // SAFETY: tests keep references to all their tasks.
    let (prev, next) = unsafe { (prev.as_ref(), next.as_ref()) };
    prev.set_on_cpu(false);
    drop(gone);
    Some((prev.comm().as_str().into(), next.comm().as_str().into()))
}

fn runs(rq: &RunQueue) -> std::string::String {
    rq.current().map_or("nobody".into(), |task| task.comm().as_str().into())
}

fn references(task: &TaskRef) -> u32 {
    task.usage.load(core::sync::atomic::Ordering::Relaxed)
}

#[test]
fn names_are_cut() {
    assert_eq!(comm("kswapd0").as_str(), "kswapd0");
    assert_eq!(comm("a name that is too long").as_str(), "a name that is ");
    assert_eq!(comm("ä name, cut in ä").as_str(), "ä name, cut in");
    for name in ["", "a", "8 bytes.", "fifteen bytes.."] {
        assert_eq!(task(name).comm().as_str(), name);
    }
}

#[test]
fn the_last_reference_gives_the_memory_back() {
    use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
    static RELEASED: AtomicU32 = AtomicU32::new(0);
    let place = std::boxed::Box::leak(std::boxed::Box::<Task>::new_uninit());
    let release = |at: core::ptr::NonNull<Task>| {
        RELEASED.fetch_add(1, Relaxed);
        // SAFETY: from the box above, without a task in it.
        drop(unsafe {
            std::boxed::Box::from_raw(at.cast::<core::mem::MaybeUninit<Task>>().as_ptr())
        });
    };
    // SAFETY: the box is nobody else's.
    let memory = unsafe { TaskMemory::new(core::ptr::NonNull::from(place).cast(), release) };
    let first = memory.write(Task::new("a", CpuId::BOOT, CpuMask::ALL, |_| {}));
    let second = first.get();
    let threads: Vec<_> = (0..4).map(|_| first.clone()).collect();
    assert_eq!(references(&first), 6);
    drop(first);
    std::thread::scope(|s| {
        for reference in threads {
            s.spawn(move || drop((reference.clone(), reference)));
        }
    });
    assert_eq!((references(&second), RELEASED.load(Relaxed)), (1, 0));
    drop(second);
    assert_eq!(RELEASED.load(Relaxed), 1);
}

#[test]
fn each_thread_of_the_host_is_a_task_of_its_own() {
    let own = super::current().get();
    assert_eq!(super::current().get(), own);
    let theirs = std::thread::spawn(|| super::current().get()).join().expect("no panic");
    assert!(theirs != own);
    // Its thread has ended, and the task is there while it is held.
    assert_eq!((references(&theirs), theirs.comm().as_str()), (1, "host"));
}
