//! memblock on its own.

mod model;
mod small;

use super::*;
use std::boxed::Box;
use std::cell::Cell;
use std::vec;

std::thread_local! {
    /// How often the hook still says yes.
    static GROWTHS: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// Lets the hook say yes this often.
pub(super) fn allow_growths(count: usize) {
    GROWTHS.with(|left| left.set(count));
}

/// How often the hook will still say yes.
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
    Some(Box::leak(vec![Region::EMPTY; slots].into_boxed_slice()))
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
