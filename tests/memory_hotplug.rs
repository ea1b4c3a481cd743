//! Memory that goes and comes back on the running kernel: sections taken offline and put
//! online, frames that turn out to be bad.

#![no_std]
#![no_main]

extern crate alloc;

mod harness;
#[path = "harness/sleepy.rs"]
mod sleepy;

use alloc::string::ToString;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use granule::addr::{Order, PAGE_SIZE, Pfn, PfnRange};
use granule::arch::CpuId;
use granule::arch::irq::with_masked;
use granule::arch::smp;
use granule::init::secondary;
use granule::mm::alloc_pages::alloc_pages;
use granule::mm::gfp::Gfp;
use granule::mm::kthread::kthread_create_on_cpu;
use granule::mm::memory_failure::{soft_offline_page, unpoison_memory};
use granule::mm::memory_hotplug::{
    HotplugError, MemoryState, offline_pages, online_pages, section_state, sections,
};
use granule::mm::page::{Frame, PageType};
use granule::mm::page_alloc::{
    PageList, Pages, State, drain_all_pages, drain_local_pages, free_pages, nr_used_pages,
    num_poisoned_pages, state_of, zones,
};
use granule::mm::slab::shrink_all;
use granule::mm::sparse::Section;
use granule::mm::stat;
use granule::mm::zsmalloc::{ZsHandle, ZsPool};
use granule::sched::cond_resched;
use harness::Random;

const KERNEL: Gfp = Gfp::GFP_KERNEL.union(Gfp::__GFP_NOWARN);

/// Objects of the test's own, while all cores use memory.
const OBJECTS: usize = 50_000;

/// Objects of a page each, which say their number.
struct Objects {
    pool: ZsPool,
    all: Vec<(u64, ZsHandle)>,
    next: u64,
}

impl Objects {
    fn new(most: usize) -> Self {
        Self { pool: ZsPool::new().expect("a pool"), all: Vec::with_capacity(most), next: 0 }
    }

    fn add(&mut self) {
        let object = self.pool.malloc(PAGE_SIZE, KERNEL).expect("memory");
        self.next += 1;
        let number = self.next.to_le_bytes();
        self.pool.with(object, |bytes| {
            bytes[..8].copy_from_slice(&number);
            bytes[PAGE_SIZE - 8..].copy_from_slice(&number);
        });
        self.all.push((self.next, object));
    }

    fn remove(&mut self, which: usize) {
        let (_, object) = self.all.swap_remove(which);
        self.pool.free(object);
    }

    fn check(&self) {
        for &(number, object) in &self.all {
            self.pool.with(object, |bytes| {
                assert_eq!(bytes[..8], number.to_le_bytes(), "object {number} was lost");
                assert_eq!(bytes[PAGE_SIZE - 8..], number.to_le_bytes());
            });
        }
    }

    fn is_inside(&self, n: usize, range: PfnRange) -> bool {
        range.contains(self.pool.frame(self.all[n].1).pfn())
    }

    fn inside(&self, range: PfnRange) -> usize {
        (0..self.all.len()).filter(|&n| self.is_inside(n, range)).count()
    }

    /// Sees to it that thousands lie in `range`, with as many in all as before; how many.
    fn fill(&mut self, range: PfnRange) -> usize {
        while self.inside(range) < 5000 {
            (0..2000).for_each(|_| self.add());
        }
        for n in (0..self.all.len()).rev() {
            if self.all.len() > OBJECTS && !self.is_inside(n, range) {
                self.remove(n);
            }
        }
        self.inside(range)
    }
}

/// The first word of a page, as the kernel reaches it.
fn first_word(frame: Frame) -> *mut u64 {
    core::ptr::with_exposed_provenance_mut(frame.virt().get())
}

/// Takes all of memory once, so that every section is up.
fn bring_up_all() {
    let mut all = PageList::<Pages>::new();
    while let Some(block) = Pages::alloc(KERNEL | Gfp::__GFP_NORETRY, Order::MAX) {
        all.push(block);
    }
}

static STOP: AtomicBool = AtomicBool::new(false);
static ROUNDS: AtomicU32 = AtomicU32::new(0);

