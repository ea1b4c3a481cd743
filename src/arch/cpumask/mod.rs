//! Sets of CPUs (Linux: include/linux/cpumask.h), a bit for each in words of 64.
#![deny(unsafe_code)]

use super::{CpuId, NR_CPUS};
use core::sync::atomic::{AtomicU64, Ordering};

#[cfg(test)]
mod tests;

const WORDS: usize = NR_CPUS.div_ceil(64);

/// Set of CPUs (Linux: cpumask_t).
pub type CpuMask = Mask<WORDS>;
/// Set of CPUs of which several CPUs change a bit each (Linux: cpumask_set_cpu, cpumask_clear_cpu).
pub type AtomicCpuMask = AtomicMask<WORDS>;

/// Set of numbers below 64 times `W`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mask<const W: usize>([u64; W]);

impl<const W: usize> Mask<W> {
    /// The empty set.
    pub const NONE: Self = Self([0; W]);

    const fn has(&self, n: usize) -> bool {
        self.0[n / 64] >> (n % 64) & 1 != 0
    }
    const fn with(mut self, n: usize) -> Self {
        self.0[n / 64] |= 1 << (n % 64);
        self
    }
    const fn without(mut self, n: usize) -> Self {
        self.0[n / 64] &= !(1 << (n % 64));
        self
    }
    /// Iterates over the numbers of the set, rising.
    fn numbers(self) -> impl DoubleEndedIterator<Item = usize> + Clone {
        (0..W).flat_map(move |i| Bits(self.0[i]).map(move |bit| 64 * i + bit))
    }

    /// Returns the number of the set that shares the most high bits with `n`: the one whose
    /// exclusive or with `n` is the least.
    fn nearest(&self, n: usize) -> Option<usize> {
        let words = (0..W.next_power_of_two()).map(|distance| (n / 64) ^ distance);
        let word = words.filter(|&i| i < W).find(|&i| self.0[i] != 0)?;
        let (mut bits, mut at) = (self.0[word], 0);
        for half in [32, 16, 8, 4, 2, 1] {
            // `bits` are those of the 2 * `half` numbers from `at` on.
            let (low, high) = (bits & ((1 << half) - 1), bits >> half);
            let is_high = if n & half != 0 { high != 0 } else { low == 0 };
            (bits, at) = if is_high { (high, at + half) } else { (low, at) };
        }
        Some(64 * word + at)
    }

    /// Returns the numbers that are in both sets.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(core::array::from_fn(|i| self.0[i] & other.0[i]))
    }
    /// Returns the numbers that are not in `other` (Linux: cpumask_andnot).
    #[must_use]
    pub fn and_not(self, other: Self) -> Self {
        Self(core::array::from_fn(|i| self.0[i] & !other.0[i]))
    }
    /// Returns true if nothing is in the set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|&word| word == 0)
    }
    /// Number of those in the set (Linux: cpumask_weight).
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }
}

/// The places of the bits of a word, rising.
#[derive(Clone)]
struct Bits(u64);

impl Iterator for Bits {
    type Item = usize;
    fn next(&mut self) -> Option<usize> {
        let bit = (self.0 != 0).then_some(self.0.trailing_zeros() as usize);
        self.0 &= self.0.wrapping_sub(1);
        bit
    }
}

impl DoubleEndedIterator for Bits {
    fn next_back(&mut self) -> Option<usize> {
        let bit = self.0.checked_ilog2()? as usize;
        self.0 &= !(1 << bit);
        Some(bit)
    }
}

impl CpuMask {
    /// All CPUs that there can be.
    pub const ALL: Self = {
        let (mut all, mut n) = (Self::NONE, 0);
        while n < NR_CPUS {
            all = all.with(n);
            n += 1;
        }
        all
    };

