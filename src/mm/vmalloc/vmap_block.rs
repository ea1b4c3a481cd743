//! Addresses for a few pages for a short time (Linux: vm_map_ram, struct vmap_block).
//!
//! Each CPU has a block of addresses and hands out the next ones of it, each time with a
//! guard page. What is given back is used again only when the whole block was, by one
//! flush: no search of the tree, no flush and no record for a mapping.
#![deny(unsafe_code)]

use super::area::{Backing, State, VmFlags};
use super::purge::{Wait, purge};
use super::va_space::AreaId;
use super::vm_area::Request;
use super::vmap_areas::VmapAreas;
use super::{bad_address, mapping, unmap_area_of_vmap, vmap, with_areas};
use crate::addr::{PAGE_SIZE, VirtAddr, VirtRange};
use crate::arch::irq::with_masked;
use crate::arch::pgtable::KernelAttrs;
use crate::arch::{CpuId, cpu, irq};
use crate::mm::gfp::Gfp;
use crate::mm::init_mm::{self, TlbFlush};
use crate::mm::page::Frame;
use crate::percpu::nr_cpu_ids;

/// Pages of a block.
pub const BLOCK_PAGES: u32 = 256;
/// The most pages that come from a block (Linux: VMAP_MAX_ALLOC).
pub const VMAP_MAX_ALLOC: usize = 32;

/// The block that a CPU hands out.
#[derive(Clone, Copy, Debug)]
pub struct CurrentBlock {
    pub(super) id: AreaId,
    /// Pages handed out.
    pub(super) next: u32,
}

impl VmapAreas {
    /// The next `count` pages of the CPU's block.
    fn block_take(&mut self, cpu: CpuId, count: u32) -> Option<VirtAddr> {
        let block = self.blocks[cpu.index()].as_mut()?;
        let first = block.next;
        if first + count > BLOCK_PAGES {
            return None;
        }
        block.next += count;
        let id = block.id;
        Some(self.space.area(id).start() + first as usize * PAGE_SIZE)
    }

    /// Gives the CPU a new block. Returns true if a purge is due.
    fn block_install(&mut self, cpu: CpuId, start: VirtAddr) -> bool {
        let id = self.space.find(start).expect("an area that was just allocated");
        let old = self.blocks[cpu.index()].replace(CurrentBlock { id, next: 0 });
        old.is_some_and(|old| self.block_put(old.id, BLOCK_PAGES - old.next, TlbFlush::NONE))
    }

    /// Counts pages of a block that are no longer used, or never will be. The block ends with
    /// the last of them. Returns true if a purge is due.
    fn block_put(&mut self, id: AreaId, count: u32, owed: TlbFlush) -> bool {
        self.owe(owed);
        let (range, area) = self.space.get_mut(id);
        area.dirty += count;
        assert!(area.dirty <= BLOCK_PAGES, "vm_unmap_ram: more of {range:?} than was mapped");
        if area.dirty < BLOCK_PAGES {
            return false;
        }
        (area.state, area.dirty) = (State::Unmapping, 0);
        // A CPU that handed out all of it has it yet.
        let blocks = &mut self.blocks[..nr_cpu_ids()];
        if let Some(current) = blocks.iter_mut().find(|b| b.is_some_and(|b| b.id == id)) {
            *current = None;
        }
        self.retire(id, TlbFlush::NONE)
    }

    /// The block in use that `range` lies in: the current one of CPU `cpu`, as a rule.
    fn block_of(&self, cpu: CpuId, range: VirtRange) -> Option<AreaId> {
        let current = self.blocks[cpu.index()].map(|block| block.id);
        let is_there = |id: &AreaId| self.space.area(*id).contains(range.start());
        let id = current.filter(is_there).or_else(|| self.space.find(range.start()))?;
        let area = self.space.get(id);
        let found = area.state == State::Busy
            && area.flags.contains(VmFlags::VM_MAP_RAM)
            && self.space.area(id).contains_range(range);
        found.then_some(id)
    }

    /// Ends the CPUs' blocks of which nothing is in use.
    fn retire_idle_blocks(&mut self) {
        for cpu in 0..nr_cpu_ids() {
            let idle = self.blocks[cpu].filter(|b| self.space.get(b.id).dirty == b.next);
            if let Some(block) = idle {
                self.blocks[cpu] = None;
                let _due = self.block_put(block.id, BLOCK_PAGES - block.next, TlbFlush::NONE);
            }
        }
    }
}

/// Maps a few pages for a short time, readable and writable: as [`vmap`], and for up to
/// [`VMAP_MAX_ALLOC`] pages with less work. Ends with [`vm_unmap_ram`](super::vm_unmap_ram). Process context.
#[track_caller]
#[must_use]
pub fn vm_map_ram(frames: &[Frame]) -> Option<VirtAddr> {
    if frames.len() > VMAP_MAX_ALLOC || frames.is_empty() {
        return vmap(frames, KernelAttrs::KERNEL);
    }
    let count = frames.len() as u32 + 1;
    let take = || with_masked(|irq| with_areas(|areas| areas.block_take(cpu::id(irq), count)));
    let start = loop {
        if let Some(start) = take() {
            break start;
        }
        let request = Request::new(BLOCK_PAGES, VmFlags::VM_MAP_RAM, Gfp::GFP_KERNEL);
        let block = request.map(Backing::None, |_| Ok(()))?;
        let due = with_masked(|irq| with_areas(|areas| areas.block_install(cpu::id(irq), block)));
        if due {
            purge(Wait::No);
        }
    };
    let pages = || frames.iter().map(|frame| frame.phys());
    if mapping::map_pages(start, pages(), KernelAttrs::KERNEL).is_err() {
        put(start, count, Put::Unmapped);
        return None;
    }
    if !init_mm::may_map(pages(), KernelAttrs::KERNEL) {
        put(start, count, Put::Mapped);
        return None;
    }
    Some(start)
}

/// Implements [`vm_unmap_ram`](super::vm_unmap_ram).
#[track_caller]
pub(super) fn end(va: VirtAddr, pages: usize) {
    if pages > VMAP_MAX_ALLOC {
        return unmap_area_of_vmap(va);
    }
    if !va.is_aligned(PAGE_SIZE) || pages == 0 || !put(va, pages as u32 + 1, Put::Mapped) {
        bad_address("vm_unmap_ram", va);
    }
}

/// Choice whether the returned part must be mapped.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Put {
    Mapped,
    Unmapped,
}

/// Frees `count` pages of a block. Returns false if they are not a block's.
fn put(va: VirtAddr, count: u32, what: Put) -> bool {
    let range = VirtRange::from_size(va, count as usize * PAGE_SIZE);
    let block = with_masked(|irq| with_areas(|areas| areas.block_of(cpu::id(irq), range)));
    let Some(id) = block else { return false };
    let (pages, mut owed) = (count as usize, TlbFlush::NONE);
    // The block can't end before this part of it is given back.
    if what == Put::Mapped && !with_masked(|irq| mapping::unmap_mapped(irq, va, pages, &mut owed)) {
        return false;
    }
    let due = with_areas(|areas| areas.block_put(id, count, owed));
    if due && !irq::is_masked() {
        purge(Wait::No);
    }
    true
}

/// Ends the CPUs' blocks of which nothing is in use (Linux: purge_fragmented_blocks_allcpus).
pub(super) fn retire_idle() {
    with_areas(VmapAreas::retire_idle_blocks);
}
