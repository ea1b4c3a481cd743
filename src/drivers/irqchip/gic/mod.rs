//! The Generic Interrupt Controller: GICv2 ([`v2`], Arm IHI 0048) or GICv3 ([`v3`], Arm IHI
//! 0069).
//!
//! Of the registers, the distributor's are shared. The rest belong to one CPU: banked
//! (GICv2), its redistributor's and system registers (GICv3).
//!
//! Nothing is known of the state that firmware or a boot loader left: interrupts may be enabled,
//! pending, or taken and never ended. All that is undone before the first interrupt is let in.

mod registers;
pub mod v2;
pub mod v3;

use super::{IrqchipError, Private, Shared};
use crate::arch::smp;
use crate::arch::{CpuId, IrqMasked};
use crate::drivers::mmio::{Probe, ReadOnly, ReadWrite};
use crate::per_cpu;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use registers::{Bits, GICC_IAR, GICD_TYPER, InterruptRegisters, PIDR2};
use tock_registers::RegisterLongName;
use tock_registers::fields::Field;
use tock_registers::interfaces::{Readable, Writeable};

/// A GIC.
pub(super) enum Gic {
    V2(v2::GicV2),
    V3(v3::GicV3),
}

per_cpu! {
    /// Identity of the CPU for the controller: the byte by which a GICv2 sends to it, or the
    /// address of a GICv3's redistributor; 0 before it is known.
    static OWN: AtomicUsize = AtomicUsize::new(0);
}

/// Reads after which a register that should change is given up.
const PATIENCE: u32 = 1 << 22;

/// Numbers that a GIC answers where nothing is pending: 1020 to 1023.
const SPECIAL: core::ops::RangeInclusive<u32> = 1020..=1023;
/// The priority of all interrupts, above the mask, in each byte of a register.
const PRIORITIES: u32 = 0xa0a0_a0a0;
/// All of a word of interrupts.
const ALL: u32 = u32::MAX;

/// Checks that a block of registers says by its PIDR2 to be of a GIC of such a version.
fn identify(
    pidr2: &ReadOnly<u32, PIDR2::Register>,
    versions: core::ops::RangeInclusive<u32>,
) -> Result<(), IrqchipError> {
    let version = pidr2.probe().map(|pidr2| PIDR2::ARCH_REV.read(pidr2));
    let is_one = version.is_some_and(|version| versions.contains(&version));
    if is_one { Ok(()) } else { Err(IrqchipError::NotThere) }
}

/// Waits until a field of a register is clear.
fn wait_clear<R: RegisterLongName>(
    register: &impl Readable<T = u32, R = R>,
    field: Field<u32, R>,
) -> Result<(), IrqchipError> {
    let clear = (0..PATIENCE).any(|_| !register.is_set(field));
    if clear { Ok(()) } else { Err(IrqchipError::Stuck) }
}

/// Registers that disable interrupts, and forget that they are pending or active.
type Quiescing<'a> = [&'a Bits; 3];

/// Disables the 32 interrupts of word `n`, and forgets that they are pending or active.
fn quiesce(registers: Quiescing<'_>, n: usize) {
    for register in registers {
        register[n].set(ALL);
    }
}

impl InterruptRegisters {
    const fn quiescing(&self) -> Quiescing<'_> {
        [&self.icenabler, &self.icpendr, &self.icactiver]
    }

    /// Gives the private interrupts their priority.
    fn set_private_priorities(&self) {
        for register in &self.ipriorityr[..8] {
            register.set(PRIORITIES);
        }
    }
}

/// The words of shared interrupts that a distributor has.
fn shared_words(typer: &ReadOnly<u32, GICD_TYPER::Register>) -> core::ops::RangeInclusive<usize> {
    1..=typer.read(GICD_TYPER::IT_LINES_NUMBER) as usize
}

/// A field of several bits in a word, replaced.
fn update(register: &ReadWrite<u32>, mask: u32, value: u32) {
    register.set(register.get() & !mask | value);
}

