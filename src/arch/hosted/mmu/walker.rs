//! Walks of the tables, and what accesses make of them.
#![deny(unsafe_code)]

use super::adversary::State;
use super::tlb::Cached;
use super::{Access, Fault, word_at};
use crate::addr::{PAGE_SIZE, PhysAddr, VirtAddr, VirtRange};
use crate::arch::CpuId;
use crate::arch::pgtable::descriptor::{CONT_ENTRIES, Descriptor, Kind, Level, Permission};
use core::sync::atomic::Ordering::Relaxed;

/// First address that TTBR1 translates.
pub(super) const UPPER_HALF: VirtAddr = VirtAddr::new(0xffff_0000_0000_0000);
/// Number of recent stores whose addresses speculation draws from.
const RECENT: usize = 64;

/// Inputs of a walk besides memory.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Walk {
    /// Starts now; what it finds is cached.
    Fresh,
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

    /// Each CPU walks `va` or not, as eagerly as configured.
    pub fn walk_by_all(&mut self, va: VirtAddr) {
        for cpu in 0..self.config.cpus {
            if (self.rng.below(256) as u32) < self.config.eagerness {
                let _ = self.walk(cpu, va, Walk::Fresh);
            }
        }
    }

    /// Some CPU walks some address near a late store.
    pub fn speculate(&mut self) {
        if self.recent.is_empty() || self.config.cpus == 0 {
            return;
        }
        let cpu = self.rng.below(self.config.cpus);
        let at = self.rng.below(self.recent.len());
        let va = self.recent[at] + self.rng.below(32) * PAGE_SIZE;
        let _ = self.walk(cpu, va, Walk::Fresh);
    }

    /// The word at `pa` as CPU `cpu`'s walker may see it.
    fn look(&mut self, cpu: usize, pa: PhysAddr, walk: Walk) -> Descriptor {
        let word = word_at(pa);
        let word = word.unwrap_or_else(|_| panic!("a walk reads {pa}, which is no RAM"));
        let stores = self.pending.get(&pa).into_iter().flatten();
        let unseen = stores.filter(|p| !(p.cpu.index() == cpu && p.seen_by_self));
        let in_flight = match walk {
            Walk::Fresh => None,
            Walk::InFlight => self.cpus[cpu].in_flight.get(&pa),
        };
        let former = unseen.map(|p| p.old).chain(in_flight.into_iter().flatten().copied());
        let now = Descriptor::from_bits(word.load(Relaxed));
        self.rng.pick(core::iter::once(now).chain(former)).unwrap_or(now)
    }

    /// Translates `va` from the root or from a cached table.
    fn walk(&mut self, cpu: usize, va: VirtAddr, walk: Walk) -> Option<Cached> {
        if va < UPPER_HALF {
            return None;
        }
        let root = (Level::Pgd, self.root);
        let tables = self.cpus[cpu].tlb.tables(va);
        let start = self.rng.pick(core::iter::once(root).chain(tables));
        let (mut level, mut table) = start.unwrap_or(root);
        loop {
            let word = table + 8 * level.index(va) as u64;
            let descriptor = self.look(cpu, word, walk);
            match (descriptor.kind(level), level.down()) {
                (Kind::Table(next), Some(down)) => {
                    if walk == Walk::Fresh {
                        self.cpus[cpu].tlb.insert_table(down, va, next);
                    }
                    (level, table) = (down, next);
                }
                (Kind::Leaf(pa, attrs), _) => {
                    let cached = Cached {
                        va: VirtRange::from_size(va.align_down(level.size()), level.size()),
                        pa,
                        attrs,
                        level,
                        contiguous: descriptor.is_contiguous(),
                        descriptor,
                    };
                    return Some(self.cache(cpu, cached, table, walk));
                }
                _ => return None,
            }
        }
    }

    /// Caches what a walk through `table` found, alone or as the set that it is part of.
    fn cache(&mut self, cpu: usize, mut new: Cached, table: PhysAddr, walk: Walk) -> Cached {
        let Cached { descriptor, level, .. } = new;
        assert!(
            !descriptor.is_writable_and_executable() && !descriptor.is_open_to_el0(),
            "{:?} is writable and executable, or open to EL0: {descriptor:?}",
            new.va
        );
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
        if walk == Walk::Fresh
            && let Err(old) = self.cpus[cpu].tlb.insert(new)
        {
            panic!("break-before-make: CPU {cpu} caches {new:?} beside {old:?}");
        }
        new
    }

    /// Translates an access by `cpu` to `va`.
    pub fn access(&mut self, cpu: CpuId, va: VirtAddr, access: Access) -> Result<PhysAddr, Fault> {
        let cpu = cpu.index();
        let here = &self.cpus[cpu];
        let limbo = here.limbo.iter().filter(|c| c.va.contains(va));
        let stale = here.tlb.covering(va).chain(limbo).map(|c| Source::Cached(*c));
        let in_flight = (!here.in_flight.is_empty()).then_some(Source::Walk(Walk::InFlight));
        let fresh = core::iter::once(Source::Walk(Walk::Fresh));
        let found = match self.rng.pick(fresh.chain(in_flight).chain(stale)) {
            Some(Source::Cached(cached)) => Some(cached),
            Some(Source::Walk(walk)) => self.walk(cpu, va, walk),
            None => None,
        };
        let cached = found.ok_or(Fault::Translation)?;
        let allowed = match access {
            Access::Read => true,
            Access::Write => cached.attrs.permission() == Permission::Rw,
            Access::Exec => cached.attrs.permission() == Permission::Rx,
        };
        if allowed { Ok(cached.translate(va)) } else { Err(Fault::Permission) }
    }
}
