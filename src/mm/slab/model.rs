//! Random operations on several CPUs against a model that remembers what is allocated.

use super::tests::{on_cpu, on_machine, used_pages};
use super::*;
use crate::arch::hosted::Machine;
use crate::mm::gfp::Gfp;
use crate::mm::mmzone::NodeId;
use core::ptr::NonNull;
use proptest::prelude::*;
use std::sync::Mutex;
use std::vec::Vec;

const CPUS: usize = 3;

#[derive(Clone, Debug)]
enum Op {
    Kmalloc { cpu: usize, sizes: Vec<usize>, gfp: Gfp },
    Krealloc { cpu: usize, which: usize, size: usize },
    Kfree { cpu: usize, first: usize, count: usize },
    Create { size: usize, align: u32, flags: SlabFlags },
    Alloc { cpu: usize, cache: usize, count: usize, how: How },
    Free { cpu: usize, cache: usize, first: usize, count: usize, bulk: bool },
    Destroy { cache: usize },
    Shrink { cpu: usize },
}

#[derive(Clone, Copy, Debug)]
enum How {
    OneByOne,
    Bulk,
    OnNode(usize),
}

fn op() -> impl Strategy<Value = Op> {
    let size = prop_oneof![
        2 => 1usize..17,
        4 => 1usize..300,
        3 => 300usize..9000,
        1 => 9000usize..50_000,
    ];
    let gfp = prop_oneof![
        4 => Just(Gfp::GFP_KERNEL),
        2 => Just(Gfp::GFP_KERNEL | Gfp::__GFP_ZERO),
        1 => Just(Gfp::GFP_ATOMIC | Gfp::__GFP_DMA),
        1 => Just(Gfp::GFP_NOWAIT | Gfp::__GFP_RECLAIMABLE | Gfp::__GFP_ZERO),
    ];
    // Many of one size reach past the sheaves; a few of random sizes mix the classes.
    let sizes = prop_oneof![
        (size.clone(), 1usize..150)
            .prop_map(|(size, n)| std::vec![size; n.min(200_000 / size + 1)]),
        prop::collection::vec(size.clone(), 1..20),
    ];
    let flags = prop_oneof![
        3 => Just(SlabFlags::empty()),
        2 => Just(SlabFlags::NO_MERGE),
        2 => Just(SlabFlags::HWCACHE_ALIGN),
        1 => Just(SlabFlags::ZERO),
        1 => Just(SlabFlags::DEBUG_DEFAULT),
        1 => Just(SlabFlags::STORE_USER | SlabFlags::ACCOUNT),
        1 => Just(SlabFlags::RED_ZONE | SlabFlags::CACHE_DMA),
        1 => Just(SlabFlags::CONSISTENCY_CHECKS | SlabFlags::RECLAIM_ACCOUNT),
    ];
    let cpu = 0..CPUS;
    let any_number = 0usize..10_000;
    let how = prop_oneof![
        2 => Just(How::OneByOne),
        2 => Just(How::Bulk),
        1 => (0usize..2).prop_map(How::OnNode),
    ];
    prop_oneof![
        4 => (cpu.clone(), sizes, gfp).prop_map(|(cpu, sizes, gfp)| Op::Kmalloc { cpu, sizes, gfp }),
        2 => (cpu.clone(), any_number.clone(), size.clone())
            .prop_map(|(cpu, which, size)| Op::Krealloc { cpu, which, size }),
        5 => (cpu.clone(), any_number.clone(), 1usize..200)
            .prop_map(|(cpu, first, count)| Op::Kfree { cpu, first, count }),
        1 => (size, 0u32..8, flags)
            .prop_map(|(size, align, flags)| Op::Create { size, align, flags }),
        3 => (cpu.clone(), any_number.clone(), 1usize..150, how)
            .prop_map(|(cpu, cache, count, how)| Op::Alloc { cpu, cache, count, how }),
        4 => (cpu.clone(), any_number.clone(), any_number.clone(), 1usize..150, any::<bool>()).prop_map(
            |(cpu, cache, first, count, bulk)| Op::Free { cpu, cache, first, count, bulk }
        ),
        1 => any_number.prop_map(|cache| Op::Destroy { cache }),
        1 => cpu.prop_map(|cpu| Op::Shrink { cpu }),
    ]
}

/// An allocation, filled with a byte of its own.
struct Piece {
    at: NonNull<u8>,
    len: usize,
    fill: u8,
}

// SAFETY: it stands for memory that only its holder uses.
unsafe impl Send for Piece {}

impl Piece {
    fn new(at: NonNull<u8>, len: usize, fill: u8) -> Self {
        // SAFETY: `len` bytes at `at` were allocated just now.
        unsafe { at.write_bytes(fill, len) };
        Self { at, len, fill }
    }

