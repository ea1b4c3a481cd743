//! memblock on its own.

mod model;
mod small;

use super::*;
use core::sync::atomic::AtomicPtr;
use std::boxed::Box;
use std::cell::Cell;
use std::sync::Mutex;
use std::vec;
use std::vec::Vec;

/// Arrays that the hook gave out: they stay for good, and are no leak.
static KEPT: Mutex<Vec<AtomicPtr<Region>>> = Mutex::new(Vec::new());

std::thread_local! {
    /// Number of times that the hook still grants memory.
    static GROWTHS: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// Lets the hook say yes this often.
pub(super) fn allow_growths(count: usize) {
    GROWTHS.with(|left| left.set(count));
}

/// Returns the number of times that the hook still grants memory.
pub(super) fn growths_left() -> usize {
    GROWTHS.with(Cell::get)
}

/// A hook that takes slots from the host's heap.
pub(super) fn grow(place: PhysRange) -> Option<&'static mut [Region]> {
    let left = GROWTHS.with(Cell::get);
    GROWTHS.with(|cell| cell.set(left.saturating_sub(1)));
    if left == 0 {
        return None;
    }
    assert_eq!(place.whole_pages().phys(), place, "whole pages");
    let slots = place.len() as usize / size_of::<Region>();
    let slots = Box::leak(vec![Region::EMPTY; slots].into_boxed_slice());
    KEPT.lock().unwrap_or_else(|e| e.into_inner()).push(AtomicPtr::new(slots.as_mut_ptr()));
    Some(slots)
}

/// A memblock whose arrays start with this few slots.
pub(super) fn with_slots(slots: usize) -> Memblock {
    let mut memblock = Memblock::new();
    memblock.memory.first_slots = slots;
    memblock.reserved.first_slots = slots;
    memblock
}

/// Pages `start..end`.
pub(super) fn pages(start: u64, end: u64) -> PhysRange {
    PhysRange::new(PhysAddr::new(start << 12), PhysAddr::new(end << 12))
}
