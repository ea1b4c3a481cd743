use super::*;
use crate::arch::cpu;
use crate::sched::{allow_sigkill, current, send_sigkill};
use core::sync::atomic::Ordering::Relaxed;

#[test]
fn a_mutex_is_held_until_its_guard_is_dropped() {
    let mutex = Mutex::new(SleepRank::Cma);
    assert!(!mutex.is_locked());
    let guard = mutex.lock();
    // Neither try takes it from the holder.
    assert!(mutex.try_lock().is_none());
    assert!(mutex.try_lock().is_none());
    assert!(mutex.is_locked());
    drop(guard);
    assert!(!mutex.is_locked());
    assert!(mutex.try_lock().is_some());
}

#[test]
fn one_thread_at_a_time() {
    let mutex = Mutex::new(SleepRank::Cma);
    let count = AtomicU32::new(0);
    let rounds = if cfg!(miri) { 20 } else { 1000 };
    std::thread::scope(|s| {
        for n in 0..4 {
            let (mutex, count) = (&mutex, &count);
            s.spawn(move || {
                for _ in 0..rounds {
                    let guard = match mutex.try_lock() {
                        Some(guard) if n == 0 => guard,
                        taken => {
                            drop(taken);
                            mutex.lock()
                        }
                    };
                    let seen = count.load(Relaxed);
                    cpu::relax();
                    count.store(seen + 1, Relaxed);
                    drop(guard);
                }
            });
        }
    });
    assert_eq!(count.load(Relaxed), 4 * rounds);
    assert!(!mutex.is_locked());
}

/// Lets another thread have what stays with a task.
struct Smuggled<T>(T);

// SAFETY: none: it is to be caught.
#[expect(unsafe_code, reason = "safe code can't give a guard to another task")]
unsafe impl<T> Send for Smuggled<T> {}

#[test]
fn ranks_rise_and_are_free_again() {
    let (outer, inner) = (Mutex::new(SleepRank::MemHotplug), Mutex::new(SleepRank::Cma));
    for _ in 0..2 {
        let first = outer.lock();
        let second = inner.lock();
        assert_eq!(std::format!("{}", current().held_locks()), "MemHotplug, Cma");
        // In any order.
        drop(first);
        assert_eq!(std::format!("{}", current().held_locks()), "Cma");
        // What doesn't wait may come out of order.
        let first = outer.try_lock().expect("it is free");
        drop(second);
        assert_eq!(std::format!("{}", current().held_locks()), "MemHotplug");
        drop(first);
        assert!(current().held_locks().is_empty());
    }
    // Each task has its own.
    let _held = inner.lock();
    std::thread::scope(|s| s.spawn(|| drop(outer.lock())).join().expect("no panic"));
}

#[test]
#[should_panic(expected = "lock order: MemHotplug (rank ")]
fn falling_rank_is_caught() {
    let (outer, inner) = (Mutex::new(SleepRank::MemHotplug), Mutex::new(SleepRank::Cma));
    let _inner = inner.lock();
    let _outer = outer.lock();
}

#[test]
#[should_panic(expected = "lock order: Cma (rank ")]
fn a_task_that_takes_it_twice_is_caught() {
    let mutex = Mutex::new(SleepRank::Cma);
    let _first = mutex.lock();
    let _second = mutex.lock_killable();
}

#[test]
fn a_task_that_gives_up_what_another_holds_is_caught() {
    let mutex = Mutex::new(SleepRank::Cma);
    let guard = Smuggled(mutex.lock());
    let other = std::thread::scope(|s| {
        s.spawn(move || {
            let guard = guard;
            drop(guard.0);
        })
        .join()
    });
    let message = other.expect_err("it panics").downcast::<std::string::String>();
    assert_eq!(*message.expect("a message"), "Cma: host gives up a lock that another task holds");
    assert!(mutex.is_locked());
}

#[test]
fn sigkill_ends_the_wait_for_one_that_is_held() {
    let mutex = Mutex::new(SleepRank::Cma);
    let guard = mutex.lock();
    std::thread::scope(|s| {
        let (sender, task) = std::sync::mpsc::channel();
        let mutex = &mutex;
        let waiter = s.spawn(move || {
            assert!(!send_sigkill(&current()), "it is ignored at first");
            allow_sigkill();
            sender.send(current().get()).expect("the other is there");
            let killed = mutex.lock_killable().is_err();
            let held = current().held_locks().is_empty();
            // A free one is had all the same.
            (killed, held)
        });
        let task = task.recv().expect("the other is there");
        while mutex.state.load(Relaxed) != CONTENDED {
            std::thread::yield_now();
        }
        assert!(send_sigkill(&task));
        assert_eq!(waiter.join().expect("no panic"), (true, true));
        assert!(!mutex.waiters.is_active(), "it left its entry");
    });
    drop(guard);
    std::thread::scope(|s| {
        s.spawn(|| {
            allow_sigkill();
            assert!(send_sigkill(&current()));
            drop(mutex.lock_killable().expect("it is free"));
        });
    });
    assert!(!mutex.is_locked());
}
