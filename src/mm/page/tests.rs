//! The descriptor holds all that its user may say of a page at once, each apart from the others.

use super::*;
use proptest::prelude::*;
use std::format;

/// A descriptor of zeros: that of a reserved frame.
fn page() -> Page {
    Page {
        refcount: AtomicU32::new(0),
        flags: AtomicU16::new(0),
        order: AtomicU8::new(0),
        block: AtomicU8::new(0),
        mapcount: AtomicU32::new(0),
        private: AtomicU32::new(0),
        next: Link::new(),
        prev: Link::new(),
        owner: AtomicUsize::new(0),
    }
}

#[test]
fn types_and_flags_are_apart() {
    for page_type in PageType::ALL {
        for flags in [PageFlags::empty(), PageFlags::all(), PageFlags::HWPOISON] {
            let page = page();
            page.set_flags(flags);
            page.add_type(page_type, PageFlags::HEAD);
            assert_eq!(page.page_type(), page_type);
            assert_eq!(page.flags(), flags | PageFlags::HEAD);
            for other in PageType::ALL {
                assert_eq!(page.is_type(other), other == page_type, "{page_type:?} as {other:?}");
            }
            assert_eq!(page.is_slab(), page_type == PageType::Slab);
            assert_eq!(page.marks() == page_type, page.flags().is_empty());
            page.clear_type(PageFlags::HEAD);
            assert_eq!((page.page_type(), page.flags()), (PageType::None, flags - PageFlags::HEAD));
            page.set_type(page_type);
            assert_eq!((page.page_type(), page.flags()), (page_type, PageFlags::empty()));
            assert!(page.marks() == page_type);
        }
    }
    assert_eq!(
        format!("{:?}", PageMarks(PageType::Slab.with(PageFlags::HEAD))),
        "PageMarks(SLAB | HEAD)"
    );
    assert_eq!(format!("{:?}", PageMarks(0)), "PageMarks(0x0)");
}

#[test]
#[should_panic(expected = "Slab page is PageMarks(TABLE)")]
fn a_page_has_one_type() {
    let page = page();
    page.set_type(PageType::Table);
    page.add_type(PageType::Slab, PageFlags::empty());
}

#[test]
fn a_page_of_another_type_is_not_freed_as_a_plain_one() {
    for page_type in PageType::ALL {
        let page = page();
        page.hand_out();
        page.set_order(Order::ZERO);
        page.add_type(page_type, PageFlags::empty());
        assert_eq!(page.is_plain(Order::ZERO), page_type == PageType::None);
        assert_eq!(page.plain_order().is_some(), page_type == PageType::None);
        for other in PageType::ALL {
            assert_eq!(page.is_plain_of(Order::ZERO, other), other == page_type);
        }
        page.add_flags(PageFlags::DIRTY);
        assert!(!page.is_plain_of(Order::ZERO, page_type), "{page_type:?} with a flag");
    }
}

fn kinds() -> impl Strategy<Value = MappingKind> {
    prop_oneof![Just(MappingKind::Anon), Just(MappingKind::File), Just(MappingKind::Ksm)]
}

proptest! {
    /// Everything that the page cache and an address space say of a page, stored at once and in
    /// any order, reads back; the pageblock's byte and the order stay.
    #[test]
    fn a_page_of_users_holds_all_at_once(
        (kind, object, index) in (kinds(), 0..Mapping::OBJECTS, 0..Mapping::INDICES),
        (flags, user) in (0..=u16::MAX, 0..=u32::MAX),
        (refcount, mapcount) in (1..=REFCOUNT_MAX, 0..=MAPCOUNT_MAX),
        (private, next, prev) in (any::<u32>(), 1..u32::MAX, 1..u32::MAX),
        order in Just([0, 1, 2, 3, 4, 5, 6]).prop_shuffle(),
    ) {
        let page = page();
        page.set_order(Order::MAX);
        page.add_block_skip(BlockSkip::SOURCE);
        let flags = PageFlags::from_bits_truncate(flags);
        let user = UserFlags::from_bits_truncate(user);
        let mapping = Mapping::new(kind, object, index).unwrap();
        let [next, prev] = [next, prev].map(|n| Some(Frame(NonZeroU32::new(n).unwrap())));
        for step in order {
            match step {
                0 => page.add_flags(flags),
                1 => page.mapcount.store(mapcount | user.bits(), Relaxed),
                2 => page.set_owner(mapping.to_word()),
                3 => page.set_private(private),
                4 => page.set_next(next),
                5 => page.set_prev(prev),
                _ => page.set_refcount(refcount),
            }
        }
        prop_assert_eq!((page.page_type(), page.flags()), (PageType::None, flags));
        prop_assert_eq!((page.mapcount(), page.user_flags()), (mapcount, user));
        prop_assert_eq!(page.mapping(), Some(mapping));
        prop_assert_eq!((mapping.kind(), mapping.object(), mapping.index()), (kind, object, index));
        prop_assert_eq!((page.private(), page.next(), page.prev()), (private, next, prev));
        prop_assert_eq!(page.refcount(), refcount);
        prop_assert_eq!(page.order(), Order::MAX.get());
        prop_assert_eq!(page.block_skip(), BlockSkip::SOURCE);
    }
}

#[test]
fn numbers_that_are_too_large_make_no_mapping() {
    let (objects, indices) = (Mapping::OBJECTS, Mapping::INDICES);
    assert!(Mapping::new(MappingKind::File, objects - 1, indices - 1).is_some());
    assert!(Mapping::new(MappingKind::File, objects, 0).is_none());
    assert!(Mapping::new(MappingKind::File, 0, indices).is_none());
    // Owners of other pages are addresses of the upper half, or small numbers.
    for word in [0, 1, 0xffff, usize::MAX, 0xffff_0000_4123_4568] {
        assert_eq!(Mapping::from_word(word), None, "{word:#x}");
    }
}

#[test]
fn owners_of_pages_have_sixteen_flags() {
    let flags = [
        PageFlags::LOCKED,
        PageFlags::UPTODATE,
        PageFlags::DIRTY,
        PageFlags::WRITEBACK,
        PageFlags::PRIVATE,
        PageFlags::RECLAIM,
        PageFlags::READAHEAD,
    ];
    assert_eq!(flags.len() + UserFlags::all().iter().count(), 16);
    let all = flags.into_iter().fold(PageFlags::empty(), |all, flag| all | flag);
    assert_eq!(all.bits().count_ones(), 7);
}
