//! Names and figures.

use super::*;
use crate::addr::{PhysAddr, PhysRange};
use crate::arch::hosted::Machine;
use crate::mm::alloc_pages::alloc_pages;
use crate::mm::gfp::Gfp;
use crate::mm::page_alloc::{drain_all_pages, free_pages, zones};
use crate::mm::vmstat::mod_node_page_state;
use std::collections::BTreeMap;
use std::string::{String, ToString};
use std::vec::Vec;

fn on_16m(f: impl FnOnce()) {
    let ram = PhysRange::from_size(PhysAddr::new(0x4000_0000), 16 << 20);
    Machine::run(&[ram], |m| {
        page_alloc::init(m.ram());
        f();
    });
}

fn figures(text: &str) -> BTreeMap<String, u64> {
    let mut all = BTreeMap::new();
    for line in text.lines() {
        let (name, figure) = line.split_once(' ').expect("a name and a figure");
        let named = name.bytes().all(|b| b == b'_' || b.is_ascii_lowercase() || b.is_ascii_digit());
        assert!(named, "{line}");
        let twice = all.insert(name.to_string(), figure.parse().expect("a number"));
        assert_eq!(twice, None, "{name} is there twice");
    }
    all
}

#[test]
fn each_name_has_one_figure() {
    on_16m(|| {
        let all = figures(&VmStat.to_string());
        assert_eq!(all.len(), 12 + 37 + 26);
        assert_eq!(all["nr_free_pages"], 4063);
        assert_eq!(all["nr_free_pages_blocks"], 3 * 1024 + 512);
        // What would need a counter in the fast path.
        assert!(!all.contains_key("pgfault") && !all.contains_key("pgfree"));
        assert!(!all.keys().any(|name| name.starts_with("pgalloc")));
    });
}

#[test]
fn what_happens_is_counted() {
    on_16m(|| {
        let gfp = Gfp::GFP_KERNEL | Gfp::__GFP_NOWARN;
        let pages: Vec<_> = core::iter::from_fn(|| alloc_pages(gfp, Order::ZERO)).collect();
        let all = figures(&VmStat.to_string());
        assert_eq!(all["nr_free_pages"], 4063 - pages.len() as u64);
        // The last one was looked for by its own reclaim, among the zones up to Normal.
        let stat = vmscan_stat();
        assert!(stat.allocstall > 0 && all["allocstall_normal"] == stat.allocstall);
        assert_eq!((all["allocstall_dma"], all["allocstall_movable"]), (0, 0));
        let dma = gfp | Gfp::__GFP_DMA;
        let more: Vec<_> = core::iter::from_fn(|| alloc_pages(dma, Order::ZERO)).collect();
        assert_eq!(more, []);
        assert!(figures(&VmStat.to_string())["allocstall_dma"] > 0);
        // SAFETY: allocated here, and nobody uses it any more.
        pages.into_iter().for_each(|page| unsafe { free_pages(page, Order::ZERO) });
        assert_eq!(figures(&VmStat.to_string())["nr_free_pages"], 4063);
        drain_all_pages();
        assert_eq!(zones().next().expect("a zone").buddy, 4063);
    });
}

#[test]
fn a_node_s_figures_are_its_pages() {
    on_16m(|| {
        let page = alloc_pages(Gfp::GFP_KERNEL, Order::ZERO).expect("a page");
        mod_node_page_state(page, NodeStat::PageTable, 3);
        mod_node_page_state(page, NodeStat::KernelStackKb, 64);
        mod_node_page_state(page, NodeStat::PageTable, -1);
        for text in [VmStat.to_string(), NodeVmStat(NodeId::FIRST).to_string()] {
            let all = figures(&text);
            assert_eq!((all["nr_page_table_pages"], all["nr_kernel_stack"]), (2, 64));
            assert_eq!(all["nr_free_pages"], 4062);
        }
        let other = NodeId::new(1).expect("a number");
        assert_eq!(node_page_state(Some(other), NodeStat::PageTable), 0);
        assert_eq!(NodeVmStat(other).to_string(), "");
        // SAFETY: allocated here, and nobody uses it any more.
        unsafe { free_pages(page, Order::ZERO) };
    });
}
