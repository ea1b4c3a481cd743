//! Test of the file's text on a machine of 16 MiB; `meminfo/tests.rs` computes its figures.

use super::*;
use crate::addr::{Order, PhysAddr, PhysRange};
use crate::arch::NR_CPUS;
use crate::arch::hosted::Machine;
use crate::mm::alloc_pages::alloc_pages;
use crate::mm::gfp::Gfp;
use crate::mm::page_alloc::{cpus_online, free_pages, pcp_count, zones};
use std::format;
use std::string::{String, ToString};

fn on_16m(f: impl FnOnce()) {
    let ram = PhysRange::from_size(PhysAddr::new(0x4000_0000), 16 << 20);
    Machine::run(&[ram], |m| {
        page_alloc::init(m.ram());
        f();
    });
}

#[test]
fn buddyinfo_reads_as_in_linux() {
    on_16m(|| {
        assert_eq!(
            BuddyInfo.to_string(),
            "Node 0, zone      DMA      1      1      1      1      1      0      1      1      1      1      3 \n"
        );
        let page = alloc_pages(Gfp::GFP_HIGHUSER_MOVABLE, Order::MAX).expect("there are three");
        assert!(BuddyInfo.to_string().ends_with("      1      2 \n"));
        // SAFETY: allocated here, and nobody uses it any more.
        unsafe { free_pages(page, Order::MAX) };
    });
}

#[test]
fn what_the_lists_hold_and_the_cpus_keep_is_free() {
    on_16m(|| {
        let [page, other] =
            [(); 2].map(|()| alloc_pages(Gfp::GFP_KERNEL, Order::ZERO).expect("a page"));
        // SAFETY: allocated here, and nobody uses it any more.
        unsafe { free_pages(other, Order::ZERO) };
        let zone = zones().next().expect("a zone");
        let counts = cpus_online().map(|cpu| pcp_count(zone.id, cpu));
        assert!(zone.pcp > 0 && zone.pcp == counts.sum::<u32>());
        let listed: u32 = Order::ZERO.and_up().map(|order| zone.blocks(order) << order.get()).sum();
        assert_eq!(listed + zone.pcp, 4062);
        let text = ZoneInfoFile.to_string();
        assert!(text.contains("\n  pages free     4062\n"), "{text}");
        assert!(text.contains("\n      nr_free_pages 4062\n"), "{text}");
        assert!(text.contains(&format!("\n      nr_free_pcp  {}\n", zone.pcp)), "{text}");
        assert!(
            text.contains(&format!("    cpu: 0\n              count:    {}\n", zone.pcp)),
            "{text}"
        );
        // SAFETY: allocated here, and nobody uses it any more.
        unsafe { free_pages(page, Order::ZERO) };
    });
}

#[test]
fn zoneinfo_reads_as_in_linux() {
    on_16m(|| {
        let text = ZoneInfoFile.to_string();
        let (batch, high) =
            zones().map(|zone| (zone.pcp_batch, zone.pcp_high)).next().expect("a zone");
        let mut expected = String::from("Node 0, zone      DMA\n  per-node stats\n");
        for (name, figure) in node_items(None) {
            assert_eq!(figure, 0, "{name}");
            expected += &format!("      {name:<12} 0\n");
        }
        expected += "  pages free     4063
        boost    0
        min      127
        low      158
        high     189
        promo    220
        spanned  4096
        present  4096
        managed  4063
        cma      0
        protection: (0, 0, 0, 0)
      nr_free_pages 4063
      nr_free_pages_blocks 3584
      nr_zone_inactive_anon 0
      nr_zone_active_anon 0
      nr_zone_inactive_file 0
      nr_zone_active_file 0
      nr_zone_unevictable 0
      nr_zone_write_pending 0
      nr_mlock     0
      nr_free_cma  0
      nr_free_pcp  0
      nr_free_deferred 0
  pagesets
";
        for cpu in 0..NR_CPUS {
            expected += &format!(
                "    cpu: {cpu}
              count:    0
              high:     {high}
              batch:    {batch}
              high_min: {high}
              high_max: {high}
  vm stats threshold: 0
"
            );
        }
        expected += "  node_unreclaimable:  0\n  start_pfn:           262144\n";
        for zone in ["  DMA32", " Normal", "Movable"] {
            expected += &format!(
                "Node 0, zone  {zone}
  pages free     0
        boost    0
        min      0
        low      0
        high     0
        promo    0
        spanned  0
        present  0
        managed  0
        cma      0
        protection: (0, 0, 0, 0)
"
            );
        }
        assert_eq!(text, expected);
    });
}
