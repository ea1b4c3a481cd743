//! Paths, listings, and that files are read when there is no memory left.

use super::*;
use crate::addr::{Order, PfnRange, PhysAddr, PhysRange};
use crate::arch::hosted::Machine;
use crate::mm::alloc_pages::alloc_pages;
use crate::mm::gfp::Gfp;
use crate::mm::memblock::{Memblock, RegionFlags, debugfs};
use crate::mm::mmzone::{NodeId, ZoneLimits};
use crate::mm::page_alloc::{free_area_init, free_pages, nr_used_pages, set_node_distances};
use crate::mm::validate::validate;
use crate::mm::{cma, init_mm, slab, sparse};
use crate::trace;
use proptest::prelude::*;
use std::string::{String, ToString};
use std::vec;
use std::vec::Vec;

const MIB: u64 = 1 << 20;
const RAM: PhysRange = PhysRange::from_size(PhysAddr::new(0x4000_0000), 16 * MIB);
/// CMA area inside the RAM.
const AREA: PhysRange = PhysRange::from_size(PhysAddr::new(0x4040_0000), 4 * MIB);

/// A machine with an area, memblock's last word, and a command line.
fn on_machine(f: impl FnOnce()) {
    Machine::run(&[RAM], |_| {
        let (all, area) = (RAM.whole_pages(), AREA.whole_pages());
        // SAFETY: the machine is fresh, and the area left out of what is free.
        unsafe { cma::cma_init_reserved_mem("linux,cma", area, Order::ZERO) }.unwrap();
        let free = [PfnRange::new(all.start(), area.start()), PfnRange::new(area.end(), all.end())];
        let present = [(NodeId::FIRST, all)].into_iter();
        let mapped = sparse::Populate::Mapped;
        // SAFETY: as above.
        unsafe { free_area_init(ZoneLimits::default(), present, free.into_iter(), mapped) }
            .unwrap();
        slab::kmem_cache_init(1);
        init_mm::install(init_mm::new_root().unwrap());
        cma::cma_init_reserved_areas();
        let mut memblock = Memblock::new();
        memblock.add_node(RAM, Some(NodeId::FIRST), RegionFlags::empty()).unwrap();
        memblock.reserve(AREA).unwrap();
        debugfs::keep(memblock.memory().to_vec(), memblock.reserved().to_vec());
        set_cmdline("cma=4M quiet");
        set_kallsyms(|out| out.write_str("0000000000001000 t start\n"));
        f();
        validate().unwrap();
    });
}

fn text(path: &str) -> String {
    let mut text = String::new();
    read(path, &mut text).unwrap_or_else(|why| panic!("{path}: {why}"));
    text
}

fn names(path: &str) -> Vec<String> {
    let mut names = Vec::new();
    list(path, &mut |entry| {
        names.push(entry.name.to_string() + if entry.is_dir { "/" } else { "" })
    })
    .unwrap_or_else(|why| panic!("{path}: {why}"));
    names
}

fn files() -> Vec<String> {
    let mut files = Vec::new();
    for_each_file(&mut |path| files.push(path.to_string()));
    files
}

#[test]
fn directories_list_what_they_hold() {
    on_machine(|| {
        assert_eq!(names("/"), ["proc/", "sys/"]);
        assert_eq!(
            names("/proc"),
            [
                "buddyinfo",
                "cmdline",
                "iomem",
                "kallsyms",
                "meminfo",
                "pagetypeinfo",
                "slabinfo",
                "sys/",
                "vmallocinfo",
                "vmstat",
                "zoneinfo"
            ]
        );
        assert_eq!(names("/sys/kernel/debug/cma"), ["linux,cma/"]);
        assert_eq!(
            names("/sys/kernel/debug/cma/linux,cma"),
            ["alloc", "base_pfn", "bitmap", "count", "free", "maxchunk", "order_per_bit", "used"]
        );
        assert_eq!(names("/sys/devices/system"), ["cpu/", "node/"]);
        let cpus = ["kernel_max", "online", "possible", "present"];
        assert_eq!(names("/sys/devices/system/cpu"), cpus);
        let most = std::format!("{}\n", crate::arch::NR_CPUS - 1);
        assert_eq!(text("/sys/devices/system/cpu/kernel_max"), most);
        assert_eq!(names("/sys/devices/system/node"), ["has_memory", "node0/", "online"]);
        assert_eq!(names("/proc/meminfo"), ["meminfo"]);
        for path in files() {
            let (above, name) = path.rsplit_once('/').unwrap();
            assert!(names(above).contains(&name.to_string()), "{path}");
            let mode = metadata(&path).unwrap();
            assert!(!mode.is_dir && mode.mode & 0o600 != 0, "{path}: {mode:?}");
        }
        // Of tracing: its own, of events and their systems, of CPUs.
        let tracing = 7 + 2 + 1 + 6 + 3 * trace::EVENTS.len() + 2 * 8;
        assert_eq!(files().len(), 4 + 11 + 2 + 8 + 2 + 4 + 1 + 2 + 2 + 8 + 2 + 5 + tracing);
    });
}

