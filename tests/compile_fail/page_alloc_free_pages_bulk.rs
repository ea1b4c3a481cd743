//! `page_alloc::free_pages_bulk`: it takes owners of pages, not frames.
#![no_std]
#![forbid(unsafe_code)]

use granule::mm::page::Frame;
use granule::mm::page_alloc::{OwnedPage, free_pages_bulk};

pub fn frames(frame: Frame) {
    free_pages_bulk(&mut [Some(frame)]); //~ E0308
}

pub fn forged(frame: Frame) -> OwnedPage {
    OwnedPage::from_raw(frame) //~ E0133
}

pub fn twice(page: OwnedPage) {
    let owners = [Some(page), None];
    free_pages_bulk(&mut { owners });
    drop(owners); //~ E0382
}
