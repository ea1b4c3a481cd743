//! The behaviours that Linux's tools/testing/vma looks at: where areas merge, and where not.

use super::*;
use crate::mm::vma::{AnonName, Merge};
use std::vec;

const A: AnonVma = AnonVma::new(1);
const B: AnonVma = AnonVma::new(2);

/// A new range merges with what touches it and has the same properties: neither neighbour, one, or
/// both.
#[test]
fn a_new_range_merges_with_its_neighbours() {
    on_machine(8, || {
        let mut tree = VmaTree::new(1);
        map_anon(&mut tree, 0, 3, RW);
        map_anon(&mut tree, 10, 11, RW);
        // Nothing touches it.
        map_anon(&mut tree, 7, 9, RW);
        assert_eq!(bounds(&tree), [(0, 3), (7, 9), (10, 11)]);
        // The one before it grows.
        map_anon(&mut tree, 3, 4, RW);
        assert_eq!(bounds(&tree), [(0, 4), (7, 9), (10, 11)]);
        // The one after it grows.
        map_anon(&mut tree, 5, 7, RW);
        assert_eq!(bounds(&tree), [(0, 4), (5, 9), (10, 11)]);
        assert_eq!(tree.find(pages(5, 6).start()).expect("an area").pgoff(), 5);
        // Both become one with it, twice.
        map_anon(&mut tree, 4, 5, RW);
        assert_eq!(bounds(&tree), [(0, 9), (10, 11)]);
        map_anon(&mut tree, 9, 10, RW);
        assert_eq!(bounds(&tree), [(0, 11)]);
        assert_eq!(tree.len(), 1);
    });
}

/// Each property that differs keeps areas apart, and VM_SOFTDIRTY does not.
#[test]
fn properties_that_differ_keep_areas_apart() {
    on_machine(8, || {
        let own = Attributes::anonymous(RW);
        let name =
            |name: &[u8]| KArc::new(AnonName::new(name).expect("a name"), Gfp::GFP_KERNEL).ok();
        let one = file();
        let cases = [
            (own.clone(), own.clone(), true),
            (own.clone(), Attributes { flags: RW | VmFlags::SOFTDIRTY, ..own.clone() }, true),
            (own.clone(), Attributes { flags: RW | VmFlags::EXEC, ..own.clone() }, false),
            (own.clone(), Attributes { flags: RW | VmFlags::MTE_ALLOWED, ..own.clone() }, false),
            (own.clone(), Attributes { flags: RW | VmFlags::NOHUGEPAGE, ..own.clone() }, false),
            (own.clone(), Attributes { policy: 3, ..own.clone() }, false),
            (own.clone(), Attributes { uffd: 3, ..own.clone() }, false),
            (own.clone(), Attributes { anon_name: name(b"a"), ..own.clone() }, false),
            (
                Attributes { anon_name: name(b"a"), ..own.clone() },
                Attributes { anon_name: name(b"a"), ..own.clone() },
                true,
            ),
            (
                Attributes { anon_name: name(b"a"), ..own.clone() },
                Attributes { anon_name: name(b"b"), ..own.clone() },
                false,
            ),
            (own.clone(), Attributes { file: Some(file()), ..own.clone() }, false),
            (
                Attributes { file: Some(one.clone()), ..own.clone() },
                Attributes { file: Some(one.clone()), ..own.clone() },
                true,
            ),
            (
                Attributes { file: Some(one.clone()), ..own.clone() },
                Attributes { file: Some(file()), ..own.clone() },
                false,
            ),
        ];
        for (n, (before, new, merges)) in cases.into_iter().enumerate() {
            for swapped in [false, true] {
                let mut tree = VmaTree::new(1);
                let (first, second) = if swapped { (&new, &before) } else { (&before, &new) };
                map(&mut tree, pages(2, 4), first, 2);
                map(&mut tree, pages(4, 6), second, 4);
                assert_eq!(tree.len() == 1, merges, "case {n}");
                // From above too.
                let mut tree = VmaTree::new(1);
                map(&mut tree, pages(4, 6), second, 4);
                map(&mut tree, pages(2, 4), first, 2);
                assert_eq!(tree.len() == 1, merges, "case {n}");
            }
        }
    });
}

/// Page numbers of a file have to go on.
#[test]
fn pages_of_a_file_have_to_follow() {
    on_machine(8, || {
        let attributes = Attributes { file: Some(file()), ..Attributes::anonymous(RW) };
        for (pgoff, merges) in [(12, true), (11, false), (13, false), (0, false)] {
            let mut tree = VmaTree::new(1);
            map(&mut tree, pages(2, 4), &attributes, 10);
            map(&mut tree, pages(4, 6), &attributes, pgoff);
            assert_eq!(tree.len() == 1, merges);
            let mut tree = VmaTree::new(1);
            map(&mut tree, pages(4, 6), &attributes, pgoff);
            map(&mut tree, pages(2, 4), &attributes, 10);
            assert_eq!(tree.len() == 1, merges);
        }
    });
}

