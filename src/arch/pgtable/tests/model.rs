//! Random edits against a map of pages.

use super::*;
use crate::addr::{PMD_SIZE, PUD_SIZE};
use crate::arch::hosted::mmu::Mmu;
use crate::arch::pgtable::{FlushOwed, Level, MapError, MapFlags, MemoryType, Translation};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::vec;

const BASE: VirtAddr = VirtAddr::new(0xffff_0000_0000_0000);
/// Pages of the window that is edited: 8 MiB.
const WINDOW: usize = 2048;

#[derive(Clone, Debug)]
enum Op {
    /// `shift` pages from the memory that would be aligned as the address is.
    Map {
        first: usize,
        count: usize,
        shift: usize,
        attrs: KernelAttrs,
        flags: MapFlags,
    },
    MapPages {
        first: usize,
        count: usize,
        stride: usize,
        attrs: KernelAttrs,
    },
    Unmap {
        first: usize,
        count: usize,
    },
    Protect {
        first: usize,
        count: usize,
        attrs: KernelAttrs,
    },
    SetValid {
        first: usize,
        count: usize,
        valid: bool,
    },
    SplitToPages {
        first: usize,
        count: usize,
    },
    SetPageValid {
        page: usize,
        valid: bool,
    },
    Split {
        first: usize,
        count: usize,
    },
    Collapse {
        block: usize,
    },
    /// The first block is mapped anew, in pages, and collapses.
    Refill(KernelAttrs),
    Prune {
        first: usize,
        count: usize,
        settle: bool,
    },
    Flush,
    FailNextAlloc,
}

/// Expected mappings, page by page, and those that may linger.
struct Model {
    window: VirtAddr,
    mapped: BTreeMap<usize, (PhysAddr, KernelAttrs)>,
    /// Pages of those that walkers must not find.
    hidden: BTreeSet<usize>,
    owed: FlushOwed,
    /// Pages whose former translation the owed flush will end, or whose permissions.
    stale: BTreeSet<usize>,
}

impl Model {
    fn new(window: VirtAddr) -> Self {
        let (mapped, hidden, stale) = Default::default();
        Self { window, mapped, hidden, owed: FlushOwed::NONE, stale }
    }

    fn range(&self, first: usize, count: usize) -> VirtRange {
        let count = count.min(WINDOW - first);
        VirtRange::from_size(self.window + first * PAGE_SIZE, count * PAGE_SIZE)
    }

    fn memory(&self, page: usize) -> PhysAddr {
        // As far from a multiple of 1 GiB as the window is.
        let offset = self.window.get() & (PUD_SIZE - 1);
        PhysAddr::new((0x10_0000_0000 + offset + page * PAGE_SIZE) as u64)
    }

    fn take_owed(&mut self) -> FlushOwed {
        core::mem::replace(&mut self.owed, FlushOwed::NONE)
    }

    fn flush(&mut self) {
        self.take_owed().settle();
        self.stale.clear();
    }

    fn owe(&mut self, owed: FlushOwed) {
        self.owed = self.take_owed().merge(owed);
    }

