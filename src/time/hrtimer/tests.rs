//! The heap against a model, and timers on the CPUs of a machine, whose clock goes on by one each
//! time that it is read.

use super::heap::{Heap, Links, Nodes};
use super::*;
use crate::addr::{PhysAddr, PhysRange};
use crate::arch::hosted::Machine;
use crate::time::do_settimeofday64;
use proptest::prelude::*;
use std::boxed::Box;
use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex};
use std::vec::Vec;

struct Arena(Vec<(Links<usize>, u64)>);

impl Nodes for Arena {
    type Id = usize;
    fn links(&self, id: usize) -> &Links<usize> {
        &self.0[id].0
    }
    fn key(&self, id: usize) -> (u64, u64) {
        (self.0[id].1, id as u64)
    }
}

proptest! {
    /// The heap against a sorted set: the first is the first, whatever is put in and taken out.
    #[test]
    fn the_first_of_the_heap_is_the_earliest(
        keys in prop::collection::vec(0..50u64, 1..60),
        steps in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>()), 1..400),
    ) {
        let arena = Arena(keys.iter().map(|&key| (Links::new(), key)).collect());
        let (mut heap, mut model) = (Heap::new(), BTreeSet::<(u64, u64)>::new());
        for (takes_first, index) in steps {
            let id = index.index(keys.len());
            let first = model.first().map(|&(_, id)| id as usize);
            match (takes_first, first) {
                (true, Some(first)) => {
                    heap.remove(&arena, first);
                    model.remove(&arena.key(first)).then_some(()).expect("it was in");
                }
                _ if model.remove(&arena.key(id)) => heap.remove(&arena, id),
                _ => {
                    heap.insert(&arena, id);
                    model.insert(arena.key(id));
                }
            }
            prop_assert_eq!(heap.first(), model.first().map(|&(_, id)| id as usize));
        }
        while let Some(first) = heap.first() {
            prop_assert_eq!(model.pop_first(), Some(arena.key(first)));
            heap.remove(&arena, first);
        }
        prop_assert!(model.is_empty());
    }
}

fn on_machine(f: impl FnOnce(&Machine)) {
    Machine::run(&[PhysRange::from_size(PhysAddr::new(0x4000_0000), 1 << 20)], f);
}

/// The interrupt of this CPU's timer.
fn interrupt() {
    with_masked(hrtimer_run_queues);
}

fn next() -> Option<u64> {
    with_masked(next_event)
}

/// Runs the interrupt until the clock has shown `until`.
fn pass(until: u64) {
    while ktime_get() <= until {
        interrupt();
    }
}

/// Names of timers in the order in which they fired.
type Log = Arc<Mutex<Vec<u32>>>;

fn logs(log: &Log, name: u32) -> impl Fn(&mut Expiry) -> HrTimerRestart + Send + Sync + 'static {
    let log = Arc::clone(log);
    move |expiry| {
        assert!(expiry.now() >= expiry.expires(), "it came early");
        log.lock().unwrap().push(name);
        HrTimerRestart::NoRestart
    }
}

#[test]
fn they_fire_in_the_order_of_their_times_and_never_early() {
    on_machine(|_| {
        let log = Log::default();
        let now = ktime_get();
        let later = [500, 100, 300, 100, 400];
        let timers: Vec<_> = (0..5u32)
            .map(|name| Box::pin(HrTimer::new(ClockId::Monotonic, logs(&log, name))))
            .collect();
        for (timer, later) in timers.iter().zip(later) {
            timer.as_ref().start(now + 1000 + later);
        }
        assert_eq!((next(), nr_active_all()), (Some(now + 1100), 5));
        interrupt();
        assert!(log.lock().unwrap().is_empty());
        pass(now + 1600);
        assert_eq!(*log.lock().unwrap(), [1, 3, 2, 4, 0], "those of one time as they were started");
        assert_eq!((next(), nr_active_all()), (None, 0));
        assert!(timers.iter().all(|timer| !timer.is_active()));
    });
}

