//! The address allocator against a simple model.

use crate::addr::{PAGE_SIZE, PhysAddr, PhysRange, VirtAddr, VirtRange};
use crate::arch::hosted::Machine;
use crate::mm::gfp::Gfp;
use crate::mm::page_alloc;
use crate::mm::vmalloc::slot_page::SlotPage;
use crate::mm::vmalloc::va_space::{AreaId, VaError, VaRequest, VaSpace};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::vec::Vec;

const BASE: usize = 0xffff_8001_0000_0000;

fn machine<R>(mib: u64, f: impl FnOnce() -> R) -> R {
    let ram = [PhysRange::from_size(PhysAddr::new(0x4000_0000), mib << 20)];
    Machine::run(&ram, |m| {
        page_alloc::init(m.ram());
        f()
    })
}

fn pages(from: usize, to: usize) -> VirtRange {
    VirtRange::new(VirtAddr::new(BASE + from * PAGE_SIZE), VirtAddr::new(BASE + to * PAGE_SIZE))
}

fn alloc<T: Copy>(space: &mut VaSpace<T>, want: VaRequest, data: T) -> Result<AreaId, VaError> {
    loop {
        match space.alloc(want, || data).map(|(id, _)| id) {
            Err(VaError::NeedsPage) => {
                space.donate(SlotPage::alloc(Gfp::GFP_KERNEL).unwrap()).unwrap();
            }
            other => return other,
        }
    }
}

fn release_all<T>(space: &mut VaSpace<T>) {
    while space.shrink().is_some() {}
    space.validate();
}

/// Areas as `start page -> end page`.
struct Model {
    end: usize,
    areas: BTreeMap<usize, usize>,
}

impl Model {
    fn alloc(&mut self, size: usize, align: usize, from: usize, to: usize) -> Option<usize> {
        let to = to.min(self.end);
        let slack = if to.saturating_sub(from) == size { 0 } else { align - 1 };
        let mut free = 0;
        let ends = self.areas.iter().map(|(s, e)| (*s, *e)).chain([(self.end, self.end)]);
        for (start, end) in ends {
            let low = free.max(from);
            if start >= low && start - low >= size + slack {
                let at = low.next_multiple_of(align);
                if at + size > to.min(start) {
                    return None;
                }
                self.areas.insert(at, at + size);
                return Some(at);
            }
            free = end;
        }
        None
    }
}

#[derive(Clone, Debug)]
enum Op {
    Alloc { size: usize, align: u32, from: usize, len: usize },
    Free(usize),
    Find(usize),
}

fn op() -> impl Strategy<Value = Op> {
    let sizes = prop_oneof![4 => 1usize..5, 1 => 1usize..40];
    let from = prop_oneof![2 => Just(0usize), 1 => 0usize..300];
    let len = prop_oneof![2 => Just(1000usize), 1 => 0usize..100];
    let align = prop_oneof![3 => Just(0u32), 1 => 0u32..5];
    prop_oneof![
        5 => (sizes, align, from, len)
            .prop_map(|(size, align, from, len)| Op::Alloc { size, align, from, len }),
        4 => any::<usize>().prop_map(Op::Free),
        1 => (0usize..310).prop_map(Op::Find),
    ]
}

