//! Accesses by one thread, and the counters.

use super::*;

#[test]
fn memory_comes_by_faults_and_goes() {
    for (seed, tcr) in (0..SEEDS).flat_map(|seed| [(seed, TCR), (seed, TCR | HAFDBS)]) {
        Rig::run(seed, tcr, |rig| {
            let area = rig.area(0, 600, RW);
            for page in [0, 1, 2, 511, 512, 599] {
                assert_eq!(rig.read(&area, page), Ok(0));
            }
            assert_eq!(rig.tables.rss(MmCounter::Anon), 0, "the zero page is nobody's");
            for page in [1, 2, 3, 512, 513] {
                rig.write(&area, page, page as u64).expect("may be written");
            }
            for page in [1, 2, 3, 512, 513] {
                assert_eq!(rig.read(&area, page), Ok(page as u64));
            }
            assert_eq!(rig.read(&area, 0), Ok(0));
            assert_eq!(rig.tables.rss(MmCounter::Anon), 5);
            assert_eq!(node_page_state(None, NodeStat::AnonMapped), 5);
            // A PUD, a PMD and two last-level tables.
            assert_eq!(rig.tables.pgtables_bytes(), 4 * PAGE_SIZE);
            rig.tables.validate().expect("all adds up");

            rig.tables.zap(range(2, 511), Zap::All);
            assert_eq!(rig.tables.rss(MmCounter::Anon), 2);
            assert_eq!(rig.read(&area, 1), Ok(1));
            assert_eq!(rig.read(&area, 2), Ok(0), "a new page");
            assert_eq!(rig.read(&area, 512), Ok(0), "a new page");
            assert_eq!(rig.read(&area, 513), Ok(513));

            rig.tables.zap(range(0, 600), Zap::All);
            rig.tables.free_tables(range(0, 600));
            assert_eq!(rig.tables.pgtables_bytes(), 3 * PAGE_SIZE, "one is a neighbour's too");
            rig.tables.free_tables(UserTables::all());
            assert_eq!(rig.tables.pgtables_bytes(), 0);
            rig.write(&area, 7, 8).expect("tables come again");
            assert_eq!(rig.read(&area, 7), Ok(8));
        });
    }
}

#[test]
fn an_area_is_asked_for_its_rights() {
    Rig::run(1, TCR, |rig| {
        let none = rig.area(0, 1, Prot::empty());
        let read = rig.area(0, 1, Prot::READ);
        let code = rig.area(0, 1, Prot::READ | Prot::EXEC);
        let fault = |area, access| rig.tables.handle_mm_fault(area, VA, access);
        for access in [Access::Read, Access::Write, Access::Exec] {
            assert_eq!(fault(&none, access), Err(Fault::AccErr));
        }
        assert_eq!(fault(&read, Access::Write), Err(Fault::AccErr));
        assert_eq!(fault(&read, Access::Exec), Err(Fault::AccErr));
        assert_eq!(fault(&code, Access::Write), Err(Fault::AccErr));
        assert_eq!(rig.tables.pgtables_bytes(), 0, "nothing was made");
        assert_eq!(fault(&read, Access::Read), Ok(()));
        assert_eq!(rig.read(&read, 0), Ok(0));
    });
}

#[test]
fn a_page_names_its_family_and_index() {
    Rig::run(1, TCR, |rig| {
        let area = Area { anon: 77, anon_pgoff: 1000, ..rig.area(5, 10, RW) };
        let pa = rig.access(&area, address(8), Access::Write).expect("may be written");
        let frame = crate::mm::page::Frame::new(pa.pfn().unwrap()).expect("a page");
        let mapping = frame.page().mapping().expect("a user's");
        assert_eq!((mapping.object(), mapping.index()), (77, 1003));
        assert_eq!((frame.page().refcount(), frame.page().mapcount()), (1, 0));
        // Numbers that are none: no page, and nothing lost.
        let bad = Area { anon: u32::MAX, ..area };
        assert_eq!(rig.write(&bad, 9, 1), Err(Fault::MapErr));
    });
}
