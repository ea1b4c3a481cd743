//! Walks of the tables, and what accesses make of them.
#![deny(unsafe_code)]

use super::adversary::State;
use super::context::{Context, Half};
use super::rights::{Limits, Mode};
use super::tlb::Cached;
use super::{Access, Fault, word_at};
use crate::addr::{PAGE_SIZE, PhysAddr, VirtAddr, VirtRange};
use crate::arch::CpuId;
use crate::arch::pgtable::descriptor::{CONT_ENTRIES, Descriptor, Kind};
use core::sync::atomic::Ordering::Relaxed;

/// First address that TTBR1 translates.
pub(super) const UPPER_HALF: VirtAddr = VirtAddr::new(0xffff_0000_0000_0000);
/// Number of recent stores whose addresses speculation draws from.
const RECENT: usize = 64;

/// Inputs of a walk besides memory.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Walk {
    /// Starts now; what it finds is cached.
    Fresh,
    /// Fresh, and for no access: nothing has to come of it.
    Speculative,
    /// Fresh, and follows a descriptor that has just been read by an atomic update.
    Coherent,
    /// Belongs to an instruction in flight since before the last `dsb`.
    InFlight,
}

/// Source of an access's translation.
enum Source {
    Cached(Cached),
    Walk(Walk),
}

impl State {
    pub fn recent_push(&mut self, va: VirtAddr) {
        if self.recent.len() < RECENT {
            self.recent.push(va);
        } else {
            let at = self.rng.below(RECENT);
            self.recent[at] = va;
        }
    }

    /// Returns true as often as the adversary is eager.
    pub fn is_eager(&mut self) -> bool {
        (self.rng.below(256) as u32) < self.config.eagerness
    }

    /// Some CPU walks some address near a late store.
    pub fn speculate(&mut self) {
        if self.recent.is_empty() || self.config.cpus == 0 {
            return;
        }
        let cpu = self.rng.below(self.config.cpus);
        let at = self.rng.below(self.recent.len());
        let va = self.recent[at] + self.rng.below(32) * PAGE_SIZE;
        if let Some(context) = self.rng.pick(self.cpus[cpu].contexts()) {
            self.walk_ahead(cpu, &context, va);
        }
    }

    /// `cpu` walks `va` for no access.
    pub fn walk_ahead(&mut self, cpu: usize, context: &Context, va: VirtAddr) {
        if let Some((half, va)) = context.locate(va) {
            let _ = self.walk(cpu, context, half, va, Walk::Speculative);
        }
    }

    /// The word at `pa` as CPU `cpu`'s walker may see it.
    fn look(&mut self, cpu: usize, pa: PhysAddr, walk: Walk) -> Descriptor {
        let now = in_memory(pa);
        if walk == Walk::Coherent {
            return now;
        }
        let stores = self.pending.get(&pa).into_iter().flatten();
        let unseen = stores.filter(|p| !(p.cpu.index() == cpu && p.seen_by_self));
        let in_flight = match walk {
            Walk::InFlight => self.cpus[cpu].in_flight.get(&pa),
            _ => None,
        };
        let former = unseen.map(|p| p.old).chain(in_flight.into_iter().flatten().copied());
        self.rng.pick(core::iter::once(now).chain(former)).unwrap_or(now)
    }

    /// Translates `va` from the root or from a cached table.
    fn walk(
        &mut self,
        cpu: usize,
        context: &Context,
        half: Half,
        va: VirtAddr,
        walk: Walk,
    ) -> Result<Cached, Fault> {
        if context.tcr.forbids_walks(half) {
            return Err(Fault::Translation);
        }
        let (root, asid) = match half {
            Half::Lower => (context.ttbr0_root(), Some(context.asid())),
            Half::Upper => (self.root, None),
        };
        let root = (context.start_level(half), root, Limits::default());
        let tables = self.cpus[cpu].tlb.tables(va, asid);
        let start = self.rng.pick(core::iter::once(root).chain(tables));
        let (mut level, mut table, mut limits) = start.unwrap_or(root);
        loop {
            let word = table + 8 * level.index(va) as u64;
            let seen = self.look(cpu, word, walk);
            let descriptor = self.with_access_flag(context, level, word, seen, walk)?;
            match (descriptor.kind(level), level.down()) {
                (Kind::Table(next), Some(down)) => {
                    if !context.tcr.ignores_hierarchy(half) {
                        limits = limits.and(descriptor.bits());
                    }
                    if walk != Walk::InFlight {
                        self.cpus[cpu].tlb.insert_table(down, va, asid, next, limits);
                    }
                    (level, table) = (down, next);
                }
                (Kind::Leaf(pa, attrs), _) => {
                    let cached = Cached {
                        va: VirtRange::from_size(va.align_down(level.size()), level.size()),
                        pa,
                        asid: attrs.is_non_global().then_some(context.asid()),
                        attrs,
                        level,
                        contiguous: descriptor.is_contiguous(),
                        descriptor,
                        word,
                        limits,
                    };
                    check_leaf(&cached, half);
                    return Ok(self.cache(cpu, cached, table, walk));
                }
                _ => return Err(Fault::Translation),
            }
        }
    }

