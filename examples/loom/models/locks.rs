//! Models of sleeping locks, whose CPUs look again and again while they wait.

use crate::sched::rwsem::RwSemaphore;
use crate::sched::signal::{allow_sigkill, send_sigkill};
use crate::sched::{current, task};
use crate::shim::become_cpu;
use crate::shim::sched::as_idle;
use crate::sync::SleepRank;
use loom::cell::UnsafeCell;
use loom::thread;
use std::sync::Arc;

struct Shared {
    semaphore: RwSemaphore,
    value: UnsafeCell<u32>,
}

// SAFETY: loom checks who is at the value, and when.
unsafe impl Sync for Shared {}
// SAFETY: as above.
unsafe impl Send for Shared {}

impl Shared {
    fn new() -> Arc<Self> {
        let this = Self { semaphore: RwSemaphore::new(SleepRank::Cma), value: UnsafeCell::new(0) };
        // The words are made here, before there is a second CPU: one task reads, and another waits
        // and is killed.
        let (reader, killed) = (task("reader"), task("killed"));
        let guard = as_idle(reader.clone(), || this.semaphore.read());
        as_idle(killed, || {
            allow_sigkill();
            assert!(send_sigkill(&current::current()));
            assert!(this.semaphore.write_killable().is_err());
        });
        assert!(!this.semaphore.is_contended());
        as_idle(reader, || drop(guard));
        assert!(!this.semaphore.is_locked());
        Arc::new(this)
    }
    fn write(&self) {
        let guard = self.semaphore.write();
        // SAFETY: loom checks that nobody else is there.
        self.value.with_mut(|at| unsafe { *at += 1 });
        let guard = guard.downgrade();
        // SAFETY: loom checks that nobody writes.
        self.value.with(|at| assert!(unsafe { *at } > 0));
        drop(guard);
    }
    fn read(&self) -> u32 {
        let _guard = self.semaphore.read();
        // SAFETY: loom checks that nobody writes.
        self.value.with(|at| unsafe { *at })
    }
}

/// Two writers and a reader: each waits for the others, is handed the semaphore, and sees what was
/// done before.
pub fn a_semaphore_excludes_and_is_handed_over() {
    let shared = Shared::new();
    let (first, second) = (task("writer"), task("reader"));
    let other = Arc::clone(&shared);
    let writer = thread::spawn(move || {
        become_cpu(1);
        as_idle(first, || other.write());
    });
    as_idle(second, || {
        assert!(shared.read() <= 1);
        shared.write();
    });
    writer.join().expect("no panic");
    let last = task("last");
    as_idle(last, || assert_eq!(shared.read(), 2));
    assert!(!shared.semaphore.is_locked() && !shared.semaphore.is_contended());
}

/// A writer that waits is killed while the reader that it waits for goes.
pub fn a_writer_that_is_killed_holds_it_or_leaves_no_trace() {
    let shared = Shared::new();
    let (reader, writer) = (task("reader"), task("writer"));
    let killed = writer.clone();
    let guard = as_idle(reader.clone(), || shared.semaphore.read());
    let other = Arc::clone(&shared);
    let waits = thread::spawn(move || {
        become_cpu(1);
        as_idle(writer, || {
            allow_sigkill();
            assert!(send_sigkill(&killed));
            if let Ok(guard) = other.semaphore.write_killable() {
                // SAFETY: loom checks that nobody else is there.
                other.value.with_mut(|at| unsafe { *at += 1 });
                drop(guard);
            }
        });
    });
    as_idle(reader.clone(), || {
        drop(guard);
        shared.read();
    });
    waits.join().expect("no panic");
    assert!(!shared.semaphore.is_locked() && !shared.semaphore.is_contended());
}
