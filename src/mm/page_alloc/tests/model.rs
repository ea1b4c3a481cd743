//! Random sequences against a model: the set of blocks that are owned.

use super::*;
use crate::arch::hosted::Machine;
use crate::mm::mmzone::MAX_NUMNODES;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Mutex;

#[derive(Clone, Debug)]
enum Op {
    Alloc { gfp: u8, order: u8 },
    Free { which: usize },
    Split { which: usize },
    Share { which: usize },
    Drain,
    OnCpu { cpu: usize },
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        12 => (0..GFPS.len() as u8, prop_oneof![6 => Just(0u8), 3 => 0..=10u8])
            .prop_map(|(gfp, order)| Op::Alloc { gfp, order }),
        8 => any::<usize>().prop_map(|which| Op::Free { which }),
        1 => any::<usize>().prop_map(|which| Op::Split { which }),
        1 => any::<usize>().prop_map(|which| Op::Share { which }),
        1 => Just(Op::Drain),
        1 => (0..4usize).prop_map(|cpu| Op::OnCpu { cpu }),
    ]
}

const GFPS: [Gfp; 8] = [
    Gfp::GFP_KERNEL,
    Gfp::GFP_KERNEL.union(Gfp::__GFP_ZERO),
    Gfp::GFP_HIGHUSER_MOVABLE,
    Gfp::GFP_KERNEL.union(Gfp::__GFP_RECLAIMABLE),
    Gfp::GFP_ATOMIC,
    Gfp::GFP_KERNEL.union(Gfp::__GFP_COMP),
    Gfp::GFP_DMA,
    Gfp::GFP_KERNEL.union(Gfp::__GFP_MEMALLOC),
];

/// State of the model: blocks by their first frame, with order and references.
struct Model {
    ram: Vec<PfnRange>,
    dma_limit: Pfn,
    owned: BTreeMap<u32, (Frame, Order, u32)>,
}

impl Model {
    fn pages(&self) -> u32 {
        self.owned.values().map(|(_, order, _)| order.pages()).sum()
    }

    fn add(&mut self, frame: Frame, order: Order) {
        let block = PfnRange::new(frame.pfn(), frame.pfn() + order.pages());
        assert!(frame.pfn().is_aligned(order), "{frame:?} of {order} is not aligned");
        assert!(self.ram.iter().any(|ram| ram.contains_range(block)), "{block:?} is not RAM");
        let below = self.owned.range(..block.end().get()).next_back();
        if let Some((_, (other, order, _))) = below {
            assert!(other.pfn() + order.pages() <= block.start(), "{frame:?} overlaps {other:?}");
        }
        self.owned.insert(block.start().get(), (frame, order, 1));
        let tag = block.start().get();
        bytes(frame)[..4].copy_from_slice(&tag.to_le_bytes());
        bytes(frame.within(order, order.pages() - 1))[4092..].copy_from_slice(&tag.to_le_bytes());
    }

    /// The block that `which` falls on.
    fn pick(&self, which: usize) -> Option<(Frame, Order, u32)> {
        let n = which % self.owned.len().max(1);
        self.owned.values().nth(n).copied()
    }

