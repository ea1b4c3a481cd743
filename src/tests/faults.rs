//! Allocations that fail, each in turn, on the emulated machine; in the kernel the image
//! `faults` does the same.

#[path = "../../tests/harness/scenario.rs"]
mod scenario;

use crate as root;
use crate::dma;
use crate::mm::heap::{EarlyBuffer, KernelHeap};
use crate::mm::page_alloc::drain_all_pages;
use crate::mm::tests::two_nodes::on_two_nodes;
use crate::mm::{percpu, slab, vmalloc};
use core::alloc::{GlobalAlloc, Layout};
use scenario::Failing;

/// The heap, which on this machine is the kernel's in name alone.
fn extras() -> Option<()> {
    static BUFFER: EarlyBuffer = EarlyBuffer::new();
    // SAFETY: its buffer serves only before the slab allocator is up, which it is here.
    let heap = unsafe { KernelHeap::new(&BUFFER) };
    for size in [100, 5000, 300_000] {
        let layout = Layout::from_size_align(size, 16).expect("a layout");
        // SAFETY: sizes are not zero, and what was allocated is freed with its layout.
        unsafe {
            let at = heap.alloc(layout);
            if at.is_null() {
                return None;
            }
            let grown = heap.realloc(at, layout, 2 * size);
            if grown.is_null() {
                heap.dealloc(at, layout);
                return None;
            }
            heap.dealloc(grown, Layout::from_size_align(2 * size, 16).expect("a layout"));
        }
    }
    Some(())
}

fn settle() {
    dma::shrink();
    percpu::shrink();
    vmalloc::shrink();
    slab::shrink_all();
    drain_all_pages();
}

fn fail_each_call(failing: Failing) {
    on_two_nodes(|| {
        scenario::fail_each_call(failing);
        assert_eq!(dma::live_mappings(), 0);
    });
}

#[test]
fn each_allocation_fails_and_nothing_is_lost() {
    fail_each_call(Failing::Pages);
}

#[test]
fn each_object_fails_and_nothing_is_lost() {
    fail_each_call(Failing::Objects);
}
