//! What several CPUs do in the time of one, for `scripts/bench scaling`: QEMU runs each CPU
//! in a thread of its own then, and time is the host's.
//!
//! Rounds of equal length in which one CPU works alternate with rounds in which two or more
//! do; the others wait for interrupts. Each turn of rounds gives a ratio, so that what else
//! the host does is mostly in both sides of it.

use alloc::vec::Vec;
use core::hint::black_box;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use granule::addr::Order;
use granule::arch::aarch64::{cpu, smp};
use granule::arch::{CpuId, NR_CPUS};
use granule::init::secondary;
use granule::kprintln;
use granule::mm::gfp::Gfp;
use granule::mm::page_alloc::{alloc_pages, free_pages};
use granule::mm::slab::{kfree, kmalloc};

/// Turns, each of one round for each number of CPUs.
const TURNS: usize = 31;
/// The part of a second that a round takes.
const ROUNDS_A_SECOND: u64 = 50;
/// Operations between two looks at the time.
const OPERATIONS: u64 = 256;

/// How many CPUs work in this round, and what they do.
static WORKING: AtomicUsize = AtomicUsize::new(0);
static OPERATION: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());
/// CPUs that are there, whether they may begin, and when they end.
static READY: AtomicUsize = AtomicUsize::new(0);
static GO: AtomicBool = AtomicBool::new(false);
static END: AtomicU64 = AtomicU64::new(0);
/// What each did.
static DONE: [AtomicU64; NR_CPUS] = [const { AtomicU64::new(0) }; NR_CPUS];

/// Some operations of one kind.
type Operations = fn();

fn pages() {
    for _ in 0..OPERATIONS {
        if let Some(frame) = black_box(alloc_pages(Gfp::GFP_KERNEL, Order::ZERO)) {
            free_pages(frame, Order::ZERO);
        }
    }
}

fn objects() {
    for _ in 0..OPERATIONS {
        if let Some(object) = black_box(kmalloc(64, Gfp::GFP_KERNEL)) {
            // SAFETY: allocated above.
            unsafe { kfree(object.as_ptr()) }
        }
    }
}

/// A CPU's part of a round.
fn work(id: CpuId) {
    let done = &DONE[id.index()];
    done.store(0, Ordering::Relaxed);
    let working = WORKING.load(Ordering::Acquire);
    if id.index() >= working {
        return;
    }
    let operations = OPERATION.load(Ordering::Acquire);
    // SAFETY: `round` stored a function of this type.
    let operations = unsafe { core::mem::transmute::<*mut (), Operations>(operations) };
    READY.fetch_add(1, Ordering::AcqRel);
    if id == CpuId::BOOT {
        while READY.load(Ordering::Acquire) != working {
            cpu::relax();
        }
        END.store(cpu::ticks() + cpu::tick_frequency() / ROUNDS_A_SECOND, Ordering::Relaxed);
        GO.store(true, Ordering::Release);
    }
    while !GO.load(Ordering::Acquire) {
        cpu::relax();
    }
    let end = END.load(Ordering::Relaxed);
    let mut count = 0;
    while cpu::ticks() < end {
        operations();
        count += OPERATIONS;
    }
    done.store(count, Ordering::Release);
}

/// What so many CPUs do in a round.
fn round(operations: Operations, cpus: usize) -> u64 {
    OPERATION.store(operations as *mut (), Ordering::Release);
    READY.store(0, Ordering::Relaxed);
    GO.store(false, Ordering::Relaxed);
    WORKING.store(cpus, Ordering::Release);
    secondary::on_each(work);
    DONE.iter().map(|done| done.load(Ordering::Acquire)).sum()
}

/// A ratio in thousandths.
struct Ratio(u64);

impl core::fmt::Display for Ratio {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}.{:03}", self.0 / 1000, self.0 % 1000)
    }
}

/// `operations` on one CPU, on two, and on all.
fn compare(name: &str, operations: Operations) {
    let all = smp::online().count();
    let mut numbers: Vec<usize> = [2, all].into_iter().filter(|&n| n <= all).collect();
    numbers.dedup();
    let mut ratios: Vec<Vec<u64>> = numbers.iter().map(|_| Vec::new()).collect();
    // The first turn warms the lists of all CPUs.
    for turn in 0..=TURNS {
        let one = round(operations, 1);
        for (&cpus, ratios) in numbers.iter().zip(&mut ratios) {
            let many = round(operations, cpus);
            if turn != 0 && one != 0 {
                ratios.push(1000 * many / one);
            }
        }
    }
    for (cpus, mut ratios) in numbers.into_iter().zip(ratios) {
        ratios.sort_unstable();
        // A CPU that the host let do nothing in a whole round gives none.
        let Some(last) = ratios.len().checked_sub(1) else { continue };
        let at = |quarters: usize| Ratio(ratios[last * quarters / 4]);
        kprintln!(
            "{{\"bench\":\"{name}\",\"cpus\":{cpus},\"over_one\":{},\"min\":{},\"q1\":{},\
             \"median\":{},\"q3\":{},\"max\":{},\"rounds\":{}}}",
            at(2),
            at(0),
            at(1),
            at(2),
            at(3),
            at(4),
            ratios.len()
        );
    }
}

/// All of it. Wants two CPUs.
pub fn run() -> u8 {
    if smp::online().count() < 2 || cpu::tick_frequency() == 0 {
        kprintln!("error: there is nothing to compare on one CPU, or without a timer");
        return 1;
    }
    compare("alloc_pages_o0_pair_scaling", pages);
    compare("kmalloc_64_pair_scaling", objects);
    0
}
