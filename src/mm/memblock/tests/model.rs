//! Random operations against a model with one entry per page.

use super::super::*;
use super::{allow_growths, grow, growths_left, pages, with_slots};
use crate::addr::PAGE_SIZE;
use proptest::prelude::*;
use std::vec;
use std::vec::Vec;

/// Pages of the model's address space.
const SPACE: u64 = 192;
const PAGE: u64 = PAGE_SIZE as u64;

#[derive(Clone, Copy, Debug)]
struct Request {
    size: u64,
    align: u64,
    within: (u64, u64),
    nid: Option<usize>,
    exact: bool,
}

#[derive(Clone, Debug)]
enum Op {
    Add((u64, u64), Option<usize>, bool),
    Remove((u64, u64)),
    Reserve((u64, u64)),
    Free((u64, u64)),
    Nomap((u64, u64), bool),
    Hotplug((u64, u64), bool),
    SetNode((u64, u64), Option<usize>),
    Alloc(Request),
    AllocBelowLimit(Request),
    BottomUp(bool),
    MovableNode(bool),
    CurrentLimit(u64),
    Cap((u64, u64)),
    Limit(u64),
    Trim(u32),
}

fn range() -> impl Strategy<Value = (u64, u64)> + Clone {
    (0..SPACE, 0u64..24).prop_map(|(start, length)| (start, (start + length).min(SPACE)))
}

fn nid() -> impl Strategy<Value = Option<usize>> + Clone {
    prop::option::of(0usize..3)
}

fn request() -> impl Strategy<Value = Request> {
    let some = (0..SPACE, 0..=SPACE).prop_map(|(start, end)| (start, end.max(start)));
    let within = prop_oneof![Just((0, SPACE)), some];
    (1u64..12, 0u32..5, within, nid(), any::<bool>()).prop_map(
        |(size, align, within, nid, exact)| Request { size, align: 1 << align, within, nid, exact },
    )
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (range(), nid(), any::<bool>()).prop_map(|(r, n, h)| Op::Add(r, n, h)),
        4 => range().prop_map(Op::Remove),
        8 => range().prop_map(Op::Reserve),
        5 => range().prop_map(Op::Free),
        4 => (range(), any::<bool>()).prop_map(|(r, on)| Op::Nomap(r, on)),
        2 => (range(), any::<bool>()).prop_map(|(r, on)| Op::Hotplug(r, on)),
        2 => (range(), nid()).prop_map(|(r, n)| Op::SetNode(r, n)),
        8 => request().prop_map(Op::Alloc),
        4 => request().prop_map(Op::AllocBelowLimit),
        1 => any::<bool>().prop_map(Op::BottomUp),
        1 => any::<bool>().prop_map(Op::MovableNode),
        1 => (0..=SPACE).prop_map(Op::CurrentLimit),
        1 => (0..SPACE / 4, SPACE / 2..SPACE).prop_map(Op::Cap),
        1 => (0..SPACE).prop_map(Op::Limit),
        1 => (0u32..3).prop_map(Op::Trim),
    ]
}

/// Flags and node of a page of RAM.
type Kept = (RegionFlags, Option<NodeId>);

#[derive(Clone)]
struct Model {
    memory: Vec<Option<Kept>>,
    reserved: Vec<bool>,
    bottom_up: bool,
    movable_node: bool,
    limit: u64,
}

impl Model {
    fn new() -> Self {
        let space = SPACE as usize;
        Self {
            memory: vec![None; space],
            reserved: vec![false; space],
            bottom_up: false,
            movable_node: false,
            limit: SPACE,
        }
    }

    fn each(&mut self, range: (u64, u64), mut change: impl FnMut(&mut Option<Kept>)) {
        self.memory[range.0 as usize..range.1 as usize].iter_mut().for_each(&mut change);
    }

    fn reserve(&mut self, range: (u64, u64), on: bool) {
        self.reserved[range.0 as usize..range.1 as usize].fill(on);
    }

    /// Returns the flags and node of page `at` if it may be allocated.
    fn free(&self, at: u64, nid: Option<NodeId>) -> Option<Kept> {
        let kept = self.memory[at as usize].filter(|_| !self.reserved[at as usize])?;
        let bad = kept.0.contains(RegionFlags::NOMAP)
            || (self.movable_node && kept.0.contains(RegionFlags::HOTPLUG))
            || (nid.is_some() && nid != kept.1);
        (!bad).then_some(kept)
    }

