//! Readers that nobody waits for, and what is freed when they are done, on the running kernel.

#![no_std]
#![no_main]

extern crate alloc;

mod harness;
#[path = "harness/sleepy.rs"]
mod sleepy;

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cell::Cell;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use granule::arch::cpumask::CpuMask;
use granule::arch::irq::with_masked;
use granule::arch::{CpuId, NR_CPUS};
use granule::init::Boot;
use granule::mm::gfp::Gfp;
use granule::mm::kthread::kthread_create_on_cpu;
use granule::mm::percpu::{self, PerCpuBox};
use granule::mm::rcu::{Rcu, RcuBox, kvfree_rcu_mightsleep, rcu_init};
use granule::mm::slab::{self, SlabFlags, kmem_cache_create, kmem_cache_destroy};
use granule::mm::util::kvmalloc;
use granule::percpu::possible_cpus;
use granule::sched::rcu::{
    RcuHead, call_rcu, rcu_barrier, rcu_pending, rcu_read_lock, synchronize_rcu,
};
use granule::sched::{
    KThread, cond_resched, may_sleep, msleep, schedule, set_cpus_allowed, tasks, threads,
};
use harness::Test;

const K: Gfp = Gfp::GFP_KERNEL;

/// The CPUs that are up.
fn cpus() -> impl Iterator<Item = CpuId> {
    (0..NR_CPUS).filter_map(CpuId::new).filter(|&cpu| threads(cpu) > 0)
}

fn run_on(cpu: CpuId, f: impl FnOnce() -> i32 + Send + 'static) -> KThread {
    let thread = kthread_create_on_cpu("reader", cpu, f).expect("a thread");
    thread.wake_up();
    thread
}

/// Gives back what CPUs keep of what was freed on them: the thread runs on any.
fn settle() {
    let shrinkers: Vec<_> = cpus()
        .map(|cpu| {
            run_on(cpu, || {
                slab::shrink_all();
                0
            })
        })
        .collect();
    assert!(shrinkers.into_iter().all(|thread| thread.join() == 0));
}

/// A value that knows whether it is alive.
struct Counted(AtomicUsize, Arc<AtomicUsize>);

const ALIVE: usize = 0x11fe;

impl Counted {
    fn new(dropped: &Arc<AtomicUsize>) -> RcuBox<Self> {
        RcuBox::new(Self(AtomicUsize::new(ALIVE), Arc::clone(dropped)), K).expect("memory")
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.store(0xdead, SeqCst);
        self.1.fetch_add(1, SeqCst);
    }
}

/// All CPUs but this one sleep in their idle threads: that is no reading.
fn a_grace_period_passes_idle_cpus() {
    for _ in 0..20 {
        synchronize_rcu();
    }
    msleep(30);
    synchronize_rcu();
}

/// A thread that never gives its CPU up, and reads now and then, is interrupted by its tick.
fn a_grace_period_passes_a_thread_that_never_yields() {
    let stop = Arc::new(AtomicBool::new(false));
    let other = cpus().last().expect("a CPU");
    if other == CpuId::BOOT {
        return;
    }
    let thread = {
        let stop = Arc::clone(&stop);
        run_on(other, move || {
            while !stop.load(SeqCst) {
                drop(rcu_read_lock());
            }
            0
        })
    };
    synchronize_rcu();
    stop.store(true, SeqCst);
    assert_eq!(thread.join(), 0);
}

