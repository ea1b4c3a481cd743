//! DMA on the emulated machine, whose cache writes back when it hurts.

use super::*;
use crate::addr::{Order, PAGE_SIZE, VirtAddr, VirtRange};
use crate::arch::CpuId;
use crate::arch::hosted::Machine;
use crate::arch::hosted::cache::{may_hold, read_by_device, write_by_device};
use crate::arch::hosted::mmu::Access;
use crate::arch::layout;
use crate::arch::pgtable::{KernelAttrs, MapFlags, MemoryType};
use crate::arch::phys_to_virt;
use crate::mm::alloc_pages::alloc_pages;
use crate::mm::gfp::Gfp;
use crate::mm::init_mm;
use crate::mm::page::Frame;
use crate::mm::page_alloc::{OwnedPage, free_pages};
use crate::mm::set_memory::set_memory_valid;
use crate::mm::vmalloc::tests::{machine, used_pages};
use proptest::prelude::*;
use std::vec;
use std::vec::Vec;

use DmaDirection::{Bidirectional, FromDevice, ToDevice};

const ANY: DmaDevice<'static> =
    DmaDevice { name: "disk", mask: u64::MAX, ranges: &[], coherent: false };

/// A device that reaches the bounce buffers alone.
fn narrow() -> DmaDevice<'static> {
    let cpu = swiotlb_init().unwrap();
    let range = DmaRange { cpu, bus: DmaAddr::new(cpu.start().get()) };
    DmaDevice { ranges: Vec::leak(vec![range]), ..ANY }
}

fn bytes(ram: PhysRange) -> &'static mut [u8] {
    let at = core::ptr::with_exposed_provenance_mut(phys_to_virt(ram.start()).get());
    // SAFETY: RAM of this machine that the test has allocated, by one slice at a time.
    unsafe { core::slice::from_raw_parts_mut(at, ram.len() as usize) }
}

fn page() -> Frame {
    alloc_pages(Gfp::GFP_KERNEL, Order::ZERO).unwrap()
}

fn part(frame: Frame, offset: u64, len: u64) -> PhysRange {
    PhysRange::from_size(frame.phys() + offset, len)
}

/// A device's read of all that is mapped at `at`.
fn device_reads(device: &DmaDevice<'_>, at: DmaAddr, len: usize) -> Vec<u8> {
    let mut got = vec![0; len];
    let start = device.memory_at(at).unwrap();
    let ram = PhysRange::from_size(start, len as u64);
    match device.coherent {
        true => got.copy_from_slice(bytes(ram)),
        // SAFETY: the test's own memory.
        false => unsafe { read_by_device(start, &mut got) },
    }
    got
}

fn device_writes(device: &DmaDevice<'_>, at: DmaAddr, data: &[u8]) {
    let start = device.memory_at(at).unwrap();
    match device.coherent {
        true => bytes(PhysRange::from_size(start, data.len() as u64)).copy_from_slice(data),
        // SAFETY: the test's own memory, which it has mapped for the device.
        false => unsafe { write_by_device(start, data) },
    }
}

#[test]
fn what_the_cpu_wrote_the_device_reads() {
    linear_machine(1024, |_| {
        let frame = page();
        for (offset, len) in [(0, 4096), (64, 128), (3, 1), (100, 1000)] {
            let ram = part(frame, offset, len);
            bytes(ram).fill(len as u8);
            // SAFETY: the test's own memory, which it leaves alone meanwhile.
            let at = unsafe { dma_map_page(&ANY, frame, offset as usize, len as usize, ToDevice) }
                .unwrap();
            assert_eq!(at.get(), ram.start().get(), "no bounce is needed");
            assert_eq!(device_reads(&ANY, at, len as usize), vec![len as u8; len as usize]);
            bytes(ram).fill(!(len as u8));
            // SAFETY: the test's own memory, which it leaves alone meanwhile.
            unsafe { dma_sync_single_for_device(&ANY, at, len as usize, ToDevice) };
            assert_eq!(device_reads(&ANY, at, len as usize), vec![!(len as u8); len as usize]);
            // SAFETY: the test's own memory, which it leaves alone meanwhile.
            unsafe { dma_unmap_single(&ANY, at, len as usize, ToDevice) };
        }
        assert_eq!(live_mappings(), 0);
    });
}

