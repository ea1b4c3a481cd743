//! Edits of every kind, each with what is there before it and what must hold after it.

use super::super::*;
use crate::addr::PMD_SIZE;
use crate::arch::pgtable::MapFlags;

pub(super) const RW: KernelAttrs = KernelAttrs::KERNEL;
pub(super) const RO: KernelAttrs = KernelAttrs::KERNEL_RO;
pub(super) const NC: KernelAttrs = KernelAttrs::NORMAL_NC;
pub(super) const MEM: PhysAddr = PhysAddr::new(0x10_0000_0000);
pub(super) const OTHER: PhysAddr = PhysAddr::new(0x20_0000_0000);
pub(super) const NONE: MapFlags = MapFlags::empty();

/// An edit: what is there before it, the edit itself, and what must hold after it.
pub(super) struct Edit {
    pub(super) name: &'static str,
    pub(super) before: fn(&mut Rig<'_>),
    pub(super) edit: fn(&mut Rig<'_>),
    pub(super) after: fn(&mut Rig<'_>),
}

pub(super) fn block() -> VirtRange {
    VirtRange::from_size(VA, PMD_SIZE)
}

/// Maps everything anew to other memory: stale entries come to light.
pub(super) fn reuse(rig: &mut Rig<'_>, va: VirtRange) {
    rig.mapper().map(va, OTHER, RW, MapFlags::NO_BLOCK | MapFlags::NO_CONT).unwrap();
    rig.check_range(va, Some((OTHER, RW)));
}
