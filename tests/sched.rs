//! Kernel threads: on all cores, woken from interrupts and across cores, ended and counted.

#![no_std]
#![no_main]

mod harness;

extern crate alloc;

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::SeqCst};
use granule::addr::{Order, VirtAddr};
use granule::arch::cpumask::CpuMask;
use granule::arch::irq::{is_masked, with_masked};
use granule::arch::switch::{THREAD_ALIGN, THREAD_SIZE};
use granule::arch::{CpuId, NR_CPUS};
use granule::arch::{cpu, smp};
use granule::init::interrupts;
use granule::mm::alloc_pages::{FailPageAlloc, alloc_pages, set_fail_page_alloc};
use granule::mm::gfp::Gfp;
use granule::mm::kthread::{kthread_create_on_cpu, kthread_run};
use granule::mm::mempool::{Backing, Mempool};
use granule::mm::page_alloc::free_pages;
use granule::mm::slab::{FailSlab, set_failslab, shrink_all, slabinfo};
use granule::mm::thread_stack;
use granule::percpu::nr_cpu_ids;
use granule::sched::{
    self, Completion, CreateError, KThread, Life, Mutex, RwSemaphore, TaskRef, TaskState,
    WaitQueue, schedule,
};
use granule::sync::{Rank, SleepRank, SpinLock};

fn this_cpu() -> CpuId {
    with_masked(cpu::id)
}

/// A thread that is awake.
fn run_on(name: &str, cpu: CpuId, f: impl FnOnce() -> i32 + Send + 'static) -> KThread {
    let thread = kthread_create_on_cpu(name, cpu, f).expect("a thread");
    assert!(thread.wake_up(), "it was awake before it ran");
    thread
}

/// Two threads hand a ball to each other `ROUNDS` times.
fn ping_pong(cpus: [CpuId; 2]) {
    const ROUNDS: u32 = 1000;
    struct Table {
        ball: AtomicU32,
        turned: WaitQueue,
    }
    let table = Arc::new(Table { ball: AtomicU32::new(0), turned: WaitQueue::new() });
    let players: Vec<KThread> = cpus
        .into_iter()
        .zip(0..)
        .map(|(cpu, side)| {
            let table = Arc::clone(&table);
            run_on("player", cpu, move || {
                let mut held = 0;
                while held < ROUNDS {
                    table.turned.wait_event(|| table.ball.load(SeqCst) % 2 == side);
                    table.ball.fetch_add(1, SeqCst);
                    table.turned.wake_up();
                    held += 1;
                }
                held as i32
            })
        })
        .collect();
    for player in players {
        assert_eq!(player.join(), ROUNDS as i32);
    }
    assert_eq!(table.ball.load(SeqCst), 2 * ROUNDS);
    assert!(!table.turned.is_active(), "somebody is left on the queue");
    assert_eq!(Arc::strong_count(&table), 1, "a closure was not dropped");
}

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

/// Number of times that an interrupt has told the sleeper to wake up.
static RUNG: AtomicU32 = AtomicU32::new(0);
static BELL: WaitQueue = WaitQueue::new();

fn ring() {
    RUNG.fetch_add(1, SeqCst);
    BELL.wake_up();
}

