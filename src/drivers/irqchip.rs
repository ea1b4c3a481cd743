//! The interrupt controller: GICv2 or GICv3 (the crate `arm-gic`), behind the few
//! calls that the kernel needs.

use crate::addr::VirtAddr;
use crate::arch::aarch64::smp;
use crate::arch::{CpuId, IrqMasked};
use crate::sync::{Once, Rank, SpinLock};
use arm_gic::gicv2::{self, GicV2};
use arm_gic::gicv3::registers::{Gicd, GicrSgi};
use arm_gic::gicv3::{self, GicCpuInterface, GicV3, SgiTargetGroup};
use arm_gic::{IntId, InterruptGroup, UniqueMmioPointer};
use core::ptr::{NonNull, with_exposed_provenance_mut};

/// A private interrupt of a CPU: software-generated (0 to 15) or peripheral (16 to 31).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Private(u8);

impl Private {
    /// Software-generated interrupt `n`, below 16.
    #[must_use]
    pub const fn sgi(n: u8) -> Self {
        assert!(n < 16);
        Self(n)
    }
    /// The private interrupt numbered `id` by the GIC; `None` if it is not one.
    #[must_use]
    pub fn from_id(id: u32) -> Option<Self> {
        u8::try_from(id).ok().filter(|&n| n < 32).map(Self)
    }
    fn id(self) -> IntId {
        if self.0 < 16 { IntId::sgi(self.0.into()) } else { IntId::ppi(u32::from(self.0) - 16) }
    }
}

/// Why there is no interrupt controller.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IrqchipError {
    /// The registers are not what a GIC has.
    NotAGic,
    /// No redistributor belongs to this CPU.
    NoRedistributor,
    /// The interrupt can't be enabled.
    CannotEnable,
}

