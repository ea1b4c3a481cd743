//! Failing allocations on purpose, to run the error paths of those who allocate
//! (Linux: fail_page_alloc, mm/fail_page_alloc.c).
//!
//! Off, it costs nothing. On, the order-0 path is closed by pointing it at a zone that has
//! no memory, so that every allocation passes [`should_fail`].
#![deny(unsafe_code)]

use crate::addr::Order;
use crate::fault_inject::{Attr, FaultAttr};
use crate::machine_local;
use crate::mm::gfp::Gfp;
use crate::mm::page_alloc::{FastPath, set_fast_path};
use core::sync::atomic::{AtomicU8, Ordering::Relaxed};

#[cfg(test)]
mod tests;

/// Selection of the allocations that fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FailPageAlloc {
    /// So many pass first.
    pub skip: u32,
    /// Then each `interval`th fails; 1 for each.
    pub interval: u32,
    /// Number of failures after which all allocations pass.
    pub times: u32,
    /// Lowest order that fails; lower ones pass, and are not counted.
    pub min_order: Order,
}

impl FailPageAlloc {
    /// Reads `interval[,times[,skip[,min_order]]]`, as `granule.fail_page_alloc=` has it on
    /// the command line; without `times` there is no end of failures.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split(',').map(|word| word.parse::<u32>().ok());
        let interval = numbers.next()?.filter(|&interval| interval > 0)?;
        let mut next = |default: u32| numbers.next().unwrap_or(Some(default));
        let (times, skip, order) = (next(u32::MAX)?, next(0)?, next(0)?);
        let min_order = u8::try_from(order).ok().and_then(Order::new)?;
        numbers.next().is_none().then_some(Self { skip, interval, times, min_order })
    }
}

machine_local! {
    static FAIL_PAGE_ALLOC: FaultAttr = FaultAttr::new();
    static MIN_ORDER: AtomicU8 = AtomicU8::new(0);
}

/// Lets allocations fail as `which` says, or none; returns how many failed since the last
/// call. Allocations with `__GFP_NOFAIL` never do. Counts start anew.
pub fn set_fail_page_alloc(which: Option<FailPageAlloc>) -> u32 {
    if let Some(which) = which {
        MIN_ORDER.store(which.min_order.get(), Relaxed);
    }
    let attr = which.map(|FailPageAlloc { skip, interval, times, .. }| Attr {
        interval,
        probability: 100,
        space: skip,
        times,
    });
    let failed = FAIL_PAGE_ALLOC.set(attr);
    set_fast_path(FastPath::Failures, which.is_none());
    failed
}

/// Returns whether this allocation is to fail.
pub(super) fn should_fail(gfp: Gfp, order: Order) -> bool {
    FAIL_PAGE_ALLOC.is_on()
        && !gfp.contains(Gfp::__GFP_NOFAIL)
        && order.get() >= MIN_ORDER.load(Relaxed)
        && FAIL_PAGE_ALLOC.should_fail()
}
