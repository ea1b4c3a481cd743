//! The MMU: an adversary that keeps stale translations for as long as it may.
//!
//! Every CPU has a TLB of unlimited size, filled by walks of the real table words at
//! any moment: when the CPU accesses memory, and by speculation around every store to
//! a table and every barrier. What the architecture leaves open is chosen by a seeded
//! generator, so that a run can be repeated:
//!
//! - A walk starts at the root or at any cached table pointer for the address.
//! - A store to a table is sure to be seen by walkers only after a `dsb` by the CPU that
//!   stored, or by one that has learnt of it through a lock; until then each walk sees
//!   the old word or the new. The CPU that stored may act on the old word until its next
//!   `isb`.
//! - A cached translation is served until the TLBI that covers it is complete, which
//!   is when the CPU that issued it has executed `dsb ish` after it; on that CPU even
//!   until its `isb`. Invalidation of the last level leaves table pointers cached.
//! - A contiguous set is cached as sixteen entries or as one.
//!
//! It panics where software breaks the rules: two translations of one address in a TLB
//! that differ in more than permissions (break-before-make), a valid descriptor
//! changed into one that needs it, a TLBI that may overtake the store it is for, the end
//! of a break before what was made is visible, a contiguous set that isn't one, a table page reused while a TLB still points at it,
//! and a mapping that is writable and executable or open to EL0.
//!
//! Sources: Arm ARM D8.17 (TLB maintenance, R_WHZWS, R_DDMVT), D8.7.1 (Contiguous bit),
//! B2.7.5 and K11 (barriers and table walks).
//!
//! Nothing happens until [`Mmu::attach`]: before that the primitives are plain stores.

mod adversary;
mod choice;
mod tlb;
mod walker;

#[cfg(test)]
mod tests;

pub use choice::{Config, Mutation, Step};

use super::machine::{self, Machine};
use crate::addr::{PAGE_SIZE, PhysAddr, VirtAddr};
use crate::arch::pgtable::descriptor::{Descriptor, PTRS_PER_TABLE};
use crate::arch::pgtable::tlbi::{RangeOp, VaOp, decode_range, decode_va};
use crate::arch::{CpuId, IrqMasked};
use adversary::State;
use core::sync::atomic::{
    AtomicBool, AtomicU32, AtomicU64,
    Ordering::{Relaxed, SeqCst},
};
use std::boxed::Box;
use std::sync::Mutex;
use std::vec::Vec;
use tlb::Scope;

/// Kind of an access.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Load.
    Read,
    /// Store.
    Write,
    /// Fetch an instruction.
    Exec,
}

/// Reason why an access was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// No mapping at the address.
    Translation,
    /// Mapping that doesn't allow the access.
    Permission,
    /// Mapping of memory that is not this machine's RAM.
    External,
}

/// A machine's MMU; see the module above.
#[derive(Default)]
pub struct Mmu {
    on: AtomicBool,
    tlb_range: AtomicBool,
    state: Mutex<Option<Box<State>>>,
    /// Breaks that began, and those that ended.
    breaks: [AtomicU32; 2],
}

impl Mmu {
    /// Turns translation of the upper half on, with the PGD at `root`.
    pub fn attach(&self, root: PhysAddr, config: Config) {
        let state = State::new(root, config);
        *self.state.lock().unwrap_or_else(|e| e.into_inner()) = Some(Box::new(state));
        self.on.store(true, Relaxed);
    }

    /// Takes one step out of what software does from now on; `None` puts it back.
    /// Steps are counted from here.
    pub fn mutate(&self, mutation: Option<Mutation>) {
        self.with(|s| s.mutate(mutation));
    }

    /// The steps that software has taken since the last [`Mmu::mutate`].
    #[must_use]
    pub fn steps(&self) -> Vec<Step> {
        self.with(|s| s.steps().to_vec()).unwrap_or_default()
    }

    /// Makes an access to `va` by the calling CPU. The result is any outcome that the
    /// architecture allows now.
    ///
    /// # Errors
    /// The [`Fault`] that the access takes.
    ///
    /// # Panics
    /// Where software has broken the rules; or if no tables are attached.
    pub fn access(&self, va: VirtAddr, access: Access) -> Result<PhysAddr, Fault> {
        self.access_by(this_cpu(), va, access)
    }

    /// The same for an access by another CPU, which need not run as a thread.
    ///
    /// # Errors
    /// As for [`Mmu::access`].
    pub fn access_by(&self, cpu: CpuId, va: VirtAddr, access: Access) -> Result<PhysAddr, Fault> {
        self.with(|s| s.access(cpu, va, access)).expect("Mmu::attach comes first")
    }

