//! `dma::dma_free_contiguous`: a device's memory is given back under its owner.
#![no_std]
#![forbid(unsafe_code)]

use granule::firmware::fdt::Node;
use granule::mm::cma::CmaPages;
use granule::dma::dma_free_contiguous;

pub fn under_its_owner(device: &Node<'_>, pages: &CmaPages) -> bool {
    dma_free_contiguous(device, pages.frame(), 4096) //~ E0133
}
