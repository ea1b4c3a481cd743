//! Resources of the physical address space: RAM, the kernel in it, reservations in it, and the
//! devices that the device tree names (Linux: kernel/resource.c, iomem_resource;
//! request_standard_resources of arch/arm64/kernel/setup.c).
//!
//! The tree is built once, at boot, and never changes after. It is a list in the order of
//! addresses, parents before their children: which they are follows from the ranges, for two
//! resources never overlap but as one inside the other.
#![deny(unsafe_code)]

use crate::addr::{PhysAddr, PhysRange};
use crate::firmware::fdt::{Text, Tree};
use crate::machine_local;
use crate::mm::memblock::Region;
use crate::sync::Once;
use alloc::vec::Vec;
use arrayvec::ArrayVec;
use core::cmp::Reverse;
use core::fmt;

#[cfg(test)]
mod tests;

/// Devices that are listed. A board has some hundreds.
const MAX_DEVICES: usize = 1024;
/// Ranges of registers of a device that are listed.
const MAX_REGS: usize = 16;
/// Entries of `ranges` that are looked at in all, for a hostile tree.
const MAX_STEPS: usize = 1 << 18;
/// Records that there is room for from the start: a small machine has no more.
const FIRST: usize = 64;
/// Depth to which nested resources are shown.
const MAX_DEPTH: usize = 8;

/// A range of physical addresses and what it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Resource {
    /// Addresses of the resource.
    pub range: PhysRange,
    /// Name of the resource, from the firmware where it is a device's.
    pub name: Text<'static>,
}

/// Reason why a resource was not added.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ResourceError {
    /// The resource has no addresses.
    Empty,
    /// Overlap with another resource, which lies neither in this one nor around it.
    Busy,
    /// There is no memory for its record.
    NoMemory,
}

impl fmt::Display for ResourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "the resource has no addresses",
            Self::Busy => "the resource overlaps with another",
            Self::NoMemory => "no memory for the record of the resource",
        })
    }
}

impl core::error::Error for ResourceError {}

/// Resources that lie beside and in each other (Linux: struct resource).
#[derive(Default, Debug)]
pub struct Resources {
    /// Resources by start; of those with the same start, the largest first.
    list: Vec<Resource>,
}

impl Resources {
    /// None.
    #[must_use]
    pub const fn new() -> Self {
        Self { list: Vec::new() }
    }

    /// All of them, parents before their children, rising.
    #[must_use]
    pub fn as_slice(&self) -> &[Resource] {
        &self.list
    }

    /// Adds a resource: a child of the smallest that holds it, and a parent of those that it
    /// holds (Linux: insert_resource).
    ///
    /// # Errors
    /// [`ResourceError`]; nothing has changed then.
    pub fn insert(&mut self, range: PhysRange, name: Text<'static>) -> Result<(), ResourceError> {
        if range.is_empty() {
            return Err(ResourceError::Empty);
        }
        let crosses = |other: &Resource| {
            let other = other.range;
            other.overlaps(range) && !other.contains_range(range) && !range.contains_range(other)
        };
        if self.list.iter().any(crosses) {
            return Err(ResourceError::Busy);
        }
        let more = if self.list.capacity() == 0 { FIRST } else { 1 };
        self.list.try_reserve(more).map_err(|_| ResourceError::NoMemory)?;
        let key = |range: PhysRange| (range.start(), Reverse(range.end()));
        let at = self.list.partition_point(|other| key(other.range) <= key(range));
        self.list.insert(at, Resource { range, name });
        Ok(())
    }

