//! Slices and nice values, and the queue of tasks at EL0.

use super::*;
use crate::arch::thread_info::ThreadFlags;
use crate::sched::fair::{BASE_SLICE, Nice, rounds};
use core::ptr::NonNull;

const TICK: u64 = 10_000_000;

fn nice(n: i32) -> Nice {
    Nice::new(n).expect("in range")
}

/// A task with users' memory, of which there is the address alone.
#[expect(unsafe_code, reason = "nobody follows the address on a hosted machine")]
fn user(rq: &mut RunQueue, name: &str, n: i32) -> TaskRef {
    let task = asleep(rq, name);
    // SAFETY: a hosted machine has no tables of users to install.
    unsafe { task.set_mm(Some(NonNull::dangling())) };
    task.set_user_nice(nice(n));
    task
}

fn is_asked(task: &Task) -> bool {
    task.thread_info().flags().contains(ThreadFlags::NEED_RESCHED)
}

/// Goes back to EL0: gives way to others if it was asked to. Returns the task that runs then.
fn returns(rq: &mut RunQueue) -> std::string::String {
    if let Some(current) = rq.current()
        && is_asked(current)
    {
        current.thread_info().clear_thread_flag(ThreadFlags::NEED_RESCHED);
        if let Some(Switch { prev, gone, .. }) = rq.preempt() {
            // SAFETY: tests keep references to all their tasks.
            unsafe { prev.as_ref() }.set_on_cpu(false);
            drop(gone);
        }
    }
    runs(rq)
}

/// A CPU on which `init` sleeps.
fn quiet() -> (RunQueue, TaskRef, TaskRef) {
    let (mut rq, init, idle) = up();
    rq.set_current_state(TaskState::Uninterruptible);
    pick(&mut rq);
    assert!(rq.is_idle());
    (rq, init, idle)
}

#[test]
fn weights_are_linux_s() {
    assert!(Nice::new(-21).is_none() && Nice::new(20).is_none());
    assert_eq!((nice(0).slice(), nice(0).get()), (BASE_SLICE, 0));
    // 1024 to 335, 15 and 88761.
    assert_eq!(nice(5).slice(), BASE_SLICE * 335 / 1024);
    assert_eq!(nice(19).slice(), BASE_SLICE * 15 / 1024);
    assert_eq!(nice(-20).slice(), BASE_SLICE * 88761 / 1024);
    for n in -20..19 {
        let ratio = nice(n).slice() * 100 / nice(n + 1).slice();
        assert!((119..=128).contains(&ratio), "{n}: {ratio} %");
    }
}

#[test]
fn as_many_rounds_as_a_debt_takes() {
    for n in -20..=19 {
        let slice = nice(n).slice();
        for left in [1, 0, -1, 1 - slice, -slice, -slice - 1, -7 * slice, -10_000_000] {
            let rounds = rounds(left, nice(n));
            assert!(rounds >= 1 && left + rounds * slice > 0, "{left} at {n}");
            assert!(rounds == 1 || left + (rounds - 1) * slice <= 0, "{left} at {n}: {rounds}");
        }
    }
}

/// Shares of `ticks` ticks that tasks of these nice values get.
fn shares(values: &[i32], ticks: u64) -> Vec<u64> {
    let (mut rq, _init, _idle) = quiet();
    let tasks: Vec<_> = values.iter().map(|&n| user(&mut rq, &std::format!("{n}"), n)).collect();
    for task in &tasks {
        assert!(wake(&mut rq, task, TASK_NORMAL));
    }
    pick(&mut rq);
    for _ in 0..ticks {
        rq.tick(TICK, true);
        returns(&mut rq);
    }
    tasks.iter().map(|task| task.runtime() / TICK).collect()
}

#[test]
fn shares_are_those_of_the_weights() {
    assert_eq!(shares(&[0, 0, 0], 300), [100, 100, 100]);
    let total = if cfg!(miri) { 400 } else { 40_000 };
    for values in [&[0, 5][..], &[0, 1], &[-5, 0, 5], &[19, 0], &[-20, -19], &[3, 3, 7, 10]] {
        let shares = shares(values, total);
        assert_eq!(shares.iter().sum::<u64>(), total);
        let weights: Vec<_> = values.iter().map(|&n| nice(n).slice()).collect();
        let sum: i64 = weights.iter().sum();
        for (share, weight) in shares.iter().zip(weights) {
            let exact = total as f64 * weight as f64 / sum as f64;
            // Rounds aren't over at the end: the last may be one of a large slice.
            let slack = exact * 0.02 + 40.0;
            assert!((*share as f64 - exact).abs() < slack, "{values:?}: {share} of {exact}");
        }
    }
}

