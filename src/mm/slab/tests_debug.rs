//! Tests of reports of misuse of a debugged cache, and of failslab.

use super::slab::Slab;
use super::tests::on_machine;
use super::*;
use crate::addr::{Order, VirtAddr};
use crate::arch::hosted::set_stack_trace;
use crate::mm::alloc_pages::alloc_pages;
use crate::mm::debug::stackdepot;
use crate::mm::gfp::Gfp;
use crate::mm::page_alloc::free_pages;
use core::panic::Location;
use core::ptr::NonNull;
use core::sync::atomic::Ordering::Relaxed;
use std::string::String;
use std::vec::Vec;

const K: Gfp = Gfp::GFP_KERNEL;

fn debugged(size: usize) -> &'static RawCache {
    kmem_cache_create("victim", size, 8, SlabFlags::DEBUG_DEFAULT, None).expect("a cache")
}

/// Caller's location.
#[track_caller]
fn here() -> String {
    let here = Location::caller();
    std::format!("{}:{}:", here.file(), here.line())
}

/// Allocates; and who did, as far as his line.
fn alloc(cache: &'static RawCache) -> (NonNull<u8>, String) {
    (cache.alloc(K).expect("memory"), here())
}

/// Frees; and who did.
fn free(cache: &'static RawCache, object: NonNull<u8>) -> String {
    // SAFETY: from this cache, or none: then it is to be caught.
    (unsafe { cache.free(object) }, here()).1
}

fn write(object: NonNull<u8>, at: isize, value: u8) {
    // SAFETY: none: it is to be caught; it is within the object's slot.
    unsafe { object.offset(at).write(value) };
}

/// Runs `f` on a machine, and returns with what it panics.
fn report(f: impl FnOnce()) -> String {
    let run = core::panic::AssertUnwindSafe(|| on_machine(1024, |_| f()));
    let payload = std::panic::catch_unwind(run).expect_err("it is found");
    payload.downcast_ref::<String>().cloned().expect("a message")
}

#[track_caller]
fn has(report: &str, parts: &[&str]) {
    let mut rest = report;
    for part in parts {
        let at = rest.find(part).unwrap_or_else(|| panic!("no {part:?} in\n{report}"));
        rest = &rest[at + part.len()..];
    }
}

#[test]
fn a_write_past_the_end() {
    let mut by = String::new();
    let report = report(|| {
        let cache = debugged(30);
        let object;
        (object, by) = alloc(cache);
        // SAFETY: 30 bytes are ours.
        unsafe { object.write_bytes(b'x', 30) };
        write(object, 31, 0x41);
        free(cache, object);
    });
    has(
        &report,
        &[
            "\nBUG victim: Right Redzone overwritten\n",
            "@offset=31. First byte 0x41 instead of 0xcc\n",
            &std::format!("Allocated in {by}"),
            "age=0 cpu=0 pid=0\n",
            " objects=",
            " used=1 fp=",
            "\nObject 0x",
            "\nRedzone  ",
            ": cc cc cc cc cc cc cc cc ",
            "\nObject   ",
            " 78 78 ",
            "xxxxxxxxxxxxxxxx\n",
            "\nRedzone  ",
            ": cc 41 ",
        ],
    );
    assert!(!report.contains("Freed in"), "{report}");
}

#[test]
fn a_write_before_the_start() {
    let report = report(|| {
        let cache = debugged(32);
        let (object, _) = alloc(cache);
        write(object, -1, 0);
        free(cache, object);
    });
    let parts = ["Left Redzone overwritten", "@offset=-1. First byte 0x0 instead of 0xcc"];
    has(&report, &parts);
}

#[test]
fn a_write_after_free() {
    let (mut by, mut freed_by) = Default::default();
    let report = report(|| {
        let cache = debugged(64);
        let object;
        (object, by) = alloc(cache);
        freed_by = free(cache, object);
        write(object, 17, 0x42);
        let _ = cache.alloc(K);
    });
    has(
        &report,
        &[
            "BUG victim: Poison overwritten",
            "@offset=17. First byte 0x42 instead of 0x6b",
            &std::format!("Allocated in {by}"),
            &std::format!("Freed in {freed_by}"),
            "\nRedzone  ",
            ": bb bb",
            "\nObject   ",
            ": 6b 6b",
            ": 6b 42 6b",
            "6b a5  kkkkkkkkkkkkkkk.",
        ],
    );
}

