//! Memory types that device addresses are mapped with, so that no byte is mapped with two.
//!
//! Mappings of one address with different memory types lose coherency and order (Arm ARM
//! B2.16, "Mismatched memory attributes"). Each type has an interval tree of the ranges
//! mapped so; a claim is refused where a tree of another type has an overlap. Claims to the
//! same range with the same type, as of a device that is mapped again and again, share one
//! record.
//!
//! Linux: arch/x86/mm/pat/memtype_interval.c; arm64 has no such check.
#![deny(unsafe_code)]

use super::slot_page::SlotPage;
use crate::addr::{PAGE_SHIFT, PhysAddr, PhysRange};
use crate::arch::irq::with_masked;
use crate::collections::slots::NIL;
use crate::collections::tree::{Item, Side, Tree};
use crate::machine_local;
use crate::mm::gfp::Gfp;
use crate::sync::{Rank, SpinLock};
use core::fmt;

#[cfg(test)]
mod tests;

/// Memory type of a device mapping.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IoType {
    /// Device-nGnRE.
    Device = 0,
    /// Normal, non-cacheable.
    WriteCombining = 1,
    /// Normal, write-back.
    Cached = 2,
}

/// Reason why a range was not reserved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReserveError {
    /// Part of it is reserved with another type.
    Conflict,
    /// No memory for the record.
    NoMemory,
}

impl fmt::Display for ReserveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Conflict => "part of the range is reserved with another memory type",
            Self::NoMemory => "no memory for the record of the range",
        })
    }
}

impl core::error::Error for ReserveError {}

struct Span {
    range: PhysRange,
    /// Number of claims to the range.
    claims: u32,
}

impl Item for Span {
    /// The highest end.
    type Sum = u64;
    const EMPTY: u64 = 0;
    fn key(&self) -> usize {
        self.range.start().get() as usize
    }
    fn sum(&self, left: u64, right: u64) -> u64 {
        self.range.end().get().max(left).max(right)
    }
}

/// The ranges of each type; they may overlap within one.
struct MemTypes([Tree<Span, SlotPage>; 3]);

machine_local! {
    // Taken with no other lock held; the rank keeps it so.
    static MEMTYPES: SpinLock<MemTypes> =
        SpinLock::new(Rank::Vmap, MemTypes([const { Tree::new() }; 3]));
}

/// The claim to map a range with a type; ends when dropped.
#[derive(Debug)]
pub struct Reservation(Claim);

/// A claim that [`release`] is to end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Claim {
    io: IoType,
    number: u32,
}

/// Claims to one range with one type that end together.
#[derive(Debug)]
pub(super) struct Claims {
    range: PhysRange,
    claim: Claim,
    /// Number of claims; at 0 the rest means nothing.
    count: u32,
}

impl Claims {
    /// None.
    pub const NONE: Self = Self {
        range: PhysRange::new(PhysAddr::new(0), PhysAddr::new(0)),
        claim: Claim { io: IoType::Device, number: NIL },
        count: 0,
    };

    /// Takes `reservation`, which is of the pages at `phys`, over, or gives it back where it is
    /// not like the others.
    #[inline(always)]
    pub fn add(
        &mut self,
        reservation: Reservation,
        phys: PhysAddr,
        pages: u32,
    ) -> Result<(), Reservation> {
        if self.count == 0 {
            self.range = PhysRange::from_size(phys, (pages as u64) << PAGE_SHIFT);
            self.claim = reservation.0;
        } else if self.claim != reservation.0 {
            return Err(reservation);
        }
        self.count += 1;
        core::mem::forget(reservation);
        Ok(())
    }

    /// Takes a kept claim for a caller that wants to map `range` with type `io`, if it is a
    /// claim to that.
    #[inline(always)]
    pub fn reuse(&mut self, range: PhysRange, io: IoType) -> Option<Reservation> {
        if self.count == 0 || self.range != range || self.claim.io != io {
            return None;
        }
        self.count -= 1;
        Some(Reservation(self.claim))
    }

    /// Takes back what [`reuse`](Self::reuse) just gave.
    pub fn put_back(&mut self, reservation: Reservation) {
        debug_assert!(self.claim == reservation.0, "a claim that was not among them");
        self.count += 1;
        core::mem::forget(reservation);
    }

    /// Ends them all.
    pub fn release(self) {
        if self.count > 0 {
            release_claims(self.claim, self.count);
        }
    }
}

/// Ends `count` claims to the same.
#[inline(never)]
fn release_claims(claim: Claim, count: u32) {
    with_masked(|irq| MEMTYPES.lock(irq).end(claim, count));
}

