//! Exceptions taken to EL1: the registers that vectors.S saves, what the syndrome
//! means, and who is told (Arm ARM D1.3, D24.2.40 ESR_EL1).

use super::{cpu, extable, mmu};
use crate::addr::{VirtAddr, VirtRange};
use crate::arch::atomic_fn::{AtomicFn, FnPointer};
use crate::arch::irq::with_masked;
use crate::arch::{CpuId, IrqMasked, NR_CPUS};
use core::fmt;
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering::Relaxed};
use spin::Once;

/// The registers at an exception, as vectors.S lays them out.
#[repr(C)]
pub struct PtRegs {
    /// x0 to x30.
    pub x: [u64; 31],
    /// The stack pointer.
    pub sp: u64,
    /// ELR_EL1: where it happened.
    pub elr: u64,
    /// SPSR_EL1: the processor state there.
    pub spsr: u64,
    /// ESR_EL1: the syndrome.
    pub esr: u64,
    /// FAR_EL1: the address that faulted, where the syndrome says that it is valid.
    pub far: u64,
    record: [u64; 2],
}

const _: () = assert!(size_of::<PtRegs>() == 304);

/// Vector that was taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A synchronous exception, an IRQ, a FIQ or an SError through vector `n` of 16.
    Vector(u8),
    /// A synchronous exception with the stack pointer beyond its stack.
    StackOverflow,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Vector(n) = *self else {
            return f.write_str("kernel stack overflow");
        };
        let what = ["synchronous exception", "IRQ", "FIQ", "SError"][usize::from(n & 3)];
        let from = ["EL1 with SP_EL0", "EL1", "EL0", "EL0 (AArch32)"][usize::from(n >> 2 & 3)];
        write!(f, "{what} from {from}")
    }
}

/// Handler that ends the kernel on an exception that nobody resolves.
pub type FatalHandler = fn(&PtRegs, Kind) -> !;

static FATAL: AtomicFn<FatalHandler> = AtomicFn::none();

// SAFETY: a pointer to a function.
unsafe impl FnPointer for FatalHandler {}

/// Registers the handler that reports fatal exceptions.
///
/// # Safety
/// Called once, by the boot CPU, before the others are up. The handler ends the kernel, and
/// allocates nothing: the exception may have come from an allocator.
pub(crate) unsafe fn set_fatal_handler(handler: FatalHandler) {
    FATAL.store(Some(handler), Relaxed);
}

/// Handler that tries to resolve a data abort at EL1. Returns true if the access can be made
/// again.
pub type FaultHandler = fn(&PtRegs) -> bool;

static FAULT: Once<FaultHandler> = Once::new();

/// Registers the handler that resolves data aborts.
///
/// # Safety
/// Called once. The handler says that it has resolved a fault only where the access can be made
/// again; it runs in the context of the access, with interrupts masked.
pub(crate) unsafe fn set_fault_handler(handler: FaultHandler) {
    FAULT.call_once(|| handler);
}

/// Handler of interrupts.
pub type IrqHandler = fn();

static IRQ: Once<IrqHandler> = Once::new();

/// Registers the handler of interrupts, for all CPUs.
///
/// # Safety
/// Called once, before interrupts are unmasked on any CPU. The handler acknowledges every
/// interrupt of the controller, runs with interrupts masked and leaves them so.
pub(crate) unsafe fn set_irq_handler(handler: IrqHandler) {
    IRQ.call_once(|| handler);
}

/// Lets SErrors in on this CPU, for good: one that firmware left pending, and any that comes, is
/// reported (Linux: setup_arch, local_daif_restore). On each CPU, once its vectors are in place
/// and there is a console. The handlers of other exceptions run with them masked.
pub(crate) fn unmask_serror() {
    // SAFETY: whoever is interrupted by one does not go on.
    unsafe { core::arch::asm!("msr daifclr, #4", options(nostack)) };
}

/// CPUs to which no interrupt should come, a bit each.
static NO_IRQ: AtomicU32 = AtomicU32::new(0);

/// Notes that nobody can handle an interrupt of this CPU.
pub(super) fn expect_no_irq(irq: &IrqMasked) {
    NO_IRQ.fetch_or(1 << cpu::id(irq).index(), Relaxed);
}