/// Areas of devices and the kernel's own pages never merge (Linux: VM_SPECIAL).
#[test]
fn special_areas_never_merge() {
    on_machine(8, || {
        for special in [VmFlags::IO, VmFlags::DONTEXPAND, VmFlags::PFNMAP, VmFlags::MIXEDMAP] {
            let mut tree = VmaTree::new(1);
            map_anon(&mut tree, 0, 3, RW | special);
            map_anon(&mut tree, 3, 4, RW | special);
            assert_eq!(bounds(&tree), [(0, 3), (3, 4)]);
            // Not when they change either.
            protect(&mut tree, 0, 3, RW);
            protect(&mut tree, 3, 4, RW | special | VmFlags::EXEC);
            protect(&mut tree, 0, 3, RW | special | VmFlags::EXEC);
            assert_eq!(bounds(&tree), [(0, 3), (3, 4)]);
        }
    });
}

/// A range of an area that changes: it is cut out, or it merges with a neighbour that is so already.
#[test]
fn a_change_cuts_or_merges() {
    on_machine(8, || {
        let ro = RW.difference(VmFlags::WRITE);
        let fresh = || {
            let mut tree = VmaTree::new(1);
            map_anon(&mut tree, 10, 20, RW);
            tree
        };
        // In the middle, at the beginning, at the end, and all of it.
        let mut tree = fresh();
        assert_eq!(protect(&mut tree, 13, 16, ro), 2);
        assert_eq!(areas(&tree), [(10, 13, RW), (13, 16, ro), (16, 20, RW)]);
        // Back: all three become one.
        assert_eq!(protect(&mut tree, 13, 16, RW), 0);
        assert_eq!(areas(&tree), [(10, 20, RW)]);
        assert_eq!(tree.find(pages(15, 16).start()).expect("an area").pgoff(), 10);
        assert_eq!(protect(&mut tree, 10, 12, ro), 1);
        assert_eq!(protect(&mut tree, 18, 20, ro), 1);
        assert_eq!(areas(&tree), [(10, 12, ro), (12, 18, RW), (18, 20, ro)]);
        // The one before it grows by part of it, then the one after it.
        assert_eq!(protect(&mut tree, 12, 14, ro), 0);
        assert_eq!(areas(&tree), [(10, 14, ro), (14, 18, RW), (18, 20, ro)]);
        assert_eq!(protect(&mut tree, 16, 18, ro), 0);
        assert_eq!(areas(&tree), [(10, 14, ro), (14, 16, RW), (16, 20, ro)]);
        let pgoffs: Vec<_> = tree.iter().map(Vma::pgoff).collect();
        assert_eq!(pgoffs, [10, 14, 16]);
        // All of it goes to the one before, to the one after, or to both.
        protect(&mut tree, 16, 20, RW | VmFlags::EXEC);
        protect(&mut tree, 14, 16, ro);
        assert_eq!(areas(&tree), [(10, 16, ro), (16, 20, RW | VmFlags::EXEC)]);
        protect(&mut tree, 14, 16, RW);
        protect(&mut tree, 14, 16, RW | VmFlags::EXEC);
        assert_eq!(areas(&tree), [(10, 14, ro), (14, 20, RW | VmFlags::EXEC)]);
        protect(&mut tree, 10, 14, RW | VmFlags::EXEC);
        assert_eq!(areas(&tree), [(10, 20, RW | VmFlags::EXEC)]);
        // Nothing changes where the neighbours are others.
        let mut tree = fresh();
        map_anon(&mut tree, 20, 22, RW | VmFlags::NOHUGEPAGE);
        map_anon(&mut tree, 8, 10, RW | VmFlags::NOHUGEPAGE);
        assert_eq!(protect(&mut tree, 10, 20, ro), 0);
        assert_eq!(bounds(&tree), [(8, 10), (10, 20), (20, 22)]);
    });
}

