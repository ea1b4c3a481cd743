//! The state of memory as JSON, for `scripts/memview`: what the files of /proc and /sys say, and
//! what fills each pageblock.
//!
//! It is written as it is found, and nothing is allocated for it. The figures of one zone, of
//! one cache, of one area hold together; between two of them, and while the pageblocks are
//! walked, other CPUs may allocate and free. `coherence` says so in the text itself.
//!
//! Its size is bounded: pageblocks alike are one line, sections that are not up one line for each
//! of their regions, and of areas and mappings there are at most `MOST` of a kind.

mod json;
pub mod pageblocks;
#[cfg(test)]
#[expect(unsafe_code, reason = "a test hands over the memory of its machine")]
mod tests;

use crate::addr::{Order, PAGE_SIZE, PhysRange, VirtRange};
use crate::arch::cpu;
use crate::firmware::fdt::Text;
use crate::mm::cma;
use crate::mm::compaction::ContigPageInfo;
use crate::mm::memblock::debugfs;
use crate::mm::memblock::{Kind, RegionFlags};
use crate::mm::mmzone::Migratetype;
use crate::mm::page_alloc::{
    ZoneInfo, cpu_to_node, cpus_online, node_distance, not_up, num_poisoned_pages, pcp_count, zones,
};
use crate::mm::ptdump;
use crate::mm::slab::{SlabFlags, slabinfo};
use crate::mm::stat::{meminfo, nodes, pageblocks as pageblocks_by_type, vmstat};
use crate::mm::vmalloc::{VmFlags, vmalloc_stat, vmallocinfo};
use crate::reserved_mem::{Pool, reserved_mem};
use crate::resource::iomem;
use core::fmt;
use json::Json;
use pageblocks::Fill;

/// Areas of vmalloc, mappings of a region, resources that are listed; of more there is a count.
const MOST: usize = 4096;

/// Format name that a reader checks first.
const FORMAT: &str = "granule memory snapshot";
/// Counts up where a reader would go wrong otherwise.
const VERSION: u64 = 1;

const COHERENCE: &str = "the figures of one zone, cache or area are of one moment; between two \
     of them, and while pageblocks are walked, others may allocate and free";

/// debugfs memory_snapshot.
pub struct Snapshot<'a> {
    /// The machine, as the device tree calls it.
    pub model: Text<'a>,
    /// The kernel command line.
    pub cmdline: &'a str,
}

impl fmt::Display for Snapshot<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f)
    }
}

impl Snapshot<'_> {
    /// Writes the text into `out`. Allocates nothing. Process context: it walks all
    /// descriptors and page tables.
    ///
    /// # Errors
    /// `out`'s.
    pub fn write(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        Json::new(out).object(|json| {
            json.key("format")?.text(FORMAT)?;
            json.key("version")?.number(VERSION)?;
            json.key("kernel")?.text(concat!("Granule ", env!("CARGO_PKG_VERSION")))?;
            json.key("model")?.text(self.model)?;
            json.key("cmdline")?.text(self.cmdline)?;
            json.key("time_us")?.number(cpu::sched_clock() / 1000)?;
            json.key("coherence")?.text(COHERENCE)?;
            json.members([
                ("page_size", PAGE_SIZE as u64),
                ("pageblock_order", Order::PAGEBLOCK.get().into()),
                ("max_order", Order::MAX.get().into()),
                ("poisoned", num_poisoned_pages().into()),
            ])?;
            json.key("cpus")?.numbers(cpus_online().map(|cpu| cpu.index() as u32))?;
            json.key("migratetypes")?
                .array(|json| Migratetype::ALL.iter().try_for_each(|mt| json.text(mt)))?;
            json.key("fills")?
                .array(|json| Fill::ALL.iter().try_for_each(|fill| json.text(fill.name())))?;
            json.line()?;
            json.key("nodes")?.array(write_nodes)?;
            json.line()?;
            json.key("zones")?.array(write_zones)?;
            json.line()?;
            json.key("pageblocks")?.array(write_pageblocks)?;
            json.line()?;
            json.key("not_up")?.array(write_not_up)?;
            json.line()?;
            json.key("memblock")?.object(write_memblock)?;
            json.line()?;
            json.key("reserved_mem")?.array(write_reserved_mem)?;
            json.line()?;
            json.key("iomem")?.array(write_iomem)?;
            json.line()?;
            json.key("cma")?.array(write_cma)?;
            json.line()?;
            json.key("slabs")?.array(write_slabs)?;
            json.line()?;
            json.key("vmalloc")?.object(write_vmalloc)?;
            json.line()?;
            json.key("address_space")?.array(write_address_space)?;
            json.line()?;
            json.key("meminfo")?.object(|json| {
                meminfo::for_each(&mut |name, kib| json.key(name)?.number(kib as u64))
            })?;
            json.line()?;
            json.key("vmstat")?.object(|json| json.members(vmstat::items()))
        })?;
        out.write_char('\n')
    }
}

