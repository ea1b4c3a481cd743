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
use alloc::string::String;
use alloc::vec::Vec;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use granule::addr::VirtAddr;
use granule::fs;
use granule::mm::debug::{
    ScanResult, kmemleak_ignore, kmemleak_no_scan, kmemleak_not_leak, kmemleak_objects,
    kmemleak_on, kmemleak_scan, kmemleak_scan_area,
};
use granule::mm::gfp::Gfp;
use granule::mm::set_memory::set_memory_valid;
use granule::mm::slab::{
    RawCache, SlabFlags, kfree, kmalloc, kmem_cache_create, kmem_cache_destroy,
};
use granule::mm::vmalloc::{vfree, vmalloc};
use granule::percpu::possible_cpus;
use harness::Random;
use says::assert_says;

/// An address that no scan takes for one. What needs the address itself is a function that is
/// not inlined, so that no stack slot of a test holds it longer.
struct Hidden(usize);

impl Hidden {
    fn new(at: usize) -> Self {
        Self(!at)
    }
    fn address(&self) -> usize {
        !core::hint::black_box(self.0)
    }
    fn virt(&self) -> VirtAddr {
        VirtAddr::new(self.address())
    }
    /// Beginning of its report.
    #[inline(never)]
    fn title(&self) -> String {
        format!("unreferenced object {} (size ", self.virt())
    }
    /// Keeps the address of `other` in word `n` of it.
    #[inline(never)]
    fn store(&self, n: usize, other: &Hidden) {
        let word = core::ptr::with_exposed_provenance_mut::<usize>(self.address() + 8 * n);
        // SAFETY: an aligned word of the test's own object.
        unsafe { word.write_volatile(other.address()) };
    }
    /// Says something of it.
    #[inline(never)]
    fn tell(&self, what: impl FnOnce(VirtAddr)) {
        what(self.virt());
    }
    #[inline(never)]
    fn vfree(self) {
        // SAFETY: an area that the test allocated, freed once.
        unsafe { vfree(self.virt()) }
    }
    #[inline(never)]
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
#[inline(never)]
fn keep(at: &'static AtomicUsize, object: Option<&Hidden>) {
    core::hint::black_box(at).store(object.map_or(0, Hidden::address), Relaxed);
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

/// Scans twice: a leak is an object that stays unchanged from the first to the second.
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
        keep(&KEPT, Some(&kept));
        let mut found = 0;
        let text = reports::of(|| found = scan().new_leaks);
        assert_eq!(found, 1);
        assert_says(&text, &[
            &leak.title(), "128):", "pid 1", "hex dump", "3c 3c 3c 3c", "backtrace", "leak_here+", "a_leak_is_found_and_no_other+",
            "kmemleak: 1 new suspected memory leaks",
        ]);
        assert!(nothing_new(), "it is told once");
        leak.free();
        keep(&KEPT, None);
        let mut found = 0;
        let text = reports::of(|| found = scan().new_leaks);
        assert_says(&text, &[&kept.title()]);
        assert_eq!(found, 1);
        kept.free();
    }

    fn each_cpu_s_variables_are_looked_through() {
        granule::per_cpu! {
            static KEPT: AtomicUsize = AtomicUsize::new(0);
        }
        for cpu in possible_cpus() {
            let kept = leak_here(120);
            KEPT.of(cpu).store(kept.address(), Relaxed);
            assert!(nothing_new(), "{cpu:?}");
            KEPT.of(cpu).store(0, Relaxed);
            let mut found = 0;
            let text = reports::of(|| found = scan().new_leaks);
            assert_eq!(found, 1, "{cpu:?}");
            assert_says(&text, &[&kept.title()]);
            kept.free();
        }
    }

    fn the_file_shows_leaks_until_they_are_cleared() {
        const FILE: &str = "/sys/kernel/debug/kmemleak";
        let shown = || {
            let mut text = String::with_capacity(8 << 10);
            fs::read(FILE, &mut text).expect("a file");
            text
        };
        assert_eq!(shown(), "");
        let (first, second) = (leak_here(120), leak_here(40));
        let mut found = 0;
        reports::of(|| found = scan().new_leaks);
        assert_eq!(found, 2);
        let text = shown();
        for (leak, size) in [(&first, "128):\n"), (&second, "64):\n")] {
            assert_says(&text, &[&leak.title(), size, "hex dump (first 32 bytes)", "backtrace (crc ", "leak_here+"]);
        }
        assert_eq!(text.matches("unreferenced object").count(), 2);
        // As often as it is read; what is freed is none.
        second.free();
        assert_eq!(shown().matches("unreferenced object").count(), 1);
        fs::write(FILE, "clear\n").expect("it takes that");
        assert_eq!(shown(), "");
        assert!(nothing_new());
        assert_eq!(shown(), "");
        first.free();
    }

