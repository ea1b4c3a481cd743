//! Creation and end of threads, their stacks and their numbers.

use super::{run_on, this_cpu};
use crate::{harness, module_tests};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use granule::addr::{Order, VirtAddr};
use granule::arch::CpuId;
use granule::arch::smp;
use granule::arch::switch::THREAD_ALIGN;
use granule::mm::alloc_pages::{FailPageAlloc, alloc_pages, set_fail_page_alloc};
use granule::mm::gfp::Gfp;
use granule::mm::kthread::{kthread_create_on_cpu, kthread_run};
use granule::mm::page_alloc::free_pages;
use granule::mm::slab::{FailSlab, set_failslab, shrink_all, slabinfo};
use granule::mm::thread_stack;
use granule::percpu::nr_cpu_ids;
use granule::sched::{self, CreateError, KThread, Life, WaitQueue, schedule};

module_tests! {
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
}
