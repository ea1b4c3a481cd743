//! Scan of the device tree and the command line, which fills memblock (Linux:
//! early_init_dt_scan, arm64_memblock_init, early_init_fdt_scan_reserved_mem).
//!
//! The order matters. RAM comes first, cut by `linux,usable-memory-range` and `mem=`.
//! Then everything that is in use or promised is reserved: the image, the tree
//! itself, the initrd, the reservation map, `memmap=`, the static regions of
//! `/reserved-memory`. Only then may anything be allocated: growth of memblock's
//! arrays, the dynamic regions, CMA. An array that has to be larger before that is
//! enlarged up front, at a place that no reservation touches (`presize`).
//!
//! What a tree gets wrong costs that entry alone, with a warning to the sink. Only
//! three things stop the boot: no RAM, no free RAM, and more ranges than can be held.

mod cma;
mod memory;
mod movable;
mod presize;
mod reserved;
mod zones;

#[cfg(test)]
mod tests;

pub use cma::{CMA_MIN_ALIGNMENT, CmaArea, MAX_CMA_AREAS};
pub use reserved::{MAX_RESERVED_REGIONS, ReservedKind, ReservedMem};
pub use zones::{MaxZonePfns, present};

use super::{Grow, Memblock, MemblockError};
use crate::addr::{Pfn, PfnRange, PhysAddr, PhysRange};
use crate::firmware::cmdline::CommandLine;
use crate::firmware::fdt::{Chosen, ReservedMemory, Tree};
use crate::mm::mmzone::ZoneId;
use arrayvec::ArrayVec;
use core::fmt;
use log::Level;

/// Entries of one kind of reservation above which a tree is refused: boards have some tens,
/// and hostile trees must not keep the CPU busy for minutes. Of RAM there may be as many as
/// the tree holds; see [`MAX_REGIONS`](super::MAX_REGIONS).
pub const MAX_ENTRIES: usize = 4096;

/// Receiver of messages: the level, and one line.
pub type Sink<'s> = &'s mut dyn FnMut(Level, fmt::Arguments<'_>);

/// Input from the boot loader.
#[derive(Clone, Copy)]
pub struct Handover<'a> {
    /// The device tree.
    pub tree: Tree<'a>,
    /// The blob that it was read from, which stays in use.
    pub dtb: PhysRange,
    /// The kernel image, from the first byte of text to the last of .bss.
    pub image: PhysRange,
    /// The kernel command line.
    pub command_line: CommandLine<'a>,
    /// The first address that the CPU does not reach: RAM from there on is left out.
    pub reach: PhysAddr,
}

/// Results of the scan besides the filled memblock.
#[derive(Clone, Debug)]
pub struct BootInfo<'a> {
    /// The initrd, reserved; `None` where there is none, or none that is sane.
    pub initrd: Option<PhysRange>,
    /// True where nothing else lies in the initrd's memory: then it can be freed.
    pub initrd_is_alone: bool,
    /// Ends of the zones.
    pub zones: MaxZonePfns,
    /// The highest address that every device can reach, where a bus sets a limit.
    pub dma_limit: Option<PhysAddr>,
    /// Limit of `mem=`, if it took RAM away.
    pub mem_limit: Option<MemLimit>,
    /// The CMA areas, all reserved.
    pub cma: ArrayVec<CmaArea<'a>, MAX_CMA_AREAS>,
    /// The regions of `/reserved-memory` that are reserved: static ones, then dynamic ones.
    pub reserved: ArrayVec<ReservedMem<'a>, MAX_RESERVED_REGIONS>,
}

/// RAM that `mem=` left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MemLimit {
    /// Bytes that it left.
    pub bytes: u64,
    /// Bytes that there were.
    pub of: u64,
}

impl fmt::Display for MemLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mem=: {} of {} are used", Size(self.bytes), Size(self.of))
    }
}

/// Reason why the boot can't go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ScanError {
    /// The tree names no RAM that can be used.
    NoRam,
    /// Every byte of RAM is reserved.
    AllReserved,
    /// `mem=` left no RAM that is free.
    Limited(MemLimit),
    /// More entries than [`MAX_ENTRIES`].
    TooManyEntries {
        /// Kind of the entries.
        what: &'static str,
        /// Number of entries.
        count: usize,
    },
    /// memblock cannot hold the ranges.
    Memblock(MemblockError),
}

impl fmt::Display for ScanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRam => f.write_str("no usable RAM: the device tree's memory nodes give none"),
            Self::AllReserved => f.write_str("no free RAM: every byte of it is reserved"),
            Self::Limited(limit) => write!(f, "no free RAM: {limit}, all of them taken"),
            Self::TooManyEntries { what, count } => {
                write!(f, "{count} {what} in the device tree: more than {MAX_ENTRIES} are refused")
            }
            Self::Memblock(error) => write!(f, "early memory: {error}"),
        }
    }
}

