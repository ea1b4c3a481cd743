//! Tracing on emulated machines.

use super::*;
use crate::addr::{Order, PhysAddr, PhysRange};
use crate::arch::CpuId;
use crate::arch::hosted::Machine;
use crate::arch::jump_label::StaticKey;
use crate::mm::alloc_pages::{FailPageAlloc, alloc_pages, alloc_pages_bulk, set_fail_page_alloc};
use crate::mm::gfp::Gfp;
use crate::mm::page::Frame;
use crate::mm::page_alloc::{self, free_pages, free_pages_bulk, nr_used_pages};
use crate::mm::slab::{self, kfree, kmalloc, kmalloc_node};
use crate::mm::validate;
use std::vec::Vec;

const KERNEL: Gfp = Gfp::GFP_KERNEL;

/// A machine with small rings, and no event on.
fn on_machine(f: impl FnOnce(&Machine)) {
    let ram = PhysRange::from_size(PhysAddr::new(0x4000_0000), 32 << 20);
    Machine::run(&[ram], |m| {
        page_alloc::init(m.ram());
        slab::kmem_cache_init(1);
        set_buffer_size_kb(64).unwrap();
        f(m);
        set_events(0).unwrap();
        free_buffers().unwrap();
        validate::validate().unwrap();
    });
}

/// The text behind the times, of all CPUs.
fn lines() -> Vec<String> {
    let text = Trace::new(&Rings::take(), None).to_string();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.splitn(3, ": ").skip(1).collect::<Vec<_>>().join(": ")).collect()
}

fn order(n: u8) -> Order {
    Order::new(n).unwrap()
}

/// Pages that are in use by what was traced.
fn traced_pages() -> i64 {
    let rings = Rings::take();
    let mut pages = 0;
    for ring in rings.rings.iter().map(|of| &of.ring) {
        assert_eq!(ring.overrun(), 0);
        for record in ring.records() {
            let id = u16::from_le_bytes([record.data[0], record.data[1]]);
            let event = event_of(id);
            let count = 1i64 << event.number(record.data, 1);
            match event.name {
                "mm_page_alloc" if event.number(record.data, 0) != u64::MAX => pages += count,
                "mm_page_free" => pages -= count,
                _ => {}
            }
        }
    }
    assert_eq!(DROPPED.iter().map(|dropped| dropped.load(Relaxed)).sum::<u64>(), 0);
    pages
}

#[test]
fn pages_and_objects_are_told_of_with_their_fields() {
    on_machine(|_| {
        set_event_names("kmem:*").unwrap();
        let frame = alloc_pages(KERNEL | Gfp::__GFP_ZERO, order(2)).unwrap();
        // SAFETY: allocated here, and nobody uses it any more.
        unsafe { free_pages(frame, order(2)) };
        let (line, at) = (line!() + 1, core::panic::Location::caller().file());
        let object = kmalloc(100, KERNEL).unwrap();
        // SAFETY: allocated just now.
        unsafe { kfree(object.as_ptr()) };
        let got = lines();
        let page = crate::arch::vmemmap_base() as u64 + u64::from(frame.pfn().get()) * 32;
        let pfn = frame.pfn().get();
        let flags = "gfp_flags=GFP_KERNEL|__GFP_ZERO";
        assert_eq!(
            got[0],
            format!("mm_page_alloc: page={page:#x} pfn={pfn:#x} order=2 migratetype=0 {flags}")
        );
        assert_eq!(got[1], format!("mm_page_free: page={page:#x} pfn={pfn:#x} order=2"));
        let ptr = object.as_ptr().addr();
        let told = format!(
            "kmalloc: call_site={at}:{line} ptr={ptr:#x} bytes_req=100 bytes_alloc=128 gfp_flags=GFP_KERNEL node=-1 accounted=false"
        );
        assert!(got.contains(&told), "{got:#?}");
        assert_eq!(
            *got.last().unwrap(),
            format!("kfree: call_site={at}:{} ptr={ptr:#x}", line + 2)
        );
        assert!(Sites.to_string().contains(&format!(" R {at}:{line}\n")));
    });
}

