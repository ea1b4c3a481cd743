use super::super::radix_tree::{InsertError, Nodes, RadixTree};
use super::on_machine;
use crate::mm::gfp::Gfp;
use crate::mm::slab::{FailSlab, set_failslab};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// Inserts as a caller does: with the nodes that the tree asks for, and no others.
fn insert(tree: &mut RadixTree<u32>, index: u64, value: u32) -> bool {
    let mut nodes = Nodes::new();
    match tree.insert(index, value, &mut nodes) {
        Ok(()) => true,
        Err(InsertError::Exists(back)) => {
            assert_eq!(back, value);
            false
        }
        Err(InsertError::Missing(back, missing)) => {
            assert_eq!(back, value);
            nodes.fill(missing, Gfp::GFP_KERNEL).expect("memory");
            assert!(tree.insert(index, value, &mut nodes).is_ok(), "it asked for {missing:?}");
            let spare = nodes.fill(missing, Gfp::GFP_NOWAIT);
            assert!(spare.is_ok());
            true
        }
    }
}

/// Indexes near each other, and near the ends of levels.
fn index() -> impl Strategy<Value = u64> {
    prop_oneof![
        0..200u64,
        (0..6u32, 0..3u64).prop_map(|(level, by)| (1u64 << (6 * level)).saturating_sub(1) + by),
        (0..64u64).prop_map(|n| (1 << 36) - 1 - n),
        any::<u64>(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn a_tree_is_a_map(steps in prop::collection::vec((0..5u8, index()), 1..300)) {
        on_machine(|_| {
            let mut tree = RadixTree::new();
            let mut model = BTreeMap::new();
            for (n, &(step, index)) in (0..).zip(&steps) {
                match step {
                    0..3 => {
                        let new = !model.contains_key(&index);
                        assert_eq!(insert(&mut tree, index, n), new);
                        model.entry(index).or_insert(n);
                    }
                    3 => assert_eq!(tree.remove(index), model.remove(&index)),
                    _ => {
                        let next = model.range(index..).next().map(|(&at, value)| (at, value));
                        assert_eq!(tree.next(index), next);
                    }
                }
                assert_eq!(tree.get(index), model.get(&index));
                assert_eq!(tree.len(), model.len());
            }
            for (&index, &value) in &model {
                assert_eq!(tree.remove(index), Some(value));
            }
            assert!(tree.next(0).is_none());
        });
    }
}

#[test]
fn an_insertion_without_memory_changes_nothing() {
    on_machine(|_| {
        let mut tree = RadixTree::new();
        assert!(insert(&mut tree, 5, 1));
        let mut nodes = Nodes::new();
        let Err(InsertError::Missing(2, missing)) = tree.insert(1 << 30, 2, &mut nodes) else {
            panic!("it needs nodes");
        };
        for space in 0..6 {
            set_failslab(Some(FailSlab { interval: 1, probability: 100, space, times: 1 }));
            let filled = Nodes::<u32>::new().fill(missing, Gfp::GFP_KERNEL);
            set_failslab(None);
            assert!(filled.is_err(), "allocation {space}");
            assert_eq!((tree.len(), tree.get(5), tree.get(1 << 30)), (1, Some(&1), None));
        }
    });
}
