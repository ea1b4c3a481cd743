//! DMA on the emulated machine, whose cache writes back when it hurts.

mod bounce;
mod cma;
mod coherent;
mod misuse;
mod owned;
mod pool;
mod reserved_mem;

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

/// Runs `f` on a machine of two nodes; it unmaps what it maps.
fn on_two_nodes(f: impl FnOnce()) {
    crate::mm::tests::two_nodes::on_two_nodes(|| {
        f();
        assert_eq!(live_mappings(), 0);
    });
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
