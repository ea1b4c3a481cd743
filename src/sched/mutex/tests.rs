use super::*;
use crate::arch::cpu;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::Relaxed;

#[test]
fn a_mutex_is_held_until_its_guard_is_dropped() {
    let mutex = Mutex::new();
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
    let mutex = Mutex::new();
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
