//! Check that nobody sleeps who may not (Linux: might_sleep, CONFIG_DEBUG_ATOMIC_SLEEP).
//!
//! A function that may sleep says so by [`might_sleep`] before it knows whether it has to: so a
//! wrong caller is found each time, and not only where it would have waited. Who holds a spin lock
//! has interrupts masked too.
#![deny(unsafe_code)]

use crate::arch::irq::{is_masked, with_masked};
use crate::sync::{HeldLocks, held_locks};
use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// True once threads run with interrupts on. During the boot nothing sleeps (Linux: system_state,
/// gfp_allowed_mask).
static SLEEP_IS_CHECKED: AtomicBool = AtomicBool::new(cfg!(not(target_os = "none")));

/// Turns on the check that nothing that may sleep is called with interrupts masked. Called once the
/// boot has interrupts unmasked, with or without a controller.
pub fn check_sleep() {
    SLEEP_IS_CHECKED.store(true, Relaxed);
}

/// Says that the caller may sleep, in builds with debug assertions. Process context.
///
/// # Panics
/// Where it may not: in an interrupt handler, with interrupts masked, under a spin lock, or in a
/// section of RCU's readers.
#[inline(always)]
#[track_caller]
pub fn might_sleep() {
    if cfg!(debug_assertions) && is_atomic() {
        sleeps_while_atomic(format_args!("sleeping function called from invalid context"));
    }
}

/// Variant of [`might_sleep`] for the caller that names itself in the message.
#[inline(always)]
#[track_caller]
pub fn might_sleep_as(what: fmt::Arguments<'_>) {
    if cfg!(debug_assertions) && is_atomic() {
        sleeps_while_atomic(what);
    }
}

fn is_atomic() -> bool {
    is_masked() || reads_rcu()
}

/// Returns true in a section of RCU's readers. A thread of the host that is no CPU of a machine is
/// in none.
fn reads_rcu() -> bool {
    #[cfg(not(target_os = "none"))]
    if !crate::arch::hosted::is_cpu() {
        return false;
    }
    super::rcu::rcu_read_lock_held()
}

#[cold]
#[inline(never)]
#[track_caller]
fn sleeps_while_atomic(what: fmt::Arguments<'_>) {
    let why = Atomic::now();
    assert!(!SLEEP_IS_CHECKED.load(Relaxed), "{what}: {why}");
}

/// Reasons for which a context may not sleep, for messages. They are asked for before the message
/// is written, which takes the console's lock.
pub(super) struct Atomic {
    held: Option<HeldLocks>,
    reads_rcu: bool,
}

impl Atomic {
    /// Returns those of the calling context.
    pub(super) fn now() -> Self {
        Self { held: is_masked().then(|| with_masked(held_locks)), reads_rcu: reads_rcu() }
    }
}

impl fmt::Display for Atomic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(held) = self.held {
            write!(f, "interrupts are masked, {held} is held")?;
        }
        if self.reads_rcu {
            write!(f, "{}inside of an RCU read section", self.held.map_or("", |_| ", "))?;
        }
        Ok(())
    }
}
