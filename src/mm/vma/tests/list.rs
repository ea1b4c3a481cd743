//! The tree against a plain list of areas.

use super::*;
use crate::mm::vma::{Merge, UnmappedArea, merge};
use crate::prandom::Random;

/// An area of the list, in pages.
#[derive(Clone, PartialEq, Debug)]
struct Area {
    start: usize,
    end: usize,
    flags: VmFlags,
    file: usize,
    pgoff: u64,
    anon: AnonVma,
}

impl Area {
    fn part(&self, start: usize, end: usize) -> Self {
        let pgoff = self.pgoff + (start - self.start) as u64;
        Self { start, end, pgoff, ..self.clone() }
    }

    /// Tells whether `self` and `other`, which follows, may be one, as Linux decides about a change or an
    /// arrival of the one that `new` says.
    fn takes(&self, other: &Self, is_other_new: bool) -> bool {
        let (old, new) = if is_other_new { (self, other) } else { (other, self) };
        self.end == other.start
            && self.flags == other.flags
            && !self.flags.intersects(VmFlags::SPECIAL)
            && self.file == other.file
            && self.pgoff + (self.end - self.start) as u64 == other.pgoff
            && (old.anon.number() == new.anon.number()
                || new.anon.is_none() && old.anon.is_singular())
    }
}

/// The list: areas are cut at the ends of a change, changed, and merged.
#[derive(Default)]
struct List(Vec<Area>);

impl List {
    fn cut(&mut self, at: usize) {
        if let Some(n) = self.0.iter().position(|area| area.start < at && at < area.end) {
            let (lower, upper) =
                (self.0[n].part(self.0[n].start, at), self.0[n].part(at, self.0[n].end));
            self.0.splice(n..=n, [lower, upper]);
        }
    }

    fn remove(&mut self, start: usize, end: usize) {
        self.cut(start);
        self.cut(end);
        self.0.retain(|area| area.end <= start || end <= area.start);
    }

    /// Puts `area` where nothing is, and merges it with its neighbours.
    fn put(&mut self, area: Area) {
        let at = self.0.partition_point(|other| other.start < area.start);
        self.0.insert(at, area);
        let area = &self.0[at];
        let before = at > 0 && self.0[at - 1].takes(area, true);
        let after = at + 1 < self.0.len() && area.takes(&self.0[at + 1], false);
        let (before, after) = match (before, after) {
            (true, true) => {
                let [a, b] = [&self.0[at - 1], &self.0[at + 1]].map(|area| area.anon.number());
                (true, a == 0 || b == 0 || a == b)
            }
            both => both,
        };
        if after {
            let next = self.0.remove(at + 1);
            let area = &mut self.0[at];
            (area.end, area.anon) =
                (next.end, if before { area.anon.or(next.anon) } else { next.anon.or(area.anon) });
        }
        if before {
            let area = self.0.remove(at);
            let before = &mut self.0[at - 1];
            (before.end, before.anon) = (area.end, before.anon.or(area.anon));
        }
    }
}

fn compare(tree: &VmaTree, list: &List, files: &[VmFile]) {
    tree.validate();
    let number = |vma: &Vma| match vma.file() {
        None => 0,
        Some(file) => 1 + files.iter().position(|other| KArc::ptr_eq(file, other)).expect("a file"),
    };
    let areas = tree.iter().map(|vma| Area {
        start: vma.start().get() / PAGE_SIZE,
        end: vma.end() / PAGE_SIZE,
        flags: vma.flags(),
        file: number(vma),
        pgoff: vma.pgoff(),
        anon: vma.anon(),
    });
    assert_eq!(areas.collect::<Vec<_>>(), list.0);
}

