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
use crate::arch::sysreg::{
    ICC_AP1R0_EL1, ICC_AP1R1_EL1, ICC_AP1R2_EL1, ICC_AP1R3_EL1, ICC_CTLR, ICC_CTLR_EL1,
    ICC_EOIR1_EL1, ICC_IAR, ICC_IAR1_EL1, ICC_IGRPEN, ICC_IGRPEN1_EL1, ICC_PMR_EL1, ICC_SGI1R_EL1,
    ICC_SGIR, ICC_SRE, ICC_SRE_EL1, dsb_sy, isb,
};
use crate::drivers::irqchip::{IRQCHIP, Irqchip, IrqchipError};
use crate::drivers::mmio::block;
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
/// # Panics
/// The CPU has no per-CPU data.
///
/// # Safety
/// It is a mapping of [`REDISTRIBUTOR_BYTES`] of such registers as device memory that stays, and
/// nothing else uses them.
pub unsafe fn set_redistributor(cpu: CpuId, frame: Option<VirtAddr>) {
    OWN.of(cpu).store(frame.map_or(0, VirtAddr::get), Relaxed);
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

/// The CPU interface: system registers, for group 1. EL2 left them to EL1 (head.S).
fn init_system_registers() -> Result<(), IrqchipError> {
    if !features::has_gic_system_registers() {
        return Err(IrqchipError::NoSystemRegisters);
    }
    ICC_SRE_EL1.modify(ICC_SRE::SRE::SET);
    isb();
    if !ICC_SRE_EL1.is_set(ICC_SRE::SRE) {
        return Err(IrqchipError::NoSystemRegisters);
    }
    // All priorities pass; the end of an interrupt deactivates it.
    ICC_PMR_EL1.set(0xff);
    ICC_CTLR_EL1.set(0);
    isb();
    drop_active_priorities(ICC_CTLR_EL1.read(ICC_CTLR::PRIbits));
    ICC_IGRPEN1_EL1.write(ICC_IGRPEN::Enable::SET);
    isb();
    Ok(())
}

/// Signals no interrupt to this CPU any more, if it has the registers for that.
pub(super) fn close_cpu() {
    // With SRE set the other register is there.
    if features::has_gic_system_registers() && ICC_SRE_EL1.is_set(ICC_SRE::SRE) {
        ICC_IGRPEN1_EL1.write(ICC_IGRPEN::Enable::CLEAR);
        isb();
    }
}

/// Forgets the priorities of interrupts that were taken and never ended: nothing of theirs or
/// below would be signalled (Linux: gic_cpu_sys_reg_init). How many registers there are, of 32
/// priorities each, goes by the bits of a priority; `pribits` is one less.
fn drop_active_priorities(pribits: u64) {
    if pribits >= 6 {
        ICC_AP1R3_EL1.set(0);
        ICC_AP1R2_EL1.set(0);
    }
    if pribits >= 5 {
        ICC_AP1R1_EL1.set(0);
    }
    ICC_AP1R0_EL1.set(0);
    isb();
}

pub(super) fn send(sgi: Private, affinity: u64) {
    let [a0, a1, a2, _, a3, ..] = affinity.to_le_bytes();
    ICC_SGI1R_EL1.write(
        ICC_SGIR::TargetList.val(1 << (a0 & 15))
            + ICC_SGIR::RS.val((a0 >> 4).into())
            + ICC_SGIR::Aff1.val(a1.into())
            + ICC_SGIR::Aff2.val(a2.into())
            + ICC_SGIR::Aff3.val(a3.into())
            + ICC_SGIR::INTID.val(sgi.0.into()),
    );
    isb();
}

/// Takes the pending interrupt of highest priority. What its sender stored before it sent is
/// visible afterwards (Linux: gic_read_iar).
#[inline(never)]
pub(super) fn acknowledge() -> u32 {
    let id = ICC_IAR1_EL1.read(ICC_IAR::INTID);
    dsb_sy();
    id as u32
}

/// Ends an interrupt that was acknowledged.
pub(super) fn end(id: u32) {
    ICC_EOIR1_EL1.set(id.into());
    isb();
}
