//! The FP and SIMD registers of EL0: V0 to V31, FPSR and FPCR (Linux: arch/arm64/kernel/fpsimd.c;
//! Arm ARM B1.2.2).
//!
//! The kernel is compiled without them, so they hold what EL0 left there for as long as no other
//! task's are loaded. Per task and per CPU it is known whose they are:
//!
//! | what | says |
//! | --- | --- |
//! | `FpsimdThread::used` | the task has touched the registers since its program began |
//! | `FpsimdThread::cpu` | the CPU on which the task's registers were loaded last |
//! | `Owner::thread` of a CPU | the task whose registers were loaded there last |
//! | `FOREIGN_FPSTATE` of a task that runs | the CPU's registers are not the task's |
//!
//! A CPU's registers are a task's if the CPU names the task and the task names the CPU. Neither alone
//! will do: a task that ran elsewhere meanwhile has other values now, and a task may lie where another
//! was that the CPU still names.
//!
//! - *Away from its CPU*: the registers of a task are saved if it uses them and they are its own. A
//!   task may go on on another CPU at once, so that saving can't wait.
//! - *Onto a CPU*: nothing is loaded. If the registers aren't the task's any more,
//!   `FOREIGN_FPSTATE` has them loaded on its way back to EL0. So a task that comes back
//!   to its CPU after tasks that use no registers finds them there.
//! - *The first use* of a program traps (CPACR_EL1.FPEN), and gives it registers of zeros. A task that
//!   never touches them has nothing saved and nothing loaded, and the price for one that does is one
//!   exception in its life. From then on it is taken for granted that it goes on to use them:
//!   trapping after each switch would cost more than loading.
//!
//! CPACR_EL1.FPEN forbids the registers to both levels, but while they are those of the task that
//! runs. SVE and SME stay forbidden (ZEN, SMEN): no state of theirs is kept.

use super::cpu;
use super::sysreg::isb;
use super::thread::current_thread_info;
use crate::arch::cpufeature::has_fpsimd;
use crate::arch::thread_info::ThreadFlags;
use crate::arch::{CpuId, IrqMasked};
use crate::per_cpu;
use aarch64_cpu::registers::{CPACR_EL1, ID_AA64PFR0_EL1, ReadWriteable, Readable};
use core::cell::UnsafeCell;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering::Relaxed};

/// The registers (Linux: struct user_fpsimd_state).
#[repr(C, align(16))]
struct FpsimdState {
    v: [u128; 32],
    fpsr: u32,
    fpcr: u32,
}

const _: () = assert!(core::mem::offset_of!(FpsimdState, fpsr) == 512);
const _: () = assert!(core::mem::offset_of!(FpsimdState, fpcr) == 516);

impl FpsimdState {
    const ZERO: Self = Self { v: [0; 32], fpsr: 0, fpcr: 0 };
}

/// Number of no CPU.
const NO_CPU: usize = usize::MAX;

/// A task's FP and SIMD registers.
pub struct FpsimdThread {
    used: AtomicBool,
    cpu: AtomicUsize,
    state: UnsafeCell<FpsimdState>,
}

// SAFETY: `state` is reached by the functions below alone, as the current task's, with interrupts
// masked: on the CPU that runs the task.
unsafe impl Sync for FpsimdThread {}

/// Owner of a CPU's registers, and what moving them has cost.
struct Owner {
    /// The task whose registers were loaded last (Linux: fpsimd_last_state). An address to compare
    /// with, of a task that may be gone.
    thread: AtomicPtr<FpsimdThread>,
    saves: AtomicU64,
    loads: AtomicU64,
}

per_cpu! {
    static OWNER: Owner = Owner {
        thread: AtomicPtr::new(null_mut()),
        saves: AtomicU64::new(0),
        loads: AtomicU64::new(0),
    };
}

core::arch::global_asm!(
    ".section .text, \"ax\"",
    ".arch_extension fp",
    ".arch_extension simd",
    // fpsimd_save_state(state)
    ".global fpsimd_save_state",
    "fpsimd_save_state:",
    "stp q0, q1, [x0]",
    "stp q2, q3, [x0, #32]",
    "stp q4, q5, [x0, #64]",
    "stp q6, q7, [x0, #96]",
    "stp q8, q9, [x0, #128]",
    "stp q10, q11, [x0, #160]",
    "stp q12, q13, [x0, #192]",
    "stp q14, q15, [x0, #224]",
    "stp q16, q17, [x0, #256]",
    "stp q18, q19, [x0, #288]",
    "stp q20, q21, [x0, #320]",
    "stp q22, q23, [x0, #352]",
    "stp q24, q25, [x0, #384]",
    "stp q26, q27, [x0, #416]",
    "stp q28, q29, [x0, #448]",
    "stp q30, q31, [x0, #480]",
    "mrs x8, fpsr",
    "mrs x9, fpcr",
    "add x10, x0, #512",
    "stp w8, w9, [x10]",
    "ret",
    // fpsimd_load_state(state)
    ".global fpsimd_load_state",
    "fpsimd_load_state:",
    "ldp q0, q1, [x0]",
    "ldp q2, q3, [x0, #32]",
    "ldp q4, q5, [x0, #64]",
    "ldp q6, q7, [x0, #96]",
    "ldp q8, q9, [x0, #128]",
    "ldp q10, q11, [x0, #160]",
    "ldp q12, q13, [x0, #192]",
    "ldp q14, q15, [x0, #224]",
    "ldp q16, q17, [x0, #256]",
    "ldp q18, q19, [x0, #288]",
    "ldp q20, q21, [x0, #320]",
    "ldp q22, q23, [x0, #352]",
    "ldp q24, q25, [x0, #384]",
    "ldp q26, q27, [x0, #416]",
    "ldp q28, q29, [x0, #448]",
    "ldp q30, q31, [x0, #480]",
    "add x10, x0, #512",
    "ldp w8, w9, [x10]",
    "msr fpsr, x8",
    // Writing FPCR may be slow, and it is the same for nearly all programs.
    "mrs x10, fpcr",
    "cmp x10, x9",
    "b.eq 1f",
    "msr fpcr, x9",
    "1: ret",
    ".arch_extension nosimd",
    ".arch_extension nofp",
);

