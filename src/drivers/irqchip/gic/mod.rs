//! The Generic Interrupt Controller: GICv2 ([`v2`], Arm IHI 0048) or GICv3 ([`v3`], Arm IHI
//! 0069).
//!
//! Of the registers, the distributor's are shared. The rest belong to one CPU: banked
//! (GICv2), its redistributor's and system registers (GICv3).
//!
//! Nothing is known of the state that firmware or a boot loader left: interrupts may be enabled,
//! pending, or taken and never ended. All that is undone before the first interrupt is let in.

pub mod v2;
pub mod v3;

use super::{IrqchipError, Private, Shared};
use crate::arch::smp;
use crate::arch::{CpuId, IrqMasked, NR_CPUS, cpu};
use crate::drivers::mmio::Registers;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// A GIC.
pub(super) enum Gic {
    V2(v2::GicV2),
    V3(v3::GicV3),
}

/// Identity of each CPU for the controller: the byte by which a GICv2 sends to it, or the
/// address of a GICv3's redistributor; 0 before it is known.
static OWN: [AtomicUsize; NR_CPUS] = [const { AtomicUsize::new(0) }; NR_CPUS];

// Registers of both distributors and, for private interrupts, of the SGI page of a
// GICv3's redistributor: a bit for each interrupt, or a byte for its priority.
const CTLR: usize = 0x000;
const TYPER: usize = 0x004;
const IGROUPR0: usize = 0x080;
const ISENABLER0: usize = 0x100;
const ICENABLER0: usize = 0x180;
const ICPENDR0: usize = 0x280;
const ICACTIVER0: usize = 0x380;
const IPRIORITYR0: usize = 0x400;
/// Distributors': which CPUs get a shared interrupt (GICv2: a byte each; GICv3: 8 bytes), and
/// whether its edge counts (2 bits each).
const ITARGETSR0: usize = 0x800;
const ICFGR0: usize = 0xc00;
const IROUTER0: usize = 0x6000;

/// GICD_TYPER: interrupts, in words of 32, less one.
const TYPER_IT_LINES: u32 = 0x1f;
const PIDR2_ARCH_REV_SHIFT: u32 = 4;
/// Reads after which a register that should change is given up.
const PATIENCE: u32 = 1 << 22;

/// Numbers that a GIC answers where nothing is pending: 1020 to 1023.
const SPECIAL: core::ops::RangeInclusive<u32> = 1020..=1023;
/// The priority of all interrupts, above the mask, in each byte of a register.
const PRIORITIES: u32 = 0xa0a0_a0a0;
/// All of a word of interrupts.
const ALL: u32 = u32::MAX;

/// Checks that a block of registers says at `pidr2` to be of a GIC of such a version.
fn identify(
    block: Registers,
    pidr2: usize,
    versions: core::ops::RangeInclusive<u32>,
) -> Result<(), IrqchipError> {
    let version = block.probe(pidr2).map(|pidr2| pidr2 >> PIDR2_ARCH_REV_SHIFT & 0xf);
    let is_one = version.is_some_and(|version| versions.contains(&version));
    if is_one { Ok(()) } else { Err(IrqchipError::NotThere) }
}

/// Waits until `bits` of a register are clear.
fn wait_clear(block: Registers, offset: usize, bits: u32) -> Result<(), IrqchipError> {
    let clear = (0..PATIENCE).any(|_| block.read(offset) & bits == 0);
    if clear { Ok(()) } else { Err(IrqchipError::Stuck) }
}

/// Registers that disable interrupts, and forget that they are pending or active.
type Quiescing = [usize; 3];
const QUIESCING: Quiescing = [ICENABLER0, ICPENDR0, ICACTIVER0];

/// Disables the 32 interrupts of word `n`, and forgets that they are pending or active.
fn quiesce(block: Registers, registers: Quiescing, n: usize) {
    for register in registers {
        block.write(register + 4 * n, ALL);
    }
}

/// The words of shared interrupts that a distributor has.
fn shared_words(distributor: Registers) -> core::ops::RangeInclusive<usize> {
    1..=(distributor.read(TYPER) & TYPER_IT_LINES) as usize
}