#[test]
fn a_double_free() {
    let (mut by, mut freed_by) = Default::default();
    let report = report(|| {
        let cache = debugged(64);
        let object;
        (object, by) = alloc(cache);
        freed_by = free(cache, object);
        free(cache, object);
    });
    let by = [std::format!("Allocated in {by}"), std::format!("Freed in {freed_by}")];
    has(&report, &["BUG victim: Object already free", "double free of object", &by[0], &by[1]]);
}

#[test]
fn stacks_of_users_are_kept_once_each() {
    on_machine(1024, |_| {
        let cache = debugged(64);
        set_stack_trace(&[0x1004, 0x2004]);
        let objects: Vec<_> = (0..100).map(|_| alloc(cache).0).collect();
        set_stack_trace(&[0x3004, 0x2004]);
        objects.into_iter().for_each(|object| drop(free(cache, object)));
        let stacks: Vec<Vec<_>> =
            stackdepot::all().map(|(handle, _)| stackdepot::fetch(handle).collect()).collect();
        assert_eq!(stacks, [[0x1004, 0x2004], [0x3004, 0x2004]]);
    });
}

#[test]
fn a_report_has_both_stacks() {
    let report = report(|| {
        let cache = debugged(64);
        set_stack_trace(&[0x1004, 0x2004]);
        let (object, _) = alloc(cache);
        set_stack_trace(&[0x3004, 0x2004]);
        free(cache, object);
        free(cache, object);
    });
    has(
        &report,
        &["Allocated in", "pid=0\n 0x1000\n 0x2000\nFreed in", "pid=0\n 0x3000\n 0x2000\n"],
    );
}

/// The depot has no memory when the first stack comes: that is no fault of who allocates.
#[test]
fn a_stack_that_finds_no_room_is_left_out() {
    let report = report(|| {
        let cache = debugged(64);
        let (warm, _) = alloc(cache);
        set_stack_trace(&[0x1004]);
        let gfp = Gfp::GFP_NOWAIT | Gfp::__GFP_NOWARN;
        let mut pages = Vec::new();
        while let Some(frame) = alloc_pages(gfp, Order::ZERO) {
            pages.push(frame);
        }
        let (object, _) = alloc(cache);
        assert!(stackdepot::lost() > 0);
        // SAFETY: allocated here, and nobody uses it any more.
        pages.into_iter().for_each(|frame| unsafe { free_pages(frame, Order::ZERO) });
        free(cache, warm);
        free(cache, object);
        free(cache, object);
    });
    has(&report, &["Allocated in", "pid=0\n (no stack was saved)\nFreed in", "pid=0\n 0x1000\n"]);
}

#[test]
fn a_double_free_is_found_by_each_flag() {
    for flags in [SlabFlags::RED_ZONE, SlabFlags::CONSISTENCY_CHECKS, SlabFlags::STORE_USER] {
        let report = report(|| {
            let cache = kmem_cache_create("victim", 64, 8, flags, None).expect("a cache");
            let objects: Vec<_> = (0..20).map(|_| alloc(cache).0).collect();
            objects.iter().for_each(|&object| drop(free(cache, object)));
            free(cache, objects[7]);
        });
        has(&report, &["BUG victim: "]);
    }
}

#[test]
fn an_invalid_free() {
    let mut by = String::new();
    let report = report(|| {
        let cache = debugged(64);
        let object;
        (object, by) = alloc(cache);
        free(cache, object.map_addr(|at| at.checked_add(8).expect("no overflow")));
    });
    let by = std::format!("Allocated in {by}");
    has(&report, &["BUG victim: Invalid object pointer 0x", "invalid free of 0x", &by]);
}

#[test]
fn a_write_into_the_padding() {
    let report = report(|| {
        let cache = kmem_cache_create("victim", 20, 64, SlabFlags::POISON, None).expect("a cache");
        let (object, _) = alloc(cache);
        write(object, 63, 0);
        free(cache, object);
    });
    has(&report, &["Object padding overwritten", "@offset=63. First byte 0x0 instead of 0x5a"]);
}

#[test]
fn users_that_were_written_over_are_left_out() {
    let report = report(|| {
        let cache = debugged(64);
        let (object, _) = alloc(cache);
        // All the way through the right red zone, the link and the tracks.
        (64..160).for_each(|at| write(object, at, 0x41));
        free(cache, object);
    });
    has(&report, &["BUG victim: "]);
    assert!(!report.contains("Allocated in"), "{report}");
}

