//! Sections of small machines, taken offline and put back.

mod busy;
mod refused;

use super::*;
use crate::mm::cma::{cma_alloc, cma_init_reserved_areas, cma_init_reserved_mem};
use crate::mm::memory_hotplug::*;
use crate::mm::migrate::{MigrateError, MigrateMode, MovableOperations, register_movable};
use crate::mm::mmzone::{MAX_NUMNODES, Wmark, ZoneType};
use crate::mm::slab::{self, kfree, kmalloc};
use crate::mm::sparse::{Populate, Section};
use crate::mm::zsmalloc::{ZsHandle, ZsPool};
use core::sync::atomic::{AtomicBool, AtomicU32};
use std::rc::Rc;
use std::string::ToString;

const RAM: u64 = 0x4000_0000;
/// Frames of a section that hold its descriptors.
const MEMMAP: u32 = 256;

/// The frames of the `n`th section of a machine.
pub(super) fn section(n: u64) -> PfnRange {
    frames(RAM + n * 128 * MIB, 128 * MIB)
}

/// Runs `f` on a machine of three sections, of which `reserved` is nobody's to take.
fn with_reserved(reserved: PfnRange, f: impl FnOnce(&Machine)) {
    let ram = PhysRange::from_size(PhysAddr::new(RAM), 384 * MIB);
    Machine::run(&[ram], |m| {
        let all = ram.whole_pages();
        let free = [
            PfnRange::new(all.start(), reserved.start()),
            PfnRange::new(reserved.end(), all.end()),
        ];
        let present = [(NodeId::FIRST, all)].into_iter();
        let free = free.into_iter().filter(|range| !range.is_empty());
        let limits = ZoneLimits::default();
        // SAFETY: the machine is fresh.
        unsafe { free_area_init(limits, present, free, Populate::Mapped) }.unwrap();
        check();
        f(m);
        check();
    });
}

pub(super) fn on_384m(f: impl FnOnce(&Machine)) {
    with_reserved(PfnRange::new(Pfn::new(0x4_0000), Pfn::new(0x4_0000)), f);
}

/// Every invariant, and the sums to the page.
pub(super) fn check() {
    check_sums();
    let ram: u32 = zones().map(|zone| zone.present + zone.offline).sum();
    assert_eq!(ram, 3 * Section::FRAMES);
}

pub(super) fn zone() -> ZoneInfo {
    zones().next().unwrap()
}

pub(super) fn types(range: PfnRange) -> Vec<Migratetype> {
    pageblocks(range).map(pageblock_migratetype).collect()
}

fn give_back(pages: Vec<Frame>, order: Order) {
    pages.into_iter().for_each(|page| free_pages(page, order));
    drain_all_pages();
}

fn states() -> Vec<MemoryState> {
    sections().map(|(_, state)| state).collect()
}

/// Objects of a page each, which say their number.
pub(super) struct Objects {
    pub(super) pool: Rc<ZsPool>,
    pub(super) all: Vec<(u32, ZsHandle)>,
}

impl Objects {
    pub(super) fn new() -> Self {
        Self { pool: Rc::new(ZsPool::new().unwrap()), all: Vec::new() }
    }
    pub(super) fn add(&mut self, number: u32) -> bool {
        let Some(object) = self.pool.malloc(4096, KERNEL) else { return false };
        self.pool.with(object, |bytes| {
            bytes.chunks_exact_mut(4).for_each(|word| {
                word.copy_from_slice(&number.to_le_bytes());
            })
        });
        self.all.push((number, object));
        true
    }
    pub(super) fn check(&self) {
        for &(number, object) in &self.all {
            self.pool.with(object, |bytes| {
                assert!(bytes.chunks_exact(4).all(|word| word == number.to_le_bytes()));
            });
        }
    }
    pub(super) fn inside(&self, range: PfnRange) -> Vec<ZsHandle> {
        let objects = self.all.iter().map(|&(_, object)| object);
        objects.filter(|&object| range.contains(self.pool.frame(object).pfn())).collect()
    }
}