#[test]
fn one_that_is_cancelled_or_dropped_does_not_fire() {
    on_machine(|_| {
        let log = Log::default();
        let now = ktime_get();
        {
            let dropped = pin!(HrTimer::new(ClockId::Monotonic, logs(&log, 0)));
            dropped.as_ref().start(now + 500);
            assert!(dropped.is_active());
        }
        let cancelled = pin!(HrTimer::new(ClockId::Monotonic, logs(&log, 1)));
        let kept = pin!(HrTimer::new(ClockId::Monotonic, logs(&log, 2)));
        assert!(!cancelled.cancel(), "it was not started");
        cancelled.as_ref().start(now + 400);
        kept.as_ref().start(now + 5000);
        // Started anew, it has one time.
        kept.as_ref().start(now + 600);
        assert_eq!(nr_active_all(), 2);
        assert_eq!(cancelled.try_to_cancel(), Cancel::Cancelled);
        assert_eq!(cancelled.try_to_cancel(), Cancel::Inactive);
        pass(now + 1000);
        assert_eq!(*log.lock().unwrap(), [2]);
        pass(now + 6000);
        assert_eq!(*log.lock().unwrap(), [2]);
    });
}

#[test]
fn a_timer_that_is_forwarded_keeps_its_rhythm() {
    on_machine(|_| {
        const INTERVAL: u64 = 1000;
        let times = Arc::new(Mutex::new(Vec::new()));
        let overruns = Arc::new(AtomicU64::new(0));
        let (seen, counted) = (Arc::clone(&times), Arc::clone(&overruns));
        let timer = pin!(HrTimer::new(ClockId::Monotonic, move |expiry: &mut Expiry| {
            seen.lock().unwrap().push(expiry.expires());
            counted.fetch_add(expiry.hrtimer_forward(INTERVAL), Relaxed);
            HrTimerRestart::Restart
        }));
        let first = ktime_get() + INTERVAL;
        timer.as_ref().start(first);
        pass(first + 2 * INTERVAL);
        // Nobody looks for a while.
        while ktime_get() < first + 7 * INTERVAL {}
        interrupt();
        assert!(timer.cancel());
        let times = times.lock().unwrap();
        assert_eq!(times[..3], [0, 1, 2].map(|n| first + n * INTERVAL));
        assert!(times.len() <= 5 && overruns.load(Relaxed) >= 8, "{times:?}");
        assert!(times.iter().all(|time| (time - first).is_multiple_of(INTERVAL)));
    });
}

/// One that wants to fire again at once lets the interrupt end.
#[test]
fn a_timer_that_never_goes_forward_does_not_hang_the_interrupt() {
    on_machine(|_| {
        let count = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&count);
        let timer = pin!(HrTimer::new(ClockId::Monotonic, move |_: &mut Expiry| {
            counted.fetch_add(1, Relaxed);
            HrTimerRestart::Restart
        }));
        timer.as_ref().start(0);
        interrupt();
        assert!((1..=ROUNDS as u64).contains(&count.load(Relaxed)));
        assert!(timer.is_active() && timer.cancel());
    });
}

#[test]
fn timers_of_the_realtime_clock_follow_it_when_it_is_set() {
    static ASKED: AtomicU64 = AtomicU64::new(0);
    on_machine(|_| {
        const LATER: u64 = 1 << 40;
        PROGRAM_ALL.store(
            Some(|| {
                ASKED.fetch_add(1, Relaxed);
            }),
            Relaxed,
        );
        let log = Log::default();
        let real = pin!(HrTimer::new(ClockId::Realtime, logs(&log, 1)));
        let mono = pin!(HrTimer::new(ClockId::Monotonic, logs(&log, 2)));
        let now = ktime_get();
        do_settimeofday64(now + (1 << 50)).expect("a time that can be");
        real.as_ref().start(ClockId::Realtime.now() + LATER);
        mono.as_ref().start(ktime_get() + LATER);
        interrupt();
        assert!(log.lock().unwrap().is_empty());
        // Forward, to a moment before it: it is the first now.
        let asked = ASKED.load(Relaxed);
        do_settimeofday64(ClockId::Realtime.now() + LATER - 1000).expect("a time that can be");
        assert_eq!(ASKED.load(Relaxed), asked + 1, "the CPUs are to program their timers anew");
        assert!(next().expect("two wait") < ktime_get() + 2000);
        pass(ktime_get() + 2000);
        assert_eq!(*log.lock().unwrap(), [1]);
        assert!(mono.cancel());
        PROGRAM_ALL.store(None, Relaxed);
    });
}

