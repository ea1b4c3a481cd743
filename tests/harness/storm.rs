//! A thread and the interrupts that come while it allocates: each keeps what it took across the
//! other's turns, so that whatever one does in the midst of the other's step shows. An interrupt
//! that gives back all it took leaves the lists as they were, and shows nothing.
//!
//! The kernel's image `storm` and the host's tests run the same lines: who includes this file
//! says what `root` is.

#![allow(dead_code, reason = "not every image uses all of it")]

use super::root as granule;
use core::ptr::NonNull;
use granule::addr::{Order, PAGE_SIZE, VirtAddr};
use granule::mm::alloc_pages::{alloc_pages, alloc_pages_bulk};
use granule::mm::gfp::Gfp;
use granule::mm::page::Frame;
use granule::mm::page_alloc::{OwnedPage, free_pages, free_pages_bulk};
use granule::mm::slab::{RawCache, kfree, kmalloc};
use granule::mm::vmalloc::{vfree, vm_map_ram, vm_unmap_ram, vmalloc};
use granule::prandom::Random;

/// Kind of memory that is allocated and freed.
#[derive(Clone, Copy)]
pub enum Path {
    /// `alloc_pages`, `free_pages`.
    Pages,
    /// `alloc_pages_bulk`, `free_pages_bulk`.
    PageBatches,
    /// `kmalloc`, `kfree` of small sizes.
    Objects,
    /// `kmalloc`, `kfree` of sizes that are blocks of pages.
    LargeObjects,
    /// A cache's `alloc_bulk` and `free_bulk`.
    ObjectBatches(&'static RawCache),
}

/// Pages or objects of a batch.
const BATCH: usize = 7;

/// Owner of memory: the thread, or the interrupts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Who {
    Thread,
    Interrupt,
}

impl Who {
    fn gfp(self) -> Gfp {
        let gfp = if self == Self::Thread { Gfp::GFP_KERNEL } else { Gfp::GFP_ATOMIC };
        gfp | Gfp::__GFP_NOWARN
    }
}

/// Addresses and kinds of the memory that one owner has.
#[derive(Clone, Copy)]
struct Held {
    at: [usize; BATCH],
    order: u8,
}

impl Held {
    const NONE: Self = Self { at: [0; BATCH], order: 0 };

    fn one(at: usize) -> Self {
        let mut held = Self::NONE;
        held.at[0] = at;
        held
    }

    fn addresses(&self) -> impl Iterator<Item = usize> {
        self.at.into_iter().filter(|&at| at != 0)
    }
}

/// The first word of what is at `at` while it is somebody's.
fn tag(at: usize) -> u64 {
    at as u64 ^ 0x5d5d_a7a7_1e1e_9292
}

fn word(at: usize) -> *mut u64 {
    core::ptr::with_exposed_provenance_mut(at)
}

/// Notes that what is at `at` has an owner: it must not have one.
fn mark(at: usize) {
    // SAFETY: its first word; the test has it, or finds here that it has not.
    let was = unsafe { word(at).read_volatile() };
    assert!(was != tag(at), "{at:#x} was handed out twice");
    // SAFETY: as above.
    unsafe { word(at).write_volatile(tag(at)) };
}

/// Notes that what is at `at` is about to be freed.
fn unmark(at: usize) {
    // SAFETY: as in `mark`.
    let was = unsafe { word(at).read_volatile() };
    assert!(was == tag(at), "{at:#x} was overwritten by another owner: {was:#x}");
    // SAFETY: as above.
    unsafe { word(at).write_volatile(0) };
}

fn frame(at: usize) -> Frame {
    Frame::from_virt(VirtAddr::new(at)).expect("it was one")
}

fn object(at: usize) -> NonNull<u8> {
    NonNull::new(core::ptr::with_exposed_provenance_mut(at)).expect("it was one")
}

fn address(object: NonNull<u8>) -> usize {
    object.as_ptr().expose_provenance()
}

/// Takes something; nothing where memory is short.
fn take(path: Path, who: Who, random: &mut Random) -> Held {
    let gfp = who.gfp();
    let held = match path {
        Path::Pages => {
            let order = [0, 0, 0, 1, 2, 3, 6][random.below(7)];
            let block = alloc_pages(gfp, Order::new(order).expect("below 11"));
            let at = block.map_or(0, |frame| frame.virt().get());
            Held { order, ..Held::one(at) }
        }
        Path::PageBatches => {
            let mut pages = [const { None }; BATCH];
            alloc_pages_bulk(gfp, &mut pages);
            let pages = pages.map(|page| page.map(OwnedPage::into_raw));
            Held { at: pages.map(|page| page.map_or(0, |page| page.virt().get())), order: 0 }
        }
        Path::Objects => {
            let size = [64, 64, 64, 500][random.below(4)];
            Held::one(kmalloc(size, gfp).map_or(0, address))
        }
        Path::LargeObjects => {
            let size = [9000, 9000, 20_000, 40_000][random.below(4)];
            Held::one(kmalloc(size, gfp).map_or(0, address))
        }
        Path::ObjectBatches(cache) => {
            let mut objects = [None; BATCH];
            // All or none.
            let _ = cache.alloc_bulk(gfp, &mut objects);
            Held { at: objects.map(|object| object.map_or(0, address)), order: 0 }
        }
    };
    held.addresses().for_each(mark);
    held
}

