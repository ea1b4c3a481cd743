//! Pools of small objects in movable pages (Linux: mm/zsmalloc.c).
//!
//! An object is known by a handle, not by its address, and its bytes are reached through
//! the pool alone: so its page can be moved while it is in use. Pages come from movable
//! memory, CMA's and ZONE_MOVABLE's too, and the pool moves them when that is wanted back.
//!
//! An object lies within one page; pages are cut into 1 to 64 slots of the same size.
//!
//! Lock order: a pool's lock (`Rank::ZsPool`) is held while an object's bytes are looked at;
//! pages are allocated and freed without it.
#![deny(unsafe_code)]

mod pages;
mod record;
#[cfg(test)]
mod tests;

use crate::addr::PAGE_SIZE;
use crate::arch::irq::with_masked;
use crate::machine_local;
use crate::mm::gfp::Gfp;
use crate::mm::migrate::{
    self, MigrateError, MigrateMode, MovableOperations, OwnerId, set_page_movable,
};
use crate::mm::page::Frame;
use crate::mm::page_alloc::OwnedPage;
use crate::sched::WaitQueue;
use crate::sync::{Once, Rank, SpinLock};
use alloc::vec::Vec;
use core::fmt;
use core::num::NonZeroU32;
use pages::{Pages, Slot};

/// Maximum number of pools.
pub const MAX_POOLS: usize = 8;
/// Position of the page's number in a handle, above the slot's.
const SLOT_BITS: u32 = 6;
/// Pages that a pool can have: the last handle of more would be no number.
const MAX_PAGES: usize = (1 << POOL_SHIFT) - 1;
/// Position of the pool's number in a page's private word, above the page's.
const POOL_SHIFT: u32 = 26;
/// Records by which the table of pages grows at least.
const GROWTH: usize = 64;

/// An object of a pool. It stays the same wherever the object's page is moved.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ZsHandle(NonZeroU32);

impl ZsHandle {
    fn new(slot: Slot) -> Option<Self> {
        NonZeroU32::new((slot.page << SLOT_BITS | u32::from(slot.index)) + 1).map(Self)
    }
    fn slot(self) -> Slot {
        let bits = self.0.get() - 1;
        Slot { page: bits >> SLOT_BITS, index: (bits & ((1 << SLOT_BITS) - 1)) as u8 }
    }
}

/// Reason why a pool was not created.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ZsError {
    /// There are [`MAX_POOLS`] already.
    TooManyPools,
    /// The table of owners of movable pages is full.
    TooManyOwners,
}

impl fmt::Display for ZsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooManyPools => "too many pools",
            Self::TooManyOwners => "too many owners of movable pages",
        })
    }
}

impl core::error::Error for ZsError {}

/// A pool's figures.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ZsInfo {
    /// Objects that are allocated.
    pub objects: usize,
    /// Pages that hold them.
    pub pages: usize,
    /// Pages that were moved since the pool was created.
    pub moved: u64,
}

struct Pool {
    state: SpinLock<Option<Pages>>,
}

machine_local! {
    static POOLS: [Pool; MAX_POOLS] =
        [const { Pool { state: SpinLock::new(Rank::ZsPool, None) } }; MAX_POOLS];
    static OWNER: Once<Option<OwnerId>> = Once::new();
    /// Pools that wait for the pages of theirs that are being moved, to end.
    static ISOLATION_ENDS: WaitQueue = WaitQueue::new();
}

fn owner() -> Option<OwnerId> {
    *OWNER.call_once(|| migrate::register_movable(&ZsPages).ok())
}

/// A pool of objects in movable pages.
#[derive(Debug)]
pub struct ZsPool {
    number: u8,
}

