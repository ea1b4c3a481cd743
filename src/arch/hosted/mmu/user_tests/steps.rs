//! Sequences each of whose steps is needed: with any one left out, what must hold afterwards
//! doesn't, or the MMU notices.

use super::*;

/// A sequence of steps, the state before it, and the checks of the state after it.
struct Sequence {
    name: &'static str,
    before: fn(&Rig<'_>),
    steps: fn(&Rig<'_>),
    after: fn(&Rig<'_>),
}

impl Sequence {
    fn run(&self, seed: u64, tcr: u64, mutation: Option<Mutation>) -> Vec<Step> {
        Rig::run(Config::eager(seed), tcr, |rig| {
            (self.before)(rig);
            rig.mmu().mutate(mutation);
            (self.steps)(rig);
            let steps = rig.mmu().steps();
            rig.mmu().mutate(None);
            (self.after)(rig);
            steps
        })
    }

    fn is_noticed(&self, tcr: u64, mutation: Mutation) -> bool {
        (0..SEEDS).any(|seed| quietly(|| self.run(seed, tcr, Some(mutation))).is_err())
    }
}

fn runs_a(rig: &Rig<'_>) {
    rig.a.set(VA, M, RW);
    rig.a.set(page(1), M, RW);
    rig.load(rig.a, A);
    rig.check(VA, Ok(M));
}

fn ran_a_then_b(rig: &Rig<'_>) {
    runs_a(rig);
    rig.b.set(VA, N, RW);
    rig.load(rig.b, B);
    rig.check(VA, Ok(N));
}

fn is_unmapped(rig: &Rig<'_>) {
    rig.check(VA, MISSING);
    rig.a.set(VA, N, RW);
    dsb_ishst();
    rig.check(VA, Ok(N));
    rig.check(page(1), Ok(M));
}

const SEQUENCES: &[Sequence] = &[
    Sequence {
        name: "map a page",
        before: runs_a,
        steps: |rig| {
            rig.a.set(page(2), N, RW);
            dsb_ishst();
        },
        after: |rig| rig.check(page(2), Ok(N)),
    },
    Sequence {
        name: "unmap a page and go back to EL0",
        before: runs_a,
        steps: |rig| {
            rig.a.clear(VA);
            dsb_ishst();
            tlbi_vale1is(VaOp::of_user(VA, A));
            dsb_ish();
        },
        after: is_unmapped,
    },
    Sequence {
        name: "unmap a page and access it as EL0 would",
        before: runs_a,
        steps: |rig| {
            rig.a.clear(VA);
            dsb_ishst();
            tlbi_vale1is(VaOp::of_user(VA, A));
            dsb_ish();
            isb();
        },
        after: |rig| {
            assert_eq!(rig.reads(CPU0, VA), only(MISSING));
            is_unmapped(rig);
        },
    },
    Sequence {
        name: "unmap pages by range",
        before: runs_a,
        steps: |rig| {
            rig.a.clear(VA);
            dsb_ishst();
            tlbi_rvale1is(RangeOp::largest_of_user(page(0), 2, A).unwrap());
            dsb_ish();
        },
        after: is_unmapped,
    },
    Sequence {
        name: "unmap all by ASID",
        before: runs_a,
        steps: |rig| {
            rig.a.clear(VA);
            dsb_ishst();
            tlbi_aside1is(A);
            dsb_ish();
        },
        after: is_unmapped,
    },
    // No CPU walks the tree, so nothing can be cached anew before the last barrier.
    Sequence {
        name: "unmap a page of a user that doesn't run",
        before: ran_a_then_b,
        steps: |rig| {
            rig.a.clear(VA);
            tlbi_vale1is(VaOp::of_user(VA, A));
            dsb_ish();
        },
        after: |rig| {
            rig.check(VA, Ok(N));
            rig.load(rig.a, A);
            is_unmapped(rig);
        },
    },
    Sequence {
        name: "change a mapping of a user that doesn't run, without a break",
        before: ran_a_then_b,
        steps: |rig| {
            rig.a.set(VA, N, RW);
            tlbi_vale1is(VaOp::of_user(VA, A));
            dsb_ish();
        },
        after: |rig| {
            rig.load(rig.a, A);
            rig.check(VA, Ok(N));
        },
    },
    Sequence {
        name: "write-protect a page",
        before: runs_a,
        steps: |rig| {
            rig.a.set(VA, M, RO);
            dsb_ishst();
            tlbi_vale1is(VaOp::of_user(VA, A));
            dsb_ish();
        },
        after: |rig| {
            rig.check_access(VA, Access::Write, DENIED);
            rig.check_access(page(1), Access::Write, Ok(M));
        },
    },
    Sequence {
        name: "give a page another frame",
        before: runs_a,
        steps: |rig| {
            rig.a.clear(VA);
            dsb_ishst();
            tlbi_vale1is(VaOp::of_user(VA, A));
            dsb_ish();
            rig.a.set(VA, N, RW);
            dsb_ishst();
        },
        after: |rig| rig.check(VA, Ok(N)),
    },
    Sequence {
        name: "switch to another user and go to EL0",
        before: |rig| {
            rig.b.set(VA, N, RW);
            dsb_ishst();
            runs_a(rig);
        },
        steps: |rig| set_ttbr0(rig.b, B),
        after: |rig| assert_eq!(rig.tries(CPU0, Mode::El0, VA, Access::Read), only(Ok(N))),
    },
    Sequence {
        name: "switch to another user and access it as EL0 would",
        before: |rig| {
            rig.b.set(VA, N, RW);
            dsb_ishst();
            runs_a(rig);
        },
        steps: |rig| {
            set_ttbr0(rig.b, B);
            isb();
        },
        after: |rig| assert_eq!(rig.reads(CPU0, VA), only(Ok(N))),
    },
    Sequence {
        name: "give an ASID to another user",
        before: |rig| {
            runs_a(rig);
            rig.load(rig.b, B);
        },
        steps: |_| {
            tlbi_aside1is(A);
            dsb_ish();
        },
        after: |rig| {
            rig.load(rig.b, A);
            rig.check(VA, MISSING);
            rig.b.set(VA, N, RW);
            dsb_ishst();
            rig.check(VA, Ok(N));
        },
    },
    Sequence {
        name: "take all ASIDs back",
        before: |rig| {
            runs_a(rig);
            rig.load(rig.b, B);
        },
        steps: |_| {
            tlbi_vmalle1is();
            dsb_ish();
        },
        after: |rig| {
            rig.load(rig.b, A);
            rig.check(VA, MISSING);
        },
    },
    Sequence {
        name: "free a table",
        before: runs_a,
        steps: |rig| {
            rig.a.set_word(Level::Pmd, VA, 0);
            dsb_ishst();
            tlbi_vae1is(VaOp::of_user(VA, A));
            tlbi_vae1is(VaOp::of_user(page(1), A));
            dsb_ish();
        },
        after: |rig| {
            rig.check(VA, MISSING);
            rig.check(page(1), MISSING);
            clear_table(rig.a.words(Level::Pte));
        },
    },
    Sequence {
        name: "free a table, by range",
        before: runs_a,
        steps: |rig| {
            rig.a.set_word(Level::Pmd, VA, 0);
            dsb_ishst();
            tlbi_rvae1is(RangeOp::largest_of_user(VA, 512, A).unwrap());
            dsb_ish();
        },
        after: |rig| {
            rig.check(page(1), MISSING);
            clear_table(rig.a.words(Level::Pte));
        },
    },
    Sequence {
        name: "free the tables of a user that is gone",
        before: ran_a_then_b,
        steps: |_| {
            tlbi_aside1is(A);
            dsb_ish();
        },
        after: |rig| {
            [Level::Pud, Level::Pmd, Level::Pte].iter().for_each(|&l| clear_table(rig.a.words(l)));
            assert!(!rig.mmu().reaches(M));
        },
    },
    Sequence {
        name: "make a table read-only",
        before: runs_a,
        steps: |rig| {
            rig.a.link(Level::Pmd, 1 << 62);
            dsb_ishst();
            tlbi_aside1is(A);
            dsb_ish();
        },
        after: |rig| {
            for va in [VA, page(1)] {
                rig.check_access(va, Access::Write, DENIED);
                rig.check(va, Ok(M));
            }
        },
    },
    Sequence {
        name: "make a table writable again, on this CPU",
        before: |rig| {
            rig.a.link(Level::Pmd, 1 << 62);
            runs_a(rig);
            rig.check_access(VA, Access::Write, DENIED);
        },
        steps: |rig| {
            rig.a.link(Level::Pmd, 0);
            dsb_ishst();
            tlbi_vae1(VaOp::of_user(VA, A));
            dsb_nsh();
        },
        after: |rig| {
            let writes = |cpu| rig.tries(cpu, Mode::El0, VA, Access::Write);
            assert_eq!(writes(CPU0), only(Ok(M)));
            assert!(writes(CPU1).contains(&DENIED), "that CPU has to do it too");
        },
    },
];

#[test]
fn each_step_taken_out_is_noticed() {
    let mut unnoticed = Vec::new();
    for sequence in SEQUENCES {
        let steps = sequence.run(0, TCR, None);
        for (n, step) in steps.iter().enumerate() {
            if !sequence.is_noticed(TCR, Mutation::WithoutNth(n)) {
                unnoticed.push((sequence.name, n, *step));
            }
        }
    }
    assert!(unnoticed.is_empty(), "nothing goes wrong without {unnoticed:#?}");
}

#[test]
fn nothing_is_noticed_where_nothing_is_wrong() {
    for sequence in SEQUENCES {
        (0..SEEDS).for_each(|seed| drop(sequence.run(seed, TCR, None)));
    }
}

/// Hardware that sets the access flag finds it set everywhere here, and clean pages nowhere.
#[test]
fn hardware_updates_change_nothing_where_all_is_accessed() {
    for sequence in SEQUENCES {
        (0..SEEDS).for_each(|seed| drop(sequence.run(seed, TCR | HA | HD, None)));
    }
}

#[test]
fn invalidations_of_this_cpu_alone_are_noticed() {
    use Step::*;
    for sequence in SEQUENCES {
        let broadcast =
            [TlbiAll, TlbiVaAsid, TlbiVaAsidLast, TlbiAsid, TlbiRangeAsid, TlbiRangeAsidLast];
        if sequence.run(0, TCR, None).iter().any(|s| broadcast.contains(s)) {
            assert!(sequence.is_noticed(TCR, Mutation::LocalOnly), "{}", sequence.name);
        }
    }
}

/// An invalidation for a table that is freed, or whose limits change, must reach pointers to
/// tables.
#[test]
fn invalidations_of_the_last_level_alone_are_noticed() {
    let of_tables = SEQUENCES.iter().filter(|s| s.name.contains("table"));
    assert_eq!(of_tables.clone().count(), 5);
    for sequence in of_tables {
        assert!(sequence.is_noticed(TCR, Mutation::LastLevelOnly), "{}", sequence.name);
    }
}

#[test]
fn each_kind_of_step_of_users_is_taken() {
    let taken: BTreeSet<_> = SEQUENCES.iter().flat_map(|s| s.run(0, TCR, None)).collect();
    use Step::*;
    let kinds = [
        TlbiVaAsid,
        TlbiVaAsidLast,
        TlbiVaAsidLocal,
        TlbiAsid,
        TlbiRangeAsid,
        TlbiRangeAsidLast,
        Ttbr0,
    ];
    assert!(taken.is_superset(&BTreeSet::from(kinds)), "{taken:?}");
}
