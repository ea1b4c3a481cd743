//! Counting and printing of benchmarks.

use alloc::vec::Vec;
use core::hint::black_box;
use granule::arch::cpu;
use granule::arch::irq::with_masked;
use granule::kprintln;

/// Rounds that are counted, after one that is not.
const ROUNDS: usize = 5;
/// Operations of a round, where a benchmark says nothing else.
pub const OPERATIONS: usize = 1000;

/// Empty slots for the objects of a batch.
pub fn slots<T>(n: usize) -> Vec<Option<T>> {
    core::iter::repeat_with(|| None).take(n).collect()
}

/// A profiler counts from a call of this to the next of `bench_end`.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn bench_begin() {
    black_box(1);
}

/// See `bench_begin`. Other code than that, or the compiler makes them one.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn bench_end() {
    black_box(2);
}

/// HINT instructions that tell the cache model (`scripts/plugin/cache.c`) which instructions
/// belong to which row. Every CPU executes them as NOP.
mod mark {
    use core::arch::asm;

    macro_rules! hint {
        ($number:literal, $row:expr) => {
            // SAFETY: an unallocated HINT is a NOP (Arm ARM C6.2, HINT).
            unsafe { asm!(concat!("hint #", $number), in("x0") $row, options(nostack, preserves_flags)) }
        };
    }

    /// The instructions that follow belong to the row of this name, until `end`.
    #[inline(always)]
    pub fn begin(name: &str) {
        hint!(112, name.as_ptr());
    }

    /// See `begin`.
    #[inline(always)]
    pub fn end() {
        hint!(113, 0);
    }

    /// The row is complete.
    pub fn row(name: &str) {
        hint!(114, name.as_ptr());
    }

    /// The simulation begins.
    pub fn start() {
        hint!(115, 0);
    }
}

/// Instructions of the rounds of one benchmark.
struct Rounds {
    took: [u64; ROUNDS],
}

impl Rounds {
    fn min(&self) -> u64 {
        self.took.iter().copied().min().unwrap_or(0)
    }

    fn sum(&self) -> u64 {
        self.took.iter().sum()
    }

    /// Prints the line of a benchmark whose rounds were of `ops` operations each.
    fn print(&self, name: &str, ops: usize) {
        mark::row(name);
        let ops = ops as u64;
        let min = Hundredths(self.min() * 100 / ops);
        let mean = Hundredths(self.sum() * 100 / (ops * ROUNDS as u64));
        kprintln!(
            "{{\"bench\":\"{name}\",\"instructions_per_op\":{min},\"min\":{min},\"mean\":{mean},\"ops\":{ops}}}"
        );
    }
}

struct Hundredths(u64);

impl core::fmt::Display for Hundredths {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}.{:02}", self.0 / 100, self.0 % 100)
    }
}

/// Instructions of two readings of the counter with nothing between them.
fn reading() -> u64 {
    let start = cpu::cycles();
    cpu::cycles() - start
}

/// Counts what `work` takes, for the row that is given, if one is.
#[inline(always)]
fn count(row: Option<&str>, profiled: bool, reading: u64, work: impl FnOnce()) -> u64 {
    let profiled = profiled && row.is_some();
    if profiled {
        bench_begin();
    }
    if let Some(name) = row {
        mark::begin(name);
    }
    let start = cpu::cycles();
    work();
    let took = cpu::cycles() - start;
    mark::end();
    if profiled {
        bench_end();
    }
    took.saturating_sub(reading)
}

/// Choice of benchmarks.
pub struct Bench {
    only: Option<&'static str>,
}

impl Bench {
    /// Chooses one benchmark, or all.
    pub fn new(only: Option<&'static str>) -> Self {
        mark::start();
        Self { only }
    }

    fn runs(&self, name: &str) -> bool {
        self.only.is_none_or(|only| only == name)
    }

    /// Returns true if benchmarks whose names begin with `prefix` are run.
    pub fn wants(&self, prefix: &str) -> bool {
        self.only.is_none_or(|only| only.starts_with(prefix))
    }

    /// Each round is `work`, which is `ops` operations.
    pub fn work(&self, name: &str, ops: usize, mut work: impl FnMut()) {
        if !self.runs(name) {
            return;
        }
        let reading = reading();
        let mut round = |row| count(row, self.only.is_some(), reading, &mut work);
        round(None);
        let took = core::array::from_fn(|_| round(Some(name)));
        Rounds { took }.print(name, ops);
    }

    /// Allocate and free in one `operation`, `ops` times a round.
    #[inline(always)]
    pub fn pair_of(&self, name: &str, ops: usize, mut operation: impl FnMut()) {
        self.work(name, ops, || {
            for _ in 0..ops {
                operation();
                black_box(());
            }
        });
    }

    /// Runs [`pair_of`](Self::pair_of), the usual number of times.
    pub fn pair(&self, name: &str, operation: impl FnMut()) {
        self.pair_of(name, OPERATIONS, operation);
    }

    /// Runs [`pair`](Self::pair) with interrupts masked from the first round to the last.
    pub fn masked_pair(&self, name: &str, operation: impl FnMut()) {
        with_masked(|_| self.pair(name, operation));
    }

    /// Runs rounds of two halves, which are two benchmarks by these names: one half allocates
    /// `ops` objects into `state`, the other frees them all.
    pub fn halves<S: ?Sized>(
        &self,
        names: [&str; 2],
        ops: usize,
        state: &mut S,
        mut alloc: impl FnMut(&mut S),
        mut free: impl FnMut(&mut S),
    ) {
        if !names.iter().any(|name| self.runs(name)) {
            return;
        }
        let profiled = names.map(|name| self.only == Some(name));
        let reading = reading();
        let mut round = |counted: bool| {
            let rows = names.map(|name| counted.then_some(name));
            let alloc = count(rows[0], profiled[0], reading, || alloc(state));
            let free = count(rows[1], profiled[1], reading, || free(state));
            [alloc, free]
        };
        round(false);
        let took: [_; ROUNDS] = core::array::from_fn(|_| round(true));
        for (half, name) in names.into_iter().enumerate().filter(|(_, name)| self.runs(name)) {
            Rounds { took: took.map(|both| both[half]) }.print(name, ops);
        }
    }

    /// `alloc` for each slot of `slots`, then `free` for each, in the same order.
    pub fn batch<T>(
        &self,
        names: [&str; 2],
        slots: &mut [Option<T>],
        mut alloc: impl FnMut() -> Option<T>,
        mut free: impl FnMut(T),
    ) {
        let ops = slots.len();
        let name = names[0];
        self.halves(
            names,
            ops,
            slots,
            |slots| {
                for slot in &mut *slots {
                    *slot = alloc();
                }
            },
            |slots| {
                for slot in &mut *slots {
                    let Some(object) = slot.take() else { panic!("{name}: memory is short") };
                    free(object);
                }
            },
        );
    }

    /// Runs [`batch`](Self::batch) with interrupts masked from the first round to the last.
    pub fn masked_batch<T>(
        &self,
        names: [&str; 2],
        slots: &mut [Option<T>],
        alloc: impl FnMut() -> Option<T>,
        free: impl FnMut(T),
    ) {
        with_masked(|_| self.batch(names, slots, alloc, free));
    }
}

/// The names of the two halves of a batch.
#[macro_export]
macro_rules! batch_names {
    ($($part:expr),*) => {
        [concat!($($part,)* "_batch_alloc"), concat!($($part,)* "_batch_free")]
    };
}
