//! Files as areas see them, and who maps them.

use super::area::Vma;
use crate::mm::alloc::KArc;

/// Object whose pages areas map.
pub trait MappedFile: Send + Sync {}

/// A reference to one.
pub type VmFile = KArc<dyn MappedFile>;

pub(super) fn link(_mm: u64, _vma: &Vma) {}
pub(super) fn unlink(_mm: u64, _vma: &Vma) {}
pub(super) fn relink(_mm: u64, vma: &mut Vma, change: impl FnOnce(&mut Vma)) {
    change(vma);
}