#[test]
fn each_way_to_an_object_is_told() {
    on_machine(|_| {
        let cache =
            slab::kmem_cache_create("traced", 104, 8, slab::SlabFlags::NO_MERGE, None).unwrap();
        set_event_names("kmalloc,kfree,kmem_cache_alloc,kmem_cache_free").unwrap();
        let node = crate::mm::mmzone::NodeId::FIRST;
        let (a, b) = (cache.alloc(KERNEL).unwrap(), cache.alloc_node(KERNEL, node).unwrap());
        let mut bulk = [None; 3];
        assert!(cache.alloc_bulk(KERNEL, &mut bulk));
        let bulk = bulk.map(Option::unwrap);
        let (c, d) = (kmalloc_node(10, KERNEL, node).unwrap(), kmalloc(20_000, KERNEL).unwrap());
        // SAFETY: allocated above, each freed once.
        unsafe {
            cache.free(a);
            cache.free_bulk(&bulk);
            kfree(b.as_ptr());
            kfree(c.as_ptr());
            kfree(d.as_ptr());
        }
        let got = lines();
        let count = |start: &str, part: &str| {
            got.iter().filter(|line| line.starts_with(start) && line.contains(part)).count()
        };
        assert_eq!(count("kmem_cache_alloc: ", " bytes_req=104 bytes_alloc=104 "), 5, "{got:#?}");
        assert_eq!(count("kmem_cache_alloc: ", " node=0 "), 1);
        assert_eq!(count("kmem_cache_free: ", " name=traced"), 4);
        assert_eq!(
            count("kmalloc: ", " bytes_req=10 bytes_alloc=16 gfp_flags=GFP_KERNEL node=0 "),
            1
        );
        assert_eq!(count("kmalloc: ", " bytes_req=20000 bytes_alloc=32768 "), 1);
        assert_eq!(count("kfree: ", ""), 3);
        set_events(0).unwrap();
        // SAFETY: nobody uses it.
        assert!(unsafe { slab::kmem_cache_destroy(cache) }.is_ok());
    });
}

#[test]
fn pages_allocated_less_pages_freed_are_pages_in_use() {
    on_machine(|m| {
        set_buffer_size_kb(1024).unwrap();
        let switch_on = || set_event_names("mm_page_alloc mm_page_free").unwrap();
        switch_on();
        page_alloc::drain_all_pages();
        let before = i64::from(nr_used_pages());
        let kept = std::sync::Mutex::new(Vec::<(Frame, Order)>::new());
        m.on_cpus(4, |cpu| {
            let mut own = Vec::new();
            for n in 0..200usize {
                let order = order(((n * 7 + cpu) % 6) as u8);
                own.extend(
                    alloc_pages(KERNEL | Gfp::__GFP_NOWARN, order).map(|frame| (frame, order)),
                );
                let mut some = [const { None }; 5];
                alloc_pages_bulk(KERNEL, &mut some);
                free_pages_bulk(&mut some);
                if n % 3 != 0
                    && let Some((frame, order)) = own.pop()
                {
                    // SAFETY: allocated here, and nobody uses it any more.
                    unsafe { free_pages(frame, order) };
                }
            }
            kept.lock().unwrap().extend(own);
        });
        assert_eq!(traced_pages(), i64::from(nr_used_pages()) - before);
        assert!(traced_pages() > 100);
        for (frame, order) in kept.into_inner().unwrap() {
            // SAFETY: allocated here, and nobody uses it any more.
            unsafe { free_pages(frame, order) };
        }
        assert_eq!(traced_pages(), i64::from(nr_used_pages()) - before);
    });
}

