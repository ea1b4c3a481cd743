//! Check of the invariants of areas, lists and counts.
#![deny(unsafe_code)]

use super::VmFlags;
use super::area::{Backing, State, VmapArea};
use super::va_space::AreaId;
use super::vmap_areas::{GUARD_PAGES, VmallocStat, VmapAreas, allocated};
use super::vmap_block::BLOCK_PAGES;
use crate::addr::{PAGE_SIZE, VirtRange};
use crate::collections::slots::NIL;

impl VmapAreas {
    /// Checks the space, the lists and the counts, while no purge is under way.
    ///
    /// # Panics
    /// Where an invariant is broken.
    pub fn validate(&self) {
        self.space.validate();
        assert!(!self.purging, "validate during a purge");
        let mut stat = VmallocStat::default();
        let mut unused = 0;
        for (_, range, area) in self.space.iter() {
            let pages = range.len() / PAGE_SIZE;
            assert_eq!(area.nr_pages as usize + GUARD_PAGES, pages, "{range:?}");
            match area.state {
                State::Busy | State::Unmapping => {
                    stat.mapped += area.nr_pages as usize;
                    if area.flags.contains(VmFlags::VM_ALLOC) {
                        stat.allocated += area.nr_pages as usize;
                    }
                }
                State::Unused => unused += 1,
            }
            match &area.backing {
                Backing::Pages(chain) => {
                    let bytes: usize = chain.heads().blocks().map(|(_, bytes)| bytes).sum();
                    assert_eq!(bytes, chain.len() as usize * PAGE_SIZE);
                    assert_eq!(chain.len(), area.nr_pages, "pages of {range:?}");
                }
                Backing::Io(_) => assert!(area.flags.contains(VmFlags::VM_IOREMAP)),
                Backing::None => {}
            }
        }
        let others = self.each_of(self.others.head, |range, area| {
            stat.lazy += range.len() / PAGE_SIZE;
            stat.lazy_frames += allocated(area.flags, area.nr_pages as usize);
        });
        assert_eq!((stat.lazy, stat.lazy_frames), (self.others.lazy, self.others.lazy_frames));
        let (mut lazy, mut pooled, mut held) = (others.0, 0, 0);
        for (pages, list) in self.lazy.iter() {
            let (len, last) = self.each_of(list.head, |range, area| {
                assert_eq!((range.len() / PAGE_SIZE, area.nr_pages as usize), (pages + 1, pages));
                assert!(matches!(area.backing, Backing::None), "{range:?} kept what it held");
                stat.lazy += pages + 1;
                held += allocated(area.flags, area.nr_pages as usize);
            });
            assert_eq!(last, list.tail, "the end of the list of {pages} pages");
            lazy += len;
        }
        stat.lazy_frames += held;
        assert_eq!(held, self.held.pages().heads().count(), "pages that wait");
        assert_eq!(held, self.held.pages().len() as usize, "pages that wait, as counted");
        assert!(self.flushing.areas.are_empty(), "a purge left areas behind");
        for (i, head) in self.pools.iter().enumerate() {
            let (len, _) = self.each_of(*head, |range, area| {
                assert_eq!(range.len(), (i + 1) * PAGE_SIZE, "in the pool of another size");
                assert!(matches!(area.backing, Backing::None), "{range:?} in a pool");
                stat.pooled += i + 1;
            });
            pooled += len;
        }
        assert_eq!(lazy + pooled, unused, "areas on no list");
        assert_eq!(stat, self.stat);
        let used = self.space.iter().any(|(.., area)| area.dirty > 0);
        assert!(lazy > 0 || used || self.owed.is_none(), "a flush is owed for what was unmapped");
        for block in self.blocks.iter().flatten() {
            let area = self.space.get(block.id);
            assert!(area.flags.contains(VmFlags::VM_MAP_RAM) && area.state == State::Busy);
            assert!(area.dirty <= block.next && block.next <= BLOCK_PAGES, "{block:?}");
        }
    }

    /// Calls `each` with the areas of the list that begins with `head`. Returns their number,
    /// and the last.
    pub(super) fn each_of(
        &self,
        mut head: u32,
        mut each: impl FnMut(VirtRange, &VmapArea),
    ) -> (usize, u32) {
        let (mut len, mut last) = (0, NIL);
        while let Some(id) = AreaId::new(head) {
            let area = self.space.get(id);
            assert_eq!(area.state, State::Unused, "{id:?} is on a list");
            each(self.space.area(id), area);
            len += 1;
            (last, head) = (head, area.next);
        }
        (len, last)
    }
}
