//! Exceptions taken to EL1: the registers that vectors.S saves, and who is told (Arm ARM D1.3).

use super::{cpu, extable, irq, mmu, sysreg};
use crate::addr::{UserAddr, VirtAddr, VirtRange};
use crate::arch::atomic_fn::{AtomicFn, FnPointer};
use crate::arch::cpumask::{AtomicCpuMask, CpuMask};
use crate::arch::esr::Syndrome;
use crate::arch::fault;
use crate::arch::irq::with_masked;
use crate::arch::{CpuId, IrqMasked, layout};
use crate::per_cpu;
use core::fmt;
use core::sync::atomic::{AtomicPtr, Ordering::Relaxed};
use spin::Once;

/// The registers at an exception, as vectors.S lays them out.
#[repr(C)]
#[derive(Clone)]
pub struct PtRegs {
    /// x0 to x30.
    pub x: [u64; 31],
    /// The stack pointer: SP_EL0 of EL0.
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

impl PtRegs {
    /// The registers of a program at EL0 that begins at `pc` with the stack pointer `sp`: all
    /// others are 0 (Linux: start_thread).
    #[must_use]
    pub const fn user(pc: UserAddr, sp: UserAddr) -> Self {
        Self {
            x: [0; 31],
            sp: sp.get() as u64,
            elr: pc.get() as u64,
            spsr: 0,
            esr: 0,
            far: 0,
            record: [0; 2],
        }
    }
}

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
    sysreg::unmask_serror();
}

/// CPUs to which no interrupt should come.
static NO_IRQ: AtomicCpuMask = AtomicCpuMask::new(CpuMask::NONE);

/// Notes that nobody can handle an interrupt of this CPU.
pub(super) fn expect_no_irq(irq: &IrqMasked) {
    NO_IRQ.set(cpu::id(irq), Relaxed);
}

fn expects_no_irq() -> bool {
    let cpus = NO_IRQ.load(Relaxed);
    !cpus.is_empty() && with_masked(|irq| cpus.contains(cpu::id(irq)))
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

/// vectors.S comes here with every exception but those that found no stack.
///
/// # Safety
/// Called by vectors.S only: `regs` are the registers that it saved.
#[unsafe(no_mangle)]
unsafe extern "C" fn exception_handler(regs: &mut PtRegs, vector: u64) {
    let kind = Kind::Vector(vector as u8);
    let syndrome = Syndrome(regs.esr);
    if kind == Kind::Vector(4) && syndrome.is_undefined() {
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
        && syndrome.is_translation_fault()
        && with_masked(|irq| mmu::is_spurious_fault(VirtAddr::new(regs.far as usize), irq))
    {
        return;
    }
    if kind == Kind::Vector(4) && resolve_user_access(regs, syndrome) {
        return;
    }
    if kind == Kind::Vector(4) && extable::fixup(regs, syndrome) {
        return;
    }
    if kind == Kind::Vector(4)
        && syndrome.is_data_abort_at_el1()
        && FAULT.get().is_some_and(|handler| handler(regs))
    {
        return;
    }
    if kind == Kind::Vector(FIQ_FROM_EL1) && handle_fiq(regs) {
        return;
    }
    if kind == Kind::Vector(IRQ_FROM_EL1) && handle_irq(regs) {
        return;
    }
    fatal(regs, kind)
}

/// Makes an access to a user's memory by `uaccess` possible, where the code that makes it may sleep.
/// Returns true if it can be made again (Linux: do_page_fault, faulthandler_disabled).
fn resolve_user_access(regs: &PtRegs, syndrome: Syndrome) -> bool {
    let may_sleep = regs.spsr & PSTATE_I == 0;
    if !(may_sleep && syndrome.is_data_abort_at_el1() && extable::is_user_access(regs.elr)) {
        return false;
    }
    let Some(handler) = fault::handler() else { return false };
    let Some((at, access)) = fault::user_access(syndrome, regs.far) else { return false };
    // SAFETY: they were unmasked where the access was made, and no `IrqMasked` is about.
    unsafe { sysreg::unmask_interrupts() };
    sysreg::unmask_serror();
    let result = handler(at, access, true);
    sysreg::mask_exceptions();
    result.is_ok()
}

/// Handles a FIQ that interrupted the code of `regs`; false where it is not known what to do.
pub(super) fn handle_fiq(regs: &mut PtRegs) -> bool {
    let masks = expects_no_irq();
    if masks {
        mask_interrupt(regs, PSTATE_F);
    }
    masks
}

/// Handles an IRQ that interrupted the code of `regs`; false where nobody can.
pub(super) fn handle_irq(regs: &mut PtRegs) -> bool {
    if expects_no_irq() {
        mask_interrupt(regs, PSTATE_I);
        return true;
    }
    let Some(handler) = IRQ.get() else { return false };
    // SAFETY: masked by the exception.
    irq::note_interrupted(regs.spsr, &unsafe { IrqMasked::assume() });
    handler();
    true
}

/// vectors.S takes the upper 24 of the 48 bits of a per-CPU static's address for this number, and the
/// distance between two of them to be 2^24.
const _: () = assert!(
    layout::KIMAGE.start().get() << 16 >> 40 == 0x80_0000
        && layout::KIMAGE.len() == 1 << 24
        && layout::PERCPU_STRIDE == 1 << 24
);

/// Bytes of an emergency stack.
pub const EMERGENCY_STACK_SIZE: usize = 8 << 10;

unsafe extern "C" {
    static _emergency_stack_top: u8;
}

per_cpu! {
    /// The top of the CPU's emergency stack, for vectors.S: the boot CPU's is the image's.
    #[unsafe(no_mangle)]
    static EMERGENCY_STACK: AtomicPtr<u8> =
        AtomicPtr::new((&raw const _emergency_stack_top).cast_mut());
}

/// Says that CPU `id`, which is not up, has no emergency stack yet: its statics were copied from those
/// of the boot CPU.
pub(super) fn has_no_emergency_stack(id: CpuId) {
    EMERGENCY_STACK.of(id).store(core::ptr::null_mut(), Relaxed);
}

/// Says where the stack of [`EMERGENCY_STACK_SIZE`] is on which `cpu` reports the overflow of
/// another, before it comes up.
///
/// # Safety
/// It is mapped memory of that CPU's alone, at a multiple of twice the size of a thread's stack,
/// and nothing is mapped right below it.
pub(crate) unsafe fn set_emergency_stack(cpu: CpuId, stack: VirtAddr) {
    let top = core::ptr::with_exposed_provenance_mut((stack + EMERGENCY_STACK_SIZE).get());
    EMERGENCY_STACK.of(cpu).store(top, Relaxed);
}

/// The emergency stack of a CPU; `None` where it has none.
#[must_use]
pub fn emergency_stack(cpu: CpuId) -> Option<VirtRange> {
    let top = EMERGENCY_STACK.try_of(cpu)?.load(Relaxed).addr();
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

/// Ends the kernel with a report.
pub(super) fn fatal(regs: &PtRegs, kind: Kind) -> ! {
    match FATAL.load(Relaxed) {
        Some(handler) => handler(regs, kind),
        None => super::early::report_fault(regs.esr, regs.elr, regs.far, 4, regs.x[30]),
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