    /// Variant of [`Mmu::access`] that retries spurious translation faults, as the kernel's
    /// exception handler does: while a break is under way.
    ///
    /// # Errors
    /// As for [`Mmu::access`].
    pub fn access_retried(&self, va: VirtAddr, access: Access) -> Result<PhysAddr, Fault> {
        loop {
            let began = self.breaks[0].load(SeqCst);
            let quiet = self.breaks[1].load(SeqCst) == began;
            match self.access(va, access) {
                Err(Fault::Translation) if !quiet || self.breaks[0].load(SeqCst) != began => {
                    std::thread::yield_now();
                }
                other => return other,
            }
        }
    }

    /// Loads the 8 bytes at `va`, a multiple of 8, through the MMU.
    ///
    /// # Errors
    /// As for [`Mmu::access`].
    pub fn read(&self, va: VirtAddr) -> Result<u64, Fault> {
        Ok(word_at(self.access(va, Access::Read)?)?.load(Relaxed))
    }

    /// Stores 8 bytes at `va`, a multiple of 8, through the MMU.
    ///
    /// # Errors
    /// As for [`Mmu::access`].
    pub fn write(&self, va: VirtAddr, value: u64) -> Result<(), Fault> {
        word_at(self.access(va, Access::Write)?)?.store(value, Relaxed);
        Ok(())
    }

    /// All CPUs begin or end at once.
    pub(super) fn all_meet(&self) {
        self.with(State::all_meet);
    }

    fn with<R>(&self, f: impl FnOnce(&mut State) -> R) -> Option<R> {
        if !self.on.load(Relaxed) {
            return None;
        }
        // A panic in here is a finding; the state is looked at no more after it.
        let mut state = self.state.lock().unwrap_or_else(|e| e.into_inner());
        state.as_mut().map(|s| f(s))
    }
}

fn this_cpu() -> CpuId {
    super::irq::with_masked(super::cpu::id)
}

/// The word of RAM at `pa`, a multiple of 8.
fn word_at<'a>(pa: PhysAddr) -> Result<&'a AtomicU64, Fault> {
    if !machine::current().is_ram(pa) {
        return Err(Fault::External);
    }
    assert!(pa.is_aligned(8), "an unaligned access to {pa}");
    let va = super::phys_to_virt(pa).get();
    // SAFETY: RAM of this machine, aligned; its bytes are shared as atomics.
    Ok(unsafe { &*core::ptr::with_exposed_provenance::<AtomicU64>(va) })
}

fn step(f: impl FnOnce(&mut State, CpuId)) {
    let cpu = this_cpu();
    machine::current().mmu().with(|s| f(s, cpu));
}

/// Notes that this CPU has taken the lock whose word is at `lock`.
pub(super) fn lock_taken(lock: usize) {
    if let Some(machine) = machine::try_current() {
        machine.mmu().with(|s| s.lock_taken(this_cpu(), lock));
    }
}
/// Notes that this CPU is about to release the lock whose word is at `lock`.
pub(super) fn lock_given_up(lock: usize) {
    if let Some(machine) = machine::try_current() {
        machine.mmu().with(|s| s.lock_given_up(this_cpu(), lock));
    }
}

