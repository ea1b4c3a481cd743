//! The run queue.

use super::*;
use std::collections::VecDeque;

#[test]
fn turns_are_taken_in_order() {
    let (mut rq, init, idle) = up();
    let (_a, b) = (started(&mut rq, "a"), started(&mut rq, "b"));
    let order: Vec<_> = (0..6).map(|_| pick(&mut rq).expect("another").1).collect();
    assert_eq!(order, ["a", "b", "init", "a", "b", "init"]);
    // Alone it goes on; asleep it leaves the CPU to the idle task.
    for _ in 0..2 {
        pick(&mut rq);
        rq.set_current_state(TaskState::Uninterruptible);
    }
    pick(&mut rq);
    assert!(runs(&rq) == "init" && pick(&mut rq).is_none());
    rq.set_current_state(TaskState::Interruptible);
    assert_eq!(pick(&mut rq).expect("a switch"), ("init".into(), "swapper".into()));
    assert!(rq.is_idle() && pick(&mut rq).is_none());
    assert!(wake(&mut rq, &b, TASK_NORMAL) && !wake(&mut rq, &b, TASK_NORMAL));
    assert_eq!(pick(&mut rq).expect("a switch"), ("swapper".into(), "b".into()));
    // The queue has references to who runs and to the idle task alone.
    assert_eq!((references(&b), references(&init), references(&idle)), (2, 1, 2));
}

#[test]
fn a_cpu_that_is_not_up_stays_where_it_is() {
    let mut rq = RunQueue::new();
    assert!(!rq.is_up() && rq.pick().is_none());
    rq.set_current_state(TaskState::Uninterruptible);
    assert!(rq.pick().is_none());
    let init = task("init");
    rq.bring_up(CpuId::BOOT, init.clone());
    assert!(rq.is_up() && rq.pick().is_none() && init.life() == Life::Live);
    assert_eq!(rq.take_down(), Some(init.clone()));
    assert!(!rq.is_up() && rq.pick().is_none() && rq.nr_threads() == 0);
    assert_eq!(init.life(), Life::New);
}

#[test]
fn states_choose_who_is_woken() {
    let (mut rq, _, _) = up();
    let a = started(&mut rq, "a");
    pick(&mut rq);
    rq.set_current_state(TaskState::Uninterruptible);
    pick(&mut rq);
    assert!(!wake(&mut rq, &a, TaskState::Interruptible.bit()));
    assert!(wake(&mut rq, &a, TaskState::Uninterruptible.bit()));
}

#[test]
fn who_ends_is_not_woken_and_leaves_no_reference() {
    let (mut rq, _, _) = up();
    let a = started(&mut rq, "a");
    pick(&mut rq);
    rq.set_current_state(TaskState::Uninterruptible);
    rq.wake_current_at(3);
    assert_eq!(references(&a), 3);
    rq.set_current_state(TaskState::Running);
    rq.exit(7);
    assert!(!wake(&mut rq, &a, TASK_NORMAL));
    assert_eq!((a.life(), a.departure(), a.exit_code()), (Life::Exiting, Departure::Ended, 7));
    pick(&mut rq);
    rq.forget();
    assert!(!wake(&mut rq, &a, TASK_NORMAL) && references(&a) == 1 && rq.nr_threads() == 2);
}

#[test]
fn a_timed_sleep_ends_once() {
    let (mut rq, init, _) = up();
    let a = started(&mut rq, "a");
    for (task, until) in [("init", 5), ("a", 3)] {
        assert_eq!(runs(&rq), task);
        rq.set_current_state(TaskState::Interruptible);
        rq.wake_current_at(until);
        pick(&mut rq);
    }
    assert!(rq.is_idle());
    assert!(matches!(rq.expire(2), Woken::No));
    let Woken::Ready(woken) = rq.expire(9) else { panic!("none is due") };
    assert_eq!(woken, a);
    drop(woken);
    // Woken before its time, it is not due when that comes.
    assert!(wake(&mut rq, &init, TASK_NORMAL));
    assert!(matches!(rq.expire(9), Woken::No));
    // One that has not left the CPU yet goes on.
    pick(&mut rq);
    rq.set_current_state(TaskState::Uninterruptible);
    rq.wake_current_at(1);
    assert!(matches!(rq.expire(1), Woken::GoesOn(Some(_))));
    assert!(init.state() == TaskState::Running && pick(&mut rq).is_none());
}

