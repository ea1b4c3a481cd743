//! Entries that stay, and what drops them.

use super::*;

/// Runs `tlbi` after the page 0, which has been used, is taken away; returns what accesses by way of
/// the guest's stage 1 may come to then.
fn after(seed: u64, tlbi: fn(&Rig<'_>)) -> BTreeSet<Outcome> {
    Rig::eager(seed, |rig| {
        rig.a.set(0, M, RW);
        rig.load_stage1(rig.a);
        rig.check_va(0, Ok(M));
        rig.a.clear(0);
        dsb_ishst();
        set_vttbr(rig.a);
        isb();
        tlbi(rig);
        dsb_ish();
        rig.tries_by(CPU1, VA, Access::Read)
    })
}

#[test]
fn what_combines_both_stages_outlives_an_invalidation_by_ipa() {
    let gone = BTreeSet::from([missing(0)]);
    let either = BTreeSet::from([Ok(M), missing(0)]);
    for seed in 0..SEEDS {
        assert_eq!(after(seed, |_| tlbi_ipas2e1is(op(0))), either);
        assert_eq!(after(seed, |_| tlbi_vmalle1is()), either, "stage 2's own stay");
        assert_eq!(after(seed, |_| tlbi_vmalls12e1is()), gone);
        assert_eq!(after(seed, |_| tlbi_alle1is()), gone);
        let both = |_: &Rig<'_>| {
            tlbi_ipas2le1is(op(0));
            dsb_ish();
            tlbi_vmalle1is();
        };
        assert_eq!(after(seed, both), gone);
    }
}

#[test]
fn an_invalidation_is_of_the_current_vmid_and_of_its_addresses() {
    let either = BTreeSet::from([Ok(M), missing(0)]);
    for seed in 0..SEEDS {
        let of_b = |rig: &Rig<'_>| {
            set_vttbr(rig.b);
            isb();
            tlbi_vmalls12e1is();
        };
        assert_eq!(after(seed, of_b), either);
        let of_another = |_: &Rig<'_>| {
            tlbi_ipas2e1is(op(1));
            dsb_ish();
            tlbi_vmalle1is();
        };
        assert_eq!(after(seed, of_another), either);
    }
}

/// Invalidations complete in any order until a DSB, and a walk in between may combine an entry of
/// stage 2 that is still there.
#[test]
fn a_walk_between_two_invalidations_combines_anew() {
    let both = |_: &Rig<'_>| {
        tlbi_ipas2e1is(op(0));
        tlbi_vmalle1is();
    };
    assert!((0..SEEDS).any(|seed| after(seed, both).contains(&Ok(M))));
}

/// Two guests use the same intermediate address, and each finds its own memory.
#[test]
fn guests_are_kept_apart_by_vmid() {
    for seed in 0..SEEDS {
        Rig::eager(seed, |rig| {
            rig.a.set(0, M, RW);
            rig.b.set(0, N, RW);
            for _ in 0..2 {
                rig.load(rig.a);
                rig.check(0, Access::Read, Ok(M));
                rig.load(rig.b);
                rig.check(0, Access::Read, Ok(N));
            }
            assert!(rig.mmu().reaches(M), "over switches");
        });
    }
}

#[test]
#[should_panic(expected = "break-before-make: CPU")]
fn guests_under_one_vmid_are_noticed() {
    (0..SEEDS).for_each(|seed| {
        Rig::eager(seed, |rig| {
            rig.a.set(0, M, RW);
            rig.b.set(0, N, RW);
            rig.load(rig.a);
            rig.check(0, Access::Read, Ok(M));
            rig.load(Guest { vmid: A, ..rig.b });
            rig.tries(0, Access::Read);
        });
    });
}

#[test]
#[should_panic(expected = "break-before-make: the Pte descriptor")]
fn a_frame_changed_in_place_is_noticed() {
    Rig::eager(1, |rig| {
        rig.a.set(0, M, RW);
        rig.load(rig.a);
        rig.check(0, Access::Read, Ok(M));
        rig.a.set(0, N, RW);
    });
}

/// Bit 5 is a part of MemAttr, which no other regime has there.
#[test]
#[should_panic(expected = "break-before-make: the Pte descriptor")]
fn a_memory_type_changed_in_place_is_noticed() {
    Rig::eager(1, |rig| {
        rig.a.set(0, M, RW);
        rig.load(rig.a);
        rig.check(0, Access::Read, Ok(M));
        rig.a.set(0, M, RW & !(1 << 5));
    });
}

#[test]
#[should_panic(expected = "has MemAttr")]
fn a_reserved_memory_type_is_noticed() {
    Rig::eager(1, |rig| {
        rig.a.set(0, M, RW & !(0xf << 2) | 0x4 << 2);
        rig.load(rig.a);
        rig.tries(0, Access::Read);
    });
}

#[test]
#[should_panic(expected = "the host runs under a guest's VMID")]
fn a_host_under_a_guest_s_vmid_is_noticed() {
    Rig::eager(1, |rig| {
        set_vttbr(rig.a);
        let _ = rig.mmu().access(VirtAddr::new(0xffff_8000_0000_0000), Access::Read);
    });
}

#[test]
#[should_panic(expected = "TLBI before dsb")]
fn an_invalidation_that_may_overtake_its_store_is_noticed() {
    Rig::eager(1, |rig| {
        rig.a.set(0, M, RW);
        rig.load(rig.a);
        rig.check(0, Access::Read, Ok(M));
        rig.a.clear(0);
        set_vttbr(rig.a);
        isb();
        tlbi_ipas2e1is(op(0));
    });
}

#[test]
#[should_panic(expected = "while CPU")]
fn a_table_reused_while_stage_2_may_walk_it_is_noticed() {
    Rig::eager(1, |rig| {
        rig.a.set(0, M, RW);
        rig.load(rig.a);
        rig.check(0, Access::Read, Ok(M));
        rig.a.set_word(Level::Pmd, IPA, 0);
        dsb_ishst();
        clear_table(rig.a.words(Level::Pte));
    });
}