fn write_nodes(json: &mut Json<'_>) -> fmt::Result {
    nodes().try_for_each(|node| {
        json.object(|json| {
            json.key("node")?.number(node.index() as u64)?;
            let near = cpus_online().filter(|&cpu| cpu_to_node(cpu) == node);
            json.key("cpus")?.numbers(near.map(|cpu| cpu.index() as u32))?;
            let distances = nodes().map(|to| node_distance(node, to));
            json.key("distances")?.numbers(distances)
        })
    })
}

fn write_zones(json: &mut Json<'_>) -> fmt::Result {
    zones().try_for_each(|zone| {
        json.line()?;
        json.object(|json| write_zone(json, &zone))
    })
}

fn write_zone(json: &mut Json<'_>, zone: &ZoneInfo) -> fmt::Result {
    json.key("node")?.number(zone.id.node().index() as u64)?;
    json.key("name")?.text(zone.id.kind())?;
    let [min, low, high] = zone.watermarks;
    let figures = [
        ("start_pfn", zone.spanned.start().get()),
        ("end_pfn", zone.spanned.end().get()),
        ("present", zone.present),
        ("offline", zone.offline),
        ("managed", zone.managed),
        ("reserved", zone.reserved()),
        ("free", zone.free()),
        ("buddy", zone.buddy),
        ("isolated", zone.isolated),
        ("deferred", zone.deferred),
        ("pcp", zone.pcp),
        ("cma", zone.cma),
        ("free_cma", zone.free_cma),
        ("min", min),
        ("low", low),
        ("high", high),
        ("boost", zone.boost),
        ("pcp_high", zone.pcp_high),
        ("pcp_batch", zone.pcp_batch),
    ];
    json.members(figures.map(|(name, pages)| (name, u64::from(pages))))?;
    let on_cpus = cpus_online().map(|cpu| pcp_count(zone.id, cpu));
    json.key("pcp_by_cpu")?.numbers(on_cpus)?;
    json.key("lowmem_reserve")?.numbers(zone.lowmem_reserve)?;
    json.key("pageblocks")?.numbers(pageblocks_by_type(zone))?;
    // In thousandths, by order.
    let unusable = |order| ContigPageInfo::of(zone.id, order).unusable_free_index();
    json.key("unusable_index")?.numbers(Order::ZERO.and_up().map(unusable))?;
    // By migratetype, and by order in it.
    json.key("free_blocks")?.array(|json| {
        Migratetype::ALL.iter().try_for_each(|mt| {
            json.numbers(Order::ZERO.and_up().map(|order| zone.nr_free[order.index()][mt.index()]))
        })
    })
}

/// The numbers up to the last that is not 0.
fn trimmed(all: &[u32]) -> impl Iterator<Item = u32> {
    let len = all.iter().rposition(|&n| n != 0).map_or(0, |last| last + 1);
    all.iter().copied().take(len)
}