/// Earlier stores are visible to all walkers.
pub fn dsb_ishst() {
    step(|s, cpu| s.step(Step::DsbIshst, |s| s.stores_complete(cpu, true)));
}
/// Earlier stores are visible, and earlier TLB invalidations complete, on all CPUs.
pub fn dsb_ish() {
    step(|s, cpu| {
        s.step(Step::DsbIsh, |s| {
            s.stores_complete(cpu, true);
            s.invalidations_complete(cpu, true);
        });
    });
    let [began, ended] = &machine::current().mmu().breaks;
    if began.load(SeqCst) != ended.load(SeqCst) {
        // Other CPUs get to see what is broken.
        std::thread::sleep(std::time::Duration::from_micros(50));
    }
}
/// Earlier stores are visible, and earlier TLB invalidations complete, on this CPU.
pub fn dsb_nsh() {
    step(|s, cpu| {
        s.step(Step::DsbNsh, |s| {
            s.stores_complete(cpu, false);
            s.invalidations_complete(cpu, false);
        });
    });
}
/// Synchronizes the context: this CPU translates later accesses anew.
pub fn isb() {
    step(|s, cpu| s.step(Step::Isb, |s| s.synchronize(cpu)));
}
/// Drops all translations on all CPUs.
pub fn tlbi_vmalle1is() {
    step(|s, cpu| s.step(Step::TlbiAll, |s| s.invalidate(cpu, Scope::ALL, true)));
}
/// Drops all translations on this CPU.
pub fn tlbi_vmalle1() {
    step(|s, cpu| s.step(Step::TlbiLocal, |s| s.invalidate(cpu, Scope::ALL, false)));
}
/// Drops what is cached of `va` at all levels on all CPUs.
pub fn tlbi_vaae1is(va: impl Into<VaOp>) {
    let scope = Scope::new(decode_va(va.into().operand()), PAGE_SIZE, false);
    step(|s, cpu| s.step(Step::TlbiVa, |s| s.invalidate(cpu, scope, true)));
}
/// Drops what is cached of `va` at the last level on all CPUs.
pub fn tlbi_vaale1is(va: impl Into<VaOp>) {
    let scope = Scope::new(decode_va(va.into().operand()), PAGE_SIZE, true);
    step(|s, cpu| s.step(Step::TlbiVaLast, |s| s.invalidate(cpu, scope, true)));
}
/// Range form of [`tlbi_vaae1is`]. The CPU must have FEAT_TLBIRANGE ([`has_tlb_range`]).
pub(crate) fn tlbi_rvaae1is(op: RangeOp) {
    let (start, pages) = decode_range(op.operand());
    let scope = Scope::new(start, pages * PAGE_SIZE, false);
    step(|s, cpu| s.step(Step::TlbiRange, |s| s.invalidate(cpu, scope, true)));
}
/// Range form of [`tlbi_vaale1is`]. The CPU must have FEAT_TLBIRANGE ([`has_tlb_range`]).
pub(crate) fn tlbi_rvaale1is(op: RangeOp) {
    let (start, pages) = decode_range(op.operand());
    let scope = Scope::new(start, pages * PAGE_SIZE, true);
    step(|s, cpu| s.step(Step::TlbiRangeLast, |s| s.invalidate(cpu, scope, true)));
}

/// Returns true if the machine's CPUs invalidate by range.
#[must_use]
pub fn has_tlb_range() -> bool {
    machine::current().mmu().tlb_range.load(Relaxed)
}
/// Says whether the machine's CPUs invalidate by range.
#[cfg(test)]
pub(in crate::arch) fn set_tlb_range(there: bool) {
    machine::current().mmu().tlb_range.store(there, Relaxed);
}

/// Begins a break: until [`end_bbm`], memory in use may be unmapped for a moment, and other CPUs
/// that fault retry.
pub(crate) fn begin_bbm() {
    machine::current().mmu().breaks[0].fetch_add(1, SeqCst);
}
/// All is mapped again, and visible to walkers.
pub(crate) fn end_bbm() {
    let cpu = this_cpu();
    let mmu = machine::current().mmu();
    mmu.with(|s| s.assert_synchronized(cpu));
    mmu.breaks[1].fetch_add(1, SeqCst);
}

/// Returns true if a read of `va` finds a translation; waits for another CPU's break to end. On
/// a machine without tables every address is mapped.
#[must_use]
pub fn wait_mapped(va: VirtAddr, _: &IrqMasked) -> bool {
    let mmu = machine::current().mmu();
    !mmu.on.load(Relaxed) || mmu.access_retried(va, Access::Read).is_ok()
}

/// Reads a word of a table, as the CPU sees its own stores.
#[must_use]
pub(crate) fn read_descriptor(word: &AtomicU64) -> Descriptor {
    Descriptor::from_bits(word.load(Relaxed))
}

/// Writes a word of a table.
pub(crate) fn write_descriptor(word: &AtomicU64, descriptor: Descriptor) {
    let store = |s: &mut State, cpu| s.store(cpu, word, descriptor);
    let cpu = this_cpu();
    if machine::current().mmu().with(|s| store(s, cpu)).is_none() {
        word.store(descriptor.bits(), Relaxed);
    }
}

/// Compare-and-exchange form of [`write_descriptor`]: stores `new` if the word still is `old`,
/// and returns true if it did.
pub(crate) fn exchange_descriptor(word: &AtomicU64, old: Descriptor, new: Descriptor) -> bool {
    let cpu = this_cpu();
    let store = |s: &mut State| {
        let same = word.load(Relaxed) == old.bits();
        if same {
            s.store(cpu, word, new);
        }
        same
    };
    let stored = machine::current().mmu().with(store);
    stored
        .unwrap_or_else(|| word.compare_exchange(old.bits(), new.bits(), Relaxed, Relaxed).is_ok())
}

/// Invalidates all words of a table that isn't linked.
pub(crate) fn clear_table(words: &[AtomicU64; PTRS_PER_TABLE]) {
    let cpu = this_cpu();
    if machine::current().mmu().with(|s| s.clear_table(cpu, words)).is_none() {
        words.iter().for_each(|w| w.store(0, Relaxed));
    }
}

impl Machine {
    /// The machine's MMU.
    #[must_use]
    pub fn mmu(&self) -> &Mmu {
        &self.mmu
    }
}
