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
use crate::drivers::mmio::Registers;
use core::arch::asm;

/// The controller of four cores.
pub(super) struct Bcm2836(Registers);

/// Bytes of registers.
pub const BYTES: u64 = 0x100;

const CONTROL: usize = 0x00;
const PRESCALER: usize = 0x08;
/// The prescaler's value for each tick of the crystal to be one of the counter.
const PRESCALER_ONE: u32 = 1 << 31;

/// Register that clears the cores that the performance counters interrupt.
const PMU_ROUTING_CLEAR: usize = 0x14;
/// Register that lets outstanding AXI accesses interrupt.
const AXI_IRQ: usize = 0x30;
/// The timer that all cores share, and its flag of being expired.
const LOCAL_TIMER: usize = 0x34;
const LOCAL_TIMER_CLEAR: usize = 0x38;

const CORES: u64 = 4;
/// Registers of one word for each core: its timers that interrupt as IRQ (3:0) and as FIQ (7:4).
const TIMER_CONTROL: usize = 0x40;
/// Registers of one word for each core: its mailboxes that interrupt.
const MAILBOX_CONTROL: usize = 0x50;
/// Registers of one word for each core, of pending interrupts: lines 0 to 3 are the timers', 4
/// to 7 the mailboxes', then the rest.
const IRQ_SOURCE: usize = 0x60;
/// Registers of four words for each core: writes set bits of its mailboxes.
const MAILBOX_SET: usize = 0x80;
/// Registers of four words for each core: reads return its mailboxes, writes clear bits.
const MAILBOX_CLEAR: usize = 0xc0;

const TIMER_LINES: u32 = 4;
/// The line of the virtual timer.
pub const VIRTUAL_TIMER_LINE: u32 = 3;
const MAILBOX_LINE: u32 = 4;
const MAILBOXES: u32 = 4;
const MAILBOX_LAST: u32 = MAILBOX_LINE + MAILBOXES - 1;
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
    let registers = unsafe { Registers::new(registers) };
    registers.probe(CONTROL).ok_or(IrqchipError::NotThere)?;
    // The counters follow the crystal, as CNTFRQ_EL0 says; not every firmware sees to it.
    registers.write(CONTROL, 0);
    registers.write(PRESCALER, PRESCALER_ONE);
    quiesce_shared(registers);
    IRQCHIP.call_once(|| Irqchip::Bcm2836(Bcm2836(registers)));
    Ok(())
}

/// Switches off what interrupts a core of the cores' choice.
fn quiesce_shared(registers: Registers) {
    registers.write(PMU_ROUTING_CLEAR, 0xff);
    registers.write(AXI_IRQ, 0);
    registers.write(LOCAL_TIMER, 0);
    registers.write(LOCAL_TIMER_CLEAR, 3 << 30);
}

/// The controller of the devices (Broadcom, BCM2835 ARM Peripherals, 7; Linux:
/// drivers/irqchip/irq-bcm2835.c), whose interrupt is a line of this one: which device has the
/// FIQ, and what disables them all.
const ARMCTRL_FIQ: usize = 0x0c;
const ARMCTRL_DISABLE: [usize; 3] = [0x1c, 0x20, 0x24];
/// Bytes of its registers.
pub const ARMCTRL_BYTES: u64 = 0x28;

/// Disables all interrupts of the devices, which nobody handles. Boot CPU.
///
/// # Safety
/// `registers` is a mapping of [`ARMCTRL_BYTES`] of such registers, if they are there, as device
/// memory.
pub unsafe fn quiesce_armctrl(registers: VirtAddr) {
    // SAFETY: as the caller says; not used beyond this function.
    let registers = unsafe { Registers::new(registers) };
    if registers.probe(ARMCTRL_FIQ).is_some() {
        registers.write(ARMCTRL_FIQ, 0);
        ARMCTRL_DISABLE.iter().for_each(|&offset| registers.write(offset, u32::MAX));
    }
}

/// A core's number, which is its Aff0.
fn core(affinity: u64) -> Result<usize, IrqchipError> {
    let core = affinity & 0xff;
    if core < CORES { Ok(core as usize) } else { Err(IrqchipError::NotServed) }
}

impl Bcm2836 {
    pub(super) fn init_cpu(&self) -> Result<(), IrqchipError> {
        let core = core(smp::mpidr())?;
        self.0.write(TIMER_CONTROL + 4 * core, 0);
        self.0.write(MAILBOX_CONTROL + 4 * core, 0);
        for mailbox in 0..MAILBOXES as usize {
            self.0.write(MAILBOX_CLEAR + 16 * core + 4 * mailbox, u32::MAX);
        }
        Ok(())
    }

    pub(super) fn enable(&self, private: Private) -> Result<(), IrqchipError> {
        let core = core(smp::mpidr())?;
        let (control, bit) = match u32::from(private.0).checked_sub(FIRST_LINE) {
            // All that come by mailbox 0.
            None => (MAILBOX_CONTROL + 4 * core, 1),
            Some(line) if line < TIMER_LINES => (TIMER_CONTROL + 4 * core, 1 << line),
            Some(_) => return Err(IrqchipError::CannotEnable),
        };
        self.0.write(control, self.0.read(control) | bit);
        let enabled = self.0.read(control) & bit != 0;
        if enabled { Ok(()) } else { Err(IrqchipError::CannotEnable) }
    }

    /// Disables what comes by a line of this core, or by one of the shared ones. Of the mailbox
    /// that carries the software-generated interrupts none can be disabled alone.
    pub(super) fn disable(&self, private: Private) {
        let Ok(core) = core(smp::mpidr()) else { return };
        let Some(line) = u32::from(private.0).checked_sub(FIRST_LINE) else { return };
        let clear = |offset: usize, bit: u32| self.0.write(offset, self.0.read(offset) & !bit);
        match line {
            0..TIMER_LINES => clear(TIMER_CONTROL + 4 * core, 0x11 << line),
            MAILBOX_LINE..=MAILBOX_LAST => {
                clear(MAILBOX_CONTROL + 4 * core, 0x11 << (line - MAILBOX_LINE))
            }
            PMU_LINE..=LOCAL_TIMER_LINE => quiesce_shared(self.0),
            _ => {}
        }
    }

    pub(super) fn send(&self, sgi: Private, to: CpuId) {
        // One that is not served never enabled it.
        if let Ok(core) = core(smp::affinity(to)) {
            self.0.write(MAILBOX_SET + 16 * core, sgi.bit());
        }
    }

    pub(super) fn handle(&self, mut f: impl FnMut(u32)) {
        let Ok(core) = core(smp::mpidr()) else { return };
        let source = self.0.read(IRQ_SOURCE + 4 * core);
        for line in (0..u32::BITS).filter(|line| source >> line & 1 != 0) {
            if line != MAILBOX_LINE {
                f(id(line));
                continue;
            }
            let sent = take_mailbox(self.0.at(MAILBOX_CLEAR + 16 * core));
            (0..FIRST_LINE).filter(|sgi| sent >> sgi & 1 != 0).for_each(&mut f);
        }
    }
}

/// Reads and clears a mailbox. What was stored before a bit was set is visible afterwards; a bit
/// that is set after its clearing interrupts again. So the clearing must have been done before
/// anybody looks for what the interrupt tells of.
#[inline(never)]
fn take_mailbox(mailbox: Registers) -> u32 {
    let sent = mailbox.read(0);
    mailbox.write(0, sent);
    // SAFETY: a barrier.
    unsafe { asm!("dsb sy", options(nostack, preserves_flags)) };
    sent
}