#[test]
fn a_section_goes_and_comes_back() {
    on_384m(|_| {
        // All three are up, and free.
        give_back(exhaust(KERNEL, Order::MAX), Order::MAX);
        let before = zone();
        let blocks = || Order::ZERO.and_up().map(|o| zone().blocks(o)).collect::<Vec<_>>();
        let all_free = blocks();
        offline_pages(section(1)).unwrap();
        check();
        let now = zone();
        assert_eq!(now.present, before.present - Section::FRAMES);
        assert_eq!(now.managed, before.managed - (Section::FRAMES - MEMMAP));
        assert_eq!(now.reserved(), before.reserved() - MEMMAP);
        assert_eq!(now.offline, Section::FRAMES);
        assert_eq!(now.free(), now.managed);
        assert_eq!(now.spanned, before.spanned, "it lies in the middle");
        assert!(now.watermarks.iter().zip(before.watermarks).all(|(&now, then)| now < then));
        assert_eq!(states(), [MemoryState::Online, MemoryState::Offline, MemoryState::Online]);
        // Nothing of it is handed out, whatever is asked for.
        set_min_free_kbytes(0);
        for order in [Order::MAX, Order::ZERO] {
            let all = exhaust(KERNEL, order);
            assert!(all.len() > 60);
            assert!(all.iter().all(|page| !section(1).contains(page.pfn())));
            give_back(all, order);
        }
        online_pages(section(1)).unwrap();
        assert_eq!(blocks(), all_free);
        assert_eq!((zone().present, zone().managed), (before.present, before.managed));
        assert_eq!(states(), [MemoryState::Online; 3]);
        assert_eq!(nr_used_pages(), 0);
        let all = exhaust(KERNEL, Order::MAX);
        assert!(all.iter().any(|page| section(1).contains(page.pfn())));
    });
}

#[test]
fn a_zone_spans_what_is_online() {
    on_384m(|_| {
        let all = zone().spanned;
        let cut = |from: u64, to: u64| PfnRange::new(section(from).start(), section(to).end());
        offline_pages(section(2)).unwrap();
        assert_eq!(zone().spanned, cut(0, 1));
        offline_pages(section(0)).unwrap();
        assert_eq!(zone().spanned, cut(1, 1));
        check();
        online_pages(section(2)).unwrap();
        assert_eq!(zone().spanned, cut(1, 2));
        online_pages(section(0)).unwrap();
        assert_eq!(zone().spanned, all);
    });
}

#[test]
fn a_section_that_is_not_up_goes_and_comes_back() {
    on_384m(|_| {
        let given = Section::FRAMES - MEMMAP;
        let managed = zone().managed;
        assert_eq!(zone().deferred, 2 * given);
        assert_eq!(states(), [MemoryState::Online; 3]);
        offline_pages(section(2)).unwrap();
        check();
        assert_eq!(zone().deferred, given);
        assert_eq!(zone().managed, managed - given);
        let all = exhaust(KERNEL, Order::MAX);
        assert!(all.iter().all(|page| !section(2).contains(page.pfn())));
        assert_eq!(all.len(), 2 * 31);
        online_pages(section(2)).unwrap();
        assert_eq!(zone().managed, managed);
        assert_eq!(exhaust(KERNEL, Order::MAX).len(), 31);
    });
}

#[test]
fn several_sections_go_together_or_not_at_all() {
    on_384m(|_| {
        let two = PfnRange::new(section(1).start(), section(2).end());
        let last = exhaust(KERNEL, Order::MAX);
        let held = *last.iter().find(|page| section(2).contains(page.pfn())).unwrap();
        give_back(last.into_iter().filter(|&page| page != held).collect(), Order::MAX);
        let before = (types(two), zone().nr_free, zone().managed);
        assert_eq!(offline_pages(two), Err(HotplugError::Busy(held.pfn())));
        assert_eq!((types(two), zone().nr_free, zone().managed), before);
        assert_eq!(states(), [MemoryState::Online; 3]);
        check();
        free_pages(held, Order::MAX);
        offline_pages(two).unwrap();
        assert_eq!(zone().offline, 2 * Section::FRAMES);
        check();
        online_pages(section(2)).unwrap();
        online_pages(section(1)).unwrap();
    });
}

