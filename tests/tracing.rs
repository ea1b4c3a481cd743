//! Tracing on the running kernel, by way of its files: each event is provoked and found.
//!
//! Command line: cma=16M kfence.sample_interval=5

#![no_std]
#![no_main]

extern crate alloc;

mod harness;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::hint::black_box;
use granule::addr::{Order, PAGE_SIZE, VirtAddr};
use granule::arch::CpuId;
use granule::arch::irq::with_masked;
use granule::fs;
use granule::init::secondary;
use granule::mm::alloc_pages::{alloc_pages, alloc_pages_bulk};
use granule::mm::cma::{cma_alloc, cma_release, default_area};
use granule::mm::compaction::compact_zone;
use granule::mm::debug::{is_kfence_address, report};
use granule::mm::gfp::Gfp;
use granule::mm::page::Frame;
use granule::mm::page_alloc::{
    PageList, Pages, drain_all_pages, drain_local_pages, free_pages, free_pages_bulk,
    nr_used_pages, zones,
};
use granule::mm::slab::{self, SlabFlags, kfree, kmalloc, kmem_cache_create, kmem_cache_destroy};
use granule::mm::vmalloc::{VmArea, vm_unmap_aliases};
use granule::mm::zsmalloc::ZsPool;
use granule::sched::msleep;

const DIR: &str = "/sys/kernel/tracing/";

fn cat(file: &str) -> String {
    let mut text = String::new();
    fs::read(&format!("{DIR}{file}"), &mut text).unwrap_or_else(|why| panic!("{file}: {why}"));
    text
}

fn echo(text: &str, file: &str) {
    fs::write(&format!("{DIR}{file}"), text).unwrap_or_else(|why| panic!("{file}: {why}"));
}

/// The records: the name of each event, and its fields.
fn records(trace: &str) -> impl Iterator<Item = (&str, &str)> {
    trace.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
        let (_, rest) = line.split_once(": ")?;
        rest.split_once(": ")
    })
}

/// The number that follows `key=` in the fields.
fn field(fields: &str, key: &str) -> u64 {
    let word = fields.split([' ', ',']).find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
    let word = word.unwrap_or_else(|| panic!("no {key} in {fields}"));
    match word.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => word.parse(),
    }
    .unwrap_or_else(|_| panic!("{key} is no number in {fields}"))
}

fn order(n: u8) -> Order {
    Order::new(n).expect("an order")
}

/// Switches all off, and gives the memory of the rings back; but not where the command line
/// switched events on, whose records are to stay.
fn off() {
    if !granule_wants_events() {
        echo("", "set_event");
        echo("", "free_buffer");
    }
}

fn granule_wants_events() -> bool {
    let mut line = String::new();
    fs::read("/proc/cmdline", &mut line).expect("a command line");
    line.contains("trace_event=")
}

/// Takes all memory that may be had at once, and gives it back: other kinds' pageblocks are
/// taken, and kswapd is woken.
fn exhaust() {
    let mut taken = PageList::<Pages>::new();
    for n in (0..11).rev() {
        while let Some(block) = Pages::alloc(Gfp::GFP_NOWAIT, order(n)) {
            taken.push(block);
        }
    }
}

/// Makes pages that can be moved, with holes between them, and has them moved.
fn compact() {
    let movable = Gfp::GFP_HIGHUSER_MOVABLE;
    let pool = ZsPool::new().expect("a pool");
    let objects: Vec<_> =
        (0..64).map(|_| pool.malloc(PAGE_SIZE, movable).expect("memory")).collect();
    objects.iter().step_by(2).for_each(|&object| pool.free(object));
    drain_all_pages();
    zones().for_each(|zone| {
        compact_zone(zone.id);
    });
    objects.iter().skip(1).step_by(2).for_each(|&object| pool.free(object));
}

/// Reads an object of KFENCE's that is freed: its page is not mapped then.
fn fault() -> VirtAddr {
    report::set_sink(|_| {});
    loop {
        let object = kmalloc(32, Gfp::GFP_KERNEL).expect("memory").as_ptr();
        // SAFETY: allocated just now, and not used after that but for what KFENCE sees to.
        unsafe { kfree(object) };
        if is_kfence_address(VirtAddr::from_ptr(object)) {
            // SAFETY: memory of KFENCE's, which resolves the fault.
            black_box(unsafe { object.read_volatile() });
            return VirtAddr::from_ptr(object);
        }
        msleep(1);
    }
}

