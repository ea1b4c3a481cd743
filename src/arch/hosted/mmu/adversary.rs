//! The state of the MMU and what it makes of each step of software.

use super::choice::{Config, Mutation, Rng, Step};
use super::tlb::{Cached, Scope, Tlb};
use super::walker::UPPER_HALF;
use super::word_at;
use crate::addr::{PAGE_SIZE, PhysAddr, VirtAddr, VirtRange};
use crate::arch::pgtable::descriptor::{Descriptor, Kind, Level, PTRS_PER_TABLE};
use crate::arch::{CpuId, NR_CPUS};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::collections::BTreeMap;
use std::vec::Vec;

/// A store to a table that walkers need not see yet.
#[derive(Clone, Copy)]
pub(super) struct Pending {
    pub cpu: CpuId,
    /// Number of the store among that CPU's stores, counted from one.
    number: u64,
    pub old: Descriptor,
    /// True if an instruction could have been translated by the old word alone: not where that
    /// led to a table, whose words can't be read any more once it is freed.
    decides: bool,
    /// The storing CPU's own walker sees it.
    pub seen_by_self: bool,
}

/// Vector clock: the number of each CPU's stores to tables that came before an event.
#[derive(Clone, Copy, Default)]
struct Clock([u64; NR_CPUS]);

impl Clock {
    fn join(&mut self, other: &Self) {
        for (own, theirs) in self.0.iter_mut().zip(other.0) {
            *own = theirs.max(*own);
        }
    }

    fn is_after(&self, store: &Pending) -> bool {
        store.number <= self.0[store.cpu.index()]
    }
}

#[derive(Default)]
pub(super) struct Cpu {
    pub tlb: Tlb,
    /// The stores that it has made, and those that it has learnt of through locks.
    clock: Clock,
    /// Invalidations issued and not complete, and whether they reach all CPUs.
    issued: Vec<(Scope, bool)>,
    /// Until `isb`, instructions in flight may use these ...
    pub limbo: Vec<Cached>,
    /// ... and act on these former words.
    pub in_flight: BTreeMap<PhysAddr, Vec<Descriptor>>,
}

/// A table that is linked into the tree.
#[derive(Clone, Copy)]
struct Linked {
    level: Level,
    va: VirtAddr,
}

pub(super) struct State {
    pub rng: Rng,
    pub config: Config,
    pub root: PhysAddr,
    pub cpus: [Cpu; NR_CPUS],
    linked: BTreeMap<PhysAddr, Linked>,
    /// Clock of each lock's last holder at its release.
    locks: BTreeMap<usize, Clock>,
    pub pending: BTreeMap<PhysAddr, Vec<Pending>>,
    /// Addresses of late stores, for speculation.
    pub recent: Vec<VirtAddr>,
    mutation: Option<Mutation>,
    steps: Vec<Step>,
}

impl State {
    pub fn new(root: PhysAddr, config: Config) -> Self {
        assert!(config.cpus <= NR_CPUS);
        let mut state = Self {
            rng: Rng(config.seed),
            config,
            root,
            cpus: Default::default(),
            linked: BTreeMap::new(),
            locks: BTreeMap::new(),
            pending: BTreeMap::new(),
            recent: Vec::new(),
            mutation: None,
            steps: Vec::new(),
        };
        state.link(root, Level::Pgd, UPPER_HALF);
        state
    }

    pub fn mutate(&mut self, mutation: Option<Mutation>) {
        self.mutation = mutation;
        self.steps.clear();
    }

    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Counts a step. Returns true if it is to be taken.
    fn takes(&mut self, step: Step) -> bool {
        self.steps.push(step);
        match self.mutation {
            Some(Mutation::Without(kind)) => kind != step,
            Some(Mutation::WithoutNth(n)) => n + 1 != self.steps.len(),
            _ => true,
        }
    }

    /// Software takes `step`, which does `f`.
    pub fn step(&mut self, step: Step, f: impl FnOnce(&mut Self)) {
        self.speculate();
        if self.takes(step) {
            f(self);
        }
        self.speculate();
    }

    // Barriers.

