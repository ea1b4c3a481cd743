//! Shares of a CPU's time for tasks that run at EL0 (Linux: kernel/sched/fair.c,
//! sched_prio_to_weight of kernel/sched/core.c).
//!
//! Each task has a *slice* in nanoseconds, and pays for the ticks that find it on its CPU. One whose
//! slice is used up waits until all others have used up theirs; then all of them get a new one, as
//! large as their nice values allow. A debt is carried over, so in the long run the shares are those
//! of the weights, however coarse the tick is: a task of half the weight sits every other round out.
//! That is deficit round robin.
//!
//! Linux's virtual run time gives the same shares, and answers sooner to a task that woke up. It
//! would cost a clock reading and a search in an order at each switch, of threads of the kernel too,
//! which are switched most and never preempted. Here a switch costs nothing: the tick does the sums.
#![deny(unsafe_code)]

use core::fmt;

/// Nanoseconds that a task of nice 0 runs before others do (Linux: sysctl_sched_base_slice).
pub const BASE_SLICE: i64 = 4_000_000;

/// Weight of nice 0 (Linux: NICE_0_LOAD).
const NICE_0_WEIGHT: i64 = 1024;

/// Weights of nice -20 to 19, each about 1.25 times the next: a step is 10 % of a CPU for whom two
/// tasks share (Linux: sched_prio_to_weight).
const WEIGHTS: [i64; 40] = [
    88761, 71755, 56483, 46273, 36291, 29154, 23254, 18705, 14949, 11916, //
    9548, 7620, 6100, 4904, 3906, 3121, 2501, 1991, 1586, 1277, //
    1024, 820, 655, 526, 423, 335, 272, 215, 172, 137, //
    110, 87, 70, 56, 45, 36, 29, 23, 18, 15,
];

/// A nice value: -20, for the largest share, to 19.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub struct Nice(i8);

impl Nice {
    /// The value; `None` if it is out of range.
    #[must_use]
    pub const fn new(nice: i32) -> Option<Self> {
        if nice >= -20 && nice <= 19 { Some(Self(nice as i8)) } else { None }
    }
    /// The number.
    #[must_use]
    pub const fn get(self) -> i32 {
        self.0 as i32
    }
    /// Returns the new slice of a task, in nanoseconds.
    #[must_use]
    pub const fn slice(self) -> i64 {
        BASE_SLICE * WEIGHTS[(self.0 + 20) as usize] / NICE_0_WEIGHT
    }
}

impl fmt::Display for Nice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Returns how many new slices a task needs, one at least, to have time left again.
#[must_use]
pub const fn rounds(left: i64, nice: Nice) -> i64 {
    if left > 0 { 1 } else { -left / nice.slice() + 1 }
}
