//! Random operations against a model, and several CPUs at once.

use super::*;

#[derive(Clone, Debug)]
enum Op {
    Vmalloc(usize),
    Vmap(usize),
    Free(usize),
    Purge,
    Shrink,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (1usize..20).prop_map(Op::Vmalloc),
        1 => (250usize..270).prop_map(Op::Vmalloc),
        2 => (1usize..9).prop_map(Op::Vmap),
        6 => any::<usize>().prop_map(Op::Free),
        1 => Just(Op::Purge),
        1 => Just(Op::Shrink),
    ]
}

/// Areas in use, as `address -> (pages, tag)`; those without a tag are vmap's.
type Model = BTreeMap<VirtAddr, (usize, Option<u64>)>;

fn step(m: &Machine, model: &mut Model, op: &Op, tag: u64, shared: &[Frame]) {
    match *op {
        Op::Vmalloc(pages) => {
            let Some(va) = vmalloc(pages * PAGE_SIZE - 7, Gfp::GFP_KERNEL) else { return };
            fill(m, va, pages, tag);
            assert_eq!(init_mm::translate(va + pages * PAGE_SIZE), None, "the guard page");
            assert!(model.insert(va, (pages, Some(tag))).is_none());
        }
        Op::Vmap(pages) => {
            let Some(va) = vmap(&shared[..pages], KernelAttrs::KERNEL) else { return };
            assert_eq!(vmalloc_to_page(va + (pages - 1) * PAGE_SIZE), Some(shared[pages - 1]));
            assert!(model.insert(va, (pages, None)).is_none());
        }
        Op::Free(n) => {
            if let Some(va) = model.keys().nth(n % model.len().max(1)).copied() {
                match model.remove(&va).unwrap() {
                    (pages, Some(tag)) => {
                        check(m, va, pages, tag);
                        vfree(va);
                    }
                    (_, None) => vunmap(va),
                }
            }
        }
        Op::Purge => vm_unmap_aliases(),
        Op::Shrink => shrink(),
    }
}

fn end(m: &Machine, mut model: Model, shared: &[Frame]) {
    while !model.is_empty() {
        step(m, &mut model, &Op::Free(0), 0, shared);
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 2 } else { 60 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]
    #[test]
    fn vmalloc_random_operations_agree_with_the_model(
        ops in prop::collection::vec(op(), 1..if cfg!(miri) { 20 } else { 120 })
    ) {
        machine(4096, |m| {
            init(1, 8192);
            let shared = some_frames(9);
            let before = used_pages();
            let mut model = Model::new();
            for (tag, op) in ops.iter().enumerate() {
                step(m, &mut model, op, tag as u64, &shared);
                validate();
                let areas: Vec<_> = vmallocinfo().map(|i| (i.range, i.nr_pages as usize)).collect();
                let expected = model.iter().map(|(va, (n, _))| (range(*va, n + 1), *n));
                assert_eq!(areas, expected.collect::<Vec<_>>());
            }
            end(m, model, &shared);
            shrink();
            validate();
            assert_eq!(vmalloc_stat(), VmallocStat::default());
            assert_eq!(used_pages(), before);
        });
    }
}

pub(super) fn some_frames(n: usize) -> Vec<Frame> {
    (0..n).map(|_| alloc_pages::alloc_pages(Gfp::GFP_KERNEL, Order::ZERO).unwrap()).collect()
}

#[test]
fn vmalloc_on_several_cpus_keeps_areas_apart() {
    let rounds = if cfg!(miri) { 10 } else { 1500 };
    machine(8192, |m| {
        init(1, 8192);
        let shared = some_frames(9);
        let before = used_pages();
        m.on_cpus(4, |cpu| {
            let mut random = 0x9e37_79b9_7f4a_7c15 ^ (cpu as u64 + 1);
            let mut model = Model::new();
            for round in 0..rounds {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                let n = (random >> 8) as usize;
                let op = match random % 16 {
                    0..6 => Op::Vmalloc(n % 12 + 1),
                    6..8 => Op::Vmap(n % 9 + 1),
                    15 if n.is_multiple_of(8) => Op::Shrink,
                    15 => Op::Purge,
                    _ => Op::Free(n),
                };
                step(m, &mut model, &op, (cpu * rounds + round) as u64, &shared);
            }
            end(m, model, &shared);
        });
        validate();
        shrink();
        validate();
        assert_eq!(vmalloc_stat(), VmallocStat::default());
        assert_eq!(used_pages(), before);
    });
}
