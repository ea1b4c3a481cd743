//! Chains of pages between their owner and a CPU's list.

use super::*;

const MARK: PageType = PageType::Vmalloc;

fn chain(head: Option<Frame>) -> Vec<Frame> {
    core::iter::successors(head, |frame| frame.page().next()).collect()
}

fn alloc(most: u32) -> (Option<Frame>, Vec<Frame>) {
    let (head, len) = alloc_pages_chain(KERNEL, most, MARK);
    let pages = chain(head);
    assert_eq!(pages.len(), len as usize);
    (head, pages)
}

/// Fills this CPU's list with as many pages as `most` asks for.
fn warm(most: u32) {
    let pages: Vec<_> = (0..most).map(|_| alloc_pages(KERNEL, Order::ZERO).unwrap()).collect();
    pages.into_iter().for_each(|page| free_pages(page, Order::ZERO));
}

/// Links `pages` in their order; the first.
fn link(pages: &[Frame]) -> Option<Frame> {
    for pair in pages.windows(2) {
        pair[0].page().set_next(Some(pair[1]));
    }
    pages.last()?.page().set_next(None);
    pages.first().copied()
}

#[test]
fn a_chain_is_cut_off_a_list_and_comes_back_to_it() {
    on(&[ram(0x4000_0000, 64 * MIB)], |_| {
        assert_eq!(alloc(3).1, [], "a list that was never filled");
        warm(20);
        let on_list = nr_used_pages();
        for most in [1, 2, 15, 1] {
            let (head, pages) = alloc(most);
            assert_eq!(pages.len(), most as usize);
            for page in &pages {
                assert_eq!((page.page().marks() == MARK, page.page().refcount()), (true, 1));
                bytes(*page).fill(0xa5);
            }
            assert_eq!(nr_used_pages(), on_list + most);
            check_sums();
            assert_eq!(free_pages_chain(head, most, MARK), (None, 0));
            assert_eq!(nr_used_pages(), on_list);
            check_sums();
            assert_eq!(alloc_pages(KERNEL, Order::ZERO), head, "the last to come is on top");
            free_pages(head.unwrap(), Order::ZERO);
        }
        assert_eq!(alloc(0).1, []);
        // All there is on the list, and not more.
        let (head, pages) = alloc(1000);
        assert!(pages.len() >= 20 && pages.len() < 1000);
        assert_eq!(alloc(1).1, []);
        let len = pages.len() as u32;
        assert_eq!(free_pages_chain(head, len, MARK), (None, 0));
    });
}

#[test]
fn a_chain_is_not_for_those_who_ask_for_more() {
    on(&[ram(0x4000_0000, 64 * MIB)], |_| {
        warm(20);
        for more in [Gfp::__GFP_ZERO, Gfp::__GFP_THISNODE] {
            assert_eq!(alloc_pages_chain(KERNEL | more, 4, MARK), (None, 0));
        }
    });
}

#[test]
fn a_free_ends_before_a_page_that_is_not_like_the_others() {
    on(&[ram(0x4000_0000, 64 * MIB)], |_| {
        let other = |page: Frame, n: usize| match n {
            0 => page.page().set_type(PageType::None),
            1 => page.page().add_flags(PageFlags::HWPOISON),
            2 => page.page().set_refcount(2),
            _ => page.page().set_type(PageType::Pcp),
        };
        for n in 0..4 {
            warm(20);
            let pages = alloc(5).1;
            other(pages[3], n);
            let before = nr_used_pages();
            let left = free_pages_chain(link(&pages), 5, MARK);
            assert_eq!(left, (Some(pages[3]), 2), "kind {n}");
            assert_eq!(nr_used_pages(), before - 3);
            pages[3].page().set_refcount(1);
            pages[3].page().set_type(MARK);
            assert_eq!(free_pages_chain(left.0, 2, MARK), (None, 0));
        }
        // A block is not a page.
        let block = alloc_pages(KERNEL, order(1)).unwrap();
        block.page().set_type(MARK);
        block.page().set_next(None);
        assert_eq!(free_pages_chain(Some(block), 2, MARK), (Some(block), 2));
        free_pages(block, order(1));
    });
}

#[test]
fn a_chain_may_be_longer_than_it_says() {
    on(&[ram(0x4000_0000, 64 * MIB)], |_| {
        warm(20);
        let (head, pages) = alloc(5);
        assert_eq!(free_pages_chain(head, 3, MARK), (Some(pages[3]), 0));
        assert_eq!(free_pages_chain(Some(pages[3]), 2, MARK), (None, 0));
    });
}

#[test]
fn pages_of_all_kinds_go_to_their_own_lists_and_those_stay_within_bounds() {
    on(&[ram(0x4000_0000, 64 * MIB)], |_| {
        let kind = |n: usize| if n.is_multiple_of(3) { MOVABLE } else { KERNEL };
        let pages: Vec<_> = (0..5000).map(|n| alloc_pages(kind(n), Order::ZERO).unwrap()).collect();
        pages.iter().for_each(|page| page.page().set_type(MARK));
        assert_eq!(free_pages_chain(link(&pages), 5000, MARK), (None, 0));
        assert_eq!(nr_used_pages(), 0);
        for zone in zones() {
            assert!(zone.pcp < zone.pcp_high + 64, "{zone}");
        }
        for gfp in [MOVABLE, KERNEL] {
            let (head, len) = alloc_pages_chain(gfp, 20, MARK);
            assert!(len > 0);
            for page in chain(head) {
                assert_eq!(buddy::pageblock_migratetype(page), gfp.migratetype());
            }
            assert_eq!(free_pages_chain(head, len, MARK), (None, 0));
        }
    });
}
