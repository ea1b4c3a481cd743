//! Table of live DMA mappings (Linux: kernel/dma/debug.c).
//!
//! Switched on, a record is kept of each streaming mapping, and an unmap or a sync that fits
//! none is a panic that names the device and the caller. Builds with debug assertions begin
//! with it on.
#![deny(unsafe_code)]

use super::{DmaAddr, DmaDevice, DmaDirection};
use crate::arch::irq::with_masked;
use crate::collections::slots::NIL;
use crate::collections::tree::{Item, Link, Side, Tree};
use crate::machine_local;
use crate::mm::gfp::Gfp;
use crate::mm::vmalloc::slot_page::SlotPage;
use crate::sync::{Rank, SpinLock};
use core::panic::Location;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

struct Mapping {
    at: DmaAddr,
    size: usize,
    direction: DmaDirection,
    mapped_by: &'static Location<'static>,
}

impl Mapping {
    /// Returns the bus address behind the last byte.
    fn end(&self) -> u64 {
        self.at.get().saturating_add(self.size as u64)
    }
}

impl Item for Mapping {
    /// The highest end.
    type Sum = u64;
    const EMPTY: u64 = 0;
    fn key(&self) -> usize {
        self.at.get() as usize
    }
    fn sum(&self, left: u64, right: u64) -> u64 {
        self.end().max(left).max(right)
    }
}

/// Finds a mapping that has the bytes from `at` to `end` and that `is_it` takes. The same bytes
/// may be mapped more than once: a device may read what another reads (Linux:
/// bucket_find_contain).
fn find(
    mappings: &Tree<Mapping, SlotPage>,
    (at, end): (u64, u64),
    is_it: &impl Fn(&Mapping) -> bool,
) -> Option<u32> {
    find_below(mappings, mappings.root().top, (at, end), is_it)
}

/// [`find`] in the subtree of `top`.
fn find_below(
    mappings: &Tree<Mapping, SlotPage>,
    top: u32,
    (at, end): (u64, u64),
    is_it: &impl Fn(&Mapping) -> bool,
) -> Option<u32> {
    if top == NIL {
        return None;
    }
    let node = mappings.node(top);
    let (left, right) = (node.link(Side::Left), node.link(Side::Right));
    let below = |link: &Link<u64>| {
        if link.sum < end { None } else { find_below(mappings, link.top, (at, end), is_it) }
    };
    // What begins behind `at` has it not, nor has what comes behind that.
    let item = &node.item;
    let begins = item.at.get() <= at;
    let own = || (begins && end <= item.end() && is_it(item)).then_some(top);
    below(left).or_else(own).or_else(|| if begins { below(right) } else { None })
}

machine_local! {
    // Taken with no other lock held; the rank keeps it so.
    static MAPPINGS: SpinLock<Tree<Mapping, SlotPage>> = SpinLock::new(Rank::Vmap, Tree::new());
    static ON: AtomicBool = AtomicBool::new(cfg!(debug_assertions));
}

/// Switches the check on or off. It knows of no mapping that was made while it was off: the end of
/// one ends the kernel once the check is on.
pub fn set_dma_debug(on: bool) {
    ON.store(on, Relaxed);
}

/// Returns the number of mappings on record.
#[must_use]
pub fn live_mappings() -> usize {
    with_masked(|irq| {
        let mut live = 0;
        MAPPINGS.lock(irq).validate(|_, _| live += 1);
        live
    })
}

/// Gives back the pages that hold no record.
pub fn shrink() {
    while let Some(page) = with_masked(|irq| MAPPINGS.lock(irq).shrink()) {
        drop(page);
    }
}

/// Notes a mapping. Returns false if there is no memory for that.
pub fn add(
    at: DmaAddr,
    size: usize,
    direction: DmaDirection,
    mapped_by: &'static Location<'static>,
) -> bool {
    if !ON.load(Relaxed) {
        return true;
    }
    let mut page = None;
    loop {
        let added = with_masked(|irq| {
            let mut mappings = MAPPINGS.lock(irq);
            if let Some(page) = page.take() {
                // Somebody else may have brought one; theirs or ours has room.
                drop(mappings.donate(page));
            }
            mappings.has_room().then(|| {
                let mapping = Mapping { at, size, direction, mapped_by };
                mappings.insert(mapping, |_| {}).is_some()
            })
        });
        match added {
            Some(added) => return added,
            None => match SlotPage::alloc(Gfp::GFP_ATOMIC) {
                Some(new) => page = Some(new),
                None => return false,
            },
        }
    }
}

/// Ends the mapping that was made so.
#[track_caller]
pub fn remove(device: &DmaDevice<'_>, at: DmaAddr, size: usize, direction: DmaDirection) {
    if !ON.load(Relaxed) {
        return;
    }
    let (start, end) = (at.get(), at.get().saturating_add(size as u64));
    let found = with_masked(|irq| {
        let mut mappings = MAPPINGS.lock(irq);
        let is_it = |m: &Mapping| (m.at, m.size, m.direction) == (at, size, direction);
        if let Some(number) = find(&mappings, (start, end), &is_it) {
            drop(mappings.remove(number, |_| {}));
            return Some(Ok(()));
        }
        let other = find(&mappings, (start, start), &|mapping| mapping.at == at)?;
        let mapping = &mappings.node(other).item;
        Some(Err(((mapping.size, mapping.direction), mapping.mapped_by)))
    });
    match found {
        Some(Ok(())) => {}
        Some(Err(((was, how), by))) => panic!(
            "{}: {size} bytes {direction:?} are unmapped at {at}, where {was} bytes {how:?} were \
             mapped by {by}",
            device.name
        ),
        None => panic!("{}: nothing is mapped at {at}", device.name),
    }
}

/// Checks that the bytes lie in a mapping of that direction.
#[track_caller]
pub fn check(device: &DmaDevice<'_>, at: DmaAddr, size: usize, direction: DmaDirection) {
    if !ON.load(Relaxed) {
        return;
    }
    let fits = with_masked(|irq| {
        let end = at.get().checked_add(size as u64)?;
        let is_it = |mapping: &Mapping| {
            mapping.direction == direction || mapping.direction == DmaDirection::Bidirectional
        };
        find(&MAPPINGS.lock(irq), (at.get(), end), &is_it)
    });
    assert!(
        fits.is_some(),
        "{}: {size} bytes {direction:?} are synced at {at}, which no mapping has",
        device.name
    );
}
