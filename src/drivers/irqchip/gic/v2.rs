//! GICv2: a distributor whose registers of private interrupts are banked, and a CPU interface
//! in memory, banked too.

use super::registers::{
    CpuInterface, DistributorV2, GICC_CTLR, GICC_IAR, GICC_IIDR, GICD_CTLR_V2, GICD_SGIR, Priority,
};
use super::{ALL, Private, identify, quiesce, shared_words};
use crate::addr::VirtAddr;
use crate::arch::sysreg::dmb_ishld;
use crate::drivers::irqchip::{IRQCHIP, Irqchip, IrqchipError};
use crate::drivers::mmio::{Probe, block};
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use tock_registers::LocalRegisterCopy;
use tock_registers::interfaces::{Readable, Writeable};

/// A GICv2.
pub(in crate::drivers::irqchip) struct GicV2 {
    pub(super) distributor: &'static DistributorV2,
    pub(super) interface: &'static CpuInterface,
}

/// The answer to an acknowledgement: the number of an interrupt, and its sender.
pub(super) type Acknowledged = LocalRegisterCopy<u32, GICC_IAR::Register>;

/// Ends of interrupts that nobody took, until a CPU interface is idle.
const ENDS: usize = 32;

/// Uses a GICv2 with its distributor and CPU interface mapped at these addresses, 4 KiB
/// of the one and 256 bytes of the other at least. Boot CPU, once.
///
/// # Errors
/// `NotThere`.
///
/// # Safety
/// They are mappings of such registers, if any are there, as device memory that stays,
/// and nothing else uses them.
pub unsafe fn init(distributor: VirtAddr, interface: VirtAddr) -> Result<(), IrqchipError> {
    // SAFETY: as the caller says.
    let (distributor, interface): (Option<&DistributorV2>, Option<&CpuInterface>) =
        unsafe { (block(distributor), block(interface)) };
    let distributor = distributor.ok_or(IrqchipError::NotThere)?;
    let interface = interface.ok_or(IrqchipError::NotThere)?;
    identify(&distributor.pidr2, 1..=2)?;
    interface.ctlr.probe().ok_or(IrqchipError::NotThere)?;
    distributor.ctlr.set(0);
    let quiescing = distributor.interrupts.quiescing();
    shared_words(&distributor.typer).for_each(|n| quiesce(quiescing, n));
    distributor.ctlr.write(GICD_CTLR_V2::ENABLE::SET);
    let gic = GicV2 { distributor, interface };
    IRQCHIP.call_once(|| Irqchip::Gic(super::Gic::V2(gic)));
    Ok(())
}

impl GicV2 {
    /// Readies this CPU's interface; its target byte goes to `target`.
    pub(super) fn init_cpu(&self, target: &AtomicUsize) -> Result<(), IrqchipError> {
        let (distributor, interface) = (self.distributor, self.interface);
        target.store(usize::from(self.own_target()), Relaxed);
        interface.ctlr.set(0);
        distributor.interrupts.icenabler[0].set(ALL);
        interface.pmr.write(Priority::PRIORITY::Lowest);
        self.drop_active_priorities()?;
        quiesce(distributor.interrupts.quiescing(), 0);
        distributor.cpendsgir.iter().for_each(|senders| senders.set(ALL));
        distributor.interrupts.set_private_priorities();
        interface.ctlr.write(GICC_CTLR::ENABLE::SET);
        Ok(())
    }

    /// Signals no interrupt to this CPU any more.
    pub(super) fn close_cpu(&self) {
        self.interface.ctlr.set(0);
    }

    /// Forgets the priorities of interrupts that were taken and never ended: nothing of theirs
    /// or below would be signalled (Linux: gic_cpu_if_up).
    fn drop_active_priorities(&self) -> Result<(), IrqchipError> {
        let interface = self.interface;
        if interface.iidr.read(GICC_IIDR::ARCHITECTURE) == 2 {
            interface.apr.iter().for_each(|active| active.set(0));
        }
        // The lowest priority reads as the mask does, whose lower bits may not be there. QEMU
        // looks at the active priorities anew when an interrupt ends.
        let lowest = interface.pmr.read(Priority::PRIORITY);
        let is_idle = || interface.rpr.get() >= lowest;
        for _ in 0..ENDS {
            if is_idle() {
                return Ok(());
            }
            interface.eoir.set(0);
        }
        if is_idle() { Ok(()) } else { Err(IrqchipError::Stuck) }
    }

    /// The byte with a bit for this CPU's interface, by which interrupts are sent to it: that of
    /// each of its private interrupts, which read as 0 on a GIC of one CPU (Linux:
    /// gic_get_cpumask).
    pub(super) fn own_target(&self) -> u8 {
        let words = self.distributor.interrupts.itargetsr[..8].iter().map(Readable::get);
        let bytes = words.flat_map(u32::to_le_bytes);
        bytes.into_iter().find(|&byte| byte != 0).unwrap_or(1)
    }

    pub(super) fn send(&self, sgi: Private, target: u8) {
        let to = GICD_SGIR::CPU_TARGET_LIST.val(target.into());
        self.distributor.sgir.write(to + GICD_SGIR::INTID.val(sgi.0.into()));
    }

    pub(super) fn end(&self, acknowledged: Acknowledged) {
        self.interface.eoir.set(acknowledged.get());
    }
}

/// Takes the pending interrupt of highest priority. What its sender stored before it sent is
/// visible afterwards: nothing else orders the read of the register against those of memory
/// (Linux: gic_handle_irq).
#[inline(never)]
pub(super) fn acknowledge(interface: &CpuInterface) -> Acknowledged {
    let acknowledged = interface.iar.extract();
    dmb_ishld();
    acknowledged
}