/// Identities of anonymous pages as Linux 6.12 has it: a range without pages merges with an area
/// that has some of its own, pages don't come into an area without any, and different ones stay
/// apart.
#[test]
fn identities_of_pages_decide() {
    on_machine(8, || {
        // Of the area before, of a new range, of the area after: the neighbours that it merges with.
        let cases = [
            (AnonVma::NONE, AnonVma::NONE, Merge::Both),
            (A, AnonVma::NONE, Merge::Both),
            (AnonVma::NONE, A, Merge::Both),
            (A, A, Merge::Both),
            (A, B, Merge::Left),
            (A.forked(), AnonVma::NONE, Merge::Right),
            (AnonVma::NONE, A.forked(), Merge::Left),
            (A.forked(), B.forked(), Merge::None),
        ];
        for (before, after, expected) in cases {
            let mut tree = VmaTree::new(1);
            map_anon(&mut tree, 0, 3, RW);
            map_anon(&mut tree, 5, 9, RW);
            tree.set_anon(place(&tree, 0).id(), before);
            tree.set_anon(place(&tree, 5).id(), after);
            let attributes = Attributes::anonymous(RW);
            let proposed = proposed(pages(3, 5), &attributes, 3, AnonVma::NONE);
            let insertion = tree.plan_insertion(hole(&tree, pages(3, 5)), &proposed);
            assert_eq!(insertion.merge(), expected, "{before:?} {after:?}");
            let id = tree.insert(insertion, Vma::new(pages(3, 5), attributes, 3));
            let identity = match expected {
                Merge::Both => before.or(after),
                Merge::Left => before,
                Merge::Right => after,
                Merge::None => AnonVma::NONE,
            };
            assert_eq!(tree.get(id).anon(), identity);
            tree.validate();
        }
        // A change of part of an area that has pages.
        let cases = [
            (AnonVma::NONE, AnonVma::NONE, AnonVma::NONE, Merge::Both),
            (A, A, A, Merge::Both),
            // It has pages, and both neighbours have none.
            (AnonVma::NONE, A, AnonVma::NONE, Merge::None),
            (AnonVma::NONE, AnonVma::NONE, A, Merge::Both),
            (A, AnonVma::NONE, B, Merge::Left),
            (AnonVma::NONE, A, A, Merge::Right),
            (A, A, AnonVma::NONE, Merge::Left),
            (A, B, B, Merge::Right),
            (B, A, B, Merge::None),
            (A.forked(), A.forked(), A.forked(), Merge::Both),
        ];
        for (before, own, after, expected) in cases {
            let mut tree = VmaTree::new(1);
            map_anon(&mut tree, 0, 3, RW);
            map_anon(&mut tree, 3, 5, RW | VmFlags::EXEC);
            map_anon(&mut tree, 5, 9, RW);
            for (at, anon) in [(0, before), (3, own), (5, after)] {
                touch(&mut tree, at, anon);
            }
            let attributes = Attributes::anonymous(RW);
            let modification = tree.plan_modification(place(&tree, 3), pages(3, 5), &attributes);
            assert_eq!(modification.merge(), expected, "{before:?} {own:?} {after:?}");
            let id = tree.modify(modification, attributes);
            let vma = tree.get(id);
            assert_eq!(
                vma.anon().number(),
                match expected {
                    Merge::Both => before.or(own).or(after).number(),
                    Merge::Left => before.number(),
                    Merge::Right => after.number(),
                    Merge::None => own.number(),
                }
            );
            let start = if matches!(expected, Merge::Both | Merge::Left) { 0 } else { 3 };
            assert_eq!((vma.start(), vma.pgoff()), (pages(start, 9).start(), start as u64));
            tree.validate();
        }
    });
}

/// Cutting an area keeps the numbers of its pages, and so does taking an end away.
#[test]
fn removal_trims_and_cuts() {
    on_machine(8, || {
        let attributes = Attributes { file: Some(file()), ..Attributes::anonymous(RW) };
        let mut tree = VmaTree::new(1);
        map(&mut tree, pages(10, 20), &attributes, 100);
        map_anon(&mut tree, 20, 30, RW | VmFlags::LOCKED);
        let mut remove = |start, end| {
            let removal = tree.plan_removal(pages(start, end)).expect("something");
            tree.reserve().expect("memory");
            let (totals, floor, ceiling) = (removal.totals, removal.floor, removal.ceiling);
            tree.remove(removal);
            tree.validate();
            let areas: Vec<_> = tree
                .iter()
                .map(|vma| (vma.start().get() / PAGE_SIZE, vma.end() / PAGE_SIZE, vma.pgoff()))
                .collect();
            (totals.pages, totals.locked, floor / PAGE_SIZE, ceiling / PAGE_SIZE, areas)
        };
        assert_eq!(
            remove(13, 15),
            (2, 0, 13, 15, vec![(10, 13, 100), (15, 20, 105), (20, 30, 20)])
        );
        assert_eq!(remove(8, 11), (1, 0, 0, 11, vec![(11, 13, 101), (15, 20, 105), (20, 30, 20)]));
        assert_eq!(
            remove(18, 22),
            (4, 2, 18, 22, vec![(11, 13, 101), (15, 18, 105), (22, 30, 22)])
        );
        assert_eq!(remove(14, 18), (3, 0, 13, 22, vec![(11, 13, 101), (22, 30, 22)]));
        assert_eq!(remove(0, 40), (10, 8, 0, crate::addr::TASK_SIZE / PAGE_SIZE, vec![]));
        assert!(tree.plan_removal(pages(0, 40)).is_none());
    });
}