#[test]
fn ways_to_a_file() {
    on_machine(|| {
        for path in [
            "/proc/cmdline",
            "proc/cmdline",
            "//proc///cmdline",
            "/./proc/./cmdline",
            "/proc/../proc/cmdline",
            "/../../proc/cmdline",
            "/sys/kernel/../../proc/cmdline",
        ] {
            assert_eq!(text(path), "cma=4M quiet\n", "{path}");
        }
        assert_eq!(names("/proc/"), names("/sys/../proc"));
    });
}

#[test]
fn what_is_not_there_is_told() {
    on_machine(|| {
        use FsError::{InvalidArgument, IsADirectory, NotADirectory, NotFound, PermissionDenied};
        let mut out = String::new();
        for (path, why) in [
            ("/nothing", NotFound),
            ("/proc/nothing", NotFound),
            ("/proc/meminf", NotFound),
            ("/proc/meminfoo", NotFound),
            ("/nothing/../proc/meminfo", NotFound),
            ("/proc/meminfo/", NotADirectory),
            ("/proc/meminfo/x", NotADirectory),
            ("/proc/meminfo/..", NotADirectory),
            ("/proc", IsADirectory),
            ("/", IsADirectory),
            ("", IsADirectory),
            ("/sys/kernel/debug/cma/other", NotFound),
            ("/sys/devices/system/node/node1", NotFound),
        ] {
            assert_eq!(read(path, &mut out), Err(why), "{path}");
        }
        assert_eq!(out, "");
        assert_eq!(list("/nothing", &mut |_| panic!("an entry")), Err(NotFound));
        assert_eq!(list("/proc/meminfo/x", &mut |_| panic!("an entry")), Err(NotADirectory));
        assert_eq!(write("/proc", "scan"), Err(IsADirectory));
        assert_eq!(write("/proc/meminfo", "scan"), Err(PermissionDenied));
        assert_eq!(write("/sys/kernel/debug/kmemleak", "scam"), Err(InvalidArgument));
        assert_eq!(write("/sys/kernel/debug/kmemleak", "scan\n"), Ok(()));
        assert_eq!(NotFound.to_string(), "No such file or directory");
    });
}

/// Takes so many bytes and no more.
struct Short(usize);

impl fmt::Write for Short {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 = self.0.checked_sub(text.len()).ok_or(fmt::Error)?;
        Ok(())
    }
}

#[test]
fn an_output_that_takes_no_more_ends_the_reading() {
    on_machine(|| {
        let whole = text("/proc/meminfo").len();
        assert_eq!(read("/proc/meminfo", &mut Short(whole)), Ok(()));
        for bytes in [0, 1, whole - 1] {
            assert_eq!(read("/proc/meminfo", &mut Short(bytes)), Err(FsError::Output));
        }
    });
}

#[test]
fn files_are_read_without_memory() {
    on_machine(|| {
        let gfp = Gfp::GFP_HIGHUSER_MOVABLE | Gfp::__GFP_MEMALLOC | Gfp::__GFP_NOWARN;
        let pages: Vec<_> = core::iter::from_fn(|| alloc_pages(gfp, Order::ZERO)).collect();
        let used = nr_used_pages();
        let readable = |path: &String| metadata(path).unwrap().mode & 0o444 != 0;
        for path in files().into_iter().filter(readable) {
            let (mut sink, mut lengths) = (Short(usize::MAX), vec![]);
            read(&path, &mut sink).unwrap();
            lengths.push(usize::MAX - sink.0);
            assert_eq!(nr_used_pages(), used, "{path}");
            // What need not be on has nothing to say.
            let may_be_empty = [
                "kmemleak",
                "page_owner",
                "show_stacks",
                "iomem",
                "vmallocinfo",
                "set_event",
                "free_buffer",
                "saved_cmdlines",
            ];
            let empty = may_be_empty.iter().any(|name| path.ends_with(name));
            assert!(lengths[0] > 0 || empty, "{path} is empty");
        }
        let free = |text: String| text.lines().nth(1).map(String::from);
        assert_eq!(free(text("/proc/meminfo")).as_deref(), Some("MemFree:               0 kB"));
        // SAFETY: allocated here, and nobody uses it any more.
        pages.into_iter().for_each(|page| unsafe { free_pages(page, Order::ZERO) });
    });
}

