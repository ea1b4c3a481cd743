//! Compaction: movable pages in use are moved to one end of a zone, so that the free
//! memory becomes contiguous (Linux: mm/compaction.c).
//!
//! | file | what it decides |
//! | --- | --- |
//! | `scanner` | which pages are moved, and where to |
//! | `fragmentation` | how scattered free memory is |
//! | `kcompactd` | when it runs in the background |
//!
//! It runs in the context of an allocation that fails for want of a large block, or in the
//! background. Where it brings nothing it is put off, each time for longer (deferral).
//!
//! Lock order: nothing is held but, for one pageblock at a time, the zone's lock.
#![deny(unsafe_code)]

mod fragmentation;
mod kcompactd;
mod scanner;
#[cfg(test)]
#[expect(unsafe_code, reason = "tests give pages back by their frames")]
mod tests;

pub use fragmentation::ContigPageInfo;
#[cfg(test)]
pub(in crate::mm) use kcompactd::wanted as kcompactd_wanted;
pub use kcompactd::{
    compaction_proactiveness, fragmentation_score, kcompactd, set_compaction_proactiveness,
    wakeup_kcompactd,
};

use crate::addr::Order;
use crate::machine_local;
use crate::mm::hooks::points::{self, Scan};
use crate::mm::migrate::MigrateMode;
use crate::mm::mmzone::{Migratetype, Wmark, WmarkFlags, Zone, ZoneId, ZoneType};
use crate::mm::page_alloc::drain_all_pages;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use scanner::{Scanners, Step, reset_isolation_suitable};

/// Above this order a failure for want of memory is told from one for scattered memory.
const COSTLY_ORDER: u8 = 3;
/// The fragmentation index up to which memory is short rather than scattered (Linux:
/// sysctl_extfrag_threshold).
const EXTFRAG_THRESHOLD: u64 = 500;
/// The most that compaction is put off: 2^n attempts (Linux: COMPACT_MAX_DEFER_SHIFT).
const MAX_DEFER_SHIFT: u32 = 6;

/// Result of the compaction of a zone (Linux: enum compact_result).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CompactResult {
    /// Put off: it brought nothing lately.
    Deferred,
    /// Not worth trying: too little memory is free, or there is a block already.
    Skipped,
    /// The whole zone was gone through, and there is no such block.
    Complete,
    /// There is a block now.
    Success,
}

impl CompactResult {
    /// Returns the number of Linux's result, which its trace events show.
    const fn number(self) -> u64 {
        match self {
            Self::Skipped => 1,
            Self::Deferred => 2,
            Self::Complete => 5,
            Self::Success => 8,
        }
    }
}

/// Counts of compaction since boot (Linux: /proc/vmstat, compact_*).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct CompactStat {
    /// Zones that an allocation had compacted.
    pub stall: u64,
    /// Number of compactions after which there was a block.
    pub success: u64,
    /// Number of compactions after which there was none.
    pub fail: u64,
    /// Frames that the rising scanner looked at.
    pub scanned: u64,
    /// Pages that were moved.
    pub moved: u64,
}

struct Stat {
    stall: AtomicU64,
    success: AtomicU64,
    fail: AtomicU64,
    scanned: AtomicU64,
    moved: AtomicU64,
}

impl Stat {
    const fn new() -> Self {
        Self {
            stall: AtomicU64::new(0),
            success: AtomicU64::new(0),
            fail: AtomicU64::new(0),
            scanned: AtomicU64::new(0),
            moved: AtomicU64::new(0),
        }
    }
}

/// History of a zone's former attempts.
struct History {
    /// Position at which the migration scanner stopped.
    migrate: AtomicU32,
    free: AtomicU32,
    /// Attempts since it was put off, out of 2^`shift`.
    considered: AtomicU32,
    shift: AtomicU32,
    /// The least order that failed.
    failed: AtomicU32,
    /// Pages of the zone that were free then.
    free_then: AtomicU32,
    /// All of it was gone through: what was found of its pageblocks is out of date (Linux:
    /// compact_blockskip_flush).
    stale: AtomicBool,
}

