//! An area: pages that follow each other in an address space and have the same properties
//! (Linux: struct vm_area_struct).

use super::{AnonName, VmFile, VmFlags};
use crate::addr::{PAGE_SHIFT, UserAddr, UserRange};
use crate::arch::pgtable::UserAttrs;
use crate::mm::alloc::KArc;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Identity of the anonymous pages of areas (Linux: struct anon_vma and the length of
/// anon_vma_chain).
///
/// An area has none until its first anonymous page is there. Areas with the same one merge, and
/// those with different ones don't.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct AnonVma(u32);

/// Bit of an identity whose area came through fork.
const FORKED: u32 = 1 << 31;

impl AnonVma {
    /// No anonymous page was ever there.
    pub const NONE: Self = Self(0);

    /// Identity with number `number`, 1 to 2^31 - 1.
    ///
    /// # Panics
    /// If the number is another one.
    #[must_use]
    #[track_caller]
    pub const fn new(number: u32) -> Self {
        assert!(0 < number && number < FORKED, "not the number of an anon_vma");
        Self(number)
    }

    /// The number; 0 of [`AnonVma::NONE`].
    #[must_use]
    #[inline]
    pub const fn number(self) -> u32 {
        self.0 & !FORKED
    }

    /// Returns whether it is [`AnonVma::NONE`].
    #[must_use]
    #[inline]
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }

    /// The same identity in an area that came through fork: others are linked to its pages.
    #[must_use]
    pub const fn forked(self) -> Self {
        if self.is_none() { self } else { Self(self.0 | FORKED) }
    }

    /// Returns whether the area is linked to this identity alone (Linux: list_is_singular of
    /// anon_vma_chain): there is one, and it did not come through fork.
    #[must_use]
    #[inline]
    pub const fn is_singular(self) -> bool {
        self.0 != 0 && self.0 & FORKED == 0
    }

    /// Returns this identity, or `other` if this is none.
    #[must_use]
    #[inline]
    pub const fn or(self, other: Self) -> Self {
        if self.is_none() { other } else { self }
    }
}

/// Properties of an area but for where it lies: what has to be the same for two to merge.
#[derive(Clone)]
pub struct Attributes {
    /// Flags.
    pub flags: VmFlags,
    /// File, if it maps one (Linux: vm_file). Shared anonymous memory has one of shmem's; private
    /// anonymous memory has none.
    pub file: Option<VmFile>,
    /// Name by prctl(PR_SET_VMA_ANON_NAME).
    pub anon_name: Option<KArc<AnonName>>,
    /// Number of the memory policy; 0: the task's (Linux: vm_policy).
    pub policy: u16,
    /// Number of the userfaultfd context; 0: none (Linux: vm_userfaultfd_ctx).
    pub uffd: u16,
}

impl Attributes {
    /// Attributes of private anonymous memory.
    #[must_use]
    pub const fn anonymous(flags: VmFlags) -> Self {
        Self { flags, file: None, anon_name: None, policy: 0, uffd: 0 }
    }

    /// Returns whether an area with these may be one with an area that has `other`, as far as
    /// pages and their places are not concerned (Linux: is_mergeable_vma).
    #[must_use]
    #[inline]
    pub fn is_mergeable(&self, other: &Self) -> bool {
        let is_same_file = match (&self.file, &other.file) {
            (None, None) => true,
            (Some(a), Some(b)) => KArc::ptr_eq(a, b),
            _ => false,
        };
        let is_same_name = match (&self.anon_name, &other.anon_name) {
            (None, None) => true,
            (Some(a), Some(b)) => KArc::ptr_eq(a, b) || **a == **b,
            _ => false,
        };
        (self.flags ^ other.flags).difference(VmFlags::SOFTDIRTY).is_empty()
            && is_same_file
            && self.policy == other.policy
            && self.uffd == other.uffd
            && is_same_name
    }
}

/// An area (Linux: struct vm_area_struct).
pub struct Vma {
    pub(super) range: UserRange,
    pub(super) page_prot: UserAttrs,
    pub(super) attributes: Attributes,
    pub(super) pgoff: u64,
    pub(super) anon_pgoff: u64,
    pub(super) anon: AtomicU32,
}

impl Vma {
    /// Area at `range`, whole pages of which there is one at least, with page `pgoff` of its file first,
    /// or with its own page number in anonymous memory.
    ///
    /// # Panics
    /// If `range` is empty or not of whole pages.
    #[must_use]
    #[track_caller]
    pub fn new(range: UserRange, attributes: Attributes, pgoff: u64) -> Self {
        let is_whole =
            range.start().page_offset() == 0 && range.len().is_multiple_of(1 << PAGE_SHIFT);
        assert!(is_whole && !range.is_empty(), "an area at {range:?}");
        Self {
            range,
            page_prot: attributes.flags.page_prot(),
            attributes,
            pgoff,
            anon_pgoff: page_of(range.start().get()),
            anon: AtomicU32::new(0),
        }
    }

