//! Places in the source that records name by address: of the callers of kmalloc and its kin.
//!
//! A call site is the address of its `Location`, as a caller's is everywhere in this kernel. An
//! address alone can't be followed back, so those that were seen are kept in a table, by which
//! they are printed, and which goes out with the records (Linux: kallsyms).

use crate::machine_local;
use crate::sync::Once;
use core::fmt;
use core::panic::Location;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Sites that are remembered; a kernel has some hundred.
const SITES: usize = 512;

machine_local! {
    /// Sites by a hash of the address, at the next free place where that is taken.
    static TABLE: [Once<&'static Location<'static>>; SITES] = [const { Once::new() }; SITES];
    static FORGOTTEN: AtomicU64 = AtomicU64::new(0);
}

fn address(site: &'static Location<'static>) -> usize {
    core::ptr::from_ref(site).addr()
}

/// The places where an address may be, in order.
fn places(at: usize) -> impl Iterator<Item = &'static Once<&'static Location<'static>>> {
    let first = (at >> 3).wrapping_mul(0x9e37_79b9) >> 7;
    (0..SITES).map(move |n| &TABLE[(first + n) % SITES])
}

/// Remembers a site; the number that stands for it. Interrupts are masked: one that came
/// between would wait for itself.
pub(super) fn number(site: &'static Location<'static>, _irq: &crate::arch::IrqMasked) -> u64 {
    let at = address(site);
    let known = places(at).any(|place| address(place.call_once(|| site)) == at);
    if !known {
        FORGOTTEN.fetch_add(1, Relaxed);
    }
    at as u64
}

fn find(at: usize) -> Option<&'static Location<'static>> {
    places(at).map_while(|place| place.get().copied()).find(|&site| address(site) == at)
}

/// Writes `file:line`, or the number where that is not known (Linux: %ps).
pub(super) fn print(f: &mut fmt::Formatter<'_>, at: usize) -> fmt::Result {
    match find(at) {
        Some(site) => write!(f, "{}:{}", site.file(), site.line()),
        None => write!(f, "{at:#x}"),
    }
}

/// All that are remembered, as lines of Linux's /proc/kallsyms, sorted by nothing.
pub struct Sites;

impl fmt::Display for Sites {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for site in TABLE.iter().filter_map(|place| place.get()) {
            writeln!(f, "{:016x} R {}:{}", address(site), site.file(), site.line())?;
        }
        Ok(())
    }
}
