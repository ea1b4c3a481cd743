//! GICv2: a distributor whose registers of private interrupts are banked, and a CPU interface
//! in memory, banked too.

use super::{
    ALL, CTLR, ICENABLER0, ITARGETSR0, Private, QUIESCING, identify, quiesce,
    set_private_priorities, shared_words,
};
use crate::addr::VirtAddr;
use crate::drivers::irqchip::{IRQCHIP, Irqchip, IrqchipError};
use crate::drivers::mmio::Registers;
use core::arch::asm;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// A GICv2.
pub(in crate::drivers::irqchip) struct GicV2 {
    pub(super) distributor: Registers,
    pub(super) interface: Registers,
}

/// The distributor: sends software-generated interrupts, and forgets those that are pending (a
/// byte of senders for each).
const GICD_SGIR: usize = 0xf00;
const GICD_CPENDSGIR0: usize = 0xf10;
/// The CPU interface.
const GICC_CTLR: usize = 0x00;
const GICC_PMR: usize = 0x04;
const GICC_IAR: usize = 0x0c;
const GICC_EOIR: usize = 0x10;
const GICC_RPR: usize = 0x14;
const GICC_APR0: usize = 0xd0;
const GICC_IIDR: usize = 0xfc;
/// GICC_IIDR: the version of the architecture.
const GICC_IIDR_ARCH_SHIFT: u32 = 16;
/// The end of a block of 4 KiB.
const PIDR2: usize = 0xfe8;
/// Ends of interrupts that nobody took, until a CPU interface is idle.
const ENDS: usize = 32;

/// Uses a GICv2 with its distributor and CPU interface mapped at these addresses, 4 KiB
/// of each at least. Boot CPU, once.
///
/// # Errors
/// `NotThere`.
///
/// # Safety
/// They are mappings of such registers, if any are there, as device memory that stays,
/// and nothing else uses them.
pub unsafe fn init(distributor: VirtAddr, interface: VirtAddr) -> Result<(), IrqchipError> {
    // SAFETY: as the caller says.
    let (distributor, interface) =
        unsafe { (Registers::new(distributor), Registers::new(interface)) };
    identify(distributor, PIDR2, 1..=2)?;
    interface.probe(GICC_CTLR).ok_or(IrqchipError::NotThere)?;
    distributor.write(CTLR, 0);
    shared_words(distributor).for_each(|n| quiesce(distributor, QUIESCING, n));
    // Bit 0 enables the group that this security state sees as its own.
    distributor.write(CTLR, 1);
    let gic = GicV2 { distributor, interface };
    IRQCHIP.call_once(|| Irqchip::Gic(super::Gic::V2(gic)));
    Ok(())
}

impl GicV2 {
    /// Readies this CPU's interface; its target byte goes to `target`.
    pub(super) fn init_cpu(&self, target: &AtomicUsize) -> Result<(), IrqchipError> {
        let (distributor, interface) = (self.distributor, self.interface);
        target.store(usize::from(self.own_target()), Relaxed);
        interface.write(GICC_CTLR, 0);
        distributor.write(ICENABLER0, ALL);
        interface.write(GICC_PMR, 0xff);
        self.drop_active_priorities()?;
        quiesce(distributor, QUIESCING, 0);
        for i in 0..4 {
            distributor.write(GICD_CPENDSGIR0 + 4 * i, ALL);
        }
        set_private_priorities(distributor);
        // No EOImode: the end of an interrupt deactivates it.
        interface.write(GICC_CTLR, 1);
        Ok(())
    }

    /// Signals no interrupt to this CPU any more.
    pub(super) fn close_cpu(&self) {
        self.interface.write(GICC_CTLR, 0);
    }

    /// Forgets the priorities of interrupts that were taken and never ended: nothing of theirs
    /// or below would be signalled (Linux: gic_cpu_if_up).
    fn drop_active_priorities(&self) -> Result<(), IrqchipError> {
        let interface = self.interface;
        if interface.read(GICC_IIDR) >> GICC_IIDR_ARCH_SHIFT & 0xf == 2 {
            (0..4).for_each(|i| interface.write(GICC_APR0 + 4 * i, 0));
        }
        // The lowest priority reads as the mask does, whose lower bits may not be there. QEMU
        // looks at the active priorities anew when an interrupt ends.
        let lowest = interface.read(GICC_PMR) & 0xff;
        let is_idle = || interface.read(GICC_RPR) >= lowest;
        for _ in 0..ENDS {
            if is_idle() {
                return Ok(());
            }
            interface.write(GICC_EOIR, 0);
        }
        if is_idle() { Ok(()) } else { Err(IrqchipError::Stuck) }
    }

    /// The byte with a bit for this CPU's interface, by which interrupts are sent to it: that of
    /// each of its private interrupts, which read as 0 on a GIC of one CPU (Linux:
    /// gic_get_cpumask).
    pub(super) fn own_target(&self) -> u8 {
        let words = (0..8).map(|i| self.distributor.read(ITARGETSR0 + 4 * i));
        let bytes = words.flat_map(u32::to_le_bytes);
        bytes.into_iter().find(|&byte| byte != 0).unwrap_or(1)
    }

    pub(super) fn send(&self, sgi: Private, target: u8) {
        self.distributor.write(GICD_SGIR, u32::from(target) << 16 | u32::from(sgi.0));
    }

    pub(super) fn end(&self, acknowledged: u32) {
        self.interface.write(GICC_EOIR, acknowledged);
    }
}

/// Takes the pending interrupt of highest priority. What its sender stored before it sent is
/// visible afterwards: nothing else orders the read of the register against those of memory
/// (Linux: gic_handle_irq).
#[inline(never)]
pub(super) fn acknowledge(interface: Registers) -> u32 {
    let acknowledged = interface.read(GICC_IAR);
    // SAFETY: a barrier.
    unsafe { asm!("dmb ishld", options(nostack, preserves_flags)) };
    acknowledged
}
