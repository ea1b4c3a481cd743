//! Device mappings: attributes, offsets, what is refused, what comes back.

use super::*;
use crate::arch::hosted::Machine;
use crate::mm::init_mm;
use crate::mm::mmzone::NodeId;
use crate::mm::page_alloc::ZoneLimits;
use crate::mm::sparse;
use crate::mm::vmalloc::tests::{machine, used_pages};
use std::format;

const UART: PhysAddr = PhysAddr::new(0x0900_0000);
const RAM: PhysAddr = PhysAddr::new(0x4000_0000);

#[test]
fn ioremap_maps_each_type_and_keeps_the_offset() {
    machine(1024, |_| {
        let before = used_pages();
        let far = PhysAddr::new(0x80_0000_0000);
        let a = ioremap(UART + 0x18, 0x1000).unwrap();
        let b = ioremap_wc(far, 3 << 20).unwrap();
        let c = ioremap_cache(PhysAddr::new(0x0100_0000), 1).unwrap();
        assert_eq!(a.virt().page_offset(), 0x18);
        assert_eq!((a.phys().len(), a.io_type()), (0x1000, IoType::Device));
        // The last byte asked for lies on a second page.
        let device = Some((UART + 0x1017, KernelAttrs::DEVICE));
        assert_eq!(init_mm::translate(a.virt() + 0xfff), device);
        let last = Some((far + (3 << 20) - 1, KernelAttrs::NORMAL_NC));
        assert_eq!(init_mm::translate(b.virt() + (3 << 20) - 1), last);
        assert_eq!(init_mm::translate(b.virt() + (3 << 20)), None, "the guard page");
        assert_eq!(init_mm::translate(c.virt()).unwrap().1, KernelAttrs::KERNEL);
        vmalloc::validate();
        let info: std::vec::Vec<_> = vmalloc::vmallocinfo().collect();
        assert!(format!("{}", info[0]).ends_with("phys=0x0000000009000000 ioremap"));
        assert!(format!("{}", info[0]).contains("ioremap/tests.rs"));
        iounmap(a);
        drop((b, c));
        vmalloc::shrink();
        assert_eq!(vmalloc::vmallocinfo().count(), 0);
        assert_eq!(used_pages(), before);
    });
}

#[test]
#[expect(unsafe_code, reason = "starts the page allocator with some RAM reserved")]
fn ioremap_refuses_ram_but_not_what_is_reserved() {
    let ram = PhysRange::from_size(RAM, 4 << 20);
    let reserved = PhysRange::from_size(RAM + (1 << 20), 0x2000);
    Machine::run(&[ram], |_| {
        let before = PhysRange::new(RAM, reserved.start()).whole_pages();
        let after = PhysRange::new(reserved.end(), ram.end()).whole_pages();
        let present = [(NodeId::FIRST, ram.whole_pages())].into_iter();
        // SAFETY: all RAM of a hosted machine is mapped, and fresh.
        unsafe {
            page_alloc::free_area_init(
                ZoneLimits::default(),
                present,
                [before, after].into_iter(),
                sparse::Populate::Mapped,
            )
        }
        .unwrap();
        init_mm::install(init_mm::new_root().unwrap());
        let ram_in_it = [
            (RAM - 4096, ram.len()),
            (reserved.end(), 1),
            (ram.end() - 1, 2),
            (PhysAddr::new(0), 1 << 40),
            (reserved.start(), reserved.len() + 1),
            (reserved.start() - 1, 1),
        ];
        for (phys, size) in ram_in_it {
            assert_eq!(ioremap(phys, size).err(), Some(IoremapError::Ram), "{phys} {size:#x}");
        }
        let fine = [(RAM - 4096, 4096), (ram.end(), 1), (reserved.start(), reserved.len())];
        for (phys, size) in fine {
            assert!(ioremap_cache(phys, size).is_ok(), "{phys} {size:#x}");
        }
    });
}

#[test]
fn ioremap_refuses_what_the_linear_map_has() {
    machine(1024, |_| {
        // As the image's memory is: the page allocator knows nothing of it.
        let image = PhysRange::from_size(PhysAddr::new(0x1_4000_0000), 0x5000);
        let linear = VirtRange::from_size(
            layout::LINEAR.start() + image.start().get() as usize,
            image.len() as usize,
        );
        let flags = crate::arch::pgtable::MapFlags::empty();
        init_mm::testing::map_range(linear, image.start(), KernelAttrs::KERNEL, flags).unwrap();
        for (phys, size) in [(image.start(), 1), (image.end() - 1, 1), (UART, 1 << 33)] {
            assert_eq!(ioremap(phys, size).err(), Some(IoremapError::Ram), "{phys} {size:#x}");
        }
        assert!(ioremap(image.start() - 4096, 4096).is_ok());
        assert!(ioremap(image.end(), 4096).is_ok());
    });
}

