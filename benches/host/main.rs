//! Granule's allocators against others on this machine, by wall clock: `scripts/bench host`.
//!
//! A time alone says nothing of a machine that others use too, so only ratios are told, of
//! two contenders in the same run: short rounds of the one alternate with rounds of the other,
//! first this way round, then that, and each pair of rounds gives a ratio. What is printed is
//! the median of the ratios and how far they spread, and below 1 Granule took less time. (A
//! crate for benchmarks measures one thing after the other, and what a neighbour on the machine
//! does between the two is in their ratio.) On a busy machine the least and the greatest are
//! of rounds that it interrupted; where the quartiles are far apart, the figure says nothing,
//! and with two threads it wants two idle CPUs.
//!
//! Each contender does the same work, in memory of its own that is as long as the others':
//!
//! | work | one operation is |
//! | --- | --- |
//! | `pair` | one allocation and its free, in a loop |
//! | `batch` | the same, 1000 allocations and then their frees |
//! | `live_N` | a free and an allocation, 100 at a time, far apart among N live objects |
//! | `mixed` | as `live`, of sizes of many kinds |
//! | `2_threads_` | as without it, by each of two threads at once, each with objects of its own |
//! | `crossing` | an allocation by one thread and its free by another |
//! | `scaling` | the work of two threads in the time of one, 2.0 being all that there is to have |
//!
//! Before it is timed, all of it is done once under a ledger, which sees memory that is handed
//! out twice, too short, or not aligned. Objects of kmalloc are written to when they are
//! allocated and looked at when they are freed, as by anybody who wants memory; pages and
//! addresses are not touched. Nobody zeroes anything.
//!
//! What runs is the code of the kernel on the machine of `arch/hosted`, whose doors cost more
//! than a kernel's: this CPU and its mask of interrupts are thread-locals of the host, and each
//! static is found through a table of the emulated machine. All of that is in Granule's
//! figures. The other contenders' heaps stand behind a `std::sync::Mutex`, as does vmalloc's
//! address allocator; kmalloc, pages and glibc's malloc bring what they need themselves.
//!
//! ```text
//! cargo bench --bench host --features host --target <host> [-- [--rounds N] [WORD]...]
//! ```
//!
//! A WORD selects the benchmarks whose names hold it.

#[cfg(not(unix))]
compile_error!("the host's malloc and the size of its memory are asked for as on Unix");

mod contender;
mod duel;
mod ledger;
mod others;
mod ours;
#[path = "../../tests/harness/random.rs"]
mod random;
mod work;

use duel::Duels;
use granule::addr::{PhysAddr, PhysRange};
use granule::arch::hosted::Machine;
use granule::mm::{page_alloc, slab};
use others::{Buddy, BuddyFrames, Glibc, LinkedList, Rlsf, Talc};
use ours::{Addresses, Kmalloc, Pages};
use work::{Batch, Crossing, Fixed, Live, Mixed, Pair, Work};

/// Runs `f` on a fresh machine with `bytes` of RAM to allocate, and some for itself.
fn on_machine(bytes: usize, f: impl FnOnce(&Machine)) {
    const GRAIN: usize = 128 << 20;
    let ram = (bytes + bytes / 8).next_multiple_of(GRAIN) + GRAIN;
    let ram = PhysRange::from_size(PhysAddr::new(0x4000_0000), ram as u64);
    Machine::run(&[ram], |machine| {
        page_alloc::init(machine.ram());
        slab::kmem_cache_init(7);
        f(machine);
    });
}

/// Compares one of our allocators with others at the same work.
macro_rules! duels {
    ($duels:expr, $name:expr, $threads:expr, $work:expr, $ours:ty: $($other:ty)*) => {
        $($duels.fight::<$ours, $other>($name, $threads, $work);)*
    };
}

fn kmalloc(duels: &mut Duels, name: &str, threads: usize, work: impl Work) {
    let name = &format!("kmalloc_{name}");
    duels!(duels, name, threads, work, Kmalloc: Buddy Talc Rlsf LinkedList Glibc);
}

fn pages(duels: &mut Duels, name: &str, threads: usize, work: impl Work) {
    let name = &format!("pages_{name}");
    duels!(duels, name, threads, work, Pages: Buddy Talc Rlsf LinkedList Glibc);
}