unsafe extern "C" {
    /// Stores this CPU's registers at `state`.
    fn fpsimd_save_state(state: *mut FpsimdState);
    /// Loads this CPU's registers from `state`.
    fn fpsimd_load_state(state: *const FpsimdState);
}

impl FpsimdThread {
    pub(in crate::arch) const fn new() -> Self {
        Self {
            used: AtomicBool::new(false),
            cpu: AtomicUsize::new(NO_CPU),
            state: UnsafeCell::new(FpsimdState::ZERO),
        }
    }

    /// Returns true if the registers of this CPU were the task's last, and the task's those of this CPU.
    fn is_on_this_cpu(&self, irq: &IrqMasked) -> bool {
        let owner = OWNER.get(irq).thread.load(Relaxed);
        self.cpu.load(Relaxed) == cpu::id(irq).index() && core::ptr::eq(owner, self)
    }
}

/// Allows the registers to EL0 and EL1, or forbids them. EL1 has to synchronise before it uses them;
/// going to EL0 does.
fn allow(allowed: bool) {
    if allowed != CPACR_EL1.matches_all(CPACR_EL1::FPEN::TrapNothing) {
        let fpen = if allowed { CPACR_EL1::FPEN::TrapNothing } else { CPACR_EL1::FPEN::TrapEl0El1 };
        CPACR_EL1.modify(fpen);
    }
}

fn count(counter: &AtomicU64) {
    // Written by its CPU alone.
    counter.store(counter.load(Relaxed) + 1, Relaxed);
}

/// Number of times that a CPU's registers were saved, and loaded.
#[must_use]
pub fn counters(cpu: CpuId) -> (u64, u64) {
    let owner = OWNER.of(cpu);
    (owner.saves.load(Relaxed), owner.loads.load(Relaxed))
}

/// Saves the registers of the current task, before it leaves this CPU, if they are its own (Linux: fpsimd_save_user_state).
pub(super) fn save(irq: &IrqMasked) {
    let thread = current_thread_info();
    let fpsimd = &thread.fpsimd;
    if !fpsimd.used.load(Relaxed) || thread.flags().contains(ThreadFlags::FOREIGN_FPSTATE) {
        return;
    }
    // SAFETY: the registers are allowed while they are the task's, which runs here.
    unsafe { fpsimd_save_state(fpsimd.state.get()) };
    count(&OWNER.get(irq).saves);
}

/// Prepares the registers for the current task, after it has come to this CPU (Linux:
/// fpsimd_thread_switch).
pub(super) fn switched_in(irq: &IrqMasked) {
    let thread = current_thread_info();
    let fpsimd = &thread.fpsimd;
    let used = fpsimd.used.load(Relaxed);
    let own = used && fpsimd.is_on_this_cpu(irq);
    allow(own);
    if used && !own {
        thread.set_thread_flag(ThreadFlags::FOREIGN_FPSTATE);
    } else {
        thread.clear_thread_flag(ThreadFlags::FOREIGN_FPSTATE);
    }
}

/// Loads the registers of the current task, before it goes to EL0 (Linux: fpsimd_restore_current_state).
pub(super) fn restore(irq: &IrqMasked) {
    let thread = current_thread_info();
    let (fpsimd, cpu) = (&thread.fpsimd, cpu::id(irq));
    allow(true);
    isb();
    // SAFETY: the registers are allowed from here on; the task runs here.
    unsafe { fpsimd_load_state(fpsimd.state.get()) };
    let owner = OWNER.get(irq);
    owner.thread.store(core::ptr::from_ref(fpsimd).cast_mut(), Relaxed);
    fpsimd.cpu.store(cpu.index(), Relaxed);
    thread.clear_thread_flag(ThreadFlags::FOREIGN_FPSTATE);
    count(&owner.loads);
}

/// Gives the current task its registers, for an access of EL0's that trapped: zeros. Returns false
/// where the CPU has none (Linux: do_fpsimd_acc).
#[cold]
pub(super) fn first_access(irq: &IrqMasked) -> bool {
    if !has_fpsimd(ID_AA64PFR0_EL1.get()) {
        return false;
    }
    let fpsimd = &current_thread_info().fpsimd;
    if !fpsimd.used.swap(true, Relaxed) {
        // SAFETY: the task runs here, and has not used its registers since `flush`.
        unsafe { *fpsimd.state.get() = FpsimdState::ZERO };
    }
    restore(irq);
    true
}

/// Takes the registers from the current task, for a program that begins (Linux:
/// fpsimd_flush_thread).
pub(super) fn flush(_irq: &IrqMasked) {
    let thread = current_thread_info();
    thread.fpsimd.used.store(false, Relaxed);
    thread.fpsimd.cpu.store(NO_CPU, Relaxed);
    thread.clear_thread_flag(ThreadFlags::FOREIGN_FPSTATE);
    allow(false);
}
