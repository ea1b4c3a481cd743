//! Tests of the debugging tools on the emulated machine.

use super::kmemleak::{kmemleak_alloc, kmemleak_free};
use super::objects::{Objects, SIZE};
use super::page_ext::{self, PageExtFlags};
use super::{
    PAGE_POISON, PageOwner, Stacks, debug_objects_mem_init, early_params, kmemleak_init,
    kmemleak_scan, mem_debugging_and_hardening_init, memory, owner_of, page_ext_init_flatmem,
    page_ext_init_flatmem_late, stackdepot,
};
use crate::addr::{Order, PhysAddr, PhysRange, VirtAddr};
use crate::arch::CpuId;
use crate::arch::hosted::Machine;
use crate::arch::hosted::irq::{with_interrupts, with_rival};
use crate::arch::irq::with_masked;
use crate::firmware::cmdline::CommandLine;
use crate::mm::alloc_pages::{alloc_pages, alloc_pages_bulk};
use crate::mm::gfp::Gfp;
use crate::mm::page_alloc::{self, Pages, free_pages, free_pages_bulk};
use crate::mm::stackdepot::metadata_pages;
use crate::mm::validate;
use proptest::prelude::*;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::format;
use std::string::String;
use std::vec::Vec;

/// Switches on what these words ask for, before there is memory.
fn init(line: &CommandLine<'_>, warn: &mut dyn FnMut(core::fmt::Arguments<'_>)) {
    let options = early_params(line, warn);
    page_ext_init_flatmem(&options);
    mem_debugging_and_hardening_init(&options, warn);
    page_ext_init_flatmem_late(&options);
    kmemleak_init(&options);
    debug_objects_mem_init(&options);
}

/// Runs `f` on a machine with 64 MiB that was booted with these words.
fn machine(words: &str, f: impl FnOnce()) {
    let ram = PhysRange::from_size(PhysAddr::new(0x4000_0000), 64 << 20);
    Machine::run(&[ram], |machine| {
        init(&CommandLine::new(words), &mut |why| panic!("{why}"));
        page_alloc::init(machine.ram());
        f();
        validate::validate().expect("a sound allocator");
    });
}

fn order(n: u8) -> Order {
    Order::new(n).expect("an order")
}

#[test]
fn values_that_make_no_sense_are_named() {
    let ram = PhysRange::from_size(PhysAddr::new(0x4000_0000), 4 << 20);
    Machine::run(&[ram], |_| {
        let mut said = String::new();
        let line = CommandLine::new("page_owner=maybe page_poison=1 init_on_free=1 kmemleak=off");
        init(&line, &mut |why| said.push_str(&format!("{why}\n")));
        assert!(said.contains("page_owner=\"maybe\" ignored: expected on or off"), "{said}");
        assert!(said.contains("page_poison takes precedence"), "{said}");
        assert!(!super::page_owner_on() && !super::kmemleak_on());
        assert_eq!(
            format!("{}", super::mem_auto_init()),
            "mem auto-init: stack:off, heap alloc:off, heap free:off"
        );
    });
}

#[test]
fn nothing_is_kept_while_all_is_off() {
    machine("", || {
        let frame = alloc_pages(Gfp::GFP_KERNEL, order(2)).expect("memory");
        assert!(owner_of(frame).is_none() && page_ext::lookup(frame).is_none());
        // SAFETY: allocated here, and nobody uses it any more.
        unsafe { free_pages(frame, order(2)) };
        assert_eq!(metadata_pages(), 0);
        assert_eq!(format!("{PageOwner}{}", Stacks(0)), "");
    });
}

#[test]
fn equal_stacks_have_one_handle() {
    machine("page_owner=on", || {
        let a = stackdepot::save(&[1, 2, 3], true).expect("memory");
        let b = stackdepot::save(&[1, 2], true).expect("memory");
        assert_ne!(a, b);
        assert_eq!(stackdepot::save(&[1, 2, 3], false), Some(a));
        assert_eq!(stackdepot::save(&[1, 2, 3], true), Some(a));
        assert!(stackdepot::fetch(a).eq([1, 2, 3]));
        assert!(stackdepot::fetch(b).eq([1, 2]));
        assert_eq!(stackdepot::save(&[], true), None);
        let deep: Vec<usize> = (100..200).collect();
        let deep = stackdepot::save(&deep, true).expect("memory");
        assert!(stackdepot::fetch(deep).eq(100..100 + stackdepot::DEPTH));
    });
}

/// A stack that hashes as the part of it does that is innermost, which others may have saved.
#[test]
fn a_stack_is_not_taken_for_its_beginning() {
    // What the hash multiplies by, and what undoes that modulo 2^64.
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let inverse =
        (0..6).fold(1u64, |x, _| x.wrapping_mul(2u64.wrapping_sub(PRIME.wrapping_mul(x))));
    assert_eq!(inverse.wrapping_mul(PRIME), 1);
    let short = [0x1234_5678usize, 0x9abc];
    let state = short
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |h, &entry| (h ^ entry as u64).wrapping_mul(PRIME));
    // Another state that is folded to the same 32 bits, and the entry that leads there.
    let other = (state ^ 0x0f0f_0f0f_0f0f_0f0f).wrapping_mul(inverse) ^ state;
    let long = [short[0], short[1], other as usize];
    assert_eq!(stackdepot::hash(&short), stackdepot::hash(&long));
    for first in [&short[..], &long] {
        machine("", || {
            let saved = stackdepot::save(first, true).expect("memory");
            for stack in [&short[..], &long] {
                let handle = stackdepot::save(stack, true).expect("memory");
                assert!(stackdepot::fetch(handle).eq(stack.iter().copied()));
                assert_eq!(handle == saved, stack.len() == first.len());
            }
        });
    }
}