    /// A DSB by `cpu`: walkers see earlier stores, on all CPUs or on its own. Stores of
    /// other CPUs that it has learnt of through a lock are earlier too, and so are those
    /// to the same word that came before one that is.
    pub fn stores_complete(&mut self, cpu: CpuId, on_all: bool) {
        if !on_all {
            for p in self.pending.values_mut().flatten().filter(|p| p.cpu == cpu) {
                p.seen_by_self = true;
            }
            return;
        }
        let Cpu { clock, in_flight, .. } = &mut self.cpus[cpu.index()];
        self.pending.retain(|pa, stores| {
            let earlier = stores.iter().rposition(|p| clock.is_after(p)).map_or(0, |n| n + 1);
            for store in stores.drain(..earlier).filter(|p| p.cpu == cpu && p.decides) {
                in_flight.entry(*pa).or_default().push(store.old);
            }
            !stores.is_empty()
        });
    }

    // Who knows of what.

    /// `cpu` takes the lock at `lock`: what was stored before the lock was given up last is
    /// earlier than what it does now.
    pub fn lock_taken(&mut self, cpu: CpuId, lock: usize) {
        if let Some(known) = self.locks.get(&lock) {
            self.cpus[cpu.index()].clock.join(known);
        }
    }

    /// `cpu` gives up the lock at `lock`.
    pub fn lock_given_up(&mut self, cpu: CpuId, lock: usize) {
        self.locks.entry(lock).or_default().join(&self.cpus[cpu.index()].clock);
    }

    /// All CPUs wait for each other.
    pub fn all_meet(&mut self) {
        let mut all = Clock::default();
        self.cpus.iter().for_each(|cpu| all.join(&cpu.clock));
        self.cpus.iter_mut().for_each(|cpu| cpu.clock = all);
    }

    /// `cpu` says that what it broke is mapped again: from here on a fault is one.
    pub fn assert_synchronized(&self, cpu: CpuId) {
        let Cpu { clock, limbo, in_flight, .. } = &self.cpus[cpu.index()];
        let unseen =
            self.pending.iter().find(|(_, stores)| stores.iter().any(|p| clock.is_after(p)));
        assert!(
            unseen.is_none(),
            "made before dsb: walkers may miss the word at {:?}",
            unseen.map(|(pa, _)| pa)
        );
        assert!(
            limbo.is_empty() && in_flight.is_empty(),
            "made before isb: instructions in flight may miss it"
        );
    }

    /// A store by `cpu` that nobody sees for sure.
    fn pend(&mut self, cpu: CpuId, pa: PhysAddr, old: Descriptor, decides: bool) {
        let number = &mut self.cpus[cpu.index()].clock.0[cpu.index()];
        *number += 1;
        let pending = Pending { cpu, number: *number, old, decides, seen_by_self: false };
        self.pending.entry(pa).or_default().push(pending);
    }

    /// A DSB by `cpu`: its earlier invalidations are complete, on all CPUs or on its own.
    pub fn invalidations_complete(&mut self, cpu: CpuId, on_all: bool) {
        let issued = core::mem::take(&mut self.cpus[cpu.index()].issued);
        for (scope, broadcast) in &issued {
            let scope = match self.mutation {
                Some(Mutation::LastLevelOnly) => Scope { last_level: true, ..*scope },
                _ => *scope,
            };
            let broadcast = *broadcast && self.mutation != Some(Mutation::LocalOnly);
            let dropped = self.cpus[cpu.index()].tlb.drop_scope(scope);
            self.cpus[cpu.index()].limbo.extend(dropped);
            if broadcast && on_all {
                for (i, other) in self.cpus.iter_mut().enumerate() {
                    drop(other.tlb.drop_scope(scope));
                    if i != cpu.index() {
                        other.limbo.retain(|c| !scope.covers(c.va));
                    }
                }
            }
        }
        if !on_all {
            // Complete here, yet not on the others.
            let rest = issued.into_iter().filter(|(_, broadcast)| *broadcast);
            self.cpus[cpu.index()].issued.extend(rest);
        }
    }

    /// An ISB by `cpu`.
    pub fn synchronize(&mut self, cpu: CpuId) {
        let cpu = &mut self.cpus[cpu.index()];
        cpu.limbo.clear();
        cpu.in_flight.clear();
    }

