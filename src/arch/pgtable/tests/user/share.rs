//! Tables that two trees link, read-only.

use super::*;

const OTHER: Asid = Asid::new(6);

fn flush(owed: FlushOwed<User>, asid: Asid) {
    owed.flush_before_make(Reach::LastLevel, || Some(asid));
    mmu::isb();
}

/// An empty tree beside that of the machine's user, which CPU 1 runs from now on.
fn other_tree(rig: &mut Rig<'_>) -> TableAddr<User> {
    let root = Mapper::new_table(&mut rig.access).unwrap();
    rig.machine.on_cpu(CPU1, || {
        // SAFETY: a tree of the test's, whose tables stay some.
        unsafe { write_ttbr0(root.phys().get() | u64::from(OTHER.get()) << 48) };
        mmu::isb();
    });
    root
}

#[track_caller]
fn check(rig: &Rig<'_>, cpu: CpuId, n: usize, access: Access, want: Outcome) {
    assert_eq!(rig.tries(cpu, page(n), access), BTreeSet::from([want]), "{access:?} of page {n}");
}

/// A fork, by which both read; one's exit; and the other writes again.
#[test]
fn a_table_is_shared_and_given_back() {
    for seed in 0..SEEDS {
        for tcr in [TCR, TCR | HAFDBS] {
            Rig::run(seed, tcr, |rig| {
                rig.map(0, 3, used());
                // Clean: hardware may not make it dirty while it is shared.
                rig.map(3, 1, data().young());
                rig.check(VA, Access::Write, Ok(M));
                let child = other_tree(rig);
                let (table, owed) = rig.mapper().share_table(VA).unwrap();
                flush(owed, ASID);
                let mut other = Mapper::new(child, &mut rig.access);
                // SAFETY: nobody frees the table.
                unsafe { other.link_shared_table(VA, table) }.unwrap();
                // SAFETY: as above.
                let again = unsafe { other.link_shared_table(VA, table) };
                assert_eq!(again, Err(MapError::AlreadyMapped));
                let rights = other.translate(VA).unwrap().attrs;
                assert!(!rights.is_writable() && rights.is_dirty(), "{rights:?}");
                assert!(!other.handle_access(VA, true), "a write has to unshare it");
                assert!(other.handle_access(VA, false));
                for cpu in [CPU0, CPU1] {
                    for n in 0..4 {
                        check(rig, cpu, n, Access::Read, Ok(frame(n)));
                        check(rig, cpu, n, Access::Write, DENIED);
                    }
                }
                let (same, owed) = Mapper::new(child, &mut rig.access).unlink_table(VA).unwrap();
                assert_eq!(same, table);
                flush(owed, OTHER);
                check(rig, CPU1, 0, Access::Read, MISSING);
                let owed = rig.mapper().unshare_table(VA).unwrap();
                flush(owed, ASID);
                check(rig, CPU0, 0, Access::Write, Ok(M));
                assert_eq!(rig.attrs(page(3)), data().young());
                assert!(rig.mapper().translate(VA).unwrap().attrs.is_writable());
            });
        }
    }
}

/// The one that wrote-protects flushes its own ASID, and that is none of the other's.
#[test]
fn each_tree_owes_the_flush_of_its_own_asid() {
    let missed = (0..3 * SEEDS).any(|seed| {
        Rig::run(seed, TCR, |rig| {
            rig.map(0, 1, used());
            let child = other_tree(rig);
            let (table, owed) = rig.mapper().share_table(VA).unwrap();
            flush(owed, ASID);
            // SAFETY: nobody frees the table.
            unsafe { Mapper::new(child, &mut rig.access).link_shared_table(VA, table) }.unwrap();
            check(rig, CPU1, 0, Access::Read, Ok(M));
            let (_, owed) = Mapper::new(child, &mut rig.access).unlink_table(VA).unwrap();
            flush(owed, ASID);
            rig.tries(CPU1, VA, Access::Read).contains(&Ok(M))
        })
    });
    assert!(missed);
}

/// A CPU that still denies a write, after the table is writable again, is helped by the handler of
/// the fault, without a flush on all CPUs.
#[test]
fn a_write_that_is_denied_late_is_tried_again() {
    for seed in 0..SEEDS {
        Rig::run(seed, TCR, |rig| {
            rig.map(0, 1, used());
            let (_, owed) = rig.mapper().share_table(VA).unwrap();
            flush(owed, ASID);
            rig.check(VA, Access::Write, DENIED);
            let _put_off = rig.mapper().unshare_table(VA).unwrap();
            for cpu in [CPU0, CPU1] {
                let machine = rig.machine;
                assert!(machine.on_cpu(cpu, || rig.mapper().handle_access(VA, true)));
                check(rig, cpu, 0, Access::Write, Ok(M));
            }
        });
    }
}

#[test]
fn where_no_table_is_none_is_shared() {
    Rig::run(1, TCR, |rig| {
        let block = UserRange::from_size(VA, Level::Pmd.size()).unwrap();
        rig.mapper().map(block, M, used(), MapFlags::NO_CONT).unwrap();
        let empty = VA.checked_add(Level::Pmd.size()).unwrap();
        for va in [VA, empty, UserAddr::new(0).unwrap()] {
            assert!(rig.mapper().share_table(va).is_none());
            assert!(rig.mapper().unshare_table(va).is_none());
            assert!(rig.mapper().unlink_table(va).is_none());
        }
        rig.map(512, 1, used());
        let table = rig.mapper().share_table(empty).unwrap().0;
        // SAFETY: nobody frees the table.
        let onto_block = unsafe { rig.mapper().link_shared_table(VA, table) };
        assert_eq!(onto_block, Err(MapError::AlreadyMapped));
    });
}
