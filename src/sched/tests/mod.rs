//! The run queue against a model, and each order in which sleeper and waker can act.

mod wake_up;

use super::rq::{Life, RunQueue, comm};
use super::task::{NR_THREADS, Slot, TASK_NORMAL, TaskState};
use proptest::prelude::*;
use std::collections::VecDeque;
use std::vec::Vec;

fn up() -> (RunQueue, Slot) {
    let mut rq = RunQueue::new();
    rq.bring_up("init");
    let idle = rq.create("swapper").expect("room");
    rq.make_idle(idle);
    (rq, idle)
}

fn started(rq: &mut RunQueue, name: &str) -> Slot {
    let slot = rq.create(name).expect("room");
    assert!(rq.wake(slot, rq.generation(slot), TASK_NORMAL));
    slot
}

#[test]
fn names_are_cut() {
    assert_eq!(comm("kswapd0").as_str(), "kswapd0");
    assert_eq!(comm("a name that is too long").as_str(), "a name that is ");
    assert_eq!(comm("ä name, cut in ä").as_str(), "ä name, cut in");
}

#[test]
fn turns_are_taken_in_order() {
    let (mut rq, idle) = up();
    let (a, b) = (started(&mut rq, "a"), started(&mut rq, "b"));
    let order: Vec<Slot> = (0..6).map(|_| rq.pick().expect("another").1).collect();
    assert_eq!(order, [a, b, Slot::FIRST, a, b, Slot::FIRST]);
    // Alone it goes on; asleep it leaves the CPU to the idle thread.
    for _ in 0..2 {
        rq.pick();
        rq.set_current_state(TaskState::Uninterruptible);
    }
    rq.pick();
    assert_eq!((rq.current(), rq.pick()), (Slot::FIRST, None));
    rq.set_current_state(TaskState::Interruptible);
    assert_eq!(rq.pick(), Some((Slot::FIRST, idle)));
    assert!(rq.is_idle() && rq.pick().is_none());
    assert!(rq.wake(b, 0, TASK_NORMAL) && !rq.wake(b, 0, TASK_NORMAL));
    assert_eq!(rq.pick(), Some((idle, b)));
}

#[test]
fn a_cpu_that_is_not_up_stays_where_it_is() {
    let mut rq = RunQueue::new();
    assert!(!rq.is_up() && rq.pick().is_none());
    rq.set_current_state(TaskState::Uninterruptible);
    assert!(rq.pick().is_none());
    rq.bring_up("init");
    assert!(rq.is_up() && rq.pick().is_none());
    rq.take_down();
    assert!(!rq.is_up() && rq.pick().is_none() && rq.nr_threads() == 0);
}

#[test]
fn states_choose_who_is_woken() {
    let (mut rq, _) = up();
    let a = started(&mut rq, "a");
    rq.pick();
    rq.set_current_state(TaskState::Uninterruptible);
    rq.pick();
    assert!(!rq.wake(a, 0, TaskState::Interruptible.bit()));
    assert!(rq.wake(a, 0, TaskState::Uninterruptible.bit()));
}

#[test]
fn a_handle_of_the_past_reaches_nobody() {
    let (mut rq, _) = up();
    let a = started(&mut rq, "a");
    rq.pick();
    assert_eq!((rq.current(), rq.exit(7)), (a, a));
    assert_eq!(rq.life(a, 0), Some(Life::Exiting));
    assert!(!rq.wake(a, 0, TASK_NORMAL) && rq.collect(a, 0).is_none());
    rq.pick();
    rq.finish_task_switch(a);
    assert_eq!((rq.life(a, 0), rq.life(a, 1)), (Some(Life::Dead), None));
    assert!(!rq.stop(a, 0), "the dead don't wake");
    assert_eq!((rq.collect(a, 0), rq.collect(a, 0)), (Some(7), None));
    let again = rq.create("b").expect("room");
    assert_eq!((again, rq.generation(a)), (a, 1));
    assert!(!rq.wake(a, 0, TASK_NORMAL) && !rq.stop(a, 0) && rq.collect(a, 0).is_none());
    rq.detach(a, 0);
    assert!(rq.wake(a, 1, TASK_NORMAL));
    rq.pick();
    assert!(!rq.should_stop(), "the stop was for another");
    rq.exit(0);
    rq.pick();
    rq.finish_task_switch(a);
    assert_eq!(rq.life(a, 1), Some(Life::Dead), "the detaching was for another");
}