/// Runs of pageblocks alike: the zone's place in `zones`, the first frame, how many pageblocks,
/// their migratetype, and of each of them the free pages by the order of their blocks and the
/// others by `fills`.
fn write_pageblocks(json: &mut Json<'_>) -> fmt::Result {
    zones().enumerate().try_for_each(|(n, zone)| {
        pageblocks::runs(zone.id, zone.spanned).try_for_each(|run| {
            json.line()?;
            json.array(|json| {
                json.number(n as u64)?;
                json.number(run.range.start().get().into())?;
                json.number(u64::from(run.range.len() / Order::PAGEBLOCK.pages()))?;
                json.number(run.each.migratetype.index() as u64)?;
                json.numbers(trimmed(&run.each.free))?;
                json.numbers(trimmed(&run.each.fill))
            })
        })
    })
}

/// RAM of sections that are not up: the zone's place in `zones`, the first frame and how many,
/// and how many of them are free; the others are reserved.
fn write_not_up(json: &mut Json<'_>) -> fmt::Result {
    zones().enumerate().try_for_each(|(n, zone)| {
        not_up(zone.id).try_for_each(|part| {
            let figures = [part.range.start().get(), part.range.len(), part.free];
            json.numbers([n as u32].into_iter().chain(figures))
        })
    })
}

fn range(json: &mut Json<'_>, range: PhysRange) -> fmt::Result {
    json.key("start")?.text(format_args!("{:#x}", range.start().get()))?;
    json.key("end")?.text(format_args!("{:#x}", range.end().get()))
}

fn write_memblock(json: &mut Json<'_>) -> fmt::Result {
    for (name, kind) in [("memory", Kind::Memory), ("reserved", Kind::Reserved)] {
        json.key(name)?.array(|json| {
            debugfs::regions(kind).iter().take(MOST).try_for_each(|region| {
                json.object(|json| {
                    range(json, region.range)?;
                    if let Some(node) = region.nid {
                        json.key("node")?.number(node.index() as u64)?;
                    }
                    json.key("nomap")?.boolean(region.flags.contains(RegionFlags::NOMAP))
                })
            })
        })?;
    }
    Ok(())
}

fn write_reserved_mem(json: &mut Json<'_>) -> fmt::Result {
    reserved_mem().iter().try_for_each(|region| {
        json.object(|json| {
            json.key("name")?.text(region.name)?;
            range(json, region.range)?;
            json.key("nomap")?.boolean(region.no_map)?;
            json.key("pool")?.text(match region.pool {
                Pool::None => "none",
                Pool::Cma(_) => "cma",
                Pool::Coherent => "coherent",
                Pool::Refused => "refused",
            })
        })
    })
}

fn write_iomem(json: &mut Json<'_>) -> fmt::Result {
    iomem().iter().take(MOST).try_for_each(|resource| {
        json.object(|json| {
            json.key("name")?.text(resource.name)?;
            range(json, resource.range)
        })
    })
}

fn write_cma(json: &mut Json<'_>) -> fmt::Result {
    cma::areas().try_for_each(|area| {
        let info = area.info();
        json.object(|json| {
            json.key("name")?.text(area.name())?;
            json.members([
                ("start_pfn", u64::from(info.range.start().get())),
                ("pages", info.range.len().into()),
                ("allocated", info.allocated.into()),
                ("longest_free", info.longest.into()),
                ("successes", info.successes.into()),
                ("failures", info.failures.into()),
            ])?;
            json.key("active")?.boolean(info.active)?;
            let is_default = cma::default_area().is_some_and(|other| core::ptr::eq(area, other));
            json.key("default")?.boolean(is_default)
        })
    })
}

