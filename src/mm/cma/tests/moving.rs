//! Pages that were lent are moved away.

use super::*;

/// Objects of a page each in all of memory, less as much room elsewhere as the area has
/// and some more; each says its number.
fn fill_with_objects(pool: &ZsPool, cma: &Cma) -> Vec<ZsHandle> {
    let all: Vec<_> = core::iter::from_fn(|| pool.malloc(4096, MOVABLE)).collect();
    let lent = |&object: &ZsHandle| cma.range().contains(pool.frame(object).pfn());
    let (mut objects, mut outside): (Vec<_>, Vec<_>) = all.into_iter().partition(lent);
    assert_eq!(objects.len() as u32, cma.range().len());
    outside.drain(..objects.len() + 300).for_each(|object| pool.free(object));
    objects.extend(outside);
    write_numbers(pool, &objects);
    objects
}

fn write_numbers(pool: &ZsPool, objects: &[ZsHandle]) {
    for (number, &object) in (0u32..).zip(objects) {
        pool.with(object, |bytes| {
            bytes.fill(number as u8);
            bytes[..4].copy_from_slice(&number.to_le_bytes());
        });
    }
}

fn check_objects(pool: &ZsPool, objects: &[ZsHandle]) {
    for (number, &object) in (0u32..).zip(objects) {
        pool.with(object, |bytes| {
            assert_eq!(bytes[..4], number.to_le_bytes());
            assert!(bytes[4..].iter().all(|&b| b == number as u8), "object {number}");
        });
    }
}

#[test]
fn what_was_lent_is_moved_away() {
    with_area(4, 0, |_, cma| {
        let before = nr_used_pages();
        let pool = ZsPool::new().unwrap();
        let objects = fill_with_objects(&pool, cma);
        let used = nr_used_pages();
        let all = cma_alloc(cma, 1024, Order::ZERO).expect("every page can be moved");
        assert_eq!(all.pfn(), cma.range().start());
        check();
        assert_eq!(nr_used_pages(), used + 1024);
        check_objects(&pool, &objects);
        assert!(objects.iter().all(|&o| !cma.range().contains(pool.frame(o).pfn())));
        // SAFETY: allocated here, and nobody uses it any more.
        assert!(unsafe { cma_release(cma, all, 1024) });
        drop(pool);
        assert_eq!(nr_used_pages(), before);
    });
}

#[test]
fn one_pinned_page_fails_it_whole() {
    with_area(4, 0, |_, cma| {
        let pool = ZsPool::new().unwrap();
        let objects = fill_with_objects(&pool, cma);
        let inside = |&&o: &&ZsHandle| cma.range().contains(pool.frame(o).pfn());
        let pinned = *objects.iter().filter(inside).nth(500).unwrap();
        let pin = pool.pin(pinned);
        let used = nr_used_pages();
        assert_eq!(cma_alloc(cma, 1024, Order::ZERO), None);
        check();
        assert_eq!(nr_used_pages(), used);
        assert_eq!((cma.info().allocated, cma.info().failures), (0, 1));
        assert_eq!(pool.frame(pinned), pin.frame());
        check_objects(&pool, &objects);
        // The area is lent out again.
        assert_eq!(zones().map(|zone| zone.isolated).sum::<u32>(), 0);
        let more = pool.malloc(4096, MOVABLE).unwrap();
        pool.free(more);
        drop(pin);
        let all = cma_alloc(cma, 1024, Order::ZERO).expect("it is pinned no more");
        check_objects(&pool, &objects);
        // SAFETY: allocated here, and nobody uses it any more.
        assert!(unsafe { cma_release(cma, all, 1024) });
    });
}

#[test]
fn without_memory_to_move_to_it_fails() {
    with_area(8, 0, |_, cma| {
        let pool = ZsPool::new().unwrap();
        let objects: Vec<_> = core::iter::from_fn(|| pool.malloc(4096, MOVABLE)).collect();
        write_numbers(&pool, &objects);
        assert_eq!(cma_alloc(cma, 2048, Order::ZERO), None);
        check();
        check_objects(&pool, &objects);
        let (some, rest) = objects.split_at(objects.len() - 2200);
        rest.iter().for_each(|&object| pool.free(object));
        assert!(cma_alloc(cma, 2048, Order::ZERO).is_some());
        check_objects(&pool, some);
    });
}

#[test]
fn another_cpu_s_lists_are_waited_for_not_broken() {
    with_area(4, 0, |m, cma| {
        m.on_cpus(2, |cpu| {
            if cpu == 1 {
                let pages = take_all(MOVABLE);
                // SAFETY: allocated here, and nobody uses it any more.
                pages.into_iter().for_each(|page| unsafe { free_pages(page, Order::ZERO) });
            }
        });
        // What the other CPU holds can't be taken yet.
        let early = cma_alloc(cma, 1024, Order::ZERO);
        check();
        m.on_cpus(2, |_| with_masked(drain_local_pages));
        let all = early.or_else(|| cma_alloc(cma, 1024, Order::ZERO)).unwrap();
        // SAFETY: allocated here, and nobody uses it any more.
        assert!(unsafe { cma_release(cma, all, 1024) });
    });
}