/// Memory of an area is had and given back by hand (Linux: mm/cma_debug.c).
#[test]
fn an_area_of_cma_is_tried_by_hand() {
    on_machine(|| {
        let at = |name: &str| "/sys/kernel/debug/cma/linux,cma/".to_string() + name;
        let used = || text(&at("used")).trim().parse::<u32>().unwrap();
        let area = cma::areas().next().unwrap();
        for name in ["alloc", "free"] {
            assert_eq!(metadata(&at(name)).unwrap().mode, 0o200);
            assert_eq!(read(&at(name), &mut String::new()), Err(FsError::PermissionDenied));
            for bad in ["", "x", "-1", "+-1", "++1", "1 2", "0x", "0xg", "08", "4294967296", "1.0"]
            {
                assert_eq!(write(&at(name), bad), Err(FsError::InvalidArgument), "{bad}");
            }
        }
        for (alloc, now) in [("7", 7), ("0x10", 23), ("010", 31), ("+1\n", 32)] {
            assert_eq!(write(&at("alloc"), alloc), Ok(()), "{alloc}");
            assert_eq!(used(), now, "{alloc}");
        }
        for none in ["0", "1025", "4294967295"] {
            assert_eq!(write(&at("alloc"), none), Err(FsError::OutOfMemory), "{none}");
        }
        // The last run goes first, and of the third a part.
        let word = || area.bitmap_word(0).unwrap();
        assert_eq!(word(), u32::MAX);
        assert_eq!(write(&at("free"), "4"), Ok(()));
        assert_eq!((used(), word().count_zeros()), (28, 4));
        assert_eq!(word(), ((1 << 23) - 1) | (0x1f << 26));
        assert_eq!(write(&at("free"), "0"), Ok(()));
        assert_eq!(used(), 28);
        assert_eq!(write(&at("free"), "1000"), Ok(()));
        assert_eq!((used(), area.info().pages_released), (0, 32));
        assert_eq!(write(&at("free"), "1"), Ok(()));
        assert_eq!(used(), 0);
    });
}

#[test]
fn an_area_of_cma_has_its_files() {
    on_machine(|| {
        let file = |name: &str| text(&("/sys/kernel/debug/cma/linux,cma/".to_string() + name));
        assert_eq!(file("count"), "1024\n");
        assert_eq!(file("used"), "0\n");
        assert_eq!(file("maxchunk"), "1024\n");
        assert_eq!(file("base_pfn"), "263168\n");
        assert_eq!(file("order_per_bit"), "0\n");
        assert_eq!(file("bitmap"), vec!["0"; 32].join(" ") + "\n");
        let area = cma::areas().next().unwrap();
        let first = cma::cma_alloc(area, 37, Order::ZERO).unwrap();
        assert_eq!((file("used").as_str(), file("maxchunk").as_str()), ("37\n", "987\n"));
        // 32 bits and 5.
        let words = ["4294967295", "31"].into_iter().chain([&"0"; 30].map(|zero| *zero));
        assert_eq!(file("bitmap"), words.collect::<Vec<_>>().join(" ") + "\n");
        // SAFETY: allocated here, and nobody uses it any more.
        assert!(unsafe { cma::cma_release(area, first, 37) });
        assert_eq!(file("bitmap"), vec!["0"; 32].join(" ") + "\n");
        assert!(text("/proc/vmstat").contains("\ncma_alloc_success 1\ncma_alloc_fail 0\n"));
        assert!(text("/proc/meminfo").contains("\nCmaTotal:           4096 kB\n"));
    });
}

#[test]
fn memblock_reads_as_in_linux() {
    on_machine(|| {
        assert_eq!(
            text("/sys/kernel/debug/memblock/memory"),
            "   0: 0x0000000040000000..0x0000000040ffffff    0 NONE\n"
        );
        assert_eq!(
            text("/sys/kernel/debug/memblock/reserved"),
            "   0: 0x0000000040400000..0x00000000407fffff    x NONE\n"
        );
        let mut memblock = Memblock::new();
        memblock.add(RAM).unwrap();
        memblock.mark_nomap(AREA).unwrap();
        assert_eq!(
            debugfs::DebugRegions(memblock.memory()).to_string(),
            "   0: 0x0000000040000000..0x00000000403fffff    x NONE\n   \
                1: 0x0000000040400000..0x00000000407fffff    x NOMAP\n   \
                2: 0x0000000040800000..0x0000000040ffffff    x NONE\n"
        );
    });
}

