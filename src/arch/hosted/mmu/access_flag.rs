//! Access flag and dirty state, by hardware where TCR_EL1 says so (Arm ARM D8.5, FEAT_HAFDBS).
//!
//! A leaf without the access flag is cached by nobody. With TCR_EL1.HA any walk may set the flag,
//! for an access or by speculation; without it an access faults. With TCR_EL1.HD too a leaf with
//! DBM set and AP\[2\] set is clean: a write that is allowed otherwise clears AP\[2\]. Both updates
//! are atomic in memory, and neither is made to a descriptor that is another by then.
#![deny(unsafe_code)]

use super::adversary::State;
use super::context::{Context, Space, Tree};
use super::rights::{AP_RDONLY, Mode, Rights};
use super::tlb::Cached;
use super::walker::{Walk, in_memory};
use super::{Access, word_at};
use crate::addr::{PhysAddr, VirtAddr};
use crate::arch::CpuId;
use crate::arch::pgtable::descriptor::{Descriptor, Kind, Level};
use core::sync::atomic::Ordering::Relaxed;

const AF: u64 = 1 << 10;
const DBM: u64 = 1 << 51;

impl State {
    /// Returns the descriptor that a walk continues with, after it has seen `seen` in the word at
    /// `word`: a leaf gets the access flag. `None` where that ends the walk.
    pub fn with_access_flag(
        &mut self,
        context: &Context,
        space: Space,
        level: Level,
        word: PhysAddr,
        seen: Descriptor,
        walk: Walk,
    ) -> Option<Descriptor> {
        if !lacks_flag(seen, level) {
            return Some(seen);
        }
        let updates = match space {
            Space::Ipa => context.vtcr.updates_access_flag(),
            Space::Lower | Space::Upper => context.tcr.updates_access_flag(),
        };
        if !updates || walk == Walk::Speculative && self.rng.below(2) == 0 {
            return None;
        }
        // An atomic update reads what is in memory, which may be another descriptor by now.
        let now = in_memory(word);
        if !lacks_flag(now, level) {
            return Some(now);
        }
        Some(self.update(word, now.bits() | AF))
    }

    /// Returns whether a write through `cached` would find the memory clean, and be allowed to
    /// make it dirty.
    pub fn may_become_dirty(
        &self,
        context: &Context,
        cached: &Cached,
        mode: Mode,
        pan: bool,
    ) -> bool {
        let bits = cached.descriptor.bits();
        let dirty = Rights::new(bits & !AP_RDONLY, cached.limits);
        context.tcr.updates_dirty_state() && is_clean(bits) && dirty.allow(mode, pan, Access::Write)
    }

    /// Makes the leaf dirty that `cached` came from. Returns false if it is another by now.
    pub fn make_dirty(&mut self, cached: &Cached) -> bool {
        const STATE: u64 = AF | AP_RDONLY;
        let now = in_memory(cached.word).bits();
        let same = (now ^ cached.descriptor.bits()) & !STATE == 0 && now & AF != 0;
        if same && now & AP_RDONLY != 0 {
            self.update(cached.word, now & !AP_RDONLY);
        }
        same
    }

    fn update(&mut self, word: PhysAddr, new: u64) -> Descriptor {
        word_at(word).expect("it was read").store(new, Relaxed);
        Descriptor::from_bits(new)
    }

    /// Programs on other CPUs than `cpu` write to `va` of `tree`, if they may and are said to
    /// ([`Mmu::let_programs_write`](super::Mmu::let_programs_write)), before `cpu` changes its
    /// descriptor.
    pub fn programs_write(&mut self, cpu: CpuId, tree: Tree, va: VirtAddr) {
        if !self.programs || !matches!(tree, Tree::User(_)) {
            return;
        }
        for other in (0..self.config.cpus).filter_map(CpuId::new).filter(|&other| other != cpu) {
            if self.cpus[other.index()].current.walks(tree) && self.is_eager() {
                let _ = self.access(other, Mode::El0, va, Access::Write);
            }
        }
    }
}

/// Returns whether an update of the word `old` to `new`, by software that last saw `seen`, loses
/// that hardware has made it dirty since.
pub(super) fn loses_dirty_state(seen: Descriptor, old: Descriptor, new: Descriptor) -> bool {
    let stays_dirty = new.is_valid() && new.bits() & AP_RDONLY == 0;
    is_clean(seen.bits()) && !is_clean(old.bits()) && !stays_dirty
}

const fn is_clean(bits: u64) -> bool {
    bits & (DBM | AP_RDONLY | 1) == DBM | AP_RDONLY | 1
}

fn lacks_flag(descriptor: Descriptor, level: Level) -> bool {
    matches!(descriptor.kind(level), Kind::Leaf(..)) && descriptor.bits() & AF == 0
}