/// Gives the private interrupts of this CPU their priority.
fn set_private_priorities(block: Registers) {
    for i in 0..8 {
        block.write(IPRIORITYR0 + 4 * i, PRIORITIES);
    }
}

/// A field of several bits in a word, replaced.
fn update(block: Registers, offset: usize, mask: u32, value: u32) {
    block.write(offset, block.read(offset) & !mask | value);
}

impl Gic {
    pub(super) fn init_cpu(&self, irq: &IrqMasked) -> Result<(), IrqchipError> {
        match self {
            Self::V2(gic) => gic.init_cpu(&OWN[cpu::id(irq).index()]),
            Self::V3(_) => v3::init_cpu(self.private(irq)?),
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
    fn private(&self, irq: &IrqMasked) -> Result<Registers, IrqchipError> {
        match self {
            Self::V2(gic) => Ok(gic.distributor),
            Self::V3(_) => v3::own_sgi_page(&OWN[cpu::id(irq).index()]),
        }
    }

    fn distributor(&self) -> Registers {
        match self {
            Self::V2(gic) => gic.distributor,
            Self::V3(gic) => gic.distributor,
        }
    }

    pub(super) fn enable(&self, private: Private, irq: &IrqMasked) -> Result<(), IrqchipError> {
        let enables = self.private(irq)?;
        enables.write(ISENABLER0, private.bit());
        let enabled = enables.read(ISENABLER0) & private.bit() != 0;
        if enabled { Ok(()) } else { Err(IrqchipError::CannotEnable) }
    }

    pub(super) fn disable(&self, private: Private, irq: &IrqMasked) {
        if let Ok(block) = self.private(irq) {
            block.write(ICENABLER0, private.bit());
        }
    }

    pub(super) fn disable_shared(&self, shared: Shared) {
        let (of_32, bit) = shared.place();
        self.distributor().write(ICENABLER0 + of_32, bit);
    }

    pub(super) fn enable_shared(&self, shared: Shared) -> Result<(), IrqchipError> {
        let n = usize::from(shared.0);
        let (of_32, bit) = shared.place();
        let distributor = self.distributor();
        let byte = 8 * (n % 4) as u32;
        // It must be off while it is set up (Arm IHI 0048, 4.3.13).
        distributor.write(ICENABLER0 + of_32, bit);
        if let Self::V3(gic) = self {
            gic.wait()?;
        }
        update(distributor, IPRIORITYR0 + (n & !3), 0xff << byte, PRIORITIES & 0xff << byte);
        update(distributor, ICFGR0 + 4 * (n / 16), 3 << (2 * (n % 16)), 0);
        match self {
            Self::V2(gic) => {
                let own = u32::from(gic.own_target()) << byte;
                update(distributor, ITARGETSR0 + (n & !3), 0xff << byte, own);
            }
            Self::V3(_) => {
                update(distributor, IGROUPR0 + of_32, 0, bit);
                let affinity = smp::mpidr() & 0xff_00ff_ffff;
                distributor.write_u64(IROUTER0 + 8 * n, affinity);
            }
        }
        distributor.write(ISENABLER0 + of_32, bit);
        let enabled = distributor.read(ISENABLER0 + of_32) & bit != 0;
        if enabled { Ok(()) } else { Err(IrqchipError::CannotEnable) }
    }

    pub(super) fn send(&self, sgi: Private, to: CpuId) {
        match self {
            Self::V2(gic) => gic.send(sgi, OWN[to.index()].load(Relaxed) as u8),
            Self::V3(_) => v3::send(sgi, smp::affinity(to)),
        }
    }

    pub(super) fn handle(&self, mut f: impl FnMut(u32)) {
        match self {
            Self::V2(gic) => loop {
                // An SGI's sender goes back with its number.
                let acknowledged = v2::acknowledge(gic.interface);
                if SPECIAL.contains(&(acknowledged & 0x3ff)) {
                    break;
                }
                f(acknowledged & 0x3ff);
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
