//! `SlotPage::from_address`: with `VaSpace::donate` any memory becomes a table of numbers.
#![no_std]
#![forbid(unsafe_code)]

use granule::mm::vmalloc::slot_page::SlotPage;

pub fn any(address: usize) -> SlotPage {
    SlotPage::from_address(address) //~ E0133
}
