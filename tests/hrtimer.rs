//! Timers that fire once, on the CPUs' own timers.

#![no_std]
#![no_main]

mod harness;

extern crate alloc;

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::pin::pin;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::SeqCst};
use granule::arch::irq::{is_masked, with_masked};
use granule::arch::{CpuId, cpu, smp};
use granule::init::interrupts;
use granule::kprintln;
use granule::mm::kthread::kthread_create_on_cpu;
use granule::sched::{self, KThread, TaskState, WaitQueue, schedule};
use granule::time::hrtimer::{
    Cancel, ClockId, Expiry, HrTimer, HrTimerRestart, nr_active, nr_active_all,
};
use granule::time::{do_settimeofday64, ktime_get};

/// A timer may be late by so much, where each instruction takes a nanosecond and the CPU is idle.
const LATE: u64 = 100_000;

fn run_on(cpu: CpuId, f: impl FnOnce() -> i32 + Send + 'static) -> KThread {
    let thread = kthread_create_on_cpu("timed", cpu, f).expect("a thread");
    thread.wake_up();
    thread
}

fn this_cpu() -> CpuId {
    with_masked(cpu::id)
}

kernel_tests! {
    fn a_sleep_is_never_too_short() {
        for cpu in smp::online() {
            let thread = run_on(cpu, || {
                for us in [1, 50, 300, 2_000, 15_000] {
                    let begin = ktime_get();
                    sched::usleep(us);
                    assert!(ktime_get() - begin >= us * 1000);
                }
                0
            });
            assert_eq!(thread.join(), 0);
        }
        assert_eq!(nr_active_all(), 0);
    }

    /// An idle CPU's timers are on time to 100 us, counted in instructions: without
    /// `granule.precise`, as on a machine that others use too, it is only told.
    fn a_sleep_of_an_idle_cpu_is_on_time() {
        let mut latest = 0;
        for us in (1..200).map(|n| n * 37) {
            let until = ktime_get() + us * 1000;
            sched::sleep_until(ClockId::Monotonic, until);
            latest = latest.max(ktime_get() - until);
        }
        kprintln!("hrtimer: the latest was late by {latest} ns");
        if harness::word("precise").is_some() {
            assert!(latest <= LATE, "{latest} ns");
        }
    }

    fn they_fire_in_order_in_interrupts_of_the_cpu_that_started_them() {
        for cpu in smp::online() {
            let thread = run_on(cpu, move || {
                let (count, order) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
                let now = ktime_get();
                let later = [9, 3, 7, 1, 5u64];
                let timers: Vec<_> = later.iter().map(|&later| {
                    let (count, order) = (Arc::clone(&count), Arc::clone(&order));
                    Box::pin(HrTimer::new(ClockId::Monotonic, move |expiry: &mut Expiry| {
                        assert!(is_masked() && this_cpu() == cpu);
                        assert!(ktime_get() >= expiry.expires(), "too early");
                        order.store(order.load(SeqCst) * 10 + later as u32, SeqCst);
                        count.fetch_add(1, SeqCst);
                        HrTimerRestart::NoRestart
                    }))
                }).collect();
                // None fires before the last is started.
                with_masked(|_| {
                    for (timer, later) in timers.iter().zip(later) {
                        timer.as_ref().start(now + later * 500_000);
                    }
                });
                while count.load(SeqCst) < 5 {
                    schedule();
                }
                assert!(timers.iter().all(|timer| !timer.is_active()));
                assert_eq!(order.load(SeqCst), 13579);
                0
            });
            assert_eq!(thread.join(), 0);
        }
    }

    /// The tick goes on beside a timer that fires more often.
    fn a_periodic_timer_leaves_the_tick_alone() {
        const INTERVAL: u64 = 1_000_000;
        let fired = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&fired);
        let timer = pin!(HrTimer::new(ClockId::Monotonic, move |expiry: &mut Expiry| {
            counted.fetch_add(expiry.hrtimer_forward(INTERVAL), SeqCst);
            HrTimerRestart::Restart
        }));
        let cpu = this_cpu();
        let (begin, ticks) = (ktime_get(), interrupts::ticks(cpu));
        timer.as_ref().start(begin + INTERVAL);
        sched::msleep(100);
        assert!(timer.cancel());
        let passed = ktime_get() - begin;
        let ticked = interrupts::ticks(cpu) - ticks;
        assert!(fired.load(SeqCst) >= 100 && fired.load(SeqCst) <= passed / INTERVAL);
        assert!(ticked >= 1 && ticked <= passed / 10_000_000 + 1, "{ticked} in {passed} ns");
    }

    fn a_wake_up_ends_a_sleep_before_its_time() {
        static ASLEEP: AtomicBool = AtomicBool::new(false);
        let thread = run_on(this_cpu(), || {
            sched::set_current_state(TaskState::Uninterruptible);
            ASLEEP.store(true, SeqCst);
            i32::from(sched::schedule_hrtimeout(ClockId::Monotonic, u64::MAX))
        });
        while !ASLEEP.load(SeqCst) {
            schedule();
        }
        assert_eq!(nr_active_all(), 1);
        thread.wake_up();
        assert_eq!(thread.join(), 0);
        assert_eq!(nr_active_all(), 0, "its timer is left");
    }

    /// Timers of the realtime clock fire when it is set beyond their times, on whatever CPU.
    fn setting_the_clock_fires_timers_of_all_cpus() {
        const HOUR: u64 = 3600 * 1_000_000_000;
        // Without an RTC it shows 1970, and could not be set back.
        do_settimeofday64(24 * HOUR + ktime_get()).expect("a time that can be");
        let until = ClockId::Realtime.now() + HOUR;
        let threads: Vec<KThread> = smp::online().map(|cpu| {
            run_on(cpu, move || {
                sched::sleep_until(ClockId::Realtime, until);
                i32::from(ClockId::Realtime.now() >= until)
            })
        }).collect();
        while nr_active_all() < threads.len() {
            schedule();
        }
        let (real, mono) = (ClockId::Realtime.now(), ktime_get());
        do_settimeofday64(until + 1).expect("a time that can be");
        assert!(threads.into_iter().all(|thread| thread.join() == 1));
        do_settimeofday64(real + (ktime_get() - mono)).expect("as it was");
    }

    /// Who cancels a timer whose function runs on another CPU waits for that.
    fn a_cancel_waits_for_the_function_on_another_cpu() {
        static RUNS: AtomicBool = AtomicBool::new(false);
        static GO: AtomicBool = AtomicBool::new(false);
        static ENDED: AtomicBool = AtomicBool::new(false);
        static STARTED: WaitQueue = WaitQueue::new();
        let Some(other) = smp::online().nth(1) else { return };
        for flag in [&RUNS, &GO, &ENDED] {
            flag.store(false, SeqCst);
        }
        let timer = Arc::pin(HrTimer::new(ClockId::Monotonic, |_: &mut Expiry| {
            RUNS.store(true, SeqCst);
            while !GO.load(SeqCst) {
                cpu::relax();
            }
            ENDED.store(true, SeqCst);
            HrTimerRestart::NoRestart
        }));
        let started = timer.clone();
        let thread = run_on(other, move || {
            started.as_ref().start(0);
            STARTED.wake_up();
            0
        });
        while !RUNS.load(SeqCst) {
            schedule();
        }
        assert_eq!((timer.try_to_cancel(), nr_active(other)), (Cancel::Busy, 0));
        let cancelled = timer.clone();
        let waiter = run_on(smp::online().last().expect("a CPU"), move || {
            cancelled.cancel();
            i32::from(ENDED.load(SeqCst))
        });
        (0..50).for_each(|_| schedule());
        assert!(!ENDED.load(SeqCst));
        GO.store(true, SeqCst);
        assert_eq!((waiter.join(), thread.join()), (1, 0));
        assert_eq!(timer.try_to_cancel(), Cancel::Inactive);
    }
}
