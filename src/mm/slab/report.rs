//! Panics for misuse of the slab allocator: each names the cache, the object and
//! who freed it (Linux: slab_err, object_err, print_trailer in mm/slub.c).
//!
//! Of an object of a cache that is debugged, the report says all that is known: who
//! allocated and freed it last, its slab, and the bytes around it.
#![deny(unsafe_code)]

use super::flags::SlabFlags;
use super::kmem_cache::RawCache;
use super::memory::{EndPadding, Slots};
use super::slab::{END, Slab};
use super::track::{Track, TrackItem};
use crate::addr::VirtAddr;
use crate::mm::stackdepot::{self, Handle, Stack};
use core::fmt;
use core::panic::Location;

/// Bytes of an object that a report shows (Linux: a page).
const SHOWN: i32 = 256;

const DOUBLE: &str =
    "=============================================================================";
const SINGLE: &str =
    "-----------------------------------------------------------------------------";

/// Says of object `index` what is wrong with it.
#[cold]
#[inline(never)]
pub(super) fn object(
    cache: &RawCache,
    slots: &Slots,
    index: u16,
    what: fmt::Arguments<'_>,
    detail: fmt::Arguments<'_>,
) -> ! {
    let trailer = Trailer { cache, slots, index };
    panic!("\n{DOUBLE}\nBUG {}: {what}\n{SINGLE}\n\n{detail}\n{trailer}", cache.name())
}

/// Says that bytes behind the last object of a slab were written, from the one at offset `first`
/// to the one at offset `last`, that held `value`.
#[cold]
#[inline(never)]
pub(super) fn end_padding(
    cache: &RawCache,
    slab: Slab,
    padding: &EndPadding,
    first: u32,
    last: u32,
    value: u8,
) -> ! {
    let (at, found) = (padding.start(), padding.byte(first));
    let (from, to) = (at + first as usize, at + last as usize);
    let (offset, start) = (from - slab.frame().virt(), first & !15);
    let bytes = Bytes {
        what: "Padding",
        at: at + start as usize,
        len: (padding.len() - start).min(SHOWN as u32),
        byte: &|n| padding.byte(start + n),
    };
    panic!(
        "\n{DOUBLE}\nBUG {}: Padding overwritten\n{SINGLE}\n\n{from}-{to} @offset={offset}. \
         First byte {found:#x} instead of {value:#x}\nSlab {} objects={} used={}\n{bytes}",
        cache.name(),
        slab.frame().virt(),
        slab.slots(cache).count(),
        slab.in_use(),
    )
}

/// Bytes, 16 in a line, in hexadecimal and as text.
struct Bytes<'a> {
    what: &'a str,
    at: VirtAddr,
    len: u32,
    byte: &'a dyn Fn(u32) -> u8,
}

impl fmt::Display for Bytes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for start in (0..self.len).step_by(16) {
            write!(f, "{:<8} {:016x}:", self.what, self.at.get() + start as usize)?;
            let line = || (start..self.len.min(start + 16)).map(self.byte);
            for byte in line() {
                write!(f, " {byte:02x}")?;
            }
            write!(f, "{:pad$}  ", "", pad = 3 * (16 - line().count()))?;
            for byte in line() {
                let shown = byte.is_ascii_graphic() || byte == b' ';
                write!(f, "{}", if shown { byte as char } else { '.' })?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

/// Logs what becomes of object `index`, `alloc` or `free`, with the bytes of one that is freed
/// (Linux: trace, SLAB_TRACE).
#[cold]
#[inline(never)]
pub(super) fn trace(cache: &RawCache, slots: &Slots, index: u16, what: &'static str) {
    let stack = stackdepot::save_here(true);
    log::info!("{}", Trace { trailer: Trailer { cache, slots, index }, what, stack });
}

struct Trace<'a> {
    trailer: Trailer<'a>,
    what: &'static str,
    stack: Option<Handle>,
}

impl fmt::Display for Trace<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Trailer { cache, slots, index } = self.trailer;
        let at = slots.address(index);
        write!(f, "TRACE {} {} {at}", cache.name(), self.what)?;
        if let Some(slab) = Slab::containing(at) {
            write!(f, " inuse={} fp={}", slab.in_use(), Link(slots, slab.first_free()))?;
        }
        writeln!(f)?;
        if self.what == "free" {
            self.trailer.bytes(f, "Object", 0, (cache.layout().object_size as i32).min(SHOWN))?;
        }
        Stack(self.stack).fmt(f)
    }
}

/// All that is known of an object.
struct Trailer<'a> {
    cache: &'a RawCache,
    slots: &'a Slots,
    index: u16,
}

