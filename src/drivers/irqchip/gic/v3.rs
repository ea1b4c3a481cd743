//! GICv3 and GICv4: a distributor, for each CPU a redistributor of two or more frames of 64 KiB,
//! and system registers.

use super::registers::{
    DistributorV3, GICD_CTLR, GICD_TYPER, GICR_CTLR, GICR_TYPER, GICR_WAKER, RedistributorFrame,
    RedistributorPage,
};
use super::{ALL, OWN, Private, Quiescing, identify, quiesce, shared_words, wait_clear};
use crate::addr::VirtAddr;
use crate::arch::CpuId;
use crate::arch::features;
use crate::drivers::irqchip::{IRQCHIP, Irqchip, IrqchipError};
use crate::drivers::mmio::block;
use core::arch::asm;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use tock_registers::interfaces::{ReadWriteable, Readable, Writeable};

/// A GICv3 or v4.
pub(in crate::drivers::irqchip) struct GicV3 {
    pub(super) distributor: &'static DistributorV3,
}

/// Words of extended private interrupts that there can be.
const MAX_PPI_WORDS: u32 = 2;
/// Bytes of a redistributor without virtual LPIs; one with them has twice as many.
pub const REDISTRIBUTOR_BYTES: usize = size_of::<RedistributorFrame>();

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
    let distributor: Option<&DistributorV3> = unsafe { block(distributor) };
    let distributor = distributor.ok_or(IrqchipError::NotThere)?;
    identify(&distributor.pidr2, 3..=4)?;
    distributor.ctlr.set(0);
    wait_clear(&distributor.ctlr, GICD_CTLR::RWP)?;
    let interrupts = &distributor.interrupts;
    for n in shared_words(&distributor.typer) {
        quiesce(interrupts.quiescing(), n);
        interrupts.igroupr[n].set(ALL);
    }
    for n in 0..extended_words(distributor) {
        quiesce(distributor.quiescing_extended(), n);
        distributor.igroupr_e[n].set(ALL);
    }
    wait_clear(&distributor.ctlr, GICD_CTLR::RWP)?;
    distributor
        .ctlr
        .write(GICD_CTLR::ARE::SET + GICD_CTLR::ENABLE_1::SET + GICD_CTLR::ENABLE_0::SET);
    wait_clear(&distributor.ctlr, GICD_CTLR::RWP)?;
    IRQCHIP.call_once(|| Irqchip::Gic(super::Gic::V3(GicV3 { distributor })));
    Ok(())
}

impl DistributorV3 {
    const fn quiescing_extended(&self) -> Quiescing<'_> {
        [&self.icenabler_e, &self.icpendr_e, &self.icactiver_e]
    }
}

/// The words of extended shared interrupts.
fn extended_words(distributor: &DistributorV3) -> usize {
    let typer = distributor.typer.extract();
    if !typer.is_set(GICD_TYPER::ESPI) {
        return 0;
    }
    typer.read(GICD_TYPER::ESPI_RANGE) as usize + 1
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
    let RedistributorFrame { own, .. } = unsafe { block(frame)? };
    identify(&own.pidr2, 3..=4).ok()?;
    let typer = own.typer.extract();
    Some(Redistributor {
        affinity: own.typer_affinity.get(),
        is_last: typer.is_set(GICR_TYPER::LAST),
        bytes: REDISTRIBUTOR_BYTES << u32::from(typer.is_set(GICR_TYPER::VLPIS)),
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

/// A CPU's redistributor.
pub(super) fn redistributor(
    own: &AtomicUsize,
) -> Result<&'static RedistributorFrame, IrqchipError> {
    // SAFETY: `set_redistributor`'s caller promised it; there is none at address 0.
    unsafe { block(VirtAddr::new(own.load(Relaxed))) }.ok_or(IrqchipError::NoRedistributor)
}

/// Readies this CPU's redistributor and its system registers.
pub(super) fn init_cpu(redistributor: &RedistributorFrame) -> Result<(), IrqchipError> {
    let RedistributorFrame { own, private, .. } = redistributor;
    own.waker.modify(GICR_WAKER::PROCESSOR_SLEEP::CLEAR);
    wait_clear(&own.waker, GICR_WAKER::CHILDREN_ASLEEP)?;
    disable_lpis(own)?;
    let extended = own.typer.read(GICR_TYPER::PPI_NUM).min(MAX_PPI_WORDS);
    for n in 0..=extended as usize {
        quiesce(private.quiescing(), n);
        private.igroupr[n].set(ALL);
    }
    private.set_private_priorities();
    wait_clear(&own.ctlr, GICR_CTLR::RWP)?;
    init_system_registers()
}

/// Stops this CPU's LPIs where a boot loader has left them on: the redistributor writes their pending
/// bits into memory that the boot loader had given it, and that the kernel gives to others (Linux:
/// redist_disable_lpis).
fn disable_lpis(own: &RedistributorPage) -> Result<(), IrqchipError> {
    let ctlr = own.ctlr.extract();
    if !ctlr.is_set(GICR_CTLR::ENABLE_LPIS) {
        return Ok(());
    }
    own.ctlr.modify_no_read(ctlr, GICR_CTLR::ENABLE_LPIS::CLEAR);
    wait_clear(&own.ctlr, GICR_CTLR::RWP)?;
    // An implementation may keep them on for good (Arm IHI 0069, GICR_CTLR.EnableLPIs).
    if own.ctlr.is_set(GICR_CTLR::ENABLE_LPIS) {
        log::warn!("GICv3: the boot loader's LPIs can't be disabled, and write to memory");
    }
    Ok(())
}

impl GicV3 {
    /// Waits until the distributor has done what was written.
    pub(super) fn wait(&self) -> Result<(), IrqchipError> {
        wait_clear(&self.distributor.ctlr, GICD_CTLR::RWP)
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
