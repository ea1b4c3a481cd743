//! CPU number, waiting, and the cycle counter.

pub use super::clock::{sched_clock, tick_frequency, ticks, timeout};
use super::sysreg;
use crate::arch::{CpuId, IrqMasked};
use crate::per_cpu;
use aarch64_cpu::registers::{Readable, SP_EL0, TPIDR_EL1, Writeable};
use core::arch::asm;
use core::cell::Cell;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

per_cpu! {
    /// The lock ranks that the CPU holds, a bit for each. That CPU alone looks there, but before it
    /// is up.
    static HELD: AtomicU64 = AtomicU64::new(0);
}

/// Returns the calling CPU's number, which TPIDR_EL1 holds.
#[inline(always)]
#[must_use]
pub fn id(_irq: &IrqMasked) -> CpuId {
    let n = TPIDR_EL1.get() as usize;
    // SAFETY: set to a number below NR_CPUS when the CPU came up.
    unsafe { CpuId::new(n).unwrap_unchecked() }
}

/// Returns the address of the current task, which SP_EL0 holds while the CPU is at EL1 (Linux:
/// get_current).
#[inline(always)]
#[must_use]
pub(crate) fn current_task() -> NonNull<()> {
    let task: *mut ();
    // SAFETY: reads a register. It is the same all through a task's life, wherever that runs, so
    // one read may serve for several.
    unsafe {
        asm!("mrs {}, sp_el0", out(reg) task, options(pure, nomem, nostack, preserves_flags))
    };
    // SAFETY: head.S has set it before the first Rust code of the kernel's own map runs.
    unsafe { NonNull::new_unchecked(task) }
}

/// Makes the running code the task at `task`.
///
/// # Safety
/// A task is there for good, and no other CPU runs as it. Nothing that the caller does next relies
/// on what [`current_task`] returned before.
pub(crate) unsafe fn set_current_task(task: NonNull<()>) {
    SP_EL0.set(task.addr().get() as u64);
}

/// Waits a moment in a spin loop (Linux: cpu_relax). Where several CPUs share a core, or take turns on
/// an emulator's one thread, another has the time: that is what YIELD is for (Arm ARM C6.2).
#[inline]
pub fn relax() {
    // SAFETY: a hint.
    unsafe { asm!("yield", options(nomem, nostack, preserves_flags)) };
    core::hint::spin_loop();
}

/// Waits until another CPU stores to `word`, which is `seen` now, or until an interrupt or an
/// event comes. The exclusive load watches the word, and the store that ends that is an event
/// (Arm ARM B2.17; Linux: __cmpwait). So the waiter takes no power, and its polls don't take the
/// word's cache line from the holder of the lock.
#[inline]
pub fn wait_changed(word: &AtomicU32, seen: u32) {
    // SAFETY: reads an aligned word. SEVL and the first WFE clear what events came before.
    unsafe {
        asm!(
            "sevl",
            "wfe",
            "ldxr {now:w}, [{word}]",
            "eor {now:w}, {now:w}, {seen:w}",
            "cbnz {now:w}, 2f",
            "wfe",
            "2:",
            word = in(reg) word.as_ptr(),
            seen = in(reg) seen,
            now = out(reg) _,
            options(nostack, preserves_flags)
        );
    }
}

/// Returns the calling CPU as the holder of a lock: its number plus 1.
#[inline(always)]
#[must_use]
pub(crate) fn holder(irq: &IrqMasked) -> u32 {
    id(irq).index() as u32 + 1
}

/// Notes that this CPU has taken the lock whose word is at `lock`. Only emulated CPUs have to be
/// told; nothing to do here.
#[inline(always)]
pub(crate) const fn lock_taken(_lock: usize) {}

/// Notes that this CPU is about to release the lock whose word is at `lock`.
#[inline(always)]
pub(crate) const fn lock_given_up(_lock: usize) {}

/// Runs `f` on the bit set of lock ranks that this CPU holds.
pub(crate) fn held_ranks<R>(irq: &IrqMasked, f: impl FnOnce(&Cell<u64>) -> R) -> R {
    let own = HELD.get(irq);
    let held = Cell::new(own.load(Relaxed));
    let result = f(&held);
    own.store(held.get(), Relaxed);
    result
}

/// Says that CPU `id`, which is not up, holds no lock: its statics were copied from those of a CPU that
/// may hold some.
pub(super) fn holds_nothing(id: CpuId) {
    HELD.of(id).store(0, Relaxed);
}

/// The cycle counter, PMCCNTR_EL0: on hardware cycles of this CPU, under QEMU's
/// `-icount shift=0` executed instructions. 0 always where there is no PMU.
#[inline]
#[must_use]
pub fn cycles() -> u64 {
    sysreg::cycle_counter()
}

/// Stops this CPU for good. Inlined, so that its PC tells who stopped it.
#[inline(always)]
pub fn park() -> ! {
    loop {
        sysreg::mask_exceptions();
        // SAFETY: only waits.
        unsafe { asm!("wfe", options(nomem, nostack, preserves_flags)) };
    }
}

/// Waits for an interrupt or an event.
pub fn wait() {
    // SAFETY: only waits.
    unsafe { asm!("wfe", options(nomem, nostack, preserves_flags)) };
}

/// Waits for an interrupt, which is taken when they are let in again. Inlined, so that a CPU's PC
/// tells who waits.
#[inline(always)]
pub fn wait_for_interrupt(_irq: &IrqMasked) {
    // SAFETY: only waits, with what was stored before visible to all.
    unsafe { asm!("dsb sy", "wfi", options(nostack, preserves_flags)) };
}

/// Wakes all CPUs that [`wait`].
pub fn wake_all() {
    // SAFETY: a barrier and an event.
    unsafe { asm!("dsb ishst", "sev", options(nostack, preserves_flags)) };
}
