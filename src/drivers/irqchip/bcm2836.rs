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
use crate::arch::aarch64::smp;
use crate::drivers::mmio::Registers;

/// The controller of four cores.
pub(super) struct Bcm2836(Registers);

/// Bytes of registers.
pub const BYTES: u64 = 0x100;

const CONTROL: usize = 0x00;
const PRESCALER: usize = 0x08;
/// The prescaler's value for each tick of the crystal to be one of the counter.
const PRESCALER_ONE: u32 = 1 << 31;

const CORES: u64 = 4;
/// Of each core, a word: which of its timers interrupt it (3:0), as FIQ (7:4).
const TIMER_CONTROL: usize = 0x40;
/// Which of its mailboxes do.
const MAILBOX_CONTROL: usize = 0x50;
/// What is pending: lines 0 to 3 the timers', 4 to 7 the mailboxes', then the rest.
const IRQ_SOURCE: usize = 0x60;
/// Of each core, four words: sets bits of its mailboxes.
const MAILBOX_SET: usize = 0x80;
/// Reads and clears bits of its mailboxes.
const MAILBOX_CLEAR: usize = 0xc0;

const TIMER_LINES: u32 = 4;
const MAILBOX_LINE: u32 = 4;
/// Where the controller's own lines begin among the numbers of private interrupts.
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
    IRQCHIP.call_once(|| Irqchip::Bcm2836(Bcm2836(registers)));
    Ok(())
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
        self.0.write(MAILBOX_CLEAR + 16 * core, u32::MAX);
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
            let sent = self.0.read(MAILBOX_CLEAR + 16 * core);
            self.0.write(MAILBOX_CLEAR + 16 * core, sent);
            (0..FIRST_LINE).filter(|sgi| sent >> sgi & 1 != 0).for_each(&mut f);
        }
    }
}
