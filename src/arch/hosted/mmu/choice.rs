//! Settings of the adversary, the steps that a test takes out, and choices that can be repeated.
#![deny(unsafe_code)]

/// Behaviour of the adversary.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Seed of the adversary's random choices.
    pub seed: u64,
    /// Number of CPUs that walk the tables, from CPU 0 up, whether or not threads run as them.
    pub cpus: usize,
    /// Probability, in 256ths, that a CPU walks an address just before and just after its
    /// descriptor is stored. At 256 all CPUs always do.
    pub eagerness: u32,
}

impl Config {
    /// Two CPUs that walk whatever is stored: the strictest.
    #[must_use]
    pub const fn eager(seed: u64) -> Self {
        Self { seed, cpus: 2, eagerness: 256 }
    }
}

/// A step that software takes and that can be taken out.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[allow(missing_docs)]
pub enum Step {
    DsbIshst,
    DsbIsh,
    DsbNsh,
    Isb,
    TlbiAll,
    TlbiLocal,
    TlbiVa,
    TlbiVaLast,
    TlbiRange,
    TlbiRangeLast,
    TlbiVaAsid,
    TlbiVaAsidLast,
    TlbiVaAsidLocal,
    TlbiAsid,
    TlbiRangeAsid,
    TlbiRangeAsidLast,
    TlbiIpa,
    TlbiIpaLast,
    TlbiRangeIpa,
    TlbiRangeIpaLast,
    TlbiVm,
    TlbiAllVms,
    Ttbr0,
    Vttbr,
    /// HCR_EL2.VM is set or cleared.
    Hcr,
    /// A valid descriptor is made invalid.
    Break,
}

/// Steps of software that a test leaves out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mutation {
    /// Every step of one kind.
    Without(Step),
    /// The step of this number, counted from zero.
    WithoutNth(usize),
    /// TLB invalidations reach the last level only.
    LastLevelOnly,
    /// TLB invalidations reach the CPU that issues them only.
    LocalOnly,
}

/// Choices that can be repeated (splitmix64).
pub(super) struct Rng(pub(super) u64);

impl Rng {
    /// A number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ z >> 31) % n as u64) as usize
    }

    /// Picks an item of `all`, each with the same probability.
    pub fn pick<T>(&mut self, all: impl Iterator<Item = T>) -> Option<T> {
        let mut picked = None;
        for (n, item) in all.enumerate() {
            if n == 0 || self.below(n + 1) == 0 {
                picked = Some(item);
            }
        }
        picked
    }
}
