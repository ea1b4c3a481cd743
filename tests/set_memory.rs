//! Permissions and presence of memory in use, with the MMU asked and other CPUs looking.

#![no_std]
#![no_main]

mod harness;
#[path = "harness/mmu.rs"]
mod mmu;

extern crate alloc;

use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use granule::addr::{Order, PAGE_SIZE, PMD_SIZE, PfnRange, VirtAddr, VirtRange};
use granule::arch::CpuId;
use granule::arch::pgtable::KernelAttrs;
use granule::arch::smp;
use granule::arch::{extable, image};
use granule::mm::alloc_pages::alloc_pages;
use granule::mm::gfp::Gfp;
use granule::mm::kthread::kthread_create_on_cpu;
use granule::mm::page::Frame;
use granule::mm::page_alloc::free_pages;
use granule::mm::ptdump;
use granule::mm::set_memory::{self, SetMemoryError, linear_map_split_to_ptes};
use granule::mm::vmalloc::{VmArea, vm_unmap_aliases, vmalloc_to_page};
use granule::sched::schedule;

fn set_memory_ro(va: VirtAddr, pages: usize) -> Result<(), SetMemoryError> {
    // SAFETY: pages of a test's, which asks before it uses them.
    unsafe { set_memory::set_memory_ro(va, pages) }
}
fn set_memory_rw(va: VirtAddr, pages: usize) -> Result<(), SetMemoryError> {
    // SAFETY: pages of a test's, which asks before it uses them.
    unsafe { set_memory::set_memory_rw(va, pages) }
}
fn set_memory_x(va: VirtAddr, pages: usize) -> Result<(), SetMemoryError> {
    // SAFETY: pages of a test's, which asks before it uses them.
    unsafe { set_memory::set_memory_x(va, pages) }
}
fn set_memory_nx(va: VirtAddr, pages: usize) -> Result<(), SetMemoryError> {
    // SAFETY: pages of a test's, which asks before it uses them.
    unsafe { set_memory::set_memory_nx(va, pages) }
}
fn set_memory_valid(va: VirtAddr, pages: usize, valid: bool) -> Result<(), SetMemoryError> {
    // SAFETY: as above.
    unsafe { set_memory::set_memory_valid(va, pages, valid) }
}
fn kernel_map_pages(frame: Frame, order: Order, enable: bool) -> bool {
    // SAFETY: as above.
    unsafe { set_memory::kernel_map_pages(frame, order, enable) }
}

fn block(order: u8) -> (Frame, Order) {
    let order = Order::new(order).expect("below 11");
    (alloc_pages(Gfp::GFP_KERNEL, order).expect("memory"), order)
}

/// Checks the MMU's answer for a page, and that nothing can be written and executed.
fn check(va: VirtAddr, readable: bool, writable: bool) {
    assert_eq!(mmu::read_at(va).is_some(), readable, "a read of {va}");
    assert_eq!(mmu::write_at(va).is_some(), writable, "a write to {va}");
    assert_eq!(ptdump::check_wx(|run| panic!("{run}")), 0);
}

fn words(frame: Frame) -> &'static [AtomicU64] {
    let at = core::ptr::with_exposed_provenance(frame.virt().get());
    // SAFETY: 2 MiB that the caller has allocated and does not free before it is done.
    unsafe { core::slice::from_raw_parts(at, PMD_SIZE / 8) }
}

