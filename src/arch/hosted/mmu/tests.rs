//! Tests of the adversary: behaviour that the architecture permits, behaviour that it forbids,
//! and mistakes that the adversary must notice.

use super::scope::Scope;
use super::*;
use crate::addr::{PAGE_SIZE, PhysRange};
use crate::arch::pgtable::descriptor::PTRS_PER_TABLE;
use crate::arch::pgtable::tlbi::RangeOp;
use crate::arch::pgtable::{Descriptor, KernelAttrs, Level, Permission};
use std::collections::BTreeSet;

const RAM: PhysAddr = PhysAddr::new(0x4000_0000);
const VA: VirtAddr = VirtAddr::new(0xffff_8001_0000_0000);
const A: PhysAddr = PhysAddr::new(0x10_0000_0000);
const B: PhysAddr = PhysAddr::new(0x20_0000_0000);
const RW: KernelAttrs = KernelAttrs::KERNEL;
const SEEDS: u64 = if cfg!(miri) { 2 } else { 30 };

/// Four tables for [`VA`], one of each level, in the first pages of RAM.
struct Tables<'m>(&'m Mmu);

impl Tables<'_> {
    fn run<R>(config: Config, f: impl FnOnce(&Tables<'_>) -> R) -> R {
        Machine::run(&[PhysRange::from_size(RAM, 16 * PAGE_SIZE as u64)], |machine| {
            let tables = Tables(machine.mmu());
            for level in [Level::Pgd, Level::Pud, Level::Pmd] {
                let next = Self::table(level.down().unwrap());
                write_descriptor(tables.word(level, VA), Descriptor::table(next));
            }
            machine.mmu().attach(RAM, config);
            f(&tables)
        })
    }

    fn table(level: Level) -> PhysAddr {
        RAM + (level as usize * PAGE_SIZE) as u64
    }

    fn word(&self, level: Level, va: VirtAddr) -> &AtomicU64 {
        word_at(Self::table(level) + 8 * level.index(va) as u64).unwrap()
    }

    /// Stores to the PTE of `va`, without any barrier.
    fn set(&self, va: VirtAddr, pa: PhysAddr, attrs: KernelAttrs) {
        let leaf = Descriptor::leaf(Level::Pte, pa, attrs, false);
        write_descriptor(self.word(Level::Pte, va), leaf);
    }

    fn clear(&self, va: VirtAddr) {
        write_descriptor(self.word(Level::Pte, va), Descriptor::INVALID);
    }

    /// All that reads of `va` by CPU `cpu` come to in many attempts.
    fn reads(&self, cpu: usize, va: VirtAddr) -> BTreeSet<Option<PhysAddr>> {
        let cpu = CpuId::new(cpu).unwrap();
        (0..40).map(|_| self.0.access_by(cpu, va, Access::Read).ok()).collect()
    }
}

/// Passes a lock on, as CPUs that take it one after the other do.
fn pass() {
    const LOCK: usize = 8;
    lock_taken(LOCK);
    lock_given_up(LOCK);
}

fn publish() {
    dsb_ishst();
    isb();
}

fn either(a: Option<PhysAddr>, b: Option<PhysAddr>) -> BTreeSet<Option<PhysAddr>> {
    BTreeSet::from([a, b])
}

fn only(a: Option<PhysAddr>) -> BTreeSet<Option<PhysAddr>> {
    BTreeSet::from([a])
}

#[test]
fn a_store_may_be_seen_late_and_is_seen_after_its_barriers() {
    // Not eager: a walk that has cached the new entry would hide the old one.
    let config = Config { seed: 1, cpus: 2, eagerness: 0 };
    Tables::run(config, |t| {
        t.set(VA, A, RW);
        // Before it is cached for good, each CPU may miss it.
        let first = |cpu| t.0.access_by(CpuId::new(cpu).unwrap(), VA, Access::Read).is_ok();
        let seen: BTreeSet<_> = (0..40).map(|_| first(0)).collect();
        assert_eq!(seen, BTreeSet::from([false, true]));
        dsb_ishst();
        assert_eq!(t.reads(1, VA), only(Some(A)), "the other CPU sees it now");
        assert_eq!(t.reads(0, VA), either(None, Some(A)), "this one lacks its isb");
        isb();
        assert_eq!(t.reads(0, VA), only(Some(A)));
    });
}

/// A lock hands over what is known, and makes nothing visible to walkers: that takes the
/// barrier of one who knows of the store.
#[test]
fn a_store_is_completed_by_those_who_know_of_it() {
    let config = Config { seed: 1, cpus: 3, eagerness: 0 };
    for (knows, completes) in [(false, false), (false, true), (true, false), (true, true)] {
        Tables::run(config, |t| {
            let on = |cpu, f: &dyn Fn()| machine::current().on_cpu(CpuId::new(cpu).unwrap(), f);
            t.set(VA, A, RW);
            // Between the store and the hand-over in time, and ordered after neither.
            on(1, &dsb_ish);
            pass();
            on(1, &|| {
                if knows {
                    pass();
                }
                if completes {
                    dsb_ishst();
                }
            });
            let missed = (0..40).any(|_| {
                // Afresh each time: what a walk has found stays cached.
                t.0.with(|s| drop(s.cpus[2].tlb.drop_scope(Scope::ALL)));
                t.0.access_by(CpuId::new(2).unwrap(), VA, Access::Read).is_err()
            });
            assert_eq!(missed, !(knows && completes), "knows: {knows}, completes: {completes}");
        });
    }
}

