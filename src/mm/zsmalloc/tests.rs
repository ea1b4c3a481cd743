//! Pools against a model: what was written is read again, wherever it was moved.

use super::*;
use crate::addr::{PhysAddr, PhysRange};
use crate::arch::hosted::Machine;
use crate::mm::migrate::{Isolated, migrate_pages};
use crate::mm::page_alloc::{self, nr_used_pages};
use crate::mm::validate;
use core::mem::ManuallyDrop;
use proptest::prelude::*;
use std::collections::BTreeMap;

const K: Gfp = Gfp::GFP_KERNEL.union(Gfp::__GFP_NOWARN);

fn on_machine<R>(kib: u64, f: impl FnOnce(&Machine) -> R) -> R {
    let ram = PhysRange::from_size(PhysAddr::new(0x4000_0000), kib << 10);
    Machine::run(&[ram], |m| {
        page_alloc::init(m.ram());
        f(m)
    })
}

fn used_pages() -> u32 {
    validate::validate().expect("the page allocator is well");
    nr_used_pages()
}

/// Moves the pages of these frames; how many were moved.
fn move_frames(frames: impl IntoIterator<Item = Frame>) -> usize {
    let mut moved = 0;
    for frame in frames {
        let mut isolated = Isolated::new();
        if isolated.isolate(frame) {
            moved += migrate_pages(
                &mut isolated,
                MigrateMode::Sync,
                &mut || OwnedPage::alloc(K),
                &mut drop,
            );
        }
    }
    moved
}

#[test]
fn objects_keep_their_bytes_when_their_page_moves() {
    on_machine(1024, |_| {
        let before = used_pages();
        let pool = ZsPool::new().unwrap();
        let a = pool.malloc(100, K).unwrap();
        let b = pool.malloc(100, K).unwrap();
        pool.with(a, |bytes| bytes[..100].fill(0xaa));
        pool.with(b, |bytes| bytes[..100].fill(0xbb));
        let frame = pool.frame(a);
        assert_eq!(frame, pool.frame(b), "two small objects share a page");
        assert_eq!(move_frames([frame]), 1);
        assert_ne!(pool.frame(a), frame);
        assert_eq!(pool.frame(a), pool.frame(b));
        assert!(pool.with(a, |bytes| bytes[..100].iter().all(|&b| b == 0xaa)));
        assert!(pool.with(b, |bytes| bytes[..100].iter().all(|&b| b == 0xbb)));
        assert_eq!(used_pages(), before + 1);
        pool.free(a);
        pool.free(b);
        assert_eq!(used_pages(), before);
        assert_eq!(pool.info(), ZsInfo { objects: 0, pages: 0, moved: 1 });
    });
}

#[test]
fn a_pinned_page_stays() {
    on_machine(1024, |_| {
        let pool = ZsPool::new().unwrap();
        let object = pool.malloc(4096, K).unwrap();
        let pin = pool.pin(object);
        let frame = pin.frame();
        assert!(!Isolated::new().isolate(frame), "nobody need try to move it");
        assert_eq!(move_frames([frame]), 0);
        drop(pin);
        assert_eq!(move_frames([frame]), 1);
        // Pinned when it is isolated already.
        let frame = pool.frame(object);
        let mut isolated = Isolated::new();
        assert!(isolated.isolate(frame));
        assert!(!Isolated::new().isolate(frame), "isolated twice");
        let pin = pool.pin(object);
        let mut unused = 0;
        let moved = migrate_pages(
            &mut isolated,
            MigrateMode::Async,
            &mut || OwnedPage::alloc(K),
            &mut |page| {
                unused += 1;
                drop(page);
            },
        );
        assert_eq!((moved, unused, isolated.len()), (0, ASYNC_TRIES, 1));
        drop(isolated);
        drop(pin);
        assert_eq!(move_frames([frame]), 1);
        pool.validate().unwrap();
    });
}

/// A device may still write to a page whose last object was freed, until all pins have ended.
#[test]
fn a_pinned_page_outlives_its_objects() {
    on_machine(1024, |_| {
        let before = used_pages();
        let pool = ZsPool::new().unwrap();
        let object = pool.malloc(4096, K).unwrap();
        let pins = [pool.pin(object), pool.pin(object)];
        pool.free(object);
        assert_eq!((pool.info().pages, used_pages()), (1, before + 1));
        pool.validate().unwrap();
        let [one, other] = pins;
        drop(one);
        assert_eq!((pool.info().pages, used_pages()), (1, before + 1));
        // Its slot serves again meanwhile.
        let object = pool.malloc(4096, K).unwrap();
        assert_eq!(pool.frame(object), other.frame());
        pool.free(object);
        assert!(!Isolated::new().isolate(other.frame()));
        drop(other);
        assert_eq!((pool.info().pages, used_pages()), (0, before));
        pool.validate().unwrap();
    });
}