    /// The place that has to be found: the highest or lowest that fits.
    fn find(&self, request: Request, within: (u64, u64), nid: Option<NodeId>) -> Option<u64> {
        let (start, end) = (within.0.max(1), within.1);
        let fits = |&at: &u64| {
            let Some(kind) = (at + request.size <= end).then(|| self.free(at, nid)).flatten()
            else {
                return false;
            };
            at % request.align == 0
                && (at..at + request.size).all(|page| self.free(page, nid) == Some(kind))
        };
        let mut places = start..end.max(start);
        if self.bottom_up { places.find(fits) } else { places.rev().find(fits) }
    }

    fn alloc(&self, request: Request, within: (u64, u64)) -> Option<u64> {
        let nid = request.nid.and_then(NodeId::new);
        self.find(request, within, nid)
            .or_else(|| if request.exact { None } else { self.find(request, within, None) })
    }

    /// Range in which an array may grow during a call that takes memory away step by step, since
    /// no step is about it.
    fn never_avoided(&self, op: &Op) -> Option<(u64, u64)> {
        match *op {
            Op::Cap(range) => Some(range),
            Op::Limit(limit) => {
                let mut ram = (0..SPACE).filter(|&at| self.memory[at as usize].is_some());
                Some((0, ram.nth(limit as usize).unwrap_or(SPACE)))
            }
            // The steps are the edges of regions, all over.
            Op::Trim(_) => Some((0, 0)),
            _ => None,
        }
    }

    /// Maximal runs of pages that are alike.
    fn runs<T: PartialEq + Copy>(list: &[Option<T>]) -> Vec<((u64, u64), T)> {
        let mut runs: Vec<((u64, u64), T)> = Vec::new();
        for (at, kind) in list.iter().enumerate() {
            let (Some(kind), at) = (*kind, at as u64) else { continue };
            match runs.last_mut() {
                Some(((_, end), last)) if *end == at && *last == kind => *end += 1,
                _ => runs.push(((at, at + 1), kind)),
            }
        }
        runs
    }

    fn compare(&self, memblock: &Memblock) {
        let memory: Vec<_> = Self::runs(&self.memory)
            .into_iter()
            .map(|((start, end), (flags, nid))| Region::new(pages(start, end), nid, flags))
            .collect();
        assert_eq!(memblock.memory(), memory);
        let reserved: Vec<_> = self.reserved.iter().map(|&on| on.then_some(())).collect();
        let reserved: Vec<_> =
            Self::runs(&reserved).into_iter().map(|((start, end), ())| pages(start, end)).collect();
        let there: Vec<_> = memblock.reserved().iter().map(|region| region.range).collect();
        assert_eq!(there, reserved);
        for nid in [None, NodeId::new(1)] {
            let free: Vec<_> = (0..SPACE)
                .map(|at| Self { movable_node: false, ..self.clone() }.free(at, nid))
                .collect();
            let free: Vec<_> = Self::runs(&free)
                .into_iter()
                .map(|((start, end), (_, nid))| FreeMemRange { range: pages(start, end), nid })
                .collect();
            assert!(memblock.free_mem_ranges(nid).eq(free.iter().copied()));
            assert!(memblock.free_mem_ranges_reverse(nid).eq(free.iter().rev().copied()));
        }
        for at in (0..SPACE).step_by(7) {
            let (byte, index) = (PhysAddr::new(at * PAGE + 5), at as usize);
            assert_eq!(memblock.is_memory(byte), self.memory[index].is_some());
            assert_eq!(memblock.is_reserved(byte), self.reserved[index]);
            let mapped =
                self.memory[index].is_some_and(|kept| !kept.0.contains(RegionFlags::NOMAP));
            assert_eq!(memblock.is_map_memory(byte), mapped);
            let end = (at + 9).min(SPACE);
            let some = &self.memory[index..end as usize];
            assert_eq!(memblock.overlaps_memory(pages(at, end)), some.iter().any(|p| p.is_some()));
            assert_eq!(memblock.is_region_memory(pages(at, end)), some.iter().all(|p| p.is_some()));
        }
        let bytes = self.memory.iter().filter(|page| page.is_some()).count() as u64 * PAGE;
        assert_eq!(memblock.phys_mem_size(), bytes);
    }
}

fn in_pages(range: PhysRange) -> (u64, u64) {
    (range.start().get() / PAGE, range.end().get() / PAGE)
}

