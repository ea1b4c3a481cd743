//! The Generic Interrupt Controller: GICv2 (Arm IHI 0048) or GICv3 (Arm IHI 0069).
//!
//! Of the registers, the distributor's are shared. The rest belong to one CPU: banked
//! (GICv2), its redistributor's and system registers (GICv3).

use super::{IRQCHIP, Irqchip, IrqchipError, Private, Shared};
use crate::addr::VirtAddr;
use crate::arch::aarch64::{features, smp};
use crate::arch::{CpuId, IrqMasked, NR_CPUS, cpu};
use crate::drivers::mmio::Registers;
use core::arch::asm;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// A GIC.
pub(super) enum Gic {
    V2 { distributor: Registers, interface: Registers },
    V3 { distributor: Registers, redistributors: Registers, bytes: usize },
}

/// Each CPU's redistributor, as an offset into the region, plus 1; 0 before it is known.
static OWN: [AtomicUsize; NR_CPUS] = [const { AtomicUsize::new(0) }; NR_CPUS];

// Registers of both distributors and, for private interrupts, of the SGI page of a
// GICv3's redistributor.
const CTLR: usize = 0x000;
const IGROUPR0: usize = 0x080;
const ISENABLER0: usize = 0x100;
const ICENABLER0: usize = 0x180;
const IPRIORITYR0: usize = 0x400;
/// Distributors': which CPUs get a shared interrupt (GICv2: a byte each; GICv3: 8 bytes), and
/// whether its edge counts (2 bits each).
const ITARGETSR0: usize = 0x800;
const ICFGR0: usize = 0xc00;
const IROUTER0: usize = 0x6000;
/// GICv2's distributor: software-generated interrupts.
const GICD_SGIR: usize = 0xf00;
/// GICv2's CPU interface.
const GICC_CTLR: usize = 0x00;
const GICC_PMR: usize = 0x04;
const GICC_IAR: usize = 0x0c;
const GICC_EOIR: usize = 0x10;
/// GICv3's distributor: affinity routing, and both groups of this security state.
const GICD_CTLR_ENABLE_V3: u32 = 1 << 4 | 1 << 1 | 1 << 0;
/// A write is still on its way.
const GICD_CTLR_RWP: u32 = 1 << 31;
const GICR_CTLR_RWP: u32 = 1 << 3;
/// GICv3's redistributor.
const GICR_TYPER: usize = 0x08;
const GICR_TYPER_AFFINITY: usize = 0x0c;
const GICR_TYPER_VLPIS: u32 = 1 << 1;
const GICR_TYPER_LAST: u32 = 1 << 4;
const GICR_WAKER: usize = 0x14;
const GICR_WAKER_PROCESSOR_SLEEP: u32 = 1 << 1;
const GICR_WAKER_CHILDREN_ASLEEP: u32 = 1 << 2;
/// The SGI page of a redistributor, and the bytes of one without virtual LPIs.
const GICR_SGI: usize = 64 << 10;
/// Bytes of a GICv3 redistributor without virtual LPIs.
pub const REDISTRIBUTOR_BYTES: usize = 2 * GICR_SGI;

/// What each block of a GICv2 is, 4 KiB of registers, and each of a GICv3's, 64 KiB, says
/// at its end: the version of the architecture.
const PIDR2_V2: usize = 0xfe8;
const PIDR2_V3: usize = 0xffe8;
const PIDR2_ARCH_REV_SHIFT: u32 = 4;
/// Reads after which a register that should change is given up.
const PATIENCE: u32 = 1 << 22;

/// What a GIC answers where nothing is pending: 1020 to 1023.
const SPECIAL: core::ops::RangeInclusive<u32> = 1020..=1023;
/// The priority of all interrupts, above the mask, in each byte of a register.
const PRIORITIES: u32 = 0xa0a0_a0a0;

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

