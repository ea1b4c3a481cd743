//! Memory layout that the kernel makes of a tree: memblock and the zones.

use crate::json::{Hex, List, object};
use granule::addr::{PfnRange, PhysRange};
use granule::firmware::cmdline::CommandLine;
use granule::firmware::fdt::Tree;
use granule::mm::memblock::scan::{Handover, ScanError, early_init_dt_scan};
use granule::mm::memblock::{Memblock, Region};
use granule::mm::mmzone::ZoneId;
use log::Level;
use std::fmt::{self, Write};

/// Warnings that are kept, and characters of each.
const WARNINGS: usize = 32;
const WIDTH: usize = 300;

/// A memblock that was filled, and what came of it.
pub struct Map {
    memblock: Memblock,
    zones: [PfnRange; ZoneId::COUNT],
    /// Reason why the kernel would not boot.
    pub refusal: Option<ScanError>,
    /// Warnings that the kernel would log.
    pub warnings: Vec<String>,
    /// Warnings past those.
    pub more_warnings: usize,
}

/// Addresses of the image and the tree, which the tree does not name.
pub struct Places {
    /// The kernel's image; empty for none.
    pub image: PhysRange,
    /// The tree itself; empty for nowhere.
    pub dtb: PhysRange,
}

impl Map {
    /// Does what the kernel does with a tree and a command line before it has an
    /// allocator.
    ///
    /// # Errors
    /// The tree has more entries than the kernel takes, or more than it can hold.
    pub fn new(tree: Tree<'_>, line: CommandLine<'_>, places: &Places) -> Result<Self, ScanError> {
        let mut memblock = Memblock::new();
        let (mut warnings, mut more_warnings) = (Vec::new(), 0);
        let mut sink = |level: Level, message: fmt::Arguments<'_>| {
            if level == Level::Warn {
                match warnings.len() < WARNINGS {
                    true => warnings.push(shortened(message)),
                    false => more_warnings += 1,
                }
            }
        };
        let handover = Handover {
            tree,
            dtb: places.dtb,
            image: places.image,
            command_line: line,
            reach: granule::addr::Pfn::LIMIT.phys(),
        };
        let mut zones = [PfnRange::new(ZERO, ZERO); ZoneId::COUNT];
        let refusal = match early_init_dt_scan(&mut memblock, handover, Some(grow), &mut sink) {
            Ok(info) => {
                zones = info.zones.spans(&memblock);
                None
            }
            Err(error @ (ScanError::NoRam | ScanError::AllReserved)) => Some(error),
            Err(error) => return Err(error),
        };
        memblock.validate();
        Ok(Self { memblock, zones, refusal, warnings, more_warnings })
    }

    /// The zones that hold RAM, by address.
    fn zones(&self) -> Vec<(ZoneId, PfnRange)> {
        let all = ZoneId::numbers().map(|id| (id, self.zones[id.index()]));
        let mut zones: Vec<_> = all.filter(|(_, span)| !span.is_empty()).collect();
        zones.sort_by_key(|(_, span)| span.start());
        zones
    }
}

const ZERO: granule::addr::Pfn = granule::addr::Pfn::new(0);

/// A message as a string of bounded length.
fn shortened(message: fmt::Arguments<'_>) -> String {
    struct Short(String);
    impl Write for Short {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            let left = WIDTH.saturating_sub(self.0.chars().count());
            self.0.extend(text.chars().take(left));
            if left < text.chars().count() { Err(fmt::Error) } else { Ok(()) }
        }
    }
    let mut short = Short(String::new());
    if short.write_fmt(message).is_err() {
        short.0.push_str("...");
    }
    short.0
}

/// Room for memblock's larger arrays. There are at most two, which double to hold a few
/// times `MAX_ENTRIES`; they last as long as the process.
fn grow(place: PhysRange) -> Option<&'static mut [Region]> {
    let slots = usize::try_from(place.len()).ok()? / size_of::<Region>();
    (slots <= 1 << 15).then(|| vec![Region::EMPTY; slots].leak())
}

object! { OneRegion(region: &'a Region) {
    "base": Hex(region.range.start().get()),
    "size": Hex(region.range.len()),
    "flags": List(|| region.flags.iter_names().map(|(name, _)| name)),
    "nid": region.nid.map(|nid| nid.index()),
} }

object! { Memblocks(map: &'a Map) {
    "memory": List(|| map.memblock.memory().iter().map(OneRegion)),
    "reserved": List(|| map.memblock.reserved().iter().map(OneRegion)),
} }

object! { OneZone(zone: &'a (ZoneId, PfnRange)) {
    "name": zone.0.kind().name(),
    "nid": zone.0.node().index(),
    "start": Hex(zone.1.phys().start().get()),
    "end": Hex(zone.1.phys().end().get()),
    "size": Hex(zone.1.phys().len()),
} }

/// The zones as an array.
pub struct Zones<'a>(pub &'a Map);

impl serde_core::Serialize for Zones<'_> {
    fn serialize<S: serde_core::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self.0.zones().iter().map(OneZone))
    }
}
