//! Tests of the flags that no other test is about; docs/gfp.md says where each is tested.

use super::*;
use crate::mm::context::mems_allowed_scope;
use bitflags::Flags;

fn on_16m(f: impl FnOnce()) {
    on(&[ram(0x4000_0000, 16 * MIB)], |_| f());
}

#[test]
fn every_flag_is_in_the_documentation_with_its_tests() {
    const DOC: &str = include_str!("../../../../docs/gfp.md");
    const SOURCES: [&str; 12] = [
        include_str!("gfp.rs"),
        include_str!("api/mod.rs"),
        include_str!("api/misuse.rs"),
        include_str!("api/kinds.rs"),
        include_str!("api/highatomic.rs"),
        include_str!("api/reserves.rs"),
        include_str!("sections.rs"),
        include_str!("report.rs"),
        include_str!("../../vmscan/tests/mod.rs"),
        include_str!("../../vmscan/tests/boost.rs"),
        include_str!("../../compaction/tests/mod.rs"),
        include_str!("../../compaction/tests/skip.rs"),
    ];
    let is_test = |name: &str| {
        let head = format!("\nfn {name}() {{");
        SOURCES.iter().any(|source| {
            let before = source.split_once(&head).map(|(before, _)| before);
            // Between the two there may be what it is to panic with.
            before.is_some_and(|text| text.lines().rev().take(2).any(|line| line == "#[test]"))
        })
    };
    let single = Gfp::FLAGS.iter().filter(|flag| flag.value().bits().is_power_of_two());
    let mut flags = 0;
    for flag in single.filter(|flag| flag.name().starts_with("__")) {
        let head = format!("| `{}` | ", flag.name());
        let row = DOC.lines().find(|line| line.starts_with(&head));
        let row = row.unwrap_or_else(|| panic!("docs/gfp.md does not tell of {}", flag.name()));
        let tests: Vec<_> = row.rsplit('|').nth(1).unwrap().split('`').skip(1).step_by(2).collect();
        assert!(!tests.is_empty(), "{}: no test", flag.name());
        for test in tests {
            assert!(is_test(test), "{}: there is no test {test}", flag.name());
        }
        flags += 1;
    }
    let rows = DOC.lines().filter(|line| line.starts_with("| `__GFP")).count();
    assert_eq!(rows, flags, "docs/gfp.md tells of flags that there are not");
    assert!(flags >= 20);
}

#[test]
fn the_usual_combinations_are_linux_s() {
    let reclaim = Gfp::__GFP_DIRECT_RECLAIM | Gfp::__GFP_KSWAPD_RECLAIM;
    let kernel = reclaim | Gfp::__GFP_IO | Gfp::__GFP_FS;
    let user = kernel | Gfp::__GFP_HARDWALL;
    let movable = user | Gfp::__GFP_HIGHMEM | Gfp::__GFP_MOVABLE;
    let huge = Gfp::__GFP_COMP | Gfp::__GFP_NOMEMALLOC | Gfp::__GFP_NOWARN;
    for (gfp, is) in [
        (Gfp::GFP_ATOMIC, Gfp::__GFP_HIGH | Gfp::__GFP_KSWAPD_RECLAIM),
        (Gfp::GFP_KERNEL, kernel),
        (Gfp::GFP_KERNEL_ACCOUNT, kernel | Gfp::__GFP_ACCOUNT),
        (Gfp::GFP_NOWAIT, Gfp::__GFP_KSWAPD_RECLAIM | Gfp::__GFP_NOWARN),
        (Gfp::GFP_NOIO, reclaim),
        (Gfp::GFP_NOFS, reclaim | Gfp::__GFP_IO),
        (Gfp::GFP_USER, user),
        (Gfp::GFP_DMA, Gfp::__GFP_DMA),
        (Gfp::GFP_DMA32, Gfp::__GFP_DMA32),
        (Gfp::GFP_HIGHUSER, user | Gfp::__GFP_HIGHMEM),
        (Gfp::GFP_HIGHUSER_MOVABLE, movable),
        (Gfp::GFP_TRANSHUGE_LIGHT, (movable | huge) - reclaim),
        (Gfp::GFP_TRANSHUGE, (movable | huge) - Gfp::__GFP_KSWAPD_RECLAIM),
    ] {
        assert_eq!(gfp, is);
    }
    let named = Gfp::FLAGS.iter().filter(|flag| flag.name().starts_with("GFP_")).count();
    assert_eq!(named, 13, "a combination that this test does not know");
}