    fn an_object_of_a_cache_leaks_too() {
        #[inline(never)]
        fn leak_of_cache(cache: &'static RawCache) -> Hidden {
            let object = cache.alloc(Gfp::GFP_KERNEL).expect("memory");
            // SAFETY: just allocated.
            unsafe { object.write_bytes(0x4b, 72) };
            Hidden::new(object.as_ptr().expose_provenance())
        }
        let cache = kmem_cache_create("test_leak", 72, 8, SlabFlags::NO_MERGE, None).expect("a cache");
        // The cache's slab may lie where another lay, whose address a dead word of a stack still
        // holds: a conservative scan takes that for one of the object at its start.
        let leaks: [Hidden; 4] = core::array::from_fn(|_| leak_of_cache(cache));
        let mut found = 0;
        let text = reports::of(|| found = scan().new_leaks);
        assert!((3..=4).contains(&found), "{found}: {text}");
        let said = leaks.iter().filter(|leak| text.contains(&leak.title())).count();
        assert_eq!(said, found, "{text}");
        assert_says(&text, &[
            "72):", "pid 1", "4b 4b 4b 4b", "backtrace", "leak_of_cache+",
            "an_object_of_a_cache_leaks_too",
        ]);
        for leak in leaks {
            let object = NonNull::new(core::ptr::with_exposed_provenance_mut(leak.address()));
            // SAFETY: allocated above, and freed once.
            unsafe { cache.free(object.expect("an object")) };
        }
        // SAFETY: nobody else knows the cache.
        assert_eq!(unsafe { kmem_cache_destroy(cache) }, Ok(()));
        assert!(nothing_new());
    }

    /// Larger than any cache's objects: pages, which a CPU's lists have at hand the second time.
    fn a_large_allocation_is_watched_from_its_first_byte_to_its_end() {
        const SIZE: usize = 20_000;
        (0..3).for_each(|_| leak_here(SIZE).free());
        let before = kmemleak_objects();
        let leak = leak_here(SIZE);
        assert_eq!(kmemleak_objects(), before + 1);
        let mut found = 0;
        let text = reports::of(|| found = scan().new_leaks);
        assert_says(&text, &[&leak.title(), "20000):", "leak_here+"]);
        assert_eq!(found, 1, "{text}");
        leak.free();
        assert_eq!(kmemleak_objects(), before, "it is forgotten with its free");
        assert!(nothing_new());
    }

    fn what_only_a_leak_refers_to_leaks_too() {
        let (first, second) = (leak_here(64), leak_here(64));
        first.store(0, &second);
        let mut found = 0;
        let text = reports::of(|| found = scan().new_leaks);
        assert_eq!(found, 2, "{text}");
        // Reachable again: neither is told of.
        static ROOT: AtomicUsize = AtomicUsize::new(0);
        let third = leak_here(64);
        first.store(0, &third);
        keep(&ROOT, Some(&first));
        assert!(nothing_new());
        keep(&ROOT, None);
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
        keep(&AREA, Some(&area));
        area.store(512, &object);
        assert!(nothing_new());
        keep(&AREA, None);
        let mut found = 0;
        let text = reports::of(|| found = scan().new_leaks);
        assert_eq!(found, 2, "{text}");
        assert_says(&text, &[&area.title(), "12288):", "area_here+"]);
        object.free();
        area.vfree();
    }

    fn what_is_said_of_an_object_counts() {
        let (grey, black, inside) = (leak_here(64), leak_here(64), leak_here(64));
        grey.tell(kmemleak_not_leak);
        black.tell(kmemleak_ignore);
        grey.store(3, &inside);
        assert!(nothing_new(), "the grey one is scanned");
        // Of two areas of words, the address lies in one.
        grey.tell(|at| kmemleak_scan_area(at, 24, 8));
        assert!(nothing_new());
        grey.tell(|at| kmemleak_scan_area(at, 32, 16));
        let mut found = 0;
        reports::of(|| found = scan().new_leaks);
        assert_eq!(found, 1, "it is where no address is kept");
        inside.free();
        let inside = leak_here(64);
        grey.store(4, &inside);
        assert!(nothing_new());
        grey.tell(kmemleak_no_scan);
        reports::of(|| found = scan().new_leaks);
        assert_eq!(found, 1, "the grey one is scanned no more");
        // A black one's words lead nowhere, though it is known itself.
        static BLACK: AtomicUsize = AtomicUsize::new(0);
        keep(&BLACK, Some(&black));
        let other = leak_here(64);
        black.store(0, &other);
        reports::of(|| found = scan().new_leaks);
        assert_eq!(found, 1);
        keep(&BLACK, None);
        for object in [grey, black, inside, other] {
            object.free();
        }
    }

    fn pages_that_are_hidden_are_passed_over() {
        static AREA: AtomicUsize = AtomicUsize::new(0);
        let area = Hidden::new(vmalloc(3 * 4096, Gfp::GFP_KERNEL | Gfp::__GFP_ZERO).expect("memory").get());
        keep(&AREA, Some(&area));
        let (before, behind) = (leak_here(32), leak_here(32));
        area.store(0, &before);
        area.store(1024, &behind);
        let hide = |hidden: bool| {
            // SAFETY: a page of the test's area, which is used by other pages alone while it is hidden.
            area.tell(|at| unsafe { set_memory_valid(at + 4096, 1, !hidden) }.expect("an area"));
        };
        hide(true);
        assert!(nothing_new(), "what lies on both sides is scanned");
        hide(false);
        keep(&AREA, None);
        before.free();
        behind.free();
        area.vfree();
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
