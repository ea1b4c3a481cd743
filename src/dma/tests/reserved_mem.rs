//! Tests from device trees to the memory that devices get.

use crate::addr::{Order, PhysAddr, PhysRange};
use crate::arch::hosted::Machine;
use crate::dma::{dev_get_cma_area, dma_alloc_contiguous, dma_free_contiguous};
use crate::firmware::cmdline::CommandLine;
use crate::firmware::fdt::Tree;
use crate::firmware::fdt::tests::Builder;
use crate::mm::cma::{
    self, Cma, cma_alloc, cma_init_reserved_areas, cma_init_reserved_mem, cma_release,
    default_area, set_default_area,
};
use crate::mm::memblock::Memblock;
use crate::mm::memblock::scan::{Handover, early_init_dt_scan, present};
use crate::mm::page_alloc::{ZoneLimits, free_area_init, nr_used_pages};
use crate::mm::sparse;
use crate::mm::validate::validate;
use crate::reserved_mem::*;
use core::fmt;
use std::boxed::Box;
use std::vec::Vec;

const RAM: u64 = 0x4000_0000;
const MIB: u64 = 1 << 20;

/// 64 MiB of RAM, and an open `/reserved-memory`.
fn tree() -> Builder {
    Builder::new(2, 2)
        .memory("memory@40000000", &[RAM, 64 * MIB])
        .open("reserved-memory")
        .cells("#address-cells", &[2])
        .cells("#size-cells", &[2])
        .flag("ranges")
}

fn region(builder: Builder, name: &str, phandle: u32, reg: &[u64]) -> Builder {
    builder.open(name).longs("reg", reg).cells("phandle", &[phandle])
}

fn area(builder: Builder, name: &str, phandle: u32, reg: &[u64]) -> Builder {
    region(builder, name, phandle, reg).string("compatible", "shared-dma-pool").flag("reusable")
}

/// Boots a machine with this tree as far as its regions go.
#[expect(unsafe_code, reason = "starts the page allocator with some RAM reserved")]
fn on_machine(builder: Builder, line: &'static str, f: impl FnOnce(Tree<'static>)) {
    let blob: &'static [u8] = Box::leak(builder.blob().into_boxed_slice());
    let tree = Tree::new(blob).expect("a tree");
    let handover = Handover {
        tree,
        image: PhysRange::from_size(PhysAddr::new(RAM), MIB),
        dtb: PhysRange::from_size(PhysAddr::new(RAM + 2 * MIB), tree.total_size() as u64),
        command_line: CommandLine::new(line),
        reach: PhysAddr::new(1 << 48),
    };
    let ram = PhysRange::from_size(PhysAddr::new(RAM), 64 * MIB);
    Machine::run(&[ram], |_| {
        let mut memblock = Memblock::new();
        let mut sink = |_, _: fmt::Arguments<'_>| {};
        let boot = early_init_dt_scan(&mut memblock, handover, None, &mut sink).expect("memory");
        let free: Vec<_> =
            memblock.free_mem_ranges(None).map(|free| free.range.whole_pages()).collect();
        let (limits, mapped) = (ZoneLimits::default(), sparse::Populate::Mapped);
        // SAFETY: the machine is fresh, and what is reserved is left out.
        unsafe { free_area_init(limits, present(&memblock), free.into_iter(), mapped) }
            .expect("memory");
        for area in &boot.cma {
            let (name, range) = (area.name.valid_prefix(), area.range.whole_pages());
            // SAFETY: the scan reserved it for this.
            let declared = unsafe { cma_init_reserved_mem(name, range, Order::ZERO) };
            if area.is_default {
                set_default_area(declared.expect("the scan checked it"));
            }
        }
        cma_init_reserved_areas();
        init(&boot);
        let used = nr_used_pages();
        f(tree);
        assert_eq!(nr_used_pages(), used);
        if let Err(invalid) = validate() {
            panic!("{invalid}");
        }
    });
}

