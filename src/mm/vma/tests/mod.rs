//! Merging, splitting and the tree, by example and against a list of areas.

mod list;
mod merging;

use super::{AnonVma, Attributes, Hole, Place, Proposed, VmFile, VmFlags, Vma, VmaTree};
use crate::addr::{PAGE_SIZE, PhysAddr, PhysRange, UserAddr, UserRange};
use crate::arch::hosted::Machine;
use crate::mm::alloc::KArc;
use crate::mm::gfp::Gfp;
use crate::mm::{page_alloc, slab};
use std::vec::Vec;

/// A machine with `mib` MiB on which pages and objects can be allocated.
pub(crate) fn on_machine(mib: u64, f: impl FnOnce()) {
    let ram = PhysRange::from_size(PhysAddr::new(0x4000_0000), mib << 20);
    Machine::run(&[ram], |m| {
        page_alloc::init(m.ram());
        slab::kmem_cache_init(7);
        f();
    });
}

/// Pages `start` to `end`.
pub(crate) fn pages(start: usize, end: usize) -> UserRange {
    let start = UserAddr::new(start * PAGE_SIZE).expect("an address");
    UserRange::from_size(start, end * PAGE_SIZE - start.get()).expect("a range")
}

/// A file.
pub(crate) fn file() -> VmFile {
    crate::mm::shmem::shmem_zero_setup(1 << 30, true).expect("memory")
}

pub(crate) const RW: VmFlags = VmFlags::READ
    .union(VmFlags::WRITE)
    .union(VmFlags::MAYREAD)
    .union(VmFlags::MAYWRITE)
    .union(VmFlags::MAYEXEC);

fn proposed(range: UserRange, attributes: &Attributes, pgoff: u64, anon: AnonVma) -> Proposed<'_> {
    let anon_pgoff = (range.start().get() / PAGE_SIZE) as u64;
    Proposed { range, attributes, pgoff, anon, anon_pgoff }
}

fn hole(tree: &VmaTree, range: UserRange) -> Hole {
    tree.hole_at(range.start().get()).expect("a hole").narrowed(range)
}

/// Maps `range`, where nothing is; merges as mmap does.
fn map(tree: &mut VmaTree, range: UserRange, attributes: &Attributes, pgoff: u64) -> super::VmaId {
    let insertion =
        tree.plan_insertion(hole(tree, range), &proposed(range, attributes, pgoff, AnonVma::NONE));
    tree.reserve().expect("memory");
    tree.insert(insertion, Vma::new(range, attributes.clone(), pgoff))
}

/// Maps anonymous memory at pages `start` to `end`.
fn map_anon(tree: &mut VmaTree, start: usize, end: usize, flags: VmFlags) -> super::VmaId {
    map(tree, pages(start, end), &Attributes::anonymous(flags), start as u64)
}

/// Gives the area at page `at` an identity.
fn touch(tree: &mut VmaTree, at: usize, anon: AnonVma) {
    let place = place(tree, at);
    tree.set_anon(place.id(), anon);
}

fn place(tree: &VmaTree, at: usize) -> Place {
    let place = tree.seek(at * PAGE_SIZE).expect("an area");
    assert!(tree.at(&place).range().contains(pages(at, at + 1).start()));
    place
}

/// Sets the flags of pages `start` to `end` of one area; returns how many areas were cut.
fn protect(tree: &mut VmaTree, start: usize, end: usize, flags: VmFlags) -> usize {
    let place = place(tree, start);
    let attributes = Attributes { flags, ..tree.at(&place).attributes().clone() };
    let modification = tree.plan_modification(place, pages(start, end), &attributes);
    let splits = modification.splits();
    let before = tree.len();
    tree.reserve().expect("memory");
    tree.modify(modification, attributes);
    assert!(splits == 0 || tree.len() == before + splits);
    splits
}

/// Bounds in pages and flags of all areas.
fn areas(tree: &VmaTree) -> Vec<(usize, usize, VmFlags)> {
    tree.validate();
    let bounds = |vma: &Vma| (vma.start().get() / PAGE_SIZE, vma.end() / PAGE_SIZE, vma.flags());
    tree.iter().map(bounds).collect()
}

/// Bounds in pages of all areas.
fn bounds(tree: &VmaTree) -> Vec<(usize, usize)> {
    areas(tree).into_iter().map(|(start, end, _)| (start, end)).collect()
}
