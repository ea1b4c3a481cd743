//! The search for free addresses (Linux: vm_unmapped_area).

use super::VmFlags;
use super::area::page_of;
use super::tree::{Hole, VmaTree, range_of};

/// Limits of a search for free addresses (Linux: struct vm_unmapped_area_info).
#[derive(Clone, Copy, Debug)]
pub struct UnmappedArea {
    /// Bytes, whole pages, not 0.
    pub len: usize,
    /// Numeric value of the lowest address, of a whole page.
    pub low: usize,
    /// Numeric value of the first address behind the highest.
    pub high: usize,
    /// Bytes that stay free below a stack.
    pub guard: usize,
}

impl VmaTree {
    /// Returns the lowest addresses that are free (Linux: unmapped_area).
    #[must_use]
    pub fn unmapped_area(&mut self, info: UnmappedArea) -> Option<Hole> {
        let (len, high) = (page_of(info.len), page_of(info.high));
        let mut low = page_of(info.low);
        loop {
            let gap = self.tree.lowest_gap(len, low..high)?;
            let after = self.tree.after_gap(&gap).map(|entry| self.vmas.get(entry.value));
            let pages = gap.pages.start..gap.pages.start + len;
            match after.filter(|after| after.flags().contains(VmFlags::GROWSDOWN)) {
                Some(stack) if page_of(stack.start_gap(info.guard)) < pages.end => {
                    low = page_of(stack.end());
                }
                _ => return Some(Hole(gap.narrowed(pages))),
            }
        }
    }

    /// Returns the highest addresses that are free (Linux: unmapped_area_topdown).
    #[must_use]
    #[inline]
    pub fn unmapped_area_topdown(&mut self, info: UnmappedArea) -> Option<Hole> {
        let (len, low) = (page_of(info.len), page_of(info.low));
        let mut high = page_of(info.high);
        loop {
            let gap = self.tree.highest_gap(len, low..high)?;
            let after = self.tree.after_gap(&gap).map(|entry| self.vmas.get(entry.value));
            let end = gap.pages.end;
            match after.filter(|after| after.flags().contains(VmFlags::GROWSDOWN)) {
                Some(stack) if page_of(stack.start_gap(info.guard)) < end => {
                    high = page_of(stack.start_gap(info.guard));
                }
                _ => return Some(Hole(gap.narrowed(end - len..end))),
            }
        }
    }
}

impl Hole {
    /// Returns whether all of `pages` is free: a hole as large as the search found.
    #[must_use]
    pub fn holds(&self, range: crate::addr::UserRange) -> bool {
        let whole = range_of(&self.0.whole());
        whole.start() <= range.start() && range.end() <= whole.end()
    }
}