/// Holds movable pages, and others for a moment, until it is to stop.
fn use_memory(seed: u64) -> i32 {
    let mut random = Random::new(seed);
    let mut objects = Objects::new(1200);
    while !STOP.load(Ordering::Acquire) {
        while objects.all.len() < 1000 {
            objects.add();
        }
        let pages: [_; 32] = core::array::from_fn(|_| {
            let order = Order::new(random.below(4) as u8).expect("an order");
            let gfp = [KERNEL, Gfp::GFP_HIGHUSER_MOVABLE][random.below(2)];
            (alloc_pages(gfp, order).expect("memory"), order)
        });
        for (page, _) in pages {
            let state = state_of(page);
            assert!(matches!(state, State::Allocated { .. }), "{page:?} is {state}");
            // SAFETY: the page is this thread's.
            unsafe { first_word(page).write(seed ^ u64::from(page.pfn().get())) };
        }
        for (page, order) in pages {
            // SAFETY: as above.
            assert_eq!(unsafe { first_word(page).read() }, seed ^ u64::from(page.pfn().get()));
            // SAFETY: allocated here, and nobody uses it any more.
            unsafe { free_pages(page, order) };
        }
        objects.check();
        for _ in 0..300 {
            objects.remove(random.below(objects.all.len()));
        }
        ROUNDS.fetch_add(1, Ordering::Relaxed);
        cond_resched();
    }
    0
}

/// Runs `f` while each core has a thread that uses memory.
fn while_all_cores_use_memory(f: impl FnOnce()) {
    STOP.store(false, Ordering::Release);
    let threads: Vec<_> = smp::online()
        .map(|cpu| {
            let seed = cpu.index() as u64 + 20_261_121;
            let thread = kthread_create_on_cpu("user", cpu, move || use_memory(seed));
            let thread = thread.expect("a thread");
            thread.wake_up();
            thread
        })
        .collect();
    f();
    STOP.store(true, Ordering::Release);
    threads.into_iter().for_each(|thread| assert_eq!(thread.join(), 0));
    secondary::on_each(give_up_caches);
}

fn give_up_caches(_: CpuId) {
    shrink_all();
    with_masked(drain_local_pages);
}

/// Present, managed, spanned and offline of each zone.
fn figures() -> Vec<(u32, u32, PfnRange, u32)> {
    zones().map(|zone| (zone.present, zone.managed, zone.spanned, zone.offline)).collect()
}

/// The sections of which nothing was reserved at boot.
fn free_sections() -> Vec<PfnRange> {
    let reserved = |pfn| {
        let frame = Frame::new(pfn).expect("it is up");
        state_of(frame) == State::Reserved && !frame.page().is_type(PageType::Vmemmap)
    };
    let all = sections().map(|(section, _)| section.frames());
    all.filter(|range| !range.iter().any(reserved)).collect()
}

