//! Static keys: branches that cost one `nop` while they are not taken (Linux:
//! include/linux/jump_label.h, kernel/jump_label.c).
//!
//! [`static_branch_unlikely!`] asks whether a [`StaticKey`] is on. On bare metal the question
//! is a `nop` in the image, listed in the section `__jump_table` with the key and the place
//! to go to when it is on; switching the key patches all of its branches. On the hosted
//! machine it is a load.
//!
//! A key counts: it is on while more were taken than given back, so that several users can
//! share one.

#[cfg(target_os = "none")]
pub use super::aarch64::jump_label::branches;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

#[cfg(test)]
mod tests;

/// A switch that is off at first. Declared by `machine_local!`, asked by
/// [`static_branch_unlikely!`].
#[derive(Debug)]
pub struct StaticKey {
    users: AtomicU32,
}

/// True while a CPU changes a key and its branches (Linux: jump_label_mutex).
static CHANGING: AtomicBool = AtomicBool::new(false);

impl StaticKey {
    /// A key that is off (Linux: DEFINE_STATIC_KEY_FALSE).
    #[must_use]
    pub const fn new() -> Self {
        Self { users: AtomicU32::new(0) }
    }

    /// Returns whether the key is on. For callers that need no speed, and for the host (Linux:
    /// static_key_enabled).
    #[inline]
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        self.users.load(Ordering::Relaxed) != 0
    }

    /// Adds a user: the first switches the key on (Linux: static_branch_inc). Any context.
    ///
    /// This CPU takes the branches from here on; another one does when it next takes an
    /// exception, at the latest, and until then it may or may not (Arm ARM B2.7.4.2):
    /// [`kick_all_cpus_sync`](crate::sched::kick_all_cpus_sync) waits for that.
    pub fn inc(&'static self) {
        self.change(1);
    }

    /// Removes a user: the last switches the key off (Linux: static_branch_dec). Any context.
    ///
    /// # Panics
    /// Where it has no user.
    pub fn dec(&'static self) {
        self.change(-1);
    }

    fn change(&'static self, by: i32) {
        let now = with_keys_locked(|| {
            let was = self.users.load(Ordering::Relaxed);
            let now = was.checked_add_signed(by);
            self.users.store(now.unwrap_or(was), Ordering::Relaxed);
            if let Some(now) = now
                && (was == 0) != (now == 0)
            {
                super::jump_label_update(self, now != 0);
            }
            now
        });
        assert!(now.is_some(), "static key {self:p}: switched off, and nobody has it on");
    }
}

/// Runs `f` while no CPU changes a key or its branches, with interrupts masked. `f` changes none
/// itself (Linux: jump_label_lock).
pub fn with_keys_locked<R>(f: impl FnOnce() -> R) -> R {
    super::irq::with_masked(|_| {
        while CHANGING.swap(true, Ordering::Acquire) {
            super::cpu::relax();
        }
        let _unlock = Unlock;
        f()
    })
}

/// Unlocks the keys, also where a test panics.
struct Unlock;

impl Drop for Unlock {
    fn drop(&mut self) {
        CHANGING.store(false, Ordering::Release);
    }
}

impl Default for StaticKey {
    fn default() -> Self {
        Self::new()
    }
}

/// Tests whether a [`StaticKey`], named by the path of its static, is on: one `nop` while it is
/// off, a branch to code out of line while it is on (Linux: static_branch_unlikely).
#[cfg(target_os = "none")]
#[macro_export]
macro_rules! static_branch_unlikely {
    ($key:path) => {
        'taken: {
            // SAFETY: does nothing, or goes to the label. The entry names this instruction,
            // the label and the key, as `arch::aarch64::jump_label` reads it.
            unsafe {
                core::arch::asm!(
                    "2: nop",
                    ".pushsection __jump_table, \"a\"",
                    ".balign 8",
                    ".long 2b - .",
                    ".long {taken} - .",
                    ".quad {key} - .",
                    ".popsection",
                    key = sym $key,
                    taken = label { break 'taken true },
                    options(nomem, nostack, preserves_flags),
                );
            }
            false
        }
    };
}

/// Tests whether a [`StaticKey`], named by the path of its static, is on.
#[cfg(not(target_os = "none"))]
#[macro_export]
macro_rules! static_branch_unlikely {
    ($key:path) => {
        $key.is_enabled()
    };
}

pub use static_branch_unlikely;
