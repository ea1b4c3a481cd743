//! Estimate of the number of entries, and enlargement of the arrays up front for trees with
//! many.
//!
//! memblock's arrays grow into memory that looks free, and during the scan much looks
//! free that is not. So the number of regions is estimated first, from above, and
//! where it exceeds the arrays, these are enlarged before anything is added, at a
//! place in RAM that no reservation touches.

use super::memory::usable;
use super::{MAX_ENTRIES, Scan, ScanError, Size};
use crate::addr::{PAGE_SIZE, PhysAddr, PhysRange};
use crate::firmware::fdt::ReservedRegion;
use crate::mm::memblock::resize::bytes_for;
use crate::mm::memblock::{Grow, Kind, MAX_REGIONS};
use crate::mm::memblock::{MemblockError, Region};
use arrayvec::ArrayVec;

/// Regions that the two arrays may need.
#[derive(Clone, Copy)]
pub(super) struct Counts {
    memory: usize,
    reserved: usize,
    /// Part of `memory`: regions that arise once RAM was added, where parts are cut off.
    cuts: usize,
}

/// Maximum number of passes over a tree's obstacles to find a place. If they are in order, twice
/// for each batch is enough.
const MAX_PASSES: usize = 128;

/// Entries of RAM that are tried at a time.
const BATCH: usize = 32;

/// A place that might do, in an entry of RAM.
struct Candidate {
    ram: PhysRange,
    place: PhysRange,
    moved: bool,
}

impl Candidate {
    /// Goes upwards where the obstacle is in the way, perhaps out of RAM.
    fn move_past(&mut self, obstacle: PhysRange) {
        if obstacle.overlaps(self.place) {
            self.moved = true;
            let top = PhysAddr::new(u64::MAX);
            let at = obstacle.end().align_up(PAGE_SIZE as u64).unwrap_or(top);
            self.place = PhysRange::from_size(at, self.place.len());
        }
    }
}

/// Regions for what is not counted: the image, the tree, the initrd, the arrays
/// themselves, cuts by `mem=`.
const OTHER: usize = 12;

impl Scan<'_, '_, '_> {
    /// Counts entries, and refuses trees with too many.
    pub(super) fn count(&self) -> Result<Counts, ScanError> {
        let tree = self.handover.tree;
        let too_many = |what: &'static str, count: usize| {
            if count > MAX_ENTRIES {
                Err(ScanError::TooManyEntries { what, count })
            } else {
                Ok(())
            }
        };
        let ram = tree.memory().count();
        let map = tree.reservations().count();
        too_many("entries of the reservation map", map)?;
        let usable = self.chosen.and_then(|chosen| chosen.usable_memory_range());
        let usable = usable.map_or(0, Iterator::count);
        too_many("usable memory ranges", usable)?;
        let memmap = self.handover.command_line.memmap().count();
        too_many("memmap= parameters", memmap)?;
        let (mut regions, mut no_map) = (0, 0);
        if let Some(reserved) = self.reserved_memory {
            for region in reserved.regions() {
                let count = region.regs().map_or(1, Iterator::count);
                regions += count;
                no_map += if region.no_map() { count } else { 0 };
                too_many("reserved regions", regions)?;
            }
        }
        // A no-map range splits twice; of overlapping ranges each can split another.
        let cuts = 2 * no_map + usable + OTHER;
        Ok(Counts { memory: 2 * ram + cuts, reserved: map + regions + memmap + OTHER, cuts })
    }

    /// Enlarges the arrays that may be too small. Where that cannot be, the scan goes
    /// on and fails only if they really are.
    pub(super) fn presize(&mut self, counts: Counts, grow: Grow) -> Result<(), ScanError> {
        for (kind, count) in [(Kind::Reserved, counts.reserved), (Kind::Memory, counts.memory)] {
            if count <= self.memblock.capacity(kind) {
                continue;
            }
            // Where RAM lies in small pieces, a smaller array is better than none.
            let mut slots = count.next_power_of_two().min(MAX_REGIONS);
            let mut place = None;
            while place.is_none() && slots > self.memblock.capacity(kind) {
                place = bytes_for(slots).and_then(|bytes| self.untouched_place(bytes));
                slots /= 2;
            }
            let Some(place) = place else {
                self.warn(format_args!("no room for {count} early memory regions"));
                continue;
            };
            match grow(place) {
                Some(slots) => self.memblock.install(kind, slots, place)?,
                None => self.warn(format_args!("cannot reach {place:?} for early memory regions")),
            }
        }
        Ok(())
    }

    /// Adds an entry's RAM if it can be noted; of trees with more ranges than can be held the
    /// first count, and the rest of RAM is left out.
    pub(super) fn add_entry(&mut self, ram: Region, counts: Counts) -> Result<(), ScanError> {
        let cuts = counts.cuts.min(self.memblock.capacity(Kind::Memory) / 2);
        if self.memblock.room(Kind::Memory) > cuts {
            match self.memblock.add_node(ram.range, ram.nid, ram.flags) {
                Err(MemblockError::Full) => {}
                done => return Ok(done?),
            }
        }
        self.left_out.0 += 1;
        self.left_out.1 = self.left_out.1.saturating_add(ram.range.len());
        Ok(())
    }

    /// Says what [`Scan::add_entry`] left out.
    pub(super) fn warn_of_left_out(&mut self) {
        let (entries, bytes) = self.left_out;
        if entries > 0 {
            let held = self.memblock.memory().len();
            self.warn(format_args!(
                "{entries} entries of RAM, {} in all, are left out: {held} ranges are all that \
                 can be held",
                Size(bytes)
            ));
        }
    }

    /// A place of `size` bytes in some entry of RAM that is in nobody's way.
    fn untouched_place(&self, size: u64) -> Option<PhysRange> {
        let reach = PhysRange::new(PhysAddr::new(PAGE_SIZE as u64), self.handover.reach);
        let mut entries = self.handover.tree.memory().map(|e| usable(&e).intersect(reach));
        let mut batch = ArrayVec::<Candidate, BATCH>::new();
        for _ in 0..MAX_PASSES {
            if batch.is_empty() {
                let lowest = |ram: PhysRange| PhysRange::from_size(ram.start(), size);
                let next = entries.by_ref().take(BATCH);
                batch.extend(next.map(|ram| Candidate { ram, place: lowest(ram), moved: false }));
                if batch.is_empty() {
                    return None;
                }
            }
            // One that the top of the address space has cut is too small.
            batch.retain(|candidate| {
                candidate.place.len() == size && candidate.ram.contains_range(candidate.place)
            });
            if batch.is_empty() {
                continue;
            }
            batch.iter_mut().for_each(|candidate| candidate.moved = false);
            for obstacle in self.obstacles() {
                batch.iter_mut().for_each(|candidate| candidate.move_past(obstacle));
            }
            // Past one obstacle may lie another that came before it.
            if let Some(found) = batch.iter().find(|candidate| !candidate.moved) {
                return Some(found.place);
            }
        }
        None
    }

    /// Everything that will be reserved.
    pub(super) fn obstacles(&self) -> impl Iterator<Item = PhysRange> + '_ {
        let tree = self.handover.tree;
        let map = tree.reservations().map(|reg| reg.range());
        let regions = self.reserved_memory.into_iter().flat_map(|reserved| {
            let regions = reserved.regions().filter(ReservedRegion::is_available);
            let regs = regions.filter_map(|region| region.regs());
            regs.flatten().map(|reg| reg.range())
        });
        let memmap = self.handover.command_line.memmap().filter_map(Result::ok);
        self.own().chain(map).chain(memmap).chain(regions)
    }
}
