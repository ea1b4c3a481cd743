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
        let value = (first as u32).wrapping_mul(0x9e37_79b9) >> 5;
        self.donate();
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

    /// Gaps that have `len` pages within `pages`, as far as they lie there, upwards.
    fn gaps(&self, len: u64, pages: Range<u64>) -> Vec<Range<u64>> {
        let starts = [0].into_iter().chain(self.model.values().map(|&(end, _)| end));
        let gaps = starts.map(|start| start.max(pages.start)..self.next(start).min(pages.end));
        gaps.filter(|gap| gap.start + len <= gap.end).collect()
    }

    fn donate(&mut self) {
        while !self.tree.has_room() {
            assert!(self.tree.donate(HeapPage::new()).is_ok());
        }
    }

    /// Changes the range that `n` picks: by `kind`, it is moved at its ends, cut, or takes the next in.
    fn change(&mut self, n: usize, kind: u8, by: u64) {
        let Some(&first) = self.model.keys().nth(n % self.model.len().max(1)) else { return };
        let (end, value) = self.model[&first];
        let (room_start, room_end) = (self.end_before(first), self.next(first + 1));
        self.donate();
        let mut cursor = self.tree.seek(first).expect("the range");
        assert_eq!(cursor.entry(), Entry { pages: first..end, value });
        assert_eq!(self.tree.room_around(&cursor), room_start..room_end);
        let before = self.tree.before(&cursor).map(|entry| entry.pages.start);
        assert_eq!(before, self.model.range(..first).next_back().map(|(&first, _)| first));
        let back = self.tree.cursor_before(&cursor).map(|cursor| cursor.entry().pages.start);
        assert_eq!(back, before);
        let after = self.tree.after(&cursor).map(|entry| entry.pages.start);
        assert_eq!(after, self.model.range(first + 1..).next().map(|(&first, _)| first));
        assert_eq!(self.tree.gap_after(&cursor).whole(), end..room_end);
        match kind {
            // Both ends, anywhere in the room.
            0 => {
                let start = room_start + by % (end - room_start);
                let new_end = (start + 1 + by / 7 % (room_end - start)).min(room_end);
                self.tree.resize(cursor, start..new_end);
                self.model.remove(&first);
                self.model.insert(start, (new_end, value));
            }
            1 if end - first > 1 => {
                let middle = first + 1 + by % (end - first - 1);
                self.tree.split(&mut cursor, middle, 77);
                assert_eq!(cursor.entry().pages, first..middle);
                assert_eq!(self.tree.gap_after(&cursor).whole(), middle..middle);
                self.model.insert(first, (middle, value));
                self.model.insert(middle, (end, 77));
            }
            2 if after.is_some() => {
                let (next_end, next_value) = self.model.remove(&room_end).expect("the next");
                assert_eq!(self.tree.absorb_next(&mut cursor, drop), next_value);
                assert_eq!(cursor.entry().pages, first..next_end);
                self.model.insert(first, (next_end, value));
                assert_eq!(self.tree.room_around(&cursor), room_start..self.next(first + 1));
            }
            3 => {
                assert_eq!(self.tree.remove_cursor(cursor, drop), value);
                self.model.remove(&first);
            }
            // The boundary to the next one.
            4 if after == Some(end) => {
                let (next_end, next_value) = self.model.remove(&end).expect("the next");
                let boundary = first + 1 + by % (next_end - first - 1);
                let mut next = self.tree.seek(end).expect("the next");
                if boundary > end {
                    self.tree.set_pages(&mut next, boundary..next_end);
                    let mut own = self.tree.seek(first).expect("the range");
                    self.tree.set_pages(&mut own, first..boundary);
                } else {
                    self.tree.set_pages(&mut cursor, first..boundary);
                    let mut next = self.tree.seek(end).expect("the next");
                    self.tree.set_pages(&mut next, boundary..next_end);
                }
                self.model.insert(first, (boundary, value));
                self.model.insert(boundary, (next_end, next_value));
            }
            _ => {}
        }
    }

    /// Lets the neighbours of the gap at `page` grow into it.
    fn grow(&mut self, page: u64, by: u64, up: bool) {
        let gap = self.tree.gap_at(page);
        let is_free = page < END && self.end_before(page + 1) <= page;
        assert_eq!(gap.is_some(), is_free);
        let Some(gap) = gap else { return };
        let whole = gap.whole();
        assert_eq!(whole, self.end_before(page + 1)..self.next(page));
        let (before, after) = (self.tree.before_gap(&gap), self.tree.after_gap(&gap));
        assert_eq!(before.map(|entry| entry.pages.end), (whole.start > 0).then_some(whole.start));
        assert_eq!(after.map(|entry| entry.pages.start), (whole.end < END).then_some(whole.end));
        let len = 1 + by % (whole.end - whole.start);
        if up && whole.start > 0 {
            self.tree.extend_before(&gap, whole.start + len);
            let (_, last) = self.model.range_mut(..whole.start).next_back().expect("a range");
            last.0 += len;
        } else if !up && whole.end < END {
            self.tree.extend_after(&gap, whole.end - len);
            let next = self.model.remove(&whole.end).expect("a range");
            self.model.insert(whole.end - len, next);
        }
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
    Change(usize, u8, u64),
    Grow(u64, u64, bool),
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
        8 => (any::<usize>(), 0u8..5, any::<u64>()).prop_map(|(n, kind, by)| Op::Change(n, kind, by >> 8)),
        2 => (0..END + 3, 0u64..100, any::<bool>()).prop_map(|(page, by, up)| Op::Grow(page, by, up)),
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
                let sought = pair.tree.seek(page).map(|cursor| cursor.entry().pages.start);
                let ends_after = pair.model.iter().find(|(_, (end, _))| *end > page);
                assert_eq!(sought, ends_after.map(|(&first, _)| first));
                let above = pair.tree.at_or_above(page).map(|entry| entry.pages.start);
                assert_eq!(above, pair.model.range(page..).next().map(|(&first, _)| first));
            }
            Op::Gap(len, ref pages) => {
                let gaps = pair.gaps(len, pages.clone());
                let found = pair.tree.lowest_gap(len, pages.clone()).map(|gap| gap.pages);
                assert_eq!(found.as_ref(), gaps.first(), "{op:?}");
                let found = pair.tree.highest_gap(len, pages.clone()).map(|gap| gap.pages);
                assert_eq!(found.as_ref(), gaps.last(), "{op:?}");
            }
            Op::Change(n, kind, by) => pair.change(n, kind, by),
            Op::Grow(page, by, up) => pair.grow(page, by, up),
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
    tree.insert(&gap, gap.pages.clone(), 0xfff_fffe);
    let last = Entry { pages: gap.pages, value: 0xfff_fffe };
    for page in [MAX_PAGES - 1, MAX_PAGES, MAX_PAGES + 1, u64::MAX] {
        let found = (page < MAX_PAGES).then(|| last.clone());
        assert_eq!(tree.find(page), found);
        assert_eq!(tree.at_or_above(page), found);
        assert_eq!(tree.lowest_gap(1, page..u64::MAX), None);
    }
    assert_eq!(tree.at_or_above(0), Some(last));
    assert_eq!(tree.remove(MAX_PAGES - 1, drop), 0xfff_fffe);
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
