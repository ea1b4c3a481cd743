//! Figures computed by hand for a machine of 16 MiB.
//!
//! Of its 4096 pages the first 33 hold descriptors. What is left, from page 33 on, is a block
//! of each order from 0 to 4 up to page 64, then of orders 6 to 9 up to 1024, then three of
//! order 10: 4063 pages.

use super::*;
use crate::addr::{PhysAddr, PhysRange};
use crate::arch::hosted::Machine;
use crate::mm::alloc_pages::alloc_pages;
use crate::mm::gfp::Gfp;
use crate::mm::page_alloc::{
    Extfrag, ExtfragEvents, drain_all_pages, extfrag_events, free_pages, zones,
};
use std::borrow::ToOwned;
use std::format;
use std::string::String;
use std::vec::Vec;

fn on_16m(f: impl FnOnce()) {
    let ram = PhysRange::from_size(PhysAddr::new(0x4000_0000), 16 << 20);
    Machine::run(&[ram], |m| {
        page_alloc::init(m.ram());
        f();
    });
}

fn take_all(gfp: Gfp) -> Vec<Frame> {
    let gfp = gfp | Gfp::__GFP_MEMALLOC | Gfp::__GFP_NOWARN;
    core::iter::from_fn(|| alloc_pages(gfp, Order::ZERO)).collect()
}

/// Frees every page of an even number: 34 to 4094, 2031 blocks of order 0.
fn free_even(pages: Vec<Frame>) {
    pages.into_iter().filter(|page| page.pfn().get() % 2 == 0).for_each(|page| {
        // SAFETY: allocated here, and nobody uses it any more.
        unsafe { free_pages(page, Order::ZERO) };
    });
    drain_all_pages();
}

#[test]
fn pagetypeinfo_reads_as_in_linux() {
    on_16m(|| {
        let rows = |unmovable: &str, movable: &str| {
            let nothing =
                "     0      0      0      0      0      0      0      0      0      0      0 ";
            let mut text = String::from(
                "Page block order: 9\nPages per block:  512\n\n\
                 Free pages count per migrate type at order       0      1      2      3      4      \
                 5      6      7      8      9     10 \n",
            );
            for (name, figures) in [
                ("   Unmovable", unmovable),
                ("     Movable", movable),
                (" Reclaimable", nothing),
                ("  HighAtomic", nothing),
                ("         CMA", nothing),
                ("     Isolate", nothing),
            ] {
                let figures = if figures.is_empty() { nothing } else { figures };
                text += &format!("Node    0, zone      DMA, type {name} {figures}\n");
            }
            text + "\nNumber of blocks type     Unmovable      Movable  Reclaimable   HighAtomic          \
                    CMA      Isolate \n"
        };
        let fresh = "     1      1      1      1      1      0      1      1      1      1      3 ";
        assert_eq!(
            format!("{PageTypeInfo}"),
            rows("", fresh)
                + "Node 0, zone      DMA            0            8            0            0            \
                   0            0 \n"
        );
        free_even(take_all(Gfp::GFP_KERNEL));
        let single =
            "  2031      0      0      0      0      0      0      0      0      0      0 ";
        assert_eq!(
            format!("{PageTypeInfo}"),
            rows(single, "")
                + "Node 0, zone      DMA            8            0            0            0            \
                   0            0 \n"
        );
        assert_eq!(pageblocks(&zones().next().expect("a zone")), [8, 0, 0, 0, 0, 0]);
    });
}

#[test]
fn the_indices_are_linux_s() {
    on_16m(|| {
        let head = "Node 0, zone      DMA ";
        // There is a block of each order. Order 10 can't use what is not in its three: 991 of
        // 4063 pages; order 9 not 479, order 8 not 223, and so on.
        assert_eq!(format!("{ExtfragIndex}"), head.to_owned() + &"-1.000 ".repeat(11) + "\n");
        assert_eq!(
            format!("{UnusableIndex}"),
            format!("{head}0.000 0.000 0.000 0.001 0.003 0.007 0.007 0.023 0.054 0.117 0.243 \n")
        );
        let pages = take_all(Gfp::GFP_KERNEL);
        assert_eq!(pages.len(), 4063);
        // Without free memory all of it is of no use, and short it is, not scattered.
        assert_eq!(format!("{ExtfragIndex}"), head.to_owned() + &" 0.000 ".repeat(11) + "\n");
        assert_eq!(format!("{UnusableIndex}"), head.to_owned() + &"1.000 ".repeat(11) + "\n");
        free_even(pages);
        // Order n: 1000 - (1000 + 2031000/2^n) / 2031.
        assert_eq!(
            format!("{ExtfragIndex}"),
            format!(
                "{head}-1.000  0.500  0.750  0.875  0.938  0.969  0.984  0.992  0.996  0.998  0.999 \n"
            )
        );
        assert_eq!(
            format!("{UnusableIndex}"),
            head.to_owned() + "0.000 " + &"1.000 ".repeat(10) + "\n"
        );
    });
}

#[test]
fn each_block_that_was_taken_of_another_kind_counts() {
    on_16m(|| {
        use Migratetype::{Movable, Reclaimable, Unmovable};
        assert_eq!(extfrag_events(Unmovable, Movable), Extfrag::default());
        // All starts as movable, and the largest is taken first: three blocks of order 10, one
        // of order 9, and the one of order 8, with which the last pageblock goes.
        let pages = take_all(Gfp::GFP_KERNEL);
        let all = Extfrag { events: 5, fragmenting: 1, change_ownership: 8 };
        assert_eq!(extfrag_events(Unmovable, Movable), all);
        // Half of each pageblock is in use by what can't be moved: a movable page comes in as a
        // stranger, a reclaimable one takes the pageblock over.
        free_even(pages);
        alloc_pages(Gfp::GFP_HIGHUSER_MOVABLE, Order::ZERO).expect("there are");
        let stranger = Extfrag { events: 1, fragmenting: 1, change_ownership: 0 };
        assert_eq!(extfrag_events(Movable, Unmovable), stranger);
        alloc_pages(Gfp::GFP_KERNEL | Gfp::__GFP_RECLAIMABLE, Order::ZERO).expect("there are");
        let reclaimable = extfrag_events(Reclaimable, Unmovable);
        assert_eq!((reclaimable.events, reclaimable.fragmenting), (1, 1));
        assert_eq!(extfrag_events(Unmovable, Movable), all);
        assert_eq!(extfrag_events(Migratetype::Cma, Movable), Extfrag::default());
        let text = format!("{ExtfragEvents}");
        assert_eq!(text.lines().count(), 4, "{text}");
        assert!(
            text.contains("   Unmovable      Movable          5           1                8\n"),
            "{text}"
        );
    });
}
