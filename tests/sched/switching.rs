//! Switches between threads of one and of several CPUs, and sleeps that a wake-up or the time ends.

use super::{run_on, this_cpu};
use crate::module_tests;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::SeqCst};
use granule::addr::VirtAddr;
use granule::arch::CpuId;
use granule::arch::irq::{is_masked, with_masked};
use granule::arch::smp;
use granule::arch::switch::{THREAD_ALIGN, THREAD_SIZE};
use granule::init::interrupts;
use granule::mm::kthread::kthread_create_on_cpu;
use granule::percpu::nr_cpu_ids;
use granule::sched::{self, KThread, TaskRef, TaskState, WaitQueue, schedule};
use granule::sync::{Rank, SpinLock};

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

module_tests! {
    fn threads_of_one_cpu_take_turns() {
        for cpu in smp::online() {
            ping_pong([cpu, cpu]);
        }
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
