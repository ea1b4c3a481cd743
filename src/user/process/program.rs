//! Handlers of a program's exceptions (Linux: arch/arm64/kernel/entry-common.c, traps.c).

use super::Process;
use super::signal::{Exit, Fault, Signal};
use super::trap::{Trap, classify, of_page_fault};
use crate::addr::UserAddr;
use crate::arch::IrqMasked;
use crate::arch::cpufeature::decode_mrs;
use crate::arch::el0_entry::{self, Cause, Fast, FastRegs, Slow, User};
use crate::arch::esr::Syndrome;
use crate::arch::exception::PtRegs;
use crate::arch::features::user_ids;
use crate::arch::uaccess::UserPtr;
use crate::mm::alloc::KArc;
use crate::sched::fatal_signal_pending;
use crate::user::syscall;

/// Bytes of an instruction.
const INSTRUCTION: u64 = 4;

/// The program that a process runs.
struct Program {
    process: KArc<Process>,
}

impl Program {
    /// Does what an exception asks for, or ends the process. Process context.
    fn exception(&self, regs: &mut PtRegs, syndrome: Syndrome) {
        match classify(syndrome, regs.elr, regs.far) {
            Trap::Call => syscall::slow(&self.process, regs),
            Trap::Undefined(_) if emulate_mrs(regs) => {}
            Trap::Undefined(fault) | Trap::Signal(fault) => self.force_signal(fault),
            Trap::Skip => regs.elr = regs.elr.wrapping_add(INSTRUCTION),
        }
    }

    /// Ends the process by a signal that its program caused: handlers are not called yet (Linux:
    /// force_sig_fault).
    fn force_signal(&self, fault: Fault) {
        let Fault { signal, code, addr } = fault;
        let pid = self.process.pid();
        log::debug!("process {pid}: {signal:?}, code {code}, at {addr:#x}");
        self.process.end(Exit::Signal(signal));
    }
}

/// Runs the program of a process from the registers `regs` on, until it ends. The current task has
/// the process's memory (`kthread_use_mm`). Process context.
///
/// # Panics
/// If interrupts are masked.
#[must_use]
pub fn run(process: KArc<Process>, regs: &PtRegs) -> Exit {
    let program = Program { process };
    el0_entry::run(regs, (0, 0), &program);
    program.process.exit().unwrap_or(Exit::Signal(Signal::SIGKILL))
}

/// Reads an ID register for the program where that is what it wants; returns false if not (Linux:
/// try_emulate_mrs).
fn emulate_mrs(regs: &mut PtRegs) -> bool {
    let Some(pc) = UserAddr::new(regs.elr as usize) else { return false };
    let Ok(instruction) = UserPtr::<u32>::new(pc).get() else { return false };
    let Some((register, rt)) = decode_mrs(instruction) else { return false };
    let Some(value) = user_ids().emulated_read(register) else { return false };
    if let Some(to) = regs.x.get_mut(usize::from(rt)) {
        *to = value;
    }
    regs.elr += INSTRUCTION;
    true
}

impl User for Program {
    #[inline]
    fn sync(&self, regs: &mut FastRegs<'_>, syndrome: Syndrome, irq: &IrqMasked) -> Fast {
        if syndrome.is_svc() && syscall::fast(&self.process, regs, irq) {
            return Fast::Return;
        }
        Fast::AllRegisters
    }

    fn interrupt(&self, _: &IrqMasked) -> Fast {
        if fatal_signal_pending() { Fast::AllRegisters } else { Fast::Return }
    }

    fn all_registers(&self, regs: &mut PtRegs, cause: Cause) -> Slow {
        match cause {
            Cause::Sync(syndrome) => self.exception(regs, syndrome),
            Cause::Fault(_, fault) => self.force_signal(of_page_fault(fault, regs.far)),
            Cause::Interrupt => {}
        }
        if fatal_signal_pending() {
            self.process.end(Exit::Signal(Signal::SIGKILL));
        }
        if self.process.exit().is_some() { Slow::Leave } else { Slow::Return }
    }
}
