use super::super::i_mmap::unmap_mapping_range;
use super::*;
use crate::addr::{PAGE_SHIFT, UserAddr, UserRange};
use proptest::prelude::*;
use std::cell::RefCell;
use std::vec;

/// A call of the function that unmaps: address space, first and last page of its addresses, file,
/// private copies too.
type Zapped = (u64, usize, usize, u32, bool);

std::thread_local! {
    static ZAPPED: RefCell<Vec<Zapped>> = const { RefCell::new(Vec::new()) };
}

struct Record;

impl UnmapMapping for Record {
    fn zap(&self, mm: u64, range: UserRange, object: u32, even_cows: bool) {
        let start = range.start().get() >> PAGE_SHIFT;
        let call = (mm, start, range.end() >> PAGE_SHIFT, object, even_cows);
        ZAPPED.with_borrow_mut(|zapped| zapped.push(call));
    }
}

fn zapped(file: &AddressSpace, first: u64, last: u64, even_cows: bool) -> Vec<Zapped> {
    unmap_mapping_range(file, first, last, even_cows);
    let mut calls = ZAPPED.take();
    calls.sort_unstable();
    calls
}

fn area(mm: u64, page: u64, pgoff: u64, pages: u64) -> MmapArea {
    MmapArea { mm, start: UserAddr::new((page as usize) << PAGE_SHIFT).unwrap(), pgoff, pages }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Each part of an area that shows pages of the range is unmapped, once, and nothing else.
    #[test]
    fn pages_are_unmapped_where_they_are_mapped(
        areas in prop::collection::vec((0..3usize, 0..4u64, 0..50u64, 0..40u64, 1..20u64), 0..60),
        gone in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        ranges in prop::collection::vec((0..3usize, 0..60u64, 0..60u64), 1..10),
    ) {
        on_machine(|_| {
            register_unmap(&Record);
            let files = [0; 3].map(|_| AddressSpace::new(true).unwrap());
            let mut model: Vec<(usize, MmapArea)> = vec![];
            for &(file, mm, page, pgoff, pages) in &areas {
                let area = area(mm, page, pgoff, pages);
                i_mmap_lock().insert(&files[file], area).unwrap();
                model.push((file, area));
            }
            for index in &gone {
                if !model.is_empty() {
                    let (file, area) = model.swap_remove(index.index(model.len()));
                    i_mmap_lock().remove(&files[file], &area);
                }
            }
            assert_eq!(nr_areas(), model.len());
            for &(file, first, last) in &ranges {
                let mut expected = vec![];
                for (of, area) in &model {
                    let low = first.max(area.pgoff);
                    let high = (last + 1).min(area.pgoff + area.pages);
                    if *of == file && low < high {
                        let base = (area.start.get() >> PAGE_SHIFT) as u64;
                        let at = |pgoff| (base + pgoff - area.pgoff) as usize;
                        expected.push((area.mm, at(low), at(high), files[file].object(), last > 9));
                    }
                }
                expected.sort_unstable();
                assert_eq!(zapped(&files[file], first, last, last > 9), expected);
            }
            for (file, area) in &model {
                i_mmap_lock().remove(&files[*file], area);
            }
        });
    }
}

/// A truncation unmaps before the pages leave, and again when they have left.
#[test]
fn pages_that_leave_are_unmapped_twice() {
    on_machine(|_| {
        register_unmap(&Record);
        let file = AddressSpace::new(true).unwrap();
        let mapped = area(1, 100, 4, 10);
        i_mmap_lock().insert(&file, mapped).unwrap();
        file.add(7, new_page(), || true).unwrap();
        assert_eq!(file.truncate_range(6, u64::MAX, true), 1);
        let call = (1, 102, 110, file.object(), true);
        assert_eq!(ZAPPED.take(), [call, call]);
        i_mmap_lock().remove(&file, &mapped);
    });
}

#[test]
#[should_panic(expected = "is not there")]
fn an_area_that_is_not_there_is_not_taken_out() {
    on_machine(|_| {
        let file = AddressSpace::new(true).unwrap();
        i_mmap_lock().insert(&file, area(1, 100, 4, 10)).unwrap();
        i_mmap_lock().remove(&file, &area(1, 100, 4, 11));
    });
}
