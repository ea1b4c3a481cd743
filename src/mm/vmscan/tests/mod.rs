//! Reclaim on small machines, with caches that hold all their memory.

mod boost;

use super::*;
use crate::addr::{Order, PhysAddr, PhysRange};
use crate::arch::hosted::Machine;
use crate::arch::irq::with_masked;
use crate::mm::alloc_pages::alloc_pages;
use crate::mm::compaction::{compact_stat, kcompactd_wanted};
use crate::mm::context::{memalloc_nofs_scope, memalloc_noio_scope};
use crate::mm::mmzone::{NodeId, Wmark, Zone, ZoneId, ZoneType, set_watermark_boost_factor};
use crate::mm::page::Frame;
use crate::mm::page_alloc::{self, drain_all_pages, free_pages};
use crate::mm::shrinker::{Shrinker, register_shrinker};
use crate::mm::validate::validate;
use core::sync::atomic::AtomicU32;
use std::boxed::Box;
use std::sync::Mutex;
use std::vec::Vec;

const NODE: NodeId = NodeId::FIRST;
const KERNEL: Gfp = Gfp::GFP_KERNEL.union(Gfp::__GFP_NOWARN);
const MOVABLE: Gfp = Gfp::__GFP_MOVABLE.union(Gfp::__GFP_MEMALLOC).union(Gfp::__GFP_NOWARN);
/// Neither sleeps nor wakes anybody.
const QUIET: Gfp = Gfp::__GFP_NOWARN;

fn order(n: u8) -> Order {
    Order::new(n).expect("an order")
}

fn on_machine(mib: u64, f: impl FnOnce()) {
    let ram = PhysRange::from_size(PhysAddr::new(0x4000_0000), mib << 20);
    Machine::run(&[ram], |m| {
        page_alloc::init(m.ram());
        f();
        validate().unwrap_or_else(|invalid| panic!("{invalid}"));
    });
}

fn zone() -> &'static Zone {
    ZoneId::all().map(ZoneId::zone).find(|zone| zone.is_populated()).expect("a zone")
}

fn free() -> u32 {
    drain_all_pages();
    zone().free()
}

fn take_all(gfp: Gfp) -> Vec<Frame> {
    core::iter::from_fn(|| alloc_pages(gfp, Order::ZERO)).collect()
}

/// Holds pages until it is asked for them.
#[derive(Default)]
struct Cache {
    needs: Option<Gfp>,
    pages: Mutex<Vec<Frame>>,
    /// Action taken when the shrinker is asked, before it frees.
    then: Mutex<Option<Box<dyn FnMut() + Send>>>,
}

impl Shrinker for Cache {
    fn name(&self) -> &'static str {
        "test"
    }
    fn needs(&self) -> Gfp {
        self.needs.unwrap_or(Gfp::empty())
    }
    fn count(&self, _: Gfp) -> usize {
        self.pages.lock().expect("no panic").len()
    }
    fn scan(&self, _: Gfp, objects: usize) -> usize {
        // Taken out: who comes here again finds nothing to do, and the list in use.
        let then = self.then.lock().expect("no panic").take();
        if let Some(mut then) = then {
            then();
            *self.then.lock().expect("no panic") = Some(then);
        }
        let mut pages = self.pages.lock().expect("no panic");
        let objects = objects.min(pages.len());
        // SAFETY: allocated here, and nobody uses it any more.
        pages.drain(..objects).for_each(|page| unsafe { free_pages(page, Order::ZERO) });
        objects
    }
}

impl Cache {
    /// A cache that reclaim knows of, and that is asked where `needs` is allowed.
    fn register(needs: Gfp) -> &'static Self {
        static ALL: Mutex<Vec<&'static Cache>> = Mutex::new(Vec::new());
        let cache: &'static Self =
            Box::leak(Box::new(Self { needs: Some(needs), ..Self::default() }));
        ALL.lock().expect("no panic").push(cache);
        register_shrinker(cache).expect("room for it");
        cache
    }
    /// Gives it all memory that can be had without waking anybody.
    fn fill(&self) -> usize {
        let mut pages = self.pages.lock().expect("no panic");
        pages.extend(take_all(QUIET));
        pages.len()
    }
    fn len(&self) -> usize {
        self.count(Gfp::empty())
    }
    /// Does `f` whenever it is asked for pages.
    fn then(&self, f: impl FnMut() + Send + 'static) {
        *self.then.lock().expect("no panic") = Some(Box::new(f));
    }
}