    /// The set of one CPU (Linux: cpumask_of).
    #[must_use]
    pub const fn of(cpu: CpuId) -> Self {
        Self::NONE.with(cpu.index())
    }
    /// Returns true if `cpu` is in the set.
    #[must_use]
    pub const fn contains(&self, cpu: CpuId) -> bool {
        self.has(cpu.index())
    }
    /// Returns the set and `cpu`.
    #[must_use]
    pub const fn and_cpu(self, cpu: CpuId) -> Self {
        self.with(cpu.index())
    }
    /// Returns the set without `cpu`.
    #[must_use]
    pub const fn without_cpu(self, cpu: CpuId) -> Self {
        self.without(cpu.index())
    }
    /// Returns the CPU of the set that is nearest to `cpu`. Nearness is that of the numbers: CPUs
    /// that share more of their high bits are nearer, as those of a cluster.
    #[must_use]
    pub fn nearest_cpu(&self, cpu: CpuId) -> Option<CpuId> {
        self.nearest(cpu.index()).and_then(CpuId::new)
    }
    /// Iterates over the CPUs of the set, by rising numbers.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = CpuId> + Clone + use<> {
        self.numbers().filter_map(CpuId::new)
    }
}

impl FromIterator<CpuId> for CpuMask {
    fn from_iter<I: IntoIterator<Item = CpuId>>(cpus: I) -> Self {
        cpus.into_iter().fold(Self::NONE, Self::and_cpu)
    }
}

/// Numbers as Linux prints cpumasks in hexadecimal (%*pb): groups of eight digits with commas
/// between, the highest first, of as many digits as `bits` numbers need.
pub struct Hex<const W: usize>(pub Mask<W>, pub usize);

impl<const W: usize> core::fmt::Display for Hex<W> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let groups = self.1.div_ceil(32);
        for group in (0..groups).rev() {
            let bits = self.0.0.get(group / 2).map_or(0, |word| word >> (32 * (group % 2))) as u32;
            if group + 1 == groups {
                write!(f, "{bits:0width$x}", width = (self.1 - 32 * group).div_ceil(4))?;
            } else {
                write!(f, ",{bits:08x}")?;
            }
        }
        Ok(())
    }
}

/// Words of a set that CPUs change a bit at a time. A set of more than 64 is not read at one moment.
pub struct AtomicMask<const W: usize>([AtomicU64; W]);

impl<const W: usize> AtomicMask<W> {
    /// Creates it with the numbers of `mask`.
    #[must_use]
    pub const fn new(mask: Mask<W>) -> Self {
        let mut words = [const { AtomicU64::new(0) }; W];
        let mut i = 0;
        while i < W {
            words[i] = AtomicU64::new(mask.0[i]);
            i += 1;
        }
        Self(words)
    }
    /// Returns the set as it is.
    #[must_use]
    pub fn load(&self, order: Ordering) -> Mask<W> {
        Mask(core::array::from_fn(|i| self.0[i].load(order)))
    }
    /// Makes it the set `mask`, a word after the other.
    pub fn store(&self, mask: Mask<W>, order: Ordering) {
        self.0.iter().zip(mask.0).for_each(|(word, bits)| word.store(bits, order));
    }
    fn has(&self, n: usize, order: Ordering) -> bool {
        self.0[n / 64].load(order) >> (n % 64) & 1 != 0
    }
    fn add(&self, n: usize, order: Ordering) {
        self.0[n / 64].fetch_or(1 << (n % 64), order);
    }
    fn remove(&self, n: usize, order: Ordering) {
        self.0[n / 64].fetch_and(!(1 << (n % 64)), order);
    }
}

impl AtomicCpuMask {
    /// Returns true if `cpu` is in the set.
    #[inline]
    #[must_use]
    pub fn contains(&self, cpu: CpuId, order: Ordering) -> bool {
        self.has(cpu.index(), order)
    }
    /// Puts `cpu` into the set.
    pub fn set(&self, cpu: CpuId, order: Ordering) {
        self.add(cpu.index(), order);
    }
    /// Takes `cpu` out of the set.
    pub fn clear(&self, cpu: CpuId, order: Ordering) {
        self.remove(cpu.index(), order);
    }
}
