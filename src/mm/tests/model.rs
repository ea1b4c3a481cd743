//! Buddy, per-CPU lists, CMA, movable objects, contiguous ranges and compaction together, a
//! million operations a run, against a model: who owns each frame, and what is written there.
//!
//! Each run draws a seed, and prints it where it fails; `GRANULE_SEED` repeats that run.

use crate::addr::{Order, PAGE_SIZE, Pfn, PfnRange, PhysAddr, PhysRange};
use crate::arch::hosted::Machine;
use crate::mm::alloc_pages::{alloc_pages, alloc_pages_bulk, alloc_pages_exact};
use crate::mm::cma::{self, Cma, cma_alloc, cma_release};
use crate::mm::compaction::compact_zone;
use crate::mm::contig::alloc_contig_range;
use crate::mm::gfp::Gfp;
use crate::mm::mmzone::{MAX_NUMNODES, NodeId};
use crate::mm::page::Frame;
use crate::mm::page_alloc::{
    self, OwnedPage, ZoneLimits, drain_all_pages, free_area_init, free_contig_range, free_pages,
    free_pages_exact, get_page, put_page, split_page, zones,
};
use crate::mm::sparse;
use crate::mm::validate;
use crate::mm::zsmalloc::{ZsHandle, ZsPool};
use std::sync::Mutex;
use std::vec::Vec;

const MIB: u64 = 1 << 20;
const RAM: u64 = 0x4000_0000;
/// Operations of a run, and how many a CPU does in turn.
const OPERATIONS: u32 = if cfg!(miri) { 300 } else { 1_000_000 };
const TURN: u32 = if cfg!(miri) { 100 } else { 500 };
const RAM_MIB: u64 = if cfg!(miri) { 16 } else { 40 };
const CPUS: usize = 4;
/// Frames that bear a mark, of a large block.
const MARKED: u32 = 8;

const GFPS: [Gfp; 8] = [
    Gfp::GFP_KERNEL,
    Gfp::GFP_HIGHUSER_MOVABLE,
    Gfp::GFP_HIGHUSER_MOVABLE,
    Gfp::GFP_KERNEL.union(Gfp::__GFP_RECLAIMABLE),
    Gfp::GFP_ATOMIC,
    Gfp::GFP_KERNEL.union(Gfp::__GFP_COMP),
    Gfp::GFP_DMA,
    Gfp::GFP_KERNEL.union(Gfp::__GFP_ZERO),
];

/// xorshift64*.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        ((self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize) % limit
    }
}

/// Says which run it was, where one fails.
struct Seed(u64);

impl Seed {
    fn draw() -> Self {
        use std::hash::{BuildHasher, RandomState};
        let given = std::env::var("GRANULE_SEED").ok();
        let given = given.map(|seed| seed.parse().expect("GRANULE_SEED is a number"));
        Self(given.unwrap_or_else(|| RandomState::new().hash_one(1) >> 32 | 1))
    }
}

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::eprintln!("to repeat this run: GRANULE_SEED={}", self.0);
        }
    }
}

/// Function that gives a block back.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Kind {
    Block { order: Order, compound: bool, references: u32 },
    Exact { bytes: usize },
    Contig,
    Cma,
}

#[derive(Clone, Copy, Debug)]
struct Owned {
    range: PfnRange,
    kind: Kind,
    mark: u64,
}

struct World {
    random: Random,
    cma: &'static Cma,
    pool: ZsPool,
    owned: Vec<Owned>,
    objects: Vec<(ZsHandle, u8)>,
    /// State of each frame: `true` if it belongs to a block that is owned.
    taken: Vec<bool>,
    dma_limit: Pfn,
    /// Pages of the blocks, of the pool, and of neither.
    pages: u32,
    pool_pages: u32,
    base: u32,
    /// True if memory is being filled or emptied.
    filling: bool,
    marks: u64,
    /// Number of successes of each of the rarer operations.
    done: [u32; 4],
}

fn word(pfn: Pfn, at: usize) -> &'static mut u64 {
    let frame = Frame::new(pfn).expect("a frame");
    let at = core::ptr::with_exposed_provenance_mut::<u64>(frame.virt().get() + at);
    // SAFETY: a word of a page that the model owns, looked at by one thread at a time.
    unsafe { &mut *at }
}

fn marked(range: PfnRange) -> impl Iterator<Item = Pfn> {
    range
        .iter()
        .step_by(range.len().div_ceil(MARKED) as usize)
        .chain([Pfn::new(range.end().get() - 1)])
}

impl World {
    fn index(pfn: Pfn) -> usize {
        (pfn.get() - (RAM >> 12) as u32) as usize
    }