impl fmt::Display for Trailer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.tracks(f)?;
        let at = self.slots.address(self.index);
        if let Some(slab) = Slab::containing(at) {
            writeln!(
                f,
                "Slab {} objects={} used={} fp={}",
                slab.frame().virt(),
                self.slots.count(),
                slab.in_use(),
                Link(self.slots, slab.first_free()),
            )?;
        }
        let next = self.cache.decode(at, self.slots.link(self.index));
        let next = u16::try_from(next).unwrap_or(END);
        let offset = usize::from(self.index) * self.cache.layout().size as usize;
        writeln!(f, "Object {at} @offset={offset} fp={}\n", Link(self.slots, next))?;
        let layout = self.cache.layout();
        let size = layout.object_size as i32;
        let left = (layout.red_left as i32).min(SHOWN);
        self.bytes(f, "Redzone", -left, 0)?;
        self.bytes(f, "Object", 0, size.min(SHOWN))?;
        self.bytes(f, "Redzone", size, layout.red_end as i32)?;
        let end = (layout.size - layout.red_left) as i32;
        self.bytes(f, "Padding", layout.meta_end as i32, end.min(layout.meta_end as i32 + SHOWN))
    }
}

impl Trailer<'_> {
    fn tracks(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.cache.flags().contains(SlabFlags::STORE_USER) {
            return Ok(());
        }
        for (what, item) in [("Allocated", TrackItem::Alloc), ("Freed", TrackItem::Free)] {
            if let Some(track) = Track::get(self.cache, self.slots, self.index, item) {
                write!(f, "{what} in {track}")?;
            }
        }
        Ok(())
    }

    /// The bytes at offsets `from..to`, 16 in a line, in hexadecimal and as text.
    fn bytes(&self, f: &mut fmt::Formatter<'_>, what: &str, from: i32, to: i32) -> fmt::Result {
        let at = self.slots.address(self.index).get().wrapping_add_signed(from as isize);
        let byte = |n| self.slots.byte(self.index, from + n as i32);
        let len = u32::try_from(to - from).unwrap_or(0);
        write!(f, "{}", Bytes { what, at: VirtAddr::new(at), len, byte: &byte })
    }
}

/// An object by its number, as Linux prints free pointers.
struct Link<'a>(&'a Slots, u16);

impl fmt::Display for Link<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.1 < self.0.count() {
            self.0.address(self.1).fmt(f)
        } else {
            f.write_str("0x0000000000000000")
        }
    }
}

/// The slab and the number of the object at `at`, if the cache is debugged.
fn debugged(cache: &RawCache, at: VirtAddr) -> Option<(Slots, u16)> {
    if !cache.flags().intersects(SlabFlags::DEBUG) {
        return None;
    }
    let slab = Slab::of_cache(cache, at)?;
    let slots = slab.slots(cache);
    Some((slots, slots.index_of(at)?))
}

#[cold]
#[inline(never)]
pub(super) fn double_free(cache: &RawCache, at: VirtAddr, caller: &Location<'_>) -> ! {
    if let Some((slots, index)) = debugged(cache, at) {
        object(
            cache,
            &slots,
            index,
            format_args!("Object already free"),
            format_args!("double free of object {at} by {caller}"),
        )
    }
    panic!("slab {}: double free of object {at} by {caller}", cache.name())
}

#[cold]
#[inline(never)]
pub(super) fn invalid_free(cache: &RawCache, at: VirtAddr, caller: &Location<'_>) -> ! {
    // The object that it lies in, if there is one.
    let inside = Slab::of_cache(cache, at)
        .map(|slab| slab.slots(cache))
        .and_then(|slots| Some((slots, slots.index_around(at)?)));
    if let Some((slots, index)) = inside
        && cache.flags().intersects(SlabFlags::DEBUG)
    {
        object(
            cache,
            &slots,
            index,
            format_args!("Invalid object pointer {at}"),
            format_args!("invalid free of {at}, no object of it, by {caller}"),
        )
    }
    panic!("slab {}: invalid free of {at}, no object of it, by {caller}", cache.name())
}

#[cold]
#[inline(never)]
pub(super) fn foreign_free(what: &str, at: VirtAddr, caller: &Location<'_>) -> ! {
    panic!("{what}: free of {at}, which no slab and no large allocation holds, by {caller}")
}

#[cold]
#[inline(never)]
pub(super) fn modified_after_free(cache: &RawCache, at: VirtAddr) -> ! {
    if let Some((slots, index)) = debugged(cache, at) {
        object(
            cache,
            &slots,
            index,
            format_args!("Freepointer corrupt"),
            format_args!("object {at} was modified after free"),
        )
    }
    panic!("slab {}: object {at} was modified after free", cache.name())
}

#[cold]
#[inline(never)]
pub(super) fn lost_object(cache: &RawCache, at: VirtAddr) -> ! {
    panic!("slab {}: {at} in a sheaf of it is no object of it", cache.name())
}

/// Names up to `limit` objects of `slab` that are still allocated, with their tracks (Linux:
/// list_slab_objects). The node's lock is held. Returns the number of them.
pub(super) fn live_objects(cache: &RawCache, slab: Slab, limit: usize) -> usize {
    let slots = slab.slots(cache);
    let live = (0..slots.count()).filter(|&index| !slab.is_free(cache, index)).take(limit);
    live.inspect(|&index| {
        let trailer = Trailer { cache, slots: &slots, index };
        log::error!("Object {} @{index} {}", slots.address(index), Users(&trailer));
    })
    .count()
}

struct Users<'a>(&'a Trailer<'a>);

impl fmt::Display for Users<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.tracks(f)
    }
}
