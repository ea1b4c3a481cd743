//! The way of areas from the lazy lists into the pools or out of the tree, after a flush
//! (Linux: purge_vmap_node, decay_va_pool_node).
#![deny(unsafe_code)]

use super::area::VmapArea;
use super::lazy::{Held, SizedLists};
use super::purge::Freed;
use super::va_space::AreaId;
use super::vmap_areas::{GUARD_PAGES, POOLED_PAGES, VmallocStat, VmapAreas, allocated};
use crate::addr::PAGE_SIZE;
use crate::collections::slots::NIL;
use crate::mm::init_mm::{Flushed, TlbFlush};

/// Areas that are dealt with in one holding of the lock.
pub const BATCH: usize = 32;

/// Areas on their way from the lazy list, and the flush that they wait for.
pub struct Purge {
    /// The first of those that are dealt with one by one.
    pub others: u32,
    /// Flush to be done before anything else.
    pub owed: TlbFlush,
    /// Backings of the areas, to be given back after the flush.
    pub held: Held,
}

impl Purge {
    /// Empty work.
    pub const NONE: Self = Self { others: NIL, owed: TlbFlush::NONE, held: Held::NONE };
}

/// Lazily unmapped areas that are dealt with one by one: large ones, and those with something
/// of their own to give back.
pub struct Others {
    /// The one that came last, or none.
    pub head: u32,
    /// Pages of addresses, as [`VmallocStat::lazy`].
    pub lazy: usize,
    /// Like [`VmallocStat::lazy_frames`].
    pub lazy_frames: usize,
}

impl Others {
    /// None.
    pub const NONE: Self = Self { head: NIL, lazy: 0, lazy_frames: 0 };

    /// Adds `area`, whose number is `id`.
    pub fn push(&mut self, id: AreaId, area: &mut VmapArea) {
        area.next = core::mem::replace(&mut self.head, id.get());
        self.lazy += area.nr_pages as usize + GUARD_PAGES;
        self.lazy_frames += allocated(area.flags, area.nr_pages as usize);
    }
}

/// Areas of which a purge moves whole lists.
pub struct Flushing {
    pub(super) areas: SizedLists,
    /// Pages of addresses, as [`VmallocStat::lazy`].
    lazy: usize,
    /// Like [`VmallocStat::lazy_frames`].
    lazy_frames: usize,
}

impl Flushing {
    /// None.
    pub const NONE: Self = Self { areas: SizedLists::new(), lazy: 0, lazy_frames: 0 };
}

/// Result of [`VmapAreas::start_purge`].
pub enum PurgeStart {
    /// No area is lazily unmapped.
    Nothing,
    /// The purge of another CPU is under way.
    Busy,
    /// Flush, then [`VmapAreas::reclaim_sized`], and what that asks for.
    Areas,
}

impl VmapAreas {
    /// Takes all areas off the lazy lists; what is to be done for them is put into `purge`,
    /// where there was nothing.
    pub fn start_purge(&mut self, purge: &mut Purge) -> PurgeStart {
        if self.purging {
            return PurgeStart::Busy;
        }
        if self.lazy.are_empty() && self.others.head == NIL && self.owed.is_none() {
            return PurgeStart::Nothing;
        }
        self.purging = true;
        let others = core::mem::replace(&mut self.others, Others::NONE);
        let flushing = &mut self.flushing;
        flushing.lazy = self.stat.lazy - others.lazy;
        flushing.lazy_frames = self.stat.lazy_frames - others.lazy_frames;
        while let Some(list) = self.lazy.take() {
            flushing.areas.put(list);
        }
        purge.others = others.head;
        core::mem::swap(&mut *self.owed, &mut purge.owed);
        core::mem::swap(&mut self.held, &mut purge.held);
        PurgeStart::Areas
    }

    /// Reclaims the areas that wait in lists by size, after the flush: moves the lists into the
    /// pools or, if those would hold too much, puts them before `others`. Returns true if that
    /// was all, and the purge is over; otherwise the caller goes on with
    /// [`reclaim`](Self::reclaim).
    pub fn reclaim_sized(&mut self, _: &Flushed, others: &mut u32) -> bool {
        let Flushing { areas, lazy, lazy_frames } = &mut self.flushing;
        let fit = self.stat.pooled + *lazy <= self.limits.pool_max_pages;
        while let Some((pages, list)) = areas.take() {
            let before = if fit { &mut self.pools[pages] } else { &mut *others };
            if let Some(tail) = AreaId::new(list.tail) {
                self.space.get_mut(tail).1.next = core::mem::replace(before, list.head);
            }
        }
        if fit {
            self.stat.lazy -= *lazy;
            self.stat.lazy_frames -= *lazy_frames;
            self.stat.pooled += *lazy;
        }
        self.purging = *others != NIL;
        !self.purging
    }

    /// Reclaims the other areas after that, a few at a time; their backing is put into `out`.
    /// Returns true if areas are left; after the last, and once the backing is freed, the caller
    /// calls [`end_purge`](Self::end_purge).
    pub fn reclaim(&mut self, head: &mut u32, out: &mut Freed) -> bool {
        let VmallocStat { mut lazy, mut lazy_frames, mut pooled, .. } = self.stat;
        let (mut at, mut left) = (AreaId::new(*head), BATCH);
        while let Some(id) = at
            && left > 0
        {
            left -= 1;
            let (range, area) = self.space.get_mut(id);
            let pages = range.len() / PAGE_SIZE;
            at = AreaId::new(area.next);
            out.add(core::mem::take(&mut area.backing));
            lazy_frames -= allocated(area.flags, area.nr_pages as usize);
            lazy -= pages;
            if pages <= POOLED_PAGES && pooled + pages <= self.limits.pool_max_pages {
                area.next = core::mem::replace(&mut self.pools[pages - 1], id.get());
                pooled += pages;
            } else {
                drop(self.space.free(id));
            }
        }
        self.stat = VmallocStat { lazy, lazy_frames, pooled, ..self.stat };
        *head = at.map_or(NIL, AreaId::get);
        at.is_some()
    }

    /// The purge is over.
    pub fn end_purge(&mut self) {
        self.purging = false;
    }

    /// Frees pooled addresses, a few at a time. Returns true if some are left.
    pub fn drain_pools(&mut self) -> bool {
        let mut budget = BATCH;
        for pages in 1..=POOLED_PAGES {
            while let Some(id) = AreaId::new(self.pools[pages - 1]) {
                if budget == 0 {
                    return true;
                }
                budget -= 1;
                let area = self.space.free(id);
                self.pools[pages - 1] = area.next;
                self.stat.pooled -= pages;
            }
        }
        false
    }
}
