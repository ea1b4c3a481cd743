//! Memory as months of use leave it: an ageing trace, from a seed (after Linux's mmtests, and
//! Gorman, "Anti-fragmentation").
//!
//! Memory fills and empties in turns. Pages that can be moved come and go, and among them,
//! from the first turn to the last, pages of the kernel's own that can't be: some for a
//! moment, some for good; of several orders, unmovable and reclaimable, and objects of slabs.
//! At the end memory is half empty, and a seventh of it the kernel's. Where kinds are not kept
//! apart there is such a page in nearly every pageblock.
//!
//! What stays is in a value, which gives all of it back when it is dropped.
#![deny(unsafe_code)]

use crate::addr::{Order, PAGE_SIZE};
use crate::mm::alloc::{AllocError, KBox, KVVec};
use crate::mm::compaction::{compaction_proactiveness, set_compaction_proactiveness};
use crate::mm::gfp::Gfp;
use crate::mm::page::Frame;
use crate::mm::page_alloc::{Pages, set_group_by_mobility, zones};
use crate::mm::zsmalloc::{ZsHandle, ZsPool};
use crate::prandom::Random;
use crate::sched::cond_resched;

/// Turns of filling and emptying.
const TURNS: usize = 20;
/// Percent in use at the top of a turn, of odd ones and of even ones.
const FULL: [u32; 2] = [95, 70];
/// Percent in use when it ends.
const LEFT: u32 = 55;
/// Percent that are the kernel's own.
const KERNEL_SHARE: u32 = 15;
/// Objects of slabs for each hundred pages of all, from which on they come and go alike.
const SLAB_OBJECTS: u32 = 20;
/// Steps between two looks for other threads that want to run.
const STEPS: u32 = 64;

const MOVABLE: Gfp = Gfp::GFP_HIGHUSER_MOVABLE.union(Gfp::__GFP_NOWARN);
const KERNEL: Gfp = Gfp::GFP_KERNEL.union(Gfp::__GFP_NOWARN);

/// The seed where none is given.
pub const DEFAULT_SEED: u64 = 20_261_121;

/// Free pages of all zones, of which others may take and give meanwhile.
fn free_now() -> u32 {
    zones().map(|zone| zone.free()).sum()
}

/// Movable objects of a page each, which say their number.
pub struct Objects {
    pool: ZsPool,
    all: KVVec<(u64, ZsHandle)>,
    next: u64,
}

impl Objects {
    /// None so far, and room for the handles of as many as there can be pages now.
    ///
    /// # Errors
    /// There is no memory for that, or no further pool.
    pub fn new() -> Result<Self, AllocError> {
        // There will be no memory left for it to grow.
        let all = KVVec::with_capacity(free_now() as usize, KERNEL)?;
        Ok(Self { pool: ZsPool::new().map_err(|_| AllocError)?, all, next: 0 })
    }

    /// Adds an object; returns whether there was memory. Process context.
    pub fn add(&mut self) -> bool {
        if self.all.len() == self.all.capacity() {
            return false;
        }
        let Some(object) = self.pool.malloc(PAGE_SIZE, MOVABLE) else { return false };
        let number = self.next;
        self.next += 1;
        self.pool.with(object, |bytes| {
            bytes[..8].copy_from_slice(&number.to_le_bytes());
            bytes[PAGE_SIZE - 8..].copy_from_slice(&number.to_le_bytes());
        });
        if self.all.push_within_capacity((number, object)).is_err() {
            self.pool.free(object);
            return false;
        }
        true
    }

    /// Frees those of which `keep` says no of their frames.
    pub fn retain(&mut self, mut keep: impl FnMut(Frame) -> bool) {
        let pool = &self.pool;
        self.all.retain(|&mut (_, object)| {
            let stays = keep(pool.frame(object));
            if !stays {
                pool.free(object);
            }
            stays
        });
    }

    /// Frees one object. Returns false if there is none.
    fn remove(&mut self, which: usize) -> bool {
        let Some((_, object)) = swap_remove(&mut self.all, which) else { return false };
        self.pool.free(object);
        true
    }

