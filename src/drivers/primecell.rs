//! Identification of Arm's PrimeCells, at the end of a device's page (Arm DDI 0183, 3.3.17 and
//! 3.3.18; Linux: drivers/amba/bus.c).

use super::mmio::{Probe, ReadOnly, block};
use crate::addr::VirtAddr;
use tock_registers::register_structs;

register_structs! {
    PrimeCell {
        (0x00 => periph_id: [ReadOnly<u32>; 4]),
        (0x10 => cell_id: [ReadOnly<u32>; 4]),
        (0x20 => @END),
    }
}

/// Place of the identification among the registers.
const PRIMECELL: usize = 0xfe0;
/// PCellID0 to 3 of every PrimeCell.
const CELL_ID: [u32; 4] = [0x0d, 0xf0, 0x05, 0xb1];

/// Returns true if a PrimeCell with this part number, of 12 bits, is at `base`. Its designer and
/// its revision may be any.
///
/// # Safety
/// `base` is a mapping of a page of device registers that stays.
pub(super) unsafe fn is_primecell(base: VirtAddr, part: u32) -> bool {
    // SAFETY: in the page, as the caller says.
    let Some(primecell) = (unsafe { block::<PrimeCell>(base + PRIMECELL) }) else { return false };
    let says = |register: &ReadOnly<u32>, mask: u32, value: u32| {
        register.probe().is_some_and(|id| id & mask == value)
    };
    let part = [(0xff, part & 0xff), (0x0f, part >> 8)];
    primecell.periph_id.iter().zip(part).all(|(register, (mask, id))| says(register, mask, id))
        && primecell.cell_id.iter().zip(CELL_ID).all(|(register, id)| says(register, 0xff, id))
}