/// Two devices with areas of their own, one without, and a default.
fn devices() -> Builder {
    let builder = area(tree(), "camera@41000000", 1, &[RAM + 16 * MIB, 4 * MIB]).close();
    let builder = area(builder, "gpu@42000000", 2, &[RAM + 32 * MIB, 2 * MIB]).close();
    let builder = area(builder, "all@43000000", 3, &[RAM + 48 * MIB, 8 * MIB])
        .flag("linux,cma-default")
        .close();
    let builder =
        region(builder, "fw@41800000", 4, &[RAM + 24 * MIB, 0x3000, RAM + 26 * MIB, 0x1000])
            .flag("no-map")
            .close();
    let builder = region(builder, "dsp@41c00000", 5, &[RAM + 28 * MIB, 0x4000])
        .string("compatible", "shared-dma-pool")
        .flag("no-map")
        .close();
    builder
        .close()
        .open("camera")
        .cells("memory-region", &[1])
        .close()
        .open("gpu")
        .cells("memory-region", &[2, 4, 77])
        .bytes("memory-region-names", b"pool\0firmware\0gone\0")
        .close()
        .open("dsp")
        .cells("memory-region", &[5, 1])
        .close()
        .open("disk")
        .close()
        .open("ragged")
        .bytes("memory-region", &[0, 0, 0, 1, 0, 0])
        .close()
}

#[test]
fn devices_are_served_from_their_own_area_or_the_default() {
    on_machine(devices(), "", |tree| {
        let node = |path| tree.find(path).expect("a node");
        let name = |path| dev_get_cma_area(&node(path)).map(Cma::name);
        assert_eq!(name("/camera"), Some("camera@41000000"));
        assert_eq!(name("/ragged"), Some("camera@41000000"));
        assert_eq!(name("/gpu"), Some("gpu@42000000"));
        // The first region counts, and it is no area.
        assert_eq!(name("/dsp"), Some("all@43000000"));
        assert_eq!(name("/disk"), Some("all@43000000"));

        let (gpu, disk) = (node("/gpu"), node("/disk"));
        let own = dev_get_cma_area(&gpu).expect("its own");
        let frame = dma_alloc_contiguous(&gpu, 2 << 20).expect("all of it");
        assert_eq!(frame.pfn(), own.range().start());
        assert_eq!(dma_alloc_contiguous(&gpu, 1), None, "the default is not for it");
        let other = dma_alloc_contiguous(&disk, 3 * 4096).expect("room");
        assert!(default_area().expect("a default").range().contains(other.pfn()));
        assert!(other.pfn().is_aligned(Order::new(2).expect("an order")));
        // SAFETY: the test's own memory, which it leaves alone meanwhile.
        assert!(!unsafe { dma_free_contiguous(&disk, frame, 2 << 20) });
        // SAFETY: the test's own memory, which it leaves alone meanwhile.
        assert!(!unsafe { dma_free_contiguous(&gpu, other, 3 * 4096) });
        assert_eq!(own.info().pages_released, 0);
        // SAFETY: the test's own memory, which it leaves alone meanwhile.
        assert!(unsafe { dma_free_contiguous(&gpu, frame, 2 << 20) });
        // SAFETY: the test's own memory, which it leaves alone meanwhile.
        assert!(unsafe { dma_free_contiguous(&disk, other, 3 * 4096) });
        assert_eq!(dma_alloc_contiguous(&disk, usize::MAX), None);
        assert_eq!(dma_alloc_contiguous(&disk, 0), None);
        let info = own.info();
        assert_eq!((info.successes, info.pages_succeeded), (1, 512));
        assert_eq!((info.failures, info.pages_failed), (1, 1));
        assert_eq!((info.allocated, info.pages_released), (0, 512));
    });
}