/// While its function runs on another CPU, a timer is busy; who cancels or drops it waits.
#[test]
fn who_cancels_waits_for_the_function() {
    on_machine(|m| {
        let (runs, go) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let done = Arc::new(AtomicBool::new(false));
        let (running, goes, ended) = (Arc::clone(&runs), Arc::clone(&go), Arc::clone(&done));
        let timer = Box::pin(HrTimer::new(ClockId::Monotonic, move |_: &mut Expiry| {
            running.store(true, Release);
            while !goes.load(Acquire) {
                std::thread::yield_now();
            }
            ended.store(true, Release);
            HrTimerRestart::NoRestart
        }));
        std::thread::scope(|s| {
            let other = s.spawn(|| {
                m.on_cpu(CpuId::new(1).unwrap(), || {
                    timer.as_ref().start(0);
                    interrupt();
                });
            });
            while !runs.load(Acquire) {
                std::thread::yield_now();
            }
            assert_eq!(timer.try_to_cancel(), Cancel::Busy);
            assert!(timer.is_active());
            // Started meanwhile, it stays where it runs.
            timer.as_ref().start(u64::MAX);
            assert_eq!(nr_active(CpuId::new(1).unwrap()), 1);
            let waiter = s.spawn(|| m.on_cpu(CpuId::new(2).unwrap(), || timer.cancel()));
            std::thread::yield_now();
            assert!(!done.load(Acquire));
            go.store(true, Release);
            assert!(waiter.join().unwrap(), "it had been started again");
            assert!(done.load(Acquire), "it did not wait");
            other.join().unwrap();
        });
        assert!(!timer.is_active());
    });
}

#[test]
#[should_panic(expected = "would wait for itself")]
fn a_function_that_cancels_its_own_timer_is_caught() {
    on_machine(|_| {
        static TIMER: Mutex<Option<usize>> = Mutex::new(None);
        type Own = HrTimer<fn(&mut Expiry) -> HrTimerRestart>;
        fn function(_: &mut Expiry) -> HrTimerRestart {
            let at = TIMER.lock().unwrap().take().expect("it was told");
            // SAFETY: the timer outlives its function.
            let own = unsafe { &*core::ptr::with_exposed_provenance::<Own>(at) };
            own.cancel();
            HrTimerRestart::NoRestart
        }
        let timer: &'static Own = Box::leak(Box::new(Own::new(ClockId::Monotonic, function)));
        let at = core::ptr::from_ref(timer).expose_provenance();
        *TIMER.lock().unwrap() = Some(at);
        Pin::static_ref(timer).start(0);
        interrupt();
    });
}

/// All CPUs start, cancel and fire the same timers.
#[test]
fn cpus_share_timers() {
    const ROUNDS: u64 = if cfg!(miri) { 20 } else { 500 };
    on_machine(|m| {
        let fired = Arc::new(AtomicU64::new(0));
        let timers: Vec<_> = (0..4)
            .map(|_| {
                let fired = Arc::clone(&fired);
                Box::pin(HrTimer::new(ClockId::Monotonic, move |_: &mut Expiry| {
                    fired.fetch_add(1, Relaxed);
                    HrTimerRestart::NoRestart
                }))
            })
            .collect();
        m.on_cpus(3, |cpu| {
            for round in 0..ROUNDS {
                let timer = &timers[(cpu as u64 + round) as usize % timers.len()];
                match round % 3 {
                    0 => timer.as_ref().start(ktime_get() + 10 * round),
                    1 => timer.as_ref().start(0),
                    _ => drop(timer.try_to_cancel()),
                }
                interrupt();
            }
        });
        for timer in &timers {
            timer.cancel();
        }
        assert_eq!(nr_active_all(), 0);
        assert!(fired.load(Relaxed) > 0);
    });
}
