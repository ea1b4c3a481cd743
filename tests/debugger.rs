//! A kernel for the debugger to look into: it brings every allocator into a state of many
//! kinds, says what that is, and calls [`debugger_look`], where `scripts/tests/gdb` stops
//! and compares what `scripts/gdb.py` makes of it. Without a debugger it goes on.

#![no_std]
#![no_main]

mod harness;

use core::hint::black_box;
use granule::addr::{Order, PAGE_SIZE, Pfn, PfnRange, PhysAddr, PhysRange, VirtAddr, VirtRange};
use granule::arch::{CpuId, layout, phys_to_virt};
use granule::kprintln;
use granule::mm::alloc_pages::alloc_pages;
use granule::mm::gfp::Gfp;
use granule::mm::kthread::kthread_create_on_cpu;
use granule::mm::mmzone::{Migratetype, ZoneId};
use granule::mm::page::{Frame, PageFlags};
use granule::mm::page_alloc::{free_pages, state_of};
use granule::mm::slab::{SlabFlags, kfree, kmalloc, kmem_cache_create, kmem_cache_destroy};
use granule::mm::vmalloc::VmArea;
use granule::mm::{cma, init_mm, stat};
use granule::sched::{self, Nice, TaskLine};

/// A value of each type that the debugger prints in a form of its own.
struct Sample {
    phys: PhysAddr,
    virt: VirtAddr,
    pfn: Pfn,
    order: Order,
    phys_range: PhysRange,
    virt_range: VirtRange,
    pfn_range: PfnRange,
    frame: Frame,
    some_frame: Option<Frame>,
    no_frame: Option<Frame>,
    page_flags: PageFlags,
    no_flags: PageFlags,
    slab_flags: SlabFlags,
    zone: ZoneId,
    migratetype: Migratetype,
    gfp: Gfp,
}

/// Function at which the debugger stops.
#[unsafe(no_mangle)]
#[inline(never)]
fn debugger_look(sample: &Sample) {
    black_box(sample);
}

/// Says what is known of a frame, as `gr page` should.
fn say_page(what: &str, frame: Frame) {
    let page = frame.page();
    let (refcount, mapcount) = (page.refcount(), page.mapcount());
    kprintln!(
        "look: page {what} {:#x} {:?} refcount {refcount} mapcount {mapcount} owner {:#x}; {}",
        frame.pfn().get(),
        page.marks(),
        page.owner(),
        state_of(frame)
    );
}

/// Says where an address leads, as `gr pte` should.
fn say_pte(what: &str, va: VirtAddr) {
    match init_mm::translate(va) {
        Some((pa, attrs)) => kprintln!("look: pte {what} {va} -> {pa} {attrs:?}"),
        None => kprintln!("look: pte {what} {va} -> nothing"),
    }
}

fn say_sample(s: &Sample) {
    kprintln!("look: value phys {:?}", s.phys);
    kprintln!("look: value virt {:?}", s.virt);
    kprintln!("look: value pfn {:?}", s.pfn);
    kprintln!("look: value order {:?}", s.order);
    kprintln!("look: value phys_range {:?}", s.phys_range);
    kprintln!("look: value virt_range {:?}", s.virt_range);
    kprintln!("look: value pfn_range {:?}", s.pfn_range);
    kprintln!("look: value frame {:?}", s.frame);
    kprintln!("look: value some_frame {:?}", s.some_frame);
    kprintln!("look: value no_frame {:?}", s.no_frame);
    kprintln!("look: value page_flags {:?}", s.page_flags);
    kprintln!("look: value no_flags {:?}", s.no_flags);
    kprintln!("look: value slab_flags {:?}", s.slab_flags);
    kprintln!("look: value zone {:?}", s.zone);
    kprintln!("look: value migratetype {:?}", s.migratetype);
    kprintln!("look: value gfp {:?}", s.gfp);
}

fn order(n: u8) -> Order {
    Order::new(n).expect("an order")
}

