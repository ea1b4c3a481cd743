//! Signals for the exceptions of programs (Linux: arch/arm64/kernel/traps.c, arch/arm64/mm/fault.c).

use super::signal::{Fault, Signal};
use crate::arch::esr::{Abort, Exception, FaultStatus, FpExceptions, Syndrome};
use crate::arch::fault;
use linux_raw_sys::general as abi;

/// What becomes of a program's exception.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trap {
    /// A system call.
    Call,
    /// An instruction that is undefined at EL0: an MRS that is emulated, or the signal.
    Undefined(Fault),
    /// A WFE or WFI, which does nothing.
    Skip,
    /// The signal.
    Signal(Fault),
}

/// Returns what becomes of the exception `syndrome` at `pc`, with the fault address `far`.
#[must_use]
pub fn classify(syndrome: Syndrome, pc: u64, far: u64) -> Trap {
    let signal = |signal, code, addr| Trap::Signal(Fault { signal, code, addr });
    let undefined = Fault { signal: Signal::SIGILL, code: abi::ILL_ILLOPC, addr: pc };
    match syndrome.exception() {
        Exception::Svc(_) => Trap::Call,
        Exception::InstructionAbort(_, abort) | Exception::DataAbort(_, abort) => {
            Trap::Signal(of_abort(abort, far))
        }
        Exception::PcAlignment => signal(Signal::SIGBUS, abi::BUS_ADRALN, far),
        Exception::SpAlignment => signal(Signal::SIGBUS, abi::BUS_ADRALN, pc),
        Exception::Brk(_) => signal(Signal::SIGTRAP, abi::TRAP_BRKPT, pc),
        Exception::Breakpoint(_) | Exception::Watchpoint { .. } => {
            signal(Signal::SIGTRAP, abi::TRAP_HWBKPT, far)
        }
        Exception::SoftwareStep(_) => signal(Signal::SIGTRAP, abi::TRAP_TRACE, pc),
        Exception::FloatingPoint(flags) => signal(Signal::SIGFPE, fpe_code(flags), pc),
        Exception::PointerAuthFailure => signal(Signal::SIGILL, abi::ILL_ILLOPN, pc),
        Exception::Undefined | Exception::SystemRegister(_) => Trap::Undefined(undefined),
        Exception::Wfx { .. } => Trap::Skip,
        _ => Trap::Signal(undefined),
    }
}

/// The reason of a SIGFPE (Linux: do_fpsimd_exc).
fn fpe_code(flags: Option<FpExceptions>) -> u32 {
    let Some(flags) = flags else { return abi::FPE_FLTUNK };
    let codes = [
        (FpExceptions::IOF, abi::FPE_FLTINV),
        (FpExceptions::DZF, abi::FPE_FLTDIV),
        (FpExceptions::OFF, abi::FPE_FLTOVF),
        (FpExceptions::UFF, abi::FPE_FLTUND),
        (FpExceptions::IXF, abi::FPE_FLTRES),
    ];
    codes.iter().find(|(flag, _)| flags.contains(*flag)).map_or(abi::FPE_FLTUNK, |&(_, code)| code)
}

/// The signal for an abort that memory management has nothing to do with.
fn of_abort(abort: Abort, addr: u64) -> Fault {
    let (signal, code) = match abort.status {
        // At an address that is none of the program's half.
        FaultStatus::Translation(_) | FaultStatus::AccessFlag(_) | FaultStatus::Permission(_) => {
            (Signal::SIGSEGV, abi::SEGV_MAPERR)
        }
        FaultStatus::Alignment => (Signal::SIGBUS, abi::BUS_ADRALN),
        FaultStatus::TagCheck => (Signal::SIGSEGV, abi::SEGV_MTESERR),
        FaultStatus::External
        | FaultStatus::ExternalOnWalk(_)
        | FaultStatus::Parity
        | FaultStatus::ParityOnWalk(_) => (Signal::SIGBUS, abi::BUS_OBJERR),
        _ => (Signal::SIGKILL, abi::SI_KERNEL),
    };
    Fault { signal, code, addr }
}

/// The signal for an access that the address space doesn't allow (Linux: do_page_fault).
#[must_use]
pub fn of_page_fault(fault: fault::Fault, addr: u64) -> Fault {
    let (signal, code) = match fault {
        fault::Fault::MapErr => (Signal::SIGSEGV, abi::SEGV_MAPERR),
        fault::Fault::AccErr => (Signal::SIGSEGV, abi::SEGV_ACCERR),
        fault::Fault::BusAdrErr => (Signal::SIGBUS, abi::BUS_ADRERR),
        // Without memory for its page, the program can't go on.
        fault::Fault::Oom | fault::Fault::Killed => (Signal::SIGKILL, abi::SI_KERNEL),
    };
    Fault { signal, code, addr }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trap(class: u64, iss: u64) -> Trap {
        classify(Syndrome(class << 26 | iss), 0x40_0000, 0x1234)
    }

    fn signal(signal: Signal, code: u32, addr: u64) -> Trap {
        Trap::Signal(Fault { signal, code, addr })
    }

    #[test]
    fn exceptions_are_signals() {
        assert_eq!(trap(0x15, 0), Trap::Call);
        let ill = Fault { signal: Signal::SIGILL, code: 1, addr: 0x40_0000 };
        assert_eq!(trap(0, 0), Trap::Undefined(ill));
        assert_eq!(trap(0x18, 0), Trap::Undefined(ill));
        assert_eq!(trap(1, 0), Trap::Skip);
        assert_eq!(trap(0x0d, 0), Trap::Signal(ill));
        assert_eq!(trap(0x3f, 0), Trap::Signal(ill));
        assert_eq!(trap(0x1c, 0), signal(Signal::SIGILL, 2, 0x40_0000));
        assert_eq!(trap(0x3c, 7), signal(Signal::SIGTRAP, 1, 0x40_0000));
        assert_eq!(trap(0x22, 0), signal(Signal::SIGBUS, 1, 0x1234));
        assert_eq!(trap(0x26, 0), signal(Signal::SIGBUS, 1, 0x40_0000));
        assert_eq!(trap(0x2c, 1 << 23 | 2), signal(Signal::SIGFPE, 3, 0x40_0000));
        assert_eq!(trap(0x2c, 2), signal(Signal::SIGFPE, 14, 0x40_0000));
    }

    #[test]
    fn aborts() {
        for class in [0x20, 0x24] {
            assert_eq!(trap(class, 0x07), signal(Signal::SIGSEGV, 1, 0x1234));
            assert_eq!(trap(class, 0x0f), signal(Signal::SIGSEGV, 1, 0x1234));
            assert_eq!(trap(class, 0x21), signal(Signal::SIGBUS, 1, 0x1234));
            assert_eq!(trap(class, 0x10), signal(Signal::SIGBUS, 3, 0x1234));
            assert_eq!(trap(class, 0x30), signal(Signal::SIGKILL, 0x80, 0x1234));
        }
        for (fault, number, code) in [
            (fault::Fault::MapErr, Signal::SIGSEGV, 1),
            (fault::Fault::AccErr, Signal::SIGSEGV, 2),
            (fault::Fault::BusAdrErr, Signal::SIGBUS, 2),
            (fault::Fault::Oom, Signal::SIGKILL, 0x80),
            (fault::Fault::Killed, Signal::SIGKILL, 0x80),
        ] {
            assert_eq!(of_page_fault(fault, 9), Fault { signal: number, code, addr: 9 });
        }
    }
}
