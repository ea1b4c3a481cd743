//! Memory that nobody can free any more, on the running kernel.
//!
//! Command line: kmemleak=on

#![no_std]
#![no_main]

extern crate alloc;

mod harness;
#[path = "harness/reports.rs"]
mod reports;
#[path = "harness/says.rs"]
mod says;

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::vec::Vec;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use granule::addr::VirtAddr;
use granule::mm::debug::{
    ScanResult, kmemleak_ignore, kmemleak_no_scan, kmemleak_not_leak, kmemleak_objects,
    kmemleak_on, kmemleak_scan, kmemleak_scan_area,
};
use granule::mm::gfp::Gfp;
use granule::mm::slab::{kfree, kmalloc};
use granule::mm::vmalloc::{vfree, vmalloc};
use harness::Random;
use says::assert_says;

/// An address that no scan takes for one.
struct Hidden(usize);

impl Hidden {
    fn new(at: usize) -> Self {
        Self(!at)
    }
    fn address(&self) -> usize {
        !self.0
    }
    fn virt(&self) -> VirtAddr {
        VirtAddr::new(self.address())
    }
    fn free(self) {
        // SAFETY: allocated by the test, and freed once.
        unsafe { kfree(core::ptr::with_exposed_provenance(self.address())) };
    }
}

#[inline(never)]
fn leak_here(size: usize) -> Hidden {
    let object = kmalloc(size, Gfp::GFP_KERNEL).expect("memory");
    // SAFETY: just allocated.
    unsafe { object.write_bytes(0x3c, size) };
    Hidden::new(object.as_ptr().expose_provenance())
}

/// Keeps an address where the scan sees it, though nobody reads it.
fn keep(at: &'static AtomicUsize, value: usize) {
    core::hint::black_box(at).store(value, Relaxed);
}

/// Overwrites what calls have left in registers and on the stack.
#[inline(never)]
fn forget() {
    let mut frame = [0u8; 8192];
    for byte in core::hint::black_box(&mut frame) {
        *byte = 1;
    }
    core::hint::black_box(&frame);
}

/// What two scans find; a leak is one that stays as it is from the first to the second.
fn scan() -> ScanResult {
    forget();
    kmemleak_scan(0);
    forget();
    kmemleak_scan(0)
}

fn nothing_new() -> bool {
    let mut found = 0;
    let text = reports::of(|| found = scan().new_leaks);
    assert_eq!(found == 0, text.is_empty());
    found == 0
}

