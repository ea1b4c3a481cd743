//! Every barrier, every TLB invalidation and every break is needed: with any single
//! one taken out of an edit, some CPU of the misbehaving MMU goes wrong. So it does where
//! what was edited is handed over through a lock to another CPU, whose own barriers can't
//! stand in for those that the editor left out.

use super::*;
use crate::addr::{PMD_SIZE, PUD_SIZE};
use crate::arch::cpu;
use crate::arch::hosted::mmu::{Mutation, Step};
use crate::arch::hosted::quiet::quietly;
use crate::arch::pgtable::{FlushOwed, Leaf, Level, MapError, MapFlags};
use std::collections::BTreeSet;

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
    Edit {
        name: "map a contiguous set",
        before: |_| {},
        edit: |rig| rig.mapper().map(pages(16, 16), MEM, RW, NONE).unwrap(),
        after: |rig| {
            rig.check_range(pages(16, 16), Some((MEM, RW)));
            rig.check_range(pages(32, 2), None);
        },
    },
    Edit {
        name: "map blocks",
        before: |_| {},
        edit: |rig| {
            let va = VirtRange::from_size(VA, 3 * PMD_SIZE);
            rig.mapper().map(va, MEM, RW, NONE).unwrap();
        },
        after: |rig| rig.check_range(block(), Some((MEM, RW))),
    },
    Edit {
        name: "take back a map that ran into another",
        before: |rig| rig.mapper().map(pages(4, 1), OTHER, RW, NONE).unwrap(),
        edit: |rig| {
            let result = rig.mapper().map(pages(0, 8), MEM, RW, NONE);
            assert_eq!(result, Err(MapError::AlreadyMapped));
        },
        after: |rig| {
            rig.check_range(pages(0, 4), None);
            rig.check_range(pages(4, 1), Some((OTHER, RW)));
            reuse(rig, pages(0, 4));
        },
    },
    Edit {
        name: "take back a map that ran out of tables",
        before: |_| {},
        edit: |rig| {
            rig.access.budget = 3;
            let result = rig.mapper().map(pages(508, 8), MEM, RW, NONE);
            assert_eq!(result, Err(MapError::NoMemory));
            rig.access.budget = usize::MAX;
        },
        after: |rig| {
            assert_eq!(rig.access.in_use, 1);
            rig.check_range(pages(508, 8), None);
            reuse(rig, pages(508, 8));
        },
    },
    Edit {
        name: "link a table that is there",
        before: |_| {},
        edit: |rig| {
            let table = Mapper::new_table(&mut rig.access).unwrap();
            let leaf = Leaf { pa: MEM, attrs: RW, contiguous: false, valid: true };
            rig.access.with(table, |t| t.set_leaf(Level::Pud, Level::Pud.index(VA), leaf));
            rig.mapper().graft(VA, table).unwrap();
            mmu::isb();
        },
        after: |rig| rig.check_range(block(), Some((MEM, RW))),
    },
    Edit {
        name: "unmap more pages than are invalidated one by one",
        before: |rig| {
            let va = pages(0, 515);
            rig.mapper().map(va, MEM, RW, MapFlags::NO_BLOCK | MapFlags::NO_CONT).unwrap();
        },
        // Few of them, else it is a long list of breaks; what is owed spans them all.
        edit: |rig| {
            let owed = rig.mapper().unmap(pages(0, 2)).unwrap();
            owed.merge(rig.mapper().unmap(pages(513, 2)).unwrap()).settle();
        },
        after: |rig| {
            for va in [pages(0, 2), pages(513, 2)] {
                rig.check_range(va, None);
                reuse(rig, va);
            }
            rig.check_range(pages(2, 8), Some((MEM + 0x2000, RW)));
        },
    },
    Edit {
        name: "release tables far apart at once",
        before: |rig| {
            rig.mapper().map(pages(0, 1), MEM, RW, NONE).unwrap();
            rig.mapper().map(pages(700, 1), MEM, RW, NONE).unwrap();
        },
        edit: |rig| {
            let owed = rig.mapper().unmap(pages(0, 1)).unwrap();
            let owed = owed.merge(rig.mapper().unmap(pages(700, 1)).unwrap());
            assert_eq!(rig.mapper().prune(pages(0, 701), owed), 4);
        },
        after: |rig| {
            for va in [pages(0, 1), pages(700, 1)] {
                rig.check_range(va, None);
                reuse(rig, va);
            }
        },
    },
    Edit {
        name: "protect a contiguous set",
        before: |rig| rig.mapper().map(pages(0, 16), MEM, RW, NONE).unwrap(),
        edit: |rig| rig.mapper().protect(pages(0, 16), RO).unwrap().settle(),
        after: |rig| rig.check_range(pages(0, 16), Some((MEM, RO))),
    },
    Edit {
        name: "change the memory type of a contiguous set",
        before: |rig| rig.mapper().map(pages(0, 16), MEM, RW, NONE).unwrap(),
        edit: |rig| rig.mapper().protect(pages(0, 16), NC).unwrap().settle(),
        after: |rig| rig.check_range(pages(0, 16), Some((MEM, NC))),
    },
    Edit {
        name: "hide part of a contiguous set",
        before: |rig| rig.mapper().map(pages(0, 16), MEM, RW, NONE).unwrap(),
        edit: |rig| rig.mapper().set_valid(pages(2, 3), false).unwrap().settle(),
        after: |rig| {
            rig.check_range(pages(2, 3), None);
            rig.check_range(pages(5, 11), Some((MEM + 0x5000, RW)));
        },
    },
    Edit {
        name: "unfold a contiguous set of blocks",
        before: |rig| {
            let set = VirtRange::from_size(VA, 16 * PMD_SIZE);
            rig.mapper().map(set, MEM, RW, NONE).unwrap();
        },
        edit: |rig| rig.mapper().split(block()).unwrap(),
        after: |rig| {
            rig.check(VA + PMD_SIZE, Some((MEM + PMD_SIZE as u64, RW)));
            rig.mapper().unmap(block()).unwrap().settle();
            rig.check_range(block(), None);
            rig.check(VA + PMD_SIZE, Some((MEM + PMD_SIZE as u64, RW)));
        },
    },
    Edit {
        name: "collapse a table of blocks, invalidating by range",
        before: |rig| {
            mmu::set_tlb_range(true);
            let giant = VirtRange::from_size(VA, PUD_SIZE);
            rig.mapper().map(giant, MEM, RW, NONE).unwrap();
            rig.mapper().split(block()).unwrap();
        },
        edit: |rig| rig.mapper().collapse(VirtRange::from_size(VA, PUD_SIZE)).unwrap(),
        after: |rig| {
            rig.check_range(block(), Some((MEM, RW)));
            let far = VirtRange::from_size(VA + (1 << 39), PAGE_SIZE);
            rig.mapper().map(far, OTHER, RW, NONE).unwrap();
            rig.check_range(block(), Some((MEM, RW)));
        },
    },
];