    fn apply(&mut self, root: TableAddr, access: &mut ArenaAccess, op: &Op) {
        match *op {
            Op::Map { first, count, shift, attrs, flags } => {
                let va = self.range(first, count);
                let (start, pages) = (self.memory(first + shift), first..first + va.len() / 4096);
                self.settle_before(pages.clone());
                let result = Mapper::new(root, access).map(va, start, attrs, flags);
                let memory = pages.clone().map(|p| start + ((p - first) * PAGE_SIZE) as u64);
                self.after_map(result, pages.clone().zip(memory), attrs);
            }
            Op::MapPages { first, count, stride, attrs } => {
                let va = self.range(first, count);
                let pages = first..first + va.len() / 4096;
                let memory: Vec<_> = pages.clone().map(|p| self.memory(p * stride)).collect();
                self.settle_before(pages.clone());
                let frames = memory.iter().copied();
                let result = Mapper::new(root, access).map_pages(va.start(), frames, attrs);
                self.after_map(result, pages.zip(memory), attrs);
            }
            Op::Unmap { first, count } => {
                let va = self.range(first, count);
                if self.splits(root, access, va) {
                    let owed = Mapper::new(root, access).unmap(va).unwrap();
                    self.owe(owed);
                    for page in first..first + va.len() / PAGE_SIZE {
                        if self.mapped.remove(&page).is_some() {
                            self.hidden.remove(&page);
                            self.stale.insert(page);
                        }
                    }
                }
            }
            Op::Protect { first, count, attrs } => {
                let va = self.range(first, count);
                if self.splits(root, access, va) {
                    let owed = Mapper::new(root, access).protect(va, attrs).unwrap();
                    self.owe(owed);
                    for page in first..first + va.len() / PAGE_SIZE {
                        if let Some(entry) = self.mapped.get_mut(&page) {
                            entry.1 = attrs;
                            self.stale.insert(page);
                        }
                    }
                }
            }
            Op::SetValid { first, count, valid } => {
                let va = self.range(first, count);
                if self.splits(root, access, va) {
                    let owed = Mapper::new(root, access).set_valid(va, valid).unwrap();
                    self.owe(owed);
                    for page in first..first + va.len() / PAGE_SIZE {
                        if self.mapped.contains_key(&page) {
                            self.hide(page, valid);
                        }
                    }
                }
            }
            Op::SetPageValid { page, valid } => {
                let va = self.range(page, 1).start();
                let was = Mapper::new(root, access).entry(va);
                let result = Mapper::new(root, access).set_page_valid(va, valid);
                let single = was.is_some_and(|t| t.level == Level::Pte && !t.contiguous);
                assert_eq!(result.is_some(), single, "{was:?}");
                if let Some(owed) = result {
                    self.owe(owed);
                    self.hide(page, valid);
                }
            }
            Op::SplitToPages { first, count } => {
                let va = self.range(first, count);
                match Mapper::new(root, access).split_to_pages(va) {
                    Ok(()) => {
                        let alone = |t: Translation| t.level == Level::Pte && !t.contiguous;
                        let mapper = Mapper::new(root, access);
                        for at in (0..va.len()).step_by(PAGE_SIZE) {
                            assert!(mapper.entry(va.start() + at).is_none_or(alone));
                        }
                    }
                    Err(e) => assert_eq!((e, access.budget), (MapError::NoMemory, 0)),
                }
            }
            Op::Split { first, count } => {
                let va = self.range(first, count);
                self.splits(root, access, va);
            }
            Op::Refill(attrs) => {
                let (first, count, shift) = (0, 512, 0);
                let flags = MapFlags::NO_BLOCK;
                self.apply(root, access, &Op::Unmap { first, count });
                self.apply(root, access, &Op::Map { first, count, shift, attrs, flags });
                self.apply(root, access, &Op::Collapse { block: 0 });
            }
            Op::Collapse { block } => {
                let first = block * 512;
                let va = self.range(first, 512);
                self.flush();
                let was = Mapper::new(root, access).translate(va.start());
                let alike = (0..512).all(|i| {
                    let of_first = self.mapped.get(&first);
                    let expected = of_first.map(|&(pa, a)| (pa + (i * PAGE_SIZE) as u64, a));
                    expected.is_some()
                        && self.mapped.get(&(first + i)).copied() == expected
                        && !self.hidden.contains(&(first + i))
                });
                let small = was.is_some_and(|t| t.level == Level::Pte);
                let aligned = was.is_some_and(|t| t.pa.is_aligned(PMD_SIZE as u64));
                let result = Mapper::new(root, access).collapse(va);
                assert_eq!(result.is_ok(), alike && small && aligned, "{result:?}");
            }
            Op::Prune { first, count, settle } => {
                // Settles what was owed before, or leaves it owed.
                let owed = if settle { self.take_owed() } else { FlushOwed::NONE };
                Mapper::new(root, access).prune(self.range(first, count), owed);
                if settle {
                    self.stale.clear();
                }
            }
            Op::Flush => self.flush(),
            Op::FailNextAlloc => access.budget = 0,
        }
        if !matches!(op, Op::FailNextAlloc) {
            access.budget = usize::MAX;
        }
    }

