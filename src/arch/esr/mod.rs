//! Exception syndromes: the reason for an exception, decoded from ESR_EL1 (Linux:
//! arch/arm64/include/asm/esr.h; Arm ARM D24.2.40 ESR_EL1).
#![deny(unsafe_code)]

mod abort;
#[cfg(test)]
mod tests;

use bitflags::bitflags;
use core::fmt;

pub use abort::{Abort, FaultStatus};

/// The value of ESR_EL1 after an exception.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub struct Syndrome(pub u64);

/// Exception level that an exception was taken from, as far as a syndrome tells it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// EL0.
    Lower,
    /// EL1 itself.
    Same,
}

/// The reason for an exception.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exception {
    /// An instruction that is undefined, or not allowed at this level.
    Undefined,
    /// A trapped WFI, WFE, WFIT or WFET.
    Wfx {
        /// The instruction waits for an event, and not for an interrupt.
        event: bool,
    },
    /// An access to floating point or SIMD registers that CPACR_EL1 traps.
    FpAccess,
    /// A trapped use of pointer authentication.
    PointerAuthTrap,
    /// A trapped LD64B, ST64B, ST64BV or ST64BV0.
    Ls64,
    /// A branch to an instruction that is no target of it (FEAT_BTI).
    BranchTarget {
        /// PSTATE.BTYPE: the kind of branch.
        btype: u8,
    },
    /// An instruction with PSTATE.IL set.
    IllegalState,
    /// SVC.
    Svc(u16),
    /// HVC.
    Hvc(u16),
    /// SMC.
    Smc(u16),
    /// A trapped MSR, MRS or system instruction.
    SystemRegister(SystemRegister),
    /// A trapped use of SVE.
    SveAccess,
    /// An authentication of a pointer that failed (FEAT_FPAC).
    PointerAuthFailure,
    /// A trapped use of SME.
    SmeAccess(SmeTrap),
    /// A fetch that was aborted.
    InstructionAbort(Origin, Abort),
    /// A load, a store or a cache operation that was aborted.
    DataAbort(Origin, Abort),
    /// A program counter that is no multiple of 4.
    PcAlignment,
    /// A load or store through a stack pointer that is no multiple of 16.
    SpAlignment,
    /// A memory copy or set instruction in the wrong state (FEAT_MOPS).
    MemoryOperation,
    /// A floating-point exception that FPCR traps; `None` where the CPU doesn't tell which.
    FloatingPoint(Option<FpExceptions>),
    /// A guarded control stack that doesn't agree (FEAT_GCS).
    GuardedControlStack,
    /// SError.
    SError(Severity),
    /// A breakpoint of the debug registers.
    Breakpoint(Origin),
    /// A single step of a debugger.
    SoftwareStep(Origin),
    /// A watchpoint of the debug registers.
    Watchpoint {
        /// The level of the access.
        from: Origin,
        /// The access was a store.
        is_write: bool,
    },
    /// BRK, with its number.
    Brk(u16),
    /// Any other class: of AArch32, of another exception level, or reserved.
    Other(u8),
}

/// The register or operation of a trapped MSR, MRS or system instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SystemRegister {
    /// Encoding: op0, op1, CRn, CRm and op2.
    pub encoding: (u8, u8, u8, u8, u8),
    /// The general register: Xt, or XZR for 31.
    pub rt: u8,
    /// The instruction is an MRS, or another that writes Xt.
    pub is_read: bool,
}

/// Reason for a trapped use of SME.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SmeTrap {
    /// CPACR_EL1.SMEN or another control forbids SME.
    Forbidden,
    /// The instruction is none of streaming mode.
    Streaming,
    /// The instruction is one of streaming mode alone.
    NotStreaming,
    /// PSTATE.ZA is 0.
    ZaDisabled,
    /// ZT0 is trapped.
    Zt0,
    /// Reserved.
    Other,
}

bitflags! {
    /// Floating-point exceptions, as ESR_EL1 and FPSR have them.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct FpExceptions: u8 {
        /// Invalid operation.
        const IOF = 1 << 0;
        /// Division by zero.
        const DZF = 1 << 1;
        /// Overflow.
        const OFF = 1 << 2;
        /// Underflow.
        const UFF = 1 << 3;
        /// Inexact result.
        const IXF = 1 << 4;
        /// Denormal operand.
        const IDF = 1 << 7;
    }
}

/// Severity of an SError (Arm ARM: AET).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Severity {
    /// The CPU doesn't tell (no FEAT_RAS), or in bits of its own.
    Uncategorized,
    /// The state of the CPU is lost.
    Uncontainable,
    /// The interrupted program can't go on.
    Unrecoverable,
    /// The interrupted program can go on, as the error reached nothing of it.
    Restartable,
    /// The interrupted program can go on once the error is mended.
    Recoverable,
    /// The error was corrected.
    Corrected,
}