/// GICv3's distributor and redistributors take a lock; its CPU interface is registers.
/// Of GICv2 all is memory, but the CPU interface's is banked by CPU.
enum Irqchip {
    V2 { gic: SpinLock<GicV2<'static>>, interface: VirtAddr },
    V3 { gic: SpinLock<GicV3<'static>>, redistributors: usize },
}

static IRQCHIP: Once<Irqchip> = Once::new();

/// GICC_IAR and GICC_EOIR.
const GICC_IAR: usize = 0x0c;
const GICC_EOIR: usize = 0x10;
/// What a GIC answers where nothing is pending.
const SPURIOUS: u32 = 1020;
/// Priority of all interrupts: in the middle, above the mask.
const PRIORITY: u8 = 0xa0;

/// Uses a GICv2 with its distributor and CPU interface mapped at these addresses.
/// Boot CPU, once.
///
/// # Safety
/// They are mappings of such registers as device memory that stay, and nothing else
/// uses them.
pub unsafe fn init_v2(distributor: VirtAddr, interface: VirtAddr) {
    // SAFETY: as the caller says.
    let mut gic = unsafe {
        GicV2::new(
            with_exposed_provenance_mut(distributor.get()),
            with_exposed_provenance_mut(interface.get()),
        )
    };
    gic.enable_all_interrupts(false);
    gic.setup();
    // Without the security state's view, bit 0 of the control register enables the
    // group that this state owns, whichever that is.
    gic.enable_group0(true);
    IRQCHIP.call_once(|| Irqchip::V2 { gic: SpinLock::new(Rank::Irqchip, gic), interface });
}

/// Bytes of a GICv3 redistributor without virtual LPIs.
pub const REDISTRIBUTOR_BYTES: usize = 2 * 64 << 10;
/// GICR_TYPER, the bits that say that a redistributor has pages for virtual LPIs too,
/// and that it is the last of its region.
const GICR_TYPER: usize = 0x08;
const GICR_TYPER_VLPIS: u64 = 1 << 1;
const GICR_TYPER_LAST: u64 = 1 << 4;

/// How many redistributors there are in a region of `bytes` mapped at `base`: behind the
/// last there may be nothing that answers.
///
/// # Safety
/// As for [`init_v3`].
unsafe fn count_redistributors(base: VirtAddr, bytes: usize) -> usize {
    let (mut at, mut count) = (0, 0);
    while at + REDISTRIBUTOR_BYTES <= bytes {
        let typer = with_exposed_provenance_mut::<u64>((base + at + GICR_TYPER).get());
        // SAFETY: the registers of a redistributor, as the one before it said that it is
        // not the last.
        let typer = unsafe { typer.read_volatile() };
        count += 1;
        if typer & GICR_TYPER_LAST != 0 {
            break;
        }
        at += REDISTRIBUTOR_BYTES << u32::from(typer & GICR_TYPER_VLPIS != 0);
    }
    count
}

/// Uses a GICv3 with its distributor and a region of `bytes` of redistributors mapped
/// at these addresses. Boot CPU, once.
///
/// # Errors
/// [`IrqchipError::NotAGic`].
///
/// # Safety
/// As for [`init_v2`].
pub unsafe fn init_v3(
    distributor: VirtAddr,
    redistributor: VirtAddr,
    bytes: usize,
) -> Result<(), IrqchipError> {
    // SAFETY: as the caller says.
    let redistributors = unsafe { count_redistributors(redistributor, bytes) };
    if redistributors == 0 {
        return Err(IrqchipError::NoRedistributor);
    }
    let gicd = NonNull::new(with_exposed_provenance_mut::<Gicd>(distributor.get()));
    let gicr = NonNull::new(with_exposed_provenance_mut::<GicrSgi>(redistributor.get()));
    let (Some(gicd), Some(gicr)) = (gicd, gicr) else {
        return Err(IrqchipError::NotAGic);
    };
    // SAFETY: as the caller says.
    let gic = unsafe { GicV3::new(UniqueMmioPointer::new(gicd), gicr, redistributors) };
    let mut gic = gic.map_err(|_| IrqchipError::NotAGic)?;
    gic.setup(0);
    IRQCHIP.call_once(|| Irqchip::V3 { gic: SpinLock::new(Rank::Irqchip, gic), redistributors });
    Ok(())
}

/// Whether there is an interrupt controller.
pub fn present() -> bool {
    IRQCHIP.is_completed()
}

/// Readies this CPU's interface. On each CPU, once.
///
/// # Errors
/// [`IrqchipError::NoRedistributor`].
pub fn init_cpu(irq: &IrqMasked) -> Result<(), IrqchipError> {
    match IRQCHIP.get() {
        None => Ok(()),
        Some(Irqchip::V2 { gic, .. }) => {
            // The same writes as `setup`'s, to this CPU's banked registers.
            let mut gic = gic.lock(irq);
            gic.setup();
            gic.enable_group0(true);
            Ok(())
        }
        Some(Irqchip::V3 { gic, redistributors }) => {
            let mut gic = gic.lock(irq);
            let own = own_redistributor(&mut gic, *redistributors)?;
            gic.init_cpu(own);
            GicCpuInterface::set_priority_mask(0xff);
            GicCpuInterface::enable_group1(true);
            Ok(())
        }
    }
}

fn own_redistributor(gic: &mut GicV3<'_>, count: usize) -> Result<usize, IrqchipError> {
    (0..count)
        .find(|&n| gic.gicr_typer(n).is_ok_and(|typer| typer.core_mpidr() == smp::mpidr()))
        .ok_or(IrqchipError::NoRedistributor)
}

/// Enables a private interrupt of this CPU.
///
/// # Errors
/// There is no controller, or it refuses.
pub fn enable(private: Private, irq: &IrqMasked) -> Result<(), IrqchipError> {
    let id = private.id();
    match IRQCHIP.get() {
        None => Err(IrqchipError::NotAGic),
        Some(Irqchip::V2 { gic, .. }) => {
            let mut gic = gic.lock(irq);
            gic.set_interrupt_priority(id, PRIORITY);
            gic.enable_interrupt(id, true).map_err(|_| IrqchipError::CannotEnable)
        }
        Some(Irqchip::V3 { gic, redistributors }) => {
            let mut gic = gic.lock(irq);
            let own = Some(own_redistributor(&mut gic, *redistributors)?);
            gic.set_interrupt_priority(id, own, PRIORITY)
                .and_then(|()| gic.set_group(id, own, gicv3::Group::Group1NS))
                .and_then(|()| gic.enable_interrupt(id, own, true))
                .map_err(|_| IrqchipError::CannotEnable)
        }
    }
}

/// Interrupts CPU `to` with software-generated interrupt `sgi`. What was stored
/// before is visible to its handler.
pub fn send(sgi: Private, to: CpuId, irq: &IrqMasked) {
    crate::arch::mmu::dsb_ishst();
    match IRQCHIP.get() {
        None => {}
        Some(Irqchip::V2 { gic, .. }) => gic.lock(irq).send_sgi(
            sgi.id(),
            gicv2::SgiTarget::List {
                target_list_filter: gicv2::SgiTargetListFilter::CPUTargetList,
                // GICv2 numbers its CPU interfaces by Aff0.
                target_list: 1 << (smp::affinity(to) & 7),
            },
        ),
        Some(Irqchip::V3 { .. }) => {
            let affinity = smp::affinity(to).to_le_bytes();
            let target = gicv3::SgiTarget::List {
                affinity3: affinity[4],
                affinity2: affinity[2],
                affinity1: affinity[1],
                target_list: 1 << (affinity[0] & 15),
            };
            // An error would say that it is no SGI.
            let _ = GicCpuInterface::send_sgi(sgi.id(), target, SgiTargetGroup::CurrentGroup1);
        }
    }
}

/// Handles what is pending on this CPU: `f` with the GIC's number of each interrupt.
/// For the IRQ vector.
pub fn handle(_irq: &IrqMasked, mut f: impl FnMut(u32)) {
    match IRQCHIP.get() {
        None => {}
        Some(Irqchip::V2 { interface, .. }) => loop {
            let iar = with_exposed_provenance_mut::<u32>((*interface + GICC_IAR).get());
            // SAFETY: `init_v2`'s caller mapped the registers; this one is banked by CPU.
            let value = unsafe { iar.read_volatile() };
            if value & 0x3ff >= SPURIOUS {
                break;
            }
            f(value & 0x3ff);
            let eoir = with_exposed_provenance_mut::<u32>((*interface + GICC_EOIR).get());
            // SAFETY: as above. An SGI's sender goes back with its number.
            unsafe { eoir.write_volatile(value) };
        },
        Some(Irqchip::V3 { .. }) => {
            let group = InterruptGroup::Group1;
            while let Some(id) = GicCpuInterface::get_and_acknowledge_interrupt(group) {
                if u32::from(id) >= SPURIOUS && u32::from(id) < 1024 {
                    break;
                }
                f(id.into());
                GicCpuInterface::end_interrupt(id, group);
            }
        }
    }
}
