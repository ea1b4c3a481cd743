//! Memory's figures in words, as /proc has them (Linux: fs/proc/meminfo.c,
//! mm/vmstat.c): each a value that is printed when it is displayed.
#![deny(unsafe_code)]

mod pagetypeinfo;

pub use pagetypeinfo::{ExtfragIndex, PageTypeInfo, UnusableIndex, pageblocks};

use crate::addr::{Order, PAGE_SIZE};
use crate::mm::cma;
use crate::mm::memory_hotplug;
use crate::mm::page_alloc::{self, ZoneInfo};
use crate::mm::slab::{self, slabinfo};
use crate::mm::vmalloc;
use core::fmt;

/// Pages in kB.
const fn kib(pages: usize) -> usize {
    pages * (PAGE_SIZE >> 10)
}

/// /proc/meminfo, as far as there is something to say.
pub struct MemInfo;

impl fmt::Display for MemInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sum = |figure: fn(&ZoneInfo) -> u32| -> usize {
            page_alloc::zones().map(|zone| figure(&zone) as usize).sum()
        };
        let slab: usize = slabinfo().map(|cache| cache.slabs * cache.pages_per_slab).sum();
        let vm = vmalloc::vmalloc_stat();
        let lines = [
            ("MemTotal", sum(|zone| zone.managed)),
            ("MemFree", sum(ZoneInfo::free)),
            ("Reserved", sum(ZoneInfo::reserved)),
            ("Slab", if slab::slab_is_available() { slab } else { 0 }),
            ("VmallocUsed", vm.mapped),
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

/// Columns of a line of [`MemInfo`], without its colon and its unit.
const LINE: usize = 25;

/// The sections and their states, as in /sys/devices/system/memory/memoryN/state.
pub struct MemoryBlocks;

impl fmt::Display for MemoryBlocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (section, state) in memory_hotplug::sections() {
            let span = section.frames().phys();
            writeln!(
                f,
                "memory{:<6} [mem {:#013x}-{:#013x}] {state}",
                section.number(),
                span.start().get(),
                span.end().get() - 1,
            )?;
        }
        Ok(())
    }
}

/// Where each zone lies, and its figures in pages; a line `report:` for each and one for
/// all, for programs to read.
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

/// /proc/buddyinfo: free blocks of each order, and behind them the free pages that are
/// in no list: on CPUs' own lists, and in sections that are not up yet.
pub struct BuddyInfo;

impl fmt::Display for BuddyInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for zone in page_alloc::zones() {
            write!(f, "Node {}, zone {:>8} ", zone.id.node().index(), zone.id.kind())?;
            for order in Order::ZERO.and_up() {
                write!(f, "{:>6} ", zone.blocks(order))?;
            }
            writeln!(f, " pcp {} deferred {}", zone.pcp, zone.deferred)?;
        }
        Ok(())
    }
}

/// /proc/slabinfo.
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

/// The CMA areas, as in debugfs/cma.
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

/// /proc/vmallocinfo.
pub struct VmallocInfo;

impl fmt::Display for VmallocInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        vmalloc::vmallocinfo().try_for_each(|area| writeln!(f, "{area}"))
    }
}