#[test]
fn what_the_device_wrote_the_cpu_reads() {
    linear_machine(1024, |_| {
        let frame = page();
        for direction in [FromDevice, Bidirectional] {
            let ram = part(frame, 256, 512);
            // Dirty lines, which must not be written back over what the device writes.
            bytes(ram).fill(1);
            // SAFETY: the test's own memory, which it leaves alone meanwhile.
            let at = unsafe { dma_map_page(&ANY, frame, 256, 512, direction) }.unwrap();
            assert_eq!(at.get(), ram.start().get());
            device_writes(&ANY, at, &[7; 512]);
            // SAFETY: the test's own memory, which it leaves alone meanwhile.
            unsafe { dma_sync_single_for_cpu(&ANY, at, 64, direction) };
            assert_eq!(bytes(part(frame, 256, 64)), [7; 64]);
            // SAFETY: the test's own memory, which it leaves alone meanwhile.
            unsafe { dma_sync_single_for_device(&ANY, at, 64, direction) };
            device_writes(&ANY, at, &[8; 100]);
            // SAFETY: the test's own memory, which it leaves alone meanwhile.
            unsafe { dma_unmap_single(&ANY, at, 512, direction) };
            assert_eq!(bytes(part(frame, 256, 100)), [8; 100]);
            assert_eq!(bytes(part(frame, 356, 412)), [7; 412]);
        }
    });
}

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

#[test]
fn buses_have_addresses_of_their_own() {
    linear_machine(4096, |_| {
        let cpu = PhysRange::from_size(PhysAddr::new(0x4000_0000), 2 << 20);
        let ranges = [DmaRange { cpu, bus: DmaAddr::new(0xc000_0000) }];
        let device = DmaDevice { ranges: &ranges, ..ANY };
        let frame = page();
        let inside = PhysAddr::new(0x4010_0000);
        let at = device.reach(PhysRange::from_size(inside, 64)).unwrap();
        assert_eq!((at.get(), device.memory_at(at)), (0xc010_0000, Some(inside)));
        assert_eq!(device.reach(PhysRange::from_size(cpu.end() - 32, 64)), None);
        assert_eq!(device.memory_at(DmaAddr::new(0x4010_0000)), None);
        // The range has 2 MiB.
        let last = DmaAddr::new(0xc01f_ffff);
        assert_eq!(device.memory_at(last), Some(PhysAddr::new(0x401f_ffff)));
        assert_eq!(device.memory_at(DmaAddr::new(last.get() + 1)), None);
        let at = device.reach(part(frame, 0, 64));
        assert_eq!(at.is_some(), cpu.contains_range(part(frame, 0, 64)));
        let mask = 0xc010_0000;
        let short = DmaDevice { mask, ..device };
        assert!(short.reach(PhysRange::from_size(inside, 1)).is_some());
        assert!(short.reach(PhysRange::from_size(inside, 2)).is_none());
    });
}

/// A bus address leads to one place, whatever `dma-ranges` says: to that of the first range that
/// has it. Otherwise the end of a mapping would be that of other memory.
#[test]
fn what_is_reached_is_where_its_address_leads() {
    linear_machine(4096, |_| {
        let memory = |start: u64, len: u64| PhysRange::from_size(PhysAddr::new(start), len);
        let range = |cpu, bus| DmaRange { cpu, bus: DmaAddr::new(bus) };
        let mib = 1 << 20;
        let first = range(memory(0x4000_0000, mib), 0);
        let ranges = [
            first,
            // At the same bus addresses, at some of them, and right behind them.
            range(memory(0x4010_0000, mib), 0),
            range(memory(0x4020_0000, mib), mib - 64),
            range(memory(0x4030_0000, mib), mib),
            // The same memory, where the first does not hide it.
            range(memory(0x4010_0000, mib), 0x4010_0000),
        ];
        let device = DmaDevice { ranges: &ranges, ..ANY };
        for (start, len, at) in [
            (0x4000_0000, 64, Some(0)),
            (0x4010_0000, 64, Some(0x4010_0000)),
            (0x4020_0000, 64, None),
            (0x4020_0000, mib, None),
            (0x4030_0000, mib, None),
            (0x4020_0040, 64, Some(mib)),
        ] {
            let ram = memory(start, len);
            let found = device.reach(ram);
            assert_eq!(found.map(DmaAddr::get), at, "{ram:?}");
            if let Some(at) = found {
                let leads = |n| device.memory_at(DmaAddr::new(at.get() + n));
                assert!((0..len).step_by(64).all(|n| leads(n) == Some(ram.start() + n)));
            }
        }
        let none = range(memory(0x4000_0000, 0), 0);
        let all = range(memory(0, 1 << 40), 1 << 41);
        let ranges = [none, first, all];
        let device = DmaDevice { ranges: &ranges, mask: (1 << 40) - 1, ..ANY };
        assert_eq!(device.reach(memory(0x4000_0000, 64)), Some(DmaAddr::new(0)));
        assert_eq!(device.reach(memory(0x4010_0000, 64)), None, "beyond the mask");
    });
}

