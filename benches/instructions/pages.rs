//! The page allocator.

use crate::batch_names;
use crate::harness::{Bench, OPERATIONS, slots};
use core::hint::black_box;
use granule::addr::Order;
use granule::arch::irq::with_masked;
use granule::mm::alloc_pages::{alloc_pages, alloc_pages_bulk};
use granule::mm::gfp::Gfp;
use granule::mm::page::Frame;
use granule::mm::page_alloc::{free_pages, free_pages_bulk};

const GFP: Gfp = Gfp::GFP_KERNEL;

/// Takes all free blocks below the largest for good, so that the figures don't depend on what the
/// boot has left free: a batch of blocks of 16 KiB takes between 60 and 74 instructions a block,
/// as the smaller ones happen to lie.
pub fn hold_small_blocks() {
    let gfp = Gfp::GFP_ATOMIC | Gfp::__GFP_MEMALLOC | Gfp::__GFP_NOWARN;
    let mut large = slots(1024);
    for slot in &mut large {
        *slot = alloc_pages(gfp, Order::MAX);
    }
    assert!(large.last().is_some_and(Option::is_none), "more large blocks than slots");
    let small = core::iter::from_fn(|| alloc_pages(gfp, Order::ZERO)).count();
    assert!(small > 0, "no small block was free");
    for frame in large.into_iter().flatten() {
        // SAFETY: allocated here, and nobody uses it any more.
        unsafe { free_pages(frame, Order::MAX) };
    }
}

/// Blocks of one order, a pair and a batch.
macro_rules! order {
    ($bench:expr, $slots:expr, $name:literal, $order:literal) => {{
        const ORDER: Order = Order::new($order).unwrap();
        $bench.masked_pair(concat!($name, "_pair"), || {
            if let Some(frame) = black_box(alloc_pages(GFP, ORDER)) {
                // SAFETY: allocated here, and nobody uses it any more.
                unsafe { free_pages(frame, ORDER) };
            }
        });
        let alloc = || black_box(alloc_pages(GFP, ORDER));
        // SAFETY: allocated here, and nobody uses it any more.
        let free = |frame| unsafe { free_pages(frame, ORDER) };
        $bench.masked_batch(batch_names!($name), $slots, alloc, free);
    }};
}

/// Single pages, filled with zeros.
fn zeroed(bench: &Bench, slots: &mut [Option<Frame>]) {
    let alloc = || black_box(alloc_pages(GFP | Gfp::__GFP_ZERO, Order::ZERO));
    // SAFETY: allocated here, and nobody uses it any more.
    let free = |frame| unsafe { free_pages(frame, Order::ZERO) };
    bench.masked_pair("get_zeroed_page_pair", || {
        if let Some(frame) = alloc() {
            free(frame);
        }
    });
    bench.masked_batch(batch_names!("get_zeroed_page"), slots, alloc, free);
}

/// Many single pages in one call, and freed in one; per page.
macro_rules! bulk {
    ($bench:expr, $slots:expr, $n:literal) => {
        with_masked(|_| {
            $bench.halves(
                [
                    concat!("alloc_pages_bulk_", $n, "_alloc_per_page"),
                    concat!("alloc_pages_bulk_", $n, "_free_per_page"),
                ],
                $n,
                &mut $slots[..$n],
                |pages| assert_eq!(alloc_pages_bulk(GFP, black_box(pages)), $n),
                |pages| free_pages_bulk(pages),
            );
        })
    };
}

/// All of this file.
pub fn run(bench: &Bench) {
    let mut slots = slots(OPERATIONS);
    order!(bench, &mut slots, "alloc_pages_o0", 0);
    order!(bench, &mut slots, "alloc_pages_o1", 1);
    order!(bench, &mut slots, "alloc_pages_o2", 2);
    order!(bench, &mut slots, "alloc_pages_o3", 3);
    order!(bench, &mut slots, "alloc_pages_o4", 4);
    order!(bench, &mut slots[..256], "alloc_pages_o9", 9);
    order!(bench, &mut slots[..128], "alloc_pages_o10", 10);
    zeroed(bench, &mut slots);
    let mut pages = crate::harness::slots(OPERATIONS);
    bulk!(bench, pages, 8);
    bulk!(bench, pages, 64);
    bulk!(bench, pages, 256);
    bulk!(bench, pages, 1000);
}
