//! Caches on several nodes.

use super::*;

/// The caller's flags say how hard to try for a slab's pages; the cache's flags say where they
/// lie.
#[test]
fn pages_of_slabs_are_asked_for_as_both_say() {
    on_machine(1024, |_| {
        let plain = create("plain", 40, SlabFlags::NO_MERGE);
        let callers = Gfp::__GFP_RECLAIM
            | Gfp::__GFP_HIGH
            | Gfp::__GFP_IO
            | Gfp::__GFP_FS
            | Gfp::__GFP_NOWARN
            | Gfp::__GFP_RETRY_MAYFAIL
            | Gfp::__GFP_NOFAIL
            | Gfp::__GFP_NORETRY
            | Gfp::__GFP_MEMALLOC
            | Gfp::__GFP_NOMEMALLOC
            | Gfp::__GFP_HARDWALL
            | Gfp::__GFP_THISNODE;
        assert_eq!(plain.page_gfp(Gfp::all()), callers);
        assert_eq!(plain.page_gfp(Gfp::empty()), Gfp::empty());
        for (flags, adds) in [
            (SlabFlags::CACHE_DMA, Gfp::__GFP_DMA),
            (SlabFlags::CACHE_DMA32, Gfp::__GFP_DMA32),
            (SlabFlags::RECLAIM_ACCOUNT, Gfp::__GFP_RECLAIMABLE),
            (SlabFlags::ACCOUNT, Gfp::__GFP_ACCOUNT),
        ] {
            let cache = create("kind", 40, SlabFlags::NO_MERGE | flags);
            assert_eq!(cache.page_gfp(K), K | adds);
            assert_eq!(destroy(cache), Ok(()));
        }
        assert_eq!(destroy(plain), Ok(()));
    });
}

// Nodes.

pub(super) fn node(n: usize) -> NodeId {
    NodeId::new(n).expect("a node")
}

/// Two nodes of 4 MiB; CPUs 0 and 1 are near one each.
fn on_two_nodes(f: impl FnOnce(&Machine)) {
    let ranges =
        [0u64, 1].map(|n| PhysRange::from_size(PhysAddr::new(0x4000_0000 + (n << 22)), 4 << 20));
    Machine::run(&ranges, |m| {
        let pages = ranges.map(|range| range.whole_pages());
        let present = pages.iter().enumerate().map(|(n, &range)| (node(n), range));
        let (limits, mapped) = (ZoneLimits::default(), sparse::Populate::Mapped);
        // SAFETY: it is RAM of a fresh machine.
        unsafe { page_alloc::free_area_init(limits, present, pages.iter().copied(), mapped) }
            .expect("memory");
        kmem_cache_init(5);
        (0..2).for_each(|n| {
            page_alloc::set_cpu_numa_node(CpuId::new(n).expect("a CPU"), node(n));
        });
        f(m);
    });
}

fn node_of(object: NonNull<u8>) -> usize {
    let at = crate::addr::VirtAddr::from_ptr(object.as_ptr());
    let block = Frame::from_virt(at).expect("RAM").align_down(crate::addr::Order::MAX);
    block.zone().node().index()
}

fn free(object: NonNull<u8>) {
    // SAFETY: the tests free what they allocated.
    unsafe { kfree(object.as_ptr()) };
}

#[test]
fn memory_comes_from_the_node_that_was_asked() {
    on_two_nodes(|m| {
        m.on_cpus(2, |cpu| {
            let near: Vec<_> = (0..300).map(|_| kmalloc(100, K).expect("memory")).collect();
            assert!(near.iter().all(|&object| node_of(object) == cpu), "CPU {cpu}");
            for n in 0..2 {
                for size in [8, 100, 5000, 20_000] {
                    let objects: Vec<_> =
                        (0..20).map(|_| kmalloc_node(size, K, node(n)).expect("memory")).collect();
                    assert!(objects.iter().all(|&o| node_of(o) == n), "{size} bytes on {n}");
                    objects.into_iter().for_each(free);
                }
            }
            near.into_iter().for_each(free);
        });
        validate();
        let zero = kzalloc_node(64, K, node(1)).expect("memory");
        // SAFETY: 64 bytes are ours.
        assert_eq!(unsafe { zero.cast::<[u64; 8]>().read() }, [0; 8]);
        free(zero);
    });
}