#[test]
fn tracing_is_switched_by_files() {
    on_machine(|| {
        let path = |file: &str| "/sys/kernel/tracing/".to_string() + file;
        let (cat, echo) =
            (|file: &str| text(&path(file)), |file: &str, what| write(&path(file), what));
        assert_eq!(
            names("/sys/kernel/tracing/events"),
            [
                "cma/",
                "compaction/",
                "enable",
                "exceptions/",
                "header_event",
                "header_page",
                "kmem/",
                "vmalloc/",
                "vmscan/"
            ]
        );
        assert_eq!(names(&path("events/exceptions")), ["enable", "page_fault_kernel/"]);
        assert_eq!(names(&path("events/vmscan/mm_vmscan_kswapd_wake")), ["enable", "format", "id"]);
        assert_eq!(cat("buffer_size_kb"), "0 (expanded: 1408)\n");
        assert_eq!(echo("buffer_size_kb", "30\n"), Ok(()));
        assert_eq!(cat("buffer_size_kb"), "32\n");
        assert!(cat("available_events").starts_with("kmem:mm_page_alloc\nkmem:mm_page_free\n"));
        assert_eq!(echo("events/kmem/mm_page_free/enable", "1"), Ok(()));
        assert_eq!((cat("events/enable"), cat("events/cma/enable")), ("X\n".into(), "0\n".into()));
        assert_eq!(echo("events/cma/enable", "1"), Ok(()));
        assert_eq!(
            cat("set_event"),
            "kmem:mm_page_free\ncma:cma_alloc_start\ncma:cma_alloc_finish\ncma:cma_release\n"
        );
        let frame = alloc_pages(Gfp::GFP_KERNEL, Order::ZERO).unwrap();
        // SAFETY: allocated here, and nobody uses it any more.
        unsafe { free_pages(frame, Order::ZERO) };
        let (last, own) = (cat("trace"), cat("per_cpu/cpu0/trace"));
        let told = std::format!(" pfn={:#x} order=0\n", frame.pfn().get());
        assert!(last.contains("#P:8\n") && last.ends_with(&told) && own.ends_with(&told));
        assert!(last.contains("          <idle>-0       [000] .....     0.0"));
        assert!(!cat("per_cpu/cpu1/trace").contains("mm_page_free"));
        assert!(cat("per_cpu/cpu0/stats").starts_with("entries: 1\noverrun: 0\n"));
        assert_eq!(echo("trace", ""), Ok(()));
        assert!(!cat("trace").contains("mm_page_free"));
        for (file, what, why) in [
            ("tracing_on", "2", FsError::InvalidArgument),
            ("events/enable", "yes", FsError::InvalidArgument),
            ("set_event", "kmem:nothing", FsError::InvalidArgument),
            ("buffer_size_kb", "much", FsError::InvalidArgument),
            ("buffer_size_kb", "1000000", FsError::OutOfMemory),
            ("free_buffer", "", FsError::Busy),
            ("available_events", "", FsError::PermissionDenied),
            ("events/kmem/kfree/id", "7", FsError::PermissionDenied),
        ] {
            assert_eq!(echo(file, what), Err(why), "{file}");
        }
        assert_eq!((cat("buffer_size_kb"), cat("tracing_on")), ("32\n".into(), "1\n".into()));
        assert_eq!((echo("set_event", ""), echo("free_buffer", "")), (Ok(()), Ok(())));
    });
}

#[test]
fn nodes_read_as_numactl_wants_them() {
    on_machine(|| {
        let file = |name: &str| text(&("/sys/devices/system/node/".to_string() + name));
        assert_eq!((file("online").as_str(), file("has_memory").as_str()), ("0\n", "0\n"));
        assert_eq!(
            (file("node0/cpulist").as_str(), file("node0/distance").as_str()),
            ("0-7\n", "10\n")
        );
        assert!(file("node0/meminfo").starts_with("Node 0 MemTotal: "));
        assert!(file("node0/vmstat").starts_with("nr_free_pages "));
        assert_eq!(file("node0/cpumap"), "ff\n");
        set_node_distances(|a, b| if a == b { 10 } else { 42 });
        assert_eq!(file("node0/distance"), "10\n");
    });
}

proptest! {
    #[test]
    fn no_path_is_too_odd(path in "(/|\\.|\\.\\.|proc|sys|meminfo|kernel|node0|[a-z]{0,3}|\\PC{0,2}){0,40}") {
        on_machine(|| {
            let what = metadata(&path);
            let mut out = String::new();
            let (read, entries) = (read(&path, &mut out), list(&path, &mut |_| {}));
            match what {
                Ok(Metadata { is_dir: true, .. }) => {
                    assert_eq!((read, entries), (Err(FsError::IsADirectory), Ok(())));
                }
                Ok(_) => assert_eq!((read, entries), (Ok(()), Ok(()))),
                Err(why) => assert_eq!((read, entries), (Err(why), Err(why))),
            }
        });
    }
}
