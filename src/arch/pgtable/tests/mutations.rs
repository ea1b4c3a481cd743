//! Every barrier, every TLB invalidation and every break is needed: with any single
//! one taken out of an edit, some CPU of the misbehaving MMU goes wrong.

use super::*;
use crate::addr::{PMD_SIZE, PUD_SIZE};
use crate::arch::hosted::mmu::{Mutation, Step};
use crate::arch::pgtable::{FlushOwed, MapFlags};
use std::any::Any;
use std::boxed::Box;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

const RW: KernelAttrs = KernelAttrs::KERNEL;
const RO: KernelAttrs = KernelAttrs::KERNEL_RO;
const NC: KernelAttrs = KernelAttrs::NORMAL_NC;
const MEM: PhysAddr = PhysAddr::new(0x10_0000_0000);
const OTHER: PhysAddr = PhysAddr::new(0x20_0000_0000);
const NONE: MapFlags = MapFlags::empty();

/// An edit: what is there before it, the edit itself, and what must hold after it.
struct Edit {
    name: &'static str,
    before: fn(&mut Rig<'_>),
    edit: fn(&mut Rig<'_>),
    after: fn(&mut Rig<'_>),
}

fn block() -> VirtRange {
    VirtRange::from_size(VA, PMD_SIZE)
}

/// Maps everything anew to other memory: stale entries come to light.
fn reuse(rig: &mut Rig<'_>, va: VirtRange) {
    rig.mapper().map(va, OTHER, RW, MapFlags::NO_BLOCK | MapFlags::NO_CONT).unwrap();
    rig.check_range(va, Some((OTHER, RW)));
}

const EDITS: &[Edit] = &[
    Edit {
        name: "map pages",
        before: |_| {},
        edit: |rig| rig.mapper().map(pages(0, 3), MEM, RW, NONE).unwrap(),
        after: |rig| rig.check_range(pages(0, 3), Some((MEM, RW))),
    },
    Edit {
        name: "map pages one by one",
        before: |_| {},
        edit: |rig| {
            let frames = (0..3).map(|i| MEM + 4096 * i);
            rig.mapper().map_pages(VA, frames, RW).unwrap();
        },
        after: |rig| rig.check_range(pages(0, 3), Some((MEM, RW))),
    },
    Edit {
        name: "map a block over an empty table",
        before: |rig| {
            rig.mapper().map(pages(0, 1), OTHER, RW, NONE).unwrap();
            rig.mapper().unmap(pages(0, 1)).unwrap().settle();
        },
        edit: |rig| rig.mapper().map(block(), MEM, RW, NONE).unwrap(),
        after: |rig| {
            rig.check_range(block(), Some((MEM, RW)));
            // The table page serves elsewhere.
            let far = VirtRange::from_size(VA + PUD_SIZE, PAGE_SIZE);
            rig.mapper().map(far, OTHER, RW, NONE).unwrap();
            rig.check_range(block(), Some((MEM, RW)));
        },
    },
    Edit {
        name: "unmap pages",
        before: |rig| rig.mapper().map(pages(0, 3), MEM, RW, NONE).unwrap(),
        edit: |rig| rig.mapper().unmap(pages(0, 3)).unwrap().settle(),
        after: |rig| {
            rig.check_range(pages(0, 3), None);
            reuse(rig, pages(0, 3));
        },
    },
    Edit {
        name: "unmap pages, invalidating by range",
        before: |rig| {
            crate::arch::mmu::set_tlb_range(true);
            rig.mapper().map(pages(0, 5), MEM, RW, NONE).unwrap();
        },
        edit: |rig| rig.mapper().unmap(pages(0, 5)).unwrap().settle(),
        after: |rig| {
            rig.check_range(pages(0, 5), None);
            reuse(rig, pages(0, 5));
        },
    },
    Edit {
        name: "unmap part of a contiguous set",
        before: |rig| rig.mapper().map(pages(0, 16), MEM, RW, NONE).unwrap(),
        edit: |rig| {
            let owed = rig.mapper().unmap(pages(0, 4)).unwrap();
            // The rest stays mapped, however late the flush.
            rig.check_range(pages(4, 12), Some((MEM + 0x4000, RW)));
            owed.settle();
        },
        after: |rig| {
            rig.check_range(pages(0, 4), None);
            rig.check_range(pages(4, 12), Some((MEM + 0x4000, RW)));
            reuse(rig, pages(0, 4));
        },
    },
    Edit {
        name: "protect pages",
        before: |rig| rig.mapper().map(pages(0, 3), MEM, RW, NONE).unwrap(),
        edit: |rig| rig.mapper().protect(pages(0, 3), RO).unwrap().settle(),
        after: |rig| rig.check_range(pages(0, 3), Some((MEM, RO))),
    },
    Edit {
        name: "protect part of a contiguous set",
        before: |rig| rig.mapper().map(pages(0, 16), MEM, RW, NONE).unwrap(),
        edit: |rig| {
            let owed = rig.mapper().protect(pages(2, 3), RO).unwrap();
            rig.check_range(pages(5, 11), Some((MEM + 0x5000, RW)));
            owed.settle();
        },
        after: |rig| {
            rig.check_range(pages(2, 3), Some((MEM + 0x2000, RO)));
            rig.check_range(pages(0, 2), Some((MEM, RW)));
        },
    },
    Edit {
        name: "protect a block",
        before: |rig| rig.mapper().map(block(), MEM, RW, NONE).unwrap(),
        edit: |rig| rig.mapper().protect(block(), RO).unwrap().settle(),
        after: |rig| rig.check_range(block(), Some((MEM, RO))),
    },
    Edit {
        name: "hide pages",
        before: |rig| rig.mapper().map(pages(0, 3), MEM, RW, NONE).unwrap(),
        edit: |rig| rig.mapper().set_valid(pages(0, 3), false).unwrap().settle(),
        after: |rig| {
            rig.check_range(pages(0, 3), None);
            rig.mapper().set_valid(pages(0, 3), true).unwrap().settle();
            rig.check_range(pages(0, 3), Some((MEM, RW)));
        },
    },
    Edit {
        name: "show hidden pages",
        before: |rig| {
            rig.mapper().map(pages(0, 3), MEM, RW, NONE).unwrap();
            rig.mapper().set_valid(pages(0, 3), false).unwrap().settle();
        },
        edit: |rig| rig.mapper().set_valid(pages(0, 3), true).unwrap().settle(),
        after: |rig| rig.check_range(pages(0, 3), Some((MEM, RW))),
    },
    Edit {
        name: "hide a single page without a lock, and show it",
        before: |rig| rig.mapper().map(pages(0, 3), MEM, RW, NONE).unwrap(),
        edit: |rig| {
            rig.mapper().set_page_valid(VA, false).unwrap().settle();
            rig.check_range(pages(0, 1), None);
            rig.mapper().set_page_valid(VA, true).unwrap().settle();
        },
        after: |rig| rig.check_range(pages(0, 3), Some((MEM, RW))),
    },
    Edit {
        name: "unmap a block",
        before: |rig| rig.mapper().map(block(), MEM, RW, NONE).unwrap(),
        edit: |rig| rig.mapper().unmap(block()).unwrap().settle(),
        after: |rig| {
            rig.check_range(block(), None);
            reuse(rig, pages(0, 3));
        },
    },
    Edit {
        name: "unmap all of a contiguous set",
        before: |rig| rig.mapper().map(pages(0, 16), MEM, RW, NONE).unwrap(),
        edit: |rig| {
            crate::arch::mmu::set_tlb_range(true);
            rig.mapper().unmap(pages(0, 16)).unwrap().settle();
        },
        after: |rig| {
            rig.check_range(pages(0, 16), None);
            reuse(rig, pages(0, 16));
        },
    },
    Edit {
        name: "change the memory type of a block",
        before: |rig| rig.mapper().map(block(), MEM, RW, NONE).unwrap(),
        edit: |rig| rig.mapper().protect(block(), NC).unwrap().settle(),
        after: |rig| rig.check_range(block(), Some((MEM, NC))),
    },
    Edit {
        name: "split into single pages",
        before: |rig| rig.mapper().map(block(), MEM, RW, NONE).unwrap(),
        edit: |rig| rig.mapper().split_to_pages(pages(5, 1)).unwrap(),
        after: |rig| {
            rig.check_range(block(), Some((MEM, RW)));
            rig.mapper().set_page_valid(VA + 5 * PAGE_SIZE, false).unwrap().settle();
            rig.check_range(pages(5, 1), None);
        },
    },
    Edit {
        name: "unfold a contiguous set to split it",
        before: |rig| rig.mapper().map(pages(0, 16), MEM, RW, NONE).unwrap(),
        edit: |rig| rig.mapper().split(pages(5, 1)).unwrap(),
        after: |rig| {
            rig.check_range(pages(0, 16), Some((MEM, RW)));
            rig.mapper().unmap(pages(5, 1)).unwrap().settle();
            rig.check_range(pages(5, 1), None);
            rig.check_range(pages(6, 10), Some((MEM + 0x6000, RW)));
        },
    },
    Edit {
        name: "split a block of 1 GiB",
        before: |rig| {
            let giant = VirtRange::from_size(VA, PUD_SIZE);
            rig.mapper().map(giant, MEM, RW, NONE).unwrap();
        },
        edit: |rig| rig.mapper().split(block()).unwrap(),
        after: |rig| {
            rig.check_range(block(), Some((MEM, RW)));
            rig.mapper().protect(block(), RO).unwrap().settle();
            rig.check_range(block(), Some((MEM, RO)));
        },
    },
    Edit {
        name: "release tables of several levels, invalidating by range",
        before: |rig| {
            crate::arch::mmu::set_tlb_range(true);
            rig.mapper().map(pages(0, 1), MEM, RW, NONE).unwrap();
            rig.mapper().map(pages(600, 1), MEM, RW, NONE).unwrap();
            rig.mapper().unmap(pages(0, 601)).unwrap().settle();
        },
        edit: |rig| {
            assert_eq!(rig.mapper().prune(pages(0, 601), FlushOwed::NONE), 4);
            rig.mapper().map(pages(8, 1), OTHER, RW, NONE).unwrap();
        },
        after: |rig| {
            rig.check_range(pages(8, 1), Some((OTHER, RW)));
            rig.mapper().map(pages(608, 1), OTHER, RW, NONE).unwrap();
            rig.check_range(pages(608, 1), Some((OTHER, RW)));
            rig.check_range(pages(600, 1), None);
        },
    },
    Edit {
        name: "change the memory type",
        before: |rig| rig.mapper().map(pages(0, 2), MEM, RW, NONE).unwrap(),
        edit: |rig| rig.mapper().protect(pages(0, 2), NC).unwrap().settle(),
        after: |rig| rig.check_range(pages(0, 2), Some((MEM, NC))),
    },
    Edit {
        name: "split a block",
        before: |rig| rig.mapper().map(block(), MEM, RW, NONE).unwrap(),
        edit: |rig| rig.mapper().split(pages(5, 1)).unwrap(),
        after: |rig| {
            rig.check_range(block(), Some((MEM, RW)));
            rig.mapper().protect(pages(5, 1), RO).unwrap().settle();
            rig.check_range(pages(5, 1), Some((MEM + 0x5000, RO)));
        },
    },
    Edit {
        name: "collapse a table",
        before: |rig| {
            rig.mapper().map(block(), MEM, RW, MapFlags::NO_BLOCK).unwrap();
        },
        edit: |rig| rig.mapper().collapse(block()).unwrap(),
        after: |rig| {
            rig.check_range(block(), Some((MEM, RW)));
            let far = VirtRange::from_size(VA + PUD_SIZE, PAGE_SIZE);
            rig.mapper().map(far, OTHER, RW, NONE).unwrap();
            rig.check_range(block(), Some((MEM, RW)));
        },
    },
    Edit {
        name: "unmap and release tables at once",
        before: |rig| rig.mapper().map(pages(0, 3), MEM, RW, NONE).unwrap(),
        edit: |rig| {
            let owed = rig.mapper().unmap(pages(0, 3)).unwrap();
            assert_eq!(rig.mapper().prune(pages(0, 3), owed), 3);
        },
        after: |rig| {
            rig.check_range(pages(0, 3), None);
            reuse(rig, pages(0, 3));
        },
    },
    Edit {
        name: "release tables",
        before: |rig| {
            rig.mapper().map(pages(0, 3), MEM, RW, NONE).unwrap();
            rig.mapper().unmap(pages(0, 3)).unwrap().settle();
        },
        edit: |rig| {
            assert_eq!(rig.mapper().prune(pages(0, 3), FlushOwed::NONE), 3);
            // A new table in the old one's place.
            rig.mapper().map(pages(8, 1), OTHER, RW, NONE).unwrap();
        },
        after: |rig| {
            rig.check_range(pages(8, 1), Some((OTHER, RW)));
            rig.check_range(pages(0, 3), None);
            reuse(rig, pages(0, 3));
        },
    },
];

std::thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Runs `f`, which is expected to panic, without the report of it.
fn quietly<R>(f: impl FnOnce() -> R) -> Result<R, Box<dyn Any + Send>> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let report = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                report(info);
            }
        }));
    });
    QUIET.set(true);
    let result = catch_unwind(AssertUnwindSafe(f));
    QUIET.set(false);
    result
}

