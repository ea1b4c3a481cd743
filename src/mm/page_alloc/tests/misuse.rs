//! Frees that must not be: each ends in a panic that names the page and what it is.
//! More of them are in `api`.

use super::*;
use crate::mm::page::Page;

fn panics(f: impl FnOnce()) {
    Machine::run(&[ram(0x4000_0000, 16 * MIB)], |m| {
        init(m.ram());
        f();
    });
}

const COMP: Gfp = KERNEL.union(Gfp::__GFP_COMP);

#[test]
#[should_panic(expected = "double free: Frame(0x40")]
fn part_of_a_former_compound_on_the_cpu_s_list() {
    panics(|| {
        let head = alloc_pages(COMP, order(3)).unwrap();
        free_pages(head, order(3));
        free_pages(head.within(order(3), 3), Order::ZERO);
    });
}

#[test]
#[should_panic(expected = "it is free, in Frame(0x")]
fn part_of_a_former_compound_in_the_buddy() {
    panics(|| {
        let head = alloc_pages(COMP, order(6)).unwrap();
        free_pages(head, order(6));
        free_pages(head.within(order(6), 7), Order::ZERO);
    });
}

#[test]
#[should_panic(expected = "free of the inside of a block")]
fn part_of_a_former_compound_that_is_in_use_again() {
    panics(|| {
        let head = alloc_pages(COMP, order(4)).unwrap();
        let tail = head.within(order(4), 5);
        free_pages(head, order(4));
        let again = core::iter::from_fn(|| alloc_pages(KERNEL | Gfp::__GFP_MEMALLOC, order(2)));
        let there = |block: &Frame| block.block(order(2)).any(|page| page == tail);
        assert!(again.take(4000).any(|block| there(&block)));
        free_pages(tail, Order::ZERO);
    });
}

#[test]
#[should_panic(expected = "double free")]
fn reference_of_a_former_compound() {
    panics(|| {
        let head = alloc_pages(COMP, order(4)).unwrap();
        put_page(head);
        put_page(head.within(order(4), 2));
    });
}

#[test]
#[should_panic(expected = "wrong order: Frame(0x")]
fn a_compound_page_in_part() {
    panics(|| free_pages(alloc_pages(COMP, order(4)).unwrap(), order(3)));
}

#[test]
#[should_panic(expected = "wrong order: Frame(0x")]
fn a_page_as_more_than_it_is() {
    panics(|| free_pages(alloc_pages(KERNEL, Order::ZERO).unwrap(), order(9)));
}

#[test]
#[should_panic(expected = "double free")]
fn a_page_that_was_never_allocated() {
    panics(|| {
        let free = (0x4_0800..).find_map(|pfn| {
            let frame = Frame::new(Pfn::new(pfn))?;
            matches!(state_of(frame), State::Free { head, .. } if head != frame).then_some(frame)
        });
        free_pages(free.unwrap(), Order::ZERO);
    });
}

#[test]
#[should_panic(expected = "never allocated: Frame(0x40200000) as order 0: it is a hole")]
fn a_hole() {
    let ranges = [ram(0x4000_0000, 2 * MIB), ram(0x4040_0000, 4 * MIB)];
    Machine::run(&ranges, |_| {
        init(&ranges);
        free_pages(Frame::new(Pfn::new(0x4_0200)).unwrap(), Order::ZERO);
    });
}

#[test]
#[should_panic(expected = "free of bad memory")]
fn a_poisoned_page() {
    panics(|| {
        let page = alloc_pages(KERNEL, Order::ZERO).unwrap();
        page.page().set_refcount(0);
        page.page().set_flags(PageFlags::HWPOISON);
        free_pages(page, Order::ZERO);
    });
}

#[test]
#[should_panic(expected = "split of Frame(0x")]
fn a_compound_page_is_not_split() {
    panics(|| split_page(alloc_pages(COMP, order(2)).unwrap(), order(2)));
}

#[test]
#[should_panic(expected = "free of")]
fn a_compound_page_whose_tail_is_another_s() {
    panics(|| {
        let head = alloc_pages(COMP, order(2)).unwrap();
        head.within(order(2), 3).page().set_flags(PageFlags::empty());
        free_pages(head, order(2));
    });
}

#[test]
#[should_panic(expected = "double free")]
fn part_of_an_exact_allocation_twice() {
    panics(|| {
        let exact = alloc_pages_exact(KERNEL, 3 * 4096).unwrap();
        free_pages(exact.within(order(2), 1), Order::ZERO);
        free_pages_exact(exact, 3 * 4096);
    });
}

#[test]
fn a_free_page_is_neither_mapped_nor_flagged() {
    type Change = fn(&Page);
    let changes: [(Change, Change, &str); 4] = [
        (|p| p.set_slab_word(1), |p| p.set_slab_word(0), "a free page is marked as mapped"),
        (|p| p.set_slab_word(1 << 25), |p| p.set_slab_word(0), "a free page is marked as mapped"),
        (|p| p.set_refcount(1), |p| p.set_refcount(0), "a free page has references"),
        (
            |p| p.add_flags(PageFlags::DIRTY),
            |p| p.remove_flags(PageFlags::DIRTY),
            "a page inside a free block has flags",
        ),
    ];
    panics(|| {
        let head = alloc_pages(COMP, order(6)).unwrap();
        let inner = head.within(order(6), 7).page();
        free_pages(head, order(6));
        for (change, undo, what) in changes {
            change(inner);
            assert_eq!(validate().err().map(|invalid| invalid.what), Some(what));
            undo(inner);
            assert_eq!(validate().err().map(|invalid| invalid.what), None);
        }
    });
}