fn run(slots: usize, growths: usize, ops: &[Op]) {
    allow_growths(growths);
    let mut memblock = with_slots(slots);
    memblock.allow_resize(grow);
    let mut model = Model::new();
    for op in ops {
        let before: Vec<_> = memblock.arrays().collect();
        let in_the_way =
            |range: (u64, u64)| before.iter().any(|a| a.overlaps(pages(range.0, range.1)));
        let done = match *op {
            // Freeing memblock's own arrays is the caller's fault, and validate says so.
            Op::Free(range) if in_the_way(range) => continue,
            Op::Add(range, nid, hotplug) => {
                let flags = if hotplug { RegionFlags::HOTPLUG } else { RegionFlags::empty() };
                let nid = nid.and_then(NodeId::new);
                memblock.add_node(pages(range.0, range.1), nid, flags).map(|()| None)
            }
            Op::Remove(range) => memblock.remove(pages(range.0, range.1)).map(|()| None),
            Op::Reserve(range) => memblock.reserve(pages(range.0, range.1)).map(|()| None),
            Op::Free(range) => memblock.free(pages(range.0, range.1)).map(|()| None),
            Op::Nomap((start, end), true) => memblock.mark_nomap(pages(start, end)).map(|()| None),
            Op::Nomap((start, end), false) => {
                memblock.clear_nomap(pages(start, end)).map(|()| None)
            }
            Op::Hotplug((start, end), true) => {
                memblock.mark_hotplug(pages(start, end)).map(|()| None)
            }
            Op::Hotplug((start, end), false) => {
                memblock.clear_hotplug(pages(start, end)).map(|()| None)
            }
            Op::SetNode((start, end), nid) => {
                memblock.set_node(pages(start, end), nid.and_then(NodeId::new)).map(|()| None)
            }
            Op::Alloc(r) => {
                let nid = r.nid.and_then(NodeId::new);
                let nodes = if r.exact { find::Nodes::only(nid) } else { find::Nodes::prefer(nid) };
                let within = pages(r.within.0, r.within.1);
                memblock.alloc_range_nid(r.size * PAGE, r.align * PAGE, within, nodes).map(Some)
            }
            Op::AllocBelowLimit(r) => {
                let nid = r.nid.and_then(NodeId::new);
                let within = pages(r.within.0, r.within.1);
                let (size, align) = (r.size * PAGE, r.align * PAGE);
                match r.exact {
                    true => memblock.alloc_exact_nid_raw(size, align, within, nid),
                    false => memblock.alloc_try_nid_raw(size, align, within, nid),
                }
                .map(Some)
            }
            Op::BottomUp(on) => {
                memblock.set_bottom_up(on);
                Ok(None)
            }
            Op::MovableNode(on) => {
                memblock.set_movable_node(on);
                Ok(None)
            }
            Op::CurrentLimit(limit) => {
                memblock.set_current_limit(PhysAddr::new(limit * PAGE));
                Ok(None)
            }
            Op::Cap(range) => memblock.cap_memory_range(pages(range.0, range.1)).map(|()| None),
            Op::Limit(limit) => memblock.enforce_memory_limit(limit * PAGE).map(|()| None),
            Op::Trim(shift) => memblock.trim_memory(PAGE << shift).map(|()| None),
        };
        memblock.validate();
        // Arrays that grew: the new place is taken, the old one free. That came first.
        let asked = model.clone();
        for array in before.iter().filter(|old| memblock.arrays().all(|new| new != **old)) {
            model.reserve(in_pages(*array), false);
        }
        for array in memblock.arrays().filter(|new| !before.contains(new)) {
            assert!(growths > 0);
            model.reserve(in_pages(array), true);
        }
        match done {
            Ok(got) => apply(&mut model, &asked, op, got, memblock.arrays()),
            Err(MemblockError::NoMemory) => match *op {
                Op::Alloc(r) => assert_eq!(model.alloc(r, r.within), None, "{op:?}"),
                Op::AllocBelowLimit(r) => {
                    assert_eq!(model.alloc(r, (0, r.within.1.min(model.limit))), None, "{op:?}");
                }
                _ => panic!("{op:?}"),
            },
            Err(MemblockError::Full) => {
                // What has gone by then stays gone.
                if let Some(safe) = model.never_avoided(op) {
                    let grows = growths_left() > 0 && could_grow(&memblock, &model, safe);
                    assert!(!grows, "{op:?}");
                    return;
                }
            }
            Err(MemblockError::Invalid | MemblockError::Unreachable) => panic!("{op:?}"),
        }
        model.compare(&memblock);
    }
}

/// Returns true if an array could have doubled inside `safe`, so that the failed call is wrong:
/// there is a run of free pages that can be reached.
fn could_grow(memblock: &Memblock, model: &Model, safe: (u64, u64)) -> bool {
    let twice = |kind| resize::bytes_for(2 * memblock.capacity(kind)).expect("a few pages");
    let need = twice(Kind::Memory).max(twice(Kind::Reserved));
    let (start, end) = (safe.0.max(1), safe.1.min(model.limit));
    let within = pages(start.min(end), end);
    memblock.find_in_range(need, PAGE, within, None).is_ok()
}

