//! The text against what each frame, list and table says of itself.

use super::*;
use crate::addr::{Pfn, PfnRange, PhysAddr};
use crate::arch::hosted::Machine;
use crate::firmware::fdt::Text;
use crate::mm::alloc::KBox;
use crate::mm::alloc_pages::alloc_pages;
use crate::mm::cma::{cma_alloc, cma_release};
use crate::mm::gfp::Gfp;
use crate::mm::mmzone::{NodeId, ZoneLimits};
use crate::mm::page::{Frame, PageFlags, PageType};
use crate::mm::page_alloc::{State, drain_all_pages, free_area_init, free_pages, state_of};
use crate::mm::validate::validate;
use crate::mm::zsmalloc::ZsPool;
use crate::mm::{init_mm, slab, sparse, vmalloc};
use serde_json::Value;
use std::string::{String, ToString};
use std::vec::Vec;

const MIB: u64 = 1 << 20;
/// Three sections, of which one is up, and a hole in the first.
const RAM: [PhysRange; 2] = [
    PhysRange::from_size(PhysAddr::new(0x4000_0000), 21 * MIB),
    PhysRange::from_size(PhysAddr::new(0x4180_0000), 300 * MIB),
];
const AREA: PhysRange = PhysRange::from_size(PhysAddr::new(0x4040_0000), 4 * MIB);

fn on_machine(f: impl FnOnce()) {
    Machine::run(&RAM, |_| {
        let area = AREA.whole_pages();
        // SAFETY: the machine is fresh, and the area left out of what is free.
        unsafe { cma::cma_init_reserved_mem("\"linux\",cma", area, Order::ZERO) }.unwrap();
        let [low, high] = RAM.map(PhysRange::whole_pages);
        let free =
            [PfnRange::new(low.start(), area.start()), PfnRange::new(area.end(), low.end()), high];
        let present = [low, high].into_iter().map(|range| (NodeId::FIRST, range));
        let mapped = sparse::Populate::Mapped;
        // SAFETY: as above.
        unsafe { free_area_init(ZoneLimits::default(), present, free.into_iter(), mapped) }
            .unwrap();
        slab::kmem_cache_init(1);
        vmalloc::init(1, 80_000);
        init_mm::install(init_mm::new_root().unwrap());
        cma::cma_init_reserved_areas();
        f();
        validate().unwrap();
    });
}

fn snapshot() -> Value {
    let text = Snapshot { model: Text::new(b"a machine"), cmdline: "quiet" }.to_string();
    serde_json::from_str(&text).unwrap_or_else(|why| panic!("{why}:\n{text}"))
}

fn number(value: &Value) -> u32 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no number")).try_into().unwrap()
}

fn numbers(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(number).collect()
}

/// Derives the use of a frame from its state alone.
fn fill_of(frame: Frame, is_cma: bool) -> Result<Fill, Order> {
    let page = match state_of(frame) {
        State::Allocated { head, .. } => head.page(),
        _ => frame.page(),
    };
    Ok(match state_of(frame) {
        State::Free { order, .. } => return Err(order),
        State::PerCpu { .. } => Fill::PerCpu,
        State::Hole => Fill::Hole,
        State::Poisoned => Fill::Poisoned,
        State::Offline => Fill::Offline,
        State::Reserved if page.is_type(PageType::Vmemmap) => Fill::Vmemmap,
        State::Reserved => Fill::Reserved,
        State::Allocated { .. } if page.is_type(PageType::Slab) => Fill::Slab,
        State::Allocated { .. } if page.is_type(PageType::Table) => Fill::PageTable,
        State::Allocated { .. } if page.is_type(PageType::Vmalloc) => Fill::Vmalloc,
        State::Allocated { .. } if page.flags().contains(PageFlags::MOVABLE) => Fill::Movable,
        State::Allocated { .. } if is_cma => Fill::Cma,
        State::Allocated { .. } => Fill::Allocated,
    })
}

