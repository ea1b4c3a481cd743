//! Tests of reports of misuse of a debugged cache, and of failslab.

mod faults;
mod sizes;

use super::on_machine;
use crate::addr::{Order, VirtAddr};
use crate::arch::hosted::set_stack_trace;
use crate::mm::alloc_pages::alloc_pages;
use crate::mm::debug::stackdepot;
use crate::mm::gfp::Gfp;
use crate::mm::page_alloc::free_pages;
use crate::mm::slab::slab::Slab;
use crate::mm::slab::*;
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
