//! TLB invalidation that is owed for an edit of the tables.
#![deny(unsafe_code)]

use super::descriptor::{Level, PTRS_PER_TABLE};
use super::table::{TableAccess, TableAddr};
use super::tlbi::{MAX_RANGE_PAGES, RangeOp};
use crate::addr::{PAGE_SIZE, VirtAddr, VirtRange};
use crate::arch::mmu;

/// The TLB invalidation that is owed for translations taken away, and the table pages
/// that can go once it is done. Several can be gathered and settled at once, as lazy
/// vmap does (Linux: struct mmu_gather, flush_tlb_kernel_range).
///
/// Until it is settled any CPU may use the old translations, so neither the addresses
/// nor the memory behind them may be used anew. Dropping it leaks its table pages.
#[must_use = "until the flush is settled, CPUs may use the old translations"]
#[derive(Debug)]
pub struct FlushOwed {
    /// From the lowest to the highest address owed.
    range: Option<VirtRange>,
    /// One invalidation in each `stride` bytes reaches everything owed.
    stride: usize,
    /// Whether links between tables were cut, which `TLBI VAALE1IS` leaves cached.
    tables: bool,
    /// First and last of the chain of table pages to free.
    dead: Option<(TableAddr, TableAddr)>,
}

impl FlushOwed {
    /// Nothing owed.
    pub const NONE: Self =
        Self { range: None, stride: Level::Pud.table_span(), tables: false, dead: None };

    /// Whether nothing is owed.
    #[must_use]
    pub const fn is_none(&self) -> bool {
        self.range.is_none() && self.dead.is_none()
    }

    /// The addresses owed, from the lowest to the highest.
    #[must_use]
    pub const fn range(&self) -> Option<VirtRange> {
        self.range
    }

    /// Owes leaves of `level` in `va`.
    #[inline]
    pub(super) fn add_leaves(&mut self, va: VirtRange, level: Level) {
        self.add(va, level.size());
    }

    /// Owes the table that an entry of `level` for `va` linked; the page goes too.
    pub(super) fn add_table<A: TableAccess>(
        &mut self,
        va: VirtAddr,
        level: Level,
        table: TableAddr,
        access: &A,
    ) {
        let start = va.align_down(level.size());
        self.add(VirtRange::from_size(start, level.size()), level.size());
        self.tables = true;
        let next = self.dead.map(|(first, _)| first);
        access.with(table, |t| t.set_dead_link(next));
        self.dead = Some((table, self.dead.map_or(table, |(_, last)| last)));
    }

    #[inline]
    fn add(&mut self, va: VirtRange, stride: usize) {
        self.range = Some(match self.range {
            None => va,
            Some(r) => VirtRange::new(r.start().min(va.start()), r.end().max(va.end())),
        });
        self.stride = self.stride.min(stride);
    }

    /// Both of two, to be settled at once.
    pub fn merge<A: TableAccess>(mut self, other: Self, access: &A) -> Self {
        if let Some(range) = other.range {
            self.add(range, other.stride);
        }
        self.tables |= other.tables;
        self.dead = match (self.dead, other.dead) {
            (Some((first, last)), Some((next, end))) => {
                access.with(last, |t| t.set_dead_link(Some(next)));
                Some((first, end))
            }
            (dead, None) | (None, dead) => dead,
        };
        self
    }

    /// Invalidates, on all CPUs, and frees the table pages. Any context.
    pub fn settle<A: TableAccess>(self, access: &mut A) {
        let owed = self.range.is_some();
        self.settle_before_make(access);
        if owed {
            mmu::isb();
        }
    }

    /// As [`FlushOwed::settle`] between break and make: this CPU isn't synchronized yet,
    /// as it has to be after the make anyway.
    pub(super) fn settle_before_make<A: TableAccess>(self, access: &mut A) {
        if let Some(range) = self.range {
            invalidate(range, self.stride, self.tables);
        }
        let mut next = self.dead;
        while let Some((table, last)) = next {
            let link = access.with(table, |t| t.dead_link());
            access.free(table);
            next = link.map(|link| (link, last));
        }
    }
}

/// Past this many single invalidations one of everything costs less (Linux:
/// MAX_DVM_OPS).
const MAX_TLBI_OPS: usize = PTRS_PER_TABLE;

/// Makes earlier edits of the tables visible to all walkers, then drops what the TLBs
/// hold of `range`, one address in each `stride` bytes (Linux: flush_tlb_kernel_range;
/// Arm ARM D8.17.1, R_DDMVT).
fn invalidate(range: VirtRange, stride: usize, tables: bool) {
    mmu::dsb_ishst();
    let start = range.start().align_down(stride);
    let bytes = range.end() - start;
    let ops = bytes.div_ceil(stride);
    if ops == 1 {
        one(start, tables);
    } else if mmu::has_tlb_range() {
        by_range(start, bytes / PAGE_SIZE, tables);
    } else if ops > MAX_TLBI_OPS {
        mmu::tlbi_vmalle1is();
    } else {
        for n in 0..ops {
            one(start + n * stride, tables);
        }
    }
    mmu::dsb_ish();
}

fn one(va: VirtAddr, tables: bool) {
    if tables {
        mmu::tlbi_vaae1is(va);
    } else {
        mmu::tlbi_vaale1is(va);
    }
}

fn by_range(mut at: VirtAddr, mut pages: usize, tables: bool) {
    if pages > MAX_RANGE_PAGES {
        return mmu::tlbi_vmalle1is();
    }
    while let Some(op) = RangeOp::largest(at, pages) {
        if tables {
            mmu::tlbi_rvaae1is(op);
        } else {
            mmu::tlbi_rvaale1is(op);
        }
        pages -= op.pages();
        at = at + op.pages() * PAGE_SIZE;
    }
    if pages == 1 {
        one(at, tables);
    }
}