/// Result of an edit.
struct Done {
    steps: Vec<Step>,
    /// Table pages given back.
    freed: usize,
}

const OTHER_CPU: CpuId = CpuId::new(1).unwrap();

/// Hands this CPU's knowledge to CPUs that pass later, and takes theirs, as with a lock that is
/// taken and given up.
fn pass() {
    const LOCK: usize = 8;
    cpu::lock_taken(LOCK);
    cpu::lock_given_up(LOCK);
}

/// Runs `edit` with `mutation`, and looks at what came of it; on another CPU if it is
/// `handed_over`.
fn attempt(edit: &Edit, mutation: Option<Mutation>, seed: u64, handed_over: bool) -> Done {
    Rig::run(Config::eager(seed), |rig| {
        (edit.before)(rig);
        let (machine, before) = (rig.machine, rig.access.freed);
        machine.mmu().mutate(mutation);
        (edit.edit)(rig);
        let done = Done { steps: machine.mmu().steps(), freed: rig.access.freed - before };
        machine.mmu().mutate(None);
        if handed_over {
            // Without knowing of the edit.
            machine.on_cpu(OTHER_CPU, mmu::dsb_ish);
            pass();
            machine.on_cpu(OTHER_CPU, || {
                pass();
                (edit.after)(rig);
            });
        } else {
            (edit.after)(rig);
        }
        done
    })
}

