//! Access flag and dirty state, by software and by hardware.

use super::*;

const OLD: u64 = RW & !AF;
/// Clean, with the dirty state kept by hardware.
const CLEAN: u64 = RO | DBM;
const UNFLAGGED: Outcome = Err(Fault::AccessFlag);

fn run(seed: u64, tcr: u64, pte: u64, f: impl FnOnce(&Rig<'_>)) {
    Rig::run(Config::eager(seed), tcr, |rig| {
        rig.a.set(VA, M, pte);
        rig.load(rig.a, A);
        f(rig);
    });
}

fn state(rig: &Rig<'_>) -> (bool, bool) {
    (rig.a.pte(VA) & AF != 0, rig.a.pte(VA) & RDONLY == 0)
}

/// The fault comes before any want of permission, and the entry is cached nowhere: when software
/// has set the flag, no invalidation is needed.
#[test]
fn without_hardware_an_access_faults_until_software_sets_the_flag() {
    for seed in 0..SEEDS {
        run(seed, TCR, OLD | RDONLY, |rig| {
            rig.check(VA, UNFLAGGED);
            rig.check_access(VA, Access::Write, UNFLAGGED);
            assert_eq!(state(rig), (false, false));
            rig.a.set(VA, M, RO);
            dsb_ishst();
            rig.check(VA, Ok(M));
            rig.check_access(VA, Access::Write, DENIED);
        });
    }
}

#[test]
fn the_store_of_the_flag_needs_its_barrier() {
    let missed = (0..SEEDS).any(|seed| {
        Rig::run(Config { seed, cpus: 2, eagerness: 0 }, TCR, |rig| {
            rig.a.set(VA, M, OLD);
            rig.load(rig.a, A);
            dsb_ish();
            rig.a.set(VA, M, RW);
            rig.tries(CPU1, Mode::El0, VA, Access::Read).contains(&UNFLAGGED)
        })
    });
    assert!(missed);
}

#[test]
fn with_hardware_an_access_sets_the_flag() {
    for seed in 0..SEEDS {
        for access in [Access::Read, Access::Write] {
            run(seed, TCR | HA, OLD, |rig| {
                rig.check_access(VA, access, Ok(M));
                assert_eq!(state(rig), (true, true));
            });
        }
    }
}

/// Speculation may set the flag of a page that nobody accesses, and need not.
#[test]
fn with_hardware_the_flag_may_come_by_speculation() {
    let set: BTreeSet<_> = (0..40)
        .map(|seed| {
            let mut flag = false;
            run(seed, TCR | HA, OLD, |rig| {
                rig.a.set(page(1), M, OLD);
                flag = rig.a.pte(page(1)) & AF != 0;
            });
            flag
        })
        .collect();
    assert_eq!(set, BTreeSet::from([false, true]));
}

/// An entry that is cached sets no flag; the flag of one that is aged comes back when the
/// invalidation is complete.
#[test]
fn an_aged_page_is_missed_until_it_is_invalidated() {
    let aged = |seed, invalidate: bool| {
        let mut flag = false;
        // Not eager, so that no walk finds the word while it is stored.
        Rig::run(Config { seed, cpus: 2, eagerness: 0 }, TCR | HA, |rig| {
            rig.a.set(VA, M, RW);
            rig.load(rig.a, A);
            rig.check(VA, Ok(M));
            rig.a.set(VA, M, OLD);
            dsb_ishst();
            if invalidate {
                tlbi_vale1is(VaOp::of_user(VA, A));
                dsb_ish();
            }
            rig.mmu().access_as(CPU1, Mode::El0, VA, Access::Read).unwrap();
            flag = rig.a.pte(VA) & AF != 0;
        });
        flag
    };
    let seeds = 0..SEEDS;
    assert!(seeds.clone().any(|seed| !aged(seed, false)));
    assert!(seeds.clone().all(|seed| aged(seed, true)));
}

#[test]
fn with_hardware_a_write_makes_a_clean_page_dirty() {
    for seed in 0..SEEDS {
        run(seed, TCR | HA | HD, CLEAN, |rig| {
            rig.check(VA, Ok(M));
            assert_eq!(state(rig), (true, false), "a read leaves it clean");
            rig.check_access(VA, Access::Write, Ok(M));
            assert_eq!(state(rig), (true, true));
        });
        run(seed, TCR | HA | HD, CLEAN & !AF, |rig| {
            rig.check_access(VA, Access::Write, Ok(M));
            assert_eq!(state(rig), (true, true));
        });
    }
}

/// Dirty state takes HD, HA, DBM, and the right to write without AP\[2\].
#[test]
fn a_page_stays_clean_where_a_write_is_not_allowed() {
    for (tcr, pte, mode) in [
        (TCR, CLEAN, Mode::El0),
        (TCR | HA, CLEAN, Mode::El0),
        (TCR | HD, CLEAN, Mode::El0),
        (TCR | HA | HD, RO, Mode::El0),
        (TCR | HA | HD, CLEAN & !EL0, Mode::El0),
        (TCR | HA | HD, CLEAN & !EL0, Mode::Unprivileged),
        // PAN.
        (TCR | HA | HD, CLEAN, Mode::El1),
    ] {
        for seed in 0..SEEDS {
            run(seed, tcr, pte, |rig| {
                assert_eq!(rig.tries(CPU0, mode, VA, Access::Write), only(DENIED));
                assert_eq!(state(rig), (true, false));
            });
        }
    }
    for mode in [Mode::Unprivileged, Mode::El1] {
        run(1, TCR | HA | HD, CLEAN, |rig| {
            set_pan(false);
            assert_eq!(rig.tries(CPU0, mode, VA, Access::Write), only(Ok(M)));
            assert_eq!(state(rig), (true, true), "{mode:?}");
        });
    }
}

/// A table that is linked read-only keeps its pages clean.
#[test]
fn a_page_stays_clean_below_a_read_only_table() {
    for seed in 0..SEEDS {
        Rig::run(Config::eager(seed), TCR | HA | HD, |rig| {
            rig.a.link(Level::Pmd, 1 << 62);
            rig.a.set(VA, M, CLEAN);
            rig.load(rig.a, A);
            rig.check_access(VA, Access::Write, DENIED);
            assert_eq!(state(rig), (true, false));
        });
    }
}

/// A write through a stale entry that is clean finds the descriptor gone, and doesn't revive it;
/// through one that is dirty it is done until the invalidation is complete.
#[test]
fn a_write_by_a_stale_entry_is_done_if_the_page_was_dirty() {
    for seed in 0..SEEDS {
        for (pte, stale) in [(CLEAN, only(MISSING)), (CLEAN & !RDONLY, either(Ok(M), MISSING))] {
            run(seed, TCR | HA | HD, pte, |rig| {
                rig.check(VA, Ok(M));
                let old = swap_descriptor(rig.a.word(Level::Pte, VA), Descriptor::INVALID);
                assert_eq!(old.bits(), M.get() | pte);
                dsb_ishst();
                assert_eq!(rig.tries(CPU1, Mode::El0, VA, Access::Write), stale);
                assert_eq!(rig.a.pte(VA), 0);
                tlbi_vale1is(VaOp::of_user(VA, A));
                dsb_ish();
                rig.check_access(VA, Access::Write, MISSING);
            });
        }
    }
}

/// Write protection for copy on write: the entry that is clean yet is of no use to a write once
/// DBM is gone from memory.
#[test]
fn a_write_by_a_stale_clean_entry_sees_write_protection() {
    for seed in 0..SEEDS {
        run(seed, TCR | HA | HD, CLEAN, |rig| {
            rig.check(VA, Ok(M));
            let old = Descriptor::from_bits(rig.a.pte(VA));
            let new = Descriptor::from_bits(M.get() | RO);
            assert!(exchange_descriptor(rig.a.word(Level::Pte, VA), old, new));
            dsb_ishst();
            assert_eq!(rig.tries(CPU1, Mode::El0, VA, Access::Write), only(DENIED));
            assert_eq!(rig.a.pte(VA), M.get() | RO);
        });
    }
}

/// Programs write at the worst moment: between software's load of a descriptor and its store.
#[test]
#[should_panic(expected = "loses its dirty state")]
fn a_store_over_a_clean_page_in_use_is_noticed() {
    run(1, TCR | HA | HD, CLEAN, |rig| {
        rig.mmu().let_programs_write(true);
        rig.a.clear(VA);
    });
}

#[test]
fn a_swap_sees_what_programs_have_made_dirty() {
    for seed in 0..SEEDS {
        run(seed, TCR | HA | HD, CLEAN, |rig| {
            rig.mmu().let_programs_write(true);
            let old = swap_descriptor(rig.a.word(Level::Pte, VA), Descriptor::INVALID);
            assert_eq!(old.bits(), M.get() | CLEAN & !RDONLY);
        });
    }
}

#[test]
fn an_exchange_fails_where_programs_have_made_the_page_dirty() {
    for seed in 0..SEEDS {
        run(seed, TCR | HA | HD, CLEAN, |rig| {
            rig.mmu().let_programs_write(true);
            let word = rig.a.word(Level::Pte, VA);
            let protected = |old: Descriptor| Descriptor::from_bits(old.bits() & !DBM | RDONLY);
            let clean = read_descriptor(word);
            assert!(!exchange_descriptor(word, clean, protected(clean)));
            let dirty = read_descriptor(word);
            assert_eq!(dirty.bits(), M.get() | CLEAN & !RDONLY);
            assert!(exchange_descriptor(word, dirty, protected(dirty)));
            assert_eq!(rig.a.pte(VA), M.get() | RO);
        });
    }
}

/// Programs write where they run: a user's page that no other CPU has loaded stays clean.
#[test]
fn programs_write_on_cpus_that_have_their_tables() {
    run(1, TCR | HA | HD, CLEAN, |rig| {
        rig.machine.on_cpu(CPU1, || {
            set_ttbr0(rig.b, B);
            isb();
        });
        rig.mmu().let_programs_write(true);
        let old = swap_descriptor(rig.a.word(Level::Pte, VA), Descriptor::INVALID);
        assert_eq!(old.bits(), M.get() | CLEAN);
    });
}
