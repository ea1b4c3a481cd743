//! Accesses to the pool that faulted (Linux: kfence_handle_page_fault).

use super::report::{self, Kind};
use super::{Meta, State, is_kfence_address, protect, with_pool};
use crate::addr::{PAGE_SIZE, VirtAddr};
use crate::mm::debug::report::Trail;

/// Handles a fault at `at`, if the address is in the pool: reports it, and returns true if the
/// access can be made again. `entries` is the stack of the access. Any context, also under the
/// allocators' locks: it allocates nothing.
#[must_use]
pub fn kfence_handle_page_fault(at: VirtAddr, is_write: bool, entries: &[usize]) -> bool {
    if !is_kfence_address(at) {
        return false;
    }
    let (kind, place, meta) = with_pool(|pool| {
        let Some(first) = pool.first() else { return (Kind::Invalid(is_write), 0, Meta::NEW) };
        let n = (at - first.virt()) / PAGE_SIZE;
        let page = first.within(super::POOL_ORDER, n as u32);
        protect(page, false);
        if n >= 2 && n.is_multiple_of(2) {
            // An object's own page is not mapped because the object was freed.
            let place = (n / 2) as u8;
            let meta = &mut pool.metas[place as usize - 1];
            meta.unprotected = Some(page);
            return (Kind::UseAfterFree(is_write), place, *meta);
        }
        // The first page belongs to no object: its neighbour is no object's either.
        if n == 0 {
            return (Kind::Invalid(is_write), 0, Meta::NEW);
        }
        // Of the objects on both sides, the nearer one was meant.
        let distance = |place: usize| -> Option<usize> {
            let meta = pool.metas.get(place.checked_sub(1)?)?;
            let range = meta.range;
            let off = if at < range.start() { range.start() - at } else { at - range.end() };
            (meta.state == State::Allocated).then_some(off)
        };
        let sides = [n / 2, n / 2 + 1];
        let nearest =
            sides.into_iter().filter(|&p| distance(p).is_some()).min_by_key(|&p| distance(p));
        match nearest {
            Some(place) => {
                let meta = &mut pool.metas[place - 1];
                meta.unprotected = Some(page);
                (Kind::OutOfBounds(is_write), place as u8, *meta)
            }
            None => (Kind::Invalid(is_write), 0, Meta::NEW),
        }
    });
    report::print(kind, at, place, &meta, Trail::Entries(entries), None);
    true
}
