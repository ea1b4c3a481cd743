//! Random sequences against a model: which blocks are owned, which sections are offline,
//! which frames are bad.

use super::hotplug::{Objects, check, on_384m, section, types, zone};
use super::*;
use crate::mm::memory_failure::{
    MfResult, PoisonError, memory_failure, soft_offline_page, unpoison_memory,
};
use crate::mm::memory_hotplug::{HotplugError, offline_pages, online_pages};
use crate::mm::sparse::Section;
use crate::mm::zsmalloc::{ZsHandle, ZsPin, ZsPool};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::vec;

#[derive(Clone, Debug)]
enum Op {
    Alloc { gfp: u8, order: u8 },
    Free { which: usize },
    Store,
    Lose { which: usize },
    Pin { which: usize },
    Offline { n: u64 },
    Online { n: u64 },
    Fail { at: u32, owned: bool },
    SoftOffline { at: u32, stored: bool },
    Unpoison { which: usize },
    Drain,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (0..4u8, prop_oneof![2 => Just(0u8), 3 => 0..=10u8])
            .prop_map(|(gfp, order)| Op::Alloc { gfp, order }),
        10 => any::<usize>().prop_map(|which| Op::Free { which }),
        8 => Just(Op::Store),
        4 => any::<usize>().prop_map(|which| Op::Lose { which }),
        1 => any::<usize>().prop_map(|which| Op::Pin { which }),
        4 => (0..3u64).prop_map(|n| Op::Offline { n }),
        3 => (0..3u64).prop_map(|n| Op::Online { n }),
        3 => (any::<u32>(), any::<bool>()).prop_map(|(at, owned)| Op::Fail { at, owned }),
        3 => (any::<u32>(), any::<bool>()).prop_map(|(at, stored)| Op::SoftOffline { at, stored }),
        1 => any::<usize>().prop_map(|which| Op::Unpoison { which }),
        1 => Just(Op::Drain),
    ]
}

const GFPS: [Gfp; 4] =
    [KERNEL, MOVABLE, KERNEL.union(Gfp::__GFP_COMP), KERNEL.union(Gfp::__GFP_RECLAIMABLE)];

/// State of the model.
struct Model<'a> {
    owned: BTreeMap<u32, (Frame, Order)>,
    objects: Objects,
    /// The pool of the objects.
    pool: &'a ZsPool,
    pinned: Option<(ZsHandle, ZsPin<'a>)>,
    next: u32,
    offline: BTreeSet<u64>,
    /// Frames that are out.
    out: BTreeSet<u32>,
    /// Frames that will be when they are freed.
    delayed: BTreeSet<u32>,
}

