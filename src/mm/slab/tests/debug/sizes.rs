//! What lies around objects, and the sizes that were asked for.

use super::*;

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
