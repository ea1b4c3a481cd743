//! `Pages`: owners of blocks can be neither copied nor made from frames.
#![no_std]
#![forbid(unsafe_code)]

use granule::addr::Order;
use granule::mm::page::Frame;
use granule::mm::page_alloc::Pages;

pub fn forged(frame: Frame) -> Pages {
    Pages::from_raw(frame, Order::ZERO) //~ E0133
}

pub fn used_after_its_free(mut block: Pages) -> u8 {
    let bytes = block.bytes_mut();
    drop(block); //~ E0505
    bytes[0]
}
