//! Steps of users' edits and their flushes: each is needed, and there are no others.

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
        Rig::run(seed, TCR, |rig| {
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
        (0..3 * SEEDS).any(|seed| quietly(|| self.run(seed, Some(mutation))).is_err())
    }
}

fn flush(owed: FlushOwed<User>) {
    owed.flush_before_make(Reach::LastLevel, || Some(ASID));
    mmu::isb();
}

fn maps_two(rig: &mut Rig<'_>) {
    rig.map(0, 2, used());
    rig.check(VA, Access::Read, Ok(M));
}

fn is_gone(rig: &mut Rig<'_>) {
    rig.check(VA, Access::Read, MISSING);
    rig.check(page(1), Access::Read, Ok(frame(1)));
}

const SEQUENCES: &[Sequence] = &[
    Sequence {
        name: "map",
        before: maps_two,
        steps: |rig| rig.map(2, 1, used()),
        after: |rig| rig.check(page(2), Access::Write, Ok(frame(2))),
        taken: &[DsbIshst, Isb],
    },
    Sequence {
        name: "zap",
        before: maps_two,
        steps: |rig| flush(rig.mapper().zap(pages(0, 1), |_, _, _| ()).unwrap()),
        after: is_gone,
        taken: &[Break, DsbIshst, TlbiVaAsidLast, DsbIsh, Isb],
    },
    Sequence {
        name: "write-protect",
        before: maps_two,
        steps: |rig| {
            let protect = |old: UserAttrs| Some(old.write_protected());
            flush(rig.mapper().change(pages(0, 1), &protect).unwrap());
        },
        after: |rig| {
            rig.check(VA, Access::Write, DENIED);
            rig.check(page(1), Access::Write, Ok(frame(1)));
        },
        taken: &[DsbIshst, TlbiVaAsidLast, DsbIsh, Isb],
    },
    Sequence {
        name: "hide",
        before: maps_two,
        steps: |rig| flush(rig.mapper().set_valid(pages(0, 1), false).unwrap()),
        after: is_gone,
        taken: &[Break, DsbIshst, TlbiVaAsidLast, DsbIsh, Isb],
    },
    Sequence {
        name: "swap out",
        before: maps_two,
        steps: |rig| {
            let swap = SwapPte { entry: 1, exclusive: false, uffd_wp: false };
            let old = rig.mapper().pte(VA);
            let owed = rig.mapper().exchange_pte(VA, old, UserPte::Swap(swap)).unwrap();
            flush(owed.expect("nobody else changes it"));
        },
        after: is_gone,
        taken: &[Break, DsbIshst, TlbiVaAsidLast, DsbIsh, Isb],
    },
    Sequence {
        name: "handle a write to a clean page",
        before: |rig| {
            rig.map(0, 1, data().young());
            rig.check(VA, Access::Write, DENIED);
        },
        steps: |rig| assert!(rig.mapper().handle_access(VA, true)),
        after: |rig| {
            assert_eq!(rig.tries(CPU0, VA, Access::Write), BTreeSet::from([Ok(M)]));
        },
        taken: &[DsbIshst, TlbiVaAsidLocal, DsbNsh, Isb],
    },
    Sequence {
        name: "write-protect a table",
        before: maps_two,
        steps: |rig| flush(rig.mapper().share_table(VA).unwrap().1),
        after: |rig| {
            for n in [0, 1] {
                rig.check(page(n), Access::Write, DENIED);
                rig.check(page(n), Access::Read, Ok(frame(n)));
            }
        },
        taken: &[DsbIshst, TlbiAsid, DsbIsh, Isb],
    },
    Sequence {
        name: "make a table writable again",
        before: |rig| {
            maps_two(rig);
            flush(rig.mapper().share_table(VA).unwrap().1);
            rig.check(VA, Access::Write, DENIED);
        },
        steps: |rig| flush(rig.mapper().unshare_table(VA).unwrap()),
        after: |rig| {
            rig.check(VA, Access::Write, Ok(M));
            rig.check(page(1), Access::Write, Ok(frame(1)));
        },
        taken: &[DsbIshst, TlbiAsid, DsbIsh, Isb],
    },
    Sequence {
        name: "link a shared table",
        before: |rig| {
            maps_two(rig);
            let (table, owed) = rig.mapper().unlink_table(VA).unwrap();
            flush(owed);
            rig.check(VA, Access::Read, MISSING);
            rig.shared = Some(table);
        },
        steps: |rig| {
            let table = rig.shared.unwrap();
            // SAFETY: nobody frees the table.
            unsafe { rig.mapper().link_shared_table(VA, table) }.unwrap();
        },
        after: |rig| {
            rig.check(VA, Access::Read, Ok(M));
            rig.check(VA, Access::Write, DENIED);
        },
        taken: &[DsbIshst, Isb],
    },
    Sequence {
        name: "unlink a table",
        before: maps_two,
        steps: |rig| flush(rig.mapper().unlink_table(VA).unwrap().1),
        after: |rig| {
            rig.check(VA, Access::Read, MISSING);
            rig.check(page(1), Access::Read, MISSING);
            rig.map(0, 1, used());
            rig.check(VA, Access::Read, Ok(M));
        },
        taken: &[Break, DsbIshst, TlbiAsid, DsbIsh, Isb],
    },
    Sequence {
        name: "free the tables",
        before: |rig| {
            rig.map(0, 1, used());
            rig.check(VA, Access::Read, Ok(M));
        },
        steps: |rig| {
            let mut mapper = rig.mapper();
            let mut gather = MmuGather::new(&mut mapper, |_| ());
            gather.zap(pages(0, 1), |_, _| ()).unwrap();
            assert_eq!(gather.finish(pages(0, 1)), 3);
        },
        after: |rig| {
            rig.check(VA, Access::Read, MISSING);
            rig.map(0, 1, used());
            rig.check(VA, Access::Read, Ok(M));
        },
        // All that the root's entry spans, and so everything under the ASID.
        taken: &[Break, Break, Break, Break, DsbIshst, TlbiAsid, DsbIsh, Isb],
    },
    Sequence {
        name: "free one table",
        before: |rig| {
            rig.map(0, 1, used());
            rig.map(512, 1, used());
            rig.check(VA, Access::Read, Ok(M));
            flush(rig.mapper().zap(pages(0, 1), |_, _, _| ()).unwrap());
        },
        steps: |rig| assert_eq!(rig.mapper().prune(pages(0, 1), FlushOwed::NONE), 1),
        after: |rig| {
            rig.map(0, 1, used());
            rig.check(VA, Access::Read, Ok(M));
            rig.check(page(512), Access::Read, Ok(frame(512)));
        },
        taken: &[Break, DsbIshst, TlbiVaAsid, DsbIsh],
    },
];

