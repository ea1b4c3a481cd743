//! The steps of a sleeper and a waker that hold a lock, and those between them, in every
//! order: the sleeper always gets to see the condition.

use super::*;

struct World {
    rq: RunQueue,
    sleeper: TaskRef,
    /// The wait queue has the sleeper.
    waits: bool,
    condition: bool,
    /// Position of each of the two in its steps.
    at: [usize; 2],
    /// State of the wait queue as the waker saw it.
    seen: bool,
    /// The sleeper went on with the condition true.
    done: bool,
    _others: [TaskRef; 2],
}

impl World {
    fn sleeper_runs(&self) -> bool {
        runs(&self.rq) == "sleeper"
    }
}

/// The sleeper's next step; false when it can't run.
fn sleep(world: &mut World, check_after: bool) -> bool {
    if world.done || !world.sleeper_runs() {
        return false;
    }
    match world.at[0] {
        0 => world.waits = true,
        1 => drop(world.rq.set_current_state(TaskState::Uninterruptible)),
        2 => {
            if check_after && world.condition {
                world.done = true;
            }
        }
        3 => {
            pick(&mut world.rq);
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
fn wake_step(world: &mut World) -> bool {
    match world.at[1] {
        0 => world.condition = true,
        1 => world.seen = world.waits,
        2 => {
            if world.seen {
                let sleeper = world.sleeper.clone();
                wake(&mut world.rq, &sleeper, TASK_NORMAL);
            }
        }
        _ => return false,
    }
    world.at[1] += 1;
    true
}

/// Step of an order: of the sleeper, of the waker, or of the idle CPU, which comes to a task that
/// is ready.
#[derive(Clone, Copy, PartialEq)]
enum By {
    Sleeper,
    Waker,
    Idle,
}

/// Takes a step; `None` where it can't be taken, or would begin the round anew.
fn step(world: &mut World, by: By, check_after: bool) -> Option<()> {
    let moved = match by {
        By::Sleeper => sleep(world, check_after),
        By::Waker => wake_step(world),
        By::Idle => {
            pick(&mut world.rq);
            world.sleeper_runs() && !world.done
        }
    };
    // Without a wake-up the sleeper could go round for ever: not one of the orders.
    (moved && (by == By::Idle || world.at[0] + world.at[1] != 0)).then_some(())
}

/// The world after the steps of an order.
fn after(order: &[By], check_after: bool) -> Option<World> {
    let mut world = world();
    order.iter().try_for_each(|&by| step(&mut world, by, check_after))?;
    Some(world)
}

/// Returns whether in some order that begins so the sleeper sleeps for ever; counts the orders.
fn can_be_lost(order: &mut Vec<By>, check_after: bool, orders: &mut u32) -> bool {
    let mut ended = true;
    let mut lost = false;
    for by in [By::Sleeper, By::Waker] {
        order.push(by);
        if after(order, check_after).is_some() {
            ended = false;
            lost |= can_be_lost(order, check_after, orders);
        }
        order.pop();
    }
    if !ended {
        return lost;
    }
    order.push(By::Idle);
    let goes_on = after(order, check_after).is_some();
    if goes_on {
        lost = can_be_lost(order, check_after, orders);
    }
    order.pop();
    if goes_on {
        return lost;
    }
    *orders += 1;
    !after(order, check_after).expect("it was tried before").done
}

fn world() -> World {
    let (mut rq, init, idle) = up();
    let sleeper = started(&mut rq, "sleeper");
    pick(&mut rq);
    rq.set_current_state(TaskState::Running);
    // The first task sleeps: the CPU is the sleeper's.
    pick(&mut rq);
    rq.set_current_state(TaskState::Uninterruptible);
    pick(&mut rq);
    assert_eq!(runs(&rq), "sleeper");
    World {
        rq,
        sleeper,
        waits: false,
        condition: false,
        at: [0; 2],
        seen: false,
        done: false,
        _others: [init, idle],
    }
}

#[test]
fn is_never_lost() {
    let mut orders = 0;
    assert!(!can_be_lost(&mut Vec::new(), true, &mut orders));
    assert!(orders > 10, "only {orders} orders were tried");
}

#[test]
fn would_be_lost_without_the_second_question() {
    assert!(can_be_lost(&mut Vec::new(), false, &mut 0));
}
