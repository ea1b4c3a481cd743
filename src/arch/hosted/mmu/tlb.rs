//! Cached translations and table pointers of one CPU.
#![deny(unsafe_code)]

use super::rights::{Limits, Rights};
use super::scope::{Scope, Tag};
use super::stage2::Second;
use super::{Access, Mode};
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
    pub tag: Tag,
    pub attrs: KernelAttrs,
    /// The descriptor that it came from, and where that lies.
    pub level: Level,
    pub contiguous: bool,
    pub descriptor: Descriptor,
    pub word: PhysAddr,
    pub limits: Limits,
    /// Stage 1 is off, and allows everything.
    pub flat: bool,
    /// Part of stage 2: an entry of it alone, or one that combines both stages.
    pub stage2: Option<Second>,
}

impl Cached {
    /// Returns the physical address of `va`, which the entry must translate.
    pub fn translate(&self, va: VirtAddr) -> PhysAddr {
        self.pa + (va - self.va.start()) as u64
    }

    /// The rights to the memory.
    pub fn rights(&self) -> Rights {
        Rights::new(self.descriptor.bits(), self.limits)
    }

    /// Returns whether stage 1 allows an access, with PSTATE.PAN as `pan` says.
    pub fn stage1_allows(&self, mode: Mode, pan: bool, access: Access) -> bool {
        self.flat || self.rights().allow(mode, pan, access)
    }

    /// Returns whether both may be in one TLB: they may differ in permissions alone (Arm ARM
    /// D8.17.1, R_WHZWS).
    fn may_coexist(&self, other: &Self) -> bool {
        let both = self.va.intersect(other.va);
        both.is_empty()
            || self.tag.vmid != other.tag.vmid
            || matches!((self.tag.asid, other.tag.asid), (Some(a), Some(b)) if a != b)
            || (self.level == other.level
                && self.contiguous == other.contiguous
                && self.attrs.same_memory(other.attrs)
                && self.stage2.is_none_or(|a| other.stage2.is_none_or(|b| a.may_coexist(&b)))
                && self.translate(both.start()) == other.translate(both.start()))
    }
}

/// A cached pointer to a table.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Pointer {
    pa: PhysAddr,
    tag: Tag,
    /// Limits that the tables above it have set.
    limits: Limits,
}

/// The sizes that a translation can have, and where a table can start.
const SIZES: [usize; 6] = [1 << 12, 1 << 16, 1 << 21, 1 << 25, 1 << 30, 1 << 34];

/// Caches of one CPU.
#[derive(Default)]
pub(super) struct Tlb {
    /// Leaves, by size, then by address.
    leaves: [BTreeMap<VirtAddr, Vec<Cached>>; SIZES.len()],
    /// The tables known of each level below the PGD, by the address they start at.
    tables: [BTreeMap<VirtAddr, Vec<Pointer>>; 3],
}

const TABLE_LEVELS: [Level; 3] = [Level::Pud, Level::Pmd, Level::Pte];

impl Tlb {
    /// Everything cached for `va`, under any tag.
    fn covering(&self, va: VirtAddr) -> impl Iterator<Item = &Cached> {
        SIZES
            .iter()
            .zip(&self.leaves)
            .filter_map(move |(&size, map)| map.get(&va.align_down(size)))
            .flatten()
    }

    /// Everything cached for `va` under `tag`, and what is global.
    pub fn serving(&self, va: VirtAddr, tag: Tag) -> impl Iterator<Item = &Cached> {
        self.covering(va).filter(move |c| c.tag.serves(tag))
    }

    /// Every table cached for `va` under `tag`, and the limits above it.
    pub fn tables(
        &self,
        va: VirtAddr,
        tag: Tag,
    ) -> impl Iterator<Item = (Level, PhysAddr, Limits)> {
        TABLE_LEVELS.iter().zip(&self.tables).flat_map(move |(&level, map)| {
            let found = map.get(&va.align_down(level.table_span()));
            let own = found.into_iter().flatten().filter(move |p| p.tag == tag);
            own.map(move |p| (level, p.pa, p.limits))
        })
    }

    /// Returns whether some table pointer leads to `pa`.
    pub fn points_at(&self, pa: PhysAddr) -> bool {
        self.tables.iter().flat_map(BTreeMap::values).flatten().any(|p| p.pa == pa)
    }

    /// Returns whether some translation leads to the frame at `pa`.
    pub fn maps(&self, pa: PhysAddr) -> bool {
        let mut all = self.leaves.iter().flat_map(BTreeMap::values).flatten();
        all.any(|c| c.pa <= pa && pa - c.pa < c.va.len() as u64)
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

    /// Caches a pointer to the table of `level` at `pa` that translates `va`, within `limits`.
    pub fn insert_table(
        &mut self,
        level: Level,
        va: VirtAddr,
        tag: Tag,
        pa: PhysAddr,
        limits: Limits,
    ) {
        let map = &mut self.tables[level as usize - 1];
        let known = map.entry(va.align_down(level.table_span())).or_default();
        let pointer = Pointer { pa, tag, limits };
        if !known.contains(&pointer) {
            known.push(pointer);
        }
    }

    /// Drops what `scope` covers; the translations dropped.
    pub fn drop_scope(&mut self, scope: Scope) -> Vec<Cached> {
        let mut dropped = Vec::new();
        for (map, size) in self.leaves.iter_mut().zip(SIZES) {
            for base in keys(map, scope, size) {
                take(map, base, |c| scope.covers(c.va, c.tag), |c| dropped.push(c));
            }
        }
        if !scope.last_level {
            for (map, level) in self.tables.iter_mut().zip(TABLE_LEVELS) {
                for base in keys(map, scope, level.table_span()) {
                    take(map, base, |p| scope.covers_tag(p.tag), drop);
                }
            }
        }
        dropped
    }
}

/// The keys of entries of `size` that `scope` covers by address.
fn keys<T>(map: &BTreeMap<VirtAddr, T>, scope: Scope, size: usize) -> Vec<VirtAddr> {
    match scope.va {
        None => map.keys().copied().collect(),
        Some(va) => {
            map.range(va.start().align_down(size)..va.end()).map(|(base, _)| *base).collect()
        }
    }
}

/// Takes the entries at `base` out that are `covered`.
fn take<T: Copy>(
    map: &mut BTreeMap<VirtAddr, Vec<T>>,
    base: VirtAddr,
    covered: impl Fn(&T) -> bool,
    out: impl FnMut(T),
) {
    let Some(all) = map.get_mut(&base) else { return };
    all.extract_if(.., |entry| covered(entry)).for_each(out);
    if all.is_empty() {
        map.remove(&base);
    }
}