/// A buffer that a device can't have goes back.
#[test]
fn a_bounce_buffer_out_of_reach_is_not_kept() {
    linear_machine(4096, |_| {
        let pool = swiotlb_init().unwrap();
        // All of the pool is reached, and no buffer in it: other memory hides its addresses.
        let other = PhysRange::from_size(PhysAddr::new(0x10_0000), pool.len() - 1);
        let bus = DmaAddr::new(0);
        let ranges = [DmaRange { cpu: other, bus }, DmaRange { cpu: pool, bus }];
        let device = DmaDevice { ranges: &ranges, ..ANY };
        let frame = page();
        // SAFETY: the test's own memory, which it leaves alone meanwhile.
        let refused = unsafe { dma_map_page(&device, frame, 0, 64, ToDevice) };
        assert_eq!(refused, Err(DmaError::OutOfReach));
        assert!(swiotlb_exit(), "no slot is in use");
    });
}

/// Bytes that devices only read can be mapped more than once, and the table tells the mappings
/// apart.
#[test]
fn the_same_bytes_are_mapped_more_than_once() {
    linear_machine(1024, |_| {
        set_dma_debug(true);
        let page = OwnedPage::alloc(Gfp::GFP_KERNEL).unwrap();
        let bytes = page.bytes();
        let map = |from: usize, to: usize| DmaMapping::to_device(&ANY, &bytes[from..to]).unwrap();
        let (short, all, same, part) = (map(0, 64), map(0, 4096), map(0, 64), map(128, 256));
        let (mut all, mut other) = (all, map(0, 512));
        assert_eq!(all.for_cpu().bytes().len(), 4096);
        assert_eq!(other.for_cpu().bytes().len(), 512);
        // SAFETY: the bytes lie in `all`, behind the start of `part`.
        unsafe {
            let at = DmaAddr::new(all.dma_addr().get() + 200);
            dma_sync_single_for_cpu(&ANY, at, 1000, ToDevice);
            dma_sync_single_for_device(&ANY, at, 1000, ToDevice);
        }
        assert_eq!(live_mappings(), 5);
        drop(short);
        drop(all);
        drop(part);
        drop((other, same));
        assert_eq!(live_mappings(), 0);
    });
}

#[test]
fn bounce_buffers_run_out_and_come_back() {
    linear_machine(8192, |_| {
        let (device, frame) = (narrow(), page());
        // SAFETY: the test's own memory, which it leaves alone meanwhile.
        let map = || unsafe { dma_map_page(&device, frame, 0, 3000, ToDevice) };
        let mapped: Vec<_> = core::iter::from_fn(|| map().ok()).collect();
        assert_eq!(mapped.len(), 256, "two slots of 2 KiB each, of 1 MiB");
        assert_eq!(map(), Err(DmaError::NoMemory));
        // SAFETY: the test's own memory, which it leaves alone meanwhile.
        unsafe { dma_unmap_single(&device, mapped[100], 3000, ToDevice) };
        assert_eq!(map(), Ok(mapped[100]));
        // SAFETY: the test's own memory, which it leaves alone meanwhile.
        mapped.iter().for_each(|&at| unsafe { dma_unmap_single(&device, at, 3000, ToDevice) });
        // A large one gives all of its slots back.
        let large = alloc_pages(Gfp::GFP_KERNEL, Order::new(3).unwrap()).unwrap();
        let all = || {
            // SAFETY: the test's own memory, which it leaves alone meanwhile.
            let map = || unsafe { dma_map_page(&device, large, 0, 8 * PAGE_SIZE, ToDevice) };
            let mapped: Vec<_> = core::iter::from_fn(|| map().ok()).collect();
            // SAFETY: the test's own memory, which it leaves alone meanwhile.
            let unmap = |&at: &_| unsafe { dma_unmap_single(&device, at, 8 * PAGE_SIZE, ToDevice) };
            mapped.iter().for_each(unmap);
            mapped.len()
        };
        // The first search may begin in the midst of a large one's slots.
        let (first, again) = (all(), all());
        assert!(first >= 31 && again >= first, "{first} of 16 slots each, then {again}");
        // SAFETY: allocated here, and nobody uses it any more.
        unsafe { free_pages(large, Order::new(3).unwrap()) };
        assert!(swiotlb_exit());
    });
}

