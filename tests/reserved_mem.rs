//! `/reserved-memory` on the running kernel: areas that devices name, and what is not mapped.
//!
//! Device tree: tests/data/trees/virt-pools.dtb

#![no_std]
#![no_main]

extern crate alloc;

mod harness;
#[path = "harness/mmu.rs"]
mod mmu;

use alloc::vec::Vec;
use core::ops::ControlFlow;
use granule::addr::{Order, PAGE_SIZE, PhysAddr, PhysRange, VirtAddr, VirtRange};
use granule::arch::extable;
use granule::arch::pgtable::KernelAttrs;
use granule::arch::{layout, phys_to_virt};
use granule::dma::{
    DmaDevice, DmaDirection, DmaError, dma_map_page, dma_map_single, dma_unmap_single,
    live_mappings, swiotlb_exit,
};
use granule::dma::{dev_get_cma_area, dma_alloc_contiguous, dma_free_contiguous};
use granule::drivers::random;
use granule::firmware::fdt::Node;
use granule::mm::alloc_pages::alloc_pages;
use granule::mm::cma::{Cma, areas, cma_alloc, cma_release, default_area};
use granule::mm::gfp::Gfp;
use granule::mm::init_mm;
use granule::mm::page::Frame;
use granule::mm::page_alloc::{State, free_pages, nr_free_pages, state_of};
use granule::mm::ptdump;
use granule::mm::vmalloc::{self, VmArea};
use granule::mm::zsmalloc::ZsPool;
use granule::reserved_mem::{
    Pool, RegionError, device_region, device_region_by_name, reserved_mem, reserved_mem_lookup,
};

const MIB: u64 = 1 << 20;

const DISK: DmaDevice<'static> =
    DmaDevice { name: "disk", mask: u64::MAX, ranges: &[], coherent: false };

fn device(path: &str) -> Node<'static> {
    harness::tree().find(path).expect("boot with tests/data/trees/virt-pools.dtb")
}

