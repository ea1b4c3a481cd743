//! Reclaim in the background, by its own thread.

#![no_std]
#![no_main]

extern crate alloc;

mod harness;

use granule::arch::irq::with_masked;
use granule::mm::gfp::Gfp;
use granule::mm::page_alloc::{OwnedPage, PageList, zones};
use granule::mm::shrinker::{Shrinker, register_shrinker};
use granule::mm::vmscan::{VmscanStat, vmscan_stat};
use granule::sched::msleep;
use granule::sync::{Once, Rank, SpinLock};

/// Neither sleeps nor wakes anybody.
const QUIET: Gfp = Gfp::__GFP_NOWARN;

/// Holds pages until it is asked for them. They are linked through their descriptors.
struct Cache(SpinLock<PageList<OwnedPage>>);

static CACHE: Cache = Cache(SpinLock::new(Rank::ZsPool, PageList::new()));

impl Cache {
    fn put(&self, page: OwnedPage) {
        with_masked(|irq| self.0.lock(irq).push(page));
    }
    fn pop(&self) -> Option<OwnedPage> {
        with_masked(|irq| self.0.lock(irq).pop())
    }
    fn len(&self) -> usize {
        with_masked(|irq| self.0.lock(irq).len() as usize)
    }
    fn give_back(&self, pages: usize) -> usize {
        let popped = core::iter::from_fn(|| self.pop()).take(pages);
        popped.map(drop).count()
    }
    /// Gives it all memory, down to the min watermark.
    fn fill(&'static self) {
        static REGISTERED: Once<()> = Once::new();
        REGISTERED.call_once(|| register_shrinker(self).expect("room for it"));
        while let Some(page) = OwnedPage::alloc(QUIET) {
            self.put(page);
        }
    }
}

impl Shrinker for Cache {
    fn name(&self) -> &'static str {
        "test"
    }
    fn count(&self, _: Gfp) -> usize {
        self.len()
    }
    fn scan(&self, _: Gfp, objects: usize) -> usize {
        self.give_back(objects)
    }
}

fn free() -> u32 {
    zones().map(|zone| zone.free()).sum()
}

/// All zones' marks, low and high.
fn marks() -> (u32, u32) {
    zones().fold((0, 0), |(low, high), zone| (low + zone.watermarks[1], high + zone.watermarks[2]))
}

/// Waits until the thread has brought free memory above `pages`.
fn wait_for(pages: u32) -> VmscanStat {
    for _ in 0..1000 {
        if free() > pages {
            break;
        }
        msleep(10);
    }
    assert!(free() > pages, "{} pages are free of {pages}: {:?}", free(), vmscan_stat());
    vmscan_stat()
}

kernel_tests! {
    fn kswapd_reclaims_for_those_who_cannot_wait() {
        CACHE.fill();
        let (low, high) = marks();
        assert!(free() < low);
        let before = vmscan_stat();
        // Where nobody may sleep.
        let urgent = with_masked(|_| OwnedPage::alloc(Gfp::GFP_ATOMIC));
        drop(urgent.expect("a page of the reserve"));
        let after = wait_for(high);
        assert!(after.kswapd_wake > before.kswapd_wake && after.pgsteal_kswapd > before.pgsteal_kswapd);
        assert_eq!(after.allocstall, before.allocstall, "nobody else reclaimed");
        let page = OwnedPage::alloc(Gfp::GFP_NOWAIT);
        drop(page.expect("there is memory again"));
        // It stops when there is enough.
        msleep(200);
        assert!(CACHE.len() > 1000, "only {} pages were left alone", CACHE.len());
        CACHE.give_back(usize::MAX);
    }

    /// `Box` and `Vec` reclaim where they may sleep, and go on where all that is there is with
    /// one who gives it back when he is asked.
    fn boxes_and_vectors_have_what_can_be_reclaimed() {
        CACHE.fill();
        let held = CACHE.len();
        let mut all = alloc::vec::Vec::new();
        for n in 0..held / 2 {
            all.push(alloc::boxed::Box::new([n as u32; 1000]));
        }
        assert!(all.iter().enumerate().all(|(n, of)| of.iter().all(|&word| word == n as u32)));
        drop(all);
        CACHE.fill();
        // Single pages are what there is: a large one is put together by vmalloc, or compaction.
        let mut large = alloc::vec::Vec::<u64>::new();
        (0..1 << 17).for_each(|n| large.push(n));
        assert!(large.iter().copied().eq(0..1 << 17));
        drop(large);
        CACHE.give_back(usize::MAX);
    }

    /// Again and again, from all that allocates: it is woken each time, and never hangs.
    fn kswapd_keeps_up_with_a_thread_that_takes_all_it_frees() {
        CACHE.fill();
        let (_, high) = marks();
        for _ in 0..20 {
            while let Some(page) = OwnedPage::alloc(Gfp::GFP_NOWAIT) {
                CACHE.put(page);
            }
            wait_for(high);
        }
        CACHE.give_back(usize::MAX);
    }

    fn who_may_sleep_gets_a_page_whatever_caches_hold() {
        CACHE.fill();
        let mut taken = PageList::new();
        let pages = CACHE.len() / 2;
        for _ in 0..pages {
            taken.push(OwnedPage::alloc(Gfp::GFP_KERNEL).expect("the caches hold twice that"));
        }
        drop(taken);
        CACHE.give_back(usize::MAX);
    }
}
