//! Random edits against a map of pages.

mod pages;

use super::*;
use crate::arch::pgtable::{FlushOwed, MapFlags, MemoryType};
use pages::{Model, Op};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};
use std::sync::Mutex;
use std::vec;

const BASE: VirtAddr = VirtAddr::new(0xffff_0000_0000_0000);
/// Pages of the window that is edited: 8 MiB.
const WINDOW: usize = 2048;

fn any_attrs() -> impl Strategy<Value = KernelAttrs> {
    prop_oneof![
        4 => Just(KernelAttrs::KERNEL),
        2 => Just(KernelAttrs::KERNEL_RO),
        2 => Just(KernelAttrs::KERNEL_ROX),
        1 => Just(KernelAttrs::NORMAL_NC),
        1 => Just(KernelAttrs::data(MemoryType::DeviceNgnre, true)),
    ]
}

/// Single pages, sets of sixteen, whole blocks, and anything.
fn any_range() -> impl Strategy<Value = (usize, usize)> {
    prop_oneof![
        3 => (0..WINDOW, 1..40usize),
        2 => (0..WINDOW / 16, 1..5usize).prop_map(|(f, n)| (f * 16, n * 16)),
        2 => (0..WINDOW / 512, 1..3usize).prop_map(|(f, n)| (f * 512, n * 512)),
        1 => (0..WINDOW, 1..WINDOW),
    ]
}

fn any_op() -> impl Strategy<Value = Op> {
    let flags = prop_oneof![3 => Just(0u32), 1 => 0..4u32].prop_map(MapFlags::from_bits_retain);
    let shift = prop_oneof![4 => Just(0usize), 1 => 0..600usize];
    prop_oneof![
        6 => (any_range(), shift, any_attrs(), flags).prop_map(
            |((first, count), shift, attrs, flags)| Op::Map { first, count, shift, attrs, flags }),
        2 => ((0..WINDOW, 1..40usize), 1..4usize, any_attrs()).prop_map(
            |((first, count), stride, attrs)| Op::MapPages { first, count, stride, attrs }),
        5 => any_range().prop_map(|(first, count)| Op::Unmap { first, count }),
        3 => (any_range(), any_attrs()).prop_map(
            |((first, count), attrs)| Op::Protect { first, count, attrs }),
        3 => (any_range(), any::<bool>()).prop_map(
            |((first, count), valid)| Op::SetValid { first, count, valid }),
        2 => (0..WINDOW, any::<bool>()).prop_map(
            |(page, valid)| Op::SetPageValid { page, valid }),
        1 => (0..WINDOW, 1..60usize).prop_map(
            |(first, count)| Op::SplitToPages { first, count }),
        1 => any_range().prop_map(|(first, count)| Op::Split { first, count }),
        2 => (0..WINDOW / 512).prop_map(|block| Op::Collapse { block }),
        2 => (any_range(), any::<bool>()).prop_map(
            |((first, count), flush)| Op::Prune { first, count, flush }),
        2 => Just(Op::Flush),
        1 => Just(Op::FailNextAlloc),
    ]
}

/// Across the end of a PUD table, so that tables of all levels come and go.
const WINDOW_START: VirtAddr = VirtAddr::new(0xffff_8080_0000_0000 - WINDOW / 2 * PAGE_SIZE);

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 1 } else { 64 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn random_edits_do_what_the_model_says(
        seed: u64,
        eagerness in prop_oneof![Just(2u32), Just(32), Just(256)],
        tlb_range: bool,
        ops in prop::collection::vec((any_op(), 0..WINDOW), 1..if cfg!(miri) { 4 } else { 40 }),
    ) {
        Rig::run(Config { seed, cpus: 2, eagerness }, |rig| {
            crate::arch::mmu::set_tlb_range(tlb_range);
            let mut model = Model::new(WINDOW_START);
            for (op, page) in &ops {
                model.apply(rig.root, &mut rig.access, op);
                for page in [*page, page / 7, 1023, 1024] {
                    model.check(rig.machine.mmu(), page);
                }
                model.check_tables(rig.root, &mut rig.access);
                rig.mapper().validate(BASE).unwrap();
            }
            let all = model.range(0, WINDOW);
            model.flush();
            (0..WINDOW).step_by(61).for_each(|page| model.check(rig.machine.mmu(), page));
            rig.mapper().unmap(all).unwrap().flush();
            rig.mapper().prune(all, FlushOwed::NONE);
            assert_eq!(rig.access.in_use, 1, "tables are left over");
        });
    }
}