fn give_back(path: Path, held: Held) {
    held.addresses().for_each(unmark);
    match path {
        _ if held.addresses().next().is_none() => {}
        Path::Pages => {
            let order = Order::new(held.order).expect("it was one");
            // SAFETY: allocated in `take`, and freed once.
            unsafe { free_pages(frame(held.at[0]), order) };
        }
        Path::PageBatches => {
            // SAFETY: as above.
            let owned = |at| unsafe { OwnedPage::from_raw(frame(at)) };
            let mut pages = held.at.map(|at| (at != 0).then(|| owned(at)));
            free_pages_bulk(&mut pages);
        }
        // SAFETY: allocated in `take`, and freed once.
        Path::Objects | Path::LargeObjects => unsafe { kfree(object(held.at[0]).as_ptr()) },
        Path::ObjectBatches(cache) => {
            // All or none.
            let objects = held.at.map(object);
            // SAFETY: as above.
            unsafe { cache.free_bulk(&objects) };
        }
    }
}

/// The most that one has at a time: more than a CPU's lists and sheaves hold, so that these run
/// out and over.
const SLOTS: usize = 160;

/// Memory of the thread, or of the interrupts.
pub struct Hand {
    who: Who,
    random: Random,
    held: [Held; SLOTS],
    used: usize,
    /// True while it allocates more than it frees.
    grows: bool,
}

impl Hand {
    /// Creates a hand that holds nothing.
    pub fn new(who: Who) -> Self {
        let random = Random::new(if who == Who::Thread { 0x9e37_79b9 } else { 0x517c_c1b7 });
        Self { who, random, held: [Held::NONE; SLOTS], used: 0, grows: true }
    }

    /// Takes something or gives something back.
    pub fn step(&mut self, path: Path) {
        if self.used == 0 || self.used == SLOTS {
            self.grows = self.used == 0;
        }
        let takes = self.random.below(4) != 0;
        if takes == self.grows && self.used < SLOTS {
            self.held[self.used] = take(path, self.who, &mut self.random);
            self.used += 1;
        } else if self.used > 0 {
            let chosen = self.random.below(self.used);
            self.used -= 1;
            give_back(path, self.held[chosen]);
            self.held[chosen] = self.held[self.used];
        }
    }

    /// Gives all back.
    pub fn empty(&mut self, path: Path) {
        for held in &self.held[..self.used] {
            give_back(path, *held);
        }
        self.used = 0;
    }
}

/// Areas that the thread makes, and the interrupts end.
pub struct Areas {
    pages: [Option<OwnedPage>; 8],
    /// The address and the number of pages; with 0 pages it is vmalloc's.
    posted: [Option<(VirtAddr, usize)>; 24],
}

impl Areas {
    /// None, and the pages to be mapped.
    pub fn new() -> Self {
        let mut pages = [const { None }; 8];
        assert_eq!(alloc_pages_bulk(Gfp::GFP_KERNEL, &mut pages), pages.len());
        Self { pages, posted: [None; 24] }
    }

    /// The pages that are to be mapped.
    pub fn frames(&self) -> [Frame; 8] {
        let frame = |n: usize| self.pages[n].as_ref().expect("taken at the start").frame();
        core::array::from_fn(frame)
    }

    /// Puts an area where an interrupt finds it; the one that was there.
    pub fn post(
        &mut self,
        slot: usize,
        area: Option<(VirtAddr, usize)>,
    ) -> Option<(VirtAddr, usize)> {
        let slot = slot % self.posted.len();
        core::mem::replace(&mut self.posted[slot], area)
    }

    /// Ends all of it.
    pub fn end(mut self) {
        self.posted.into_iter().flatten().for_each(end_area);
        free_pages_bulk(&mut self.pages);
    }
}

/// Maps a few of the pages, or others; by a thread.
pub fn new_area(frames: &[Frame; 8], random: &mut Random) -> Option<(VirtAddr, usize)> {
    let (va, pages) = if random.below(3) > 0 {
        let pages = 1 + random.below(frames.len());
        (vm_map_ram(&frames[..pages])?, pages)
    } else {
        (vmalloc((1 + random.below(5)) * PAGE_SIZE, Gfp::GFP_KERNEL)?, 0)
    };
    Some((va, pages))
}

/// Ends an area. Any context.
pub fn end_area((va, pages): (VirtAddr, usize)) {
    match pages {
        // SAFETY: made in `new_area`, and ended once.
        0 => unsafe { vfree(va) },
        // SAFETY: as above.
        pages => unsafe { vm_unmap_ram(va, pages) },
    }
}