/// A reader on another CPU, and one on the same, which comes to its end only if this thread
/// gives way.
fn readers_are_waited_for() {
    for cpu in [CpuId::BOOT, cpus().last().expect("a CPU")] {
        let dropped = Arc::new(AtomicUsize::new(0));
        let shared = Arc::new(Rcu::new(Counted::new(&dropped)));
        let (reading, replaced) =
            (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let thread = {
            let (shared, dropped) = (Arc::clone(&shared), Arc::clone(&dropped));
            let (reading, replaced) = (Arc::clone(&reading), Arc::clone(&replaced));
            run_on(cpu, move || {
                let guard = rcu_read_lock();
                let seen = shared.read(&guard).expect("a value");
                reading.store(true, SeqCst);
                // On the same CPU nobody replaces it before this thread is done.
                while cpu != CpuId::BOOT && !replaced.load(SeqCst) {
                    core::hint::spin_loop();
                }
                assert!(!may_sleep());
                // Several ticks, none of which may count.
                let since = granule::sched::jiffies();
                while granule::sched::jiffies() < since + 5 {
                    assert_eq!((seen.0.load(SeqCst), dropped.load(SeqCst)), (ALIVE, 0));
                }
                drop(guard);
                0
            })
        };
        while !reading.load(SeqCst) {
            schedule();
        }
        drop(shared.replace(Some(Counted::new(&dropped))));
        replaced.store(true, SeqCst);
        rcu_barrier();
        assert_eq!(dropped.load(SeqCst), 1);
        assert_eq!(thread.join(), 0);
        drop(shared);
        rcu_barrier();
        assert_eq!(dropped.load(SeqCst), 2);
    }
    settle();
}

/// Readers on all CPUs, in threads and their interrupts, against one that replaces.
fn nobody_sees_what_is_gone() {
    let dropped = Arc::new(AtomicUsize::new(0));
    let shared = Arc::new(Rcu::new(Counted::new(&dropped)));
    let stop = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = cpus()
        .map(|cpu| {
            let (shared, stop) = (Arc::clone(&shared), Arc::clone(&stop));
            run_on(cpu, move || {
                while !stop.load(SeqCst) {
                    for _ in 0..100 {
                        let guard = rcu_read_lock();
                        let seen = shared.read(&guard).expect("a value");
                        assert_eq!(seen.0.load(SeqCst), ALIVE);
                        assert_eq!(seen.0.load(SeqCst), ALIVE);
                    }
                    cond_resched();
                }
                0
            })
        })
        .collect();
    for n in 0..500 {
        drop(shared.replace(Some(Counted::new(&dropped))));
        if n % 16 == 0 {
            cond_resched();
        }
        if n % 100 == 0 {
            synchronize_rcu();
        }
    }
    stop.store(true, SeqCst);
    assert!(readers.into_iter().all(|thread| thread.join() == 0));
    drop(shared);
    rcu_barrier();
    assert_eq!(dropped.load(SeqCst), 501);
    settle();
}

/// The thread frees memory in the background, without a request.
fn memory_is_freed_in_the_background() {
    for size in [64, 4096, 100_000, 5 << 20] {
        let at = kvmalloc(size, K).expect("memory");
        // SAFETY: from there, once.
        unsafe { kvfree_rcu_mightsleep(at) };
    }
    while rcu_pending() > 0 {
        msleep(10);
    }
    settle();
}

fn pages_of_a_type_safe_cache_wait_for_readers() {
    let flags = SlabFlags::TYPESAFE_BY_RCU;
    let cache = kmem_cache_create("test_typesafe", 128, 8, flags, None).expect("a cache");
    let objects: Vec<NonNull<u8>> = (0..500).map(|_| cache.alloc(K).expect("memory")).collect();
    for object in &objects {
        // SAFETY: 128 bytes are ours.
        unsafe { object.write_bytes(0x5a, 128) };
    }
    let guard = rcu_read_lock();
    for &object in &objects {
        // SAFETY: from this cache, once.
        unsafe { cache.free(object) };
    }
    cache.shrink();
    for object in &objects {
        // SAFETY: readers may look at it, where the free link is not.
        assert_eq!(unsafe { object.add(100).read() }, 0x5a);
    }
    drop(guard);
    // SAFETY: nobody uses it.
    assert_eq!(unsafe { kmem_cache_destroy(cache) }, Ok(()));
    settle();
}

fn each_cpu_reaches_its_own_value() {
    let counts = Arc::new(PerCpuBox::new(|_| Cell::new(0u64), K).expect("memory"));
    let adders: Vec<_> = cpus()
        .map(|cpu| {
            let counts = Arc::clone(&counts);
            run_on(cpu, move || {
                for n in 0..10_000u64 {
                    with_masked(|irq| {
                        let own = counts.get(irq);
                        own.set(own.get() + n);
                    });
                }
                0
            })
        })
        .collect();
    let up = adders.len();
    assert!(adders.into_iter().all(|thread| thread.join() == 0));
    let mut counts = Arc::into_inner(counts).expect("the threads are gone");
    let sums: Vec<u64> = counts.iter_mut().map(|own| own.get()).collect();
    assert_eq!(sums.iter().filter(|&&sum| sum == 10_000 * 9_999 / 2).count(), up);
    assert_eq!(sums.len(), possible_cpus().count(), "one for each CPU that may come up");
    assert_eq!(sums.iter().filter(|&&sum| sum == 0).count(), sums.len() - up);
    percpu::validate();
    drop(counts);
    percpu::shrink();
    assert_eq!(percpu::pcpu_nr_pages(), 0);
    settle();
}

/// A cache whose slabs wait for readers ends when the callbacks of RCU that came before have run. One
/// of these sleeps, in another thread of the CPU, which has to be let go on.
fn a_cache_ends_while_a_callback_of_its_cpu_sleeps() {
    static HEAD: RcuHead = RcuHead::new();
    static RAN: AtomicUsize = AtomicUsize::new(0);
    fn callback(_: *mut ()) {
        sleepy::sleep_until_waited_for();
        RAN.fetch_add(1, SeqCst);
    }
    RAN.store(0, SeqCst);
    let cache =
        kmem_cache_create("test_rcu", 120, 8, SlabFlags::TYPESAFE_BY_RCU, None).expect("a cache");
    let object = cache.alloc(K).expect("memory");
    // SAFETY: from this cache, freed once.
    unsafe { cache.free(object) };
    // The thread that else runs callbacks may come first, and is on that CPU too then.
    let gp = tasks().find(|task| task.comm().as_str() == "rcu_gp").expect("it was started");
    set_cpus_allowed(&gp, CpuMask::of(CpuId::BOOT)).expect("it is up");
    let runs = || {
        // SAFETY: a static, queued once: this test waits until the callback has run.
        unsafe { call_rcu(NonNull::from(&HEAD), callback, core::ptr::null_mut()) };
        rcu_barrier();
        1
    };
    let ends = move || {
        // SAFETY: nobody else knows the cache.
        let destroyed = unsafe { kmem_cache_destroy(cache) };
        i32::from(destroyed.is_ok() && RAN.load(SeqCst) == 1)
    };
    assert_eq!(sleepy::on_one_cpu(runs, ends), (1, 1));
    set_cpus_allowed(&gp, CpuMask::ALL).expect("CPUs that are up");
    assert!(slab::slabinfo().all(|info| info.name != "test_rcu"));
}

/// Each CPU creates and destroys caches of its own, while two more threads on it read what all caches
/// have and shrink them all.
fn caches_come_and_go_while_all_are_read_and_shrunk() {
    const ROUNDS: usize = 60;
    static LEFT: AtomicUsize = AtomicUsize::new(0);
    static SEEN: AtomicUsize = AtomicUsize::new(0);
    let before = slab::slabinfo().count();
    let cpus: Vec<CpuId> = cpus().collect();
    LEFT.store(cpus.len(), SeqCst);
    SEEN.store(0, SeqCst);
    let comes_and_goes = |n: usize| {
        for round in 0..ROUNDS {
            let flags = [SlabFlags::NO_MERGE, SlabFlags::TYPESAFE_BY_RCU][round / 8 % 2];
            let size = 24 + 8 * n + 16 * (round % 9);
            let cache = kmem_cache_create("test_brief", size, 8, flags, None).expect("a cache");
            let objects: Vec<_> = (0..40)
                .map(|i| {
                    let object = cache.alloc(K).expect("memory");
                    // SAFETY: of that size, and this thread's.
                    unsafe { object.write_bytes((n + i) as u8, size) };
                    object
                })
                .collect();
            schedule();
            let live = cache.info().active_objects;
            assert!(live >= 40, "{live} objects of 40");
            for (i, object) in objects.into_iter().enumerate() {
                // SAFETY: of that size, filled above, and this thread's.
                let bytes = unsafe { core::slice::from_raw_parts(object.as_ptr(), size) };
                assert!(bytes.iter().all(|&byte| byte == (n + i) as u8));
                // SAFETY: from this cache, freed once, and not read any more.
                unsafe { cache.free(object) };
            }
            // SAFETY: this thread alone allocates from it.
            assert_eq!(unsafe { kmem_cache_destroy(cache) }, Ok(()));
            schedule();
        }
        LEFT.fetch_sub(1, SeqCst);
    };
    let reads = || {
        SEEN.fetch_add(slab::slabinfo().filter(|info| info.name == "test_brief").count(), SeqCst);
    };
    let until_all_are_done = |f: fn()| {
        while LEFT.load(SeqCst) > 0 {
            f();
            schedule();
        }
    };
    let mut threads: Vec<KThread> = Vec::new();
    for (n, &cpu) in cpus.iter().enumerate() {
        let create = |name, f: Box<dyn FnOnce() + Send>| {
            kthread_create_on_cpu(name, cpu, move || {
                f();
                0
            })
            .expect("a thread")
        };
        threads.push(create("reads", Box::new(move || until_all_are_done(reads))));
        threads.push(create("shrinks", Box::new(move || until_all_are_done(slab::shrink_all))));
        threads.push(create("comes and goes", Box::new(move || comes_and_goes(n))));
    }
    threads.iter().for_each(|thread| assert!(thread.wake_up()));
    threads.into_iter().for_each(|thread| assert_eq!(thread.join(), 0));
    assert!(SEEN.load(SeqCst) > 0, "nobody saw a cache that was there");
    assert_eq!(slab::slabinfo().count(), before);
    slab::validate();
}

macro_rules! tests {
    ($($name:ident),* $(,)?) => {
        &[&[$(Test { name: concat!("kernel::rcu::", stringify!($name)), run: $name }),*]]
    };
}

fn main(boot: &Boot) -> u8 {
    // Its thread stays: no test leaves it behind.
    rcu_init();
    harness::run(
        boot,
        tests![
            a_grace_period_passes_idle_cpus,
            a_grace_period_passes_a_thread_that_never_yields,
            readers_are_waited_for,
            nobody_sees_what_is_gone,
            memory_is_freed_in_the_background,
            pages_of_a_type_safe_cache_wait_for_readers,
            a_cache_ends_while_a_callback_of_its_cpu_sleeps,
            caches_come_and_go_while_all_are_read_and_shrunk,
            each_cpu_reaches_its_own_value,
        ],
    )
}
granule::kernel_main!(main);