#[test]
fn what_is_in_use_is_moved() {
    on_384m(|_| {
        // All three are up.
        give_back(exhaust(KERNEL, Order::MAX), Order::MAX);
        let mut objects = Objects::new();
        (0..40_000).for_each(|n| assert!(objects.add(n)));
        let many = (0..3).max_by_key(|&n| objects.inside(section(n)).len()).unwrap();
        let (home, other) = (section(many), section((many + 1) % 3));
        let inside = objects.inside(home);
        let used = nr_used_pages();
        // Somewhere a device reads from one.
        let pool = objects.pool.clone();
        let pin = pool.pin(inside[7777]);
        let frame = pin.frame();
        let figures = || (zone().present, zone().managed, types(home));
        let before = figures();
        assert_eq!(offline_pages(home), Err(HotplugError::Busy(frame.pfn())));
        assert_eq!(figures(), before);
        assert_eq!(nr_used_pages(), used);
        objects.check();
        check();
        drop(pin);
        offline_pages(home).unwrap();
        assert_eq!(objects.inside(home), []);
        objects.check();
        assert_eq!(nr_used_pages(), used);
        check();
        // There is no room left for what the next one holds.
        (40_000..50_000).for_each(|n| assert!(objects.add(n)));
        assert!(matches!(offline_pages(other), Err(HotplugError::Busy(_))));
        objects.check();
        check();
        assert_eq!(states().iter().filter(|&&state| state == MemoryState::Offline).count(), 1);
        online_pages(home).unwrap();
        offline_pages(other).unwrap();
        objects.check();
    });
}

#[test]
fn what_cannot_be_moved_stays() {
    on_384m(|_| {
        slab::kmem_cache_init(7);
        let used = nr_used_pages();
        // The first section holds the slabs' pages, and the second one of a kernel's own.
        let object = kmalloc(64, KERNEL).unwrap();
        let at = Pfn::new(
            (object.as_ptr().expose_provenance() - crate::arch::page_offset()) as u32 >> 12,
        );
        let blocks = exhaust(KERNEL, Order::MAX);
        let page = *blocks.iter().find(|page| section(1).contains(page.pfn())).unwrap();
        give_back(blocks.into_iter().filter(|&block| block != page).collect(), Order::MAX);
        let free = zone().nr_free;
        let Err(HotplugError::Busy(pfn)) = offline_pages(section(0)) else { panic!("slabs stay") };
        assert!(pfn <= at || at < section(0).start(), "{pfn:?} {at:?}");
        assert!(Frame::new(pfn).unwrap().page().is_slab());
        assert_eq!(zone().nr_free, free);
        assert_eq!(offline_pages(section(1)), Err(HotplugError::Busy(page.pfn())));
        assert_eq!(zone().nr_free, free);
        check();
        free_pages(page, Order::MAX);
        // SAFETY: allocated above, freed once.
        unsafe { kfree(object.as_ptr()) };
        slab::shrink_all();
        assert!(nr_used_pages() >= used);
    });
}

#[test]
fn reserved_sections_and_cma_stay() {
    let image = frames(RAM + 130 * MIB, 4 * MIB);
    with_reserved(image, |_| {
        let free = nr_free_pages();
        assert_eq!(offline_pages(section(1)), Err(HotplugError::Busy(image.start())));
        assert!(Frame::new(section(1).start()).is_some(), "its descriptors are up");
        assert_eq!(nr_free_pages(), free);
        check();
        // SAFETY: it was left out of what is free.
        let cma = unsafe { cma_init_reserved_mem("linux,cma", image, Order::ZERO) }.unwrap();
        cma_init_reserved_areas();
        assert_eq!(offline_pages(section(1)), Err(HotplugError::Busy(image.start())));
        check();
        assert!(cma_alloc(cma, 1024, Order::ZERO).is_some());
        offline_pages(section(2)).unwrap();
    });
}