impl ZsPool {
    /// A new pool, without pages (Linux: zs_create_pool). Process context.
    ///
    /// # Errors
    /// [`ZsError`].
    pub fn new() -> Result<Self, ZsError> {
        owner().ok_or(ZsError::TooManyOwners)?;
        for (number, pool) in (0..).zip(POOLS.iter()) {
            let mine = with_masked(|irq| {
                let mut state = pool.state.lock(irq);
                state.is_none().then(|| *state = Some(Pages::new())).is_some()
            });
            if mine {
                return Ok(Self { number });
            }
        }
        Err(ZsError::TooManyPools)
    }

    /// Allocates an object of `size` bytes, at most a page; what they hold is whatever was
    /// there. `None` where memory is short, or `size` is zero or more than a page. Process
    /// context, or what `gfp` allows (Linux: zs_malloc).
    #[must_use]
    pub fn malloc(&self, size: usize, gfp: Gfp) -> Option<ZsHandle> {
        if size == 0 || size > PAGE_SIZE {
            return None;
        }
        let per_page = Pages::per_page(size);
        if let Some(slot) = self.with_pages(|pages| pages.take_slot(per_page)) {
            return ZsHandle::new(slot);
        }
        let movable = gfp | Gfp::__GFP_MOVABLE | Gfp::__GFP_HIGHMEM;
        let mut page = Some(OwnedPage::alloc(movable)?);
        loop {
            let slot = self.with_pages(|pages| {
                let slot = pages.add_page(&mut page, per_page)?;
                pages.mark(slot.page, owner()?, self.number);
                Some(slot)
            });
            if let Some(slot) = slot {
                return ZsHandle::new(slot);
            }
            self.grow()?;
        }
    }

    /// Makes room for more pages in the table; no lock is held over the allocation.
    fn grow(&self) -> Option<()> {
        let have = self.with_pages(|pages| pages.capacity());
        let want = (have + (have / 2).max(GROWTH)).min(MAX_PAGES);
        let mut table = Vec::new();
        table.try_reserve_exact(want).ok()?;
        // The old one is dropped without the lock.
        let _old = self.with_pages(|pages| pages.replace_table(table));
        (have < MAX_PAGES).then_some(())
    }

    /// Frees an object (Linux: zs_free). Any context.
    ///
    /// # Panics
    /// Where there is no such object in this pool (any more).
    #[track_caller]
    pub fn free(&self, handle: ZsHandle) {
        // The page, if that was its last object, is freed without the lock.
        let _page = self.with_pages(|pages| pages.free_slot(handle.slot()));
    }

    /// Runs `f` on the bytes of an object: as many as were asked for, or a few more. With
    /// interrupts masked and the pool locked, so it should be short (Linux: zs_map_object).
    ///
    /// # Panics
    /// Where there is no such object in this pool (any more).
    #[track_caller]
    pub fn with<R>(&self, handle: ZsHandle, f: impl FnOnce(&mut [u8]) -> R) -> R {
        self.with_pages(|pages| f(pages.bytes(handle.slot())))
    }

    /// Keeps the page of an object where it is while the value lives, for a device that reads or
    /// writes it. The page stays if the object is freed, and even if all objects in it are.
    ///
    /// # Panics
    /// As for [`ZsPool::with`].
    #[must_use]
    #[track_caller]
    pub fn pin(&self, handle: ZsHandle) -> ZsPin<'_> {
        let (page, frame) = self.with_pages(|pages| pages.pin(handle.slot()));
        ZsPin { pool: self, page, frame }
    }

    /// The frame that an object lies in now.
    ///
    /// # Panics
    /// As for [`ZsPool::with`].
    #[track_caller]
    #[must_use]
    pub fn frame(&self, handle: ZsHandle) -> Frame {
        self.with_pages(|pages| pages.frame(handle.slot()))
    }

    /// Statistics of the pool.
    #[must_use]
    pub fn info(&self) -> ZsInfo {
        self.with_pages(|pages| pages.info())
    }

    /// Checks every invariant of the pool.
    ///
    /// # Errors
    /// What is wrong.
    pub fn validate(&self) -> Result<(), &'static str> {
        self.with_pages(|pages| pages.validate())
    }

    #[track_caller]
    fn with_pages<R>(&self, f: impl FnOnce(&mut Pages) -> R) -> R {
        with_masked(|irq| {
            let mut state = POOLS[usize::from(self.number)].state.lock(irq);
            f(state.as_mut().expect("a pool that exists has its state"))
        })
    }
}

