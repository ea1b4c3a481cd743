//! A timer that its own handler sets again, a few microseconds later.

#![allow(dead_code, reason = "not every image uses all of it")]

use super::storm::{Hand, Path, Who};
use core::arch::asm;
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering::Relaxed};
use granule::arch::CpuId;
use granule::arch::cpu;
use granule::arch::irq::with_masked;
use granule::init::interrupts;
use granule::mm::slab::{shrink_all, slabinfo};
use granule::prandom::Random;
use granule::sync::{Rank, SpinLock};

/// The next interrupt comes so many nanoseconds after the last one's handler, at least and at
/// most.
const NEAR: u64 = 3_000;
const FAR: u64 = 20_000;

static COUNT: AtomicU32 = AtomicU32::new(0);
static HANDLER: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());
static RANDOM: SpinLock<Option<Random>> = SpinLock::new(Rank::Memblock, None);

/// Number of interrupts so far.
pub fn count() -> u32 {
    COUNT.load(Relaxed)
}

/// Has this CPU's timer fire once, `ticks` from now.
fn fire_in(ticks: u64) {
    // The timer's own counter: what the kernel calls ticks may count from elsewhere.
    // SAFETY: the timer is this CPU's own, and the kernel sets it again at the next tick.
    unsafe {
        asm!("isb", "mrs {now}, cntvct_el0", "add {now}, {now}, {ticks}", "msr cntv_cval_el0, {now}",
            "isb", now = out(reg) _, ticks = in(reg) ticks, options(nostack));
    }
}

fn tick() {
    let is_here = with_masked(|irq| cpu::id(irq) == CpuId::BOOT);
    let handler = HANDLER.load(Relaxed);
    if !is_here || handler.is_null() {
        return;
    }
    COUNT.fetch_add(1, Relaxed);
    // SAFETY: `storm` is the only writer, and stores a `fn()`.
    let handler = unsafe { core::mem::transmute::<*mut (), fn()>(handler) };
    handler();
    let wait = with_masked(|irq| {
        let mut random = RANDOM.lock(irq);
        let random = random.get_or_insert_with(|| Random::new(0x6a09_e667));
        NEAR + random.below((FAR - NEAR) as usize) as u64
    });
    fire_in(cpu::tick_frequency() * wait / 1_000_000_000);
}

/// Runs `step` again and again on the boot CPU while `handler` is called from as many
/// interrupts, with interrupts masked.
pub fn storm(interrupts: u32, handler: fn(), mut step: impl FnMut()) {
    let until = COUNT.load(Relaxed) + interrupts;
    HANDLER.store(handler as *mut (), Relaxed);
    interrupts::set_tick_hook(Some(tick));
    while COUNT.load(Relaxed) < until {
        step();
    }
    interrupts::set_tick_hook(None);
    HANDLER.store(core::ptr::null_mut(), Relaxed);
}

/// Memory of the interrupts, and the kind that they allocate. Held while they do, below all
/// other locks.
static INTERRUPT: SpinLock<Option<(Hand, Path)>> = SpinLock::new(Rank::Memblock, None);

fn from_interrupt() {
    with_masked(|irq| {
        if let Some((hand, path)) = INTERRUPT.lock(irq).as_mut() {
            hand.step(*path);
            hand.step(*path);
        }
    });
}

/// Lets a thread and interrupts allocate and free on `path`, and counts what is left.
pub fn allocate(path: Path, interrupts: u32) {
    let objects = || {
        shrink_all();
        slabinfo().map(|cache| cache.active_objects).sum::<usize>()
    };
    let before = objects();
    with_masked(|irq| *INTERRUPT.lock(irq) = Some((Hand::new(Who::Interrupt), path)));
    let mut hand = Hand::new(Who::Thread);
    storm(interrupts, from_interrupt, || hand.step(path));
    hand.empty(path);
    if let Some((mut hand, path)) = with_masked(|irq| INTERRUPT.lock(irq).take()) {
        hand.empty(path);
    }
    assert_eq!(objects(), before, "objects in use");
}