#[test]
fn a_handle_that_was_written_over_is_not_followed() {
    let report = report(|| {
        let cache = debugged(64);
        set_stack_trace(&[0x1004]);
        let (object, _) = alloc(cache);
        let track = cache.layout().track as isize;
        write(object, track + 16, 2);
        free(cache, object);
        free(cache, object);
    });
    has(&report, &["Object already free", "Freed in", " 0x1000\n"]);
    assert!(!report.contains("Allocated in"), "{report}");
}

#[test]
fn the_command_line_chooses_caches_for_it() {
    crate::arch::hosted::Machine::run(
        &[crate::addr::PhysRange::from_size(crate::addr::PhysAddr::new(0x4000_0000), 2 << 20)],
        |m| {
            crate::mm::page_alloc::init(m.ram());
            set_slab_debug(
                SlabDebug::parse("ZU,kmalloc-64,mine;P,kmalloc-rcl-*").expect("letters"),
            );
            kmem_cache_init(7);
            let flags = |name: &str| {
                slabinfo().find(|info| info.name == name).map(|info| info.flags & SlabFlags::DEBUG)
            };
            assert_eq!(flags("kmalloc-64"), Some(SlabFlags::RED_ZONE | SlabFlags::STORE_USER));
            assert_eq!(flags("kmalloc-128"), Some(SlabFlags::empty()));
            assert_eq!(flags("kmalloc-rcl-8"), Some(SlabFlags::POISON));
            let mine = kmem_cache_create("mine", 64, 8, SlabFlags::empty(), None).expect("one");
            assert_eq!(mine.flags(), SlabFlags::RED_ZONE | SlabFlags::STORE_USER);
            // Every class keeps its size and alignment.
            for size in [8, 64, 96, 192, 4096, 8192] {
                let gfp = K | Gfp::__GFP_RECLAIMABLE;
                for object in [kmalloc(size, K), kmalloc(size, gfp)].map(|o| o.expect("memory")) {
                    // SAFETY: a live object of so many bytes.
                    unsafe {
                        assert_eq!(ksize(object.as_ptr()), size);
                        object.write_bytes(1, size);
                        assert!(object.addr().get().is_multiple_of(1 << size.trailing_zeros()));
                        kfree(object.as_ptr());
                    }
                }
            }
            validate();
            let object = kmalloc(50, K).expect("memory");
            write(object, 64, 1);
            // SAFETY: none: it is to be caught.
            let free = || unsafe { kfree(object.as_ptr()) };
            let payload = std::panic::catch_unwind(core::panic::AssertUnwindSafe(free));
            let payload = payload.expect_err("it is found");
            let report = payload.downcast_ref::<String>().expect("a message");
            has(report, &["BUG kmalloc-64: Right Redzone overwritten", "Allocated in "]);
        },
    );
}

/// Runs `f` on a machine that was booted with this `slab_debug=`.
fn booted_with(value: &'static str, f: impl FnOnce()) {
    crate::arch::hosted::Machine::run(
        &[crate::addr::PhysRange::from_size(crate::addr::PhysAddr::new(0x4000_0000), 4 << 20)],
        |m| {
            crate::mm::page_alloc::init(m.ram());
            set_slab_debug(SlabDebug::parse(value).expect("letters"));
            kmem_cache_init(7);
            f();
        },
    );
}

/// Linux: "For power of two sizes, guarantee natural alignment for kmalloc caches, regardless
/// of SL*B debugging options".
#[test]
fn powers_of_two_are_aligned_to_themselves_with_any_flags() {
    use crate::mm::alloc::KBox;
    use crate::mm::util::kmalloc_size;
    #[repr(align(8192))]
    struct Wide;
    #[repr(align(8192))]
    struct Full([u8; 8192]);
    let every = ["-", "F", "Z", "P", "U", "ZP", "ZU", "PU", "FZPU", "FZPUT", "FZPUO"];
    for letters in every {
        booted_with(letters, || {
            for shift in 0..=13 {
                for gfp in [K, K | Gfp::__GFP_RECLAIMABLE, K | Gfp::__GFP_DMA] {
                    let size = 1usize << shift;
                    let some: Vec<_> =
                        (0..5).map(|_| kmalloc(size, gfp).expect("memory")).collect();
                    for object in some {
                        let at = object.addr().get();
                        assert!(at.is_multiple_of(size), "{letters}: {size} bytes at {at:#x}");
                        // SAFETY: from kmalloc, once.
                        unsafe { kfree(object.as_ptr()) };
                    }
                }
            }
            for (size, align) in [(1, 8192), (100, 8192), (8192, 8192), (5000, 4096), (96, 64)] {
                let layout = core::alloc::Layout::from_size_align(size, align).expect("a layout");
                let asked = kmalloc_size(layout).expect("a size");
                let object = kmalloc(asked, K).expect("memory");
                assert!(object.addr().get().is_multiple_of(align), "{letters}: {layout:?}");
                // SAFETY: from kmalloc, once.
                unsafe { kfree(object.as_ptr()) };
            }
            let full = KBox::new(Full([7; 8192]), K).expect("memory");
            assert!(core::ptr::from_ref(&*full).addr().is_multiple_of(8192) && full.0[8191] == 7);
            assert_eq!(size_of::<Wide>(), 0);
            validate();
        });
    }
}

