//! The model: what each page of a window is mapped to.

use super::super::*;
use super::WINDOW;
use crate::addr::{PMD_SIZE, PUD_SIZE};
use crate::arch::hosted::mmu::Mmu;
use crate::arch::pgtable::{FlushOwed, Level, MapError, MapFlags, Translation};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Debug)]
pub(super) enum Op {
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
        flush: bool,
    },
    Flush,
    FailNextAlloc,
}

/// Expected mappings, page by page, and those that may linger.
pub(super) struct Model {
    pub(super) window: VirtAddr,
    pub(super) mapped: BTreeMap<usize, (PhysAddr, KernelAttrs)>,
    /// Pages of those that walkers must not find.
    pub(super) hidden: BTreeSet<usize>,
    pub(super) owed: FlushOwed,
    /// Pages whose former translation the owed flush will end, or whose permissions.
    pub(super) stale: BTreeSet<usize>,
}

impl Model {
    pub(super) fn new(window: VirtAddr) -> Self {
        let (mapped, hidden, stale) = Default::default();
        Self { window, mapped, hidden, owed: FlushOwed::NONE, stale }
    }

    pub(super) fn range(&self, first: usize, count: usize) -> VirtRange {
        let count = count.min(WINDOW - first);
        VirtRange::from_size(self.window + first * PAGE_SIZE, count * PAGE_SIZE)
    }

    pub(super) fn memory(&self, page: usize) -> PhysAddr {
        // As far from a multiple of 1 GiB as the window is.
        let offset = self.window.get() & (PUD_SIZE - 1);
        PhysAddr::new((0x10_0000_0000 + offset + page * PAGE_SIZE) as u64)
    }

    pub(super) fn take_owed(&mut self) -> FlushOwed {
        core::mem::replace(&mut self.owed, FlushOwed::NONE)
    }

    pub(super) fn flush(&mut self) {
        self.take_owed().flush();
        self.stale.clear();
    }

    pub(super) fn owe(&mut self, owed: FlushOwed) {
        self.owed = self.take_owed().merge(owed);
    }

    pub(super) fn apply(&mut self, root: TableAddr, access: &mut ArenaAccess, op: &Op) {
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
            Op::Prune { first, count, flush } => {
                // Settles what was owed before, or leaves it owed.
                let owed = if flush { self.take_owed() } else { FlushOwed::NONE };
                Mapper::new(root, access).prune(self.range(first, count), owed);
                if flush {
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

    pub(super) fn hide(&mut self, page: usize, valid: bool) {
        if valid {
            self.hidden.remove(&page);
        } else if self.hidden.insert(page) {
            self.stale.insert(page);
        }
    }

    /// Returns the translation that walkers must find at a page.
    pub(super) fn expected(&self, page: usize) -> Option<(PhysAddr, KernelAttrs)> {
        self.mapped.get(&page).filter(|_| !self.hidden.contains(&page)).copied()
    }

    /// Addresses are used anew only after the flush.
    pub(super) fn settle_before(&mut self, mut pages: std::ops::Range<usize>) {
        if pages.any(|p| self.stale.contains(&p)) {
            self.flush();
        }
    }

    pub(super) fn splits(
        &mut self,
        root: TableAddr,
        access: &mut ArenaAccess,
        va: VirtRange,
    ) -> bool {
        match Mapper::new(root, access).split(va) {
            Ok(()) => true,
            Err(e) => {
                assert_eq!((e, access.budget), (MapError::NoMemory, 0));
                false
            }
        }
    }

    pub(super) fn after_map(
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
    pub(super) fn check(&self, mmu: &Mmu, page: usize) {
        if self.stale.contains(&page) {
            return;
        }
        let va = self.window + page * PAGE_SIZE;
        check(mmu, va, self.expected(page));
    }

    /// Compares the tables with the model, page by page.
    pub(super) fn check_tables(&self, root: TableAddr, access: &mut ArenaAccess) {
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