/// The frame of a page whose pin was leaked may be in use for good: it is not freed, not
/// even with its pool.
#[test]
fn a_page_that_is_pinned_for_good_is_kept() {
    on_machine(1024, |_| {
        let before = used_pages();
        let pool = ZsPool::new().unwrap();
        let objects = [pool.malloc(4096, K).unwrap(), pool.malloc(4096, K).unwrap()];
        core::mem::forget(pool.pin(objects[0]));
        let frame = pool.frame(objects[0]);
        drop(pool);
        assert_eq!(used_pages(), before + 1);
        assert_eq!((frame.page().refcount(), crate::mm::migrate::is_movable(frame)), (1, false));
    });
}

/// More pins than can be counted keep their page for good: its count does not start again at 0,
/// and no end of a pin makes it smaller.
#[test]
fn pins_that_cannot_be_counted_last_for_good() {
    on_machine(1024, |_| {
        let before = used_pages();
        let pool = ZsPool::new().unwrap();
        let object = pool.malloc(4096, K).unwrap();
        let mut pins = std::vec![pool.pin(object)];
        pool.with_pages(|pages| pages.record(pins[0].page).pins = u32::MAX - 1);
        pins.extend([pool.pin(object), pool.pin(object), pool.pin(object)]);
        pool.free(object);
        let (page, frame) = (pins[0].page, pins[0].frame());
        drop(pins);
        assert_eq!(pool.with_pages(|pages| pages.record(page).pins), u32::MAX);
        pool.validate().unwrap();
        assert_eq!((pool.info().pages, used_pages()), (1, before + 1));
        assert!(!Isolated::new().isolate(frame));
        drop(pool);
        assert_eq!((used_pages(), frame.page().refcount()), (before + 1, 1));
    });
}

/// Pages of a pool lie among movable ones, say whose they are, and no longer when they are the
/// pool's no more.
#[test]
fn pages_are_movable_while_they_are_a_pools() {
    use crate::mm::migrate::is_movable;
    use crate::mm::mmzone::Migratetype;
    on_machine(8192, |_| {
        let pool = ZsPool::new().unwrap();
        let (freed, kept) = (pool.malloc(4096, K).unwrap(), pool.malloc(4096, K).unwrap());
        let frames = [freed, kept].map(|object| pool.frame(object));
        for frame in frames {
            assert!(is_movable(frame));
            assert_eq!(page_alloc::pageblock_migratetype(frame), Migratetype::Movable);
        }
        pool.free(freed);
        assert!(!is_movable(frames[0]) && is_movable(frames[1]));
        drop(pool);
        assert!(!is_movable(frames[1]));
    });
}

const ASYNC_TRIES: usize = 3;

#[test]
fn an_object_may_be_freed_while_its_page_is_isolated() {
    on_machine(1024, |_| {
        let before = used_pages();
        // Neither ends where the test fails: the isolated page may be gone, and the pool would wait
        // for it.
        let pool = ManuallyDrop::new(ZsPool::new().unwrap());
        for put_back in [true, false] {
            let object = pool.malloc(64, K).unwrap();
            let mut isolated = ManuallyDrop::new(Isolated::new());
            assert!(isolated.isolate(pool.frame(object)));
            pool.free(object);
            assert_eq!(used_pages(), before + 1, "its page is freed when it is let go");
            if !put_back {
                let mut new = || OwnedPage::alloc(K);
                migrate_pages(&mut isolated, MigrateMode::Sync, &mut new, &mut drop);
            }
            drop(ManuallyDrop::into_inner(isolated));
            assert_eq!(used_pages(), before);
            pool.validate().unwrap();
        }
        drop(ManuallyDrop::into_inner(pool));
    });
}

#[test]
fn without_a_page_to_move_to_it_stays() {
    on_machine(1024, |_| {
        let pool = ZsPool::new().unwrap();
        let object = pool.malloc(64, K).unwrap();
        pool.with(object, |bytes| bytes[0] = 7);
        let frame = pool.frame(object);
        let mut isolated = Isolated::new();
        assert!(isolated.isolate(frame));
        assert_eq!(migrate_pages(&mut isolated, MigrateMode::Sync, &mut || None, &mut drop), 0);
        drop(isolated);
        assert_eq!((pool.frame(object), pool.with(object, |bytes| bytes[0])), (frame, 7));
        assert_eq!(move_frames([frame]), 1, "it was put back");
    });
}

