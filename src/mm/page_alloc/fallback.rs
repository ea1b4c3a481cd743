//! Fallback of an allocation to other migratetypes when its own has no free block (Linux:
//! __rmqueue, find_suitable_fallback, steal_suitable_fallback).
//!
//! The largest block of another type is taken, and where it is a large enough part of its
//! pageblock, the whole pageblock changes its type with it: so kinds stay apart, and one
//! theft serves many allocations.
#![deny(unsafe_code)]

use super::buddy::{buddy_order, pageblock_migratetype};
use super::extfrag;
use crate::addr::Order;
use crate::machine_local;
use crate::mm::hooks::points;
use crate::mm::mmzone::{LockedZone, Migratetype};
use crate::mm::page::{Frame, PageFlags};
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

machine_local! {
    static GROUPING_DISABLED: AtomicBool = AtomicBool::new(false);
}

/// Keeps kinds of pages apart from here on, or no longer, when all are taken for movable:
/// for measurements of what migratetypes are good for. CPUs' lists still hold a batch of
/// one kind each (Linux: page_group_by_mobility_disabled).
pub fn set_group_by_mobility(on: bool) {
    GROUPING_DISABLED.store(!on, Relaxed);
}

/// Limits of `rmqueue`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::mm) struct Reach {
    /// CMA's free pages may be borrowed.
    pub(in crate::mm) cma: bool,
    /// Only whole pageblocks may change hands (Linux: ALLOC_NOFRAGMENT).
    pub(in crate::mm) no_fragment: bool,
}

/// Returns whether an allocation of `order` and `mt` should take over the whole pageblock
/// (Linux: can_steal_fallback).
fn can_steal(order: Order, mt: Migratetype) -> bool {
    order.get() >= Order::PAGEBLOCK.get() / 2
        || matches!(mt, Migratetype::Reclaimable | Migratetype::Unmovable)
}