fn expects_no_irq() -> bool {
    let cpus = NO_IRQ.load(Relaxed);
    cpus != 0 && with_masked(|irq| cpus >> cpu::id(irq).index() & 1 != 0)
}

/// Masks an interrupt that nobody can handle, nor end, where it interrupted.
#[cold]
fn mask_interrupt(regs: &mut PtRegs, mask: u64) {
    regs.spsr |= mask;
    log::warn!("an interrupt came, and no controller tells which: masked on this CPU");
}

const PSTATE_I: u64 = 1 << 7;
const PSTATE_F: u64 = 1 << 6;
const IRQ_FROM_EL1: u8 = 5;
const FIQ_FROM_EL1: u8 = 6;

/// `hlt #0xf000`: a semihosting call. Where no host listens it is undefined.
const SEMIHOSTING_HLT: u32 = 0xd45e_0000;

const EC_UNKNOWN: u64 = 0x00;
const EC_DATA_ABORT: u64 = 0x25;

/// vectors.S comes here with every exception but those that found no stack.
///
/// # Safety
/// Called by vectors.S only: `regs` are the registers that it saved.
#[unsafe(no_mangle)]
unsafe extern "C" fn exception_handler(regs: &mut PtRegs, vector: u64) {
    let kind = Kind::Vector(vector as u8);
    if kind == Kind::Vector(4) && regs.esr >> 26 & 0x3f == EC_UNKNOWN {
        // SAFETY: the CPU fetched an instruction from there a moment ago.
        let instruction = unsafe { (regs.elr as *const u32).read() };
        if instruction == SEMIHOSTING_HLT {
            regs.x[0] = u64::MAX;
            regs.elr += 4;
            return;
        }
    }
    // Interrupts stay masked until the handler returns: vectors.S enables none.
    if kind == Kind::Vector(4)
        && Syndrome(regs.esr).is_translation_fault()
        && with_masked(|irq| mmu::is_spurious_fault(VirtAddr::new(regs.far as usize), irq))
    {
        return;
    }
    if kind == Kind::Vector(4)
        && matches!(regs.esr >> 26 & 0x3f, EC_DATA_ABORT | EC_UNKNOWN)
        && let Some((fixup, x0)) = extable::fixup(regs.elr)
    {
        regs.x[0] = x0;
        regs.elr = fixup;
        return;
    }
    if kind == Kind::Vector(4)
        && regs.esr >> 26 & 0x3f == EC_DATA_ABORT
        && FAULT.get().is_some_and(|handler| handler(regs))
    {
        return;
    }
    if kind == Kind::Vector(FIQ_FROM_EL1) && expects_no_irq() {
        return mask_interrupt(regs, PSTATE_F);
    }
    if kind == Kind::Vector(IRQ_FROM_EL1) && expects_no_irq() {
        return mask_interrupt(regs, PSTATE_I);
    }
    if kind == Kind::Vector(IRQ_FROM_EL1)
        && let Some(handler) = IRQ.get()
    {
        return handler();
    }
    fatal(regs, kind)
}

/// Bytes of an emergency stack.
pub const EMERGENCY_STACK_SIZE: usize = 8 << 10;

unsafe extern "C" {
    static _emergency_stack_top: u8;
}

/// The tops of the CPUs' emergency stacks, for vectors.S: the boot CPU's is the image's.
#[unsafe(no_mangle)]
static EMERGENCY_STACKS: [AtomicPtr<u8>; NR_CPUS] = {
    let mut tops = [const { AtomicPtr::new(core::ptr::null_mut()) }; NR_CPUS];
    tops[0] = AtomicPtr::new((&raw const _emergency_stack_top).cast_mut());
    tops
};

/// Says where the stack of [`EMERGENCY_STACK_SIZE`] is on which `cpu` reports the overflow of
/// another, before it comes up.
///
/// # Safety
/// It is mapped memory of that CPU's alone, at a multiple of twice the size of a thread's stack,
/// and nothing is mapped right below it.
pub(crate) unsafe fn set_emergency_stack(cpu: CpuId, stack: VirtAddr) {
    let top = core::ptr::with_exposed_provenance_mut((stack + EMERGENCY_STACK_SIZE).get());
    EMERGENCY_STACKS[cpu.index()].store(top, Relaxed);
}

