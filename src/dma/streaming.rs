//! A streaming mapping as a value, which borrows the bytes while they are the device's.

use super::map::{
    dma_map_single, dma_sync_single_for_cpu, dma_sync_single_for_device, dma_unmap_single,
};
use super::{DmaAddr, DmaDevice, DmaDirection, DmaError};
use crate::addr::{PAGE_SIZE, VirtAddr};
use crate::mm::page::Frame;
use core::fmt;
use core::marker::PhantomData;
use core::ptr::{NonNull, slice_from_raw_parts_mut};

/// Bytes that a device may use. Dropped, they are the CPU's again.
///
/// The bytes are borrowed meanwhile, so that no CPU uses them while they are the device's.
/// Whoever tells the device of [`dma_addr`](Self::dma_addr) sees to it that the device is done
/// with the bytes before the value ends; telling it takes `unsafe` anyway.
#[must_use = "the bytes are unmapped at once where it is not kept"]
pub struct DmaMapping<'a> {
    device: DmaDevice<'a>,
    at: DmaAddr,
    bytes: NonNull<[u8]>,
    direction: DmaDirection,
    borrowed: PhantomData<&'a mut [u8]>,
}

// SAFETY: it stands for a borrow of bytes, which any thread may have.
unsafe impl Send for DmaMapping<'_> {}
// SAFETY: shared, it tells where it is and gives no access to the bytes.
unsafe impl Sync for DmaMapping<'_> {}

impl<'a> DmaMapping<'a> {
    /// Gives the device bytes to read. Any context.
    ///
    /// # Errors
    /// [`DmaError::Invalid`] for no bytes, or bytes that are not in the linear map (of a stack,
    /// a static or a vmalloc area); others as for [`dma_map_page`](super::dma_map_page).
    #[track_caller]
    pub fn to_device(device: &DmaDevice<'a>, bytes: &'a [u8]) -> Result<Self, DmaError> {
        Self::map(device, NonNull::from(bytes), DmaDirection::ToDevice)
    }

    /// Gives the device bytes to write. Any context.
    ///
    /// # Errors
    /// As for [`DmaMapping::to_device`].
    #[track_caller]
    pub fn from_device(device: &DmaDevice<'a>, bytes: &'a mut [u8]) -> Result<Self, DmaError> {
        Self::map(device, NonNull::from(bytes), DmaDirection::FromDevice)
    }

    /// Gives the device bytes to read and write. Any context.
    ///
    /// # Errors
    /// As for [`DmaMapping::to_device`].
    #[track_caller]
    pub fn bidirectional(device: &DmaDevice<'a>, bytes: &'a mut [u8]) -> Result<Self, DmaError> {
        Self::map(device, NonNull::from(bytes), DmaDirection::Bidirectional)
    }

    #[track_caller]
    fn map(
        device: &DmaDevice<'a>,
        bytes: NonNull<[u8]>,
        direction: DmaDirection,
    ) -> Result<Self, DmaError> {
        let va = VirtAddr::from_ptr(bytes.cast::<u8>().as_ptr());
        let page = va.align_down(PAGE_SIZE);
        if Frame::from_virt(page).map(Frame::virt) != Some(page) {
            return Err(DmaError::Invalid);
        }
        // SAFETY: the bytes are borrowed as long as the value lives, mutably if the device
        // writes to them, and the linear map has them.
        let at = unsafe { dma_map_single(device, va, bytes.len(), direction)? };
        Ok(Self { device: *device, at, bytes, direction, borrowed: PhantomData })
    }

    /// The address at which the device finds the bytes.
    #[must_use]
    pub const fn dma_addr(&self) -> DmaAddr {
        self.at
    }

    /// The number of bytes.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "no mapping is empty")]
    pub const fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The direction in which they go.
    #[must_use]
    pub const fn direction(&self) -> DmaDirection {
        self.direction
    }

    /// Lends the bytes to the CPU until the value that is returned is dropped (Linux:
    /// dma_sync_single_for_cpu, dma_sync_single_for_device).
    #[track_caller]
    pub fn for_cpu(&mut self) -> DmaLent<'_, 'a> {
        // SAFETY: the mapping is this value's.
        unsafe {
            dma_sync_single_for_cpu(&self.device, self.at, self.bytes.len(), self.direction);
        }
        DmaLent(self)
    }
}

impl Drop for DmaMapping<'_> {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's, which ends here.
        unsafe { dma_unmap_single(&self.device, self.at, self.bytes.len(), self.direction) };
    }
}

impl fmt::Debug for DmaMapping<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (size, direction) = (self.bytes.len(), self.direction);
        write!(f, "DmaMapping({}, {size} bytes {direction:?} at {})", self.device.name, self.at)
    }
}

/// Bytes of a mapping that are lent to the CPU. Dropped, they are the device's again.
#[derive(Debug)]
pub struct DmaLent<'m, 'a>(&'m mut DmaMapping<'a>);

impl DmaLent<'_, '_> {
    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the mapping borrows them, and they are lent to this value.
        unsafe { self.0.bytes.as_ref() }
    }

    /// The bytes, to be written; `None` for those that the device reads alone, which others may
    /// read too.
    #[must_use]
    pub fn bytes_mut(&mut self) -> Option<&mut [u8]> {
        if self.0.direction == DmaDirection::ToDevice {
            return None;
        }
        let bytes = slice_from_raw_parts_mut(self.0.bytes.cast().as_ptr(), self.0.bytes.len());
        // SAFETY: as in `bytes`; the mapping borrows them mutably.
        Some(unsafe { &mut *bytes })
    }
}

impl Drop for DmaLent<'_, '_> {
    fn drop(&mut self) {
        let DmaMapping { device, at, bytes, direction, .. } = &*self.0;
        // SAFETY: the mapping is that of the value which lent them.
        unsafe { dma_sync_single_for_device(device, *at, bytes.len(), *direction) };
    }
}
