//! `page_alloc::free_pages`: a page is freed under its owner, and its next owner is a second one.
#![no_std]
#![forbid(unsafe_code)]

use granule::addr::Order;
use granule::mm::page_alloc::{OwnedPage, free_pages};

pub fn two_owners(page: &mut OwnedPage) -> &mut [u8] {
    free_pages(page.frame(), Order::ZERO); //~ E0133
    page.bytes_mut()
}