impl Gic {
    pub(super) fn init_cpu(&self, irq: &IrqMasked) -> Result<(), IrqchipError> {
        match self {
            Self::V2(gic) => gic.init_cpu(OWN.get(irq)),
            Self::V3(_) => v3::init_cpu(v3::redistributor(OWN.get(irq))?),
        }
    }

    pub(super) fn close_cpu(&self, irq: &IrqMasked) {
        match self {
            Self::V2(gic) => gic.close_cpu(),
            Self::V3(_) if self.private(irq).is_ok() => v3::close_cpu(),
            Self::V3(_) => {}
        }
    }

    /// The registers of this CPU's private interrupts.
    fn private(&self, irq: &IrqMasked) -> Result<&'static InterruptRegisters, IrqchipError> {
        match self {
            Self::V2(gic) => Ok(&gic.distributor.interrupts),
            Self::V3(_) => Ok(&v3::redistributor(OWN.get(irq))?.private),
        }
    }

    /// The registers of shared interrupts.
    const fn shared(&self) -> &'static InterruptRegisters {
        match self {
            Self::V2(gic) => &gic.distributor.interrupts,
            Self::V3(gic) => &gic.distributor.interrupts,
        }
    }

    pub(super) fn enable(&self, private: Private, irq: &IrqMasked) -> Result<(), IrqchipError> {
        let enables = &self.private(irq)?.isenabler[0];
        enables.set(private.bit());
        let enabled = enables.get() & private.bit() != 0;
        if enabled { Ok(()) } else { Err(IrqchipError::CannotEnable) }
    }

    pub(super) fn disable(&self, private: Private, irq: &IrqMasked) {
        if let Ok(registers) = self.private(irq) {
            registers.icenabler[0].set(private.bit());
        }
    }

    pub(super) fn disable_shared(&self, shared: Shared) {
        let (word, bit) = shared.place();
        self.shared().icenabler[word].set(bit);
    }

    pub(super) fn enable_shared(&self, shared: Shared) -> Result<(), IrqchipError> {
        let n = usize::from(shared.0);
        let (word, bit) = shared.place();
        let registers = self.shared();
        let byte = 8 * (n % 4) as u32;
        // It must be off while it is set up (Arm IHI 0048, 4.3.13).
        registers.icenabler[word].set(bit);
        if let Self::V3(gic) = self {
            gic.wait()?;
        }
        update(&registers.ipriorityr[n / 4], 0xff << byte, PRIORITIES & 0xff << byte);
        update(&registers.icfgr[n / 16], 3 << (2 * (n % 16)), 0);
        match self {
            Self::V2(gic) => {
                let own = u32::from(gic.own_target()) << byte;
                update(&registers.itargetsr[n / 4], 0xff << byte, own);
            }
            Self::V3(gic) => {
                update(&registers.igroupr[word], 0, bit);
                gic.distributor.irouter[n].set(smp::mpidr() & 0xff_00ff_ffff);
            }
        }
        let enables = &registers.isenabler[word];
        enables.set(bit);
        let enabled = enables.get() & bit != 0;
        if enabled { Ok(()) } else { Err(IrqchipError::CannotEnable) }
    }

    pub(super) fn send(&self, sgi: Private, to: CpuId) {
        match self {
            Self::V2(gic) => gic.send(sgi, OWN.of(to).load(Relaxed) as u8),
            Self::V3(_) => v3::send(sgi, smp::affinity(to)),
        }
    }

    pub(super) fn handle(&self, mut f: impl FnMut(u32)) {
        match self {
            Self::V2(gic) => loop {
                // An SGI's sender goes back with its number.
                let acknowledged = v2::acknowledge(gic.interface);
                let id = acknowledged.read(GICC_IAR::INTID);
                if SPECIAL.contains(&id) {
                    break;
                }
                f(id);
                gic.end(acknowledged);
            },
            Self::V3(_) => loop {
                let id = v3::acknowledge();
                if SPECIAL.contains(&id) {
                    break;
                }
                f(id);
                v3::end(id);
            },
        }
    }
}
