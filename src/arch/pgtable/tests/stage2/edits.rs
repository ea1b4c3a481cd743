//! Edits of a guest's tables.

use super::*;

/// All sizes of address space, their first and last pages, and what lies past the end.
#[test]
fn each_geometry_is_mapped_from_end_to_end() {
    for (bits, tables) in [(32, 4), (34, 16), (36, 1), (40, 2), (43, 16), (44, 1)] {
        Rig::run_on(ID, bits, 1, |rig| {
            let top = 1u64 << bits;
            let at = [0, top / 2, top - (2 << 20), top - PAGE_SIZE as u64].map(Ipa::new);
            for (n, &at) in at.iter().enumerate() {
                let page = IpaRange::from_size(at, PAGE_SIZE as u64);
                rig.mapper().map(page, frame(n), ram(), MapFlags::empty()).unwrap();
            }
            for (n, &at) in at.iter().enumerate() {
                assert_eq!(rig.tries(at, Access::Write), BTreeSet::from([Ok(frame(n))]), "{at}");
                let found = rig.mapper().translate(at).unwrap();
                assert_eq!((found.pa, found.level), (frame(n), Level::Pte));
            }
            let stats = rig.mapper().validate(Ipa::new(0)).unwrap();
            assert_eq!(stats.leaves, [0, 0, 4]);
            assert_eq!(stats.tables, tables + rig.access.in_use, "{bits} bits");
            let mut seen = Vec::new();
            let whole = IpaRange::new(Ipa::new(0), Ipa::new(top));
            rig.mapper().for_each_leaf(whole, |at, _| {
                seen.push(at);
                core::ops::ControlFlow::Continue(())
            });
            assert_eq!(seen, at);
            let past = IpaRange::from_size(Ipa::new(top - PAGE_SIZE as u64), 2 * PAGE_SIZE as u64);
            let out = Some(MapError::OutOfRange);
            assert_eq!(rig.mapper().map(past, M, ram(), MapFlags::empty()).err(), out);
            assert_eq!(rig.mapper().zap(past, |_, _, _| ()).err(), out);
            assert_eq!(rig.mapper().protect(past, ram()).err(), out);
            assert_eq!(rig.mapper().split(past).err(), out);
            assert_eq!(rig.mapper().translate(Ipa::new(top)), None);
            // All of it goes, over the bounds between first tables.
            let vm = rig.access.vm;
            let mut mapper = rig.mapper();
            let mut frames = Vec::new();
            let mut gather =
                MmuGather::new(&mut mapper, |p: Gathered<Guest>| frames.push(p.leaf.pa));
            gather.zap(whole, |_, leaf| panic!("{leaf:?}")).unwrap();
            gather.finish(whole);
            assert_eq!(frames, [0, 1, 2, 3].map(frame));
            assert_eq!(rig.access.in_use, 0);
            vm.unwrap().flush_all();
        });
    }
}

/// Blocks are as large as the first level allows.
#[test]
fn blocks_fit_the_first_level() {
    const GIB: u64 = 1 << 30;
    for (bits, leaves) in [(32, [0, 512, 0]), (40, [1, 0, 0])] {
        Rig::run_on(ID, bits, 1, |rig| {
            let va = IpaRange::from_size(Ipa::new(GIB), GIB);
            rig.mapper().map(va, PhysAddr::new(GIB), ram(), MapFlags::NO_CONT).unwrap();
            assert_eq!(rig.mapper().validate(Ipa::new(0)).unwrap().leaves, leaves);
            let at = Ipa::new(GIB + 0x1234_5000);
            let want = PhysAddr::new(at.get());
            assert_eq!(rig.tries(at, Access::Exec), BTreeSet::from([Ok(want)]));
        });
    }
}

/// Pages are released when no TLB reaches them, however many there are.
#[test]
fn gathered_pages_are_out_of_reach_when_they_are_released() {
    for seed in 0..SEEDS / 3 {
        Rig::run(seed, |rig| {
            const COUNT: usize = 150;
            rig.map(0, COUNT, ram());
            for n in (0..COUNT).step_by(10) {
                rig.check(n, Access::Write, Ok(frame(n)));
            }
            let machine = rig.machine;
            let mut released = Vec::new();
            let mut mapper = rig.mapper();
            let mut gather = MmuGather::new(&mut mapper, |page: Gathered<Guest>| {
                assert!(!machine.mmu().reaches(page.leaf.pa), "{page:?} is released early");
                released.push((page.va, page.leaf.pa));
            });
            gather.zap(pages(0, COUNT), |_, leaf| panic!("{leaf:?}")).unwrap();
            assert_eq!(gather.finish(pages(0, COUNT)), 2);
            assert_eq!(released, (0..COUNT).map(|n| (page(n), frame(n))).collect::<Vec<_>>());
            rig.map(512, 1, ram());
            rig.check(512, Access::Read, Ok(frame(512)));
        });
    }
}

/// The access flag is the CPU's or software's, and no edit loses it.
#[test]
fn the_access_flag_is_kept() {
    for seed in 0..SEEDS {
        for id in [ID, WITH_HA] {
            Rig::run_on(id, 40, seed, |rig| {
                rig.map(0, 1, ram().old());
                let ipa = Some(page(0).get());
                let want = if id.has_access_flag_update() {
                    Ok(M)
                } else {
                    fault(Stage2Reason::AccessFlag, 3, ipa)
                };
                rig.check(0, Access::Read, want);
                let young = rig.mapper().translate(page(0)).unwrap().attrs.is_young();
                assert_eq!(young, want.is_ok());
                let protect = |old: Stage2Attrs| Some(old.write_protected());
                let owed = rig.mapper().change(pages(0, 1), &protect).unwrap();
                owed.flush(rig.access.vm);
                let mut last = None;
                let owed = rig.mapper().zap(pages(0, 1), |_, _, leaf| last = Some(leaf)).unwrap();
                owed.flush(rig.access.vm);
                assert_eq!(last.unwrap().attrs.is_young(), young);
            });
        }
    }
}

/// A guest that has never run has nothing cached.
#[test]
fn a_guest_that_has_never_run_is_not_invalidated() {
    Rig::run(1, |rig| {
        rig.map(0, 1, ram());
        let owed = rig.mapper().zap(pages(0, 1), |_, _, _| ()).unwrap();
        rig.mmu().mutate(None);
        owed.flush(None);
        assert_eq!(rig.mmu().steps(), [crate::arch::hosted::mmu::Step::DsbIshst]);
    });
}
