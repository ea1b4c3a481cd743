use super::word::{Want, enter, grant, has_waiters, readers};
use super::*;
use crate::sched::{allow_sigkill, send_sigkill};
use proptest::prelude::*;
use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::atomic::AtomicU32;
use std::thread;
use std::vec::Vec;

#[test]
fn readers_share_it_and_a_writer_has_it_alone() {
    let semaphore = RwSemaphore::new(SleepRank::Cma);
    assert!(!semaphore.is_locked());
    let (one, two) = (semaphore.read(), semaphore.try_read());
    assert!(two.is_some() && semaphore.is_locked());
    assert!(semaphore.try_write().is_none());
    drop(one);
    assert!(semaphore.try_write().is_none());
    drop(two);
    let writer = semaphore.write();
    assert!(semaphore.try_read().is_none() && semaphore.try_write().is_none());
    let reader = writer.downgrade();
    assert!(semaphore.try_read().is_some() && semaphore.try_write().is_none());
    drop(reader);
    assert!(!semaphore.is_locked() && !semaphore.is_contended());
    assert_eq!(semaphore.word.load(Ordering::Relaxed), 0);
}

#[derive(Clone, Debug)]
enum Step {
    /// A thread comes.
    Come(bool),
    /// The holder at this place leaves.
    Leave(usize),
    /// The waiter at this place gives up.
    GiveUp(usize),
    /// A reader comes that is refused, and is seen by others before it goes.
    Refused,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        any::<bool>().prop_map(Step::Come),
        (0..8usize).prop_map(Step::Leave),
        (0..8usize).prop_map(Step::GiveUp),
        Just(Step::Refused),
    ];
    prop::collection::vec(step, 1..200)
}

/// Returns true if `want` may be had beside those of `held`.
fn fits(held: &[Want], want: Want) -> bool {
    match want {
        Want::Read => !held.contains(&Want::Write),
        Want::Write => held.is_empty(),
    }
}

proptest! {
    /// The word against a queue: who may hold it together, and who comes when.
    #[test]
    fn holders_come_in_order(steps in steps()) {
        let mut word = 0;
        let (mut held, mut waiting) = (Vec::new(), VecDeque::<Want>::new());
        for step in steps {
            match step {
                Step::Come(reads) => {
                    let want = if reads { Want::Read } else { Want::Write };
                    let entered = enter(word, want);
                    prop_assert_eq!(entered.is_some(), waiting.is_empty() && fits(&held, want));
                    if let Some(after) = entered {
                        held.push(want);
                        word = after;
                    } else {
                        waiting.push_back(want);
                        word |= WAITERS;
                    }
                }
                Step::Leave(at) if at < held.len() => {
                    word -= if held.swap_remove(at) == Want::Read { READER } else { WRITER };
                }
                Step::GiveUp(at) if at < waiting.len() => {
                    waiting.remove(at);
                }
                Step::Refused if enter(word, Want::Read).is_none() => {
                    // A writer that comes first has to wait for it to go.
                    prop_assert_eq!(grant(word + READER, Want::Write), None);
                }
                _ => {}
            }
            while let Some(&first) = waiting.front() {
                let granted = grant(word, first);
                prop_assert_eq!(granted.is_some(), fits(&held, first));
                let Some(after) = granted else { break };
                word = after;
                held.push(first);
                waiting.pop_front();
            }
            if waiting.is_empty() {
                word &= !WAITERS;
            }
            prop_assert_eq!(has_waiters(word), !waiting.is_empty());
            let count = held.iter().filter(|&&want| want == Want::Read).count();
            prop_assert_eq!(readers(word), count as u64);
            prop_assert_eq!(word & WRITER != 0, held.contains(&Want::Write));
        }
    }
}

/// Number of entries of those who wait.
fn waiting(semaphore: &RwSemaphore) -> usize {
    with_masked(|irq| semaphore.waiters.lock(irq).entries().count())
}

fn wait_until(mut condition: impl FnMut() -> bool) {
    while !condition() {
        thread::yield_now();
    }
}

