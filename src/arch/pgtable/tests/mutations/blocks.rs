//! Edits of blocks and tables.

use super::super::*;
use super::edits::*;
use crate::addr::{PMD_SIZE, PUD_SIZE};
use crate::arch::pgtable::{FlushOwed, Leaf, Level, MapError, MapFlags};

pub(super) const EDITS: &[Edit] = &[
    Edit {
        name: "map a block over an empty table",
        before: |rig| {
            rig.mapper().map(pages(0, 1), OTHER, RW, NONE).unwrap();
            rig.mapper().unmap(pages(0, 1)).unwrap().flush();
        },
        edit: |rig| rig.mapper().map(block(), MEM, RW, NONE).unwrap(),
        after: |rig| {
            rig.check_range(block(), Some((MEM, RW)));
            // The table page serves elsewhere.
            let far = VirtRange::from_size(VA + PUD_SIZE, PAGE_SIZE);
            rig.mapper().map(far, OTHER, RW, NONE).unwrap();
            rig.check_range(block(), Some((MEM, RW)));
        },
    },
    Edit {
        name: "protect a block",
        before: |rig| rig.mapper().map(block(), MEM, RW, NONE).unwrap(),
        edit: |rig| rig.mapper().protect(block(), RO).unwrap().flush(),
        after: |rig| rig.check_range(block(), Some((MEM, RO))),
    },
    Edit {
        name: "unmap a block",
        before: |rig| rig.mapper().map(block(), MEM, RW, NONE).unwrap(),
        edit: |rig| rig.mapper().unmap(block()).unwrap().flush(),
        after: |rig| {
            rig.check_range(block(), None);
            reuse(rig, pages(0, 3));
        },
    },
    Edit {
        name: "change the memory type of a block",
        before: |rig| rig.mapper().map(block(), MEM, RW, NONE).unwrap(),
        edit: |rig| rig.mapper().protect(block(), NC).unwrap().flush(),
        after: |rig| rig.check_range(block(), Some((MEM, NC))),
    },
    Edit {
        name: "split a block of 1 GiB",
        before: |rig| {
            let giant = VirtRange::from_size(VA, PUD_SIZE);
            rig.mapper().map(giant, MEM, RW, NONE).unwrap();
        },
        edit: |rig| rig.mapper().split(block()).unwrap(),
        after: |rig| {
            rig.check_range(block(), Some((MEM, RW)));
            rig.mapper().protect(block(), RO).unwrap().flush();
            rig.check_range(block(), Some((MEM, RO)));
        },
    },
    Edit {
        name: "release tables of several levels, invalidating by range",
        before: |rig| {
            crate::arch::mmu::set_tlb_range(true);
            rig.mapper().map(pages(0, 1), MEM, RW, NONE).unwrap();
            rig.mapper().map(pages(600, 1), MEM, RW, NONE).unwrap();
            rig.mapper().unmap(pages(0, 601)).unwrap().flush();
        },
        edit: |rig| {
            assert_eq!(rig.mapper().prune(pages(0, 601), FlushOwed::NONE), 4);
            rig.mapper().map(pages(8, 1), OTHER, RW, NONE).unwrap();
        },
        after: |rig| {
            rig.check_range(pages(8, 1), Some((OTHER, RW)));
            rig.mapper().map(pages(608, 1), OTHER, RW, NONE).unwrap();
            rig.check_range(pages(608, 1), Some((OTHER, RW)));
            rig.check_range(pages(600, 1), None);
        },
    },
    Edit {
        name: "split a block",
        before: |rig| rig.mapper().map(block(), MEM, RW, NONE).unwrap(),
        edit: |rig| rig.mapper().split(pages(5, 1)).unwrap(),
        after: |rig| {
            rig.check_range(block(), Some((MEM, RW)));
            rig.mapper().protect(pages(5, 1), RO).unwrap().flush();
            rig.check_range(pages(5, 1), Some((MEM + 0x5000, RO)));
        },
    },
    Edit {
        name: "collapse a table",
        before: |rig| {
            rig.mapper().map(block(), MEM, RW, MapFlags::NO_BLOCK).unwrap();
        },
        edit: |rig| rig.mapper().collapse(block()).unwrap(),
        after: |rig| {
            rig.check_range(block(), Some((MEM, RW)));
            let far = VirtRange::from_size(VA + PUD_SIZE, PAGE_SIZE);
            rig.mapper().map(far, OTHER, RW, NONE).unwrap();
            rig.check_range(block(), Some((MEM, RW)));
        },
    },
    Edit {
        name: "unmap and release tables at once",
        before: |rig| rig.mapper().map(pages(0, 3), MEM, RW, NONE).unwrap(),
        edit: |rig| {
            let owed = rig.mapper().unmap(pages(0, 3)).unwrap();
            assert_eq!(rig.mapper().prune(pages(0, 3), owed), 3);
        },
        after: |rig| {
            rig.check_range(pages(0, 3), None);
            reuse(rig, pages(0, 3));
        },
    },
    Edit {
        name: "release tables",
        before: |rig| {
            rig.mapper().map(pages(0, 3), MEM, RW, NONE).unwrap();
            rig.mapper().unmap(pages(0, 3)).unwrap().flush();
        },
        edit: |rig| {
            assert_eq!(rig.mapper().prune(pages(0, 3), FlushOwed::NONE), 3);
            // A new table in the old one's place.
            rig.mapper().map(pages(8, 1), OTHER, RW, NONE).unwrap();
        },
        after: |rig| {
            rig.check_range(pages(8, 1), Some((OTHER, RW)));
            rig.check_range(pages(0, 3), None);
            reuse(rig, pages(0, 3));
        },
    },
    Edit {
        name: "map blocks",
        before: |_| {},
        edit: |rig| {
            let va = VirtRange::from_size(VA, 3 * PMD_SIZE);
            rig.mapper().map(va, MEM, RW, NONE).unwrap();
        },
        after: |rig| rig.check_range(block(), Some((MEM, RW))),
    },
    Edit {
        name: "take back a map that ran out of tables",
        before: |_| {},
        edit: |rig| {
            rig.access.budget = 3;
            let result = rig.mapper().map(pages(508, 8), MEM, RW, NONE);
            assert_eq!(result, Err(MapError::NoMemory));
            rig.access.budget = usize::MAX;
        },
        after: |rig| {
            assert_eq!(rig.access.in_use, 1);
            rig.check_range(pages(508, 8), None);
            reuse(rig, pages(508, 8));
        },
    },
    Edit {
        name: "link a table that is there",
        before: |_| {},
        edit: |rig| {
            let table = Mapper::new_table(&mut rig.access).unwrap();
            let leaf = Leaf { pa: MEM, attrs: RW, contiguous: false, valid: true };
            rig.access.with(table, |t| t.set_leaf(Level::Pud, Level::Pud.index(VA), leaf));
            rig.mapper().link_table(VA, table).unwrap();
            mmu::isb();
        },
        after: |rig| rig.check_range(block(), Some((MEM, RW))),
    },
    Edit {
        name: "release tables far apart at once",
        before: |rig| {
            rig.mapper().map(pages(0, 1), MEM, RW, NONE).unwrap();
            rig.mapper().map(pages(700, 1), MEM, RW, NONE).unwrap();
        },
        edit: |rig| {
            let owed = rig.mapper().unmap(pages(0, 1)).unwrap();
            let owed = owed.merge(rig.mapper().unmap(pages(700, 1)).unwrap());
            assert_eq!(rig.mapper().prune(pages(0, 701), owed), 4);
        },
        after: |rig| {
            for va in [pages(0, 1), pages(700, 1)] {
                rig.check_range(va, None);
                reuse(rig, va);
            }
        },
    },
    Edit {
        name: "unfold a contiguous set of blocks",
        before: |rig| {
            let set = VirtRange::from_size(VA, 16 * PMD_SIZE);
            rig.mapper().map(set, MEM, RW, NONE).unwrap();
        },
        edit: |rig| rig.mapper().split(block()).unwrap(),
        after: |rig| {
            rig.check(VA + PMD_SIZE, Some((MEM + PMD_SIZE as u64, RW)));
            rig.mapper().unmap(block()).unwrap().flush();
            rig.check_range(block(), None);
            rig.check(VA + PMD_SIZE, Some((MEM + PMD_SIZE as u64, RW)));
        },
    },
    Edit {
        name: "collapse a table of blocks, invalidating by range",
        before: |rig| {
            mmu::set_tlb_range(true);
            let giant = VirtRange::from_size(VA, PUD_SIZE);
            rig.mapper().map(giant, MEM, RW, NONE).unwrap();
            rig.mapper().split(block()).unwrap();
        },
        edit: |rig| rig.mapper().collapse(VirtRange::from_size(VA, PUD_SIZE)).unwrap(),
        after: |rig| {
            rig.check_range(block(), Some((MEM, RW)));
            let far = VirtRange::from_size(VA + (1 << 39), PAGE_SIZE);
            rig.mapper().map(far, OTHER, RW, NONE).unwrap();
            rig.check_range(block(), Some((MEM, RW)));
        },
    },
];
