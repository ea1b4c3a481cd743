//! Operations, measured where the kernel runs. `scripts/bench` does more of them, and counts
//! instructions exactly.

use super::screen::Screen;
use crate::addr::{Order, PAGE_SIZE};
use crate::arch::irq::with_masked;
use crate::arch::{cpu, pmu};
use crate::mm::gfp::Gfp;
use crate::mm::page_alloc::Pages;
use crate::mm::slab::{kfree, kmalloc, kzalloc};
use crate::mm::vmalloc::VmArea;
use core::fmt::{self, Write};
use core::hint::black_box;

/// Operations of a round, and rounds: the least of them counts, after one that does not.
const OPERATIONS: u64 = 1000;
const ROUNDS: usize = 5;

/// GFP flags of operations that run with interrupts masked, and may not sleep.
const GFP: Gfp = Gfp::GFP_NOWAIT;
/// GFP flags of the other operations.
const GFP_SLEEPS: Gfp = Gfp::GFP_KERNEL.union(Gfp::__GFP_NOWARN);

fn pages<const ORDER: u8>() -> bool {
    let order = const { Order::new(ORDER).unwrap() };
    black_box(Pages::alloc(GFP, order)).is_some()
}

fn kmalloc_of<const SIZE: usize>() -> bool {
    let Some(object) = black_box(kmalloc(SIZE, GFP)) else { return false };
    // SAFETY: allocated above, freed once.
    unsafe { kfree(object.as_ptr()) };
    true
}

fn kzalloc_64() -> bool {
    let Some(object) = black_box(kzalloc(64, GFP)) else { return false };
    // SAFETY: as above.
    unsafe { kfree(object.as_ptr()) };
    true
}

fn vmalloc_of<const SIZE: usize>() -> bool {
    black_box(VmArea::vmalloc(SIZE, GFP_SLEEPS)).map(drop).is_some()
}

/// Function that repeats an operation.
type Rounds = fn() -> Option<Took>;

/// Cost of an operation, in hundredths.
struct Took {
    events: u64,
    nanoseconds: u64,
}

/// Counts events, and time, of an operation that is inlined into the loop.
#[inline(always)]
fn rounds(operation: impl Fn() -> bool) -> Option<Took> {
    let mut least: Option<Took> = None;
    for round in 0..=ROUNDS {
        let (start, began) = (count(), cpu::sched_clock());
        for _ in 0..OPERATIONS {
            if !operation() {
                return None;
            }
        }
        let nanoseconds = (cpu::sched_clock() - began) * 100 / OPERATIONS;
        let events = u64::from(count().wrapping_sub(start) as u32) * 100 / OPERATIONS;
        if round > 0 && least.as_ref().is_none_or(|least| events < least.events) {
            least = Some(Took { events, nanoseconds });
        }
    }
    least
}

/// Instructions where this CPU counts them, in 32 bits at least, or else cycles.
#[inline(always)]
fn count() -> u64 {
    pmu::instructions().unwrap_or_else(cpu::cycles)
}

macro_rules! operations {
    ($($name:literal $rounds:expr;)*) => {
        /// Names of the benchmarks; those of `scripts/bench` where it has the same.
        pub(super) const NAMES: &[&str] = &[$($name),*];
        const OPERATIONS_BY_NAME: &[Rounds] = &[$($rounds),*];
    };
}

// Masked where those of scripts/bench are.
operations! {
    "alloc_pages_o0_pair" || with_masked(|_| rounds(pages::<0>));
    "alloc_pages_o3_pair" || with_masked(|_| rounds(pages::<3>));
    "alloc_pages_o9_pair" || with_masked(|_| rounds(pages::<9>));
    "kmalloc_64_pair" || with_masked(|_| rounds(kmalloc_of::<64>));
    "kmalloc_1024_pair" || with_masked(|_| rounds(kmalloc_of::<1024>));
    "kmalloc_65536_pair" || with_masked(|_| rounds(kmalloc_of::<65536>));
    "kzalloc_64_pair" || with_masked(|_| rounds(kzalloc_64));
    "vmalloc_4k_pair" || rounds(vmalloc_of::<PAGE_SIZE>);
    "vmalloc_1m_pair" || rounds(vmalloc_of::<{ 1 << 20 }>);
}

/// Runs the benchmark called `name`, which may lack its `_pair`, or all.
pub(super) fn run(name: Option<&str>, out: &mut Screen) -> fmt::Result {
    let is_asked = |known: &str| {
        name.is_none_or(|name| known == name || known.strip_suffix("_pair") == Some(name))
    };
    let unit = if pmu::instructions().is_some() { "instructions" } else { "cycles" };
    let mut found = false;
    for (name, rounds) in NAMES.iter().zip(OPERATIONS_BY_NAME).filter(|(name, _)| is_asked(name)) {
        found = true;
        match rounds() {
            Some(took) => writeln!(
                out,
                "{name:<22} {:>8}.{:02} {unit} {:>8}.{:02} ns an operation",
                took.events / 100,
                took.events % 100,
                took.nanoseconds / 100,
                took.nanoseconds % 100
            )?,
            None => writeln!(out, "{name}: out of memory")?,
        }
    }
    if found {
        Ok(())
    } else {
        writeln!(out, "bench: there is none of that name; bench alone runs all")
    }
}