    fn check(&self) {
        // SAFETY: its bytes were written when it was made, and it is allocated.
        let bytes = unsafe { core::slice::from_raw_parts(self.at.as_ptr(), self.len) };
        assert!(bytes.iter().all(|&b| b == self.fill), "{} bytes at {:?}", self.len, self.at);
    }
}

struct Cache {
    cache: &'static RawCache,
    size: usize,
    align: usize,
    pieces: Vec<Piece>,
}

#[derive(Default)]
struct Model {
    pieces: Vec<Piece>,
    caches: Vec<Cache>,
    fill: u8,
}

impl Model {
    fn next_fill(&mut self) -> u8 {
        self.fill = self.fill.wrapping_add(1);
        self.fill
    }

    fn kmalloc(&mut self, size: usize, gfp: Gfp) {
        let Some(at) = kmalloc(size, gfp) else { return };
        if gfp.contains(Gfp::__GFP_ZERO) {
            // SAFETY: `size` bytes were allocated just now.
            let bytes = unsafe { core::slice::from_raw_parts(at.as_ptr(), size) };
            assert!(bytes.iter().all(|&b| b == 0), "{size} bytes at {at:?} are not zero");
        }
        let fill = self.next_fill();
        // SAFETY: a live allocation.
        let all = unsafe { ksize(at.as_ptr()) };
        assert!(all >= size && Some(all) == kmalloc_size_roundup(size));
        self.pieces.push(Piece::new(at, all, fill));
    }

    fn krealloc(&mut self, which: usize, size: usize) {
        if self.pieces.is_empty() {
            return;
        }
        let which = which % self.pieces.len();
        let piece = &self.pieces[which];
        piece.check();
        // SAFETY: the piece is live, and replaced below if that went well.
        let Some(at) = (unsafe { krealloc(piece.at.as_ptr(), size, Gfp::GFP_KERNEL) }) else {
            piece.check();
            return;
        };
        Piece { at, len: piece.len.min(size), fill: piece.fill }.check();
        // SAFETY: a live allocation.
        let all = unsafe { ksize(at.as_ptr()) };
        self.pieces[which] = Piece::new(at, all, piece.fill);
    }

    fn step(&mut self, m: &Machine, op: &Op) {
        let model = Mutex::new(self);
        let with = |cpu: usize, f: &(dyn Fn(&mut Model) + Sync)| {
            on_cpu(m, cpu, || f(&mut model.lock().unwrap()));
        };
        match *op {
            Op::Kmalloc { cpu, ref sizes, gfp } => with(cpu, &|model| {
                sizes.iter().for_each(|&size| model.kmalloc(size, gfp));
            }),
            Op::Krealloc { cpu, which, size } => with(cpu, &|model| model.krealloc(which, size)),
            Op::Kfree { cpu, first, count } => with(cpu, &|model| {
                for piece in drain(&mut model.pieces, first, count) {
                    piece.check();
                    // SAFETY: a live allocation, forgotten here.
                    unsafe { kfree(piece.at.as_ptr()) };
                }
            }),
            Op::Create { size, align, flags } => with(0, &|model| {
                let align = 1 << align;
                if model.caches.len() < 5
                    && let Ok(cache) = kmem_cache_create("model", size, align, flags, None)
                {
                    assert!(cache.object_size() >= size);
                    model.caches.push(Cache { cache, size, align, pieces: Vec::new() });
                }
            }),
            Op::Alloc { cpu, cache, count, how } => with(cpu, &|model| {
                let mut fill = model.fill;
                if let Some(cache) = pick(&mut model.caches, cache) {
                    let count = count.min(200_000 / cache.cache.object_size() + 1);
                    for at in alloc(cache.cache, count, how) {
                        assert!(at.addr().get().is_multiple_of(cache.align));
                        fill = fill.wrapping_add(1);
                        let piece = Piece { at, len: cache.size, fill: 0 };
                        if cache.cache.flags().contains(SlabFlags::ZERO) {
                            piece.check();
                        }
                        cache.pieces.push(Piece::new(at, cache.size, fill));
                    }
                }
                model.fill = fill;
            }),
            Op::Free { cpu, cache, first, count, bulk } => with(cpu, &|model| {
                let Some(cache) = pick(&mut model.caches, cache) else { return };
                let gone = drain(&mut cache.pieces, first, count);
                gone.iter().for_each(Piece::check);
                let objects: Vec<_> = gone.iter().map(|piece| piece.at).collect();
                if bulk {
                    // SAFETY: live objects, forgotten here.
                    unsafe { cache.cache.free_bulk(&objects) };
                } else {
                    // SAFETY: as above.
                    objects.iter().for_each(|&at| unsafe { cache.cache.free(at) });
                }
            }),
            Op::Destroy { cache } => with(0, &|model| {
                let Some(which) = cache.checked_rem(model.caches.len()) else { return };
                let Cache { cache, ref pieces, .. } = model.caches[which];
                let live = pieces.len();
                let shared = model.is_shared(cache);
                if shared && live > 0 {
                    return; // Nobody would notice.
                }
                // SAFETY: it is forgotten where that went well.
                let result = unsafe { kmem_cache_destroy(cache) };
                match live {
                    0 => assert_eq!(result, Ok(())),
                    n => assert_eq!(result, Err(DestroyError::Live(n))),
                }
                if result.is_ok() {
                    model.caches.remove(which);
                }
            }),
            Op::Shrink { cpu } => with(cpu, &|_| shrink_all()),
        }
    }