/// Saves stacks on another CPU wherever this one is about to take a lock, such as for the memory
/// of its first ones, and checks that a block that came too late is freed.
#[test]
fn cpus_that_save_their_first_stacks_at_once_take_one_block_each() {
    let other = CpuId::new(1).expect("a CPU");
    let stack = |n: usize| -> Vec<usize> { (0..16).map(|i| n * 31 + i).collect() };
    let pages = |rival_too: bool| {
        let mut pages = (0, 0);
        let ram = PhysRange::from_size(PhysAddr::new(0x4000_0000), 64 << 20);
        Machine::run(&[ram], |m| {
            page_alloc::init(m.ram());
            let next = Cell::new(0);
            let rival = || {
                let n = next.replace(next.get() + 1);
                if rival_too && n < 300 {
                    m.on_cpu(other, || stackdepot::save(&stack(1000 + n), true).expect("memory"));
                }
            };
            with_rival(&rival, || {
                (0..300).for_each(|n| assert!(stackdepot::save(&stack(n), true).is_some()));
            });
            // Those that the rival did not come to.
            for n in if rival_too { next.get()..300 } else { 0..300 } {
                stackdepot::save(&stack(1000 + n), true).expect("memory");
            }
            page_alloc::drain_all_pages();
            m.on_cpu(other, || with_masked(page_alloc::drain_local_pages));
            pages = (metadata_pages(), page_alloc::nr_used_pages());
        });
        pages
    };
    let ((alone, used_alone), (rivalled, used)) = (pages(false), pages(true));
    assert_eq!(alone, rivalled, "pages of the depot");
    assert_eq!(used_alone, used, "pages in use");
}

/// A scan lets interrupts in between the pages of a large object.
#[test]
fn a_scan_does_not_mask_interrupts_for_a_large_object() {
    machine("kmemleak=on", || {
        let points = |size: usize| {
            let block = Pages::alloc(Gfp::GFP_KERNEL, order(10)).expect("memory");
            let at = block.frame().virt();
            kmemleak_alloc(at, size, 1);
            let points = Cell::new(0);
            let found = with_interrupts(&|| points.set(points.get() + 1), || kmemleak_scan(0));
            assert_eq!((found.objects, found.suspects), (1, 1));
            kmemleak_free(at);
            points.get()
        };
        // Each page is gone through for its checksum and for what it refers to, and interrupts
        // may come before and after.
        let (small, large) = (points(4096), points(4 << 20));
        assert!(large >= small + 2 * 2 * 1023, "{small} points of a page, {large} of 4 MiB");
    });
}

/// Many, over several pools, from several CPUs at once.
#[test]
fn stacks_are_found_again_whoever_saved_them() {
    const STACKS: usize = if cfg!(miri) { 50 } else { 3000 };
    let ram = PhysRange::from_size(PhysAddr::new(0x4000_0000), 64 << 20);
    Machine::run(&[ram], |machine| {
        page_alloc::init(machine.ram());
        let stack = |n: usize| -> Vec<usize> { (0..1 + n % 16).map(|i| n * 31 + i).collect() };
        machine.on_cpus(3, |_| {
            for n in 0..STACKS {
                stackdepot::save(&stack(n), true).expect("memory");
            }
        });
        let before = metadata_pages();
        let mut handles: Vec<_> = (0..STACKS)
            .map(|n| {
                let handle = stackdepot::save(&stack(n), false).expect("it is there");
                assert!(stackdepot::fetch(handle).eq(stack(n)));
                handle
            })
            .collect();
        assert_eq!(metadata_pages(), before);
        handles.sort_unstable();
        handles.dedup();
        assert_eq!(handles.len(), STACKS);
        assert!(stackdepot::all().map(|(handle, _)| handle).eq(handles));
        assert_eq!(stackdepot::lost(), 0);
    });
}

