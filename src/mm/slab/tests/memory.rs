//! Where the memory of slabs comes from, and that it goes back.

use super::*;

#[test]
fn dma_memory_is_of_its_own_slabs() {
    on_machine(1024, |_| {
        let active =
            |name| slabinfo().find(|info| info.name == name).map(|info| info.active_objects);
        let a = kmalloc(32, Gfp::GFP_KERNEL | Gfp::__GFP_DMA).expect("memory");
        let b = kmalloc(32, Gfp::GFP_KERNEL | Gfp::__GFP_RECLAIMABLE).expect("memory");
        let c = kmalloc(32, Gfp::GFP_DMA32).expect("memory");
        assert_eq!(active("dma-kmalloc-32"), Some(2));
        assert_eq!(active("kmalloc-rcl-32"), Some(1));
        assert_eq!(active("kmalloc-32"), Some(0));
        let dma = create("dma", 32, SlabFlags::CACHE_DMA);
        assert!(dma.page_gfp(K).contains(Gfp::__GFP_DMA));
        let plain = create("plain", 32, SlabFlags::empty());
        let asked = K | Gfp::__GFP_DMA | Gfp::__GFP_ZERO | Gfp::__GFP_MOVABLE;
        assert_eq!(plain.page_gfp(asked), K, "where the memory lies is the cache's");
        free_all([a, b, c]);
    });
}

#[test]
fn out_of_memory_is_none_and_passes() {
    on_machine(1024, |m| {
        for size in [8, 96, 1024, 8192, 20000] {
            let before = used_pages();
            let objects: Vec<_> = core::iter::from_fn(|| kmalloc(size, Gfp::GFP_NOWAIT)).collect();
            let bytes = objects.len() * kmalloc_size_roundup(size).expect("a class");
            assert!(bytes > 700 << 10, "size {size}: got {}", objects.len());
            assert_eq!(kmalloc(size, K), None);
            validate();
            let (some, rest) = objects.split_at(objects.len().min(200));
            free_all(some.iter().copied());
            let again: Vec<_> = core::iter::from_fn(|| kmalloc(size, Gfp::GFP_NOWAIT)).collect();
            assert!(again.len() >= some.len(), "size {size}: {} of {}", again.len(), some.len());
            validate();
            free_all(again);
            free_all(rest.iter().copied());
            validate();
            free(kmalloc(size, K).expect("memory again"));
            m.on_cpus(1, |_| shrink_all());
            assert_eq!(used_pages(), before, "size {size}");
        }
    });
}

/// Pages of slabs of 1024 bytes: as many as slabinfo says.
fn pages_of_1024() -> usize {
    let frames = page_alloc::zones().flat_map(|zone| zone.id.zone().spanned().iter());
    let is_its = |frame| slab_of(frame).is_some_and(|slab| slab.cache == "kmalloc-1k");
    let pages = frames.filter_map(Frame::new).filter(|&frame| is_its(frame)).count();
    let info = slabinfo().find(|info| info.name == "kmalloc-1k").expect("listed");
    assert_eq!(info.pages, pages, "{info:?}");
    pages
}

