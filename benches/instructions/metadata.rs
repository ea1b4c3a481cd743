//! Memory that the kernel takes of RAM to manage it, for `scripts/bench metadata`.
//!
//! Descriptors come to life by section, when its memory is first used, so a kernel that has
//! just booted has not paid for most of its RAM. Here all of RAM is allocated first, down to
//! the last page. What was got is what a machine that uses all its memory has of it; the
//! rest of RAM is the image, reserved memory, page tables, descriptors and what finds them.

use alloc::vec::Vec;
use granule::addr::Order;
use granule::kprintln;
use granule::mm::alloc_pages::alloc_pages;
use granule::mm::gfp::Gfp;
use granule::mm::page_alloc::{ZoneInfo, free_pages, zones};

/// Prints pages of RAM, and those of them that nobody can allocate, as benchmark `name`.
///
/// # Panics
/// Where memory is left that was not brought up, or its figures don't add up.
pub fn run(name: &str) -> u8 {
    // The reserves below the watermarks too, and without reclaim: nothing is in use.
    const GFP: Gfp = Gfp::__GFP_MEMALLOC.union(Gfp::__GFP_NOWARN);
    // An order-10 block each; of smaller ones there are few.
    let blocks = zones().map(|zone| zone.managed).sum::<u32>() / Order::MAX.pages();
    let mut held = Vec::with_capacity(blocks as usize + 4096);
    for order in (0..Order::COUNT as u8).rev().filter_map(Order::new) {
        while held.len() < held.capacity()
            && let Some(frame) = alloc_pages(GFP, order)
        {
            held.push((frame, order));
        }
    }
    let sum = |of: fn(&ZoneInfo) -> u32| zones().map(|zone| of(&zone)).sum::<u32>();
    let (deferred, free) = (sum(|zone| zone.deferred), sum(ZoneInfo::free));
    assert_eq!(deferred, 0, "pages of sections that are not up");
    let allocated: u32 = held.iter().map(|(_, order)| order.pages()).sum();
    let (present, used) = (sum(|zone| zone.present), sum(ZoneInfo::used));
    assert!(allocated <= used && used <= present);
    for (frame, order) in held.drain(..) {
        // SAFETY: allocated here, and nobody uses it any more.
        unsafe { free_pages(frame, order) };
    }
    kprintln!(
        "{{\"bench\":\"{name}\",\"pages\":{present},\"allocated\":{allocated},\"free\":{free},\"taken\":{}}}",
        present - allocated - free
    );
    0
}