impl Model<'_> {
    fn all() -> PfnRange {
        PfnRange::new(section(0).start(), section(2).end())
    }

    fn owner_of(&self, pfn: u32) -> Option<(Frame, Order)> {
        let (_, &(frame, order)) = self.owned.range(..=pfn).next_back()?;
        (pfn < (frame.pfn() + order.pages()).get()).then_some((frame, order))
    }

    fn is_offline(&self, pfn: u32) -> bool {
        self.offline.iter().any(|&n| section(n).contains(Pfn::new(pfn)))
    }

    fn bytes(frame: Frame) -> &'static mut [u8; 4] {
        let at = core::ptr::with_exposed_provenance_mut(frame.virt().get());
        // SAFETY: the model looks at frames that it owns.
        unsafe { &mut *at }
    }

    /// A new block is nobody else's, online, and not bad.
    fn take(&mut self, frame: Frame, order: Order) {
        let (start, end) = (frame.pfn().get(), (frame.pfn() + order.pages()).get());
        assert!(self.out.range(start..end).next().is_none(), "{frame:?} of {order} is bad");
        assert!(!self.is_offline(start), "{frame:?} is offline");
        assert_eq!(self.owner_of(end - 1), None);
        self.owned.insert(start, (frame, order));
        frame.block(order).for_each(|part| *Self::bytes(part) = part.pfn().get().to_le_bytes());
    }

    fn give(&mut self, frame: Frame, order: Order) {
        let (start, end) = (frame.pfn().get(), (frame.pfn() + order.pages()).get());
        frame.block(order).for_each(|part| {
            assert_eq!(*Self::bytes(part), part.pfn().get().to_le_bytes());
        });
        free_pages(frame, order);
        self.owned.remove(&start);
        let bad: Vec<_> = self.delayed.range(start..end).copied().collect();
        for pfn in bad {
            self.delayed.remove(&pfn);
            self.out.insert(pfn);
        }
    }

    /// Objects whose pages were moved or freed leave their bad frames behind.
    fn settle(&mut self) {
        let held: BTreeSet<_> =
            self.objects.all.iter().map(|&(_, o)| self.objects.pool.frame(o).pfn().get()).collect();
        let left: Vec<_> = self
            .delayed
            .iter()
            .copied()
            .filter(|&pfn| self.owner_of(pfn).is_none() && !held.contains(&pfn))
            .collect();
        for pfn in left {
            self.delayed.remove(&pfn);
            self.out.insert(pfn);
        }
        for &pfn in &held {
            assert!(!self.out.contains(&pfn) && !self.is_offline(pfn), "{pfn:#x}");
        }
    }

    fn pick<T: Copy>(of: impl ExactSizeIterator<Item = T>, which: usize) -> Option<T> {
        let n = which % of.len().max(1);
        of.into_iter().nth(n)
    }

    fn known_bad(&self, pfn: u32) -> bool {
        self.out.contains(&pfn) || self.delayed.contains(&pfn)
    }

    fn step(&mut self, op: &Op) {
        match *op {
            Op::Alloc { gfp, order } => {
                let order = Order::new(order).unwrap();
                if let Some(frame) = alloc_pages(GFPS[usize::from(gfp)], order) {
                    self.take(frame, order);
                }
            }
            Op::Free { which } => {
                if let Some((frame, order)) = Self::pick(self.owned.values().copied(), which) {
                    self.give(frame, order);
                }
            }
            Op::Store => {
                for _ in 0..100 {
                    self.next += 1;
                    self.objects.add(self.next);
                }
            }
            Op::Lose { which } => {
                for _ in 0..self.objects.all.len().min(80) {
                    let (_, object) = self.objects.all.swap_remove(which % self.objects.all.len());
                    self.pinned.take_if(|(pinned, _)| *pinned == object);
                    self.objects.pool.free(object);
                }
            }
            Op::Pin { which } => match self.pinned.take() {
                Some(pinned) => drop(pinned),
                None => {
                    let object = Self::pick(self.objects.all.iter().map(|&(_, o)| o), which);
                    self.pinned = object.map(|object| (object, self.pool.pin(object)));
                }
            },
            Op::Offline { n } => self.go_offline(n),
            Op::Online { n } => {
                let expected = if self.offline.remove(&n) {
                    Ok(())
                } else {
                    Err(HotplugError::State(section(n).start()))
                };
                assert_eq!(online_pages(section(n)), expected);
            }
            Op::Fail { at, owned } => {
                let blocks =
                    self.owned.values().copied().map(|(f, o)| f.pfn().get() + at % o.pages());
                let anywhere = Self::all().start().get() + at % Self::all().len();
                let pfn =
                    if owned { Self::pick(blocks, at as usize) } else { None }.unwrap_or(anywhere);
                match memory_failure(Pfn::new(pfn)) {
                    Ok(MfResult::Recovered) => assert!(self.out.insert(pfn)),
                    Ok(MfResult::Delayed) => assert!(self.delayed.insert(pfn)),
                    Err(PoisonError::Already) => assert!(self.known_bad(pfn)),
                    Err(error) => {
                        assert_eq!(error, PoisonError::NotManaged);
                        assert!(self.is_offline(pfn) || (pfn & 0x7fff) < 300);
                    }
                }
            }
            Op::SoftOffline { at, stored } => {
                let objects = self.objects.all.iter();
                let frames = objects.map(|&(_, o)| self.objects.pool.frame(o).pfn().get());
                let anywhere = Self::all().start().get() + at % Self::all().len();
                let pfn = if stored { Self::pick(frames, at as usize) } else { None };
                let pfn = pfn.unwrap_or(anywhere);
                match soft_offline_page(Pfn::new(pfn)) {
                    Ok(()) => {
                        assert_eq!(self.owner_of(pfn), None);
                        assert!(!self.known_bad(pfn));
                        self.out.insert(pfn);
                    }
                    Err(PoisonError::Already) => assert!(self.known_bad(pfn)),
                    Err(PoisonError::NotManaged) => {
                        assert!(self.is_offline(pfn) || (pfn & 0x7fff) < 300);
                    }
                    Err(PoisonError::Busy) => {
                        let pinned = self.pinned.as_ref().map(|(_, pin)| pin.frame().pfn().get());
                        let full = nr_free_pages() < 4000;
                        assert!(self.owner_of(pfn).is_some() || pinned == Some(pfn) || full);
                    }
                }
            }
            Op::Unpoison { which } => {
                let all: Vec<_> = self.out.iter().chain(&self.delayed).copied().collect();
                if let Some(pfn) = Self::pick(all.into_iter(), which) {
                    unpoison_memory(Pfn::new(pfn)).unwrap();
                    assert!(self.out.remove(&pfn) || self.delayed.remove(&pfn));
                    assert_eq!(unpoison_memory(Pfn::new(pfn)), Err(PoisonError::Already));
                }
            }
            Op::Drain => drain_all_pages(),
        }
        self.settle();
    }

    /// Free frames that are not in `range`.
    fn free_elsewhere(&self, range: PfnRange) -> usize {
        let free = |pfn: &Pfn| match Frame::new(*pfn).map(state_of) {
            Some(State::Free { .. } | State::PerCpu { .. }) | None => !range.contains(*pfn),
            _ => false,
        };
        Self::all().iter().filter(free).count()
    }

    fn go_offline(&mut self, n: u64) {
        let range = section(n);
        let up = Frame::new(range.start()).is_some();
        let before = up.then(|| types(range));
        match offline_pages(range) {
            Ok(()) => {
                let (start, end) = (range.start().get(), range.end().get());
                assert!(self.owned.range(start..end).next().is_none());
                assert!(self.offline.insert(n));
            }
            Err(HotplugError::State(pfn)) => {
                assert_eq!(pfn, range.start());
                assert!(self.offline.contains(&n));
            }
            Err(HotplugError::Busy(pfn)) => {
                assert!(range.contains(pfn));
                let pinned = self.pinned.as_ref().map(|(_, pin)| pin.frame().pfn());
                let full = self.free_elsewhere(range) < 4000;
                assert!(self.owner_of(pfn.get()).is_some() || pinned == Some(pfn) || full);
                assert!(before.is_none_or(|before| before == types(range)));
            }
            Err(HotplugError::Invalid) => panic!("{n} is a section"),
        }
    }

    fn check(&self) {
        check();
        assert_eq!(zone().offline, self.offline.len() as u32 * Section::FRAMES);
        assert_eq!(num_poisoned_pages() as usize, self.out.len() + self.delayed.len());
        let owned: u32 = self.owned.values().map(|(_, order)| order.pages()).sum();
        let out = self.out.iter().filter(|&&pfn| !self.is_offline(pfn)).count() as u32;
        let stored = self.objects.pool.info().pages as u32;
        assert_eq!(nr_used_pages(), owned + out + stored);
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 1 } else { 16 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn sections_and_bad_frames(ops in proptest::collection::vec(op(), 1..150)) {
        on_384m(|_| {
            let objects = Objects::new();
            let pool = objects.pool.clone();
            let mut model = Model {
                owned: BTreeMap::new(),
                objects,
                pool: &pool,
                pinned: None,
                next: 0,
                offline: BTreeSet::new(),
                out: BTreeSet::new(),
                delayed: BTreeSet::new(),
            };
            for op in &ops {
                model.step(op);
                model.check();
            }
            model.objects.check();
            while let Some((frame, order)) = Model::pick(model.owned.values().copied(), 0) {
                model.give(frame, order);
            }
            model.pinned = None;
            for (_, object) in model.objects.all.drain(..) {
                model.objects.pool.free(object);
            }
            model.settle();
            while let Some(n) = model.offline.first().copied() {
                model.step(&Op::Online { n });
            }
            while !model.out.is_empty() || !model.delayed.is_empty() {
                model.step(&Op::Unpoison { which: 0 });
            }
            model.check();
            assert_eq!(nr_used_pages(), 0);
        });
    }
}