/// Compares the runs of pageblocks with each frame; returns the pages by fill.
fn compare_pageblocks(json: &Value) -> [u32; Fill::COUNT] {
    let mut sums = [0; Fill::COUNT];
    let (mut last, mut free) = (0, 0);
    for run in json["pageblocks"].as_array().unwrap() {
        let (start, blocks) = (number(&run[1]), number(&run[2]));
        assert_eq!(number(&run[0]), 0);
        assert!(start >= last && start.is_multiple_of(512) && blocks > 0);
        last = start + blocks * 512;
        for first in (start..last).step_by(512) {
            let head = Frame::new(Pfn::new(first)).unwrap();
            let migratetype = head.page().block_migratetype();
            let is_cma = migratetype == Migratetype::Cma;
            let (mut by_order, mut fill) = ([0; Order::COUNT], [0; Fill::COUNT]);
            for frame in head.block(Order::PAGEBLOCK) {
                match fill_of(frame, is_cma) {
                    Ok(of) => fill[of as usize] += 1,
                    Err(order) => by_order[order.index()] += 1,
                }
            }
            assert_eq!(number(&run[3]), migratetype as u32);
            assert_eq!(numbers(&run[4]), trimmed(&by_order).collect::<Vec<_>>(), "{first:#x}");
            assert_eq!(numbers(&run[5]), trimmed(&fill).collect::<Vec<_>>(), "{first:#x}");
            sums.iter_mut().zip(fill).for_each(|(sum, pages)| *sum += pages);
            free += by_order.iter().sum::<u32>();
        }
    }
    let zone = zones().next().unwrap();
    assert_eq!((free, sums[Fill::PerCpu as usize]), (zone.buddy + zone.isolated, zone.pcp));
    sums
}

#[test]
fn each_pageblock_is_told_as_its_frames_are() {
    on_machine(|| {
        let fresh = compare_pageblocks(&snapshot());
        assert!(fresh[Fill::Hole as usize] > 0 && fresh[Fill::Vmemmap as usize] > 256);

        let order = Order::new(3).unwrap();
        let blocks: Vec<_> = (0..50).filter_map(|_| alloc_pages(Gfp::GFP_KERNEL, order)).collect();
        let odd: Vec<_> =
            (0..700).filter_map(|_| alloc_pages(Gfp::GFP_KERNEL, Order::ZERO)).collect();
        // SAFETY: allocated here, and nobody uses it any more.
        odd.iter().step_by(2).for_each(|&page| unsafe { free_pages(page, Order::ZERO) });
        let pool = ZsPool::new().unwrap();
        let moved: Vec<_> =
            (0..90).filter_map(|_| pool.malloc(PAGE_SIZE, Gfp::GFP_HIGHUSER_MOVABLE)).collect();
        let small: Vec<_> = (0..900).filter_map(|n| KBox::new(n, Gfp::GFP_KERNEL).ok()).collect();
        let area = vmalloc::vmalloc(33 * PAGE_SIZE, Gfp::GFP_KERNEL).unwrap();
        let cma = cma::areas().next().unwrap();
        let run = cma_alloc(cma, 100, Order::ZERO).unwrap();
        assert_eq!((blocks.len(), odd.len(), moved.len(), small.len()), (50, 700, 90, 900));

        let json = snapshot();
        let sums = compare_pageblocks(&json);
        let of = |fill: Fill| sums[fill as usize];
        assert_eq!((of(Fill::Movable), of(Fill::Cma)), (90, 100));
        assert!(of(Fill::Allocated) >= 400 + 350 && of(Fill::Slab) > 0);
        assert_eq!(of(Fill::Vmalloc), 33);
        let tables = json["vmstat"]["nr_page_table_pages"].as_u64();
        assert_eq!(tables, Some(of(Fill::PageTable).into()));
        let pages: u64 =
            json["slabs"].as_array().unwrap().iter().filter_map(|c| c["pages"].as_u64()).sum();
        assert_eq!(pages, u64::from(of(Fill::Slab)));

        // SAFETY: allocated here, and nobody uses it any more.
        assert!(unsafe { cma_release(cma, run, 100) });
        vmalloc::tests::vfree(area);
        drop((small, pool));
        // SAFETY: allocated here, and nobody uses it any more.
        odd.into_iter()
            .skip(1)
            .step_by(2)
            .for_each(|page| unsafe { free_pages(page, Order::ZERO) });
        // SAFETY: allocated here, and nobody uses it any more.
        blocks.into_iter().for_each(|block| unsafe { free_pages(block, order) });
        drain_all_pages();
        compare_pageblocks(&snapshot());
    });
}

