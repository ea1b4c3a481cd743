//! TLB invalidation that is owed for an edit of the tables.
#![deny(unsafe_code)]

use super::descriptor::{Level, PTRS_PER_TABLE};
use super::regime::{Kernel, Regime};
use super::tlbi::{MAX_RANGE_PAGES, VaOp};
use crate::addr::{PAGE_SIZE, VirtAddr, VirtRange};
use crate::arch::mmu;
use core::marker::PhantomData;

/// The TLB invalidation that is owed for translations taken away or changed. Several
/// can be gathered and settled at once, as lazy vmap does (Linux: struct mmu_gather,
/// flush_tlb_kernel_range).
///
/// Until it is settled any CPU may use the old translations, so neither the addresses
/// nor the memory behind them may be used anew.
#[must_use = "until the flush is settled, CPUs may use the old translations"]
#[derive(Debug)]
pub struct FlushOwed<R: Regime = Kernel> {
    /// Lowest address owed; nothing is owed while it is above `end`.
    start: VirtAddr,
    end: VirtAddr,
    /// Distance in bytes between invalidations that together reach everything owed.
    stride: usize,
    regime: PhantomData<R>,
}

impl<R: Regime> FlushOwed<R> {
    /// Empty debt.
    pub const NONE: Self = Self {
        start: VirtAddr::new(usize::MAX),
        end: VirtAddr::new(0),
        stride: Level::Pud.table_span(),
        regime: PhantomData,
    };

    /// Returns whether nothing is owed.
    #[must_use]
    pub const fn is_none(&self) -> bool {
        self.start.get() > self.end.get()
    }

    /// The input addresses owed, from the lowest to the highest.
    const fn inputs(&self) -> Option<VirtRange> {
        if self.is_none() { None } else { Some(VirtRange::new(self.start, self.end)) }
    }

    /// Owes what one invalidation in each `stride` bytes of `va`, which is not empty, reaches:
    /// leaves of that size, or tables that span as much.
    #[inline(always)]
    pub(super) fn add(&mut self, va: VirtRange, stride: usize) {
        // No stride is smaller than a page, so that one need not be compared.
        let stride = if stride == PAGE_SIZE { stride } else { self.stride.min(stride) };
        *self = Self {
            start: self.start.min(va.start()),
            end: self.end.max(va.end()),
            stride,
            ..*self
        };
    }

    /// Joins two debts into one, to be flushed at once.
    pub fn merge(mut self, other: Self) -> Self {
        self.absorb(other);
        self
    }

    /// Owes what `other` does too.
    #[inline(always)]
    pub fn absorb(&mut self, other: Self) {
        self.start = self.start.min(other.start);
        self.end = self.end.max(other.end);
        self.stride = self.stride.min(other.stride);
    }

    /// Invalidates on all CPUs, between break and make: this CPU isn't synchronized yet, as it has
    /// to be after the make anyway. The tag is asked for when the edits are visible to walkers.
    #[inline(always)]
    pub(super) fn flush_before_make(self, reach: Reach, tag: impl FnOnce() -> R::Tag) {
        if let Some(range) = self.inputs() {
            invalidate::<R>(range, self.stride, reach, tag);
        }
    }
}

impl<R: Regime> FlushOwed<R> {
    /// Invalidates on all CPUs what is cached under `tag`; something is owed.
    #[inline(always)]
    pub(super) fn settle(self, tag: impl FnOnce() -> R::Tag) {
        self.flush_before_make(Reach::LastLevel, tag);
        R::synchronize();
    }
}

impl FlushOwed {
    /// The addresses owed, from the lowest to the highest.
    #[must_use]
    pub const fn range(&self) -> Option<VirtRange> {
        self.inputs()
    }

    /// Invalidates on all CPUs. Any context.
    pub fn flush(self) {
        if !self.is_none() {
            self.settle(|| ());
        }
    }
}

/// Extent of the invalidation of a cached translation.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Last level only: the address that it leads to.
    LastLevel,
    /// The tables on the way too.
    AllLevels,
}

/// Kind of the invalidations that were issued.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Issued {
    /// Addresses or ranges.
    ByAddress,
    /// Everything under the tag.
    All,
}

/// Past this many single invalidations one of everything costs less (Linux:
/// MAX_DVM_OPS).
const MAX_TLBI_OPS: usize = PTRS_PER_TABLE;

/// Makes earlier edits of the tables visible to all walkers, then drops what the TLBs
/// hold of `range`, one address in each `stride` bytes (Linux: flush_tlb_kernel_range,
/// __flush_tlb_range; Arm ARM D8.17.1, R_DDMVT).
fn invalidate<R: Regime>(
    range: VirtRange,
    stride: usize,
    reach: Reach,
    tag: impl FnOnce() -> R::Tag,
) {
    mmu::dsb_ishst();
    let tag = tag();
    if !R::may_be_cached(tag) {
        return;
    }
    R::complete(tag, || issue::<R>(range, stride, reach, tag));
}

#[inline(always)]
fn issue<R: Regime>(range: VirtRange, stride: usize, reach: Reach, tag: R::Tag) -> Issued {
    let start = range.start().align_down(stride);
    let bytes = range.end() - start;
    let ops = bytes.div_ceil(stride);
    if ops == 1 {
        R::tlbi(R::op(start, tag), reach, tag);
    } else if mmu::has_tlb_range() {
        return by_range::<R>(start, bytes / PAGE_SIZE, reach, tag);
    } else if ops > MAX_TLBI_OPS {
        R::tlbi_all(tag);
        return Issued::All;
    } else {
        match reach {
            Reach::LastLevel => {
                each(R::op(start, tag), ops, stride, |op| R::tlbi(op, Reach::LastLevel, tag));
            }
            Reach::AllLevels => {
                each(R::op(start, tag), ops, stride, |op| R::tlbi(op, Reach::AllLevels, tag));
            }
        }
    }
    Issued::ByAddress
}

/// Invalidates `ops` addresses from `at` on, `stride` bytes apart.
#[inline(always)]
fn each(mut at: VaOp, ops: usize, stride: usize, tlbi: impl Fn(VaOp)) {
    for _ in 0..ops / 4 {
        tlbi(at);
        tlbi(at.further(stride));
        tlbi(at.further(2 * stride));
        tlbi(at.further(3 * stride));
        at = at.further(4 * stride);
    }
    for _ in 0..ops % 4 {
        tlbi(at);
        at = at.further(stride);
    }
}

fn by_range<R: Regime>(mut at: VirtAddr, mut pages: usize, reach: Reach, tag: R::Tag) -> Issued {
    if pages > MAX_RANGE_PAGES {
        R::tlbi_all(tag);
        return Issued::All;
    }
    while let Some(op) = R::range_op(at, pages, tag) {
        R::tlbi_range(op, reach, tag);
        pages -= op.pages();
        at = at + op.pages() * PAGE_SIZE;
    }
    if pages == 1 {
        R::tlbi(R::op(at, tag), reach, tag);
    }
    Issued::ByAddress
}
