//! Each operation, checked through the eyes of all CPUs.

use super::*;
use crate::addr::{PMD_SIZE, PUD_SIZE};
use crate::arch::hosted::mmu::Step;
use crate::arch::pgtable::{FlushOwed, Level, MapError, MapFlags, MemoryType, TreeStats};

const RW: KernelAttrs = KernelAttrs::KERNEL;
const RO: KernelAttrs = KernelAttrs::KERNEL_RO;
const RX: KernelAttrs = KernelAttrs::KERNEL_ROX;
const MEM: PhysAddr = PhysAddr::new(0x10_0000_0000);
const NONE: MapFlags = MapFlags::empty();
const BASE: VirtAddr = VirtAddr::new(0xffff_0000_0000_0000);

fn leaves(pud: usize, pmd: usize, pte: usize, contiguous: usize) -> impl Fn(TreeStats) -> bool {
    move |s| s.leaves == [pud, pmd, pte] && s.contiguous == contiguous
}

#[test]
fn maps_with_the_largest_pieces() {
    Rig::run(Config { eagerness: 8, ..Config::eager(1) }, |rig| {
        // A page, a contiguous set, blocks of 2 MiB, and back down.
        let first = PMD_SIZE - 17 * PAGE_SIZE;
        let va = VirtRange::new(VA + first, VA + 2 * PMD_SIZE + 18 * PAGE_SIZE);
        let pa = MEM + first as u64;
        rig.mapper().map(va, pa, RW, NONE).unwrap();
        assert!(leaves(0, 1, 16 + 16 + 3, 32)(rig.mapper().validate(BASE).unwrap()));
        rig.check_range(va, Some((pa, RW)));
        rig.check(va.start() - PAGE_SIZE, None);
        rig.check(va.end(), None);

        let giant = VirtRange::from_size(VA + PUD_SIZE, PUD_SIZE + 16 * PMD_SIZE);
        rig.mapper().map(giant, MEM, RO, NONE).unwrap();
        assert!(leaves(1, 17, 35, 48)(rig.mapper().validate(BASE).unwrap()));
        rig.check(giant.start() + 12345 * PAGE_SIZE, Some((MEM + (12345u64 << 12), RO)));
        rig.check(giant.end() - PAGE_SIZE, Some((MEM + giant.len() as u64 - 4096, RO)));

        let t = rig.mapper().translate(giant.start() + 0x1234).unwrap();
        assert_eq!((t.pa, t.attrs, t.level), (MEM + 0x1234, RO, Level::Pud));
        assert_eq!(rig.mapper().translate(giant.end()), None);
    });
}

#[test]
fn flags_keep_pieces_small() {
    Rig::run(Config { eagerness: 8, ..Config::eager(2) }, |rig| {
        let va = VirtRange::from_size(VA, PMD_SIZE);
        rig.mapper().map(va, MEM, RW, MapFlags::NO_BLOCK | MapFlags::NO_CONT).unwrap();
        assert!(leaves(0, 0, 512, 0)(rig.mapper().validate(BASE).unwrap()));
        let va = VirtRange::from_size(VA + PMD_SIZE, PMD_SIZE);
        rig.mapper().map(va, MEM, RW, MapFlags::NO_BLOCK).unwrap();
        assert!(leaves(0, 0, 1024, 512)(rig.mapper().validate(BASE).unwrap()));
        // Memory that isn't congruent with the address.
        let va = VirtRange::from_size(VA + 2 * PMD_SIZE, PMD_SIZE);
        rig.mapper().map(va, MEM + PAGE_SIZE as u64, RW, NONE).unwrap();
        assert!(leaves(0, 0, 1536, 512)(rig.mapper().validate(BASE).unwrap()));
        rig.check_range(va, Some((MEM + PAGE_SIZE as u64, RW)));
    });
}

#[test]
fn scattered_pages_come_and_go() {
    Rig::run(Config::eager(3), |rig| {
        let frames: Vec<_> = (0..40).map(|i| MEM + (i * 37 % 64 * 4096)).collect();
        // Across the end of a table.
        let va = VA + 500 * PAGE_SIZE;
        for attrs in [RW, RX, KernelAttrs::NORMAL_NC] {
            rig.mapper().map_pages(va, frames.iter().copied(), attrs).unwrap();
            for (i, &pa) in frames.iter().enumerate() {
                rig.check(va + i * PAGE_SIZE, Some((pa, attrs)));
            }
            let range = pages(500, 40);
            let owed = rig.mapper().unmap(range).unwrap();
            assert_eq!(owed.range(), Some(range));
            owed.flush();
            rig.check_range(range, None);
        }
        // PGD, PUD, PMD and two PTE tables; all but the PGD are empty.
        assert_eq!(rig.access.in_use, 5);
        rig.mapper().prune(pages(0, 1024), FlushOwed::NONE);
        assert_eq!(rig.access.in_use, 1);
    });
}