impl History {
    const fn new() -> Self {
        Self {
            migrate: AtomicU32::new(0),
            free: AtomicU32::new(u32::MAX),
            considered: AtomicU32::new(0),
            shift: AtomicU32::new(0),
            failed: AtomicU32::new(Order::COUNT as u32),
            free_then: AtomicU32::new(0),
            stale: AtomicBool::new(false),
        }
    }

    /// Returns whether a request of `order` is put off, of whose zone `free` pages are free.
    /// Where a huge page more is free than when it failed, it is worth another try (Linux:
    /// compaction_deferred, which counts attempts alone).
    fn deferred(&self, order: Order, free: u32) -> bool {
        let limit = 1 << self.shift.load(Relaxed);
        let more = free.saturating_sub(self.free_then.load(Relaxed));
        if u32::from(order.get()) < self.failed.load(Relaxed)
            || more >= order.max(Order::PAGEBLOCK).pages()
        {
            return false;
        }
        let considered = self.considered.load(Relaxed) + 1;
        self.considered.store(considered.min(limit), Relaxed);
        considered < limit
    }

    /// Notes a failure with `free` pages free: the next attempts are put off (Linux:
    /// defer_compaction).
    fn defer(&self, order: Order, free: u32) {
        self.free_then.store(free, Relaxed);
        self.considered.store(0, Relaxed);
        self.shift.store((self.shift.load(Relaxed) + 1).min(MAX_DEFER_SHIFT), Relaxed);
        self.failed.fetch_min(u32::from(order.get()), Relaxed);
    }

    /// An allocation of `order` succeeded (Linux: compaction_defer_reset).
    fn reset(&self, order: Order) {
        self.considered.store(0, Relaxed);
        self.shift.store(0, Relaxed);
        if u32::from(order.get()) >= self.failed.load(Relaxed) {
            self.failed.store(u32::from(order.get()) + 1, Relaxed);
        }
    }

    fn forget_places(&self) {
        self.migrate.store(0, Relaxed);
        self.free.store(u32::MAX, Relaxed);
    }
}

machine_local! {
    static HISTORY: [History; ZoneId::COUNT] = [const { History::new() }; ZoneId::COUNT];
    static STAT: Stat = Stat::new();
}

/// Returns the counts of compaction since boot.
#[must_use]
pub fn compact_stat() -> CompactStat {
    CompactStat {
        stall: STAT.stall.load(Relaxed),
        success: STAT.success.load(Relaxed),
        fail: STAT.fail.load(Relaxed),
        scanned: STAT.scanned.load(Relaxed),
        moved: STAT.moved.load(Relaxed),
    }
}

/// Requirements of a requested block.
#[derive(Clone, Copy, Debug)]
pub(in crate::mm) struct Wanted {
    pub order: Order,
    pub mt: Migratetype,
    pub highest: ZoneType,
}

impl Wanted {
    /// Returns whether `zone` has a block that such a request may take (Linux:
    /// compact_finished).
    fn is_there(&self, zone: &Zone) -> bool {
        let has = |mt: Migratetype| zone.orders[mt.index()].load(Relaxed) >> self.order.get() != 0;
        let steals =
            self.order.get() >= Order::PAGEBLOCK.get() / 2 || self.mt != Migratetype::Movable;
        has(self.mt)
            || self.mt == Migratetype::Movable && has(Migratetype::Cma)
            || steals && self.mt.fallbacks().iter().any(|&mt| has(mt))
    }

    /// Returns whether compacting `zone` may help (Linux: compaction_suitable).
    fn is_suitable(&self, zone: &Zone) -> bool {
        let costly = self.order.get() > COSTLY_ORDER;
        let mark = zone.watermark(if costly { Wmark::Low } else { Wmark::Min });
        // Pages to move to, and room beside them.
        let gap = 2 << self.order.get();
        if !zone.watermark_ok(Order::ZERO, mark + gap, self.highest, WmarkFlags::CMA) {
            return false;
        }
        let index = ContigPageInfo::of(zone.id(), self.order).fragmentation_index();
        !costly || index.is_none_or(|index| index > EXTFRAG_THRESHOLD)
    }
}