fn write_slabs(json: &mut Json<'_>) -> fmt::Result {
    slabinfo().try_for_each(|cache| {
        json.line()?;
        json.object(|json| {
            json.key("name")?.text(cache.name)?;
            let figures = [
                ("active", cache.active_objects),
                ("total", cache.total_objects),
                ("object_size", cache.object_size),
                ("size", cache.size),
                ("objects_per_slab", cache.objects_per_slab),
                ("pages_per_slab", cache.pages_per_slab),
                ("slabs", cache.slabs),
                ("pages", cache.pages),
                ("partial", cache.partial_slabs),
                ("in_sheaves", cache.in_sheaves),
            ];
            json.members(figures.map(|(name, figure)| (name, figure as u64)))?;
            json.key("reclaimable")?.boolean(cache.flags.contains(SlabFlags::RECLAIM_ACCOUNT))
        })
    })
}

/// Addresses are text: they are more than the 53 bits that every reader takes exactly.
fn virt(json: &mut Json<'_>, va: VirtRange) -> fmt::Result {
    json.text(format_args!("{:#x}", va.start().get()))?;
    json.text(format_args!("{:#x}", va.end().get()))
}

fn write_vmalloc(json: &mut Json<'_>) -> fmt::Result {
    let stat = vmalloc_stat();
    json.key("allocated")?.number(stat.allocated as u64)?;
    let mut left = 0u64;
    json.key("areas")?.array(|json| {
        for (n, area) in vmallocinfo().enumerate() {
            if n >= MOST {
                left += 1;
                continue;
            }
            json.line()?;
            json.object(|json| {
                json.key("range")?.array(|json| virt(json, area.range))?;
                json.key("pages")?.number(area.nr_pages.into())?;
                let kinds = [
                    (VmFlags::VM_IOREMAP, "ioremap"),
                    (VmFlags::VM_ALLOC, "vmalloc"),
                    (VmFlags::VM_MAP, "vmap"),
                    (VmFlags::VM_DMA_COHERENT, "dma-coherent"),
                    (VmFlags::VM_MAP_RAM, "vm_map_ram"),
                ];
                let kind = kinds.into_iter().find(|(flag, _)| area.flags.contains(*flag));
                json.key("kind")?.text(kind.map_or("other", |(_, name)| name))?;
                if area.flags.contains(VmFlags::VM_IOREMAP) {
                    json.key("phys")?.text(format_args!("{:#x}", area.phys.get()))?;
                }
                let caller = area.caller;
                json.key("caller")?.text(format_args!("{}:{}", caller.file(), caller.line()))
            })?;
        }
        Ok(())
    })?;
    json.key("areas_left_out")?.number(left)
}

/// The regions of the kernel's half, and the runs of like mappings in each: from, to, the level
/// of their entries, `RW` or `ro`, `x` or `NX`, the memory type, and whether the MMU sees them.
fn write_address_space(json: &mut Json<'_>) -> fmt::Result {
    ptdump::MARKERS.into_iter().try_for_each(|(name, region)| {
        json.line()?;
        json.object(|json| {
            json.key("name")?.text(name)?;
            json.key("range")?.array(|json| virt(json, region))?;
            let (mut left, mut bytes) = (0, 0);
            json.key("runs")?.array(|json| {
                for (n, run) in ptdump::runs(region).enumerate() {
                    if n >= MOST {
                        left += 1;
                        bytes += run.va.len() as u64;
                        continue;
                    }
                    json.line()?;
                    json.array(|json| {
                        virt(json, run.va)?;
                        json.text(run.level_name())?;
                        json.text(if run.first.attrs.is_writable() { "RW" } else { "ro" })?;
                        json.text(if run.first.attrs.is_executable() { "x" } else { "NX" })?;
                        json.text(run.memory_name())?;
                        json.boolean(run.first.valid)
                    })?;
                }
                Ok(())
            })?;
            json.members([("runs_left_out", left), ("bytes_left_out", bytes)])
        })
    })
}
