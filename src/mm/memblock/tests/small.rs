//! Tests of one property each.

use super::super::*;
use super::{allow_growths, grow, pages, with_slots};
use crate::addr::PAGE_SIZE;
use std::string::String;
use std::vec;
use std::vec::Vec;

const PAGE: u64 = PAGE_SIZE as u64;

fn ranges(regions: &[Region]) -> Vec<PhysRange> {
    regions.iter().map(|region| region.range).collect()
}

fn node(n: usize) -> Option<NodeId> {
    NodeId::new(n)
}

#[test]
fn neighbours_join_and_others_do_not() {
    let mut memblock = Memblock::new();
    for (start, end) in [(10, 20), (30, 40), (20, 30), (5, 12), (39, 41)] {
        memblock.add(pages(start, end)).unwrap();
        memblock.validate();
    }
    assert_eq!(ranges(memblock.memory()), [pages(5, 41)]);
    memblock.add_node(pages(41, 50), node(1), RegionFlags::empty()).unwrap();
    memblock.add_node(pages(50, 60), node(1), RegionFlags::HOTPLUG).unwrap();
    assert_eq!(ranges(memblock.memory()), [pages(5, 41), pages(41, 50), pages(50, 60)]);
    // What is there keeps what it is.
    memblock.add_node(pages(0, 70), node(2), RegionFlags::empty()).unwrap();
    assert_eq!(memblock.memory().len(), 5);
    assert_eq!(memblock.node_of(PhysAddr::new(45 << 12)), node(1));
    assert_eq!(memblock.node_of(PhysAddr::new(65 << 12)), node(2));
    memblock.set_node(pages(0, 70), None).unwrap();
    memblock.clear_hotplug(pages(0, 70)).unwrap();
    assert_eq!(ranges(memblock.memory()), [pages(0, 70)]);
    memblock.validate();
}

#[test]
fn removal_splits_trims_and_swallows() {
    let mut memblock = Memblock::new();
    for start in [0, 20, 40, 60] {
        memblock.add(pages(start, start + 10)).unwrap();
    }
    memblock.remove(pages(3, 5)).unwrap();
    memblock.remove(pages(25, 65)).unwrap();
    memblock.remove(pages(10, 20)).unwrap();
    let left = [pages(0, 3), pages(5, 10), pages(20, 25), pages(65, 70)];
    assert_eq!(ranges(memblock.memory()), left);
    memblock.remove(pages(0, 100)).unwrap();
    assert!(memblock.memory().is_empty());
    memblock.validate();
}

#[test]
fn empty_ranges_are_nothing() {
    let mut memblock = Memblock::new();
    memblock.add(pages(5, 5)).unwrap();
    memblock.reserve(pages(5, 5)).unwrap();
    memblock.add(pages(1, 9)).unwrap();
    memblock.mark_nomap(pages(5, 5)).unwrap();
    memblock.remove(pages(5, 5)).unwrap();
    assert_eq!((memblock.memory().len(), memblock.reserved().len()), (1, 0));
    assert!(!memblock.overlaps_memory(pages(5, 5)) && memblock.is_region_memory(pages(20, 20)));
}

#[test]
fn the_whole_address_space_fits() {
    let mut memblock = Memblock::new();
    memblock.reserve(find::ANYWHERE).unwrap();
    memblock.add(PhysRange::new(PhysAddr::new(u64::MAX - PAGE), PhysAddr::new(u64::MAX))).unwrap();
    assert_eq!(memblock.free_size(), 0);
    assert_eq!(memblock.phys_alloc(1, 1), Err(MemblockError::NoMemory));
    memblock.free(find::ANYWHERE).unwrap();
    let range = memblock.phys_alloc(PAGE, 1).unwrap();
    assert_eq!(range.end(), PhysAddr::new(u64::MAX));
    memblock.validate();
}

