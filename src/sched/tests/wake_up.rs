//! The steps of a sleeper and a waker that hold a lock, and those between them, in every
//! order: the sleeper always gets to see the condition.

use super::*;

#[derive(Clone)]
struct World {
    rq: RunQueue,
    sleeper: Slot,
    /// The wait queue has the sleeper.
    waits: bool,
    condition: bool,
    /// Position of each of the two in its steps.
    at: [usize; 2],
    /// State of the wait queue as the waker saw it.
    seen: bool,
    /// The sleeper went on with the condition true.
    done: bool,
}

/// The sleeper's next step; false when it can't run.
fn sleep(world: &mut World, check_after: bool) -> bool {
    if world.done || world.rq.current() != world.sleeper {
        return false;
    }
    match world.at[0] {
        0 => world.waits = true,
        1 => world.rq.set_current_state(TaskState::Uninterruptible),
        2 => {
            if check_after && world.condition {
                world.done = true;
            }
        }
        3 => {
            world.rq.pick();
        }
        _ => {
            world.done = world.condition;
            world.at[0] = 0;
            return true;
        }
    }
    world.at[0] += 1;
    true
}

/// The waker's next step, on another CPU; false when it is done.
fn wake(world: &mut World) -> bool {
    match world.at[1] {
        0 => world.condition = true,
        1 => world.seen = world.waits,
        2 => {
            if world.seen {
                world.rq.wake(world.sleeper, 0, TASK_NORMAL);
            }
        }
        _ => return false,
    }
    world.at[1] += 1;
    true
}

/// Returns whether in some order the sleeper sleeps for ever; counts the orders.
fn can_be_lost(world: World, check_after: bool, orders: &mut u32) -> bool {
    let mut ended = true;
    let mut lost = false;
    for who in 0..2 {
        let mut next = world.clone();
        let moved = if who == 0 { sleep(&mut next, check_after) } else { wake(&mut next) };
        // Without a wake-up the sleeper could go round for ever: not one of the orders.
        if moved && next.at[0] + next.at[1] != 0 {
            ended = false;
            lost |= can_be_lost(next, check_after, orders);
        }
    }
    if ended {
        // Its CPU is idle now, and comes to what is ready.
        let mut last = world.clone();
        last.rq.pick();
        if last.rq.current() == last.sleeper && !last.done {
            return can_be_lost(last, check_after, orders);
        }
        *orders += 1;
        return !world.done;
    }
    lost
}

fn world() -> World {
    let (mut rq, _) = up();
    let sleeper = started(&mut rq, "sleeper");
    rq.pick();
    rq.set_current_state(TaskState::Running);
    // The first thread sleeps: the CPU is the sleeper's.
    rq.pick();
    rq.set_current_state(TaskState::Uninterruptible);
    rq.pick();
    assert_eq!(rq.current(), sleeper);
    World { rq, sleeper, waits: false, condition: false, at: [0; 2], seen: false, done: false }
}

#[test]
fn is_never_lost() {
    let mut orders = 0;
    assert!(!can_be_lost(world(), true, &mut orders));
    assert!(orders > 10, "only {orders} orders were tried");
}

#[test]
fn would_be_lost_without_the_second_question() {
    assert!(can_be_lost(world(), false, &mut 0));
}
