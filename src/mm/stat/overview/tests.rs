//! Tests of the overview's layout, and of a machine of 16 MiB; `../meminfo/tests.rs` computes
//! its figures.

use super::*;
use crate::addr::{PhysAddr, PhysRange};
use crate::arch::hosted::Machine;
use crate::mm::alloc_pages::alloc_pages;
use crate::mm::gfp::Gfp;
use crate::mm::page_alloc::free_pages;
use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

fn on_16m(f: impl FnOnce()) {
    let ram = PhysRange::from_size(PhysAddr::new(0x4000_0000), 16 << 20);
    Machine::run(&[ram], |m| {
        page_alloc::init(m.ram());
        f();
    });
}

#[test]
fn sizes_are_rounded_to_a_tenth_of_their_unit() {
    for (pages, text) in [
        (0, "0K"),
        (1, "4K"),
        (255, "1020K"),
        (256, "1.0M"),
        // 1.05 MiB is 268.8 pages.
        (268, "1.0M"),
        (269, "1.1M"),
        (262_131, "1023.9M"),
        // 1023.95 MiB and more are not 1024.0M.
        (262_132, "1.0G"),
        (16 << 18, "16.0G"),
        (1 << 32, "16384.0G"),
    ] {
        assert_eq!(Size(pages).to_string(), text, "{pages} pages");
    }
    assert_eq!(format!("{:>8}", Size(300)), "    1.2M");
}

#[test]
fn a_bar_marks_all_there_is_any_of() {
    let bar = |used, free, free_cma| {
        let row = Row { total: used + free, reserved: 0, used, free, free_cma };
        row.bar().to_string()
    };
    assert_eq!(bar(0, 1000, 0), "........................");
    assert_eq!(bar(1, 100_000, 0), "#.......................");
    assert_eq!(bar(1, 100_000, 1), "#c......................");
    assert_eq!(bar(500, 500, 250), "############cccccc......");
    assert_eq!(bar(100_000, 1, 0), "#######################.");
    assert_eq!(bar(100_000, 1, 1), "#######################c");
    assert_eq!(bar(1000, 0, 0), "########################");
    assert_eq!(bar(0, 0, 0), "........................");
}

#[test]
fn a_line_takes_whole_items_and_no_more_than_the_screen_has_columns() {
    let mut line = Line::new("Name");
    let mut items = (0..40).peekable();
    line.list(&mut items);
    let text = line.to_string();
    // 13 columns of the name, and the commas: 10 of one figure, and two with their comma each.
    assert!(text.starts_with("Name         0, 1, 2, "), "{text}");
    assert!(text.ends_with(", 18") && text.len() == 13 + 10 + 9 * 2 + 9 * 4, "{text}");
    assert_eq!(items.next(), Some(19));
    let mut exact = Line::new("");
    exact.list(&mut ["x".repeat(66), "y".to_string()].iter().peekable());
    assert_eq!(exact.to_string().len(), COLUMNS);

    let mut long = Line::new("Long");
    let _ = write!(long, "{}", "x".repeat(100));
    assert_eq!(long.to_string().len(), COLUMNS);
    let mut odd = Line::new("Odd");
    let _ = write!(odd, "ä\n\x1b[2J tail  ");
    assert_eq!(odd.to_string(), "Odd          ???[2J tail");
}

#[test]
fn the_figures_are_those_of_the_machine() {
    on_16m(|| {
        let before = Overview.to_string();
        let lines: Vec<_> = before.lines().collect();
        assert_eq!(
            lines,
            [
                HEAD,
                "Node 0 DMA        16.0M     132K       0K    15.9M  [#.......................]",
                "Free blocks  3 x 4M, 1 x 2M, 1 x 1M; 0K on CPUs, 0K not up yet",
                "CMA          none",
                "Slab         0K in 0 caches",
                "vmalloc      0K in 0 areas, 0K mapped; page tables 0K, stacks 0K",
            ]
        );
        let block = alloc_pages(Gfp::GFP_KERNEL, Order::MAX).expect("there are three");
        let text = Overview.to_string();
        let wanted: String =
            lines[1].replace("  0K    15.9M  [#..........", "4.0M    11.9M  [######.....");
        assert_eq!(text.lines().nth(1), Some(wanted.as_str()));
        assert!(text.contains("\nFree blocks  2 x 4M, 1 x 2M, "), "{text}");
        // SAFETY: allocated here, and nobody uses it any more.
        unsafe { free_pages(block, Order::MAX) };
        assert_eq!(Overview.to_string(), before);
    });
}
