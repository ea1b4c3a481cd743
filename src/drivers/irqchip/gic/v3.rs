//! GICv3 and GICv4: a distributor, for each CPU a redistributor of two or more frames of 64 KiB,
//! and system registers.

use super::{
    ALL, CTLR, IGROUPR0, OWN, Private, QUIESCING, Quiescing, TYPER, identify, quiesce,
    set_private_priorities, shared_words, wait_clear,
};
use crate::addr::VirtAddr;
use crate::arch::CpuId;
use crate::arch::features;
use crate::drivers::irqchip::{IRQCHIP, Irqchip, IrqchipError};
use crate::drivers::mmio::Registers;
use core::arch::asm;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// A GICv3 or v4.
pub(in crate::drivers::irqchip) struct GicV3 {
    pub(super) distributor: Registers,
}

/// The distributor: affinity routing, and both groups of this security state.
const GICD_CTLR_ENABLE: u32 = 1 << 4 | 1 << 1 | 1 << 0;
/// A write is still on its way.
const GICD_CTLR_RWP: u32 = 1 << 31;
const GICR_CTLR_RWP: u32 = 1 << 3;
/// Extended shared interrupts (GICv3.1), numbered from 4096 on: GICD_TYPER.ESPI tells whether there
/// are any, and ESPI_range their words of 32, less one. They have registers of their own.
const GICD_TYPER_ESPI: u32 = 1 << 8;
const GICD_TYPER_ESPI_RANGE_SHIFT: u32 = 27;
const GICD_IGROUPR0E: usize = 0x1000;
const QUIESCING_EXTENDED: Quiescing = [0x1400, 0x1800, 0x1c00];
/// Locality-specific interrupts (LPIs) are sent. Their pending bits are in memory.
const GICR_CTLR_ENABLE_LPIS: u32 = 1 << 0;
/// The redistributor.
const GICR_TYPER: usize = 0x08;
const GICR_TYPER_AFFINITY: usize = 0x0c;
const GICR_TYPER_VLPIS: u32 = 1 << 1;
const GICR_TYPER_LAST: u32 = 1 << 4;
/// Extended private interrupts (GICv3.1), numbered from 1056 on: words of 32 of them. Their registers
/// are behind those of the other private ones.
const GICR_TYPER_PPI_WORDS_SHIFT: u32 = 27;
const MAX_PPI_WORDS: u32 = 2;
const GICR_WAKER: usize = 0x14;
const GICR_WAKER_PROCESSOR_SLEEP: u32 = 1 << 1;
const GICR_WAKER_CHILDREN_ASLEEP: u32 = 1 << 2;
/// The SGI page of a redistributor.
const GICR_SGI: usize = 64 << 10;
/// Bytes of a redistributor without virtual LPIs; one with them has twice as many.
pub const REDISTRIBUTOR_BYTES: usize = 2 * GICR_SGI;
/// The end of a block of 64 KiB.
const PIDR2: usize = 0xffe8;

/// Uses a GICv3 with its distributor mapped at this address, 64 KiB at least. Boot CPU, once;
/// each CPU's redistributor is told by [`set_redistributor`].
///
/// # Errors
/// `NotThere`, `Stuck`.
///
/// # Safety
/// It is a mapping of such registers, if any are there, as device memory that stays, and
/// nothing else uses them.
pub unsafe fn init(distributor: VirtAddr) -> Result<(), IrqchipError> {
    // SAFETY: as the caller says.
    let distributor = unsafe { Registers::new(distributor) };
    identify(distributor, PIDR2, 3..=4)?;
    distributor.write(CTLR, 0);
    wait_clear(distributor, CTLR, GICD_CTLR_RWP)?;
    for n in shared_words(distributor) {
        quiesce(distributor, QUIESCING, n);
        distributor.write(IGROUPR0 + 4 * n, ALL);
    }
    for n in 0..extended_words(distributor.read(TYPER)) {
        quiesce(distributor, QUIESCING_EXTENDED, n);
        distributor.write(GICD_IGROUPR0E + 4 * n, ALL);
    }
    wait_clear(distributor, CTLR, GICD_CTLR_RWP)?;
    distributor.write(CTLR, GICD_CTLR_ENABLE);
    wait_clear(distributor, CTLR, GICD_CTLR_RWP)?;
    IRQCHIP.call_once(|| Irqchip::Gic(super::Gic::V3(GicV3 { distributor })));
    Ok(())
}

/// The words of extended shared interrupts, by GICD_TYPER.
const fn extended_words(typer: u32) -> usize {
    if typer & GICD_TYPER_ESPI == 0 {
        return 0;
    }
    (typer >> GICD_TYPER_ESPI_RANGE_SHIFT) as usize + 1
}

