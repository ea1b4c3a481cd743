//! Looking: page tables, frames, the address space, tasks, slabs.
#![deny(unsafe_code)]

use super::screen::{Screen, key_within};
use crate::addr::{PAGE_SIZE, Pfn, VirtAddr};
use crate::arch::irq::with_masked;
use crate::arch::pgtable::Kind;
use crate::arch::pgtable::explain::{Start, Step, Walk};
use crate::arch::{image, probe};
use crate::mm::debug::PageDump;
use crate::mm::page::Frame;
use crate::mm::slab::{SlabInfo, slabinfo};
use crate::mm::{cma, ptdump, stat};
use crate::sched::{TASK_LINE_TITLE, TaskLine, tasks};
use crate::time::{Date, NSEC_PER_SEC, ktime_get, ktime_get_real};
use arrayvec::ArrayVec;
use core::fmt::{self, Write};

/// Levels of tables.
const LEVELS: usize = 4;

/// The walk of an address through the tables, level by level, and where it leads.
pub(super) fn pt(va: VirtAddr, out: &mut Screen) -> fmt::Result {
    let start = probe::bases().start(va);
    writeln!(out, "{va:#018x}: {start}")?;
    let Start::Pgd(_, pgd) = start else { return Ok(()) };
    let steps: ArrayVec<Step, LEVELS> =
        with_masked(|irq| Walk::new(pgd, va, |at| probe::read_phys(at, irq)).collect());
    for step in &steps {
        writeln!(out, "  {step}")?;
    }
    match steps.last().and_then(|step| Some((step.level, step.kind()?))) {
        Some((level, Kind::Leaf(pa, _))) => {
            let at = pa + (va.get() & (level.size() - 1)) as u64;
            writeln!(out, "  physical address {at}, pfn {:#x}", at.get() / PAGE_SIZE as u64)
        }
        _ => writeln!(out, "  not mapped"),
    }
}

/// A frame's descriptor.
pub(super) fn page(pfn: Pfn, out: &mut Screen) -> fmt::Result {
    match Frame::new(pfn) {
        Some(frame) => write!(out, "{}", PageDump(frame)),
        None => {
            writeln!(out, "page: pfn {:#x} has no descriptor: no RAM is known there", pfn.get())
        }
    }
}

/// The kernel's address space: its regions, how much of each is mapped, and the image's parts.
pub(super) fn maps(out: &mut Screen) -> fmt::Result {
    for (name, va) in ptdump::MARKERS {
        let (mut mapped, mut runs) = (0, 0);
        for run in ptdump::runs(va) {
            mapped += run.va.len();
            runs += 1;
            out.pause()?;
        }
        writeln!(
            out,
            "{:#018x}-{:#018x} {:>12} kB of {:>13} kB mapped, {runs:>4} runs  {name}",
            va.start(),
            va.end(),
            mapped >> 10,
            va.len() >> 10,
        )?;
    }
    for (name, va) in
        [("text", image::text()), ("constants", image::rodata()), ("data", image::data())]
    {
        writeln!(
            out,
            "{:#018x}-{:#018x} {:>12} kB  the image's {name}",
            va.start(),
            va.end(),
            va.len() >> 10
        )?;
    }
    writeln!(
        out,
        "'cat /sys/kernel/debug/kernel_page_tables' has each run, 'cat /proc/vmallocinfo' each area"
    )
}

/// The tasks but the idle ones, by their pids.
pub(super) fn ps(out: &mut Screen) -> fmt::Result {
    writeln!(out, "{TASK_LINE_TITLE}")?;
    for task in tasks() {
        writeln!(out, "{}", TaskLine(&task))?;
        out.pause()?;
    }
    Ok(())
}

/// The CMA areas.
pub(super) fn cma_areas(out: &mut Screen) -> fmt::Result {
    if cma::areas().next().is_none() {
        return writeln!(out, "cma: there are no areas; cma=64M on the command line makes one");
    }
    write!(out, "{}", stat::CmaAreas)
}

/// The figures of one slab cache, or of all that have slabs.
pub(super) fn slab(name: Option<&str>, out: &mut Screen) -> fmt::Result {
    let Some(name) = name else { return write!(out, "{}", stat::Slabs) };
    match slabinfo().find(|cache| cache.name == name) {
        Some(cache) => writeln!(
            out,
            "{}: {} of {} objects of {} bytes active, {} slabs of {} pages",
            cache.name,
            cache.active_objects,
            cache.total_objects,
            cache.object_size,
            cache.slabs,
            cache.pages_per_slab
        ),
        None => writeln!(out, "slab: there is no cache {name:?}"),
    }
}

/// Caches that `top` shows.
const SHOWN: usize = 18;

/// Caches by the memory that they have, again and again, until a key.
pub(super) fn top(out: &mut Screen) -> fmt::Result {
    loop {
        let mut largest = ArrayVec::<SlabInfo, SHOWN>::new();
        let (mut caches, mut pages) = (0, 0);
        for cache in slabinfo() {
            caches += 1;
            pages += cache.pages;
            let at = largest.partition_point(|other| other.pages >= cache.pages);
            if at < SHOWN {
                if largest.is_full() {
                    largest.pop();
                }
                largest.insert(at, cache);
            }
        }
        out.clear()?;
        writeln!(
            out,
            "{caches} caches, {} kB in slabs   (a key ends it)\n",
            pages * (PAGE_SIZE >> 10)
        )?;
        writeln!(out, "  OBJS ACTIVE  USE OBJ SIZE  SLABS CACHE SIZE NAME")?;
        for cache in &largest {
            let share = (cache.active_objects * 100).checked_div(cache.total_objects).unwrap_or(0);
            writeln!(
                out,
                "{:>6} {:>6} {share:>3}% {:>8} {:>6} {:>8} kB {}",
                cache.total_objects,
                cache.active_objects,
                cache.size,
                cache.slabs,
                cache.pages * (PAGE_SIZE >> 10),
                cache.name
            )?;
        }
        if key_within(1) {
            return Ok(());
        }
    }
}

/// The realtime clock, and how long the machine is up.
pub(super) fn date(out: &mut Screen) -> fmt::Result {
    let (now, up) = (ktime_get_real(), ktime_get() / (NSEC_PER_SEC / 1000));
    let date = Date::from_seconds(now / NSEC_PER_SEC);
    writeln!(out, "{date} UTC, up {}.{:03} s", up / 1000, up % 1000)
}
