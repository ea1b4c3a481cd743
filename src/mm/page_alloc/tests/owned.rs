//! Values that own pages and give them back.

use super::*;

#[test]
fn blocks_go_back_with_their_owners() {
    on(&[ram(0x4000_0000, 64 * MIB)], |_| {
        for n in 0..=10 {
            let mut block = Pages::alloc(KERNEL, order(n)).unwrap();
            assert_eq!((block.order(), block.bytes().len()), (order(n), order(n).bytes()));
            assert_eq!(nr_used_pages(), order(n).pages());
            block.bytes_mut().fill(n);
            let last = block.frame().within(order(n), order(n).pages() - 1);
            assert_eq!(bytes(last), &[n; 4096]);
            drop(block);
            assert_eq!(nr_used_pages(), 0);
            check_sums();
        }
        let compound = Pages::alloc(KERNEL | Gfp::__GFP_COMP, order(3)).unwrap();
        drop(compound);
        drop(Pages::alloc_node(NodeId::FIRST, KERNEL, order(2)));
        drop(Pages::from(OwnedPage::alloc(KERNEL).unwrap()));
        assert_eq!(nr_used_pages(), 0);
    });
}

#[test]
fn a_raw_block_is_kept_until_it_has_an_owner_again() {
    on(&[ram(0x4000_0000, 16 * MIB)], |_| {
        let block = Pages::alloc(KERNEL, order(4)).unwrap().into_raw();
        let page = OwnedPage::alloc(KERNEL).unwrap().into_raw();
        assert_eq!(nr_used_pages(), 17);
        // SAFETY: both are the test's, and nobody uses them.
        unsafe { drop((Pages::from_raw(block, order(4)), OwnedPage::from_raw(page))) };
        assert_eq!(nr_used_pages(), 0);
    });
}

#[test]
fn a_block_is_split_into_pages_that_go_back_one_by_one() {
    on(&[ram(0x4000_0000, 16 * MIB)], |_| {
        let block = Pages::alloc(KERNEL, order(3)).unwrap();
        let first = block.frame();
        let mut pages = block.split();
        assert_eq!((pages.len(), nr_used_pages()), (8, 8));
        for n in 0..8 {
            let page = pages.pop().unwrap();
            assert_eq!(page.frame(), first.within(order(3), n));
            drop(page);
            assert_eq!(nr_used_pages(), 7 - n);
        }
        assert!(pages.pop().is_none());
        drop(Pages::alloc(KERNEL, order(5)).unwrap().split());
        assert_eq!(nr_used_pages(), 0);
        check_sums();
    });
}

#[test]
fn a_list_of_blocks_keeps_their_orders() {
    on(&[ram(0x4000_0000, 64 * MIB)], |_| {
        let mut list = PageList::<Pages>::new();
        let orders = [0, 5, 10, 3, 0, 7];
        let heads = orders.map(|n| {
            let block = Pages::alloc(KERNEL, order(n)).unwrap();
            let head = block.frame();
            list.push(block);
            head
        });
        assert_eq!((list.len(), list.is_empty()), (6, false));
        for (head, n) in heads.into_iter().zip(orders).rev().take(3) {
            let block = list.pop().unwrap();
            assert_eq!((block.frame(), block.order()), (head, order(n)));
        }
        assert_eq!(nr_used_pages(), 1 + 32 + 1024);
        drop(list);
        assert_eq!(nr_used_pages(), 0);
        check_sums();
    });
}

/// A copy of its frame is no right to a page: its owner has it all the same, and of a page that
/// others hold an owner gives its own reference back.
#[test]
fn an_owner_s_page_stays_its_holders() {
    on(&[ram(0x4000_0000, 16 * MIB)], |_| {
        let block = Pages::alloc(KERNEL | Gfp::__GFP_COMP, order(2)).unwrap();
        let head = block.frame();
        get_page(head.within(order(2), 3));
        drop(block);
        assert_eq!((head.page().refcount(), nr_used_pages()), (1, 4));
        put_page(head);
        assert_eq!(nr_used_pages(), 0);
    });
}

#[test]
fn a_range_goes_back_with_its_owner() {
    on(&[ram(0x4000_0000, 16 * MIB)], |_| {
        let range = frames(0x4040_0000, 3 * MIB);
        let pages = ContigPages::alloc(range).unwrap();
        assert_eq!((pages.range(), nr_used_pages()), (range, range.len()));
        assert!(matches!(ContigPages::alloc(range), Err(ContigError::Busy(_))));
        drop(pages);
        assert_eq!(nr_used_pages(), 0);
        let raw = ContigPages::alloc(range).unwrap().into_raw();
        assert_eq!(nr_used_pages(), range.len());
        // SAFETY: the pages are the test's, and nobody uses them.
        let mut singles = unsafe { ContigPages::from_raw(raw) }.into_pages();
        assert_eq!(singles.len(), range.len());
        let first = singles.pop().unwrap();
        assert_eq!(first.frame().pfn(), range.start());
        drop(singles);
        assert_eq!(nr_used_pages(), 1);
        drop(first);
        assert_eq!(nr_used_pages(), 0);
    });
}