#[test]
fn what_is_not_up_is_counted_by_region() {
    on_machine(|| {
        let parts = |json: &Value| -> Vec<Vec<u32>> {
            json["not_up"].as_array().unwrap().iter().map(numbers).collect()
        };
        let json = snapshot();
        // From the second section on, to the end of RAM.
        let end = RAM[1].whole_pages().end().get();
        // All of it is free but for what its descriptors will take, 32 bytes a page.
        let free = (end - 0x4_8000) / 128 * 127;
        assert_eq!(parts(&json), [[0, 0x4_8000, end - 0x4_8000, free]]);
        let zone = &json["zones"][0];
        assert_eq!(zone["deferred"], free);
        assert_eq!(zone["present"].as_u64(), Some(321 * 256));

        // All sections up: nothing is left of it, and each page is in a pageblock.
        let gfp = Gfp::GFP_KERNEL | Gfp::__GFP_NOWARN;
        let all: Vec<_> = core::iter::from_fn(|| alloc_pages(gfp, Order::MAX)).collect();
        let json = snapshot();
        assert!(parts(&json).is_empty());
        let sums = compare_pageblocks(&json);
        let blocks: u32 =
            json["pageblocks"].as_array().unwrap().iter().map(|run| number(&run[2])).sum();
        assert_eq!(blocks * 512 - sums[Fill::Hole as usize], 321 * 256);
        // SAFETY: allocated here, and nobody uses it any more.
        all.into_iter().for_each(|block| unsafe { free_pages(block, Order::MAX) });
    });
}

#[test]
fn like_pageblocks_are_one_line_and_the_text_stays_short() {
    on_machine(|| {
        let gfp = Gfp::GFP_KERNEL | Gfp::__GFP_NOWARN;
        let all: Vec<_> = core::iter::from_fn(|| alloc_pages(gfp, Order::MAX)).collect();
        // SAFETY: allocated here, and nobody uses it any more.
        all.into_iter().for_each(|block| unsafe { free_pages(block, Order::MAX) });
        let json = snapshot();
        let runs = json["pageblocks"].as_array().unwrap();
        let longest = runs.iter().map(|run| number(&run[2])).max();
        assert!(runs.len() < 30 && longest > Some(60), "{runs:?}");
        for pair in runs.windows(2) {
            let next_to = number(&pair[0][1]) + 512 * number(&pair[0][2]) == number(&pair[1][1]);
            let alike = (3..6).all(|n| pair[0][n] == pair[1][n]);
            assert!(!(next_to && alike), "{pair:?} are one");
        }
    });
}

