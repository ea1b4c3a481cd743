//! The files of /proc and /sys on the running kernel: each figure against what the allocators
//! count when they check themselves, and what a walk of all frames finds.
//!
//! Command line: cma=64M

#![no_std]
#![no_main]

extern crate alloc;

mod harness;

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::ptr::NonNull;
use granule::addr::{Order, PAGE_SIZE, VirtAddr};
use granule::arch::CpuId;
use granule::arch::image;
use granule::arch::irq::with_masked;
use granule::arch::layout;
use granule::arch::smp;
use granule::arch::switch::THREAD_SIZE;
use granule::fs::{self, FsError};
use granule::kprintln;
use granule::mm::alloc_pages::{FailPageAlloc, alloc_pages, set_fail_page_alloc};
use granule::mm::cma::{CmaPages, cma_alloc, cma_release, default_area};
use granule::mm::gfp::Gfp;
use granule::mm::kthread::kthread_create_on_cpu;
use granule::mm::page::{Frame, PageType};
use granule::mm::page_alloc::{self, ZoneInfo, drain_all_pages, free_pages, zones};
use granule::mm::slab::{SlabFlags, SlabInfo, kmem_cache_create, kmem_cache_destroy, slabinfo};
use granule::mm::stat::si_mem_available;
use granule::mm::validate;
use granule::mm::vmalloc::VmArea;
use granule::mm::{init_mm, slab, thread_stack, vmalloc};

/// The text of a file. What it is written into has room from the start, so that reading
/// changes nothing of what it reads.
fn text(path: &str) -> String {
    let mut text = String::with_capacity(64 << 10);
    fs::read(path, &mut text).unwrap_or_else(|why| panic!("{path}: {why}"));
    assert!(text.len() < 64 << 10, "{path} is longer than there is room for");
    text
}

/// Returns true if a file can be read; some can only be written.
fn is_readable(path: &str) -> bool {
    fs::metadata(path).is_ok_and(|file| file.mode & 0o444 != 0)
}

/// The figures of lines `NAME FIGURE` or `NAME: FIGURE kB`.
fn figures(lines: &str) -> BTreeMap<String, u64> {
    let line = |line: &str| {
        let mut words = line.split_whitespace();
        let name = words.next().expect("a name").trim_end_matches(':').to_string();
        (name, words.next().and_then(|word| word.parse().ok()).expect("a figure"))
    };
    lines.lines().map(line).collect()
}

/// All frames that have descriptors.
fn frames() -> impl Iterator<Item = Frame> {
    zones().flat_map(|zone| zone.spanned.iter()).filter_map(Frame::new)
}

/// Number of frames of this type.
fn typed(page_type: PageType) -> u64 {
    frames().filter(|frame| frame.page().is_type(page_type)).count() as u64
}

/// All checks of all allocators.
fn validate() {
    if let Err(invalid) = validate::validate() {
        panic!("{invalid}");
    }
    slab::validate();
    vmalloc::validate();
}

/// Pages that a walk of all free lists finds, by the mark of each block's head.
fn walked_free() -> u64 {
    let pages = |frame: Frame| {
        let page = frame.page();
        match page.page_type() {
            PageType::Buddy => 1u64 << page.private(),
            PageType::Pcp => u64::from(page_alloc::block_order(frame).pages()),
            _ => 0,
        }
    };
    frames().map(pages).sum()
}

/// Texts and counts of one moment: nothing is allocated or freed between them.
struct Seen {
    texts: [String; FILES.len()],
    caches: Vec<SlabInfo>,
    free: u64,
    slabs: u64,
    tables: u64,
}

const FILES: [&str; 6] = [
    "/proc/meminfo",
    "/proc/vmstat",
    "/proc/buddyinfo",
    "/proc/zoneinfo",
    "/proc/vmallocinfo",
    "/proc/slabinfo",
];

impl Seen {
    fn now() -> Self {
        const ROOM: usize = 32 << 10;
        validate();
        // They are mapped as those of threads are.
        thread_stack::free_vm_stack_cache(usize::MAX);
        let mut texts = FILES.map(|_| String::with_capacity(ROOM));
        let mut caches = Vec::with_capacity(200);
        for (path, text) in FILES.iter().zip(&mut texts) {
            fs::read(path, text).unwrap_or_else(|why| panic!("{path}: {why}"));
        }
        caches.extend(slabinfo());
        let (free, slabs) = (walked_free(), typed(PageType::Slab));
        let seen = Self { texts, caches, free, slabs, tables: typed(PageType::Table) };
        assert!(
            seen.texts.iter().all(|text| text.capacity() == ROOM) && seen.caches.capacity() == 200
        );
        seen
    }
}