/// Test: a CPU clears an entry, and another, told of it, invalidates without a barrier of its
/// own.
#[test]
#[should_panic(expected = "TLBI before dsb")]
fn an_invalidation_that_may_overtake_another_cpus_store_is_noticed() {
    Tables::run(Config::eager(1), |t| {
        t.set(VA, A, RW);
        publish();
        t.clear(VA);
        pass();
        machine::current().on_cpu(CpuId::new(1).unwrap(), || {
            pass();
            tlbi_vaale1is(VA);
        });
    });
}

#[test]
fn a_stale_translation_lasts_until_the_invalidation_is_complete() {
    for seed in 0..SEEDS {
        Tables::run(Config::eager(seed), |t| {
            t.set(VA, A, RW);
            t.set(VA + PAGE_SIZE, B, RW);
            publish();
            assert_eq!(t.reads(1, VA), only(Some(A)));
            t.clear(VA);
            dsb_ishst();
            assert_eq!(t.reads(1, VA), either(Some(A), None));
            tlbi_vaale1is(VA);
            assert_eq!(t.reads(1, VA), either(Some(A), None));
            dsb_ish();
            assert_eq!(t.reads(1, VA), only(None));
            assert!(t.reads(0, VA).contains(&Some(A)), "this CPU lacks its isb");
            isb();
            assert_eq!(t.reads(0, VA), only(None));
            assert_eq!(t.reads(0, VA + PAGE_SIZE), only(Some(B)), "the neighbour stays");
        });
    }
}

#[test]
fn an_invalidation_does_no_more_than_it_says() {
    for seed in 0..SEEDS {
        Tables::run(Config::eager(seed), |t| {
            for (tlbi, others) in [
                (tlbi_vmalle1 as fn(), true),
                ((|| tlbi_vaale1is(VA + PAGE_SIZE)) as fn(), true),
                (
                    (|| tlbi_rvaale1is(RangeOp::largest(VA + 2 * PAGE_SIZE, 2).unwrap())) as fn(),
                    true,
                ),
                ((|| tlbi_rvaale1is(RangeOp::largest(VA, 2).unwrap())) as fn(), false),
                ((|| tlbi_vaae1is(VA)) as fn(), false),
                (tlbi_vmalle1is as fn(), false),
            ] {
                t.set(VA, A, RW);
                publish();
                t.reads(1, VA);
                t.clear(VA);
                dsb_ishst();
                tlbi();
                dsb_ish();
                isb();
                let expected = if others { either(Some(A), None) } else { only(None) };
                assert_eq!(t.reads(1, VA), expected);
                // An earlier barrier is none for a later invalidation.
                tlbi_vmalle1is();
                dsb_ish();
                isb();
                assert_eq!(t.reads(1, VA), only(None));
            }
        });
    }
}

#[test]
fn the_last_level_alone_leaves_table_pointers() {
    for seed in 0..SEEDS {
        Tables::run(Config::eager(seed), |t| {
            t.set(VA, A, RW);
            publish();
            t.reads(1, VA);
            write_descriptor(t.word(Level::Pmd, VA), Descriptor::INVALID);
            dsb_ishst();
            tlbi_vaale1is(VA);
            dsb_ish();
            isb();
            assert_eq!(t.reads(1, VA), either(Some(A), None));
            tlbi_vaae1is(VA);
            dsb_ish();
            isb();
            assert_eq!(t.reads(1, VA), only(None));
        });
    }
}

#[test]
fn permissions_may_change_in_place_and_both_are_served() {
    for seed in 0..SEEDS {
        Tables::run(Config::eager(seed), |t| {
            t.set(VA, A, RW);
            publish();
            t.set(VA, A, KernelAttrs::KERNEL_RO);
            dsb_ishst();
            let writes = || -> BTreeSet<_> {
                (0..40).map(|_| t.0.access_by(CpuId::BOOT, VA, Access::Write).is_ok()).collect()
            };
            assert_eq!(writes(), BTreeSet::from([false, true]));
            tlbi_vaale1is(VA);
            dsb_ish();
            isb();
            assert_eq!(writes(), BTreeSet::from([false]));
        });
    }
}

#[test]
fn memory_is_read_and_written_through_the_tables() {
    Tables::run(Config::eager(1), |t| {
        let page = RAM + 8 * PAGE_SIZE as u64;
        t.set(VA, page, RW);
        t.set(VA + PAGE_SIZE, page, KernelAttrs::KERNEL_RO);
        t.set(VA + 2 * PAGE_SIZE, B, RW);
        publish();
        t.0.write(VA + 8, 42).unwrap();
        assert_eq!(t.0.read(VA + PAGE_SIZE + 8), Ok(42));
        assert_eq!(t.0.write(VA + PAGE_SIZE, 1), Err(Fault::Permission));
        assert_eq!(t.0.read(VA + 2 * PAGE_SIZE), Err(Fault::External));
        assert_eq!(t.0.read(VA + 3 * PAGE_SIZE), Err(Fault::Translation));
        assert_eq!(t.0.access(VirtAddr::new(0x1000), Access::Read), Err(Fault::Translation));
    });
}