    fn add(&mut self, range: PfnRange, kind: Kind) {
        for pfn in range.iter() {
            let taken = &mut self.taken[Self::index(pfn)];
            assert!(!*taken, "{pfn:?} of {range:?}, {kind:?}, is another's");
            *taken = true;
        }
        self.marks += 1;
        for pfn in marked(range) {
            (*word(pfn, 0), *word(pfn, PAGE_SIZE - 8)) = (self.marks, self.marks ^ 1);
        }
        self.pages += range.len();
        self.owned.push(Owned { range, kind, mark: self.marks });
    }

    fn check(owned: &Owned) {
        for pfn in marked(owned.range) {
            let found = (*word(pfn, 0), *word(pfn, PAGE_SIZE - 8));
            assert_eq!(found, (owned.mark, owned.mark ^ 1), "{pfn:?} of {owned:?}");
        }
    }

    fn take(&mut self, n: usize) -> Owned {
        let owned = self.owned.swap_remove(n);
        Self::check(&owned);
        for pfn in owned.range.iter() {
            assert!(core::mem::replace(&mut self.taken[Self::index(pfn)], false));
        }
        self.pages -= owned.range.len();
        owned
    }

    fn alloc(&mut self) {
        let order = [0, 0, 0, 0, 0, 1, 2, 3, self.random.below(7), 9, self.random.below(11)];
        let order = Order::new(order[self.random.below(order.len())] as u8).unwrap();
        let gfp = GFPS[self.random.below(GFPS.len())];
        let Some(frame) = alloc_pages(gfp | Gfp::__GFP_NOWARN | Gfp::__GFP_NORETRY, order) else {
            return;
        };
        assert!(frame.pfn().is_aligned(order));
        assert!(!gfp.contains(Gfp::__GFP_DMA) || frame.pfn() < self.dma_limit);
        let range = PfnRange::new(frame.pfn(), frame.pfn() + order.pages());
        let lent = self.cma.range().overlaps(range);
        assert!(!lent || gfp.contains(Gfp::__GFP_MOVABLE), "{range:?} is CMA's");
        if gfp.contains(Gfp::__GFP_ZERO) {
            assert!(marked(range).all(|pfn| (*word(pfn, 0), *word(pfn, PAGE_SIZE - 8)) == (0, 0)));
        }
        let compound = gfp.contains(Gfp::__GFP_COMP) && order > Order::ZERO;
        self.add(range, Kind::Block { order, compound, references: 1 });
    }

    fn free(&mut self) {
        if self.owned.is_empty() {
            return;
        }
        let n = self.random.below(self.owned.len());
        let frame = Frame::new(self.owned[n].range.start()).expect("a frame");
        if let Kind::Block { references, .. } = &mut self.owned[n].kind
            && *references > 1
        {
            *references -= 1;
            // SAFETY: allocated here, and nobody uses it any more.
            return unsafe { put_page(frame) };
        }
        let Owned { range, kind, .. } = self.take(n);
        match kind {
            // SAFETY: allocated here, and nobody uses it any more.
            Kind::Block { order, .. } if self.random.below(2) == 0 => unsafe {
                free_pages(frame, order)
            },
            // SAFETY: allocated here, and nobody uses it any more.
            Kind::Block { .. } => unsafe { put_page(frame) },
            // SAFETY: allocated here, and nobody uses it any more.
            Kind::Exact { bytes } => unsafe { free_pages_exact(frame, bytes) },
            // SAFETY: allocated here, and nobody uses it any more.
            Kind::Contig => unsafe { free_contig_range(range) },
            // SAFETY: allocated here, and nobody uses it any more.
            Kind::Cma => assert!(unsafe { cma_release(self.cma, frame, range.len()) }),
        }
    }

    /// Shares a block, or cuts it into pages.
    fn change(&mut self) {
        if self.owned.is_empty() {
            return;
        }
        let n = self.random.below(self.owned.len());
        let Owned { range, kind, .. } = &mut self.owned[n];
        let Kind::Block { order, compound, references } = kind else { return };
        let (order, compound, held) = (*order, *compound, *references);
        let frame = Frame::new(range.start()).expect("a frame");
        if self.random.below(2) == 0 {
            *references += 1;
            let tail = self.random.below(order.pages() as usize) as u32;
            get_page(if compound { frame.within(order, tail) } else { frame });
        } else if !compound && held == 1 && order.get() < 5 {
            self.take(n);
            // SAFETY: allocated here, and freed page by page.
            unsafe { split_page(frame, order) };
            for single in frame.block(order) {
                let kind = Kind::Block { order: Order::ZERO, compound: false, references: 1 };
                self.add(PfnRange::new(single.pfn(), single.pfn() + 1), kind);
            }
        }
    }

