//! Tests of page_owner on the running kernel.
//!
//! Command line: page_owner=on cma=16M

#![no_std]
#![no_main]

extern crate alloc;

mod harness;
#[path = "harness/says.rs"]
mod says;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use granule::addr::{Order, Pfn};
use granule::arch::smp;
use granule::arch::{CpuId, NR_CPUS};
use granule::init::secondary;
use granule::mm::alloc_pages::alloc_pages;
use granule::mm::cma::{cma_alloc, cma_release, default_area};
use granule::mm::debug::stackdepot::{self, Handle, Stack};
use granule::mm::debug::{Comm, Owner, PageOwner, Stacks, metadata_pages, owner_of, page_owner_on};
use granule::mm::gfp::Gfp;
use granule::mm::kthread::kthread_run;
use granule::mm::page::{Frame, Page, PageType};
use granule::mm::page_alloc::{block_order, free_pages, nr_used_pages, split_page, zones};
use granule::sched::schedule;
use granule::{kprint, kprintln};
use says::assert_says;

#[inline(never)]
fn allocate_here(order: u8) -> Frame {
    let order = Order::new(order).expect("an order");
    alloc_pages(Gfp::GFP_KERNEL, order).expect("memory")
}

#[inline(never)]
fn free_there(frame: Frame, order: u8) {
    // SAFETY: allocated here, and nobody uses it any more.
    unsafe { free_pages(frame, Order::new(order).expect("an order")) };
    // No tail call: this function is to be in the stack.
    core::hint::black_box(frame);
}

/// A record of the dump, read as page_owner_sort does: order, pid, tgid, comm, ts, PFN.
fn parse(record: &str) -> (u8, u32, u32, &str, u64, u32) {
    let after = |text: &str, word: &str| {
        let at = text.find(word).unwrap_or_else(|| panic!("no {word:?} in {record}"));
        at + word.len()
    };
    let number = |word: &str| -> u64 {
        let digits = record[after(record, word)..].trim_start();
        let end = digits.find(|c: char| !c.is_ascii_digit()).expect("an end");
        digits[..end].parse().unwrap_or_else(|_| panic!("no number after {word:?} in {record}"))
    };
    let comm = &record[after(record, "tgid ")..];
    let comm = &comm[after(comm, "(")..];
    let comm = &comm[..comm.find("), ts").expect("the end of comm")];
    let pfn = &record[after(record, "\nPFN 0x")..];
    let pfn = u32::from_str_radix(&pfn[..pfn.find(' ').expect("a space")], 16).expect("a PFN");
    let (order, pid, tgid) = (number("via order "), number(", pid "), number(", tgid "));
    assert!(record[after(record, "ts ")..].contains(" ns\n"));
    (order as u8, pid as u32, tgid as u32, comm, number("), ts "), pfn)
}

/// All frames, with who owns each: of what is allocated.
fn owned() -> impl Iterator<Item = (Frame, Owner)> {
    let frames = zones().flat_map(|zone| zone.spanned.iter()).filter_map(Frame::new);
    let owned = frames.filter_map(|frame| Some((frame, owner_of(frame)?)));
    owned.filter(|(_, owner)| owner.allocated)
}

/// Prints the file, and what those who sort it must come to by the words of each frame: for
/// `scripts/tests/proc`.
fn print_for_page_owner_sort() {
    let mut texts = ["page_owner", "page_owner_stacks/show_stacks"].map(|name| {
        let text = String::with_capacity(1 << 20);
        (format!("/sys/kernel/debug/{name}"), text)
    });
    let area = default_area().expect("boot with cma=16M");
    // By thread and its name; of slabs, of CMA, of others.
    let mut pids: Vec<(u32, Comm, u32)> = Vec::with_capacity(100);
    let mut kinds = [0; 3];
    // Nothing is allocated or freed from here to the last figure.
    for (path, text) in &mut texts {
        granule::fs::read(path, text).unwrap_or_else(|why| panic!("{path}: {why}"));
        assert_eq!(text.capacity(), 1 << 20, "{path} is longer than there is room for");
    }
    for (frame, owner) in owned() {
        let is_own = |who: &&mut (u32, Comm, u32)| (who.0, who.1) == (owner.pid, owner.comm());
        match pids.iter_mut().find(is_own) {
            Some((.., pages)) => *pages += 1,
            None => pids.push((owner.pid, owner.comm(), 1)),
        }
        let cma = area.range().contains(frame.pfn());
        let slab = frame.page().is_type(PageType::Slab);
        assert!(!(cma && slab), "what can't be moved is not CMA's to lend");
        kinds[if slab {
            0
        } else if cma {
            1
        } else {
            2
        }] += 1;
    }
    assert_eq!(pids.capacity(), 100);
    for (path, text) in &texts {
        kprint!("=== {path}\n{text}");
    }
    kprintln!("=== figures");
    for (pid, comm, pages) in &pids {
        kprintln!("pid {pid} {comm} {pages}");
    }
    for (kind, pages) in ["SLAB", "CMA", "OTHERS"].iter().zip(kinds) {
        kprintln!("kind {kind} {pages}");
    }
    kprintln!("=== end");
}

