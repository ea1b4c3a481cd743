//! Random operations against a model of single pages.

use super::*;
use crate::mm::memory::Resident;
use proptest::prelude::*;
use std::vec::Vec;

/// Pages of the model: seven tables.
const PAGES: usize = 7 * 512;

#[derive(Clone, Copy, PartialEq, Debug)]
enum Content {
    /// An empty entry, or the zero page.
    Zero,
    /// A page with this word.
    Own(u64),
    Guard,
}

#[derive(Clone, Copy, Debug)]
struct Page {
    content: Content,
    prot: Prot,
}

#[derive(Clone, Debug)]
enum Op {
    Read(usize),
    Write(usize, u64),
    Zap(usize, usize, Zap),
    Protect(usize, usize, Prot),
    Move(usize, usize, usize),
    Guard(usize, usize),
    Unguard(usize, usize),
    FreeTables(usize, usize),
    Populate(usize, usize, bool),
}

/// A place near the border of a table, or anywhere.
fn place() -> impl Strategy<Value = usize> {
    prop_oneof![
        0..PAGES,
        (0..7usize, 0..6usize).prop_map(|(n, at)| (n * 512 + at).saturating_sub(3))
    ]
}

fn pages() -> impl Strategy<Value = usize> {
    prop_oneof![4 => 1..5usize, 2 => 1..40usize, 1 => Just(512usize), 1 => Just(1024usize)]
}

fn op() -> impl Strategy<Value = Op> {
    let prot = prop_oneof![Just(RW), Just(Prot::READ), Just(Prot::empty())];
    let which = prop_oneof![Just(Zap::All), Just(Zap::Pages), Just(Zap::FilePages)];
    prop_oneof![
        6 => place().prop_map(Op::Read),
        12 => (place(), any::<u64>()).prop_map(|(at, value)| Op::Write(at, value | 1)),
        4 => (place(), pages(), which).prop_map(|(at, n, which)| Op::Zap(at, n, which)),
        4 => (place(), pages(), prot).prop_map(|(at, n, prot)| Op::Protect(at, n, prot)),
        3 => (place(), place(), pages()).prop_map(|(from, to, n)| Op::Move(from, to, n)),
        2 => (0..6usize, 0..6usize).prop_map(|(from, to)| Op::Move(from * 512, to * 512, 512)),
        1 => (place(), 1..5usize).prop_map(|(at, n)| Op::Guard(at, n)),
        1 => (place(), 1..5usize).prop_map(|(at, n)| Op::Unguard(at, n)),
        1 => (place(), pages()).prop_map(|(at, n)| Op::FreeTables(at, n)),
        1 => (place(), 1..5usize, any::<bool>()).prop_map(|(at, n, w)| Op::Populate(at, n, w)),
    ]
}

struct Model(Vec<Page>);

impl Model {
    fn clamp(at: usize, n: usize) -> (usize, usize) {
        (at, n.min(PAGES - at))
    }