/// Prints every file, and behind them what their readers must come to: figures as the allocators
/// count them when they check themselves, and as a walk of all frames finds them. For
/// `scripts/tests/proc`.
fn print_all() {
    let mut paths = Vec::with_capacity(100);
    fs::for_each_file(&mut |path| {
        if is_readable(path) {
            paths.push(path.to_string());
        }
    });
    // The snapshot is all the others in one.
    let room = |path: &str| match path {
        "/proc/kallsyms" => 1 << 20,
        path if path.ends_with("/memory_snapshot") => 256 << 10,
        _ => 32 << 10,
    };
    let mut texts: Vec<_> = paths.iter().map(|path| String::with_capacity(room(path))).collect();
    let seen = Seen::now();
    // Nothing is allocated from here to the last figure.
    for (path, text) in paths.iter().zip(&mut texts) {
        assert_eq!(fs::read(path, text), Ok(()), "{path}");
        assert!(text.capacity() == room(path), "{path} is longer than there is room for");
    }
    let sum = |figure: fn(&ZoneInfo) -> u32| zones().map(|z| u64::from(figure(&z))).sum::<u64>();
    let is_given = |info: &&SlabInfo| info.flags.contains(SlabFlags::RECLAIM_ACCOUNT);
    let given: usize = seen.caches.iter().filter(is_given).map(|info| info.pages).sum();
    let figures = [
        ("MemTotal", sum(|zone| zone.managed)),
        ("MemFree", seen.free + sum(|zone| zone.deferred)),
        ("MemAvailable", si_mem_available() as u64),
        ("Slab", seen.slabs),
        ("SReclaimable", given as u64),
        ("PageTables", seen.tables),
        ("VmallocUsed", vmalloc::vmalloc_stat().allocated as u64),
        ("CmaTotal", sum(|zone| zone.cma)),
        ("CmaFree", sum(|zone| zone.free_cma)),
    ];
    validate();
    for (path, text) in paths.iter().zip(&texts) {
        kprintln!("=== {path}");
        granule::kprint!("{text}");
    }
    kprintln!("=== figures");
    for (name, pages) in figures {
        kprintln!("pages {name} {pages}");
    }
    for info in &seen.caches {
        kprintln!(
            "cache {} {} {} {} {} {} {}",
            info.name,
            info.active_objects,
            info.total_objects,
            info.size,
            info.objects_per_slab,
            info.pages_per_slab,
            info.slabs
        );
    }
    for (name, part) in [("code", image::text()), ("data", image::data())] {
        let start = image::phys(part.start()).get();
        kprintln!("image {name} {start:#x} {:#x}", start + part.len() as u64 - 1);
    }
    for zone in zones() {
        let node = zone.id.node().index();
        kprintln!(
            "zone {node} {} {} {} {}",
            zone.id.kind(),
            zone.free(),
            zone.managed,
            zone.present
        );
    }
    kprintln!("=== end");
}