#[test]
fn off_nothing_is_written_and_nobody_asks() {
    on_machine(|_| {
        let work = || {
            // SAFETY: allocated here, and nobody uses it any more.
            unsafe { free_pages(alloc_pages(KERNEL, Order::ZERO).unwrap(), Order::ZERO) };
            // SAFETY: allocated just now.
            unsafe { kfree(kmalloc(64, KERNEL).unwrap().as_ptr()) };
        };
        let keys = || {
            use crate::mm::hooks::{PAGE_HOOKS, RARE_EVENTS, SLAB_ALLOC_HOOKS, SLAB_FREE_HOOKS};
            let all: [&'static StaticKey; 4] =
                [&PAGE_HOOKS, &SLAB_ALLOC_HOOKS, &SLAB_FREE_HOOKS, &RARE_EVENTS];
            all.map(StaticKey::is_enabled)
        };
        work();
        assert!(lines().is_empty() && keys() == [false; 4]);
        set_event_names("*:*").unwrap();
        assert_eq!(keys(), [true; 4]);
        work();
        let some = lines().len();
        assert!(some >= 4);
        // On, and not recorded.
        set_recording(false);
        work();
        assert_eq!(lines().len(), some);
        set_recording(true);
        for (names, expected) in [
            ("kmem:kmalloc", [false, true, false, false]),
            ("!kmem:kmalloc kfree", [false, false, true, false]),
            ("vmalloc", [false, false, false, true]),
            ("kmem:mm_page_free,mm_page_alloc", [true, false, false, false]),
            ("kmem:kmem_cache_f*", [false, false, true, false]),
            ("cma:* compaction:*", [false, false, false, true]),
        ] {
            set_event_names(names).unwrap();
            assert_eq!(keys(), expected, "{names}");
        }
        set_event_names("").unwrap();
        clear();
        // Pages go past the zones again.
        work();
        assert!(lines().is_empty());
    });
}

#[test]
fn names_that_are_none_change_nothing() {
    on_machine(|_| {
        set_event_names("kmem:kfree").unwrap();
        for names in ["kmem:none", "none", "kmem:kfree none", "!none", "kmem:*:x", ":", "kmem"] {
            let known = names == "kmem";
            assert_eq!(set_event_names(names).is_ok(), known, "{names}");
            assert_eq!(enabled() == Id::Kfree.bit(), !known, "{names}");
        }
        assert_eq!(set_events(1 << events::COUNT), Err(TraceError::Invalid));
        assert_eq!(free_buffers(), Err(TraceError::Busy));
        assert_eq!(set_buffer_size_kb(0), Err(TraceError::Invalid));
        assert_eq!(set_buffer_size_kb(usize::MAX), Err(TraceError::Invalid));
    });
}

/// Memory may be short at any moment of switching on: then nothing has changed.
#[test]
fn want_of_memory_leaves_all_as_it_was() {
    on_machine(|_| {
        free_buffers().unwrap();
        slab::shrink_all();
        let before = nr_used_pages();
        let mut failures = 0;
        for skip in 0.. {
            let fail = FailPageAlloc { skip, interval: 1, times: u32::MAX, min_order: Order::ZERO };
            set_fail_page_alloc(Some(fail));
            let result = set_event_names("kmem:*");
            set_fail_page_alloc(None);
            if result.is_ok() {
                break;
            }
            failures += 1;
            assert_eq!(result, Err(TraceError::NoMemory));
            assert_eq!((enabled(), buffer_size_kb()), (0, (64, false)));
            assert!(!crate::mm::hooks::PAGE_HOOKS.is_enabled());
            slab::shrink_all();
            assert_eq!(nr_used_pages(), before, "after {skip} pages");
        }
        // 8 rings of 16 pages.
        assert!(failures >= 128);
        // Records that are there stay where a larger ring can't be had.
        // SAFETY: allocated here, and nobody uses it any more.
        unsafe { free_pages(alloc_pages(KERNEL, Order::ZERO).unwrap(), Order::ZERO) };
        let there = lines();
        let fail = FailPageAlloc { skip: 40, interval: 1, times: u32::MAX, min_order: Order::ZERO };
        set_fail_page_alloc(Some(fail));
        assert_eq!(set_buffer_size_kb(256), Err(TraceError::NoMemory));
        set_fail_page_alloc(None);
        assert!(lines().starts_with(&there) && buffer_size_kb() == (64, true));
    });
}

/// An allocation that fails is told of too.
#[test]
fn failures_are_told() {
    on_machine(|_| {
        set_event_names("mm_page_alloc kmalloc").unwrap();
        let fail = FailPageAlloc { skip: 0, interval: 1, times: u32::MAX, min_order: order(4) };
        let gfp = KERNEL | Gfp::__GFP_NOWARN | Gfp::__GFP_NORETRY;
        while alloc_pages(gfp, Order::MAX).is_some() {}
        set_fail_page_alloc(Some(fail));
        assert!(kmalloc(1 << 20, gfp).is_none());
        set_fail_page_alloc(None);
        let got = lines();
        assert!(got.iter().any(|line| {
            line.starts_with("mm_page_alloc: page=0x0 pfn=0xffffffffffffffff order=10 ")
        }));
        assert!(got.last().unwrap().contains(" ptr=0x0 bytes_req=1048576 bytes_alloc=1048576 "));
        set_events(0).unwrap();
    });
}

/// Each event is in a ring or counted as lost, and each CPU's are in order, while others read.
#[test]
fn nothing_is_lost_uncounted_while_others_read() {
    const EACH: usize = 3000;
    on_machine(|m| {
        set_buffer_size_kb(16).unwrap();
        set_event_names("mm_vmscan_wakeup_kswapd").unwrap();
        let reads = std::sync::atomic::AtomicU64::new(0);
        m.on_cpus(4, |cpu| {
            for n in 0..EACH {
                let order = order((n % 11) as u8);
                crate::mm::hooks::points::mm_vmscan_wakeup_kswapd(
                    crate::mm::mmzone::NodeId::FIRST,
                    crate::mm::mmzone::ZoneType::Dma,
                    order,
                    Gfp::from_bits_retain(n as u32),
                );
                if cpu == 3 && n % 50 == 0 {
                    let text = Trace::new(&Rings::take(), None).to_string();
                    assert!(text.lines().all(|line| line.starts_with('#')
                        || line.contains("EVENTS]")
                        || line.contains(": mm_vmscan_wakeup_kswapd: nid=0 order=")));
                    reads.fetch_add(1, Relaxed);
                }
            }
        });
        assert!(reads.load(Relaxed) == (EACH / 50) as u64);
        let rings = Rings::take();
        assert!(rings.rings.iter().map(|of| of.cpu).eq(crate::percpu::possible_cpus()));
        for (cpu, of) in rings.rings.iter().take(4).enumerate() {
            let ring = &of.ring;
            let dropped = DROPPED.of(of.cpu).load(Relaxed);
            assert_eq!(ring.written() + dropped, EACH as u64, "CPU {cpu}");
            assert_eq!(ring.records().count() as u64, ring.entries());
            let mut last = (0, 0);
            for record in ring.records() {
                let event = event_of(u16::from_le_bytes([record.data[0], record.data[1]]));
                // What is recorded is whole: both fields tell of the same event.
                let (order, n) = (event.number(record.data, 2), event.number(record.data, 3));
                assert_eq!(order, n % 11);
                assert!(record.time > last.0 && (last.1 == 0 || n > last.1));
                last = (record.time, n);
            }
            // Who reads finds its own ring there again.
            assert!(cpu != 3 || (dropped == 0 && last.1 > 0));
        }
        let stats = Stats(&rings, CpuId::BOOT).to_string();
        assert!(stats.starts_with(&format!(
            "entries: {}\noverrun: ",
            rings.rings.get(CpuId::BOOT).unwrap().entries()
        )));
    });
}

/// An event within the writing of another, or while somebody reads, is dropped and counted.
#[test]
fn who_comes_between_is_dropped_and_counted() {
    on_machine(|_| {
        set_event_names("mm_page_free").unwrap();
        let frame = alloc_pages(KERNEL, Order::ZERO).unwrap();
        crate::arch::irq::with_masked(|irq| {
            let _writing = RINGS.get(irq).lock(irq);
            crate::mm::hooks::points::mm_page_free(frame, Order::ZERO);
        });
        let rings = Rings::take();
        crate::mm::hooks::points::mm_page_free(frame, Order::ZERO);
        assert!(Stats(&rings, CpuId::BOOT).to_string().contains("\ndropped events: 2\n"));
        drop(rings);
        // SAFETY: allocated here, and nobody uses it any more.
        unsafe { free_pages(frame, Order::ZERO) };
        assert_eq!(lines().len(), 1);
        clear();
        assert!(Stats(&Rings::take(), CpuId::BOOT).to_string().contains("\ndropped events: 0\n"));
    });
}