/// A slab of another node's memory that was made for one who asked for that does not fill this
/// CPU's sheaf.
#[test]
fn what_was_made_for_another_node_stays_there() {
    on_two_nodes(|m| {
        on_cpu(m, 0, || {
            let cache = create("far", 104, SlabFlags::NO_MERGE);
            let near = alloc(cache);
            let far = cache.alloc_node(K, node(1)).expect("memory");
            // All that is here, and more: none is from there.
            let objects: Vec<_> = (0..200).map(|_| alloc(cache)).collect();
            assert_eq!((node_of(near), node_of(far)), (0, 1));
            assert!(objects.iter().all(|&object| node_of(object) == 0));
            objects.into_iter().chain([near, far]).for_each(|object| put(cache, object));
            cache.shrink();
            assert_eq!(destroy(cache), Ok(()));
        });
    });
}

#[test]
fn objects_of_another_node_go_home() {
    on_two_nodes(|m| {
        let cache = create("far", 64, SlabFlags::NO_MERGE);
        let objects = std::sync::Mutex::new(Vec::new());
        on_cpu(m, 1, || {
            for _ in 0..1000 {
                let object = alloc(cache);
                assert_eq!(node_of(object), 1);
                objects.lock().unwrap().push(object.as_ptr().expose_provenance());
            }
        });
        on_cpu(m, 0, || {
            for object in objects.lock().unwrap().drain(..) {
                let at = core::ptr::with_exposed_provenance_mut(object);
                put(cache, NonNull::new(at).expect("an object"));
            }
            // The barn of this node has none of them (validate says so); each CPU's two
            // sheaves may.
            cache.validate();
            let info = cache.info();
            assert_eq!(info.active_objects, 0);
            assert!(info.in_sheaves <= 240 && info.slabs <= 10, "{info:?}");
        });
        on_cpu(m, 1, || cache.shrink());
        on_cpu(m, 0, || cache.shrink());
        cache.validate();
        assert_eq!(cache.info().slabs, 0);
    });
}

#[test]
fn a_node_without_memory_is_helped_out_if_that_is_allowed() {
    on_two_nodes(|_| {
        let gfp = Gfp::GFP_NOWAIT;
        let cache = create("full", 4000, SlabFlags::NO_MERGE);
        let elsewhere = cache.alloc_node(gfp, node(0)).expect("memory");
        let own = |_| cache.alloc_node(gfp | Gfp::__GFP_THISNODE, node(1));
        let all: Vec<_> = (0..).map_while(own).collect();
        assert!(all.len() > 500 && all.iter().all(|&object| node_of(object) == 1));
        cache.validate();
        let other = cache.alloc_node(gfp, node(1)).expect("the other node has some");
        assert_eq!(node_of(other), 0);
        put(cache, other);
        put(cache, elsewhere);
        all.into_iter().for_each(|object| put(cache, object));
        cache.validate();
        assert_eq!(destroy(cache), Ok(()));
    });
}

/// The kernel keeps its address: it must neither be moved nor lie where only what moves may.
#[test]
fn a_large_allocation_is_what_it_always_is_whatever_the_flags() {
    on_machine(8192, |_| {
        let odd = [Gfp::__GFP_HIGHMEM, Gfp::__GFP_MOVABLE, Gfp::__GFP_COMP];
        let all = odd.iter().fold(K, |all, &flag| all | flag);
        for gfp in odd.map(|flag| K | flag).into_iter().chain([all]) {
            // By a list, where the first has left some, and by the zone.
            for size in [20_000, 20_000, 200_000] {
                let movable = alloc_pages::alloc_pages(K | Gfp::__GFP_MOVABLE, Order::ZERO);
                let object = kmalloc(size, gfp).expect("memory");
                let frame = Frame::from_virt(VirtAddr::from_ptr(object.as_ptr())).expect("a frame");
                assert!(frame.page().flags().is_empty(), "{gfp:?}: {:?}", frame.page().flags());
                let block = page_alloc::pageblock_migratetype(frame);
                assert_eq!(block, Migratetype::Unmovable, "{gfp:?} {size}");
                // SAFETY: allocated above, and freed once.
                unsafe { kfree(object.as_ptr()) };
                // SAFETY: allocated here, and nobody uses it any more.
                unsafe { page_alloc::free_pages(movable.expect("memory"), Order::ZERO) };
            }
        }
    });
}