/// Validates, and returns with what that panics.
fn found() -> Option<String> {
    let payload = std::panic::catch_unwind(validate).err()?;
    payload.downcast_ref::<String>().cloned()
}

/// A write to a byte that nobody may write is found by the next check, in slabs with free
/// objects and without, whichever flag guards the byte.
#[test]
fn all_objects_are_looked_at() {
    const Z: SlabFlags = SlabFlags::RED_ZONE;
    const P: SlabFlags = SlabFlags::POISON;
    const ALL: SlabFlags = SlabFlags::DEBUG_DEFAULT;
    // Of objects of 60 bytes in slots of a multiple of 64.
    let cases: &[(bool, isize, SlabFlags, &str)] = &[
        (false, 60, Z, "Right Redzone"),
        (false, 63, ALL, "Right Redzone"),
        (false, -1, Z, "Left Redzone"),
        (false, -64, ALL, "Left Redzone"),
        (true, 60, Z, "Right Redzone"),
        (true, -1, ALL, "Left Redzone"),
        (true, 0, P, "Poison"),
        (true, 50, ALL, "Poison"),
        (true, 59, P, "Poison"),
    ];
    for &(freed, offset, flags, what) in cases {
        for full in [false, true] {
            on_machine(1024, |_| {
                let cache = kmem_cache_create("victim", 60, 64, flags, None).expect("a cache");
                let count = usize::from(cache.layout().objects(cache.layout().order));
                let some: Vec<_> =
                    (0..if full { count } else { 3 }).map(|_| alloc(cache).0).collect();
                let victim = some[1];
                if freed {
                    free(cache, victim);
                }
                assert_eq!(found(), None);
                // SAFETY: within the slot; it is put back below.
                let was = unsafe { victim.offset(offset).read() };
                write(victim, offset, 0x42);
                let report = found().expect("it is found");
                has(&report, &[&std::format!("BUG victim: {what} overwritten")]);
                has(&report, &[&std::format!("@offset={offset}. First byte 0x42")]);
                write(victim, offset, was);
                assert_eq!(found(), None);
            });
        }
    }
    // Padding: what no one has.
    on_machine(1024, |_| {
        let cache = kmem_cache_create("victim", 60, 64, ALL, None).expect("a cache");
        let layout = *cache.layout();
        let end = (layout.size - layout.red_left) as isize;
        assert!(end > layout.meta_end as isize);
        for freed in [false, true] {
            let (object, _) = alloc(cache);
            if freed {
                free(cache, object);
            }
            write(object, end - 1, 0);
            has(&found().expect("it is found"), &["BUG victim: Object padding overwritten"]);
            write(object, end - 1, 0x5a);
        }
    });
}

