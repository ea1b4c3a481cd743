//! Edits of few pages through remembered tables.

use super::*;
use crate::arch::pgtable::*;

const RW: KernelAttrs = KernelAttrs::KERNEL;
const MEM: PhysAddr = PhysAddr::new(0x10_0000_0000);
const NONE: MapFlags = MapFlags::empty();

/// Returns the flush that `unmap_cached` owes for `va`; `None` if it leaves the work to others, and
/// owes nothing.
fn cached(rig: &mut Rig, va: VirtRange) -> Option<FlushOwed> {
    let mut owed = FlushOwed::NONE;
    let done = unmap_cached(&mut rig.access, va.start(), va.len() / PAGE_SIZE, &mut owed);
    assert!(done || owed.is_none());
    done.then_some(owed)
}

/// A remembered table spares a walk, and is forgotten when the table is freed.
#[test]
fn a_freed_table_is_forgotten() {
    Rig::run(Config::eager(5), |rig| {
        for round in 0..4 {
            let va = pages(round, 3);
            assert!(cached(rig, va).is_none(), "a table that isn't there");
            assert_eq!(is_page_mapped(&mut rig.access, va.start()), None);
            // Made by the first, walked to by the second.
            rig.mapper().map(pages(round, 1), MEM, RW, NONE).unwrap();
            let rest = [MEM + 4096, MEM + 8192].into_iter();
            rig.mapper().map_pages(pages(round + 1, 1).start(), rest, RW).unwrap();
            rig.check_range(va, Some((MEM, RW)));
            let mapped = |rig: &mut Rig, at| is_page_mapped(&mut rig.access, at);
            assert_eq!(mapped(rig, va.end() - PAGE_SIZE), Some(true));
            assert_eq!(mapped(rig, va.end()), Some(false));
            let owed = cached(rig, va).expect("it is remembered");
            assert_eq!(owed.range(), Some(va));
            owed.flush();
            rig.check_range(va, None);
            assert!(cached(rig, va).expect("it is still there").is_none());
            assert_eq!(rig.mapper().prune(pages(0, 512), FlushOwed::NONE), 3);
        }
    });
}

/// An edit that spans two tables, or cuts a contiguous set, is refused by the simple path.
#[test]
fn few_pages_are_of_one_table_and_whole_sets() {
    Rig::run(Config::eager(6), |rig| {
        rig.mapper().map(pages(0, 1024), MEM + 4096, RW, MapFlags::NO_BLOCK).unwrap();
        rig.mapper().unmap(pages(496, 32)).unwrap().flush();
        for part in [pages(511, 2), pages(495, 18), pages(490, 23)] {
            assert!(cached(rig, part).is_none(), "{part:?} is of two tables");
        }
        let set = pages(496, 16);
        rig.mapper().map(set, MEM, RW, NONE).unwrap();
        assert!(rig.mapper().entry(set.start()).is_some_and(|entry| entry.contiguous));
        let cuts = [(496, 3), (500, 12), (497, 1), (490, 7), (490, 10), (480, 17), (480, 31)];
        for part in cuts.map(|(first, count)| pages(first, count)) {
            assert!(cached(rig, part).is_none(), "{part:?} cuts a set");
        }
        rig.check_range(set, Some((MEM, RW)));
        cached(rig, set).expect("all of a set").flush();
        rig.check_range(set, None);
        // One with pages on both sides, which the range has whole or in part.
        rig.mapper().unmap(pages(480, 16)).unwrap().flush();
        let set = pages(480, 16);
        rig.mapper().map(set, MEM, RW, NONE).unwrap();
        for part in [(484, 14), (484, 20), (495, 2), (470, 12), (460, 24)] {
            let part = pages(part.0, part.1);
            assert!(cached(rig, part).is_none(), "{part:?} cuts a set");
        }
        rig.check_range(set, Some((MEM, RW)));
        let around = pages(479, 18);
        cached(rig, around).expect("all of a set, and more").flush();
        rig.check_range(around, None);
    });
}
