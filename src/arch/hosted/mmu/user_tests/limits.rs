//! Limits that table descriptors set: APTable, PXNTable, UXNTable (Arm ARM D8.4.2).

use super::*;
use std::string::String;

const PXN_TABLE: u64 = 1 << 59;
const UXN_TABLE: u64 = 1 << 60;
const AP_TABLE_NO_EL0: u64 = 1 << 61;
const AP_TABLE_RDONLY: u64 = 1 << 62;
/// A page that EL0 may read, write and execute.
const RWX: u64 = RW & !UXN;

/// Returns the accesses that a program may make to a page that allows all, below a table with
/// `bits` at `level`.
fn allowed(rig: &Rig<'_>, level: Level, bits: u64) -> String {
    let space = rig.a;
    space.link(level, bits);
    space.set(VA, M, RWX);
    rig.load(space, A);
    let all = [(Access::Read, 'r'), (Access::Write, 'w'), (Access::Exec, 'x')];
    let may = |access| rig.tries(CPU1, Mode::El0, VA, access);
    let of = |(access, letter)| match may(access) {
        all if all == only(Ok(M)) => Some(letter),
        all if all == only(DENIED) => None,
        others => panic!("{access:?}: {others:?}"),
    };
    all.into_iter().filter_map(of).collect()
}

#[test]
fn a_table_limits_what_is_below_it_at_any_level() {
    for (bits, may, with_hpd0) in [
        (0, "rwx", "rwx"),
        (AP_TABLE_RDONLY, "rx", "rwx"),
        (UXN_TABLE, "rw", "rwx"),
        (PXN_TABLE, "rwx", "rwx"),
        // What EL0 can't read it may execute.
        (AP_TABLE_NO_EL0, "x", "rwx"),
        (AP_TABLE_RDONLY | UXN_TABLE, "r", "rwx"),
    ] {
        for level in [Level::Pgd, Level::Pud, Level::Pmd] {
            for seed in 0..SEEDS / 3 {
                let run = |tcr| Rig::run(Config::eager(seed), tcr, |rig| allowed(rig, level, bits));
                assert_eq!(run(TCR), may, "{level:?} {bits:#x}");
                assert_eq!(run(TCR | HPD0), with_hpd0, "HPD0, {level:?} {bits:#x}");
            }
        }
    }
}

/// PXNTable stands in for PXN of the leaves.
#[test]
fn a_table_may_keep_the_kernel_from_executing() {
    Rig::eager(1, |rig| {
        rig.a.link(Level::Pud, PXN_TABLE);
        rig.a.set(VA, M, RO & !PXN);
        rig.load(rig.a, A);
        set_pan(false);
        assert_eq!(rig.tries(CPU0, Mode::El1, VA, Access::Exec), only(DENIED));
    });
}

/// EL1 keeps the right to write that APTable takes from EL0 alone.
#[test]
fn a_table_closed_to_el0_is_open_to_el1() {
    Rig::eager(1, |rig| {
        rig.a.link(Level::Pmd, AP_TABLE_NO_EL0);
        rig.a.set(VA, M, RW);
        rig.load(rig.a, A);
        assert_eq!(rig.tries(CPU0, Mode::El1, VA, Access::Write), only(Ok(M)), "PAN is set");
        assert_eq!(rig.tries(CPU0, Mode::Unprivileged, VA, Access::Read), only(DENIED));
    });
}

/// Limits are cached with translations and with pointers to the table; a translation that is
/// walked to from a stale pointer has the former ones.
#[test]
fn former_limits_stay_with_a_pointer_until_it_is_invalidated() {
    let writes = |rig: &Rig<'_>, n| rig.tries(CPU1, Mode::El0, page(n), Access::Write);
    // By a page whose translation was cached, one that had none, and the first one's neighbour.
    let [mut cached, mut fresh, mut neighbour] = [const { BTreeSet::new() }; 3];
    for seed in 0..SEEDS {
        Rig::eager(seed, |rig| {
            for n in 0..3 {
                rig.a.set(page(n), M, RW);
            }
            rig.load(rig.a, A);
            rig.check(VA, Ok(M));
            rig.a.link(Level::Pmd, AP_TABLE_RDONLY);
            dsb_ishst();
            // Leaves alone.
            for n in [0, 2] {
                tlbi_vale1is(VaOp::of_user(page(n), A));
            }
            dsb_ish();
            cached.extend(writes(rig, 0));
            fresh.extend(writes(rig, 2));
            // By address, at all levels: the pointers go, and this page's translations.
            tlbi_vae1is(VaOp::of_user(VA, A));
            dsb_ish();
            rig.check_access(VA, Access::Write, DENIED);
            rig.check_access(page(1), Access::Read, Ok(M));
            neighbour.extend(writes(rig, 2));
            tlbi_aside1is(A);
            dsb_ish();
            rig.check_access(page(2), Access::Write, DENIED);
        });
    }
    assert_eq!([cached, fresh, neighbour], [0; 3].map(|_| either(Ok(M), DENIED)));
}

/// A limit may change in place: it is no change of the address that the table has.
#[test]
#[should_panic(expected = "break-before-make: the Pmd descriptor")]
fn another_table_needs_a_break() {
    Rig::eager(1, |rig| {
        rig.load(rig.a, A);
        rig.a.link(Level::Pmd, AP_TABLE_RDONLY);
        rig.a.set_word(Level::Pmd, VA, rig.b.table(Level::Pte).get() | 0b11);
    });
}

/// The limits of one user don't apply to another who shares the table below them.
#[test]
fn limits_are_of_the_table_that_sets_them() {
    for seed in 0..SEEDS {
        Rig::eager(seed, |rig| {
            rig.a.set(VA, M, RW);
            let shared = rig.a.table(Level::Pte).get() | 0b11;
            rig.a.link(Level::Pmd, AP_TABLE_RDONLY);
            rig.b.set_word(Level::Pmd, VA, 0);
            rig.b.set_word(Level::Pmd, VA, shared);
            for _ in 0..5 {
                rig.load(rig.a, A);
                rig.check_access(VA, Access::Write, DENIED);
                rig.load(rig.b, B);
                rig.check_access(VA, Access::Write, Ok(M));
            }
        });
    }
}