/// Does `count` random changes within `space` pages.
fn run(seed: u64, count: usize, space: usize, check_each: usize) {
    let mut random = Random::new(seed);
    let (mut tree, mut list) = (VmaTree::new(1), List::default());
    let files = [file(), file()];
    let mut identities = 0;
    let flags = [
        RW,
        RW.difference(VmFlags::WRITE),
        RW | VmFlags::EXEC,
        RW | VmFlags::GROWSDOWN,
        RW | VmFlags::DONTEXPAND,
    ];
    for step in 0..count {
        let start = random.below(space);
        let end = (start + 1 + random.below(12)).min(space + 12);
        let flags = flags[if random.below(3) > 0 { 0 } else { random.below(flags.len()) }];
        let range = pages(start, end);
        match random.below(9) {
            // A new range in a hole, or over what is there.
            0..3 => {
                let file = random.below(5).saturating_sub(2);
                let pgoff = if file == 0 { start } else { start + 5 * random.below(2) } as u64;
                let attributes = Attributes {
                    file: file.checked_sub(1).map(|n| files[n].clone()),
                    ..Attributes::anonymous(flags)
                };
                tree.reserve().expect("memory");
                if let Some(removal) = tree.plan_removal(range) {
                    tree.remove(removal);
                }
                map(&mut tree, range, &attributes, pgoff);
                list.remove(start, end);
                list.put(Area { start, end, flags, file, pgoff, anon: AnonVma::NONE });
            }
            3..5 => {
                let removal = tree.plan_removal(range);
                let is_there = |area: &Area| area.start < end && start < area.end;
                assert_eq!(removal.is_some(), list.0.iter().any(is_there));
                if let Some(removal) = removal {
                    tree.reserve().expect("memory");
                    let inside = list
                        .0
                        .iter()
                        .map(|area| area.end.min(end).saturating_sub(area.start.max(start)) as u64);
                    assert_eq!(removal.totals.pages, inside.sum::<u64>());
                    let below = list.0.iter().rfind(|area| area.start < start);
                    let floor = below.map_or(0, |area| area.end.min(start));
                    assert_eq!(removal.floor, floor * PAGE_SIZE);
                    let above = list.0.iter().find(|area| area.end > end);
                    let ceiling = above
                        .map_or(crate::addr::TASK_SIZE, |area| area.start.max(end) * PAGE_SIZE);
                    assert_eq!(removal.ceiling, ceiling);
                    tree.remove(removal);
                    list.remove(start, end);
                }
            }
            5..8 => {
                let Some(n) =
                    list.0.iter().position(|area| area.start <= start && start < area.end)
                else {
                    assert!(tree.find(range.start()).is_none());
                    continue;
                };
                let old = list.0[n].clone();
                let end = end.min(old.end);
                if old.flags == flags {
                    continue;
                }
                protect(&mut tree, start, end, flags);
                list.cut(start);
                list.cut(end);
                let n = list.0.iter().position(|area| area.start == start).expect("the part");
                let part = list.0.remove(n);
                list.put(Area { flags, ..part });
            }
            _ => {
                if let Some(area) =
                    list.0.iter_mut().find(|area| area.start <= start && start < area.end)
                    && area.anon.is_none()
                {
                    identities = 1 + identities % 4;
                    let anon = AnonVma::new(identities);
                    let anon = if random.below(4) == 0 { anon.forked() } else { anon };
                    area.anon = anon;
                    touch(&mut tree, start, anon);
                }
            }
        }
        search(&mut tree, &list, &mut random, space);
        if step % check_each == 0 || step + 1 == count {
            compare(&tree, &list, &files);
        }
    }
}

/// Searches for a gap as Linux does, in the list.
fn search(tree: &mut VmaTree, list: &List, random: &mut Random, space: usize) {
    if random.below(4) != 0 {
        return;
    }
    let (len, guard) = (1 + random.below(9), 3);
    let (low, high) = (random.below(space), space + 12 - random.below(space / 2));
    let info = UnmappedArea {
        len: len * PAGE_SIZE,
        low: low * PAGE_SIZE,
        high: high * PAGE_SIZE,
        guard: guard * PAGE_SIZE,
    };
    // Free pages, of which none is below the next area, if that is a stack.
    let is_free = |start: usize| {
        let next = list.0.iter().find(|area| area.end > start);
        let room = next.map_or(high, |area| {
            let below = if area.flags.contains(VmFlags::GROWSDOWN) { guard } else { 0 };
            area.start.saturating_sub(below)
        });
        low <= start && start + len <= high.min(room)
    };
    let first = |hole: Hole| hole.range().start().get() / PAGE_SIZE;
    assert_eq!(tree.unmapped_area(info).map(first), (0..space + 12).find(|&start| is_free(start)));
    let highest = (0..space + 12).rev().find(|&start| is_free(start));
    assert_eq!(tree.unmapped_area_topdown(info).map(first), highest);
}

/// Merging, cutting and the search are those of a plain list.
#[test]
fn random_changes_agree_with_a_list() {
    on_machine(16, || {
        let (runs, count) = if cfg!(miri) { (1, 30) } else { (40, 1500) };
        for seed in 0..runs {
            run(seed, count, if seed % 2 == 0 { 60 } else { 800 }, 7);
        }
    });
}

