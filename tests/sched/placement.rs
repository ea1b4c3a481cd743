//! CPUs that threads run on.

use super::{run_on, this_cpu};
use crate::module_tests;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering::SeqCst};
use granule::arch::cpumask::CpuMask;
use granule::arch::{CpuId, NR_CPUS};
use granule::arch::{cpu, smp};
use granule::mm::kthread::kthread_run;
use granule::percpu::nr_cpu_ids;
use granule::sched::{self, KThread, TaskState, WaitQueue, schedule};

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

module_tests! {
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
}
