//! Lists of tasks against a model.

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Push(usize, usize),
    PushFront(usize, usize),
    Rotate(usize, usize),
    Insert(usize, usize),
    Pop(usize),
    Remove(usize, usize),
    Drop(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (list, task) = (0..2usize, 0..12usize);
    let step = prop_oneof![
        4 => (list.clone(), task.clone()).prop_map(|(l, t)| Step::Push(l, t)),
        4 => (list.clone(), task.clone()).prop_map(|(l, t)| Step::Insert(l, t)),
        2 => (list.clone(), task.clone()).prop_map(|(l, t)| Step::PushFront(l, t)),
        2 => (list.clone(), task.clone()).prop_map(|(l, t)| Step::Rotate(l, t)),
        2 => list.clone().prop_map(Step::Pop),
        4 => (list.clone(), task).prop_map(|(l, t)| Step::Remove(l, t)),
        1 => list.prop_map(Step::Drop),
    ];
    prop::collection::vec(step, 1..200)
}

fn key(task: &Task) -> u64 {
    task.wake_at()
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 4 } else { 256 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Two lists hold what two vectors hold, in the same order. A task is on one of them at most,
    /// a list takes off what is on it and nothing else, and a reference is held for each.
    #[test]
    fn hold_what_vectors_hold(steps in steps()) {
        let tasks: Vec<TaskRef> = (0..12).map(|n| task(&std::format!("{n}"))).collect();
        for (n, task) in tasks.iter().enumerate() {
            task.set_wake_at(n as u64 / 3);
        }
        let mut lists = [SchedList::new(), SchedList::new()];
        let mut model: [Vec<usize>; 2] = Default::default();
        for step in steps {
            match step {
                Step::Push(l, t) | Step::Insert(l, t) => {
                    if model.iter().any(|list| list.contains(&t)) {
                        continue;
                    }
                    if let Step::Push(..) = step {
                        lists[l].push_back(tasks[t].clone());
                        model[l].push(t);
                    } else {
                        lists[l].insert_sorted(tasks[t].clone(), key);
                        let before = model[l].iter().rposition(|&n| n / 3 <= t / 3);
                        model[l].insert(before.map_or(0, |at| at + 1), t);
                    }
                }
                Step::PushFront(l, t) | Step::Rotate(l, t) => {
                    if model.iter().any(|list| list.contains(&t)) {
                        continue;
                    }
                    if let Step::PushFront(..) = step {
                        lists[l].push_front(tasks[t].clone());
                        model[l].insert(0, t);
                    } else if model[l].is_empty() {
                        prop_assert_eq!(lists[l].rotate(tasks[t].clone()), Err(tasks[t].clone()));
                    } else {
                        let first = model[l].remove(0);
                        prop_assert_eq!(lists[l].rotate(tasks[t].clone()), Ok(tasks[first].clone()));
                        model[l].push(t);
                    }
                }
                Step::Pop(l) => {
                    let first = (!model[l].is_empty()).then(|| model[l].remove(0));
                    prop_assert_eq!(lists[l].pop_front(), first.map(|n| tasks[n].clone()));
                }
                Step::Remove(l, t) => {
                    let at = model[l].iter().position(|&n| n == t);
                    at.inspect(|&at| _ = model[l].remove(at));
                    prop_assert_eq!(lists[l].contains(&tasks[t]), at.is_some());
                    prop_assert_eq!(lists[l].remove(&tasks[t]), at.map(|_| tasks[t].clone()));
                }
                Step::Drop(l) => {
                    lists[l] = SchedList::new();
                    model[l].clear();
                }
            }
            for (list, model) in lists.iter().zip(&model) {
                let names: Vec<_> = list.iter().map(|task| task.comm()).collect();
                let expected: Vec<_> = model.iter().map(|&n| tasks[n].comm()).collect();
                prop_assert_eq!(&names, &expected);
                prop_assert_eq!((list.len(), list.is_empty()), (names.len(), names.is_empty()));
            }
            for (n, task) in tasks.iter().enumerate() {
                let held = model.iter().filter(|list| list.contains(&n)).count() as u32;
                prop_assert_eq!(references(task), 1 + held);
            }
        }
    }
}

#[test]
#[should_panic = "is on a list already"]
fn a_task_is_on_one_list() {
    let (task, mut first, mut second) = (task("a"), SchedList::new(), SchedList::new());
    first.push_back(task.clone());
    second.push_back(task);
}

/// A list that has never had a task takes none for its own.
#[test]
fn a_fresh_list_holds_nothing() {
    let mut list = SchedList::new();
    let task = task("a");
    assert!(!list.contains(&task) && list.remove(&task).is_none());
}
