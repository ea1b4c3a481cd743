//! `Page`: descriptors are read from without; whoever writes one gives a page to two owners.
#![no_std]
#![forbid(unsafe_code)]

use granule::mm::page::{Frame, PageFlags};

pub fn forged(frame: Frame, other: Frame) -> u32 {
    let page = frame.page();
    page.set_owner(1); //~ E0624
    page.set_next(Some(other)); //~ E0624
    page.set_prev(Some(other)); //~ E0624
    page.set_private(1); //~ E0624
    page.set_refcount(1); //~ E0624
    page.set_slab_word(1); //~ E0624
    page.add_flags(PageFlags::MOVABLE); //~ E0624
    page.remove_flags(PageFlags::MOVABLE); //~ E0624
    let _ = (other, PageFlags::MOVABLE);
    page.refcount()
}
