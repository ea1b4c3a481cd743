//! Tests of the way from trees to a filled memblock.

mod corpus;
mod fuzz;
mod hostile;
mod movable;
mod reserved;
mod small;

use super::*;
use crate::addr::{PAGE_SIZE, Pfn};
use crate::firmware::fdt::ReservedRegion;
use crate::firmware::fdt::tests::{Builder, work};
use crate::mm::memblock::Region;
use crate::mm::mmzone::{ZoneType, zones_of};
use std::boxed::Box;
use std::format;
use std::string::String;
use std::vec;
use std::vec::Vec;

/// A CPU with physical addresses of 48 bits.
const REACH: PhysAddr = PhysAddr::new(1 << 48);

/// A scan and what it said.
struct Scanned {
    memblock: Memblock,
    info: Result<BootInfo<'static>, ScanError>,
    messages: Vec<String>,
}

impl Scanned {
    fn info(&self) -> &BootInfo<'static> {
        self.info.as_ref().unwrap_or_else(|e| panic!("{e}: {:?}", self.messages))
    }

    fn warned(&self, of: &str) -> bool {
        self.messages.iter().any(|line| line.starts_with("WARN") && line.contains(of))
    }

    fn memory(&self) -> Vec<(u64, u64)> {
        self.memblock.memory().iter().map(|region| ends(region.range)).collect()
    }

    fn reserved(&self) -> Vec<(u64, u64)> {
        self.memblock.reserved().iter().map(|region| ends(region.range)).collect()
    }

    fn is_free(&self, range: PhysRange) -> bool {
        self.memblock.free_mem_ranges(None).any(|free| free.range.overlaps(range))
    }
}

fn ends(range: PhysRange) -> (u64, u64) {
    (range.start().get(), range.end().get())
}

fn range(start: u64, size: u64) -> PhysRange {
    PhysRange::from_size(PhysAddr::new(start), size)
}

/// A hook that takes slots from the host's heap.
fn grow(place: PhysRange) -> Option<&'static mut [Region]> {
    assert_eq!(place.whole_pages().phys(), place, "whole pages");
    let slots = place.len() as usize / size_of::<Region>();
    Some(Box::leak(vec![Region::EMPTY; slots].into_boxed_slice()))
}

/// Places the image and the tree, for most tests, at the start of the first entry of RAM, as a
/// boot loader would.
fn placed(tree: &Tree<'_>) -> (PhysRange, PhysRange) {
    let ram = tree.memory().map(|entry| memory::usable(&entry)).find(|ram| !ram.is_empty());
    let base = ram.map_or(0x4000_0000, |ram| ram.start().get());
    let image = range(base.saturating_add(0x8_0000), 0x10_0000);
    (image, range(image.end().get().saturating_add(0x1_0000), tree.total_size() as u64))
}

fn scan_with(blob: Vec<u8>, line: &str, hook: Option<Grow>) -> Scanned {
    let blob: &'static [u8] = Box::leak(blob.into_boxed_slice());
    let tree = Tree::new(blob).unwrap();
    let (image, dtb) = placed(&tree);
    let line: &'static str = Box::leak(String::from(line).into_boxed_str());
    let command_line = CommandLine::new(line);
    let handover = Handover { tree, dtb, image, command_line, reach: REACH };
    scan_handover(handover, hook)
}

/// Scans a tree whose entries are too many to be compared with one another.
fn scan_large(blob: Vec<u8>, line: &str, hook: Grow) -> Scanned {
    let tree = Tree::new(Box::leak(blob.into_boxed_slice())).unwrap();
    let (image, dtb) = placed(&tree);
    let command_line = CommandLine::new(Box::leak(String::from(line).into_boxed_str()));
    let handover = Handover { tree, dtb, image, command_line, reach: REACH };
    let (mut memblock, mut messages) = (Memblock::new(), Vec::new());
    let mut sink =
        |level: Level, line: fmt::Arguments<'_>| messages.push(format!("{level} {line}"));
    let info = early_init_dt_scan(&mut memblock, handover, Some(hook), &mut sink);
    memblock.validate();
    Scanned { memblock, info, messages }
}

fn scan_handover(handover: Handover<'static>, hook: Option<Grow>) -> Scanned {
    let (mut memblock, mut messages) = (Memblock::new(), Vec::new());
    let info = scan_into(&mut memblock, handover, hook, &mut messages);
    Scanned { memblock, info, messages }
}

/// Scans, and checks what must hold whatever the tree.
fn scan_into<'a>(
    memblock: &mut Memblock,
    handover: Handover<'a>,
    hook: Option<Grow>,
    messages: &mut Vec<String>,
) -> Result<BootInfo<'a>, ScanError> {
    let mut sink = |level: Level, line: fmt::Arguments<'_>| {
        messages.push(format!("{level} {line}"));
    };
    let (steps, info) = work::steps_of(|| early_init_dt_scan(memblock, handover, hook, &mut sink));
    // As many looks at each token as there are passes over the tree, which are limited.
    let tokens = handover.tree.total_size() as u64 / 4;
    assert!(steps <= 1000 * (tokens + 100), "{steps} steps for {tokens} tokens");
    check(memblock, &handover, info.as_ref().ok(), hook.is_some());
    for line in messages {
        assert!(!line.contains('\n'), "{line:?}");
    }
    info
}

