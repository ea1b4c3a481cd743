//! /proc/slabinfo.

use crate::mm::slab::slabinfo;
use core::fmt;

#[cfg(test)]
mod tests;

/// /proc/slabinfo, version 2.1. Objects that CPUs keep for their next allocations are free
/// ones here. There are no tunables, as in Linux since SLUB.
pub struct SlabInfoFile;

impl fmt::Display for SlabInfoFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "slabinfo - version: 2.1")?;
        writeln!(
            f,
            "# name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab> \
             : tunables <limit> <batchcount> <sharedfactor> \
             : slabdata <active_slabs> <num_slabs> <sharedavail>"
        )?;
        for cache in slabinfo() {
            writeln!(
                f,
                "{:<17} {:>6} {:>6} {:>6} {:>4} {:>4} : tunables {:>4} {:>4} {:>4} \
                 : slabdata {slabs:>6} {slabs:>6} {:>6}",
                cache.name,
                cache.active_objects,
                cache.total_objects,
                cache.size,
                cache.objects_per_slab,
                cache.pages_per_slab,
                0,
                0,
                0,
                0,
                slabs = cache.slabs,
            )?;
        }
        Ok(())
    }
}