#[test]
fn frames_have_words_once_they_were_allocated() {
    machine("page_owner=on", || {
        let frame = alloc_pages(Gfp::GFP_USER | Gfp::__GFP_MOVABLE, order(3)).expect("memory");
        let owner = owner_of(frame.within(order(3), 7)).expect("an owner");
        assert!(owner.allocated && owner.order == 3);
        assert_eq!(owner.gfp, Gfp::GFP_USER | Gfp::__GFP_MOVABLE);
        // SAFETY: allocated here, and nobody uses it any more.
        unsafe { free_pages(frame, order(3)) };
        let freed = owner_of(frame).expect("its last owner");
        assert!(!freed.allocated && freed.free_time > freed.time);
        // Its neighbour's words are its own.
        let other = alloc_pages(Gfp::GFP_KERNEL, order(0)).expect("memory");
        let word = page_ext::lookup(other).expect("words");
        word.set_flags(PageExtFlags::POISONED, true);
        let next = other.align_down(Order::MAX).within(Order::MAX, 0);
        assert!(
            next == other
                || !page_ext::lookup(next).expect("words").flags().contains(PageExtFlags::POISONED)
        );
        word.set_flags(PageExtFlags::POISONED, false);
        // SAFETY: allocated here, and nobody uses it any more.
        unsafe { free_pages(other, order(0)) };
    });
}

#[test]
fn pages_that_come_many_at_a_time_have_owners() {
    machine("page_owner=on", || {
        // On the CPU's list, and off it again without the zone's help.
        // SAFETY: allocated here, and nobody uses it any more.
        unsafe { free_pages(alloc_pages(Gfp::GFP_KERNEL, order(0)).expect("memory"), order(0)) };
        let mut pages = [const { None }; 100];
        assert_eq!(alloc_pages_bulk(Gfp::GFP_KERNEL, &mut pages), 100);
        for page in pages.iter().flatten() {
            let owner = owner_of(page.frame()).expect("an owner");
            assert!(owner.allocated && owner.gfp == Gfp::GFP_KERNEL);
        }
        free_pages_bulk(&mut pages);
    });
}

#[test]
fn free_pages_hold_the_pattern() {
    machine("page_poison=on", || {
        let frame = alloc_pages(Gfp::GFP_KERNEL, order(1)).expect("memory");
        // SAFETY: allocated here, and nobody uses it any more.
        unsafe { free_pages(frame, order(1)) };
        for page in frame.block(order(1)) {
            memory::look(page, |bytes| assert!(bytes.iter().all(|&byte| byte == PAGE_POISON)));
        }
        let zeroed = alloc_pages(Gfp::GFP_KERNEL | Gfp::__GFP_ZERO, order(1)).expect("memory");
        memory::look(zeroed, |bytes| assert!(bytes.iter().all(|&byte| byte == 0)));
        // SAFETY: allocated here, and nobody uses it any more.
        unsafe { free_pages(zeroed, order(1)) };
    });
}

#[test]
fn objects_live_among_the_free_pages_of_a_tight_machine() {
    machine("page_owner=on page_poison=on init_on_alloc=0", || {
        let mut all = Vec::new();
        let gfp = Gfp::GFP_NOWAIT | Gfp::__GFP_NOWARN;
        while let Some(frame) = alloc_pages(gfp, order(0)) {
            all.push(frame);
        }
        assert!(all.len() > 1000);
        assert!(all.iter().all(|&frame| owner_of(frame).is_none_or(|owner| owner.allocated)));
        // SAFETY: allocated here, and nobody uses it any more.
        all.into_iter().for_each(|frame| unsafe { free_pages(frame, order(0)) });
    });
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Insert(usize, u32),
    Remove(usize),
    Find(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let at = 1usize..4000;
    prop_oneof![
        3 => (at.clone(), 1u32..40).prop_map(|(at, size)| Step::Insert(at, size)),
        2 => at.clone().prop_map(Step::Remove),
        2 => at.prop_map(Step::Find),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 60 }))]

    /// Against a map of what lies where.
    #[test]
    fn objects_are_found_by_every_byte(steps in proptest::collection::vec(step(), 1..400)) {
        machine("", || {
            let mut objects = Objects::new();
            let mut model: BTreeMap<usize, u32> = BTreeMap::new();
            let find = |model: &BTreeMap<usize, u32>, at: usize| {
                let (&start, &size) = model.range(..=at).next_back()?;
                (at < start + size as usize).then_some(start)
            };
            for &step in &steps {
                match step {
                    Step::Insert(at, size) => {
                        while objects.is_full() {
                            objects.add_block(Objects::take_block().expect("memory"));
                        }
                        let free = find(&model, at).is_none()
                            && model.range(at..at + size as usize).next().is_none();
                        let node = objects.insert(VirtAddr::new(at), size);
                        assert_eq!(node.is_some(), free, "{step:?}");
                        if let Some(node) = node {
                            assert_eq!(objects.get(node, SIZE), size);
                            model.insert(at, size);
                        }
                    }
                    Step::Remove(at) => {
                        let node = objects.remove(VirtAddr::new(at));
                        assert_eq!(node.is_some(), model.remove(&at).is_some(), "{step:?}");
                        if let Some(node) = node {
                            objects.free_node(node);
                        }
                    }
                    Step::Find(at) => {
                        let found = objects.find(VirtAddr::new(at));
                        let found = found.map(|node| objects.start(node).get());
                        assert_eq!(found, find(&model, at), "{step:?}");
                        let next = objects.next(VirtAddr::new(at));
                        let next = next.map(|node| objects.start(node).get());
                        assert_eq!(next, model.range(at..).next().map(|(&start, _)| start));
                    }
                }
                assert_eq!(objects.len, model.len());
            }
        });
    }
}
