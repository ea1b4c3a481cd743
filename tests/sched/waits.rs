//! Sleeping locks and wait queues.

use super::{run_on, this_cpu};
use crate::module_tests;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::SeqCst};
use granule::arch::CpuId;
use granule::arch::smp;
use granule::mm::gfp::Gfp;
use granule::mm::kthread::kthread_create_on_cpu;
use granule::mm::mempool::{Backing, Mempool};
use granule::sched::{
    self, Completion, KThread, Mutex, RwSemaphore, TaskState, WaitQueue, schedule,
};
use granule::sync::SleepRank;

/// Has one element, which the reserve of a pool takes.
struct OneElement(AtomicBool);

// SAFETY: an address that nobody reads or writes, given out once.
unsafe impl Backing for OneElement {
    fn alloc(&self, _: Gfp) -> Option<NonNull<u8>> {
        (!self.0.swap(true, SeqCst)).then_some(NonNull::dangling())
    }
    unsafe fn free(&self, _: NonNull<u8>) {
        self.0.store(false, SeqCst);
    }
}

module_tests! {
    fn a_writer_gets_its_turn_among_readers_of_its_cpu() {
        struct Shared {
            semaphore: RwSemaphore,
            written: AtomicBool,
            read_since: AtomicU32,
        }
        let shared = Arc::new(Shared {
            semaphore: RwSemaphore::new(SleepRank::Cma),
            written: AtomicBool::new(false),
            read_since: AtomicU32::new(0),
        });
        let cpu = this_cpu();
        // At any time one of them holds it, until the writer had its turn.
        let held = shared.semaphore.read();
        let readers: Vec<KThread> = (0..3)
            .map(|_| {
                let shared = Arc::clone(&shared);
                run_on("reader", cpu, move || {
                    let mut rounds = 0;
                    while !shared.written.load(SeqCst) {
                        let guard = shared.semaphore.read();
                        if shared.semaphore.is_contended() {
                            shared.read_since.fetch_add(1, SeqCst);
                        }
                        schedule();
                        drop(guard);
                        rounds += 1;
                    }
                    rounds
                })
            })
            .collect();
        (0..10).for_each(|_| schedule());
        let writer = Arc::clone(&shared);
        let writer = run_on("writer", cpu, move || {
            let _guard = writer.semaphore.write();
            assert!(!writer.written.swap(true, SeqCst));
            // Who slept while it waited goes on while it holds it, and waits.
            (0..10).for_each(|_| schedule());
            assert!(writer.semaphore.try_read().is_none());
            0
        });
        while !shared.semaphore.is_contended() {
            schedule();
        }
        drop(held);
        assert_eq!(writer.join(), 0);
        assert!(readers.into_iter().all(|reader| reader.join() > 0));
        let since = shared.read_since.load(SeqCst);
        assert!(since <= 6, "{since} times a reader had it while the writer waited");
        assert!(!shared.semaphore.is_locked() && !shared.semaphore.is_contended());
    }

    fn what_is_complete_lets_threads_of_all_cpus_go_on() {
        let (done, out) = (Arc::new(Completion::new()), Arc::new(AtomicU32::new(0)));
        let threads: Vec<KThread> = smp::online()
            .chain(smp::online())
            .map(|cpu| {
                let (done, out) = (Arc::clone(&done), Arc::clone(&out));
                run_on("waiter", cpu, move || {
                    done.wait();
                    out.fetch_add(1, SeqCst);
                    0
                })
            })
            .collect();
        assert_eq!(done.wait_timeout(2), None);
        let all = threads.len() as u32;
        for n in 1..all {
            done.complete();
            while out.load(SeqCst) < n {
                schedule();
            }
        }
        assert_eq!(done.wait_timeout(2), None, "one for each");
        assert_eq!(out.load(SeqCst), all - 1);
        done.complete_all();
        assert!(threads.into_iter().all(|thread| thread.join() == 0));
        assert!(done.is_done() && done.try_wait());
    }

    fn a_thread_ends_when_it_is_asked_to() {
        static QUEUE: WaitQueue = WaitQueue::new();
        static STARTED: AtomicU32 = AtomicU32::new(0);
        STARTED.store(0, SeqCst);
        for cpu in smp::online() {
            // Asleep on a queue, asleep without one, and one that never ran.
            let waits = run_on("waits", cpu, || {
                STARTED.fetch_add(1, SeqCst);
                assert!(QUEUE.wait_event_interruptible(|| false).is_err());
                5
            });
            let sleeps = run_on("sleeps", cpu, || {
                STARTED.fetch_add(1, SeqCst);
                while !sched::should_stop() {
                    sched::set_current_state(TaskState::Interruptible);
                    if !sched::should_stop() {
                        schedule();
                    }
                }
                sched::set_current_state(TaskState::Running);
                6
            });
            let never = kthread_create_on_cpu("never", cpu, || panic!("it ran")).expect("a thread");
            while STARTED.load(SeqCst) < 2 {
                schedule();
            }
            STARTED.store(0, SeqCst);
            assert!(!waits.has_ended() && !sleeps.has_ended() && !never.has_ended());
            assert_eq!((waits.stop(), sleeps.stop()), (5, 6));
            assert_eq!(never.stop(), -4);
        }
        assert!(!QUEUE.is_active());
    }

    /// SIGKILL ends killable and interruptible sleeps, of tasks that it is for.
    fn sigkill_ends_killable_waits_and_no_others() {
        static QUEUE: WaitQueue = WaitQueue::new();
        static GO: AtomicBool = AtomicBool::new(false);
        static ASLEEP: AtomicU32 = AtomicU32::new(0);
        GO.store(false, SeqCst);
        fn go() -> bool {
            ASLEEP.fetch_add(1, SeqCst);
            GO.load(SeqCst)
        }
        for cpu in smp::online() {
            GO.store(false, SeqCst);
            let killable = run_on("killable", cpu, || {
                sched::allow_sigkill();
                i32::from(QUEUE.wait_event_killable(go).is_err())
            });
            let timed = run_on("timed", cpu, || {
                sched::allow_sigkill();
                i32::from(QUEUE.wait_event_killable_timeout(go, 1_000_000).is_err())
            });
            let interruptible = run_on("interruptible", cpu, || {
                sched::allow_sigkill();
                i32::from(QUEUE.wait_event_interruptible(go).is_err())
            });
            let ignores = run_on("ignores", cpu, || {
                i32::from(QUEUE.wait_event_killable(go).is_err())
            });
            let uninterruptible = run_on("uninterruptible", cpu, || {
                sched::allow_sigkill();
                QUEUE.wait_event(go);
                i32::from(sched::fatal_signal_pending())
            });
            let all = [&killable, &timed, &interruptible, &ignores, &uninterruptible];
            let asleep = |thread: &&KThread| thread.task().state() != TaskState::Running;
            while !all.iter().all(asleep) {
                schedule();
            }
            let sent = all.map(|thread| sched::send_sigkill(thread.task()));
            assert_eq!(sent, [true, true, true, false, true]);
            assert_eq!((killable.join(), timed.join(), interruptible.join()), (1, 1, 1));
            assert!(!ignores.has_ended() && !uninterruptible.has_ended());
            GO.store(true, SeqCst);
            QUEUE.wake_up_all();
            assert_eq!((ignores.join(), uninterruptible.join()), (0, 1));
            assert!(!QUEUE.is_active());
        }
    }

    fn a_wake_up_is_for_as_many_exclusive_waiters_as_it_says() {
        static QUEUE: WaitQueue = WaitQueue::new();
        static ASKED: AtomicU32 = AtomicU32::new(0);
        static DONE: AtomicBool = AtomicBool::new(false);
        DONE.store(false, SeqCst);
        let cpu = this_cpu();
        let waiters: Vec<KThread> = (0..6)
            .map(|n| {
                run_on("waiter", cpu, move || {
                    let asks = || {
                        ASKED.fetch_add(1, SeqCst);
                        DONE.load(SeqCst)
                    };
                    if n == 5 {
                        QUEUE.wait_event(asks);
                    } else {
                        QUEUE.wait_event_exclusive(asks);
                    }
                    0
                })
            })
            .collect();
        // Of this CPU: when it comes back, all have run and sleep.
        schedule();
        let asked_by = |wakes: &dyn Fn()| {
            let before = ASKED.load(SeqCst);
            wakes();
            schedule();
            ASKED.load(SeqCst) - before
        };
        // One that is not exclusive, and so many of the others.
        assert_eq!(asked_by(&|| QUEUE.wake_up()), 1 + 1);
        assert_eq!(asked_by(&|| QUEUE.wake_up_nr(3)), 1 + 3);
        assert_eq!(asked_by(&|| QUEUE.wake_up_all()), 1 + 5);
        // One that is awake already is not counted.
        let twice = || {
            QUEUE.wake_up();
            QUEUE.wake_up();
        };
        assert_eq!(asked_by(&twice), 1 + 2);
        DONE.store(true, SeqCst);
        QUEUE.wake_up_all();
        assert!(waiters.into_iter().all(|waiter| waiter.join() == 0));
    }

    /// A wake-up that comes when an exclusive waiter needs none any more, because it goes on or gives
    /// up, is for the next one.
    fn whoever_leaves_passes_its_wake_up_on() {
        static QUEUE: WaitQueue = WaitQueue::new();
        static TOKENS: AtomicU32 = AtomicU32::new(0);
        fn takes() -> bool {
            TOKENS.fetch_update(SeqCst, SeqCst, |tokens| tokens.checked_sub(1)).is_ok()
        }
        let cpu = this_cpu();
        for gives_up in [false, true] {
            TOKENS.store(0, SeqCst);
            let first = run_on("first", cpu, move || {
                sched::allow_sigkill();
                let mut asked = 0;
                let result = QUEUE.wait_event_killable_exclusive(|| {
                    asked += 1;
                    // It is on the queue for the second time, and about to sleep.
                    if asked == 3 {
                        TOKENS.store(1, SeqCst);
                        QUEUE.wake_up();
                        if gives_up {
                            sched::send_sigkill(&sched::current());
                        }
                        return !gives_up;
                    }
                    false
                });
                i32::from(result.is_err())
            });
            let second = run_on("second", cpu, || {
                QUEUE.wait_event_exclusive(takes);
                0
            });
            schedule();
            QUEUE.wake_up();
            assert_eq!(first.join(), i32::from(gives_up));
            assert_eq!(second.join(), 0);
            assert_eq!(TOKENS.load(SeqCst), 0);
            assert!(!QUEUE.is_active());
        }
    }

    fn a_mutex_goes_round_the_threads_of_all_cpus() {
        static MUTEX: Mutex = Mutex::new(SleepRank::Cma);
        static COUNT: AtomicU32 = AtomicU32::new(0);
        static BEGUN: AtomicUsize = AtomicUsize::new(0);
        const ROUNDS: u32 = 100;
        COUNT.store(0, SeqCst);
        BEGUN.store(0, SeqCst);
        let work = |killable: bool| move || {
            sched::allow_sigkill();
            BEGUN.fetch_add(1, SeqCst);
            let mut killed = 0;
            for _ in 0..ROUNDS {
                let guard = if killable {
                    let Ok(guard) = MUTEX.lock_killable() else {
                        killed += 1;
                        continue;
                    };
                    guard
                } else {
                    MUTEX.lock()
                };
                let seen = COUNT.load(SeqCst);
                // It may come back on another CPU, and holds the mutex still.
                schedule();
                COUNT.store(seen + 1, SeqCst);
                drop(guard);
            }
            killed
        };
        let cpus = || smp::online().chain(smp::online());
        let threads: Vec<KThread> = cpus()
            .enumerate()
            .map(|(n, cpu)| run_on("locker", cpu, work(n % 2 == 0)))
            .collect();
        let total = threads.len() as i32 * ROUNDS as i32;
        while COUNT.load(SeqCst) < ROUNDS || BEGUN.load(SeqCst) < threads.len() {
            schedule();
        }
        for thread in threads.iter().step_by(2) {
            let is_sent = sched::send_sigkill(thread.task());
            assert!(is_sent || thread.has_ended(), "it takes SIGKILL");
        }
        let killed: i32 = threads.into_iter().map(KThread::join).sum();
        assert_eq!(COUNT.load(SeqCst) as i32, total - killed);
        assert!(!MUTEX.is_locked());
    }

    /// The first of three waiters of one CPU gives up; those behind it go on.
    fn a_writer_that_is_killed_lets_readers_go_on() {
        static SEMAPHORE: RwSemaphore = RwSemaphore::new(SleepRank::Cma);
        let cpu = this_cpu();
        let held = SEMAPHORE.read();
        let writer = run_on("writer", cpu, || {
            sched::allow_sigkill();
            i32::from(SEMAPHORE.write_killable().is_err())
        });
        schedule();
        let readers = [0; 2].map(|_| {
            run_on("reader", cpu, || {
                drop(SEMAPHORE.read());
                0
            })
        });
        schedule();
        assert!(SEMAPHORE.is_contended() && readers.iter().all(|reader| !reader.has_ended()));
        assert!(sched::send_sigkill(writer.task()));
        assert_eq!(writer.join(), 1);
        assert!(readers.into_iter().all(|reader| reader.join() == 0));
        assert!(!SEMAPHORE.is_contended());
        // Whose turn it is has it, killed or not.
        let writer = run_on("writer", cpu, || {
            sched::allow_sigkill();
            i32::from(SEMAPHORE.write_killable().is_err())
        });
        schedule();
        drop(held);
        assert!(sched::send_sigkill(writer.task()));
        assert_eq!(writer.join(), 0);
        assert!(!SEMAPHORE.is_locked());
    }

    fn states_choose_who_is_woken() {
        static QUEUE: WaitQueue = WaitQueue::new();
        static ASKED: [AtomicU32; 2] = [const { AtomicU32::new(0) }; 2];
        static DONE: AtomicBool = AtomicBool::new(false);
        DONE.store(false, SeqCst);
        let asks = |n: usize| move || {
            ASKED[n].fetch_add(1, SeqCst);
            DONE.load(SeqCst)
        };
        let cpu = CpuId::BOOT;
        let interruptible = run_on("interruptible", cpu, move || {
            i32::from(QUEUE.wait_event_interruptible(asks(0)).is_ok())
        });
        let uninterruptible = run_on("uninterruptible", cpu, move || {
            QUEUE.wait_event(asks(1));
            1
        });
        // Of this CPU: when it comes back, both have run and sleep.
        schedule();
        let before = [0, 1].map(|n: usize| ASKED[n].load(SeqCst));
        QUEUE.wake_up_interruptible();
        schedule();
        let after = [0, 1].map(|n: usize| ASKED[n].load(SeqCst));
        assert!(after[0] > before[0], "it was not woken");
        assert_eq!(after[1], before[1], "it was woken");
        DONE.store(true, SeqCst);
        QUEUE.wake_up();
        assert_eq!((interruptible.join(), uninterruptible.join()), (1, 1));
    }

    // Else the one who waits would go on when its time-out of seconds is over.
    fn what_comes_back_to_a_mempool_wakes_who_waits() {
        let pool = Arc::new(Mempool::new(1, OneElement(AtomicBool::new(false))).expect("its reserve"));
        let element = pool.alloc(Gfp::GFP_NOWAIT).expect("it is there");
        let asks = Arc::clone(&pool);
        let waiter = run_on("waiter", this_cpu(), move || {
            let element = asks.alloc(Gfp::GFP_KERNEL).expect("one who may sleep gets one");
            // SAFETY: of this pool, allocated just now.
            unsafe { asks.free(element) };
            1
        });
        // It finds none, and sleeps.
        schedule();
        assert!(!waiter.has_ended());
        // SAFETY: of this pool, and nobody uses it any more.
        unsafe { pool.free(element) };
        // Awake it takes its turn, gives the element back and ends.
        schedule();
        schedule();
        assert!(waiter.has_ended(), "it sleeps on");
        assert_eq!(waiter.join(), 1);
    }
}
