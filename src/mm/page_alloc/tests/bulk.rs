//! Many pages in one call.

use super::*;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    /// Fills what is empty of this part of the array.
    Alloc(std::ops::Range<usize>, bool),
    /// Empties it.
    Free(std::ops::Range<usize>),
    /// Frees one entry by itself.
    FreeOne(usize),
}

const ENTRIES: usize = 300;

/// Empty entries.
fn none(entries: usize) -> Vec<Option<OwnedPage>> {
    core::iter::repeat_with(|| None).take(entries).collect()
}

/// Frames of the pages.
fn frames(pages: &[Option<OwnedPage>]) -> Vec<Option<Frame>> {
    pages.iter().map(|page| page.as_ref().map(OwnedPage::frame)).collect()
}

/// An entry that says that it owns `frame`, which may be wrong.
fn owned(frame: Frame) -> Option<OwnedPage> {
    Some(OwnedPage::of(frame))
}

fn step() -> impl Strategy<Value = Step> {
    let part = (0..ENTRIES, 0..ENTRIES).prop_map(|(a, b)| a.min(b)..a.max(b));
    prop_oneof![
        (part.clone(), any::<bool>()).prop_map(|(part, movable)| Step::Alloc(part, movable)),
        part.prop_map(Step::Free),
        (0..ENTRIES).prop_map(Step::FreeOne),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 1 } else { 64 }, ..Default::default() })]
    /// The pages in the array are apart, allocated and keep their bytes, whatever part of it
    /// is filled and emptied in one go.
    #[test]
    fn random_parts_of_an_array(steps in prop::collection::vec(step(), 1..40)) {
        on(&[ram(0x4000_0000, 8 * MIB)], |_| {
            let mut pages = [const { None }; ENTRIES];
            for (n, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Alloc(part, movable) => {
                        let gfp = if movable { MOVABLE } else { KERNEL };
                        let before = frames(&pages);
                        let full = alloc_pages_bulk(gfp, &mut pages[part.clone()]);
                        assert_eq!(full, part.len());
                        for at in part {
                            let Some(page) = &mut pages[at] else { panic!("entry {at} is empty") };
                            match before[at] {
                                Some(old) => assert_eq!(old, page.frame()),
                                None => page.bytes_mut()[..8].copy_from_slice(&(at as u64).to_ne_bytes()),
                            }
                        }
                    }
                    Step::Free(part) => {
                        free_pages_bulk(&mut pages[part.clone()]);
                        assert!(pages[part].iter().all(Option::is_none));
                    }
                    Step::FreeOne(at) => {
                        pages[at] = None;
                    }
                }
                for (at, page) in pages.iter().enumerate() {
                    let Some(page) = page else { continue };
                    assert_eq!(page.bytes()[..8], (at as u64).to_ne_bytes(), "step {n}");
                    assert_eq!(page.frame().page().refcount(), 1);
                }
                let held = pages.iter().flatten().count() as u32;
                assert_eq!(nr_used_pages(), held, "step {n}");
                check_sums();
            }
            free_pages_bulk(&mut pages);
            assert_eq!(nr_used_pages(), 0);
        });
    }
}

#[test]
fn zeroed_and_short_of_memory() {
    on(&[ram(0x4000_0000, 4 * MIB)], |_| {
        let mut pages = none(5000);
        let silent = KERNEL | Gfp::__GFP_NOWARN;
        let full = alloc_pages_bulk(silent, &mut pages);
        assert!(full > 500 && full < 1100, "{full}");
        assert!(pages[..full].iter().all(Option::is_some));
        assert!(pages[full..].iter().all(Option::is_none));
        pages.iter_mut().flatten().for_each(|page| page.bytes_mut().fill(0xaa));
        free_pages_bulk(&mut pages);
        let mut pages = none(100);
        assert_eq!(alloc_pages_bulk(KERNEL | Gfp::__GFP_ZERO, &mut pages), 100);
        assert!(pages.iter().flatten().all(|page| page.bytes().iter().all(|&b| b == 0)));
        free_pages_bulk(&mut pages);
    });
}

#[test]
fn the_lists_stay_within_their_bounds() {
    on(&[ram(0x4000_0000, 64 * MIB)], |_| {
        let mut pages = none(8000);
        assert_eq!(alloc_pages_bulk(KERNEL, &mut pages), 8000);
        free_pages_bulk(&mut pages);
        for zone in zones() {
            assert!(zone.pcp < zone.pcp_high + 64, "{zone}");
        }
    });
}

#[test]
fn compound_and_isolated_pages_go_their_own_way() {
    on(&[ram(0x4000_0000, 8 * MIB)], |_| {
        let mut pages = none(10);
        assert_eq!(alloc_pages_bulk(KERNEL, &mut pages), 10);
        frames(&pages)[3].unwrap().page().set_type(PageType::Table);
        free_pages_bulk(&mut pages);
        assert!(pages.iter().all(Option::is_none));
        assert_eq!(nr_used_pages(), 0);
    });
}

#[test]
#[should_panic(expected = "double free")]
fn the_same_page_twice_in_one_call() {
    on(&[ram(0x4000_0000, 8 * MIB)], |_| {
        let page = alloc_pages(KERNEL, Order::ZERO).unwrap();
        free_pages_bulk(&mut [page, page].map(owned));
    });
}

#[test]
#[should_panic(expected = "free with the wrong order")]
fn a_block_among_single_pages() {
    on(&[ram(0x4000_0000, 8 * MIB)], |_| {
        let page = alloc_pages(KERNEL, Order::ZERO).unwrap();
        let block = alloc_pages(KERNEL, order(2)).unwrap();
        free_pages_bulk(&mut [page, block].map(owned));
    });
}

#[test]
fn a_page_that_others_hold() {
    on(&[ram(0x4000_0000, 8 * MIB)], |_| {
        let other = alloc_pages(KERNEL, Order::ZERO).unwrap();
        let page = alloc_pages(KERNEL, Order::ZERO).unwrap();
        get_page(page);
        free_pages_bulk(&mut [other, page].map(owned));
        assert_eq!((page.page().refcount(), nr_used_pages()), (1, 1));
        put_page(page);
        assert_eq!(nr_used_pages(), 0);
    });
}

#[test]
#[should_panic(expected = "get_page of")]
fn a_page_on_a_list_is_nobody_s() {
    on(&[ram(0x4000_0000, 8 * MIB)], |_| {
        let page = alloc_pages(KERNEL, Order::ZERO).unwrap();
        free_pages(page, Order::ZERO);
        get_page(page);
    });
}

#[test]
fn kinds_stay_apart_in_one_call() {
    on(&[ram(0x4000_0000, 16 * MIB)], |_| {
        let mixed = |n: usize| if n.is_multiple_of(2) { MOVABLE } else { KERNEL };
        let mut pages: [_; 200] = core::array::from_fn(|n| OwnedPage::alloc(mixed(n)));
        free_pages_bulk(&mut pages);
        for gfp in [MOVABLE, KERNEL] {
            for _ in 0..100 {
                let page = OwnedPage::alloc(gfp).unwrap();
                assert_eq!(buddy::pageblock_migratetype(page.frame()), gfp.migratetype());
                pages.iter_mut().find(|entry| entry.is_none()).unwrap().replace(page);
            }
        }
        free_pages_bulk(&mut pages);
    });
}
