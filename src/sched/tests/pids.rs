//! Pids against a model.

use super::*;
use crate::sched::pid::{PID_MAX_DEFAULT, PidMap, PidTable, RESERVED_PIDS};
use std::collections::BTreeSet;

#[derive(Clone, Debug)]
enum Step {
    Alloc(u32),
    Free(usize),
    FreeMany(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => prop_oneof![1..5u32, 1..12_000u32].prop_map(Step::Alloc),
        4 => any::<usize>().prop_map(Step::Free),
        1 => (1..4000usize).prop_map(Step::FreeMany),
    ];
    prop::collection::vec(step, 1..30)
}

/// Numbers that are free, in a set: what a search through all of them finds next is the first of
/// those after the last one.
struct Model {
    free: BTreeSet<u32>,
    taken: BTreeSet<u32>,
    last: u32,
}

impl Model {
    fn new() -> Self {
        Self { free: (1..PID_MAX_DEFAULT).collect(), taken: BTreeSet::new(), last: 0 }
    }
    fn alloc(&mut self) -> Option<u32> {
        let begin = if self.last >= RESERVED_PIDS { RESERVED_PIDS } else { 1 };
        let after = self.free.range(self.last + 1..).next();
        let pid = *after.or_else(|| self.free.range(begin..=self.last.max(begin)).next())?;
        self.free.remove(&pid);
        self.taken.insert(pid);
        self.last = pid;
        Some(pid)
    }
    fn release(&mut self, pid: u32) {
        assert!(self.taken.remove(&pid) && self.free.insert(pid));
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 1 } else { 32 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn are_given_out_as_the_model_does(steps in steps()) {
        let (mut map, mut model) = (PidMap::new(), Model::new());
        for step in steps {
            match step {
                Step::Alloc(n) => {
                    for _ in 0..n {
                        prop_assert_eq!(map.alloc(), model.alloc());
                    }
                }
                Step::Free(n) => {
                    let n = n % model.taken.len().max(1);
                    let Some(&pid) = model.taken.iter().nth(n) else { continue };
                    model.release(pid);
                    map.free(pid);
                }
                Step::FreeMany(n) => {
                    let some: Vec<u32> = model.taken.iter().copied().step_by(2).take(n).collect();
                    for pid in some {
                        model.release(pid);
                        map.free(pid);
                    }
                }
            }
            for from in [0, 1, 63, 64, 300, 5000, model.last, PID_MAX_DEFAULT - 1] {
                let next = model.taken.range(from.max(1)..).next().copied();
                prop_assert_eq!(map.taken_from(from), next);
            }
        }
    }
}

#[test]
fn run_out_and_come_back_in_turn() {
    let mut map = PidMap::new();
    for pid in 1..PID_MAX_DEFAULT {
        assert_eq!(map.alloc(), Some(pid));
    }
    assert_eq!(map.alloc(), None);
    // The first ones are not given out again; of the others, the one that is next.
    for pid in [5, 299, 400, 20_000] {
        map.free(pid);
    }
    assert_eq!([0; 3].map(|_| map.alloc()), [Some(400), Some(20_000), None]);
    // One that was freed is not the next, where others are free.
    map.free(20_000);
    map.free(20_001);
    assert_eq!([0; 3].map(|_| map.alloc()), [Some(20_001), Some(20_000), None]);
}

#[test]
#[should_panic = "pid 7 is not taken"]
fn a_pid_is_freed_once() {
    let mut map = PidMap::new();
    (1..=7).for_each(|pid| assert_eq!(map.alloc(), Some(pid)));
    map.free(7);
    map.free(7);
}

#[test]
fn tasks_are_found_by_their_pids() {
    let mut table = PidTable::new();
    let tasks: Vec<TaskRef> = (0..600).map(|_| task("a")).collect();
    assert!(tasks.iter().all(|task| table.insert(task)));
    assert!((1..=600).all(|pid| table.find(pid).as_ref() == tasks.get(pid as usize - 1)));
    assert!(table.find(601).is_none() && table.find(0).is_none() && table.len() == 600);
    // 3 and 259 share a bucket.
    drop(table.remove(&tasks[2]));
    assert!(table.find(3).is_none() && table.find(259).is_some() && tasks[2].pid() == 0);
    assert!(table.remove(&tasks[2]).is_none() && references(&tasks[2]) == 1);
    let from = |pid: u32| table.find_from(pid).map(|task| task.pid());
    assert_eq!(
        [from(0), from(2), from(3), from(600), from(601)],
        [Some(1), Some(2), Some(4), Some(600), None]
    );
    assert!(table.insert(&tasks[2]) && tasks[2].pid() == 601);
}

#[test]
fn a_table_without_free_pids_says_so() {
    let mut table = PidTable::new();
    let last = task("last");
    let tasks: Vec<TaskRef> = (1..PID_MAX_DEFAULT).map(|_| task("a")).collect();
    assert!(tasks.iter().all(|task| table.insert(task)));
    assert!(!table.insert(&last) && references(&last) == 1 && last.pid() == 0);
    drop(table.remove(&tasks[1000]));
    assert!(table.insert(&last) && last.pid() == 1001);
}