#[test]
fn what_is_refused_changes_nothing() {
    Rig::run(Config::eager(4), |rig| {
        let va = pages(100, 8);
        rig.mapper().map(va, MEM, RW, NONE).unwrap();
        let tables = rig.access.in_use;
        let mut m = rig.mapper();
        assert_eq!(m.map(pages(96, 8), MEM, RW, NONE), Err(MapError::AlreadyMapped));
        let twelve = (0..12).map(|i| MEM + 4096 * i);
        assert_eq!(m.map_pages(pages(96, 1).start(), twelve, RW), Err(MapError::AlreadyMapped));
        assert_eq!(m.map(pages(0, 1), MEM + 1, RW, NONE), Err(MapError::Misaligned));
        let odd = VirtRange::from_size(VA + 8, PAGE_SIZE);
        assert_eq!(m.map(odd, MEM, RW, NONE), Err(MapError::Misaligned));
        let frames = [MEM, MEM + 8].into_iter();
        assert_eq!(m.map_pages(VA, frames, RW), Err(MapError::Misaligned));
        let frames = [MEM, PhysAddr::new(1 << 48)].into_iter();
        assert_eq!(m.map_pages(VA, frames, RW), Err(MapError::OutOfRange));
        let top = PhysAddr::new((1 << 48) - 4096);
        assert_eq!(m.map(pages(0, 2), top, RW, NONE), Err(MapError::OutOfRange));
        let hole = VirtRange::from_size(VirtAddr::new(0x0001_0000_0000_0000), PAGE_SIZE);
        assert_eq!(m.map(hole, MEM, RW, NONE), Err(MapError::OutOfRange));
        let across = VirtRange::from_size(VirtAddr::new(0x0000_ffff_ffff_f000), 2 * PAGE_SIZE);
        assert_eq!(m.map(across, MEM, RW, NONE), Err(MapError::OutOfRange));
        m.map(VirtRange::new(VA, VA), MEM, RW, NONE).unwrap();
        // Nothing has changed.
        assert_eq!(rig.access.in_use, tables);
        rig.check_range(pages(90, 10), None);
        rig.check_range(va, Some((MEM, RW)));
        rig.check(va.end(), None);
        // A block in the way of a page and a page in the way of a block.
        let block = VirtRange::from_size(VA + PMD_SIZE, PMD_SIZE);
        rig.mapper().map(block, MEM, RW, NONE).unwrap();
        let part = VirtRange::from_size(block.start() + 5 * PAGE_SIZE, PAGE_SIZE);
        assert_eq!(rig.mapper().map(part, MEM, RW, NONE), Err(MapError::AlreadyMapped));
        let both = VirtRange::from_size(VA, PMD_SIZE);
        assert_eq!(rig.mapper().map(both, MEM, RW, NONE), Err(MapError::AlreadyMapped));
        rig.check_range(pages(90, 10), None);
        assert_eq!(rig.mapper().unmap(part).unwrap_err(), MapError::BreakBeforeMake);
        assert_eq!(rig.mapper().protect(part, RO).unwrap_err(), MapError::BreakBeforeMake);
        rig.check_range(block, Some((MEM, RW)));
    });
}

#[test]
fn each_allocation_can_fail_and_nothing_is_lost() {
    // Pages on both sides of the end of a PUD table: six tables.
    let va = VirtAddr::new(0xffff_8080_0000_0000) - 3 * PAGE_SIZE;
    let needed = 6;
    for budget in 0..=needed {
        Rig::run(Config::eager(5), |rig| {
            for by_page in [false, true] {
                let range = VirtRange::from_size(va, 6 * PAGE_SIZE);
                let frames = (0..6).map(|i| MEM + 4096 * i);
                rig.access.budget = budget;
                let mut m = rig.mapper();
                let result =
                    if by_page { m.map_pages(va, frames, RW) } else { m.map(range, MEM, RW, NONE) };
                if budget < needed {
                    assert_eq!(result, Err(MapError::NoMemory));
                    rig.check_range(range, None);
                } else {
                    assert_eq!(result, Ok(()));
                    rig.check_range(range, Some((MEM, RW)));
                    rig.mapper().unmap(range).unwrap().flush();
                    rig.mapper().prune(range, FlushOwed::NONE);
                }
                assert_eq!(rig.access.in_use, 1, "with {budget} tables");
            }
        });
    }
}

