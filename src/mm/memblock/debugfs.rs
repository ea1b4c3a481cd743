//! Files of debugfs memblock/: the regions that memblock had when it was discarded (Linux: arm64
//! keeps memblock itself for them).

use super::{Kind, Region, RegionFlags};
use crate::machine_local;
use crate::sync::Once;
use alloc::vec::Vec;
use core::fmt;

machine_local! {
    static KEPT: Once<[Vec<Region>; 2]> = Once::new();
}

/// Remembers the regions of RAM and the reserved ones. Once; further calls change nothing.
pub fn keep(memory: Vec<Region>, reserved: Vec<Region>) {
    KEPT.call_once(|| [memory, reserved]);
}

/// Returns the regions kept of an array; none before [`keep`].
#[must_use]
pub fn regions(kind: Kind) -> &'static [Region] {
    let Some([memory, reserved]) = KEPT.get() else { return &[] };
    match kind {
        Kind::Memory => memory,
        Kind::Reserved => reserved,
    }
}

/// debugfs memblock/memory and memblock/reserved: number, range, node and flags of each region.
pub struct DebugRegions<'a>(pub &'a [Region]);

impl fmt::Display for DebugRegions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, region) in self.0.iter().enumerate() {
            let (start, end) = (region.range.start().get(), region.range.end().get());
            write!(f, "{n:>4}: {start:#018x}..{:#018x} ", end.saturating_sub(1))?;
            match region.nid {
                Some(nid) => write!(f, "{:>4} ", nid.index())?,
                None => write!(f, "{:>4} ", 'x')?,
            }
            let flag = match region.flags.iter().next() {
                None => "NONE",
                Some(RegionFlags::HOTPLUG) => "HOTPLUG",
                Some(RegionFlags::NOMAP) => "NOMAP",
                Some(_) => "UNKNOWN",
            };
            writeln!(f, "{flag}")?;
        }
        Ok(())
    }
}