#[test]
fn who_used_its_slice_up_gets_its_turn_again() {
    let (mut rq, _init, _idle) = quiet();
    let (a, b) = (user(&mut rq, "a", 0), user(&mut rq, "b", 0));
    wake(&mut rq, &a, TASK_NORMAL);
    wake(&mut rq, &b, TASK_NORMAL);
    pick(&mut rq);
    assert_eq!(runs(&rq), "a");
    // Not before the slice is over.
    rq.tick(1_000_000, true);
    assert!(!is_asked(&a));
    let mut order = Vec::new();
    for _ in 0..6 {
        rq.tick(TICK, true);
        assert!(is_asked(if runs(&rq) == "a" { &a } else { &b }));
        order.push(returns(&mut rq));
    }
    assert_eq!(order, ["b", "a", "b", "a", "b", "a"]);
}

#[test]
fn alone_a_task_owes_nobody_anything() {
    let (mut rq, _init, _idle) = quiet();
    let (a, b) = (user(&mut rq, "a", 19), user(&mut rq, "b", 19));
    wake(&mut rq, &a, TASK_NORMAL);
    pick(&mut rq);
    for _ in 0..1000 {
        rq.tick(TICK, true);
        assert!(!is_asked(&a) && returns(&mut rq) == "a");
    }
    assert!(a.slice() > 0 && a.runtime() == 1000 * TICK);
    // Whoever comes then shares from there on.
    wake(&mut rq, &b, TASK_NORMAL);
    returns(&mut rq);
    for _ in 0..400 {
        rq.tick(TICK, true);
        returns(&mut rq);
    }
    assert!(b.runtime().abs_diff(200 * TICK) <= 2 * TICK, "{}", b.runtime() / TICK);
}

#[test]
fn a_task_that_is_woken_goes_first_and_the_other_goes_on() {
    let (mut rq, init, _idle) = quiet();
    let names = ["a", "b", "c"].map(|name| user(&mut rq, name, 0));
    let [a, b, c] = &names;
    wake(&mut rq, a, TASK_NORMAL);
    wake(&mut rq, b, TASK_NORMAL);
    pick(&mut rq);
    rq.tick(1_000_000, true);
    // Also one without users' memory.
    for woken in [c, &init] {
        assert!(wake(&mut rq, woken, TASK_NORMAL) && is_asked(a));
        assert_eq!(returns(&mut rq), woken.comm().as_str());
        rq.set_current_state(TaskState::Interruptible);
        pick(&mut rq);
        // Before b, with what is left of its slice.
        assert_eq!((runs(&rq).as_str(), a.slice()), ("a", BASE_SLICE - 1_000_000));
    }
    // One that used its slice up waits for its turn.
    c.set_slice(0);
    assert!(wake(&mut rq, c, TASK_NORMAL) && !is_asked(a));
    let order: Vec<_> = (0..3).map(|_| (rq.tick(TICK, true), returns(&mut rq)).1).collect();
    assert_eq!(order, ["b", "c", "a"]);
}

#[test]
fn threads_of_the_kernel_are_not_asked() {
    let (mut rq, init, _idle) = up();
    let a = user(&mut rq, "a", 0);
    wake(&mut rq, &a, TASK_NORMAL);
    for _ in 0..10 {
        rq.tick(TICK, true);
    }
    assert!(!is_asked(&init) && runs(&rq) == "init" && init.runtime() == 10 * TICK);
    // Two that hand the CPU to each other don't keep it from one that used its slice up.
    let other = started(&mut rq, "other");
    a.set_slice(-3 * BASE_SLICE);
    assert_eq!(rq.dequeue(&a), Some(a.clone()));
    rq.enqueue(a.clone());
    let ran = (0..20).any(|_| {
        rq.tick(TICK, true);
        pick(&mut rq);
        runs(&rq) == "a"
    });
    assert!(ran);
    drop(other);
}

#[test]
fn one_that_may_not_stay_is_asked_to_leave() {
    let (mut rq, _init, _idle) = quiet();
    let a = user(&mut rq, "a", 0);
    wake(&mut rq, &a, TASK_NORMAL);
    pick(&mut rq);
    assert_eq!(rq.set_cpus_allowed(&a, CpuMask::of(cpu(1))), None);
    assert!(is_asked(&a));
    assert_eq!(returns(&mut rq), "swapper");
    assert_eq!(a.departure(), Departure::Moves);
    // So may one whose slice is used up, and that waits; idle CPUs take it too.
    let b = user(&mut rq, "b", 0);
    b.set_slice(0);
    wake(&mut rq, &b, TASK_NORMAL);
    let taken = rq.take_for(cpu(1)).expect("it may go");
    assert!(taken == b && !rq.has_ready());
    rq.enqueue(taken);
    assert_eq!(rq.set_cpus_allowed(&b, CpuMask::of(cpu(1))), Some(b.clone()));
}
