//! Fast paths of edits in the vmalloc range: a few pages whose table was walked to recently, and
//! is found in [`RecentTables`](super::RecentTables).
//!
//! Their effect is that of [`Mapper`](super::Mapper)'s functions. If the table isn't there, or
//! the edit is more complicated, they do nothing or a part, and `Mapper` does the rest.
#![deny(unsafe_code)]

use super::descriptor::{CONT_ENTRIES, Descriptor, Level, PTRS_PER_TABLE, VA_BITS};
use super::flush::FlushOwed;
use super::mapper::{AttrsOf, MapError, publish};
use super::regime::Regime;
use super::table::{Leaf, Table, TableAccess};
use crate::addr::{PAGE_SIZE, PhysAddr, VirtAddr, VirtRange};

/// Maps `next`, and then the pages that `pages` yields, from `va` on, as
/// [`Mapper::map_pages`](super::Mapper::map_pages) does, to the end of a remembered table at
/// the most. Returns the number mapped. If `next` is Some or the result is Err, the caller
/// continues with [`Mapper::map_rest`](super::Mapper::map_rest).
#[inline(always)]
pub fn map_cached<A: TableAccess>(
    access: &mut A,
    va: VirtAddr,
    next: &mut Option<PhysAddr>,
    pages: &mut impl Iterator<Item = PhysAddr>,
    attrs: AttrsOf<A>,
) -> (usize, Result<(), MapError>) {
    let Some(table) = remembered(access, va).filter(|_| va.is_aligned(PAGE_SIZE)) else {
        return (0, Ok(()));
    };
    let (mapped, result) = table.set_pages(Level::Pte.index(va), attrs, next, pages);
    // What is mapped later makes this known as well.
    if next.is_none() {
        publish::<A::Regime>();
    }
    (mapped, result)
}

/// Maps `va` to the memory from `pa` on by contiguous sets, where all of it is such sets of one
/// remembered table and free; else `false`, and nothing done.
pub(super) fn map_sets<A: TableAccess>(
    access: &mut A,
    va: VirtRange,
    pa: PhysAddr,
    attrs: AttrsOf<A>,
) -> bool {
    let places = va.start().get() | va.end().get() | pa.get() as usize;
    let fits = places.is_multiple_of(Level::Pte.cont_size()) && pa.get() >> (VA_BITS - 1) == 0;
    if !fits || va.len() >= Level::Pmd.size() || !is_of_one_table(va) {
        return false;
    }
    let Some(table) = remembered(access, va.start()) else { return false };
    let sets = table.sets(Level::Pte.index(va.start()), va.len() / PAGE_SIZE);
    let free = sets.are_free();
    if free {
        sets.set(Leaf { pa, attrs, contiguous: true, valid: true });
        publish::<A::Regime>();
    }
    free
}

/// Takes away what is mapped in the `pages` pages from `va` on, as
/// [`Mapper::unmap`](super::Mapper::unmap) does, and owes the flush for it. `false`, and nothing
/// done, where those are not of one remembered table or cut a contiguous set.
#[inline(always)]
pub fn unmap_cached<A: TableAccess>(
    access: &mut A,
    va: VirtAddr,
    pages: usize,
    owed: &mut FlushOwed<A::Regime>,
) -> bool {
    let Some(table) = remembered(access, va).filter(|_| va.is_aligned(PAGE_SIZE)) else {
        return false;
    };
    let first = Level::Pte.index(va);
    let cleared = if pages < CONT_ENTRIES {
        table.clear_few(first, pages)
    } else {
        clear_many(table, first, pages)
    };
    let Some(any) = cleared else { return false };
    if any {
        owed.add(VirtRange::from_size(va, pages * PAGE_SIZE), PAGE_SIZE);
    }
    true
}

/// Returns whether the entry of the page at `va` is valid or present-invalid, as
/// [`Mapper::is_mapped`] does; `None` if its table isn't remembered.
///
/// [`Mapper::is_mapped`]: super::Mapper::is_mapped
#[inline(always)]
pub fn is_page_mapped<A: TableAccess>(access: &mut A, va: VirtAddr) -> Option<bool> {
    let word = remembered(access, va)?.descriptor(Level::Pte.index(va));
    Some(word != Descriptor::INVALID)
}

/// Like [`Table::clear_few`], of as many pages as may be whole contiguous sets.
#[inline(always)]
fn clear_many<R: Regime>(table: &Table<R>, first: usize, pages: usize) -> Option<bool> {
    let end = first + pages;
    if end > PTRS_PER_TABLE {
        return None;
    }
    if first.is_multiple_of(CONT_ENTRIES) && pages.is_multiple_of(CONT_ENTRIES) {
        return Some(table.sets(first, pages).clear());
    }
    let cut = !first.is_multiple_of(CONT_ENTRIES) && table.descriptor(first).is_contiguous()
        || !end.is_multiple_of(CONT_ENTRIES) && table.descriptor(end - 1).is_contiguous();
    if cut { None } else { Some(table.clear_range(first, pages).is_some()) }
}

/// Returns whether one table of pages translates all of `va`, which is not empty.
#[inline(always)]
fn is_of_one_table(va: VirtRange) -> bool {
    (va.start().get() ^ (va.end() - 1).get()) >> Level::Pmd.shift() == 0
}

#[inline(always)]
fn remembered<A: TableAccess>(access: &mut A, va: VirtAddr) -> Option<&Table<A::Regime>> {
    let table = access.recent()?.get(va)?;
    access.near(table)
}