    /// Addresses.
    #[must_use]
    #[inline]
    pub const fn range(&self) -> UserRange {
        self.range
    }
    /// First address (Linux: vm_start).
    #[must_use]
    #[inline]
    pub const fn start(&self) -> UserAddr {
        self.range.start()
    }
    /// Numeric value of the first address behind it (Linux: vm_end).
    #[must_use]
    #[inline]
    pub const fn end(&self) -> usize {
        self.range.end()
    }
    /// Number of pages (Linux: vma_pages).
    #[must_use]
    #[inline]
    pub const fn pages(&self) -> u64 {
        (self.range.len() >> PAGE_SHIFT) as u64
    }
    /// Flags (Linux: vm_flags).
    #[must_use]
    #[inline]
    pub const fn flags(&self) -> VmFlags {
        self.attributes.flags
    }
    /// Everything but its place.
    #[must_use]
    #[inline]
    pub const fn attributes(&self) -> &Attributes {
        &self.attributes
    }
    /// Attributes of its mappings, ready made (Linux: vm_page_prot; see [`VmFlags::page_prot`]).
    #[must_use]
    #[inline]
    pub const fn page_prot(&self) -> UserAttrs {
        self.page_prot
    }
    /// The object whose pages it maps: a file, memory of shmem, or pages of the kernel's own.
    #[must_use]
    #[inline]
    pub const fn file(&self) -> Option<&VmFile> {
        self.attributes.file.as_ref()
    }
    /// Page of the file that its first page maps; in anonymous memory the number of the page where
    /// it was first mapped (Linux: vm_pgoff).
    #[must_use]
    #[inline]
    pub const fn pgoff(&self) -> u64 {
        self.pgoff
    }
    /// Index of an anonymous page that is its first: the number of the page where the area was
    /// first mapped. That of anonymous memory is [`Vma::pgoff`].
    #[must_use]
    #[inline]
    pub const fn anon_pgoff(&self) -> u64 {
        if self.attributes.file.is_none() { self.pgoff } else { self.anon_pgoff }
    }
    /// Identity of its anonymous pages (Linux: anon_vma).
    #[must_use]
    #[inline]
    pub fn anon(&self) -> AnonVma {
        AnonVma(self.anon.load(Relaxed))
    }
    /// Gives it `anon` as the identity of its pages if it has none. The areas are held for reading at
    /// least (Linux: __anon_vma_prepare).
    #[inline]
    pub fn prepare_anon(&self, anon: AnonVma) {
        // Another fault may have been faster.
        let _ = self.anon.compare_exchange(0, anon.0, Relaxed, Relaxed);
    }
    /// Gives a new area, to which pages are moved, their identity and the index of the first one.
    pub fn set_identity(&mut self, anon: AnonVma, anon_pgoff: u64) {
        *self.anon.get_mut() = anon.0;
        self.anon_pgoff = anon_pgoff;
    }
    /// Page of the file at `at`, an address of the area (Linux: linear_page_index).
    #[must_use]
    #[inline]
    pub const fn page_index(&self, at: UserAddr) -> u64 {
        self.pgoff + page_of(at.get() - self.range.start().get())
    }
    /// Returns whether it is private anonymous memory (Linux: vma_is_anonymous).
    #[must_use]
    #[inline]
    pub const fn is_anonymous(&self) -> bool {
        self.attributes.file.is_none()
    }
    /// Returns whether it maps pages of the kernel's own, as the vDSO (Linux:
    /// vma_is_special_mapping).
    #[must_use]
    #[inline]
    pub const fn is_special_mapping(&self) -> bool {
        self.flags().contains(VmFlags::SPECIAL_MAPPING)
    }
    /// Returns whether mseal() forbids to change it (Linux: vma_is_sealed).
    #[must_use]
    #[inline]
    pub const fn is_sealed(&self) -> bool {
        self.flags().contains(VmFlags::SEALED)
    }
    /// Returns whether a program has any right to it (Linux: vma_is_accessible).
    #[must_use]
    #[inline]
    pub const fn is_accessible(&self) -> bool {
        self.flags().intersects(VmFlags::ACCESS)
    }
    /// Numeric value of the first address that has to stay free below it: that of a stack's guard gap of
    /// `guard` bytes, or its own first one (Linux: vm_start_gap).
    #[must_use]
    #[inline]
    pub const fn start_gap(&self, guard: usize) -> usize {
        let start = self.range.start().get();
        if self.flags().contains(VmFlags::GROWSDOWN) { start.saturating_sub(guard) } else { start }
    }

    /// Gives it `anon`, whatever it had.
    pub(super) fn set_anon(&mut self, anon: AnonVma) {
        *self.anon.get_mut() = anon.0;
    }

    /// Sets the flags, and the attributes of mappings by them (Linux: vm_flags_reset,
    /// vma_set_page_prot).
    #[inline]
    pub(super) fn reset_flags(&mut self, flags: VmFlags) {
        self.attributes.flags = flags;
        self.page_prot = flags.page_prot();
    }

    /// The same area at `range`, which begins anywhere: page numbers go with the addresses.
    pub(super) fn set_range(&mut self, range: UserRange) {
        let (old, new) = (page_of(self.range.start().get()), page_of(range.start().get()));
        self.pgoff = self.pgoff.wrapping_add(new).wrapping_sub(old);
        self.anon_pgoff = self.anon_pgoff.wrapping_add(new).wrapping_sub(old);
        self.range = range;
    }

    /// A copy of part `range` of it.
    pub(super) fn part(&self, range: UserRange) -> Self {
        let mut part = Self {
            range: self.range,
            page_prot: self.page_prot,
            attributes: self.attributes.clone(),
            pgoff: self.pgoff,
            anon_pgoff: self.anon_pgoff,
            anon: AtomicU32::new(self.anon().0),
        };
        part.set_range(range);
        part
    }
}

/// Number of the page that address `at` lies in.
#[inline(always)]
pub const fn page_of(at: usize) -> u64 {
    (at >> PAGE_SHIFT) as u64
}