#[test]
fn figures_are_those_of_the_files() {
    on_machine(|| {
        let _small: Vec<_> =
            (0..333u64).filter_map(|n| KBox::new(n, Gfp::GFP_KERNEL).ok()).collect();
        let json = snapshot();
        let figure = |line: &str| {
            let mut words = line.split_whitespace().map(|word| word.trim_end_matches(':'));
            let name = words.next().unwrap().to_string();
            (name, words.next().unwrap().parse::<u64>().unwrap())
        };
        for (key, text) in [
            ("meminfo", crate::mm::stat::MemInfo.to_string()),
            ("vmstat", crate::mm::stat::VmStat.to_string()),
        ] {
            let mut lines = 0;
            for (name, value) in text.lines().map(figure) {
                assert_eq!(json[key][&name].as_u64(), Some(value), "{key} {name}");
                lines += 1;
            }
            assert_eq!(json[key].as_object().unwrap().len(), lines);
        }
        let zone = zones().next().unwrap();
        for order in Order::ZERO.and_up() {
            for mt in Migratetype::ALL {
                let told = number(&json["zones"][0]["free_blocks"][mt.index()][order.index()]);
                assert_eq!(told, zone.nr_free[order.index()][mt.index()]);
            }
        }
        assert_eq!(number(&json["zones"][0]["free"]), zone.free());
        assert_eq!(numbers(&json["zones"][0]["pageblocks"]), crate::mm::stat::pageblocks(&zone));
        for (told, info) in json["slabs"].as_array().unwrap().iter().zip(slabinfo()) {
            assert_eq!(told["name"], info.name);
            let figures = [
                ("active", info.active_objects),
                ("total", info.total_objects),
                ("slabs", info.slabs),
            ];
            figures.iter().for_each(|(name, is)| assert_eq!(told[name], *is));
        }
        assert_eq!(json["slabs"].as_array().unwrap().len(), slabinfo().count());
    });
}

#[test]
fn the_address_space_is_what_the_tables_map() {
    on_machine(|| {
        let at = vmalloc::vmalloc(3 * PAGE_SIZE, Gfp::GFP_KERNEL).unwrap();
        let json = snapshot();
        let areas = json["vmalloc"]["areas"].as_array().unwrap();
        assert_eq!((areas.len(), &areas[0]["kind"]), (1, &Value::from("vmalloc")));
        assert_eq!(areas[0]["pages"], 3);
        assert!(areas[0]["caller"].as_str().unwrap().contains("snapshot/tests.rs:"));
        let regions = json["address_space"].as_array().unwrap();
        let region = regions.iter().find(|r| r["name"] == "vmalloc area").unwrap();
        let run = &region["runs"][0];
        let hex = |va: usize| Value::from(std::format!("{va:#x}"));
        assert_eq!((&run[0], &run[1]), (&hex(at.get()), &hex(at.get() + 3 * PAGE_SIZE)));
        let words = ["PTE", "RW", "NX", "MEM/NORMAL"].map(Value::from);
        assert_eq!(run.as_array().unwrap()[2..6], words);
        assert_eq!(run[6], true);
        vmalloc::tests::vfree(at);
    });
}

#[test]
fn nothing_in_a_name_ends_a_string() {
    on_machine(|| {
        let model = Text::new(b"\"<script>alert(1)</script>\\ \xff\x1b[2J \xe2\x82\xac");
        let cmdline = "a=\"b c\" \u{7f}\u{85} \\u0041\t\u{2028}";
        let text = Snapshot { model, cmdline }.to_string();
        assert!(text.chars().all(|c| !c.is_control() || c == '\n'));
        let json: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json["cmdline"], cmdline);
        assert_eq!(json["model"], "\"<script>alert(1)</script>\\ \u{fffd}\u{fffd}[2J €");
        assert_eq!(json["cma"][0]["name"], "\"linux\",cma");
        // Text is broken between values alone.
        assert!(text.lines().all(|line| line.ends_with([',', '[', ']', '}'])), "{text}");
    });
}

#[test]
fn a_text_that_is_cut_short_is_told() {
    struct Short(usize);
    impl fmt::Write for Short {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0 = self.0.checked_sub(text.len()).ok_or(fmt::Error)?;
            Ok(())
        }
    }
    on_machine(|| {
        let all = Snapshot { model: Text::new(b""), cmdline: "" };
        let mut text = String::new();
        all.write(&mut text).unwrap();
        for bytes in [0, 1, 100, text.len() / 2] {
            assert!(all.write(&mut Short(bytes)).is_err(), "{bytes}");
        }
    });
}
