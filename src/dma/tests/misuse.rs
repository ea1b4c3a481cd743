//! Misuse is caught by the debugging of mappings.

use super::*;

fn mapped(f: impl FnOnce(DmaAddr)) {
    linear_machine(1024, |_| {
        set_dma_debug(true);
        // SAFETY: the test's own memory, which it leaves alone meanwhile.
        f(unsafe { dma_map_page(&ANY, page(), 0, 128, ToDevice) }.unwrap());
    });
}

#[test]
#[should_panic(expected = "disk: nothing is mapped at 0x40")]
fn an_unmap_of_what_is_not_mapped_is_caught() {
    mapped(|at| {
        // SAFETY: the test's own memory, which it leaves alone meanwhile.
        unsafe { dma_unmap_single(&ANY, at, 128, ToDevice) };
        // SAFETY: the test's own memory, which it leaves alone meanwhile.
        unsafe { dma_unmap_single(&ANY, at, 128, ToDevice) };
    });
}

#[test]
#[should_panic(expected = "disk: 64 bytes ToDevice are unmapped at")]
fn an_unmap_of_another_size_is_caught() {
    // SAFETY: the test's own memory, which it leaves alone meanwhile.
    mapped(|at| unsafe { dma_unmap_single(&ANY, at, 64, ToDevice) });
}

#[test]
#[should_panic(expected = "where 128 bytes ToDevice were mapped by src")]
fn an_unmap_in_another_direction_is_caught() {
    // SAFETY: the test's own memory, which it leaves alone meanwhile.
    mapped(|at| unsafe { dma_unmap_single(&ANY, at, 128, FromDevice) });
}

#[test]
#[should_panic(expected = "disk: 1 bytes ToDevice are synced at")]
fn a_sync_beyond_the_mapping_is_caught() {
    // SAFETY: the test's own memory, which it leaves alone meanwhile.
    mapped(|at| unsafe {
        dma_sync_single_for_cpu(&ANY, DmaAddr::new(at.get() + 128), 1, ToDevice)
    });
}

#[test]
#[should_panic(expected = "disk: 128 bytes FromDevice are synced at")]
fn a_sync_in_another_direction_is_caught() {
    // SAFETY: mapped so; it panics before a byte is touched.
    mapped(|at| unsafe { dma_sync_single_for_cpu(&ANY, at, 128, FromDevice) });
}
