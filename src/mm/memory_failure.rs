//! Memory that turned out to be bad (Linux: mm/memory-failure.c).
//!
//! A frame that shows correctable errors is emptied and kept out before it gets worse
//! ([`soft_offline_page`]); one that has failed is kept out at once, or when its owner frees
//! it ([`memory_failure`]): what it holds is not looked at. Either way it is never handed
//! out again, and counts as poisoned (`HardwareCorrupted` of /proc/meminfo).
//!
//! Lock order: one frame at a time (`FAILING`, a mutex: the owners that move
//! pages may sleep).
#![deny(unsafe_code)]

use crate::addr::{Pfn, PfnRange};
use crate::arch::irq::with_masked;
use crate::machine_local;
use crate::mm::page::{Frame, PageFlags};
use crate::mm::page_alloc::{
    ContigError, ContigPages, Marked, State, count_poisoned, drain_all_pages_forced, give_up_mark,
    is_mark_kept, mark_poisoned, online_range, page_handle_poison, put_page_back_buddy, state_of,
    uncount_poisoned,
};
use crate::sched::Mutex;
use crate::sync::SleepRank;
use core::fmt;

/// Outcome for a frame that has failed (Linux: enum mf_result).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MfResult {
    /// The frame was not in use, and will not be allocated.
    Recovered,
    /// The frame is in use, and will be taken out when it is freed.
    Delayed,
}

/// Reason why a frame was not taken out or put back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PoisonError {
    /// The frame is not the page allocator's: reserved, offline, or no RAM.
    NotManaged,
    /// The frame is marked as bad already; or it is to be put back, and is not marked.
    Already,
    /// The frame's page is in use by an owner who can't move it, or its pageblock is isolated.
    Busy,
}

impl fmt::Display for PoisonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotManaged => "not the page allocator's memory",
            Self::Already => "it is so already",
            Self::Busy => "in use, and can't be moved",
        })
    }
}

impl core::error::Error for PoisonError {}

machine_local! {
    /// Lock that lets one frame at a time be handled (Linux: mf_mutex).
    static FAILING: Mutex = Mutex::new(SleepRank::MemoryFailure);
}

/// Looks after which a frame that is neither free nor in use is reserved.
const PASSES: u32 = 20;

/// The frame numbered `pfn`, which isn't known to be bad; its section is brought up.
fn good_frame(pfn: Pfn) -> Result<Frame, PoisonError> {
    let not_managed = |_| PoisonError::NotManaged;
    if pfn >= Pfn::LIMIT {
        return Err(PoisonError::NotManaged);
    }
    with_masked(|irq| online_range(irq, PfnRange::new(pfn, pfn + 1))).map_err(not_managed)?;
    let frame = Frame::new(pfn).ok_or(PoisonError::NotManaged)?;
    if frame.page().flags().contains(PageFlags::HWPOISON) {
        return Err(PoisonError::Already);
    }
    Ok(frame)
}

/// Keeps the frame numbered `pfn` out for good; if a page in it is in use, its owner moves
/// it elsewhere first. For threads with interrupts on (Linux: soft_offline_page).
///
/// # Errors
/// [`PoisonError`]; the frame is what it was then.
pub fn soft_offline_page(pfn: Pfn) -> Result<(), PoisonError> {
    let _failing = FAILING.lock();
    let frame = good_frame(pfn)?;
    if matches!(state_of(frame), State::Hole | State::Reserved | State::Offline) {
        return Err(PoisonError::NotManaged);
    }
    let pages = ContigPages::alloc(PfnRange::new(pfn, pfn + 1)).map_err(|error| match error {
        ContigError::Busy(_) => PoisonError::Busy,
        ContigError::Invalid => PoisonError::NotManaged,
    })?;
    pages.into_pages().pop().into_iter().for_each(page_handle_poison);
    count_poisoned();
    Ok(())
}

/// Keeps the frame numbered `pfn`, which has failed, out for good: now if it is free, else
/// when it is freed. Its content is left alone. For threads with interrupts on (Linux:
/// memory_failure).
///
/// A free of it that another CPU is in the midst of is waited for.
///
/// # Errors
/// [`PoisonError`]: `Busy` where a CPU does not give up its lists.
pub fn memory_failure(pfn: Pfn) -> Result<MfResult, PoisonError> {
    let _failing = FAILING.lock();
    let frame = good_frame(pfn)?;
    for _ in 0..PASSES {
        let marked = mark_poisoned(frame);
        if marked == Marked::Out {
            count_poisoned();
            return Ok(MfResult::Recovered);
        }
        // A free looks at the flags and stores over them with interrupts masked. So one that
        // had looked before they were set is over once each CPU was interrupted, and what it
        // put on its list is off it.
        let is_over = drain_all_pages_forced();
        if marked == Marked::InUse && is_over && is_mark_kept(frame) {
            count_poisoned();
            return Ok(MfResult::Delayed);
        }
    }
    give_up_mark(frame);
    match state_of(frame) {
        State::Hole | State::Reserved | State::Offline => Err(PoisonError::NotManaged),
        _ => Err(PoisonError::Busy),
    }
}

/// Takes the frame numbered `pfn` for good again: it is free, or its owner may free it as
/// any other (Linux: unpoison_memory).
///
/// # Errors
/// [`PoisonError::NotManaged`] where it has no descriptor, [`PoisonError::Already`] where it
/// isn't known to be bad.
pub fn unpoison_memory(pfn: Pfn) -> Result<(), PoisonError> {
    let _failing = FAILING.lock();
    let frame = Frame::new(pfn).ok_or(PoisonError::NotManaged)?;
    if !put_page_back_buddy(frame) {
        return Err(PoisonError::Already);
    }
    uncount_poisoned();
    Ok(())
}