#[test]
fn others_take_who_may_and_can_leave() {
    let (mut rq, _, _) = up();
    let (bound, free) = (started(&mut rq, "bound"), started(&mut rq, "free"));
    bound.set_cpus_mask(CpuMask::of(CpuId::BOOT));
    free.set_on_cpu(true);
    assert!(rq.take_for(cpu(1)).is_none(), "a CPU is still on its stack");
    free.set_on_cpu(false);
    let taken = rq.take_for(cpu(1)).expect("one may leave");
    rq.hand_over(&taken, cpu(1));
    assert_eq!((taken, free.cpu(), rq.nr_ready(), rq.nr_threads()), (free.clone(), cpu(1), 1, 3));
    assert!(rq.take_for(cpu(1)).is_none());
}

#[test]
fn affinity_sends_tasks_away() {
    let (mut rq, init, _) = up();
    let a = started(&mut rq, "a");
    let elsewhere = CpuMask::of(cpu(3));
    assert_eq!(rq.set_cpus_allowed(&a, elsewhere), Some(a.clone()));
    assert!(!rq.has_ready());
    // The current one leaves when it lets others run, though it could go on.
    assert_eq!(rq.set_cpus_allowed(&init, elsewhere), None);
    assert_eq!(pick(&mut rq).expect("a switch"), ("init".into(), "swapper".into()));
    assert_eq!((init.departure(), init.state()), (Departure::Moves, TaskState::Running));
    // Changed back in time, it stays.
    let (mut rq, init, _) = up();
    assert_eq!(rq.set_cpus_allowed(&init, elsewhere), None);
    assert_eq!(rq.set_cpus_allowed(&init, CpuMask::ALL), None);
    assert!(pick(&mut rq).is_none());
}

/// Step of a test on the queue; numbers choose one of the tasks.
#[derive(Clone, Debug)]
enum Step {
    Create,
    Wake(usize),
    WakeInterruptible(usize),
    Sleep { interruptible: bool, until: Option<u64> },
    Yield,
    Exit(i32),
    Pass(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => Just(Step::Create),
        6 => (0..32usize).prop_map(Step::Wake),
        2 => (0..32usize).prop_map(Step::WakeInterruptible),
        6 => (any::<bool>(), prop::option::of(0..20u64))
            .prop_map(|(interruptible, until)| Step::Sleep { interruptible, until }),
        4 => Just(Step::Yield),
        1 => any::<i32>().prop_map(Step::Exit),
        2 => (0..5u64).prop_map(Step::Pass),
    ];
    prop::collection::vec(step, 1..300)
}