impl Drop for ZsPool {
    /// Frees all of its objects; sleeps while pages of it are being moved. Threads with
    /// interrupts on (Linux: zs_destroy_pool).
    fn drop(&mut self) {
        let mut state = None;
        // Who moves a page may be a thread of this CPU.
        ISOLATION_ENDS.wait_event_or_yield(|| {
            with_masked(|irq| {
                let mut pages = POOLS[usize::from(self.number)].state.lock(irq);
                if pages.as_ref().is_some_and(Pages::any_isolated) {
                    pages.as_mut().map(Pages::close);
                } else {
                    state = pages.take();
                }
            });
            state.is_some()
        });
        // Dropped without the lock.
        let kept = state.iter_mut().map(Pages::unmark_all).sum::<usize>();
        if kept > 0 {
            log::warn!("zsmalloc: {kept} pages are pinned for good, and are not freed");
        }
    }
}

/// A page of a pool that stays where it is until the value is dropped. If the value is forgotten,
/// the page is never moved nor freed.
#[derive(Debug)]
pub struct ZsPin<'a> {
    pool: &'a ZsPool,
    /// The page's number in the pool.
    page: u32,
    frame: Frame,
}

impl ZsPin<'_> {
    /// The frame of the page.
    #[must_use]
    pub const fn frame(&self) -> Frame {
        self.frame
    }
}

impl Drop for ZsPin<'_> {
    fn drop(&mut self) {
        // The page, if its last object went meanwhile, is freed without the lock.
        let _page = self.pool.with_pages(|pages| pages.unpin(self.page));
    }
}

/// Composes a page's private word.
fn private(pool: u8, page: u32) -> u32 {
    u32::from(pool) << POOL_SHIFT | page
}

/// Runs `f` on the pool and the page that a private word names, if there are such. Where that
/// ended the last isolation that the pool waits for, the pool is told.
fn with_page<R>(private: u32, f: impl FnOnce(&mut Pages, u32) -> Option<R>) -> Option<R> {
    let pool = POOLS.get((private >> POOL_SHIFT) as usize)?;
    let (result, may_end) = with_masked(|irq| {
        let mut state = pool.state.lock(irq);
        let pages = state.as_mut()?;
        let result = f(pages, private & ((1 << POOL_SHIFT) - 1));
        Some((result, pages.may_end()))
    })?;
    if may_end {
        ISOLATION_ENDS.wake_up();
    }
    result
}

/// All pools, as the owner of movable pages.
struct ZsPages;

impl MovableOperations for ZsPages {
    fn name(&self) -> &'static str {
        "zsmalloc"
    }

    fn isolate(&self, frame: Frame, private: u32) -> bool {
        with_page(private, |pages, n| pages.isolate(n, frame).then_some(())).is_some()
    }

    fn migrate(
        &self,
        from: Frame,
        to: OwnedPage,
        _mode: MigrateMode,
    ) -> Result<OwnedPage, (MigrateError, OwnedPage)> {
        let mut to = Some(to);
        let moved = with_page(from.page().private(), |pages, n| pages.migrate(n, from, &mut to));
        match (moved, to) {
            (Some(old), _) => Ok(old),
            (None, Some(to)) => Err((MigrateError::Again, to)),
            (None, None) => unreachable!("a page is moved, or comes back"),
        }
    }

    fn putback(&self, frame: Frame) {
        // The page, if its last object went meanwhile, is freed without the lock.
        let _page = with_page(frame.page().private(), |pages, n| pages.putback(n, frame));
    }
}

impl Pages {
    fn mark(&mut self, n: u32, owner: OwnerId, pool: u8) {
        if let Some(page) = self.page(n) {
            set_page_movable(page, owner, private(pool, n));
        }
    }
}