/// Runs `edit` with `mutation`; the steps it took.
fn attempt(edit: &Edit, mutation: Option<Mutation>, seed: u64) -> Vec<Step> {
    Rig::run(Config::eager(seed), |rig| {
        (edit.before)(rig);
        rig.machine.mmu().mutate(mutation);
        (edit.edit)(rig);
        let steps = rig.machine.mmu().steps();
        rig.machine.mmu().mutate(None);
        (edit.after)(rig);
        steps
    })
}

/// Whether the mutation is noticed under some seed.
fn noticed(edit: &Edit, mutation: Mutation) -> bool {
    let seeds = if cfg!(miri) { 3 } else { 20 };
    (0..seeds).any(|seed| quietly(|| attempt(edit, Some(mutation), seed)).is_err())
}

#[test]
fn each_step_taken_out_is_noticed() {
    let mut unnoticed = Vec::new();
    for edit in EDITS {
        let steps = attempt(edit, None, 1);
        assert!(steps.len() >= 2);
        for (n, step) in steps.iter().enumerate() {
            if !noticed(edit, Mutation::WithoutNth(n)) {
                unnoticed.push((edit.name, n, *step));
            }
        }
    }
    assert!(unnoticed.is_empty(), "nothing goes wrong without {unnoticed:#?}");
}