/// Compares all figures of memory in use and free that two sources have.
fn compare() {
    let seen = Seen::now();
    let [meminfo, vmstat, buddyinfo, zoneinfo, vmallocinfo, slabinfo] = &seen.texts;
    let (meminfo, vmstat) = (figures(meminfo), figures(vmstat));
    let free = vmstat["nr_free_pages"];

    // The lists by their walk, and what is on none.
    assert_eq!(seen.free + vmstat["nr_free_deferred"], free);
    let listed: u64 = buddyinfo
        .lines()
        .flat_map(|line| line.split_whitespace().skip(4).enumerate())
        .map(|(order, blocks)| blocks.parse::<u64>().expect("a figure") << order)
        .sum();
    assert_eq!(listed + vmstat["nr_free_pcp"] + vmstat["nr_free_deferred"], free);
    assert_eq!(meminfo["MemFree"], free * 4);
    assert_eq!(meminfo["MemTotal"], zones().map(|zone| u64::from(zone.managed)).sum::<u64>() * 4);

    // A zone's own lines, and those of its CPUs.
    let sum = |name: &str| -> u64 {
        let lines = zoneinfo.lines().filter_map(|line| line.trim_start().strip_prefix(name));
        lines.filter_map(|rest| rest.strip_prefix(' ')?.trim().parse::<u64>().ok()).sum()
    };
    assert_eq!(sum("pages free"), free);
    assert_eq!(sum("nr_free_pages"), free);
    assert_eq!(sum("count:"), vmstat["nr_free_pcp"]);
    assert_eq!(sum("managed") * 4, meminfo["MemTotal"]);
    assert_eq!(sum("present"), zones().map(|zone| u64::from(zone.present)).sum::<u64>());
    for name in ["nr_free_cma", "nr_slab_unreclaimable", "nr_page_table_pages", "nr_kernel_stack"] {
        assert_eq!(sum(name), vmstat[name], "{name}");
    }

    // Frames that say whose they are.
    let slabs = vmstat["nr_slab_reclaimable"] + vmstat["nr_slab_unreclaimable"];
    assert_eq!(slabs, seen.slabs);
    assert_eq!(meminfo["Slab"], slabs * 4);
    assert_eq!(meminfo["SReclaimable"] + meminfo["SUnreclaim"], meminfo["Slab"]);
    assert_eq!(vmstat["nr_page_table_pages"], seen.tables);
    assert_eq!(meminfo["PageTables"], vmstat["nr_page_table_pages"] * 4);
    assert_eq!(meminfo["KernelStack"], vmstat["nr_kernel_stack"]);

    // Areas by their lines, and by what the tables map.
    let (mut pages, mut stacks) = (0, 0);
    for line in vmallocinfo.lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        let (start, end) = words[0].split_once('-').expect("a range");
        let [start, end] = [start, end].map(|at| {
            usize::from_str_radix(at.strip_prefix("0x").expect("0x"), 16).expect("an address")
        });
        assert_eq!(words[1].parse(), Ok(end - start));
        let mapped = (start..end).step_by(PAGE_SIZE).map(VirtAddr::new);
        let mapped = mapped.filter(|&va| init_mm::translate(va).is_some()).count();
        assert_eq!((mapped + 1) * PAGE_SIZE, end - start, "{line}");
        if words.contains(&"vmalloc") {
            assert!(words.contains(&format!("pages={mapped}").as_str()), "{line}");
            pages += mapped as u64;
            // Emergency stacks are no threads' (Linux: overflow_stack).
            let is_stack =
                words[2].contains("thread_stack.rs") || words[2].contains("secondary.rs");
            if is_stack && mapped * PAGE_SIZE == THREAD_SIZE {
                stacks += mapped as u64;
            }
        }
    }
    assert_eq!(meminfo["VmallocUsed"], pages * 4);
    assert!(meminfo["KernelStack"] == stacks * 4 && stacks > 0);
    assert_eq!(meminfo["VmallocTotal"], layout::VMALLOC.len() as u64 >> 10);

    // Each cache as it describes itself; the pages of all slabs were just counted.
    let mut lines = slabinfo.lines().skip(2);
    let mut least = 0;
    for info in &seen.caches {
        let words: Vec<_> = lines.next().expect("a line").split_whitespace().collect();
        let figure = |n: usize| words[n].parse::<usize>().expect("a figure");
        assert_eq!(words[0], info.name);
        assert_eq!(
            [figure(1), figure(2), figure(3)],
            [info.active_objects, info.total_objects, info.size]
        );
        assert_eq!([figure(4), figure(5)], [info.objects_per_slab, info.pages_per_slab]);
        assert_eq!([figure(13), figure(14)], [info.slabs, info.slabs]);
        least += figure(14) * figure(5);
    }
    assert_eq!((lines.next(), least as u64), (None, slabs));

    // An area of CMA by the bits of its map.
    let area = default_area().expect("boot with cma=64M");
    let of = |name: &str| text(&format!("/sys/kernel/debug/cma/{}/{name}", area.name()));
    let ones = |word: &str| word.parse::<u32>().expect("a word").count_ones();
    let bits: u32 = of("bitmap").split_whitespace().map(ones).sum();
    assert_eq!(of("used").trim().parse(), Ok(bits));
    assert_eq!(meminfo["CmaTotal"], u64::from(area.range().len()) * 4);
    assert_eq!(meminfo["CmaFree"], vmstat["nr_free_cma"] * 4);
}

/// Differences of figures of /proc/vmstat over `f`, on a CPU that keeps no pages.
fn changes(names: &[&str], f: impl FnOnce()) -> Vec<i64> {
    let read = || {
        drain_all_pages();
        let mut text = String::with_capacity(32 << 10);
        let read = fs::read("/proc/vmstat", &mut text);
        assert_eq!(read, Ok(()));
        let all = figures(&text);
        names.iter().map(|&name| all[name] as i64).collect::<Vec<_>>()
    };
    // Whatever reading needs for the first time is there afterwards.
    read();
    let before = read();
    f();
    read().iter().zip(before).map(|(after, before)| after - before).collect()
}