    /// Looks at each object.
    ///
    /// # Panics
    /// Panics if one does not say its number.
    pub fn check(&self) {
        for &(number, object) in &self.all {
            self.pool.with(object, |bytes| {
                assert_eq!(bytes[..8], number.to_le_bytes(), "object {number} was lost");
                assert_eq!(bytes[PAGE_SIZE - 8..], number.to_le_bytes());
            });
        }
    }
}

/// Takes one of `all` out, whose order does not matter.
fn swap_remove<T>(all: &mut KVVec<T>, which: usize) -> Option<T> {
    let which = which.checked_rem(all.len())?;
    let last = all.pop()?;
    Some(match all.get_mut(which) {
        Some(place) => core::mem::replace(place, last),
        None => last,
    })
}

/// Resources of the machine that the workload uses, and their share.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct With {
    /// Kinds of pages are kept apart.
    pub migratetypes: bool,
    /// Memory is compacted when a block is wanted.
    pub compaction: bool,
    /// Some of what the kernel takes are objects of slabs.
    pub slabs: bool,
    /// The percentage of the memory that is free at the beginning which the trace fills and
    /// empties, up to 100.
    pub percent: u32,
}

impl With {
    /// All of memory, in pages alone.
    pub const PAGES: Self =
        Self { migratetypes: true, compaction: true, slabs: false, percent: 100 };
    /// All features on, 90 % of free memory, safe on a live system.
    pub const ALL: Self = Self { slabs: true, percent: 90, ..Self::PAGES };

    /// The flags of a request for a block: where compaction is off, neither at once nor in the
    /// background.
    #[must_use]
    pub const fn flags(self, flags: Gfp) -> Gfp {
        if self.compaction {
            flags
        } else {
            flags.difference(Gfp::__GFP_IO).difference(Gfp::__GFP_KSWAPD_RECLAIM)
        }
    }
}

/// An object of a slab.
#[expect(dead_code, reason = "held to be freed")]
enum Small {
    Entry(KBox<[u8; 40]>),
    Dentry(KBox<[u8; 192]>),
    Inode(KBox<[u8; 600]>),
    Buffer(KBox<[u8; 1800]>),
}

impl Small {
    fn new(which: usize, flags: Gfp) -> Option<Self> {
        let reclaimable = flags | Gfp::__GFP_RECLAIMABLE;
        Some(match which % 4 {
            0 => Self::Entry(KBox::new([0; 40], flags).ok()?),
            1 => Self::Dentry(KBox::new([0; 192], reclaimable).ok()?),
            2 => Self::Inode(KBox::new([0; 600], reclaimable).ok()?),
            _ => Self::Buffer(KBox::new([0; 1800], flags).ok()?),
        })
    }
}

/// Objects that come and go at once, as those of one user do.
const SMALL_AT_ONCE: usize = 16;

/// Remains of the trace. While it is there nothing is compacted unasked, which would undo the
/// trace; dropped it gives everything back.
pub struct Fragmented {
    /// Movable objects.
    pub objects: Objects,
    with: With,
    blocks: KVVec<Pages>,
    block_pages: u32,
    small: KVVec<Small>,
    proactiveness: u32,
}

/// Ages memory with all that the machine has, and leaves `percent` of what is free to others.
/// Process context; takes seconds for each GiB.
///
/// # Errors
/// There is no memory for the lists of what is to be freed, or no pool of movable objects.
pub fn fragment(seed: u64, percent: u32) -> Result<Fragmented, AllocError> {
    Fragmented::new(seed, With { percent, ..With::ALL })
}