kernel_tests! {
    /// Records the events that scripts/test has trace-cmd read too.
    fn every_event_is_found_with_its_fields() {
        // One that is there from before the rings are is none of what is recorded.
        echo("*:*", "set_event");
        assert_eq!(cat("set_event"), cat("available_events"));
        // Its event is dropped if it wakes while the rings are read.
        loop {
            exhaust();
            msleep(10);
            if records(&cat("trace")).any(|(name, _)| name == "mm_vmscan_kswapd_wake") {
                break;
            }
        }
        compact();
        let faulted = fault();
        let frame = alloc_pages(Gfp::GFP_KERNEL | Gfp::__GFP_ZERO, order(3)).expect("memory");
        // SAFETY: allocated here, and nobody uses it any more.
        unsafe { free_pages(frame, order(3)) };
        let cache = kmem_cache_create("traced", 200, 8, SlabFlags::NO_MERGE, None).expect("a cache");
        let object = cache.alloc(Gfp::GFP_KERNEL).expect("memory");
        // SAFETY: allocated just now.
        unsafe { cache.free(object) };
        // SAFETY: nobody uses it.
        assert!(unsafe { kmem_cache_destroy(cache) }.is_ok());
        let area = VmArea::vmalloc(5 * PAGE_SIZE, Gfp::GFP_KERNEL).expect("memory");
        let va_start = area.virt().get() as u64;
        drop(area);
        vm_unmap_aliases();
        let cma = default_area().expect("an area");
        let run = cma_alloc(cma, 16, order(2)).expect("free pages");
        // SAFETY: allocated here, and nobody uses it any more.
        assert!(unsafe { cma_release(cma, run, 16) });

        let trace = cat("trace");
        let find = |event: &str, is: &dyn Fn(&str) -> bool| {
            let mut of = records(&trace).filter(|&(name, _)| name == event);
            let found = of.find(|&(_, fields)| is(fields)).map(|(_, fields)| fields);
            found.unwrap_or_else(|| panic!("no {event} that is such"))
        };
        let pfn = |frame: Frame| u64::from(frame.pfn().get());
        let page = |frame: Frame| core::ptr::from_ref(frame.page()).addr() as u64;
        find("mm_page_alloc", &|fields| {
            fields.starts_with("page=0x0 pfn=0xffffffffffffffff order=10 ")
        });
        find("mm_vmscan_wakeup_kswapd", &|fields| fields.ends_with("gfp_flags=GFP_NOWAIT"));
        find("mm_page_alloc_extfrag", &|fields| field(fields, "pageblock_order") == 9);
        let (at, of) = (page(frame), pfn(frame));
        let told = format!("page={at:#x} pfn={of:#x} order=3");
        find("mm_page_alloc", &|fields| {
            fields == format!("{told} migratetype=0 gfp_flags=GFP_KERNEL|__GFP_ZERO")
        });
        find("mm_page_free", &|fields| fields == told);
        let at = object.as_ptr().addr() as u64;
        let alloc = find("kmem_cache_alloc", &|fields| {
            field(fields, "ptr") == at && fields.contains(" bytes_req=200 bytes_alloc=200 ")
        });
        assert!(alloc.starts_with("call_site=tests/tracing.rs:"), "{alloc}");
        let free = find("kmem_cache_free", &|fields| {
            field(fields, "ptr") == at && fields.ends_with(" name=traced")
        });
        assert!(free.starts_with("call_site=tests/tracing.rs:"), "{free}");
        let at = faulted.get() as u64;
        let alloc = find("kmalloc", &|fields| field(fields, "ptr") == at);
        assert_eq!(field(alloc, "bytes_req"), 32);
        find("kfree", &|fields| field(fields, "ptr") == at);
        // A data abort of the kernel's own, by a translation fault.
        let fault = find("page_fault_kernel", &|fields| field(fields, "address") == at);
        let esr = field(fault, "error_code");
        assert!(esr >> 26 == 0x25 && esr & 0x3c == 0x04, "{fault}");
        let alloc = find("alloc_vmap_area", &|fields| fields.starts_with(&format!("va_start: {va_start} ")));
        assert!(alloc.contains(" size=24576 align=4096 ") && alloc.ends_with(" failed=0"), "{alloc}");
        let free = find("free_vmap_area_noflush", &|fields| field(fields, "va_start") == va_start);
        assert!(field(free, "nr_lazy") >= 6 && field(free, "nr_lazy_max") == 768, "{free}");
        let purge = find("purge_vmap_area_lazy", &|fields| {
            (field(fields, "start")..field(fields, "end")).contains(&va_start)
        });
        assert!(field(purge, "num_purged") >= 1);
        let name = cma.name();
        assert_eq!(find("cma_alloc_start", &|_| true), format!("name={name} count=16 align=2"));
        let (at, page) = (pfn(run), page(run));
        assert_eq!(
            find("cma_alloc_finish", &|_| true),
            format!("name={name} pfn={at:#x} page={page:#x} count=16 align=2 errorno=0")
        );
        assert_eq!(
            find("cma_release", &|_| true),
            format!("name={name} pfn={at:#x} page={page:#x} count=16")
        );
        let moved = |fields: &str| field(fields, "nr_migrated") > 0;
        find("mm_compaction_migratepages", &moved);
        let took = |fields: &str| field(fields, "nr_taken") > 0 && field(fields, "nr_scanned") > 0;
        find("mm_compaction_isolate_migratepages", &took);
        find("mm_compaction_isolate_freepages", &took);
        let begin = find("mm_compaction_begin", &|fields| fields.ends_with(", mode=sync"));
        find("mm_compaction_end", &|fields| {
            field(fields, "zone_start") == field(begin, "zone_start")
                && fields.ends_with(", mode=sync status=complete")
        });
        off();
    }

    fn off_again_nothing_is_written() {
        let work = || {
            // SAFETY: allocated here, and nobody uses it any more.
            unsafe { free_pages(alloc_pages(Gfp::GFP_KERNEL, Order::ZERO).expect("memory"), Order::ZERO) };
            drop(VmArea::vmalloc(PAGE_SIZE, Gfp::GFP_KERNEL).expect("memory"));
            // SAFETY: allocated just now.
            unsafe { kfree(kmalloc(64, Gfp::GFP_KERNEL).expect("memory").as_ptr()) };
        };
        let there = || records(&cat("trace")).count();
        for file in ["set_event", "events/kmem/enable", "events/enable", "events/vmalloc/alloc_vmap_area/enable"] {
            echo(if file == "set_event" { "kmem:*" } else { "1" }, file);
            echo("", "trace");
            work();
            assert!(there() > 0, "{file}");
            echo("0", "events/enable");
            assert_eq!((cat("events/enable").as_str(), cat("set_event").as_str()), ("0\n", ""));
            echo("", "trace");
            work();
            assert_eq!(there(), 0, "{file}");
        }
        echo("kfree", "set_event");
        assert_eq!(cat("events/kmem/enable"), "X\n");
        assert_eq!(cat("events/kmem/kfree/enable"), "1\n");
        echo("0", "tracing_on");
        echo("", "trace");
        work();
        assert_eq!(there(), 0);
        echo("1", "tracing_on");
        work();
        assert!(there() > 0);
        assert_eq!(fs::write(&format!("{DIR}free_buffer"), ""), Err(fs::FsError::Busy));
        assert_eq!(fs::write(&format!("{DIR}set_event"), "nothing"), Err(fs::FsError::InvalidArgument));
        off();
    }

    /// Allocates on all CPUs at once, while threads in the background allocate too.
    fn pages_allocated_less_pages_freed_are_pages_in_use() {
        fn work(cpu: CpuId) {
            for n in 0..300u32 {
                let order = order((n % 5) as u8);
                let frame = alloc_pages(Gfp::GFP_NOWAIT, order);
                let mut some = [const { None }; 9];
                alloc_pages_bulk(Gfp::GFP_NOWAIT, &mut some);
                free_pages_bulk(&mut some[cpu.index()..]);
                drop(some);
                if let Some(frame) = frame {
                    // SAFETY: allocated here, and nobody uses it any more.
                    unsafe { free_pages(frame, order) };
                }
            }
        }
        echo("4096", "buffer_size_kb");
        echo("mm_page_alloc mm_page_free", "set_event");
        drain_all_pages();
        echo("", "trace");
        let before = nr_used_pages();
        secondary::on_each(work);
        let kept: Vec<_> = (0..7).map(|n| alloc_pages(Gfp::GFP_KERNEL, order(n)).expect("memory")).collect();
        echo("0", "tracing_on");
        let change = i64::from(nr_used_pages()) - i64::from(before);
        let trace = cat("trace");
        assert!(!trace.contains("LOST") && !cat("per_cpu/cpu0/stats").contains("dropped events: 1"));
        let mut sum = 0;
        for (name, fields) in records(&trace) {
            let pages = 1i64 << field(fields, "order");
            match name {
                "mm_page_alloc" if field(fields, "page") == 0 => {}
                "mm_page_alloc" => sum += pages,
                _ => sum -= pages,
            }
        }
        assert!(records(&trace).count() > 4 * 300 * 20);
        // Of all CPUs, in the order of their times.
        let times = trace.lines().filter(|line| !line.starts_with('#')).map(|line| {
            let before = line.split_once(": ").map_or("", |(before, _)| before);
            let (seconds, micros) = before.rsplit(' ').next()?.split_once('.')?;
            Some((seconds.parse::<u64>().ok()?, micros.parse::<u64>().ok()?))
        });
        assert!(times.clone().all(|time| time.is_some()) && times.is_sorted());
        assert!((0..2).all(|cpu| trace.contains(&format!(" [{cpu:03}] "))));
        // The text itself takes pages, after the last record.
        assert_eq!(sum, change);
        assert!(sum >= 127);
        for (n, frame) in (0..).zip(kept) {
            // SAFETY: allocated here, and nobody uses it any more.
            unsafe { free_pages(frame, order(n)) };
        }
        echo("1", "tracing_on");
        off();
    }

    /// KFENCE takes the key of allocations and gives it back while others have it on.
    fn kfence_and_tracing_share_a_key() {
        fn work(cpu: CpuId) {
            for n in 0..3000 {
                if cpu == CpuId::BOOT && n % 20 == 0 {
                    echo(if n % 40 == 0 { "kmalloc" } else { "" }, "set_event");
                }
                if let Some(object) = kmalloc(64, Gfp::GFP_NOWAIT) {
                    // SAFETY: allocated just now.
                    unsafe { kfree(object.as_ptr()) };
                }
            }
        }
        echo("64", "buffer_size_kb");
        for _ in 0..5 {
            secondary::on_each(work);
        }
        // What the CPUs keep of the objects.
        secondary::on_each(|_| {
            slab::shrink_all();
            with_masked(drain_local_pages);
        });
        off();
        echo("1408", "buffer_size_kb");
        off();
    }

    fn a_small_ring_holds_the_newest() {
        echo("8", "buffer_size_kb");
        assert_eq!(cat("buffer_size_kb"), "8\n");
        echo("mm_page_free", "set_event");
        for n in 0..1000u32 {
            let order = order((n % 3) as u8);
            // SAFETY: allocated here, and nobody uses it any more.
            unsafe { free_pages(alloc_pages(Gfp::GFP_KERNEL, order).expect("memory"), order) };
        }
        echo("0", "tracing_on");
        let trace = cat("trace");
        let stats = cat("per_cpu/cpu0/stats");
        let stat = |key: &str| -> u64 {
            let line = stats.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(": "));
            line.and_then(|word| word.trim().parse().ok()).unwrap_or_else(|| panic!("{key}: {stats}"))
        };
        let (entries, overrun) = (stat("entries"), stat("overrun"));
        assert!(entries > 100 && overrun > 500 && entries + overrun >= 1000, "{stats}");
        assert!(trace.contains(&format!("CPU:0 [LOST {overrun} EVENTS]")), "{stats}");
        let own = cat("per_cpu/cpu0/trace");
        assert_eq!(records(&own).count() as u64, entries);
        // The last ones are the newest.
        let last = records(&own).map(|(_, fields)| field(fields, "order")).last();
        assert_eq!(last, Some(0));
        echo("1", "tracing_on");
        echo("1408", "buffer_size_kb");
        assert!(cat("trace").starts_with("# tracer: nop\n"));
        let format = cat("events/kmem/kfree/format");
        assert!(format.starts_with(&format!("name: kfree\nID: {}", cat("events/kmem/kfree/id"))));
        off();
    }
}
