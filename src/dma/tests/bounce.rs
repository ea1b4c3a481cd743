//! Bounce buffers.

use super::*;

/// A buffer that shares lines with the CPU's data is bounced: neither loses a byte.
#[test]
fn neighbours_in_a_line_keep_their_bytes() {
    linear_machine(4096, |_| {
        let frame = page();
        let all = part(frame, 0, 4096);
        bytes(all).fill(1);
        // SAFETY: the test's own memory, which it leaves alone meanwhile.
        let at = unsafe { dma_map_page(&ANY, frame, 100, 50, FromDevice) }.unwrap();
        assert!(is_swiotlb_buffer(ANY.memory_at(at).unwrap()));
        assert_eq!(device_reads(&ANY, at, 50), [1; 50], "what it does not write stays");
        device_writes(&ANY, at, &[9; 40]);
        // The CPU goes on with what is its own.
        bytes(part(frame, 99, 1)).fill(2);
        bytes(part(frame, 150, 1)).fill(3);
        // SAFETY: the test's own memory, which it leaves alone meanwhile.
        unsafe { dma_sync_single_for_cpu(&ANY, DmaAddr::new(at.get() + 10), 20, FromDevice) };
        assert_eq!(bytes(part(frame, 110, 20)), [9; 20]);
        assert_eq!(bytes(part(frame, 100, 10)), [1; 10], "not lent to the CPU");
        // SAFETY: the test's own memory, which it leaves alone meanwhile.
        unsafe { dma_unmap_single(&ANY, at, 50, FromDevice) };
        let mut expected = [1; 4096];
        expected[99] = 2;
        expected[100..140].fill(9);
        expected[150] = 3;
        assert_eq!(bytes(all), expected);
        // One that snoops needs no such thing.
        let snooping = DmaDevice { coherent: true, ..ANY };
        // SAFETY: the test's own memory, which it leaves alone meanwhile.
        let at = unsafe { dma_map_page(&snooping, frame, 100, 50, FromDevice) }.unwrap();
        assert_eq!(at.get(), part(frame, 100, 50).start().get());
        // SAFETY: the test's own memory, which it leaves alone meanwhile.
        unsafe { dma_unmap_single(&snooping, at, 50, FromDevice) };
        assert!(swiotlb_exit());
    });
}

/// Maps the test's own memory.
fn map_own(
    device: &DmaDevice<'_>,
    frame: Frame,
    offset: usize,
    size: usize,
    direction: DmaDirection,
) -> Result<DmaAddr, DmaError> {
    // SAFETY: the test reads and writes it in turn with the device.
    unsafe { dma_map_page(device, frame, offset, size, direction) }
}

/// Ends what [`map_own`] began.
fn unmap_own(device: &DmaDevice<'_>, at: DmaAddr, size: usize, direction: DmaDirection) {
    // SAFETY: mapped so by the test, whose device does nothing by itself.
    unsafe { dma_unmap_single(device, at, size, direction) };
}

/// A buffer that begins with a line and ends within one shares that with the CPU's data.
#[test]
fn neighbours_in_the_last_line_keep_their_bytes() {
    linear_machine(4096, |_| {
        let frame = page();
        bytes(part(frame, 0, 4096)).fill(1);
        for (offset, len) in [(0, 100), (64, 1), (128, 63), (0, 4095)] {
            let at = map_own(&ANY, frame, offset, len, FromDevice).unwrap();
            let mapped = ANY.memory_at(at).unwrap();
            assert!(is_swiotlb_buffer(mapped), "{len} bytes at {offset} are not bounced");
            device_writes(&ANY, at, &vec![9; len]);
            let behind = part(frame, (offset + len) as u64, 1);
            bytes(behind).fill(2);
            unmap_own(&ANY, at, len, FromDevice);
            assert_eq!(bytes(part(frame, offset as u64, len as u64)), vec![9; len]);
            assert_eq!(bytes(behind), [2]);
        }
        // Whole lines are the device's alone.
        let at = map_own(&ANY, frame, 64, 128, FromDevice).unwrap();
        assert_eq!(at.get(), part(frame, 64, 128).start().get());
        unmap_own(&ANY, at, 128, FromDevice);
        assert!(swiotlb_exit());
    });
}

/// A device that takes memory in pages, as an NVMe does, finds a page or more at a page.
#[test]
fn bounce_buffers_of_a_page_begin_at_one() {
    linear_machine(8192, |_| {
        let order = Order::new(3).unwrap();
        let (device, frame) = (narrow(), alloc_pages(Gfp::GFP_KERNEL, order).unwrap());
        let map = |size| map_own(&device, frame, 256, size, ToDevice);
        let is_aligned = |at: DmaAddr| device.memory_at(at).unwrap().is_aligned(4096);
        let mut mapped = Vec::new();
        // Each small one leaves the next free slot in the middle of a page.
        for size in [100, 4096, 1, 4097, 2048, 3 * 4096, 30_000 - 256, 2049, 4096] {
            let at = map(size).unwrap();
            assert!(size < 4096 || is_aligned(at), "{size} bytes at {at}");
            mapped.push((at, size));
        }
        // Slots between them serve small ones, to the last of the 512.
        while let Ok(at) = map(4096) {
            assert!(is_aligned(at));
            mapped.push((at, 4096));
        }
        while let Ok(at) = map(2048) {
            mapped.push((at, 2048));
        }
        let slots: usize = mapped.iter().map(|(_, size)| size.div_ceil(2048)).sum();
        assert_eq!(slots, 512);
        // All can be had back, and a page in the middle is found again.
        let (at, _) = *mapped.iter().find(|(_, size)| *size == 4096).unwrap();
        unmap_own(&device, at, 4096, ToDevice);
        assert_eq!(map(4096), Ok(at));
        mapped.iter().for_each(|&(at, size)| unmap_own(&device, at, size, ToDevice));
        assert!(swiotlb_exit());
    });
}

