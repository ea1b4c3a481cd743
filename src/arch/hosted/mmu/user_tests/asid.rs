//! ASIDs: whose translations an invalidation reaches, and how long the others stay.

use super::*;

/// Cached under ASIDs [`A`] and [`B`]; then one CPU runs A.
fn both_cached(rig: &Rig<'_>) {
    rig.a.set(VA, M, RW);
    rig.a.set(page(1), M, RW & !NG);
    rig.b.set(VA, N, RW);
    rig.load(rig.b, B);
    rig.check(VA, Ok(N));
    rig.load(rig.a, A);
    rig.check(VA, Ok(M));
    rig.check(page(1), Ok(M));
}

/// Clears all entries and does `tlbi`; what CPU 1 may read of A's two pages, the second of which
/// is global, and then of B's.
fn after(seed: u64, tlbi: fn()) -> [BTreeSet<Outcome>; 3] {
    Rig::eager(seed, |rig| {
        both_cached(rig);
        rig.a.clear(VA);
        rig.a.clear(page(1));
        rig.b.clear(VA);
        dsb_ishst();
        tlbi();
        dsb_ish();
        isb();
        let mine = [rig.reads(CPU1, VA), rig.reads(CPU1, page(1))];
        rig.load(rig.b, B);
        let [one, global] = mine;
        [one, global, rig.reads(CPU1, VA)]
    })
}