#[test]
fn a_detached_thread_frees_its_number() {
    let (mut rq, _) = up();
    for dead_first in [false, true] {
        let a = started(&mut rq, "a");
        let generation = rq.generation(a);
        if !dead_first {
            rq.detach(a, generation);
        }
        rq.pick();
        rq.exit(1);
        rq.pick();
        rq.finish_task_switch(a);
        if dead_first {
            rq.detach(a, generation);
        }
        assert_eq!(rq.life(a, generation), None);
        assert_eq!(rq.nr_threads(), 2);
    }
}

#[test]
fn numbers_run_out_and_come_back() {
    let (mut rq, _) = up();
    let all: Vec<Slot> = core::iter::from_fn(|| rq.create("x")).collect();
    assert_eq!((all.len(), rq.nr_threads()), (NR_THREADS - 2, NR_THREADS));
    let slot = all[3];
    rq.wake(slot, 0, TASK_NORMAL);
    rq.pick();
    rq.exit(0);
    rq.pick();
    assert!(rq.create("x").is_none(), "its number is free when it is collected");
    rq.finish_task_switch(slot);
    rq.collect(slot, 0);
    assert_eq!(rq.create("x"), Some(slot));
}

#[test]
#[should_panic(expected = "the idle thread may not sleep")]
fn the_idle_thread_may_not_sleep() {
    let mut rq = RunQueue::new();
    rq.bring_up("swapper/1");
    rq.make_idle(Slot::FIRST);
    rq.set_current_state(TaskState::Interruptible);
}

/// Step of a test on the queue; numbers choose one of the threads.
#[derive(Clone, Debug)]
enum Step {
    Create,
    Wake(usize),
    WakeInterruptible(usize),
    Stop(usize),
    Sleep { interruptible: bool, until: Option<u64> },
    Yield,
    Exit(i32),
    Pass(u64),
    Collect(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => Just(Step::Create),
        6 => (0..NR_THREADS).prop_map(Step::Wake),
        2 => (0..NR_THREADS).prop_map(Step::WakeInterruptible),
        1 => (0..NR_THREADS).prop_map(Step::Stop),
        6 => (any::<bool>(), prop::option::of(0..20u64))
            .prop_map(|(interruptible, until)| Step::Sleep { interruptible, until }),
        4 => Just(Step::Yield),
        1 => any::<i32>().prop_map(Step::Exit),
        2 => (0..5u64).prop_map(Step::Pass),
        3 => (0..NR_THREADS).prop_map(Step::Collect),
    ];
    prop::collection::vec(step, 1..300)
}