    fn area(&self, rig: &Rig<'_>, page: usize) -> Area<'static> {
        rig.area(page, 1, self.0[page].prot)
    }

    fn expect(&self, page: usize, write: bool) -> Result<(), Fault> {
        let Page { content, prot } = self.0[page];
        match (prot.contains(Prot::WRITE), prot.is_empty()) {
            (_, true) => Err(Fault::AccErr),
            (false, _) if write => Err(Fault::AccErr),
            _ if content == Content::Guard => Err(Fault::MapErr),
            _ => Ok(()),
        }
    }

    fn apply(&mut self, rig: &Rig<'_>, op: &Op) {
        match *op {
            Op::Read(at) => self.read(rig, at),
            Op::Write(at, value) => {
                let want = self.expect(at, true);
                assert_eq!(rig.write(&self.area(rig, at), at, value), want, "write of page {at}");
                if want.is_ok() {
                    self.0[at].content = Content::Own(value);
                }
            }
            Op::Zap(at, n, which) => {
                let (at, n) = Self::clamp(at, n);
                rig.tables.zap(range(at, n), which);
                for page in &mut self.0[at..at + n] {
                    page.content = match (page.content, which) {
                        (Content::Guard, Zap::All) => Content::Zero,
                        (Content::Own(_), Zap::All | Zap::Pages) => Content::Zero,
                        (content, _) => content,
                    };
                }
            }
            Op::Protect(at, n, prot) => {
                let (at, n) = Self::clamp(at, n);
                rig.tables.change_protection(range(at, n), attrs(prot), false);
                self.0[at..at + n].iter_mut().for_each(|page| page.prot = prot);
            }
            Op::Move(from, to, n) => {
                let n = n.min(PAGES - from.max(to)).min(from.abs_diff(to));
                if n == 0 {
                    return;
                }
                rig.tables.zap(range(to, n), Zap::All);
                if from % 2 == 0 {
                    rig.tables.free_tables(range(to, n));
                }
                let moved = rig.tables.move_tables(address(from), address(to), n * PAGE_SIZE);
                assert_eq!(moved, Ok(()));
                for k in 0..n {
                    self.0[to + k] = self.0[from + k];
                    self.0[from + k] = Page { content: Content::Zero, prot: RW };
                }
            }
            Op::Guard(at, n) => {
                let (at, n) = Self::clamp(at, n);
                rig.tables.install_guard(range(at, n)).expect("memory");
                self.0[at..at + n].iter_mut().for_each(|page| page.content = Content::Guard);
            }
            Op::Unguard(at, n) => {
                let (at, n) = Self::clamp(at, n);
                rig.tables.remove_guard(range(at, n));
                for page in &mut self.0[at..at + n] {
                    if page.content == Content::Guard {
                        page.content = Content::Zero;
                    }
                }
            }
            Op::FreeTables(at, n) => {
                let (at, n) = Self::clamp(at, n);
                rig.tables.free_tables(range(at, n));
            }
            Op::Populate(at, n, write) => {
                let (at, n) = Self::clamp(at, n);
                for page in at..at + n {
                    let want = self.expect(page, write);
                    let got = rig.tables.populate(&self.area(rig, page), range(page, 1), write);
                    // What is there with more rights needs no fault, so that nobody asks the area.
                    assert_eq!(got, want, "populate page {page}");
                    if got.is_ok() && write && self.0[page].content == Content::Zero {
                        self.0[page].content = Content::Own(0);
                    }
                }
            }
        }
    }

    fn read(&self, rig: &Rig<'_>, at: usize) {
        let want = self.expect(at, false).map(|()| match self.0[at].content {
            Content::Own(value) => value,
            _ => 0,
        });
        assert_eq!(rig.read(&self.area(rig, at), at), want, "read of page {at}");
    }

    /// Checks all pages that are there, and the counters.
    fn check(&self, rig: &Rig<'_>) {
        rig.tables.validate().expect("all adds up");
        let own = self.0.iter().filter(|page| matches!(page.content, Content::Own(_))).count();
        assert_eq!(rig.tables.rss(MmCounter::Anon), own);
        assert_eq!(node_page_state(None, NodeStat::AnonMapped), own);
        let mut seen = 0;
        rig.tables.resident(range(0, PAGES), |at, what| {
            let page = (at.get() - VA.get()) / PAGE_SIZE;
            match (what, self.0[page].content) {
                (Resident::Page(..), Content::Own(_)) => seen += 1,
                (Resident::Special(_), Content::Zero) | (Resident::Guard, Content::Guard) => {}
                other => panic!("page {page}: {other:?}"),
            }
        });
        assert_eq!(seen, own);
    }
}

fn run(tcr: u64, seed: u64, ops: &[Op]) {
    Rig::run(seed, tcr, |rig| {
        let mut model = Model(std::vec![Page { content: Content::Zero, prot: RW }; PAGES]);
        for op in ops {
            model.apply(rig, op);
        }
        model.check(rig);
        for page in 0..PAGES {
            if model.0[page].content != Content::Zero || page % 97 == 0 {
                model.read(rig, page);
            }
        }
        model.check(rig);
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 1 } else { 24 }))]

    #[test]
    fn operations_do_what_a_model_of_pages_says(
        seed in any::<u64>(),
        hardware in any::<bool>(),
        ops in proptest::collection::vec(op(), 1..60),
    ) {
        run(if hardware { TCR | HAFDBS } else { TCR }, seed, &ops);
    }
}