#[test]
fn the_background_reclaims_up_to_the_high_watermark() {
    on_machine(64, || {
        let cache = Cache::register(Gfp::empty());
        let held = cache.fill();
        assert!(!kswapd::work(NODE), "nobody has asked");
        let high = zone().watermark(Wmark::High);
        assert!(free() <= zone().watermark(Wmark::Low));
        assert_eq!(alloc_pages(Gfp::GFP_NOWAIT, order(4)), None);
        assert_eq!(vmscan_stat().kswapd_wake, 1);
        assert!(kswapd::work(NODE));
        assert!(free() > high, "{} of {high}", free());
        assert!(free() < 2 * high + 512, "{} is too much for {high}", free());
        let stat = vmscan_stat();
        assert_eq!(stat.pgsteal_kswapd, (held - cache.len()) as u64);
        assert!(stat.pgscan_kswapd >= stat.pgsteal_kswapd && stat.pageoutrun >= 1);
        assert_eq!((stat.allocstall, stat.pgscan_direct, stat.pgsteal_direct), (0, 0, 0));
        assert!(alloc_pages(Gfp::GFP_NOWAIT, Order::ZERO).is_some());
        // The request has been seen to.
        assert!(!kswapd::work(NODE));
        let text = std::format!("{stat}");
        assert!(text.contains(&std::format!("pgsteal_kswapd {}\n", stat.pgsteal_kswapd)), "{text}");
    });
}

#[test]
fn waking_is_for_all_contexts_and_for_those_who_allow_it() {
    on_machine(16, || {
        take_all(QUIET);
        assert_eq!(vmscan_stat(), VmscanStat::default());
        with_masked(|_| {
            assert_eq!(alloc_pages(Gfp::__GFP_HIGH | QUIET, Order::MAX), None);
            assert_eq!(vmscan_stat().kswapd_wake, 0, "without __GFP_KSWAPD_RECLAIM");
            assert_eq!(alloc_pages(Gfp::GFP_ATOMIC | QUIET, Order::MAX), None);
            assert_eq!(vmscan_stat().kswapd_wake, 1);
            // Once is enough.
            assert_eq!(alloc_pages(Gfp::GFP_ATOMIC | QUIET, Order::MAX), None);
        });
        let stat = VmscanStat { kswapd_wake: 1, ..VmscanStat::default() };
        assert_eq!(vmscan_stat(), stat, "nobody slept");
    });
}

#[test]
fn it_gives_up_where_nothing_is_left_to_reclaim() {
    on_machine(16, || {
        set_watermark_boost_factor(0);
        let held = take_all(Gfp::GFP_NOWAIT);
        assert!(kswapd::work(NODE));
        let stat = vmscan_stat();
        assert_eq!(stat.pageoutrun, u64::from(MAX_RECLAIM_RETRIES));
        assert_eq!(alloc_pages(Gfp::GFP_NOWAIT, order(3)), None);
        assert_eq!(vmscan_stat().kswapd_wake, stat.kswapd_wake, "it is not woken any more");
        assert!(!kswapd::work(NODE));
        // Compaction may help those who can't reclaim.
        assert_eq!(kcompactd_wanted(NODE), Some(order(3)));
        // Once somebody has found something there is hope again.
        let cache = Cache::register(Gfp::empty());
        *cache.pages.lock().expect("no panic") = held;
        assert!(alloc_pages(KERNEL, order(0)).is_some());
        assert!(vmscan_stat().pgsteal_direct > 0);
        cache.fill();
        assert_eq!(alloc_pages(Gfp::GFP_NOWAIT, order(3)), None);
        assert_eq!(vmscan_stat().kswapd_wake, stat.kswapd_wake + 1);
    });
}

/// Pages that come back one at a time, after rounds that bring nothing.
struct Grudging {
    rounds: AtomicU32,
    pages: Mutex<Vec<Frame>>,
}

impl Shrinker for Grudging {
    fn name(&self) -> &'static str {
        "grudging"
    }
    /// Reports one page in every so many rounds, and none in the others.
    fn count(&self, _: Gfp) -> usize {
        let round = self.rounds.fetch_add(1, Relaxed) + 1;
        usize::from(round.is_multiple_of(MAX_RECLAIM_RETRIES - 1))
    }
    /// Frees a page, and the third time all of them.
    fn scan(&self, _: Gfp, _: usize) -> usize {
        let mut pages = self.pages.lock().expect("no panic");
        let is_third = self.rounds.load(Relaxed) / (MAX_RECLAIM_RETRIES - 1) >= 3;
        let left = if is_third { 0 } else { pages.len() - 1 };
        let freed = pages.split_off(left);
        let count = freed.len();
        // SAFETY: allocated here, and nobody uses it any more.
        freed.into_iter().for_each(|page| unsafe { free_pages(page, Order::ZERO) });
        count
    }
}