    fn several(&mut self) {
        let gfp = Gfp::GFP_KERNEL | Gfp::__GFP_NOWARN | Gfp::__GFP_NORETRY;
        if self.random.below(2) == 0 {
            let mut pages = [const { None }; 20];
            let wanted = 1 + self.random.below(20);
            alloc_pages_bulk(gfp, &mut pages[..wanted]);
            for page in pages.into_iter().flatten().map(OwnedPage::into_raw) {
                let kind = Kind::Block { order: Order::ZERO, compound: false, references: 1 };
                self.add(PfnRange::new(page.pfn(), page.pfn() + 1), kind);
            }
        } else {
            let bytes = 1 + self.random.below(40 * PAGE_SIZE);
            if let Some(frame) = alloc_pages_exact(gfp, bytes) {
                let pages = bytes.div_ceil(PAGE_SIZE) as u32;
                self.add(PfnRange::new(frame.pfn(), frame.pfn() + pages), Kind::Exact { bytes });
            }
        }
    }

    fn object(&mut self) {
        if self.objects.is_empty() || (self.filling && self.random.below(3) > 0) {
            let size = [4096, 4096, 1300, 100][self.random.below(4)];
            let byte = self.random.below(256) as u8;
            let gfp = Gfp::GFP_KERNEL | Gfp::__GFP_NOWARN | Gfp::__GFP_NORETRY;
            let Some(object) = self.pool.malloc(size, gfp) else { return };
            self.pool.with(object, |bytes| bytes.fill(byte));
            self.objects.push((object, byte));
        } else {
            let n = self.random.below(self.objects.len());
            let (object, _) = self.check_object(n);
            self.objects.swap_remove(n);
            self.pool.free(object);
        }
        self.pool_pages = self.pool.info().pages as u32;
    }

    fn check_object(&self, n: usize) -> (ZsHandle, u8) {
        let (object, byte) = self.objects[n];
        let pfn = self.pool.frame(object).pfn();
        assert!(!self.taken[Self::index(pfn)], "{pfn:?} is an object's and a block's");
        let intact = |bytes: &mut [u8]| bytes.iter().all(|&b| b == byte);
        assert!(self.pool.with(object, intact), "object {n} was lost");
        (object, byte)
    }

    fn cma(&mut self) {
        let most = [8, 100, 1024][self.random.below(3)];
        let count = 1 + self.random.below(most) as u32;
        let align = Order::new(self.random.below(7) as u8).unwrap();
        if let Some(frame) = cma_alloc(self.cma, count, align) {
            let range = PfnRange::new(frame.pfn(), frame.pfn() + count);
            assert!(frame.pfn().is_aligned(align) && self.cma.range().contains_range(range));
            self.add(range, Kind::Cma);
            self.done[0] += 1;
        }
    }

    /// A range by its place, which may be free, in use, or movable.
    fn contig(&mut self) {
        let pages = self.taken.len();
        let start = Pfn::new((RAM >> 12) as u32 + self.random.below(pages - 700) as u32);
        let range = PfnRange::new(start, start + 1 + self.random.below(600) as u32);
        if self.cma.range().overlaps(pageblocks(range)) {
            return;
        }
        let blocked = range.iter().any(|pfn| self.taken[Self::index(pfn)]);
        let got = alloc_contig_range(range);
        assert!(!(blocked && got.is_ok()), "{range:?} was in use");
        if got.is_ok() {
            self.add(range, Kind::Contig);
            self.done[1] += 1;
        }
    }

    fn compact(&mut self) {
        let all: Vec<_> = zones().map(|zone| zone.id).collect();
        self.done[2] += compact_zone(all[self.random.below(all.len())]);
    }

    fn step(&mut self) {
        match self.random.below(1000) {
            0..=799 => {
                let (more, fewer) = if self.filling { (6, 4) } else { (4, 6) };
                if self.random.below(more + fewer) < more { self.alloc() } else { self.free() }
            }
            800..=839 => self.change(),
            840..=859 => self.several(),
            860..=989 => self.object(),
            990..=992 => self.cma(),
            993..=995 => self.contig(),
            996..=998 => drain_all_pages(),
            _ if self.random.below(4) == 0 => self.compact(),
            _ => {}
        }
        let total = self.taken.len() as u32;
        let used = self.pages + self.pool_pages;
        if used > total * 17 / 20 {
            self.filling = false;
        } else if used < total / 5 {
            self.done[3] += u32::from(!self.filling);
            self.filling = true;
        }
        assert_eq!(page_alloc::nr_used_pages(), self.base + used);
    }

