use super::*;
use crate::sched::{allow_sigkill, current, send_sigkill};
use std::sync::atomic::AtomicU32 as Count;
use std::thread;

#[test]
fn each_completion_lets_one_thread_go_on() {
    let completion = Completion::new();
    assert!(!completion.try_wait() && !completion.is_done());
    completion.complete();
    completion.complete();
    assert!(completion.is_done());
    assert!(completion.try_wait() && completion.try_wait());
    assert!(!completion.try_wait(), "two were completed");
    assert_eq!(completion.wait_timeout(3), None);
    completion.complete();
    assert_eq!(completion.wait_timeout(3), Some(3));
    completion.complete();
    completion.wait();
    assert!(!completion.is_done());
}

#[test]
fn one_that_is_done_for_all_stays_done() {
    let completion = Completion::new();
    completion.complete_all();
    completion.complete();
    for _ in 0..5 {
        assert!(completion.try_wait());
    }
    assert_eq!(completion.wait_interruptible(), Ok(()));
    completion.reinit();
    assert!(!completion.try_wait());
    // Many calls don't make it one for all.
    completion.done.store(DONE_FOR_ALL - 2, Ordering::Relaxed);
    (0..3).for_each(|_| completion.complete());
    assert!(completion.try_wait());
    assert_eq!(completion.done.load(Ordering::Relaxed), DONE_FOR_ALL - 2);
}

#[test]
fn threads_go_on_as_often_as_it_is_done_and_see_what_was() {
    const ROUNDS: u32 = if cfg!(miri) { 20 } else { 1000 };
    let (request, reply) = (Completion::new(), Completion::new());
    let value = Count::new(0);
    thread::scope(|s| {
        s.spawn(|| {
            for round in 0..ROUNDS {
                request.wait();
                assert_eq!(value.load(Ordering::Relaxed), 2 * round + 1);
                value.store(2 * round + 2, Ordering::Relaxed);
                reply.complete();
            }
        });
        for round in 0..ROUNDS {
            value.store(2 * round + 1, Ordering::Relaxed);
            request.complete();
            reply.wait();
            assert_eq!(value.load(Ordering::Relaxed), 2 * round + 2);
        }
    });
    assert!(!request.is_done() && !reply.is_done());
}

#[test]
fn sigkill_ends_the_wait_for_what_is_not_done() {
    let completion = Completion::new();
    thread::scope(|s| {
        s.spawn(|| {
            assert_eq!(completion.wait_killable_timeout(3), Ok(None));
            allow_sigkill();
            assert!(send_sigkill(&current()));
            assert_eq!(completion.wait_killable(), Err(Interrupted));
            assert_eq!(completion.wait_killable_timeout(3), Err(Interrupted));
            assert_eq!(completion.wait_interruptible(), Err(Interrupted));
            // What is done is taken all the same, and other waits go on.
            assert_eq!(completion.wait_timeout(3), None);
            completion.complete();
            assert_eq!(completion.wait_killable(), Ok(()));
            assert!(!completion.is_done() && !completion.waiters.is_active());
        });
    });
}
