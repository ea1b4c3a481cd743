//! A contiguous memory area on the running kernel.
//!
//! Command line: cma=64M

#![no_std]
#![no_main]

extern crate alloc;

mod harness;
#[path = "harness/sleepy.rs"]
mod sleepy;

use alloc::vec::Vec;
use granule::addr::{Order, PAGE_SIZE};
use granule::mm::alloc_pages::alloc_pages;
use granule::mm::cma::{Cma, CmaPages, cma_alloc, cma_release, default_area};
use granule::mm::gfp::Gfp;
use granule::mm::memory_failure::{soft_offline_page, unpoison_memory};
use granule::mm::migrate::Isolated;
use granule::mm::page::Frame;
use granule::mm::page_alloc::{OwnedPage, free_pages, nr_free_pages};
use granule::mm::zsmalloc::{ZsHandle, ZsPool};
use granule::trace;

/// Pages of the area that the command line asks for.
const PAGES: u32 = 64 << 8;

fn area() -> &'static Cma {
    default_area().expect("an area: boot with cma=64M")
}

/// The first word of a frame, as the kernel reaches it.
fn first_word(frame: Frame) -> *mut u64 {
    core::ptr::with_exposed_provenance_mut(frame.virt().get())
}

kernel_tests! {
    fn the_command_line_made_the_area() {
        assert_eq!(area().range().len(), PAGES);
    }

    fn runs_are_contiguous_aligned_and_apart() {
        let mut taken = [None; 4];
        let wanted = [(1, 0), (7, 3), (512, 9), (3000, 10)];
        for (slot, (count, align)) in taken.iter_mut().zip(wanted) {
            let align = Order::new(align).expect("an order");
            let first = cma_alloc(area(), count, align).expect("room");
            assert!(first.pfn().is_aligned(align), "{first:?}");
            assert!(area().range().contains(first.pfn()));
            assert!(area().range().contains(first.pfn() + (count - 1)));
            *slot = Some((first.pfn().get(), count));
        }
        let runs = taken.map(|run| run.expect("filled"));
        for (i, &(start, count)) in runs.iter().enumerate() {
            for &(other, others) in &runs[i + 1..] {
                assert!(start + count <= other || other + others <= start, "{runs:x?} overlap");
            }
        }
        for (start, count) in runs {
            let frame = Frame::new(granule::addr::Pfn::new(start)).expect("a frame");
            // SAFETY: allocated here, and nobody uses it any more.
            assert!(unsafe { cma_release(area(), frame, count) });
        }
    }

    fn what_is_lent_and_in_use_is_moved() {
        let pool = ZsPool::new().expect("a pool");
        let mut objects = Vec::new();
        let mut inside = 0;
        // All of the area, and what the kernel prefers to it.
        while inside < PAGES {
            let object = pool.malloc(PAGE_SIZE, Gfp::GFP_KERNEL).expect("memory");
            let number = objects.len() as u64;
            pool.with(object, |bytes| bytes.chunks_exact_mut(8).for_each(|word| {
                word.copy_from_slice(&number.to_le_bytes());
            }));
            inside += u32::from(area().range().contains(pool.frame(object).pfn()));
            objects.push((number, object));
        }
        // Room for the area's content elsewhere.
        let mut room = PAGES + 1000;
        objects.retain(|&(_, object)| {
            let stays = room == 0 || area().range().contains(pool.frame(object).pfn());
            if !stays {
                room -= 1;
                pool.free(object);
            }
            stays
        });
        let check = || for &(number, object) in &objects {
            pool.with(object, |bytes| assert!(
                bytes.chunks_exact(8).all(|word| word == number.to_le_bytes()),
                "object {number} was lost"
            ));
        };
        let lent = |&&(_, object): &&(u64, ZsHandle)| {
            area().range().contains(pool.frame(object).pfn())
        };
        let &(_, pinned) = objects.iter().filter(lent).nth(5000).expect("thousands are lent");
        let free = nr_free_pages();
        let pin = pool.pin(pinned);
        assert_eq!(cma_alloc(area(), PAGES, Order::ZERO), None, "a page of it is pinned");
        assert_eq!(area().info().allocated, 0);
        assert_eq!(nr_free_pages(), free);
        check();
        drop(pin);
        let all = cma_alloc(area(), PAGES, Order::ZERO).expect("every page can be moved");
        check();
        assert_eq!(objects.iter().filter(lent).count(), 0);
        // SAFETY: allocated here, and nobody uses it any more.
        assert!(unsafe { cma_release(area(), all, PAGES) });
    }

    /// The owner of a page may sleep while it moves it. Another thread of that CPU, which wants
    /// memory of the area too, has to let it go on.
    fn an_owner_sleeps_while_another_thread_allocates() {
        let first = area().range().start();
        sleepy::own_a_page(|frame| (first..first + PAGES / 2).contains(&frame.pfn()));
        let half = || i32::from(CmaPages::alloc(area(), PAGES / 2, Order::ZERO).is_some());
        assert_eq!(sleepy::on_one_cpu(half, half), (1, 1));
        assert!(!area().range().contains(sleepy::disown().pfn()), "it was moved");
    }

    fn an_owner_sleeps_while_another_frame_fails() {
        let frame = sleepy::own_a_page(|_| true);
        let other = OwnedPage::alloc(Gfp::GFP_KERNEL).expect("memory");
        let fails = |pfn| move || i32::from(soft_offline_page(pfn).is_ok());
        let ends = sleepy::on_one_cpu(fails(frame.pfn()), fails(other.frame().pfn()));
        assert_eq!(ends, (1, 0));
        assert_ne!(sleepy::disown(), frame, "it was moved");
        assert_eq!(unpoison_memory(frame.pfn()), Ok(()));
    }

    /// A pool that ends waits for its page that a thread of the same CPU has isolated.
    fn a_pool_ends_while_a_thread_holds_its_page() {
        let pool = ZsPool::new().expect("a pool");
        let object = pool.malloc(PAGE_SIZE, Gfp::GFP_KERNEL).expect("memory");
        let frame = pool.frame(object);
        let holds = move || {
            let mut isolated = Isolated::new();
            let held = isolated.isolate(frame);
            sleepy::sleep_until_waited_for();
            i32::from(held)
        };
        let ends = move || {
            drop(pool);
            1
        };
        assert_eq!(sleepy::on_one_cpu(holds, ends), (1, 1));
    }

    fn a_trace_is_read_while_another_thread_wants_it() {
        let reads = || {
            let rings = trace::Rings::take();
            sleepy::sleep_until_waited_for();
            drop(rings);
            1
        };
        let wants = || {
            trace::clear();
            1
        };
        assert_eq!(sleepy::on_one_cpu(reads, wants), (1, 1));
    }

    fn the_whole_area_can_be_had() {
        for _ in 0..2 {
            let all = cma_alloc(area(), PAGES, Order::ZERO).expect("it is empty");
            assert_eq!(cma_alloc(area(), 1, Order::ZERO), None);
            // SAFETY: allocated here, and nobody uses it any more.
            assert!(unsafe { cma_release(area(), all, PAGES) });
        }
        assert_eq!(cma_alloc(area(), PAGES + 1, Order::ZERO), None);
    }

    fn it_is_lent_to_movable_pages_alone() {
        // Linked through their own first words.
        for (gfp, may_borrow) in [(Gfp::GFP_KERNEL, false), (Gfp::GFP_HIGHUSER_MOVABLE, true)] {
            let gfp = gfp | Gfp::__GFP_NORETRY | Gfp::__GFP_NOWARN;
            let (mut last, mut borrowed) = (u64::MAX, 0u32);
            while let Some(frame) = alloc_pages(gfp, Order::ZERO) {
                // SAFETY: the page is this test's.
                unsafe { first_word(frame).write(last) };
                last = frame.pfn().get().into();
                borrowed += u32::from(area().range().contains(frame.pfn()));
            }
            let refused = cma_alloc(area(), PAGES, Order::ZERO).is_none();
            while let Ok(pfn) = u32::try_from(last) {
                let frame = Frame::new(granule::addr::Pfn::new(pfn)).expect("a frame");
                // SAFETY: as above.
                last = unsafe { first_word(frame).read() };
                // SAFETY: allocated here, and nobody uses it any more.
                unsafe { free_pages(frame, Order::ZERO) };
            }
            if may_borrow {
                assert!(borrowed > PAGES / 2, "only {borrowed} pages were lent");
                assert!(refused, "pages in use were given out");
            } else {
                assert_eq!(borrowed, 0, "the kernel's own pages can't be moved away");
                assert!(!refused, "nothing is in the area");
                return_all();
            }
        }
    }

    fn strangers_are_refused() {
        let frame = alloc_pages(Gfp::GFP_KERNEL, Order::ZERO).expect("memory");
        // SAFETY: allocated here, and nobody uses it any more.
        assert!(!unsafe { cma_release(area(), frame, 1) });
        // SAFETY: allocated here, and nobody uses it any more.
        unsafe { free_pages(frame, Order::ZERO) };
    }
}

/// Gives back what holds the whole area.
fn return_all() {
    let first = Frame::new(area().range().start()).expect("a frame");
    // SAFETY: allocated here, and nobody uses it any more.
    assert!(unsafe { cma_release(area(), first, PAGES) });
}
