//! Table of live DMA mappings (Linux: kernel/dma/debug.c).
//!
//! Switched on, a record is kept of each streaming mapping, and an unmap or a sync that fits
//! none is a panic that names the device and the caller. Builds with debug assertions begin
//! with it on.
#![deny(unsafe_code)]

use super::{DmaAddr, DmaDevice, DmaDirection};
use crate::arch::irq::with_masked;
use crate::machine_local;
use crate::mm::gfp::Gfp;
use crate::mm::vmalloc::slot_page::SlotPage;
use crate::mm::vmalloc::tree::{Item, Tree};
use crate::sync::{Rank, SpinLock};
use core::panic::Location;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

struct Mapping {
    at: DmaAddr,
    size: usize,
    direction: DmaDirection,
    mapped_by: &'static Location<'static>,
}

impl Item for Mapping {
    type Sum = ();
    const EMPTY: () = ();
    fn key(&self) -> usize {
        self.at.get() as usize
    }
    fn sum(&self, (): (), (): ()) {}
}

machine_local! {
    // Taken with no other lock held; the rank keeps it so.
    static MAPPINGS: SpinLock<Tree<Mapping>> = SpinLock::new(Rank::Vmap, Tree::new());
    static ON: AtomicBool = AtomicBool::new(cfg!(debug_assertions));
}

/// Switches the check on or off, while nothing is mapped.
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

/// Notes a mapping; whether there is memory for that.
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
    let found = with_masked(|irq| {
        let mut mappings = MAPPINGS.lock(irq);
        let number = mappings.floor(at.get() as usize)?;
        let mapping = &mappings.node(number).item;
        let (there, as_mapped) = (mapping.at, (mapping.size, mapping.direction));
        let mapped_by = mapping.mapped_by;
        if there == at && as_mapped == (size, direction) {
            drop(mappings.remove(number, |_| {}));
            return Some(Ok(()));
        }
        (there == at).then_some(Err((as_mapped, mapped_by)))
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
        let mappings = MAPPINGS.lock(irq);
        let mapping = &mappings.node(mappings.floor(at.get() as usize)?).item;
        let end = at.get().checked_add(size as u64)?;
        let fits = end <= mapping.at.get() + mapping.size as u64
            && (mapping.direction == direction || mapping.direction == DmaDirection::Bidirectional);
        fits.then_some(())
    });
    assert!(
        fits.is_some(),
        "{}: {size} bytes {direction:?} are synced at {at}, which no mapping has",
        device.name
    );
}
