//! Sequences at EL2 each of whose steps is needed: with any one left out, what must hold
//! afterwards doesn't, or the MMU notices.

use super::*;
use crate::arch::pgtable::KernelAttrs;

struct Sequence {
    name: &'static str,
    before: fn(&Rig<'_>),
    steps: fn(&Rig<'_>),
    after: fn(&Rig<'_>),
}

impl Sequence {
    fn run(&self, seed: u64, mutation: Option<Mutation>) -> Vec<Step> {
        Rig::eager(seed, |rig| {
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
        (0..2 * SEEDS).any(|seed| quietly(|| self.run(seed, Some(mutation))).is_err())
    }
}

/// The host has used a page.
fn host_runs(rig: &Rig<'_>) {
    set_kernel(Descriptor::leaf(Level::Pte, N, KernelAttrs::KERNEL, false));
    dsb_ish();
    isb();
    assert_eq!(rig.mmu().access(KERNEL, Access::Read), Ok(N));
}

/// A guest that has used two pages by way of its stage 1.
fn runs_a(rig: &Rig<'_>) {
    host_runs(rig);
    rig.a.set(0, M, RW);
    rig.a.set(1, M, RW);
    rig.load_stage1(rig.a);
    rig.check_va(0, Ok(M));
    rig.check_va(1, Ok(M));
}

/// EL2 takes over from a guest that goes on elsewhere: the host's VMID is current.
fn at_el2() {
    // SAFETY: stage 2 is off here.
    unsafe {
        write_hcr_vm(false);
        write_vttbr(0);
        write_stage1(true, TCR | 1 << 7, 0);
    }
    isb();
}

fn runs_a_elsewhere(rig: &Rig<'_>) {
    runs_a(rig);
    at_el2();
}

/// Runs `tlbi` under the VMID of `guest`, and goes back to the host's.
fn in_vm(guest: Guest, tlbi: impl FnOnce()) {
    set_vttbr(guest);
    isb();
    tlbi();
    dsb_ish();
    // SAFETY: stage 2 is off here.
    unsafe { write_vttbr(0) };
    isb();
}

/// Invalidates the page 0 of `guest`, and what combines it.
fn flush(guest: Guest) {
    in_vm(guest, || {
        tlbi_ipas2le1is(op(0));
        dsb_ish();
        tlbi_vmalle1is();
    });
}

/// The host has an invalidation of its own to do on this CPU, and goes on at EL1.
fn host_goes_on() {
    set_kernel(Descriptor::INVALID);
    dsb_ishst();
    tlbi_vaale1is(KERNEL);
    dsb_ish();
    for _ in 0..40 {
        let got = machine::current().mmu().access(KERNEL, Access::Read);
        assert_eq!(got, Err(Fault::Translation));
    }
}

fn on_cpu1(rig: &Rig<'_>, n: usize, access: Access, want: Outcome) {
    let got = rig.tries_by(CPU1, VA + n * PAGE_SIZE, access);
    assert_eq!(got, BTreeSet::from([want]), "{access:?} of page {n}");
}

fn is_unmapped(rig: &Rig<'_>) {
    on_cpu1(rig, 0, Access::Read, missing(0));
    rig.a.set(0, N, RW);
    dsb_ishst();
    on_cpu1(rig, 0, Access::Read, Ok(N));
    on_cpu1(rig, 1, Access::Read, Ok(M));
    host_goes_on();
}

const SEQUENCES: &[Sequence] = &[
    Sequence {
        name: "map a page",
        before: runs_a_elsewhere,
        steps: |rig| {
            rig.a.set(2, N, RW);
            dsb_ishst();
        },
        after: |rig| on_cpu1(rig, 2, Access::Read, Ok(N)),
    },
    Sequence {
        name: "unmap a page by IPA",
        before: runs_a_elsewhere,
        steps: |rig| {
            rig.a.clear(0);
            dsb_ishst();
            flush(rig.a);
        },
        after: is_unmapped,
    },
    Sequence {
        name: "unmap pages by range",
        before: runs_a_elsewhere,
        steps: |rig| {
            rig.a.clear(0);
            dsb_ishst();
            in_vm(rig.a, || {
                let start = VirtAddr::new(IPA as usize);
                tlbi_ripas2le1is(RangeOp::largest(start, 2).unwrap());
                dsb_ish();
                tlbi_vmalle1is();
            });
        },
        after: is_unmapped,
    },
    Sequence {
        name: "unmap all of a guest",
        before: runs_a_elsewhere,
        steps: |rig| {
            rig.a.clear(0);
            dsb_ishst();
            in_vm(rig.a, tlbi_vmalls12e1is);
        },
        after: is_unmapped,
    },
    Sequence {
        name: "write-protect a page",
        before: runs_a_elsewhere,
        steps: |rig| {
            rig.a.set(0, M, RO);
            dsb_ishst();
            flush(rig.a);
        },
        after: |rig| {
            on_cpu1(rig, 0, Access::Write, DENIED);
            on_cpu1(rig, 1, Access::Write, Ok(M));
            host_goes_on();
        },
    },
    Sequence {
        name: "replace a frame",
        before: runs_a_elsewhere,
        steps: |rig| {
            rig.a.clear(0);
            dsb_ishst();
            flush(rig.a);
            rig.a.set(0, N, RW);
            dsb_ishst();
        },
        after: |rig| {
            on_cpu1(rig, 0, Access::Read, Ok(N));
            host_goes_on();
        },
    },
    Sequence {
        name: "free a table",
        before: runs_a_elsewhere,
        steps: |rig| {
            rig.a.set_word(Level::Pmd, IPA, 0);
            dsb_ishst();
            in_vm(rig.a, || {
                let start = VirtAddr::new(IPA as usize);
                tlbi_ripas2e1is(RangeOp::largest(start, 512).unwrap());
                dsb_ish();
                tlbi_vmalle1is();
            });
        },
        after: |rig| {
            clear_table(rig.a.words(Level::Pte));
            assert!(!rig.mmu().reaches(M));
            host_goes_on();
        },
    },
    Sequence {
        name: "hand a VMID on",
        before: |rig| {
            runs_a(rig);
            rig.load(rig.b);
            rig.check(0, Access::Read, missing(0));
            rig.on_all(at_el2);
        },
        steps: |rig| in_vm(rig.a, tlbi_vmalls12e1is),
        after: |rig| {
            // Another guest has it on the other CPU.
            rig.b.set(0, N, RW);
            dsb_ishst();
            let next = Guest { vmid: A, ..rig.b };
            rig.machine.on_cpu(CPU1, || enter(next, VTCR, None));
            for (n, want) in [Ok(N), missing(1)].into_iter().enumerate() {
                let got = rig.tries_by(CPU1, VirtAddr::new(ipa(n) as usize), Access::Read);
                assert_eq!(got, BTreeSet::from([want]), "page {n}");
            }
            host_goes_on();
        },
    },
    Sequence {
        name: "take all VMIDs back",
        before: |rig| {
            runs_a(rig);
            rig.on_all(at_el2);
        },
        steps: |_| {
            tlbi_alle1is();
            dsb_ish();
        },
        after: |rig| {
            rig.b.set(0, N, RW);
            rig.load(Guest { vmid: A, ..rig.b });
            rig.check(0, Access::Read, Ok(N));
        },
    },
    Sequence {
        name: "tear a guest down",
        before: |rig| {
            runs_a(rig);
            rig.on_all(at_el2);
        },
        steps: |rig| in_vm(rig.a, tlbi_vmalls12e1is),
        after: |rig| {
            [Level::Pmd, Level::Pte].iter().for_each(|&l| clear_table(rig.a.words(l)));
            assert!(!rig.mmu().reaches(M));
            host_goes_on();
        },
    },
    Sequence {
        name: "switch to another guest",
        before: |rig| {
            rig.b.set(0, N, RW);
            rig.a.set(0, M, RW);
            rig.load(rig.a);
            rig.check(0, Access::Read, Ok(M));
            rig.on_all(at_el2);
        },
        steps: |rig| enter(rig.b, VTCR, None),
        after: |rig| {
            let at = VirtAddr::new(IPA as usize);
            assert_eq!(rig.tries_by(CPU0, at, Access::Read), BTreeSet::from([Ok(N)]));
        },
    },
];

#[test]
fn each_step_taken_out_is_noticed() {
    let mut unnoticed = Vec::new();
    for sequence in SEQUENCES {
        let steps = sequence.run(0, None);
        for (n, step) in steps.iter().enumerate() {
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

#[test]
fn invalidations_that_fall_short_are_noticed() {
    use Step::*;
    let all = [TlbiAll, TlbiIpaLast, TlbiRangeIpa, TlbiRangeIpaLast, TlbiVm, TlbiAllVms];
    for sequence in SEQUENCES {
        if sequence.run(0, None).iter().any(|step| all.contains(step)) {
            assert!(sequence.is_noticed(Mutation::LocalOnly), "{}: local", sequence.name);
        }
    }
    for name in ["free a table", "tear a guest down"] {
        let sequence = SEQUENCES.iter().find(|s| s.name == name).unwrap();
        assert!(sequence.is_noticed(Mutation::LastLevelOnly), "{name}: last level");
    }
}

#[test]
fn each_kind_of_step_of_guests_is_taken() {
    let taken: BTreeSet<_> = SEQUENCES.iter().flat_map(|s| s.run(0, None)).collect();
    use Step::*;
    let kinds =
        [TlbiIpaLast, TlbiRangeIpa, TlbiRangeIpaLast, TlbiVm, TlbiAllVms, Vttbr, Hcr, Break];
    assert!(taken.is_superset(&BTreeSet::from(kinds)), "{taken:?}");
}
