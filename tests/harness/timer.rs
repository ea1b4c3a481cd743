//! A timer that its own handler sets again, a few microseconds later.

#![allow(dead_code, reason = "not every image uses all of it")]

use super::storm::{Hand, Path, Who};
use core::pin::pin;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use granule::arch::irq::with_masked;
use granule::mm::slab::{shrink_all, slabinfo};
use granule::prandom::Random;
use granule::sync::{Rank, SpinLock};
use granule::time::hrtimer::{ClockId, Expiry, HrTimer, HrTimerRestart};

/// The next interrupt comes so many nanoseconds after the last one's handler, at least and at
/// most.
const NEAR: u64 = 3_000;
const FAR: u64 = 20_000;

static COUNT: AtomicU32 = AtomicU32::new(0);
static RANDOM: SpinLock<Option<Random>> = SpinLock::new(Rank::Memblock, None);

/// Number of interrupts so far.
pub fn count() -> u32 {
    COUNT.load(Relaxed)
}

fn wait() -> u64 {
    with_masked(|irq| {
        let mut random = RANDOM.lock(irq);
        let random = random.get_or_insert_with(|| Random::new(0x6a09_e667));
        NEAR + random.below((FAR - NEAR) as usize) as u64
    })
}

/// Runs `step` again and again on this CPU while `handler` is called from as many interrupts, with
/// interrupts masked.
pub fn storm(interrupts: u32, handler: fn(), mut step: impl FnMut()) {
    let until = COUNT.load(Relaxed) + interrupts;
    let timer = pin!(HrTimer::new(ClockId::Monotonic, move |expiry: &mut Expiry| {
        COUNT.fetch_add(1, Relaxed);
        handler();
        expiry.hrtimer_set_expires(ClockId::Monotonic.now() + wait());
        HrTimerRestart::Restart
    }));
    timer.as_ref().start_after(NEAR);
    while COUNT.load(Relaxed) < until {
        step();
    }
    timer.cancel();
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
