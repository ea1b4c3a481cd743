//! Making things fail on purpose, to run the error paths of those who use them: which of many
//! chances fail (Linux: struct fault_attr, lib/fault-inject.c).
//!
//! Who fails asks `FaultAttr::should_fail` at each chance. The same attributes make the same
//! chances fail each time that they are set.
#![deny(unsafe_code)]

use core::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

#[cfg(test)]
mod tests;

/// Selection of the calls that fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Attr {
    /// Only each `interval`th may fail; 1 for each, and so is 0.
    pub interval: u32,
    /// So many of a hundred of those do.
    pub probability: u32,
    /// So many pass first (Linux counts sizes here).
    pub space: u32,
    /// Number of failures after which all calls pass.
    pub times: u32,
}

impl Attr {
    /// Reads `interval,probability,space,times`, as Linux has it on the command line; -1
    /// times is without end. (Linux: setup_fault_attr.)
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(',');
        let mut number = || words.next()?.parse::<u32>().ok();
        let interval = number().filter(|&interval| interval > 0)?;
        let probability = number().filter(|&probability| probability <= 100)?;
        let space = number()?;
        let times = match words.next()? {
            "-1" => u32::MAX,
            word => word.parse().ok()?,
        };
        words.next().is_none().then_some(Self { interval, probability, space, times })
    }
}

/// Attributes in force, and how often they were asked and said yes.
pub(crate) struct FaultAttr {
    on: AtomicBool,
    interval: AtomicU32,
    probability: AtomicU32,
    space: AtomicU32,
    times: AtomicU32,
    seen: AtomicU32,
    failed: AtomicU32,
}

impl FaultAttr {
    /// Creates a selection in which nothing fails.
    pub const fn new() -> Self {
        Self {
            on: AtomicBool::new(false),
            interval: AtomicU32::new(1),
            probability: AtomicU32::new(0),
            space: AtomicU32::new(0),
            times: AtomicU32::new(0),
            seen: AtomicU32::new(0),
            failed: AtomicU32::new(0),
        }
    }

    /// Lets chances fail as `attr` says, or none. Returns the number that failed since the last
    /// call. Counts start anew.
    pub fn set(&self, attr: Option<Attr>) -> u32 {
        if let Some(attr) = attr {
            self.interval.store(attr.interval.max(1), Relaxed);
            self.probability.store(attr.probability, Relaxed);
            self.space.store(attr.space, Relaxed);
            self.times.store(attr.times, Relaxed);
        }
        self.seen.store(0, Relaxed);
        self.on.store(attr.is_some(), Relaxed);
        self.failed.swap(0, Relaxed)
    }

    /// Returns whether anything may fail.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.on.load(Relaxed)
    }

    /// Returns whether this chance is to fail. Only where [`FaultAttr::is_on`].
    #[cold]
    pub fn should_fail(&self) -> bool {
        let seen = self.seen.fetch_add(1, Relaxed);
        let Some(n) = seen.checked_sub(self.space.load(Relaxed)) else { return false };
        let due = (n + 1).is_multiple_of(self.interval.load(Relaxed))
            && draw(n) < self.probability.load(Relaxed);
        let take = |failed: u32| (failed < self.times.load(Relaxed)).then(|| failed + 1);
        due && self.failed.fetch_update(Relaxed, Relaxed, take).is_ok()
    }
}

/// A number below 100 for chance `n`, as often one as another (the finaliser of splitmix64).
fn draw(n: u32) -> u32 {
    let x = (u64::from(n) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((x ^ (x >> 31)) % 100) as u32
}
