//! The state of the MMU and what it makes of each step of software.

use super::choice::{Config, Mutation, Rng, Step};
use super::context::{Context, Space, Tree};
use super::rights::Limits;
use super::scope::{Scope, Tag};
use super::tables::Linked;
use super::tlb::{Cached, Tlb};
use super::walker::UPPER_HALF;
use crate::addr::{PhysAddr, VirtAddr, VirtRange};
use crate::arch::pgtable::descriptor::{Descriptor, Level};
use crate::arch::{CpuId, NR_CPUS};
use std::collections::{BTreeMap, BTreeSet};
use std::vec::Vec;

/// A store to a table that walkers need not see yet.
#[derive(Clone, Copy)]
pub(super) struct Pending {
    pub cpu: CpuId,
    /// Number of the store among that CPU's stores, counted from one.
    pub number: u64,
    pub old: Descriptor,
    /// True if an instruction could have been translated by the old word alone: not where that
    /// led to a table, whose words can't be read any more once it is freed.
    pub decides: bool,
    /// The storing CPU's own walker sees it.
    pub seen_by_self: bool,
}

/// Vector clock: the number of each CPU's stores to tables that came before an event.
#[derive(Clone, Default)]
pub(super) struct Clock(BTreeMap<CpuId, u64>);

impl Clock {
    fn join(&mut self, other: &Self) {
        for (&cpu, &theirs) in &other.0 {
            let own = self.0.entry(cpu).or_default();
            *own = theirs.max(*own);
        }
    }

    fn is_after(&self, store: &Pending) -> bool {
        store.number <= self.0.get(&store.cpu).copied().unwrap_or(0)
    }

    /// Counts a store by `cpu`; its number.
    pub fn count(&mut self, cpu: CpuId) -> u64 {
        let number = self.0.entry(cpu).or_default();
        *number += 1;
        *number
    }
}

pub(super) struct Cpu {
    /// Translations of stage 1, and of both stages combined.
    pub tlb: Tlb,
    /// Translations of stage 2 alone.
    pub stage2: Tlb,
    /// Tables of stage 2 that pointers lead to which combine both stages, each with its VMID: under
    /// which address of the guest's doesn't matter.
    combined: BTreeSet<(u16, PhysAddr)>,
    /// Registers as last written.
    pub current: Context,
    /// Former values of the registers: until `isb`, walks may use these.
    former: Vec<Context>,
    /// PSTATE.PAN.
    pub pan: bool,
    /// The stores that it has made, and those that it has learnt of through locks.
    pub clock: Clock,
    /// Invalidations issued and not complete, and whether they reach all CPUs.
    issued: Vec<(Scope, bool)>,
    /// Until `isb`, instructions in flight may use these ...
    pub limbo: Vec<Cached>,
    /// ... and act on these former words.
    pub in_flight: BTreeMap<PhysAddr, Vec<Descriptor>>,
}

impl Cpu {
    fn new() -> Self {
        Self {
            tlb: Tlb::default(),
            stage2: Tlb::default(),
            combined: BTreeSet::new(),
            current: Context::INITIAL,
            former: Vec::new(),
            pan: true,
            clock: Clock::default(),
            issued: Vec::new(),
            limbo: Vec::new(),
            in_flight: BTreeMap::new(),
        }
    }

    /// The registers that a walk may use: those written last, and until `isb` those before.
    pub fn contexts(&self) -> impl Iterator<Item = Context> {
        core::iter::once(self.current).chain(self.former.iter().copied())
    }

    /// Caches of translations of `space`.
    pub fn cache(&mut self, space: Space) -> &mut Tlb {
        match space {
            Space::Lower | Space::Upper => &mut self.tlb,
            Space::Ipa => &mut self.stage2,
        }
    }

    /// Drops what `scope` covers; the translations dropped that instructions may still use.
    fn drop_scope(&mut self, scope: Scope) -> Vec<Cached> {
        if scope.is_of_second() {
            drop(self.stage2.drop_scope(scope));
        }
        if !scope.is_of_first() {
            return Vec::new();
        }
        self.combined.retain(|&(vmid, _)| !scope.covers_guest(vmid));
        self.tlb.drop_scope(scope)
    }

    /// Caches a pointer that a walk of `space` found, to the table of `level` at `pa` that translates
    /// `va`.
    pub fn insert_table(
        &mut self,
        space: Space,
        level: Level,
        va: VirtAddr,
        tag: Tag,
        pa: PhysAddr,
        limits: Limits,
    ) {
        self.combine_pointer(space, tag, pa);
        self.cache(space).insert_table(level, va, tag, pa, limits);
    }

    /// A walk of `space`, which may be one for both stages, goes through the table at `pa`.
    pub fn combine_pointer(&mut self, space: Space, tag: Tag, pa: PhysAddr) {
        if space == Space::Ipa {
            self.combined.insert((tag.vmid, pa));
        }
    }

    /// Returns whether some cached pointer leads to the table at `pa`.
    pub fn points_at(&self, pa: PhysAddr) -> bool {
        self.tlb.points_at(pa)
            || self.stage2.points_at(pa)
            || self.combined.iter().any(|&(_, table)| table == pa)
    }
}