/// Registers that a call must preserve, with a value of each thread's own, over switches.
fn keeps_registers(seed: u64) -> bool {
    extern "C" fn switch() {
        schedule();
    }
    let kept: u64;
    // SAFETY: a call by the rules of C; the registers that it must preserve and that are used
    // here are given back. x19 and x29 are the compiler's own.
    unsafe {
        core::arch::asm!(
            "stp x20, x21, [sp, #-80]!", "stp x22, x23, [sp, #16]", "stp x24, x25, [sp, #32]",
            "stp x26, x27, [sp, #48]", "str x28, [sp, #64]", "str {seed}, [sp, #72]",
            "add x20, {seed}, #1", "add x21, {seed}, #2", "add x22, {seed}, #3",
            "add x23, {seed}, #4", "add x24, {seed}, #5", "add x25, {seed}, #6",
            "add x26, {seed}, #7", "add x27, {seed}, #8", "add x28, {seed}, #9",
            "bl {switch}",
            "ldr x0, [sp, #72]", "mov x1, #0",
            "sub x2, x20, x0", "cmp x2, #1", "cinc x1, x1, eq",
            "sub x2, x21, x0", "cmp x2, #2", "cinc x1, x1, eq",
            "sub x2, x22, x0", "cmp x2, #3", "cinc x1, x1, eq",
            "sub x2, x23, x0", "cmp x2, #4", "cinc x1, x1, eq",
            "sub x2, x24, x0", "cmp x2, #5", "cinc x1, x1, eq",
            "sub x2, x25, x0", "cmp x2, #6", "cinc x1, x1, eq",
            "sub x2, x26, x0", "cmp x2, #7", "cinc x1, x1, eq",
            "sub x2, x27, x0", "cmp x2, #8", "cinc x1, x1, eq",
            "sub x2, x28, x0", "cmp x2, #9", "cinc x1, x1, eq",
            "ldr x28, [sp, #64]", "ldp x26, x27, [sp, #48]", "ldp x24, x25, [sp, #32]",
            "ldp x22, x23, [sp, #16]", "ldp x20, x21, [sp], #80",
            seed = in(reg) seed,
            switch = sym switch,
            lateout("x1") kept,
            clobber_abi("C"),
        );
    }
    kept == 9
}

/// A thread that keeps its CPU until it is told to end.
struct Hog(KThread, Arc<AtomicBool>);

impl Hog {
    fn on(cpu: CpuId) -> Self {
        let (runs, stop) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (tells, asks) = (Arc::clone(&runs), Arc::clone(&stop));
        let thread = run_on("hog", cpu, move || {
            tells.store(true, SeqCst);
            while !asks.load(SeqCst) {
                cpu::relax();
            }
            0
        });
        while !runs.load(SeqCst) {
            schedule();
        }
        Self(thread, stop)
    }

    fn end(self) {
        self.1.store(true, SeqCst);
        assert_eq!(self.0.join(), 0);
    }
}