#[test]
fn ioremap_refuses_nonsense() {
    machine(1024, |_| {
        let top = PhysAddr::new(1 << 48);
        let cases = [(UART, 0), (top, 1), (top - 1, 2), (PhysAddr::new(u64::MAX), 1), (UART, !0)];
        for (phys, size) in cases {
            assert_eq!(ioremap(phys, size).err(), Some(IoremapError::Invalid), "{phys} {size:#x}");
        }
        assert!(ioremap(top - 1, 1).is_ok());
    });
}

#[test]
fn ioremap_refuses_a_second_memory_type() {
    machine(1024, |_| {
        let a = ioremap(UART, 0x3000).unwrap();
        let same = ioremap(UART + 0x1000, 0x1000).unwrap();
        let conflict = Some(IoremapError::Conflict);
        assert_eq!(ioremap_wc(UART + 0x2fff, 1).err(), conflict);
        assert_eq!(ioremap_cache(UART - 0x1000, 0x1001).err(), conflict);
        let beside = ioremap_wc(UART + 0x3000, 0x1000).unwrap();
        drop(a);
        // The smaller mapping holds its page yet.
        assert_eq!(ioremap_wc(UART + 0x1000, 1).err(), conflict);
        let now_free = ioremap_wc(UART, 0x1000).unwrap();
        drop((same, beside, now_free));
        let other = ioremap_cache(UART, 0x4000).unwrap();
        vmalloc::validate();
        drop(other);
    });
}

#[test]
fn a_type_is_held_until_no_tlb_can_have_it() {
    machine(1024, |_| {
        drop(ioremap(UART, 1).unwrap());
        assert_ne!(vmalloc::vmalloc_stat().lazy, 0);
        let range = PhysRange::from_size(UART, 0x1000);
        let refused = Reservation::new(range, IoType::WriteCombining, Gfp::GFP_KERNEL);
        assert_eq!(refused.err(), Some(ReserveError::Conflict));
        // ioremap itself flushes what is unmapped, and succeeds.
        assert!(ioremap_wc(UART, 1).is_ok());
    });
}

/// A second mapping of the same range may take the claim of one that waits for its flush; the
/// type is held until that is done and the new mapping has ended as well.
#[test]
fn a_claim_that_waits_serves_the_next_mapping() {
    machine(1024, |_| {
        drop(ioremap(UART, 0x1000).unwrap());
        vmalloc::vm_unmap_aliases();
        let conflict = Some(IoremapError::Conflict);
        for _ in 0..3 {
            // One waits; of those that follow the first has its claim.
            drop(ioremap(UART, 0x1000).unwrap());
            let (a, b) = (ioremap(UART, 0x1000).unwrap(), ioremap(UART, 0x1000).unwrap());
            vmalloc::vm_unmap_aliases();
            drop(a);
            assert_eq!(ioremap_wc(UART, 1).err(), conflict, "the second claims it");
            drop(b);
            // Neither another type nor a longer range is what waits.
            assert!(ioremap(UART, 0x2000).is_ok());
            assert!(ioremap_wc(UART, 0x1000).is_ok());
            vmalloc::validate();
            vmalloc::shrink();
            assert_eq!(vmalloc::vmalloc_stat(), Default::default());
            drop(ioremap_cache(UART, 0x1000).unwrap());
            vmalloc::vm_unmap_aliases();
        }
    });
}

/// A claim that waits is for its own addresses and type: who maps others has one of those.
#[test]
fn a_claim_that_waits_serves_no_other_mapping() {
    machine(1024, |_| {
        let conflict = Some(IoremapError::Conflict);
        // So that there are addresses in the pool for what follows.
        let mapped = [0, 1, 2, 3].map(|n| ioremap(UART + (n << 12), 1).unwrap());
        drop(mapped);
        vmalloc::vm_unmap_aliases();
        let other = UART + 0x10_0000;
        for _ in 0..2 {
            let pooled = [ioremap(UART, 1).unwrap(), ioremap(UART, 1).unwrap()];
            drop(pooled);
            let elsewhere = ioremap(other, 1).unwrap();
            assert_eq!(ioremap_cache(other, 1).err(), conflict);
            drop(elsewhere);
            drop(ioremap(UART, 1).unwrap());
            let combined = ioremap_wc(UART, 1).unwrap();
            assert_eq!(ioremap(UART, 1).err(), conflict);
            drop(combined);
            drop(ioremap(UART, 1).unwrap());
            vmalloc::validate();
        }
    });
}

/// A purge ends the claims of all mappings that waited for it, and of no others.
#[test]
fn a_purge_ends_claims_one_for_one() {
    machine(1024, |_| {
        let other = UART + 0x10_0000;
        let kept = ioremap(other, 1).unwrap();
        let mapped = [UART, UART, other, UART, other].map(|at| ioremap(at, 1).unwrap());
        drop(mapped);
        vmalloc::vm_unmap_aliases();
        assert_eq!(ioremap_wc(other, 1).err(), Some(IoremapError::Conflict));
        drop(ioremap_wc(UART, 1).unwrap());
        drop(kept);
        vmalloc::vm_unmap_aliases();
        drop(ioremap_cache(other, 1).unwrap());
        vmalloc::validate();
    });
}