#[test]
#[should_panic(expected = "free of memory that is offline: Frame(0x48123000)")]
fn nobody_frees_what_is_offline() {
    on_384m(|_| {
        offline_pages(section(1)).unwrap();
        free_pages(Frame::new(Pfn::new(0x4_8123)).unwrap(), Order::ZERO);
    });
}

#[test]
fn a_zone_of_nothing_but_offline_sections() {
    let ram = PhysRange::from_size(PhysAddr::new(RAM), 384 * MIB);
    Machine::run(&[ram], |_| {
        let all = [ram.whole_pages()];
        let present = all.into_iter().map(|range| (NodeId::FIRST, range));
        let limits =
            ZoneLimits { movable: [section(2).start(); MAX_NUMNODES], ..ZoneLimits::default() };
        // SAFETY: the machine is fresh.
        unsafe { free_area_init(limits, present, all.into_iter(), Populate::Mapped) }.unwrap();
        let kind = |page: Frame| page.zone().kind();
        let first = alloc_pages(MOVABLE, Order::ZERO).unwrap();
        assert_eq!(kind(first), ZoneType::Movable);
        free_pages(first, Order::ZERO);
        offline_pages(section(2)).unwrap();
        check();
        let movable = zones().find(|zone| zone.id.kind() == ZoneType::Movable).unwrap();
        assert_eq!((movable.present, movable.managed, movable.free()), (0, 0, 0));
        assert_eq!(movable.offline, Section::FRAMES);
        assert!(movable.spanned.is_empty());
        // What prefers it goes elsewhere, by way of the fast path too.
        let page = alloc_pages(MOVABLE, Order::ZERO).unwrap();
        assert_eq!(kind(page), ZoneType::Dma);
        free_pages(page, Order::ZERO);
        assert_eq!(alloc_pages(MOVABLE, Order::ZERO), Some(page));
        let all = exhaust(MOVABLE | Gfp::__GFP_MEMALLOC, Order::ZERO);
        assert!(all.iter().all(|&page| kind(page) == ZoneType::Dma));
        assert_eq!(nr_free_pages(), 0);
        online_pages(section(2)).unwrap();
        check();
        assert_eq!(kind(alloc_pages(MOVABLE, Order::ZERO).unwrap()), ZoneType::Movable);
        let movable = zones().find(|zone| zone.id.kind() == ZoneType::Movable).unwrap();
        assert_eq!(movable.spanned, section(2));
        assert!(movable.watermarks[Wmark::Min as usize] > 0);
    });
}

#[test]
fn the_reserve_of_large_blocks_goes_with_its_section() {
    on_384m(|_| {
        let all = exhaust(KERNEL, Order::MAX);
        let order = Order::new(4).unwrap();
        let last = exhaust(KERNEL, order);
        let urgent = alloc_pages(Gfp::GFP_ATOMIC, order).unwrap();
        assert_eq!(pageblock_migratetype(urgent), Migratetype::HighAtomic);
        let id = zone().id.zone();
        assert_eq!(id.reserved_highatomic.load(Relaxed), 512);
        let home = Section::of(urgent.pfn()).frames();
        assert!(matches!(offline_pages(home), Err(HotplugError::Busy(_))));
        assert_eq!(id.reserved_highatomic.load(Relaxed), 512);
        assert_eq!(pageblock_migratetype(urgent), Migratetype::HighAtomic);
        free_pages(urgent, order);
        give_back(last, order);
        give_back(all, Order::MAX);
        offline_pages(home).unwrap();
        assert_eq!(id.reserved_highatomic.load(Relaxed), 0);
        check();
        online_pages(home).unwrap();
    });
}
