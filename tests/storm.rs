//! Interrupts, one on the heels of the other, while a thread allocates and frees: each path that
//! masks them is interrupted wherever it can be.
//!
//! The emulator's virtual time counts instructions, and interrupts come between any two of them:
//! the same ones in each run, on each machine.
//!
//! QEMU: -icount shift=0,sleep=off

#![no_std]
#![no_main]

extern crate alloc;

mod harness;
#[path = "harness/storm.rs"]
mod storm;
#[path = "harness/timer.rs"]
mod timer;

use alloc::format;
use granule as root;
use granule::arch::CpuId;
use granule::arch::irq::with_masked;
use granule::mm::slab::{SlabFlags, kmem_cache_create, kmem_cache_destroy};
use granule::mm::vmalloc::vm_unmap_aliases;
use granule::sync::{Rank, SpinLock};
use granule::trace;
use harness::Random;
use storm::{Areas, Path, end_area, new_area};
use timer::allocate;

/// Interrupts in a test: at 20,000 a second, half a second.
const INTERRUPTS: u32 = 10_000;

/// Areas for them to end.
static AREAS: SpinLock<Option<Areas>> = SpinLock::new(Rank::Memblock, None);

fn end_areas() {
    let area = with_masked(|irq| AREAS.lock(irq).as_mut()?.post(timer::count() as usize, None));
    area.into_iter().for_each(end_area);
}

kernel_tests! {
    fn pages_are_nobody_elses() {
        allocate(Path::Pages, INTERRUPTS);
    }

    fn batches_of_pages_are_nobody_elses() {
        allocate(Path::PageBatches, INTERRUPTS);
    }

    fn objects_are_nobody_elses() {
        allocate(Path::Objects, INTERRUPTS);
    }

    fn large_objects_are_nobody_elses() {
        allocate(Path::LargeObjects, INTERRUPTS);
    }

    fn batches_of_objects_are_nobody_elses() {
        let cache = kmem_cache_create("storm", 200, 8, SlabFlags::NO_MERGE, None).expect("memory");
        allocate(Path::ObjectBatches(cache), INTERRUPTS);
        // SAFETY: its objects are freed, and nobody else knows it.
        unsafe { kmem_cache_destroy(cache) }.expect("no object is left");
    }

    fn areas_of_addresses_are_nobody_elses() {
        with_masked(|irq| *AREAS.lock(irq) = None);
        let areas = Areas::new();
        let frames = areas.frames();
        with_masked(|irq| *AREAS.lock(irq) = Some(areas));
        let mut random = Random::new(0x2545_f491);
        timer::storm(INTERRUPTS, end_areas, || {
            let area = new_area(&frames, &mut random);
            let slot = random.below(1000);
            let old = with_masked(|irq| AREAS.lock(irq).as_mut()?.post(slot, area));
            old.into_iter().for_each(end_area);
        });
        if let Some(areas) = with_masked(|irq| AREAS.lock(irq).take()) {
            areas.end();
        }
        vm_unmap_aliases();
    }

    fn no_record_of_a_trace_is_torn_or_dropped() {
        trace::set_buffer_size_kb(256).expect("a size");
        trace::set_events((1 << trace::EVENTS.len()) - 1).expect("memory");
        let dropped = || {
            let stats = format!("{}", trace::Stats(&trace::Rings::take(), CpuId::BOOT));
            let line = stats.lines().find_map(|line| line.strip_prefix("dropped events: "));
            line.and_then(|number| number.parse::<u64>().ok()).expect("a number")
        };
        let before = dropped();
        allocate(Path::Objects, INTERRUPTS / 4);
        allocate(Path::Pages, INTERRUPTS / 4);
        trace::set_events(0).expect("they can be switched off");
        assert_eq!(dropped(), before, "an interrupt came in the midst of a record");
        let rings = trace::Rings::take();
        let text = format!("{}", trace::Trace::new(&rings, Some(CpuId::BOOT)));
        drop(rings);
        assert!(text.lines().count() > 1000 && !text.contains("Unknown type"), "torn records");
        let times = text.lines().filter_map(|line| {
            let (_, rest) = line.split_once("] ")?;
            let time = rest.split_whitespace().nth(1)?.strip_suffix(':')?;
            time.parse::<f64>().ok()
        });
        assert!(times.is_sorted(), "records out of order");
        trace::free_buffers().expect("no event is on");
    }
}