#[test]
fn permissions_change_in_place() {
    Rig::run(Config { eagerness: 64, ..Config::eager(6) }, |rig| {
        let va = VirtRange::from_size(VA + PMD_SIZE - 32 * PAGE_SIZE, PMD_SIZE + 40 * PAGE_SIZE);
        let pa = MEM + (PMD_SIZE - 32 * PAGE_SIZE) as u64;
        rig.mapper().map(va, pa, RW, NONE).unwrap();
        for attrs in [RX, RW, RO] {
            rig.mapper().protect(va, attrs).unwrap().flush();
            rig.check_range(va, Some((pa, attrs)));
        }
        // The block and the sets are as they were.
        assert!(leaves(0, 1, 40, 32)(rig.mapper().validate(BASE).unwrap()));
        assert!(rig.mapper().protect(va, RO).unwrap().is_none(), "no change owes no flush");
    });
}

#[test]
fn a_cut_set_is_unfolded() {
    Rig::run(Config::eager(7), |rig| {
        let va = pages(16, 48);
        rig.mapper().map(va, MEM, RW, NONE).unwrap();
        assert!(leaves(0, 0, 48, 48)(rig.mapper().validate(BASE).unwrap()));
        rig.mapper().protect(pages(20, 4), RO).unwrap().flush();
        assert!(leaves(0, 0, 48, 32)(rig.mapper().validate(BASE).unwrap()));
        rig.check_range(pages(16, 4), Some((MEM, RW)));
        rig.check_range(pages(20, 4), Some((MEM + 0x4000, RO)));
        rig.check_range(pages(24, 40), Some((MEM + 0x8000, RW)));
        // From within one set to within the next.
        rig.mapper().unmap(pages(40, 20)).unwrap().flush();
        assert!(leaves(0, 0, 28, 0)(rig.mapper().validate(BASE).unwrap()));
        rig.check_range(pages(24, 16), Some((MEM + 0x8000, RW)));
        rig.check_range(pages(40, 20), None);
        rig.check_range(pages(60, 4), Some((MEM + 0x2c000, RW)));
    });
}

#[test]
fn memory_types_change_by_break_before_make() {
    Rig::run(Config { eagerness: 64, ..Config::eager(8) }, |rig| {
        let va = VirtRange::from_size(VA + PMD_SIZE - 32 * PAGE_SIZE, PMD_SIZE + 40 * PAGE_SIZE);
        let pa = MEM + (PMD_SIZE - 32 * PAGE_SIZE) as u64;
        rig.mapper().map(va, pa, RW, NONE).unwrap();
        for memory in [MemoryType::NormalNc, MemoryType::NormalWt, MemoryType::DeviceNgnre] {
            let attrs = KernelAttrs::data(memory, true);
            rig.mapper().protect(va, attrs).unwrap().flush();
            rig.check_range(va, Some((pa, attrs)));
            assert!(leaves(0, 1, 40, 32)(rig.mapper().validate(BASE).unwrap()));
        }
        rig.access.breakable = false;
        assert_eq!(rig.mapper().protect(va, RW).unwrap_err(), MapError::BreakBeforeMake);
        rig.mapper().protect(va, KernelAttrs::DEVICE).unwrap().flush();
        // Nor may what the tables themselves are reached through.
        rig.access.breakable = true;
        rig.access.window = Some(va.start() + 3 * PAGE_SIZE);
        assert_eq!(rig.mapper().protect(va, RW).unwrap_err(), MapError::BreakBeforeMake);
        rig.check_range(va, Some((pa, KernelAttrs::DEVICE)));
        rig.access.window = Some(va.end());
        rig.mapper().protect(va, RW).unwrap().flush();
    });
}