fn scan(blob: Vec<u8>, line: &str) -> Scanned {
    scan_with(blob, line, Some(grow))
}

/// RAM of 1 GiB at 1 GiB.
fn virt() -> Builder {
    Builder::new(2, 2).memory("memory@40000000", &[0x4000_0000, 0x4000_0000])
}

/// Checks the invariants of any scan, whatever the tree.
fn check(
    memblock: &Memblock,
    handover: &Handover<'_>,
    info: Option<&BootInfo<'_>>,
    may_grow: bool,
) {
    memblock.validate();
    assert!(may_grow || memblock.arrays().next().is_none());
    let tree = &handover.tree;
    let page = PAGE_SIZE as u64;
    for region in memblock.memory() {
        let (start, end) = (region.range.start(), region.range.end());
        assert!(start.is_aligned(page) && end.is_aligned(page), "{region}");
        // Nothing is RAM that no memory node has.
        let mut at = start;
        while at < end {
            let entry = tree.memory().map(|e| memory::usable(&e)).filter(|ram| ram.contains(at));
            at = entry.map(|ram| ram.end()).max().unwrap_or_else(|| panic!("{region}: {at}"));
        }
    }
    assert!(memblock.end_of_dram() <= handover.reach || info.is_none());
    let Some(info) = info else { return };
    let free = |of: PhysRange| memblock.free_mem_ranges(None).any(|free| free.range.overlaps(of));
    let kept = [Some(handover.image), Some(handover.dtb), info.initrd];
    for own in kept.into_iter().flatten().chain(memblock.arrays()) {
        assert!(!free(own), "{own:?} is free");
        let mapped = |region: &Region| !region.is_nomap() || !region.range.overlaps(own);
        assert!(memblock.memory().iter().all(mapped), "{own:?} is not mapped");
    }
    for reg in tree.reservations() {
        assert!(!free(reg.range()), "{reg:?} is free");
    }
    let by_parameter = matches!(handover.command_line.cma(), Ok(Some(_)));
    let regions = tree.reserved_memory().into_iter().flat_map(|reserved| reserved.regions());
    for region in regions.filter(ReservedRegion::is_available) {
        if by_parameter && region.is_cma() && region.is_cma_default() {
            continue;
        }
        for reg in region.regs().into_iter().flatten() {
            assert!(!free(reg.range()), "{reg:?} is free");
        }
    }
    check_zones(memblock, info);
    let zones = info.zones;
    assert!(zones.start <= zones.dma && zones.dma <= zones.dma32 && zones.dma32 <= zones.normal);
    for (index, area) in info.cma.iter().enumerate() {
        let (start, end) = (area.range.start(), area.range.end());
        assert!(start.is_aligned(CMA_MIN_ALIGNMENT) && end.is_aligned(CMA_MIN_ALIGNMENT));
        assert!(memblock.is_region_memory(area.range) && !free(area.range) && start < end);
        assert!(zones.in_one_zone(memblock, area.range), "{area:?} spans {zones:?}");
        for other in &info.cma[..index] {
            assert!(!other.range.overlaps(area.range));
            assert!(!(other.is_default && area.is_default));
        }
        assert!(!area.range.overlaps(handover.image) && !area.range.overlaps(handover.dtb));
    }
    for (index, region) in info.reserved.iter().enumerate() {
        assert!(!free(region.range), "{region:?} is free");
        assert_eq!(
            region.kind == ReservedKind::Cma,
            info.cma.iter().any(|area| area.range == region.range),
            "{region:?}"
        );
        for other in info.reserved[..index].iter().filter(|_| region.is_dynamic) {
            assert!(!other.range.overlaps(region.range));
        }
        assert!(memblock.is_region_memory(region.range) || !region.is_dynamic);
    }
}

/// All RAM lies in zones, each where its limits say.
fn check_zones(memblock: &Memblock, info: &BootInfo<'_>) {
    let limits = info.zones.limits();
    assert_eq!(limits, limits.rounded());
    let spans = info.zones.spans(memblock);
    let mut pages = 0;
    for (_, range) in present(memblock) {
        for (id, part) in zones_of(limits, present(memblock), range) {
            pages += u64::from(part.len());
            let span = spans[id.index()];
            assert!(span.contains_range(part) && !part.is_empty(), "{id}: {part:?} of {span:?}");
            let movable = limits.movable[id.node().index()];
            let (start, end) = match id.kind() {
                ZoneType::Dma => (Pfn::new(0), limits.dma.min(movable)),
                ZoneType::Dma32 => (limits.dma, limits.dma32.min(movable)),
                ZoneType::Normal => (limits.dma32, movable),
                ZoneType::Movable => (movable, Pfn::LIMIT),
            };
            assert!(start <= part.start() && part.end() <= end, "{id}: {part:?}, {limits:?}");
        }
    }
    assert_eq!(pages << 12, memblock.phys_mem_size());
    // What the page allocator is given.
    for free in memblock.free_mem_ranges(None) {
        let free = free.range.whole_pages();
        let there: u32 = present(memblock).map(|(_, ram)| ram.intersect(free).len()).sum();
        assert_eq!(there, free.len());
    }
}
