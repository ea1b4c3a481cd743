//! Edits of a user's tables, on CPUs with and without FEAT_HAFDBS.

use super::*;

fn both(f: impl Fn(u64, u64)) {
    for seed in 0..SEEDS {
        [TCR, TCR | HAFDBS].into_iter().for_each(|tcr| f(seed, tcr));
    }
}

/// Memory as programs see it: each access is done once a fault's handler has helped.
fn access(rig: &mut Rig<'_>, cpu: CpuId, va: UserAddr, access: Access) -> Outcome {
    for _ in 0..4 {
        let got = rig.mmu().access_as(cpu, Mode::El0, va, access);
        let faulted = matches!(got, Err(Fault::AccessFlag | Fault::Permission));
        let machine = rig.machine;
        let write = access == Access::Write;
        if !faulted || !machine.on_cpu(cpu, || rig.mapper().handle_access(va, write)) {
            return got;
        }
    }
    panic!("{access:?} of {va} faults again and again");
}

/// A page goes through the same states on both kinds of CPU.
#[test]
fn accesses_leave_the_same_state_on_both_kinds_of_cpu() {
    both(|seed, tcr| {
        Rig::run(seed, tcr, |rig| {
            rig.map(0, 1, data());
            if tcr == TCR {
                rig.check(VA, Access::Read, UNFLAGGED);
                assert!(!rig.attrs(VA).is_young());
            }
            assert_eq!(access(rig, CPU1, VA, Access::Read), Ok(M));
            assert_eq!(rig.attrs(VA), data().young());
            for cpu in [CPU0, CPU1, CPU0] {
                assert_eq!(access(rig, cpu, VA, Access::Write), Ok(M));
                assert_eq!(rig.attrs(VA), data().young().dirty());
            }
        });
    });
}

#[test]
fn an_access_that_is_not_allowed_stays_so() {
    both(|seed, tcr| {
        Rig::run(seed, tcr, |rig| {
            let ro = UserAttrs::new(MemoryType::Normal, Prot::READ).unwrap();
            rig.map(0, 1, ro);
            assert_eq!(access(rig, CPU0, VA, Access::Read), Ok(M));
            assert_eq!(access(rig, CPU0, VA, Access::Write), DENIED);
            assert_eq!(rig.attrs(VA), ro.young());
            assert!(!rig.mapper().handle_access(page(1), false), "nothing there");
            let none = UserAttrs::new(MemoryType::Normal, Prot::empty()).unwrap().young();
            rig.map(1, 1, none);
            assert_eq!(access(rig, CPU0, page(1), Access::Read), DENIED);
        });
    });
}

/// EL1 reads a user's page with PAN clear alone, and executes none.
#[test]
fn the_kernel_is_kept_from_users_pages() {
    Rig::run(1, TCR, |rig| {
        let code = UserAttrs::new(MemoryType::Normal, Prot::READ | Prot::EXEC).unwrap();
        rig.map(0, 1, code.young());
        for (pan, read) in [(true, DENIED), (false, Ok(M))] {
            set_pan(pan);
            assert_eq!(rig.mmu().access_as(CPU0, Mode::El1, VA, Access::Read), read);
            assert_eq!(rig.mmu().access_as(CPU0, Mode::El1, VA, Access::Exec), DENIED);
        }
        assert_eq!(rig.mmu().access_as(CPU0, Mode::El0, VA, Access::Exec), Ok(M));
    });
}

/// Programs write at the worst moment, and what they made dirty is told.
#[test]
fn no_edit_loses_what_a_program_makes_dirty_meanwhile() {
    for seed in 0..SEEDS {
        Rig::run(seed, TCR | HAFDBS, |rig| {
            rig.map(0, 4, data().young());
            rig.mmu().let_programs_write(true);
            let mut last = UserPte::None;
            rig.mapper().zap(pages(0, 1), |_, _, pte| last = pte).unwrap().flush_as(rig);
            let UserPte::Present(leaf) = last else { panic!("{last:?}") };
            assert_eq!((leaf.pa, leaf.attrs.is_dirty()), (M, true));
            let protect = |old: UserAttrs| Some(old.write_protected());
            rig.mapper().change(pages(1, 1), &protect).unwrap().flush_as(rig);
            assert!(rig.attrs(page(1)).is_dirty() && !rig.attrs(page(1)).is_writable());
            rig.mapper().set_valid(pages(2, 1), false).unwrap().flush_as(rig);
            assert!(rig.attrs(page(2)).is_dirty());
            let old = rig.mapper().pte(page(3));
            let swapped = UserPte::Swap(SwapPte { entry: 7, exclusive: true, uffd_wp: false });
            assert!(rig.mapper().exchange_pte(page(3), old, swapped).unwrap().is_none());
            let old = rig.mapper().pte(page(3));
            let owed = rig.mapper().exchange_pte(page(3), old, swapped).unwrap().unwrap();
            owed.flush_as(rig);
            assert_eq!(rig.mapper().pte(page(3)), swapped);
        });
    }
}

