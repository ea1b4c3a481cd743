//! Lending, and the bitmap, against models.

use super::*;

#[derive(Clone, Debug)]
enum Op {
    Alloc { movable: bool, order: u8 },
    Free { which: usize },
    Cma { count: u32, align: u8 },
    Release { which: usize },
    Drain,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (any::<bool>(), prop_oneof![4 => Just(0u8), 1 => 0..=9u8])
            .prop_map(|(movable, order)| Op::Alloc { movable, order }),
        5 => any::<usize>().prop_map(|which| Op::Free { which }),
        3 => (prop_oneof![1..40u32, 1..600u32], 0..=9u8)
            .prop_map(|(count, align)| Op::Cma { count, align }),
        2 => any::<usize>().prop_map(|which| Op::Release { which }),
        1 => Just(Op::Drain),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 1 } else { 24 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Lending and taking back, against the set of what is owned.
    #[test]
    fn lending_against_a_model(
        ops in proptest::collection::vec(op(), 1..if cfg!(miri) { 12 } else { 100 }),
        per_bit in 0..4u8,
    ) {
        with_area(6, per_bit, |_, cma| {
            let used = nr_used_pages();
            let mut pages: Vec<(Frame, Order)> = Vec::new();
            let mut runs: Vec<(Frame, u32)> = Vec::new();
            for op in ops {
                match op {
                    Op::Alloc { movable, order } => {
                        let order = Order::new(order).unwrap();
                        let gfp = if movable { MOVABLE } else { KERNEL };
                        if let Some(frame) = alloc_pages(gfp, order) {
                            assert!(movable || !cma.range().contains(frame.pfn()));
                            pages.push((frame, order));
                        }
                    }
                    Op::Free { which } if !pages.is_empty() => {
                        let (frame, order) = pages.swap_remove(which % pages.len());
                        // SAFETY: allocated here, and nobody uses it any more.
                        unsafe { free_pages(frame, order) };
                    }
                    Op::Cma { count, align } => {
                        let align = Order::new(align).unwrap();
                        if let Some(frame) = cma_alloc(cma, count, align) {
                            assert!(frame.pfn().is_aligned(align));
                            runs.push((frame, count));
                        }
                    }
                    Op::Release { which } if !runs.is_empty() => {
                        let (frame, count) = runs.swap_remove(which % runs.len());
                        // SAFETY: allocated here, and nobody uses it any more.
                        assert!(unsafe { cma_release(cma, frame, count) });
                    }
                    Op::Drain => with_masked(drain_local_pages),
                    _ => {}
                }
                check();
                let mut owned: Vec<_> = pages.iter().map(|(f, o)| (f.pfn(), o.pages()))
                    .chain(runs.iter().map(|(f, n)| (f.pfn(), *n))).collect();
                owned.sort();
                assert!(owned.windows(2).all(|w| w[0].0 + w[0].1 <= w[1].0), "overlap");
                assert_eq!(nr_used_pages() - used, owned.iter().map(|o| o.1).sum::<u32>());
                let unit = |n: u32| n.next_multiple_of(1 << per_bit);
                assert_eq!(cma.info().allocated, runs.iter().map(|r| unit(r.1)).sum::<u32>());
            }
        });
    }

    /// The bit map against a vector of flags.
    #[test]
    fn bitmap_against_a_model(
        bits in 1..300usize,
        ops in proptest::collection::vec(
            (0..300usize, 1..70usize, 0..5u32, 0..16usize, any::<bool>()), 1..60),
    ) {
        let words: Vec<AtomicU64> = (0..bits.div_ceil(64)).map(|_| AtomicU64::new(0)).collect();
        prop_assert!(Bitmap::new(&words, words.len() * 64 + 1).is_none());
        let map = Bitmap::new(&words, bits).unwrap();
        let mut model = std::vec![false; bits];
        for (from, count, align, offset, set) in ops {
            let align = 1 << align;
            let offset = offset & (align - 1);
            let expected = (from..bits).find(|at| {
                (at + offset) % align == 0 && at + count <= bits
                    && !model[*at..at + count].contains(&true)
            });
            prop_assert_eq!(map.find_zero_area(from, count, align, offset), expected);
            if let Some(at) = expected.filter(|_| set) {
                map.set(at..at + count);
                model[at..at + count].fill(true);
            } else {
                let range = from.min(bits)..(from + count).min(bits);
                map.clear(range.clone());
                model[range].fill(false);
            }
            let part = bits / 3..bits - bits / 4;
            let set = model[part.clone()].iter().filter(|b| **b).count();
            prop_assert_eq!(map.count(part), set);
            let longest = model.split(|b| *b).map(<[bool]>::len).max().unwrap();
            prop_assert_eq!(map.longest_zero_area(), longest);
        }
    }
}