#[test]
fn allocation_in_both_directions() {
    let mut memblock = Memblock::new();
    memblock.add(pages(0, 100)).unwrap();
    memblock.reserve(pages(90, 95)).unwrap();
    assert_eq!(memblock.phys_alloc(PAGE, PAGE), Ok(pages(99, 100)));
    assert_eq!(memblock.phys_alloc(5 * PAGE, PAGE), Ok(pages(85, 90)));
    assert_eq!(memblock.phys_alloc(PAGE, 64 * PAGE), Ok(pages(64, 65)));
    memblock.set_bottom_up(true);
    // Never the page at zero: its address would read as none.
    assert_eq!(memblock.phys_alloc(PAGE, PAGE), Ok(pages(1, 2)));
    assert_eq!(memblock.phys_alloc(PAGE, 32 * PAGE), Ok(pages(32, 33)));
    assert_eq!(memblock.phys_alloc_range(PAGE, PAGE, pages(50, 51)), Ok(pages(50, 51)));
    let again = memblock.phys_alloc_range(PAGE, PAGE, pages(50, 51));
    assert_eq!(again, Err(MemblockError::NoMemory));
    for (size, align) in [(0, PAGE), (PAGE, 0), (PAGE, 3)] {
        assert_eq!(memblock.phys_alloc(size, align), Err(MemblockError::Invalid));
    }
    for (size, align) in [(u64::MAX, 1), (1, 1 << 63), (u64::MAX, 1 << 63)] {
        assert_eq!(memblock.phys_alloc(size, align), Err(MemblockError::NoMemory));
    }
    memblock.validate();
}

#[test]
fn limits_nodes_and_hotpluggable_memory() {
    let mut memblock = Memblock::new();
    memblock.add_node(pages(10, 20), node(0), RegionFlags::empty()).unwrap();
    memblock.add_node(pages(20, 30), node(1), RegionFlags::empty()).unwrap();
    memblock.add_node(pages(30, 40), node(1), RegionFlags::HOTPLUG).unwrap();
    memblock.set_current_limit(PhysAddr::new(25 << 12));
    assert_eq!(memblock.phys_alloc(PAGE, PAGE), Ok(pages(24, 25)));
    // A range that is asked for is not bound by what can be reached.
    assert_eq!(memblock.phys_alloc_range(PAGE, PAGE, pages(10, 40)), Ok(pages(39, 40)));
    let all = find::ANYWHERE;
    assert_eq!(memblock.alloc_try_nid_raw(PAGE, PAGE, all, node(0)), Ok(pages(19, 20)));
    assert_eq!(
        memblock.alloc_try_nid_raw(10 * PAGE, PAGE, all, node(0)).unwrap_err(),
        MemblockError::NoMemory
    );
    assert_eq!(memblock.alloc_try_nid_raw(9 * PAGE, PAGE, all, node(1)), Ok(pages(10, 19)));
    let exact = memblock.alloc_range_nid(PAGE, PAGE, all, find::Nodes::only(node(0)));
    assert_eq!(exact, Err(MemblockError::NoMemory));
    // The lower end is given up, the upper end never.
    let high = pages(24, 25);
    assert_eq!(memblock.alloc_try_nid_raw(PAGE, PAGE, high, None), Ok(pages(23, 24)));
    memblock.set_current_limit(PhysAddr::new(u64::MAX));
    memblock.set_movable_node(true);
    assert_eq!(memblock.phys_alloc(PAGE, PAGE), Ok(pages(29, 30)));
    assert_eq!(memblock.mem_pfn_ranges(node(1)).count(), 2);
    assert_eq!(memblock.mem_pfn_ranges(None).count(), 3);
}

