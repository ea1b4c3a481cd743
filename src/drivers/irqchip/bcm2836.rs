//! The interrupt controller that belongs to the cores of the BCM2836 and BCM2837
//! (Raspberry Pi 2 and 3; Broadcom, Quad-A7 control, QA7_rev3.4; Linux:
//! drivers/irqchip/irq-bcm2836.c).
//!
//! Each core has four lines for its timers, and four mailboxes: a bit that is set in a
//! mailbox interrupts its core until the core clears it. Mailbox 0 carries the
//! software-generated interrupts, a bit each.

use super::{IRQCHIP, Irqchip, IrqchipError, Private};
use crate::addr::VirtAddr;
use crate::arch::CpuId;
use crate::arch::smp;
use crate::arch::sysreg::dsb_sy;
use crate::drivers::mmio::{Probe, ReadOnly, ReadWrite, WriteOnly, block};
use tock_registers::interfaces::{Readable, Writeable};
use tock_registers::{register_bitfields, register_structs};

/// The controller of four cores.
pub(super) struct Bcm2836(&'static LocalPeripherals);

/// Bytes of registers.
pub const BYTES: u64 = size_of::<LocalPeripherals>() as u64;

const CORES: usize = 4;
const MAILBOXES: usize = 4;

register_structs! {
    LocalPeripherals {
        (0x00 => control: ReadWrite<u32>),
        (0x04 => _reserved_04),
        (0x08 => prescaler: ReadWrite<u32>),
        (0x0c => _others),
        /// Clears the cores that the performance counters interrupt.
        (0x14 => pmu_routing_clear: WriteOnly<u32>),
        (0x18 => _reserved_18),
        /// Lets outstanding AXI accesses interrupt.
        (0x30 => axi_irq: ReadWrite<u32>),
        /// The timer that all cores share.
        (0x34 => local_timer: ReadWrite<u32>),
        (0x38 => local_timer_clear: WriteOnly<u32, LOCAL_TIMER_CLEAR::Register>),
        (0x3c => _reserved_3c),
        /// A core's timers that interrupt as IRQ (3:0) and as FIQ (7:4).
        (0x40 => timer_control: [ReadWrite<u32>; CORES]),
        /// A core's mailboxes that interrupt, likewise.
        (0x50 => mailbox_control: [ReadWrite<u32>; CORES]),
        /// A core's pending interrupts: lines 0 to 3 are the timers', 4 to 7 the mailboxes', then
        /// the rest.
        (0x60 => irq_source: [ReadOnly<u32>; CORES]),
        (0x70 => _fiq_source),
        /// Sets bits of a core's mailboxes.
        (0x80 => mailbox_set: [[WriteOnly<u32>; MAILBOXES]; CORES]),
        /// A core's mailboxes; clears the bits that are written.
        (0xc0 => mailbox_clear: [[ReadWrite<u32>; MAILBOXES]; CORES]),
        (0x100 => @END),
    },

    /// The controller of the devices (Broadcom, BCM2835 ARM Peripherals, 7; Linux:
    /// drivers/irqchip/irq-bcm2835.c), whose interrupt is a line of this one.
    ArmControl {
        (0x00 => _pending),
        /// Device that has the FIQ.
        (0x0c => fiq: ReadWrite<u32>),
        (0x10 => _enable),
        (0x1c => disable: [WriteOnly<u32>; 3]),
        (0x28 => @END),
    }
}

register_bitfields! { u32,
    LOCAL_TIMER_CLEAR [
        /// The timer has expired.
        EXPIRED OFFSET(31) NUMBITS(1) [],
        RELOAD OFFSET(30) NUMBITS(1) [],
    ],
}

/// The prescaler's value for each tick of the crystal to be one of the counter.
const PRESCALER_ONE: u32 = 1 << 31;

const TIMER_LINES: u32 = 4;
/// The line of the virtual timer.
pub const VIRTUAL_TIMER_LINE: u32 = 3;
const MAILBOX_LINE: u32 = 4;
const MAILBOX_LAST: u32 = MAILBOX_LINE + MAILBOXES as u32 - 1;
const PMU_LINE: u32 = 9;
const LOCAL_TIMER_LINE: u32 = 11;
/// First of the controller's own lines among the numbers of private interrupts.
const FIRST_LINE: u32 = 16;

/// The number, as [`Private::from_id`] takes it, of the controller's line `line`.
#[must_use]
pub const fn id(line: u32) -> u32 {
    line.saturating_add(FIRST_LINE)
}

/// Uses the controller whose registers are mapped at this address. Boot CPU, once.
///
/// # Errors
/// `NotThere`.
///
/// # Safety
/// It is a mapping of such registers, if they are there, as device memory that stays, and
/// nothing else uses them.
pub unsafe fn init(registers: VirtAddr) -> Result<(), IrqchipError> {
    // SAFETY: as the caller says.
    let registers: Option<&LocalPeripherals> = unsafe { block(registers) };
    let registers = registers.ok_or(IrqchipError::NotThere)?;
    registers.control.probe().ok_or(IrqchipError::NotThere)?;
    // The counters follow the crystal, as CNTFRQ_EL0 says; not every firmware sees to it.
    registers.control.set(0);
    registers.prescaler.set(PRESCALER_ONE);
    quiesce_shared(registers);
    IRQCHIP.call_once(|| Irqchip::Bcm2836(Bcm2836(registers)));
    Ok(())
}

/// Switches off what interrupts a core of the cores' choice.
fn quiesce_shared(registers: &LocalPeripherals) {
    registers.pmu_routing_clear.set(0xff);
    registers.axi_irq.set(0);
    registers.local_timer.set(0);
    registers
        .local_timer_clear
        .write(LOCAL_TIMER_CLEAR::EXPIRED::SET + LOCAL_TIMER_CLEAR::RELOAD::SET);
}

/// Bytes of the registers of the devices' controller.
pub const ARMCTRL_BYTES: u64 = size_of::<ArmControl>() as u64;

/// Disables all interrupts of the devices, which nobody handles. Boot CPU.
///
/// # Safety
/// `registers` is a mapping of [`ARMCTRL_BYTES`] of such registers, if they are there, as device
/// memory.
pub unsafe fn quiesce_armctrl(registers: VirtAddr) {
    // SAFETY: as the caller says; not used beyond this function.
    let Some(registers): Option<&ArmControl> = (unsafe { block(registers) }) else { return };
    if registers.fiq.probe().is_some() {
        registers.fiq.set(0);
        registers.disable.iter().for_each(|disable| disable.set(u32::MAX));
    }
}

/// A core's number, which is its Aff0.
fn core(affinity: u64) -> Result<usize, IrqchipError> {
    let core = (affinity & 0xff) as usize;
    if core < CORES { Ok(core) } else { Err(IrqchipError::NotServed) }
}

impl Bcm2836 {
    pub(super) fn init_cpu(&self) -> Result<(), IrqchipError> {
        let core = core(smp::mpidr())?;
        self.0.timer_control[core].set(0);
        self.0.mailbox_control[core].set(0);
        self.0.mailbox_clear[core].iter().for_each(|mailbox| mailbox.set(u32::MAX));
        Ok(())
    }

    pub(super) fn enable(&self, private: Private) -> Result<(), IrqchipError> {
        let core = core(smp::mpidr())?;
        let (control, bit) = match u32::from(private.0).checked_sub(FIRST_LINE) {
            // All that come by mailbox 0.
            None => (&self.0.mailbox_control[core], 1),
            Some(line) if line < TIMER_LINES => (&self.0.timer_control[core], 1 << line),
            Some(_) => return Err(IrqchipError::CannotEnable),
        };
        control.set(control.get() | bit);
        let enabled = control.get() & bit != 0;
        if enabled { Ok(()) } else { Err(IrqchipError::CannotEnable) }
    }

    /// Disables what comes by a line of this core, or by one of the shared ones. Of the mailbox
    /// that carries the software-generated interrupts none can be disabled alone.
    pub(super) fn disable(&self, private: Private) {
        let Ok(core) = core(smp::mpidr()) else { return };
        let Some(line) = u32::from(private.0).checked_sub(FIRST_LINE) else { return };
        let clear = |control: &ReadWrite<u32>, bit: u32| control.set(control.get() & !bit);
        match line {
            0..TIMER_LINES => clear(&self.0.timer_control[core], 0x11 << line),
            MAILBOX_LINE..=MAILBOX_LAST => {
                clear(&self.0.mailbox_control[core], 0x11 << (line - MAILBOX_LINE))
            }
            PMU_LINE..=LOCAL_TIMER_LINE => quiesce_shared(self.0),
            _ => {}
        }
    }

    pub(super) fn send(&self, sgi: Private, to: CpuId) {
        // One that is not served never enabled it.
        if let Ok(core) = core(smp::affinity(to)) {
            self.0.mailbox_set[core][0].set(sgi.bit());
        }
    }

    pub(super) fn handle(&self, mut f: impl FnMut(u32)) {
        let Ok(core) = core(smp::mpidr()) else { return };
        let source = self.0.irq_source[core].get();
        for line in (0..u32::BITS).filter(|line| source >> line & 1 != 0) {
            if line != MAILBOX_LINE {
                f(id(line));
                continue;
            }
            let sent = take_mailbox(&self.0.mailbox_clear[core][0]);
            (0..FIRST_LINE).filter(|sgi| sent >> sgi & 1 != 0).for_each(&mut f);
        }
    }
}

/// Reads and clears a mailbox. What was stored before a bit was set is visible afterwards; a bit
/// that is set after its clearing interrupts again. So the clearing must have been done before
/// anybody looks for what the interrupt tells of.
#[inline(never)]
fn take_mailbox(mailbox: &ReadWrite<u32>) -> u32 {
    let sent = mailbox.get();
    mailbox.set(sent);
    dsb_sy();
    sent
}
