//! Steps of edits at stage 2 and their flushes: each is needed, and there are no others.

use super::*;
use crate::arch::hosted::mmu::{Mutation, Step, Step::*};
use crate::arch::hosted::quiet::quietly;

struct Sequence {
    name: &'static str,
    before: fn(&mut Rig<'_>),
    steps: fn(&mut Rig<'_>),
    after: fn(&mut Rig<'_>),
    taken: &'static [Step],
}

impl Sequence {
    fn run(&self, seed: u64, mutation: Option<Mutation>) -> Vec<Step> {
        Rig::run(seed, |rig| {
            (self.before)(rig);
            rig.mmu().mutate(mutation);
            (self.steps)(rig);
            let steps = rig.mmu().steps();
            rig.mmu().mutate(None);
            (self.after)(rig);
            steps
        })
    }

    fn is_noticed(&self, mutation: Mutation) -> bool {
        (0..4 * SEEDS).any(|seed| quietly(|| self.run(seed, Some(mutation))).is_err())
    }
}

fn maps_two(rig: &mut Rig<'_>) {
    rig.map(0, 2, ram());
    rig.check(0, Access::Read, Ok(M));
    rig.check(1, Access::Read, Ok(frame(1)));
}

fn is_gone(rig: &mut Rig<'_>) {
    rig.check(0, Access::Read, missing(0));
    rig.check(1, Access::Read, Ok(frame(1)));
    rig.host_goes_on();
}

fn maps_block(rig: &mut Rig<'_>) {
    rig.mapper().map(pages(0, 512), M, ram(), MapFlags::NO_CONT).unwrap();
    rig.check(3, Access::Read, Ok(frame(3)));
}

const SEQUENCES: &[Sequence] = &[
    Sequence {
        name: "map",
        before: maps_two,
        steps: |rig| rig.map(2, 1, ram()),
        after: |rig| rig.check(2, Access::Write, Ok(frame(2))),
        taken: &[DsbIshst],
    },
    Sequence {
        name: "unmap by IPA",
        before: maps_two,
        steps: |rig| {
            let owed = rig.mapper().zap(pages(0, 1), |_, _, _| ()).unwrap();
            owed.flush(rig.access.vm);
        },
        after: is_gone,
        taken: &[Break, DsbIshst, Vttbr, Isb, TlbiIpaLast, DsbIsh, TlbiAll, DsbIsh, Vttbr, Isb],
    },
    Sequence {
        name: "unmap by range",
        before: maps_two,
        steps: |rig| {
            mmu::set_tlb_range(true);
            let owed = rig.mapper().zap(pages(0, 2), |_, _, _| ()).unwrap();
            owed.flush(rig.access.vm);
        },
        after: |rig| {
            rig.check(0, Access::Read, missing(0));
            rig.check(1, Access::Read, missing(1));
            rig.host_goes_on();
        },
        taken: &[
            Break,
            Break,
            DsbIshst,
            Vttbr,
            Isb,
            TlbiRangeIpaLast,
            DsbIsh,
            TlbiAll,
            DsbIsh,
            Vttbr,
            Isb,
        ],
    },
    Sequence {
        name: "write-protect",
        before: maps_two,
        steps: |rig| {
            let protect = |old: Stage2Attrs| Some(old.write_protected());
            let owed = rig.mapper().change(pages(0, 1), &protect).unwrap();
            owed.flush(rig.access.vm);
        },
        after: |rig| {
            rig.check(0, Access::Write, DENIED);
            rig.check(1, Access::Write, Ok(frame(1)));
            rig.host_goes_on();
        },
        taken: &[DsbIshst, Vttbr, Isb, TlbiIpaLast, DsbIsh, TlbiAll, DsbIsh, Vttbr, Isb],
    },
    Sequence {
        name: "hide",
        before: maps_two,
        steps: |rig| {
            let owed = rig.mapper().set_valid(pages(0, 1), false).unwrap();
            owed.flush(rig.access.vm);
        },
        after: is_gone,
        taken: &[Break, DsbIshst, Vttbr, Isb, TlbiIpaLast, DsbIsh, TlbiAll, DsbIsh, Vttbr, Isb],
    },
    Sequence {
        name: "replace a frame",
        before: maps_two,
        steps: |rig| {
            let owed = rig.mapper().zap(pages(0, 1), |_, _, _| ()).unwrap();
            owed.flush(rig.access.vm);
            rig.mapper().map(pages(0, 1), frame(9), ram(), MapFlags::empty()).unwrap();
        },
        after: |rig| {
            rig.check(0, Access::Read, Ok(frame(9)));
            assert!(!rig.mmu().reaches(M));
            rig.host_goes_on();
        },
        taken: &[
            Break,
            DsbIshst,
            Vttbr,
            Isb,
            TlbiIpaLast,
            DsbIsh,
            TlbiAll,
            DsbIsh,
            Vttbr,
            Isb,
            DsbIshst,
        ],
    },
    Sequence {
        name: "change the memory type",
        before: maps_two,
        steps: |rig| {
            let prot = Stage2Prot::READ | Stage2Prot::WRITE;
            let nc = Stage2Attrs::new(Stage2Memory::NormalNc, prot).unwrap();
            let owed = rig.mapper().protect(pages(0, 1), nc).unwrap();
            assert!(owed.is_none(), "done by break-before-make");
        },
        after: |rig| {
            rig.check(0, Access::Read, Ok(M));
            rig.host_goes_on();
        },
        taken: &[
            Break,
            DsbIshst,
            Vttbr,
            Isb,
            TlbiIpaLast,
            DsbIsh,
            TlbiAll,
            DsbIsh,
            Vttbr,
            Isb,
            DsbIshst,
        ],
    },
    Sequence {
        name: "split a block",
        before: maps_block,
        steps: |rig| rig.mapper().split(pages(0, 16)).unwrap(),
        after: |rig| {
            rig.check(3, Access::Read, Ok(frame(3)));
            rig.check(400, Access::Read, Ok(frame(400)));
            rig.host_goes_on();
        },
        taken: &[
            Break,
            DsbIshst,
            Vttbr,
            Isb,
            TlbiIpaLast,
            DsbIsh,
            TlbiAll,
            DsbIsh,
            Vttbr,
            Isb,
            DsbIshst,
        ],
    },
    Sequence {
        name: "free one table",
        before: |rig| {
            maps_two(rig);
            rig.map(512, 1, ram());
            let owed = rig.mapper().zap(pages(0, 2), |_, _, _| ()).unwrap();
            owed.flush(rig.access.vm);
        },
        steps: |rig| assert_eq!(rig.mapper().prune(pages(0, 1), FlushOwed::NONE), 1),
        after: |rig| {
            rig.map(0, 1, ram());
            rig.check(0, Access::Read, Ok(M));
            rig.check(512, Access::Read, Ok(frame(512)));
            rig.host_goes_on();
        },
        taken: &[Break, DsbIshst, Vttbr, Isb, TlbiIpa, DsbIsh, TlbiAll, DsbIsh, Vttbr, Isb],
    },
    Sequence {
        name: "tear a guest down and hand its VMID on",
        before: |rig| {
            maps_two(rig);
            rig.machine.on_cpu(CPU1, || {
                // SAFETY: stage 2 is off.
                unsafe { write_hcr_vm(false) };
            });
        },
        steps: |rig| rig.access.vm.unwrap().flush_all(),
        after: |rig| {
            assert!(!rig.mmu().reaches(M) && !rig.mmu().reaches(frame(1)));
            let geometry = rig.geometry;
            rig.root = rig.access.new_root(geometry);
            rig.access.vm = Some(Vm::new(rig.root, VMID, AtEl2));
            rig.mapper().map(pages(0, 1), frame(9), ram(), MapFlags::empty()).unwrap();
            rig.enter();
            rig.check(0, Access::Read, Ok(frame(9)));
            rig.check(1, Access::Read, missing(1));
            rig.host_goes_on();
        },
        taken: &[Vttbr, Isb, TlbiVm, DsbIsh, Vttbr, Isb],
    },
];

#[test]
fn each_step_taken_out_is_noticed_and_there_is_no_other() {
    let mut unnoticed = Vec::new();
    for sequence in SEQUENCES {
        assert_eq!(sequence.run(0, None), sequence.taken, "{}", sequence.name);
        for (n, step) in sequence.taken.iter().enumerate() {
            if !sequence.is_noticed(Mutation::WithoutNth(n)) {
                unnoticed.push((sequence.name, n, *step));
            }
        }
    }
    assert!(unnoticed.is_empty(), "nothing goes wrong without {unnoticed:#?}");
}

#[test]
fn nothing_is_noticed_where_nothing_is_wrong() {
    for sequence in SEQUENCES {
        (0..SEEDS).for_each(|seed| drop(sequence.run(seed, None)));
    }
}

/// Steps of the flush for `count` pages.
fn flush_of(count: usize, range: bool) -> Vec<Step> {
    Rig::run(1, |rig| {
        mmu::set_tlb_range(range);
        let vm = rig.access.vm;
        rig.mmu().mutate(None);
        let mut owed = FlushOwed::<Guest>::NONE;
        owed.add(Guest::input_range(pages(0, count)), PAGE_SIZE);
        owed.flush_before_make(Reach::LastLevel, || vm);
        rig.mmu().steps()
    })
}

/// Pages are invalidated singly up to 512 of them, or by range, and then all of stage 1; or both
/// stages at once.
#[test]
fn a_flush_is_by_page_by_range_or_of_the_whole_guest() {
    let by = |step, n, last: &[Step]| {
        let steps = [DsbIshst, Vttbr, Isb].into_iter().chain(core::iter::repeat_n(step, n));
        steps.chain(last.iter().copied()).chain([DsbIsh, Vttbr, Isb]).collect::<Vec<_>>()
    };
    assert_eq!(flush_of(1, true), by(TlbiIpaLast, 1, &[DsbIsh, TlbiAll]));
    assert_eq!(flush_of(512, false), by(TlbiIpaLast, 512, &[DsbIsh, TlbiAll]));
    assert_eq!(flush_of(513, false), by(TlbiVm, 1, &[]));
    assert_eq!(flush_of(512, true), by(TlbiRangeIpaLast, 1, &[DsbIsh, TlbiAll]));
    assert_eq!(flush_of(1 << 25, true), by(TlbiVm, 1, &[]));
}