kernel_tests! {
    fn what_page_owner_sort_reads() {
        let mine = [allocate_here(0), allocate_here(3), allocate_here(3)];
        let area = default_area().expect("boot with cma=16M");
        let run = cma_alloc(area, 33, Order::ZERO).expect("it is free");
        let boxes: Vec<_> = (0..500u64).map(alloc::boxed::Box::new).collect();
        // Another thread's are still there when it has ended.
        static THEIRS: AtomicU32 = AtomicU32::new(0);
        let thread = kthread_run("owner of two", || {
            THEIRS.store(allocate_here(1).pfn().get(), Relaxed);
            0
        });
        assert_eq!(thread.expect("a thread").join(), 0);
        // It gives its stack back when another runs.
        (0..1000).for_each(|_| schedule());
        print_for_page_owner_sort();
        let theirs = Frame::new(Pfn::new(THEIRS.load(Relaxed))).expect("its pages");
        assert_eq!(owner_of(theirs).map(|owner| format!("{}", owner.comm())).as_deref(), Some("owner of two"));
        free_there(theirs, 1);
        drop(boxes);
        // SAFETY: allocated here, and nobody uses it any more.
        assert!(unsafe { cma_release(area, run, 33) });
        mine.into_iter().zip([0, 3, 3]).for_each(|(frame, order)| free_there(frame, order));
    }

    fn a_page_names_who_allocated_and_who_freed_it() {
        assert!(page_owner_on());
        let frame = allocate_here(2);
        let last = frame.within(Order::new(2).expect("an order"), 3);
        for page in [frame, last] {
            let owner = owner_of(page).expect("an owner");
            assert!(owner.allocated && owner.order == 2 && owner.gfp == Gfp::GFP_KERNEL);
            assert_says(&format!("{}", Stack(owner.handle)), &["allocate_here+", "harness::run+", "start_kernel+"]);
            assert_eq!(format!("{}", owner.comm()), "init");
        }
        free_there(frame, 2);
        for page in [frame, last] {
            let owner = owner_of(page).expect("an owner");
            assert!(!owner.allocated && owner.free_time >= owner.time);
            assert_says(&format!("{}", Stack(owner.free_handle)), &["free_there+", "harness::run+"]);
            assert_says(&format!("{}", Stack(owner.handle)), &["allocate_here+"]);
        }
    }

    fn single_pages_of_the_fast_path_too() {
        let frames: Vec<Frame> = (0..100).map(|_| allocate_here(0)).collect();
        for &frame in &frames {
            let owner = owner_of(frame).expect("an owner");
            assert!(owner.allocated && owner.order == 0);
            assert_says(&format!("{}", Stack(owner.handle)), &["allocate_here+"]);
        }
        let mut handles: Vec<_> = frames.iter().map(|&f| owner_of(f).and_then(|o| o.handle)).collect();
        handles.sort_unstable();
        handles.dedup();
        assert!(handles.len() <= 2, "the fast path has one stack, the slow one another");
        frames.into_iter().for_each(|frame| free_there(frame, 0));
    }

    /// The stack depot: as many calls as there are, on whichever CPU, leave one copy.
    fn a_stack_is_kept_once() {
        #[inline(never)]
        fn save() -> Option<Handle> {
            core::hint::black_box(stackdepot::save_here(true))
        }
        static FOUND: [AtomicU32; NR_CPUS] = [const { AtomicU32::new(0) }; NR_CPUS];
        fn on_cpu(cpu: CpuId) {
            let first = save();
            for _ in 0..200 {
                let again = save();
                // Two calls, and so two stacks; each is one.
                let second = save();
                assert!(again != second && again.is_some());
                let old = FOUND[cpu.index()].swap(Handle::number(again), Relaxed);
                assert!(old == 0 || old == Handle::number(again), "another copy");
            }
            assert!(first != save());
        }
        FOUND.iter().for_each(|found| found.store(0, Relaxed));
        secondary::on_each(on_cpu);
        let before = metadata_pages();
        FOUND.iter().for_each(|found| found.store(0, Relaxed));
        secondary::on_each(on_cpu);
        assert_eq!(metadata_pages(), before, "what is there already takes no memory");
        // The boot CPU is called by the harness, the others by their idle threads: alike.
        let mut handles: Vec<u32> =
            FOUND.iter().map(|found| found.load(Relaxed)).filter(|&found| found != 0).collect();
        assert_eq!(handles.len(), smp::online().count());
        handles.sort_unstable();
        handles.dedup();
        assert!(handles.len() <= 2, "{} copies", handles.len());
        let here = save();
        assert_says(&format!("{}", Stack(here)), &["a_stack_is_kept_once", "harness::run+", "start_kernel+"]);
    }

    /// page_ext: as much as is known of frames, their descriptors stay as they are.
    fn what_is_known_of_a_frame_is_beside_its_descriptor() {
        assert!(size_of::<Page>() <= 32);
        let order = Order::new(1).expect("an order");
        let block = allocate_here(1);
        let (left, right) = (block, block.within(order, 1));
        // SAFETY: allocated here, and freed page by page.
        unsafe { split_page(block, order) };
        free_there(right, 0);
        let (kept, gone) = (owner_of(left).expect("words"), owner_of(right).expect("words"));
        assert!(kept.allocated && !gone.allocated, "each has words of its own");
        assert!(kept.handle == gone.handle && kept.free_handle != gone.free_handle);
        assert_says(&format!("{}", Stack(gone.free_handle)), &["free_there+"]);
        free_there(left, 0);
    }

    fn a_block_that_is_split_is_single_pages() {
        let order = Order::new(1).expect("an order");
        let frame = allocate_here(1);
        // SAFETY: allocated here, and freed page by page.
        unsafe { split_page(frame, order) };
        assert_eq!(owner_of(frame).map(|owner| owner.order), Some(0));
        assert_eq!(owner_of(frame.within(order, 1)).map(|owner| owner.order), Some(0));
        free_there(frame.within(order, 1), 0);
        free_there(frame, 0);
    }

    fn the_dump_has_each_block_once() {
        let mine = [allocate_here(0), allocate_here(3)];
        let mut text = String::with_capacity(1 << 20);
        write!(text, "{PageOwner}").expect("room");
        let (mut pages, mut found) = (0, 0);
        let mut seen = Vec::new();
        for record in text.split("\n\n").filter(|record| !record.trim().is_empty()) {
            let (order, pid, tgid, comm, ts, pfn) = parse(record);
            assert_eq!(pid, tgid);
            assert!(order <= 10 && !comm.contains('\n'));
            pages += 1 << order;
            seen.push(pfn);
            if let Some(frame) = mine.iter().find(|frame| frame.pfn().get() == pfn) {
                found += 1;
                assert_eq!(Some(order), Order::new(order).filter(|&o| o == block_order(*frame)).map(Order::get));
                assert_eq!(comm, "init");
                assert!(ts > 0);
                assert_says(record, &["Page allocated via order", "mask 0x", "__GFP_DIRECT_RECLAIM", "\nPFN 0x", " Block ", "\n granule", "allocate_here+"]);
            }
        }
        assert_eq!(found, 2);
        assert!(seen.is_sorted_by(|a, b| a < b), "a page is there twice");
        // What was allocated before its section had words is not known; some of the tools' own is.
        let (used, own) = (nr_used_pages(), metadata_pages());
        assert!(pages <= used && pages * 10 > (used - own) * 8, "{pages} of {used} pages have an owner");
        free_there(mine[1], 3);
        free_there(mine[0], 0);
    }

    fn stacks_count_their_pages() {
        #[inline(never)]
        fn five() -> Vec<Frame> {
            let frames = (0..5).map(|_| allocate_here(2)).collect();
            core::hint::black_box(frames)
        }
        let stack = |text: &str| -> Option<String> {
            text.split("\n\n").find(|part| part.contains("::five") && part.contains("allocate_here")).map(String::from)
        };
        let frames = five();
        let here = stack(&format!("{}", Stacks(0))).expect("its stack");
        assert_says(&here, &["allocate_here+", "nr_base_pages: 20"]);
        assert!(stack(&format!("{}", Stacks(21))).is_none());
        frames.into_iter().for_each(|frame| free_there(frame, 2));
        assert!(stack(&format!("{}", Stacks(0))).is_none(), "all are freed");
    }
}
