//! Reading memory that may not be there, for fault reports: no word that is read here is
//! trusted to be mapped, or to be memory.

use super::image;
use super::sysreg::{at_s1e1r, dmb_sy, isb};
use crate::addr::{PhysAddr, VirtAddr};
use crate::arch::pgtable::explain::Bases;
use crate::arch::{IrqMasked, layout, phys_to_virt};
use aarch64_cpu::registers::{PAR_EL1, Readable, TTBR0_EL1};
use core::ptr::with_exposed_provenance;

/// PAR_EL1.PA.
const PAR_PA: u64 = 0x0000_ffff_ffff_f000;
/// PAR_EL1.ATTR, as an `Attr` field of MAIR_EL1: a zero in its upper half is Device memory.
const PAR_ATTR_SHIFT: u32 = 56;

/// Returns whether a read of `va` would find a translation now, memory or not.
#[must_use]
pub fn is_mapped(va: VirtAddr, _irq: &IrqMasked) -> bool {
    !PAR_EL1::F.is_set(translate(va))
}

/// The frame of memory that `va` leads to, as the MMU finds it; `None` where a read would
/// fault, or would be one of a device's registers. `AT` takes no exception for what is
/// mapped nowhere (Arm ARM C6.2.20 AT, D24.2.130 PAR_EL1). It does where a table is
/// outside of memory, as any access to `va` would.
#[must_use]
pub fn memory_at(va: VirtAddr, _irq: &IrqMasked) -> Option<PhysAddr> {
    let par = translate(va);
    let is_memory = !PAR_EL1::F.is_set(par) && par >> PAR_ATTR_SHIFT & 0xf0 != 0;
    is_memory.then_some(PhysAddr::new(par & PAR_PA))
}

/// PAR_EL1 for a read of `va`. With interrupts masked: nobody else uses the register then.
fn translate(va: VirtAddr) -> u64 {
    at_s1e1r(va.get() as u64);
    isb();
    // A Cortex-A77 wants barriers round the read (erratum 1508412).
    dmb_sy();
    let par = PAR_EL1.get();
    dmb_sy();
    par
}

/// The word at `va`, a multiple of 8; `None` where there is none that can be read.
#[must_use]
pub fn read_u64(va: VirtAddr, irq: &IrqMasked) -> Option<u64> {
    if !va.is_aligned(8) {
        return None;
    }
    memory_at(va, irq)?;
    // SAFETY: 8 aligned bytes of a page that was found to be mapped memory just now; any
    // bytes are a u64.
    Some(unsafe { with_exposed_provenance::<u64>(va.get()).read_volatile() })
}

/// The word at `pa`, a multiple of 8: through the linear map, or, in the image, through
/// its own. `None` where neither has that RAM.
#[must_use]
pub fn read_phys(pa: PhysAddr, irq: &IrqMasked) -> Option<u64> {
    let frame = PhysAddr::new(pa.get() & PAR_PA);
    let leads_there = |va: VirtAddr| memory_at(va, irq) == Some(frame);
    let linear = phys_to_virt(pa);
    let image = image::all_phys();
    if layout::LINEAR.contains(linear) && leads_there(linear) {
        return read_u64(linear, irq);
    }
    if !image.contains(pa) {
        return None;
    }
    let own = layout::KIMAGE.start() + (pa - image.start()) as usize;
    if leads_there(own) { read_u64(own, irq) } else { None }
}

/// The registers that say where this CPU's walks begin.
#[must_use]
pub fn bases() -> Bases {
    Bases { tcr: super::paging::tcr(), ttbr0: TTBR0_EL1.get(), ttbr1: super::paging::ttbr1() }
}