impl LockedZone<'_> {
    /// Takes a free block of `order` for `mt`.
    pub(in crate::mm) fn rmqueue(
        &mut self,
        order: Order,
        mt: Migratetype,
        reach: Reach,
    ) -> Option<Frame> {
        self.rmqueue_run(order, order, mt, reach).map(|(frame, _)| frame)
    }

    /// Takes a free block of at least `order` and at most `most` for `mt`: as large as the
    /// smallest one that would do anyway.
    pub(in crate::mm) fn rmqueue_run(
        &mut self,
        order: Order,
        most: Order,
        mt: Migratetype,
        reach: Reach,
    ) -> Option<(Frame, Order)> {
        let mt = if GROUPING_DISABLED.load(Relaxed) { Migratetype::Movable } else { mt };
        // Movable pages fill CMA first once most of what is free is CMA's: otherwise the
        // rest would run out while CMA's lies idle.
        if reach.cma
            && self.zone.free_cma.load(Relaxed) > self.zone.free.load(Relaxed) / 2
            && let Some(run) = self.rmqueue_smallest_run(order, most, Migratetype::Cma)
        {
            return Some(run);
        }
        if let Some(run) = self.rmqueue_smallest_run(order, most, mt) {
            return Some(run);
        }
        if reach.cma
            && let Some(run) = self.rmqueue_smallest_run(order, most, Migratetype::Cma)
        {
            return Some(run);
        }
        self.rmqueue_fallback(order, mt, reach.no_fragment).map(|frame| (frame, order))
    }

    /// Takes a block of `order` of another migratetype.
    fn rmqueue_fallback(&mut self, order: Order, mt: Migratetype, whole: bool) -> Option<Frame> {
        let least = if whole { order.max(Order::PAGEBLOCK) } else { order };
        for current in least.and_up().rev() {
            let Some(from) = self.find_suitable_fallback(current, mt) else { continue };
            if !can_steal(current, mt) && mt == Migratetype::Movable && current > order {
                // What is taken stays a stranger in its pageblock: then let it be small.
                return order.and_up().find_map(|small| {
                    let from = self.find_suitable_fallback(small, mt)?;
                    self.steal(small, order, from, mt)
                });
            }
            return self.steal(current, order, from, mt);
        }
        None
    }

    /// The migratetype to take a block of `order` from (Linux: find_suitable_fallback).
    fn find_suitable_fallback(&self, order: Order, mt: Migratetype) -> Option<Migratetype> {
        mt.fallbacks().iter().copied().find(|&from| self.list(order, from).nr_free() != 0)
    }

    /// Takes `order` off a block of `current` of type `from`, and its pageblock with it
    /// where that is worth it (Linux: steal_suitable_fallback).
    fn steal(
        &mut self,
        current: Order,
        order: Order,
        from: Migratetype,
        mt: Migratetype,
    ) -> Option<Frame> {
        let frame = self.list(current, from).head()?;
        if current >= Order::PAGEBLOCK {
            extfrag::note(mt, from, current, current.pages() / Order::PAGEBLOCK.pages());
            points::mm_page_alloc_extfrag(frame, order, current, mt, from, true);
            for n in (0..current.pages()).step_by(Order::PAGEBLOCK.pages() as usize) {
                frame.within(current, n).set_block_migratetype(mt);
            }
            self.del_from_free_list(frame, current, from);
            self.expand(frame, order, current, mt);
            self.account_sub(mt, order.pages());
            frame.page().set_order(order);
            return Some(frame);
        }
        // Next time there shall be room for both kinds.
        self.boost_watermark();
        let whole = can_steal(current, mt) && self.pageblock_suits(frame, from, mt);
        extfrag::note(mt, from, current, u32::from(whole));
        points::mm_page_alloc_extfrag(frame, order, current, mt, from, whole);
        if whole {
            self.move_freepages_block(frame, from, mt);
            return self.rmqueue_smallest(order, mt);
        }
        self.take(frame, order, current, from);
        Some(frame)
    }

    /// Returns whether at least half of the pageblock is free or in use by pages like `mt`.
    fn pageblock_suits(&self, frame: Frame, from: Migratetype, mt: Migratetype) -> bool {
        let (free, movable) = count_pageblock(frame);
        let alike = if mt == Migratetype::Movable {
            movable
        } else if from == Migratetype::Movable {
            // What can't be moved is counted as alike: it is unmovable or reclaimable.
            Order::PAGEBLOCK.pages() - free - movable
        } else {
            0
        };
        free + alike >= Order::PAGEBLOCK.pages() / 2
    }

    /// Moves the free blocks of the pageblock of `frame` from the lists of `from` to those
    /// of `to`, and the pageblock with them; returns how many pages were moved. None of
    /// its free blocks may be larger than a pageblock.
    pub(in crate::mm) fn move_freepages_block(
        &mut self,
        frame: Frame,
        from: Migratetype,
        to: Migratetype,
    ) -> u32 {
        let first = frame.align_down(Order::PAGEBLOCK);
        debug_assert_eq!(pageblock_migratetype(first), from);
        let mut moved = 0;
        let mut at = 0;
        while at < Order::PAGEBLOCK.pages() {
            let frame = first.within(Order::PAGEBLOCK, at);
            match buddy_order(frame) {
                Some(order) => {
                    self.del_from_free_list(frame, order, from);
                    self.add_to_free_list(frame, order, to, false);
                    moved += order.pages();
                    at += order.pages();
                }
                None => at += 1,
            }
        }
        first.set_block_migratetype(to);
        self.account_sub(from, moved);
        self.account_add(to, moved);
        moved
    }
}

/// Counts the pages of the pageblock of `frame` that are free, and those that are in use and
/// movable.
fn count_pageblock(frame: Frame) -> (u32, u32) {
    let first = frame.align_down(Order::PAGEBLOCK);
    let (mut free, mut movable, mut at) = (0, 0, 0);
    while at < Order::PAGEBLOCK.pages() {
        let frame = first.within(Order::PAGEBLOCK, at);
        at += match buddy_order(frame) {
            Some(order) => {
                free += order.pages();
                order.pages()
            }
            None => {
                movable += u32::from(frame.page().flags().contains(PageFlags::MOVABLE));
                1
            }
        };
    }
    (free, movable)
}