#[test]
fn blocks_split_and_collapse() {
    Rig::run(Config { eagerness: 32, ..Config::eager(9) }, |rig| {
        let giant = VirtRange::from_size(VA + PUD_SIZE, PUD_SIZE);
        rig.mapper().map(giant, MEM, RW, NONE).unwrap();
        let tables = rig.access.in_use;
        let page = VirtRange::from_size(giant.start() + 1000 * PAGE_SIZE, PAGE_SIZE);
        rig.machine.mmu().mutate(None);
        rig.mapper().split(page).unwrap();
        // One break at each level; no contiguous set is made that would have to be
        // unfolded at once.
        let breaks = rig.machine.mmu().steps().iter().filter(|s| **s == Step::Break).count();
        assert_eq!(breaks, 2);
        // One PMD table and one PTE table, unfolded around the page alone.
        assert_eq!(rig.access.in_use, tables + 2);
        assert!(leaves(0, 511, 512, 496 + 496)(rig.mapper().validate(BASE).unwrap()));
        rig.mapper().protect(page, RO).unwrap().flush();
        rig.check(page.start(), Some((MEM + (1000u64 << 12), RO)));
        rig.check(page.end(), Some((MEM + (1001u64 << 12), RW)));
        rig.check(giant.start(), Some((MEM, RW)));
        let block = VirtRange::from_size(page.start().align_down(PMD_SIZE), PMD_SIZE);
        assert_eq!(rig.mapper().collapse(block), Err(MapError::BreakBeforeMake));
        rig.mapper().protect(page, RW).unwrap().flush();
        rig.mapper().collapse(block).unwrap();
        assert_eq!(rig.access.in_use, tables + 1);
        rig.mapper().collapse(giant).unwrap();
        assert_eq!(rig.access.in_use, tables);
        assert!(leaves(1, 0, 0, 0)(rig.mapper().validate(BASE).unwrap()));
        rig.check(page.start(), Some((MEM + (1000u64 << 12), RW)));

        rig.access.breakable = false;
        assert_eq!(rig.mapper().split(page), Err(MapError::BreakBeforeMake));
        rig.access.breakable = true;
        rig.access.budget = 1;
        assert_eq!(rig.mapper().split(page), Err(MapError::NoMemory));
        rig.check(page.start(), Some((MEM + (1000u64 << 12), RW)));
        assert_eq!(rig.mapper().collapse(pages(0, 1)), Err(MapError::Misaligned));
        // One piece of memory, but not aligned to the block's size.
        let skew = VirtRange::from_size(VA + 3 * PUD_SIZE, PMD_SIZE);
        rig.access.budget = usize::MAX;
        rig.mapper().map(skew, MEM + PAGE_SIZE as u64, RW, NONE).unwrap();
        assert_eq!(rig.mapper().collapse(skew), Err(MapError::BreakBeforeMake));
        rig.check(skew.start(), Some((MEM + PAGE_SIZE as u64, RW)));
    });
}

#[test]
fn a_block_takes_the_place_of_an_empty_table() {
    Rig::run(Config { eagerness: 64, ..Config::eager(10) }, |rig| {
        let va = VirtRange::from_size(VA, 2 * PMD_SIZE);
        rig.mapper().map(pages(3, 1), MEM, RW, NONE).unwrap();
        rig.mapper().map(pages(600, 1), MEM, RW, NONE).unwrap();
        rig.mapper().unmap(pages(3, 1)).unwrap().flush();
        rig.mapper().unmap(pages(600, 1)).unwrap().flush();
        assert_eq!(rig.access.in_use, 5);
        rig.mapper().map(va, MEM, RW, NONE).unwrap();
        assert!(leaves(0, 2, 0, 0)(rig.mapper().validate(BASE).unwrap()));
        assert_eq!(rig.access.in_use, 3);
        rig.check_range(va, Some((MEM, RW)));
    });
}

#[test]
fn a_gathered_flush_settles_all() {
    Rig::run(Config::eager(11), |rig| {
        let (a, b) = (pages(0, 2), pages(700, 3));
        rig.mapper().map(a, MEM, RW, NONE).unwrap();
        rig.mapper().map(b, MEM, RW, NONE).unwrap();
        let owed = rig.mapper().unmap(a).unwrap();
        let owed = owed.merge(rig.mapper().unmap(b).unwrap());
        rig.machine.mmu().mutate(None);
        // Along with the tables: the PTE tables, the PMD table, the PUD table.
        assert_eq!(rig.mapper().prune(pages(0, 703), owed), 4);
        // Past 512 pages everything goes at once.
        let steps = [Step::DsbIshst, Step::TlbiAll, Step::DsbIsh, Step::Isb];
        assert_eq!(rig.machine.mmu().steps()[4..], steps);
        assert_eq!(rig.access.in_use, 1);
        rig.check_range(a, None);
        rig.check_range(b, None);
        // The addresses and the table pages serve anew.
        rig.mapper().map(pages(0, 703), MEM, RO, NONE).unwrap();
        rig.check_range(pages(0, 703), Some((MEM, RO)));
    });
}