/// Compacts `zone` for an allocation, unless that is put off or hopeless. Threads with
/// interrupts on (Linux: compact_zone_order).
pub(in crate::mm) fn compact_zone_order(
    zone: ZoneId,
    wanted: Wanted,
    mode: MigrateMode,
) -> CompactResult {
    let history = &HISTORY[zone.index()];
    if history.deferred(wanted.order, zone.zone().free()) {
        return CompactResult::Deferred;
    }
    if wanted.is_there(zone.zone()) || !wanted.is_suitable(zone.zone()) {
        return CompactResult::Skipped;
    }
    STAT.stall.fetch_add(1, Relaxed);
    let done = || wanted.is_there(zone.zone());
    let result = try_all(zone, wanted.order, done, mode);
    match result {
        CompactResult::Success => STAT.success.fetch_add(1, Relaxed),
        _ => STAT.fail.fetch_add(1, Relaxed),
    };
    if result == CompactResult::Complete && mode != MigrateMode::Async {
        history.defer(wanted.order, zone.zone().free());
    }
    result
}

/// An allocation of `order` from `zone` succeeded: nothing need be put off any more.
pub(in crate::mm) fn compaction_succeeded(zone: ZoneId, order: Order) {
    HISTORY[zone.index()].reset(order);
}

/// Compacts all of `zone`, whether that is needed or not (Linux: compact_node,
/// /proc/sys/vm/compact_memory); returns how many pages were moved. Threads with interrupts
/// on.
pub fn compact_zone(zone: ZoneId) -> u32 {
    let before = STAT.moved.load(Relaxed);
    HISTORY[zone.index()].forget_places();
    compact(zone, Order::PAGEBLOCK, || false, MigrateMode::Sync);
    (STAT.moved.load(Relaxed) - before) as u32
}

/// Compacts a zone as far as `mode` goes; where one waits for it, whole and in pageblocks of
/// all kinds as the last try. Who says that it brings nothing must have tried that.
fn try_all(
    zone: ZoneId,
    order: Order,
    done: impl Fn() -> bool + Copy,
    mode: MigrateMode,
) -> CompactResult {
    match compact(zone, order, done, mode) {
        CompactResult::Complete if mode == MigrateMode::SyncLight => {
            compact(zone, order, done, MigrateMode::Sync)
        }
        result => result,
    }
}

/// Compacts a zone for blocks of `order` until it is `done`, or the scanners have met having
/// gone through all of it.
fn compact(id: ZoneId, order: Order, done: impl Fn() -> bool, mode: MigrateMode) -> CompactResult {
    let zone = id.zone();
    let history = &HISTORY[id.index()];
    drain_all_pages();
    if history.stale.swap(false, Relaxed) {
        reset_isolation_suitable(id);
    }
    loop {
        let span = zone.spanned();
        let migrate = span.start().max(crate::addr::Pfn::new(history.migrate.load(Relaxed)));
        let free = span.end().min(crate::addr::Pfn::new(history.free.load(Relaxed)));
        let whole = migrate == span.start() && free == span.end();
        let sync = mode != MigrateMode::Async;
        let begin = Scan { start: span.start(), migrate, free, end: span.end(), sync };
        points::mm_compaction_begin(begin);
        let mut scanners = Scanners::new(id, mode, order, migrate, free);
        let result = loop {
            let step = scanners.step();
            if done() {
                break CompactResult::Success;
            }
            if step == Step::Met {
                break CompactResult::Complete;
            }
        };
        STAT.scanned.fetch_add(u64::from(scanners.scanned), Relaxed);
        STAT.moved.fetch_add(u64::from(scanners.moved), Relaxed);
        let (migrate, free) = scanners.places();
        points::mm_compaction_end(Scan { migrate, free, ..begin }, result.number());
        // Gives the free pages that are left back, and lets them merge.
        drop(scanners);
        drain_all_pages();
        if result == CompactResult::Success {
            history.migrate.store(migrate.get(), Relaxed);
            history.free.store(free.get(), Relaxed);
            return result;
        }
        history.forget_places();
        history.stale.store(true, Relaxed);
        if done() {
            return CompactResult::Success;
        }
        if whole {
            return result;
        }
    }
}
