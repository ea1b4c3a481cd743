//! Walks of the tables, and what accesses make of them.
#![deny(unsafe_code)]

use super::adversary::State;
use super::context::{Context, Space};
use super::rights::{Limits, Mode};
use super::scope::Tag;
use super::stage2::{self, Second, Stage2Fault, Stage2Reason};
use super::tlb::Cached;
use super::{Access, Fault, word_at};
use crate::addr::{PAGE_SIZE, PhysAddr, VirtAddr, VirtRange};
use crate::arch::CpuId;
use crate::arch::pgtable::descriptor::{CONT_ENTRIES, Descriptor, Kind, Level};
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
        let context = self.rng.pick(self.cpus[cpu].contexts()).expect("a CPU has registers");
        if context.vm {
            if let Some(va) = self.rng.pick(self.guest_vas.iter().copied()) {
                self.walk_ahead(cpu, &context, va);
            }
            return;
        }
        let at = self.rng.below(self.recent.len());
        let va = self.recent[at] + self.rng.below(32) * PAGE_SIZE;
        self.walk_ahead(cpu, &context, va);
    }

    /// `cpu` walks `va` for no access.
    pub fn walk_ahead(&mut self, cpu: usize, context: &Context, va: VirtAddr) {
        if let Some((space, va)) = context.locate(va) {
            let _ = self.walk(cpu, context, space, va, Walk::Speculative);
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

    /// Translates `va` from the root or from a cached table; a guest's by both stages.
    pub fn walk(
        &mut self,
        cpu: usize,
        context: &Context,
        space: Space,
        va: VirtAddr,
        walk: Walk,
    ) -> Result<Cached, Fault> {
        if space == Space::Lower && !context.stage1 {
            let first = stage2::flat(va, context.vmid());
            let both = self.combine(cpu, context, va, first, walk)?;
            return Ok(self.insert(cpu, space, both, walk));
        }
        if context.tcr.forbids_walks(space) {
            return Err(Fault::Translation);
        }
        let missing = |level| stage2::fault(space, level, va, Stage2Reason::Translation);
        let tag = context.tag(space);
        let tables = self.cpus[cpu].cache(space).tables(va, tag).map(Some);
        let start = match self.rng.pick(core::iter::once(None).chain(tables)).flatten() {
            Some(start) => {
                self.cpus[cpu].combine_pointer(space, tag, start.1);
                start
            }
            None if space == Space::Upper => (Level::Pgd, self.root, Limits::default()),
            None => {
                let (level, root) = context.root(space, va).ok_or(missing(Level::Pgd))?;
                (level, self.table_at(cpu, context, space, root, walk)?, Limits::default())
            }
        };
        let (mut level, mut table, mut limits) = start;
        loop {
            let word = table + 8 * level.index(va) as u64;
            let seen = self.look(cpu, word, walk);
            let flagged = self.with_access_flag(context, space, level, word, seen, walk);
            let unflagged = stage2::fault(space, level, va, Stage2Reason::AccessFlag);
            let descriptor = flagged.ok_or(unflagged)?;
            match (descriptor.kind(level), level.down()) {
                (Kind::Table(next), Some(down)) => {
                    if !context.tcr.ignores_hierarchy(space) {
                        limits = limits.and(descriptor.bits());
                    }
                    let next = self.table_at(cpu, context, space, next, walk)?;
                    if walk != Walk::InFlight {
                        self.cpus[cpu].insert_table(space, down, va, tag, next, limits);
                    }
                    (level, table) = (down, next);
                }
                (Kind::Leaf(pa, attrs), _) => {
                    let stage2 = (space == Space::Ipa).then(|| Second::new(level, descriptor));
                    let global = space == Space::Ipa || !attrs.is_non_global();
                    let found = Cached {
                        va: VirtRange::from_size(va.align_down(level.size()), level.size()),
                        pa,
                        tag: Tag { asid: if global { None } else { Some(context.asid()) }, ..tag },
                        attrs,
                        level,
                        contiguous: descriptor.is_contiguous(),
                        descriptor,
                        word,
                        limits,
                        flat: false,
                        stage2,
                    };
                    if context.vm && space == Space::Lower {
                        let both = self.combine(cpu, context, va, found, walk)?;
                        return Ok(self.insert(cpu, space, both, walk));
                    }
                    check_leaf(&found, space);
                    let found = self.whole_set(cpu, found, table, walk);
                    return Ok(self.insert(cpu, space, found, walk));
                }
                _ => return Err(missing(level)),
            }
        }
    }

    /// Returns what a walk through `table` found, alone or as the set that it is part of.
    fn whole_set(&mut self, cpu: usize, mut new: Cached, table: PhysAddr, walk: Walk) -> Cached {
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
        new
    }

    /// Caches what a walk of `space` found.
    fn insert(&mut self, cpu: usize, space: Space, new: Cached, walk: Walk) -> Cached {
        if walk != Walk::InFlight
            && let Err(old) = self.cpus[cpu].cache(space).insert(new)
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
        let here = &self.cpus[cpu.index()];
        if here.current.el2 {
            self.leave_el2(cpu);
        } else if mode == Mode::El0 || here.current.vm {
            // By an exception return, to EL0 or into a guest.
            self.synchronize(cpu);
        }
        let cpu = cpu.index();
        self.note_guest(cpu, va);
        let here = &self.cpus[cpu];
        let context = self.rng.pick(here.contexts()).expect("a CPU has registers");
        let (space, va) = context.input(mode, va).ok_or(Fault::Translation)?;
        let tag = context.tag(Space::Lower);
        let limbo = here.limbo.iter().filter(|c| c.va.contains(va) && c.tag.serves(tag));
        let stale = here.tlb.serving(va, tag).chain(limbo);
        let stale = stale.map(|c| Source::Cached(*c));
        let in_flight = (!here.in_flight.is_empty()).then_some(Source::Walk(Walk::InFlight));
        let fresh = core::iter::once(Source::Walk(Walk::Fresh));
        let cached = match self.rng.pick(fresh.chain(in_flight).chain(stale)) {
            Some(Source::Cached(cached)) => cached,
            Some(Source::Walk(walk)) => self.walk(cpu, &context, space, va, walk)?,
            None => return Err(Fault::Translation),
        };
        let pan = self.cpus[cpu].pan;
        if access == Access::Write && self.may_become_dirty(&context, &cached, mode, pan) {
            if !self.make_dirty(&cached) {
                // The descriptor is another by now: the access is translated anew.
                let found = self.walk(cpu, &context, space, va, Walk::Coherent)?;
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
        let done = cached.stage1_allows(mode, pan, access) || dirties && self.make_dirty(&cached);
        if !done {
            return Err(Fault::Permission);
        }
        match cached.stage2 {
            Some(second) if !second.allows(access) => Err(Fault::Stage2(Stage2Fault {
                reason: Stage2Reason::Permission,
                level: second.level as u8,
                ipa: None,
                s1ptw: false,
            })),
            _ => Ok(cached.translate(va)),
        }
    }

    /// Notes an address that `cpu` uses, if a guest runs there.
    fn note_guest(&mut self, cpu: usize, va: VirtAddr) {
        if self.cpus[cpu].current.vm && !self.guest_vas.contains(&va) {
            self.guest_vas.push(va);
        }
    }
}

/// The word at `pa` as it is in memory.
pub(super) fn in_memory(pa: PhysAddr) -> Descriptor {
    let word = word_at(pa);
    let word = word.unwrap_or_else(|_| panic!("a walk may read {pa}, which is no RAM"));
    Descriptor::from_bits(word.load(Relaxed))
}

/// Checks what no leaf of the space may be.
fn check_leaf(new: &Cached, space: Space) {
    let Cached { va, descriptor, .. } = new;
    match space {
        Space::Upper => assert!(
            !descriptor.is_writable_and_executable() && !descriptor.is_open_to_el0(),
            "{va:?} is writable and executable, or open to EL0: {descriptor:?}"
        ),
        Space::Lower => assert!(
            new.rights().pxn,
            "{va:?} is a user's and executable by the kernel: {descriptor:?}"
        ),
        Space::Ipa => stage2::check_leaf(*va, *descriptor),
    }
}