#[test]
fn invalidations_that_fall_short_are_noticed() {
    for edit in EDITS {
        let steps = attempt(edit, None, 1);
        let all_levels = [Step::TlbiAll, Step::TlbiVa, Step::TlbiRange];
        if steps.iter().any(|s| all_levels.contains(s)) {
            assert!(noticed(edit, Mutation::LastLevelOnly), "{}: last level only", edit.name);
        }
        let last_level = [Step::TlbiVaLast, Step::TlbiRangeLast];
        if steps.iter().any(|s| all_levels.contains(s) || last_level.contains(s)) {
            assert!(noticed(edit, Mutation::LocalOnly), "{}: local only", edit.name);
        }
    }
}

#[test]
fn nothing_is_noticed_where_nothing_is_wrong() {
    let seeds = if cfg!(miri) { 2 } else { 100 };
    for edit in EDITS {
        for seed in 0..seeds {
            attempt(edit, None, seed);
        }
    }
}

/// What is hidden may change its memory type before the flush for the hiding is done: the
/// change brings an invalidation of its own, and without that it is noticed.
#[test]
fn what_is_hidden_changes_its_type_before_the_flush() {
    let run = |seed, mutation| {
        Rig::run(Config::eager(seed), |rig| {
            rig.mapper().map(pages(0, 2), MEM, RW, NONE).unwrap();
            let _never_settled = rig.mapper().set_valid(pages(0, 2), false).unwrap();
            rig.machine.mmu().mutate(mutation);
            rig.mapper().protect(pages(0, 2), NC).unwrap().settle();
            rig.mapper().set_valid(pages(0, 2), true).unwrap().settle();
            rig.check_range(pages(0, 2), Some((MEM, NC)));
        });
    };
    (0..20).for_each(|seed| run(seed, None));
    let without = Some(Mutation::Without(Step::TlbiVaLast));
    assert!((0..20).any(|seed| quietly(|| run(seed, without)).is_err()));
}
