//! Rights of EL0, of EL1 with and without PAN, and of unprivileged accesses.

use super::*;
use crate::arch::hosted::mmu::rights::{Limits, Rights};
use std::format;

/// The rows of the Arm ARM's tables of permissions (D8.4.1, table D8-59 on): AP[2:1], UXN, PXN,
/// then what EL1 may with PAN clear, with PAN set, what EL0 may, and LDTR and STTR.
const ROWS: [(u64, bool, bool, &str, &str, &str, &str); 16] = [
    (0b00, false, false, "rwx", "rwx", "x", ""),
    (0b00, false, true, "rw", "rw", "x", ""),
    (0b00, true, false, "rwx", "rwx", "", ""),
    (0b00, true, true, "rw", "rw", "", ""),
    (0b01, false, false, "rw", "", "rwx", "rw"),
    (0b01, false, true, "rw", "", "rwx", "rw"),
    (0b01, true, false, "rw", "", "rw", "rw"),
    (0b01, true, true, "rw", "", "rw", "rw"),
    (0b10, false, false, "rx", "rx", "x", ""),
    (0b10, false, true, "r", "r", "x", ""),
    (0b10, true, false, "rx", "rx", "", ""),
    (0b10, true, true, "r", "r", "", ""),
    (0b11, false, false, "rx", "x", "rx", "r"),
    (0b11, false, true, "r", "", "rx", "r"),
    (0b11, true, false, "rx", "x", "r", "r"),
    (0b11, true, true, "r", "", "r", "r"),
];

fn leaf_bits(ap: u64, uxn: bool, pxn: bool) -> u64 {
    PAGE | AF | NG | ap << 6 | u64::from(uxn) << 54 | u64::from(pxn) << 53
}

const LETTERS: [(Access, char); 3] =
    [(Access::Read, 'r'), (Access::Write, 'w'), (Access::Exec, 'x')];

#[test]
fn rights_are_those_of_the_tables() {
    for (ap, uxn, pxn, el1, el1_pan, el0, unprivileged) in ROWS {
        let rights = Rights::new(leaf_bits(ap, uxn, pxn), Limits::default());
        for (access, letter) in LETTERS {
            let may = |mode, pan| rights.allow(mode, pan, access);
            let row = format!("AP {ap:02b}, UXN {uxn}, PXN {pxn}: {access:?}");
            assert_eq!(may(Mode::El1, false), el1.contains(letter), "EL1, {row}");
            assert_eq!(may(Mode::El1, true), el1_pan.contains(letter), "EL1 with PAN, {row}");
            for pan in [false, true] {
                assert_eq!(may(Mode::El0, pan), el0.contains(letter), "EL0, {row}");
                if access != Access::Exec {
                    let may = may(Mode::Unprivileged, pan);
                    assert_eq!(may, unprivileged.contains(letter), "unprivileged, {row}");
                }
            }
        }
    }
}

/// The same through tables and TLBs, but for what a user may not have: pages without PXN.
#[test]
fn accesses_have_the_rights_of_their_mode() {
    for seed in 0..SEEDS {
        Rig::eager(seed, |rig| {
            rig.load(rig.a, A);
            for (ap, uxn, _, el1, el1_pan, el0, unprivileged) in ROWS.into_iter().filter(|r| r.2) {
                rig.a.set(VA, M, leaf_bits(ap, uxn, true));
                dsb_ishst();
                for (mode, pan, may) in [
                    (Mode::El0, true, el0),
                    (Mode::Unprivileged, true, unprivileged),
                    (Mode::El1, true, el1_pan),
                    (Mode::El1, false, el1),
                ] {
                    set_pan(pan);
                    for (access, letter) in LETTERS {
                        if (mode, access) == (Mode::Unprivileged, Access::Exec) {
                            continue;
                        }
                        let want = if may.contains(letter) { Ok(M) } else { DENIED };
                        assert_eq!(rig.tries(CPU0, mode, VA, access), only(want), "{mode:?}");
                    }
                }
                rig.a.clear(VA);
                dsb_ishst();
                tlbi_vale1is(VaOp::of_user(VA, A));
                dsb_ish();
                isb();
            }
        });
    }
}

#[test]
#[should_panic(expected = "executable by the kernel")]
fn a_user_page_without_pxn_is_noticed() {
    Rig::eager(1, |rig| {
        rig.load(rig.a, A);
        rig.a.set(VA, M, RO & !PXN);
    });
}

/// EL0 has no right to the kernel's half, and with E0PD1 it doesn't even walk there.
#[test]
fn the_kernels_half_is_closed_to_el0() {
    let va = VirtAddr::new(0xffff_0000_0000_0000);
    for (tcr, fault) in [(TCR, DENIED), (TCR | E0PD1, MISSING)] {
        for seed in 0..SEEDS {
            Rig::run(Config::eager(seed), tcr, |rig| {
                // Tables of the kernel, by way of pages that belong to no user.
                for (n, level) in [Level::Pgd, Level::Pud, Level::Pmd].into_iter().enumerate() {
                    let table = if n == 0 { RAM } else { RAM + ((11 + n) * PAGE_SIZE) as u64 };
                    let next = RAM + ((12 + n) * PAGE_SIZE) as u64;
                    let word = word_at(table + 8 * level.index(va) as u64).unwrap();
                    write_descriptor(word, Descriptor::table(next));
                }
                let word = word_at(RAM + (14 * PAGE_SIZE) as u64).unwrap();
                let leaf = M.get() | PAGE | AF | PXN | UXN;
                write_descriptor(word, Descriptor::from_bits(leaf));
                dsb_ishst();
                isb();
                let mmu = rig.mmu();
                for access in [Access::Read, Access::Write, Access::Exec] {
                    let by_el0 = mmu.access_as(CPU1, Mode::El0, va, access);
                    assert_eq!(by_el0, fault, "{access:?}");
                }
                assert_eq!(mmu.access_as(CPU1, Mode::Unprivileged, va, Access::Read), fault);
                assert_eq!(mmu.access_as(CPU1, Mode::El1, va, Access::Write), Ok(M));
                // Global, so no invalidation by ASID reaches it.
                assert_eq!(mmu.access(va, Access::Read), Ok(M));
                write_descriptor(word, Descriptor::INVALID);
                dsb_ishst();
                tlbi_aside1is(0);
                dsb_ish();
                isb();
                let reads: BTreeSet<_> = (0..40).map(|_| mmu.access(va, Access::Read)).collect();
                assert_eq!(reads, either(Ok(M), MISSING));
            });
        }
    }
}

#[test]
fn memory_is_read_and_written_as_a_user() {
    Rig::eager(1, |rig| {
        let frame = RAM + 20 * PAGE_SIZE as u64;
        rig.a.set(VA, frame, RW);
        rig.a.set(page(1), frame, RO);
        rig.load(rig.a, A);
        let mmu = rig.mmu();
        let at = |n| page(n).checked_add(8).unwrap();
        assert_eq!(mmu.write_as(Mode::Unprivileged, at(0), 42), Ok(()));
        assert_eq!(mmu.read_as(Mode::El0, at(1)), Ok(42));
        assert_eq!(mmu.write_as(Mode::El0, at(1), 1), Err(Fault::Permission));
        assert_eq!(mmu.read_as(Mode::El1, at(0)), Err(Fault::Permission), "PAN");
        set_pan(false);
        assert_eq!(mmu.read_as(Mode::El1, at(0)), Ok(42));
        assert_eq!(mmu.read_as(Mode::El0, at(2)), Err(Fault::Translation));
    });
}