/// Rounds that brought nothing count in a row: it gives up for those since the last success.
#[test]
fn a_success_makes_up_for_the_failures_before_it() {
    on_machine(16, || {
        set_watermark_boost_factor(0);
        let pages = Mutex::new(take_all(Gfp::GFP_NOWAIT));
        let cache: &'static Grudging =
            Box::leak(Box::new(Grudging { rounds: AtomicU32::new(0), pages }));
        register_shrinker(cache).expect("room for it");
        assert!(kswapd::work(NODE));
        let rounds = cache.rounds.load(Relaxed);
        assert!(rounds >= 3 * (MAX_RECLAIM_RETRIES - 1), "it gave up in round {rounds}");
        assert!(!is_hopeless(NODE));
        assert!(free() > zone().watermark(Wmark::High));
    });
}

#[test]
fn for_a_block_it_reclaims_twice_its_size_and_leaves_the_rest_to_compaction() {
    on_machine(32, || {
        // A boost would ask for a block too.
        set_watermark_boost_factor(0);
        let cache = Cache::register(Gfp::empty());
        cache.fill();
        // Only every other page can be given back: no block comes of it.
        let mut stays = false;
        cache.pages.lock().expect("no panic").retain(|_| {
            stays = !stays;
            stays
        });
        let held = cache.len();
        assert_eq!(alloc_pages(Gfp::GFP_NOWAIT, order(9)), None);
        assert_eq!(kcompactd_wanted(NODE), None, "reclaim comes first");
        assert!(kswapd::work(NODE));
        let freed = held - cache.len();
        assert!((1024..2100).contains(&freed), "{freed}");
        assert_eq!(kcompactd_wanted(NODE), Some(order(9)));
    });
}

#[test]
fn who_does_not_retry_reclaims_once() {
    on_machine(16, || {
        let cache = Cache::register(Gfp::empty());
        // All there is; the first pages it gives have no neighbours.
        *cache.pages.lock().expect("no panic") = take_all(QUIET | Gfp::__GFP_MEMALLOC);
        cache.pages.lock().expect("no panic").sort_by_key(|page| page.pfn().get() % 2);
        assert_eq!(alloc_pages(KERNEL | Gfp::__GFP_NORETRY, order(3)), None);
        assert_eq!(vmscan_stat().allocstall, 1);
        assert!(alloc_pages(KERNEL, order(3)).is_some(), "the others have");
        assert!(vmscan_stat().allocstall > 2);
    });
}

#[test]
fn scattered_memory_is_no_failure_of_reclaim() {
    on_machine(16, || {
        let mut pages = take_all(QUIET);
        pages.retain(|page| {
            let goes = page.pfn().get() % 2 == 0;
            if goes {
                // SAFETY: allocated here, and nobody uses it any more.
                unsafe { free_pages(*page, Order::ZERO) };
            }
            !goes
        });
        drain_all_pages();
        for _ in 0..2 * MAX_RECLAIM_RETRIES {
            assert_eq!(alloc_pages(Gfp::GFP_NOWAIT, order(9)), None);
            assert!(kswapd::work(NODE), "it has not given up");
        }
        assert_eq!(kcompactd_wanted(NODE), Some(order(9)));
    });
}

