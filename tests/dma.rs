//! Memory for devices on the running kernel, with the MMU asked.
//!
//! Command line: cma=64M

#![no_std]
#![no_main]

extern crate alloc;

mod harness;
#[path = "harness/mmu.rs"]
mod mmu;

use alloc::vec::Vec;
use granule::addr::{Order, PAGE_SIZE, PhysAddr, PhysRange, VirtAddr};
use granule::arch::pgtable::MemoryType;
use granule::arch::phys_to_virt;
use granule::dma::{
    DmaAddr, DmaDevice, DmaDirection, DmaError, DmaPool, DmaRange, dma_alloc_coherent,
    dma_free_coherent, dma_map_single, dma_sync_single_for_cpu, dma_unmap_single,
    is_swiotlb_buffer, live_mappings, swiotlb_exit, swiotlb_init,
};
use granule::mm::alloc_pages::alloc_pages;
use granule::mm::cma::default_area;
use granule::mm::gfp::Gfp;
use granule::mm::init_mm;
use granule::mm::page_alloc::free_pages;

const DEVICE: DmaDevice<'static> =
    DmaDevice { name: "device", mask: u64::MAX, ranges: &[], coherent: false };

fn bytes(at: VirtAddr, len: usize) -> &'static mut [u8] {
    let at = core::ptr::with_exposed_provenance_mut(at.get());
    // SAFETY: memory that the caller has allocated, by one slice at a time.
    unsafe { core::slice::from_raw_parts_mut(at, len) }
}

kernel_tests! {
    fn coherent_memory_is_not_cacheable_and_has_one_address() {
        for size in [1, 5 * PAGE_SIZE, 1 << 20] {
            let memory = dma_alloc_coherent(&DEVICE, size, Gfp::GFP_KERNEL).expect("memory");
            assert!(bytes(memory.virt(), size).iter().all(|&byte| byte == 0));
            if let Some(area) = default_area() {
                let lent = area.range().contains_range(memory.phys().whole_pages());
                assert_eq!(lent, size > PAGE_SIZE, "{memory:?}");
            }
            bytes(memory.virt(), size).fill(0x5a);
            for offset in (0..size).step_by(PAGE_SIZE) {
                let frame = memory.phys().start() + offset as u64;
                assert_eq!(mmu::write_at(memory.virt() + offset), Some(frame));
                let (_, attrs) = init_mm::translate(memory.virt() + offset).expect("mapped");
                assert_eq!(attrs.memory(), MemoryType::NormalNc);
                assert_eq!(mmu::read_at(phys_to_virt(frame)), None, "{frame} is cacheable too");
            }
            let linear = phys_to_virt(memory.phys().start());
            dma_free_coherent(memory);
            assert!(mmu::write_at(linear).is_some());
        }
    }

    fn what_is_out_of_reach_is_bounced() {
        let pool = swiotlb_init().expect("memory");
        let ranges = [DmaRange { cpu: pool, bus: DmaAddr::new(0x1000) }];
        let device = DmaDevice { ranges: &ranges, ..DEVICE };
        let frame = alloc_pages(Gfp::GFP_KERNEL, Order::ZERO).expect("memory");
        bytes(frame.virt(), PAGE_SIZE).fill(3);
        let both = DmaDirection::Bidirectional;
        // SAFETY: the test's own memory, which it leaves alone meanwhile.
        let at = unsafe { dma_map_single(&device, frame.virt() + 100, 200, both) }.expect("a buffer");
        let buffer = device.memory_at(at).expect("its own address");
        assert!(is_swiotlb_buffer(buffer) && at.get() < 0x1000 + pool.len());
        assert_eq!(bytes(phys_to_virt(buffer), 200), [3; 200]);
        bytes(phys_to_virt(buffer), 200).fill(4);
        // SAFETY: the test's own memory, which it leaves alone meanwhile.
        unsafe { dma_sync_single_for_cpu(&device, at, 100, both) };
        assert_eq!(bytes(frame.virt() + 100, 200)[..100], [4; 100]);
        // SAFETY: the test's own memory, which it leaves alone meanwhile.
        unsafe { dma_unmap_single(&device, at, 200, both) };
        assert_eq!(bytes(frame.virt() + 99, 202)[1..201], [4; 200]);
        assert_eq!((bytes(frame.virt() + 99, 1)[0], bytes(frame.virt() + 300, 1)[0]), (3, 3));
        // SAFETY: allocated here, and nobody uses it any more.
        unsafe { free_pages(frame, Order::ZERO) };
        assert!(swiotlb_exit());
        assert_eq!(live_mappings(), 0);
        granule::dma::shrink();
    }

    fn blocks_of_a_pool_are_not_cacheable_and_apart() {
        let pool = DmaPool::create("descriptors", &DEVICE, 200, 64, 1024).expect("a good shape");
        let blocks: Vec<_> =
            (0..100).map(|_| pool.alloc(Gfp::GFP_KERNEL).expect("memory")).collect();
        assert_eq!((pool.info().used, pool.info().pages), (100, 100usize.div_ceil(16)));
        for (n, block) in blocks.iter().enumerate() {
            let (_, attrs) = init_mm::translate(block.virt()).expect("mapped");
            assert_eq!(attrs.memory(), MemoryType::NormalNc);
            let at = DEVICE.memory_at(block.dma_addr()).expect("its own address");
            assert_eq!(mmu::write_at(block.virt()), Some(at));
            assert_eq!(mmu::read_at(phys_to_virt(at)), None, "{at} is cacheable too");
            assert!(block.virt().is_aligned(64) && block.len() == 256);
            bytes(block.virt(), 200).fill(n as u8);
        }
        for (n, block) in blocks.iter().enumerate() {
            assert_eq!(bytes(block.virt(), 200), [n as u8; 200]);
        }
        drop(blocks);
        let clear: Vec<_> =
            (0..112).map(|_| pool.zalloc(Gfp::GFP_KERNEL).expect("memory")).collect();
        assert_eq!(pool.info().pages, 7, "what came back serves again");
        assert!(clear.iter().all(|block| bytes(block.virt(), 256).iter().all(|&byte| byte == 0)));
        drop(clear);
        assert_eq!(pool.info().used, 0);
    }

    fn devices_are_told_no() {
        let nothing = DmaDevice { mask: 0xfff, ..DEVICE };
        let refused = dma_alloc_coherent(&nothing, 1, Gfp::GFP_KERNEL);
        assert_eq!(refused.unwrap_err(), DmaError::OutOfReach);
        let uart = PhysRange::from_size(PhysAddr::new(0x0900_0000), 64);
        // SAFETY: the test's own memory, which it leaves alone meanwhile.
        let refused = unsafe { dma_map_single(&DEVICE, phys_to_virt(uart.start()), 64, DmaDirection::ToDevice) };
        assert_eq!(refused, Err(DmaError::Invalid));
    }
}
