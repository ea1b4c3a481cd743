//! Interrupts in the midst of what threads do with the allocators, on the emulated machine; in
//! the kernel the image `storm` does the same.

#[path = "../../../tests/harness/storm.rs"]
mod storm;

use crate as root;
use crate::addr::{PhysAddr, PhysRange};
use crate::arch::CpuId;
use crate::arch::hosted::Machine;
use crate::arch::hosted::irq::with_interrupts;
use crate::mm::slab::{self, SlabFlags, kmem_cache_create, kmem_cache_destroy};
use crate::mm::validate;
use crate::mm::{init_mm, page_alloc, vmalloc};
use crate::prandom::Random;
use std::cell::RefCell;
use storm::{Areas, Hand, Path, Who, end_area, new_area};

const STEPS: u32 = if cfg!(miri) { 300 } else { 20_000 };

/// A machine of 64 MiB on which all is as it was in the end.
fn on_machine(f: impl FnOnce(&Machine)) {
    let ram = PhysRange::from_size(PhysAddr::new(0x4000_0000), 64 << 20);
    Machine::run(&[ram], |m| {
        page_alloc::init(m.ram());
        slab::kmem_cache_init(7);
        init_mm::install(init_mm::new_root().expect("memory"));
        let active = || {
            slab::shrink_all();
            slab::slabinfo().map(|cache| cache.active_objects).sum::<usize>()
        };
        let settled = || {
            vmalloc::shrink();
            let objects = active();
            page_alloc::drain_all_pages();
            let tables = init_mm::nr_table_pages() as u32;
            (objects, page_alloc::nr_used_pages() - tables)
        };
        let before = settled();
        f(m);
        slab::validate();
        vmalloc::validate();
        assert_eq!(settled(), before, "objects and pages in use");
        validate::validate().expect("sound lists");
    });
}

/// A thread is interrupted wherever it can be, one time of four.
fn interrupted(path: Path) {
    let (interrupt, chance) =
        (RefCell::new(Hand::new(Who::Interrupt)), RefCell::new(Random::new(7)));
    let mut hand = Hand::new(Who::Thread);
    let handler = || {
        if chance.borrow_mut().below(4) == 0 {
            interrupt.borrow_mut().step(path);
        }
    };
    with_interrupts(&handler, || (0..STEPS).for_each(|_| hand.step(path)));
    hand.empty(path);
    interrupt.borrow_mut().empty(path);
}

/// Two threads of a CPU take turns wherever one can be interrupted.
fn in_turns(m: &Machine, path: Path) {
    m.on_threads(CpuId::BOOT, 2, |_| {
        let mut hand = Hand::new(Who::Thread);
        (0..STEPS / 4).for_each(|_| hand.step(path));
        hand.empty(path);
    });
}

#[test]
fn interrupts_get_pages_and_objects_of_their_own() {
    for path in [Path::Pages, Path::PageBatches, Path::Objects, Path::LargeObjects] {
        on_machine(|_| interrupted(path));
    }
}

#[test]
fn threads_of_a_cpu_get_pages_and_objects_of_their_own() {
    for path in [Path::Pages, Path::PageBatches, Path::Objects, Path::LargeObjects] {
        on_machine(|m| in_turns(m, path));
    }
}

#[test]
fn batches_of_objects_are_nobody_elses() {
    on_machine(|m| {
        let cache = kmem_cache_create("storm", 200, 8, SlabFlags::NO_MERGE, None).expect("memory");
        interrupted(Path::ObjectBatches(cache));
        in_turns(m, Path::ObjectBatches(cache));
        // SAFETY: its objects are freed, and nobody else knows it.
        unsafe { kmem_cache_destroy(cache) }.expect("no object is left");
    });
}

#[test]
fn interrupts_end_areas_that_a_thread_makes() {
    on_machine(|_| {
        let areas = Areas::new();
        let frames = areas.frames();
        let (areas, chance) = (RefCell::new(areas), RefCell::new(Random::new(7)));
        let handler = || {
            let slot = chance.borrow_mut().below(100);
            // Not in the midst of a look at the slots themselves.
            let area = areas.try_borrow_mut().ok().and_then(|mut areas| areas.post(slot, None));
            area.into_iter().for_each(end_area);
        };
        let mut random = Random::new(0x2545_f491);
        with_interrupts(&handler, || {
            for _ in 0..STEPS / 4 {
                let area = new_area(&frames, &mut random);
                let old = areas.borrow_mut().post(random.below(1000), area);
                old.into_iter().for_each(end_area);
            }
        });
        areas.into_inner().end();
        vmalloc::vm_unmap_aliases();
    });
}