fn area(device: Node<'_>) -> &'static Cma {
    dev_get_cma_area(&device).expect("there is a default area")
}

fn range(start: u64, size: u64) -> PhysRange {
    PhysRange::from_size(PhysAddr::new(start), size)
}

fn pages(range: PhysRange) -> impl Iterator<Item = PhysAddr> {
    (range.start().get()..range.end().get()).step_by(PAGE_SIZE).map(PhysAddr::new)
}

/// Returns true if the linear map reaches `at`: its tables, the MMU and a read must agree.
fn is_mapped(at: PhysAddr) -> bool {
    let va = phys_to_virt(at);
    let mapped = init_mm::translate(va).is_some();
    for seen in [mmu::read_at(va), mmu::write_at(va)] {
        assert_eq!(seen, mapped.then_some(at), "the MMU sees it otherwise");
    }
    // SAFETY: RAM of this machine, in the linear map or not; a fault is an answer.
    let read = unsafe { extable::probe_read32(va) };
    assert_eq!(read.is_some(), mapped, "a read at {at} sees it otherwise");
    mapped
}

/// Has each section brought up: its frames have descriptors then.
fn bring_up_all() {
    let gfp = Gfp::GFP_KERNEL | Gfp::__GFP_NORETRY | Gfp::__GFP_NOWARN;
    let blocks: Vec<_> = core::iter::from_fn(|| alloc_pages(gfp, Order::MAX)).collect();
    // SAFETY: allocated above, and used by nobody.
    blocks.into_iter().for_each(|block| unsafe { free_pages(block, Order::MAX) });
}

kernel_tests! {
    fn the_areas_are_where_the_tree_wants_them() {
        let mut found: Vec<_> = areas().map(|area| (area.name(), area.range().phys())).collect();
        found.sort_by_key(|(_, range)| range.start());
        let [(camera, at), (gpu, gpu_at), (default, default_at)] = found[..] else {
            panic!("{found:?}")
        };
        assert_eq!((camera, at), ("camera@50000000", range(0x5000_0000, 8 * MIB)));
        assert_eq!((gpu, gpu_at.len()), ("gpu", 16 * MIB));
        assert!(gpu_at.start().is_aligned(4 * MIB));
        assert!(range(0x5400_0000, 0x400_0000).contains_range(gpu_at), "{gpu_at:?}");
        assert_eq!((default, default_at.len()), ("linux,cma", 32 * MIB));
        assert_eq!(default_area().map(Cma::name), Some("linux,cma"));
        assert!(areas().all(|area| area.info().active));
    }

    fn devices_find_their_regions() {
        assert_eq!(area(device("/camera")).name(), "camera@50000000");
        assert_eq!(area(device("/gpu")).name(), "gpu");
        for path in ["/disk", "/dsp", "/broken", "/lost"] {
            assert_eq!(area(device(path)).name(), "linux,cma", "{path}");
        }
        let gpu = device("/gpu");
        let secure = device_region_by_name(&gpu, "secure").expect("named");
        assert_eq!((secure.range, secure.no_map), (range(0x5900_1000, 0x3000), true));
        assert!(matches!(secure.pool, Pool::None));
        assert_eq!(device_region(&gpu, 1).expect("the second").range, secure.range);
        let pool = device_region_by_name(&gpu, "pool").expect("named");
        assert!(matches!(pool.pool, Pool::Cma(area) if area.name() == "gpu"));
        let dsp = device_region(&device("/dsp"), 0).expect("reserved");
        assert!(matches!(dsp.pool, Pool::Coherent) && dsp.no_map);
        let broken = device_region(&device("/broken"), 0).expect("reserved");
        assert!(matches!(broken.pool, Pool::Refused), "it is not aligned");
        let both = reserved_mem_lookup(0x105).expect("reserved");
        assert!(matches!(both.pool, Pool::Refused), "no-map and reusable");
        let error = |path, index| device_region(&device(path), index).err();
        assert_eq!(error("/disk", 0), Some(RegionError::NoEntry));
        assert_eq!(error("/gpu", 2), Some(RegionError::NoEntry));
        assert_eq!(error("/lost", 0), Some(RegionError::Unknown(0x999)));
        let unknown = device_region_by_name(&gpu, "poo").err();
        assert_eq!(unknown, Some(RegionError::NoEntry));
    }

    fn devices_get_memory_of_their_own_area_alone() {
        let free = nr_free_pages();
        let devices = ["/camera", "/gpu", "/disk"].map(device);
        let before = devices.map(|device| area(device).info());
        let size = 300 * PAGE_SIZE + 1;
        let frames = devices.map(|device| dma_alloc_contiguous(&device, size).expect("room"));
        for (n, (device, frame)) in devices.iter().zip(frames).enumerate() {
            let inside = area(*device).range();
            assert!(inside.contains(frame.pfn()) && inside.contains(frame.pfn() + 300));
            assert!(frame.pfn().is_aligned(Order::new(8).expect("an order")));
            assert_eq!(area(*device).info().allocated, 301);
            let other = devices[(n + 1) % 3];
            // SAFETY: the test's own memory, which it leaves alone meanwhile.
            assert!(!unsafe { dma_free_contiguous(&other, frame, size) }, "it is of another area");
        }
        // All of the camera's is taken, and it gets nothing of the others'.
        let camera = devices[0];
        assert_eq!(dma_alloc_contiguous(&camera, 8 << 20), None);
        let rest = dma_alloc_contiguous(&camera, 4 << 20).expect("half of it is left");
        assert_eq!(dma_alloc_contiguous(&camera, 4 << 20), None);
        // SAFETY: the test's own memory, which it leaves alone meanwhile.
        assert!(unsafe { dma_free_contiguous(&camera, rest, 4 << 20) });
        for (device, frame) in devices.iter().zip(frames) {
            // SAFETY: the test's own memory, which it leaves alone meanwhile.
            assert!(unsafe { dma_free_contiguous(device, frame, size) });
        }
        for ((device, before), (calls, pages, failed)) in
            devices.iter().zip(before).zip([(2, 1325, 2), (1, 301, 0), (1, 301, 0)])
        {
            let info = area(*device).info();
            assert_eq!(info.allocated, 0);
            assert_eq!(info.successes - before.successes, calls);
            assert_eq!(info.pages_succeeded - before.pages_succeeded, pages);
            assert_eq!(info.pages_released - before.pages_released, pages);
            assert_eq!(info.failures - before.failures, failed);
            let vain = info.pages_failed - before.pages_failed;
            assert_eq!(vain, if failed == 0 { 0 } else { 2048 + 1024 });
        }
        assert_eq!(nr_free_pages(), free);
    }

    /// While every page of all areas is lent out and in use.
    fn every_area_is_had_back_whole() {
        let pool = ZsPool::new().expect("a pool");
        let mut objects = Vec::with_capacity(nr_free_pages() as usize);
        while let Some(object) =
            pool.malloc(PAGE_SIZE, Gfp::GFP_HIGHUSER_MOVABLE | Gfp::__GFP_NOWARN)
        {
            let number = objects.len() as u64;
            pool.with(object, |bytes| bytes[8..16].copy_from_slice(&number.to_le_bytes()));
            objects.push((number, object));
        }
        let lent = |object| areas().any(|area| area.range().contains(pool.frame(object).pfn()));
        let all: u32 = areas().map(|area| area.range().len()).sum();
        let inside = objects.iter().filter(|(_, object)| lent(*object)).count();
        assert!(inside as u32 * 10 >= all * 9, "only {inside} of {all} pages are lent");
        // Room for them elsewhere.
        let mut room = all + 2000;
        objects.retain(|&(_, object)| {
            let stays = room == 0 || lent(object);
            if !stays {
                room -= 1;
                pool.free(object);
            }
            stays
        });
        let taken: Vec<_> = areas()
            .map(|area| cma_alloc(area, area.range().len(), Order::ZERO).expect("all is movable"))
            .collect();
        for &(number, object) in &objects {
            assert!(!lent(object));
            pool.with(object, |bytes| {
                assert_eq!(bytes[8..16], number.to_le_bytes(), "object {number} was lost");
            });
        }
        for (area, frame) in areas().zip(taken) {
            // SAFETY: allocated here, and nobody uses it any more.
            assert!(unsafe { cma_release(area, frame, area.range().len()) });
        }
    }

    fn no_map_regions_are_not_in_the_linear_map() {
        let hidden: Vec<_> = reserved_mem().iter().filter(|region| region.no_map).collect();
        assert_eq!(hidden.len(), 4);
        for region in &hidden {
            for page in pages(region.range) {
                assert!(!is_mapped(page), "{page} of {}", region.name);
            }
            let (start, end) = (region.range.start(), region.range.end());
            assert!(is_mapped(PhysAddr::new(start.get() - 4096)), "what is below is mapped");
            assert!(is_mapped(end), "what is above is mapped");
        }
        for region in reserved_mem().iter().filter(|region| !region.no_map) {
            assert!(pages(region.range).all(is_mapped), "{}", region.name);
        }
    }

    /// A no-map page has a descriptor where it shares a block with RAM, and no address.
    fn devices_are_not_given_what_is_not_mapped() {
        let map = |frame, offset, size| {
            // SAFETY: nobody else uses it, or it is refused; the device does nothing by itself.
            unsafe { dma_map_page(&DISK, frame, offset, size, DmaDirection::Bidirectional) }
        };
        bring_up_all();
        for region in reserved_mem().iter().filter(|region| region.no_map) {
            let (start, end) = (region.range.start(), region.range.end());
            let frame = |at: PhysAddr| Frame::new(at.pfn().expect("a frame"));
            let below = frame(start - PAGE_SIZE as u64).expect("RAM");
            // The last page before it, and not a byte more.
            let at = map(below, 0, PAGE_SIZE).expect("RAM");
            // SAFETY: mapped a moment ago.
            unsafe { dma_unmap_single(&DISK, at, PAGE_SIZE, DmaDirection::Bidirectional) };
            for (offset, size) in [(0, PAGE_SIZE + 1), (PAGE_SIZE, 1), (4095, 2)] {
                assert_eq!(map(below, offset, size), Err(DmaError::Invalid), "{}", region.name);
            }
            let whole = (end - start) as usize;
            assert_eq!(map(below, 0, whole + 2 * PAGE_SIZE), Err(DmaError::Invalid));
            if let Some(hidden) = frame(start) {
                assert_eq!(map(hidden, 0, 64), Err(DmaError::Invalid), "{}", region.name);
            }
            let va = phys_to_virt(start);
            // SAFETY: as above.
            let refused = unsafe { dma_map_single(&DISK, va, 64, DmaDirection::ToDevice) };
            assert_eq!(refused, Err(DmaError::Invalid), "{}", region.name);
        }
        assert_eq!(live_mappings(), 0);
        granule::dma::shrink();
        assert!(swiotlb_exit());
    }

    /// An area of vmalloc may lead to no-map memory, of which the linear map has no page to read.
    fn vread_passes_over_no_map_memory() {
        bring_up_all();
        let mut seen = 0;
        for region in reserved_mem().iter().filter(|region| region.no_map) {
            let frame = |at: PhysAddr| at.pfn().and_then(Frame::new);
            let below = frame(region.range.start() - PAGE_SIZE as u64).expect("RAM");
            let Some(hidden) = frame(region.range.start()) else { continue };
            let area = VmArea::vmap(&[below, hidden, below], KernelAttrs::KERNEL_RO);
            let at = area.as_ref().expect("memory").virt();
            assert_eq!(mmu::read_at(at + PAGE_SIZE), Some(hidden.phys()), "it is mapped there");
            let mut buffer = [1; 100];
            // SAFETY: nobody writes to the pages meanwhile.
            let mut read = |at| (unsafe { vmalloc::vread(at, &mut buffer) }, buffer);
            assert_eq!(read(at + PAGE_SIZE), (0, [0; 100]), "{}", region.name);
            let (found, bytes) = read(at + PAGE_SIZE - 60);
            assert_eq!((found, &bytes[60..]), (60, &[0; 40][..]), "{}", region.name);
            assert_eq!(read(at + 2 * PAGE_SIZE - 60).0, 40, "{}", region.name);
            seen += 1;
        }
        assert!(seen > 0, "no no-map region shares a block with RAM");
        vmalloc::vm_unmap_aliases();
    }

    /// Checks every address: of the fixmap, of vmalloc, of the image too.
    fn no_leaf_of_any_table_leads_to_a_no_map_page() {
        let hidden: Vec<_> = reserved_mem().iter().filter(|region| region.no_map).collect();
        // One of them is beside the device tree, which was mapped before anybody had read it.
        assert!(hidden.iter().any(|region| region.range.start() == PhysAddr::new(0x4820_0000)));
        let all = VirtRange::new(layout::LINEAR.start(), VirtAddr::new(0xffff_ffff_ffff_f000));
        let mut leaves = 0u64;
        init_mm::for_each_leaf(all, |va, leaf| {
            let to = PhysRange::from_size(leaf.pa, leaf.level.size() as u64);
            for region in &hidden {
                assert!(!to.overlaps(region.range), "{va} leads to {to:?}, in {}", region.name);
            }
            leaves += 1;
            ControlFlow::Continue(())
        });
        assert!(leaves > 100, "{leaves}");
        // Nor is the lower half in use.
        assert_eq!(mmu::read_at(VirtAddr::new(0x4820_0000)), None);
        // The tree was moved to where it is mapped anyway.
        let mapped = ptdump::runs(layout::FIXMAP).any(|run| {
            run.first.pa.get() >= 0x4800_0000 && run.first.pa.get() < 0x4840_0000
        });
        assert!(!mapped, "the window for the device tree is gone");
    }

    /// Whoever reads the tree later learns nothing of what the generator was seeded with.
    fn seeds_are_erased_from_the_tree() {
        let chosen = harness::tree().chosen().expect("QEMU writes it");
        for seed in [chosen.rng_seed(), chosen.kaslr_seed()] {
            let seed = seed.expect("QEMU writes it");
            assert!(!seed.is_empty() && seed.iter().all(|&byte| byte == 0), "{seed:?}");
        }
        assert_eq!(chosen.seeds().count(), 0);
        let numbers = [random::get_random_u64(), random::get_random_u64()];
        assert!(numbers[0] != numbers[1] && numbers.iter().all(|&n| n != 0));
    }

    fn what_is_no_area_stays_reserved() {
        for region in reserved_mem().iter().filter(|r| !matches!(r.pool, Pool::Cma(_))) {
            for pfn in region.range.whole_pages().iter() {
                let state = Frame::new(pfn).map(state_of);
                assert!(matches!(state, None | Some(State::Reserved)), "{}", region.name);
            }
        }
    }
}
