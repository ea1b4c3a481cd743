use super::*;

#[test]
fn order_for_bytes_is_get_order() {
    for (bytes, order) in
        [(0, 0), (1, 0), (4096, 0), (4097, 1), (8192, 1), (8193, 2), (4 << 20, 10)]
    {
        assert_eq!(Order::for_bytes(bytes), Order::new(order), "{bytes}");
    }
    assert_eq!(Order::for_bytes((4 << 20) + 1), None);
    assert_eq!(Order::for_bytes(usize::MAX), None);
}

#[test]
fn whole_pages_cut_ragged_edges_and_the_top() {
    let r = |a, b| PhysRange::new(PhysAddr::new(a), PhysAddr::new(b)).whole_pages();
    assert_eq!(r(0x40000800, 0x40003800), PfnRange::new(Pfn::new(0x40001), Pfn::new(0x40003)));
    assert!(r(0x40000800, 0x40000900).is_empty());
    assert!(r(u64::MAX - 10, u64::MAX).is_empty());
    assert_eq!(r(0, u64::MAX).end(), Pfn::LIMIT);
    assert!(r(1 << 50, 1 << 51).is_empty());
}

#[test]
fn blocks_tile_the_range() {
    for (start, end) in [(0u32, 4096u32), (3, 1029), (1023, 1025), (5, 5), (1, 9000)] {
        let mut at = start;
        for (pfn, order) in PfnRange::new(Pfn::new(start), Pfn::new(end)).blocks(Order::MAX) {
            assert_eq!(pfn.get(), at);
            assert!(pfn.is_aligned(order));
            at += order.pages();
        }
        assert_eq!(at, end);
    }
}

#[test]
fn pfn_align_up_holds_at_the_limit() {
    assert_eq!(Pfn::new(1).align_up(Order::MAX), Pfn::new(1024));
    assert_eq!(Pfn::new(u32::MAX - 1).align_up(Order::MAX), Pfn::LIMIT);
}

#[test]
fn user_addresses_end_at_task_size() {
    let last = UserAddr::new(TASK_SIZE - 1).unwrap();
    for value in [TASK_SIZE, 0xffff_0000_0000_0000, 1 << 55, usize::MAX] {
        assert_eq!(UserAddr::new(value), None, "{value:#x}");
    }
    assert_eq!(last.checked_add(1), None);
    assert_eq!(last.checked_add(usize::MAX), None);
    assert_eq!(last.align_down(PAGE_SIZE).checked_add(PAGE_SIZE - 1), Some(last));
    assert_eq!(last.page_offset(), PAGE_SIZE - 1);
    assert!(!last.is_aligned(PAGE_SIZE) && last.align_down(PAGE_SIZE).is_aligned(PAGE_SIZE));
}

#[test]
fn user_ranges_may_reach_task_size_and_no_further() {
    let page = UserAddr::new(TASK_SIZE - PAGE_SIZE).unwrap();
    let range = UserRange::from_size(page, PAGE_SIZE).unwrap();
    assert_eq!((range.end(), range.len()), (TASK_SIZE, PAGE_SIZE));
    for bytes in [PAGE_SIZE + 1, usize::MAX - page.get() + 1, usize::MAX] {
        assert_eq!(UserRange::from_size(page, bytes), None, "{bytes:#x}");
    }
    let low = UserAddr::new(0).unwrap();
    let all = UserRange::from_size(low, TASK_SIZE).unwrap();
    assert!(all.contains(page) && all.overlaps(range) && !all.is_empty());
    let below = UserRange::from_size(low, page.get()).unwrap();
    assert!(!below.contains(page) && !below.overlaps(range));
    assert!(UserRange::from_size(page, 0).unwrap().is_empty());
}