/// Description that a redistributor gives of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Redistributor {
    /// The affinity of its CPU: Aff3 to Aff0, a byte each.
    pub affinity: u32,
    /// No other follows it in its region.
    pub is_last: bool,
    /// Size in bytes of its registers, for regions whose device-tree node has no
    /// `redistributor-stride`.
    pub bytes: usize,
}

/// Looks at the redistributor that is mapped at this address; `None` where there is none.
///
/// # Safety
/// It is a mapping of [`REDISTRIBUTOR_BYTES`] of such registers, if any are there, as device
/// memory.
#[must_use]
pub unsafe fn look_at(frame: VirtAddr) -> Option<Redistributor> {
    // SAFETY: as the caller says; not used beyond this function.
    let frame = unsafe { Registers::new(frame) };
    identify(frame, PIDR2, 3..=4).ok()?;
    let typer = frame.read(GICR_TYPER);
    Some(Redistributor {
        affinity: frame.read(GICR_TYPER_AFFINITY),
        is_last: typer & GICR_TYPER_LAST != 0,
        bytes: REDISTRIBUTOR_BYTES << u32::from(typer & GICR_TYPER_VLPIS != 0),
    })
}

/// Says where the redistributor of `cpu` is mapped, or that it has none. Boot CPU, before `cpu`
/// has interrupts.
///
/// # Safety
/// It is a mapping of [`REDISTRIBUTOR_BYTES`] of such registers as device memory that stays, and
/// nothing else uses them.
pub unsafe fn set_redistributor(cpu: CpuId, frame: Option<VirtAddr>) {
    OWN[cpu.index()].store(frame.map_or(0, VirtAddr::get), Relaxed);
}

/// The registers of a CPU's private interrupts.
pub(super) fn own_sgi_page(own: &AtomicUsize) -> Result<Registers, IrqchipError> {
    match own.load(Relaxed) {
        0 => Err(IrqchipError::NoRedistributor),
        // SAFETY: `set_redistributor`'s caller promised it.
        frame => Ok(unsafe { Registers::new(VirtAddr::new(frame + GICR_SGI)) }),
    }
}

/// Readies this CPU's redistributor, whose SGI page this is, and its system registers.
pub(super) fn init_cpu(sgi: Registers) -> Result<(), IrqchipError> {
    let own = sgi.before(GICR_SGI);
    own.write(GICR_WAKER, own.read(GICR_WAKER) & !GICR_WAKER_PROCESSOR_SLEEP);
    wait_clear(own, GICR_WAKER, GICR_WAKER_CHILDREN_ASLEEP)?;
    disable_lpis(own)?;
    let extended = (own.read(GICR_TYPER) >> GICR_TYPER_PPI_WORDS_SHIFT).min(MAX_PPI_WORDS);
    for n in 0..=extended as usize {
        quiesce(sgi, QUIESCING, n);
        sgi.write(IGROUPR0 + 4 * n, ALL);
    }
    set_private_priorities(sgi);
    wait_clear(own, CTLR, GICR_CTLR_RWP)?;
    init_system_registers()
}

/// Stops this CPU's LPIs where a boot loader has left them on: the redistributor writes their pending
/// bits into memory that the boot loader had given it, and that the kernel gives to others (Linux:
/// redist_disable_lpis).
fn disable_lpis(own: Registers) -> Result<(), IrqchipError> {
    let ctlr = own.read(CTLR);
    if ctlr & GICR_CTLR_ENABLE_LPIS == 0 {
        return Ok(());
    }
    own.write(CTLR, ctlr & !GICR_CTLR_ENABLE_LPIS);
    wait_clear(own, CTLR, GICR_CTLR_RWP)?;
    // An implementation may keep them on for good (Arm IHI 0069, GICR_CTLR.EnableLPIs).
    if own.read(CTLR) & GICR_CTLR_ENABLE_LPIS != 0 {
        log::warn!("GICv3: the boot loader's LPIs can't be disabled, and write to memory");
    }
    Ok(())
}

impl GicV3 {
    /// Waits until the distributor has done what was written.
    pub(super) fn wait(&self) -> Result<(), IrqchipError> {
        wait_clear(self.distributor, CTLR, GICD_CTLR_RWP)
    }
}

/// ICC_SRE_EL1.SRE.
const SRE: u64 = 1;
/// ICC_CTLR_EL1.PRIbits: bits of a priority, less one.
const PRIBITS_SHIFT: u64 = 8;

