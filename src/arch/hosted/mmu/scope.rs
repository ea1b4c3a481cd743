//! Scopes of TLB invalidations (Arm ARM D8.17.5).
#![deny(unsafe_code)]

use super::context::Tree;
use crate::addr::{VirtAddr, VirtRange};

/// Identifiers that a cached entry is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Tag {
    pub vmid: u16,
    /// The ASID; `None` for a translation that is global, for a pointer in the kernel's tree, and
    /// at stage 2.
    pub asid: Option<u16>,
}

impl Tag {
    /// Returns whether an entry with this tag serves walks and accesses of `context`'s.
    pub fn serves(self, current: Self) -> bool {
        self.vmid == current.vmid && (self.asid.is_none() || self.asid == current.asid)
    }
}

/// Caches that an invalidation reaches. Entries that combine both stages are as those of stage 1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stages {
    First,
    Second,
    Both,
}

/// Scope of a TLB invalidation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scope {
    pub stages: Stages,
    /// The addresses, at stage 2 intermediate ones; `None` for all.
    pub va: Option<VirtRange>,
    /// The ASID; `None` for all.
    pub asid: Option<u16>,
    /// The VMID; `None` for all. An instruction means the current one.
    pub vmid: Option<u16>,
    /// Translations only, no table pointers.
    pub last_level: bool,
}

impl Scope {
    /// All of stage 1.
    pub const ALL: Self =
        Self { stages: Stages::First, va: None, asid: None, vmid: Some(0), last_level: false };

    /// Addresses of all ASIDs.
    pub fn new(start: VirtAddr, bytes: usize, last_level: bool) -> Self {
        Self { va: Some(VirtRange::from_size(start, bytes)), last_level, ..Self::ALL }
    }

    /// The same for one ASID.
    pub fn of_asid(self, asid: u16) -> Self {
        Self { asid: Some(asid), ..self }
    }

    /// The same in the caches of `stages`.
    pub fn of_stages(self, stages: Stages) -> Self {
        Self { stages, ..self }
    }

    fn covers_va(&self, va: VirtRange) -> bool {
        self.va.is_none_or(|r| r.overlaps(va))
    }

    fn covers_vmid(&self, vmid: u16) -> bool {
        self.vmid.is_none_or(|own| own == vmid)
    }

    /// Returns whether a translation of `va` is covered. By address, global ones are covered
    /// whatever the ASID.
    pub fn covers(&self, va: VirtRange, tag: Tag) -> bool {
        let global = tag.asid.is_none() && self.va.is_some() && self.covers_vmid(tag.vmid);
        self.covers_va(va) && (self.covers_tag(tag) || global)
    }

    /// Returns whether the tag of a table pointer is covered. Those of the kernel's tables, which
    /// each ASID may have cached, are where all ASIDs are.
    pub fn covers_tag(&self, tag: Tag) -> bool {
        self.covers_vmid(tag.vmid) && (self.asid.is_none() || self.asid == tag.asid)
    }

    /// Returns whether every pointer of stage 1 is covered that a guest has cached.
    pub fn covers_guest(&self, vmid: u16) -> bool {
        self.va.is_none() && self.asid.is_none() && !self.last_level && self.covers_vmid(vmid)
    }

    /// Returns whether stage 1 is reached, entries that combine both stages included.
    pub fn is_of_first(&self) -> bool {
        self.stages != Stages::Second
    }
    /// Returns whether entries of stage 2 alone are reached.
    pub fn is_of_second(&self) -> bool {
        self.stages != Stages::First
    }

    /// Returns whether translations of `va` in a tree may be covered that are cached under `tags`.
    pub fn covers_tree(&self, va: VirtRange, tree: Tree, tags: &[Tag]) -> bool {
        let reached = match tree {
            Tree::Stage2(_) => self.is_of_second(),
            Tree::Kernel | Tree::User(_) => self.is_of_first(),
        };
        reached && tags.iter().any(|&tag| self.covers(va, tag))
    }
}