/// Uses a GICv2 with its distributor and CPU interface mapped at these addresses, 4 KiB
/// of each at least. Boot CPU, once.
///
/// # Errors
/// `NotThere`.
///
/// # Safety
/// They are mappings of such registers, if any are there, as device memory that stays,
/// and nothing else uses them.
pub unsafe fn init_v2(distributor: VirtAddr, interface: VirtAddr) -> Result<(), IrqchipError> {
    // SAFETY: as the caller says.
    let (distributor, interface) =
        unsafe { (Registers::new(distributor), Registers::new(interface)) };
    identify(distributor, PIDR2_V2, 1..=2)?;
    interface.probe(GICC_CTLR).ok_or(IrqchipError::NotThere)?;
    // Bit 0 enables the group that this security state sees as its own.
    distributor.write(CTLR, 1);
    IRQCHIP.call_once(|| Irqchip::Gic(Gic::V2 { distributor, interface }));
    Ok(())
}

/// Uses a GICv3 with its distributor, 64 KiB at least, and a region of `bytes` of
/// redistributors, one at least, mapped at these addresses. Boot CPU, once.
///
/// # Errors
/// `NotThere`, `Stuck`.
///
/// # Safety
/// As for [`init_v2`].
pub unsafe fn init_v3(
    distributor: VirtAddr,
    redistributors: VirtAddr,
    bytes: usize,
) -> Result<(), IrqchipError> {
    // SAFETY: as the caller says.
    let (distributor, redistributors) =
        unsafe { (Registers::new(distributor), Registers::new(redistributors)) };
    identify(distributor, PIDR2_V3, 3..=4)?;
    identify(redistributors, PIDR2_V3, 3..=4)?;
    distributor.write(CTLR, GICD_CTLR_ENABLE_V3);
    wait_clear(distributor, CTLR, GICD_CTLR_RWP)?;
    IRQCHIP.call_once(|| Irqchip::Gic(Gic::V3 { distributor, redistributors, bytes }));
    Ok(())
}

impl Gic {
    pub(super) fn init_cpu(&self, irq: &IrqMasked) -> Result<(), IrqchipError> {
        match self {
            Self::V2 { distributor, interface } => {
                distributor.write(ICENABLER0, u32::MAX);
                for i in 0..8 {
                    distributor.write(IPRIORITYR0 + 4 * i, PRIORITIES);
                }
                interface.write(GICC_PMR, 0xff);
                interface.write(GICC_CTLR, 1);
            }
            Self::V3 { redistributors, bytes, .. } => {
                let offset = own_redistributor(*redistributors, *bytes)?;
                OWN[cpu::id(irq).index()].store(offset + 1, Relaxed);
                let own = redistributors.at(offset);
                own.write(GICR_WAKER, own.read(GICR_WAKER) & !GICR_WAKER_PROCESSOR_SLEEP);
                wait_clear(own, GICR_WAKER, GICR_WAKER_CHILDREN_ASLEEP)?;
                let sgi = own.at(GICR_SGI);
                sgi.write(ICENABLER0, u32::MAX);
                sgi.write(IGROUPR0, u32::MAX);
                for i in 0..8 {
                    sgi.write(IPRIORITYR0 + 4 * i, PRIORITIES);
                }
                wait_clear(own, CTLR, GICR_CTLR_RWP)?;
                icc::init()?;
            }
        }
        Ok(())
    }

    pub(super) fn enable(&self, private: Private, irq: &IrqMasked) -> Result<(), IrqchipError> {
        let enables = match self {
            Self::V2 { distributor, .. } => *distributor,
            Self::V3 { redistributors, .. } => {
                let own = OWN[cpu::id(irq).index()].load(Relaxed);
                let own = own.checked_sub(1).ok_or(IrqchipError::NoRedistributor)?;
                redistributors.at(own + GICR_SGI)
            }
        };
        enables.write(ISENABLER0, private.bit());
        let enabled = enables.read(ISENABLER0) & private.bit() != 0;
        if enabled { Ok(()) } else { Err(IrqchipError::CannotEnable) }
    }

