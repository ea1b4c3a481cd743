//! vmalloc, vmap and the kernel's page tables on the running kernel, with the MMU asked.

#![no_std]
#![no_main]

extern crate alloc;

mod harness;
#[path = "harness/mmu.rs"]
mod mmu;

use alloc::vec::Vec;
use granule::addr::{Order, PAGE_SIZE, VirtAddr};
use granule::arch::irq::with_masked;
use granule::arch::pgtable::KernelAttrs;
use granule::mm::alloc_pages::alloc_pages;
use granule::mm::gfp::Gfp;
use granule::mm::page_alloc::free_pages;
use granule::mm::set_memory::set_memory_valid;
use granule::mm::vmalloc::{
    self, VmArea, is_vmalloc_addr, validate, vm_unmap_aliases, vmalloc, vmalloc_size,
    vmalloc_to_page,
};
use harness::Random;

fn words(at: VirtAddr, bytes: usize) -> &'static mut [u64] {
    let ptr = core::ptr::with_exposed_provenance_mut(at.get());
    // SAFETY: the caller has mapped as much there and uses it by one slice at a time.
    unsafe { core::slice::from_raw_parts_mut(ptr, bytes / 8) }
}

kernel_tests! {
    fn a_vector_may_be_larger_than_any_block() {
        let mut numbers: Vec<u64> = Vec::new();
        // From kmalloc's classes through blocks of pages to vmalloc, and on within it.
        for n in 0..(24 << 20) / 8 {
            numbers.push(n);
        }
        assert!(is_vmalloc_addr(VirtAddr::from_ptr(numbers.as_ptr())));
        assert!((0..).zip(&numbers).all(|(n, &number)| n == number));
        numbers.truncate(1000);
        numbers.shrink_to_fit();
        assert!(!is_vmalloc_addr(VirtAddr::from_ptr(numbers.as_ptr())));
        assert!((0..).zip(&numbers).all(|(n, &number)| n == number));
        let zeros = alloc::vec![0u8; 9 << 20];
        assert!(zeros.iter().all(|&byte| byte == 0));
        // With interrupts masked it is an error, and nothing is lost.
        let masked = with_masked(|_| Vec::<u8>::new().try_reserve_exact(9 << 20).is_err());
        assert!(masked);
    }

    fn an_area_is_mapped_page_by_page_and_guarded() {
        let pages = 5;
        let area = VmArea::vmalloc(pages * PAGE_SIZE, Gfp::GFP_KERNEL).expect("memory");
        let at = area.virt();
        assert!(is_vmalloc_addr(at));
        for n in 0..pages {
            let page = at + n * PAGE_SIZE;
            let frame = vmalloc_to_page(page).expect("mapped");
            assert_eq!(mmu::read_at(page), Some(frame.phys()));
            assert_eq!(mmu::write_at(page), Some(frame.phys()));
            words(page, PAGE_SIZE).fill(n as u64);
            // The same bytes through the linear map.
            assert!(words(frame.virt(), PAGE_SIZE).iter().all(|&word| word == n as u64));
        }
        assert_eq!(mmu::read_at(at + pages * PAGE_SIZE), None, "no guard page");
    }

    fn a_freed_area_is_gone() {
        let area = VmArea::vmalloc(3 * PAGE_SIZE, Gfp::GFP_KERNEL).expect("memory");
        let at = area.virt();
        words(at, PAGE_SIZE)[0] = 1;
        drop(area);
        vm_unmap_aliases();
        for n in 0..3 {
            assert_eq!(mmu::read_at(at + n * PAGE_SIZE), None, "page {n} is still mapped");
            assert!(vmalloc_to_page(at + n * PAGE_SIZE).is_none());
        }
    }

    fn zeroed_areas_are_zero() {
        let dirty = VmArea::vmalloc(16 * PAGE_SIZE, Gfp::GFP_KERNEL).expect("memory");
        words(dirty.virt(), 16 * PAGE_SIZE).fill(!0);
        drop(dirty);
        vm_unmap_aliases();
        let clean = VmArea::vzalloc(16 * PAGE_SIZE, Gfp::GFP_KERNEL).expect("memory");
        assert!(words(clean.virt(), 16 * PAGE_SIZE).iter().all(|&word| word == 0));
    }

    /// The area changes in place as far as its pages reach, and is copied with the same bytes
    /// beyond that.
    fn an_area_grows_and_shrinks() {
        let bytes = |at: VirtAddr, len: usize| {
            let at = core::ptr::with_exposed_provenance_mut::<u8>(at.get());
            // SAFETY: of an area of this test's, and the slice is not kept.
            unsafe { core::slice::from_raw_parts_mut(at, len) }
        };
        let gfp = Gfp::GFP_KERNEL | Gfp::__GFP_ZERO;
        // SAFETY: the area is this test's, here and below, which uses what it got last.
        let to = |at, size| unsafe { vmalloc::vrealloc(at, size, gfp) };
        let at = to(VirtAddr::new(0), 3 * PAGE_SIZE - 100).expect("memory");
        bytes(at, 3 * PAGE_SIZE - 100).fill(7);
        assert_eq!(to(at, 3 * PAGE_SIZE), Some(at));
        assert_eq!(bytes(at, 3 * PAGE_SIZE)[3 * PAGE_SIZE - 101..3 * PAGE_SIZE - 99], [7, 0]);
        bytes(at, 3 * PAGE_SIZE).fill(9);
        assert_eq!(to(at, 50), Some(at));
        assert_eq!(to(at, 2 * PAGE_SIZE), Some(at));
        assert_eq!(bytes(at, PAGE_SIZE)[49..51], [9, 0], "what was given up comes back as zeros");
        let other = to(at, 40 * PAGE_SIZE).expect("memory");
        assert_ne!(other, at);
        assert_eq!(vmalloc_size(at), None);
        assert_eq!(bytes(other, 40 * PAGE_SIZE)[..51], [[9; 50].as_slice(), &[0]].concat()[..]);
        assert!(bytes(other, 40 * PAGE_SIZE)[3 * PAGE_SIZE..].iter().all(|byte| *byte == 0));
        assert_eq!(to(other, usize::MAX / 2), None, "and the area stays");
        assert_eq!(vmalloc_size(other), Some(40 * PAGE_SIZE));
        assert_eq!(to(other, 0), Some(VirtAddr::new(0)));
        assert_eq!(vmalloc_size(other), None);
    }

    /// A page that the linear map hides, and one that it never had: a read of either would fault.
    fn vread_passes_over_what_cannot_be_read() {
        let area = VmArea::vzalloc(2 * PAGE_SIZE, Gfp::GFP_KERNEL).expect("memory");
        let at = area.virt();
        let alias = vmalloc_to_page(at).expect("mapped").virt();
        let mut buffer = [1; 16];
        // SAFETY: nobody writes to the area meanwhile.
        let mut read = |at| (unsafe { vmalloc::vread(at, &mut buffer) }, buffer);
        assert_eq!(read(at), (16, [0; 16]));
        // SAFETY: the page is reached by its other address alone.
        unsafe { set_memory_valid(alias, 1, false) }.expect("a page");
        assert_eq!(read(at + PAGE_SIZE - 8), (8, [0; 16]));
        // SAFETY: as above.
        unsafe { set_memory_valid(alias, 1, true) }.expect("a page");
        assert_eq!(read(at), (16, [0; 16]));
    }

    fn what_cannot_be_is_refused() {
        assert_eq!(vmalloc(0, Gfp::GFP_KERNEL), None);
        assert_eq!(vmalloc(usize::MAX, Gfp::GFP_KERNEL), None);
        assert_eq!(vmalloc(1 << 45, Gfp::GFP_KERNEL | Gfp::__GFP_NOWARN), None);
    }

    fn frames_can_be_mapped_again_read_only() {
        let frames: Vec<_> =
            (0..4).map(|_| alloc_pages(Gfp::GFP_KERNEL, Order::ZERO).expect("memory")).collect();
        for (n, frame) in frames.iter().enumerate() {
            words(frame.virt(), PAGE_SIZE).fill(n as u64 + 7);
        }
        let area = VmArea::vmap(&frames, KernelAttrs::KERNEL_RO).expect("memory");
        for (n, frame) in frames.iter().enumerate() {
            let page = area.virt() + n * PAGE_SIZE;
            assert_eq!(mmu::read_at(page), Some(frame.phys()));
            assert_eq!(mmu::write_at(page), None, "read-only is writable");
            assert!(words(page, PAGE_SIZE).iter().all(|&word| word == n as u64 + 7));
        }
        drop(area);
        for frame in frames {
            // SAFETY: allocated here, and nobody uses it any more.
            unsafe { free_pages(frame, Order::ZERO) };
        }
    }

    fn large_areas_need_no_contiguous_memory() {
        let bytes = 64 << 20;
        let area = VmArea::vmalloc(bytes, Gfp::GFP_KERNEL).expect("memory");
        let at = area.virt();
        for offset in (0..bytes).step_by(PAGE_SIZE) {
            words(at + offset, 8)[0] = offset as u64;
        }
        for offset in (0..bytes).step_by(PAGE_SIZE) {
            assert_eq!(words(at + offset, 8)[0], offset as u64);
        }
    }

    fn random_areas_keep_apart() {
        let mut random = Random::new(3);
        let mut areas: Vec<(VmArea, u64)> = Vec::new();
        for step in 0..2000u64 {
            if areas.len() < 60 && random.below(2) == 0 {
                let bytes = (1 + random.below(12)) * PAGE_SIZE;
                let area = VmArea::vmalloc(bytes, Gfp::GFP_KERNEL).expect("memory");
                for offset in (0..bytes).step_by(PAGE_SIZE) {
                    words(area.virt() + offset, 8)[0] = step;
                }
                areas.push((area, step));
            } else if !areas.is_empty() {
                let (area, mark) = areas.swap_remove(random.below(areas.len()));
                for offset in (0..area.size()).step_by(PAGE_SIZE) {
                    assert_eq!(words(area.virt() + offset, 8)[0], mark, "{area:?} was overwritten");
                }
            }
            if step % 200 == 0 {
                validate();
            }
        }
    }

    fn exhaustion_is_an_answer() {
        let gfp = Gfp::GFP_KERNEL | Gfp::__GFP_NORETRY | Gfp::__GFP_NOWARN;
        let mut areas = Vec::new();
        for _ in 0..10_000 {
            match VmArea::vmalloc(16 << 20, gfp) {
                Some(area) => areas.push(area),
                None => break,
            }
        }
        let n = areas.len();
        drop(areas);
        assert!((1..10_000).contains(&n), "{n} areas of 16 MiB");
        drop(VmArea::vmalloc(16 << 20, Gfp::GFP_KERNEL).expect("it is there again"));
    }
}
