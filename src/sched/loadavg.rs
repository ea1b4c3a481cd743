//! Load average: the number of tasks that run or are ready, averaged over 1, 5 and 15 minutes
//! (Linux: kernel/sched/loadavg.c).
//!
//! Linux counts tasks in uninterruptible sleep too. Threads of the kernel sleep so when they have
//! nothing to do, so those that sleep are left out.
#![deny(unsafe_code)]

use super::HZ;
use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Bits of a load average behind the point.
const FSHIFT: u32 = 11;
/// Load average of one task.
const FIXED_1: u64 = 1 << FSHIFT;
/// Jiffies between two samples: five seconds, and one that keeps off other periods.
const LOAD_FREQ: u64 = 5 * HZ + 1;
/// Weights of the average until now: e to the -5/60, -5/300 and -5/900, times [`FIXED_1`].
const EXP: [u64; 3] = [1884, 2014, 2037];

/// The averages over 1, 5 and 15 minutes.
pub struct LoadAverage {
    next: AtomicU64,
    loads: [AtomicU64; 3],
}

impl LoadAverage {
    /// Creates averages of 0, to be sampled in five seconds for the first time.
    #[must_use]
    pub const fn new() -> Self {
        Self { next: AtomicU64::new(LOAD_FREQ), loads: [const { AtomicU64::new(0) }; 3] }
    }

    /// The averages, in units of 1 / 2^16 (Linux: SI_LOAD_SHIFT).
    #[must_use]
    pub fn sysinfo_loads(&self) -> [u64; 3] {
        self.loads.each_ref().map(|load| (load.load(Relaxed) << 16) / FIXED_1)
    }

    /// Takes a sample if it is time for one; `active` counts the tasks that run or are ready. From
    /// the tick of one CPU (Linux: calc_global_load).
    pub fn tick(&self, jiffies: u64, active: impl FnOnce() -> usize) {
        let next = self.next.load(Relaxed);
        if jiffies < next {
            return;
        }
        // Samples that were missed count as this one.
        let samples = (jiffies - next) / LOAD_FREQ + 1;
        self.next.store(next + samples * LOAD_FREQ, Relaxed);
        let active = active() as u64 * FIXED_1;
        for _ in 0..samples.min(1000) {
            for (load, exp) in self.loads.iter().zip(EXP) {
                load.store(calc_load(load.load(Relaxed), exp, active), Relaxed);
            }
        }
    }
}

impl Default for LoadAverage {
    fn default() -> Self {
        Self::new()
    }
}

/// Returns the average after a sample of `active`, rounded up while it rises.
const fn calc_load(load: u64, exp: u64, active: u64) -> u64 {
    let mut new = load * exp + active * (FIXED_1 - exp);
    if active >= load {
        new += FIXED_1 - 1;
    }
    new / FIXED_1
}

/// The three averages with two digits behind the point.
impl fmt::Display for LoadAverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, load) in self.loads.iter().enumerate() {
            let load = load.load(Relaxed) + FIXED_1 / 200;
            let hundredths = ((load % FIXED_1) * 100) >> FSHIFT;
            let gap = if n == 0 { "" } else { " " };
            write!(f, "{gap}{}.{hundredths:02}", load >> FSHIFT)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes `samples` samples of `active` tasks.
    fn after(load: &LoadAverage, from: u64, samples: u64, active: usize) -> u64 {
        let end = from + samples * LOAD_FREQ;
        (from..=end).for_each(|jiffies| load.tick(jiffies, || active));
        end
    }

    #[test]
    fn two_busy_tasks_bring_it_to_two_and_rest_to_nothing() {
        let load = LoadAverage::new();
        assert_eq!(std::format!("{load}"), "0.00 0.00 0.00");
        let at = after(&load, 0, 12, 2);
        // 2 (1 - 1/e) after as long as the average is over, rounded up, and less of the longer ones.
        assert_eq!(std::format!("{load}"), "1.27 0.37 0.13");
        let at = after(&load, at, 1440, 2);
        assert_eq!(std::format!("{load}"), "2.00 2.00 2.00");
        after(&load, at, 4 * 1440, 0);
        assert_eq!(std::format!("{load}"), "0.00 0.00 0.00");
    }

    #[test]
    fn a_sample_that_comes_late_counts_for_those_missed() {
        let (late, steady) = (LoadAverage::new(), LoadAverage::new());
        late.tick(LOAD_FREQ * 12, || 3);
        (0..=LOAD_FREQ * 12).for_each(|jiffies| steady.tick(jiffies, || 3));
        assert_eq!(std::format!("{late}"), std::format!("{steady}"));
        late.tick(u64::MAX / 2, || 1);
        assert_eq!(std::format!("{late}"), "1.00 1.00 1.00");
        late.tick(u64::MAX / 2 + 1, || panic!("not yet"));
    }
}