kernel_tests! {
    fn pages_of_the_linear_map_are_hidden_and_keep_their_rights() {
        let (frame, order) = block(3);
        let va = frame.virt() + 2 * PAGE_SIZE;
        check(va, true, true);
        // Its rights follow those of an area that has the page, and are nobody's to change.
        assert_eq!(set_memory_ro(va, 1), Err(SetMemoryError::Invalid));
        assert_eq!(set_memory_x(va, 1), Err(SetMemoryError::Invalid));
        assert_eq!(set_memory_nx(va, 1), Err(SetMemoryError::Invalid));
        assert_eq!(set_memory_rw(va, 1), Err(SetMemoryError::Invalid));
        set_memory_valid(va, 1, false).expect("a page");
        check(va, false, false);
        check(va + PAGE_SIZE, true, true);
        let line = ptdump::runs(VirtRange::from_size(va, PAGE_SIZE)).next().expect("hidden");
        assert!(format!("{line}").contains(" F     RW NX "), "{line}");
        // SAFETY: nothing is mapped there.
        assert_eq!(unsafe { extable::probe_read32(va) }, None);
        set_memory_valid(va, 1, true).expect("a page");
        check(va, true, true);
        // SAFETY: allocated here, and nobody uses it any more.
        unsafe { free_pages(frame, order) };
        assert_eq!(set_memory_valid(va, 1, false), Err(SetMemoryError::NotInUse));
        let text = granule::arch::phys_to_virt(image::phys(image::text().start()));
        assert_eq!(set_memory_valid(text, 1, false), Err(SetMemoryError::NotInUse));
        assert_eq!(set_memory_rw(image::text().start(), 1), Err(SetMemoryError::Invalid));
    }

    /// Code, as a module loader makes it: written, then read-only, then executable.
    fn code_in_vmalloc_runs_and_cannot_be_written_by_either_address() {
        let area = VmArea::vmalloc(2 * PAGE_SIZE, Gfp::GFP_KERNEL).expect("memory");
        let va = area.virt();
        let alias = vmalloc_to_page(va).expect("mapped").virt();
        // mov x0, #42; ret
        for (n, word) in [0xd280_0540u32, 0xd65f_03c0].into_iter().enumerate() {
            // SAFETY: the area is this test's.
            unsafe { core::ptr::with_exposed_provenance_mut::<u32>(va.get()).add(n).write(word) };
        }
        set_memory_ro(va, 1).expect("memory");
        set_memory_x(va, 1).expect("read-only");
        check(va, true, false);
        check(alias, true, false);
        check(va + PAGE_SIZE, true, true);
        // SAFETY: brings the caches for data and instructions together, as new code wants.
        unsafe {
            core::arch::asm!("dc cvau, {0}", "dsb ish", "ic ivau, {0}", "dsb ish", "isb",
                in(reg) va.get());
        }
        // SAFETY: a function that takes nothing and returns a number.
        let code: extern "C" fn() -> u64 =
            unsafe { core::mem::transmute(core::ptr::with_exposed_provenance::<()>(va.get())) };
        assert_eq!(code(), 42);
        // By its other address it can't be made writable, nor by one more.
        assert_eq!(set_memory_rw(alias, 1), Err(SetMemoryError::Invalid));
        check(alias, true, false);
        let page = vmalloc_to_page(va).expect("mapped");
        assert!(VmArea::vmap(&[page], KernelAttrs::KERNEL).is_none());
        assert!(VmArea::vm_map_ram(&[page]).is_none());
        let look = VmArea::vmap(&[page], KernelAttrs::KERNEL_RO).expect("memory");
        check(look.virt(), true, false);
        drop(look);
        // What is mapped once more to be written is not made code.
        let second = vmalloc_to_page(va + PAGE_SIZE).expect("mapped");
        let written = VmArea::vmap(&[second], KernelAttrs::KERNEL).expect("memory");
        set_memory_ro(va + PAGE_SIZE, 1).expect("memory");
        assert_eq!(set_memory_x(va + PAGE_SIZE, 1), Err(SetMemoryError::WritableAndExecutable));
        drop(written);
        set_memory_x(va + PAGE_SIZE, 1).expect("written nowhere");
        check(va + PAGE_SIZE, true, false);
        drop(area);
        vm_unmap_aliases();
        check(va, false, false);
        check(alias, true, true);
    }

    fn prepared_pages_are_hidden_without_a_lock() {
        let (frame, order) = block(4);
        linear_map_split_to_ptes(PfnRange::new(frame.pfn(), frame.pfn() + order.pages()))
            .expect("memory");
        for _ in 0..3 {
            assert!(kernel_map_pages(frame, order, false));
            for single in frame.block(order) {
                assert_eq!(mmu::read_at(single.virt()), None);
            }
            assert!(kernel_map_pages(frame, order, true));
            for single in frame.block(order) {
                assert_eq!(mmu::write_at(single.virt()), Some(single.phys()));
            }
        }
        // SAFETY: allocated here, and nobody uses it any more.
        unsafe { free_pages(frame, order) };
    }

    /// All other CPUs write to a block while it is split into pages under them.
    fn blocks_are_split_while_other_cpus_use_them() {
        struct Shared {
            blocks: Vec<Frame>,
            at: AtomicUsize,
            rounds: AtomicU64,
            done: AtomicBool,
        }
        let blocks: Vec<Frame> = (0..20).map(|_| block(9).0).collect();
        let shared = Arc::new(Shared {
            blocks,
            at: AtomicUsize::new(0),
            rounds: AtomicU64::new(0),
            done: AtomicBool::new(false),
        });
        let others = smp::online().filter(|&cpu| cpu != CpuId::BOOT);
        let threads: Vec<_> = others
            .map(|cpu| {
                let shared = Arc::clone(&shared);
                let thread = kthread_create_on_cpu("user", cpu, move || {
                    while !shared.done.load(SeqCst) {
                        let words = words(shared.blocks[shared.at.load(SeqCst)]);
                        for word in words.iter().step_by(61) {
                            word.fetch_add(1, SeqCst);
                        }
                        shared.rounds.fetch_add(1, SeqCst);
                        schedule();
                    }
                    0
                })
                .expect("a thread");
                thread.wake_up();
                thread
            })
            .collect();
        let turn = || {
            let before = shared.rounds.load(SeqCst);
            while !threads.is_empty() && shared.rounds.load(SeqCst) < before + 8 {
                core::hint::spin_loop();
            }
        };
        for (n, frame) in shared.blocks.iter().enumerate() {
            shared.at.store(n, SeqCst);
            turn();
            // One split for each page, down to the last: sixteen-page sets first.
            for page in (0..512).step_by(8) {
                let range = PfnRange::new(frame.pfn() + page, frame.pfn() + page + 1);
                linear_map_split_to_ptes(range).expect("memory");
            }
            turn();
        }
        shared.done.store(true, SeqCst);
        threads.into_iter().for_each(|thread| assert_eq!(thread.join(), 0));
        for frame in &shared.blocks {
            // SAFETY: allocated here, and nobody uses it any more.
            unsafe { free_pages(*frame, Order::PAGEBLOCK) };
        }
    }
}
