//! `kernel_map_pages` and `set_direct_map_*`: hide pages that others use.
#![no_std]
#![forbid(unsafe_code)]

use granule::addr::Order;
use granule::mm::page::Frame;
use granule::mm::set_memory;

pub fn hide(frame: Frame) -> bool {
    let done;
    done = set_memory::kernel_map_pages(frame, Order::ZERO, false); //~ E0133
    done
}

pub fn hide_without_flush(frame: Frame) {
    let owed;
    owed = set_memory::set_direct_map_invalid_noflush(frame); //~ E0133
    let _ = owed;
    let owed;
    owed = set_memory::set_direct_map_default_noflush(frame); //~ E0133
    let _ = owed;
}
