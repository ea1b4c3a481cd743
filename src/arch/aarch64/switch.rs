//! Switch from one thread's registers to another's (Linux: cpu_switch_to and ret_from_fork,
//! arch/arm64/kernel/entry.S).

use crate::addr::VirtAddr;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Bytes of a thread's stack.
pub const THREAD_SIZE: usize = 16 << 10;
/// Stacks begin at multiples of this, twice the size of the largest one, the boot CPU's
/// (linker.ld: STACK_SIZE): so one bit of SP tells the overflow of each (vectors.S).
pub const THREAD_ALIGN: usize = 128 << 10;

/// Saved stack pointer of a thread that does not run; its registers lie there.
#[repr(transparent)]
pub struct SavedSp(AtomicUsize);

impl SavedSp {
    /// Stack pointer of no thread.
    #[must_use]
    pub const fn none() -> Self {
        Self(AtomicUsize::new(0))
    }

    /// Makes it that of `other`.
    pub fn set(&self, other: Self) {
        self.0.store(other.0.load(Relaxed), Relaxed);
    }
}

/// Bytes that [`cpu_switch_to`] leaves on a stack: x29, x30, x19 to x28.
const FRAME: usize = 96;

core::arch::global_asm!(
    ".section .text, \"ax\"",
    // What a function call must preserve (AAPCS64 6.1); the kernel uses no SIMD registers.
    ".global cpu_switch_to",
    "cpu_switch_to:", // x0 = where to save SP, x1 = the saved one, x2 and x3 = the tasks
    "stp x29, x30, [sp, #-96]!",
    "stp x19, x20, [sp, #16]",
    "stp x21, x22, [sp, #32]",
    "stp x23, x24, [sp, #48]",
    "stp x25, x26, [sp, #64]",
    "stp x27, x28, [sp, #80]",
    "mov x9, sp",
    "ldr x10, [x1]",
    "str x9, [x0]",
    "mov sp, x10",
    "msr sp_el0, x3",
    "mov x0, x2",
    "ldp x19, x20, [sp, #16]",
    "ldp x21, x22, [sp, #32]",
    "ldp x23, x24, [sp, #48]",
    "ldp x25, x26, [sp, #64]",
    "ldp x27, x28, [sp, #80]",
    "ldp x29, x30, [sp], #96",
    "ret",
    // A thread begins here: x0 = the task before, x19 = its first function, x20 = the argument.
    ".global ret_from_fork",
    "ret_from_fork:",
    "mov x1, x0",
    "mov x0, x20",
    "blr x19",
    "brk #0",
);

unsafe extern "C" {
    /// Leaves the registers on this stack and its pointer in `prev`, and goes on with the
    /// registers on the stack at `next` as the task `next_task`, whose address SP_EL0 gets. Comes
    /// back when a call of this goes to `prev`, and returns the task that was left then.
    ///
    /// # Safety
    /// Interrupts are masked. `next` is what this function saved, or what [`prepare`] returned, was
    /// not used since, and is seen by this CPU. `prev_task` is the current task.
    pub fn cpu_switch_to(
        prev: &SavedSp,
        next: &SavedSp,
        prev_task: NonNull<()>,
        next_task: NonNull<()>,
    ) -> NonNull<()>;
    static ret_from_fork: u8;
}

/// Lays out the registers of a thread that begins with `first(data, the task before)`, with
/// interrupts masked and its stack from `top`, a multiple of 16, downwards.
///
/// # Safety
/// The bytes below `top` are a stack that nobody else uses.
#[must_use]
pub unsafe fn prepare(
    top: VirtAddr,
    first: extern "C" fn(*mut (), NonNull<()>) -> !,
    data: *mut (),
) -> SavedSp {
    let sp = (top - FRAME).get();
    let mut registers = [0; FRAME / size_of::<usize>()];
    // x29 is 0: there is no frame below.
    registers[1] = (&raw const ret_from_fork).addr();
    registers[2] = first as usize;
    registers[3] = data.expose_provenance();
    // SAFETY: within the caller's stack.
    unsafe { core::ptr::with_exposed_provenance_mut::<[usize; 12]>(sp).write(registers) };
    SavedSp(AtomicUsize::new(sp))
}
