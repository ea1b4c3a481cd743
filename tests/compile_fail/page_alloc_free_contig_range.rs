//! `page_alloc::free_contig_range`: a range is freed under its owner.
#![no_std]
#![forbid(unsafe_code)]

use granule::addr::PfnRange;
use granule::mm::page_alloc::free_contig_range;

pub fn any(range: PfnRange) {
    free_contig_range(range); //~ E0133
}
