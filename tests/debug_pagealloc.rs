//! Free pages that are not mapped, on the running kernel.
//!
//! Command line: debug_pagealloc=on page_owner=on page_poison=on

#![no_std]
#![no_main]

extern crate alloc;

mod harness;
#[path = "harness/mmu.rs"]
mod mmu;
#[path = "harness/says.rs"]
mod says;

use alloc::format;
use alloc::vec::Vec;
use granule::addr::{Order, PAGE_SIZE};
use granule::mm::alloc_pages::alloc_pages;
use granule::mm::contig::alloc_contig_range;
use granule::mm::debug::{FaultInfo, debug_pagealloc_enabled};
use granule::mm::gfp::Gfp;
use granule::mm::page::Frame;
use granule::mm::page_alloc::{OwnedPage, free_contig_range, free_pages};
use granule::mm::{slab, vmalloc};
use harness::Random;

#[inline(never)]
fn allocate_here(order: Order) -> Frame {
    alloc_pages(Gfp::GFP_KERNEL, order).expect("memory")
}

#[inline(never)]
fn free_there(frame: Frame, order: Order) {
    // SAFETY: allocated here, and nobody uses it any more.
    unsafe { free_pages(frame, order) };
    // No tail call: this function is to be in the stack.
    core::hint::black_box(frame);
}

fn all_mapped(frame: Frame, order: Order, mapped: bool) -> bool {
    let is_mapped = |at| (mmu::read_at(at).is_some(), mmu::write_at(at).is_some());
    frame.block(order).all(|page| is_mapped(page.virt()) == (mapped, mapped))
}

kernel_tests! {
    fn a_page_is_mapped_while_it_is_allocated() {
        assert!(debug_pagealloc_enabled());
        for order in [0, 1, 3, 4, 9] {
            let order = Order::new(order).expect("an order");
            let frame = allocate_here(order);
            assert!(all_mapped(frame, order, true), "allocated, order {order}");
            free_there(frame, order);
            assert!(all_mapped(frame, order, false), "free, order {order}");
        }
    }

    fn a_fault_tells_whose_page_it_was() {
        let frame = allocate_here(Order::ZERO);
        free_there(frame, Order::ZERO);
        let mut text = arrayvec::ArrayString::<4096>::new();
        core::fmt::Write::write_fmt(&mut text, format_args!("{}", FaultInfo(frame.virt() + 77))).expect("room");
        says::assert_says(&text, &[
            ": free,", "debug_pagealloc: it was unmapped when it was freed", "tracks the page as freed",
            "order 0", "allocate_here+", "last free pid", "free_there+",
        ]);
        assert_eq!(format!("{}", FaultInfo(granule::addr::VirtAddr::new(64))), "");
    }

    fn contiguous_ranges_too() {
        let order = Order::new(9).expect("an order");
        let frame = allocate_here(order);
        let range = granule::addr::PfnRange::new(frame.pfn(), frame.pfn() + 512);
        free_there(frame, order);
        if alloc_contig_range(range).is_ok() {
            assert!(all_mapped(frame, order, true));
            // SAFETY: allocated here, and nobody uses it any more.
            unsafe { free_contig_range(range) };
        }
        assert!(all_mapped(frame, order, false));
    }

    /// Whatever takes pages off the lists finds them mapped, and nobody touches them before.
    fn all_of_memory_comes_and_goes() {
        let mut random = Random::new(7);
        let mut pages: Vec<(OwnedPage, u8)> = Vec::new();
        for step in 0..3000u32 {
            if pages.len() < 400 && random.below(3) != 0 {
                let mut page = OwnedPage::alloc(Gfp::GFP_KERNEL).expect("memory");
                page.bytes_mut()[step as usize % PAGE_SIZE] = step as u8;
                pages.push((page, step as u8));
            } else if !pages.is_empty() {
                let (page, mark) = pages.swap_remove(random.below(pages.len()));
                assert!(page.bytes().contains(&mark));
            }
            if step % 500 == 0 {
                slab::shrink_all();
                vmalloc::shrink();
                granule::mm::page_alloc::drain_all_pages();
            }
        }
    }
}
