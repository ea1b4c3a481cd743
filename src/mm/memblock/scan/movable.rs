//! Size of ZONE_MOVABLE on each node: `kernelcore=`, `movablecore=`, `movable_node` (Linux:
//! find_zone_movable_pfns_for_nodes, mm/mm_init.c).

use super::zones::present;
use super::{MaxZonePfns, Scan};
use crate::addr::{Order, PAGE_SHIFT, Pfn};
use crate::firmware::cmdline::CoreSize;
use crate::mm::memblock::Region;
use crate::mm::mmzone::{MAX_NUMNODES, NodeId};

/// The node of a region of RAM; the first one's where the firmware gives none.
fn node_of(region: &Region) -> NodeId {
    region.nid.unwrap_or(NodeId::FIRST)
}

/// A node's RAM in pages.
#[derive(Clone, Copy, Default)]
struct Pages {
    /// All of it.
    all: u64,
    /// Pages below the highest zone, which are never ZONE_MOVABLE.
    low: u64,
}

impl Scan<'_, '_, '_> {
    /// Finds the start of ZONE_MOVABLE on each node. It is taken from the end of the
    /// highest zone, so that what is left for all kinds of allocation is spread over
    /// the nodes as evenly as it can be.
    pub(super) fn find_movable(&mut self, zones: &MaxZonePfns) -> [Pfn; MAX_NUMNODES] {
        let line = self.handover.command_line;
        if let Err(error) = line.flag("movable_node") {
            self.warn(format_args!("{error}"));
        }
        if self.is_movable_node() {
            self.keep_kernel_nodes();
            return self.hotpluggable_ends();
        }
        let highest = zones.highest_zone();
        let mut nodes = [Pages::default(); MAX_NUMNODES];
        for (node, range) in present(self.memblock) {
            let pages = &mut nodes[node.index()];
            pages.all += u64::from(range.len());
            pages.low += u64::from(highest.min(range.end()).max(range.start()) - range.start());
        }
        let total = nodes.iter().map(|pages| pages.all).sum();
        let none = [Pfn::LIMIT; MAX_NUMNODES];
        let Some(core) = self.core_pages(total) else { return none };

        // The least share of each node, between what it cannot but keep and all it
        // has, with which the shares make `core` pages.
        let share = |pages: &Pages, level: u64| level.clamp(pages.low, pages.all);
        let (mut short, mut level) = (0, total);
        while short < level {
            let middle = short + (level - short) / 2;
            if nodes.iter().map(|pages| share(pages, middle)).sum::<u64>() < core {
                short = middle + 1;
            } else {
                level = middle;
            }
        }
        let mut starts = none;
        for node in NodeId::numbers() {
            starts[node.index()] = self.start_after(node, share(&nodes[node.index()], level));
        }
        // A node that begins in the highest zone's first block shares that block.
        starts.map(|start| start.max(highest).align_up(Order::MAX))
    }

    /// The pages that are to be left for all kinds of allocation; `None` for all.
    fn core_pages(&mut self, total: u64) -> Option<u64> {
        let kernelcore = self.core_size("kernelcore", total);
        let movablecore = self.core_size("movablecore", total).filter(|pages| *pages > 0);
        // What is asked for both ways is the larger of the two.
        let left = movablecore.map(|pages| {
            let block = u64::from(Order::MAX.pages());
            total.saturating_sub(pages.div_ceil(block).saturating_mul(block))
        });
        match kernelcore.max(left) {
            Some(0) => {
                self.warn(format_args!(
                    "kernelcore=, movablecore=: ignored, as nothing would be left for the kernel"
                ));
                None
            }
            core => core.filter(|core| *core < total),
        }
    }

    /// The pages that a parameter asks for.
    fn core_size(&mut self, key: &'static str, total: u64) -> Option<u64> {
        match self.handover.command_line.core_size(key) {
            Ok(None) => None,
            Ok(Some(CoreSize::Bytes(bytes))) => Some(bytes >> PAGE_SHIFT),
            Ok(Some(CoreSize::Percent(percent))) => Some(total * u64::from(percent) / 100),
            Ok(Some(CoreSize::Mirror)) => {
                self.warn(format_args!(
                    "{key}=mirror ignored: a device tree does not tell which memory is mirrored"
                ));
                None
            }
            Err(error) => {
                self.warn(format_args!("{error}"));
                None
            }
        }
    }

    /// The frame after the lowest `pages` pages of a node; [`Pfn::LIMIT`] if it has no
    /// more.
    fn start_after(&self, node: NodeId, pages: u64) -> Pfn {
        let mut left = pages;
        for (_, range) in present(self.memblock).filter(|(nid, _)| *nid == node) {
            if left < u64::from(range.len()) {
                return range.start() + left as u32;
            }
            left -= u64::from(range.len());
        }
        Pfn::LIMIT
    }

    /// Returns true if hotpluggable memory is to be kept removable (the parameter
    /// `movable_node`).
    pub(super) fn is_movable_node(&self) -> bool {
        matches!(self.handover.command_line.flag("movable_node"), Ok(Some(true)))
    }

    /// No memory of a node that the kernel itself lives on can be taken out, whatever the
    /// firmware says (Linux: numa_clear_kernel_node_hotplug). Where the kernel lives in no RAM
    /// that the tree names, the first node is kept for it.
    fn keep_kernel_nodes(&mut self) {
        let mut kept = [false; MAX_NUMNODES];
        for own in self.own() {
            for region in self.memblock.memory().iter().filter(|r| r.range.overlaps(own)) {
                kept[node_of(region).index()] = true;
            }
        }
        let all_go = self.memblock.memory().iter().all(Region::is_hotpluggable);
        if all_go && !kept.contains(&true) {
            self.memblock
                .memory()
                .first()
                .into_iter()
                .for_each(|r| kept[node_of(r).index()] = true);
        }
        while let Some(range) = {
            let regions = self.memblock.memory().iter();
            let mut goes = regions.filter(|r| r.is_hotpluggable() && kept[node_of(r).index()]);
            goes.next().map(|region| region.range)
        } {
            // The range is a whole region: nothing is split, so there is always room.
            if self.memblock.clear_hotplug(range).is_err() {
                return;
            }
        }
    }

    /// Finds the start of each node's first hotpluggable memory, where its ZONE_MOVABLE begins
    /// with `movable_node`.
    fn hotpluggable_ends(&self) -> [Pfn; MAX_NUMNODES] {
        let mut starts = [Pfn::LIMIT; MAX_NUMNODES];
        for region in self.memblock.memory().iter().filter(|region| region.is_hotpluggable()) {
            let start = &mut starts[node_of(region).index()];
            *start = (*start).min(region.range.whole_pages().start().align_up(Order::MAX));
        }
        starts
    }
}