    /// Adds what of `range` nobody has in `within`, in pieces (Linux:
    /// reserve_region_with_split).
    ///
    /// # Errors
    /// [`ResourceError::NoMemory`]; some pieces may have been added.
    pub fn fill(
        &mut self,
        within: PhysRange,
        range: PhysRange,
        name: Text<'static>,
    ) -> Result<(), ResourceError> {
        let range = range.intersect(within);
        let mut at = range.start();
        while at < range.end() {
            let rest = PhysRange::new(at, range.end());
            let inside = |other: &&Resource| {
                within.contains_range(other.range)
                    && other.range != within
                    && other.range.overlaps(rest)
            };
            let next = self.list.iter().find(inside).map(|other| other.range);
            let end = next.map_or(range.end(), |next| next.start().max(at));
            if end > at {
                self.insert(PhysRange::new(at, end), name)?;
            }
            at = next.map_or(range.end(), PhysRange::end);
        }
        Ok(())
    }

    /// Adds RAM, the parts of the kernel's image, and what is reserved of RAM.
    ///
    /// # Errors
    /// [`ResourceError::NoMemory`]; the list is shorter then.
    pub fn add_memory(
        &mut self,
        memory: &[Region],
        reserved: &[Region],
        image: &[(PhysRange, &'static str)],
    ) -> Result<(), ResourceError> {
        let text = |name: &'static str| Text::new(name.as_bytes());
        // What is neither RAM nor free of others has no place in the list; that is no error.
        let unless_full = |added| match added {
            Err(ResourceError::NoMemory) => Err(ResourceError::NoMemory),
            _ => Ok(()),
        };
        for region in memory {
            let name = if region.is_nomap() { "reserved" } else { "System RAM" };
            unless_full(self.insert(region.range, text(name)))?;
        }
        for &(range, name) in image {
            unless_full(self.insert(range, text(name)))?;
        }
        for region in memory.iter().filter(|region| !region.is_nomap()) {
            for taken in reserved.iter().filter(|taken| taken.range.overlaps(region.range)) {
                self.fill(region.range, taken.range, text("reserved"))?;
            }
        }
        Ok(())
    }

    /// Adds the registers of the devices of `tree`, as far as the CPU reaches them.
    ///
    /// # Errors
    /// [`ResourceError::NoMemory`]; the list is shorter then.
    pub fn add_devices(&mut self, tree: &Tree<'static>) -> Result<(), ResourceError> {
        let (mut walk, mut steps, mut left) = (tree.lineages(), MAX_STEPS, MAX_DEVICES);
        while let Some(lineage) = walk.next() {
            let node = lineage.node();
            let is_memory = node.text("device_type").is_some_and(|kind| kind == "memory");
            if !node.is_available() || node.is_called(b"reserved-memory") || is_memory {
                walk.skip_children();
                continue;
            }
            for index in 0..MAX_REGS {
                let Some(reg) = lineage.reg_within(index, &mut steps) else { break };
                match self.insert(reg.range(), node.name()) {
                    Ok(()) => left -= 1,
                    Err(ResourceError::NoMemory) => return Err(ResourceError::NoMemory),
                    // Not a range of its own.
                    Err(ResourceError::Empty | ResourceError::Busy) => {}
                }
                if left == 0 {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

machine_local! {
    static IOMEM: Once<Resources> = Once::new();
}

/// Makes `resources` those of the machine, if it has none yet.
pub fn set_iomem(resources: Resources) {
    IOMEM.call_once(|| resources);
}

/// The machine's resources; none before the boot has come to them.
#[must_use]
pub fn iomem() -> &'static [Resource] {
    IOMEM.get().map_or(&[], Resources::as_slice)
}

/// /proc/iomem: a line for each resource, two columns further in than its parent.
pub struct IoMem<'a>(pub &'a [Resource]);

impl fmt::Display for IoMem<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Where the parents end.
        let mut parents = ArrayVec::<PhysAddr, MAX_DEPTH>::new();
        for Resource { range, name } in self.0 {
            while parents.last().is_some_and(|&end| end < range.end()) {
                parents.pop();
            }
            let indent = 2 * parents.len();
            let (first, last) = (range.start().get(), range.end().get() - 1);
            writeln!(f, "{:indent$}{first:08x}-{last:08x} : {name}", "")?;
            // Deeper ones stand as deep as this.
            let _ = parents.try_push(range.end());
        }
        Ok(())
    }
}