    fn step(&mut self, op: &Op) {
        match *op {
            Op::Alloc { gfp, order: n } => {
                let (gfp, order) = (GFPS[gfp as usize], order(n));
                let Some(frame) = alloc_pages(gfp | Gfp::__GFP_NOWARN, order) else { return };
                if gfp.contains(Gfp::__GFP_ZERO) {
                    assert!(frame.block(order).all(|f| bytes(f).iter().all(|&b| b == 0)));
                }
                if gfp.contains(Gfp::__GFP_DMA) {
                    assert!(frame.pfn() < self.dma_limit, "{frame:?} is not DMA");
                }
                for single in frame.block(order).skip(1) {
                    let comp = gfp.contains(Gfp::__GFP_COMP);
                    assert_eq!(compound_head(single), if comp { frame } else { single });
                }
                self.add(frame, order);
            }
            Op::Free { which } => {
                let Some((frame, order, refs)) = self.pick(which) else { return };
                let tag = frame.pfn().get();
                assert_eq!(bytes(frame)[..4], tag.to_le_bytes());
                assert_eq!(
                    bytes(frame.within(order, order.pages() - 1))[4092..],
                    tag.to_le_bytes()
                );
                if refs > 1 {
                    put_page(frame);
                    self.owned.insert(tag, (frame, order, refs - 1));
                } else {
                    if which % 2 == 0 {
                        put_page(frame)
                    } else {
                        free_pages(frame, order)
                    }
                    self.owned.remove(&tag);
                }
            }
            Op::Split { which } => {
                let Some((frame, order, refs)) = self.pick(which) else { return };
                if refs > 1 || frame.page().flags().contains(PageFlags::HEAD) {
                    return;
                }
                split_page(frame, order);
                self.owned.remove(&frame.pfn().get());
                for single in frame.block(order) {
                    self.add(single, Order::ZERO);
                }
            }
            Op::Share { which } => {
                let Some((frame, order, refs)) = self.pick(which) else { return };
                get_page(frame.within(order, 0));
                self.owned.insert(frame.pfn().get(), (frame, order, refs + 1));
            }
            Op::Drain => drain_all_pages(),
            Op::OnCpu { .. } => {}
        }
    }
}

/// Runs `ops`, each on the CPU that the `OnCpu` before it names.
fn run(m: &Machine, model: Model, ops: &[Op]) {
    let used = nr_used_pages();
    let model = Mutex::new(model);
    let mut cpu = 0;
    for part in ops.chunk_by(|_, next| !matches!(next, Op::OnCpu { .. })) {
        if let Op::OnCpu { cpu: next } = part[0] {
            cpu = next;
        }
        m.on_cpus(4, |i| {
            if i != cpu {
                return;
            }
            let mut model = model.lock().unwrap();
            for op in part {
                model.step(op);
                check_sums();
                assert_eq!(nr_used_pages(), used + model.pages());
            }
        });
    }
    let mut model = model.into_inner().unwrap();
    while !model.owned.is_empty() {
        model.step(&Op::Free { which: 0 });
    }
    assert_eq!(nr_used_pages(), used);
    m.on_cpus(4, |_| with_masked(drain_local_pages));
    check_sums();
    assert!(zones().all(|zone| zone.pcp == 0));
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases: if cfg!(miri) { 1 } else { cases },
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    proptest::collection::vec(op(), 1..if cfg!(miri) { 30 } else { 120 })
}

proptest! {
    #![proptest_config(config(24))]

    #[test]
    fn one_range(ops in ops()) {
        let size = if cfg!(miri) { MIB } else { 16 * MIB };
        let ranges = [ram(0x4000_0000, size)];
        on(&ranges, |m| run(m, Model {
            ram: ranges.iter().map(|r| r.whole_pages()).collect(),
            dma_limit: Pfn::new(1 << 20),
            owned: BTreeMap::new(),
        }, &ops));
    }

    /// Ragged edges, holes, three zones and a section boundary.
    #[test]
    fn holes_and_zones(ops in ops(), edge in 0..1000u64, hole in 1..900u64) {
        let start = 0x4800_0000 - 5 * MIB + edge * 4096;
        let ranges = [
            ram(start, 2 * MIB),
            ram(start + 2 * MIB + hole * 4096, 3 * MIB + 12288),
            ram(0x4800_0000 + 8 * MIB, 6 * MIB + edge * 4096),
        ];
        Machine::run(&ranges, |m| {
            let limits = ZoneLimits {
                dma: Pfn::new(0x48100),
                dma32: Pfn::new(0x48800 + 7),
                movable: [Pfn::new(0x48800 + 1100); MAX_NUMNODES],
            };
            let free = ranges.iter().map(|r| r.whole_pages());
            let present = free.clone().map(|r| (NodeId::FIRST, r));
            let mapped = crate::mm::sparse::Populate::Mapped;
            // SAFETY: all RAM of this machine is fresh.
            unsafe { free_area_init(limits, present, free.clone(), mapped) }.unwrap();
            run(m, Model {
                ram: free.collect(),
                dma_limit: limits.dma,
                owned: BTreeMap::new(),
            }, &ops);
        });
    }
}