kernel_tests! {
    fn nothing_leaks_during_the_boot() {
        assert!(kmemleak_on());
        assert!(kmemleak_objects() > 0, "it watches");
        assert!(nothing_new());
    }

    fn a_leak_is_found_and_no_other() {
        let leak = leak_here(120);
        let kept = leak_here(120);
        static KEPT: AtomicUsize = AtomicUsize::new(0);
        keep(&KEPT, kept.address());
        let mut found = 0;
        let text = reports::of(|| found = scan().new_leaks);
        assert_eq!(found, 1);
        assert_says(&text, &[
            &format!("unreferenced object {} (size 128):", leak.virt()),
            "pid 0", "hex dump", "3c 3c 3c 3c", "backtrace", "leak_here+", "a_leak_is_found_and_no_other+",
            "kmemleak: 1 new suspected memory leaks",
        ]);
        assert!(nothing_new(), "it is told once");
        leak.free();
        keep(&KEPT, 0);
        let mut found = 0;
        let text = reports::of(|| found = scan().new_leaks);
        assert_says(&text, &[&format!("unreferenced object {}", kept.virt())]);
        assert_eq!(found, 1);
        kept.free();
    }

    fn what_only_a_leak_refers_to_leaks_too() {
        let (first, second) = (leak_here(64), leak_here(64));
        let word = core::ptr::with_exposed_provenance_mut::<usize>(first.address());
        // SAFETY: the test's own object. An address within the other counts as well.
        unsafe { word.write(second.address() + 40) };
        // As in Linux, the one that something refers to is not reported while that is a leak
        // itself only if it is scanned: it isn't.
        let mut found = 0;
        let text = reports::of(|| found = scan().new_leaks);
        assert_eq!(found, 2, "{text}");
        // Reachable again: neither is told of.
        static ROOT: AtomicUsize = AtomicUsize::new(0);
        let third = leak_here(64);
        // SAFETY: as above.
        unsafe { word.write(third.address()) };
        keep(&ROOT, first.address());
        assert!(nothing_new());
        keep(&ROOT, 0);
        first.free();
        second.free();
        third.free();
    }

    fn areas_of_vmalloc_are_watched_and_scanned() {
        #[inline(never)]
        fn area_here() -> Hidden {
            Hidden::new(vmalloc(3 * 4096, Gfp::GFP_KERNEL | Gfp::__GFP_ZERO).expect("memory").get())
        }
        let area = area_here();
        let object = leak_here(32);
        static AREA: AtomicUsize = AtomicUsize::new(0);
        keep(&AREA, area.address());
        let word = core::ptr::with_exposed_provenance_mut::<usize>(area.address() + 4096);
        // SAFETY: the test's own area.
        unsafe { word.write(object.address()) };
        assert!(nothing_new());
        keep(&AREA, 0);
        let mut found = 0;
        let text = reports::of(|| found = scan().new_leaks);
        assert_eq!(found, 2, "{text}");
        assert_says(&text, &[&format!("unreferenced object {} (size 12288)", area.virt()), "area_here+"]);
        object.free();
        vfree(area.virt());
    }

    fn what_is_said_of_an_object_counts() {
        let (grey, black, inside) = (leak_here(64), leak_here(64), leak_here(64));
        let store = |at: &Hidden, n: usize, value: usize| {
            let word = core::ptr::with_exposed_provenance_mut::<usize>(at.address() + 8 * n);
            // SAFETY: the test's own objects.
            unsafe { word.write(value) };
        };
        kmemleak_not_leak(grey.virt());
        kmemleak_ignore(black.virt());
        store(&grey, 3, inside.address());
        assert!(nothing_new(), "the grey one is scanned");
        // Of two areas of words, the address lies in one.
        kmemleak_scan_area(grey.virt(), 24, 8);
        assert!(nothing_new());
        kmemleak_scan_area(grey.virt(), 32, 16);
        let mut found = 0;
        reports::of(|| found = scan().new_leaks);
        assert_eq!(found, 1, "it is where no address is kept");
        inside.free();
        let inside = leak_here(64);
        store(&grey, 4, inside.address());
        assert!(nothing_new());
        kmemleak_no_scan(grey.virt());
        reports::of(|| found = scan().new_leaks);
        assert_eq!(found, 1, "the grey one is scanned no more");
        // A black one's words lead nowhere.
        let other = leak_here(64);
        store(&black, 0, other.address());
        reports::of(|| found = scan().new_leaks);
        assert_eq!(found, 1);
        for object in [grey, black, inside, other] {
            object.free();
        }
    }

    /// Everything is in use, by way of maps, boxes and vectors; and goes again.
    fn a_stress_has_no_leaks() {
        let mut random = Random::new(11);
        let mut map: BTreeMap<usize, Box<Vec<NonNull<u8>>>> = BTreeMap::new();
        for step in 0..4000 {
            let key = random.below(300);
            match map.remove(&key) {
                Some(list) => list.iter().for_each(|object| {
                    // SAFETY: allocated below, and in one list alone.
                    unsafe { kfree(object.as_ptr()) }
                }),
                None => {
                    let list = (0..random.below(6)).map(|_| {
                        kmalloc(1 + random.below(3000), Gfp::GFP_KERNEL).expect("memory")
                    });
                    map.insert(key, Box::new(list.collect()));
                }
            }
            if step % 1000 == 999 {
                assert!(nothing_new(), "step {step}");
            }
        }
        let objects = kmemleak_objects();
        map.values().flat_map(|list| list.iter()).for_each(|object| {
            // SAFETY: as above; the map goes next.
            unsafe { kfree(object.as_ptr()) }
        });
        drop(map);
        assert!(kmemleak_objects() < objects);
        assert!(nothing_new());
    }
}
