//! Every barrier, every TLB invalidation and every break is needed: with any single
//! one taken out of an edit, some CPU of the misbehaving MMU goes wrong. So it does where
//! what was edited is handed over through a lock to another CPU, whose own barriers can't
//! stand in for those that the editor left out.

mod blocks;
mod edits;
mod pages;

use super::*;
use crate::arch::cpu;
use crate::arch::hosted::mmu::{Mutation, Step};
use crate::arch::hosted::quiet::quietly;
use edits::*;
use std::collections::BTreeSet;

fn all() -> impl Iterator<Item = &'static Edit> {
    pages::EDITS.iter().chain(blocks::EDITS)
}

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
    for edit in all() {
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
    let taken: BTreeSet<_> = all().flat_map(|e| attempt(e, None, 1, false).steps).collect();
    use Step::*;
    let all = [DsbIshst, DsbIsh, Isb, TlbiAll, TlbiVa, TlbiVaLast, TlbiRange, TlbiRangeLast, Break];
    assert_eq!(taken, BTreeSet::from(all));
}

#[test]
fn invalidations_that_fall_short_are_noticed() {
    for edit in all() {
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
    for edit in all() {
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
                owed.flush();
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
            rig.mapper().protect(pages(0, 2), NC).unwrap().flush();
            rig.mapper().set_valid(pages(0, 2), true).unwrap().flush();
            rig.check_range(pages(0, 2), Some((MEM, NC)));
        });
    };
    (0..20).for_each(|seed| run(seed, None));
    let without = Some(Mutation::Without(Step::TlbiVaLast));
    assert!((0..20).any(|seed| quietly(|| run(seed, without)).is_err()));
}