fn apply(
    model: &mut Model,
    asked: &Model,
    op: &Op,
    got: Option<PhysRange>,
    arrays: impl Iterator<Item = PhysRange>,
) {
    match *op {
        Op::Add(range, nid, hotplug) => {
            let flags = if hotplug { RegionFlags::HOTPLUG } else { RegionFlags::empty() };
            let new = (flags, nid.and_then(NodeId::new));
            model.each(range, |page| *page = page.or(Some(new)));
        }
        Op::Remove(range) => model.each(range, |page| *page = None),
        Op::Reserve(range) => model.reserve(range, true),
        Op::Free(range) => model.reserve(range, false),
        Op::Nomap(range, on) => {
            model.each(range, |p| p.iter_mut().for_each(|kept| kept.0.set(RegionFlags::NOMAP, on)));
        }
        Op::Hotplug(range, on) => {
            model.each(range, |p| p.iter_mut().for_each(|k| k.0.set(RegionFlags::HOTPLUG, on)));
        }
        Op::SetNode(range, nid) => {
            let nid = nid.and_then(NodeId::new);
            model.each(range, |page| page.iter_mut().for_each(|kept| kept.1 = nid));
        }
        Op::Alloc(r) => {
            // The search comes before the growth that noting its result may need.
            assert_eq!(got.map(|g| g.start().get() / PAGE), asked.alloc(r, r.within), "{op:?}");
            model.reserve(in_pages(got.unwrap()), true);
        }
        Op::AllocBelowLimit(r) => {
            let end = r.within.1.min(model.limit);
            let place = asked.alloc(r, (r.within.0, end)).or_else(|| asked.alloc(r, (0, end)));
            assert_eq!(got.map(|got| got.start().get() / PAGE), place, "{op:?}");
            model.reserve(in_pages(got.unwrap()), true);
        }
        Op::BottomUp(on) => model.bottom_up = on,
        Op::MovableNode(on) => model.movable_node = on,
        Op::CurrentLimit(limit) => model.limit = limit,
        Op::Cap((start, end)) => {
            for outside in [(0, start), (end, SPACE)] {
                let gone = |kept: &Kept| !kept.0.contains(RegionFlags::NOMAP);
                model.each(outside, |page| *page = page.filter(|kept| !gone(kept)));
                model.reserve(outside, false);
            }
        }
        Op::Limit(limit) => {
            let mut ram = (0..SPACE).filter(|&at| model.memory[at as usize].is_some());
            if let Some(end) = ram.nth(limit as usize) {
                model.each((end, SPACE), |page| *page = None);
                model.reserve((end, SPACE), false);
            }
        }
        Op::Trim(shift) => {
            for ((start, end), _) in Model::runs(&model.memory.clone()) {
                let unit = 1 << shift;
                let inner = (start.next_multiple_of(unit).min(end), end / unit * unit);
                let inner = if inner.0 < inner.1 { inner } else { (end, end) };
                model.each((start, inner.0), |page| *page = None);
                model.each((inner.1.max(inner.0), end), |page| *page = None);
            }
        }
    }
    if matches!(op, Op::Cap(_) | Op::Limit(_)) {
        arrays.for_each(|array| model.reserve(in_pages(array), true));
    }
}

/// A cut that splits a reserved region, between the two arrays, while the array is full and
/// nothing is free below the current limit.
#[test]
fn a_cut_that_needs_an_array_out_of_reach() {
    let ops = [
        Op::Add((10, 100), None, false),
        Op::Add((104, 105), None, false),
        Op::Reserve((104, 105)),
        Op::Reserve((98, 99)),
        Op::Reserve((50, 51)),
        Op::Add((108, 109), None, false),
        Op::Reserve((20, 21)),
        Op::Reserve((22, 23)),
        Op::Reserve((24, 25)),
        Op::Reserve((26, 27)),
        Op::Reserve((28, 29)),
        Op::CurrentLimit(1),
        Op::Cap((0, 60)),
    ];
    run(2, usize::MAX, &ops);
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 4 } else { 300 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_sequence_with_room(ops in prop::collection::vec(op(), 1..if cfg!(miri) { 12 } else { 80 })) {
        run(INIT_MEMBLOCK_REGIONS, 0, &ops);
    }

    #[test]
    fn any_sequence_with_growth(
        slots in 1usize..6,
        growths in prop_oneof![Just(0), Just(1), Just(2), Just(usize::MAX)],
        ops in prop::collection::vec(op(), 1..if cfg!(miri) { 12 } else { 80 }),
    ) {
        run(slots, growths, &ops);
    }
}
