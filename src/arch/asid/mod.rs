//! Address space identifiers: which one each context has, and when one may be given to another
//! (Linux: arch/arm64/mm/context.c; Arm ARM D8.16.3 on ASIDs).
//!
//! A context has an ASID for as long as a *generation* lasts. When none is left, a new generation
//! begins (a roll-over): contexts that run at that moment keep their ASIDs, all others lose
//! theirs, and each CPU flushes its TLB before it next changes its context. A switch to a context
//! of this generation takes no lock: the compare-and-exchange of the CPU's active ASID fails if a
//! roll-over came in between.
//!
//! ASID 0 belongs to no context: a CPU has it while no user's tables are installed.
//!
//! The policy is here; [`Ttbr0`] names the few steps that a CPU takes for it. The lock around
//! [`AsidMap`] is the caller's, as this room has none. The program `loom` (examples/loom) tries
//! switches against roll-overs in every order.
#![deny(unsafe_code)]

mod map;
#[cfg(test)]
mod tests;

use crate::arch::CpuId;
use crate::arch::atomic::{AtomicU64, Ordering::Relaxed};
use core::ops::DerefMut;

pub use map::{AsidMap, TooFewAsids};

/// An address space identifier, as bits 63:48 of TTBR0_EL1 and of operands of TLBI hold it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(transparent)]
pub struct Asid(u16);

impl Asid {
    /// The ASID of no context: for TTBR0_EL1 without a user's tables.
    pub const RESERVED: Self = Self(0);

    /// The ASID with this number, for tests that keep no map.
    #[cfg(test)]
    pub(in crate::arch) const fn new(number: u16) -> Self {
        Self(number)
    }
    /// The number.
    #[inline(always)]
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }
}

/// A context's ASID with the generation above its 16 bits; 0 for none (Linux: context.id).
type Id = u64;

/// Shift of the generation in an [`Id`].
const GENERATION_SHIFT: u32 = 16;
/// The generation that the boot begins with; 0 is never one.
const FIRST_GENERATION: u64 = 1 << GENERATION_SHIFT;

/// The ASID of an [`Id`].
const fn asid_of(id: Id) -> Asid {
    Asid(id as u16)
}

/// The part of an address space that names it to TLBs (Linux: mm_context_t).
pub struct Context {
    id: AtomicU64,
}

impl Context {
    /// Creates a context that has never run.
    #[must_use]
    pub const fn new() -> Self {
        Self { id: AtomicU64::new(0) }
    }

    /// Returns the ASID under which TLBs may hold translations of the context; `None` if it has
    /// never run, so that there is nothing to invalidate (Linux: ASID).
    ///
    /// For whoever changed its tables: to be called once the change is visible to table walkers
    /// (DSB ISHST). Then either the ASID that a CPU takes meanwhile is seen here, or that CPU sees
    /// the change.
    #[inline]
    #[must_use]
    pub fn asid(&self) -> Option<Asid> {
        match self.id.load(Relaxed) {
            0 => None,
            id => Some(asid_of(id)),
        }
    }
}

impl Default for Context {
    fn default() -> Self {
        Self::new()
    }
}

/// Steps of the CPU that switches contexts. Interrupts are masked on it while the value lives.
pub trait Ttbr0 {
    /// Proof that a user's tables may be installed.
    type Root;

    /// The CPU.
    fn cpu(&self) -> CpuId;
    /// Returns true if CPUs may share TLB entries (FEAT_TTCNP), so that another's walks may add to
    /// what this CPU uses.
    fn has_cnp(&self) -> bool;
    /// Installs tables that map nothing, under [`Asid::RESERVED`] (Linux: cpu_set_reserved_ttbr0).
    fn set_reserved(&self);
    /// Waits until the stores of this CPU are visible to the others, before it walks tables again
    /// (DSB ISH).
    fn dsb_ish(&self);
    /// Invalidates all translations of this CPU, and waits for that (Linux: local_flush_tlb_all).
    fn local_flush_tlb_all(&self);
    /// Installs the tables of `root` under `asid` (Linux: cpu_do_switch_mm).
    fn switch_mm(&self, root: Self::Root, asid: Asid);
}