#[test]
fn a_seed_repeats_itself() {
    let trace = |seed| {
        Tables::run(Config { seed, cpus: 2, eagerness: 100 }, |t| {
            t.set(VA, A, RW);
            let reads = (0..100).map(|_| t.0.access(VA, Access::Read).is_ok());
            reads.collect::<Vec<_>>()
        })
    };
    assert_eq!(trace(7), trace(7));
    assert!((0..10).any(|seed| trace(seed) != trace(7)));
}

#[test]
#[should_panic(expected = "break-before-make: the Pte descriptor")]
fn an_address_changed_in_place_is_noticed() {
    Tables::run(Config { seed: 1, cpus: 0, eagerness: 0 }, |t| {
        t.set(VA, A, RW);
        publish();
        t.set(VA, B, RW);
    });
}

#[test]
#[should_panic(expected = "break-before-make: the Pte descriptor")]
fn a_memory_type_changed_in_place_is_noticed() {
    Tables::run(Config { seed: 1, cpus: 0, eagerness: 0 }, |t| {
        t.set(VA, A, RW);
        publish();
        t.set(VA, A, KernelAttrs::NORMAL_NC);
    });
}

#[test]
#[should_panic(expected = "break-before-make: the Pmd descriptor")]
fn a_table_replaced_by_a_block_is_noticed() {
    Tables::run(Config { seed: 1, cpus: 0, eagerness: 0 }, |t| {
        let block = Descriptor::leaf(Level::Pmd, A, RW, false);
        write_descriptor(t.word(Level::Pmd, VA), block);
    });
}

#[test]
#[should_panic(expected = "break-before-make: CPU")]
fn a_make_without_an_invalidation_is_noticed() {
    Tables::run(Config::eager(1), |t| {
        t.set(VA, A, RW);
        publish();
        t.clear(VA);
        dsb_ishst();
        t.set(VA, B, RW);
        publish();
        t.reads(0, VA);
    });
}

#[test]
#[should_panic(expected = "TLBI before dsb")]
fn an_invalidation_that_may_overtake_its_store_is_noticed() {
    Tables::run(Config::eager(1), |t| {
        t.set(VA, A, RW);
        publish();
        t.clear(VA);
        tlbi_vaale1is(VA);
    });
}

#[test]
#[should_panic(expected = "of the contiguous set at")]
fn a_contiguous_set_with_a_stranger_is_noticed() {
    Tables::run(Config { seed: 1, cpus: 0, eagerness: 0 }, |t| {
        for i in 0..16 {
            let pa = A + (i * PAGE_SIZE) as u64;
            let leaf = Descriptor::leaf(Level::Pte, pa, RW, i != 9);
            write_descriptor(t.word(Level::Pte, VA + i * PAGE_SIZE), leaf);
        }
        publish();
        t.reads(0, VA);
    });
}

#[test]
#[should_panic(expected = "is writable and executable")]
fn a_writable_and_executable_page_is_noticed() {
    Tables::run(Config::eager(1), |t| {
        let leaf = Descriptor::leaf(Level::Pte, A, RW, false);
        let wx = Descriptor::from_bits(leaf.bits() & !(1 << 53));
        write_descriptor(t.word(Level::Pte, VA), wx);
        publish();
        t.reads(0, VA);
    });
}

#[test]
#[should_panic(expected = "while CPU")]
fn a_table_page_reused_too_early_is_noticed() {
    Tables::run(Config::eager(1), |t| {
        t.set(VA, A, RW);
        publish();
        write_descriptor(t.word(Level::Pmd, VA), Descriptor::INVALID);
        dsb_ishst();
        let page = super::super::phys_to_virt(Tables::table(Level::Pte));
        let words = core::ptr::with_exposed_provenance::<[AtomicU64; PTRS_PER_TABLE]>(page.get());
        // SAFETY: a page of this machine's RAM.
        clear_table(unsafe { &*words });
    });
}

#[test]
fn permissions_are_the_descriptors() {
    Tables::run(Config::eager(3), |t| {
        for (attrs, permission) in [
            (KernelAttrs::KERNEL, Permission::Rw),
            (KernelAttrs::KERNEL_RO, Permission::Ro),
            (KernelAttrs::KERNEL_ROX, Permission::Rx),
        ] {
            t.set(VA, A, attrs);
            publish();
            let may = |access| t.0.access(VA, access).is_ok();
            assert!(may(Access::Read));
            assert_eq!(may(Access::Write), permission == Permission::Rw);
            assert_eq!(may(Access::Exec), permission == Permission::Rx);
            t.clear(VA);
            dsb_ishst();
            tlbi_vaale1is(VA);
            dsb_ish();
            isb();
        }
    });
}
