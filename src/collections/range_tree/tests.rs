//! The tree against a map of its ranges.

use super::super::slots::TablePage;
use super::{Entry, Gap, MAX_PAGES, RangeTree};
use core::ops::Range;
use core::ptr::with_exposed_provenance_mut;
use proptest::prelude::*;
use std::boxed::Box;
use std::collections::BTreeMap;
use std::vec::Vec;

#[repr(align(4096))]
struct Bytes(#[expect(dead_code, reason = "memory for nodes")] [u8; 4096]);

/// A page of the host's heap.
struct HeapPage(Box<Bytes>);

impl HeapPage {
    fn new() -> Self {
        Self(Box::new(Bytes([0xa5; 4096])))
    }
}

// SAFETY: a box that is aligned to its size of a page, and is owned by nobody else.
unsafe impl TablePage for HeapPage {
    fn into_address(self) -> usize {
        Box::into_raw(self.0).expose_provenance()
    }

    unsafe fn from_address(address: usize) -> Self {
        // SAFETY: the address of a box, as the caller says.
        Self(unsafe { Box::from_raw(with_exposed_provenance_mut(address)) })
    }
}

/// Pages of the space.
const END: u64 = 6000;

struct Pair {
    tree: RangeTree<HeapPage>,
    /// Ranges and values by first page.
    model: BTreeMap<u64, (u64, u32)>,
}

impl Pair {
    fn new() -> Self {
        Self { tree: RangeTree::new(END), model: BTreeMap::new() }
    }

    fn next(&self, page: u64) -> u64 {
        self.model.range(page..).next().map_or(END, |(&first, _)| first)
    }

    fn end_before(&self, page: u64) -> u64 {
        self.model.range(..page).next_back().map_or(0, |(_, &(end, _))| end)
    }

    /// Inserts up to `len` pages at `first`, as far as they are free.
    fn insert(&mut self, first: u64, len: u64) {
        let first = first.max(self.end_before(first + 1));
        let end = (first + len).min(self.next(first));
        if first >= end {
            return;
        }
        let value = (first as u32).wrapping_mul(0x9e37_79b9) >> 4;
        while !self.tree.has_room() {
            assert!(self.tree.donate(HeapPage::new()).is_ok());
        }
        assert!(self.tree.donate(HeapPage::new()).is_err(), "there is room");
        let gap = self.tree.lowest_gap(end - first, first..end).expect("a gap");
        assert_eq!(gap.pages, first..end);
        self.tree.insert(&gap, first..end, value);
        self.model.insert(first, (end, value));
    }

    fn remove(&mut self, first: u64) {
        let (_, value) = self.model.remove(&first).expect("a range");
        assert_eq!(self.tree.remove(first, drop), value);
    }

    fn lowest_gap(&self, len: u64, pages: Range<u64>) -> Option<Range<u64>> {
        let starts = [0].into_iter().chain(self.model.values().map(|&(end, _)| end));
        let gaps = starts.map(|start| start.max(pages.start)..self.next(start).min(pages.end));
        gaps.into_iter().find(|gap| gap.start + len <= gap.end)
    }

    fn check(&self) {
        let mut entries = Vec::new();
        self.tree.validate(|entry| entries.push(entry));
        let model = self.model.iter();
        let expected: Vec<_> =
            model.map(|(&first, &(end, value))| Entry { pages: first..end, value }).collect();
        assert_eq!(entries, expected);
    }

    /// Removes all ranges, in the order that `pick` gives out of how many there are.
    fn empty(mut self, mut pick: impl FnMut(usize) -> usize) {
        while !self.model.is_empty() {
            let first = *self.model.keys().nth(pick(self.model.len())).expect("a range");
            self.remove(first);
            if self.model.len().is_multiple_of(16) {
                self.check();
            }
        }
        while self.tree.shrink().is_some() {}
        assert_eq!(self.tree.pages_held(), 0);
    }
}

#[derive(Clone, Debug)]
enum Op {
    Insert(u64, u64),
    /// A few side by side, upwards or downwards.
    Run(u64, u64, bool),
    Remove(usize),
    RemoveRun(usize, usize),
    Find(u64),
    Gap(u64, Range<u64>),
}

fn op() -> impl Strategy<Value = Op> {
    let window = prop_oneof![Just(0..END), (0..END, 0..END).prop_map(|(a, b)| a.min(b)..a.max(b))];
    prop_oneof![
        3 => (0..END, 1u64..6).prop_map(|(first, len)| Op::Insert(first, len)),
        2 => (0..END, 1u64..60, any::<bool>()).prop_map(|(first, n, up)| Op::Run(first, n, up)),
        3 => any::<usize>().prop_map(Op::Remove),
        1 => (any::<usize>(), 1usize..80).prop_map(|(n, count)| Op::RemoveRun(n, count)),
        2 => (0..END + 5).prop_map(Op::Find),
        3 => (1u64..80, window).prop_map(|(len, pages)| Op::Gap(len, pages)),
    ]
}

fn run(filled: u64, ops: &[Op]) {
    let mut pair = Pair::new();
    (0..filled).for_each(|n| pair.insert(n * 5 % END, 1 + n % 4));
    pair.check();
    for op in ops {
        match *op {
            Op::Insert(first, len) => pair.insert(first, len),
            Op::Run(first, count, up) => {
                for n in 0..count {
                    let page = if up { first + n } else { first.saturating_sub(n) };
                    pair.insert(page.min(END - 1), 1);
                }
            }
            Op::Remove(n) => {
                if let Some(&first) = pair.model.keys().nth(n % pair.model.len().max(1)) {
                    pair.remove(first);
                }
            }
            Op::RemoveRun(n, count) => {
                let from = n % pair.model.len().max(1);
                let firsts: Vec<_> = pair.model.keys().skip(from).take(count).copied().collect();
                firsts.into_iter().for_each(|first| pair.remove(first));
            }
            Op::Find(page) => {
                let below = pair.model.range(..=page).next_back();
                let found = pair.tree.find(page).map(|entry| entry.pages);
                let expected = below.map(|(&first, &(end, _))| first..end);
                assert_eq!(found, expected.filter(|pages| pages.contains(&page)));
                let above = pair.tree.at_or_above(page).map(|entry| entry.pages.start);
                assert_eq!(above, pair.model.range(page..).next().map(|(&first, _)| first));
            }
            Op::Gap(len, ref pages) => {
                let found = pair.tree.lowest_gap(len, pages.clone()).map(|gap| gap.pages);
                assert_eq!(found, pair.lowest_gap(len, pages.clone()), "{op:?}");
            }
        }
        pair.check();
    }
    pair.empty(|len| len / 3);
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 2 } else { 100 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]
    #[test]
    fn random_operations_agree_with_a_map(
        filled in prop_oneof![Just(0), 0..if cfg!(miri) { 60 } else { 1200u64 }],
        ops in prop::collection::vec(op(), 1..if cfg!(miri) { 20 } else { 150 }),
    ) {
        run(filled, &ops);
    }
}