#[test]
fn an_invalidation_reaches_its_asid_and_no_other() {
    type Case = (&'static str, fn(), [bool; 3]);
    // Whether A's page, the global one, and B's stay.
    let cases: [Case; 14] = [
        ("nothing", || (), [true, true, true]),
        ("VALE1IS A", || tlbi_vale1is(VaOp::of_user(page(0), A)), [false, true, true]),
        ("VALE1IS B", || tlbi_vale1is(VaOp::of_user(page(0), B)), [true, true, false]),
        ("VALE1IS 3", || tlbi_vale1is(VaOp::of_user(page(0), 3)), [true, true, true]),
        ("VAE1IS A", || tlbi_vae1is(VaOp::of_user(page(0), A)), [false, true, true]),
        // A global entry is reached by its address under any ASID.
        ("VALE1IS B, 2nd page", || tlbi_vale1is(VaOp::of_user(page(1), B)), [true, false, true]),
        (
            "RVALE1IS A",
            || tlbi_rvale1is(RangeOp::largest_of_user(VA, 2, A).unwrap()),
            [false, false, true],
        ),
        (
            "RVAE1IS B",
            || tlbi_rvae1is(RangeOp::largest_of_user(VA, 2, B).unwrap()),
            [true, false, false],
        ),
        (
            "RVALE1IS elsewhere",
            || {
                tlbi_rvale1is(RangeOp::largest_of_user(page(2), 2, A).unwrap());
            },
            [true, true, true],
        ),
        ("ASIDE1IS A", || tlbi_aside1is(A), [false, true, true]),
        ("ASIDE1IS B", || tlbi_aside1is(B), [true, true, false]),
        ("VAALE1IS", || tlbi_vaale1is(VirtAddr::new(VA.get())), [false, true, false]),
        ("VMALLE1IS", tlbi_vmalle1is, [false, false, false]),
        // CPU 0's own.
        ("VALE1", || tlbi_vale1(VaOp::of_user(page(0), A)), [true, true, true]),
    ];
    for (name, tlbi, [mine, global, other]) in cases {
        let may = |stays, pa| if stays { either(Ok(pa), MISSING) } else { only(MISSING) };
        let want = [may(mine, M), may(global, M), may(other, N)];
        for seed in 0..SEEDS {
            assert_eq!(after(seed, tlbi), want, "{name}");
        }
    }
}

#[test]
fn an_entry_stays_over_any_number_of_switches() {
    for seed in 0..SEEDS {
        Rig::eager(seed, |rig| {
            both_cached(rig);
            rig.a.clear(VA);
            dsb_ishst();
            for _ in 0..20 {
                rig.load(rig.b, B);
                rig.check(VA, Ok(N));
                rig.load(rig.a, A);
                assert_eq!(rig.reads(CPU1, VA), either(Ok(M), MISSING));
            }
            tlbi_vale1is(VaOp::of_user(VA, A));
            dsb_ish();
            rig.check(VA, MISSING);
        });
    }
}

#[test]
fn a_global_entry_is_served_to_every_user() {
    for seed in 0..SEEDS {
        Rig::eager(seed, |rig| {
            both_cached(rig);
            rig.load(rig.b, B);
            assert_eq!(rig.reads(CPU1, page(1)), either(Ok(M), MISSING));
        });
    }
}

/// A user with a new ASID finds its own tables alone, though another maps the same address.
#[test]
fn a_fresh_asid_needs_no_invalidation() {
    for seed in 0..SEEDS {
        Rig::eager(seed, |rig| {
            both_cached(rig);
            rig.load(rig.b, 3);
            rig.check(VA, Ok(N));
        });
    }
}

#[test]
#[should_panic(expected = "break-before-make: CPU")]
fn two_users_under_one_asid_are_noticed() {
    Rig::eager(1, |rig| {
        both_cached(rig);
        rig.load(rig.b, A);
        rig.check(VA, Ok(N));
    });
}

/// A change without a break is none of the walker's business while no CPU has the tables; the
/// entry that is left shows when one does.
#[test]
#[should_panic(expected = "break-before-make: CPU")]
fn a_change_under_an_asid_that_is_away_needs_an_invalidation() {
    Rig::eager(1, |rig| {
        both_cached(rig);
        rig.load(rig.b, B);
        rig.a.set(VA, N, RW);
        dsb_ish();
        rig.load(rig.a, A);
        rig.check(VA, Ok(N));
    });
}

#[test]
#[should_panic(expected = "break-before-make: the Pte descriptor")]
fn a_change_without_a_break_is_noticed() {
    Rig::run(Config { seed: 1, cpus: 0, eagerness: 0 }, TCR, |rig| {
        rig.a.set(VA, M, RW);
        rig.load(rig.a, A);
        rig.a.set(VA, N, RW);
    });
}

/// The second CPU still has the tables; the first has left them and is synchronized.
#[test]
#[should_panic(expected = "break-before-make: the Pte descriptor")]
fn tables_count_while_one_cpu_has_them() {
    Rig::run(Config { seed: 1, cpus: 0, eagerness: 0 }, TCR, |rig| {
        rig.a.set(VA, M, RW);
        rig.load(rig.a, A);
        set_ttbr0(rig.b, B);
        isb();
        rig.a.set(VA, N, RW);
    });
}

/// A CPU may walk the tables that it has left until its `isb`.
#[test]
#[should_panic(expected = "break-before-make: the Pte descriptor")]
fn tables_count_until_the_isb_after_a_switch() {
    Rig::run(Config { seed: 1, cpus: 0, eagerness: 0 }, TCR, |rig| {
        rig.a.set(VA, M, RW);
        rig.load(rig.a, A);
        rig.load(rig.b, B);
        set_ttbr0(rig.a, A);
        isb();
        set_ttbr0(rig.b, B);
        rig.a.set(VA, N, RW);
    });
}

/// `isb`, or an exception return, is what a switch takes effect by; before, either is walked.
#[test]
fn a_switch_takes_effect_at_the_next_synchronization() {
    for seed in 0..SEEDS {
        Rig::eager(seed, |rig| {
            both_cached(rig);
            set_ttbr0(rig.b, B);
            assert_eq!(rig.reads(CPU0, VA), either(Ok(M), Ok(N)));
            isb();
            assert_eq!(rig.reads(CPU0, VA), only(Ok(N)));
            set_ttbr0(rig.a, A);
            assert_eq!(rig.reads(CPU0, VA), either(Ok(M), Ok(N)));
            assert_eq!(rig.tries(CPU0, Mode::El0, VA, Access::Read), only(Ok(M)));
            assert_eq!(rig.reads(CPU0, VA), only(Ok(M)), "back from EL0");
        });
    }
}

/// A walk between the write of TTBR0 and the `isb` may be cached under the former ASID.
#[test]
fn a_walk_before_the_isb_caches_under_the_former_asid() {
    let cached = (0..SEEDS).any(|seed| {
        Rig::eager(seed, |rig| {
            rig.load(rig.a, A);
            set_ttbr0(rig.b, B);
            rig.a.set(VA, M, RW);
            isb();
            rig.a.clear(VA);
            dsb_ish();
            set_ttbr0(rig.a, A);
            isb();
            rig.reads(CPU0, VA).contains(&Ok(M))
        })
    });
    assert!(cached);
}

/// Without TCR_EL1.AS an ASID is 8 bits, in TTBR0_EL1 and in operands.
#[test]
fn narrow_asids_are_told_apart_by_eight_bits() {
    for (tcr, wide) in [(TCR, true), (TCR & !AS, false)] {
        for seed in 0..SEEDS {
            Rig::run(Config::eager(seed), tcr, |rig| {
                rig.a.set(VA, M, RW);
                rig.load(rig.a, 0x101);
                rig.check(VA, Ok(M));
                rig.a.clear(VA);
                dsb_ishst();
                tlbi_vale1is(VaOp::of_user(VA, 1));
                dsb_ish();
                isb();
                let want = if wide { either(Ok(M), MISSING) } else { only(MISSING) };
                assert_eq!(rig.reads(CPU1, VA), want);
            });
        }
    }
}

#[test]
#[should_panic(expected = "TLBI before dsb")]
fn an_invalidation_by_asid_that_may_overtake_its_store_is_noticed() {
    Rig::eager(1, |rig| {
        both_cached(rig);
        rig.a.clear(VA);
        tlbi_aside1is(A);
    });
}

#[test]
fn an_invalidation_of_another_asid_overtakes_nothing() {
    Rig::eager(1, |rig| {
        both_cached(rig);
        rig.a.clear(VA);
        tlbi_aside1is(B);
    });
}

#[test]
#[should_panic(expected = "while CPU")]
fn a_table_page_reused_while_an_asid_that_is_away_points_at_it_is_noticed() {
    Rig::eager(1, |rig| {
        both_cached(rig);
        rig.load(rig.b, B);
        tlbi_aside1is(B);
        dsb_ish();
        clear_table(rig.a.words(Level::Pte));
    });
}

#[test]
#[should_panic(expected = "is cleared while linked")]
fn a_root_reused_while_a_cpu_has_it_is_noticed() {
    Rig::eager(1, |rig| {
        set_ttbr0(rig.a, A);
        isb();
        clear_table(rig.a.words(Level::Pgd));
    });
}

/// A frame is out of reach when the invalidation for the last ASID that mapped it is complete.
#[test]
fn a_frame_is_reached_until_all_its_asids_are_invalidated() {
    for seed in 0..SEEDS {
        Rig::eager(seed, |rig| {
            rig.a.set(VA, M, RW);
            rig.b.set(page(3), M, RW);
            rig.load(rig.b, B);
            rig.check(page(3), Ok(M));
            rig.load(rig.a, A);
            rig.check(VA, Ok(M));
            rig.a.clear(VA);
            rig.b.clear(page(3));
            dsb_ishst();
            tlbi_vale1is(VaOp::of_user(VA, A));
            dsb_ish();
            assert!(rig.mmu().reaches(M));
            tlbi_vale1is(VaOp::of_user(page(3), B));
            assert!(rig.mmu().reaches(M), "not complete yet");
            dsb_ish();
            assert!(!rig.mmu().reaches(M));
        });
    }
}

#[test]
fn a_seed_repeats_itself() {
    let trace = |seed| {
        Rig::run(Config { seed, cpus: 2, eagerness: 100 }, TCR | HA | HD, |rig| {
            rig.a.set(VA, M, (RO & !AF) | DBM);
            set_ttbr0(rig.a, A);
            let reads = (0..100).map(|_| rig.mmu().read_as(Mode::Unprivileged, VA).is_ok());
            let mapped: Vec<_> = reads.map(|r| (r, rig.a.pte(VA))).collect();
            rig.a.clear(VA);
            dsb_ishst();
            let stale: Vec<_> =
                (0..100).map(|_| rig.mmu().access_as(CPU0, Mode::El0, VA, Access::Read)).collect();
            (mapped, stale)
        })
    };
    assert_eq!(trace(7), trace(7));
    assert_ne!(trace(7), trace(8));
}
