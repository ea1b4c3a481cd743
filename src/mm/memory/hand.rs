//! The page that a fault has in hand while it tries to do without more.

use super::Fault;
use super::file::FilePages;
use crate::addr::Order;
use crate::arch::{self, IrqMasked};
use crate::mm::gfp::Gfp;
use crate::mm::page_alloc::{OwnedPage, alloc_pcp};
use core::mem::ManuallyDrop;

/// Flags of the pages of users. They are not `__GFP_MOVABLE`: nobody moves them yet.
const GFP: Gfp = Gfp::GFP_HIGHUSER;

/// A hand that most often is empty at its end.
pub(super) struct FastHand(ManuallyDrop<Hand>);

impl FastHand {
    /// Creates an empty hand.
    #[inline(always)]
    pub const fn new() -> Self {
        Self(ManuallyDrop::new(Hand::new()))
    }

    #[inline(always)]
    pub fn hand(&mut self) -> &mut Hand {
        &mut self.0
    }
}

impl Drop for FastHand {
    #[inline(always)]
    fn drop(&mut self) {
        if self.0.page.is_some() || !self.0.file.is_empty() {
            // SAFETY: once, at the end.
            unsafe { ManuallyDrop::drop(&mut self.0) };
        }
    }
}

/// A page that a fault may use. It is freed with the hand if the fault does without.
pub(super) struct Hand {
    page: Option<OwnedPage>,
    is_zeroed: bool,
    /// The page of the file that is mapped, and pages around it that are in its cache.
    pub file: FilePages,
}

impl Hand {
    /// Creates an empty hand.
    #[inline(always)]
    pub const fn new() -> Self {
        Self { page: None, is_zeroed: false, file: FilePages::new() }
    }

    /// Allocates a page of zeros. May sleep.
    ///
    /// # Errors
    /// `Oom`.
    pub fn alloc_zeroed(&mut self) -> Result<(), Fault> {
        self.page = Some(OwnedPage::alloc(GFP | Gfp::__GFP_ZERO).ok_or(Fault::Oom)?);
        self.is_zeroed = true;
        Ok(())
    }

    /// Allocates a page with any contents. May sleep.
    ///
    /// # Errors
    /// `Oom`.
    pub fn alloc(&mut self) -> Result<(), Fault> {
        if self.page.is_none() {
            self.page = Some(OwnedPage::alloc(GFP).ok_or(Fault::Oom)?);
            self.is_zeroed = false;
        }
        Ok(())
    }

    /// Sees to a page in the hand, if this CPU's list has one.
    #[inline(always)]
    pub fn has_page(&mut self, _: &IrqMasked) -> bool {
        if self.page.is_none()
            && let Some(frame) = alloc_pcp(GFP - Gfp::__GFP_RECLAIM, Order::ZERO)
        {
            // SAFETY: the reference that was just allocated.
            let page = unsafe { OwnedPage::from_raw(frame) };
            // It is empty: there is nothing to drop.
            core::mem::forget(self.page.replace(page));
            self.is_zeroed = false;
        }
        self.page.is_some()
    }

    /// Sees to a page of zeros in the hand, if this CPU's list has one.
    #[inline(always)]
    pub fn has_zeroed(&mut self, irq: &IrqMasked) -> bool {
        if !self.has_page(irq) {
            return false;
        }
        if let Some(page) = self.page.as_ref().filter(|_| !self.is_zeroed) {
            // SAFETY: RAM in the linear map that nobody else has.
            unsafe { arch::clear_page(page.frame().phys()) };
            self.is_zeroed = true;
        }
        true
    }

    /// The page.
    #[inline(always)]
    pub fn page_mut(&mut self) -> Option<&mut OwnedPage> {
        self.is_zeroed = false;
        self.page.as_mut()
    }

    /// Takes the page out.
    #[inline(always)]
    pub fn take(&mut self) -> Option<OwnedPage> {
        self.page.take()
    }
}
