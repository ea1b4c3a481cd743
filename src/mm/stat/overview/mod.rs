//! All of memory on part of a screen, for people: where it is, who has it, how whole the free
//! part of it is.

use crate::addr::{Order, PAGE_SIZE};
use crate::mm::cma::{self, Cma};
use crate::mm::page_alloc::{self, ZoneInfo};
use crate::mm::slab::{SlabInfo, slabinfo};
use crate::mm::vmalloc;
use crate::mm::vmstat::{NodeStat, node_page_state};
use arrayvec::{ArrayString, ArrayVec};
use core::fmt::{self, Write};
use core::iter::Peekable;

#[cfg(test)]
#[expect(unsafe_code, reason = "tests give pages back by their frames")]
mod tests;

/// Columns of a line: a terminal that has 80 goes to the next one behind the last.
const COLUMNS: usize = 79;

/// Line of a screen. Text beyond its end is cut off.
pub struct Line(ArrayString<COLUMNS>);

impl Line {
    /// A line that begins with its name, or with as much room.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let mut line = Self(ArrayString::new());
        let _ = write!(line, "{name:<13}");
        line
    }

    /// Adds items with commas between them, as many as fit whole: the others stay in `items`.
    pub fn list<T: fmt::Display>(&mut self, items: &mut Peekable<impl Iterator<Item = T>>) {
        let mut comma = "";
        while let Some(item) = items.peek() {
            let mut text = Self(ArrayString::new());
            let _ = write!(text, "{comma}{item}");
            if self.0.len() + text.0.len() > COLUMNS {
                return;
            }
            let _ = self.write_str(&text.0);
            comma = ", ";
            items.next();
        }
    }
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            // Nothing moves the cursor but what is printed.
            let _ = self.0.try_push(if c.is_ascii_graphic() || c == ' ' { c } else { '?' });
        }
        Ok(())
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.trim_end())
    }
}

/// So many pages, in the unit that suits them: KiB, or MiB and GiB rounded to a tenth.
struct Size(usize);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MIB: usize = (1 << 20) / PAGE_SIZE;
        const GIB: usize = MIB << 10;
        let tenths = |unit: usize| (self.0 * 10 + unit / 2) / unit;
        let mut text = ArrayString::<24>::new();
        match self.0 {
            pages if pages < MIB => write!(text, "{}K", pages * (PAGE_SIZE >> 10))?,
            _ if tenths(MIB) < 10240 => write!(text, "{}.{}M", tenths(MIB) / 10, tenths(MIB) % 10)?,
            _ => write!(text, "{}.{}G", tenths(GIB) / 10, tenths(GIB) % 10)?,
        }
        f.pad(&text)
    }
}

/// A row of the table: figures of a zone, or of several, in pages.
#[derive(Clone, Copy, Default)]
struct Row {
    total: usize,
    reserved: usize,
    used: usize,
    free: usize,
    free_cma: usize,
}

impl Row {
    fn of(zones: impl Iterator<Item = ZoneInfo>) -> Self {
        let mut row = Self::default();
        for zone in zones {
            row.total += zone.present as usize;
            row.reserved += zone.reserved() as usize;
            row.used += zone.used() as usize;
            row.free += zone.free() as usize;
            row.free_cma += zone.free_cma as usize;
        }
        row
    }

    fn plus(self, other: Self) -> Self {
        Self {
            total: self.total + other.total,
            reserved: self.reserved + other.reserved,
            used: self.used + other.used,
            free: self.free + other.free,
            free_cma: self.free_cma + other.free_cma,
        }
    }

    /// Draws the bar of taken memory, CMA's and free; each that is not zero has a mark at least.
    fn bar(&self) -> ArrayString<BAR> {
        let marks = |pages: usize| match (pages * BAR + self.total / 2).checked_div(self.total) {
            Some(marks) if pages > 0 => marks.max(1),
            _ => 0,
        };
        let taken = marks(self.reserved + self.used).min(BAR - marks(self.free).min(1));
        let cma = marks(self.free_cma).min(BAR - taken);
        let mark = |n| {
            if n < taken {
                '#'
            } else if n < taken + cma {
                'c'
            } else {
                '.'
            }
        };
        let mut bar = ArrayString::new();
        (0..BAR).for_each(|n| bar.push(mark(n)));
        bar
    }
}

/// Marks of a bar.
const BAR: usize = 24;

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [total, reserved, used, free] =
            [self.total, self.reserved, self.used, self.free].map(Size);
        writeln!(f, "{total:>8} {reserved:>8} {used:>8} {free:>8}  [{}]", self.bar())
    }
}

/// Rows of the table, but for the last, which is the sum. Where there are more zones than
/// that, each row is a node; where there are more nodes than that, one row is all those that
/// are left.
const ROWS: usize = 5;

/// Memory by zone or node, and what the allocators hold: eleven lines at most.
pub struct Overview;