/// RAM that has a descriptor, and that somebody has taken out of the linear map.
#[test]
fn what_is_hidden_is_refused() {
    linear_machine(8192, |_| {
        let order = Order::new(2).unwrap();
        let frame = alloc_pages(Gfp::GFP_KERNEL, order).unwrap();
        let hidden = layout::LINEAR.start() + (frame.phys() + 0x2000).get() as usize;
        // SAFETY: the test's own page, which nobody reads or writes meanwhile.
        unsafe { set_memory_valid(hidden, 1, false) }.unwrap();
        for device in [ANY, DmaDevice { coherent: true, ..ANY }] {
            let map = |offset, size| map_own(&device, frame, offset, size, ToDevice);
            for (offset, size) in [(0x2000, 1), (0x2fff, 1), (0x1fff, 2), (0, 0x4000)] {
                let refused = map(offset, size);
                assert_eq!(refused, Err(DmaError::Invalid), "{size:#x} bytes at {offset:#x}");
            }
            for (offset, size) in [(0, 0x2000), (0x3000, 0x1000)] {
                let at = map(offset, size).unwrap();
                unmap_own(&device, at, size, ToDevice);
            }
        }
        // SAFETY: as above.
        unsafe { set_memory_valid(hidden, 1, true) }.unwrap();
        assert_eq!(live_mappings(), 0);
    });
}

#[test]
fn what_is_out_of_reach_is_bounced() {
    linear_machine(8192, |_| {
        for coherent in [false, true] {
            let device = DmaDevice { coherent, ..narrow() };
            let frame = page();
            let ram = part(frame, 0, 4096);
            bytes(ram).fill(5);
            // SAFETY: the test's own memory, which it leaves alone meanwhile.
            let at = unsafe { dma_map_page(&device, frame, 0, 4096, Bidirectional) }.unwrap();
            assert!(is_swiotlb_buffer(device.memory_at(at).unwrap()));
            assert_eq!(device_reads(&device, at, 4096), [5; 4096]);
            device_writes(&device, at, &[6; 2048]);
            // SAFETY: the test's own memory, which it leaves alone meanwhile.
            unsafe { dma_sync_single_for_cpu(&device, at, 4096, Bidirectional) };
            assert_eq!(bytes(part(frame, 0, 2048)), [6; 2048]);
            bytes(ram).fill(7);
            // SAFETY: the test's own memory, which it leaves alone meanwhile.
            unsafe { dma_sync_single_for_device(&device, at, 4096, Bidirectional) };
            assert_eq!(device_reads(&device, at, 4096), [7; 4096]);
            device_writes(&device, at, &[8; 4096]);
            assert!(!swiotlb_exit(), "a buffer is in use");
            // SAFETY: the test's own memory, which it leaves alone meanwhile.
            unsafe { dma_unmap_single(&device, at, 4096, Bidirectional) };
            assert_eq!(bytes(ram), [8; 4096]);
            // What the device was only to read is not copied back.
            // SAFETY: the test's own memory, which it leaves alone meanwhile.
            let at = unsafe { dma_map_page(&device, frame, 0, 4096, ToDevice) }.unwrap();
            device_writes(&device, at, &[1; 4096]);
            // SAFETY: the test's own memory, which it leaves alone meanwhile.
            unsafe { dma_unmap_single(&device, at, 4096, ToDevice) };
            assert_eq!(bytes(ram), [8; 4096]);
        }
        assert!(swiotlb_exit());
        let nothing = DmaDevice { mask: 0xfff, ..ANY };
        let frame = page();
        // SAFETY: the test's own memory, which it leaves alone meanwhile.
        let refused = unsafe { dma_map_page(&nothing, frame, 0, 64, ToDevice) };
        assert_eq!(refused, Err(DmaError::OutOfReach));
        let order = Order::new(7).unwrap();
        let large = alloc_pages(Gfp::GFP_KERNEL, order).unwrap();
        // SAFETY: the test's own memory, which it leaves alone meanwhile.
        let refused = unsafe { dma_map_page(&narrow(), large, 0, order.bytes(), ToDevice) };
        assert_eq!(refused, Err(DmaError::OutOfReach), "more than a buffer can be");
        // SAFETY: the test's own memory, which it leaves alone meanwhile.
        assert_eq!(unsafe { dma_map_page(&ANY, frame, 0, 0, ToDevice) }, Err(DmaError::Invalid));
        // SAFETY: the test's own memory, which it leaves alone meanwhile.
        let refused = unsafe { dma_map_page(&ANY, frame, 0, 1 << 40, ToDevice) };
        assert_eq!(refused, Err(DmaError::Invalid));
        // SAFETY: the test's own memory, which it leaves alone meanwhile.
        let nowhere = unsafe { dma_map_single(&ANY, VirtAddr::new(0x1000), 1, ToDevice) };
        assert_eq!(nowhere, Err(DmaError::Invalid));
        assert_eq!(live_mappings(), 0);
    });
}