/// A task as the model knows it.
#[derive(Clone, Debug)]
struct Known {
    task: TaskRef,
    state: TaskState,
    until: Option<u64>,
    dead: bool,
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 2 } else { 256 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Whatever is done, the queue runs whom the model runs: a list of tasks, and a list of
    /// those that are ready. It keeps references to the current one, to those that are ready and
    /// to those that sleep until a time, and to no other.
    #[test]
    fn runs_as_the_model_does(steps in steps()) {
        let (mut rq, init, _idle) = up();
        let mut now = 0;
        let mut tasks = std::vec![Known {
            task: init, state: TaskState::Running, until: None, dead: false,
        }];
        // Indices into `tasks`; None is the idle task.
        let mut current = Some(0usize);
        let mut ready: VecDeque<usize> = VecDeque::new();
        for step in steps {
            let mut wakes = Vec::new();
            match step {
                Step::Create => {
                    let task = asleep(&mut rq, &std::format!("{}", tasks.len()));
                    let state = TaskState::Uninterruptible;
                    tasks.push(Known { task, state, until: None, dead: false });
                }
                Step::Wake(n) | Step::WakeInterruptible(n) => {
                    let n = n % tasks.len();
                    let known = &mut tasks[n];
                    let only = matches!(step, Step::WakeInterruptible(_));
                    let expected = !known.dead
                        && known.state != TaskState::Running
                        && !(only && known.state == TaskState::Uninterruptible);
                    let states = if only { TaskState::Interruptible.bit() } else { TASK_NORMAL };
                    prop_assert_eq!(wake(&mut rq, &known.task, states), expected);
                    if expected {
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
                    tasks[n].state = state;
                    tasks[n].until = until.map(|jiffies| now + jiffies);
                    if let Some(until) = tasks[n].until {
                        rq.wake_current_at(until);
                    }
                }
                Step::Yield => {
                    let was = current;
                    if let Some(n) = current && tasks[n].state == TaskState::Running {
                        ready.push_back(n);
                    }
                    current = ready.pop_front();
                    prop_assert_eq!(pick(&mut rq).is_some(), was != current);
                }
                Step::Exit(code) => {
                    let Some(n) = current.filter(|&n| n != 0) else { continue };
                    rq.exit(code);
                    current = ready.pop_front();
                    prop_assert!(pick(&mut rq).is_some());
                    rq.forget();
                    tasks[n].dead = true;
                    tasks[n].until = None;
                }
                Step::Pass(jiffies) => {
                    now += jiffies;
                    loop {
                        match rq.expire(now) {
                            Woken::No => break,
                            Woken::GoesOn(_) => {}
                            Woken::Ready(task) => {
                                rq.enqueue(task);
                            }
                        }
                    }
                    let mut due: Vec<usize> = (0..tasks.len())
                        .filter(|&n| tasks[n].state != TaskState::Running)
                        .filter(|&n| tasks[n].until.is_some_and(|until| until <= now))
                        .collect();
                    // In the order of their times; of one time, as the queue has them.
                    due.sort_by_key(|&n| tasks[n].until);
                    let position = |n: usize| {
                        let mut queue = rq_ready(&rq).into_iter();
                        queue.position(|name| name == tasks[n].task.comm().as_str())
                    };
                    // The current one goes on, and has no place.
                    let placed = due.iter().filter_map(|&n| Some((position(n)?, tasks[n].until)));
                    let placed: Vec<_> = placed.collect();
                    for pair in placed.windows(2) {
                        prop_assert!(pair[0].0 < pair[1].0 || pair[0].1 == pair[1].1);
                    }
                    due.sort_by_key(|&n| position(n));
                    wakes.extend(due);
                }
            }
            for n in wakes {
                tasks[n].state = TaskState::Running;
                tasks[n].until = None;
                if current != Some(n) {
                    ready.push_back(n);
                }
            }
            let name = |n: usize| if n == 0 { "init".into() } else { std::format!("{n}") };
            prop_assert_eq!(runs(&rq), current.map_or("swapper".into(), name));
            prop_assert_eq!(rq.is_idle(), current.is_none());
            let names: Vec<_> = ready.iter().map(|&n| name(n)).collect();
            prop_assert_eq!(rq_ready(&rq), names);
            let alive = tasks.iter().filter(|known| !known.dead).count();
            prop_assert_eq!(rq.nr_threads(), alive + 1);
            for (n, known) in tasks.iter().enumerate() {
                let held = usize::from(current == Some(n))
                    + usize::from(ready.contains(&n))
                    + usize::from(known.until.is_some());
                prop_assert_eq!(references(&known.task), held as u32 + 1, "{}", name(n));
            }
        }
    }
}

fn rq_ready(rq: &RunQueue) -> Vec<std::string::String> {
    rq.ready().map(|task| task.comm().as_str().into()).collect()
}
