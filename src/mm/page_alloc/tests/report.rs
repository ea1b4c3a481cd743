//! Tests of the reports of allocations that failed.

use super::*;
use std::cell::RefCell;
use std::string::String;

std::thread_local! {
    /// Lines reported on this thread since the test began to listen.
    static SAID: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

struct Listener;

impl log::Log for Listener {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        SAID.with_borrow(Option::is_some)
    }
    fn log(&self, record: &log::Record<'_>) {
        SAID.with_borrow_mut(|said| {
            if let Some(said) = said {
                said.push(format!("{}", record.args()));
            }
        });
    }
    fn flush(&self) {}
}

/// The warnings of this thread while `f` runs.
fn warnings(f: impl FnOnce()) -> Vec<String> {
    static LISTENER: Listener = Listener;
    // Another test of this process may have done so.
    let _ = log::set_logger(&LISTENER);
    log::set_max_level(log::LevelFilter::Warn);
    SAID.set(Some(Vec::new()));
    f();
    SAID.take().unwrap()
}

#[test]
fn a_failure_is_reported_with_the_zones_unless_nobody_wants_to_know() {
    on(&[ram(0x4000_0000, 16 * MIB)], |_| {
        let all = exhaust(KERNEL, Order::ZERO);
        let fails = |gfp| assert_eq!(alloc_pages(gfp, order(2)), None);
        assert_eq!(warnings(|| fails(KERNEL | Gfp::__GFP_NOWARN)), [""; 0]);
        let said = warnings(|| fails(KERNEL));
        assert_eq!(said.len(), 2, "{said:?}");
        assert_eq!(
            said[0],
            format!(
                "page allocation failure: order:2, mode:{:#x}(__GFP_IO | __GFP_FS | \
                 __GFP_DIRECT_RECLAIM | __GFP_KSWAPD_RECLAIM), zone:Normal, \
                 migratetype:Unmovable (failure 1)",
                KERNEL.bits()
            )
        );
        assert!(said[1].starts_with("Node 0 DMA: free:127 (buddy 127, pcp 0, "), "{said:?}");
        assert!(said[1].contains(" min:127 low:158 high:189 "), "{said:?}");
        // Nor is it said of those that do not fail in the end.
        let fine =
            || free_pages(alloc_pages(KERNEL | Gfp::__GFP_MEMALLOC, order(0)).unwrap(), order(0));
        assert_eq!(warnings(fine), [""; 0]);
        all.into_iter().for_each(|frame| free_pages(frame, Order::ZERO));
    });
}

#[test]
fn reports_become_rare() {
    on(&[ram(0x4000_0000, 4 * MIB)], |_| {
        let said = warnings(|| {
            for _ in 0..1000 {
                // More than there is: it fails at once.
                assert_eq!(alloc_pages(Gfp::GFP_ATOMIC | Gfp::__GFP_THISNODE, Order::MAX), None);
            }
        });
        let numbers: Vec<_> = said
            .iter()
            .filter_map(|line| line.rsplit_once("(failure ")?.1.strip_suffix(')'))
            .collect();
        let first: Vec<_> = (1..=10).map(|n| format!("{n}")).collect();
        assert_eq!(numbers[..10], first);
        assert_eq!(numbers[10..], ["16", "32", "64", "128", "256", "512"]);
    });
}