    fn hide(&mut self, page: usize, valid: bool) {
        if valid {
            self.hidden.remove(&page);
        } else if self.hidden.insert(page) {
            self.stale.insert(page);
        }
    }

    /// Returns the translation that walkers must find at a page.
    fn expected(&self, page: usize) -> Option<(PhysAddr, KernelAttrs)> {
        self.mapped.get(&page).filter(|_| !self.hidden.contains(&page)).copied()
    }

    /// Addresses are used anew only after the flush.
    fn settle_before(&mut self, mut pages: std::ops::Range<usize>) {
        if pages.any(|p| self.stale.contains(&p)) {
            self.flush();
        }
    }

    fn splits(&mut self, root: TableAddr, access: &mut ArenaAccess, va: VirtRange) -> bool {
        match Mapper::new(root, access).split(va) {
            Ok(()) => true,
            Err(e) => {
                assert_eq!((e, access.budget), (MapError::NoMemory, 0));
                false
            }
        }
    }

    fn after_map(
        &mut self,
        result: Result<(), MapError>,
        new: impl Iterator<Item = (usize, PhysAddr)> + Clone,
        attrs: KernelAttrs,
    ) {
        let overlaps = new.clone().any(|(page, _)| self.mapped.contains_key(&page));
        match result {
            Ok(()) => {
                assert!(!overlaps, "mapped over a mapping");
                self.mapped.extend(new.map(|(page, pa)| (page, (pa, attrs))));
            }
            Err(MapError::AlreadyMapped) => assert!(overlaps),
            Err(e) => assert_eq!(e, MapError::NoMemory),
        }
    }

    /// Looks at a page through all CPUs.
    fn check(&self, mmu: &Mmu, page: usize) {
        if self.stale.contains(&page) {
            return;
        }
        let va = self.window + page * PAGE_SIZE;
        check(mmu, va, self.expected(page));
    }

    /// Compares the tables with the model, page by page.
    fn check_tables(&self, root: TableAddr, access: &mut ArenaAccess) {
        let mapper = Mapper::new(root, access);
        for page in 0..WINDOW {
            let va = self.window + page * PAGE_SIZE;
            let t = mapper.translate(va).map(|t| (t.pa, t.attrs));
            assert_eq!(t, self.expected(page), "page {page}");
            let t = mapper.entry(va).map(|t| (t.pa, t.attrs));
            assert_eq!(t, self.mapped.get(&page).copied(), "page {page}");
        }
    }
}

fn any_attrs() -> impl Strategy<Value = KernelAttrs> {
    prop_oneof![
        4 => Just(KernelAttrs::KERNEL),
        2 => Just(KernelAttrs::KERNEL_RO),
        2 => Just(KernelAttrs::KERNEL_ROX),
        1 => Just(KernelAttrs::NORMAL_NC),
        1 => Just(KernelAttrs::data(MemoryType::DeviceNgnre, true)),
    ]
}

/// Single pages, sets of sixteen, whole blocks, and anything.
fn any_range() -> impl Strategy<Value = (usize, usize)> {
    prop_oneof![
        3 => (0..WINDOW, 1..40usize),
        2 => (0..WINDOW / 16, 1..5usize).prop_map(|(f, n)| (f * 16, n * 16)),
        2 => (0..WINDOW / 512, 1..3usize).prop_map(|(f, n)| (f * 512, n * 512)),
        1 => (0..WINDOW, 1..WINDOW),
    ]
}