/// Several CPUs edit neighbouring windows, each checking its own through the eyes of all.
#[test]
fn cpus_edit_side_by_side() {
    let (cpus, rounds) = if cfg!(miri) { (2, 2) } else { (3, 400) };
    Rig::run(Config { seed: 5, cpus, eagerness: 16 }, |rig| {
        let (root, machine) = (rig.root, rig.machine);
        let access = Mutex::new(&mut rig.access);
        machine.on_cpus(cpus, |cpu| {
            let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[cpu as u8; 32]);
            let mut runner = TestRunner::new_with_rng(ProptestConfig::default(), rng);
            let mut model = Model::new(WINDOW_START + cpu * WINDOW * PAGE_SIZE);
            let strategy = (any_op(), 0..WINDOW);
            for _ in 0..rounds * (cpu + 1) {
                let (op, page) = strategy.new_tree(&mut runner).unwrap().current();
                let mut access = access.lock().unwrap_or_else(|e| e.into_inner());
                model.apply(root, &mut access, &op);
                model.check(machine.mmu(), page);
            }
            let mut access = access.lock().unwrap_or_else(|e| e.into_inner());
            model.flush();
            model.check_tables(root, &mut access);
        });
        rig.mapper().validate(BASE).unwrap();
    });
}

/// Edits of a few pages, sets and now and then a block: what many of can be tried.
fn any_small_op() -> impl Strategy<Value = Op> {
    let range = || {
        prop_oneof![
            12 => (0..SMALL, 1..6usize),
            4 => (0..SMALL / 16, 1..3usize).prop_map(|(f, n)| (f * 16, n * 16)),
            1 => Just((0, 512)),
        ]
    };
    let map = (range(), any_attrs(), 0..4u32);
    prop_oneof![
        7 => map.prop_map(|((first, count), attrs, flags)| Op::Map {
            first, count, shift: 0, attrs, flags: MapFlags::from_bits_retain(flags) }),
        1 => (0..SMALL, 1..6usize, any_attrs()).prop_map(
            |(first, count, attrs)| Op::MapPages { first, count, stride: 2, attrs }),
        6 => range().prop_map(|(first, count)| Op::Unmap { first, count }),
        4 => (range(), any_attrs()).prop_map(
            |((first, count), attrs)| Op::Protect { first, count, attrs }),
        3 => (range(), any::<bool>()).prop_map(
            |((first, count), valid)| Op::SetValid { first, count, valid }),
        3 => (0..SMALL, any::<bool>()).prop_map(
            |(page, valid)| Op::SetPageValid { page, valid }),
        1 => range().prop_map(|(first, count)| Op::Split { first, count }),
        1 => (0..SMALL, 1..6usize).prop_map(
            |(first, count)| Op::SplitToPages { first, count }),
        1 => Just(Op::Collapse { block: 0 }),
        1 => (range(), any::<bool>()).prop_map(
            |((first, count), flush)| Op::Prune { first, count, flush }),
        2 => Just(Op::Flush),
        1 => Just(Op::FailNextAlloc),
    ]
}

/// Pages of the part of the window where small edits meet.
const SMALL: usize = 96;
/// Operations of [`a_hundred_thousand_edits_do_what_the_model_says`].
const OPERATIONS: usize = if cfg!(miri) { 12 } else { 102_000 };

/// Three CPUs that take turns in any order, each on addresses of its own in the same
/// tables, each edit looked at through the eyes of all.
#[test]
fn a_hundred_thousand_edits_do_what_the_model_says() {
    let cpus = 3;
    for (seed, eagerness) in [(1, 8), (2, 64)] {
        Rig::run(Config { seed, cpus, eagerness }, |rig| {
            let (root, machine) = (rig.root, rig.machine);
            let access = Mutex::new(&mut rig.access);
            machine.on_cpus(cpus, |cpu| {
                let rng = TestRng::from_seed(
                    RngAlgorithm::ChaCha,
                    &[(seed as usize * cpus + cpu) as u8; 32],
                );
                let mut runner = TestRunner::new_with_rng(ProptestConfig::default(), rng);
                let mut model = Model::new(VA + cpu * WINDOW * PAGE_SIZE);
                let refill = any_attrs().prop_map(Op::Refill);
                let strategy = (prop_oneof![200 => any_small_op(), 1 => refill], 0..SMALL);
                for n in 0..OPERATIONS / 2 / cpus {
                    let (op, page) = strategy.new_tree(&mut runner).unwrap().current();
                    let mut access = access.lock().unwrap_or_else(|e| e.into_inner());
                    model.apply(root, &mut access, &op);
                    model.check(machine.mmu(), page);
                    if n % 4096 == 0 {
                        model.check_tables(root, &mut access);
                    }
                }
                let mut access = access.lock().unwrap_or_else(|e| e.into_inner());
                model.flush();
                model.check_tables(root, &mut access);
            });
            rig.mapper().validate(BASE).unwrap();
        });
    }
}
