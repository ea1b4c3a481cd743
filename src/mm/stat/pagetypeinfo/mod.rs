//! Distribution of free memory over orders and migratetypes (Linux: /proc/pagetypeinfo and
//! debugfs extfrag/ of mm/vmstat.c).
#![deny(unsafe_code)]

use super::Head;
use crate::addr::{Order, Pfn};
use crate::mm::compaction::ContigPageInfo;
use crate::mm::mmzone::{Migratetype, NodeId};
use crate::mm::page::Frame;
use crate::mm::page_alloc::{self, ZoneInfo};
use core::fmt;

/// /proc/pagetypeinfo: free blocks by migratetype and order, and pageblocks by migratetype.
/// Sections that are not up yet have neither. Linux counts mixed pageblocks as well, where it
/// knows each page's owner; here nobody does.
pub struct PageTypeInfo;

impl fmt::Display for PageTypeInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        super::nodes().try_for_each(|node| show_node(f, node))
    }
}

/// A node's part, head and all: Linux has one for each.
fn show_node(f: &mut fmt::Formatter<'_>, node: NodeId) -> fmt::Result {
    writeln!(f, "Page block order: {}", Order::PAGEBLOCK)?;
    writeln!(f, "Pages per block:  {}\n", Order::PAGEBLOCK.pages())?;
    write!(f, "{:<43} ", "Free pages count per migrate type at order")?;
    for order in Order::ZERO.and_up() {
        write!(f, "{:>6} ", order.get())?;
    }
    writeln!(f)?;
    for zone in page_alloc::zones_on(node) {
        for mt in Migratetype::ALL {
            let kind = zone.id.kind();
            write!(f, "Node {:>4}, zone {kind:>8}, type {mt:>12} ", node.index())?;
            for order in Order::ZERO.and_up() {
                write!(f, "{:>6} ", zone.nr_free[order.index()][mt.index()])?;
            }
            writeln!(f)?;
        }
    }
    write!(f, "\n{:<23}", "Number of blocks type ")?;
    for mt in Migratetype::ALL {
        write!(f, "{mt:>12} ")?;
    }
    writeln!(f)?;
    for zone in page_alloc::zones_on(node) {
        write!(f, "{}", Head(zone.id))?;
        for blocks in pageblocks(&zone) {
            write!(f, "{blocks:>12} ")?;
        }
        writeln!(f)?;
    }
    Ok(())
}

/// The pageblocks of a zone by migratetype, of sections that are up.
#[must_use]
pub fn pageblocks(zone: &ZoneInfo) -> [u32; Migratetype::COUNT] {
    let mut count = [0; Migratetype::COUNT];
    let pages = Order::PAGEBLOCK.pages();
    let span = zone.spanned;
    for n in span.start().get() / pages..span.end().get().div_ceil(pages) {
        let Some(first) = Frame::new(Pfn::new(n * pages)) else { continue };
        if first.zone() == zone.id {
            count[first.page().block_migratetype().index()] += 1;
        }
    }
    count
}

/// debugfs extfrag/extfrag_index: for each zone and order why a request fails, towards 0 for
/// want of memory, towards 1 because it is scattered; -1 where it does not fail.
pub struct ExtfragIndex;

impl fmt::Display for ExtfragIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for zone in page_alloc::zones() {
            write!(f, "{}", Head(zone.id))?;
            for order in Order::ZERO.and_up() {
                match ContigPageInfo::of(zone.id, order).fragmentation_index() {
                    Some(index) => write!(f, "{:>2}.{:03} ", index / 1000, index % 1000)?,
                    None => write!(f, "-1.000 ")?,
                }
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

/// debugfs extfrag/unusable_index: for each zone and order the share of free memory that
/// such requests can't use.
pub struct UnusableIndex;

impl fmt::Display for UnusableIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for zone in page_alloc::zones() {
            write!(f, "{}", Head(zone.id))?;
            for order in Order::ZERO.and_up() {
                let index = ContigPageInfo::of(zone.id, order).unusable_free_index();
                write!(f, "{}.{:03} ", index / 1000, index % 1000)?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[expect(unsafe_code, reason = "tests give pages back by their frames")]
mod tests;