/// The CPU interface: system registers, for group 1.
fn init_system_registers() -> Result<(), IrqchipError> {
    if !features::has_gic_system_registers() {
        return Err(IrqchipError::NoSystemRegisters);
    }
    let sre: u64;
    // SAFETY: the registers are this CPU's and there; EL2 left them to EL1 (head.S).
    unsafe {
        asm!(
            "mrs {sre}, S3_0_C12_C12_5", // ICC_SRE_EL1
            "orr {sre}, {sre}, #1",
            "msr S3_0_C12_C12_5, {sre}",
            "isb",
            "mrs {sre}, S3_0_C12_C12_5",
            sre = out(reg) sre,
            options(nostack, preserves_flags)
        );
    }
    if sre & SRE == 0 {
        return Err(IrqchipError::NoSystemRegisters);
    }
    let ctlr: u64;
    // SAFETY: as above. All priorities pass; the end of an interrupt deactivates it.
    unsafe {
        asm!(
            "msr S3_0_C4_C6_0, {mask}",     // ICC_PMR_EL1
            "msr S3_0_C12_C12_4, xzr",      // ICC_CTLR_EL1
            "isb",
            "mrs {ctlr}, S3_0_C12_C12_4",
            mask = in(reg) 0xffu64,
            ctlr = out(reg) ctlr,
            options(nostack, preserves_flags)
        );
    }
    drop_active_priorities(ctlr >> PRIBITS_SHIFT & 7);
    // SAFETY: as above.
    unsafe {
        asm!(
            "msr S3_0_C12_C12_7, {enable}", // ICC_IGRPEN1_EL1
            "isb",
            enable = in(reg) 1u64,
            options(nostack, preserves_flags)
        );
    }
    Ok(())
}

/// Signals no interrupt to this CPU any more, if it has the registers for that.
pub(super) fn close_cpu() {
    if !features::has_gic_system_registers() {
        return;
    }
    let sre: u64;
    // SAFETY: the register is this CPU's and there; EL2 left it to EL1 (head.S).
    unsafe {
        asm!("mrs {}, S3_0_C12_C12_5", out(reg) sre, options(nostack, preserves_flags));
    }
    if sre & SRE != 0 {
        // SAFETY: as above; with SRE set the register is there. ICC_IGRPEN1_EL1.
        unsafe { asm!("msr S3_0_C12_C12_7, xzr", "isb", options(nostack, preserves_flags)) };
    }
}

/// Forgets the priorities of interrupts that were taken and never ended: nothing of theirs or
/// below would be signalled (Linux: gic_cpu_sys_reg_init). How many registers there are, of 32
/// priorities each, goes by the bits of a priority; `pribits` is one less.
fn drop_active_priorities(pribits: u64) {
    // SAFETY: ICC_AP1R0_EL1 to AP1R3: of this CPU, and there, as the bits say.
    unsafe {
        if pribits >= 6 {
            asm!(
                "msr S3_0_C12_C9_3, xzr",
                "msr S3_0_C12_C9_2, xzr",
                options(nostack, preserves_flags)
            );
        }
        if pribits >= 5 {
            asm!("msr S3_0_C12_C9_1, xzr", options(nostack, preserves_flags));
        }
        asm!("msr S3_0_C12_C9_0, xzr", "isb", options(nostack, preserves_flags));
    }
}

pub(super) fn send(sgi: Private, affinity: u64) {
    let [a0, a1, a2, _, a3, ..] = affinity.to_le_bytes();
    let value = 1u64 << (a0 & 15)
        | u64::from(a1) << 16
        | u64::from(sgi.0) << 24
        | u64::from(a2) << 32
        | u64::from(a0 >> 4) << 44
        | u64::from(a3) << 48;
    // SAFETY: ICC_SGI1R_EL1: interrupts another CPU, which is ready for it.
    unsafe {
        asm!("msr S3_0_C12_C11_5, {}", "isb", in(reg) value, options(nostack, preserves_flags));
    }
}

/// Takes the pending interrupt of highest priority. What its sender stored before it sent is
/// visible afterwards (Linux: gic_read_iar).
#[inline(never)]
pub(super) fn acknowledge() -> u32 {
    let id: u64;
    // SAFETY: ICC_IAR1_EL1: takes the pending interrupt.
    unsafe {
        asm!("mrs {}, S3_0_C12_C12_0", "dsb sy", out(reg) id, options(nostack, preserves_flags));
    }
    id as u32 & 0xff_ffff
}

pub(super) fn end(id: u32) {
    // SAFETY: ICC_EOIR1_EL1: of an interrupt that was acknowledged.
    unsafe {
        asm!("msr S3_0_C12_C12_1, {}", "isb", in(reg) u64::from(id),
            options(nostack, preserves_flags));
    }
}
