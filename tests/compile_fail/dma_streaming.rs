//! `dma_map_single`, `dma_map_page`, `dma_unmap_single`, `dma_sync_single_for_cpu` and `dma_sync_single_for_device`: a device, or a copy back from a bounce buffer, writes to memory that others use.
#![no_std]
#![forbid(unsafe_code)]

use granule::addr::VirtAddr;
use granule::dma::DmaDirection::FromDevice;
use granule::dma::{DmaAddr, DmaDevice};
use granule::dma::{dma_map_page, dma_map_single, dma_sync_single_for_cpu};
use granule::dma::{dma_sync_single_for_device, dma_unmap_single};
use granule::mm::page::Frame;

pub fn any(device: &DmaDevice<'_>, frame: Frame, va: VirtAddr, at: DmaAddr) {
    let _ = dma_map_page(device, frame, 0, 64, FromDevice); //~ E0133
    let _ = dma_map_single(device, va, 64, FromDevice); //~ E0133
    dma_unmap_single(device, at, 64, FromDevice); //~ E0133
    dma_sync_single_for_cpu(device, at, 64, FromDevice); //~ E0133
    dma_sync_single_for_device(device, at, 64, FromDevice); //~ E0133
}
