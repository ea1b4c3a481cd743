//! `DmaMapping`: the CPU uses no bytes while they are a device's.
#![no_std]
#![forbid(unsafe_code)]

use granule::dma::{DmaDevice, DmaMapping};

pub fn while_mapped<'a>(device: &DmaDevice<'a>, bytes: &'a mut [u8]) -> Option<DmaMapping<'a>> {
    let mapping = DmaMapping::from_device(device, bytes).ok()?;
    bytes.fill(1); //~ E0499
    Some(mapping)
}

pub fn kept_after_the_loan(mut mapping: DmaMapping<'_>) -> u8 {
    let lent = mapping.for_cpu();
    let bytes = lent.bytes();
    drop(lent); //~ E0505
    bytes[0]
}