fn any_op() -> impl Strategy<Value = Op> {
    let flags = prop_oneof![3 => Just(0u32), 1 => 0..4u32].prop_map(MapFlags::from_bits_retain);
    let shift = prop_oneof![4 => Just(0usize), 1 => 0..600usize];
    prop_oneof![
        6 => (any_range(), shift, any_attrs(), flags).prop_map(
            |((first, count), shift, attrs, flags)| Op::Map { first, count, shift, attrs, flags }),
        2 => ((0..WINDOW, 1..40usize), 1..4usize, any_attrs()).prop_map(
            |((first, count), stride, attrs)| Op::MapPages { first, count, stride, attrs }),
        5 => any_range().prop_map(|(first, count)| Op::Unmap { first, count }),
        3 => (any_range(), any_attrs()).prop_map(
            |((first, count), attrs)| Op::Protect { first, count, attrs }),
        3 => (any_range(), any::<bool>()).prop_map(
            |((first, count), valid)| Op::SetValid { first, count, valid }),
        2 => (0..WINDOW, any::<bool>()).prop_map(
            |(page, valid)| Op::SetPageValid { page, valid }),
        1 => (0..WINDOW, 1..60usize).prop_map(
            |(first, count)| Op::SplitToPages { first, count }),
        1 => any_range().prop_map(|(first, count)| Op::Split { first, count }),
        2 => (0..WINDOW / 512).prop_map(|block| Op::Collapse { block }),
        2 => (any_range(), any::<bool>()).prop_map(
            |((first, count), settle)| Op::Prune { first, count, settle }),
        2 => Just(Op::Flush),
        1 => Just(Op::FailNextAlloc),
    ]
}

/// Across the end of a PUD table, so that tables of all levels come and go.
const WINDOW_START: VirtAddr = VirtAddr::new(0xffff_8080_0000_0000 - WINDOW / 2 * PAGE_SIZE);

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 1 } else { 64 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn random_edits_do_what_the_model_says(
        seed: u64,
        eagerness in prop_oneof![Just(2u32), Just(32), Just(256)],
        tlb_range: bool,
        ops in prop::collection::vec((any_op(), 0..WINDOW), 1..if cfg!(miri) { 4 } else { 40 }),
    ) {
        Rig::run(Config { seed, cpus: 2, eagerness }, |rig| {
            crate::arch::mmu::set_tlb_range(tlb_range);
            let mut model = Model::new(WINDOW_START);
            for (op, page) in &ops {
                model.apply(rig.root, &mut rig.access, op);
                for page in [*page, page / 7, 1023, 1024] {
                    model.check(rig.machine.mmu(), page);
                }
                model.check_tables(rig.root, &mut rig.access);
                rig.mapper().validate(BASE).unwrap();
            }
            let all = model.range(0, WINDOW);
            model.flush();
            (0..WINDOW).step_by(61).for_each(|page| model.check(rig.machine.mmu(), page));
            rig.mapper().unmap(all).unwrap().settle();
            rig.mapper().prune(all, FlushOwed::NONE);
            assert_eq!(rig.access.in_use, 1, "tables are left over");
        });
    }
}

/// Several CPUs edit neighbouring windows, each checking its own through the eyes of all.
#[test]
fn cpus_edit_side_by_side() {
    let (cpus, rounds) = if cfg!(miri) { (2, 2) } else { (3, 400) };
    Rig::run(Config { seed: 5, cpus, eagerness: 16 }, |rig| {
        let (root, machine) = (rig.root, rig.machine);
        let access = Mutex::new(&mut rig.access);
        machine.on_cpus(cpus, |cpu| {
            let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[cpu as u8; 32]);
            let mut runner = TestRunner::new_with_rng(ProptestConfig::default(), rng);
            let mut model = Model::new(WINDOW_START + cpu * WINDOW * PAGE_SIZE);
            let strategy = (any_op(), 0..WINDOW);
            for _ in 0..rounds * (cpu + 1) {
                let (op, page) = strategy.new_tree(&mut runner).unwrap().current();
                let mut access = access.lock().unwrap_or_else(|e| e.into_inner());
                model.apply(root, &mut access, &op);
                model.check(machine.mmu(), page);
            }
            let mut access = access.lock().unwrap_or_else(|e| e.into_inner());
            model.flush();
            model.check_tables(root, &mut access);
        });
        rig.mapper().validate(BASE).unwrap();
    });
}