#[test]
fn an_exact_node_is_kept_and_the_lower_limit_gives_way() {
    let mut memblock = Memblock::new();
    memblock.add_node(pages(10, 20), node(0), RegionFlags::empty()).unwrap();
    memblock.add_node(pages(20, 40), node(1), RegionFlags::empty()).unwrap();
    let mut exact = |low, high, nid: Option<NodeId>| {
        let got = memblock.alloc_exact_nid_raw(PAGE, PAGE, pages(low, high), nid);
        memblock.validate();
        got
    };
    assert_eq!(exact(12, 40, node(0)), Ok(pages(19, 20)));
    // Node 0 has nothing from 25 on: below, rather than on node 1.
    assert_eq!(exact(25, 40, node(0)), Ok(pages(18, 19)));
    // The upper end does not give way, nor does the node.
    assert_eq!(exact(5, 20, node(1)), Err(MemblockError::NoMemory));
    assert_eq!(exact(30, 40, node(2)), Err(MemblockError::NoMemory));
    assert_eq!(exact(30, 40, None), Ok(pages(39, 40)));
    // Nor is there anything above what can be reached.
    memblock.set_current_limit(PhysAddr::new(24 << 12));
    let got = memblock.alloc_exact_nid_raw(PAGE, PAGE, pages(30, 40), node(1));
    assert_eq!(got, Ok(pages(23, 24)));
}

std::thread_local! {
    /// The ranges that were cleared.
    static CLEARED: core::cell::RefCell<Vec<PhysRange>> = const { core::cell::RefCell::new(Vec::new()) };
}

#[test]
fn allocations_are_zeroed_but_for_the_raw_ones() {
    fn clear(range: PhysRange) -> bool {
        CLEARED.with(|cleared| cleared.borrow_mut().push(range));
        range.start() < PhysAddr::new(90 << 12)
    }
    let cleared = || CLEARED.with(|cleared| core::mem::take(&mut *cleared.borrow_mut()));
    let mut memblock = Memblock::new();
    memblock.add(pages(10, 91)).unwrap();
    let all = find::ANYWHERE;
    // Nobody has said how yet: then nothing is taken.
    assert_eq!(memblock.alloc(PAGE, PAGE), Err(MemblockError::Unreachable));
    assert_eq!(memblock.reserved_size(), 0);
    memblock.set_clear(clear);
    assert_eq!(memblock.alloc(PAGE, PAGE), Err(MemblockError::Unreachable));
    assert_eq!((memblock.reserved_size(), cleared()), (0, vec![pages(90, 91)]));
    memblock.set_current_limit(PhysAddr::new(90 << 12));
    assert_eq!(memblock.alloc(2 * PAGE, PAGE), Ok(pages(88, 90)));
    assert_eq!(cleared(), [pages(88, 90)]);
    let got = memblock.alloc_try_nid(PAGE, PAGE, pages(50, 60), None);
    assert_eq!((got, cleared()), (Ok(pages(59, 60)), vec![pages(59, 60)]));
    // These are as they were left.
    assert_eq!(memblock.alloc_raw(PAGE, PAGE), Ok(pages(87, 88)));
    assert!(memblock.alloc_try_nid_raw(PAGE, PAGE, all, None).is_ok());
    assert!(memblock.alloc_exact_nid_raw(PAGE, PAGE, all, None).is_ok());
    assert!(memblock.phys_alloc(PAGE, PAGE).is_ok());
    assert!(memblock.phys_alloc_range(PAGE, PAGE, all).is_ok());
    assert_eq!(cleared(), []);
}

#[test]
fn memory_limit_keeps_what_is_not_mapped_anyway() {
    let mut memblock = Memblock::new();
    memblock.add(pages(10, 20)).unwrap();
    memblock.add(pages(30, 50)).unwrap();
    memblock.mark_nomap(pages(45, 47)).unwrap();
    memblock.reserve(pages(15, 40)).unwrap();
    memblock.mem_limit_remove_map(12 * PAGE).unwrap();
    assert_eq!(ranges(memblock.memory()), [pages(10, 20), pages(30, 32), pages(45, 47)]);
    assert_eq!(ranges(memblock.reserved()), [pages(15, 32)]);
    memblock.enforce_memory_limit(11 * PAGE).unwrap();
    assert_eq!(ranges(memblock.memory()), [pages(10, 20), pages(30, 31)]);
    memblock.enforce_memory_limit(u64::MAX).unwrap();
    assert_eq!(memblock.phys_mem_size(), 11 * PAGE);
    memblock.cap_memory_range(pages(12, 31)).unwrap();
    assert_eq!(memblock.start_of_dram(), PhysAddr::new(12 << 12));
    memblock.validate();
}

