//! The full boot report (`granule.report=full`; also `gr` in gdb).

use super::{Head, kib};
use crate::addr::Order;
use crate::mm::cma;
use crate::mm::page_alloc::{self, ZoneInfo};
use crate::mm::slab::{slab_pages, slabinfo};
use crate::mm::vmalloc;
use core::fmt;

/// Summary of memory for the end of a boot: lines of /proc/meminfo, and reservations.
pub struct MemSummary;

impl fmt::Display for MemSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sum = |figure: fn(&ZoneInfo) -> u32| -> usize {
            page_alloc::zones().map(|zone| figure(&zone) as usize).sum()
        };
        let slab = slab_pages(None);
        let vm = vmalloc::vmalloc_stat();
        let lines = [
            ("MemTotal", sum(|zone| zone.managed)),
            ("MemFree", sum(ZoneInfo::free)),
            ("Reserved", sum(ZoneInfo::reserved)),
            ("Slab", slab.reclaimable + slab.unreclaimable),
            ("VmallocUsed", vm.allocated),
            ("CmaTotal", sum(|zone| zone.cma)),
            ("CmaFree", sum(|zone| zone.free_cma)),
            ("HardwareCorrupted", page_alloc::num_poisoned_pages() as usize),
        ];
        for (name, pages) in lines {
            writeln!(f, "{name}:{:>width$} kB", kib(pages), width = LINE - name.len())?;
        }
        Ok(())
    }
}

/// Columns of a line of [`MemSummary`], without its colon and its unit.
const LINE: usize = 25;

/// Ranges of the zones, and their figures in pages; a line `report:` for each and one for all,
/// for programs to read.
pub struct Zones;

impl fmt::Display for Zones {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut total = [0u32; 5];
        for zone in page_alloc::zones() {
            let span = zone.spanned.phys();
            writeln!(
                f,
                "Node {}, zone {:>8}  [mem {:#013x}-{:#013x}]  min {} low {} high {}  pcp batch {} high {}",
                zone.id.node().index(),
                zone.id.kind(),
                span.start().get(),
                span.end().get() - 1,
                zone.watermarks[0],
                zone.watermarks[1],
                zone.watermarks[2],
                zone.pcp_batch,
                zone.pcp_high,
            )?;
            let figures = [zone.present, zone.managed, zone.reserved(), zone.free(), zone.used()];
            write!(f, "report: zone {}/{} ", zone.id.node().index(), zone.id.kind())?;
            Figures(figures).fmt(f)?;
            for (sum, figure) in total.iter_mut().zip(figures) {
                *sum += figure;
            }
        }
        write!(f, "report: total ")?;
        Figures(total).fmt(f)
    }
}

/// Present, managed, reserved, free and used pages.
struct Figures([u32; 5]);

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [present, managed, reserved, free, used] = self.0;
        writeln!(
            f,
            "present {present} managed {managed} reserved {reserved} free {free} used {used}"
        )
    }
}

/// Free blocks of each order as /proc/buddyinfo has them, and behind them the free pages that
/// are in no list: on CPUs' own lists, and in sections that are not up yet.
pub struct FreeBlocks;

impl fmt::Display for FreeBlocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for zone in page_alloc::zones() {
            write!(f, "{}", Head(zone.id))?;
            for order in Order::ZERO.and_up() {
                write!(f, "{:>6} ", zone.blocks(order))?;
            }
            writeln!(f, " pcp {} deferred {}", zone.pcp, zone.deferred)?;
        }
        Ok(())
    }
}

/// The caches that hold slabs, with what of /proc/slabinfo says something.
pub struct Slabs;

impl fmt::Display for Slabs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "# name            active  total   size objs pages slabs")?;
        for cache in slabinfo().filter(|cache| cache.slabs > 0) {
            writeln!(f, "{cache}")?;
        }
        Ok(())
    }
}

/// The CMA areas.
pub struct CmaAreas;

impl fmt::Display for CmaAreas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for area in cma::areas() {
            let info = area.info();
            let default = cma::default_area().is_some_and(|other| core::ptr::eq(area, other));
            writeln!(
                f,
                "{:<16} {:?} pages {} allocated {} longest free {}{}{}",
                area.name(),
                info.range.phys(),
                info.range.len(),
                info.allocated,
                info.longest,
                if info.active { "" } else { "  not in use" },
                if default { "  default" } else { "" },
            )?;
            if info.successes + info.failures > 0 {
                writeln!(
                    f,
                    "  allocations {} failed {}  pages {} failed {} released {}",
                    info.successes,
                    info.failures,
                    info.pages_succeeded,
                    info.pages_failed,
                    info.pages_released,
                )?;
            }
        }
        Ok(())
    }
}