kernel_tests! {
    /// An owner may sleep while it moves its page out of a section that goes offline. Another
    /// thread of that CPU, which wants the same, has to let it go on.
    fn an_owner_sleeps_while_another_thread_waits() {
        bring_up_all();
        let free = free_sections();
        let section_of = |frame: Frame| free.iter().find(|range| range.contains(frame.pfn()));
        let frame = sleepy::own_a_page(|frame| section_of(frame).is_some());
        let range = *section_of(frame).expect("as wanted");
        let goes = move || i32::from(offline_pages(range).is_ok());
        let comes = move || i32::from(online_pages(range).is_ok());
        assert_eq!(sleepy::on_one_cpu(goes, comes), (1, 1));
        assert!(section_state(Section::of(frame.pfn())) == Some(MemoryState::Online));
        assert_ne!(sleepy::disown(), frame, "it was moved");
    }

    fn sections_go_while_all_cores_use_memory() {
        bring_up_all();
        let before = figures();
        let mut objects = Objects::new(2 * OBJECTS);
        (0..OBJECTS).for_each(|_| objects.add());
        let free = free_sections();
        assert!(!free.is_empty());
        let (mut went, mut busy, mut moved) = (0, 0, 0);
        while_all_cores_use_memory(|| {
            while ROUNDS.load(Ordering::Relaxed) < 8 {
                cond_resched();
            }
            for &range in free.iter().cycle().take(60) {
                let inside = objects.fill(range);
                match offline_pages(range) {
                    Ok(()) => {
                        went += 1;
                        moved += inside;
                        assert_eq!(objects.inside(range), 0);
                        objects.check();
                        let rounds = ROUNDS.load(Ordering::Relaxed);
                        while ROUNDS.load(Ordering::Relaxed) < rounds + 4 {
                            cond_resched();
                        }
                        let offline = zones().map(|zone| zone.offline).sum::<u32>();
                        assert_eq!(offline, range.len());
                        online_pages(range).expect("it was offline");
                    }
                    Err(HotplugError::Busy(pfn)) => {
                        assert!(range.contains(pfn), "{pfn:?}");
                        busy += 1;
                    }
                    Err(error) => panic!("{range:?}: {error}"),
                }
                assert_eq!(figures(), before);
                if went >= 6 && moved > 20_000 {
                    break;
                }
                cond_resched();
            }
        });
        granule::kprintln!("{went} sections went and came back, {busy} were busy, {moved} pages moved");
        assert!(went >= 3 && moved > 10_000, "{went} went, {busy} were busy, {moved} pages moved");
        objects.check();
    }

    fn the_kernel_itself_stays() {
        let (first, state) = sections().next().expect("RAM");
        assert_eq!(state, MemoryState::Online);
        bring_up_all();
        let before = (figures(), nr_used_pages());
        let Err(HotplugError::Busy(pfn)) = offline_pages(first.frames()) else {
            panic!("the kernel's image was taken offline");
        };
        assert!(first.frames().contains(pfn));
        assert_eq!((figures(), nr_used_pages()), before);
    }

    fn the_report_says_what_is_offline() {
        bring_up_all();
        let total = || zones().map(|zone| zone.managed).sum::<u32>();
        let before = total();
        let gone = free_sections().into_iter().find(|&range| offline_pages(range).is_ok());
        let range = gone.expect("nothing is in one of them that can't be moved");
        assert_eq!(section_state(Section::of(range.start())), Some(MemoryState::Offline));
        // All but the frames that hold descriptors.
        let frames = range.iter().filter_map(Frame::new);
        let memmap = frames.filter(|frame| frame.page().is_type(PageType::Vmemmap));
        assert_eq!(total(), before - (range.len() - memmap.count() as u32));
        let blocks = stat::MemoryBlocks.to_string();
        granule::kprint!("{blocks}");
        let states: Vec<_> = blocks.lines().filter_map(|line| line.split(' ').next_back()).collect();
        for (state, (section, _)) in states.iter().zip(sections()) {
            assert_eq!(*state, if section.frames() == range { "offline" } else { "online" });
        }
        let meminfo = stat::MemInfo.to_string();
        let kib = (u64::from(total()) << 2).to_string();
        assert!(meminfo.lines().any(|line| line.starts_with("MemTotal:") && line.contains(&kib)));
        online_pages(range).expect("it was offline");
        assert_eq!(total(), before);
    }

    fn bad_frames_are_left_while_all_cores_use_memory() {
        let mut objects = Objects::new(5000);
        (0..5000).for_each(|_| objects.add());
        let mut bad: Vec<Pfn> = Vec::with_capacity(500);
        while_all_cores_use_memory(|| {
            for n in (0..5000).step_by(10) {
                let pfn = objects.pool.frame(objects.all[n].1).pfn();
                soft_offline_page(pfn).expect("nobody holds it");
                bad.push(pfn);
                if n % 100 == 0 {
                    cond_resched();
                }
            }
            objects.check();
        });
        assert_eq!(num_poisoned_pages(), 500);
        let is_bad = |frame: Frame| state_of(frame) == State::Poisoned;
        assert!(bad.iter().all(|&pfn| Frame::new(pfn).is_some_and(is_bad)));
        objects.check();
        drop(objects);
        drain_all_pages();
        bad.into_iter().for_each(|pfn| unpoison_memory(pfn).expect("it was bad"));
        assert_eq!(num_poisoned_pages(), 0);
    }
}
