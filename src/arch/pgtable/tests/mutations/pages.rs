//! Edits of pages and of their contiguous sets.

use super::super::*;
use super::edits::*;
use crate::arch::pgtable::{MapError, MapFlags};

pub(super) const EDITS: &[Edit] = &[
    Edit {
        name: "map pages",
        before: |_| {},
        edit: |rig| rig.mapper().map(pages(0, 3), MEM, RW, NONE).unwrap(),
        after: |rig| rig.check_range(pages(0, 3), Some((MEM, RW))),
    },
    Edit {
        name: "map pages one by one",
        before: |_| {},
        edit: |rig| {
            let frames = (0..3).map(|i| MEM + 4096 * i);
            rig.mapper().map_pages(VA, frames, RW).unwrap();
        },
        after: |rig| rig.check_range(pages(0, 3), Some((MEM, RW))),
    },
    Edit {
        name: "unmap pages",
        before: |rig| rig.mapper().map(pages(0, 3), MEM, RW, NONE).unwrap(),
        edit: |rig| rig.mapper().unmap(pages(0, 3)).unwrap().flush(),
        after: |rig| {
            rig.check_range(pages(0, 3), None);
            reuse(rig, pages(0, 3));
        },
    },
    Edit {
        name: "unmap pages, invalidating by range",
        before: |rig| {
            crate::arch::mmu::set_tlb_range(true);
            rig.mapper().map(pages(0, 5), MEM, RW, NONE).unwrap();
        },
        edit: |rig| rig.mapper().unmap(pages(0, 5)).unwrap().flush(),
        after: |rig| {
            rig.check_range(pages(0, 5), None);
            reuse(rig, pages(0, 5));
        },
    },
    Edit {
        name: "unmap part of a contiguous set",
        before: |rig| rig.mapper().map(pages(0, 16), MEM, RW, NONE).unwrap(),
        edit: |rig| {
            let owed = rig.mapper().unmap(pages(0, 4)).unwrap();
            // The rest stays mapped, however late the flush.
            rig.check_range(pages(4, 12), Some((MEM + 0x4000, RW)));
            owed.flush();
        },
        after: |rig| {
            rig.check_range(pages(0, 4), None);
            rig.check_range(pages(4, 12), Some((MEM + 0x4000, RW)));
            reuse(rig, pages(0, 4));
        },
    },
    Edit {
        name: "protect pages",
        before: |rig| rig.mapper().map(pages(0, 3), MEM, RW, NONE).unwrap(),
        edit: |rig| rig.mapper().protect(pages(0, 3), RO).unwrap().flush(),
        after: |rig| rig.check_range(pages(0, 3), Some((MEM, RO))),
    },
    Edit {
        name: "protect part of a contiguous set",
        before: |rig| rig.mapper().map(pages(0, 16), MEM, RW, NONE).unwrap(),
        edit: |rig| {
            let owed = rig.mapper().protect(pages(2, 3), RO).unwrap();
            rig.check_range(pages(5, 11), Some((MEM + 0x5000, RW)));
            owed.flush();
        },
        after: |rig| {
            rig.check_range(pages(2, 3), Some((MEM + 0x2000, RO)));
            rig.check_range(pages(0, 2), Some((MEM, RW)));
        },
    },
    Edit {
        name: "hide pages",
        before: |rig| rig.mapper().map(pages(0, 3), MEM, RW, NONE).unwrap(),
        edit: |rig| rig.mapper().set_valid(pages(0, 3), false).unwrap().flush(),
        after: |rig| {
            rig.check_range(pages(0, 3), None);
            rig.mapper().set_valid(pages(0, 3), true).unwrap().flush();
            rig.check_range(pages(0, 3), Some((MEM, RW)));
        },
    },
    Edit {
        name: "show hidden pages",
        before: |rig| {
            rig.mapper().map(pages(0, 3), MEM, RW, NONE).unwrap();
            rig.mapper().set_valid(pages(0, 3), false).unwrap().flush();
        },
        edit: |rig| rig.mapper().set_valid(pages(0, 3), true).unwrap().flush(),
        after: |rig| rig.check_range(pages(0, 3), Some((MEM, RW))),
    },
    Edit {
        name: "hide a single page without a lock, and show it",
        before: |rig| rig.mapper().map(pages(0, 3), MEM, RW, NONE).unwrap(),
        edit: |rig| {
            rig.mapper().set_page_valid(VA, false).unwrap().flush();
            rig.check_range(pages(0, 1), None);
            rig.mapper().set_page_valid(VA, true).unwrap().flush();
        },
        after: |rig| rig.check_range(pages(0, 3), Some((MEM, RW))),
    },
    Edit {
        name: "unmap all of a contiguous set",
        before: |rig| rig.mapper().map(pages(0, 16), MEM, RW, NONE).unwrap(),
        edit: |rig| {
            crate::arch::mmu::set_tlb_range(true);
            rig.mapper().unmap(pages(0, 16)).unwrap().flush();
        },
        after: |rig| {
            rig.check_range(pages(0, 16), None);
            reuse(rig, pages(0, 16));
        },
    },
    Edit {
        name: "split into single pages",
        before: |rig| rig.mapper().map(block(), MEM, RW, NONE).unwrap(),
        edit: |rig| rig.mapper().split_to_pages(pages(5, 1)).unwrap(),
        after: |rig| {
            rig.check_range(block(), Some((MEM, RW)));
            rig.mapper().set_page_valid(VA + 5 * PAGE_SIZE, false).unwrap().flush();
            rig.check_range(pages(5, 1), None);
        },
    },
    Edit {
        name: "unfold a contiguous set to split it",
        before: |rig| rig.mapper().map(pages(0, 16), MEM, RW, NONE).unwrap(),
        edit: |rig| rig.mapper().split(pages(5, 1)).unwrap(),
        after: |rig| {
            rig.check_range(pages(0, 16), Some((MEM, RW)));
            rig.mapper().unmap(pages(5, 1)).unwrap().flush();
            rig.check_range(pages(5, 1), None);
            rig.check_range(pages(6, 10), Some((MEM + 0x6000, RW)));
        },
    },
    Edit {
        name: "change the memory type",
        before: |rig| rig.mapper().map(pages(0, 2), MEM, RW, NONE).unwrap(),
        edit: |rig| rig.mapper().protect(pages(0, 2), NC).unwrap().flush(),
        after: |rig| rig.check_range(pages(0, 2), Some((MEM, NC))),
    },
    Edit {
        name: "map a contiguous set",
        before: |_| {},
        edit: |rig| rig.mapper().map(pages(16, 16), MEM, RW, NONE).unwrap(),
        after: |rig| {
            rig.check_range(pages(16, 16), Some((MEM, RW)));
            rig.check_range(pages(32, 2), None);
        },
    },
    Edit {
        name: "take back a map that ran into another",
        before: |rig| rig.mapper().map(pages(4, 1), OTHER, RW, NONE).unwrap(),
        edit: |rig| {
            let result = rig.mapper().map(pages(0, 8), MEM, RW, NONE);
            assert_eq!(result, Err(MapError::AlreadyMapped));
        },
        after: |rig| {
            rig.check_range(pages(0, 4), None);
            rig.check_range(pages(4, 1), Some((OTHER, RW)));
            reuse(rig, pages(0, 4));
        },
    },
    Edit {
        name: "unmap more pages than are invalidated one by one",
        before: |rig| {
            let va = pages(0, 515);
            rig.mapper().map(va, MEM, RW, MapFlags::NO_BLOCK | MapFlags::NO_CONT).unwrap();
        },
        // Few of them, else it is a long list of breaks; what is owed spans them all.
        edit: |rig| {
            let owed = rig.mapper().unmap(pages(0, 2)).unwrap();
            owed.merge(rig.mapper().unmap(pages(513, 2)).unwrap()).flush();
        },
        after: |rig| {
            for va in [pages(0, 2), pages(513, 2)] {
                rig.check_range(va, None);
                reuse(rig, va);
            }
            rig.check_range(pages(2, 8), Some((MEM + 0x2000, RW)));
        },
    },
    Edit {
        name: "protect a contiguous set",
        before: |rig| rig.mapper().map(pages(0, 16), MEM, RW, NONE).unwrap(),
        edit: |rig| rig.mapper().protect(pages(0, 16), RO).unwrap().flush(),
        after: |rig| rig.check_range(pages(0, 16), Some((MEM, RO))),
    },
    Edit {
        name: "change the memory type of a contiguous set",
        before: |rig| rig.mapper().map(pages(0, 16), MEM, RW, NONE).unwrap(),
        edit: |rig| rig.mapper().protect(pages(0, 16), NC).unwrap().flush(),
        after: |rig| rig.check_range(pages(0, 16), Some((MEM, NC))),
    },
    Edit {
        name: "hide part of a contiguous set",
        before: |rig| rig.mapper().map(pages(0, 16), MEM, RW, NONE).unwrap(),
        edit: |rig| rig.mapper().set_valid(pages(2, 3), false).unwrap().flush(),
        after: |rig| {
            rig.check_range(pages(2, 3), None);
            rig.check_range(pages(5, 11), Some((MEM + 0x5000, RW)));
        },
    },
];
