//! Checks every invariant of the page allocator, by walking all of it.
#![deny(unsafe_code)]

pub use crate::mm::page_alloc::Invalid;

use crate::arch::irq::with_masked;
use crate::mm::memory_hotplug;
use crate::mm::mmzone::ZoneId;
use crate::mm::page_alloc::{num_poisoned_pages, validate_zone};

/// Walks every list of every zone and CPU. While it runs no other CPU may use the
/// allocator; it takes time in proportion to the free memory.
///
/// # Errors
/// The first [`Invalid`] found.
pub fn validate() -> Result<(), Invalid> {
    with_masked(|irq| {
        let mut poisoned = 0;
        for zone in ZoneId::all() {
            let wrong = |(what, frame)| Invalid { what, zone, frame };
            poisoned += memory_hotplug::validate_zone(irq, zone).map_err(wrong)?;
            validate_zone(irq, zone)?;
        }
        if poisoned != num_poisoned_pages() {
            let zone = ZoneId::from_bits(0);
            return Err(Invalid {
                what: "the count of poisoned pages is wrong",
                zone,
                frame: None,
            });
        }
        Ok(())
    })
}
