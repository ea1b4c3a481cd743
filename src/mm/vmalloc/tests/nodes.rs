//! Areas of the memory of a node.

use super::vfree;
use crate::addr::{Order, PhysAddr};
use crate::mm::alloc_pages::alloc_pages_node;
use crate::mm::page_alloc::free_pages;
use crate::mm::tests::two_nodes::on_two_nodes as on_machine;
use crate::mm::vmalloc::*;
use std::vec::Vec;

const QUIET: Gfp = Gfp::GFP_KERNEL.union(Gfp::__GFP_NOWARN);
/// Start of the machine's second node.
const SECOND_NODE: PhysAddr = PhysAddr::new(0x4180_0000);
/// Pages of areas: of single pages, and of blocks.
const SIZES: [usize; 3] = [1, 7, 600];

fn node(n: usize) -> NodeId {
    NodeId::new(n).expect("there is one")
}

/// The nodes that the pages of an area are of, by where they lie.
fn nodes(at: VirtAddr, pages: usize) -> Vec<NodeId> {
    let frame = |n| vmalloc_to_page(at + n * PAGE_SIZE).expect("a page");
    let of = |n| node(usize::from(frame(n).phys() >= SECOND_NODE));
    let mut nodes: Vec<_> = (0..pages).map(of).collect();
    nodes.dedup();
    nodes
}

#[test]
fn an_area_is_of_its_nodes_memory() {
    on_machine(|| {
        for wanted in [node(0), node(1)] {
            for pages in SIZES {
                for gfp in [QUIET, QUIET | Gfp::__GFP_THISNODE] {
                    let at = vmalloc_node(pages * PAGE_SIZE, gfp, wanted).expect("memory");
                    assert!(is_vmalloc_addr(at) && is_vmalloc_addr(at + pages * PAGE_SIZE - 1));
                    assert_eq!(nodes(at, pages), [wanted], "{pages} pages");
                    vfree(at);
                }
            }
        }
    });
}

/// An allocation takes another node's memory where its node has nothing left, unless it excludes
/// other nodes.
#[test]
fn another_nodes_memory_is_second_best() {
    on_machine(|| {
        let alone = QUIET | Gfp::__GFP_THISNODE | Gfp::__GFP_NORETRY;
        let take = || alloc_pages_node(node(1), alone, Order::ZERO);
        let all: Vec<_> = core::iter::from_fn(take).collect();
        for pages in SIZES {
            assert_eq!(vmalloc_node(pages * PAGE_SIZE, alone, node(1)), None);
            let at = vmalloc_node(pages * PAGE_SIZE, QUIET, node(1)).expect("memory");
            assert_eq!(nodes(at, pages), [node(0)], "{pages} pages");
            vfree(at);
        }
        // SAFETY: allocated here, and nobody uses it any more.
        all.into_iter().for_each(|frame| unsafe { free_pages(frame, Order::ZERO) });
    });
}

#[test]
fn the_area_ends_where_it_says() {
    let area = layout::VMALLOC;
    assert!(is_vmalloc_addr(area.start()) && is_vmalloc_addr(area.end() - 1));
    assert!(!is_vmalloc_addr(area.start() - 1) && !is_vmalloc_addr(area.end()));
    assert!(!is_vmalloc_addr(layout::LINEAR.start()) && !is_vmalloc_addr(layout::KIMAGE.start()));
}
