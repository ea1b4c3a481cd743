//! Counted references to pages of a page cache, and their bytes.

use crate::addr::PAGE_SIZE;
use crate::mm::page::Frame;
use crate::mm::page_alloc::{OwnedPage, get_page, put_page};
use core::mem::ManuallyDrop;

/// A counted reference to a page, which is freed when the last one is dropped.
#[derive(PartialEq, Eq, Debug)]
#[repr(transparent)]
pub struct PageRef(Frame);

impl PageRef {
    /// Turns the only reference to a page into a counted one.
    pub(super) fn from_owned(page: OwnedPage) -> Self {
        Self(page.into_raw())
    }

    /// The page that is referred to.
    #[must_use]
    pub const fn frame(&self) -> Frame {
        self.0
    }

    /// Gives up the reference without dropping it: `put_page` is for that.
    #[must_use]
    pub fn into_raw(self) -> Frame {
        ManuallyDrop::new(self).0
    }

    /// Takes over a reference that [`PageRef::into_raw`] gave up.
    ///
    /// # Safety
    /// The caller has such a reference to `frame`, and gives it up.
    #[must_use]
    pub const unsafe fn from_raw(frame: Frame) -> Self {
        Self(frame)
    }

    /// The bytes of the page.
    ///
    /// # Safety
    /// Nobody in the kernel writes them meanwhile. Programs that have the page mapped may: their
    /// stores are none of the kernel's, and what is read of them is any value.
    pub(super) unsafe fn bytes(&self) -> &[u8; PAGE_SIZE] {
        // SAFETY: RAM in the linear map, which stays while there is a reference; nobody writes it,
        // as the caller says.
        unsafe { &*core::ptr::with_exposed_provenance(self.0.virt().get()) }
    }

    /// The bytes of the page, to be written.
    ///
    /// # Safety
    /// Nobody else in the kernel reads or writes them meanwhile; of programs the same holds as for
    /// [`PageRef::bytes`].
    pub(super) unsafe fn bytes_mut(&mut self) -> &mut [u8; PAGE_SIZE] {
        // SAFETY: as above, and nobody else has them, as the caller says.
        unsafe { &mut *core::ptr::with_exposed_provenance_mut(self.0.virt().get()) }
    }
}

impl Clone for PageRef {
    fn clone(&self) -> Self {
        get_page(self.0);
        Self(self.0)
    }
}

impl Drop for PageRef {
    fn drop(&mut self) {
        // SAFETY: the reference is this value's.
        unsafe { put_page(self.0) };
    }
}
