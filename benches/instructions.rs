//! Instructions per operation, for `scripts/bench`: QEMU counts one cycle for each
//! instruction then, and every run is the same. On a real machine these are cycles.

#![no_std]
#![no_main]

use core::hint::black_box;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use granule::addr::{Order, PhysAddr};
use granule::arch::CpuId;
use granule::arch::aarch64::cpu;
use granule::arch::pgtable::KernelAttrs;
use granule::init::Boot;
use granule::kprintln;
use granule::mm::gfp::Gfp;
use granule::mm::ioremap::ioremap;
use granule::mm::kthread::kthread_create_on_cpu;
use granule::mm::page_alloc::{alloc_pages, free_pages};
use granule::mm::slab::{kfree, kmalloc};
use granule::mm::vmalloc::{vfree, vmalloc, vmap, vunmap};
use granule::sched::schedule;

#[path = "parts/scale.rs"]
mod scale;
#[path = "instructions/slab.rs"]
mod slab;

granule::kernel_main!(main);

/// Operations that are counted together: rare slow paths take their share.
const OPERATIONS: u64 = 4096;

fn count(operation: &mut impl FnMut()) -> u64 {
    let start = cpu::cycles();
    for _ in 0..OPERATIONS {
        operation();
    }
    cpu::cycles() - start
}

/// What `operation` takes.
fn count_once(operation: impl FnOnce()) -> u64 {
    let start = cpu::cycles();
    operation();
    cpu::cycles() - start
}

fn print(name: &str, hundredths: u64) {
    kprintln!(
        "{{\"bench\":\"{name}\",\"instructions_per_op\":{}.{:02}}}",
        hundredths / 100,
        hundredths % 100
    );
}

/// Prints what `operation` takes when everything it uses is warm, the loop left out.
fn bench(name: &str, mut operation: impl FnMut()) {
    count(&mut operation);
    let empty = count(&mut || {
        black_box(());
    });
    let took = count(&mut operation).saturating_sub(empty);
    print(name, took * 100 / OPERATIONS);
}

/// From this thread to another and back, which are two switches: half of that.
fn thread_switch() {
    static STOP: AtomicBool = AtomicBool::new(false);
    let other = kthread_create_on_cpu("other", CpuId::BOOT, || {
        while !STOP.load(Relaxed) {
            schedule();
        }
        0
    });
    let Ok(other) = other else { return };
    other.wake_up();
    let mut turn = false;
    bench("thread_switch", || {
        turn = !turn;
        if turn {
            schedule();
        }
    });
    STOP.store(true, Relaxed);
    other.join();
}

fn main(boot: &Boot) -> u8 {
    for (step, took) in boot.steps.iter() {
        kprintln!("{{\"bench\":\"boot: {step}\",\"instructions_per_op\":{took}}}");
    }
    print("boot", boot.steps.total() * 100);

    bench("alloc_pages_order0", || {
        if let Some(frame) = black_box(alloc_pages(Gfp::GFP_KERNEL, Order::ZERO)) {
            free_pages(frame, Order::ZERO);
        }
    });
    bench("alloc_pages_order9", || {
        if let Some(frame) = black_box(alloc_pages(Gfp::GFP_KERNEL, Order::PAGEBLOCK)) {
            free_pages(frame, Order::PAGEBLOCK);
        }
    });
    let mut batch = [None; 512];
    bench("alloc_pages_order0_512_at_once", || {
        for slot in &mut batch {
            *slot = alloc_pages(Gfp::GFP_KERNEL, Order::ZERO);
        }
        for frame in batch.iter_mut().filter_map(Option::take) {
            free_pages(frame, Order::ZERO);
        }
    });
    bench("kmalloc_64", || {
        if let Some(object) = black_box(kmalloc(64, Gfp::GFP_KERNEL)) {
            // SAFETY: allocated just now.
            unsafe { kfree(object.as_ptr()) }
        }
    });
    bench("kmalloc_4096", || {
        if let Some(object) = black_box(kmalloc(4096, Gfp::GFP_KERNEL)) {
            // SAFETY: allocated just now.
            unsafe { kfree(object.as_ptr()) }
        }
    });
    slab::all();
    for (name, size) in [
        ("vmalloc_4k", 4 << 10),
        ("vmalloc_64k", 64 << 10),
        ("vmalloc_1m", 1 << 20),
        ("vmalloc_16m", 16 << 20),
    ] {
        bench(name, || {
            if let Some(area) = black_box(vmalloc(size, Gfp::GFP_KERNEL)) {
                vfree(area);
            }
        });
    }
    if let [Some(a), Some(b)] = [0; 2].map(|_| alloc_pages(Gfp::GFP_KERNEL, Order::ZERO)) {
        bench("vmap_4pages", || {
            if let Some(area) = black_box(vmap(&[a, b, a, b], KernelAttrs::KERNEL)) {
                vunmap(area);
            }
        });
        free_pages(a, Order::ZERO);
        free_pages(b, Order::ZERO);
    }
    thread_switch();
    // The flash of QEMU's virt; where RAM lies there it is refused, and that is counted.
    bench("ioremap_4k", || drop(black_box(ioremap(PhysAddr::new(0), 4096))));
    // Last: its areas stay.
    scale::vmalloc_by_live_areas();
    0
}