impl Fragmented {
    /// Runs the trace. The same seed on the same machine leaves the same memory. Process
    /// context.
    ///
    /// # Errors
    /// As for [`fragment`].
    pub fn new(seed: u64, with: With) -> Result<Self, AllocError> {
        let all = (u64::from(free_now()) * u64::from(with.percent.min(100)) / 100) as u32;
        let objects = Objects::new()?;
        let blocks = KVVec::with_capacity((all / 4) as usize, KERNEL)?;
        let small = if with.slabs { all as usize } else { 0 };
        let small = KVVec::with_capacity(small, KERNEL)?;
        let proactiveness = compaction_proactiveness();
        let mut aged = Self { objects, with, blocks, block_pages: 0, small, proactiveness };
        set_compaction_proactiveness(0);
        set_group_by_mobility(with.migratetypes);

        let mut random = Random::new(seed);
        let before = free_now();
        let in_use = || before.saturating_sub(free_now());
        let mut steps = 0u32;
        let mut step = || {
            steps = steps.wrapping_add(1);
            if steps.is_multiple_of(STEPS) {
                cond_resched();
            }
        };
        for turn in 0..TURNS {
            while in_use() < all / 100 * FULL[turn % 2] && aged.allocate(&mut random, all) {
                step();
            }
            while in_use() > all / 100 * LEFT && aged.free(&mut random, all) {
                step();
            }
        }
        Ok(aged)
    }

    /// Pages that can't be moved, but for those of slabs.
    #[must_use]
    pub fn kernel_pages(&self) -> u32 {
        self.block_pages
    }

    /// Objects of slabs.
    #[must_use]
    pub fn slab_objects(&self) -> usize {
        self.small.len()
    }

    /// Objects of a page each that can be moved.
    #[must_use]
    pub fn movable_pages(&self) -> usize {
        self.objects.all.len()
    }

    fn allocate(&mut self, random: &mut Random, all: u32) -> bool {
        // More than its share at the top of a turn: it goes in proportion to all.
        if random.below(7) != 0 || self.block_pages > all / 100 * (KERNEL_SHARE + 5) {
            return self.objects.add();
        }
        if self.with.slabs && random.below(6) == 0 {
            return self.allocate_small(random.below(4));
        }
        let order = [0, 0, 0, 0, 0, 1, 2, 3][random.below(8)];
        let Some(order) = Order::new(order) else { return false };
        let kind = if random.below(3) == 0 { Gfp::__GFP_RECLAIMABLE } else { Gfp::empty() };
        let Some(block) = Pages::alloc(self.with.flags(KERNEL | kind), order) else { return false };
        if self.blocks.push_within_capacity(block).is_err() {
            return false;
        }
        self.block_pages += order.pages();
        true
    }

    fn allocate_small(&mut self, kind: usize) -> bool {
        let flags = self.with.flags(KERNEL);
        (0..SMALL_AT_ONCE).all(|_| {
            let object = Small::new(kind, flags);
            // One that has no place on the list is freed at once.
            object.is_some_and(|object| self.small.push_within_capacity(object).is_ok())
        })
    }

    /// Frees something. Returns false if there is nothing.
    fn free(&mut self, random: &mut Random, all: u32) -> bool {
        let which = random.below(usize::MAX);
        let much = self.block_pages > all / 100 * KERNEL_SHARE;
        // One in twenty comes and goes whatever its share, as short-lived ones do.
        let kernel =
            !self.blocks.is_empty() && (much && random.below(5) == 0 || random.below(20) == 0);
        if !kernel {
            return self.objects.remove(which) || self.free_block(which) || self.free_small(which);
        }
        let often = if self.small.len() > (all / 100 * SLAB_OBJECTS) as usize { 2 } else { 16 };
        if self.with.slabs && random.below(often) == 0 {
            let _ = (0..SMALL_AT_ONCE).all(|n| self.free_small(which.wrapping_add(n)));
        }
        self.free_block(which)
    }

    fn free_block(&mut self, which: usize) -> bool {
        let Some(block) = swap_remove(&mut self.blocks, which) else { return false };
        self.block_pages -= block.order().pages();
        true
    }

    fn free_small(&mut self, which: usize) -> bool {
        swap_remove(&mut self.small, which).is_some()
    }
}

impl Drop for Fragmented {
    fn drop(&mut self) {
        while self.free_block(0) {}
        set_group_by_mobility(true);
        set_compaction_proactiveness(self.proactiveness);
    }
}
