//! Writes to free pages, on the running kernel.
//!
//! Command line: page_poison=on page_owner=on

#![no_std]
#![no_main]

extern crate alloc;

mod harness;
#[path = "harness/reports.rs"]
mod reports;
#[path = "harness/says.rs"]
mod says;

use alloc::format;
use arrayvec::{ArrayString, ArrayVec};
use granule::addr::Order;
use granule::mm::alloc_pages::alloc_pages;
use granule::mm::debug::PAGE_POISON;
use granule::mm::gfp::Gfp;
use granule::mm::page::Frame;
use granule::mm::page_alloc::free_pages;
use says::assert_says;

#[inline(never)]
fn allocate_here() -> Frame {
    alloc_pages(Gfp::GFP_KERNEL, Order::ZERO).expect("memory")
}

#[inline(never)]
fn free_there(frame: Frame) {
    // SAFETY: allocated here, and nobody uses it any more.
    unsafe { free_pages(frame, Order::ZERO) };
    // No tail call: this function is to be in the stack.
    core::hint::black_box(frame);
}

/// A byte of a page, whoever has it.
fn byte(frame: Frame, at: usize) -> *mut u8 {
    core::ptr::with_exposed_provenance_mut((frame.virt() + at).get())
}

/// A page that was allocated here, and freed there, and is among the next to be allocated.
fn freed() -> Frame {
    let frame = allocate_here();
    free_there(frame);
    frame
}

/// The report when `frame`, which was freed a short while ago and nobody has got since, is
/// allocated again.
fn report_of(frame: Frame) -> ArrayString<4096> {
    let mut others = ArrayVec::<Frame, 64>::new();
    let text = reports::of(|| {
        while others.last() != Some(&frame) {
            others.push(allocate_here());
        }
    });
    others.into_iter().for_each(free_there);
    text
}

kernel_tests! {
    fn what_was_in_a_page_is_gone() {
        let frame = allocate_here();
        // SAFETY: the page is this test's.
        unsafe { byte(frame, 0).write_bytes(0x55, 4096) };
        free_there(frame);
        for at in 0..4096 {
            // SAFETY: RAM of the linear map; nobody writes it while it is free.
            assert_eq!(unsafe { byte(frame, at).read_volatile() }, PAGE_POISON, "byte {at}");
        }
        assert_eq!(report_of(frame).as_str(), "");
    }

    fn a_write_after_free_is_reported() {
        let frame = freed();
        // SAFETY: not sound, and meant so.
        unsafe { byte(frame, 0x123).write_bytes(0x11, 20) };
        let (text, again) = (report_of(frame), report_of(frame));
        assert_eq!(again.as_str(), "", "it was told once");
        assert_says(&text, &[
            &format!("pagealloc: memory corruption at {}, 20 bytes", frame.virt() + 0x123),
            &format!("PFN {:#x}", frame.pfn().get()),
            &format!("{:016x}: 11 11 11", frame.virt().get() + 0x123),
            &format!("{:016x}: 11 11 11 11\n", frame.virt().get() + 0x133),
            "last allocated via order 0", "allocate_here+", "last free pid", "free_there+",
        ]);
    }

    fn a_flipped_bit_is_told_apart() {
        let frame = freed();
        // SAFETY: not sound, and meant so.
        unsafe { byte(frame, 4095).write_volatile(PAGE_POISON ^ 0x10) };
        let text = report_of(frame);
        assert_says(&text, &[
            &format!("pagealloc: single bit error at {}, 1 bytes", frame.virt() + 4095),
            "free_there+",
        ]);
    }

    fn each_page_of_a_block_is_checked() {
        let order = Order::new(3).expect("an order");
        let frame = alloc_pages(Gfp::GFP_KERNEL, order).expect("memory");
        // SAFETY: allocated here, and nobody uses it any more.
        unsafe { free_pages(frame, order) };
        let damaged = frame.within(order, 7);
        // SAFETY: not sound, and meant so.
        unsafe { byte(damaged, 8).write_volatile(0) };
        let mut again = None;
        let text = reports::of(|| again = alloc_pages(Gfp::GFP_KERNEL, order));
        assert_eq!(again, Some(frame));
        assert_says(&text, &[&format!("memory corruption at {}", damaged.virt() + 8)]);
        // SAFETY: allocated here, and nobody uses it any more.
        unsafe { free_pages(frame, order) };
    }
}
