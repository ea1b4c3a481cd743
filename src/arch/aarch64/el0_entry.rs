//! Running code at EL0, and what becomes of its exceptions (Linux: arch/arm64/kernel/entry.S,
//! entry-common.c).
//!
//! [`run`] goes to EL0, and comes back when a handler says so. The handlers are a [`User`]'s: one
//! for the fast path, with interrupts masked and the registers that a function call may change; and
//! one with all registers and interrupts unmasked, for what may sleep or needs the rest.
//!
//! # The way back
//! Before EL0 goes on, the work that the task's `thread_info` names is done (Linux:
//! exit_to_user_mode_loop): another task runs if this one has had its time, and the FP and SIMD
//! registers are loaded if they aren't its own. Interrupts are masked from the last look at the
//! work to ERET, so that none comes in between unseen. This is the one place where a task is
//! preempted.

use super::exception::{self, Kind, PtRegs};
use super::thread::current_thread_info;
use super::{fpsimd, irq, sysreg, thread};
use crate::arch::IrqMasked;
use crate::arch::esr::{Exception, Syndrome};
use crate::arch::fault::{self, Fault};
use crate::arch::irq::with_masked;
use crate::arch::thread_info::ThreadFlags;
use aarch64_cpu::registers::{ESR_EL1, FAR_EL1, Readable};
use spin::Once;

/// The registers of EL0 at an exception, on the fast path.
pub struct FastRegs<'a>(&'a mut PtRegs);

impl FastRegs<'_> {
    /// Register x0 to x18.
    ///
    /// # Panics
    /// For another.
    #[inline(always)]
    #[must_use]
    pub fn x(&self, n: usize) -> u64 {
        assert!(n <= 18, "x{n} isn't saved on the fast path");
        self.0.x[n]
    }

    /// Gives x0 a value: the result of a system call.
    #[inline(always)]
    pub fn set_x0(&mut self, value: u64) {
        self.0.x[0] = value;
    }
}

/// Verdict of a handler of the fast path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fast {
    /// EL0 goes on.
    Return,
    /// [`User::all_registers`] is to be called.
    AllRegisters,
}

/// Verdict of a handler with all registers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Slow {
    /// EL0 goes on.
    Return,
    /// [`run`] returns.
    Leave,
}

/// The exception for which a handler is called with all registers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cause {
    /// An instruction, with its syndrome. The address is in [`PtRegs::far`] where the syndrome has
    /// one.
    Sync(Syndrome),
    /// An access to memory for which the handler of [`crate::arch::fault`] has no answer but this.
    /// Its address is in [`PtRegs::far`].
    Fault(Syndrome, Fault),
    /// An interrupt, which was handled.
    Interrupt,
}

/// Handlers of the exceptions of code at EL0.
pub trait User {
    /// An instruction's exception. Interrupts are masked.
    fn sync(&self, regs: &mut FastRegs<'_>, syndrome: Syndrome, irq: &IrqMasked) -> Fast;
    /// An interrupt came to EL0, and its handler is done. Interrupts are masked.
    fn interrupt(&self, irq: &IrqMasked) -> Fast;
    /// A handler of the fast path asks for all registers. Process context: may sleep. Of
    /// [`PtRegs::spsr`], what is none of EL0's business has no effect.
    fn all_registers(&self, regs: &mut PtRegs, cause: Cause) -> Slow;
}

/// The frame of el0_entry.S.
#[repr(C)]
struct Frame<'a> {
    regs: PtRegs,
    /// SP_EL0 of the kernel: the current task.
    task: u64,
    /// Vector of the exception.
    vector: u64,
    user: &'a dyn User,
}