/// A CPU's active ASID and its generation, on a cache line of its own: 0 from a roll-over to the CPU's next switch,
/// and before its first.
#[repr(align(64))]
pub struct ActiveAsid(AtomicU64);

impl ActiveAsid {
    /// Creates that of a CPU which has run no context.
    #[must_use]
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }
}

impl Default for ActiveAsid {
    fn default() -> Self {
        Self::new()
    }
}

/// The active ASIDs of all CPUs that may run contexts (Linux: DEFINE_PER_CPU of active_asids).
pub trait ActiveAsids {
    /// Returns that of CPU number `cpu`, always the same one.
    fn of(&self, cpu: usize) -> &ActiveAsid;
}

impl<const CPUS: usize> ActiveAsids for [ActiveAsid; CPUS] {
    fn of(&self, cpu: usize) -> &ActiveAsid {
        &self[cpu]
    }
}

/// The state of ASIDs that CPUs share without a lock.
pub struct Asids<A> {
    generation: AtomicU64,
    active: A,
}

impl<A: ActiveAsids> Asids<A> {
    /// Creates the state in which no CPU has run a context.
    #[must_use]
    pub const fn new(active: A) -> Self {
        Self { generation: AtomicU64::new(FIRST_GENERATION), active }
    }

    /// Installs the tables of `root`, which are `context`'s, on the CPU of `machine`. The context
    /// gets an ASID, if it has none of this generation; then `lock` is called, and gives access
    /// to the map that belongs to this state (Linux: check_and_switch_context).
    #[inline]
    pub fn check_and_switch_context<M, const CPUS: usize, const WORDS: usize, G>(
        &self,
        machine: &M,
        context: &Context,
        root: M::Root,
        lock: impl FnOnce() -> G,
    ) where
        M: Ttbr0,
        G: DerefMut<Target = AsidMap<CPUS, WORDS>>,
    {
        if machine.has_cnp() {
            // While this CPU has the old context's tables under an ASID that another generation
            // gave to it, no entry may reach a CPU that uses the ASID for another context.
            machine.set_reserved();
        }
        let asid = match self.switch_fast(machine.cpu(), context) {
            Some(asid) => asid,
            None => self.switch_slow(machine, context, lock),
        };
        machine.switch_mm(root, asid);
    }

    /// Makes the context of this generation the active one. `None` where it is not of this
    /// generation, or a roll-over has come since the CPU's last switch.
    ///
    /// Relaxed accesses do. The exchange and that of [`AsidMap`]'s roll-over are of one word, hence
    /// ordered: either this one fails, and the lock synchronises with the roll-over; or the
    /// roll-over finds the context active, and lets it keep its ASID.
    #[inline]
    fn switch_fast(&self, cpu: CpuId, context: &Context) -> Option<Asid> {
        let active = &self.active.of(cpu.index()).0;
        let id = context.id.load(Relaxed);
        let old = active.load(Relaxed);
        let done = old != 0
            && self.is_current(id)
            && active.compare_exchange(old, id, Relaxed, Relaxed).is_ok();
        done.then_some(asid_of(id))
    }

    #[cold]
    fn switch_slow<M: Ttbr0, const CPUS: usize, const WORDS: usize, G>(
        &self,
        machine: &M,
        context: &Context,
        lock: impl FnOnce() -> G,
    ) -> Asid
    where
        G: DerefMut<Target = AsidMap<CPUS, WORDS>>,
    {
        let mut map = lock();
        let mut id = context.id.load(Relaxed);
        if !self.is_current(id) {
            id = map.new_context(self, id);
            context.id.store(id, Relaxed);
            // Who changes the tables from here on sees the ASID: `Context::asid`.
            machine.dsb_ish();
        }
        if map.take_flush(machine.cpu()) {
            machine.local_flush_tlb_all();
        }
        self.active.of(machine.cpu().index()).0.store(id, Relaxed);
        asid_of(id)
    }

    /// Returns true if `id` is of this generation (Linux: asid_gen_match).
    #[inline]
    fn is_current(&self, id: Id) -> bool {
        (id ^ self.generation.load(Relaxed)) >> GENERATION_SHIFT == 0
    }
}
