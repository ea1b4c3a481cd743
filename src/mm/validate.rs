//! Checks every invariant of the page allocator, by walking all of it.
#![deny(unsafe_code)]

pub use crate::mm::page_alloc::Invalid;

use crate::arch::irq::with_masked;
use crate::mm::memory_hotplug;
use crate::mm::mmzone::ZoneId;
use crate::mm::page_alloc::{
    num_poisoned_pages, validate_deferred, validate_tables, validate_zone,
};

/// Walks every list of every zone and CPU, in time proportional to the free memory. A CPU's list is
/// its own and has no lock: while other CPUs allocate or free, what is reported of theirs may be no
/// fault. Any context.
///
/// # Errors
/// The first [`Invalid`] found.
pub fn validate() -> Result<(), Invalid> {
    with_masked(|irq| {
        let mut poisoned = 0;
        for zone in ZoneId::all() {
            let wrong = |(what, frame)| Invalid { what, zone, frame };
            poisoned += memory_hotplug::validate_zone(irq, zone).map_err(wrong)?;
            validate_deferred(irq, zone).map_err(|what| wrong((what, None)))?;
            validate_zone(irq, zone)?;
        }
        let wrong = |what| Invalid { what, zone: ZoneId::from_bits(0), frame: None };
        if poisoned != num_poisoned_pages() {
            return Err(wrong("the count of poisoned pages is wrong"));
        }
        validate_tables(irq).map_err(wrong)
    })
}
