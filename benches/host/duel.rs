//! Two contenders, round by round.

use crate::contender::Contender;
use crate::ledger::Ledger;
use crate::on_machine;
use crate::work::{Part, Work};
use granule::arch::hosted::Machine;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Barrier, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Pairs of rounds, where nothing else is asked for.
const ROUNDS: usize = 101;
/// Minimum time of the faster side's round, by the number of threads. It is long beside the
/// start of a round, and short beside the time slices of a host that others use: so most pairs
/// of rounds fall into one slice, and the median is one of them.
const ROUND: [Duration; 2] = [Duration::from_micros(100), Duration::from_micros(500)];
/// And the slower one's at most, about.
const LONG_ROUND: Duration = Duration::from_millis(5);
/// Operations of a thread that a ledger sees.
const PROVED: usize = 5000;

/// Side of a duel: makes the part of each thread.
type Side<'a> = &'a (dyn Fn(usize) -> Part<'a> + Sync);

/// Choice of the duels, and their length.
pub struct Duels {
    rounds: usize,
    words: Vec<String>,
    threads: usize,
    fought: usize,
    /// The benchmark for which ours have been under a ledger.
    proved: String,
}

impl Duels {
    /// Parses the command line.
    pub fn from_arguments() -> Self {
        let mut duels = Self {
            rounds: ROUNDS,
            words: Vec::new(),
            threads: 1,
            fought: 0,
            proved: String::new(),
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--rounds" => {
                    let number = arguments.next().and_then(|number| number.parse().ok());
                    duels.rounds = number.filter(|&n| n > 0).unwrap_or_else(|| usage());
                }
                // Cargo's.
                "--bench" => {}
                word if !word.starts_with('-') => duels.words.push(argument),
                _ => usage(),
            }
        }
        // A thread that panics would leave the other waiting for good.
        let print = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            print(panic);
            std::process::exit(101);
        }));
        duels
    }

    /// Sets the number of threads of later duels.
    pub fn of_threads(&mut self, threads: usize) {
        self.threads = threads;
    }

    /// Ends the run; with an error where no benchmark had such a name.
    pub fn end(self) {
        if self.fought == 0 {
            eprintln!("error: no benchmark has such a name");
            std::process::exit(1);
        }
    }

    fn wants(&mut self, name: &str, threads: usize) -> bool {
        let wanted = threads == self.threads
            && (self.words.is_empty() || self.words.iter().any(|word| name.contains(word)));
        self.fought += usize::from(wanted);
        wanted
    }

    /// `A` against `B`, at `work` by each of so many threads.
    pub fn fight<A: Contender, B: Contender>(
        &mut self,
        name: &str,
        threads: usize,
        work: impl Work,
    ) {
        if !self.wants(name, threads) {
            return;
        }
        let bytes = threads * work.bytes();
        // Headers and alignment make two pages of one.
        let (needed, available) = (2 * bytes, available());
        if available.is_some_and(|available| available < needed) {
            let gib = needed.div_ceil(1 << 30);
            println!(
                "{{\"bench\":\"{name}\",\"other\":\"{}\",\"skipped\":\"{gib} GiB of memory are not to be had\"}}",
                B::NAME
            );
            return;
        }
        on_machine(A::machine_bytes(bytes), |machine| {
            if self.proved != name {
                prove(machine, threads, work, &A::new(bytes));
                name.clone_into(&mut self.proved);
            }
            prove(machine, threads, work, &B::new(bytes));
            let (a, b) = (A::new(bytes), B::new(bytes));
            let (shared_a, shared_b) = (work.share::<A>(), work.share::<B>());
            let sides: [Side<'_>; 2] = [&|thread| work.part(&a, &shared_a, thread), &|thread| {
                work.part(&b, &shared_b, thread)
            }];
            let (ratios, ops) = contest(machine, threads, self.rounds, sides);
            print(name, ("other", B::NAME), "ours_over_other", ratios, ops);
        });
    }

    /// Compares the throughput of two threads with that of one, for `work`.
    pub fn scale<C: Contender>(&mut self, name: &str, work: impl Work) {
        let name = &format!("{name}_scaling");
        if !self.wants(name, 2) {
            return;
        }
        let bytes = 2 * work.bytes();
        on_machine(C::machine_bytes(bytes), |machine| {
            let contender = C::new(bytes);
            let shared = work.share::<C>();
            let sides: [Side<'_>; 2] =
                [&|thread| work.part(&contender, &shared, thread), &|thread| match thread {
                    0 => work.part(&contender, &shared, thread),
                    _ => Box::new(|_| ()),
                }];
            let (ratios, ops) = contest(machine, 2, self.rounds, sides);
            let of_both = ratios.into_iter().map(|both_over_one| 2.0 / both_over_one).collect();
            print(name, ("of", C::NAME), "two_threads_over_one", of_both, ops);
        });
    }
}