#[test]
fn invalidations_are_as_few_as_they_can_be() {
    let steps = |bytes, flags, tlb_range: bool| {
        Rig::run(Config { eagerness: 8, ..Config::eager(12) }, |rig| {
            crate::arch::mmu::set_tlb_range(tlb_range);
            let va = VirtRange::from_size(VA, bytes);
            rig.mapper().map(va, MEM, RW, flags).unwrap();
            let owed = rig.mapper().unmap(va).unwrap();
            rig.machine.mmu().mutate(None);
            owed.flush();
            rig.check_range(va, None);
            let steps = rig.machine.mmu().steps();
            assert_eq!(steps[0], Step::DsbIshst);
            assert_eq!(steps[steps.len() - 2..], [Step::DsbIsh, Step::Isb]);
            steps[1..steps.len() - 2].to_vec()
        })
    };
    use Step::{TlbiAll, TlbiRangeLast, TlbiVaLast};
    assert_eq!(steps(PAGE_SIZE, NONE, false), [TlbiVaLast]);
    assert_eq!(steps(PAGE_SIZE, NONE, true), [TlbiVaLast]);
    assert_eq!(steps(3 * PAGE_SIZE, NONE, false), [TlbiVaLast; 3]);
    assert_eq!(steps(3 * PAGE_SIZE, NONE, true), [TlbiRangeLast, TlbiVaLast]);
    // A block needs one; each entry of a contiguous set needs its own.
    assert_eq!(steps(PMD_SIZE, NONE, false), [TlbiVaLast]);
    assert_eq!(steps(3 * PMD_SIZE, NONE, false), [TlbiVaLast; 3]);
    assert_eq!(steps(PUD_SIZE, NONE, true), [TlbiVaLast]);
    assert_eq!(steps(16 * PAGE_SIZE, NONE, false), [TlbiVaLast; 16]);
    // Past 512, everything goes at once, unless ranges can be named.
    assert_eq!(steps(PMD_SIZE, MapFlags::NO_BLOCK, false), [TlbiVaLast; 512]);
    assert_eq!(steps(PMD_SIZE + PAGE_SIZE, MapFlags::NO_BLOCK, false), [TlbiAll]);
    let ops = steps(PMD_SIZE + PAGE_SIZE, MapFlags::NO_BLOCK, true);
    assert_eq!(ops, [TlbiRangeLast, TlbiVaLast]);
}

/// Rights, dumps and checks are those that the tables above a leaf leave.
#[test]
fn tables_limit_what_is_below() {
    use crate::arch::pgtable::{Descriptor, Level};
    use core::ops::ControlFlow::Continue;
    Rig::run(Config { seed: 1, cpus: 0, eagerness: 0 }, |rig| {
        let va = pages(0, 1);
        rig.mapper().map(va, MEM, RW, MapFlags::empty()).unwrap();
        let word = |rig: &mut Rig<'_>, level: Level, change: &dyn Fn(u64) -> u64| {
            let mut table = rig.root;
            for at in [Level::Pgd, Level::Pud, Level::Pmd, Level::Pte] {
                let here = rig.access.with(table, |t| t.descriptor(at.index(va.start())));
                if at == level {
                    let at = table.phys() + 8 * at.index(va.start()) as u64;
                    let at = core::ptr::with_exposed_provenance_mut::<u64>(phys_to_virt(at).get());
                    // SAFETY: a word of a table of this test's.
                    unsafe { at.write(change(here.bits())) };
                    return;
                }
                // SAFETY: a table of this test's.
                table = unsafe { TableAddr::new(Descriptor::next_table(here).unwrap()) };
            }
        };
        // Writable and executable, which the tables forbid or not.
        word(rig, Level::Pte, &|leaf| leaf & !(1 << 53));
        assert!(rig.mapper().validate(VirtAddr::new(0xffff_0000_0000_0000)).is_err());
        for (level, limit, writable, executable) in [
            (Level::Pmd, 1 << 59, true, false),
            (Level::Pud, 1 << 62, false, true),
            (Level::Pgd, 1 << 59 | 1 << 62, false, false),
        ] {
            word(rig, level, &|link| link | limit);
            let base = VirtAddr::new(0xffff_0000_0000_0000);
            assert!(rig.mapper().validate(base).is_ok(), "{level:?} {limit:#x}");
            let rights = |attrs: KernelAttrs| (attrs.is_writable(), attrs.is_executable());
            let found = rig.mapper().translate(va.start()).unwrap();
            assert_eq!(rights(found.attrs), (writable, executable));
            rig.mapper().for_each_leaf(va, |_, leaf| {
                assert_eq!(rights(leaf.attrs), (writable, executable));
                Continue(())
            });
            word(rig, level, &|link| link & !limit);
        }
    });
}
