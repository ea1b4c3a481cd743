//! Walks of the lower half: where they start, when there are none, and tables of several users.

use super::*;

/// EPD0 stops walks, and what is cached is served all the same.
#[test]
fn epd0_stops_walks_and_leaves_what_is_cached() {
    for seed in 0..SEEDS {
        Rig::eager(seed, |rig| {
            rig.a.set(VA, M, RW);
            rig.load(rig.a, A);
            rig.check(VA, Ok(M));
            rig.on_all(|| set_tcr(TCR | EPD0));
            for cpu in [CPU0, CPU1] {
                assert_eq!(rig.reads(cpu, VA), either(Ok(M), MISSING));
            }
            tlbi_vmalle1is();
            dsb_ish();
            rig.check(VA, MISSING);
            // TCR_EL1 is a register as TTBR0_EL1 is.
            set_tcr(TCR);
            assert_eq!(rig.reads(CPU0, VA), either(Ok(M), MISSING));
            isb();
            assert_eq!(rig.reads(CPU0, VA), only(Ok(M)));
        });
    }
}

/// T0SZ says how many bits are translated, and with that at which level a walk starts.
#[test]
fn t0sz_is_where_the_lower_half_ends() {
    let low = UserAddr::new(0x12_3456_7000).unwrap();
    // T0SZ, the first level, and the top bit of addresses.
    let cases = [(16, Level::Pgd, 47), (24, Level::Pgd, 39), (25, Level::Pud, 38)];
    for (t0sz, start, top_bit) in cases {
        for seed in 0..SEEDS {
            let va = low.checked_add((seed as usize & 1) << top_bit).unwrap();
            Rig::run(Config::eager(seed), TCR & !0x3f | t0sz, |rig| {
                let tables = Space(RAM + 16 * PAGE_SIZE as u64);
                for level in [Level::Pgd, Level::Pud, Level::Pmd] {
                    let next = tables.table(level.down().unwrap()).get() | 0b11;
                    tables.set_word(level, va, next);
                }
                tables.set(va, M, RW);
                rig.load(Space(tables.table(start)), A);
                rig.check(va, Ok(M));
                if top_bit < 47 {
                    rig.check(low.checked_add(2 << top_bit).unwrap(), MISSING);
                }
                for beyond in [1 << 48, 1 << 54, 0xff << 56] {
                    let va = VirtAddr::new(va.get() | beyond);
                    let got = rig.mmu().access_as(CPU0, Mode::El0, va, Access::Read);
                    assert_eq!(got, MISSING);
                }
            });
        }
    }
}

#[test]
fn tbi0_takes_the_top_byte_for_a_tag() {
    let tagged = VirtAddr::new(VA.get() | 0x5a << 56);
    for (tcr, want) in [(TCR, MISSING), (TCR | TBI0, Ok(M))] {
        Rig::run(Config::eager(1), tcr, |rig| {
            rig.a.set(VA, M, RW);
            rig.load(rig.a, A);
            for cpu in [CPU0, CPU1] {
                assert_eq!(rig.mmu().access_as(cpu, Mode::El0, tagged, Access::Read), want);
            }
        });
    }
}

#[test]
fn a_machine_walks_no_lower_half_until_it_is_told_to() {
    Machine::run(&[PhysRange::from_size(RAM, 16 * PAGE_SIZE as u64)], |machine| {
        machine.mmu().attach(RAM, Config::eager(1));
        for mode in [Mode::El1, Mode::Unprivileged, Mode::El0] {
            assert_eq!(machine.mmu().access_as(CPU0, mode, VA, Access::Read), MISSING);
        }
        assert_eq!(read_ttbr0(), 0);
        set_ttbr0(Space(RAM), A);
        assert_eq!(read_ttbr0(), RAM.get() | 1 << 48);
    });
}

/// TTBR0_EL1 and TCR_EL1 may take effect in either order.
#[test]
#[should_panic(expected = "which is no RAM")]
fn walks_that_are_let_go_before_their_root_is_there_are_noticed() {
    Machine::run(&[PhysRange::from_size(RAM, 16 * PAGE_SIZE as u64)], |machine| {
        machine.mmu().attach(RAM, Config::eager(1));
        set_ttbr0(Space(RAM + PAGE_SIZE as u64), A);
        set_tcr(TCR);
    });
}

#[test]
fn walks_are_let_go_when_their_root_is_there() {
    Machine::run(&[PhysRange::from_size(RAM, 16 * PAGE_SIZE as u64)], |machine| {
        machine.mmu().attach(RAM, Config::eager(1));
        set_ttbr0(Space(RAM + PAGE_SIZE as u64), A);
        isb();
        set_tcr(TCR);
        isb();
        assert_eq!(machine.mmu().access_as(CPU0, Mode::El0, VA, Access::Read), MISSING);
    });
}

#[test]
#[should_panic(expected = "T0SZ is not 16 to 39")]
fn a_register_that_is_not_modelled_is_refused() {
    Rig::eager(1, |_| set_tcr(TCR & !0x3f));
}

/// Two users share a last-level table.
fn share(rig: &Rig<'_>) {
    rig.a.set(VA, M, RW);
    let shared = rig.a.table(Level::Pte).get();
    rig.b.set_word(Level::Pmd, VA, 0);
    rig.b.set_word(Level::Pmd, VA, shared | 0b11);
    dsb_ishst();
    rig.machine.on_cpu(CPU1, || {
        set_ttbr0(rig.b, B);
        isb();
    });
    set_ttbr0(rig.a, A);
    isb();
    assert_eq!(rig.tries(CPU0, Mode::El0, VA, Access::Read), only(Ok(M)));
    assert_eq!(rig.tries(CPU1, Mode::El0, VA, Access::Read), only(Ok(M)));
}

/// A change of a shared table is owed to the ASIDs of all who share it.
#[test]
fn a_shared_table_needs_the_invalidation_of_each_asid() {
    for seed in 0..SEEDS {
        Rig::eager(seed, |rig| {
            share(rig);
            rig.a.clear(VA);
            dsb_ishst();
            tlbi_vale1is(VaOp::of_user(VA, A));
            dsb_ish();
            assert_eq!(rig.tries(CPU0, Mode::El0, VA, Access::Read), only(MISSING));
            assert_eq!(rig.reads(CPU1, VA), either(Ok(M), MISSING));
            tlbi_vale1is(VaOp::of_user(VA, B));
            dsb_ish();
            assert_eq!(rig.reads(CPU1, VA), only(MISSING));
        });
    }
}

#[test]
#[should_panic(expected = "TLBI before dsb")]
fn an_invalidation_for_one_sharer_may_overtake_the_store_of_another() {
    Rig::eager(1, |rig| {
        share(rig);
        rig.a.clear(VA);
        tlbi_vale1is(VaOp::of_user(VA, B));
    });
}

/// A table stays in use while one of its users has it.
#[test]
#[should_panic(expected = "is cleared while linked")]
fn a_shared_table_stays_linked_for_the_other_user() {
    Rig::eager(1, |rig| {
        share(rig);
        rig.a.set_word(Level::Pmd, VA, 0);
        dsb_ishst();
        tlbi_aside1is(A);
        dsb_ish();
        clear_table(rig.a.words(Level::Pte));
    });
}
