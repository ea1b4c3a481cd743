//! The map of ASIDs that are taken, and roll-overs. All of it happens under one lock.

use super::{ActiveAsids, Asids, FIRST_GENERATION, Id, asid_of};
use crate::arch::CpuId;
use crate::arch::atomic::Ordering::Relaxed;
use core::fmt;

/// State of a CPU that only the holder of the lock looks at.
#[derive(Clone, Copy)]
struct Cpu {
    /// The context that ran on the CPU at the last roll-over, which keeps its ASID: the only
    /// trace of it while the CPU switches to no other (Linux: reserved_asids).
    reserved: Id,
    /// The CPU's TLB may hold entries of older generations (Linux: tlb_flush_pending).
    flush_pending: bool,
}

/// The ASIDs of this generation, a bit each in `WORDS` words, for at most `CPUS` CPUs.
pub struct AsidMap<const CPUS: usize, const WORDS: usize> {
    /// Bit `n` is set if ASID `n` is not to be given out in this generation (Linux: asid_map).
    taken: [u64; WORDS],
    /// Number of ASIDs, ASID 0 included; 0 before [`init`](Self::init).
    asids: usize,
    /// All below are taken, ASIDs of contexts that got theirs back aside (Linux: cur_idx).
    next: usize,
    /// The CPUs below `possible` may run contexts.
    cpus: [Cpu; CPUS],
    possible: usize,
}

/// There are not enough ASIDs for all CPUs to run a context each, and for one more context.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooFewAsids {
    asids: usize,
    cpus: usize,
}

impl fmt::Display for TooFewAsids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ASIDs are too few for {} CPUs", self.asids, self.cpus)
    }
}

impl<const CPUS: usize, const WORDS: usize> AsidMap<CPUS, WORDS> {
    /// Creates a map without ASIDs.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            taken: [0; WORDS],
            asids: 0,
            next: 1,
            cpus: [Cpu { reserved: 0, flush_pending: false }; CPUS],
            possible: 0,
        }
    }

    /// Takes ASIDs of so many bits into use, at most as many as there is room for
    /// (ID_AA64MMFR0_EL1.ASIDBits: 8 or 16), on a machine that may have `cpus` CPUs. Once, before
    /// the first switch.
    ///
    /// # Errors
    /// [`TooFewAsids`] where a roll-over could find an ASID for none but the contexts that run.
    ///
    /// # Panics
    /// If there are more CPUs than `CPUS`.
    pub fn init(&mut self, bits: u32, cpus: usize) -> Result<(), TooFewAsids> {
        assert!(cpus <= CPUS, "ASIDs for {cpus} CPUs, with room for {CPUS}");
        let asids = (1 << bits).min(WORDS * 64);
        if asids - 1 <= cpus {
            return Err(TooFewAsids { asids, cpus });
        }
        self.asids = asids;
        self.possible = cpus;
        self.reset();
        Ok(())
    }

    /// Gives an ASID of this generation to the context whose last one is of `id`. If there is
    /// none left, the next generation begins (Linux: new_context).
    ///
    /// # Panics
    /// Before [`init`](Self::init).
    pub(super) fn new_context(&mut self, shared: &Asids<impl ActiveAsids>, id: Id) -> Id {
        assert!(self.asids != 0, "a context asks for an ASID before there are any");
        let generation = shared.generation.load(Relaxed);
        if id != 0 {
            let renewed = generation | Id::from(asid_of(id).get());
            if self.renew_reserved(id, renewed) {
                return renewed;
            }
            // Nobody else has it in this generation: entries of this context do no harm.
            if self.take(asid_of(id).get().into()) {
                return renewed;
            }
        }
        if let Some(asid) = self.find_free(self.next) {
            return self.give(asid, generation);
        }
        let generation = generation + FIRST_GENERATION;
        shared.generation.store(generation, Relaxed);
        self.flush_context(shared);
        let asid = self.find_free(1).expect("there are more ASIDs than CPUs");
        self.give(asid, generation)
    }

    /// Returns true if `cpu` has to flush its TLB before it uses an ASID of this generation, once
    /// for each roll-over.
    ///
    /// # Panics
    /// If roll-overs don't know of the CPU.
    pub(super) fn take_flush(&mut self, cpu: CpuId) -> bool {
        assert!(cpu.index() < self.possible, "CPU {} runs a context, and can't be", cpu.index());
        core::mem::take(&mut self.cpus[cpu.index()].flush_pending)
    }

    /// Frees all ASIDs but those of the contexts that run (Linux: flush_context).
    fn flush_context(&mut self, shared: &Asids<impl ActiveAsids>) {
        self.reset();
        for n in 0..self.possible {
            // From here on the CPU's next switch comes to the lock.
            let active = shared.active.of(n).0.swap(0, Relaxed);
            let cpu = &mut self.cpus[n];
            if active != 0 {
                cpu.reserved = active;
            }
            cpu.flush_pending = true;
            let reserved = asid_of(cpu.reserved).get();
            self.take(reserved.into());
        }
    }

    /// Returns true if the context of `id` ran on a CPU at the last roll-over; it then is known
    /// as `renewed` on all CPUs that it ran on (Linux: check_update_reserved_asid).
    fn renew_reserved(&mut self, id: Id, renewed: Id) -> bool {
        let mut found = false;
        for cpu in self.cpus[..self.possible].iter_mut().filter(|cpu| cpu.reserved == id) {
            cpu.reserved = renewed;
            found = true;
        }
        found
    }

    fn give(&mut self, asid: usize, generation: u64) -> Id {
        self.take(asid);
        self.next = asid;
        generation | asid as Id
    }

    /// Marks all ASIDs as free but 0, which is no context's.
    fn reset(&mut self) {
        self.taken = [0; WORDS];
        self.take(0);
    }

    /// Marks an ASID as taken; false if it was.
    pub(super) fn take(&mut self, asid: usize) -> bool {
        let (word, bit) = (&mut self.taken[asid / 64], 1 << (asid % 64));
        let was_free = *word & bit == 0;
        *word |= bit;
        was_free
    }

    /// The first free ASID from `from` on.
    pub(super) fn find_free(&self, from: usize) -> Option<usize> {
        let first = from / 64;
        let words = self.taken.iter().enumerate().skip(first);
        let free = words.map(|(n, &taken)| {
            let below = if n == first { (1 << (from % 64)) - 1 } else { 0 };
            (n, !taken & !below)
        });
        let (n, free) = free.into_iter().find(|&(_, free)| free != 0)?;
        let asid = n * 64 + free.trailing_zeros() as usize;
        (asid < self.asids).then_some(asid)
    }
}

impl<const CPUS: usize, const WORDS: usize> Default for AsidMap<CPUS, WORDS> {
    fn default() -> Self {
        Self::new()
    }
}