/// A thread as the model knows it.
#[derive(Clone, Debug)]
struct Known {
    slot: Slot,
    generation: u32,
    state: TaskState,
    until: Option<u64>,
    stop: bool,
    dead: Option<i32>,
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 2 } else { 256 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Whatever is done, the queue runs whom the model runs: a list of threads, and a list of
    /// those that are ready.
    #[test]
    fn runs_as_the_model_does(steps in steps()) {
        let (mut rq, idle) = up();
        let mut now = 0;
        let mut threads = std::vec![Known {
            slot: Slot::FIRST, generation: 0, state: TaskState::Running, until: None, stop: false,
            dead: None,
        }];
        // Indices into `threads`; None is the idle thread.
        let mut current = Some(0usize);
        let mut ready: VecDeque<usize> = VecDeque::new();
        let chosen = |threads: &Vec<Known>, n: usize| n % threads.len();
        for step in steps {
            let mut wakes = Vec::new();
            match step {
                Step::Create => {
                    let slot = rq.create("x");
                    prop_assert_eq!(slot.is_some(), threads.len() + 1 < NR_THREADS);
                    if let Some(slot) = slot {
                        threads.push(Known {
                            slot, generation: rq.generation(slot), state: TaskState::Uninterruptible,
                            until: None, stop: false, dead: None,
                        });
                    }
                }
                Step::Wake(n) | Step::WakeInterruptible(n) | Step::Stop(n) => {
                    let n = chosen(&threads, n);
                    let known = &mut threads[n];
                    let only = matches!(step, Step::WakeInterruptible(_));
                    let expected = known.dead.is_none()
                        && known.state != TaskState::Running
                        && !(only && known.state == TaskState::Uninterruptible);
                    let (slot, generation) = (known.slot, known.generation);
                    let woken = match step {
                        Step::Stop(_) => {
                            known.stop = true;
                            rq.stop(slot, generation)
                        }
                        _ if only => rq.wake(slot, generation, TaskState::Interruptible.bit()),
                        _ => rq.wake(slot, generation, TASK_NORMAL),
                    };
                    prop_assert_eq!(woken, expected);
                    if woken {
                        wakes.push(n);
                    }
                }
                Step::Sleep { interruptible, until } => {
                    let Some(n) = current else { continue };
                    let state = if interruptible {
                        TaskState::Interruptible
                    } else {
                        TaskState::Uninterruptible
                    };
                    rq.set_current_state(state);
                    threads[n].state = state;
                    threads[n].until = until.map(|jiffies| now + jiffies);
                    if let Some(until) = threads[n].until {
                        rq.wake_current_at(until);
                    }
                }
                Step::Yield => {
                    let was = current;
                    if let Some(n) = current && threads[n].state == TaskState::Running {
                        ready.push_back(n);
                    }
                    current = ready.pop_front();
                    let slot = |n: Option<usize>| n.map_or(idle, |n| threads[n].slot);
                    let expected = (was != current).then(|| (slot(was), slot(current)));
                    prop_assert_eq!(rq.pick(), expected);
                }
                Step::Exit(code) => {
                    let Some(n) = current.filter(|&n| n != 0) else { continue };
                    prop_assert_eq!(rq.should_stop(), threads[n].stop);
                    let slot = rq.exit(code);
                    prop_assert_eq!(slot, threads[n].slot);
                    current = ready.pop_front();
                    let next = current.map_or(idle, |n| threads[n].slot);
                    prop_assert_eq!(rq.pick(), Some((slot, next)));
                    rq.finish_task_switch(slot);
                    threads[n].dead = Some(code);
                    threads[n].until = None;
                }
                Step::Pass(jiffies) => {
                    now += jiffies;
                    rq.expire(now);
                    // In the order of their numbers.
                    let mut due: Vec<usize> = (0..threads.len())
                        .filter(|&n| threads[n].state != TaskState::Running)
                        .filter(|&n| threads[n].until.is_some_and(|until| until <= now))
                        .collect();
                    due.sort_by_key(|&n| threads[n].slot.index());
                    wakes.extend(due);
                }
                Step::Collect(n) => {
                    let n = chosen(&threads, n);
                    let code = rq.collect(threads[n].slot, threads[n].generation);
                    prop_assert_eq!(code, threads[n].dead);
                    if code.is_some() {
                        threads.remove(n);
                        let shift = |m: &mut usize| *m -= usize::from(*m > n);
                        current.iter_mut().for_each(shift);
                        ready.iter_mut().for_each(shift);
                    }
                }
            }
            for n in wakes {
                threads[n].state = TaskState::Running;
                threads[n].until = None;
                if current != Some(n) {
                    ready.push_back(n);
                }
            }
            prop_assert_eq!(rq.current(), current.map_or(idle, |n| threads[n].slot));
            prop_assert_eq!(rq.is_idle(), current.is_none());
            prop_assert_eq!(rq.has_ready(), !ready.is_empty());
            let alive = threads.iter().filter(|known| known.dead.is_none()).count();
            prop_assert_eq!(rq.nr_threads(), alive + 1);
        }
    }
}