    /// Caches what a walk through `table` found, alone or as the set that it is part of.
    fn cache(&mut self, cpu: usize, mut new: Cached, table: PhysAddr, walk: Walk) -> Cached {
        let level = new.level;
        if new.contiguous && self.rng.below(2) == 0 {
            let set = new.va.start().align_down(level.cont_size());
            let first = level.index(set);
            let pa = PhysAddr::new(new.pa.get() - (new.va.start() - set) as u64);
            assert!(
                pa.is_aligned(level.cont_size() as u64),
                "the contiguous set at {set} maps memory at {pa}, which is not aligned"
            );
            for i in 0..CONT_ENTRIES {
                let d = self.look(cpu, table + 8 * (first + i) as u64, walk);
                let Kind::Leaf(to, attrs) = d.kind(level) else {
                    continue;
                };
                let alike = d.is_contiguous()
                    && to == pa + (i << level.shift()) as u64
                    && attrs.same_memory(new.attrs);
                // An instruction in flight may see old words beside new ones; what it finds
                // stays in no TLB, and is the entry alone.
                if !alike && walk == Walk::InFlight {
                    return new;
                }
                assert!(alike, "entry {i} of the contiguous set at {set} is unlike: {d:?}");
            }
            new.va = VirtRange::from_size(set, level.cont_size());
            new.pa = pa;
        }
        if walk != Walk::InFlight
            && let Err(old) = self.cpus[cpu].tlb.insert(new)
        {
            panic!("break-before-make: CPU {cpu} caches {new:?} beside {old:?}");
        }
        new
    }

    /// Translates an access by `cpu` to `va`.
    pub fn access(
        &mut self,
        cpu: CpuId,
        mode: Mode,
        va: VirtAddr,
        access: Access,
    ) -> Result<PhysAddr, Fault> {
        if mode == Mode::El0 {
            self.synchronize(cpu);
        }
        let cpu = cpu.index();
        let here = &self.cpus[cpu];
        let context = self.rng.pick(here.contexts()).expect("a CPU has registers");
        let (half, va) = context.input(mode, va).ok_or(Fault::Translation)?;
        let limbo = here.limbo.iter().filter(|c| c.va.contains(va) && c.serves(context.asid()));
        let stale = here.tlb.serving(va, context.asid()).chain(limbo);
        let stale = stale.map(|c| Source::Cached(*c));
        let in_flight = (!here.in_flight.is_empty()).then_some(Source::Walk(Walk::InFlight));
        let fresh = core::iter::once(Source::Walk(Walk::Fresh));
        let cached = match self.rng.pick(fresh.chain(in_flight).chain(stale)) {
            Some(Source::Cached(cached)) => cached,
            Some(Source::Walk(walk)) => self.walk(cpu, &context, half, va, walk)?,
            None => return Err(Fault::Translation),
        };
        let pan = self.cpus[cpu].pan;
        if access == Access::Write && self.may_become_dirty(&context, &cached, mode, pan) {
            if !self.make_dirty(&cached) {
                // The descriptor is another by now: the access is translated anew.
                let found = self.walk(cpu, &context, half, va, Walk::Coherent)?;
                return self.complete(cpu, &context, found, mode, va, access);
            }
            return Ok(cached.translate(va));
        }
        self.complete(cpu, &context, cached, mode, va, access)
    }

    /// Ends an access that `cached` translates, if its rights allow it.
    fn complete(
        &mut self,
        cpu: usize,
        context: &Context,
        cached: Cached,
        mode: Mode,
        va: VirtAddr,
        access: Access,
    ) -> Result<PhysAddr, Fault> {
        let pan = self.cpus[cpu].pan;
        let dirties = access == Access::Write && self.may_become_dirty(context, &cached, mode, pan);
        let done = cached.rights().allow(mode, pan, access) || dirties && self.make_dirty(&cached);
        if done { Ok(cached.translate(va)) } else { Err(Fault::Permission) }
    }
}

/// The word at `pa` as it is in memory.
pub(super) fn in_memory(pa: PhysAddr) -> Descriptor {
    let word = word_at(pa);
    let word = word.unwrap_or_else(|_| panic!("a walk may read {pa}, which is no RAM"));
    Descriptor::from_bits(word.load(Relaxed))
}

/// Checks what no leaf of the half may be.
fn check_leaf(new: &Cached, half: Half) {
    let Cached { va, descriptor, .. } = new;
    match half {
        Half::Upper => assert!(
            !descriptor.is_writable_and_executable() && !descriptor.is_open_to_el0(),
            "{va:?} is writable and executable, or open to EL0: {descriptor:?}"
        ),
        Half::Lower => assert!(
            new.rights().pxn,
            "{va:?} is a user's and executable by the kernel: {descriptor:?}"
        ),
    }
}
