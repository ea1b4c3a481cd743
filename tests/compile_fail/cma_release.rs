//! `cma::cma_release`: contiguous memory is given back under its owner.
#![no_std]
#![forbid(unsafe_code)]

use granule::mm::cma::{CmaPages, cma_release};

pub fn under_its_owner(pages: &CmaPages) -> bool {
    cma_release(pages.area(), pages.frame(), pages.count()) //~ E0133
}