#[test]
fn trim_cuts_edges() {
    let mut memblock = Memblock::new();
    for (start, end) in [(1, 15), (17, 20), (24, 33), (40, 48)] {
        memblock.add(pages(start, end)).unwrap();
    }
    memblock.trim_memory(8 * PAGE).unwrap();
    assert_eq!(ranges(memblock.memory()), [pages(8, 8), pages(24, 32), pages(40, 48)][1..]);
    assert_eq!(memblock.trim_memory(3), Err(MemblockError::Invalid));
}

#[test]
fn growth_keeps_everything_and_reserves_its_arrays() {
    allow_growths(usize::MAX);
    let mut memblock = Memblock::new();
    memblock.allow_resize(grow);
    memblock.add(pages(100_000, 200_000)).unwrap();
    let count = if cfg!(miri) { 140 } else { 1000 };
    for n in 0..count {
        memblock.add(pages(4 * n, 4 * n + 1)).unwrap();
        memblock.reserve(pages(100_000 + 4 * n, 100_000 + 4 * n + 1)).unwrap();
        if n % 50 == 0 || !cfg!(miri) {
            memblock.validate();
        }
    }
    assert_eq!(memblock.memory().len() as u64, count + 1);
    assert!(memblock.capacity(Kind::Memory) as u64 > count);
    // The arrays themselves and nothing else is reserved besides.
    let arrays: u64 = memblock.arrays().map(|array| array.len()).sum();
    assert_eq!(memblock.reserved_size(), count * PAGE + arrays);
    assert_eq!(memblock.arrays().count(), 2);
    let arrays: Vec<_> = memblock.arrays().collect();
    assert_eq!(memblock.discard().collect::<Vec<_>>(), arrays);
    assert!(memblock.memory().is_empty() && memblock.reserved().is_empty());
}

#[test]
fn a_cap_that_fails_leaves_the_arrays_reserved() {
    allow_growths(1);
    let mut memblock = with_slots(2);
    memblock.allow_resize(grow);
    memblock.add(pages(181, 191)).unwrap();
    memblock.add(pages(7, 24)).unwrap();
    // The third region grows the array, which goes to the last free page.
    memblock.add(pages(25, 26)).unwrap();
    assert_eq!(memblock.arrays().collect::<Vec<_>>(), [pages(190, 191)]);
    memblock.reserve(pages(171, 190)).unwrap();
    memblock.reserve(pages(7, 13)).unwrap();
    // One reservation would become two, for which there is no slot.
    assert_eq!(memblock.cap_memory_range(pages(0, 172)), Err(MemblockError::Full));
    memblock.validate();
}

#[test]
fn full_changes_nothing() {
    allow_growths(0);
    for hook in [None, Some(grow as Grow)] {
        let mut memblock = with_slots(4);
        if let Some(hook) = hook {
            memblock.allow_resize(hook);
        }
        for n in 0..4 {
            memblock.add(pages(10 * n + 1, 10 * n + 6)).unwrap();
            memblock.reserve(pages(10 * n + 1, 10 * n + 4)).unwrap();
        }
        let before = (ranges(memblock.memory()), ranges(memblock.reserved()));
        assert_eq!(memblock.add(pages(50, 51)), Err(MemblockError::Full));
        let other = memblock.add_node(pages(0, 100), node(1), RegionFlags::empty());
        assert_eq!(other, Err(MemblockError::Full));
        assert_eq!(memblock.remove(pages(2, 3)), Err(MemblockError::Full));
        assert_eq!(memblock.mark_nomap(pages(2, 3)), Err(MemblockError::Full));
        assert_eq!(memblock.reserve(pages(50, 51)), Err(MemblockError::Full));
        assert_eq!(memblock.free(pages(2, 3)), Err(MemblockError::Full));
        assert_eq!(memblock.phys_alloc_range(PAGE, PAGE, pages(5, 6)), Err(MemblockError::Full));
        assert_eq!((ranges(memblock.memory()), ranges(memblock.reserved())), before);
        // What needs no slot still goes.
        memblock.reserve(pages(4, 6)).unwrap();
        memblock.add(pages(6, 11)).unwrap();
        memblock.validate();
    }
}

