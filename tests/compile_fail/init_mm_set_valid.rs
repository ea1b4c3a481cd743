//! `init_mm::set_valid` and `set_page_valid`: hide what others use.
#![no_std]
#![forbid(unsafe_code)]

use granule::addr::VirtRange;
use granule::mm::init_mm;

pub fn hide(va: VirtRange) {
    let owed;
    owed = init_mm::set_valid(va, false); //~ E0133
    let _ = owed;
    let owed;
    owed = init_mm::set_page_valid(va.start(), false); //~ E0133
    let _ = owed;
}