pub(super) struct State {
    pub rng: Rng,
    pub config: Config,
    pub root: PhysAddr,
    pub cpus: Vec<Cpu>,
    /// Places at which each table is linked into the trees that may be walked.
    pub linked: BTreeMap<PhysAddr, Vec<Linked>>,
    /// Programs write to their memory whenever that matters.
    pub programs: bool,
    /// Clock of each lock's last holder at its release.
    locks: BTreeMap<usize, Clock>,
    pub pending: BTreeMap<PhysAddr, Vec<Pending>>,
    /// Addresses of late stores, for speculation.
    pub recent: Vec<VirtAddr>,
    /// Addresses that guests have used, for speculation.
    pub guest_vas: Vec<VirtAddr>,
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
            cpus: (0..NR_CPUS).map(|_| Cpu::new()).collect(),
            linked: BTreeMap::new(),
            programs: false,
            locks: BTreeMap::new(),
            pending: BTreeMap::new(),
            recent: Vec::new(),
            guest_vas: Vec::new(),
            mutation: None,
            steps: Vec::new(),
        };
        state.link(root, Linked { tree: Tree::Kernel, level: Level::Pgd, va: UPPER_HALF });
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
    pub fn takes(&mut self, step: Step) -> bool {
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
        self.cpus.iter_mut().for_each(|cpu| cpu.clock = all.clone());
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

    /// A DSB by `cpu`: its earlier invalidations are complete, on all CPUs or on its own.
    pub fn invalidations_complete(&mut self, cpu: CpuId, on_all: bool) {
        let mut issued = core::mem::take(&mut self.cpus[cpu.index()].issued);
        // They complete in any order, and walks go on meanwhile.
        let of_both = issued.iter().any(|(scope, _)| scope.is_of_second()) && issued.len() > 1;
        if of_both {
            (1..issued.len()).for_each(|n| issued.swap(n, self.rng.below(n + 1)));
        }
        for (scope, broadcast) in &issued {
            let scope = match self.mutation {
                Some(Mutation::LastLevelOnly) => Scope { last_level: true, ..*scope },
                _ => *scope,
            };
            let broadcast = *broadcast && self.mutation != Some(Mutation::LocalOnly);
            let dropped = self.cpus[cpu.index()].drop_scope(scope);
            self.cpus[cpu.index()].limbo.extend(dropped);
            if broadcast && on_all {
                for (i, other) in self.cpus.iter_mut().enumerate() {
                    drop(other.drop_scope(scope));
                    if i != cpu.index() && scope.is_of_first() {
                        other.limbo.retain(|c| !scope.covers(c.va, c.tag));
                    }
                }
            }
            if of_both {
                self.guests_walk();
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
        for left in core::mem::take(&mut cpu.former) {
            self.leave(left);
        }
    }

    /// Writes one of `cpu`'s registers, as `write` does. Until its `isb` the CPU may use the former
    /// value, whatever it uses of registers that it has written since the last one.
    pub fn write_register(&mut self, cpu: CpuId, write: impl Fn(Context) -> Context) {
        let here = &mut self.cpus[cpu.index()];
        let before: Vec<Context> = here.contexts().collect();
        here.current = write(here.current);
        here.former = before.iter().skip(1).map(|&c| write(c)).chain(before.clone()).collect();
        for context in self.cpus[cpu.index()].contexts().collect::<Vec<_>>() {
            self.enter(&context);
        }
    }

    /// An exception takes `cpu` to EL2.
    pub fn enter_el2(&mut self, cpu: CpuId) {
        self.synchronize(cpu);
        let current = &mut self.cpus[cpu.index()].current;
        let left = *current;
        current.el2 = true;
        self.leave(left);
    }

    /// An exception return takes `cpu` from EL2 to EL1 or EL0.
    pub fn leave_el2(&mut self, cpu: CpuId) {
        self.synchronize(cpu);
        let current = &mut self.cpus[cpu.index()].current;
        current.el2 = false;
        let to = *current;
        assert!(to.vm || to.vmid() == 0, "the host runs under a guest's VMID, {}", to.vmid());
        self.enter(&to);
    }

    /// A TLBI by `cpu`: takes effect when it is complete.
    pub fn invalidate(&mut self, cpu: CpuId, scope: Scope, broadcast: bool) {
        // The CPU's own registers say how wide an ASID is, and which VMID is current.
        let mask = self.cpus[cpu.index()].current.tcr.asid_mask();
        let current = self.rng.pick(self.cpus[cpu.index()].contexts());
        let vmid = scope.vmid.and(current).map(|context| context.vmid());
        let scope = Scope { asid: scope.asid.map(|asid| asid & mask), vmid, ..scope };
        for (pa, stores) in &self.pending {
            let clock = &self.cpus[cpu.index()].clock;
            if !stores.iter().any(|p| clock.is_after(p) && p.old.is_valid()) {
                continue;
            }
            for Linked { tree, level, va } in self.places_of(*pa) {
                let spans = VirtRange::from_size(va, level.size());
                assert!(
                    !scope.covers_tree(spans, tree, &self.tags_of(tree)),
                    "TLBI before dsb: the invalidation of {spans:?} may overtake the store to \
                     its {level:?} descriptor"
                );
            }
        }
        self.cpus[cpu.index()].issued.push((scope, broadcast));
    }
}
