//! The policy against a model of CPUs with TLBs that forget nothing until they are flushed.

use super::*;
use proptest::prelude::*;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::string::ToString;
use std::vec::Vec;

/// A context, by number.
type Name = usize;

/// A machine of 8 CPUs with ASIDs of 4 bits: 15 for contexts.
const CPUS: usize = 8;
const BITS: u32 = 4;

#[derive(Default)]
struct Cpu {
    /// The context whose tables are installed, and the ASID they are installed under.
    runs: Cell<Option<(Name, Asid)>>,
    /// Entries: the contexts that they are of, by the ASID that they bear.
    tlb: RefCell<BTreeMap<Asid, BTreeSet<Name>>>,
    flushes: Cell<usize>,
    /// Barriers since the last switch.
    barriers: Cell<usize>,
    reserved: Cell<usize>,
}

struct Machine<const CPUS: usize, const WORDS: usize> {
    cpus: Vec<Cpu>,
    contexts: Vec<Context>,
    asids: Asids<[ActiveAsid; CPUS]>,
    map: RefCell<AsidMap<CPUS, WORDS>>,
    cnp: bool,
}

/// A CPU of the machine.
struct Own<'a> {
    cpu: &'a Cpu,
    number: usize,
    cnp: bool,
}

impl Ttbr0 for Own<'_> {
    type Root = Name;

    fn cpu(&self) -> CpuId {
        CpuId::new(self.number).unwrap()
    }
    fn has_cnp(&self) -> bool {
        self.cnp
    }
    fn set_reserved(&self) {
        self.cpu.reserved.set(self.cpu.reserved.get() + 1);
    }
    fn dsb_ish(&self) {
        self.cpu.barriers.set(self.cpu.barriers.get() + 1);
    }
    fn local_flush_tlb_all(&self) {
        self.cpu.flushes.set(self.cpu.flushes.get() + 1);
        self.cpu.tlb.borrow_mut().clear();
        // What was installed still is, and may be walked ahead of use.
        if let Some((name, asid)) = self.cpu.runs.get() {
            self.cpu.tlb.borrow_mut().entry(asid).or_default().insert(name);
        }
    }
    fn switch_mm(&self, root: Name, asid: Asid) {
        assert_ne!(asid, Asid::RESERVED, "a context has the ASID of none");
        self.cpu.runs.set(Some((root, asid)));
        let mut tlb = self.cpu.tlb.borrow_mut();
        let entries = tlb.entry(asid).or_default();
        entries.insert(root);
        assert_eq!(entries.len(), 1, "CPU {}: entries of others under {asid:?}", self.number);
    }
}

