//! Control: what safe code can do with pages and with a device's memory compiles.
#![no_std]
#![forbid(unsafe_code)]

use granule::addr::Order;
use granule::mm::cma::{CmaPages, default_area};
use granule::dma::{DmaDevice, DmaMapping};
use granule::mm::gfp::Gfp;
use granule::mm::page_alloc::{OwnedPage, PageList, Pages, free_pages_bulk};
use granule::mm::alloc_pages::alloc_pages_bulk;

pub fn blocks() -> Option<u8> {
    let mut block = Pages::alloc(Gfp::GFP_KERNEL, Order::PAGEBLOCK)?;
    block.bytes_mut().fill(1);
    let mut list = PageList::<Pages>::new();
    list.push(block);
    list.push(OwnedPage::alloc(Gfp::GFP_KERNEL)?.into());
    let first = list.pop()?.bytes()[0];
    let mut singles: PageList<OwnedPage> = list.pop()?.split();
    singles.pop().map(|page| page.bytes()[0] + first)
}

pub fn bulk() -> usize {
    let mut pages = [const { None }; 8];
    let got = alloc_pages_bulk(Gfp::GFP_KERNEL, &mut pages);
    free_pages_bulk(&mut pages);
    got
}

pub fn contiguous() -> Option<usize> {
    let mut pages = CmaPages::alloc(default_area()?, 16, Order::ZERO)?;
    pages.bytes_mut().fill(0);
    Some(pages.bytes().len())
}

pub fn streaming(device: &DmaDevice<'_>, page: &mut OwnedPage) -> Option<u8> {
    let mut mapping = DmaMapping::bidirectional(device, page.bytes_mut()).ok()?;
    mapping.for_cpu().bytes_mut()?[0] = 7;
    drop(mapping);
    page.bytes().first().copied()
}