const _: () = assert!(size_of::<Frame<'_>>() == 336);
const _: () = assert!(core::mem::offset_of!(Frame<'_>, task) == 304);

/// The vectors, by number.
const SYNC: u64 = 8;
const IRQ: u64 = 9;
const FIQ: u64 = 10;
/// Not a vector: an IRQ that was handled.
const HANDLED: u64 = 16;
/// Not a vector: there is no more to handle, and work on the way back.
const WORK: u64 = 17;

/// Function that lets other tasks run before the current one goes back to EL0.
pub(crate) type Resched = fn();

static RESCHED: Once<Resched> = Once::new();

/// Registers the function that lets other tasks run (Linux: schedule). Process context is its
/// context. Once, before a task has `NEED_RESCHED`.
pub(crate) fn set_resched(resched: Resched) {
    RESCHED.call_once(|| resched);
}

/// Bits of SPSR_EL1 that are EL0's business, and the masks of interrupts on CPUs without a
/// controller: the flags, TCO, DIT, SS, SSBS, BTYPE, I and F. The mode is EL0t then (Linux:
/// valid_user_regs).
const USER_PSTATE: u64 = 0xf << 28 | 1 << 25 | 1 << 24 | 1 << 21 | 1 << 12 | 3 << 10 | 3 << 6;

unsafe extern "C" {
    /// Copies the frame to the end of the stack and goes to EL0; returns after an exception for
    /// which `el0_exception` returns 1.
    fn enter_el0(frame: *const ());
}

/// Runs code at EL0 from the registers `regs` on, until [`User::all_registers`] says
/// [`Slow::Leave`]. It begins with zeros in its FP and SIMD registers, and with `tls` in TPIDR_EL0
/// and TPIDRRO_EL0. Process context.
///
/// Other tasks run where a handler sleeps, and where the task's time is over. For a task to keep its
/// registers and its tables then, it has to be one with users' memory (`sched::kthread_use_mm`).
///
/// # Panics
/// If interrupts are masked.
pub fn run(regs: &PtRegs, tls: (u64, u64), user: &dyn User) {
    assert!(!irq::is_masked(), "code at EL0 is to run with interrupts masked");
    with_masked(|irq| {
        thread::flush(irq);
        thread::set_tls(tls, irq);
    });
    let mut frame = Frame { regs: regs.clone(), task: 0, vector: SYNC, user };
    frame.regs.spsr &= USER_PSTATE;
    // SAFETY: EL0 can do nothing to the kernel; its exceptions come to the functions below, with
    // the frame, and `user` lives until they are over. Interrupts were unmasked.
    unsafe { enter_el0((&raw const frame).cast()) };
}

/// el0_entry.S comes here with a synchronous exception, and calls `el0_exception` if the result is
/// not 0.
///
/// # Safety
/// For el0_entry.S alone: `frame` is the one that it keeps; interrupts are masked.
#[unsafe(no_mangle)]
unsafe extern "C" fn el0_sync(frame: &mut Frame<'_>, esr: u64) -> u64 {
    let syndrome = Syndrome(esr);
    frame.regs.esr = esr;
    frame.vector = SYNC;
    // SAFETY: masked by the exception; no handler unmasks them.
    let irq = unsafe { IrqMasked::assume() };
    if !syndrome.is_svc() {
        frame.regs.far = FAR_EL1.get();
        if let Some(resolved) = resolve_fast(frame, syndrome, &irq) {
            return if resolved { work(frame) } else { 1 };
        }
        let is_fp = syndrome.exception() == Exception::FpAccess;
        if is_fp && fpsimd::first_access(&irq) {
            return work(frame);
        }
    }
    match frame.user.sync(&mut FastRegs(&mut frame.regs), syndrome, &irq) {
        Fast::Return => work(frame),
        Fast::AllRegisters => 1,
    }
}

/// Tries to resolve the fault of an access with what is at hand. `None` where it is no such fault,
/// or nobody resolves any.
#[inline(always)]
fn resolve_fast(frame: &Frame<'_>, syndrome: Syndrome, irq: &IrqMasked) -> Option<bool> {
    let fast = fault::fast_handler()?;
    let (at, access) = fault::user_access(syndrome, frame.regs.far)?;
    Some(fast(at, access, irq))
}

/// Resolves the fault of an access, or says what becomes of the exception. Process context.
fn resolve(regs: &PtRegs, syndrome: Syndrome) -> Option<Cause> {
    let resolvable = fault::handler().zip(fault::user_access(syndrome, regs.far));
    let Some((handler, (at, access))) = resolvable else { return Some(Cause::Sync(syndrome)) };
    handler(at, access, false).err().map(|fault| Cause::Fault(syndrome, fault))
}

/// Returns the work on the way back to EL0, 0 for none. `el0_exception` does it then.
#[inline(always)]
fn work(frame: &mut Frame<'_>) -> u64 {
    let flags = current_thread_info().flags();
    if !flags.is_empty() {
        frame.vector = WORK;
    }
    flags.bits().into()
}

/// Does the work on the way back to EL0. Interrupts are masked, and unmasked while other tasks run
/// (Linux: exit_to_user_mode_loop).
fn exit_to_user_mode_loop() {
    let thread = current_thread_info();
    loop {
        let flags = thread.flags();
        if flags.contains(ThreadFlags::NEED_RESCHED) {
            // Whoever asks from here on is heard again.
            thread.clear_thread_flag(ThreadFlags::NEED_RESCHED);
            if let Some(resched) = RESCHED.get() {
                // SAFETY: `run` was called with interrupts unmasked, and no `IrqMasked` is left.
                unsafe { sysreg::unmask_interrupts() };
                sysreg::unmask_serror();
                resched();
                sysreg::mask_exceptions();
            }
        } else if flags.contains(ThreadFlags::FOREIGN_FPSTATE) {
            with_masked(fpsimd::restore);
        } else {
            break;
        }
    }
}

/// el0_entry.S comes here with an IRQ.
///
/// # Safety
/// As for `el0_sync`.
#[unsafe(no_mangle)]
unsafe extern "C" fn el0_irq(frame: &mut Frame<'_>) -> u64 {
    frame.vector = IRQ;
    if !exception::handle_irq(&mut frame.regs) {
        return 1;
    }
    frame.vector = HANDLED;
    // SAFETY: masked by the exception, and by the handler when it returned.
    let irq = unsafe { IrqMasked::assume() };
    match frame.user.interrupt(&irq) {
        Fast::Return => work(frame),
        Fast::AllRegisters => 1,
    }
}

/// el0_entry.S comes here with a FIQ or an SError.
///
/// # Safety
/// As for `el0_sync`.
#[unsafe(no_mangle)]
unsafe extern "C" fn el0_other(frame: &mut Frame<'_>, vector: u64) -> u64 {
    frame.vector = vector;
    if vector == FIQ && exception::handle_fiq(&mut frame.regs) { work(frame) } else { 1 }
}

/// el0_entry.S comes here once all registers are saved. EL0 goes on if the result is 0.
///
/// # Safety
/// As for `el0_sync`.
#[unsafe(no_mangle)]
unsafe extern "C" fn el0_exception(frame: &mut Frame<'_>) -> u64 {
    let cause = match frame.vector {
        SYNC => Some(Cause::Sync(Syndrome(frame.regs.esr))),
        HANDLED => Some(Cause::Interrupt),
        WORK => None,
        vector => {
            frame.regs.esr = ESR_EL1.get();
            exception::fatal(&frame.regs, Kind::Vector(vector as u8))
        }
    };
    if let Some(cause) = cause {
        // SAFETY: `run` was called with interrupts unmasked, and no `IrqMasked` of the functions
        // above is left.
        unsafe { sysreg::unmask_interrupts() };
        sysreg::unmask_serror();
        let cause = match cause {
            Cause::Sync(syndrome) => resolve(&frame.regs, syndrome),
            other => Some(other),
        };
        let verdict = match cause {
            Some(cause) => frame.user.all_registers(&mut frame.regs, cause),
            None => Slow::Return,
        };
        sysreg::mask_exceptions();
        frame.regs.spsr &= USER_PSTATE;
        if verdict == Slow::Leave {
            return 1;
        }
    }
    exit_to_user_mode_loop();
    0
}