/// A block for more objects at once is not worth waiting for where a page will do, and slabs of
/// either order are counted.
#[test]
fn short_memory_is_used_by_the_page() {
    on_machine(1024, |_| {
        // Leave every second page, so that no block of a higher order is to be had.
        let gfp = Gfp::GFP_NOWAIT | Gfp::__GFP_MEMALLOC;
        let mut pages: Vec<_> =
            core::iter::from_fn(|| alloc_pages::alloc_pages(gfp, Order::ZERO)).collect();
        pages.sort();
        let (free, kept): (Vec<_>, Vec<_>) =
            pages.into_iter().partition(|frame| frame.pfn().get() % 2 == 0);
        for frame in free {
            // SAFETY: allocated here, and nobody uses it any more.
            unsafe { page_alloc::free_pages(frame, Order::ZERO) };
        }
        let before = (vmscan_stat(), compact_stat());
        let object = kmalloc(1024, K).expect("a slab of a single page will do");
        let after = (vmscan_stat(), compact_stat());
        assert_eq!(after.0.allocstall, before.0.allocstall, "reclaim for more than one page");
        assert_eq!((after.1.success, after.1.fail), (before.1.success, before.1.fail));
        validate();
        let lesser: Vec<_> = (0..20).map(|_| kmalloc(1024, K).expect("memory")).collect();
        assert!(pages_of_1024() >= 6);
        self::free(object);
        assert_eq!(kmalloc(8192, K), None);
        for frame in kept {
            // SAFETY: allocated here, and nobody uses it any more.
            unsafe { page_alloc::free_pages(frame, Order::ZERO) };
        }
        let more: Vec<_> = (0..40).map(|_| kmalloc(1024, K).expect("memory")).collect();
        validate();
        assert!(pages_of_1024() >= 16);
        free_all(more);
        free_all(lesser);
        validate();
        pages_of_1024();
    });
}

#[test]
fn constructed_objects_stay_constructed() {
    fn ctor(object: NonNull<u8>) {
        // SAFETY: an object of 24 bytes.
        unsafe { object.write_bytes(0x11, 24) };
    }
    on_machine(1024, |_| {
        let cache = kmem_cache_create("ctor", 24, 8, SlabFlags::empty(), Some(ctor)).expect("one");
        let objects: Vec<_> = (0..300).map(|_| cache.alloc(K).expect("memory")).collect();
        for object in &objects {
            // SAFETY: 24 bytes are ours.
            let bytes = unsafe { core::slice::from_raw_parts(object.as_ptr(), 24) };
            assert!(bytes.iter().all(|&b| b == 0x11));
            // SAFETY: ours.
            unsafe { object.write(0x22) };
        }
        objects.iter().for_each(|&object| put(cache, object));
        for _ in 0..300 {
            let object = cache.alloc(K).expect("memory");
            // SAFETY: 24 bytes are ours.
            let bytes = unsafe { core::slice::from_raw_parts(object.as_ptr(), 24) };
            assert!(bytes[0] == 0x22 || bytes[0] == 0x11);
            assert!(bytes[1..].iter().all(|&b| b == 0x11));
        }
    });
}

#[test]
fn destroy_refuses_live_objects_and_gives_all_back() {
    on_machine(1024, |m| {
        let before = used_pages();
        let cache = create("mortal", 100, SlabFlags::HWCACHE_ALIGN);
        let other = create("other", 100, SlabFlags::empty());
        let object = cache.alloc(K).expect("memory");
        on_cpu(m, 1, || put(cache, cache.alloc(K).expect("memory")));
        // SAFETY: nobody else uses it.
        assert_eq!(unsafe { kmem_cache_destroy(cache) }, Err(DestroyError::Live(1)));
        assert!(slabinfo().any(|info| info.name == "mortal" && info.active_objects == 1));
        put(cache, object);
        // SAFETY: nobody uses it again.
        assert_eq!(unsafe { kmem_cache_destroy(cache) }, Ok(()));
        assert!(slabinfo().all(|info| info.name != "mortal"));
        assert!(slabinfo().any(|info| info.name == "other"));
        let third = create("third", 8, SlabFlags::empty());
        validate();
        // SAFETY: nobody uses them again.
        unsafe {
            assert_eq!(kmem_cache_destroy(other), Ok(()));
            assert_eq!(kmem_cache_destroy(third), Ok(()));
        }
        let kmalloc_8 = super::kmalloc::caches().next().expect("one");
        // SAFETY: it is refused.
        assert_eq!(unsafe { kmem_cache_destroy(kmalloc_8) }, Err(DestroyError::Permanent));
        shrink_all();
        validate();
        assert_eq!(used_pages(), before);
    });
}