    /// A TLBI by `cpu`: takes effect when it is complete.
    pub fn invalidate(&mut self, cpu: CpuId, scope: Scope, broadcast: bool) {
        for (pa, stores) in &self.pending {
            let Some((va, level)) = self.address_of(*pa) else {
                continue;
            };
            let spans = VirtRange::from_size(va, level.size());
            let clock = &self.cpus[cpu.index()].clock;
            let overtakes = stores.iter().any(|p| clock.is_after(p) && p.old.is_valid());
            assert!(
                !(overtakes && scope.covers(spans)),
                "TLBI before dsb: the invalidation of {spans:?} may overtake the store to its \
                 {level:?} descriptor"
            );
        }
        self.cpus[cpu.index()].issued.push((scope, broadcast));
    }

    // Stores.

    /// A store of `new` to a table's word by `cpu`.
    pub fn store(&mut self, cpu: CpuId, word: &AtomicU64, new: Descriptor) {
        let pa = super::super::virt_to_phys(VirtAddr::from_ptr(core::ptr::from_ref(word)));
        let old = Descriptor::from_bits(word.load(Relaxed));
        let place = self.address_of(pa);
        if old.is_valid() && !new.is_valid() && place.is_some() && !self.takes(Step::Break) {
            return;
        }
        if let Some((va, level)) = place {
            self.check_change(va, level, old, new);
            self.recent_push(va);
            self.walk_by_all(va);
        }
        word.store(new.bits(), Relaxed);
        let decides = place.is_some_and(|(_, level)| !matches!(old.kind(level), Kind::Table(_)));
        self.pend(cpu, pa, old, decides);
        let Some((va, level)) = place else { return };
        if old != new {
            if let Kind::Table(table) = old.kind(level) {
                self.unlink(table);
            }
            if let (Kind::Table(table), Some(down)) = (new.kind(level), level.down()) {
                self.link(table, down, va);
            }
        }
        self.walk_by_all(va);
    }

    /// All words of a table that isn't linked are made invalid by `cpu`.
    pub fn clear_table(&mut self, cpu: CpuId, words: &[AtomicU64; PTRS_PER_TABLE]) {
        let pa = super::super::virt_to_phys(VirtAddr::from_ptr(words));
        assert!(!self.linked.contains_key(&pa), "the table at {pa} is cleared while linked");
        for (i, cpu) in self.cpus.iter().enumerate() {
            assert!(
                !cpu.tlb.points_at(pa),
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

    /// The address and the level that the word at `pa` decides about, if it is linked.
    fn address_of(&self, pa: PhysAddr) -> Option<(VirtAddr, Level)> {
        let table = self.linked.get(&pa.align_down(PAGE_SIZE as u64))?;
        let index = pa.page_offset() / 8;
        Some((table.va + (index << table.level.shift()), table.level))
    }

    fn check_change(&self, va: VirtAddr, level: Level, old: Descriptor, new: Descriptor) {
        let allowed = match (old.kind(level), new.kind(level)) {
            (Kind::Invalid, _) | (_, Kind::Invalid) => true,
            (Kind::Table(a), Kind::Table(b)) => a == b,
            (Kind::Leaf(a, x), Kind::Leaf(b, y)) => {
                a == b && x.same_memory(y) && old.is_contiguous() == new.is_contiguous()
            }
            _ => false,
        };
        assert!(
            allowed,
            "break-before-make: the {level:?} descriptor for {va} goes from {old:?} to {new:?} \
             without being invalid in between"
        );
    }

    fn link(&mut self, table: PhysAddr, level: Level, va: VirtAddr) {
        let before = self.linked.insert(table, Linked { level, va });
        assert!(before.is_none(), "the table at {table} is linked twice");
        // What the page held before can't be reached through a link that is newer.
        for cpu in &mut self.cpus {
            cpu.in_flight.retain(|word, _| word.align_down(PAGE_SIZE as u64) != table);
        }
        let Some(down) = level.down() else { return };
        for i in 0..PTRS_PER_TABLE {
            let word = word_at(table + 8 * i as u64).expect("a table lies in RAM");
            if let Kind::Table(next) = Descriptor::from_bits(word.load(Relaxed)).kind(level) {
                self.link(next, down, va + (i << level.shift()));
            }
        }
    }

    fn unlink(&mut self, table: PhysAddr) {
        let Some(Linked { level, .. }) = self.linked.remove(&table) else {
            return;
        };
        for i in 0..PTRS_PER_TABLE {
            let word = word_at(table + 8 * i as u64).expect("a table lies in RAM");
            if let Kind::Table(next) = Descriptor::from_bits(word.load(Relaxed)).kind(level) {
                self.unlink(next);
            }
        }
    }
}
