//! Numbers for the cores of the device tree (Linux: smp_init_cpus, arch/arm64/kernel/smp.c): in the
//! order of its nodes, after the boot CPU, as many as there can be.
#![deny(unsafe_code)]

use crate::firmware::fdt::{Cpu, Tree};

#[cfg(test)]
mod tests;

/// The cores of the device tree that may be started, in its order.
pub(super) fn available<'a>(tree: &Tree<'a>) -> impl Iterator<Item = Cpu<'a>> + use<'a> {
    tree.cpus().into_iter().flat_map(|cpus| cpus.iter()).filter(Cpu::is_available)
}

/// Number of CPUs that may come up, `limit` at most: the boot CPU, whose affinity is `boot`, and the
/// others that the device tree names.
pub(super) fn nr_possible(tree: &Tree<'_>, boot: u64, limit: usize) -> usize {
    let others = available(tree).filter(|core| core.mpidr().is_some_and(|mpidr| mpidr != boot));
    1 + others.take(limit - 1).count()
}

/// The numbers that cores have got so far.
pub(super) struct Numbers {
    /// The number for the next core.
    next: usize,
    /// Numbers that there are.
    limit: usize,
    left_out: Option<LeftOut>,
}

/// The cores for which there is no number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct LeftOut {
    /// Number of these cores.
    pub count: usize,
    /// Affinity of the first of them.
    pub first: u64,
}

/// Number for a core.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Number {
    /// The core can have this one.
    Free(usize),
    /// The core has this one already.
    Taken(usize),
    /// The core is left out: there is no number for it.
    None,
}

impl Numbers {
    /// Of numbers below `limit` the boot CPU has 0, and no other core has one.
    pub(super) const fn new(limit: usize) -> Self {
        Self { next: 1, limit, left_out: None }
    }

    /// Returns the number for the core whose affinity is `mpidr`. `affinity` says that of the core which
    /// has a number.
    pub(super) fn find(&mut self, mpidr: u64, affinity: impl Fn(usize) -> Option<u64>) -> Number {
        if let Some(n) = (0..self.next).find(|&n| affinity(n) == Some(mpidr)) {
            return Number::Taken(n);
        }
        if self.next < self.limit {
            return Number::Free(self.next);
        }
        self.left_out.get_or_insert(LeftOut { count: 0, first: mpidr }).count += 1;
        Number::None
    }

    /// Gives the number that was free to the core that asked last.
    pub(super) const fn take(&mut self) {
        self.next += 1;
    }

    /// The cores that were left out, if there are any.
    pub(super) const fn left_out(&self) -> Option<LeftOut> {
        self.left_out
    }
}