/// The emergency stack of a CPU; `None` where it has none.
#[must_use]
pub fn emergency_stack(cpu: CpuId) -> Option<VirtRange> {
    let top = EMERGENCY_STACKS[cpu.index()].load(Relaxed).addr();
    let start = top.checked_sub(EMERGENCY_STACK_SIZE)?;
    Some(VirtRange::from_size(VirtAddr::new(start), EMERGENCY_STACK_SIZE))
}

/// vectors.S comes here, on the emergency stack, when the stack had overflown.
///
/// # Safety
/// Called by vectors.S only: `regs` are the registers that it saved.
#[unsafe(no_mangle)]
unsafe extern "C" fn stack_overflow_handler(regs: &mut PtRegs) -> ! {
    fatal(regs, Kind::StackOverflow)
}

fn fatal(regs: &PtRegs, kind: Kind) -> ! {
    match FATAL.load(Relaxed) {
        Some(handler) => handler(regs, kind),
        None => super::early::report_fault(regs.esr, regs.elr, regs.far, 4, regs.x[30]),
    }
}

/// A syndrome in words.
pub struct Syndrome(pub u64);

impl Syndrome {
    /// Returns true if FAR_EL1 holds an address.
    #[must_use]
    pub fn has_address(&self) -> bool {
        matches!(self.class(), 0x20 | 0x21 | 0x22 | 0x24 | 0x25 | 0x34 | 0x35)
            && !(self.is_abort() && self.0 & (1 << 10) != 0 && self.0 & 0x3f == 0x10)
    }
    /// Returns true for a data abort on a write.
    #[must_use]
    pub fn is_write(&self) -> bool {
        matches!(self.class(), 0x24 | 0x25) && self.0 & (1 << 6) != 0
    }
    /// Returns true if a load, a store or a fetch at EL1 found no translation.
    #[must_use]
    pub fn is_translation_fault(&self) -> bool {
        matches!(self.class(), 0x21 | 0x25) && matches!(self.0 & 0x3f, 0x04..=0x07)
    }
    fn class(&self) -> u64 {
        self.0 >> 26 & 0x3f
    }
    fn is_abort(&self) -> bool {
        matches!(self.class(), 0x20 | 0x21 | 0x24 | 0x25)
    }
}

impl fmt::Display for Syndrome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let class = match self.class() {
            0x00 => "unknown reason (an undefined instruction)",
            0x01 => "trapped WFI or WFE",
            0x07 => "floating point or SIMD, which the kernel does not use",
            0x0d => "branch target (BTI)",
            0x0e => "illegal execution state",
            0x15 => "SVC",
            0x16 => "HVC",
            0x17 => "SMC",
            0x18 => "trapped system register access",
            0x20 | 0x21 => "instruction abort",
            0x22 => "misaligned program counter",
            0x24 | 0x25 => "data abort",
            0x26 => "misaligned stack pointer",
            0x2f => "SError",
            0x3c => "BRK",
            _ => "reserved or unexpected class",
        };
        write!(f, "{class}")?;
        if self.is_abort() {
            let status = self.0 & 0x3f;
            let what = match status {
                0x00..=0x03 => "address size fault",
                0x04..=0x07 => "translation fault",
                0x08..=0x0b => "access flag fault",
                0x0c..=0x0f => "permission fault",
                0x10 => "synchronous external abort",
                0x14..=0x17 => "external abort on a table walk",
                0x21 => "alignment fault",
                0x30 => "TLB conflict",
                0x31 => "unsupported atomic hardware update",
                _ => "other fault",
            };
            write!(f, ", {what}")?;
            if matches!(status, 0x00..=0x0f | 0x14..=0x17) {
                write!(f, ", level {}", status & 3)?;
            }
            if matches!(self.class(), 0x24 | 0x25) {
                f.write_str(if self.is_write() { ", on a write" } else { ", on a read" })?;
            }
        }
        write!(f, " (EC {:#04x}, ISS {:#09x})", self.class(), self.0 & 0x1ff_ffff)
    }
}

impl fmt::Display for PtRegs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  pc  {:016x}   sp  {:016x}   pstate {:08x}", self.elr, self.sp, self.spsr)?;
        for row in 0..8 {
            for column in 0..4 {
                let i = row + column * 8;
                if i < 31 {
                    write!(f, "  {}x{i} {:016x}", if i < 10 { " " } else { "" }, self.x[i])?;
                }
            }
            if row < 7 {
                writeln!(f)?;
            }
        }
        Ok(())
    }
}