/// ESR_EL1.EC.
mod ec {
    pub const UNKNOWN: u8 = 0x00;
    pub const WFX: u8 = 0x01;
    pub const FP_ACCESS: u8 = 0x07;
    pub const POINTER_AUTH_TRAP: u8 = 0x09;
    pub const LS64: u8 = 0x0a;
    pub const BRANCH_TARGET: u8 = 0x0d;
    pub const ILLEGAL_STATE: u8 = 0x0e;
    pub const SVC: u8 = 0x15;
    pub const HVC: u8 = 0x16;
    pub const SMC: u8 = 0x17;
    pub const SYSTEM_REGISTER: u8 = 0x18;
    pub const SVE_ACCESS: u8 = 0x19;
    pub const POINTER_AUTH_FAILURE: u8 = 0x1c;
    pub const SME_ACCESS: u8 = 0x1d;
    pub const INSTRUCTION_ABORT_LOWER: u8 = 0x20;
    pub const INSTRUCTION_ABORT: u8 = 0x21;
    pub const PC_ALIGNMENT: u8 = 0x22;
    pub const DATA_ABORT_LOWER: u8 = 0x24;
    pub const DATA_ABORT: u8 = 0x25;
    pub const SP_ALIGNMENT: u8 = 0x26;
    pub const MEMORY_OPERATION: u8 = 0x27;
    pub const FLOATING_POINT: u8 = 0x2c;
    pub const GCS: u8 = 0x2d;
    pub const SERROR: u8 = 0x2f;
    pub const BREAKPOINT_LOWER: u8 = 0x30;
    pub const BREAKPOINT: u8 = 0x31;
    pub const SOFTWARE_STEP_LOWER: u8 = 0x32;
    pub const SOFTWARE_STEP: u8 = 0x33;
    pub const WATCHPOINT_LOWER: u8 = 0x34;
    pub const WATCHPOINT: u8 = 0x35;
    pub const BRK: u8 = 0x3c;
}

impl Syndrome {
    /// Returns the reason for the exception.
    #[must_use]
    pub fn exception(self) -> Exception {
        use Origin::{Lower, Same};
        let abort = Abort::new(self.0);
        let watchpoint = |from| Exception::Watchpoint { from, is_write: abort.is_write };
        match self.class() {
            ec::UNKNOWN => Exception::Undefined,
            ec::WFX => Exception::Wfx { event: self.0 & 1 != 0 },
            ec::FP_ACCESS => Exception::FpAccess,
            ec::POINTER_AUTH_TRAP => Exception::PointerAuthTrap,
            ec::LS64 => Exception::Ls64,
            ec::BRANCH_TARGET => Exception::BranchTarget { btype: self.0 as u8 & 3 },
            ec::ILLEGAL_STATE => Exception::IllegalState,
            ec::SVC => Exception::Svc(self.0 as u16),
            ec::HVC => Exception::Hvc(self.0 as u16),
            ec::SMC => Exception::Smc(self.0 as u16),
            ec::SYSTEM_REGISTER => Exception::SystemRegister(self.system_register()),
            ec::SVE_ACCESS => Exception::SveAccess,
            ec::POINTER_AUTH_FAILURE => Exception::PointerAuthFailure,
            ec::SME_ACCESS => Exception::SmeAccess(self.sme_trap()),
            ec::INSTRUCTION_ABORT_LOWER => Exception::InstructionAbort(Lower, abort.of_fetch()),
            ec::INSTRUCTION_ABORT => Exception::InstructionAbort(Same, abort.of_fetch()),
            ec::PC_ALIGNMENT => Exception::PcAlignment,
            ec::DATA_ABORT_LOWER => Exception::DataAbort(Lower, abort),
            ec::DATA_ABORT => Exception::DataAbort(Same, abort),
            ec::SP_ALIGNMENT => Exception::SpAlignment,
            ec::MEMORY_OPERATION => Exception::MemoryOperation,
            ec::FLOATING_POINT => Exception::FloatingPoint(self.fp_exceptions()),
            ec::GCS => Exception::GuardedControlStack,
            ec::SERROR => Exception::SError(self.severity()),
            ec::BREAKPOINT_LOWER => Exception::Breakpoint(Lower),
            ec::BREAKPOINT => Exception::Breakpoint(Same),
            ec::SOFTWARE_STEP_LOWER => Exception::SoftwareStep(Lower),
            ec::SOFTWARE_STEP => Exception::SoftwareStep(Same),
            ec::WATCHPOINT_LOWER => watchpoint(Lower),
            ec::WATCHPOINT => watchpoint(Same),
            ec::BRK => Exception::Brk(self.0 as u16),
            class => Exception::Other(class),
        }
    }

    /// Returns true if FAR_EL1 holds an address.
    #[must_use]
    pub fn has_address(self) -> bool {
        match self.exception() {
            Exception::PcAlignment | Exception::Watchpoint { .. } => true,
            Exception::InstructionAbort(_, abort) | Exception::DataAbort(_, abort) => {
                abort.has_address
            }
            _ => false,
        }
    }

    /// Returns true for a data abort on a store.
    #[must_use]
    pub fn is_write(self) -> bool {
        matches!(self.exception(), Exception::DataAbort(_, abort) if abort.is_write)
    }

