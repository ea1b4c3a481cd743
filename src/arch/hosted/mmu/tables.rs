//! Tables that may be walked, and stores to them.
//!
//! The kernel's tree always may; a user's may while a CPU has it in TTBR0_EL1, or had until its
//! next `isb`; a guest's of stage 2 while a CPU runs the guest. Then each change of a valid
//! descriptor needs its break. Trees that no CPU has may be changed in any way: what TLBs still
//! hold under their ASIDs and VMIDs shows when those are used again.
//! A table may be linked into several users' trees.

use super::access_flag::loses_dirty_state;
use super::adversary::{Pending, State};
use super::choice::Step;
use super::context::{Context, Space, Tree};
use super::scope::Tag;
use super::stage2;
use super::walker::{Walk, in_memory};
use crate::addr::{PAGE_SIZE, PhysAddr, VirtAddr};
use crate::arch::CpuId;
use crate::arch::pgtable::descriptor::{Descriptor, Kind, Level, PTRS_PER_TABLE};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::vec::Vec;

/// Place of a table in a tree; or of a word, with the address that it decides about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Linked {
    pub tree: Tree,
    pub level: Level,
    pub va: VirtAddr,
}

/// Software's way to change a word.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// A store.
    Store(Descriptor),
    /// An atomic swap.
    Swap(Descriptor),
    /// An atomic compare-and-exchange, from the first to the second.
    Exchange(Descriptor, Descriptor),
}

impl State {
    /// A change of a table's word by `cpu`; the word before it.
    pub fn change(&mut self, cpu: CpuId, word: &AtomicU64, change: Change) -> Descriptor {
        let pa = super::super::virt_to_phys(VirtAddr::from_ptr(core::ptr::from_ref(word)));
        let read = || Descriptor::from_bits(word.load(Relaxed));
        let seen = read();
        let new = match change {
            Change::Exchange(expected, _) if seen != expected => return seen,
            Change::Exchange(_, new) | Change::Swap(new) | Change::Store(new) => new,
        };
        let places = self.places_of(pa);
        let breaks = seen.is_valid() && !new.is_valid() && !places.is_empty();
        if breaks && !self.takes(Step::Break) {
            return seen;
        }
        for place in &places {
            check_change(*place, seen, new);
            self.recent_push(place.va);
            self.walk_by_all(*place);
            self.programs_write(cpu, place.tree, place.va);
        }
        // Hardware may have updated it meanwhile.
        let old = read();
        match change {
            Change::Exchange(expected, _) if old != expected => return old,
            Change::Store(_) => assert!(
                !loses_dirty_state(seen, old, new),
                "the store to the descriptor of {places:?} loses its dirty state: {old:?}"
            ),
            _ => {}
        }
        word.store(new.bits(), Relaxed);
        let decides = places.iter().any(|p| !matches!(old.kind(p.level), Kind::Table(_)));
        self.pend(cpu, pa, old, decides);
        if old != new {
            self.relink(&places, old, new);
        }
        for place in places {
            self.walk_by_all(place);
        }
        old
    }

    /// A word with these places has been changed.
    fn relink(&mut self, places: &[Linked], old: Descriptor, new: Descriptor) {
        for place in places {
            if let Kind::Table(table) = old.kind(place.level) {
                self.unlink(table, place.tree);
            }
            if let (Kind::Table(table), Some(level)) = (new.kind(place.level), place.level.down()) {
                self.link(table, Linked { level, ..*place });
            }
        }
    }

    /// A store by `cpu` that nobody sees for sure.
    fn pend(&mut self, cpu: CpuId, pa: PhysAddr, old: Descriptor, decides: bool) {
        let number = self.cpus[cpu.index()].clock.count(cpu);
        let pending = Pending { cpu, number, old, decides, seen_by_self: false };
        self.pending.entry(pa).or_default().push(pending);
    }

    /// Each CPU that may walk the tree walks the address or not, as eagerly as configured.
    fn walk_by_all(&mut self, place: Linked) {
        for cpu in 0..self.config.cpus {
            if !self.is_eager() {
                continue;
            }
            if place.tree == Tree::Kernel {
                // All contexts share it.
                let context = self.cpus[cpu].current;
                self.walk_ahead(cpu, &context, place.va);
                continue;
            }
            let walks = self.cpus[cpu].contexts().filter(|c| c.walks(place.tree));
            for context in walks.collect::<Vec<_>>() {
                if context.vm {
                    let _ = self.walk(cpu, &context, Space::Ipa, place.va, Walk::Speculative);
                } else {
                    self.walk_ahead(cpu, &context, place.va);
                }
            }
        }
        if matches!(place.tree, Tree::Stage2(_)) {
            self.guests_walk();
        }
    }

