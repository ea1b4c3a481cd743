//! Nodes, zones and migratetypes: the tables that the page allocator works on
//! (Linux: include/linux/mmzone.h, mm/mmzone.c).
//!
//! Every aligned block of the largest order lies in one zone of one node: the limits
//! that devices, the command line and the firmware give are rounded to it. So neither a
//! pageblock nor a merge ever crosses a zone, and the zone of any frame stands in the
//! descriptor of the third frame of its block.
#![deny(unsafe_code)]

mod background;
mod boost;
mod limits;
#[expect(unsafe_code, reason = "zones are given to a node before other CPUs are started")]
mod node;
mod node_stat;
mod sysctl;
mod watermark;
mod zone;
mod zonelist;

pub use crate::mm::ids::{
    MAX_NR_ZONES, MAX_NUMNODES, Migratetype, NodeId, ZoneId, ZoneType, nr_node_ids,
};
pub(in crate::mm) use background::{Kcompactd, Kswapd, KswapdRequest};
pub use limits::{ZoneLimits, zone_spans};
pub(in crate::mm) use limits::{zone_of, zones_of};
pub(in crate::mm) use node::{NodeData, set_node_data};
pub use node_stat::NodeStat;
pub(in crate::mm) use node_stat::NodeStats;
pub use sysctl::{
    lowmem_reserve_ratio, set_watermark_boost_factor, watermark_boost_factor,
    watermark_scale_factor,
};
pub(in crate::mm) use sysctl::{set_reserve_ratio, set_scale_factor};
pub(in crate::mm) use watermark::setup_per_zone_wmarks;
pub use watermark::{Wmark, WmarkFlags};
#[cfg(test)]
pub(in crate::mm) use watermark::{min_free_kbytes, zone_batchsize};
pub(in crate::mm) use zone::LockedZone;
pub use zone::Zone;
pub use zonelist::Zonelist;
pub(in crate::mm) use zonelist::build_zonelists;

impl ZoneId {
    /// Returns the zone's figures and free lists. Those of a node that has no memory are always
    /// empty.
    #[inline]
    #[must_use]
    pub fn zone(self) -> &'static Zone {
        node::zone(self)
    }
}
