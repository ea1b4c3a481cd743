//! Switch from one thread's registers to another's (Linux: cpu_switch_to and ret_from_fork,
//! arch/arm64/kernel/entry.S).

use crate::addr::VirtAddr;
use core::cell::Cell;

/// Bytes of a stack (linker.ld: STACK_SIZE).
pub const THREAD_SIZE: usize = 64 << 10;
/// Stacks begin at multiples of this, so that one bit of SP tells an overflow (vectors.S).
pub const THREAD_ALIGN: usize = 2 * THREAD_SIZE;

/// Saved stack pointer of a thread that does not run; its registers lie there.
#[repr(transparent)]
pub struct SavedSp(Cell<usize>);

impl SavedSp {
    /// Stack pointer of no thread.
    #[must_use]
    pub const fn none() -> Self {
        Self(Cell::new(0))
    }

    /// Makes it that of `other`.
    pub fn set(&self, other: Self) {
        self.0.set(other.0.get());
    }
}

/// Bytes that [`cpu_switch_to`] leaves on a stack: x29, x30, x19 to x28.
const FRAME: usize = 96;

core::arch::global_asm!(
    ".section .text, \"ax\"",
    // What a function call must preserve (AAPCS64 6.1); the kernel uses no SIMD registers.
    ".global cpu_switch_to",
    "cpu_switch_to:", // x0 = where to save SP, x1 = the saved one
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
    "ldp x19, x20, [sp, #16]",
    "ldp x21, x22, [sp, #32]",
    "ldp x23, x24, [sp, #48]",
    "ldp x25, x26, [sp, #64]",
    "ldp x27, x28, [sp, #80]",
    "ldp x29, x30, [sp], #96",
    "ret",
    // A thread begins here: x19 = its first function, x20 = the argument.
    ".global ret_from_fork",
    "ret_from_fork:",
    "mov x0, x20",
    "blr x19",
    "brk #0",
);

unsafe extern "C" {
    /// Leaves the registers on this stack and its pointer in `prev`, and goes on with the
    /// registers on the stack at `next`. Comes back when a call of this is made the other
    /// way round.
    ///
    /// # Safety
    /// Interrupts are masked. `next` is what this function saved on this CPU, or what
    /// [`prepare`] returned, and was not used since.
    pub fn cpu_switch_to(prev: &SavedSp, next: &SavedSp);
    static ret_from_fork: u8;
}

/// Lays out the registers of a thread that begins with `first(data)`, with interrupts masked
/// and its stack from `top`, a multiple of 16, downwards.
///
/// # Safety
/// The bytes below `top` are a stack that nobody else uses.
#[must_use]
pub unsafe fn prepare(top: VirtAddr, first: extern "C" fn(*mut ()) -> !, data: *mut ()) -> SavedSp {
    let sp = (top - FRAME).get();
    let mut registers = [0; FRAME / size_of::<usize>()];
    // x29 is 0: there is no frame below.
    registers[1] = (&raw const ret_from_fork).addr();
    registers[2] = first as usize;
    registers[3] = data.expose_provenance();
    // SAFETY: within the caller's stack.
    unsafe { core::ptr::with_exposed_provenance_mut::<[usize; 12]>(sp).write(registers) };
    SavedSp(Cell::new(sp))
}
