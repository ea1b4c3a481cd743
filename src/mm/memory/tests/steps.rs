//! Steps of edits and their flushes: each is needed, and there are no others.

use super::*;
use crate::arch::hosted::mmu::{Fault as MmuFault, Mutation, Step, Step::*};
use crate::arch::hosted::quiet::quietly;
use std::collections::BTreeSet;
use std::vec::Vec;

const CPU1: CpuId = CpuId::new(1).unwrap();

struct Sequence {
    name: &'static str,
    before: fn(&Rig<'_>),
    steps: fn(&Rig<'_>),
    after: fn(&Rig<'_>),
    taken: &'static [Step],
}

type Outcome = Result<PhysAddr, MmuFault>;

/// All that accesses by a CPU come to in many attempts, without anybody to resolve faults.
fn tries(rig: &Rig<'_>, cpu: CpuId, page: usize, access: cpu_mmu::Access) -> BTreeSet<Outcome> {
    let one = |_| rig.machine.mmu().access_as(cpu, Mode::Unprivileged, address(page), access);
    (0..30).map(one).collect()
}

/// The frame that is mapped at a page.
fn frame(rig: &Rig<'_>, page: usize) -> PhysAddr {
    let mut found = None;
    rig.tables.resident(range(page, 1), |_, what| {
        if let crate::mm::memory::Resident::Page(frame, _) = what {
            found = Some(frame.phys());
        }
    });
    found.expect("a page")
}

/// Checks that both CPUs get this and nothing else.
#[track_caller]
fn check(rig: &Rig<'_>, page: usize, access: cpu_mmu::Access, want: Outcome) {
    for cpu in [CpuId::BOOT, CPU1] {
        let got = tries(rig, cpu, page, access);
        assert_eq!(got, BTreeSet::from([want]), "{access:?} of page {page} by {cpu:?}");
    }
}

/// Writes to pages 0 and 1, which both CPUs then have in their TLBs.
fn two_pages(rig: &Rig<'_>) {
    let area = rig.area(0, 1024, RW);
    for page in [0, 1] {
        rig.write(&area, page, 1).expect("may be written");
    }
    mmu::dsb_ishst();
    for page in [0, 1] {
        for cpu in [CpuId::BOOT, CPU1] {
            let _ = tries(rig, cpu, page, cpu_mmu::Access::Write);
        }
    }
}

fn zero_page_of_two(rig: &Rig<'_>) {
    let area = rig.area(0, 1024, RW);
    assert_eq!(rig.read(&area, 0), Ok(0));
    mmu::dsb_ishst();
    for cpu in [CpuId::BOOT, CPU1] {
        let _ = tries(rig, cpu, 0, cpu_mmu::Access::Read);
    }
}

const MISSING: Outcome = Err(MmuFault::Translation);
const DENIED: Outcome = Err(MmuFault::Permission);

const SEQUENCES: &[Sequence] = &[
    Sequence {
        name: "fault a page in",
        before: two_pages,
        steps: |rig| {
            let area = rig.area(0, 1024, RW);
            assert_eq!(rig.tables.handle_mm_fault(&area, address(2), Access::Write), Ok(()));
        },
        after: |rig| {
            mmu::dsb_ishst();
            mmu::isb();
            check(rig, 2, cpu_mmu::Access::Write, Ok(frame(rig, 2)));
        },
        taken: &[],
    },
    Sequence {
        name: "zap a page",
        before: two_pages,
        steps: |rig| rig.tables.zap(range(0, 1), Zap::All),
        after: |rig| {
            check(rig, 0, cpu_mmu::Access::Read, MISSING);
            check(rig, 1, cpu_mmu::Access::Read, Ok(frame(rig, 1)));
        },
        taken: &[Break, DsbIshst, TlbiVaAsidLast, DsbIsh, Isb],
    },
    Sequence {
        name: "write after a read",
        before: zero_page_of_two,
        steps: |rig| {
            let area = rig.area(0, 1024, RW);
            assert_eq!(rig.tables.handle_mm_fault(&area, address(0), Access::Write), Ok(()));
        },
        after: |rig| {
            mmu::dsb_ishst();
            mmu::isb();
            check(rig, 0, cpu_mmu::Access::Read, Ok(frame(rig, 0)));
        },
        taken: &[Break, DsbIshst, TlbiVaAsidLast, DsbIsh],
    },
    Sequence {
        name: "take the right to write",
        before: two_pages,
        steps: |rig| rig.tables.change_protection(range(0, 1), attrs(Prot::READ), false),
        after: |rig| {
            check(rig, 0, cpu_mmu::Access::Write, DENIED);
            check(rig, 1, cpu_mmu::Access::Write, Ok(frame(rig, 1)));
        },
        taken: &[DsbIshst, TlbiVaAsidLast, DsbIsh, Isb],
    },
    Sequence {
        name: "reuse a page",
        before: |rig| {
            two_pages(rig);
            rig.tables.change_protection(range(0, 1), attrs(Prot::READ), false);
            // As fork leaves it, and as an area that is writable again finds it.
            check(rig, 0, cpu_mmu::Access::Write, DENIED);
        },
        steps: |rig| {
            let area = rig.area(0, 1024, RW);
            assert_eq!(rig.tables.handle_mm_fault(&area, address(0), Access::Write), Ok(()));
        },
        after: |rig| {
            let got = tries(rig, CpuId::BOOT, 0, cpu_mmu::Access::Write);
            assert_eq!(got, BTreeSet::from([Ok(frame(rig, 0))]));
        },
        taken: &[DsbIshst, TlbiVaAsidLocal, DsbNsh, Isb],
    },
    Sequence {
        name: "move a page",
        before: |rig| {
            two_pages(rig);
            rig.write(&rig.area(0, 1024, RW), 600, 1).expect("may be written");
        },
        steps: |rig| {
            let moved = rig.tables.move_tables(address(0), address(601), PAGE_SIZE);
            assert_eq!(moved, Ok(()));
        },
        after: |rig| {
            check(rig, 0, cpu_mmu::Access::Read, MISSING);
            check(rig, 601, cpu_mmu::Access::Read, Ok(frame(rig, 601)));
        },
        taken: &[Break, DsbIshst, TlbiVaAsidLast, DsbIsh, Isb],
    },
    Sequence {
        name: "free a table",
        before: |rig| {
            two_pages(rig);
            rig.write(&rig.area(0, 1024, RW), 600, 1).expect("may be written");
            rig.tables.zap(range(0, 2), Zap::All);
        },
        steps: |rig| rig.tables.free_tables(range(0, 512)),
        after: |rig| {
            two_pages(rig);
            mmu::isb();
            rig.machine.on_cpu(CPU1, mmu::isb);
            check(rig, 0, cpu_mmu::Access::Read, Ok(frame(rig, 0)));
        },
        taken: &[Break, DsbIshst, TlbiVaAsid, DsbIsh],
    },
    Sequence {
        name: "move a table",
        before: two_pages,
        steps: |rig| {
            let moved = rig.tables.move_tables(address(0), address(1024), 512 * PAGE_SIZE);
            assert_eq!(moved, Ok(()));
        },
        after: |rig| {
            check(rig, 0, cpu_mmu::Access::Read, MISSING);
            mmu::dsb_ishst();
            mmu::isb();
            check(rig, 1025, cpu_mmu::Access::Read, Ok(frame(rig, 1025)));
            two_pages(rig);
            mmu::isb();
            rig.machine.on_cpu(CPU1, mmu::isb);
            check(rig, 0, cpu_mmu::Access::Read, Ok(frame(rig, 0)));
        },
        taken: MOVE_A_TABLE,
    },
];

/// A table is moved by one change of its link, and the flush of all that it maps, page by page.
const MOVE_A_TABLE: &[Step] = &{
    let mut steps = [TlbiVaAsid; 516];
    (steps[0], steps[1]) = (Break, DsbIshst);
    (steps[514], steps[515]) = (DsbIsh, Isb);
    steps
};

impl Sequence {
    fn run(&self, seed: u64, mutation: Option<Mutation>) -> Vec<Step> {
        let mut steps = Vec::new();
        Rig::run(seed, TCR, |rig| {
            rig.machine.on_cpu(CPU1, || rig.switch(TCR));
            (self.before)(rig);
            rig.machine.mmu().mutate(mutation);
            (self.steps)(rig);
            steps = rig.machine.mmu().steps();
            rig.machine.mmu().mutate(None);
            (self.after)(rig);
            rig.machine.on_cpu(CPU1, || rig.switch_off());
        });
        steps
    }

    fn is_noticed(&self, mutation: Mutation) -> bool {
        (0..12 * SEEDS).any(|seed| quietly(|| self.run(seed, Some(mutation))).is_err())
    }
}

#[test]
fn each_step_taken_out_is_noticed_and_there_is_no_other() {
    for sequence in SEQUENCES {
        assert_eq!(sequence.run(0, None), sequence.taken, "{}", sequence.name);
        for (n, step) in sequence.taken.iter().enumerate() {
            // Of the invalidations of all pages of a table, those of the two that are there.
            if sequence.taken.len() > 16 && (4..514).contains(&n) {
                continue;
            }
            let noticed = sequence.is_noticed(Mutation::WithoutNth(n));
            assert!(noticed, "{}: nothing goes wrong without step {n}, {step:?}", sequence.name);
        }
    }
}

#[test]
fn nothing_is_noticed_where_nothing_is_wrong() {
    for sequence in SEQUENCES {
        (0..SEEDS).for_each(|seed| drop(sequence.run(seed, None)));
    }
}