/// Edits of a few pages, sets and now and then a block: what many of can be tried.
fn any_small_op() -> impl Strategy<Value = Op> {
    let range = || {
        prop_oneof![
            12 => (0..SMALL, 1..6usize),
            4 => (0..SMALL / 16, 1..3usize).prop_map(|(f, n)| (f * 16, n * 16)),
            1 => Just((0, 512)),
        ]
    };
    let map = (range(), any_attrs(), 0..4u32);
    prop_oneof![
        7 => map.prop_map(|((first, count), attrs, flags)| Op::Map {
            first, count, shift: 0, attrs, flags: MapFlags::from_bits_retain(flags) }),
        1 => (0..SMALL, 1..6usize, any_attrs()).prop_map(
            |(first, count, attrs)| Op::MapPages { first, count, stride: 2, attrs }),
        6 => range().prop_map(|(first, count)| Op::Unmap { first, count }),
        4 => (range(), any_attrs()).prop_map(
            |((first, count), attrs)| Op::Protect { first, count, attrs }),
        3 => (range(), any::<bool>()).prop_map(
            |((first, count), valid)| Op::SetValid { first, count, valid }),
        3 => (0..SMALL, any::<bool>()).prop_map(
            |(page, valid)| Op::SetPageValid { page, valid }),
        1 => range().prop_map(|(first, count)| Op::Split { first, count }),
        1 => (0..SMALL, 1..6usize).prop_map(
            |(first, count)| Op::SplitToPages { first, count }),
        1 => Just(Op::Collapse { block: 0 }),
        1 => (range(), any::<bool>()).prop_map(
            |((first, count), settle)| Op::Prune { first, count, settle }),
        2 => Just(Op::Flush),
        1 => Just(Op::FailNextAlloc),
    ]
}

/// Pages of the part of the window where small edits meet.
const SMALL: usize = 96;
/// Operations of [`a_hundred_thousand_edits_do_what_the_model_says`].
const OPERATIONS: usize = if cfg!(miri) { 12 } else { 102_000 };

/// Three CPUs that take turns in any order, each on addresses of its own in the same
/// tables, each edit looked at through the eyes of all.
#[test]
fn a_hundred_thousand_edits_do_what_the_model_says() {
    let cpus = 3;
    for (seed, eagerness) in [(1, 8), (2, 64)] {
        Rig::run(Config { seed, cpus, eagerness }, |rig| {
            let (root, machine) = (rig.root, rig.machine);
            let access = Mutex::new(&mut rig.access);
            machine.on_cpus(cpus, |cpu| {
                let rng = TestRng::from_seed(
                    RngAlgorithm::ChaCha,
                    &[(seed as usize * cpus + cpu) as u8; 32],
                );
                let mut runner = TestRunner::new_with_rng(ProptestConfig::default(), rng);
                let mut model = Model::new(VA + cpu * WINDOW * PAGE_SIZE);
                let refill = any_attrs().prop_map(Op::Refill);
                let strategy = (prop_oneof![200 => any_small_op(), 1 => refill], 0..SMALL);
                for n in 0..OPERATIONS / 2 / cpus {
                    let (op, page) = strategy.new_tree(&mut runner).unwrap().current();
                    let mut access = access.lock().unwrap_or_else(|e| e.into_inner());
                    model.apply(root, &mut access, &op);
                    model.check(machine.mmu(), page);
                    if n % 4096 == 0 {
                        model.check_tables(root, &mut access);
                    }
                }
                let mut access = access.lock().unwrap_or_else(|e| e.into_inner());
                model.flush();
                model.check_tables(root, &mut access);
            });
            rig.mapper().validate(BASE).unwrap();
        });
    }
}
