//! Each allocation fails in turn: an error, nothing lost, and the next attempt succeeds.

use super::*;
use crate::addr::Order;
use crate::mm::alloc_pages::{FailPageAlloc, set_fail_page_alloc};

/// A call that may want for memory.
type Call = fn(&Rig<'_>) -> Result<(), Fault>;

fn write(rig: &Rig<'_>, page: usize) -> Result<(), Fault> {
    rig.tables.handle_mm_fault(&rig.area(0, 4096, RW), address(page), Access::Write)
}

fn read(rig: &Rig<'_>, page: usize) -> Result<(), Fault> {
    rig.tables.handle_mm_fault(&rig.area(0, 4096, RW), address(page), Access::Read)
}

const CALLS: &[(&str, usize, Call)] = &[
    // A PUD, a PMD, a last-level table and a page.
    ("write to new memory", 4, |rig| write(rig, 5)),
    ("read of new memory", 0, |rig| read(rig, 6)),
    ("write after a read", 1, |rig| write(rig, 6)),
    ("write with the table there", 1, |rig| write(rig, 7)),
    ("read with another table", 1, |rig| read(rig, 513)),
    ("populate", 3, |rig| rig.tables.populate(&rig.area(0, 4096, RW), range(1020, 4), true)),
    ("guards", 1, |rig| rig.tables.install_guard(range(2046, 4))),
    ("move to new tables", 1, |rig| {
        rig.tables.move_tables(address(5), address(2600), 3 * PAGE_SIZE).map_err(|_| Fault::Oom)
    }),
];

#[test]
fn each_allocation_fails_once() {
    Rig::run(1, TCR, |rig| {
        for &(name, least, call) in CALLS {
            let mut failures = 0;
            for skip in 0.. {
                let which = FailPageAlloc { skip, interval: 1, times: 1, min_order: Order::ZERO };
                set_fail_page_alloc(Some(which));
                let result = call(rig);
                let failed = set_fail_page_alloc(None);
                rig.tables.validate().unwrap_or_else(|error| panic!("{name}: {error}"));
                if failed == 0 {
                    assert_eq!(result, Ok(()), "{name}");
                    break;
                }
                assert_eq!(result, Err(Fault::Oom), "{name}");
                failures += 1;
                // What was made stays: the next attempt begins where this one ended.
                set_fail_page_alloc(None);
                if failures == least {
                    assert_eq!(call(rig), Ok(()), "{name}");
                    break;
                }
            }
            assert!(failures >= least.min(1), "{name}: {failures} allocations");
        }
        assert_eq!(rig.tables.rss(MmCounter::Anon), 3 + 4, "5, 6 and 7, and those of populate");
    });
}
