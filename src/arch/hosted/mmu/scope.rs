//! Scopes of TLB invalidations (Arm ARM D8.17.5).
#![deny(unsafe_code)]

use super::context::Tree;
use crate::addr::{VirtAddr, VirtRange};

/// Scope of a TLB invalidation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scope {
    /// The addresses; `None` for all.
    pub va: Option<VirtRange>,
    /// The ASID; `None` for all.
    pub asid: Option<u16>,
    /// Translations only, no table pointers.
    pub last_level: bool,
}

impl Scope {
    pub const ALL: Self = Self { va: None, asid: None, last_level: false };

    /// Addresses of all ASIDs.
    pub fn new(start: VirtAddr, bytes: usize, last_level: bool) -> Self {
        Self { va: Some(VirtRange::from_size(start, bytes)), asid: None, last_level }
    }

    /// The same for one ASID.
    pub fn of_asid(self, asid: u16) -> Self {
        Self { asid: Some(asid), ..self }
    }

    fn covers_va(&self, va: VirtRange) -> bool {
        self.va.is_none_or(|r| r.overlaps(va))
    }

    /// Returns whether a translation of `va` is covered, a global one if `asid` is `None`. By
    /// address, global ones are covered whatever the ASID.
    pub fn covers(&self, va: VirtRange, asid: Option<u16>) -> bool {
        self.covers_va(va) && (self.covers_tag(asid) || asid.is_none() && self.va.is_some())
    }

    /// Returns whether the ASID of a table pointer is covered. Those of the kernel's tables, which
    /// each ASID may have cached, are where all ASIDs are.
    pub fn covers_tag(&self, asid: Option<u16>) -> bool {
        self.asid.is_none() || self.asid == asid
    }

    /// Returns whether translations of `va` in a tree may be covered that the ASIDs `asids` have.
    pub fn covers_tree(&self, va: VirtRange, tree: Tree, asids: &[u16]) -> bool {
        match tree {
            Tree::Kernel => self.covers(va, None),
            Tree::User(_) => asids.iter().any(|&asid| self.covers(va, Some(asid))),
        }
    }
}