    /// Everything, and not what an operation touches alone.
    fn check_all(&self) {
        if let Err(invalid) = validate::validate() {
            panic!("{invalid}");
        }
        assert_eq!(self.pool.validate(), Ok(()));
        for zone in zones() {
            assert_eq!(zone.present, zone.managed + zone.reserved(), "{zone}");
            assert_eq!(zone.isolated, 0, "{zone}: nothing is being emptied");
            let blocks: u32 = Order::ZERO.and_up().map(|o| zone.blocks(o) * o.pages()).sum();
            assert_eq!(blocks, zone.buddy, "{zone}");
        }
        self.owned.iter().for_each(Self::check);
        for n in 0..self.objects.len() {
            self.check_object(n);
        }
        let lent = |owned: &&Owned| owned.kind == Kind::Cma;
        let contiguous: u32 = self.owned.iter().filter(lent).map(|owned| owned.range.len()).sum();
        assert_eq!(self.cma.info().allocated, contiguous);
    }
}

/// The pageblocks that a range touches, whole.
fn pageblocks(range: PfnRange) -> PfnRange {
    let block = Order::PAGEBLOCK;
    PfnRange::new(range.start().align_down(block), range.end().align_up(block))
}

/// Three zones, an area of 4 MiB in the second, and one section.
fn on_machine(f: impl FnOnce(&Machine, &'static Cma, Pfn)) {
    let ram = PhysRange::from_size(PhysAddr::new(RAM), RAM_MIB * MIB);
    Machine::run(&[ram], |m| {
        let pfn = |mib: u64| Pfn::new(((RAM + mib * MIB) >> 12) as u32);
        let all = ram.whole_pages();
        let area = PfnRange::new(pfn(8), pfn(12));
        // SAFETY: the machine is fresh, and the area left out of what is free.
        let cma = unsafe { cma::cma_init_reserved_mem("linux,cma", area, Order::ZERO) }.unwrap();
        let limits =
            ZoneLimits { dma: pfn(4), dma32: pfn(4), movable: [pfn(RAM_MIB - 4); MAX_NUMNODES] };
        let present = [(NodeId::FIRST, all)].into_iter();
        let free = [PfnRange::new(all.start(), area.start()), PfnRange::new(area.end(), all.end())];
        let mapped = sparse::Populate::Mapped;
        // SAFETY: as above.
        unsafe { free_area_init(limits, present, free.into_iter(), mapped) }.unwrap();
        cma::cma_init_reserved_areas();
        page_alloc::set_min_free_kbytes(128);
        f(m, cma, limits.dma);
    });
}

#[test]
fn a_million_operations_against_a_model() {
    let seed = Seed::draw();
    on_machine(|m, cma, dma_limit| {
        let world = Mutex::new(World {
            random: Random(seed.0 | 1),
            cma,
            pool: ZsPool::new().unwrap(),
            owned: Vec::new(),
            objects: Vec::new(),
            taken: std::vec![false; (RAM_MIB << 8) as usize],
            dma_limit,
            pages: 0,
            pool_pages: 0,
            base: page_alloc::nr_used_pages(),
            filling: true,
            marks: 0,
            done: [0; 4],
        });
        let turns = |turns: u32, operation: fn(&mut World)| {
            for turn in 0..turns {
                let cpu = world.lock().unwrap().random.below(CPUS);
                m.on_cpus(CPUS, |own| {
                    if own == cpu {
                        let mut world = world.lock().unwrap();
                        (0..TURN).for_each(|_| operation(&mut world));
                    }
                });
                if turn % 10 == 9 {
                    m.on_cpus(CPUS, |_| {
                        crate::arch::irq::with_masked(page_alloc::drain_local_pages)
                    });
                    world.lock().unwrap().check_all();
                }
            }
        };
        turns(OPERATIONS / TURN, World::step);
        let mut world = world.into_inner().unwrap();
        if !cfg!(miri) {
            let [cma, contig, moved, rounds] = world.done;
            assert!(cma > 100 && contig > 50 && moved > 0 && rounds > 3, "{:?}", world.done);
        }
        world.check_all();
        while !world.owned.is_empty() {
            world.free();
        }
        while !world.objects.is_empty() {
            world.filling = false;
            world.object();
        }
        m.on_cpus(CPUS, |_| crate::arch::irq::with_masked(page_alloc::drain_local_pages));
        world.check_all();
        assert_eq!(page_alloc::nr_used_pages(), world.base);
        assert!(zones().all(|zone| zone.pcp == 0));
    });
}