/// Returns whether the mutation is noticed under some seed.
fn noticed(edit: &Edit, mutation: Mutation, handed_over: bool) -> bool {
    let seeds = if cfg!(miri) { 3 } else { 20 };
    let attempt = |seed| attempt(edit, Some(mutation), seed, handed_over);
    (0..seeds).any(|seed| quietly(|| attempt(seed)).is_err())
}

#[test]
fn each_step_taken_out_is_noticed() {
    let mut unnoticed = Vec::new();
    for edit in EDITS {
        let steps = attempt(edit, None, 1, false).steps;
        assert!(steps.len() >= 2);
        for (n, step) in steps.iter().enumerate() {
            // Of what is handed over, the other CPU's barriers complete nothing.
            let barrier = matches!(step, Step::DsbIshst | Step::DsbIsh | Step::Isb);
            for handed_over in [false, true] {
                let tried = barrier || !handed_over;
                if tried && !noticed(edit, Mutation::WithoutNth(n), handed_over) {
                    unnoticed.push((edit.name, n, *step, handed_over));
                }
            }
        }
    }
    assert!(unnoticed.is_empty(), "nothing goes wrong without {unnoticed:#?}");
}

/// The edits take every kind of step that `pgtable` has.
#[test]
fn each_kind_of_step_is_taken() {
    let taken: BTreeSet<_> = EDITS.iter().flat_map(|e| attempt(e, None, 1, false).steps).collect();
    use Step::*;
    let all = [DsbIshst, DsbIsh, Isb, TlbiAll, TlbiVa, TlbiVaLast, TlbiRange, TlbiRangeLast, Break];
    assert_eq!(taken, BTreeSet::from(all));
}

#[test]
fn invalidations_that_fall_short_are_noticed() {
    for edit in EDITS {
        let Done { steps, freed } = attempt(edit, None, 1, false);
        if freed > 0 {
            assert!(noticed(edit, Mutation::LastLevelOnly, false), "{}: last level", edit.name);
        }
        use Step::*;
        let all = [TlbiAll, TlbiVa, TlbiVaLast, TlbiRange, TlbiRangeLast];
        if steps.iter().any(|s| all.contains(s)) {
            assert!(noticed(edit, Mutation::LocalOnly, false), "{}: local only", edit.name);
        }
    }
}

#[test]
fn nothing_is_noticed_where_nothing_is_wrong() {
    let seeds = if cfg!(miri) { 2 } else { 100 };
    for edit in EDITS {
        for seed in 0..seeds {
            attempt(edit, None, seed, seed % 2 == 1);
        }
    }
}

/// A CPU may flush pages that another has unmapped, as a purge of vmalloc's areas does: if the
/// other has handed them over, and it has every barrier of its own.
#[test]
fn a_flush_by_another_cpu_needs_the_hand_over_and_each_step() {
    let run = |seed, handed_over: bool, mutation| {
        Rig::run(Config::eager(seed), |rig| {
            rig.mapper().map(pages(0, 3), MEM, RW, NONE).unwrap();
            pass();
            let owed = rig.mapper().unmap(pages(0, 3)).unwrap();
            if handed_over {
                pass();
            }
            rig.machine.on_cpu(OTHER_CPU, || {
                pass();
                rig.machine.mmu().mutate(mutation);
                owed.settle();
                let steps = rig.machine.mmu().steps().len();
                rig.machine.mmu().mutate(None);
                rig.check_range(pages(0, 3), None);
                reuse(rig, pages(0, 3));
                steps
            })
        })
    };
    let seeds = if cfg!(miri) { 0..3 } else { 0..20 };
    let steps = seeds.clone().map(|seed| run(seed, true, None)).max().unwrap();
    for n in 0..steps {
        let without = Some(Mutation::WithoutNth(n));
        let noticed = seeds.clone().any(|seed| quietly(|| run(seed, true, without)).is_err());
        assert!(noticed, "nothing goes wrong without step {n}");
    }
    assert!(seeds.clone().any(|seed| quietly(|| run(seed, false, None)).is_err()));
}

/// A hidden page may change its memory type before the flush for the hiding is done: the change
/// brings an invalidation of its own, and without that it is noticed.
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