fn against_the_model(ops: &[Op]) {
    const END: usize = 300;
    let mut space = VaSpace::new(pages(0, END));
    let mut model = Model { end: END, areas: BTreeMap::new() };
    let mut ids: BTreeMap<usize, AreaId> = BTreeMap::new();
    for op in ops {
        match *op {
            Op::Alloc { size, align, from, len } => {
                let align = 1 << align;
                let expected = model.alloc(size, align, from, from + len);
                let range = pages(from, from + len);
                let want = VaRequest { size: size * PAGE_SIZE, align: align * PAGE_SIZE, range };
                match (expected, alloc(&mut space, want, size)) {
                    (Some(at), Ok(id)) => {
                        assert_eq!(space.area(id), pages(at, at + size));
                        ids.insert(at, id);
                    }
                    (None, Err(VaError::NoSpace)) => {}
                    (expected, got) => panic!("{op:?}: {expected:?} but {got:?}"),
                }
            }
            Op::Free(n) => {
                if ids.is_empty() {
                    continue;
                }
                let at = *ids.keys().nth(n % ids.len()).unwrap();
                let end = model.areas.remove(&at).unwrap();
                let data = space.free(ids.remove(&at).unwrap());
                assert_eq!(data, end - at);
            }
            Op::Find(at) => {
                let below = model.areas.range(..=at).next_back();
                let expected = below.filter(|(_, end)| at < **end).map(|(start, _)| ids[start]);
                assert_eq!(space.find(pages(at, at).start()), expected);
                let noted = space.noted(pages(at, at).start()).map(|(id, _)| id);
                assert!(noted.is_none_or(|id| ids.get(&at) == Some(&id)));
                assert_eq!(
                    space.starting(pages(at, at).start()).map(|(id, ..)| id),
                    ids.get(&at).copied()
                );
            }
        }
        space.validate();
        let areas: Vec<_> = space.iter().map(|(_, range, _)| range).collect();
        let expected: Vec<_> = model.areas.iter().map(|(s, e)| pages(*s, *e)).collect();
        assert_eq!(areas, expected);
        for (start, id) in &ids {
            let start = pages(*start, *start).start();
            assert_eq!(space.starting(start).map(|(id, ..)| id), Some(*id));
            assert_eq!(space.noted(start).map(|(id, _)| id), Some(*id));
        }
    }
    for id in ids.into_values() {
        space.free(id);
    }
    release_all(&mut space);
    assert_eq!(space.pages_held(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 4 } else { 300 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]
    #[test]
    fn va_space_random_operations_agree_with_the_model(
        ops in prop::collection::vec(op(), 1..if cfg!(miri) { 40 } else { 200 })
    ) {
        machine(4, || against_the_model(&ops));
    }
}

fn whole(space: &VaSpace<usize>, pages: usize) -> VaRequest {
    VaRequest { size: pages * PAGE_SIZE, align: PAGE_SIZE, range: space.range() }
}

#[test]
fn va_space_refuses_nonsense_and_exhaustion() {
    machine(4, || {
        let mut space = VaSpace::new(pages(0, 8));
        let whole = whole(&space, 1);
        for (size, align) in [(0, PAGE_SIZE), (100, PAGE_SIZE), (PAGE_SIZE, 3), (PAGE_SIZE, 1)] {
            let want = VaRequest { size, align, ..whole };
            assert_eq!(space.alloc(want, || 0).map(|_| ()), Err(VaError::Invalid));
        }
        let huge = VaRequest { size: usize::MAX - PAGE_SIZE + 1, align: 1 << 40, ..whole };
        assert_eq!(space.alloc(huge, || 0).map(|_| ()), Err(VaError::NoSpace));
        assert_eq!(
            space.alloc(VaRequest { range: pages(8, 20), ..whole }, || 0).map(|_| ()),
            Err(VaError::NoSpace)
        );
        assert_eq!(space.alloc(whole, || 0).map(|_| ()), Err(VaError::NeedsPage));
        let ids: Vec<_> = (0..8).map(|i| alloc(&mut space, whole, i).unwrap()).collect();
        assert_eq!(alloc(&mut space, whole, 8), Err(VaError::NoSpace));
        space.free(ids[3]);
        assert_eq!(alloc(&mut space, whole, 9).map(|id| space.area(id)), Ok(pages(3, 4)));
    });
}

#[test]
#[should_panic(expected = "is not live")]
fn va_space_double_free_is_caught() {
    machine(4, || {
        let mut space = VaSpace::new(pages(0, 8));
        let want = whole(&space, 1);
        let id = alloc(&mut space, want, 0).unwrap();
        alloc(&mut space, want, 1).unwrap();
        space.free(id);
        space.free(id);
    });
}

/// Nodes read for one allocation and one free in the middle, with `live` areas around.
fn steps(live: usize) -> usize {
    machine(if live > 100_000 { 256 } else { 16 }, || {
        let mut space = VaSpace::new(pages(0, 1 << 30));
        let want = whole(&space, 2);
        let ids: Vec<_> = (0..live).map(|i| alloc(&mut space, want, i).unwrap()).collect();
        for id in ids.iter().skip(live / 2).step_by(3).take(live / 10) {
            space.free(*id);
        }
        space.steps();
        let rounds = 20;
        for _ in 0..rounds {
            let id = alloc(&mut space, want, 0).unwrap();
            assert_eq!(space.find(space.area(id).start()), Some(id));
            space.free(id);
        }
        space.steps() / rounds
    })
}

#[test]
fn va_space_steps_grow_with_the_logarithm() {
    let few = steps(100);
    let many = steps(10_000);
    std::println!("nodes read per pair: {few} at 100 areas, {many} at 10,000");
    assert!(many < few * 5 / 2, "{few} steps at 100 areas, {many} at 10,000");
    assert!(many < 150, "{many} steps at 10,000 areas");
}

#[test]
#[ignore = "a million areas: takes a while"]
fn va_space_steps_at_a_million_areas() {
    let most = steps(1_000_000);
    std::println!("nodes read per pair: {most} at 1,000,000 areas");
    assert!(most < 250, "{most} steps at 1,000,000 areas");
}

/// If the notes of several areas fall on one place, the last is noted; the others are found as
/// well, and none once it is freed.
#[test]
fn areas_are_found_by_their_start_wherever_they_are_noted() {
    machine(16, || {
        let far = 1024;
        let mut space = VaSpace::new(pages(0, 4 * far));
        let mut ids = Vec::new();
        for n in 0..4 {
            let range = pages(n * far, n * far + 1);
            let want = VaRequest { size: PAGE_SIZE, align: PAGE_SIZE, range };
            ids.push((range.start(), alloc(&mut space, want, n).unwrap()));
        }
        for freed in [3, 0, 1, 1] {
            for (start, id) in &ids {
                assert_eq!(space.starting(*start).map(|(id, ..)| id), Some(*id));
                assert_eq!(space.starting(*start + PAGE_SIZE).map(|(id, ..)| id), None);
            }
            let (start, id) = ids.remove(freed.min(ids.len() - 1));
            space.free(id);
            space.validate();
            assert_eq!(space.starting(start).map(|(id, ..)| id), None);
        }
        assert!(ids.is_empty());
        release_all(&mut space);
    });
}

/// A dropped space drops the values of areas that are there, and gives back the pages of its
/// records.
#[test]
fn a_dropped_space_keeps_nothing() {
    use std::rc::Rc;
    machine(16, || {
        let before = page_alloc::nr_used_pages();
        let value = Rc::new(());
        let mut space = VaSpace::new(pages(0, 1 << 20));
        let want = VaRequest { size: PAGE_SIZE, align: PAGE_SIZE, range: space.range() };
        let mut ids = Vec::new();
        for _ in 0..3000 {
            loop {
                match space.alloc(want, || Rc::clone(&value)) {
                    Ok((id, _)) => break ids.push(id),
                    Err(VaError::NeedsPage) => {
                        space.donate(SlotPage::alloc(Gfp::GFP_KERNEL).unwrap()).unwrap();
                    }
                    Err(error) => panic!("{error:?}"),
                }
            }
        }
        ids.into_iter().step_by(3).for_each(|id| drop(space.free(id)));
        assert_eq!(Rc::strong_count(&value), 1 + 2000);
        assert!(page_alloc::nr_used_pages() > before + 20);
        drop(space);
        assert_eq!(Rc::strong_count(&value), 1);
        assert_eq!(page_alloc::nr_used_pages(), before);
    });
}

/// Directories whose pages are gone come back while areas live, and are had again.
#[test]
fn directories_without_a_page_are_given_back() {
    let areas = if cfg!(miri) { 5_000 } else { 60_000 };
    machine(64, || {
        let mut space = VaSpace::new(pages(0, 1 << 20));
        let want = whole(&space, 1);
        for kept in [0, areas - 1, areas / 2] {
            let mut ids: Vec<_> = (0..areas).map(|n| alloc(&mut space, want, n).unwrap()).collect();
            space.validate();
            let most = space.pages_held();
            let keep = ids.swap_remove(kept);
            ids.into_iter().for_each(|id| assert!(space.free(id) < areas));
            space.validate();
            while space.shrink().is_some() {}
            space.validate();
            assert_eq!(space.pages_held(), 4, "of {most}: two pages and their directories");
            space.free(keep);
        }
        release_all(&mut space);
        assert_eq!(space.pages_held(), 0);
    });
}

/// Without a call for it the last directory goes with the next area that is freed.
#[test]
fn directories_go_back_with_the_areas() {
    let areas = if cfg!(miri) { 5_000 } else { 60_000 };
    machine(64, || {
        let mut space = VaSpace::new(pages(0, 1 << 20));
        let want = whole(&space, 1);
        let ids: Vec<_> = (0..areas).map(|n| alloc(&mut space, want, n).unwrap()).collect();
        for id in ids.into_iter().rev().take(areas - 10) {
            space.free(id);
        }
        space.validate();
        assert!(space.pages_held() <= 6, "{} pages for ten areas", space.pages_held());
    });
}