fn mapped(f: impl FnOnce(DmaAddr)) {
    linear_machine(1024, |_| {
        set_dma_debug(true);
        // SAFETY: the test's own memory, which it leaves alone meanwhile.
        f(unsafe { dma_map_page(&ANY, page(), 0, 128, ToDevice) }.unwrap());
    });
}

#[test]
#[should_panic(expected = "disk: nothing is mapped at 0x40")]
fn an_unmap_of_what_is_not_mapped_is_caught() {
    mapped(|at| {
        // SAFETY: the test's own memory, which it leaves alone meanwhile.
        unsafe { dma_unmap_single(&ANY, at, 128, ToDevice) };
        // SAFETY: the test's own memory, which it leaves alone meanwhile.
        unsafe { dma_unmap_single(&ANY, at, 128, ToDevice) };
    });
}

#[test]
#[should_panic(expected = "disk: 64 bytes ToDevice are unmapped at")]
fn an_unmap_of_another_size_is_caught() {
    // SAFETY: the test's own memory, which it leaves alone meanwhile.
    mapped(|at| unsafe { dma_unmap_single(&ANY, at, 64, ToDevice) });
}

#[test]
#[should_panic(expected = "where 128 bytes ToDevice were mapped by src")]
fn an_unmap_in_another_direction_is_caught() {
    // SAFETY: the test's own memory, which it leaves alone meanwhile.
    mapped(|at| unsafe { dma_unmap_single(&ANY, at, 128, FromDevice) });
}

#[test]
#[should_panic(expected = "disk: 1 bytes ToDevice are synced at")]
fn a_sync_beyond_the_mapping_is_caught() {
    // SAFETY: the test's own memory, which it leaves alone meanwhile.
    mapped(|at| unsafe {
        dma_sync_single_for_cpu(&ANY, DmaAddr::new(at.get() + 128), 1, ToDevice)
    });
}

#[test]
#[should_panic(expected = "disk: 128 bytes FromDevice are synced at")]
fn a_sync_in_another_direction_is_caught() {
    // SAFETY: mapped so; it panics before a byte is touched.
    mapped(|at| unsafe { dma_sync_single_for_cpu(&ANY, at, 128, FromDevice) });
}

/// Runs `f` on a machine whose tables hold the linear map, as on a real machine.
fn linear_machine(kib: u64, f: impl FnOnce(&Machine)) {
    machine(kib, |m| {
        for ram in m.ram() {
            let va = layout::LINEAR.start() + ram.start().get() as usize;
            let va = VirtRange::from_size(va, ram.len() as usize);
            init_mm::testing::map_range(va, ram.start(), KernelAttrs::KERNEL, MapFlags::empty())
                .unwrap();
        }
        f(m);
    });
}