/// Swallows a text.
struct Sink(usize);

impl fmt::Write for Sink {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 += text.len();
        Ok(())
    }
}

kernel_tests! {
    fn all_figures_agree_after_the_boot() {
        compare();
    }

    fn and_while_memory_of_all_kinds_is_in_use() {
        let order = Order::new(3).expect("an order");
        let pages: Vec<_> = (0..1000).filter_map(|_| alloc_pages(Gfp::GFP_KERNEL, Order::ZERO)).collect();
        let blocks: Vec<_> = (0..100).filter_map(|_| alloc_pages(Gfp::GFP_KERNEL, order)).collect();
        let boxes: Vec<_> = (0..5000u64).map(alloc::boxed::Box::new).collect();
        let areas: Vec<_> = (1..50).filter_map(|n| VmArea::vmalloc(n * 5000, Gfp::GFP_KERNEL)).collect();
        let area = default_area().expect("boot with cma=64M");
        let run = cma_alloc(area, 333, Order::ZERO).expect("it is free");
        assert_eq!((pages.len(), blocks.len(), areas.len()), (1000, 100, 49));
        compare();
        // SAFETY: allocated here, and nobody uses it any more.
        assert!(unsafe { cma_release(area, run, 333) });
        drop(boxes);
        drop(areas);
        // SAFETY: allocated here, and nobody uses it any more.
        pages.into_iter().for_each(|page| unsafe { free_pages(page, Order::ZERO) });
        // SAFETY: allocated here, and nobody uses it any more.
        blocks.into_iter().for_each(|block| unsafe { free_pages(block, order) });
        compare();
        drain_all_pages();
        compare();
    }

    fn what_is_taken_shows_to_the_page() {
        let order = Order::new(4).expect("an order");
        let mut block = None;
        assert_eq!(changes(&["nr_free_pages"], || block = alloc_pages(Gfp::GFP_KERNEL, order)), [-16]);
        // SAFETY: allocated here, and nobody uses it any more.
        assert_eq!(changes(&["nr_free_pages"], || unsafe { free_pages(block.expect("memory"), order) }), [16]);

        let area = default_area().expect("boot with cma=64M");
        let mut run = None;
        let names = ["nr_free_pages", "nr_free_cma", "cma_alloc_success"];
        assert_eq!(changes(&names, || run = cma_alloc(area, 100, Order::ZERO)), [-100, -100, 1]);
        // SAFETY: allocated here, and nobody uses it any more.
        assert_eq!(changes(&names, || assert!(unsafe { cma_release(area, run.expect("a run"), 100) })), [100, 100, 0]);

        let mut held = None;
        let used = |f: &mut dyn FnMut()| {
            let before = figures(&text("/proc/meminfo"))["VmallocUsed"];
            f();
            figures(&text("/proc/meminfo"))["VmallocUsed"] as i64 - before as i64
        };
        assert_eq!(used(&mut || held = VmArea::vmalloc(40 * PAGE_SIZE, Gfp::GFP_KERNEL)), 160);
        assert_eq!(used(&mut || drop(held.take().expect("memory"))), -160);
    }

    fn a_cache_shows_its_objects() {
        let cache = kmem_cache_create("proc_test", 200, 8, SlabFlags::NO_MERGE | SlabFlags::RECLAIM_ACCOUNT, None).expect("a cache");
        let line = || {
            let text = text("/proc/slabinfo");
            let line = text.lines().find(|line| line.starts_with("proc_test ")).expect("its line");
            let words: Vec<usize> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
            (words[0], words[1], words[2], words[9])
        };
        assert_eq!(line(), (0, 0, 200, 0));
        let mut objects: Vec<NonNull<u8>> = Vec::with_capacity(123);
        let reclaimable = changes(&["nr_slab_reclaimable"], || {
            (0..123).for_each(|_| objects.push(cache.alloc(Gfp::GFP_KERNEL).expect("memory")));
        });
        let (active, total, size, slabs) = line();
        assert_eq!((active, size), (123, 200));
        assert!(total >= 123 && slabs > 0);
        assert_eq!(reclaimable, [cache.info().pages as i64]);
        compare();
        for object in objects {
            // SAFETY: they were allocated above, and are freed once.
            unsafe { cache.free(object) };
        }
        assert_eq!(line().0, 0);
        // SAFETY: it is not used any more.
        unsafe { kmem_cache_destroy(cache) }.expect("it is empty");
        assert!(!text("/proc/slabinfo").contains("proc_test"));
    }

    fn slabs_of_a_lesser_order_count_as_what_they_are() {
        let cache = kmem_cache_create("lesser", 1000, 8, SlabFlags::NO_MERGE, None).expect("a cache");
        let mut objects: Vec<NonNull<u8>> = Vec::with_capacity(200);
        // The sheaves are there before nothing larger than a page is to be had.
        objects.push(cache.alloc(Gfp::GFP_KERNEL).expect("memory"));
        let usual = cache.info();
        assert!(usual.pages_per_slab > 1 && usual.pages == usual.slabs * usual.pages_per_slab);
        let _ = set_fail_page_alloc(FailPageAlloc::parse("1,1000000,0,1"));
        let gfp = Gfp::GFP_KERNEL | Gfp::__GFP_NOWARN;
        let more = (objects.len()..200).map_while(|_| cache.alloc(gfp));
        objects.extend(more);
        assert!(set_fail_page_alloc(None) > 0);
        assert_eq!(objects.len(), 200);
        let info = cache.info();
        assert!(info.pages < info.slabs * info.pages_per_slab, "{info:?}");
        let seen = Seen::now();
        let vmstat = figures(&seen.texts[1]);
        assert_eq!(vmstat["nr_slab_reclaimable"] + vmstat["nr_slab_unreclaimable"], seen.slabs);
        for object in objects {
            // SAFETY: they were allocated above, and are freed once.
            unsafe { cache.free(object) };
        }
        // SAFETY: it is not used any more.
        unsafe { kmem_cache_destroy(cache) }.expect("it is empty");
    }

    fn stacks_of_threads_count_while_they_live() {
        let stacks = || figures(&text("/proc/vmstat"))["nr_kernel_stack"];
        let before = stacks();
        let cpu = CpuId::new(0).expect("a number");
        let threads: Vec<_> =
            (0..3).filter_map(|_| kthread_create_on_cpu("stacked", cpu, || 0).ok()).collect();
        assert_eq!(stacks(), before + 3 * (THREAD_SIZE as u64 >> 10));
        compare();
        for thread in threads {
            thread.wake_up();
            assert_eq!(thread.join(), 0);
        }
        assert_eq!(stacks(), before);
        compare();
    }

    fn every_file_is_read_while_memory_is_exhausted() {
        let gfp = Gfp::GFP_HIGHUSER_MOVABLE | Gfp::__GFP_MEMALLOC | Gfp::__GFP_NOWARN;
        // Linked through their own bytes: there is no memory for a list of them.
        let (mut last, mut taken) = (None::<Frame>, 0u32);
        let word = |frame: Frame| core::ptr::with_exposed_provenance_mut::<Option<Frame>>(frame.virt().get());
        with_masked(|_| {
            while let Some(frame) = alloc_pages(gfp - Gfp::__GFP_RECLAIM, Order::ZERO) {
                // SAFETY: the page was just allocated, and is in the linear map.
                unsafe { word(frame).write(last) };
                last = Some(frame);
                taken += 1;
            }
        });
        let used = page_alloc::nr_used_pages();
        let mut files = 0;
        fs::for_each_file(&mut |path| {
            let mut sink = Sink(0);
            if is_readable(path) {
                assert_eq!(fs::read(path, &mut sink), Ok(()), "{path}");
                files += 1;
            }
        });
        let after = page_alloc::nr_used_pages();
        while let Some(frame) = last {
            // SAFETY: as above; it is freed only now.
            last = unsafe { word(frame).read() };
            // SAFETY: allocated here, and nobody uses it any more.
            unsafe { free_pages(frame, Order::ZERO) };
        }
        assert_eq!(used, after);
        assert!(taken > 50_000 && files > 25, "{taken} pages, {files} files");
    }

    fn iomem_has_the_image_inside_of_ram() {
        let text = text("/proc/iomem");
        let find = |name: &str| {
            let line = text.lines().find(|line| line.ends_with(name)).unwrap_or_else(|| panic!("no {name}:\n{text}"));
            let (start, end) = line.trim_start().split(' ').next().and_then(|r| r.split_once('-')).expect("a range");
            let at = |hex| u64::from_str_radix(hex, 16).expect("an address");
            (line.len() - line.trim_start().len(), at(start), at(end))
        };
        let (code, data, ram) = (find(" : Kernel code"), find(" : Kernel data"), find(" : System RAM"));
        assert_eq!((code.0, data.0, ram.0), (2, 2, 0));
        assert_eq!(code.1, image::phys(image::text().start()).get());
        assert_eq!(data.2, image::phys(image::text().start()).get() + (image::data().end() - image::text().start()) as u64 - 1);
        assert!(ram.1 <= code.1 && data.2 <= ram.2);
        // All RAM, to the byte.
        let lines = text.lines().filter(|line| line.ends_with(" : System RAM"));
        let bytes = |line: &str| {
            let (start, end) = line.split(' ').next().and_then(|r| r.split_once('-')).expect("a range");
            let at = |hex| u64::from_str_radix(hex, 16).expect("an address");
            at(end) + 1 - at(start)
        };
        let present: u64 = zones().map(|zone| u64::from(zone.present)).sum();
        assert_eq!(lines.map(bytes).sum::<u64>(), present * PAGE_SIZE as u64);
        assert_eq!(find("pl011@9000000").1, 0x900_0000);
        let memory = self::text("/sys/kernel/debug/memblock/memory");
        assert_eq!(memory.lines().count(), text.lines().filter(|line| line.ends_with(": System RAM")).count());
        assert!(self::text("/sys/kernel/debug/memblock/reserved").lines().count() >= 3);
    }

    fn all_files_as_text_for_readers_on_the_host() {
        let given = kmem_cache_create("given", 300, 8, SlabFlags::NO_MERGE | SlabFlags::RECLAIM_ACCOUNT, None).expect("a cache");
        let objects: Vec<_> = (0..777).filter_map(|_| given.alloc(Gfp::GFP_KERNEL)).collect();
        let held = VmArea::vmalloc(123 * PAGE_SIZE, Gfp::GFP_KERNEL).expect("memory");
        let area = default_area().expect("boot with cma=64M");
        let run = cma_alloc(area, 99, Order::ZERO).expect("it is free");
        assert_eq!(objects.len(), 777);
        print_all();
        // SAFETY: allocated here, and nobody uses it any more.
        assert!(unsafe { cma_release(area, run, 99) });
        drop(held);
        for object in objects {
            // SAFETY: they were allocated above, and are freed once.
            unsafe { given.free(object) };
        }
        // SAFETY: it is not used any more.
        unsafe { kmem_cache_destroy(given) }.expect("it is empty");
    }

    /// Memory of an area is had and given back by hand, the latest run first.
    fn an_area_is_tried_by_its_files() {
        let area = default_area().expect("boot with cma=64M");
        let file = |name: &str| format!("/sys/kernel/debug/cma/{}/{name}", area.name());
        let write = |name: &str, what: &str| fs::write(&file(name), what);
        let used = || self::text(&file("used")).trim().parse::<u32>().expect("a number");
        assert_eq!(write("alloc", "100\n"), Ok(()));
        assert_eq!(write("alloc", "0x20"), Ok(()));
        assert_eq!((used(), area.info().allocated), (132, 132));
        assert_eq!(write("alloc", "20000"), Err(FsError::OutOfMemory), "the area has 16384 pages");
        assert_eq!(write("free", "40"), Ok(()));
        assert_eq!(used(), 92);
        assert_eq!(write("free", "1000"), Ok(()));
        assert_eq!(used(), 0);
        assert_eq!(write("free", "1"), Ok(()), "nothing is left");
        drop(CmaPages::alloc(area, area.range().len(), Order::ZERO).expect("all of it is free"));
    }

    fn cpus_are_listed_by_number() {
        let all = format!("0-{}\n", smp::online().count() - 1);
        for file in ["online", "possible", "present"] {
            assert_eq!(text(&format!("/sys/devices/system/cpu/{file}")), all, "{file}");
        }
    }

    fn the_command_line_is_there_and_files_say_what_is_wrong() {
        assert!(text("/proc/cmdline").contains("cma=64M"));
        assert!(text("/proc/cmdline").ends_with('\n'));
        let mut sink = Sink(0);
        assert_eq!(fs::read("/proc/kcore", &mut sink), Err(FsError::NotFound));
        assert_eq!(fs::read("/sys", &mut sink), Err(FsError::IsADirectory));
        assert_eq!(fs::write("/proc/meminfo", "0"), Err(FsError::PermissionDenied));
        assert_eq!(sink.0, 0);
        let tables = text("/sys/kernel/debug/kernel_page_tables");
        assert!(tables.contains("---[ Kernel image start ]---") && tables.contains(" RW NX SHD AF "));
    }
}
