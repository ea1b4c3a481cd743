//! A short life of each allocator on a machine of 8 MiB: few enough steps for Miri,
//! which sees every access that the mechanism under the policy makes.

mod interrupts;
mod model;

pub(crate) mod two_nodes;

use crate::addr::{Order, PAGE_SIZE, PhysAddr, PhysRange};
use crate::arch::hosted::Machine;
use crate::mm::alloc_pages::alloc_pages;
use crate::mm::gfp::Gfp;
use crate::mm::migrate::{Isolated, MigrateMode, migrate_pages};
use crate::mm::page_alloc::{self, OwnedPage, free_pages};
use crate::mm::slab::{self, kfree, kmalloc, krealloc, kzalloc};
use crate::mm::zsmalloc::ZsPool;
use crate::mm::{compaction, init_mm, vmalloc};
use core::ptr::NonNull;

fn on_machine(f: impl FnOnce(&Machine)) {
    let ram = PhysRange::from_size(PhysAddr::new(0x4000_0000), 8 << 20);
    Machine::run(&[ram], |m| {
        page_alloc::init(m.ram());
        f(m);
    });
}

fn fill(at: NonNull<u8>, len: usize, with: u8) {
    // SAFETY: the tests pass what they allocated, with its length.
    unsafe { at.as_ptr().write_bytes(with, len) }
}

fn holds(at: NonNull<u8>, len: usize, what: u8) -> bool {
    // SAFETY: as above.
    unsafe { core::slice::from_raw_parts(at.as_ptr(), len) }.iter().all(|&byte| byte == what)
}

#[test]
fn pages_live_and_die() {
    on_machine(|_| {
        let used = page_alloc::nr_used_pages();
        for order in [0, 1, 3, 9] {
            let order = Order::new(order).expect("an order");
            let frame = alloc_pages(Gfp::GFP_KERNEL, order).expect("memory");
            let last = frame.within(order, order.pages() - 1);
            let at = NonNull::new(core::ptr::with_exposed_provenance_mut(last.virt().get()));
            let at = at.expect("an address");
            fill(at, PAGE_SIZE, 0x5a);
            assert!(holds(at, PAGE_SIZE, 0x5a));
            // SAFETY: allocated here, and nobody uses it any more.
            unsafe { free_pages(frame, order) };
        }
        let frame = alloc_pages(Gfp::GFP_KERNEL | Gfp::__GFP_ZERO, Order::ZERO).expect("memory");
        let at = NonNull::new(core::ptr::with_exposed_provenance_mut(frame.virt().get()));
        assert!(holds(at.expect("an address"), PAGE_SIZE, 0));
        // SAFETY: allocated here, and nobody uses it any more.
        unsafe { free_pages(frame, Order::ZERO) };
        assert_eq!(page_alloc::nr_used_pages(), used);
    });
}

#[test]
fn objects_live_and_die() {
    on_machine(|_| {
        slab::kmem_cache_init(7);
        let sizes = [8, 96, 700, 8192, 20_000];
        let objects = sizes.map(|size| kmalloc(size, Gfp::GFP_KERNEL).expect("memory"));
        for (i, (&object, size)) in objects.iter().zip(sizes).enumerate() {
            fill(object, size, i as u8 + 1);
        }
        for (i, (&object, size)) in objects.iter().zip(sizes).enumerate() {
            assert!(holds(object, size, i as u8 + 1), "object {i}");
            // SAFETY: allocated above, freed once.
            unsafe { kfree(object.as_ptr()) };
        }
        let object = kzalloc(64, Gfp::GFP_KERNEL).expect("memory");
        assert!(holds(object, 64, 0));
        fill(object, 64, 3);
        // SAFETY: allocated above; the old pointer is used no more.
        let object = unsafe { krealloc(object.as_ptr(), 300, Gfp::GFP_KERNEL) }.expect("memory");
        assert!(holds(object, 64, 3));
        // SAFETY: as above.
        unsafe { kfree(object.as_ptr()) };
    });
}

#[test]
fn objects_travel_between_cpus() {
    on_machine(|m| {
        slab::kmem_cache_init(7);
        let passed = std::sync::Mutex::new(std::vec::Vec::new());
        m.on_cpus(2, |_| {
            for _ in 0..8 {
                let object = kmalloc(200, Gfp::GFP_KERNEL).expect("memory");
                passed.lock().expect("no panic").push(object.as_ptr().expose_provenance());
            }
        });
        let passed = passed.into_inner().expect("no panic");
        m.on_cpus(2, |cpu| {
            for &object in passed.iter().skip(cpu).step_by(2) {
                // SAFETY: each was allocated above, and one CPU frees it, once.
                unsafe { kfree(core::ptr::with_exposed_provenance_mut(object)) };
            }
        });
    });
}

#[test]
fn areas_live_and_die() {
    on_machine(|_| {
        init_mm::install(init_mm::new_root().expect("memory"));
        let used = page_alloc::nr_used_pages();
        let a = vmalloc::vmalloc(3 * PAGE_SIZE, Gfp::GFP_KERNEL).expect("memory");
        let b = vmalloc::vmalloc(PAGE_SIZE, Gfp::GFP_KERNEL | Gfp::__GFP_ZERO).expect("memory");
        let (first, second) =
            (vmalloc::vmalloc_to_page(a), vmalloc::vmalloc_to_page(a + PAGE_SIZE));
        assert!(first.is_some() && first != second);
        let frame = vmalloc::vmalloc_to_page(b).expect("mapped");
        let at = NonNull::new(core::ptr::with_exposed_provenance_mut(frame.virt().get()));
        assert!(holds(at.expect("an address"), PAGE_SIZE, 0));
        vmalloc::tests::vfree(a);
        vmalloc::tests::vfree(b);
        vmalloc::shrink();
        assert_eq!(page_alloc::nr_used_pages(), used);
    });
}

#[test]
fn pages_in_use_are_moved() {
    on_machine(|_| {
        let pool = ZsPool::new().expect("a pool");
        let object = pool.malloc(700, Gfp::GFP_KERNEL).expect("memory");
        pool.with(object, |bytes| bytes.fill(0x77));
        let frame = pool.frame(object);
        let mut isolated = Isolated::new();
        assert!(isolated.isolate(frame));
        let mut new = || OwnedPage::alloc(Gfp::GFP_KERNEL);
        assert_eq!(migrate_pages(&mut isolated, MigrateMode::Sync, &mut new, &mut drop), 1);
        assert_ne!(pool.frame(object), frame);
        assert!(pool.with(object, |bytes| bytes.iter().all(|&byte| byte == 0x77)));
        // The lowest page goes to the highest pageblock.
        let zone = page_alloc::zones().next().expect("a zone").id;
        compaction::compact_zone(zone);
        assert!(pool.with(object, |bytes| bytes.iter().all(|&byte| byte == 0x77)));
    });
}