#[test]
fn shrinkers_are_asked_as_far_as_the_caller_allows() {
    on_machine(16, || {
        let io = Cache::register(Gfp::__GFP_IO);
        let fs = Cache::register(Gfp::__GFP_IO | Gfp::__GFP_FS);
        let half = |cache: &Cache, from: &Cache| {
            let mut from = from.pages.lock().expect("no panic");
            let at = from.len() / 2;
            cache.pages.lock().expect("no panic").extend(from.drain(at..));
        };
        io.fill();
        half(fs, io);
        // Four pages, so that each attempt takes the long way.
        let attempt = |gfp: Gfp| {
            let (was_io, was_fs) = (io.len(), fs.len());
            let page = alloc_pages(gfp | Gfp::__GFP_NOWARN | Gfp::__GFP_NORETRY, order(2));
            let asked = (io.len() < was_io, fs.len() < was_fs);
            // SAFETY: allocated here, and nobody uses it any more.
            page.into_iter().for_each(|page| unsafe { free_pages(page, order(2)) });
            io.fill();
            asked
        };
        assert_eq!(attempt(Gfp::GFP_NOIO), (false, false));
        assert_eq!(attempt(Gfp::GFP_NOIO | Gfp::__GFP_FS), (false, false), "it needs both");
        assert_eq!(attempt(Gfp::GFP_NOFS), (true, false));
        assert_eq!(attempt(Gfp::GFP_KERNEL), (true, true));
        assert_eq!(attempt(Gfp::GFP_KERNEL - Gfp::__GFP_DIRECT_RECLAIM), (false, false));
        // Scopes take away what the flags allow.
        assert_eq!(memalloc_noio_scope(|| attempt(Gfp::GFP_KERNEL)), (false, false));
        assert_eq!(memalloc_nofs_scope(|| attempt(Gfp::GFP_KERNEL)), (true, false));
        assert_eq!(attempt(Gfp::GFP_KERNEL), (true, true));
    });
}

#[test]
fn who_frees_memory_has_the_reserves_and_does_not_reclaim() {
    on_machine(16, || {
        let cache = Cache::register(Gfp::empty());
        cache.fill();
        let asked = std::sync::Arc::new(Mutex::new(0));
        let count = asked.clone();
        cache.then(move || {
            let mut count = count.lock().expect("no panic");
            *count += 1;
            if *count > 1 {
                return;
            }
            let stall = (vmscan_stat().allocstall, compact_stat().stall);
            // Below the min watermark, which others keep.
            let page = alloc_pages(KERNEL, order(1)).expect("a page of the reserve");
            assert_eq!(alloc_pages(KERNEL | Gfp::__GFP_NOMEMALLOC, order(1)), None);
            assert_eq!(alloc_pages(KERNEL, Order::MAX), None);
            // In an interrupt handler it is not this thread that allocates.
            let urgent = Gfp::__GFP_NOWARN;
            assert_eq!(with_masked(|_| alloc_pages(urgent, order(1))), None);
            // SAFETY: allocated here, and nobody uses it any more.
            unsafe { free_pages(page, order(1)) };
            assert_eq!((vmscan_stat().allocstall, compact_stat().stall), stall, "it reclaims");
        });
        alloc_pages(KERNEL, order(1)).expect("the cache gives something");
        assert!(*asked.lock().expect("no panic") > 0);
        // Afterwards all is as it was.
        cache.fill();
        drain_all_pages();
        assert_eq!(alloc_pages(QUIET, order(1)), None);
        // The thread of the background frees memory too.
        assert_eq!(alloc_pages(Gfp::GFP_NOWAIT, order(1)), None);
        let before = *asked.lock().expect("no panic");
        memalloc_noreclaim_scope(|| kswapd::work(NODE));
        assert!(*asked.lock().expect("no panic") > before);
    });
}

#[test]
fn the_slow_path_wakes_first_then_compacts_then_reclaims() {
    on_machine(32, || {
        let cache = Cache::register(Gfp::empty());
        let mut pages = take_all(QUIET);
        // Free is enough to compact for, and none of it in a block.
        let scattered = pages.len() / 4;
        for page in pages.extract_if(.., |page| page.pfn().get() % 2 == 0).take(scattered) {
            // SAFETY: allocated here, and nobody uses it any more.
            unsafe { free_pages(page, Order::ZERO) };
        }
        drain_all_pages();
        *cache.pages.lock().expect("no panic") = pages;
        type Seen = Vec<(u64, u64, u64)>;
        let seen = std::sync::Arc::new(Mutex::new(Seen::new()));
        let note = seen.clone();
        cache.then(move || {
            let (scan, compact) = (vmscan_stat(), compact_stat());
            note.lock().expect("no panic").push((scan.kswapd_wake, compact.stall, scan.allocstall));
        });
        assert_eq!(alloc_pages(KERNEL | Gfp::__GFP_NORETRY, order(9)), None);
        let first = seen.lock().expect("no panic").first().copied();
        assert_eq!(first, Some((1, 1, 1)), "woken, compacted, and reclaims for the first time");
        assert!(compact_stat().stall + compact_stat().fail >= 1);
    });
}
