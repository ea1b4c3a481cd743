//! Translations and faults of stage 2.

use super::*;

/// A guest's address goes through its own tables, whose reads go through stage 2 as well.
#[test]
fn both_stages_translate() {
    for seed in 0..SEEDS {
        Rig::eager(seed, |rig| {
            rig.a.set(0, M, RW);
            rig.a.set(1, N, RO);
            rig.load_stage1(rig.a);
            rig.check_va(0, Ok(M));
            rig.check_va(1, Ok(N));
            rig.check_va(2, missing(2));
            let beyond = rig.tries_by(CPU0, VA + 8 * PAGE_SIZE, Access::Read);
            assert_eq!(beyond, BTreeSet::from([Err(Fault::Translation)]), "the guest's own fault");
        });
    }
}

#[test]
fn a_table_of_stage_1_that_stage_2_keeps_is_told_apart() {
    for (bits, reason) in [(0, Stage2Reason::Translation), (RW & !READ, Stage2Reason::Permission)] {
        Rig::eager(1, |rig| {
            rig.a.set(0, M, RW);
            rig.load_stage1(rig.a);
            rig.on_all(|| enter(rig.b, VTCR, Some(16)));
            (0..3).for_each(|n| rig.b.set(16 + n, RAM + ((32 + n) * PAGE_SIZE) as u64, RW));
            if bits != 0 {
                rig.b.set(19, RAM + (35 * PAGE_SIZE) as u64, bits);
            }
            dsb_ish();
            let fault = Stage2Fault { reason, level: 3, ipa: Some(ipa(19)), s1ptw: true };
            rig.check_va(0, Err(Fault::Stage2(fault)));
        });
    }
}

#[test]
fn rights_are_those_of_stage_2() {
    let cases = [
        (RW, [true, true, true]),
        (RO, [true, false, true]),
        (RW | XN, [true, true, false]),
        (PAGE | AF | WRITE, [false, true, false]),
        (PAGE | AF, [false, false, false]),
    ];
    for (bits, allowed) in cases {
        Rig::eager(3, |rig| {
            rig.a.set(0, M, bits);
            rig.load(rig.a);
            for (access, allowed) in [Access::Read, Access::Write, Access::Exec].iter().zip(allowed)
            {
                rig.check(0, *access, if allowed { Ok(M) } else { DENIED });
            }
        });
    }
}

/// The level of a fault is that of stage 2's table, and an address outside of what VTCR_EL2 says
/// faults at level 0.
#[test]
fn faults_tell_level_and_address() {
    Rig::eager(1, |rig| {
        rig.load(rig.a);
        rig.check(0, Access::Read, missing(0));
        let at = |ipa: u64, level, page| {
            let got = rig.tries_by(CPU1, VirtAddr::new(ipa as usize), Access::Write);
            let want = stage2(Stage2Reason::Translation, level, Some(page));
            assert_eq!(got, BTreeSet::from([want]), "{ipa:#x}");
        };
        at(IPA + (2 << 20) + 0x123, 2, IPA + (2 << 20));
        at(IPA + (1 << 30), 1, IPA + (1 << 30));
        at(8, 1, 0);
        at(1 << 40, 0, 1 << 40);
    });
}

#[test]
fn the_access_flag_is_software_s_or_hardware_s() {
    for seed in 0..SEEDS {
        Rig::eager(seed, |rig| {
            rig.a.set(0, M, RW & !AF);
            rig.load(rig.a);
            rig.check(0, Access::Read, stage2(Stage2Reason::AccessFlag, 3, Some(IPA)));
            // Cached nowhere, so no invalidation is needed.
            rig.a.set(0, M, RW);
            dsb_ishst();
            rig.check(0, Access::Write, Ok(M));
            rig.a.set(1, N, RW & !AF);
            rig.load_with(rig.a, VTCR | HA, None);
            rig.check(1, Access::Read, Ok(N));
            assert_eq!(rig.a.pte(1) & AF, AF);
        });
    }
}

/// The first level and the number of its tables, by VTCR_EL2's T0SZ and SL0.
#[test]
fn root_tables_are_concatenated() {
    let at = VirtAddr::new(0x12_3000);
    for (bits, sl0, level, tables) in [
        (34, 0, Level::Pmd, 16),
        (31, 0, Level::Pmd, 2),
        (31, 1, Level::Pud, 1),
        (40, 1, Level::Pud, 2),
        (43, 1, Level::Pud, 16),
        (40, 2, Level::Pgd, 1),
        (48, 2, Level::Pgd, 1),
    ] {
        Rig::eager(1, |rig| {
            // The last root table, at the largest addresses.
            let root = RAM + 16 * PAGE_SIZE as u64;
            let top = VirtAddr::new((1 << bits) - (1 << 28)) + at.get();
            let word = |table: PhysAddr, level: Level, bits: u64| {
                word_at(table + 8 * level.index(top) as u64).unwrap().store(bits, Relaxed);
            };
            let mut table = root + ((tables - 1) * PAGE_SIZE) as u64;
            let mut next = RAM + 40 * PAGE_SIZE as u64;
            let mut from = level;
            while let Some(down) = from.down() {
                word(table, from, next.get() | 0b11);
                (table, next, from) = (next, next + PAGE_SIZE as u64, down);
            }
            word(table, Level::Pte, M.get() | RW);
            let vtcr = 1 << 31 | (64 - bits) | sl0 << 6;
            rig.load_with(Guest { tables: root, vmid: A }, vtcr, None);
            let got = rig.tries_by(CPU0, top, Access::Read);
            assert_eq!(got, BTreeSet::from([Ok(M)]), "{bits} bits from {level:?}");
        });
    }
}

#[test]
fn a_register_that_is_not_modelled_is_refused() {
    for (vtcr, what) in [
        (VTCR & !(1 << 31), "RES1"),
        (VTCR | 1 << 14, "granule"),
        (VTCR | 1 << 22, "dirty state"),
        (VTCR & !0x3f | 20, "don't start"),
        (VTCR & !0x3f | 34, "don't start"),
    ] {
        // SAFETY: refused.
        let write = || Rig::eager(1, |_| unsafe { write_vtcr(vtcr) });
        assert!(quietly(write).is_err(), "{vtcr:#x}: {what}");
    }
}