kernel_tests! {
    fn looks_back() {
        // Before all that is counted: it has a stack and a record.
        let nice = kthread_create_on_cpu("nice", CpuId::BOOT, || 0).expect("a thread");
        nice.task().set_user_nice(Nice::new(-7).expect("in range"));
        let single = alloc_pages(Gfp::GFP_KERNEL, Order::ZERO).expect("memory");
        let block = alloc_pages(Gfp::GFP_KERNEL, order(2)).expect("memory");
        let compound = alloc_pages(Gfp::GFP_KERNEL | Gfp::__GFP_COMP, order(3)).expect("memory");
        // Of an order that CPUs keep no list of: it goes back to the zone.
        let in_zone = alloc_pages(Gfp::GFP_KERNEL, order(5)).expect("memory");
        // SAFETY: allocated here, and nobody uses it any more.
        unsafe { free_pages(in_zone, order(5)) };

        let cache = kmem_cache_create("debugger", 200, 8, SlabFlags::HWCACHE_ALIGN | SlabFlags::NO_MERGE, None)
            .expect("a cache");
        let objects: [_; 150] = core::array::from_fn(|_| cache.alloc(Gfp::GFP_KERNEL).expect("memory"));
        let (free_again, kept) = objects.split_at(70);
        for &object in free_again {
            // SAFETY: from this cache, freed once.
            unsafe { cache.free(object) };
        }
        let sizes = [8, 100, 1000, 5000];
        let kmallocs = sizes.map(|size| kmalloc(size, Gfp::GFP_KERNEL).expect("memory"));

        let held = VmArea::vmalloc(5 * PAGE_SIZE, Gfp::GFP_KERNEL).expect("memory");
        let area = held.virt();
        let freed = VmArea::vmalloc(3 * PAGE_SIZE, Gfp::GFP_KERNEL).expect("memory");
        let gone = freed.virt();
        drop(freed);
        let mapped = VmArea::vmap(&[single, single], granule::arch::pgtable::KernelAttrs::KERNEL_RO)
            .expect("memory");
        let contiguous = cma::default_area().and_then(|area| cma::cma_alloc(area, 300, Order::ZERO));

        // After the CMA area's pageblocks are emptied, which drains all CPUs' lists.
        let on_list = alloc_pages(Gfp::GFP_KERNEL, Order::ZERO).expect("memory");
        // SAFETY: allocated here, and nobody uses it any more.
        unsafe { free_pages(on_list, Order::ZERO) };

        let in_slab = Frame::from_virt(VirtAddr::from_ptr(kept[0].as_ptr())).expect("a slab");
        let in_area = granule::mm::vmalloc::vmalloc_to_page(area).expect("mapped");
        let table = init_mm::root().and_then(PhysAddr::pfn).expect("a root");
        for (what, frame) in [
            ("single", single),
            ("block", block),
            ("compound", compound),
            ("tail", compound.within(order(3), 5)),
            ("pcp", on_list),
            ("zone", in_zone),
            ("slab", in_slab),
            ("vmalloc", in_area),
            ("cma", contiguous.unwrap_or(single)),
            ("reserved", Frame::new(table).unwrap_or(single)),
        ] {
            say_page(what, frame);
        }
        for (what, va) in [
            ("code", VirtAddr::from_ptr(looks_back as *const u8)),
            ("constant", VirtAddr::from_ptr("constant".as_ptr())),
            ("stack", VirtAddr::from_ptr(&raw const objects)),
            ("linear", phys_to_virt(single.phys())),
            ("area", area + PAGE_SIZE),
            ("guard", area + 5 * PAGE_SIZE),
            ("freed", gone),
            ("vmap", mapped.virt() + PAGE_SIZE + 0x123),
            ("descriptor", VirtAddr::from_ptr(single.page())),
            ("fixmap", layout::FIXMAP.start()),
            ("device", layout::VMALLOC.start()),
        ] {
            say_pte(what, va);
        }

        let sample = Sample {
            phys: single.phys() + 0x12,
            virt: area,
            pfn: single.pfn(),
            order: order(7),
            phys_range: PhysRange::from_size(single.phys(), 0x3000),
            virt_range: VirtRange::from_size(area, PAGE_SIZE),
            pfn_range: PfnRange::new(single.pfn(), single.pfn() + 5),
            frame: single,
            some_frame: Some(block),
            no_frame: None,
            page_flags: PageFlags::HEAD | PageFlags::MOVABLE,
            no_flags: PageFlags::empty(),
            slab_flags: SlabFlags::POISON | SlabFlags::HWCACHE_ALIGN,
            zone: ZoneId::from_bits(6),
            migratetype: Migratetype::Reclaimable,
            gfp: Gfp::GFP_KERNEL | Gfp::__GFP_ZERO,
        };
        say_sample(&sample);
        kprintln!("Zones:\n{}", stat::Zones);
        kprintln!("Free blocks:\n{}", stat::FreeBlocks);
        kprintln!("Slab caches:\n{}", stat::Slabs);
        kprintln!("vmalloc areas:\n{}", stat::VmallocInfo);
        kprintln!("CMA areas:\n{}", stat::CmaAreas);
        kprintln!("Tasks:");
        for task in sched::tasks() {
            kprintln!("{}", TaskLine(&task));
        }
        kprintln!();
        kprintln!("look: now");
        debugger_look(&sample);

        nice.stop();
        if let (Some(area), Some(frame)) = (cma::default_area(), contiguous) {
            // SAFETY: allocated here, and nobody uses it any more.
            assert!(unsafe { cma::cma_release(area, frame, 300) });
        }
        drop(mapped);
        drop(held);
        for at in kmallocs {
            // SAFETY: from kmalloc, freed once.
            unsafe { kfree(at.as_ptr()) };
        }
        for &object in kept {
            // SAFETY: from this cache, freed once.
            unsafe { cache.free(object) };
        }
        // SAFETY: nobody else knows the cache.
        assert_eq!(unsafe { kmem_cache_destroy(cache) }, Ok(()));
        // SAFETY: allocated here, and nobody uses it any more.
        unsafe { free_pages(compound, order(3)) };
        // SAFETY: allocated here, and nobody uses it any more.
        unsafe { free_pages(block, order(2)) };
        // SAFETY: allocated here, and nobody uses it any more.
        unsafe { free_pages(single, Order::ZERO) };
    }
}
