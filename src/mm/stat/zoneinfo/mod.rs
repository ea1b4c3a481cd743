//! /proc/zoneinfo and /proc/buddyinfo.

use super::vmstat::{Item, node_items, zone_items};
use super::{Head, nodes};
use crate::addr::Order;
use crate::mm::mmzone::{NodeId, ZoneId, ZoneType};
use crate::mm::page_alloc::{self, ZoneInfo, cpus_online, zone_info};
use crate::mm::vmscan;
use core::fmt;

#[cfg(test)]
#[expect(unsafe_code, reason = "tests give pages back by their frames")]
mod tests;

/// /proc/buddyinfo: free blocks of each order on the zones' lists.
pub struct BuddyInfo;

impl fmt::Display for BuddyInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for zone in page_alloc::zones() {
            write!(f, "{}", Head(zone.id))?;
            for order in Order::ZERO.and_up() {
                write!(f, "{:>6} ", zone.blocks(order))?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

/// /proc/zoneinfo: all that there is to say of each zone of each node with memory, and of those
/// without RAM what they would keep back for others.
pub struct ZoneInfoFile;

impl fmt::Display for ZoneInfoFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for node in nodes() {
            let mut first = true;
            for kind in ZoneType::ALL {
                let zone = zone_info(ZoneId::new(node, kind));
                let is_populated = zone.present != 0;
                show(f, node, &zone, is_populated && first)?;
                first &= !is_populated;
            }
        }
        Ok(())
    }
}

/// Lines of a zone or a node: the name in 12 columns.
fn items(f: &mut fmt::Formatter<'_>, items: impl IntoIterator<Item = Item>) -> fmt::Result {
    items.into_iter().try_for_each(|(name, figure)| writeln!(f, "      {name:<12} {figure}"))
}

fn show(
    f: &mut fmt::Formatter<'_>,
    node: NodeId,
    zone: &ZoneInfo,
    tells_of_node: bool,
) -> fmt::Result {
    writeln!(f, "Node {}, zone {:>8}", node.index(), zone.id.kind())?;
    if tells_of_node {
        writeln!(f, "  per-node stats")?;
        items(f, node_items(Some(node)))?;
    }
    let [min, low, high] = zone.watermarks;
    let boosted = |mark: u32| mark + zone.boost;
    writeln!(f, "  pages free     {}", zone.free())?;
    for (name, figure) in [
        ("boost", zone.boost),
        ("min", min),
        ("low", boosted(low)),
        ("high", boosted(high)),
        ("promo", boosted(zone.promo)),
        ("spanned", zone.spanned.len()),
        ("present", zone.present),
        ("managed", zone.managed),
        ("cma", zone.cma),
    ] {
        writeln!(f, "        {name:<8} {figure}")?;
    }
    write!(f, "        protection: (")?;
    for (n, pages) in zone.lowmem_reserve.iter().enumerate() {
        write!(f, "{}{pages}", if n == 0 { "" } else { ", " })?;
    }
    writeln!(f, ")")?;
    if zone.present == 0 {
        return Ok(());
    }
    items(f, zone_items(zone))?;
    writeln!(f, "  pagesets")?;
    for cpu in cpus_online() {
        writeln!(f, "    cpu: {}", cpu.index())?;
        for (name, figure) in [
            ("count", page_alloc::pcp_count(zone.id, cpu)),
            ("high", zone.pcp_high),
            ("batch", zone.pcp_batch),
            // The size of the lists is not adapted.
            ("high_min", zone.pcp_high),
            ("high_max", zone.pcp_high),
        ] {
            writeln!(f, "              {:<9} {figure}", Colon(name))?;
        }
        // Figures are kept exactly: no CPU has any to hand in.
        writeln!(f, "  vm stats threshold: 0")?;
    }
    writeln!(f, "  node_unreclaimable:  {}", u32::from(vmscan::is_hopeless(node)))?;
    writeln!(f, "  start_pfn:           {}", zone.spanned.start().get())
}

/// A name with a colon behind it, padded together.
struct Colon(&'static str);

impl fmt::Display for Colon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = f.width().unwrap_or(0).saturating_sub(self.0.len() + 1);
        write!(f, "{}:{:width$}", self.0, "")
    }
}