impl<const CPUS: usize, const WORDS: usize> Machine<CPUS, WORDS> {
    fn new(bits: u32, contexts: usize) -> Self {
        let mut map = AsidMap::new();
        map.init(bits, CPUS).unwrap();
        Self {
            cpus: (0..CPUS).map(|_| Cpu::default()).collect(),
            contexts: (0..contexts).map(|_| Context::new()).collect(),
            asids: Asids::new([const { ActiveAsid::new() }; CPUS]),
            map: RefCell::new(map),
            cnp: false,
        }
    }
    fn run(&self, number: usize, name: Name) {
        let own = Own { cpu: &self.cpus[number], number, cnp: self.cnp };
        own.cpu.barriers.set(0);
        let lock = || self.map.borrow_mut();
        self.asids.check_and_switch_context(&own, &self.contexts[name], name, lock);
    }
    /// The context of `name` is destroyed, and another is created in its place.
    fn replace(&mut self, name: Name) {
        if self.cpus.iter().any(|cpu| cpu.runs.get().is_some_and(|(runs, _)| runs == name)) {
            return;
        }
        // As at the end of an address space: nothing of it stays in TLBs.
        for cpu in &self.cpus {
            cpu.tlb.borrow_mut().values_mut().for_each(|entries| {
                entries.remove(&name);
            });
        }
        self.contexts[name] = Context::new();
    }
    fn generation(&self) -> u64 {
        self.asids.generation.load(Relaxed) >> GENERATION_SHIFT
    }
    fn asid(&self, name: Name) -> u16 {
        self.contexts[name].asid().unwrap().get()
    }
    fn check(&self) {
        for cpu in &self.cpus {
            let Some((name, asid)) = cpu.runs.get() else { continue };
            assert_eq!(self.contexts[name].asid(), Some(asid), "context {name} runs and lost it");
            for other in &self.cpus {
                let shares = other.runs.get().is_some_and(|(n, a)| a == asid && n != name);
                assert!(!shares, "two contexts run under {asid:?}");
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Run(usize, Name),
    Replace(Name),
}

/// Steps among `contexts` contexts; a few of them run often, so that they live through roll-overs.
fn steps(contexts: usize) -> impl Strategy<Value = Vec<Step>> {
    let name = prop_oneof![1 => 0..4usize, 3 => 0..contexts];
    let run = (0..CPUS, name).prop_map(|(cpu, name)| Step::Run(cpu, name));
    let one = prop_oneof![15 => run, 1 => (0..contexts).prop_map(Step::Replace)];
    prop::collection::vec(one, 1..400)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 2 } else { 256 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Contexts that run at once never share an ASID; a CPU never finds entries of another context
    /// under an ASID; a context that runs through a roll-over keeps its ASID; and a generation
    /// ends only when each of its ASIDs was given out.
    #[test]
    fn no_context_sees_the_translations_of_another(steps in steps(40), cnp: bool) {
        let mut machine: Machine<CPUS, 1> = Machine::new(BITS, 40);
        machine.cnp = cnp;
        let mut given = BTreeSet::new();
        for step in steps {
            match step {
                Step::Run(cpu, name) => {
                    let before = machine.generation();
                    let running: Vec<_> = machine.cpus.iter().filter_map(|cpu| cpu.runs.get()).collect();
                    machine.run(cpu, name);
                    if machine.generation() != before {
                        assert_eq!(machine.generation(), before + 1);
                        assert_eq!(given.len(), (1 << BITS) - 1, "a roll-over with ASIDs left");
                        given = running.iter().map(|&(_, asid)| asid.get()).collect();
                    }
                    given.insert(machine.asid(name));
                }
                Step::Replace(name) => machine.replace(name),
            }
            machine.check();
        }
        let reserved: usize = machine.cpus.iter().map(|cpu| cpu.reserved.get()).sum();
        assert_eq!(reserved > 0, cnp && machine.cpus.iter().any(|cpu| cpu.runs.get().is_some()));
    }
}

/// Runs as many contexts as there are ASIDs, then one more.
fn exhaust<const WORDS: usize>(bits: u32) {
    let all = (1 << bits) - 1;
    let machine: Machine<2, WORDS> = Machine::new(bits, all + 1);
    machine.run(1, 0);
    for name in 0..all {
        machine.run(0, name);
        assert_eq!(usize::from(machine.asid(name)), name + 1, "they are given in order");
    }
    assert_eq!((machine.generation(), machine.cpus[0].flushes.get()), (1, 0));
    machine.run(0, all);
    assert_eq!(machine.generation(), 2);
    // 1 stays with the context that runs on CPU 1; 2 is the first that is free.
    assert_eq!((machine.asid(all), machine.asid(0)), (2, 1));
    assert_eq!(machine.cpus[0].flushes.get(), 1);
    assert_eq!(machine.cpus[1].flushes.get(), 0, "no sooner than its next switch");
    machine.run(1, 0);
    machine.run(1, all);
    machine.run(0, 0);
    let flushes = machine.cpus.iter().map(|cpu| cpu.flushes.get());
    assert!(flushes.eq([1, 1]), "once for each roll-over");
}

#[test]
fn asids_of_8_bits() {
    exhaust::<4>(8);
}

#[test]
fn asids_of_16_bits() {
    if !cfg!(miri) {
        exhaust::<1024>(16);
    }
}

#[test]
fn a_map_without_room_for_16_bits_serves_8() {
    exhaust::<4>(8);
    let mut map: AsidMap<2, 4> = AsidMap::new();
    map.init(16, 2).unwrap();
    assert_eq!(map.find_free(255), Some(255));
    assert!(map.take(255));
    assert_eq!(map.find_free(255), None);
}

#[test]
fn a_context_that_never_ran_has_nothing_to_invalidate() {
    let machine: Machine<2, 1> = Machine::new(BITS, 2);
    assert_eq!(machine.contexts[0].asid(), None);
    machine.run(0, 0);
    assert_eq!(machine.contexts[0].asid(), Some(Asid(1)));
    assert_eq!(machine.contexts[1].asid(), None);
}

#[test]
fn a_barrier_follows_a_new_asid_and_no_other_switch() {
    let machine: Machine<2, 1> = Machine::new(BITS, 2);
    machine.run(0, 0);
    assert_eq!(machine.cpus[0].barriers.get(), 1);
    machine.run(0, 1);
    assert_eq!(machine.cpus[0].barriers.get(), 1);
    machine.run(0, 0);
    assert_eq!(machine.cpus[0].barriers.get(), 0, "a switch that found all as it was");
}

#[test]
fn a_context_gets_its_asid_back_in_the_next_generation() {
    let machine: Machine<2, 1> = Machine::new(BITS, 16);
    (0..16).for_each(|name| machine.run(0, name));
    assert_eq!((machine.generation(), machine.asid(15)), (2, 1));
    machine.run(1, 8);
    assert_eq!((machine.generation(), machine.asid(8)), (2, 9));
}

#[test]
fn a_context_on_two_cpus_keeps_its_asid_over_two_roll_overs() {
    let machine: Machine<3, 1> = Machine::new(BITS, 40);
    machine.run(1, 0);
    machine.run(2, 0);
    let first = machine.asid(0);
    (1..16).for_each(|name| machine.run(0, name));
    assert_eq!(machine.generation(), 2);
    // CPU 1 finds its context again; CPU 2 switches to none.
    machine.run(1, 0);
    machine.run(1, 17);
    (18..33).for_each(|name| machine.run(0, name));
    assert_eq!(machine.generation(), 3);
    machine.run(1, 0);
    machine.check();
    assert_eq!(machine.asid(0), first);
}

#[test]
fn asids_for_all_cpus_and_one_more_context() {
    let mut map: AsidMap<16, 1> = AsidMap::new();
    assert!(map.init(4, 15).is_err());
    let text = map.init(4, 16).unwrap_err().to_string();
    assert_eq!(text, "16 ASIDs are too few for 16 CPUs");
    assert_eq!(map.init(4, 14), Ok(()));
}

#[test]
#[should_panic = "before there are any"]
fn no_asid_before_the_width_is_known() {
    AsidMap::<2, 1>::new().new_context(&Asids::new([ActiveAsid::new()]), 0);
}

#[test]
#[should_panic = "CPU 1 runs a context"]
fn no_context_on_a_cpu_that_roll_overs_forget() {
    let machine: Machine<2, 1> = Machine::new(BITS, 1);
    machine.map.borrow_mut().init(BITS, 1).unwrap();
    machine.run(0, 0);
    machine.run(1, 0);
}
