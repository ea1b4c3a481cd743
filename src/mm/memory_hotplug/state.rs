//! State of sections, online or offline, and its effects on their zones and frames.
#![deny(unsafe_code)]

use super::HotplugError;
use crate::addr::{Order, Pfn, PfnRange};
use crate::arch::IrqMasked;
use crate::arch::irq::with_masked;
use crate::machine_local;
use crate::mm::mmzone::ZoneId;
use crate::mm::page::{Frame, PageFlags, PageType};
use crate::mm::page_alloc::present_in;
use crate::mm::sparse::{self, Section};
use crate::sched::{Mutex, MutexGuard};
use crate::sync::SleepRank;
use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// State of a section (Linux: MEM_ONLINE, MEM_OFFLINE, MEM_GOING_OFFLINE).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MemoryState {
    /// The page allocator manages the section's memory.
    Online,
    /// The section is being emptied.
    GoingOffline,
    /// None of the section's memory is allocated.
    Offline,
}

impl fmt::Display for MemoryState {
    /// Formats the state as in /sys/devices/system/memory/memoryN/state.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Online => "online",
            Self::GoingOffline => "going-offline",
            Self::Offline => "offline",
        })
    }
}

machine_local! {
    /// Lock that lets one range at a time change its state (Linux: mem_hotplug_lock).
    static CHANGING: Mutex = Mutex::new(SleepRank::MemHotplug);
    /// The range that is going offline, its start in the upper half, its end in the lower;
    /// an empty range while none is. Written by the holder of `CHANGING`.
    static GOING_OFFLINE: AtomicU64 = AtomicU64::new(0);
}

/// The right to change the state of a range.
pub(super) struct Changing {
    _guard: MutexGuard<'static>,
}

impl Changing {
    /// Waits for its turn. An error where `range` is not made of sections.
    pub(super) fn start(range: PfnRange, to: MemoryState) -> Result<Self, HotplugError> {
        let (first, last) = (Section::of(range.start()), range.end());
        let ends = last == Section::of(last).start() || last == Pfn::LIMIT;
        if range.is_empty() || last > Pfn::LIMIT || range.start() != first.start() || !ends {
            return Err(HotplugError::Invalid);
        }
        let going_offline = u64::from(range.start().get()) << 32 | u64::from(last.get());
        let this = Self { _guard: CHANGING.lock() };
        if to == MemoryState::GoingOffline {
            GOING_OFFLINE.store(going_offline, Relaxed);
        }
        Ok(this)
    }

    /// The range that is going offline.
    fn going_offline() -> PfnRange {
        let word = GOING_OFFLINE.load(Relaxed);
        PfnRange::new(Pfn::new((word >> 32) as u32), Pfn::new(word as u32))
    }
}

impl Drop for Changing {
    fn drop(&mut self) {
        GOING_OFFLINE.store(0, Relaxed);
    }
}

/// The first frame of `section` that has a descriptor.
fn first_frame(section: Section) -> Option<Frame> {
    let blocks = sparse::populated_blocks(section);
    if blocks == 0 { None } else { Frame::new(section.block(blocks.trailing_zeros()).start()) }
}

/// Returns true if the pageblocks of `section` are marked as offline.
fn is_offline(section: Section) -> bool {
    first_frame(section).is_some_and(|frame| frame.page().block_is_offline())
}

/// The state of a section; `None` where it holds no RAM. Any context.
#[must_use]
pub fn section_state(section: Section) -> Option<MemoryState> {
    if first_frame(section).is_none() && next_section(section.start()) != Some(section) {
        return None;
    }
    Some(if is_offline(section) {
        MemoryState::Offline
    } else if Changing::going_offline().contains(section.start()) {
        MemoryState::GoingOffline
    } else {
        MemoryState::Online
    })
}

/// The first section with RAM from `from` on.
fn next_section(from: Pfn) -> Option<Section> {
    let mut next = Pfn::LIMIT;
    for zone in ZoneId::all() {
        with_masked(|irq| {
            present_in(irq, zone, |part| {
                if part.end() > from {
                    next = next.min(part.start().max(from));
                }
            })
        });
    }
    (next < Pfn::LIMIT).then(|| Section::of(next))
}

/// The sections with RAM, rising, and their states (Linux: /sys/devices/system/memory).
pub fn sections() -> impl Iterator<Item = (Section, MemoryState)> {
    let first = next_section(Pfn::new(0));
    core::iter::successors(first, |section| next_section(section.end()))
        .filter_map(|section| Some((section, section_state(section)?)))
}

/// Calls `f` with the parts of the RAM of `zone`, cut at sections; `None` where not all of
/// RAM is remembered.
fn parts_of(irq: &IrqMasked, zone: ZoneId, mut f: impl FnMut(Section, PfnRange)) -> Option<()> {
    present_in(irq, zone, |part| {
        let mut at = part.start();
        while at < part.end() {
            let section = Section::of(at);
            f(section, part.intersect(section.frames()));
            at = section.end();
        }
    })
}

/// Makes a zone span what of it is online (Linux: shrink_zone_span, resize_zone_range).
pub(super) fn update_span(irq: &IrqMasked, id: ZoneId) {
    let none = PfnRange::new(Pfn::new(0), Pfn::new(0));
    let mut span = none;
    let known = parts_of(irq, id, |section, part| {
        if !is_offline(section) {
            let start = if span.is_empty() { part.start() } else { span.start() };
            span = PfnRange::new(start, part.end());
        }
    });
    if known.is_some() {
        let zone = id.zone();
        let _locked = zone.lock(irq);
        zone.start.store(span.start().get(), Relaxed);
        zone.end.store(span.end().get(), Relaxed);
    }
}

/// Checks the marks of the zone's frames against the states of their sections; returns how
/// many are poisoned. Nobody may change anything meanwhile.
pub(in crate::mm) fn validate_zone(
    irq: &IrqMasked,
    id: ZoneId,
) -> Result<u32, (&'static str, Option<Frame>)> {
    let (mut offline, mut poisoned, mut wrong) = (0, 0, None);
    let known = parts_of(irq, id, |section, part| {
        if sparse::populated_blocks(section) == 0 {
            return;
        }
        let is_offline = is_offline(section);
        offline += if is_offline { part.len() } else { 0 };
        for frame in part.iter().filter_map(Frame::new) {
            let page = frame.page();
            let vmemmap = page.is_type(PageType::Vmemmap);
            poisoned += u32::from(page.flags().contains(PageFlags::HWPOISON));
            let what = if page.is_type(PageType::Offline) != (is_offline && !vmemmap) {
                "a frame is not marked as its section is"
            } else if is_offline && frame.page().refcount() != 0 {
                "a frame of an offline section has references"
            } else if frame.pfn().is_aligned(Order::PAGEBLOCK)
                && frame.page().block_is_offline() != is_offline
            {
                "a pageblock is not marked as its section is"
            } else {
                continue;
            };
            wrong = wrong.or(Some((what, Some(frame))));
        }
    });
    match wrong {
        Some(wrong) => Err(wrong),
        None if known.is_some() && offline != id.zone().offline.load(Relaxed) => {
            Err(("the count of offline pages is wrong", None))
        }
        None => Ok(poisoned),
    }
}