#[test]
fn pools_come_and_go() {
    on_machine(1024, |_| {
        let before = used_pages();
        for _ in 0..3 {
            let pools: Vec<_> = (0..MAX_POOLS).map(|_| ZsPool::new().unwrap()).collect();
            assert_eq!(ZsPool::new().unwrap_err(), ZsError::TooManyPools);
            for pool in &pools {
                pool.malloc(3000, K).unwrap();
            }
            drop(pools);
            assert_eq!(used_pages(), before, "a pool's pages go with it");
        }
        let pool = ZsPool::new().unwrap();
        assert_eq!(pool.malloc(0, K), None);
        assert_eq!(pool.malloc(4097, K), None);
        let all: Vec<_> = core::iter::from_fn(|| pool.malloc(4096, K)).collect();
        assert!(all.len() > 100, "memory ran out after {}", all.len());
        pool.validate().unwrap();
        all.into_iter().for_each(|object| pool.free(object));
        assert_eq!(used_pages(), before);
    });
}

#[test]
#[should_panic(expected = "holds no object")]
fn double_free() {
    on_machine(1024, |_| {
        let pool = ZsPool::new().unwrap();
        let object = pool.malloc(64, K).unwrap();
        pool.free(object);
        pool.free(object);
    });
}

#[derive(Clone, Debug)]
enum Op {
    Malloc { size: usize },
    Free { which: usize },
    Write { which: usize, fill: u8 },
    Pin { which: usize },
    Move { which: usize },
    Isolate { which: usize },
    LetGo { migrate: bool },
}

fn op() -> impl Strategy<Value = Op> {
    let which = any::<usize>;
    prop_oneof![
        6 => prop_oneof![1..200usize, 1..=4096usize].prop_map(|size| Op::Malloc { size }),
        4 => which().prop_map(|which| Op::Free { which }),
        3 => (which(), any::<u8>()).prop_map(|(which, fill)| Op::Write { which, fill }),
        1 => which().prop_map(|which| Op::Pin { which }),
        3 => which().prop_map(|which| Op::Move { which }),
        2 => which().prop_map(|which| Op::Isolate { which }),
        1 => any::<bool>().prop_map(|migrate| Op::LetGo { migrate }),
    ]
}

struct Object {
    size: usize,
    fill: u8,
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 1 } else { 60 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn random_operations_match_the_model(
        ops in prop::collection::vec(op(), 1..if cfg!(miri) { 20 } else { 200 }),
    ) {
        on_machine(1024, |_| {
            let before = used_pages();
            let pool = ZsPool::new().unwrap();
            let mut model: BTreeMap<u32, Object> = BTreeMap::new();
            let mut isolated = Isolated::new();
            let mut pins = Vec::new();
            let handle = |raw: u32| ZsHandle(NonZeroU32::new(raw).unwrap());
            for op in ops {
                let pick = |which: usize| {
                    let n = which % model.len().max(1);
                    model.keys().nth(n).copied()
                };
                match op {
                    Op::Malloc { size } => {
                        let Some(object) = pool.malloc(size, K) else { continue };
                        let fill = size as u8;
                        pool.with(object, |bytes| {
                            assert!(bytes.len() >= size);
                            bytes.fill(fill);
                        });
                        let new = Object { size, fill };
                        prop_assert!(model.insert(object.0.get(), new).is_none());
                    }
                    Op::Free { which } => {
                        let Some(raw) = pick(which) else { continue };
                        model.remove(&raw);
                        pool.free(handle(raw));
                    }
                    Op::Write { which, fill } => {
                        let Some(raw) = pick(which) else { continue };
                        pool.with(handle(raw), |bytes| bytes.fill(fill));
                        model.get_mut(&raw).unwrap().fill = fill;
                    }
                    Op::Pin { which } => {
                        let Some(raw) = pick(which) else { continue };
                        match pins.len() {
                            n if n > 2 => drop(pins.swap_remove(which % n)),
                            _ => pins.push(pool.pin(handle(raw))),
                        }
                    }
                    Op::Move { which } => {
                        let Some(raw) = pick(which) else { continue };
                        move_frames([pool.frame(handle(raw))]);
                    }
                    Op::Isolate { which } => {
                        let Some(raw) = pick(which) else { continue };
                        isolated.isolate(pool.frame(handle(raw)));
                    }
                    Op::LetGo { migrate } => {
                        if migrate {
                            let mut new = || OwnedPage::alloc(K);
                            migrate_pages(&mut isolated, MigrateMode::Sync, &mut new, &mut drop);
                        }
                        isolated = Isolated::new();
                    }
                }
                if let Err(what) = pool.validate() {
                    panic!("{what}");
                }
                for (&raw, object) in &model {
                    let holds = |bytes: &mut [u8]| bytes[..object.size].iter().all(|&b| b == object.fill);
                    prop_assert!(pool.with(handle(raw), holds), "object {raw}");
                }
                prop_assert_eq!(pool.info().objects, model.len());
                prop_assert_eq!(used_pages() - before, pool.info().pages as u32);
            }
            drop(isolated);
            drop(pins);
            pool.validate().unwrap();
            drop(pool);
            prop_assert_eq!(used_pages(), before);
            Ok(())
        })?;
    }
}
