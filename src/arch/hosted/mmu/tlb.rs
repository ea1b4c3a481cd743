//! Cached translations and table pointers of one CPU.
#![deny(unsafe_code)]

use crate::addr::{PhysAddr, VirtAddr, VirtRange};
use crate::arch::pgtable::descriptor::{Descriptor, KernelAttrs, Level};
use std::collections::BTreeMap;
use std::vec::Vec;

/// A cached translation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Cached {
    /// Translated range: a page or block, or a contiguous set as one.
    pub va: VirtRange,
    pub pa: PhysAddr,
    pub attrs: KernelAttrs,
    /// The descriptor that it came from.
    pub level: Level,
    pub contiguous: bool,
    pub descriptor: Descriptor,
}

impl Cached {
    /// Returns the physical address of `va`, which the entry must translate.
    pub fn translate(&self, va: VirtAddr) -> PhysAddr {
        self.pa + (va - self.va.start()) as u64
    }

    /// Returns whether both may be in one TLB: they may differ in permissions alone (Arm ARM
    /// D8.17.1, R_WHZWS).
    fn may_coexist(&self, other: &Self) -> bool {
        let both = self.va.intersect(other.va);
        both.is_empty()
            || (self.level == other.level
                && self.contiguous == other.contiguous
                && self.attrs.same_memory(other.attrs)
                && self.translate(both.start()) == other.translate(both.start()))
    }
}

/// Scope of a TLB invalidation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scope {
    /// The addresses; `None` for all.
    pub va: Option<VirtRange>,
    /// Translations only, no table pointers.
    pub last_level: bool,
}

impl Scope {
    pub const ALL: Self = Self { va: None, last_level: false };

    pub fn new(start: VirtAddr, bytes: usize, last_level: bool) -> Self {
        Self { va: Some(VirtRange::from_size(start, bytes)), last_level }
    }

    pub fn covers(&self, va: VirtRange) -> bool {
        self.va.is_none_or(|r| r.overlaps(va))
    }
}

/// The sizes that a translation can have, and where a table can start.
const SIZES: [usize; 6] = [1 << 12, 1 << 16, 1 << 21, 1 << 25, 1 << 30, 1 << 34];

/// Caches of one CPU.
#[derive(Default)]
pub(super) struct Tlb {
    /// Leaves, by size, then by address.
    leaves: [BTreeMap<VirtAddr, Vec<Cached>>; SIZES.len()],
    /// The tables known of each level below the PGD, by the address they start at.
    tables: [BTreeMap<VirtAddr, Vec<PhysAddr>>; 3],
}

const TABLE_LEVELS: [Level; 3] = [Level::Pud, Level::Pmd, Level::Pte];

impl Tlb {
    /// Everything cached for `va`.
    pub fn covering(&self, va: VirtAddr) -> impl Iterator<Item = &Cached> {
        SIZES
            .iter()
            .zip(&self.leaves)
            .filter_map(move |(&size, map)| map.get(&va.align_down(size)))
            .flatten()
    }

    /// Every table cached for `va`.
    pub fn tables(&self, va: VirtAddr) -> impl Iterator<Item = (Level, PhysAddr)> {
        TABLE_LEVELS.iter().zip(&self.tables).flat_map(move |(&level, map)| {
            let found = map.get(&va.align_down(level.table_span()));
            found.into_iter().flatten().map(move |&pa| (level, pa))
        })
    }

    /// Returns whether some table pointer leads to `pa`.
    pub fn points_at(&self, pa: PhysAddr) -> bool {
        self.tables.iter().flat_map(BTreeMap::values).flatten().any(|&t| t == pa)
    }

    /// Caches a translation; the one that it can't live beside, if there is one.
    pub fn insert(&mut self, new: Cached) -> Result<(), Cached> {
        if self.covering(new.va.start()).any(|c| *c == new) {
            return Ok(());
        }
        let inside = self.leaves.iter().zip(SIZES).flat_map(|(map, size)| {
            map.range(new.va.start().align_down(size)..new.va.end()).flat_map(|(_, v)| v)
        });
        for old in inside {
            if !old.may_coexist(&new) {
                return Err(*old);
            }
        }
        let size = SIZES.iter().position(|&s| s == new.va.len()).expect("one of the sizes");
        self.leaves[size].entry(new.va.start()).or_default().push(new);
        Ok(())
    }

    /// Caches a pointer to the table of `level` at `pa` that translates `va`.
    pub fn insert_table(&mut self, level: Level, va: VirtAddr, pa: PhysAddr) {
        let map = &mut self.tables[level as usize - 1];
        let known = map.entry(va.align_down(level.table_span())).or_default();
        if !known.contains(&pa) {
            known.push(pa);
        }
    }

    /// Drops what `scope` covers; the translations dropped.
    pub fn drop_scope(&mut self, scope: Scope) -> Vec<Cached> {
        let mut dropped = Vec::new();
        for (map, size) in self.leaves.iter_mut().zip(SIZES) {
            for base in keys(map, scope, size) {
                let all = map.remove(&base).unwrap_or_default();
                dropped.extend(all);
            }
        }
        if !scope.last_level {
            for (map, level) in self.tables.iter_mut().zip(TABLE_LEVELS) {
                for base in keys(map, scope, level.table_span()) {
                    map.remove(&base);
                }
            }
        }
        dropped
    }
}

/// The keys of entries of `size` that `scope` covers.
fn keys<T>(map: &BTreeMap<VirtAddr, T>, scope: Scope, size: usize) -> Vec<VirtAddr> {
    match scope.va {
        None => map.keys().copied().collect(),
        Some(va) => {
            map.range(va.start().align_down(size)..va.end()).map(|(base, _)| *base).collect()
        }
    }
}