#[test]
fn coherent_memory_has_one_memory_type() {
    linear_machine(8192, |m| {
        let cpus = [CpuId::BOOT, CpuId::new(1).unwrap()];
        let stray = page();
        bytes(part(stray, 0, 4096)).fill(0xee);
        // SAFETY: allocated here, and nobody uses it any more.
        unsafe { free_pages(stray, Order::ZERO) };
        let used = used_pages();
        let mut tables = 0;
        for round in 0..2 {
            let memory = dma_alloc_coherent(&ANY, 3 * PAGE_SIZE - 5, Gfp::GFP_KERNEL).unwrap();
            assert_eq!(memory.phys().len(), 3 * PAGE_SIZE as u64);
            assert_eq!(memory.dma_addr().get(), memory.phys().start().get());
            for n in 0..3 {
                let entry = init_mm::translate(memory.virt() + n * PAGE_SIZE).unwrap();
                assert_eq!(entry.1.memory(), MemoryType::NormalNc);
                assert_eq!(entry.0, memory.phys().start() + (n * PAGE_SIZE) as u64);
                let linear = layout::LINEAR.start() + entry.0.get() as usize;
                assert_eq!(init_mm::translate(linear), None, "a cacheable address");
            }
            assert!(!may_hold(memory.phys()), "a line was fetched ahead before it was hidden");
            // Reading it for a dump would go through the linear map.
            assert_eq!(crate::mm::vmalloc::tests::vread(memory.virt(), &mut [1; 64]), 0);
            // The zeros are in memory, where the device finds them.
            let at = memory.dma_addr();
            assert!(device_reads(&ANY, at, 3 * PAGE_SIZE).iter().all(|&byte| byte == 0));
            let linear = layout::LINEAR.start() + memory.phys().start().get() as usize;
            let virt = memory.virt();
            for cpu in cpus {
                assert!(m.mmu().access_by(cpu, virt, Access::Write).is_ok());
            }
            dma_free_coherent(memory);
            assert!(init_mm::translate(linear).is_some());
            for cpu in cpus {
                let access = m.mmu().access_by(cpu, virt, Access::Read);
                assert!(access.is_err(), "{cpu:?} has the memory as it was for the device");
            }
            crate::mm::vmalloc::shrink();
            // The tables of the split linear map stay.
            let left = used_pages() - used;
            assert!(round == 0 || left == tables, "{left} pages are lost");
            tables = left;
        }
        let snooping = DmaDevice { coherent: true, ..ANY };
        let memory = dma_alloc_coherent(&snooping, 100, Gfp::GFP_KERNEL).unwrap();
        assert_eq!(memory.virt(), phys_to_virt(memory.phys().start()));
        dma_free_coherent(memory);
        let nothing = DmaDevice { mask: 0xfff, ..ANY };
        let refused = dma_alloc_coherent(&nothing, 1, Gfp::GFP_KERNEL);
        assert_eq!(refused.unwrap_err(), DmaError::OutOfReach);
        assert_eq!(dma_alloc_coherent(&ANY, 0, Gfp::GFP_KERNEL).unwrap_err(), DmaError::Invalid);
        let refused = dma_alloc_coherent(&ANY, 1 << 40, Gfp::GFP_KERNEL | Gfp::__GFP_NOWARN);
        assert_eq!(refused.unwrap_err(), DmaError::NoMemory);
        assert_eq!(used_pages() - used, tables);
    });
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 1 } else { 40 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]
    /// Any part of two pages, near or far, any direction, in turns: each side finds what the
    /// other wrote last, and all around it stays as it was.
    #[test]
    fn both_sides_see_each_others_bytes(
        ops in prop::collection::vec(
            (0u64..8000, 1u64..6000, 0u8..3, any::<bool>(), any::<bool>(), any::<u8>()), 1..25)
    ) {
        linear_machine(8192, |_| {
            let order = Order::new(1).unwrap();
            let devices = [ANY, narrow()];
            let frames = [0; 2].map(|_| alloc_pages(Gfp::GFP_KERNEL, order).unwrap());
            let mut model = [[0u8; 8192]; 2];
            for frame in frames {
                bytes(part(frame, 0, 8192)).fill(0);
            }
            for (offset, len, direction, is_far, coherent, value) in ops {
                let len = len.min(8192 - offset) as usize;
                let (frame, model) = (frames[usize::from(is_far)], &mut model[usize::from(is_far)]);
                let device = DmaDevice { coherent, ..devices[usize::from(is_far)] };
                let direction = [ToDevice, FromDevice, Bidirectional][usize::from(direction)];
                let (own, start) = (part(frame, offset, len as u64), offset as usize);
                bytes(own).fill(value);
                model[start..start + len].fill(value);
                // SAFETY: the test's own memory, which it leaves alone meanwhile.
                let at = unsafe { dma_map_page(&device, frame, start, len, direction) }.unwrap();
                if direction != FromDevice {
                    assert_eq!(device_reads(&device, at, len), vec![value; len]);
                }
                // Who does not own the bytes writes beside them.
                if start > 0 {
                    bytes(part(frame, offset - 1, 1)).fill(value ^ 3);
                    model[start - 1] = value ^ 3;
                }
                if direction != ToDevice {
                    device_writes(&device, at, &vec![!value; len]);
                    model[start..start + len].fill(!value);
                    // SAFETY: the test's own memory, which it leaves alone meanwhile.
                    unsafe { dma_sync_single_for_cpu(&device, at, len, direction) };
                    assert_eq!(bytes(own), vec![!value; len]);
                    // SAFETY: the test's own memory, which it leaves alone meanwhile.
                    unsafe { dma_sync_single_for_device(&device, at, len, direction) };
                    let half = len.div_ceil(2);
                    device_writes(&device, at, &vec![value ^ 1; half]);
                    model[start..start + half].fill(value ^ 1);
                }
                // SAFETY: the test's own memory, which it leaves alone meanwhile.
                unsafe { dma_unmap_single(&device, at, len, direction) };
                assert_eq!(bytes(part(frame, 0, 8192)), &model[..]);
            }
            assert_eq!(live_mappings(), 0);
        });
    }
}