#[test]
fn no_memory_for_a_larger_array_is_full() {
    allow_growths(usize::MAX);
    let mut memblock = with_slots(4);
    memblock.allow_resize(grow);
    for n in 0..4 {
        memblock.add(pages(10 * n + 1, 10 * n + 2)).unwrap();
        memblock.reserve(pages(10 * n + 1, 10 * n + 2)).unwrap();
    }
    assert_eq!(memblock.add(pages(50, 51)), Err(MemblockError::Full));
    assert_eq!(memblock.reserve(pages(50, 51)), Err(MemblockError::Full));
    memblock.validate();
}

#[test]
fn an_array_does_not_go_where_the_caller_is_about_to_reserve() {
    allow_growths(usize::MAX);
    let mut memblock = with_slots(4);
    memblock.allow_resize(grow);
    memblock.add(pages(1, 20)).unwrap();
    for n in 0..4 {
        memblock.reserve(pages(2 * n + 1, 2 * n + 2)).unwrap();
    }
    memblock.reserve(pages(10, 20)).unwrap();
    let array = memblock.arrays().next().unwrap();
    assert!(!array.overlaps(pages(10, 20)), "{array:?}");
    assert_eq!(memblock.reserved_size(), 14 * PAGE + array.len());
    memblock.validate();
}

#[test]
fn dump_is_linuxes() {
    let mut memblock = Memblock::new();
    memblock.add_node(pages(0x40000, 0x80000), node(1), RegionFlags::empty()).unwrap();
    memblock.mark_nomap(pages(0x50000, 0x50001)).unwrap();
    memblock.reserve(pages(0x40000, 0x40010)).unwrap();
    let mut out = String::new();
    memblock.dump(&mut out).unwrap();
    let lines: Vec<_> = out.lines().collect();
    assert_eq!(lines[0], "MEMBLOCK configuration:");
    assert_eq!(lines[1], " memory size = 0x0000000040000000 reserved size = 0x0000000000010000");
    assert_eq!(lines[2], " memory.cnt  = 0x3");
    assert_eq!(
        lines[4],
        " memory[0x1]\t[0x0000000050000000-0x0000000050000fff], 0x0000000000001000 bytes on node 1 flags: 0x4"
    );
    assert_eq!(
        lines[7],
        " reserved[0x0]\t[0x0000000040000000-0x000000004000ffff], 0x0000000000010000 bytes flags: 0x0"
    );
    assert_eq!(lines.len(), 8);
}

#[test]
#[should_panic(expected = "are one")]
fn validate_sees_neighbours_that_should_be_one() {
    let mut memblock = Memblock::new();
    memblock.add(pages(1, 2)).unwrap();
    memblock.add(pages(3, 4)).unwrap();
    memblock.memory.set_for_test(1, Region::new(pages(2, 4), None, RegionFlags::empty()));
    memblock.validate();
}

#[test]
#[should_panic(expected = "overlap or are unsorted")]
fn validate_sees_disorder() {
    let mut memblock = Memblock::new();
    memblock.add(pages(1, 4)).unwrap();
    memblock.add(pages(5, 6)).unwrap();
    memblock.memory.set_for_test(1, Region::new(pages(3, 6), None, RegionFlags::empty()));
    memblock.validate();
}