/// Each check of one of a slab's objects checks the bytes behind its last object too.
#[test]
fn a_write_behind_the_last_object() {
    const FLAGS: [SlabFlags; 2] = [SlabFlags::POISON, SlabFlags::DEBUG_DEFAULT];
    // Writes to the byte at the end of the slab's memory, or the first one behind its objects.
    let spoil = |object: NonNull<u8>, at_end: bool| {
        let slab = Slab::containing(VirtAddr::from_ptr(object.as_ptr())).expect("a slab");
        let layout = slab.cache().layout();
        let used = usize::from(layout.objects(slab.order())) * layout.size as usize;
        assert!(used < slab.order().bytes(), "there is a rest");
        let at = slab.frame().virt() + if at_end { slab.order().bytes() - 1 } else { used };
        let byte = NonNull::new(core::ptr::with_exposed_provenance_mut::<u8>(at.get()));
        write(byte.expect("an address"), 0, 0x11);
        at.get() - slab.frame().virt().get()
    };
    let checks: [fn(&'static RawCache, NonNull<u8>); 3] = [
        |cache, object| drop(free(cache, object)),
        |cache, _| drop(alloc(cache)),
        |_, _| validate(),
    ];
    for (flags, at_end) in FLAGS.into_iter().flat_map(|flags| [(flags, false), (flags, true)]) {
        for check in checks {
            let mut offset = 0;
            let report = report(|| {
                let cache = kmem_cache_create("victim", 700, 8, flags, None).expect("a cache");
                let object = alloc(cache).0;
                validate();
                offset = spoil(object, at_end);
                check(cache, object);
            });
            has(&report, &["BUG victim: Padding overwritten"]);
            has(&report, &[&std::format!("@offset={offset}. First byte 0x11 instead of 0x5a")]);
            has(&report, &["Padding  ", " 11"]);
        }
    }
    // Without poison nobody looks.
    on_machine(1024, |_| {
        let cache =
            kmem_cache_create("victim", 700, 8, SlabFlags::RED_ZONE, None).expect("a cache");
        let object = alloc(cache).0;
        spoil(object, true);
        validate();
        free(cache, object);
    });
}

#[test]
fn the_red_zone_begins_at_the_size_asked_for() {
    booted_with("FZPU", || {
        for (size, class) in [(18, 32), (1, 8), (31, 32), (100, 128), (5000, 8192)] {
            for zero in [Gfp::empty(), Gfp::__GFP_ZERO] {
                for node in [false, true] {
                    let object = if node {
                        kmalloc_node(size, K | zero, crate::mm::mmzone::NodeId::FIRST)
                    } else {
                        kmalloc(size, K | zero)
                    };
                    let object = object.expect("memory");
                    // SAFETY: all of it is ours.
                    unsafe {
                        if !zero.is_empty() {
                            let bytes = core::slice::from_raw_parts(object.as_ptr(), size);
                            assert!(bytes.iter().all(|&byte| byte == 0), "{size} bytes");
                        }
                        object.write_bytes(0x77, size);
                    }
                    for at in [size, class - 1] {
                        write(object, at as isize, 0x42);
                        let report = found().expect("it is found");
                        let at_byte = std::format!("@offset={at}. First byte 0x42 instead of 0xcc");
                        has(&report, &["kmalloc Redzone overwritten", &at_byte]);
                        write(object, at as isize, 0xcc);
                    }
                    assert_eq!(found(), None);
                    // SAFETY: from kmalloc, once.
                    unsafe { kfree(object.as_ptr()) };
                }
            }
        }
        // A free looks too.
        let object = kmalloc(18, K).expect("memory");
        write(object, 18, 0);
        // SAFETY: none: it is to be caught.
        let free = || unsafe { kfree(object.as_ptr()) };
        let payload = std::panic::catch_unwind(core::panic::AssertUnwindSafe(free));
        let report = payload.expect_err("it is found");
        let report = report.downcast_ref::<String>().expect("a message");
        has(report, &["BUG kmalloc-32: kmalloc Redzone overwritten", "Allocated in "]);
    });
}

#[test]
fn who_asks_how_much_there_is_may_use_it() {
    booted_with("Z", || {
        let object = kmalloc(18, K).expect("memory");
        // SAFETY: it is ours, and so are the bytes up to `ksize`.
        unsafe {
            assert_eq!(ksize(object.as_ptr()), 32);
            object.write_bytes(0x77, 32);
            kfree(object.as_ptr());
        }
        validate();
    });
}

#[test]
fn a_size_that_changes_in_place_moves_the_red_zone() {
    let zero = K | Gfp::__GFP_ZERO;
    for letters in ["Z", "FZPU"] {
        booted_with(letters, || {
            let bytes = |object: NonNull<u8>, len: usize| {
                // SAFETY: the test asks for bytes of its own.
                unsafe { core::slice::from_raw_parts(object.as_ptr(), len) }.to_vec()
            };
            // SAFETY: the test goes on with what comes back.
            let resize = |object: NonNull<u8>, size| unsafe {
                krealloc(object.as_ptr(), size, zero).expect("memory")
            };
            let object = kmalloc(18, zero).expect("memory");
            // SAFETY: they are ours.
            unsafe { object.write_bytes(7, 18) };
            assert_eq!(resize(object, 30), object);
            assert_eq!(bytes(object, 30), [[7; 18].as_slice(), &[0; 12]].concat());
            write(object, 29, 9);
            assert_eq!(found(), None);
            write(object, 30, 9);
            has(&found().expect("it is found"), &["kmalloc Redzone overwritten", "@offset=30."]);
            write(object, 30, 0xcc);
            assert_eq!(resize(object, 10), object);
            write(object, 10, 9);
            has(&found().expect("it is found"), &["kmalloc Redzone overwritten", "@offset=10."]);
            write(object, 10, 0xcc);
            assert_eq!(resize(object, 32), object);
            assert_eq!(bytes(object, 32), [[7; 10].as_slice(), &[0; 22]].concat());
            assert_eq!(resize(object, 20), object);
            // What moves takes no red zone with it.
            let moved = resize(object, 200);
            assert_eq!(bytes(moved, 200), [[7; 10].as_slice(), &[0; 190]].concat());
            // SAFETY: from kmalloc, once.
            unsafe { kfree(moved.as_ptr()) };
            validate();
        });
    }
}

/// Zeros that a boot asks for at each free must not look like a write past an end.
#[test]
fn memory_cleared_at_its_free_keeps_its_red_zones() {
    for letters in ["Z", "FZPU"] {
        booted_with(letters, || {
            crate::mm::debug::enable_init_on(false, true);
            let object = kmalloc(18, K).expect("memory");
            // SAFETY: it is ours, once.
            unsafe {
                object.write_bytes(7, 18);
                kfree(object.as_ptr());
            }
            validate();
        });
    }
}

fn flags_of(name: &str) -> SlabFlags {
    slabinfo().find(|info| info.name == name).expect("listed").flags
}

#[test]
fn debugging_that_takes_larger_blocks_is_left_out() {
    let all = SlabFlags::DEBUG_DEFAULT;
    booted_with("FZPUO", || {
        assert_eq!(flags_of("kmalloc-64") & all, all);
        assert_eq!(flags_of("kmalloc-1k") & all, all);
        for whole in ["kmalloc-4k", "kmalloc-8k"] {
            assert_eq!(flags_of(whole) & all, SlabFlags::CONSISTENCY_CHECKS, "{whole}");
        }
        let page = kmem_cache_create("page", 4096, 8, SlabFlags::STORE_USER, None).expect("one");
        assert_eq!(page.flags() & all, SlabFlags::CONSISTENCY_CHECKS);
        assert_eq!(page.layout().min_order, Order::ZERO);
        validate();
    });
    booted_with("FZPU", || {
        assert_eq!(flags_of("kmalloc-4k") & all, all);
        let page = kmem_cache_create("page", 4096, 8, SlabFlags::empty(), None).expect("one");
        assert!(page.layout().min_order > Order::ZERO);
    });
}

#[test]
fn only_caches_that_are_marked_fail() {
    booted_with("A,kmalloc-64,mine", || {
        let other = kmem_cache_create("other", 64, 8, SlabFlags::empty(), None).expect("one");
        let mine = kmem_cache_create("mine", 64, 8, SlabFlags::empty(), None).expect("one");
        assert!(!core::ptr::eq(mine, other));
        let _ = fail(2, 100, 0, u32::MAX);
        let got = |of: &dyn Fn() -> Option<NonNull<u8>>| -> [bool; 4] {
            core::array::from_fn(|_| of().is_some())
        };
        assert_eq!(got(&|| other.alloc(K)), [true; 4]);
        assert_eq!(got(&|| kmalloc(128, K)), [true; 4]);
        // Those of others are not counted either.
        assert_eq!(got(&|| kmalloc(64, K)), [true, false, true, false]);
        assert_eq!(got(&|| mine.alloc(K)), [true, false, true, false]);
        assert_eq!(set_failslab(None), 4);
        set_failslab_cache_filter(false);
        let _ = fail(1, 100, 0, u32::MAX);
        assert_eq!(got(&|| kmalloc(128, K)), [false; 4]);
        let _ = set_failslab(None);
    });
}

/// A list of all that is live: `destroy` names it, whichever list its slab is on.
#[test]
fn what_keeps_a_cache_alive_is_counted() {
    on_machine(1024, |_| {
        let cache = debugged(1000);
        let objects: Vec<_> = (0..30).map(|_| alloc(cache).0).collect();
        cache.validate();
        // SAFETY: it is refused.
        assert_eq!(unsafe { kmem_cache_destroy(cache) }, Err(DestroyError::Live(30)));
        cache.validate();
        objects.into_iter().for_each(|object| drop(free(cache, object)));
        // SAFETY: nobody uses it again.
        assert_eq!(unsafe { kmem_cache_destroy(cache) }, Ok(()));
    });
}

fn fail(interval: u32, probability: u32, space: u32, times: u32) -> u32 {
    set_failslab(Some(FailSlab { interval, probability, space, times }))
}

#[test]
fn allocations_fail_when_they_are_told_to() {
    on_machine(1024, |_| {
        let mut sheaf: Vec<_> = (0..10).map(|_| kmalloc(64, K).expect("memory")).collect();
        let _ = fail(3, 100, 2, 4);
        let results: Vec<_> = (0..20).map(|_| kmalloc(64, K)).collect();
        let failed: Vec<_> =
            results.iter().enumerate().filter(|(_, r)| r.is_none()).map(|(n, _)| n).collect();
        assert_eq!(failed, [4, 7, 10, 13]);
        sheaf.extend(results.into_iter().flatten());
        assert_eq!(fail(1, 100, 0, 1), 4);
        assert!(kmalloc(64, K | Gfp::__GFP_NOFAIL).is_some_and(|object| {
            sheaf.push(object);
            true
        }));
        let mut bulk = [Some(NonNull::dangling()); 5];
        let classes = slabinfo().filter(|info| info.name == "kmalloc-64").count();
        assert_eq!(classes, 1);
        let cache = kmem_cache_create("fails", 40, 8, SlabFlags::NO_MERGE, None);
        assert!(matches!(cache, Err(CreateError::NoMemory)));
        // A name for which there is no memory is no user.
        let alike = kmem_cache_create("alike", 1000, 8, SlabFlags::ACCOUNT, None).expect("a cache");
        let _ = fail(1, 100, 0, 1);
        let cache = kmem_cache_create("alias", 1000, 8, SlabFlags::ACCOUNT, None);
        assert!(matches!(cache, Err(CreateError::NoMemory)));
        assert_eq!(alike.refcount.load(Relaxed), 1);
        let cache = kmem_cache_create("alias", 1000, 8, SlabFlags::ACCOUNT, None).expect("memory");
        assert!(core::ptr::eq(cache, alike));
        let _ = set_failslab(None);
        let cache = kmem_cache_create("fails", 40, 8, SlabFlags::NO_MERGE, None).expect("a cache");
        let _ = fail(5, 100, 0, 1);
        assert!(!cache.alloc_bulk(K, &mut bulk) && bulk == [None; 5]);
        assert_eq!(cache.info().active_objects, 0);
        assert_eq!(set_failslab(None), 1);
        let some = fail(1, 30, 0, u32::MAX);
        assert_eq!(some, 0);
        sheaf.extend((0..200).filter_map(|_| kmalloc(64, K)));
        let some = set_failslab(None);
        assert!((30..90).contains(&some), "{some} of 200 failed");
        for object in sheaf {
            // SAFETY: from kmalloc, once.
            unsafe { kfree(object.as_ptr()) };
        }
        validate();
        // Sheaves are filled again.
        let object = kmalloc(64, K).expect("memory");
        let info = slabinfo().find(|info| info.name == "kmalloc-64").expect("listed");
        assert!(info.in_sheaves > 0);
        // SAFETY: from kmalloc, once.
        unsafe { kfree(object.as_ptr()) };
    });
}

/// A slab with one of its objects taken, and the object.
fn opened(cache: &'static RawCache) -> (Slab, VirtAddr) {
    let slab = Slab::allocate(cache, None, K).expect("memory");
    let mut open = slab.open(cache);
    let objects = [open.take(), open.take()];
    open.close();
    (slab, objects[1].expect("an object"))
}

#[test]
#[should_panic(expected = "double free")]
fn a_slab_takes_an_object_back_once_though_others_are_out() {
    on_machine(1024, |_| {
        let cache = kmem_cache_create("once", 64, 8, SlabFlags::NO_MERGE, None).unwrap();
        let (slab, object) = opened(cache);
        let mut open = slab.open(cache);
        assert!(open.put(object, Location::caller()));
        open.put(object, Location::caller());
    });
}
