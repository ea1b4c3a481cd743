//! Moving pages that are in use (Linux: mm/migrate.c, struct movable_operations).
//!
//! Only its owner can move a page: it knows who refers to it. An owner registers its
//! [`MovableOperations`] and marks its pages ([`set_page_movable`]). Who wants memory
//! emptied (CMA, compaction) isolates pages, lets their owners move them to pages of its
//! own choice, and puts back what could not be moved.
//!
//! A page that is looked at may be freed and be somebody else's at any moment, so the mark
//! is a hint: the owner, asked to isolate a page, looks it up in its own records under its
//! own lock. From then on until the page is moved or put back it does not free it.
//!
//! Lock order: nothing is held when an owner is called, which takes its own locks.
#![deny(unsafe_code)]

use crate::arch::cpu;
use crate::machine_local;
use crate::mm::page::{Frame, PageFlags};
use crate::mm::page_alloc::{self, OwnedPage};
use crate::sched::{cond_resched, may_sleep};
use crate::sync::Once;
use arrayvec::ArrayVec;
use core::fmt;

#[cfg(test)]
mod tests;

/// Time that a migration may wait for a page (Linux: enum migrate_mode).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MigrateMode {
    /// Not at all.
    Async,
    /// A little: for memory that somebody waits for.
    SyncLight,
    /// Waits as long as it takes.
    Sync,
}

/// Reason why a page was not moved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MigrateError {
    /// The page is in use for the moment (Linux: EAGAIN).
    Again,
    /// The page has to stay where it is (Linux: EBUSY).
    Busy,
}

impl fmt::Display for MigrateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Again => "the page is in use for the moment",
            Self::Busy => "the page has to stay where it is",
        })
    }
}

impl core::error::Error for MigrateError {}

/// Operations of an owner of pages that can be moved (Linux: struct movable_operations).
pub trait MovableOperations: Sync {
    /// Name of the owner, for reports.
    fn name(&self) -> &'static str;

    /// Keeps the page at `frame` from being freed until [`MovableOperations::migrate`] moves
    /// it or [`MovableOperations::putback`]; false where it isn't this owner's (any more),
    /// is isolated already, or has to stay. Any CPU, without locks; `private` is the word it
    /// was marked with, as far as can be seen.
    fn isolate(&self, frame: Frame, private: u32) -> bool;

    /// Moves an isolated page: the bytes go to `to`, and all that refers to `from` refers to
    /// that; returns the old page. On error the page stays isolated, and `to` comes back.
    ///
    /// # Errors
    /// Why it can't be moved now.
    fn migrate(
        &self,
        from: Frame,
        to: OwnedPage,
        mode: MigrateMode,
    ) -> Result<OwnedPage, (MigrateError, OwnedPage)>;

    /// Ends the isolation of a page that was not moved.
    fn putback(&self, frame: Frame);
}

/// Maximum number of owners.
const OWNERS: usize = 16;
/// Pages that are isolated at a time (Linux: COMPACT_CLUSTER_MAX).
pub const CLUSTER: usize = 32;
/// Passes over pages that are in use for the moment (Linux: NR_MAX_MIGRATE_SYNC_RETRY,
/// NR_MAX_MIGRATE_ASYNC_RETRY).
const SYNC_PASSES: u32 = 10;
const ASYNC_PASSES: u32 = 3;

