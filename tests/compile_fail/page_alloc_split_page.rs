//! `page_alloc::split_page`: a block is taken apart under its owner, who frees the first page and keeps the rest for good.
#![no_std]
#![forbid(unsafe_code)]

use granule::mm::page_alloc::{Pages, split_page};

pub fn under_its_owner(block: &Pages) {
    split_page(block.frame(), block.order()); //~ E0133
}