#[test]
fn a_charged_page_is_like_any_other() {
    on_16m(|| {
        for n in [0, 1, 3, 4, 9] {
            for gfp in [Gfp::GFP_KERNEL_ACCOUNT, Gfp::GFP_KERNEL_ACCOUNT | Gfp::__GFP_COMP] {
                let frame = alloc_pages(gfp, order(n)).unwrap();
                let flags = frame.page().flags() - PageFlags::HEAD;
                assert_eq!((frame.page().page_type(), flags), (PageType::None, PageFlags::empty()));
                free_pages(frame, order(n));
                // It came from this CPU's list, and is on top of it again.
                let again = alloc_pages(gfp, order(n)).unwrap();
                assert_eq!(again, frame, "order {n}");
                free_pages(again, order(n));
            }
        }
        assert_eq!(nr_used_pages(), 0);
        check_sums();
    });
}

#[test]
fn a_hard_wall_keeps_to_the_thread_s_nodes() {
    on_three_nodes(|m| {
        let [own, other] = [0, 1].map(|n| NodeId::new(n).unwrap());
        let user = Gfp::GFP_USER | Gfp::__GFP_NOWARN;
        let node = |gfp, n: u8| {
            let frame = alloc_pages(gfp, order(n)).unwrap();
            free_pages(frame, order(n));
            frame.zone().node()
        };
        // There are pages at hand of both nodes.
        assert_eq!(node(user, 0), own);
        mems_allowed_scope(&[other], || {
            for n in [0, 1, 4] {
                assert_eq!(node(user, n), other, "order {n}");
                assert_eq!(node(KERNEL, n), own, "the kernel's own need no wall");
            }
            // An interrupt handler is not the thread.
            assert_eq!(with_masked(|_| node(Gfp::GFP_ATOMIC | Gfp::__GFP_HARDWALL, 1)), own);
            // Nor is another CPU's.
            m.on_cpus(2, |cpu| {
                if cpu == 1 {
                    assert_eq!(node(user, 1), own);
                    with_masked(drain_local_pages);
                }
            });
            mems_allowed_scope(&[own, other], || assert_eq!(node(user, 1), own));
            let all = exhaust(user | Gfp::__GFP_MEMALLOC, Order::ZERO);
            let there = |f: &Frame| f.zone().node() == other;
            assert!(!all.is_empty() && all.iter().all(there));
            assert_eq!(alloc_pages(user, Order::ZERO), None, "though other nodes have memory");
            // Who can't go on without gets over the wall.
            let last = alloc_pages(user | Gfp::__GFP_NOFAIL, Order::ZERO).unwrap();
            assert!(!there(&last));
            free_pages(last, Order::ZERO);
            all.into_iter().for_each(|frame| free_pages(frame, Order::ZERO));
        });
        assert_eq!(node(user, 0), own);
    });
}

/// The fast path is closed while there is a wall or a failure to be injected, and open after.
#[test]
fn the_fast_path_opens_again() {
    on_three_nodes(|_| {
        let own = NodeId::new(0).unwrap();
        let page = alloc_pages(KERNEL, Order::ZERO).unwrap();
        free_pages(page, Order::ZERO);
        let is_open = || {
            with_masked(|irq| match pcp::alloc_fast(irq, KERNEL, Order::ZERO) {
                Some(frame) => {
                    prep_new_page(frame, Order::ZERO, KERNEL);
                    true
                }
                None => false,
            })
        };
        let fail = FailPageAlloc { skip: 100, interval: 1, times: 1, min_order: Order::ZERO };
        set_fail_page_alloc(Some(fail));
        mems_allowed_scope(&[own], || assert!(!is_open()));
        assert!(!is_open(), "the one ended, the other did not");
        // What sets the lists up anew leaves it closed.
        set_cpu_numa_node(CpuId::BOOT, own);
        assert!(!is_open());
        set_fail_page_alloc(None);
        assert!(is_open());
    });
}

#[test]
fn nofail_is_for_those_who_may_wait() {
    on_16m(|| {
        let all = exhaust(KERNEL | Gfp::__GFP_MEMALLOC, Order::ZERO);
        // Nobody would give anything back meanwhile: it would wait for ever.
        let atomic = Gfp::GFP_ATOMIC | Gfp::__GFP_NOFAIL | Gfp::__GFP_NOWARN;
        assert_eq!(alloc_pages(atomic, Order::ZERO), None);
        all.into_iter().for_each(|frame| free_pages(frame, Order::ZERO));
    });
}
