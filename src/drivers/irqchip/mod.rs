//! The interrupt controller: private interrupts, which are the timer's and those that CPUs
//! send each other, and of a GIC the devices' too. A GIC ([`gic`]), or the one that belongs to
//! the cores of the Raspberry Pi 2 and 3 ([`bcm2836`]).
//!
//! Registers are 32-bit words of device memory. Those that CPUs share are written by
//! single stores; the rest belong to one CPU. So there is no lock.

pub mod bcm2836;
pub mod gic;

use crate::arch::{CpuId, IrqMasked, mmu};
use crate::sync::Once;
use bcm2836::Bcm2836;
use core::fmt;
use gic::Gic;

/// A private interrupt of a CPU, as a GIC numbers them: software-generated (0 to 15) or
/// peripheral (16 to 31).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Private(u8);

impl Private {
    /// Software-generated interrupt `n`, below 16.
    #[must_use]
    pub const fn sgi(n: u8) -> Self {
        assert!(n < 16);
        Self(n)
    }
    /// The private interrupt numbered `id`; `None` if it is not one.
    #[must_use]
    pub fn from_id(id: u32) -> Option<Self> {
        u8::try_from(id).ok().filter(|&n| n < 32).map(Self)
    }
    const fn bit(self) -> u32 {
        1 << self.0
    }
}

/// A device's interrupt, as a GIC numbers them (Arm: shared peripheral interrupt).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shared(u16);

impl Shared {
    /// The device's interrupt numbered `id`; `None` if it is not one.
    #[must_use]
    pub fn from_id(id: u32) -> Option<Self> {
        u16::try_from(id).ok().filter(|id| (32..1020).contains(id)).map(Self)
    }
    /// Position of its bit among those of all interrupts: the number of a word, and a mask
    /// within that word.
    const fn place(self) -> (usize, u32) {
        (self.0 as usize / 32, 1 << (self.0 % 32))
    }
}

/// Reason why this CPU has no interrupts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IrqchipError {
    /// No controller was found.
    None,
    /// No controller answers at its registers, or another device does.
    NotThere,
    /// The controller did not finish a write in a long time.
    Stuck,
    /// The CPU has no system registers for a GICv3, or what is above EL1 keeps them.
    NoSystemRegisters,
    /// No redistributor belongs to this CPU.
    NoRedistributor,
    /// The controller serves four cores, and this CPU is none of them.
    NotServed,
    /// The interrupt can't be enabled.
    CannotEnable,
    /// The interrupt has as many handlers as there can be, or this one already.
    Busy,
    /// The calling CPU is not the boot CPU, which alone handles devices' interrupts.
    NotBootCpu,
}

impl fmt::Display for IrqchipError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "there is no interrupt controller",
            Self::NotThere => "no interrupt controller answers at its registers",
            Self::Stuck => "the interrupt controller did not finish a write",
            Self::NoSystemRegisters => "the CPU has no system registers for a GICv3",
            Self::NoRedistributor => "no redistributor belongs to this CPU",
            Self::NotServed => "the interrupt controller does not serve this CPU",
            Self::CannotEnable => "the interrupt can't be enabled",
            Self::Busy => "the interrupt has this handler already, or no room for another",
            Self::NotBootCpu => "devices' interrupts are handled by the boot CPU alone",
        })
    }
}

impl core::error::Error for IrqchipError {}

enum Irqchip {
    Gic(Gic),
    Bcm2836(Bcm2836),
}

static IRQCHIP: Once<Irqchip> = Once::new();

/// Returns true if there is an interrupt controller.
pub fn present() -> bool {
    IRQCHIP.is_completed()
}

/// Readies this CPU's interface, with all its private interrupts disabled. On each CPU,
/// once.
///
/// # Errors
/// What the CPU lacks.
pub fn init_cpu(irq: &IrqMasked) -> Result<(), IrqchipError> {
    match IRQCHIP.get().ok_or(IrqchipError::None)? {
        Irqchip::Gic(gic) => gic.init_cpu(irq),
        Irqchip::Bcm2836(local) => local.init_cpu(),
    }
}

/// Closes this CPU's interface, if it was opened: no interrupt reaches the CPU any more.
pub fn close_cpu(irq: &IrqMasked) {
    match IRQCHIP.get() {
        Some(Irqchip::Gic(gic)) => gic.close_cpu(irq),
        // All its interrupts are disabled again.
        Some(Irqchip::Bcm2836(local)) => drop(local.init_cpu()),
        None => {}
    }
}

/// Enables a private interrupt of this CPU, once its interface is ready.
///
/// # Errors
/// There is no controller, or it refuses.
pub fn enable(private: Private, irq: &IrqMasked) -> Result<(), IrqchipError> {
    match IRQCHIP.get().ok_or(IrqchipError::None)? {
        Irqchip::Gic(gic) => gic.enable(private, irq),
        Irqchip::Bcm2836(local) => local.enable(private),
    }
}

/// Enables a device's interrupt, which is level-sensitive, for this CPU alone. Boot CPU: the
/// registers are shared.
///
/// # Errors
/// There is no controller that has such interrupts, or it refuses.
pub fn enable_shared(shared: Shared, _irq: &IrqMasked) -> Result<(), IrqchipError> {
    match IRQCHIP.get().ok_or(IrqchipError::None)? {
        Irqchip::Gic(gic) => gic.enable_shared(shared),
        Irqchip::Bcm2836(_) => Err(IrqchipError::CannotEnable),
    }
}

/// Disables an interrupt that this CPU handles, private or a device's; those that other CPUs
/// send can't be on some controllers, and come to an end by themselves.
pub fn disable(id: u32, irq: &IrqMasked) {
    match (IRQCHIP.get(), Private::from_id(id), Shared::from_id(id)) {
        (Some(Irqchip::Gic(gic)), Some(private), _) => gic.disable(private, irq),
        (Some(Irqchip::Gic(gic)), _, Some(shared)) => gic.disable_shared(shared),
        (Some(Irqchip::Bcm2836(local)), Some(private), _) => local.disable(private),
        _ => {}
    }
}

/// Interrupts CPU `to` with software-generated interrupt `sgi`. What was stored
/// before is visible to its handler.
pub fn send(sgi: Private, to: CpuId, _irq: &IrqMasked) {
    mmu::dsb_ishst();
    match IRQCHIP.get() {
        None => {}
        Some(Irqchip::Gic(gic)) => gic.send(sgi, to),
        Some(Irqchip::Bcm2836(local)) => local.send(sgi, to),
    }
}

/// Handles what is pending on this CPU: `f` with the number of each interrupt, as
/// [`Private::from_id`] or [`Shared::from_id`] takes it. For the IRQ vector.
pub fn handle(_irq: &IrqMasked, f: impl FnMut(u32)) {
    match IRQCHIP.get() {
        None => {}
        Some(Irqchip::Gic(gic)) => gic.handle(f),
        Some(Irqchip::Bcm2836(local)) => local.handle(f),
    }
}