impl MemTypes {
    /// Ends `count` claims to the same.
    #[inline(always)]
    fn end(&mut self, Claim { io, number }: Claim, count: u32) {
        let tree = &mut self.0[io as usize];
        let span = tree.item_mut(number);
        span.claims -= count;
        if span.claims == 0 {
            drop(tree.remove(number, |_| {}));
        }
    }

    /// Adds a claim to `range`, if it is claimed with that type.
    #[inline(always)]
    fn share(&mut self, range: PhysRange, io: IoType) -> Option<u32> {
        let tree = &mut self.0[io as usize];
        // Often the one that was used last is at the top.
        let top = tree.root().top;
        let number = if top != NIL && tree.node(top).item.range == range {
            top
        } else {
            tree.floor(range.start().get() as usize)?
        };
        let span = tree.item_mut(number);
        if span.range != range {
            return None;
        }
        span.claims += 1;
        Some(number)
    }

    fn conflicts(&self, range: PhysRange, io: IoType) -> bool {
        let mut others = self.0.iter().enumerate().filter(|(i, _)| *i != io as usize);
        others.any(|(_, tree)| overlaps(tree, range))
    }
}

/// Returns whether an item of `tree` overlaps `range`. If the left subtree reaches beyond the
/// start of `range`, it holds an overlap or what reaches so far starts after `range`, and so
/// does all on the right.
fn overlaps(tree: &Tree<Span, SlotPage>, range: PhysRange) -> bool {
    let mut at = tree.root().top;
    while at != NIL {
        let node = tree.node(at);
        if node.item.range.overlaps(range) {
            return true;
        }
        let left = node.link(Side::Left);
        let side = if left.sum > range.start().get() { Side::Left } else { Side::Right };
        at = node.link(side).top;
    }
    false
}

impl Reservation {
    /// Claims `range`, which is not empty, for mappings of type `io`.
    pub fn new(range: PhysRange, io: IoType, gfp: Gfp) -> Result<Self, ReserveError> {
        // What has a record already is in conflict with nothing.
        Self::shared(range, io).map_or_else(|| Self::new_record(range, io, gfp), Ok)
    }

    /// Like [`new`](Self::new), where there is a claim to the same range and type.
    #[inline(always)]
    pub fn shared(range: PhysRange, io: IoType) -> Option<Self> {
        let number = with_masked(|irq| MEMTYPES.lock(irq).share(range, io))?;
        Some(Self(Claim { io, number }))
    }

    /// The claim, which no longer ends by itself.
    pub(super) fn into_claim(self) -> Claim {
        let claim = self.0;
        core::mem::forget(self);
        claim
    }

    #[inline(never)]
    fn new_record(range: PhysRange, io: IoType, gfp: Gfp) -> Result<Self, ReserveError> {
        let mut page = None;
        loop {
            let number = with_masked(|irq| {
                let mut types = MEMTYPES.lock(irq);
                if types.conflicts(range, io) {
                    return Err(ReserveError::Conflict);
                }
                if let Some(number) = types.share(range, io) {
                    return Ok(Some(number));
                }
                let tree = &mut types.0[io as usize];
                if let Some(Err(_unneeded)) = page.take().map(|page| tree.donate(page))
                    && !tree.has_room()
                {
                    return Err(ReserveError::NoMemory);
                }
                if !tree.has_room() {
                    return Ok(None);
                }
                Ok(tree.insert(Span { range, claims: 1 }, |_| {}))
            })?;
            match number {
                Some(number) => return Ok(Self(Claim { io, number })),
                None => page = Some(SlotPage::alloc(gfp).ok_or(ReserveError::NoMemory)?),
            }
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        release(&[self.0]);
    }
}

/// Ends claims in one holding of the lock.
pub(super) fn release(claims: &[Claim]) {
    with_masked(|irq| {
        let mut types = MEMTYPES.lock(irq);
        for same in claims.chunk_by(|a, b| a == b) {
            types.end(same[0], same.len() as u32);
        }
    });
}

/// Gives back the pages that hold no record.
pub(super) fn shrink() {
    for io in 0..3 {
        while let Some(page) = with_masked(|irq| MEMTYPES.lock(irq).0[io].shrink()) {
            drop(page);
        }
    }
}

/// Checks the trees.
///
/// # Panics
/// Where an invariant is broken, among them that no byte has two types.
pub(super) fn validate() {
    with_masked(|irq| {
        let types = MEMTYPES.lock(irq);
        for (i, io) in [IoType::Device, IoType::WriteCombining, IoType::Cached].iter().enumerate() {
            types.0[i].validate(|_, span| {
                let range = span.range;
                assert!(!types.conflicts(range, *io), "{range:?} has two memory types");
                assert!(range.start() < range.end() && range.end() > PhysAddr::new(0));
                assert_ne!(span.claims, 0, "{range:?} is nobody's");
            });
        }
    });
}