    /// Returns true if a load, a store or a fetch at EL1 found no translation.
    #[must_use]
    pub fn is_translation_fault(self) -> bool {
        use Exception::{DataAbort, InstructionAbort};
        matches!(
            self.exception(),
            DataAbort(Origin::Same, abort) | InstructionAbort(Origin::Same, abort)
                if matches!(abort.status, FaultStatus::Translation(_))
        )
    }

    /// Returns true for a load, a store or a cache operation at EL1 that was aborted.
    #[must_use]
    pub fn is_data_abort_at_el1(self) -> bool {
        self.class() == ec::DATA_ABORT
    }

    /// Returns true for SVC.
    #[inline(always)]
    #[must_use]
    pub fn is_svc(self) -> bool {
        self.class() == ec::SVC
    }

    /// Returns true for an undefined instruction.
    #[must_use]
    pub fn is_undefined(self) -> bool {
        self.class() == ec::UNKNOWN
    }

    #[inline(always)]
    fn class(self) -> u8 {
        (self.0 >> 26 & 0x3f) as u8
    }

    fn system_register(self) -> SystemRegister {
        let field = |shift: u32, bits: u32| (self.0 >> shift & ((1 << bits) - 1)) as u8;
        SystemRegister {
            encoding: (field(20, 2), field(14, 3), field(10, 4), field(1, 4), field(17, 3)),
            rt: field(5, 5),
            is_read: field(0, 1) == 1,
        }
    }

    fn sme_trap(self) -> SmeTrap {
        match self.0 & 7 {
            0 => SmeTrap::Forbidden,
            1 => SmeTrap::Streaming,
            2 => SmeTrap::NotStreaming,
            3 => SmeTrap::ZaDisabled,
            4 => SmeTrap::Zt0,
            _ => SmeTrap::Other,
        }
    }

    /// The flags, if TFV says that they are valid.
    fn fp_exceptions(self) -> Option<FpExceptions> {
        let valid = self.0 >> 23 & 1 != 0;
        valid.then(|| FpExceptions::from_bits_truncate(self.0 as u8))
    }

    /// AET, which has a meaning where IDS is 0 and DFSC says "asynchronous SError".
    fn severity(self) -> Severity {
        let (ids, aet, dfsc) = (self.0 >> 24 & 1, self.0 >> 10 & 7, self.0 & 0x3f);
        match aet {
            _ if ids != 0 || dfsc != 0x11 => Severity::Uncategorized,
            0 => Severity::Uncontainable,
            1 => Severity::Unrecoverable,
            2 => Severity::Restartable,
            3 => Severity::Recoverable,
            6 => Severity::Corrected,
            _ => Severity::Uncategorized,
        }
    }
}

impl fmt::Display for Syndrome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exception = self.exception();
        write!(f, "{exception} (EC {:#04x}, ISS {:#09x})", self.class(), self.0 & 0x1ff_ffff)
    }
}

impl fmt::Display for Exception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match *self {
            Self::Undefined => "unknown reason (an undefined instruction)",
            Self::Wfx { .. } => "trapped WFI or WFE",
            Self::FpAccess => "floating point or SIMD, which the kernel does not use",
            Self::PointerAuthTrap => "trapped pointer authentication",
            Self::Ls64 => "trapped load or store of 64 bytes",
            Self::BranchTarget { .. } => "branch target (BTI)",
            Self::IllegalState => "illegal execution state",
            Self::Svc(_) => "SVC",
            Self::Hvc(_) => "HVC",
            Self::Smc(_) => "SMC",
            Self::SystemRegister(register) => {
                return write!(f, "trapped system register access, {register}");
            }
            Self::SveAccess => "trapped SVE",
            Self::PointerAuthFailure => "pointer authentication that failed",
            Self::SmeAccess(_) => "trapped SME",
            Self::InstructionAbort(_, abort) => return write!(f, "instruction abort, {abort}"),
            Self::DataAbort(_, abort) => {
                let access = if abort.is_write { "on a write" } else { "on a read" };
                return write!(f, "data abort, {abort}, {access}");
            }
            Self::PcAlignment => "misaligned program counter",
            Self::SpAlignment => "misaligned stack pointer",
            Self::MemoryOperation => "memory copy or set in a wrong state",
            Self::FloatingPoint(None) => "floating-point exception",
            Self::FloatingPoint(Some(flags)) => {
                f.write_str("floating-point exception")?;
                return flags.iter_names().try_for_each(|(name, _)| write!(f, ", {name}"));
            }
            Self::GuardedControlStack => "guarded control stack",
            Self::SError(_) => "SError",
            Self::Breakpoint(_) => "breakpoint",
            Self::SoftwareStep(_) => "single step",
            Self::Watchpoint { is_write: true, .. } => "watchpoint, on a write",
            Self::Watchpoint { is_write: false, .. } => "watchpoint, on a read",
            Self::Brk(_) => "BRK",
            Self::Other(_) => "reserved or unexpected class",
        };
        f.write_str(name)
    }
}

impl fmt::Display for SystemRegister {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (op0, op1, crn, crm, op2) = self.encoding;
        let access = if self.is_read { "read" } else { "write" };
        write!(f, "{access} of S{op0}_{op1}_C{crn}_C{crm}_{op2}")
    }
}
