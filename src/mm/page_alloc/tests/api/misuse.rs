//! Misuse of the interface is caught, and shared pages are counted.

use super::*;

fn panics_on_free(f: impl FnOnce()) {
    Machine::run(&[ram(0x4000_0000, 16 * MIB)], |m| {
        init(m.ram());
        f();
    });
}

#[test]
#[should_panic(expected = "double free: Frame(0x40")]
fn double_free_on_the_cpu_s_list() {
    panics_on_free(|| {
        let page = alloc_pages(KERNEL, Order::ZERO).unwrap();
        free_pages(page, Order::ZERO);
        free_pages(page, Order::ZERO);
    });
}

#[test]
#[should_panic(expected = "it is free, in Frame(0x")]
fn double_free_in_the_buddy() {
    panics_on_free(|| {
        let page = alloc_pages(KERNEL, order(6)).unwrap();
        free_pages(page, order(6));
        free_pages(page, order(6));
    });
}

#[test]
#[should_panic(expected = "wrong order")]
fn wrong_order() {
    panics_on_free(|| free_pages(alloc_pages(KERNEL, order(4)).unwrap(), order(3)));
}

#[test]
#[should_panic(expected = "free of the inside of a block")]
fn the_inside_of_a_block() {
    panics_on_free(|| {
        let page = alloc_pages(KERNEL, order(4)).unwrap();
        free_pages(page.within(order(4), 4), order(2));
    });
}

#[test]
#[should_panic(expected = "never allocated")]
fn reserved_page() {
    panics_on_free(|| free_pages(Frame::new(Pfn::new(0x4_0000)).unwrap(), Order::ZERO));
}

/// A free of a page that others hold drops one reference, and the last holder's put frees it.
#[test]
fn shared_page() {
    for (gfp, n) in [(KERNEL, 0), (KERNEL | Gfp::__GFP_COMP, 3), (KERNEL | Gfp::__GFP_ACCOUNT, 0)] {
        on_16m(|_| {
            let page = alloc_pages(gfp, order(n)).unwrap();
            get_page(page);
            assert!(try_get_page(page));
            free_pages(page, order(n));
            assert_eq!(page.page().refcount(), 2);
            assert_eq!(nr_used_pages(), order(n).pages());
            put_page(page);
            assert_eq!(nr_used_pages(), order(n).pages());
            put_page(page);
            assert_eq!(nr_used_pages(), 0);
        });
    }
}

/// A free of a block that is no compound page, whose first page others hold, frees the other
/// pages.
#[test]
fn the_rest_of_a_shared_block_is_freed_at_once() {
    for gfp in [KERNEL, KERNEL | Gfp::__GFP_ACCOUNT] {
        for n in [1, 4, 10] {
            on_16m(|_| {
                let block = alloc_pages(gfp, order(n)).unwrap();
                get_page(block);
                free_pages(block, order(n));
                assert_eq!((block.page().refcount(), block_order(block)), (1, Order::ZERO));
                assert_eq!(nr_used_pages(), 1);
                check_sums();
                put_page(block);
                assert_eq!(nr_used_pages(), 0);
            });
        }
    }
}

/// A count that would overflow stays where it is, and its page is never freed in use.
#[test]
fn references_saturate() {
    on_16m(|_| {
        let page = alloc_pages(KERNEL, Order::ZERO).unwrap();
        let count = || page.page().refcount();
        page.page().set_refcount(REFCOUNT_MAX - 1);
        assert!(try_get_page(page));
        assert_eq!(count(), REFCOUNT_MAX);
        assert!(!try_get_page(page), "one more than can be counted");
        assert_eq!(count(), REFCOUNT_MAX);
        put_page(page);
        assert_eq!(count(), REFCOUNT_MAX - 1, "not saturated yet");
        get_page(page);
        get_page(page);
        assert_eq!(count(), REFCOUNT_SATURATED);
        for _ in 0..3 {
            get_page(page);
            assert_eq!(count(), REFCOUNT_SATURATED);
            put_page(page);
            assert_eq!(count(), REFCOUNT_SATURATED);
        }
        free_pages(page, Order::ZERO);
        assert_eq!((count(), nr_used_pages()), (REFCOUNT_SATURATED, 1));
        // Two CPUs at the edge: neither end is near.
        page.page().set_refcount(u32::MAX);
        get_page(page);
        assert_eq!(count(), REFCOUNT_SATURATED);
    });
}

#[test]
fn nobody_gets_a_page_that_is_free() {
    on_16m(|_| {
        let page = alloc_pages(KERNEL, Order::ZERO).unwrap();
        free_pages(page, Order::ZERO);
        assert!(!try_get_page(page), "on a CPU's list");
        drain_all_pages();
        assert!(!try_get_page(page));
        assert_eq!(page.page().refcount(), 0);
        check_sums();
    });
}

#[test]
#[should_panic(expected = "still marked as in use")]
fn slab_page() {
    panics_on_free(|| {
        let page = alloc_pages(KERNEL, Order::ZERO).unwrap();
        page.page().set_type(PageType::Slab);
        free_pages(page, Order::ZERO);
    });
}

#[test]
#[should_panic(expected = "free of the inside of a block")]
fn tail_of_a_compound_page() {
    panics_on_free(|| {
        let head = alloc_pages(KERNEL | Gfp::__GFP_COMP, order(2)).unwrap();
        free_pages(head.within(order(2), 1), Order::ZERO);
    });
}

#[test]
#[should_panic(expected = "get_page of Frame(0x")]
fn reference_to_a_free_page() {
    panics_on_free(|| {
        let page = alloc_pages(KERNEL, Order::ZERO).unwrap();
        free_pages(page, Order::ZERO);
        get_page(page);
    });
}

#[test]
fn the_panic_is_located_at_the_caller() {
    use std::sync::Arc;
    let place = Arc::new(Mutex::new(None));
    let seen = place.clone();
    let me = std::thread::current().id();
    let before = std::panic::take_hook();
    std::panic::set_hook(std::boxed::Box::new(move |info| {
        if std::thread::current().id() == me {
            *seen.lock().unwrap() = info.location().map(|l| std::string::String::from(l.file()));
        } else {
            before(info);
        }
    }));
    let result = std::panic::catch_unwind(|| {
        panics_on_free(|| {
            let page = alloc_pages(KERNEL, Order::ZERO).unwrap();
            free_pages(page, Order::ZERO);
            put_page(page);
        });
    });
    assert!(result.is_err());
    let place = place.lock().unwrap().clone().unwrap();
    assert!(place.ends_with("misuse.rs"), "{place}");
}
