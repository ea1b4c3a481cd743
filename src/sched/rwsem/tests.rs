use super::word::{Want, claim, has_waiters, may_read, next_ticket, readers};
use super::*;
use proptest::prelude::*;
use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::atomic::AtomicU32;
use std::thread;
use std::vec::Vec;

#[test]
fn readers_share_it_and_a_writer_has_it_alone() {
    let semaphore = RwSemaphore::new();
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
    /// The waiter at this place asks again.
    Ask(usize),
    /// The holder at this place leaves.
    Leave(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        any::<bool>().prop_map(Step::Come),
        (0..8usize).prop_map(Step::Ask),
        (0..8usize).prop_map(Step::Leave),
    ];
    prop::collection::vec(step, 1..200)
}

proptest! {
    /// The word against a queue: who may hold it together, and who comes when.
    #[test]
    fn holders_come_in_order(steps in steps(), first in any::<u16>()) {
        let mut word = u64::from(first) << 48 | u64::from(first) << 32;
        let (mut held, mut waiting) = (Vec::new(), VecDeque::<(Want, u16)>::new());
        for step in steps {
            match step {
                Step::Come(reads) => {
                    let want = if reads { Want::Read } else { Want::Write };
                    let writes = held.contains(&Want::Write);
                    let free = waiting.is_empty() && if reads { !writes } else { held.is_empty() };
                    if reads {
                        prop_assert_eq!(may_read(word), free);
                    }
                    if free {
                        held.push(want);
                        word += if reads { READER } else { WRITER };
                    } else {
                        waiting.push_back((want, next_ticket(word)));
                        word = word.wrapping_add(TICKET);
                    }
                }
                Step::Ask(at) if at < waiting.len() => {
                    let (want, ticket) = waiting[at];
                    let free = match want {
                        Want::Read => !held.contains(&Want::Write),
                        Want::Write => held.is_empty(),
                    };
                    let claimed = claim(word, want, ticket);
                    prop_assert_eq!(claimed.is_some(), at == 0 && free);
                    if let Some(after) = claimed {
                        waiting.pop_front();
                        held.push(want);
                        word = after;
                    }
                }
                Step::Leave(at) if at < held.len() => {
                    word -= if held.swap_remove(at) == Want::Read { READER } else { WRITER };
                }
                _ => {}
            }
            prop_assert_eq!(has_waiters(word), !waiting.is_empty());
            let count = held.iter().filter(|&&want| want == Want::Read).count();
            prop_assert_eq!(readers(word), count as u64);
            prop_assert_eq!(word & WRITER != 0, held.contains(&Want::Write));
        }
    }
}

#[test]
fn who_comes_later_waits_behind_a_writer() {
    let semaphore = RwSemaphore::new();
    let reader = semaphore.read();
    let order = AtomicU32::new(0);
    thread::scope(|s| {
        let writer = s.spawn(|| {
            let _guard = semaphore.write();
            order.fetch_add(1, Ordering::Relaxed)
        });
        while !semaphore.is_contended() {
            thread::yield_now();
        }
        assert!(semaphore.try_read().is_none(), "the writer was first");
        let later = s.spawn(|| {
            let _guard = semaphore.read();
            order.fetch_add(1, Ordering::Relaxed)
        });
        // Two tickets are out: both wait.
        while semaphore.word.load(Ordering::Relaxed) >> 48 != 2 {
            thread::yield_now();
        }
        drop(reader);
        assert_eq!((writer.join().unwrap(), later.join().unwrap()), (0, 1));
    });
    assert!(!semaphore.is_locked() && !semaphore.is_contended());
}

/// A number that readers read twice and writers change in two steps.
struct Guarded(Cell<u64>, Cell<u64>);

// SAFETY: the tests hold a semaphore around each access.
#[expect(unsafe_code, reason = "plain memory, so that Miri sees a race")]
unsafe impl Sync for Guarded {}

#[test]
fn readers_and_writers_exclude_each_other() {
    const ROUNDS: u64 = if cfg!(miri) { 20 } else { 2000 };
    let semaphore = RwSemaphore::new();
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
    assert_eq!(semaphore.word.load(Ordering::Relaxed) & 0xffff_ffff, 0);
    assert!(!semaphore.is_contended());
}