fn addresses(duels: &mut Duels, name: &str, threads: usize, work: impl Work) {
    let name = &format!("addresses_{name}");
    duels!(duels, name, threads, work, Addresses: BuddyFrames Talc Rlsf LinkedList Glibc);
}

/// Objects that are written to.
fn all_of_kmalloc(duels: &mut Duels) {
    const SMALL: Fixed = Fixed::object(64);
    kmalloc(duels, "64_pair", 1, Pair(SMALL));
    kmalloc(duels, "1024_pair", 1, Pair(Fixed::object(1024)));
    kmalloc(duels, "64_batch", 1, Batch(SMALL));
    kmalloc(duels, "64_live_100", 1, Live(SMALL, 100));
    kmalloc(duels, "64_live_10000", 1, Live(SMALL, 10_000));
    kmalloc(duels, "64_live_1000000", 1, Live(SMALL, 1_000_000));
    kmalloc(duels, "mixed_live_10000", 1, Live(Mixed::OBJECTS, 10_000));
    kmalloc(duels, "2_threads_64_pair", 2, Pair(SMALL));
    kmalloc(duels, "2_threads_64_live_10000", 2, Live(SMALL, 10_000));
    kmalloc(duels, "2_threads_mixed_live_10000", 2, Live(Mixed::OBJECTS, 10_000));
    kmalloc(duels, "64_crossing", 2, Crossing(SMALL));
    duels.scale::<Kmalloc>("kmalloc_64_live_10000", Live(SMALL, 10_000));
    duels.scale::<Glibc>("kmalloc_64_live_10000", Live(SMALL, 10_000));
}

/// Blocks of pages, aligned to their size.
fn all_of_pages(duels: &mut Duels) {
    const PAGE: Fixed = Fixed::pages(0);
    pages(duels, "o0_pair", 1, Pair(PAGE));
    pages(duels, "o3_pair", 1, Pair(Fixed::pages(3)));
    pages(duels, "o0_batch", 1, Batch(PAGE));
    pages(duels, "o0_live_100", 1, Live(PAGE, 100));
    pages(duels, "o0_live_10000", 1, Live(PAGE, 10_000));
    pages(duels, "o0_live_1000000", 1, Live(PAGE, 1_000_000));
    pages(duels, "mixed_live_10000", 1, Live(Mixed::PAGES, 10_000));
    pages(duels, "2_threads_o0_pair", 2, Pair(PAGE));
    pages(duels, "2_threads_o0_live_10000", 2, Live(PAGE, 10_000));
    pages(duels, "o0_crossing", 2, Crossing(PAGE));
    duels.scale::<Pages>("pages_o0_live_10000", Live(PAGE, 10_000));
}

/// Ranges of whole pages: for 64 KiB, vmalloc asks for 17.
fn all_of_addresses(duels: &mut Duels) {
    const AREA: Fixed = Fixed::range(1);
    addresses(duels, "1p_pair", 1, Pair(AREA));
    addresses(duels, "17p_pair", 1, Pair(Fixed::range(17)));
    addresses(duels, "1p_batch", 1, Batch(AREA));
    addresses(duels, "1p_live_100", 1, Live(AREA, 100));
    addresses(duels, "1p_live_10000", 1, Live(AREA, 10_000));
    addresses(duels, "1p_live_1000000", 1, Live(AREA, 1_000_000));
    addresses(duels, "mixed_live_10000", 1, Live(Mixed::RANGES, 10_000));
    addresses(duels, "2_threads_1p_pair", 2, Pair(AREA));
    addresses(duels, "2_threads_1p_live_10000", 2, Live(AREA, 10_000));
    addresses(duels, "1p_crossing", 2, Crossing(AREA));
}

fn main() {
    let mut duels = Duels::from_arguments();
    ledger::try_out();
    // A process that has never had a second thread is one that glibc's malloc knows.
    for threads in [1, 2] {
        duels.of_threads(threads);
        all_of_kmalloc(&mut duels);
        all_of_pages(&mut duels);
        all_of_addresses(&mut duels);
    }
    duels.end();
}
