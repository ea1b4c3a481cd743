//! Dump and validation.

use super::{Kind, Memblock, Region};
use core::fmt;

impl Memblock {
    /// Prints both arrays in the manner of Linux's `memblock=debug`.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn dump(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        writeln!(out, "MEMBLOCK configuration:")?;
        let (memory, reserved) = (self.phys_mem_size(), self.reserved_size());
        writeln!(out, " memory size = {memory:#018x} reserved size = {reserved:#018x}")?;
        for (name, regions) in [("memory", self.memory()), ("reserved", self.reserved())] {
            writeln!(out, " {name}.cnt  = {:#x}", regions.len())?;
            for (index, region) in regions.iter().enumerate() {
                write!(out, " {name}[{index:#x}]\t{region}")?;
                writeln!(out)?;
            }
        }
        Ok(())
    }

    /// Checks every invariant of the module.
    ///
    /// # Panics
    /// One does not hold. The message names the array and the regions.
    pub fn validate(&self) {
        for kind in [Kind::Memory, Kind::Reserved] {
            let array = self.array(kind);
            let regions = array.regions();
            assert!(regions.len() <= array.capacity(), "memblock {kind:?}: more than fits");
            for region in regions {
                assert!(!region.range.is_empty(), "memblock {kind:?}: empty region {region}");
            }
            for pair in regions.windows(2) {
                let [below, above] = pair else { continue };
                let sorted = below.range.end() <= above.range.start();
                assert!(sorted, "memblock {kind:?}: {below} and {above} overlap or are unsorted");
                assert!(!below.joins(above), "memblock {kind:?}: {below} and {above} are one");
            }
            if let Some(at) = array.grown_at() {
                let held = self.reserved.gaps(at).next().is_none();
                assert!(held, "memblock {kind:?}: its own array at {at:?} is not reserved");
            }
        }
        for region in self.reserved() {
            assert!(region.flags.is_empty() && region.nid.is_none(), "memblock: odd {region}");
        }
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (start, end) = (self.range.start(), self.range.end());
        // The last byte, as Linux prints it.
        let last = end.get().saturating_sub(1);
        write!(f, "[{start:#018x}-{last:#018x}], {:#018x} bytes", self.range.len())?;
        if let Some(nid) = self.nid {
            write!(f, " on node {}", nid.index())?;
        }
        write!(f, " flags: {:#x}", self.flags.bits())
    }
}