impl fmt::Display for Overview {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEAD}")?;
        let (mut rows, mut all) = (0, Row::default());
        let mut row = |name: fmt::Arguments<'_>, row: Row| {
            let mut text = ArrayString::<16>::new();
            // A zone's name is shorter than that.
            let _ = text.write_fmt(name);
            (rows, all) = (rows + 1, all.plus(row));
            write!(f, "{text:<15}{row}")
        };
        if page_alloc::zones().count() <= ROWS {
            for zone in page_alloc::zones() {
                let (node, kind) = (zone.id.node().index(), zone.id.kind());
                row(format_args!("Node {node} {kind}"), Row::of(core::iter::once(zone)))?;
            }
        } else {
            let nodes = super::nodes().count();
            let single = if nodes > ROWS { ROWS - 1 } else { nodes };
            for node in super::nodes().take(single) {
                let zones = page_alloc::zones_on(node);
                row(format_args!("Node {}", node.index()), Row::of(zones))?;
            }
            let mut rest = super::nodes().skip(single);
            if let Some(first) = rest.next() {
                let last = rest.last().unwrap_or(first);
                let zones = page_alloc::zones().filter(|zone| zone.id.node() >= first);
                let name = format_args!("Nodes {}-{}", first.index(), last.index());
                row(name, Row::of(zones))?;
            }
        }
        if rows > 1 {
            write!(f, "{:<15}{all}", "All")?;
        }
        writeln!(f, "{}\n{}\n{}\n{}", free_blocks(), cma_areas(), slabs(), vmallocs())
    }
}

const HEAD: &str = "Memory            total reserved     used     free  [# taken  c CMA's  . free]";
const _: () = assert!(HEAD.len() <= COLUMNS);

/// Free blocks of the largest orders, and the free pages that are in no list.
fn free_blocks() -> Line {
    let (mut blocks, mut on_cpus, mut deferred) = ([0; Order::COUNT], 0, 0);
    for zone in page_alloc::zones() {
        for order in Order::ZERO.and_up() {
            blocks[order.index()] += zone.blocks(order);
        }
        on_cpus += zone.pcp as usize;
        deferred += zone.deferred as usize;
    }
    let mut line = Line::new("Free blocks");
    let largest = blocks.iter().enumerate().rev().filter(|&(_, &blocks)| blocks > 0).take(3);
    let mut comma = "";
    for (order, blocks) in largest {
        let kib = (PAGE_SIZE >> 10) << order;
        let (size, unit) = if kib < 1024 { (kib, 'K') } else { (kib >> 10, 'M') };
        let _ = write!(line, "{comma}{blocks} x {size}{unit}");
        comma = ", ";
    }
    let _ = write!(line, "; {} on CPUs, {} not up yet", Size(on_cpus), Size(deferred));
    line
}

/// The CMA areas as one.
fn cma_areas() -> Line {
    let (mut areas, mut pages, mut allocated, mut longest, mut idle) = (0, 0, 0, 0, 0);
    for info in cma::areas().map(Cma::info) {
        areas += 1;
        idle += usize::from(!info.active);
        pages += info.range.len() as usize;
        allocated += info.allocated as usize;
        longest = longest.max(info.longest as usize);
    }
    let mut line = Line::new("CMA");
    if areas == 0 {
        let _ = write!(line, "none");
        return line;
    }
    let _ = write!(
        line,
        "{} in {areas} {}, {} allocated, longest free run {}",
        Size(pages),
        if areas == 1 { "area" } else { "areas" },
        Size(allocated),
        Size(longest)
    );
    if idle > 0 {
        let _ = write!(line, "; {idle} not in use");
    }
    line
}

/// All slabs, and the caches that have most of them.
fn slabs() -> Line {
    const MOST: usize = 3;
    let (mut pages, mut caches) = (0, 0);
    let mut most = ArrayVec::<SlabInfo, MOST>::new();
    for info in slabinfo().filter(|info| info.slabs > 0) {
        caches += 1;
        pages += info.pages;
        let at = most.iter().take_while(|other| other.pages >= info.pages).count();
        if most.is_full() && at < MOST {
            most.pop();
        }
        let _ = most.try_insert(at, info);
    }
    let mut line = Line::new("Slab");
    let _ = write!(line, "{} in {caches} caches", Size(pages));
    if caches > 0 {
        let _ = write!(line, "; most in ");
        line.list(&mut most.iter().map(|info| Named(info.name, Size(info.pages))).peekable());
    }
    line
}

/// Name with a size.
struct Named(&'static str, Size);

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.0, self.1)
    }
}

/// The areas of vmalloc, and what else of the kernel's has pages of its own.
fn vmallocs() -> Line {
    let stat = vmalloc::vmalloc_stat();
    let mut line = Line::new("vmalloc");
    let _ = write!(
        line,
        "{} in {} areas, {} mapped; page tables {}, stacks {}K",
        Size(stat.allocated),
        vmalloc::vmallocinfo().count(),
        Size(stat.mapped),
        Size(node_page_state(None, NodeStat::PageTable)),
        node_page_state(None, NodeStat::KernelStackKb),
    );
    line
}
