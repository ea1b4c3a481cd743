//! Models of switches between contexts, with 3 ASIDs for 2 CPUs.

use crate::arch::irq::with_masked;
use crate::arch::{CpuId, NR_CPUS};
use crate::asid::{ActiveAsid, Asid, AsidMap, Asids, Context, Ttbr0};
use crate::shim::atomic::{AtomicU32, Ordering, fence};
use crate::shim::become_cpu;
use crate::sync::{Rank, SpinLock};
use loom::thread;
use std::sync::{Arc, Mutex};

/// A context, by number.
type Name = usize;

/// State of the CPUs that loom knows nothing of, so that it orders no steps.
#[derive(Default)]
struct Cpus {
    runs: [Option<(Name, Asid)>; NR_CPUS],
    /// Entries of each TLB.
    tlbs: [Vec<(Name, Asid)>; NR_CPUS],
}

struct Shared {
    asids: Asids<[ActiveAsid; NR_CPUS]>,
    map: SpinLock<AsidMap<NR_CPUS, 1>>,
    contexts: [Context; 4],
    cpus: Mutex<Cpus>,
    /// An entry of the tables of all contexts.
    entry: AtomicU32,
}

struct Own<'a> {
    shared: &'a Shared,
    number: usize,
}

impl Ttbr0 for Own<'_> {
    /// A context, and whether its tables are read at once.
    type Root = Name;

    fn cpu(&self) -> CpuId {
        CpuId::new(self.number).expect("one of two")
    }
    fn has_cnp(&self) -> bool {
        false
    }
    fn set_reserved(&self) {
        unreachable!("no CPU has FEAT_TTCNP");
    }
    fn dsb_ish(&self) {
        fence(Ordering::SeqCst);
    }
    fn local_flush_tlb_all(&self) {
        self.shared.cpus.lock().expect("no panic").tlbs[self.number].clear();
    }
    fn switch_mm(&self, name: Name, asid: Asid) {
        let mut cpus = self.shared.cpus.lock().expect("no panic");
        let Cpus { runs, tlbs } = &mut *cpus;
        let shares = |&(other, of): &(Name, Asid)| of == asid && other != name;
        assert!(!runs.iter().flatten().any(shares), "two contexts run under one ASID");
        assert!(!tlbs[self.number].iter().any(shares), "entries of another context");
        runs[self.number] = Some((name, asid));
        tlbs[self.number].push((name, asid));
    }
}

impl Shared {
    fn new() -> Arc<Self> {
        let mut map = AsidMap::new();
        map.init(2, NR_CPUS).expect("3 ASIDs are enough");
        let this = Self {
            asids: Asids::new(core::array::from_fn(|_| ActiveAsid::new())),
            map: SpinLock::new(Rank::Zone, map),
            contexts: [const { Context::new() }; 4],
            cpus: Mutex::default(),
            entry: AtomicU32::new(0),
        };
        // The words are made here, before there is a second CPU.
        assert!(this.contexts.iter().all(|context| context.asid().is_none()));
        assert_eq!(this.entry.load(Ordering::Relaxed), 0);
        Arc::new(this)
    }
    /// Switches CPU `number` to the context of `name`.
    fn run(&self, number: usize, name: Name) {
        // The end of what ran: its tables are used no more for any access.
        self.cpus.lock().expect("no panic").runs[number] = None;
        let (own, context) = (Own { shared: self, number }, &self.contexts[name]);
        with_masked(|irq| {
            self.asids.check_and_switch_context(&own, context, name, || self.map.lock(irq));
        });
    }
}

/// A CPU switches to a context of this generation, and back, while another takes the first ASID of
/// the next.
pub fn a_switch_during_a_roll_over_shares_no_asid() {
    let shared = Shared::new();
    shared.run(1, 0);
    shared.run(0, 1);
    shared.run(0, 2);
    let other = Arc::clone(&shared);
    let second = thread::spawn(move || {
        become_cpu(1);
        other.run(1, 1);
        other.run(1, 0);
    });
    shared.run(0, 3);
    second.join().expect("no panic");
    shared.run(0, 1);
}

/// A CPU changes the tables of a context and invalidates its ASID, if it has one, while another
/// runs it for the first time.
pub fn a_change_reaches_a_context_that_begins_to_run() {
    let shared = Shared::new();
    shared.run(1, 1);
    let other = Arc::clone(&shared);
    let second = thread::spawn(move || {
        become_cpu(1);
        other.run(1, 0);
        // A walk.
        other.entry.load(Ordering::Relaxed)
    });
    shared.entry.store(1, Ordering::Relaxed);
    fence(Ordering::SeqCst);
    let invalidates = shared.contexts[0].asid().is_some();
    let found = second.join().expect("no panic");
    assert!(invalidates || found == 1, "an old translation stays in the TLB");
}