#[test]
fn each_step_taken_out_is_noticed_and_there_is_no_other() {
    for sequence in SEQUENCES {
        assert_eq!(sequence.run(0, None), sequence.taken, "{}", sequence.name);
        for (n, step) in sequence.taken.iter().enumerate() {
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

/// Steps of the flush for `count` pages, of a user with this tag.
fn flush_of(count: usize, range: bool, tag: Option<Asid>) -> Vec<Step> {
    Rig::run(1, TCR, |rig| {
        mmu::set_tlb_range(range);
        rig.mmu().mutate(None);
        let mut owed = FlushOwed::<User>::NONE;
        owed.add(User::input_range(pages(0, count)), PAGE_SIZE);
        owed.flush_before_make(Reach::LastLevel, || tag);
        rig.mmu().steps()
    })
}

/// Pages are invalidated singly up to 512 of them, or by range, then by ASID; and not at all where
/// the ASID never ran.
#[test]
fn a_flush_is_by_page_by_range_or_by_asid() {
    let by = |step, n| {
        let steps = core::iter::once(DsbIshst).chain(core::iter::repeat_n(step, n));
        steps.chain([DsbIsh]).collect::<Vec<_>>()
    };
    assert_eq!(flush_of(1, false, Some(ASID)), by(TlbiVaAsidLast, 1));
    assert_eq!(flush_of(512, false, Some(ASID)), by(TlbiVaAsidLast, 512));
    assert_eq!(flush_of(513, false, Some(ASID)), by(TlbiAsid, 1));
    assert_eq!(flush_of(512, true, Some(ASID)), by(TlbiRangeAsidLast, 1));
    assert_eq!(flush_of(1 << 25, true, Some(ASID)), by(TlbiAsid, 1));
    for (count, range) in [(1, false), (2, true), (10_000, false)] {
        assert_eq!(flush_of(count, range, None), [DsbIshst]);
    }
}

/// A context without an ASID has nothing cached, and its flush invalidates nothing.
#[test]
fn a_context_that_has_never_run_is_not_invalidated() {
    let context = Context::new();
    Rig::run(1, TCR, |rig| {
        maps_two(rig);
        let owed = rig.mapper().zap(pages(0, 1), |_, _, _| ()).unwrap();
        rig.mmu().mutate(None);
        owed.flush(&context);
        assert_eq!(rig.mmu().steps(), [DsbIshst, Isb]);
    });
}
