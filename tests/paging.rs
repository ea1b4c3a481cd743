//! The kernel's own mappings, as the tables say and as the MMU sees them.

#![no_std]
#![no_main]

mod harness;
#[path = "harness/mmu.rs"]
mod mmu;
#[path = "harness/sequences.rs"]
mod sequences;

use core::hint::black_box;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use granule::addr::{Order, PAGE_SIZE, PhysAddr, VirtAddr, VirtRange};
use granule::arch::NR_CPUS;
use granule::arch::layout;
use granule::arch::pgtable::{KernelAttrs, MapError, Permission};
use granule::arch::{extable, image, smp};
use granule::init::secondary::on_each;
use granule::mm::alloc_pages::alloc_pages;
use granule::mm::gfp::Gfp;
use granule::mm::init_mm;
use granule::mm::ioremap::{ioremap, iounmap};
use granule::mm::page_alloc::free_pages;

fn pages(range: VirtRange) -> impl Iterator<Item = VirtAddr> {
    (range.start().get()..range.end().get()).step_by(PAGE_SIZE).map(VirtAddr::new)
}

/// A place in the vmalloc range far from all areas.
const FREE: VirtAddr = VirtAddr::new(layout::VMALLOC.end().get() - (1 << 30));

/// SCTLR_EL1 of each CPU.
static SCTLR: [AtomicU64; NR_CPUS] = [const { AtomicU64::new(0) }; NR_CPUS];

kernel_tests! {
    /// SCTLR_EL1.WXN: what may be written is not executable, whatever a descriptor says.
    fn no_cpu_runs_what_can_be_written() {
        on_each(|cpu| {
            let sctlr: u64;
            // SAFETY: reads a register.
            unsafe { core::arch::asm!("mrs {}, sctlr_el1", out(reg) sctlr) };
            SCTLR[cpu.index()].store(sctlr, Relaxed);
        });
        for cpu in smp::online() {
            let sctlr = SCTLR[cpu.index()].load(Relaxed);
            assert!(sctlr & 1 << 19 != 0, "CPU {}: {sctlr:#x}", cpu.index());
        }
    }

    fn text_is_executable_and_never_writable() {
        for page in pages(image::text()) {
            assert_eq!(mmu::read_at(page), Some(image::phys(page)));
            assert_eq!(mmu::write_at(page), None, "text at {page:?} is writable");
            let (_, attrs) = init_mm::translate(page).expect("mapped");
            assert_eq!(attrs.permission(), Permission::Rx);
        }
    }

    fn a_probe_tells_what_answers() {
        static WORD: u32 = 0x6d61_7065;
        let read = |at: VirtAddr| {
            // SAFETY: memory, nothing, or a place where virt has no device.
            unsafe { extable::probe_read32(at) }
        };
        let word = VirtAddr::from_ptr(&raw const WORD);
        assert_eq!(read(word), Some(WORD));
        assert_eq!(read(word + 1), None, "misaligned");
        assert_eq!(read(FREE), None, "nothing is mapped there");
        let registers = ioremap(PhysAddr::new(0x0f00_0000), 4).expect("addresses");
        assert_eq!(read(registers.virt()), None, "there is no such device");
        iounmap(registers);
        assert_eq!(read(word), Some(WORD));
    }

    fn constants_are_neither() {
        for page in pages(image::rodata()) {
            assert!(mmu::read_at(page).is_some());
            assert_eq!(mmu::write_at(page), None, "a constant at {page:?} is writable");
            let (_, attrs) = init_mm::translate(page).expect("mapped");
            assert_eq!(attrs.permission(), Permission::Ro);
        }
    }

    fn data_is_never_executable() {
        for page in pages(image::data()) {
            if [image::boot_stack_guard(), image::emergency_stack_guard()].iter().any(|g| g.contains(page)) {
                assert_eq!(mmu::read_at(page), None, "the stack has no guard page");
                continue;
            }
            let Some((_, attrs)) = init_mm::translate(page) else { continue };
            assert_ne!(attrs.permission(), Permission::Rx);
        }
    }

    fn the_image_is_not_writable_through_the_linear_map() {
        for page in pages(VirtRange::new(image::text().start(), image::rodata().end())) {
            let alias = granule::arch::phys_to_virt(image::phys(page));
            assert_eq!(mmu::write_at(alias), None, "{page:?} is writable at {alias:?}");
        }
    }

    fn the_lower_half_is_empty() {
        for address in [0, 0x1000, 0x0900_0000, 0x4000_0000, 0x4020_0000] {
            assert_eq!(mmu::read_at(VirtAddr::new(address)), None, "{address:#x} is mapped");
        }
    }

    // Their instructions are looked at from without: scripts/tests/disassembly.
    fn barriers_and_maintenance_are_harmless() {
        let frame = alloc_pages(Gfp::GFP_KERNEL | Gfp::__GFP_ZERO, Order::ZERO).expect("memory");
        let subject = sequences::Subject { frame: frame.phys(), va: FREE };
        for pin in black_box(sequences::PINS) {
            pin(&subject);
        }
        // SAFETY: allocated here, and nobody uses it any more.
        unsafe { free_pages(frame, Order::ZERO) };
    }

    fn a_page_goes_through_all_its_states() {
        let frame = alloc_pages(Gfp::GFP_KERNEL | Gfp::__GFP_ZERO, Order::ZERO).expect("memory");
        let range = VirtRange::from_size(FREE, PAGE_SIZE);
        assert_eq!(mmu::read_at(FREE), None);
        // SAFETY: addresses of no region, and a page of this test's, here and below.
        let map = || unsafe {
            init_mm::map_pages(FREE, [frame.phys()].into_iter(), KernelAttrs::KERNEL)
        };
        map().expect("free");
        assert_eq!(mmu::write_at(FREE), Some(frame.phys()));
        assert_eq!(map(), Err(MapError::AlreadyMapped));
        // SAFETY: as above.
        unsafe { init_mm::protect(range, KernelAttrs::KERNEL_RO) }.expect("mapped").flush();
        assert_eq!(mmu::read_at(FREE), Some(frame.phys()));
        assert_eq!(mmu::write_at(FREE), None);
        // SAFETY: as above.
        unsafe { init_mm::unmap(range) }.flush();
        assert_eq!(mmu::read_at(FREE), None);
        // SAFETY: as above; the tables are those of addresses that nothing else has.
        unsafe { init_mm::free_tables(range) };
        // SAFETY: allocated here, and nobody uses it any more.
        unsafe { free_pages(frame, Order::ZERO) };
    }
}