kernel_tests! {
    fn threads_of_one_cpu_take_turns() {
        for cpu in smp::online() {
            ping_pong([cpu, cpu]);
        }
    }

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

    fn threads_of_two_cpus_wake_each_other() {
        let cpus: Vec<CpuId> = smp::online().collect();
        for pair in cpus.windows(2) {
            let before = [0, 1].map(|n: usize| interrupts::reschedules(pair[n]));
            ping_pong([pair[0], pair[1]]);
            let after = [0, 1].map(|n: usize| interrupts::reschedules(pair[n]));
            assert!(after[0] > before[0] && after[1] > before[1], "it was the timer that woke");
        }
        ping_pong([cpus[cpus.len() - 1], cpus[0]]);
    }

    fn a_thread_runs_on_its_cpu_and_its_stack() {
        let up = smp::online().count();
        assert!(up >= 4 && up == nr_cpu_ids(), "{up} CPUs are up of {}", nr_cpu_ids());
        for cpu in smp::online() {
            let thread = run_on("where", cpu, move || {
                let local = 0u8;
                let sp = VirtAddr::from_ptr(&raw const local);
                let bottom = sp.align_down(THREAD_ALIGN);
                assert!(sp - bottom < THREAD_SIZE, "SP's bit would tell an overflow: {sp}");
                assert!(!is_masked(), "it starts with interrupts masked");
                assert_eq!(sched::current_comm().expect("a name").as_str(), "where");
                let task = sched::current().get();
                for _ in 0..10 {
                    assert_eq!((this_cpu(), sched::current().get()), (cpu, task.clone()));
                    schedule();
                }
                task.cpu().index() as i32
            });
            assert_eq!(thread.task().cpu(), cpu);
            assert_eq!(thread.join(), cpu.index() as i32);
        }
    }

    fn registers_survive_the_switch() {
        let threads: Vec<KThread> = (1..=3u64)
            .map(|n| {
                let f = move || i32::from((0..50).all(|i| keeps_registers(n << 32 | i)));
                run_on("registers", CpuId::BOOT, f)
            })
            .collect();
        assert!((0..50).all(|i| keeps_registers(0x7777 << 32 | i)));
        for thread in threads {
            assert_eq!(thread.join(), 1);
        }
    }

    /// A token goes round a ring of threads, two on each CPU, by wake_up_process alone.
    fn a_token_goes_round_the_cpus() {
        const ROUNDS: usize = 200;
        struct Ring {
            token: AtomicUsize,
            threads: SpinLock<Vec<TaskRef>>,
        }
        let ring = Arc::new(Ring {
            token: AtomicUsize::new(0),
            threads: SpinLock::new(Rank::SlabCaches, Vec::new()),
        });
        let places: Vec<CpuId> = smp::online().chain(smp::online()).collect();
        let total = places.len();
        let threads: Vec<KThread> = places
            .into_iter()
            .enumerate()
            .map(|(n, cpu)| {
                let ring = Arc::clone(&ring);
                let f = move || {
                    for round in 0..ROUNDS {
                        let turn = round * total + n;
                        loop {
                            sched::set_current_state(TaskState::Interruptible);
                            if ring.token.load(SeqCst) == turn {
                                break;
                            }
                            schedule();
                        }
                        sched::set_current_state(TaskState::Running);
                        ring.token.store(turn + 1, SeqCst);
                        let next = with_masked(|irq| {
                            ring.threads.lock(irq)[(turn + 1) % total].clone()
                        });
                        sched::wake_up_process(&next);
                    }
                    0
                };
                kthread_create_on_cpu("ring", cpu, f).expect("a thread")
            })
            .collect();
        let tasks: Vec<TaskRef> = threads.iter().map(|thread| thread.task().clone()).collect();
        with_masked(|irq| *ring.threads.lock(irq) = tasks);
        for thread in &threads {
            thread.wake_up();
        }
        for thread in threads {
            assert_eq!(thread.join(), 0);
        }
        assert_eq!(ring.token.load(SeqCst), ROUNDS * total);
    }

    fn the_timer_wakes_sleepers_of_all_cpus() {
        RUNG.store(0, SeqCst);
        let sleepers: Vec<KThread> = smp::online()
            .map(|cpu| {
                run_on("sleeper", cpu, || {
                    for n in 1..=5 {
                        BELL.wait_event(|| RUNG.load(SeqCst) >= 3 * n);
                    }
                    RUNG.load(SeqCst) as i32
                })
            })
            .collect();
        interrupts::set_tick_hook(Some(ring));
        for sleeper in sleepers {
            assert!(sleeper.join() >= 15);
        }
        interrupts::set_tick_hook(None);
        assert!(!BELL.is_active());
    }

    fn time_ends_a_sleep() {
        for cpu in smp::online() {
            let thread = run_on("timed", cpu, || {
                let begin = sched::jiffies();
                sched::msleep(50);
                assert!(sched::jiffies() - begin >= 5);
                // Nobody makes it true.
                let queue = WaitQueue::new();
                let begin = sched::jiffies();
                assert_eq!(queue.wait_event_timeout(|| false, 3), None);
                assert!(sched::jiffies() - begin >= 3 && !queue.is_active());
                assert_eq!(queue.wait_event_timeout(|| true, 3), Some(3));
                0
            });
            assert_eq!(thread.join(), 0);
        }
        // The first thread of the boot CPU is one like any other.
        let begin = sched::jiffies();
        sched::msleep(20);
        assert!(sched::jiffies() - begin >= 2);
    }

    fn a_wake_up_ends_a_timed_sleep() {
        static FLAG: AtomicBool = AtomicBool::new(false);
        static QUEUE: WaitQueue = WaitQueue::new();
        FLAG.store(false, SeqCst);
        const LONG: u64 = 1_000_000;
        let waits = |cpu| {
            run_on("timed", cpu, || {
                let left = QUEUE.wait_event_timeout(|| FLAG.load(SeqCst), LONG);
                i32::from(left.is_some_and(|left| left > 0 && left <= LONG))
            })
        };
        let threads: Vec<KThread> = smp::online().map(waits).collect();
        sched::msleep(20);
        FLAG.store(true, SeqCst);
        QUEUE.wake_up();
        for thread in threads {
            assert_eq!(thread.join(), 1);
        }
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

    /// Stacks and numbers come back, of joined threads and of those that nobody waits for:
    /// the harness counts the pages.
    fn ends_leave_nothing() {
        // Those of all CPUs: threads of the kernel that sleep may wake up on another.
        let threads = || smp::online().map(sched::threads).sum::<usize>();
        let before = threads();
        static RAN: AtomicUsize = AtomicUsize::new(0);
        RAN.store(0, SeqCst);
        let mut created = 0;
        for round in 0..96 {
            for cpu in smp::online() {
                let thread = run_on("short", cpu, || RAN.fetch_add(1, SeqCst) as i32);
                created += 1;
                if round % 2 == 0 {
                    thread.join();
                }
            }
        }
        while threads() > before {
            sched::msleep(10);
        }
        assert_eq!(RAN.load(SeqCst), created);
    }

    /// All have run, and none has ended, when the last is there: each has its stack and its task.
    fn ten_thousand_threads_live_at_once() {
        const MANY: usize = 10_000;
        static HERE: AtomicUsize = AtomicUsize::new(0);
        static GO: AtomicBool = AtomicBool::new(false);
        static QUEUE: WaitQueue = WaitQueue::new();
        HERE.store(0, SeqCst);
        GO.store(false, SeqCst);
        let before: usize = smp::online().map(sched::threads).sum();
        let mut threads = Vec::new();
        for n in 0..MANY {
            let thread = kthread_run("one of many", move || {
                HERE.fetch_add(1, SeqCst);
                QUEUE.wait_event(|| GO.load(SeqCst));
                n as i32
            });
            threads.push(thread.unwrap_or_else(|why| panic!("thread {n}: {why}")));
        }
        while HERE.load(SeqCst) < MANY {
            sched::msleep(10);
        }
        let now: usize = smp::online().map(sched::threads).sum();
        assert!(now >= before + MANY && threads.iter().all(|thread| !thread.has_ended()));
        let mut pids: Vec<u32> = threads.iter().map(|thread| thread.task().pid()).collect();
        pids.sort_unstable();
        pids.dedup();
        assert!(pids.len() == MANY && pids[0] > 0, "two have the same pid");
        GO.store(true, SeqCst);
        QUEUE.wake_up();
        for (n, thread) in threads.into_iter().enumerate() {
            assert_eq!(thread.join(), n as i32);
        }
    }

    /// The task, its stack, and pages for either are missing in turn.
    fn without_memory_no_thread_is_created() {
        let held = Arc::new(());
        let create = || {
            // Stacks that are kept need no memory.
            thread_stack::free_vm_stack_cache(usize::MAX);
            let held = Arc::clone(&held);
            kthread_create_on_cpu("short", CpuId::BOOT, move || {
                drop(held);
                0
            })
        };
        let refused = |fails: &dyn Fn(u32)| {
            let mut refused = 0;
            for skip in 0.. {
                fails(skip);
                let created = create();
                set_failslab(None);
                set_fail_page_alloc(None);
                match created {
                    Ok(thread) => {
                        assert_eq!(thread.stop(), -4);
                        break;
                    }
                    Err(why) => {
                        assert_eq!(why, CreateError::NoMemory);
                        refused += 1;
                    }
                }
                assert_eq!(Arc::strong_count(&held), 1, "a closure was not dropped");
            }
            refused
        };
        let objects = || {
            shrink_all();
            slabinfo().map(|info| info.active_objects).sum::<usize>()
        };
        let threads = || smp::online().map(sched::threads).sum::<usize>();
        let before = (threads(), objects());
        let slab = refused(&|skip| {
            let (space, probability) = (skip, 100);
            set_failslab(Some(FailSlab { interval: 1, probability, space, times: 1 }));
        });
        assert!(slab >= 1, "no task was refused");
        let pages = refused(&|skip| {
            harness::settled_pages();
            let (times, min_order) = (u32::MAX, Order::ZERO);
            set_fail_page_alloc(Some(FailPageAlloc { skip, interval: 1, times, min_order }));
        });
        // One for each page of the stack at least.
        assert!(pages >= 4, "{pages} allocations were refused");
        // All of memory is taken. What can be reclaimed may still do for some threads.
        let mut taken = Vec::with_capacity(1 << 20);
        let mut created = Vec::with_capacity(1000);
        while let Some(page) = alloc_pages(Gfp::GFP_NOWAIT, Order::ZERO) {
            taken.push(page);
        }
        let refused = loop {
            match create() {
                Ok(thread) => created.push(thread),
                Err(why) => break why,
            }
            assert!(created.len() < created.capacity(), "threads need no memory");
        };
        assert_eq!(refused, CreateError::NoMemory);
        assert!(created.into_iter().all(|thread| thread.stop() == -4));
        // SAFETY: allocated above, and used by nobody.
        taken.into_iter().for_each(|page| unsafe { free_pages(page, Order::ZERO) });
        assert_eq!(create().map(KThread::stop), Ok(-4));
        assert_eq!((threads(), objects()), before);
        assert_eq!(Arc::strong_count(&held), 1);
    }

    /// A stack that was kept serves the next thread of that CPU.
    fn a_cpu_keeps_two_stacks() {
        static PLACES: [AtomicUsize; 3] = [const { AtomicUsize::new(0) }; 3];
        let cpu = this_cpu();
        let place = |n: usize| {
            kthread_create_on_cpu("place", cpu, move || {
                let local = 0u8;
                let at = VirtAddr::from_ptr(&raw const local).align_down(THREAD_ALIGN);
                PLACES[n].store(at.get(), SeqCst);
                0
            })
            .expect("a thread")
        };
        let run = || {
            // All three are there before one ends.
            let threads = [0, 1, 2].map(place);
            for thread in threads {
                thread.wake_up();
                assert_eq!(thread.join(), 0);
            }
            PLACES.iter().map(|at| at.load(SeqCst)).collect::<Vec<usize>>()
        };
        thread_stack::free_vm_stack_cache(usize::MAX);
        let first = run();
        let again = run();
        assert!(first[..2].iter().all(|at| again.contains(at)), "{first:x?} {again:x?}");
        assert_eq!(thread_stack::free_vm_stack_cache(1), 1);
        assert_eq!(thread_stack::free_vm_stack_cache(usize::MAX), 1);
        assert_eq!(thread_stack::free_vm_stack_cache(usize::MAX), 0);
    }

    fn numbers_run_out_with_an_error() {
        let held = Arc::new(());
        let before = sched::pid_max();
        assert_eq!(before, 32_768);
        assert_eq!([0, 300, 32_769].map(|max| sched::set_pid_max(max).is_err()), [true; 3]);
        sched::set_pid_max(301).expect("as low as can be");
        let mut threads = Vec::new();
        let why = loop {
            let held = Arc::clone(&held);
            let cpu = smp::online().nth(threads.len() % 4).expect("four CPUs");
            let created = kthread_create_on_cpu("many", cpu, move || {
                drop(held);
                0
            });
            match created {
                Ok(thread) => threads.push(thread),
                Err(why) => break why,
            }
        };
        assert_eq!(why, CreateError::NoPid);
        assert!(threads.iter().all(|thread| (1..301).contains(&thread.task().pid())));
        for thread in threads {
            assert_eq!(thread.stop(), -4);
        }
        sched::set_pid_max(before).expect("what it was");
        assert_eq!(Arc::strong_count(&held), 1, "a closure was not dropped");
        let absent = CpuId::new(nr_cpu_ids()).expect("a CPU that the machine lacks");
        assert_eq!(kthread_create_on_cpu("x", absent, || 0).err(), Some(CreateError::NoCpu));
    }

    fn a_number_is_not_used_again_soon() {
        let pid = || {
            let thread = run_on("short", CpuId::BOOT, || 0);
            let pid = thread.task().pid();
            let task = thread.task().clone();
            assert_eq!(sched::find_task_by_pid(pid), Some(task.clone()));
            assert_eq!(thread.join(), 0);
            assert!(sched::find_task_by_pid(pid).is_none() && task.pid() == 0);
            assert_eq!(task.life(), Life::Dead);
            pid
        };
        let first = pid();
        assert!((0..50).all(|_| pid() != first));
        assert_eq!(sched::current().pid(), 1, "init");
    }

    fn tasks_are_listed_while_they_come_and_go() {
        static STOP: AtomicBool = AtomicBool::new(false);
        STOP.store(false, SeqCst);
        let stay: Vec<KThread> = (0..40)
            .map(|_| kthread_create_on_cpu("stays", CpuId::BOOT, || 0).expect("a thread"))
            .collect();
        let others: Vec<KThread> = smp::online()
            .skip(1)
            .map(|cpu| {
                run_on("creates", cpu, move || {
                    while !STOP.load(SeqCst) {
                        run_on("short", cpu, || 0).join();
                    }
                    0
                })
            })
            .collect();
        for _ in 0..50 {
            let mut last = 0;
            let mut seen = 0;
            for task in sched::tasks() {
                seen += usize::from(task.comm().as_str() == "stays");
                let pid = task.pid();
                assert!(pid == 0 || pid > last, "{pid} comes after {last}");
                last = last.max(pid);
            }
            assert_eq!(seen, stay.len());
            schedule();
        }
        STOP.store(true, SeqCst);
        others.into_iter().for_each(|thread| assert_eq!(thread.join(), 0));
        stay.into_iter().for_each(|thread| assert_eq!(thread.stop(), -4));
    }

    /// Twice as many threads as CPUs could all run: each CPU gets some of them.
    fn work_spreads_over_the_cpus() {
        static SEEN: [AtomicBool; NR_CPUS] = [const { AtomicBool::new(false) }; NR_CPUS];
        SEEN.iter().for_each(|seen| seen.store(false, SeqCst));
        let all_seen = || smp::online().all(|cpu| SEEN[cpu.index()].load(SeqCst));
        let run = |_: CpuId| {
            kthread_run("spread", move || {
                while !all_seen() {
                    SEEN[this_cpu().index()].store(true, SeqCst);
                    schedule();
                    cpu::relax();
                }
                0
            })
            .expect("a thread")
        };
        let threads: Vec<KThread> = smp::online().chain(smp::online()).map(run).collect();
        threads.into_iter().for_each(|thread| assert_eq!(thread.join(), 0));
    }

    /// One CPU is kept by a thread that does not yield. Those that wait for it, and may run
    /// elsewhere, do.
    fn an_idle_cpu_takes_who_waits_for_the_busiest() {
        let busy = smp::online().nth(1).expect("a second CPU");
        let hog = Hog::on(busy);
        let threads: Vec<KThread> =
            (0..3).map(|_| run_on("waits", busy, || this_cpu().index() as i32)).collect();
        for thread in &threads {
            assert!(!thread.has_ended(), "the CPU was free");
            sched::set_cpus_allowed(thread.task(), CpuMask::ALL).expect("CPUs that are up");
        }
        for thread in threads {
            assert_ne!(thread.join(), busy.index() as i32);
        }
        hog.end();
    }

    fn a_wake_up_goes_to_an_idle_cpu() {
        let busy = smp::online().nth(1).expect("a second CPU");
        static GO: AtomicBool = AtomicBool::new(false);
        static QUEUE: WaitQueue = WaitQueue::new();
        GO.store(false, SeqCst);
        let free = run_on("free", busy, || {
            QUEUE.wait_event(|| GO.load(SeqCst));
            this_cpu().index() as i32
        });
        let bound = run_on("bound", busy, || {
            QUEUE.wait_event(|| GO.load(SeqCst));
            this_cpu().index() as i32
        });
        sched::set_cpus_allowed(free.task(), CpuMask::ALL).expect("CPUs that are up");
        // It comes after both, which are asleep then.
        let hog = Hog::on(busy);
        GO.store(true, SeqCst);
        QUEUE.wake_up();
        assert_ne!(free.join(), busy.index() as i32);
        assert!(!bound.has_ended(), "it left the CPU that it is bound to");
        hog.end();
        assert_eq!(bound.join(), busy.index() as i32);
    }

    fn affinity_moves_a_thread() {
        let cpus: Vec<CpuId> = smp::online().collect();
        let moves = cpus.clone();
        let before: usize = cpus.iter().map(|&cpu| sched::threads(cpu)).sum();
        // By itself.
        let thread = run_on("moves", cpus[0], move || {
            let task = sched::current().get();
            for round in 0..200 {
                let cpu = moves[round * 3 % moves.len()];
                sched::set_cpus_allowed(&task, CpuMask::of(cpu)).expect("it is up");
                schedule();
                assert_eq!((this_cpu(), task.cpu()), (cpu, cpu));
            }
            0
        });
        assert_eq!(thread.join(), 0);
        // By another, while it runs, waits or sleeps.
        static STOP: AtomicBool = AtomicBool::new(false);
        STOP.store(false, SeqCst);
        let thread = run_on("is moved", cpus[0], || {
            while !STOP.load(SeqCst) {
                schedule();
                sched::set_current_state(TaskState::Uninterruptible);
                sched::schedule_timeout(1);
            }
            0
        });
        for round in 0..100 {
            let cpu = cpus[round % cpus.len()];
            sched::set_cpus_allowed(thread.task(), CpuMask::of(cpu)).expect("it is up");
            while thread.task().cpu() != cpu {
                schedule();
            }
        }
        STOP.store(true, SeqCst);
        assert_eq!(thread.join(), 0);
        let absent = CpuMask::of(CpuId::new(nr_cpu_ids()).expect("a CPU that the machine lacks"));
        assert!(sched::set_cpus_allowed(&sched::current(), absent).is_err());
        let after: usize = cpus.iter().map(|&cpu| sched::threads(cpu)).sum();
        assert_eq!(before, after, "threads are counted wrongly");
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

    /// Guards that are dropped in another order than they were taken in leave the mask as
    /// it is: it ends with the closure that set it.
    fn guards_out_of_order_let_no_interrupt_in() {
        let (outer, inner) = (SpinLock::new(Rank::Zone, ()), SpinLock::new(Rank::Console, ()));
        assert!(!is_masked());
        with_masked(|irq| {
            let first = outer.lock(irq);
            with_masked(|irq| {
                let second = inner.lock(irq);
                drop(first);
                assert!(is_masked());
                drop(second);
                assert!(is_masked());
            });
            assert!(is_masked(), "the inner closure has ended the outer one's mask");
        });
        assert!(!is_masked());
    }
}