    fn check(&self) {
        validate();
        let of = |raw| self.caches.iter().filter(move |c| core::ptr::eq(c.cache, raw));
        for cache in self.caches.iter().filter(|cache| cache.cache.name() == "model") {
            let pieces: usize = of(cache.cache).map(|c| c.pieces.len()).sum();
            assert_eq!(cache.cache.info().active_objects, pieces);
        }
        let small = self.pieces.iter().filter(|p| p.len <= KMALLOC_MAX_CACHE_SIZE).count();
        let merged = self.caches.iter().filter(|cache| cache.cache.name() != "model");
        let in_merged: usize = merged.map(|cache| cache.pieces.len()).sum();
        let active: usize = slabinfo()
            .filter(|info| info.name.contains("kmalloc-"))
            .map(|info| info.active_objects)
            .sum();
        assert_eq!(active, small + in_merged + slab_aliases().count());
    }

    /// Returns whether somebody else uses this cache too.
    fn is_shared(&self, raw: &RawCache) -> bool {
        let users = self.caches.iter().filter(|c| core::ptr::eq(c.cache, raw)).count();
        users > 1 || raw.name() != "model"
    }
}

fn alloc(cache: &'static RawCache, count: usize, how: How) -> Vec<NonNull<u8>> {
    let one = |f: &dyn Fn() -> Option<NonNull<u8>>| (0..count).map_while(|_| f()).collect();
    match how {
        How::OneByOne => one(&|| cache.alloc(Gfp::GFP_KERNEL)),
        How::OnNode(node) => {
            one(&|| cache.alloc_node(Gfp::GFP_KERNEL, NodeId::new(node).expect("a node")))
        }
        How::Bulk => {
            let mut objects = std::vec![None; count];
            let went = cache.alloc_bulk(Gfp::GFP_KERNEL, &mut objects);
            assert!(objects.iter().all(|object| object.is_some() == went), "all or none");
            objects.into_iter().flatten().collect()
        }
    }
}

fn pick(caches: &mut [Cache], which: usize) -> Option<&mut Cache> {
    let count = caches.len();
    caches.get_mut(which.checked_rem(count)?)
}

fn drain(pieces: &mut Vec<Piece>, first: usize, count: usize) -> Vec<Piece> {
    let first = first.checked_rem(pieces.len()).unwrap_or(0);
    let end = (first + count).min(pieces.len());
    pieces.drain(first..end).collect()
}

fn config() -> ProptestConfig {
    ProptestConfig {
        cases: if cfg!(miri) { 2 } else { 24 },
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]
    #[test]
    fn random_operations_match_the_model(
        ops in prop::collection::vec(op(), 1..if cfg!(miri) { 10 } else { 80 }),
        mib in 1u64..5,
    ) {
        on_machine(mib << 10, |m| {
            let before = used_pages();
            let mut model = Model::default();
            for op in &ops {
                model.step(m, op);
                model.check();
            }
            for piece in model.pieces.drain(..) {
                piece.check();
                // SAFETY: live allocations, forgotten here.
                unsafe { kfree(piece.at.as_ptr()) };
            }
            for Cache { cache, pieces, .. } in model.caches.drain(..) {
                for piece in pieces {
                    piece.check();
                    // SAFETY: live objects, forgotten here.
                    unsafe { cache.free(piece.at) };
                }
                // SAFETY: it is forgotten here.
                assert_eq!(unsafe { kmem_cache_destroy(cache) }, Ok(()));
            }
            validate();
            // Each CPU flushes its own sheaves; what one gives up may be another's sheaf.
            m.on_cpus(CPUS, |_| shrink_all());
            on_cpu(m, 0, shrink_all);
            validate();
            assert_eq!(used_pages(), before);
        });
    }
}