fn usage() -> ! {
    eprintln!("usage: cargo bench --bench host ... [-- [--rounds N] [WORD]...]");
    std::process::exit(2);
}

/// Bytes of memory that programs can have, where the host tells.
fn available() -> Option<usize> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: usize = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib << 10)
}

/// Runs `f` of each thread's number on as many CPUs; of one, on the thread that calls: glibc's
/// malloc is at its best there.
fn on_cpus(machine: &Machine, threads: usize, f: impl Fn(usize) + Sync) {
    if threads == 1 { f(0) } else { machine.on_cpus(threads, f) }
}

/// Does the work once under a ledger.
fn prove<C: Contender>(machine: &Machine, threads: usize, work: impl Work, contender: &C) {
    let ledger = Ledger::new(contender);
    let shared = work.share::<Ledger<'_, C>>();
    on_cpus(machine, threads, |thread| work.part(&ledger, &shared, thread)(PROVED));
    drop(shared);
    ledger.end();
}

/// Orders of the first thread to the others.
struct Orders {
    /// All wait here before a round and after it.
    barrier: Barrier,
    side: AtomicUsize,
    /// None ends it.
    ops: AtomicUsize,
}

impl Orders {
    /// Has all threads do `ops` operations of `side`, and says how long that took.
    fn round(&self, sides: &mut [Part<'_>; 2], side: usize, ops: usize) -> Duration {
        self.side.store(side, Relaxed);
        self.ops.store(ops, Relaxed);
        self.barrier.wait();
        let start = Instant::now();
        sides[side](ops);
        self.barrier.wait();
        start.elapsed()
    }

    /// Does what the first thread says, until it ends it.
    fn follow(&self, sides: &mut [Part<'_>; 2]) {
        loop {
            self.barrier.wait();
            let ops = self.ops.load(Relaxed);
            if ops == 0 {
                return;
            }
            sides[self.side.load(Relaxed)](ops);
            self.barrier.wait();
        }
    }

    fn end(&self) {
        self.ops.store(0, Relaxed);
        self.barrier.wait();
    }
}

/// Ratios of the first side's time to the second's, for each pair of rounds, and the operations
/// of a round.
fn contest(
    machine: &Machine,
    threads: usize,
    rounds: usize,
    sides: [Side<'_>; 2],
) -> (Vec<f64>, usize) {
    let orders = Orders {
        barrier: Barrier::new(threads),
        side: AtomicUsize::new(0),
        ops: AtomicUsize::new(0),
    };
    let result = Mutex::new((Vec::new(), 0));
    on_cpus(machine, threads, |thread| {
        let mut sides = sides.map(|side| side(thread));
        if thread != 0 {
            return orders.follow(&mut sides);
        }
        let mut round = |side, ops| orders.round(&mut sides, side, ops);
        let mut ops = 100;
        loop {
            let mut least = |side| (0..3).map(|_| round(side, ops)).min();
            let took = [least(0), least(1)];
            if took.iter().min() >= Some(&Some(ROUND[threads - 1]))
                || took.iter().max() >= Some(&Some(LONG_ROUND))
            {
                break;
            }
            ops *= 2;
        }
        let mut ratios = Vec::new();
        for n in 0..rounds {
            let mut took = [Duration::ZERO; 2];
            for side in if n % 2 == 0 { [0, 1] } else { [1, 0] } {
                took[side] = round(side, ops);
            }
            ratios.push(took[0].as_secs_f64() / took[1].as_secs_f64());
        }
        orders.end();
        *result.lock().unwrap_or_else(PoisonError::into_inner) = (ratios, ops);
    });
    result.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Prints the line of a benchmark: whose it is, the median of the ratios, between which two
/// the middle half of them lies, and the least and the greatest.
fn print(name: &str, (role, who): (&str, &str), what: &str, mut ratios: Vec<f64>, ops: usize) {
    ratios.sort_by(f64::total_cmp);
    let rounds = ratios.len();
    let at = |quarters: usize| ratios[(rounds - 1) * quarters / 4];
    let median = at(2);
    println!(
        "{{\"bench\":\"{name}\",\"{role}\":\"{who}\",\"{what}\":{median:.3},\"min\":{:.3},\
         \"q1\":{:.3},\"median\":{median:.3},\"q3\":{:.3},\"max\":{:.3},\"rounds\":{rounds},\
         \"ops\":{ops}}}",
        at(0),
        at(1),
        at(3),
        at(4),
    );
}