machine_local! {
    static REGISTERED: [Once<&'static dyn MovableOperations>; OWNERS] =
        [const { Once::new() }; OWNERS];
}

/// An owner's number, by which its pages are marked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OwnerId(u8);

/// The table of owners is full.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooManyOwners;

/// Adds an owner of movable pages, for good.
///
/// # Errors
/// [`TooManyOwners`] where there is no room for another.
pub fn register_movable(
    operations: &'static dyn MovableOperations,
) -> Result<OwnerId, TooManyOwners> {
    for (n, slot) in (0..).zip(REGISTERED.iter()) {
        let mut taken = false;
        slot.call_once(|| {
            taken = true;
            operations
        });
        if taken {
            return Ok(OwnerId(n));
        }
    }
    Err(TooManyOwners)
}

/// Marks a page as one that `owner` can move; `private` is the owner's own (Linux:
/// __SetPageMovable). The mark goes with [`clear_page_movable`].
pub fn set_page_movable(page: &OwnedPage, owner: OwnerId, private: u32) {
    page_alloc::set_page_movable(page, usize::from(owner.0), private);
}

/// Marks and charges a page as `from` is, in whose place it is.
pub fn inherit_mark(from: &OwnedPage, new: &OwnedPage) {
    let old = from.frame().page();
    page_alloc::set_page_movable(new, old.owner(), old.private());
}

/// Takes the mark off a page.
pub fn clear_page_movable(page: &OwnedPage) {
    page_alloc::clear_page_movable(page);
}

/// Returns true if a frame is marked as movable. The answer may be out of date at once.
#[must_use]
pub fn is_movable(frame: Frame) -> bool {
    frame.page().flags().contains(PageFlags::MOVABLE)
}

/// Pages that are isolated; those that are not moved are put back when dropped.
#[derive(Default)]
pub struct Isolated {
    pages: ArrayVec<(Frame, OwnerId), CLUSTER>,
}

impl Isolated {
    /// No pages.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
    /// Number of pages.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pages.len()
    }
    /// Returns true if there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pages.is_empty()
    }
    /// Returns true if no more fit.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.pages.is_full()
    }
    /// The pages.
    pub fn iter(&self) -> impl Iterator<Item = Frame> {
        self.pages.iter().map(|(frame, _)| *frame)
    }

    /// Isolates the page at `frame`, if there is room for one more and its owner can move it.
    /// Returns true if it was isolated (Linux: isolate_movable_page).
    pub fn isolate(&mut self, frame: Frame) -> bool {
        if !is_movable(frame) {
            return false;
        }
        let page = frame.page();
        let (owner, private) = (page.owner(), page.private());
        let Some(operations) = REGISTERED.get(owner).and_then(|slot| slot.get()) else {
            return false;
        };
        let isolated = !self.is_full() && operations.isolate(frame, private);
        if isolated {
            self.pages.push((frame, OwnerId(owner as u8)));
        }
        isolated
    }
}

impl Drop for Isolated {
    fn drop(&mut self) {
        for (frame, owner) in self.pages.drain(..) {
            owner.operations().putback(frame);
        }
    }
}

impl OwnerId {
    fn operations(self) -> &'static dyn MovableOperations {
        *REGISTERED[usize::from(self.0)].get().expect("an owner's number is of one registered")
    }
}

/// Moves isolated pages to those that `new_page` gives, and frees the old ones; returns
/// how many were moved. What is left can't be moved, or there was no page for it. Passes
/// what it did not use to `unused` (Linux: migrate_pages). May sleep as `mode` says.
pub fn migrate_pages(
    isolated: &mut Isolated,
    mode: MigrateMode,
    new_page: &mut dyn FnMut() -> Option<OwnedPage>,
    unused: &mut dyn FnMut(OwnedPage),
) -> usize {
    let passes = if mode == MigrateMode::Async { ASYNC_PASSES } else { SYNC_PASSES };
    let mut moved = 0;
    // Those that can't be moved, beside those that have not been tried.
    let mut busy = ArrayVec::<_, CLUSTER>::new();
    for _ in 0..passes {
        let mut again = ArrayVec::<_, CLUSTER>::new();
        while let Some((frame, owner)) = isolated.pages.pop() {
            let Some(to) = new_page() else {
                again.push((frame, owner));
                break;
            };
            match owner.operations().migrate(frame, to, mode) {
                Ok(old) => {
                    drop(old);
                    moved += 1;
                }
                Err((why, to)) => {
                    unused(to);
                    match why {
                        MigrateError::Again => again.push((frame, owner)),
                        MigrateError::Busy => busy.push((frame, owner)),
                    }
                }
            }
        }
        let out_of_pages = !isolated.pages.is_empty();
        isolated.pages.extend(again);
        if isolated.pages.is_empty() || out_of_pages {
            break;
        }
        // Who uses them may be a thread of this CPU.
        if mode == MigrateMode::Async || !may_sleep() || !cond_resched() {
            cpu::relax();
        }
    }
    isolated.pages.extend(busy);
    moved
}
