//! Users' memory of tasks, and its tables on the CPUs that run them (Linux: switch_mm,
//! kernel/sched/core.c, arch/arm64/include/asm/mmu_context.h; kthread_use_mm, kernel/kthread.c).
//!
//! A task has none, as threads of the kernel, or refers to an [`Mm`]. A CPU walks the tables of an
//! `Mm` while it runs a task that refers to it, and tables that map nothing while it runs another: so
//! who has the last reference knows that no CPU walks the tables. Linux lets a thread of the kernel
//! keep the tables of the task before, and counts the CPU as an owner (active_mm). That saves a
//! write of TTBR0_EL1 and an ISB where the same task comes back, and makes the memory of a task that
//! has ended stay for as long as its CPUs have nothing but such threads. The entries of TLBs stay
//! either way, since they are tagged with the ASID.

#[cfg(target_os = "none")]
mod switch;

use crate::arch::asid::Context;
use crate::arch::mmu_context::UserRoot;
use crate::sync::atomic::{AtomicU32, Ordering, fence};
use core::ops::Deref;
use core::ptr::NonNull;
#[cfg(target_os = "none")]
pub use switch::{current_mm, kthread_unuse_mm, kthread_use_mm};
#[cfg(target_os = "none")]
pub(super) use switch::{switch_in, switch_out};

/// An address space of users, as far as CPUs have to know it (Linux: mm_count, pgd and context of
/// struct mm_struct). It is the first field of what its owner allocates.
#[repr(C)]
pub struct Mm {
    count: AtomicU32,
    context: Context,
    #[cfg_attr(not(target_os = "none"), allow(dead_code, reason = "tests install it themselves"))]
    root: UserRoot,
    release: ReleaseMm,
}

/// Function that takes the memory of an [`Mm`], and of what it is part of, back.
pub type ReleaseMm = unsafe fn(NonNull<Mm>);

impl Mm {
    /// Creates an address space with the tables of `root` and one reference, which is to become an
    /// [`MmRef`].
    ///
    /// # Safety
    /// `root`'s tables stay until `release` is called. Whoever frees them then has invalidated what
    /// TLBs hold of them.
    #[must_use]
    pub const unsafe fn new(root: UserRoot, release: ReleaseMm) -> Self {
        Self { count: AtomicU32::new(1), context: Context::new(), root, release }
    }

    /// Returns whether `release` takes its memory back, which tells whose it is.
    #[must_use]
    #[inline]
    pub fn is_released_by(&self, release: ReleaseMm) -> bool {
        core::ptr::fn_addr_eq(self.release, release)
    }

    /// Returns the name of the address space in TLBs.
    #[must_use]
    pub fn context(&self) -> &Context {
        &self.context
    }
}

/// A counted reference to an address space.
pub struct MmRef(NonNull<Mm>);

// SAFETY: an `Mm` is shared by all CPUs; its owner lets any of them drop the last reference.
unsafe impl Send for MmRef {}
// SAFETY: as above.
unsafe impl Sync for MmRef {}

/// References that are one too many: a count that leaks ends the kernel before it wraps.
const MAX: u32 = u32::MAX / 2;

impl MmRef {
    /// Takes the first reference to `mm`.
    ///
    /// # Safety
    /// `mm` was just [created](Mm::new), and stays where it is until its `release` is called, which
    /// any CPU may do, in process context.
    #[must_use]
    pub unsafe fn new(mm: NonNull<Mm>) -> Self {
        Self(mm)
    }

    /// Returns the address, for the owner of what the `Mm` is part of.
    #[must_use]
    pub fn as_ptr(&self) -> NonNull<Mm> {
        self.0
    }
}

impl Deref for MmRef {
    type Target = Mm;
    fn deref(&self) -> &Mm {
        // SAFETY: it is there while it has a reference, which this is.
        unsafe { self.0.as_ref() }
    }
}

/// Linux: mmgrab.
impl Clone for MmRef {
    fn clone(&self) -> Self {
        let before = self.count.fetch_add(1, Ordering::Relaxed);
        assert!(before < MAX && before != 0, "an address space with {before} references");
        Self(self.0)
    }
}

/// Linux: mmdrop.
impl Drop for MmRef {
    fn drop(&mut self) {
        if self.count.fetch_sub(1, Ordering::Release) != 1 {
            return;
        }
        // All that was done by others comes before its end.
        fence(Ordering::Acquire);
        let release = self.release;
        // SAFETY: this was the last reference; no CPU has the tables, since each that has runs a
        // task with a reference.
        unsafe { release(self.0) };
    }
}
