//! Figures computed by hand for a machine of 16 MiB.
//!
//! Of its 4096 pages the first 33 hold descriptors. Before they did, the marks were computed:
//! min_free_kbytes is the root of 16 times 16384 KiB, 512, so min is 128 pages, and the marks
//! lie 32 pages apart: low 160, high 192.

use super::*;
use crate::addr::{Order, PhysAddr, PhysRange};
use crate::arch::hosted::Machine;
use crate::mm::alloc_pages::alloc_pages;
use crate::mm::gfp::Gfp;
use crate::mm::mmzone::Wmark;
use crate::mm::page::Frame;
use crate::mm::page_alloc::{drain_all_pages, free_pages, zones};
use crate::mm::slab::{SlabFlags, kmem_cache_create, kmem_cache_init};
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

/// The figure of a line of /proc/meminfo.
fn figure(name: &str) -> usize {
    let text = MemInfo.to_string();
    let line = text.lines().find(|line| line.split(':').next() == Some(name));
    let words: Vec<_> = line.expect("a line").split_whitespace().collect();
    assert_eq!((words.len(), words[2]), (3, "kB"), "{text}");
    words[1].parse().expect("a number")
}

#[test]
fn meminfo_reads_as_in_linux() {
    on_16m(|| {
        let zeros = |names: &[&str]| -> String {
            names.iter().map(|name| format!("{:<16}       0 kB\n", format!("{name}:"))).collect()
        };
        let vmalloc = layout::VMALLOC.len() >> 10;
        // Longer than its column, as in Linux.
        assert!(vmalloc > 99_999_999);
        let expected = String::new()
            + "MemTotal:          16252 kB\n\
               MemFree:           16252 kB\n\
               MemAvailable:      15496 kB\n"
            + &zeros(&["Buffers", "Cached", "SwapCached", "Active", "Inactive", "Active(anon)"])
            + &zeros(&["Inactive(anon)", "Active(file)", "Inactive(file)", "Unevictable"])
            + &zeros(&["Mlocked", "SwapTotal", "SwapFree", "Dirty", "Writeback", "AnonPages"])
            + &zeros(&["Mapped", "Shmem", "KReclaimable", "Slab", "SReclaimable", "SUnreclaim"])
            + &zeros(&["KernelStack", "PageTables", "SecPageTables", "NFS_Unstable", "Bounce"])
            + &zeros(&["WritebackTmp"])
            + "CommitLimit:        8124 kB\n"
            + &zeros(&["Committed_AS"])
            + &format!("VmallocTotal:   {vmalloc} kB\n")
            + &zeros(&["VmallocUsed", "VmallocChunk", "Percpu"])
            + "HardwareCorrupted:     0 kB\n"
            + &zeros(&["CmaTotal", "CmaFree"]);
        assert_eq!(MemInfo.to_string(), expected);
    });
}

#[test]
fn what_is_taken_is_no_longer_free() {
    on_16m(|| {
        let pages: Vec<Frame> =
            (0..100).filter_map(|_| alloc_pages(Gfp::GFP_KERNEL, Order::ZERO)).collect();
        assert_eq!(figure("MemFree"), 16252 - 400);
        assert_eq!(figure("MemAvailable"), 15496 - 400);
        // SAFETY: allocated here, and nobody uses it any more.
        pages.into_iter().for_each(|page| unsafe { free_pages(page, Order::ZERO) });
        // On the CPU's own list they are free too.
        assert_eq!((figure("MemFree"), figure("MemAvailable")), (16252, 15496));
        drain_all_pages();
        assert_eq!((figure("MemFree"), figure("MemTotal")), (16252, 16252));
        let zone = zones().next().expect("a zone");
        let marks =
            [Wmark::Min, Wmark::Low, Wmark::High].map(|mark| zone.id.zone().watermark(mark));
        assert_eq!(marks, [127, 158, 189]);
    });
}

#[test]
fn what_can_be_reclaimed_is_available_but_for_a_part() {
    let sums = Sums { managed: 1000, free: 300, low: 40, reserve: 50, ..Sums::default() };
    assert_eq!(sums.available(0), 250);
    // Half of a little, and all but the low mark of much.
    assert_eq!(sums.available(60), 250 + 30);
    assert_eq!(sums.available(100), 250 + 60);
    // Below the reserve there is nothing.
    assert_eq!(Sums { free: 20, ..sums }.available(10), 0);
    assert_eq!(Sums { free: 40, ..sums }.available(100), 50);
}

#[test]
fn slabs_count_by_what_becomes_of_them() {
    on_16m(|| {
        kmem_cache_init(1);
        let create = |name, flags| {
            kmem_cache_create(name, 4096, 8, flags | SlabFlags::NO_MERGE, None).expect("a cache")
        };
        let kept = create("kept", SlabFlags::empty());
        let given = create("given", SlabFlags::RECLAIM_ACCOUNT);
        let names = ["SReclaimable", "SUnreclaim", "Slab", "KReclaimable", "MemFree"];
        let before = names.map(figure);
        given.alloc(Gfp::GFP_KERNEL).expect("memory");
        let slab = given.info();
        let kib = slab.pages * 4;
        assert!(slab.slabs == 1 && slab.pages == slab.pages_per_slab && kib > 0);
        let after = names.map(figure);
        // The sheaf that its CPU got is of another cache.
        let sheaves = after[1] - before[1];
        assert_eq!(after[0], before[0] + kib);
        assert_eq!((after[2], after[3]), (after[0] + after[1], after[0]));
        assert_eq!(before[4] - after[4], kib + sheaves);
        kept.alloc(Gfp::GFP_KERNEL).expect("memory");
        assert_eq!(figure("SReclaimable"), after[0]);
        assert!(figure("SUnreclaim") >= after[1] + kept.info().pages * 4);
    });
}

#[test]
fn a_node_has_its_part() {
    on_16m(|| {
        let text = NodeMemInfo(NodeId::FIRST).to_string();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "Node 0 MemTotal:          16252 kB");
        assert_eq!(lines[1], "Node 0 MemFree:           16252 kB");
        assert_eq!(lines[2], "Node 0 MemUsed:               0 kB");
        assert!(lines.iter().all(|line| line.len() == lines[0].len()), "{text}");
        let nobody = NodeId::new(1).expect("a number");
        assert_eq!(NodeMemInfo(nobody).to_string(), "");
    });
}
