//! Sections that are emptied while there may be no page to move to.

use super::hotplug::{Objects, check, on_384m, section};
use super::*;
use crate::mm::alloc_pages::{FailPageAlloc, set_fail_page_alloc};
use crate::mm::memory_hotplug::*;
use crate::mm::sparse::Section;

/// Each page that is asked for fails in turn, alone and with all that follow: the section is
/// emptied without it or stays online, and nothing is lost either way.
#[test]
fn each_allocation_fails_while_a_section_is_emptied() {
    on_384m(|_| {
        let mut objects = Objects::new();
        (0..24).for_each(|n| assert!(objects.add(n)));
        let used = nr_used_pages();
        let mut refused = 0;
        for times in [1, u32::MAX] {
            for skip in 0.. {
                let home = (0..3).map(section).max_by_key(|&range| objects.inside(range).len());
                let home = home.unwrap();
                let which = FailPageAlloc { skip, interval: 1, times, min_order: Order::ZERO };
                let _ = set_fail_page_alloc(Some(which));
                let result = offline_pages(home);
                let failed = set_fail_page_alloc(None);
                objects.check();
                assert_eq!(nr_used_pages(), used);
                let state = section_state(Section::of(home.start()));
                if result.is_ok() {
                    assert_eq!(state, Some(MemoryState::Offline));
                    assert_eq!(objects.inside(home), []);
                    online_pages(home).unwrap();
                } else {
                    assert!(
                        failed > 0 && matches!(result, Err(HotplugError::Busy(_))),
                        "{result:?}"
                    );
                    assert_eq!(state, Some(MemoryState::Online));
                    refused += 1;
                }
                check();
                if failed == 0 {
                    break;
                }
            }
        }
        assert!(refused > 3, "{refused} times a section had to stay");
    });
}