/// No allocation but those of `reserve` is made, and one that fails leaves everything as it was.
#[test]
fn a_reserve_that_fails_changes_nothing() {
    use crate::mm::alloc_pages::{FailPageAlloc, set_fail_page_alloc};
    on_machine(16, || {
        let mut tree = VmaTree::new(1);
        let used = page_alloc::nr_used_pages();
        let fail =
            FailPageAlloc { skip: 0, interval: 1, times: 1, min_order: crate::addr::Order::ZERO };
        let mut failures = 0;
        for n in 0..400 {
            set_fail_page_alloc(Some(FailPageAlloc { skip: n % 3, ..fail }));
            let (areas, held) = (bounds(&tree), tree.pages_held());
            if tree.reserve().is_err() {
                failures += 1;
                assert_eq!(bounds(&tree), areas);
                assert!(tree.pages_held() - held <= 2);
                assert_eq!(set_fail_page_alloc(None), 1);
                tree.reserve().expect("memory");
            }
            set_fail_page_alloc(Some(fail));
            let range = pages(3 * n as usize, 3 * n as usize + 2);
            let attributes = Attributes::anonymous(RW);
            let at = proposed(range, &attributes, 3 * u64::from(n), AnonVma::NONE);
            let insertion = tree.plan_insertion(hole(&tree, range), &at);
            let _ = tree.insert(insertion, Vma::new(range, attributes, 3 * u64::from(n)));
            // One is used up by the next, which is not that of the tree.
            assert_eq!(set_fail_page_alloc(None), 0, "an allocation that was not made beforehand");
        }
        assert!(failures > 2, "{failures}");
        drop(tree);
        assert_eq!(page_alloc::nr_used_pages(), used);
    });
}

/// The pure function says the same of both sides.
#[test]
fn merge_looks_at_both_sides() {
    on_machine(8, || {
        let own = Attributes::anonymous(RW);
        let [a, b] = [pages(0, 2), pages(4, 6)]
            .map(|range| Vma::new(range, own.clone(), (range.start().get() / PAGE_SIZE) as u64));
        let new = proposed(pages(2, 4), &own, 2, AnonVma::NONE);
        assert_eq!(merge(Some(&a), Some(&b), &new), Merge::Both);
        assert_eq!(merge(Some(&a), None, &new), Merge::Left);
        assert_eq!(merge(None, Some(&b), &new), Merge::Right);
        assert_eq!(merge(Some(&b), Some(&a), &new), Merge::None);
    });
}

/// A million areas are seven levels at the most, and to find, map or unmap one reads the nodes of
/// as few descents as with ten.
#[test]
#[cfg_attr(miri, ignore = "a million areas")]
fn a_million_areas_cost_their_levels_alone() {
    let steps = |count: usize| {
        let mut nodes = [0; 3];
        on_machine(32 + count as u64 / 4096, || {
            let mut tree = VmaTree::new(1);
            let top = 4 * count + 16;
            for n in 0..count {
                // Top-down with a gap that is too small for what comes then.
                tree.reserve().expect("memory");
                let at = top - 3 * n - 2;
                map_anon(&mut tree, at, at + 2, RW);
            }
            let mut random = Random::new(count as u64);
            let mut most = |which: usize, steps: usize| nodes[which] = steps.max(nodes[which]);
            for _ in 0..1000 {
                tree.steps();
                let at = top - 3 * random.below(count) - 2;
                assert!(tree.find(pages(at, at + 1).start()).is_some());
                most(0, tree.steps());
                let info = UnmappedArea {
                    len: 2 * PAGE_SIZE,
                    low: PAGE_SIZE,
                    high: (top - 3 * random.below(count)) * PAGE_SIZE,
                    guard: 0,
                };
                tree.reserve().expect("memory");
                // The first search may have bounds to correct.
                let _ = tree.unmapped_area_topdown(info).expect("a hole");
                tree.steps();
                let hole = tree.unmapped_area_topdown(info).expect("a hole");
                let range = hole.range();
                let attributes = Attributes::anonymous(RW);
                let pgoff = (range.start().get() / PAGE_SIZE) as u64;
                let at = proposed(range, &attributes, pgoff, AnonVma::NONE);
                let insertion = tree.plan_insertion(hole, &at);
                let _ = tree.insert(insertion, Vma::new(range, attributes, pgoff));
                most(1, tree.steps());
                let removal = tree.plan_removal(range).expect("it");
                tree.remove(removal);
                most(2, tree.steps());
            }
        });
        nodes
    };
    let count = if cfg!(debug_assertions) { 200_000 } else { 1_000_000 };
    let (ten, million) = (steps(10), steps(count));
    let more: Vec<_> = million.iter().zip(ten).map(|(many, few)| many - few).collect();
    assert!(more[0] <= 6 && more[1] <= 12 && more[2] <= 12, "{ten:?} {million:?}");
}