#[test]
fn regions_are_found_by_place_and_by_name() {
    on_machine(devices(), "", |tree| {
        let gpu = tree.find("/gpu").expect("a node");
        let firmware = device_region_by_name(&gpu, "firmware").expect("named");
        assert_eq!(firmware.range, PhysRange::from_size(PhysAddr::new(RAM + 24 * MIB), 0x3000));
        assert!(firmware.no_map && matches!(firmware.pool, Pool::None));
        assert_eq!(device_region(&gpu, 1).expect("there").range, firmware.range);
        assert_eq!(device_region(&gpu, 2).err(), Some(RegionError::Unknown(77)));
        assert_eq!(device_region_by_name(&gpu, "gone").err(), Some(RegionError::Unknown(77)));
        assert_eq!(device_region(&gpu, 3).err(), Some(RegionError::NoEntry));
        assert_eq!(device_region_by_name(&gpu, "fw").err(), Some(RegionError::NoEntry));
        let dsp = device_region(&tree.find("/dsp").expect("a node"), 0).expect("there");
        assert!(matches!(dsp.pool, Pool::Coherent));
        // Each part of a region is one.
        assert_eq!(reserved_mem().len(), 6);
        assert_eq!(reserved_mem().iter().filter(|region| region.no_map).count(), 3);
    });
}

#[test]
fn what_the_command_line_replaces_serves_nobody() {
    on_machine(devices(), "cma=2M", |tree| {
        let disk = tree.find("/disk").expect("a node");
        assert_eq!(dev_get_cma_area(&disk).map(Cma::name), Some("linux,cma"));
        assert!(reserved_mem_lookup(3).is_none());
        let gpu = tree.find("/gpu").expect("a node");
        assert_eq!(dev_get_cma_area(&gpu).map(Cma::name), Some("gpu@42000000"));
    });
    on_machine(devices(), "cma=0", |tree| {
        let disk = tree.find("/disk").expect("a node");
        assert!(dev_get_cma_area(&disk).is_none() && dma_alloc_contiguous(&disk, 4096).is_none());
        let camera = tree.find("/camera").expect("a node");
        let frame = dma_alloc_contiguous(&camera, 4096).expect("its own is left");
        // SAFETY: the test's own memory, which it leaves alone meanwhile.
        assert!(unsafe { dma_free_contiguous(&camera, frame, 4096) });
    });
}

#[test]
fn every_area_is_whole_after_the_others_were_used() {
    on_machine(devices(), "", |_| {
        for area in cma::areas() {
            let all = area.range().len();
            let frame = cma_alloc(area, all, Order::ZERO).expect("it is empty");
            assert_eq!(frame.pfn(), area.range().start());
            assert!(cma::areas().all(|other| other.info().allocated
                == if other.range() == area.range() { all } else { 0 }));
            // SAFETY: allocated here, and nobody uses it any more.
            assert!(unsafe { cma_release(area, frame, all) });
        }
    });
}

#[test]
fn a_coherent_pool_is_the_device_s_own_or_the_default() {
    let pool = |builder, name, phandle, at| {
        region(builder, name, phandle, &[RAM + at * MIB, 0x4000])
            .string("compatible", "shared-dma-pool")
            .flag("no-map")
    };
    let with = |default: bool| {
        let builder = pool(tree(), "one", 1, 20).close();
        let builder = pool(builder, "two", 2, 24);
        let builder = if default { builder.flag("linux,dma-default") } else { builder }.close();
        // None that devices could share: it is an area.
        let builder =
            area(builder, "area", 3, &[RAM + 32 * MIB, 4 * MIB]).flag("linux,dma-default").close();
        builder
            .close()
            .open("named")
            .cells("memory-region", &[3, 1])
            .close()
            .open("other")
            .cells("memory-region", &[3])
            .close()
            .open("silent")
            .close()
    };
    for default in [true, false] {
        on_machine(with(default), "", |tree| {
            let of = |path| {
                let device = tree.find(path).expect("a node");
                dev_get_coherent_pool(&device).map(|region| region.name.as_str())
            };
            assert_eq!(of("/named"), Some("one"));
            assert_eq!(of("/other"), None, "it names an area, and no pool");
            assert_eq!(of("/silent"), default.then_some("two"));
        });
    }
}