/// Bytes that a mapping borrows go to the device and come back, bounced or not.
#[test]
fn a_mapping_borrows_bytes_while_they_are_the_device_s() {
    linear_machine(8192, |_| {
        let narrow = narrow();
        let mut page = OwnedPage::alloc(Gfp::GFP_KERNEL).unwrap();
        for (start, len) in [(0, 4096), (512, 1024), (3, 70)] {
            for device in [ANY, narrow, DmaDevice { coherent: true, ..ANY }] {
                page.bytes_mut().fill(1);
                let bytes = &mut page.bytes_mut()[start..start + len];
                bytes.fill(2);
                let mapping = DmaMapping::to_device(&device, bytes).unwrap();
                assert_eq!((mapping.len(), mapping.direction()), (len, ToDevice));
                assert_eq!(device_reads(&device, mapping.dma_addr(), len), vec![2; len]);
                drop(mapping);

                let mut mapping = DmaMapping::bidirectional(&device, bytes).unwrap();
                let at = mapping.dma_addr();
                device_writes(&device, at, &vec![3; len]);
                let mut lent = mapping.for_cpu();
                assert_eq!(lent.bytes(), vec![3; len]);
                lent.bytes_mut().unwrap().fill(4);
                drop(lent);
                assert_eq!(device_reads(&device, at, len), vec![4; len]);
                device_writes(&device, at, &vec![5; len]);
                drop(mapping);
                assert_eq!(bytes, vec![5; len]);

                let mut mapping = DmaMapping::from_device(&device, bytes).unwrap();
                device_writes(&device, mapping.dma_addr(), &vec![6; len]);
                assert_eq!(mapping.for_cpu().bytes(), vec![6; len]);
                drop(mapping);
                assert_eq!(bytes, vec![6; len]);
                let around = page.bytes()[..start].iter().chain(&page.bytes()[start + len..]);
                assert!(around.copied().all(|byte| byte == 1), "a neighbour is changed");
            }
        }
        assert_eq!(live_mappings(), 0);
    });
}

#[test]
fn a_mapping_gives_what_is_read_alone_to_nobody_to_write() {
    linear_machine(1024, |_| {
        let page = OwnedPage::alloc(Gfp::GFP_KERNEL).unwrap();
        let mut mapping = DmaMapping::to_device(&ANY, page.bytes()).unwrap();
        assert!(mapping.for_cpu().bytes_mut().is_none());
    });
}

/// A stack, a static and an empty piece are no memory for a device.
#[test]
fn a_mapping_is_of_the_linear_map() {
    linear_machine(1024, |_| {
        let mut page = OwnedPage::alloc(Gfp::GFP_KERNEL).unwrap();
        let mut stack = [0; 64];
        let refused = |result: Result<DmaMapping<'_>, DmaError>| match result {
            Ok(mapping) => panic!("{mapping:?}"),
            Err(error) => assert_eq!(error, DmaError::Invalid),
        };
        refused(DmaMapping::to_device(&ANY, &stack));
        refused(DmaMapping::from_device(&ANY, &mut stack));
        refused(DmaMapping::to_device(&ANY, b"of the image"));
        refused(DmaMapping::from_device(&ANY, &mut page.bytes_mut()[..0]));
    });
}