    /// All words of a table that isn't linked are made invalid by `cpu`.
    pub fn clear_table(&mut self, cpu: CpuId, words: &[AtomicU64; PTRS_PER_TABLE]) {
        let pa = super::super::virt_to_phys(VirtAddr::from_ptr(words));
        assert!(!self.linked.contains_key(&pa), "the table at {pa} is cleared while linked");
        for (i, cpu) in self.cpus.iter().enumerate() {
            assert!(
                !cpu.points_at(pa),
                "the page at {pa} is made a table while CPU {i} may walk it as an old one"
            );
        }
        for (i, word) in words.iter().enumerate() {
            let old = Descriptor::from_bits(word.swap(0, Relaxed));
            if old != Descriptor::INVALID {
                self.pend(cpu, pa + 8 * i as u64, old, false);
            }
        }
    }

    /// The places that the word at `pa` has in trees that may be walked.
    pub fn places_of(&self, pa: PhysAddr) -> Vec<Linked> {
        let tables = self.linked.get(&pa.align_down(PAGE_SIZE as u64));
        let index = pa.page_offset() / 8;
        let place =
            |table: &Linked| Linked { va: table.va + (index << table.level.shift()), ..*table };
        tables.into_iter().flatten().map(place).collect()
    }

    /// The tags under which CPUs may walk a tree.
    pub fn tags_of(&self, tree: Tree) -> Vec<Tag> {
        let contexts = self.cpus.iter().flat_map(|cpu| cpu.contexts());
        contexts.filter(|c| c.walks(tree)).map(|c| c.tag_of(tree)).collect()
    }

    /// A CPU is about to have the registers of `context`.
    pub fn enter(&mut self, context: &Context) {
        for (root, place) in context.roots() {
            if !self.linked.get(&root).into_iter().flatten().any(|l| *l == place) {
                self.link(root, place);
            }
        }
    }

    /// A CPU has the registers of `left` no more.
    pub fn leave(&mut self, left: Context) {
        for (root, place) in left.roots() {
            if self.tags_of(place.tree).is_empty() {
                self.unlink(root, place.tree);
            }
        }
    }

    /// The table at `table` can be walked to at a place.
    pub fn link(&mut self, table: PhysAddr, place: Linked) {
        let Linked { tree, level, va } = place;
        let places = self.linked.entry(table).or_default();
        let clashes = |l: &Linked| l.tree == tree || tree == Tree::Kernel || l.tree == Tree::Kernel;
        assert!(!places.iter().any(clashes), "the table at {table} is linked twice");
        places.push(place);
        // What the page held before can't be reached through a link that is newer.
        if places.len() == 1 {
            for cpu in &mut self.cpus {
                cpu.in_flight.retain(|word, _| word.align_down(PAGE_SIZE as u64) != table);
            }
        }
        let Some(down) = level.down() else { return };
        for (i, next) in tables_in(table, level) {
            self.link(next, Linked { tree, level: down, va: va + (i << level.shift()) });
        }
    }

    /// The table at `table` can't be walked to in `tree` any more.
    fn unlink(&mut self, table: PhysAddr, tree: Tree) {
        let Some(places) = self.linked.get_mut(&table) else { return };
        let Some(at) = places.iter().position(|l| l.tree == tree) else { return };
        let Linked { level, .. } = places.swap_remove(at);
        if places.is_empty() {
            self.linked.remove(&table);
        }
        for (_, next) in tables_in(table, level) {
            self.unlink(next, tree);
        }
    }
}

/// The tables that the words of a table lead to, and the indices of the words.
fn tables_in(table: PhysAddr, level: Level) -> impl Iterator<Item = (usize, PhysAddr)> {
    (0..PTRS_PER_TABLE).filter_map(move |i| match in_memory(table + 8 * i as u64).kind(level) {
        Kind::Table(next) => Some((i, next)),
        _ => None,
    })
}

fn check_change(place: Linked, old: Descriptor, new: Descriptor) {
    let Linked { level, va, .. } = place;
    let allowed = match (old.kind(level), new.kind(level)) {
        (Kind::Invalid, _) | (_, Kind::Invalid) => true,
        (Kind::Table(a), Kind::Table(b)) => a == b,
        (Kind::Leaf(a, x), Kind::Leaf(b, y)) => {
            let same = match place.tree {
                Tree::Stage2(_) => stage2::same_memory(old, new),
                Tree::Kernel | Tree::User(_) => x.same_memory(y),
            };
            a == b && same && old.is_contiguous() == new.is_contiguous()
        }
        _ => false,
    };
    assert!(
        allowed,
        "break-before-make: the {level:?} descriptor for {va} goes from {old:?} to {new:?} \
         without being invalid in between"
    );
}