/// A tree that was filled in one direction is emptied in each.
#[test]
fn trees_shrink_from_all_sides() {
    let count = if cfg!(miri) { 100 } else { 3000 };
    for upwards in [true, false] {
        for pick in
            [|_| 0, |len| len - 1, |len| len / 2, |len| len * 7 / 8] as [fn(usize) -> usize; 4]
        {
            let mut pair = Pair::new();
            for n in 0..count {
                pair.insert(if upwards { 2 * n } else { 2 * (count - 1 - n) }, 1);
            }
            pair.check();
            pair.empty(pick);
        }
    }
}

/// After a search that failed for want of a gap, the next one reads the root alone.
#[test]
fn a_search_that_fails_lowers_the_bounds() {
    let mut pair = Pair::new();
    (0..END / 2).for_each(|n| pair.insert(2 * n, 1));
    (0..END / 8).for_each(|n| {
        pair.remove(8 * n);
        pair.insert(8 * n, 1);
    });
    assert_eq!(pair.tree.lowest_gap(2, 0..END), None);
    pair.tree.steps.set(0);
    assert_eq!(pair.tree.lowest_gap(2, 0..END), None);
    assert!(pair.tree.steps.get() <= 3, "{} nodes read", pair.tree.steps.get());
    pair.remove(2000);
    pair.tree.steps.set(0);
    assert_eq!(pair.tree.lowest_gap(2, 0..END).map(|gap| gap.pages), Some(1999..2002));
    assert!(pair.tree.steps.get() <= 12, "{} nodes read", pair.tree.steps.get());
    pair.check();
}

/// The pages of the largest space are told from free places of nodes.
#[test]
fn the_last_page_is_found() {
    let mut tree = RangeTree::<HeapPage>::new(MAX_PAGES);
    while !tree.has_room() {
        assert!(tree.donate(HeapPage::new()).is_ok());
    }
    let gap = tree.lowest_gap(1, MAX_PAGES - 1..u64::MAX).expect("a gap");
    assert_eq!(gap.pages, MAX_PAGES - 1..MAX_PAGES);
    tree.insert(&gap, gap.pages.clone(), 0xfff_ffff);
    let last = Entry { pages: gap.pages, value: 0xfff_ffff };
    for page in [MAX_PAGES - 1, MAX_PAGES, MAX_PAGES + 1, u64::MAX] {
        let found = (page < MAX_PAGES).then(|| last.clone());
        assert_eq!(tree.find(page), found);
        assert_eq!(tree.at_or_above(page), found);
        assert_eq!(tree.lowest_gap(1, page..u64::MAX), None);
    }
    assert_eq!(tree.at_or_above(0), Some(last));
    assert_eq!(tree.remove(MAX_PAGES - 1, drop), 0xfff_ffff);
    tree.clear();
    assert_eq!(tree.pages_held(), 0);
}

#[test]
fn what_does_not_fit_is_refused() {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    let mut pair = Pair::new();
    for first in [10, 20, 30] {
        pair.insert(first, 5);
    }
    let gap = pair.tree.lowest_gap(2, 11..END).expect("a gap");
    assert_eq!(gap.pages, 15..20);
    let mut fails = |gap: &Gap, pages: Range<u64>| {
        let insert = AssertUnwindSafe(|| pair.tree.insert(gap, pages, 1));
        assert!(catch_unwind(insert).is_err());
    };
    for pages in [5..11, 14..20, 15..21, 10..15, 12..13, 5..40, 5990..END + 1, 17..17] {
        fails(&gap, pages);
    }
    for first in [11, 15, 0, 40] {
        let remove = AssertUnwindSafe(|| pair.tree.remove(first, drop));
        assert!(catch_unwind(remove).is_err());
    }
    pair.tree.insert(&gap, 15..20, 1);
    // It is a gap no longer.
    let insert = AssertUnwindSafe(|| pair.tree.insert(&gap, 16..17, 1));
    assert!(catch_unwind(insert).is_err());
    pair.tree.remove(15, drop);
    pair.check();
    pair.empty(|_| 0);
}