#[test]
fn who_comes_later_waits_behind_a_writer() {
    let semaphore = RwSemaphore::new(SleepRank::Cma);
    let reader = semaphore.read();
    let order = AtomicU32::new(0);
    thread::scope(|s| {
        let writer = s.spawn(|| {
            let _guard = semaphore.write();
            order.fetch_add(1, Ordering::Relaxed)
        });
        wait_until(|| semaphore.is_contended());
        assert!(semaphore.try_read().is_none(), "the writer was first");
        let later = s.spawn(|| {
            let _guard = semaphore.read();
            order.fetch_add(1, Ordering::Relaxed)
        });
        wait_until(|| waiting(&semaphore) == 2);
        drop(reader);
        assert_eq!((writer.join().unwrap(), later.join().unwrap()), (0, 1));
    });
    assert!(!semaphore.is_locked() && !semaphore.is_contended());
}

/// A writer that gives up lets the readers behind it go together with the one that holds it.
#[test]
fn who_gives_up_lets_those_behind_it_go_on() {
    let semaphore = RwSemaphore::new(SleepRank::Cma);
    let reader = semaphore.read();
    thread::scope(|s| {
        let (sender, task) = std::sync::mpsc::channel();
        let semaphore = &semaphore;
        let writer = s.spawn(move || {
            allow_sigkill();
            sender.send(current().get()).unwrap();
            assert!(semaphore.write_killable().is_err());
            assert!(semaphore.read_killable().is_ok(), "it need not wait");
            assert!(current().held_locks().is_empty());
        });
        let task = task.recv().unwrap();
        wait_until(|| waiting(semaphore) == 1);
        let later = s.spawn(|| drop(semaphore.read()));
        wait_until(|| waiting(semaphore) == 2);
        assert!(send_sigkill(&task));
        writer.join().unwrap();
        later.join().unwrap();
        assert_eq!(waiting(semaphore), 0);
    });
    assert!(!semaphore.is_contended());
    drop(reader);
    assert_eq!(semaphore.word.load(Ordering::Relaxed), 0);
}

#[test]
#[should_panic(expected = "lock order: Cma (rank ")]
fn a_reader_that_takes_it_again_is_caught() {
    let semaphore = RwSemaphore::new(SleepRank::Cma);
    let _first = semaphore.read();
    let _second = semaphore.read();
}

#[test]
#[should_panic(expected = "lock order: MemHotplug (rank ")]
fn falling_rank_is_caught() {
    let (outer, inner) =
        (RwSemaphore::new(SleepRank::MemHotplug), RwSemaphore::new(SleepRank::Cma));
    // As a reader it is held as well.
    let _inner = inner.write().downgrade();
    let _outer = outer.write();
}

/// A number that readers read twice and writers change in two steps.
struct Guarded(Cell<u64>, Cell<u64>);

// SAFETY: the tests hold a semaphore around each access.
#[expect(unsafe_code, reason = "plain memory, so that Miri sees a race")]
unsafe impl Sync for Guarded {}

#[test]
fn readers_and_writers_exclude_each_other() {
    const ROUNDS: u64 = if cfg!(miri) { 20 } else { 2000 };
    let semaphore = RwSemaphore::new(SleepRank::Cma);
    let value = Guarded(Cell::new(0), Cell::new(0));
    thread::scope(|s| {
        for n in 0..4 {
            let (semaphore, value) = (&semaphore, &value);
            s.spawn(move || {
                for round in 0..ROUNDS {
                    if (round + n) % 4 == 0 {
                        let guard = semaphore.write();
                        value.0.set(value.0.get() + 1);
                        thread::yield_now();
                        value.1.set(value.1.get() + 1);
                        if round % 8 == 0 {
                            let guard = guard.downgrade();
                            assert_eq!(value.0.get(), value.1.get());
                            drop(guard);
                        }
                    } else {
                        let _guard = semaphore.read();
                        let before = value.0.get();
                        assert_eq!(value.1.get(), before);
                    }
                }
            });
        }
    });
    assert_eq!(value.0.get(), ROUNDS);
    assert_eq!(semaphore.word.load(Ordering::Relaxed), 0);
    assert!(!semaphore.is_contended());
}