trait FlushAs {
    fn flush_as(self, rig: &Rig<'_>);
}

impl FlushAs for FlushOwed<User> {
    fn flush_as(self, rig: &Rig<'_>) {
        if !self.is_none() {
            self.flush_before_make(Reach::LastLevel, || rig.access.tag);
            mmu::isb();
        }
    }
}

/// A page is released when no TLB reaches it, however many there are.
#[test]
fn gathered_pages_are_out_of_reach_when_they_are_released() {
    for seed in 0..SEEDS / 3 {
        Rig::run(seed, TCR | HAFDBS, |rig| {
            const COUNT: usize = 150;
            let tables = rig.access.in_use;
            rig.map(0, COUNT, used());
            let machine = rig.machine;
            let mut released = Vec::new();
            let mut swapped = 0;
            let swap = UserPte::Swap(SwapPte { entry: 9, exclusive: false, uffd_wp: true });
            rig.mapper()
                .exchange_pte(page(COUNT), UserPte::None, swap)
                .unwrap()
                .unwrap()
                .flush_as(rig);
            let mut mapper = rig.mapper();
            let mut gather = MmuGather::new(&mut mapper, |page: Gathered| {
                assert!(!machine.mmu().reaches(page.leaf.pa), "{page:?} is released early");
                assert_eq!((page.level, page.leaf.attrs), (Level::Pte, used()));
                released.push((page.va, page.leaf.pa));
            });
            gather.zap(pages(0, COUNT + 1), |_, pte| swapped += usize::from(pte == swap)).unwrap();
            assert_eq!(gather.finish(pages(0, COUNT + 1)), 3);
            assert_eq!(released, (0..COUNT).map(|n| (page(n), frame(n))).collect::<Vec<_>>());
            assert_eq!((swapped, rig.access.in_use), (1, tables));
            rig.check(VA, Access::Read, MISSING);
            // The tables' pages may be tables again at once.
            rig.map(512, 1, used());
            rig.check(page(512), Access::Read, Ok(frame(512)));
        });
    }
}

#[test]
fn a_gather_that_is_dropped_flushes_and_releases() {
    Rig::run(1, TCR, |rig| {
        rig.map(0, 3, used());
        let machine = rig.machine;
        let mut released = 0;
        let mut mapper = rig.mapper();
        let mut gather = MmuGather::new(&mut mapper, |page: Gathered| {
            assert!(!machine.mmu().reaches(page.leaf.pa));
            released += 1;
        });
        gather.zap(pages(0, 2), |_, _| ()).unwrap();
        drop(gather);
        assert_eq!(released, 2);
        rig.check(page(2), Access::Read, Ok(frame(2)));
    });
}

/// Blocks are gathered whole, and one that a range cuts is refused with nothing done.
#[test]
fn blocks_are_taken_whole() {
    const BLOCK: usize = Level::Pmd.size();
    Rig::run(1, TCR, |rig| {
        let va = UserRange::from_size(VA, 2 * BLOCK).unwrap();
        rig.mapper().map(va, M, used(), MapFlags::NO_CONT).unwrap();
        let mut mapper = rig.mapper();
        let mut seen = Vec::new();
        let mut gather = MmuGather::new(&mut mapper, |page: Gathered| seen.push(page));
        assert_eq!(gather.zap(pages(1, 1), |_, _| ()), Err(MapError::BreakBeforeMake));
        gather.zap(UserRange::from_size(VA, BLOCK).unwrap(), |_, _| ()).unwrap();
        drop(gather);
        assert_eq!(seen.len(), 1);
        assert_eq!((seen[0].va, seen[0].level, seen[0].leaf.pa), (VA, Level::Pmd, M));
        rig.check(VA, Access::Read, MISSING);
        rig.check(VA.checked_add(BLOCK).unwrap(), Access::Read, Ok(M + BLOCK as u64));
    });
}

#[test]
fn entries_of_software_are_in_the_way_of_mappings_and_no_defects() {
    Rig::run(1, TCR, |rig| {
        let marker = UserPte::Marker(PteMarker::GUARD);
        rig.mapper().exchange_pte(VA, UserPte::None, marker).unwrap().unwrap().flush_as(rig);
        rig.map(1, 1, used());
        let stats = rig.mapper().validate(UserAddr::new(0).unwrap()).unwrap();
        assert_eq!((stats.tables, stats.leaves[2]), (4, 1));
        let again = rig.mapper().map(pages(0, 1), M, used(), MapFlags::empty());
        assert_eq!(again, Err(MapError::AlreadyMapped));
        assert_eq!(rig.mapper().pte(VA), marker);
        rig.check(VA, Access::Read, MISSING);
        let UserPte::Present(leaf) = rig.mapper().pte(page(1)) else { panic!() };
        let other = UserPte::Present(Leaf { pa: frame(9), ..leaf });
        let exchanged = rig.mapper().exchange_pte(page(1), UserPte::Present(leaf), other);
        assert_eq!(exchanged.err(), Some(MapError::BreakBeforeMake));
    });
}

#[test]
fn a_page_that_is_aged_is_young_again_at_the_next_access() {
    both(|seed, tcr| {
        Rig::run(seed, tcr, |rig| {
            rig.map(0, 1, used());
            rig.check(VA, Access::Read, Ok(M));
            let (young, owed) = rig.mapper().test_and_clear_young(VA);
            assert!(young);
            owed.flush_as(rig);
            assert_eq!(access(rig, CPU1, VA, Access::Read), Ok(M));
            assert!(rig.attrs(VA).is_young());
        });
    });
}
