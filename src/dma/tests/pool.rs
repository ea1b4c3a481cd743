//! Pools of coherent blocks, against a set of what is allocated.

use super::on_two_nodes as on_machine;
use crate::addr::PAGE_SIZE;
use crate::arch::phys_to_virt;
use crate::dma::*;
use crate::mm::cma::default_area;
use crate::mm::gfp::Gfp;
use crate::mm::page_alloc;
use crate::mm::slab;
use std::vec::Vec;

const DISK: DmaDevice<'static> =
    DmaDevice { name: "disk", mask: u64::MAX, ranges: &[], coherent: true };
const GFP: Gfp = Gfp::GFP_KERNEL;

/// Pages in use but for those that the slab allocator keeps for the next objects.
fn settled_pages() -> u32 {
    slab::shrink_all();
    page_alloc::drain_all_pages();
    page_alloc::nr_used_pages()
}

/// The bytes of a block, where this machine has them.
fn bytes(block: &DmaPoolBlock<'_>) -> &'static mut [u8] {
    let at = phys_to_virt(DISK.memory_at(block.dma_addr()).unwrap());
    let at = core::ptr::with_exposed_provenance_mut(at.get());
    // SAFETY: the block is this test's, by one slice at a time, and of a device that snoops.
    unsafe { core::slice::from_raw_parts_mut(at, block.len()) }
}

#[test]
fn blocks_are_apart_and_come_back() {
    on_machine(|| {
        let used = settled_pages();
        let pool = DmaPool::create("queue heads", &DISK, 96, 32, 0).unwrap();
        assert_eq!(pool.info(), DmaPoolInfo { used: 0, blocks: 0, size: 96, pages: 0 });
        let mut blocks: Vec<_> = (0..500).map(|_| pool.alloc(GFP).unwrap()).collect();
        // 42 of them fit into a page.
        assert_eq!(pool.info(), DmaPoolInfo { used: 500, blocks: 504, size: 96, pages: 12 });
        for (n, block) in blocks.iter().enumerate() {
            assert!(block.virt().is_aligned(32) && block.len() == 96);
            assert_eq!(block.virt(), phys_to_virt(DISK.memory_at(block.dma_addr()).unwrap()));
            bytes(block).fill(n as u8);
        }
        for (n, block) in blocks.iter().enumerate() {
            assert_eq!(bytes(block), [n as u8; 96], "a neighbour wrote to {block:?}");
        }
        // What is given back is had again, and no page more.
        let gone: Vec<_> = (0..200).map(|n| blocks.swap_remove(n % 7).dma_addr()).collect();
        assert_eq!(pool.info().used, 300);
        let again: Vec<_> = (0..204).map(|_| pool.zalloc(GFP).unwrap()).collect();
        assert_eq!(pool.info(), DmaPoolInfo { used: 504, blocks: 504, size: 96, pages: 12 });
        let had = again.iter().filter(|block| gone.contains(&block.dma_addr())).count();
        assert_eq!(had, 200);
        assert!(again.iter().all(|block| bytes(block).iter().all(|&byte| byte == 0)));
        let mut all: Vec<_> = blocks.iter().chain(&again).map(|b| b.dma_addr().get()).collect();
        all.sort_unstable();
        assert!(all.windows(2).all(|pair| pair[0] + 96 <= pair[1]));
        drop((blocks, again));
        assert_eq!(pool.info().used, 0);
        drop(pool);
        assert_eq!(settled_pages(), used);
    });
}

#[test]
fn no_block_crosses_the_boundary() {
    on_machine(|| {
        let pool = DmaPool::create("rings", &DISK, 1000, 8, 2048).unwrap();
        let blocks: Vec<_> = (0..40).map(|_| pool.alloc(GFP).unwrap()).collect();
        for block in &blocks {
            let (first, last) = (block.dma_addr().get(), block.dma_addr().get() + 999);
            assert_eq!(first / 2048, last / 2048, "{block:?}");
        }
        assert_eq!(pool.info().pages, 10);
        for (size, align, boundary) in [(0, 1, 0), (8, 3, 0), (4096, 8, 2048), (8, 8, 12)] {
            let refused = DmaPool::create("bad", &DISK, size, align, boundary);
            assert_eq!(refused.unwrap_err(), DmaError::Invalid);
        }
    });
}

/// Blocks of pages are of CMA's where there is room, and each is alone.
#[test]
fn large_blocks_have_pages_of_their_own() {
    on_machine(|| {
        let area = default_area().expect("there is one");
        let pool = DmaPool::create("frames", &DISK, 3 * PAGE_SIZE - 4, 4, 0).unwrap();
        let blocks: Vec<_> = (0..3).map(|_| pool.alloc(GFP).unwrap()).collect();
        assert_eq!((pool.info().pages, area.info().allocated), (9, 9));
        drop(blocks);
        assert_eq!(area.info().allocated, 9, "kept for the next");
        drop(pool);
        assert_eq!(area.info().allocated, 0);
    });
}

#[test]
fn a_device_that_reaches_nothing_gets_nothing() {
    on_machine(|| {
        let used = settled_pages();
        let nowhere = DmaDevice { mask: 0xfff, ..DISK };
        let pool = DmaPool::create("lost", &nowhere, 64, 64, 0).unwrap();
        assert_eq!(pool.alloc(GFP).unwrap_err(), DmaError::OutOfReach);
        assert_eq!(pool.info(), DmaPoolInfo { used: 0, blocks: 0, size: 64, pages: 0 });
        drop(pool);
        assert_eq!(settled_pages(), used);
    });
}

/// Memory that a device may still write to is given to nobody else.
#[test]
fn forgotten_blocks_keep_their_memory() {
    on_machine(|| {
        let used = settled_pages();
        let pool = DmaPool::create("forgotten", &DISK, 2048, 0, 0).unwrap();
        let blocks: Vec<_> = (0..6).map(|_| pool.alloc(GFP).unwrap()).collect();
        core::mem::forget(blocks.into_iter().next_back());
        assert_eq!(pool.info().used, 1);
        drop(pool);
        assert_eq!(settled_pages(), used + 1);
    });
}
