//! `page_alloc::put_page`: a reference is given back that is another's.
#![no_std]
#![forbid(unsafe_code)]

use granule::mm::page_alloc::{Pages, put_page};

pub fn another_s(block: &Pages) {
    put_page(block.frame()); //~ E0133
}