impl core::error::Error for ScanError {}

impl From<MemblockError> for ScanError {
    fn from(error: MemblockError) -> Self {
        Self::Memblock(error)
    }
}

/// A scan under way.
struct Scan<'m, 's, 'a> {
    memblock: &'m mut Memblock,
    handover: Handover<'a>,
    /// `/chosen` and `/reserved-memory`. Each search for a node passes over all of the tree.
    chosen: Option<Chosen<'a>>,
    reserved_memory: Option<ReservedMemory<'a>>,
    initrd: Option<PhysRange>,
    mem_limit: Option<MemLimit>,
    /// Entries of RAM that were left out, and their bytes.
    left_out: (usize, u64),
    /// Range of frames that each zone spans.
    spans: [PfnRange; ZoneId::COUNT],
    cma_candidates: usize,
    sink: Sink<'s>,
}

/// Fills an empty memblock from what the boot loader handed over. To be called once,
/// on the boot CPU, before anything is allocated. `grow`, where given, is used as in
/// [`Memblock::allow_resize`] and stays allowed.
///
/// # Errors
/// A [`ScanError`]: memblock is of no use then.
pub fn early_init_dt_scan<'a>(
    memblock: &mut Memblock,
    handover: Handover<'a>,
    grow: Option<Grow>,
    sink: Sink<'_>,
) -> Result<BootInfo<'a>, ScanError> {
    let spans = [PfnRange::new(Pfn::new(0), Pfn::new(0)); ZoneId::COUNT];
    let mut scan = Scan {
        memblock,
        handover,
        chosen: handover.tree.chosen(),
        reserved_memory: handover.tree.reserved_memory(),
        initrd: None,
        mem_limit: None,
        left_out: (0, 0),
        spans,
        cma_candidates: 0,
        sink,
    };
    let limited = |scan: &Scan<'_, '_, '_>, why| scan.mem_limit.map_or(why, ScanError::Limited);
    let counts = scan.count()?;
    scan.initrd = scan.plausible_initrd();
    if let Some(grow) = grow {
        scan.presize(counts, grow)?;
    }
    scan.add_memory(counts)?;
    scan.check_initrd();
    scan.limit_memory().map_err(|why| limited(&scan, why))?;
    let dma_limit = scan.handover.tree.dma_limit();
    let mut zones = MaxZonePfns::new(scan.memblock, dma_limit);
    zones.movable = scan.find_movable(&zones);
    scan.spans = zones.spans(scan.memblock);
    scan.reserve_static()?;
    if let Some(grow) = grow {
        scan.memblock.allow_resize(grow);
    }
    // What may be taken out is not to be pinned down.
    let stays = scan.memblock.memory().iter().any(|r| !r.is_hotpluggable() && !r.is_nomap());
    scan.memblock.set_movable_node(scan.is_movable_node() && stays);
    let mut info = BootInfo {
        initrd: scan.initrd,
        initrd_is_alone: scan.initrd_is_alone(),
        zones,
        dma_limit,
        mem_limit: scan.mem_limit,
        cma: ArrayVec::new(),
        reserved: ArrayVec::new(),
    };
    scan.static_cma(&mut info);
    scan.static_regions(&mut info);
    scan.allocate_dynamic(&mut info);
    scan.command_line_cma(&mut info);
    if scan.memblock.free_mem_ranges(None).all(|free| free.range.whole_pages().is_empty()) {
        return Err(limited(&scan, ScanError::AllReserved));
    }
    Ok(info)
}

impl Scan<'_, '_, '_> {
    fn warn(&mut self, message: fmt::Arguments<'_>) {
        (self.sink)(Level::Warn, message);
    }

    fn info(&mut self, message: fmt::Arguments<'_>) {
        (self.sink)(Level::Info, message);
    }

    /// Memory that the kernel itself uses: the image, the tree, the initrd, memblock's own
    /// arrays. None of it may leave the linear map.
    fn own(&self) -> impl Iterator<Item = PhysRange> + use<> {
        let handed = [Some(self.handover.image), Some(self.handover.dtb), self.initrd];
        handed.into_iter().flatten().chain(self.memblock.arrays())
    }
}

/// Bytes in the largest unit that divides them.
struct Size(u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            n if n >= 1 << 30 && n % (1 << 30) == 0 => write!(f, "{} GiB", n >> 30),
            n if n >= 1 << 20 && n % (1 << 20) == 0 => write!(f, "{} MiB", n >> 20),
            n if n >= 1 << 10 && n % (1 << 10) == 0 => write!(f, "{} KiB", n >> 10),
            n => write!(f, "{n:#x} bytes"),
        }
    }
}
