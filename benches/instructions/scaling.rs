//! Throughput of several CPUs relative to one, for `scripts/bench scaling`: QEMU runs each CPU
//! in a thread of its own then, and time is the host's.
//!
//! Rounds of equal length in which one CPU works alternate with rounds in which two or more
//! do; the others wait for interrupts. Each turn of rounds gives a ratio, so that what else
//! the host does is mostly in both sides of it.
//!
//! What a host has to give changes from second to second: other processes, and hosts that are
//! machines of another's. So each turn also runs a loop that touches nothing but its registers,
//! on as many CPUs as the operation just before it, and the operation's ratio is also given over
//! the loop's: what is lost there is lost by what CPUs share.

use alloc::vec::Vec;
use core::hint::black_box;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use granule::addr::Order;
use granule::arch::{CpuId, NR_CPUS};
use granule::arch::{cpu, smp};
use granule::init::secondary;
use granule::kprintln;
use granule::mm::alloc_pages::alloc_pages;
use granule::mm::gfp::Gfp;
use granule::mm::page_alloc::free_pages;
use granule::mm::slab::{kfree, kmalloc};

/// Turns, each of one round for each number of CPUs.
const TURNS: usize = 101;
/// The part of a second that a round takes.
const ROUNDS_A_SECOND: u64 = 50;
/// Operations between two looks at the time.
const OPERATIONS: u64 = 256;

/// Number of CPUs that work in this round, and their work.
static WORKING: AtomicUsize = AtomicUsize::new(0);
static OPERATION: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());
/// CPUs that are there, whether they may begin, and when they end.
static READY: AtomicUsize = AtomicUsize::new(0);
static GO: AtomicBool = AtomicBool::new(false);
static END: AtomicU64 = AtomicU64::new(0);
/// Operations that each CPU did.
static DONE: [AtomicU64; NR_CPUS] = [const { AtomicU64::new(0) }; NR_CPUS];

/// Some operations of one kind.
type Operations = fn();

fn pages() {
    for _ in 0..OPERATIONS {
        if let Some(frame) = black_box(alloc_pages(Gfp::GFP_KERNEL, Order::ZERO)) {
            // SAFETY: allocated here, and nobody uses it any more.
            unsafe { free_pages(frame, Order::ZERO) };
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

/// Work that shares nothing between CPUs.
fn registers() {
    for i in 0..OPERATIONS * 16 {
        black_box(i);
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

/// Operations that so many CPUs do in a round.
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

/// Ratios that were measured of one thing.
struct Ratios(Vec<u64>);

impl Ratios {
    /// A CPU that the host let do nothing in a whole round gives none.
    fn push(&mut self, over: u64, under: u64) {
        if let Some(ratio) = (1000 * over).checked_div(under) {
            self.0.push(ratio);
        }
    }

    /// The ratio that so many quarters of them are below.
    fn at(&mut self, quarters: usize) -> Ratio {
        self.0.sort_unstable();
        Ratio(self.0.len().checked_sub(1).map_or(0, |last| self.0[last * quarters / 4]))
    }
}

/// `operations` on one CPU, on two, and on all.
fn compare(name: &str, operations: Operations) {
    let all = smp::online().count();
    let mut numbers: Vec<usize> = [2, all].into_iter().filter(|&n| n <= all).collect();
    numbers.dedup();
    for cpus in numbers {
        let [mut over_one, mut control, mut over_control] = [const { Ratios(Vec::new()) }; 3];
        // The first turn warms the lists of all CPUs.
        for turn in 0..=TURNS {
            let one = round(operations, 1);
            let many = round(operations, cpus);
            let control_many = round(registers, cpus);
            let control_one = round(registers, 1);
            if turn != 0 {
                over_one.push(many, one);
                control.push(control_many, control_one);
                over_control.push(many * control_one / one.max(1), control_many);
            }
        }
        kprintln!(
            "{{\"bench\":\"{name}\",\"cpus\":{cpus},\"over_one\":{},\"q1\":{},\"q3\":{},\
             \"control\":{},\"over_control\":{},\"rounds\":{}}}",
            over_one.at(2),
            over_one.at(1),
            over_one.at(3),
            control.at(2),
            over_control.at(2),
            over_one.0.len()
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
