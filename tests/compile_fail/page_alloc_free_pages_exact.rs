//! `page_alloc::free_pages_exact`: pages are freed under their owner.
#![no_std]
#![forbid(unsafe_code)]

use granule::mm::page_alloc::{OwnedPage, free_pages_exact};

pub fn under_its_owner(page: &OwnedPage) {
    free_pages_exact(page.frame(), 4096); //~ E0133
}