    pub(super) fn enable_shared(&self, shared: Shared) -> Result<(), IrqchipError> {
        let n = usize::from(shared.0);
        let bit = 1u32 << (n % 32);
        let of_32 = 4 * (n / 32);
        let distributor = match self {
            Self::V2 { distributor, .. } | Self::V3 { distributor, .. } => *distributor,
        };
        let update = |offset: usize, mask: u32, value: u32| {
            distributor.write(offset, distributor.read(offset) & !mask | value);
        };
        let byte = 8 * (n % 4) as u32;
        // Firmware may have left it on, and it must be off while it is set up (Arm IHI 0048,
        // 4.3.13).
        distributor.write(ICENABLER0 + of_32, bit);
        if let Self::V3 { .. } = self {
            wait_clear(distributor, CTLR, GICD_CTLR_RWP)?;
        }
        update(IPRIORITYR0 + (n & !3), 0xff << byte, PRIORITIES & 0xff << byte);
        update(ICFGR0 + 4 * (n / 16), 3 << (2 * (n % 16)), 0);
        match self {
            Self::V2 { .. } => {
                // Each of the private ones says which CPU asks, where there are several.
                let own = distributor.read(ITARGETSR0) & 0xff;
                update(ITARGETSR0 + (n & !3), 0xff << byte, own << byte);
            }
            Self::V3 { .. } => {
                update(IGROUPR0 + of_32, 0, bit);
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
            // GICv2 numbers its CPU interfaces by Aff0.
            Self::V2 { distributor, .. } => {
                let target = 1 << (16 + (smp::affinity(to) & 7));
                distributor.write(GICD_SGIR, target | u32::from(sgi.0));
            }
            Self::V3 { .. } => icc::send(sgi, smp::affinity(to)),
        }
    }

    pub(super) fn handle(&self, mut f: impl FnMut(u32)) {
        match self {
            Self::V2 { interface, .. } => loop {
                // An SGI's sender goes back with its number.
                let acknowledged = interface.read(GICC_IAR);
                if SPECIAL.contains(&(acknowledged & 0x3ff)) {
                    break;
                }
                f(acknowledged & 0x3ff);
                interface.write(GICC_EOIR, acknowledged);
            },
            Self::V3 { .. } => loop {
                let id = icc::acknowledge();
                if SPECIAL.contains(&id) {
                    break;
                }
                f(id);
                icc::end(id);
            },
        }
    }
}

/// The offset of this CPU's redistributor: behind the last of the region there may be
/// nothing that answers.
fn own_redistributor(region: Registers, bytes: usize) -> Result<usize, IrqchipError> {
    let [a0, a1, a2, _, a3, ..] = smp::mpidr().to_le_bytes();
    let own = u32::from_le_bytes([a0, a1, a2, a3]);
    let mut at = 0;
    while at + REDISTRIBUTOR_BYTES <= bytes {
        identify(region.at(at), PIDR2_V3, 3..=4)?;
        let typer = region.read(at + GICR_TYPER);
        if region.read(at + GICR_TYPER_AFFINITY) == own {
            return Ok(at);
        }
        if typer & GICR_TYPER_LAST != 0 {
            break;
        }
        at += REDISTRIBUTOR_BYTES << u32::from(typer & GICR_TYPER_VLPIS != 0);
    }
    Err(IrqchipError::NoRedistributor)
}

/// The CPU interface of a GICv3: system registers, for group 1.
mod icc {
    use super::{IrqchipError, Private, asm, features};

    /// ICC_SRE_EL1.SRE.
    const SRE: u64 = 1;

    pub fn init() -> Result<(), IrqchipError> {
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
        // SAFETY: as above. All priorities pass; the end of an interrupt deactivates it.
        unsafe {
            asm!(
                "msr S3_0_C4_C6_0, {mask}",     // ICC_PMR_EL1
                "msr S3_0_C12_C12_4, xzr",      // ICC_CTLR_EL1
                "msr S3_0_C12_C12_7, {enable}", // ICC_IGRPEN1_EL1
                "isb",
                mask = in(reg) 0xffu64,
                enable = in(reg) 1u64,
                options(nostack, preserves_flags)
            );
        }
        Ok(())
    }

    pub fn send(sgi: Private, affinity: u64) {
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

    pub fn acknowledge() -> u32 {
        let id: u64;
        // SAFETY: ICC_IAR1_EL1: takes the pending interrupt.
        unsafe {
            asm!("mrs {}, S3_0_C12_C12_0", "dsb sy", out(reg) id, options(nostack, preserves_flags));
        }
        id as u32 & 0xff_ffff
    }

    pub fn end(id: u32) {
        // SAFETY: ICC_EOIR1_EL1: of an interrupt that was acknowledged.
        unsafe {
            asm!("msr S3_0_C12_C12_1, {}", "isb", in(reg) u64::from(id),
                options(nostack, preserves_flags));
        }
    }
}
