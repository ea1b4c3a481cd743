//! Merging of areas: which may become one (Linux: mm/vma.c, vma_merge_new_range and
//! vma_merge_existing_range). Pure functions over values.

use super::VmFlags;
use super::area::{AnonVma, Attributes, Vma, page_of};
use crate::addr::UserRange;

/// Range that is to have these properties: a new area, or part of one that changes (Linux:
/// struct vma_merge_struct).
pub struct Proposed<'a> {
    /// Addresses.
    pub range: UserRange,
    /// Properties that it is to have.
    pub attributes: &'a Attributes,
    /// Page of the file that comes first.
    pub pgoff: u64,
    /// Identity of the pages that are there.
    pub anon: AnonVma,
    /// Index of an anonymous page that is the first one; looked at in areas of files alone.
    pub anon_pgoff: u64,
}

/// Neighbours that a range merges with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Merge {
    /// Neither.
    None,
    /// The area before it grows.
    Left,
    /// The area after it grows.
    Right,
    /// The area before it takes the range and the area after it in.
    Both,
}

/// Place of an existing area beside a proposed range.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// Ends where the range begins.
    Before,
    /// Begins where the range ends.
    After,
}

/// Returns whether pages of `proposed` may come into an area with `existing` (Linux:
/// is_mergeable_anon_vma). An area that has no page yet does not take pages in, and one that came
/// through fork takes none in but its own.
#[inline]
fn is_mergeable_anon(proposed: AnonVma, existing: AnonVma) -> bool {
    (proposed.is_none() && existing.is_singular()) || proposed.number() == existing.number()
}

/// Returns whether the areas at both sides of a range that merges with each may become one (Linux:
/// are_anon_vmas_compatible).
#[inline]
fn are_compatible(before: AnonVma, after: AnonVma) -> bool {
    before.is_none() || after.is_none() || before.number() == after.number()
}

/// Returns whether `existing`, at `side` of `proposed`, may take it in (Linux: can_vma_merge_after,
/// can_vma_merge_before). The same flags but for VM_SOFTDIRTY, file, policy, userfaultfd context
/// and name; pages that may lie in one area; and page numbers that go on.
///
/// Anonymous pages of files have an index of their own here, which has to go on too where both
/// have such pages. Linux merges such areas if mremap has moved one of them away from the other and a third
/// call brings both together.
#[must_use]
#[inline]
pub fn can_merge(existing: &Vma, side: Side, proposed: &Proposed<'_>) -> bool {
    let (touches, pages) = match side {
        Side::Before => (existing.end() == proposed.range.start().get(), existing.pages()),
        Side::After => {
            let is_next = existing.start().get() == proposed.range.end();
            (is_next, page_of(proposed.range.len()).wrapping_neg())
        }
    };
    touches
        && existing.pgoff.wrapping_add(pages) == proposed.pgoff
        && is_mergeable_anon(proposed.anon, existing.anon())
        && proposed.attributes.is_mergeable(&existing.attributes)
        && (existing.is_anonymous()
            || existing.anon().is_none()
            || proposed.anon.is_none()
            || existing.anon_pgoff.wrapping_add(pages) == proposed.anon_pgoff)
}

/// Returns the neighbours that a new range, or all of an area that changes, merges with. `before`
/// and `after` are the areas next to it, wherever they lie (Linux: vma_merge_new_range).
#[must_use]
#[inline]
pub fn merge(before: Option<&Vma>, after: Option<&Vma>, proposed: &Proposed<'_>) -> Merge {
    // Mappings of devices and the kernel's own pages stay as they were made.
    if proposed.attributes.flags.intersects(VmFlags::SPECIAL) {
        return Merge::None;
    }
    let before = before.filter(|before| can_merge(before, Side::Before, proposed));
    let after = after.filter(|after| can_merge(after, Side::After, proposed));
    match (before, after) {
        (None, None) => Merge::None,
        (Some(_), None) => Merge::Left,
        (None, Some(_)) => Merge::Right,
        (Some(before), Some(after)) if may_be_one(before, after) => Merge::Both,
        (Some(_), Some(_)) => Merge::Left,
    }
}

/// Returns whether two areas that a range between them merges with may become one.
fn may_be_one(before: &Vma, after: &Vma) -> bool {
    let distance = page_of(after.start().get() - before.start().get());
    are_compatible(before.anon(), after.anon())
        && (before.is_anonymous()
            || before.anon().is_none()
            || after.anon().is_none()
            || before.anon_pgoff.wrapping_add(distance) == after.anon_pgoff)
}
