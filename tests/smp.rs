//! All cores at once, and their timer interrupts.

#![no_std]
#![no_main]

extern crate alloc;

mod harness;
#[path = "harness/mmu.rs"]
mod mmu;

use alloc::vec::Vec;
use core::arch::asm;
use core::ptr::{NonNull, null_mut};
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use granule::addr::{Order, PAGE_SIZE, VirtAddr};
use granule::arch::cpumask::{AtomicCpuMask, CpuMask};
use granule::arch::features::{self, Features};
use granule::arch::irq::with_masked;
use granule::arch::pgtable::KernelAttrs;
use granule::arch::{CpuId, NR_CPUS};
use granule::arch::{cpu, exception, smp};
use granule::init::{interrupts, secondary};
use granule::mm::alloc_pages::alloc_pages;
use granule::mm::gfp::Gfp;
use granule::mm::page::Frame;
use granule::mm::page_alloc::{drain_all_pages, drain_local_pages, free_pages, zones};
use granule::mm::slab::{
    RawCache, SlabFlags, kfree, kmalloc, kmem_cache_create, kmem_cache_destroy, shrink_all,
    slabinfo, validate,
};
use granule::mm::vmalloc::{
    VMAP_MAX_ALLOC, VmArea, VmallocStat, shrink, vfree, vm_unmap_aliases, vm_unmap_ram,
    vmalloc_stat, vmallocinfo, vunmap,
};
use granule::percpu::nr_cpu_ids;
use granule::sched;
use granule::sync::Once;
use harness::Random;

/// Number of cores of the machine that these tests are made for.
const CORES: usize = 4;

/// Returns how many operations each core does, out of those that each of [`CORES`] would do: more
/// cores do as many together.
fn share(operations: usize) -> usize {
    operations * CORES / smp::online().count().max(CORES)
}

/// Operations of each core.
fn steps() -> u32 {
    share(4000) as u32
}
/// Blocks that any core may take away to free them.
const SLOTS: usize = 64;

static PAGES: [AtomicUsize; SLOTS] = [const { AtomicUsize::new(0) }; SLOTS];
static OBJECTS: [AtomicPtr<u8>; SLOTS] = [const { AtomicPtr::new(null_mut()) }; SLOTS];
static DONE: [AtomicU32; NR_CPUS] = [const { AtomicU32::new(0) }; NR_CPUS];
static IN_INTERRUPTS: AtomicU32 = AtomicU32::new(0);

/// A frame and its order as a word that is not 0.
fn pack(frame: Frame, order: Order) -> usize {
    (frame.pfn().get() as usize) << 8 | usize::from(order.get()) << 1 | 1
}

fn free_packed(word: usize) {
    if word != 0 {
        let frame = Frame::new(granule::addr::Pfn::new((word >> 8) as u32)).expect("it was one");
        // SAFETY: allocated here, and nobody uses it any more.
        unsafe { free_pages(frame, Order::new((word >> 1 & 15) as u8).expect("it was one")) };
    }
}

fn free_object(object: *mut u8) {
    // SAFETY: who takes a pointer out of its slot is the only one to have it.
    unsafe { kfree(object) }
}

/// Sizes by which objects are told apart: each byte of one holds the low byte of its size.
fn filled(size: usize) -> Option<NonNull<u8>> {
    let object = kmalloc(size, Gfp::GFP_KERNEL)?;
    // SAFETY: it was allocated just now with that size.
    unsafe { object.as_ptr().write_bytes(size as u8, size) };
    Some(object)
}

fn work(id: CpuId) {
    let mut random = Random::new(0x9e37_79b9 * (id.index() as u64 + 1));
    for _ in 0..steps() {
        let slot = random.below(SLOTS);
        match random.below(8) {
            0..=2 => {
                let order = Order::new(random.below(5) as u8).expect("below 11");
                let word = alloc_pages(Gfp::GFP_KERNEL, order).map_or(0, |f| pack(f, order));
                free_packed(PAGES[slot].swap(word, Ordering::AcqRel));
            }
            3..=6 => {
                let size = 1 + random.below(3000);
                let object = filled(size).map_or(null_mut(), NonNull::as_ptr);
                if !object.is_null() {
                    // SAFETY: its first and last byte.
                    let ends = unsafe { (object.read(), object.add(size - 1).read()) };
                    assert_eq!(ends, (size as u8, size as u8));
                }
                free_object(OBJECTS[slot].swap(object, Ordering::AcqRel));
            }
            _ => {
                drop(VmArea::vmalloc(1 + random.below(20 << 12), Gfp::GFP_KERNEL));
            }
        }
    }
    DONE[id.index()].fetch_add(steps(), Ordering::AcqRel);
}

/// Allocations of an interrupt handler, made from the timer's.
fn from_interrupt() {
    let page = alloc_pages(Gfp::GFP_ATOMIC, Order::ZERO);
    let object = kmalloc(200, Gfp::GFP_ATOMIC);
    if let Some(page) = page {
        // SAFETY: allocated here, and nobody uses it any more.
        unsafe { free_pages(page, Order::ZERO) };
    }
    free_object(object.map_or(null_mut(), NonNull::as_ptr));
    IN_INTERRUPTS.fetch_add(1, Ordering::Relaxed);
}

/// Leaves pages on this CPU's lists.
fn keep_pages(_: CpuId) {
    let pages = [(); 40].map(|()| alloc_pages(Gfp::GFP_KERNEL, Order::ZERO));
    // SAFETY: allocated here, and nobody uses it any more.
    pages.into_iter().flatten().for_each(|page| unsafe { free_pages(page, Order::ZERO) });
}

/// Objects that [`all_sizes`] leaves for any CPU to free.
static SHARED: [AtomicPtr<u8>; 512] = [const { AtomicPtr::new(null_mut()) }; 512];

/// Objects of all sizes, most of them freed by another CPU than the one that allocated them.
fn all_sizes(id: CpuId) {
    let mut random = Random::new(0x517c_c1b7 * (id.index() as u64 + 1));
    for step in 0..share(30_000) {
        // Each class as often as any other, up to blocks of pages.
        let size = (1usize << random.below(15)) + random.below(64);
        // Runs of one slot's neighbours let whole sheaves pass from CPU to CPU.
        let slot = (step * 4 + id.index()) % SHARED.len();
        let object = filled(size).map_or(null_mut(), NonNull::as_ptr);
        free_object(SHARED[slot].swap(object, Ordering::AcqRel));
    }
}

/// Areas that any CPU may end: the address, and in its page offset the kind and the pages.
static AREAS: [AtomicUsize; 192] = [const { AtomicUsize::new(0) }; 192];
/// Pages that are mapped again and again; each begins with its number.
static FRAMES: Once<[Frame; 64]> = Once::new();

const OF_VMALLOC: usize = 0;
const OF_VMAP: usize = 1;
const OF_BLOCKS: usize = 2;

fn word_at(va: VirtAddr) -> *mut u64 {
    core::ptr::with_exposed_provenance_mut(va.get())
}

/// An area of one kind or another; 0 for want of memory.
fn new_area(random: &mut Random) -> usize {
    let frames = FRAMES.get().expect("filled before");
    let (kind, pages) = match random.below(8) {
        // Many small ones, and some that are mapped by blocks of 2 MiB.
        0..=3 => {
            let most = 1 << random.below(11);
            // The number has ten bits in the area's word.
            (OF_VMALLOC, (1 + random.below(most)).min(PAGE_SIZE / 4 - 1))
        }
        4..=5 => (OF_VMAP, 1 + random.below(frames.len())),
        // A few are too many for the CPU's block of addresses.
        _ => (OF_BLOCKS, 1 + random.below(VMAP_MAX_ALLOC + 4)),
    };
    let area = match kind {
        OF_VMALLOC => VmArea::vmalloc(pages * PAGE_SIZE, Gfp::GFP_KERNEL),
        OF_VMAP => VmArea::vmap(&frames[..pages], KernelAttrs::KERNEL),
        _ => VmArea::vm_map_ram(&frames[..pages]),
    };
    let Some(va) = area.map(VmArea::into_raw) else { return 0 };
    if kind == OF_VMALLOC {
        for n in 0..pages {
            // SAFETY: the first word of a page of the area, which is this CPU's yet.
            unsafe { word_at(va + n * PAGE_SIZE).write((va.get() + n) as u64) };
        }
    }
    va.get() | pages << 2 | kind
}

/// Ends an area, in which everything is as it was.
fn end_area(word: usize) {
    let (va, kind, pages) =
        (VirtAddr::new(word & !(PAGE_SIZE - 1)), word & 3, (word & (PAGE_SIZE - 1)) >> 2);
    for n in 0..pages {
        let expected = if kind == OF_VMALLOC { va.get() + n } else { n };
        // SAFETY: the first word of a page of the area, which is this CPU's now.
        assert_eq!(unsafe { word_at(va + n * PAGE_SIZE).read() }, expected as u64, "{va}, {n}");
    }
    // SAFETY: the area is of this kind and size, and whoever has its word is its one owner.
    unsafe {
        match kind {
            _ if word == 0 => {}
            OF_VMALLOC => vfree(va),
            OF_VMAP => vunmap(va),
            _ => vm_unmap_ram(va, pages),
        }
    }
}

/// Areas of all sizes, most of them ended by another CPU than the one that made them.
fn all_areas(id: CpuId) {
    let mut random = Random::new(0x2545_f491 * (id.index() as u64 + 1));
    for step in 0..share(3000) {
        let slot = (step * 4 + id.index()) % AREAS.len();
        end_area(AREAS[slot].swap(new_area(&mut random), Ordering::AcqRel));
        if random.below(200) == 0 {
            vm_unmap_aliases();
        }
    }
}

/// Registers that [`note_state`] reads: TCR_EL1, TTBR0_EL1, DAIF, SCTLR_EL1 and PSTATE.PAN.
static CPU_STATE: [[AtomicU64; 5]; NR_CPUS] = [const { [const { AtomicU64::new(0) }; 5] }; NR_CPUS];

fn note_state(id: CpuId) {
    let (tcr, ttbr0, daif, sctlr): (u64, u64, u64, u64);
    // SAFETY: reads registers.
    unsafe {
        asm!("mrs {}, tcr_el1", "mrs {}, ttbr0_el1", "mrs {}, daif", "mrs {}, sctlr_el1",
            out(reg) tcr, out(reg) ttbr0, out(reg) daif, out(reg) sctlr);
    }
    let mut pan = 0;
    if features::features().contains(Features::PAN) {
        // SAFETY: reads PSTATE.PAN, which is there.
        unsafe { asm!("mrs {}, S3_0_C4_C2_3", out(reg) pan) };
    }
    for (word, value) in CPU_STATE[id.index()].iter().zip([tcr, ttbr0, daif, sctlr, pan]) {
        word.store(value, Ordering::Relaxed);
    }
}

/// Address that [`look`] reads, and the value that each CPU has found there.
static LOOK_AT: AtomicUsize = AtomicUsize::new(0);
static FOUND: [AtomicU64; NR_CPUS] = [const { AtomicU64::new(0) }; NR_CPUS];

fn look(id: CpuId) {
    let at = VirtAddr::new(LOOK_AT.load(Ordering::Relaxed));
    // SAFETY: the first word of an area that is mapped meanwhile.
    FOUND[id.index()].store(unsafe { word_at(at).read_volatile() }, Ordering::Relaxed);
}

static KEPT: Once<&'static RawCache> = Once::new();

/// Leaves objects of [`KEPT`] in the sheaves of this CPU.
fn keep_objects(_: CpuId) {
    let cache = KEPT.get().expect("it was created");
    let objects = [(); 20].map(|()| cache.alloc(Gfp::GFP_KERNEL).expect("memory"));
    // SAFETY: they were allocated above, and are freed once.
    objects.into_iter().for_each(|object| unsafe { cache.free(object) });
}

fn give_up_caches(_: CpuId) {
    shrink_all();
    with_masked(drain_local_pages);
}

macro_rules! read_sysreg {
    ($name:literal) => {{
        let value: u64;
        // SAFETY: reads a register, which changes nothing.
        unsafe {
            core::arch::asm!(concat!("mrs {}, ", $name), out(reg) value, options(nostack));
        }
        value
    }};
}

/// CPUs that let EL0, or floating point, use something.
static OPEN_TO_EL0: AtomicCpuMask = AtomicCpuMask::new(CpuMask::NONE);

/// The controls of what EL0 may use (Arm ARM D24): unknown after a reset, so each CPU has to
/// write its own.
fn look_at_el0_controls(id: CpuId) {
    const MDSCR_TDCC: u64 = 1 << 12;
    // SS, KDE and MDE.
    const MDSCR_LIVE: u64 = 1 << 15 | 1 << 13 | MDSCR_TDCC | 1;
    let mut open = read_sysreg!("cpacr_el1") | read_sysreg!("cntkctl_el1");
    open |= read_sysreg!("mdscr_el1") & MDSCR_LIVE ^ MDSCR_TDCC;
    if (1..15).contains(&(read_sysreg!("id_aa64dfr0_el1") >> 8 & 15)) {
        open |= read_sysreg!("pmuserenr_el0");
    }
    if read_sysreg!("id_aa64pfr0_el1") >> 44 & 15 != 0 {
        // AMUSERENR_EL0.
        open |= read_sysreg!("S3_3_C13_C2_3");
    }
    if open != 0 {
        OPEN_TO_EL0.set(id, Ordering::Relaxed);
    }
}

/// More caches than the image has places for, and than a page has.
const CACHES: usize = 60;
static CREATED: [AtomicPtr<RawCache>; CACHES] = [const { AtomicPtr::new(null_mut()) }; CACHES];

/// Takes objects of each of [`CREATED`], writes them, and gives them back.
fn use_caches(id: CpuId) {
    for cache in &CREATED {
        // SAFETY: caches, which are destroyed once no core uses them.
        let cache: &'static RawCache = unsafe { &*cache.load(Ordering::Acquire) };
        let objects: [_; 5] = core::array::from_fn(|n| {
            let object = cache.alloc(Gfp::GFP_KERNEL).expect("memory").cast::<[usize; 8]>();
            // SAFETY: an object of 64 bytes, allocated just now.
            unsafe { object.write([id.index() << 8 | n; 8]) };
            object
        });
        for (n, object) in objects.into_iter().enumerate() {
            // SAFETY: as above; nobody else has it.
            let words = unsafe { object.read() };
            assert_eq!(words, [id.index() << 8 | n; 8], "{id:?}: another's object");
            // SAFETY: from this cache, freed once.
            unsafe { cache.free(object.cast()) };
        }
    }
}

/// Creates all of [`CREATED`].
fn create_caches() {
    for cache in &CREATED {
        let created = kmem_cache_create("many", 64, 8, SlabFlags::NO_MERGE, None).expect("a cache");
        cache.store(core::ptr::from_ref(created).cast_mut(), Ordering::Release);
    }
}

fn destroy_caches() {
    for cache in &CREATED {
        // SAFETY: no core uses it any more.
        let destroyed = unsafe { kmem_cache_destroy(cache.load(Ordering::Acquire)) };
        assert_eq!(destroyed, Ok(()));
    }
}

/// Interrupts another CPU, and waits until it has taken that.
fn interrupt(id: CpuId) {
    let before = interrupts::reschedules(id);
    assert!(sched::kick(id), "{id:?} has no interrupts");
    while interrupts::reschedules(id) == before {
        cpu::relax();
    }
}

/// CPUs that have interrupted the next one.
static INTERRUPTED: AtomicCpuMask = AtomicCpuMask::new(CpuMask::NONE);

/// Has each core interrupt the next one, the last the boot CPU: each after the one before.
fn interrupt_the_next(id: CpuId) {
    let before = smp::online().take_while(|&other| other < id).last();
    while before.is_some_and(|before| !INTERRUPTED.contains(before, Ordering::Acquire)) {
        cpu::relax();
    }
    interrupt(smp::online().find(|&other| other > id).unwrap_or(CpuId::BOOT));
    INTERRUPTED.set(id, Ordering::Release);
}

kernel_tests! {
    fn each_core_has_sheaves_in_every_cache() {
        create_caches();
        secondary::on_each(use_caches);
        secondary::on_each(use_caches);
        validate();
        destroy_caches();
        // The places of those that are gone serve again.
        create_caches();
        secondary::on_each(use_caches);
        destroy_caches();
        validate();
    }

    fn each_cpu_has_an_emergency_stack_with_a_guard() {
        let mut stacks = [None; NR_CPUS];
        for (slot, id) in stacks.iter_mut().zip(smp::online()) {
            let stack = exception::emergency_stack(id).expect("a CPU that is up has one");
            let (first, last) = (stack.start(), stack.end() - 16);
            assert!(mmu::write_at(first).is_some() && mmu::write_at(last).is_some(), "{id:?}");
            assert_eq!(mmu::read_at(first - 1), None, "{id:?}: nothing lies below");
            // vectors.S tells an overflow by this bit of SP.
            assert_eq!((first.get() >> 16 & 1, (first.get() - 1) >> 16 & 1), (0, 1), "{id:?}");
            *slot = Some(stack);
        }
        let mut taken = stacks.iter().flatten();
        while let Some(stack) = taken.next() {
            assert!(taken.clone().all(|other| !other.overlaps(*stack)), "two CPUs share {stack:?}");
        }
    }

    fn no_cpu_lets_el0_use_anything() {
        secondary::on_each(look_at_el0_controls);
        let open = OPEN_TO_EL0.load(Ordering::Relaxed);
        assert!(open.is_empty(), "{open:?}: a bit for each CPU that does");
    }

    fn the_lists_of_idle_cores_can_be_drained() {
        let kept = || zones().map(|zone| zone.pcp).sum::<u32>();
        for _ in 0..20 {
            secondary::on_each(keep_pages);
            assert!(kept() >= 4 * 40, "{} pages are on the cores' lists", kept());
            drain_all_pages();
            assert_eq!(kept(), 0);
        }
    }

    fn the_sheaves_of_idle_cores_can_be_emptied() {
        let slabs = || slabinfo().find(|info| info.name == "kept").expect("the cache").slabs;
        let cache = KEPT.call_once(|| {
            kmem_cache_create("kept", 200, 8, SlabFlags::NO_MERGE, None).expect("a cache")
        });
        for _ in 0..20 {
            secondary::on_each(keep_objects);
            assert!(slabs() >= 4, "the cores hold objects of {} slabs", slabs());
            shrink_all();
            assert_eq!(slabs(), 0);
        }
        // SAFETY: it is not used any more.
        unsafe { kmem_cache_destroy(*cache) }.expect("it is empty");
    }

    fn all_cores_of_the_machine_are_up() {
        let cores = smp::online().count();
        assert!(matches!(cores, CORES | 64), "{cores}, and the machines of the tests have 4 or 64");
        assert_eq!(cores, nr_cpu_ids(), "a core that the tree names is not up");
        for (i, a) in smp::online().enumerate() {
            assert!(smp::online().skip(i + 1).all(|b| smp::affinity(a) != smp::affinity(b)));
        }
    }

    fn each_core_keeps_off_the_lower_half() {
        const EPD0: u64 = 1 << 7;
        const SERROR: u64 = 1 << 8;
        const SPAN: u64 = 1 << 23;
        const PAN: u64 = 1 << 22;
        let has_pan = features::features().contains(Features::PAN);
        secondary::on_each(note_state);
        for id in smp::online() {
            let state = CPU_STATE[id.index()].each_ref().map(|word| word.load(Ordering::Relaxed));
            let [tcr, ttbr0, daif, sctlr, pan] = state;
            assert_ne!(tcr & EPD0, 0, "{id:?} walks the lower half, TCR_EL1 {tcr:#x}");
            assert_eq!(ttbr0, 0, "{id:?} has tables of the lower half");
            assert_eq!(daif & SERROR, 0, "{id:?} masks SErrors");
            assert_eq!(pan, if has_pan { PAN } else { 0 }, "{id:?}: PSTATE.PAN");
            assert!(!has_pan || sctlr & SPAN == 0, "{id:?}: exceptions keep PSTATE.PAN");
        }
    }

    fn each_core_forgets_a_translation_that_is_no_more() {
        let frames = [1u64, 2].map(|n| {
            let frame = alloc_pages(Gfp::GFP_KERNEL, Order::ZERO).expect("memory");
            // SAFETY: the first word of a page that was allocated just now.
            unsafe { word_at(frame.virt()).write(n) };
            frame
        });
        let seen_by_all = |at: VirtAddr, word: u64| {
            LOOK_AT.store(at.get(), Ordering::Relaxed);
            secondary::on_each(look);
            for id in smp::online() {
                let found = FOUND[id.index()].load(Ordering::Relaxed);
                assert_eq!(found, word, "{id:?} finds another page at {at}");
            }
        };
        for _ in 0..8 {
            let mapped = VmArea::vmap(&frames[..1], KernelAttrs::KERNEL).expect("addresses");
            let first = mapped.virt();
            seen_by_all(first, 1);
            drop(mapped);
            vm_unmap_aliases();
            // The same address leads elsewhere. What else is given out is kept until then.
            let mut others = [const { None }; 64];
            let same = others.iter_mut().find_map(|other| {
                let area = VmArea::vmap(&frames[1..], KernelAttrs::KERNEL).expect("addresses");
                if area.virt() == first {
                    return Some(area);
                }
                *other = Some(area);
                None
            });
            let same = same.expect("the address is free");
            seen_by_all(same.virt(), 2);
            drop((same, others));
            vm_unmap_aliases();
        }
        frames.into_iter().for_each(|frame| free_packed(pack(frame, Order::ZERO)));
    }

    fn each_core_is_interrupted() {
        let before: [u64; NR_CPUS] =
            core::array::from_fn(|n| CpuId::new(n).map_or(0, interrupts::ticks));
        let all = || smp::online().all(|id| interrupts::ticks(id) > before[id.index()]);
        while !all() {
            cpu::relax();
        }
    }

    fn each_core_takes_an_interrupt_from_the_boot_cpu_and_from_another() {
        for id in smp::online().skip(1) {
            interrupt(id);
        }
        secondary::on_each(interrupt_the_next);
    }

    fn every_slab_comes_back_after_all_sizes_on_all_cores() {
        secondary::on_each(give_up_caches);
        harness::settled_pages();
        let slabs = || {
            let mut slabs = [("", 0); 64];
            slabs.iter_mut().zip(slabinfo()).for_each(|(n, info)| *n = (info.name, info.slabs));
            slabs
        };
        let before = slabs();
        secondary::on_each(all_sizes);
        let grown = slabs().iter().zip(&before).filter(|(now, then)| now.1 > then.1).count();
        assert!(grown >= 13, "{grown} caches have more slabs");
        SHARED.iter().for_each(|slot| free_object(slot.swap(null_mut(), Ordering::AcqRel)));
        validate();
        secondary::on_each(give_up_caches);
        harness::settled_pages();
        validate();
        for (now, then) in slabs().iter().zip(&before) {
            assert!(now.0 == then.0 && now.1 <= then.1, "{now:?}, and there were {then:?}");
        }
    }

    fn vmallocs_area_is_empty_after_all_sizes_on_all_cores() {
        let new_frame = |n| {
            let frame = alloc_pages(Gfp::GFP_KERNEL, Order::ZERO).expect("memory");
            // SAFETY: the first word of a page that was allocated just now.
            unsafe { word_at(frame.virt()).write(n as u64) };
            frame
        };
        let frames = FRAMES.call_once(|| core::array::from_fn(new_frame));
        let mut before = Vec::with_capacity(32 + 8 * CORES + 4 * nr_cpu_ids());
        shrink();
        let (stat, areas) = (vmalloc_stat(), || vmallocinfo().map(|area| area.range));
        before.extend(areas());
        assert!(before.len() < before.capacity(), "it has not grown");
        secondary::on_each(all_areas);
        assert!(areas().count() > before.len() + 50);
        AREAS.iter().for_each(|slot| end_area(slot.swap(0, Ordering::AcqRel)));
        vm_unmap_aliases();
        let now = vmalloc_stat();
        assert_eq!((now.mapped, now.lazy, now.lazy_frames, now.pooled), (stat.mapped, 0, 0, 0));
        assert!(areas().eq(before));
        for &frame in frames {
            // SAFETY: allocated here, and nobody uses it any more.
            unsafe { free_pages(frame, Order::ZERO) };
        }
        shrink();
        let now = vmalloc_stat();
        // The nodes that are left of the tree of areas, of four areas at least but for the root, may
        // each lie in a page of its own.
        let nodes = areas().count() / 4 + 1;
        assert!(now.records <= stat.records + nodes, "{now:?}, and {stat:?} before");
        assert_eq!(VmallocStat { records: stat.records, ..now }, stat);
    }

    fn cores_and_interrupts_allocate_and_free() {
        interrupts::set_tick_hook(Some(from_interrupt));
        secondary::on_each(work);
        while IN_INTERRUPTS.load(Ordering::Relaxed) < 20 {
            cpu::relax();
        }
        interrupts::set_tick_hook(None);
        for id in smp::online() {
            assert_eq!(DONE[id.index()].load(Ordering::Acquire), steps(), "CPU {id:?}");
        }
        for slot in &PAGES {
            free_packed(slot.swap(0, Ordering::AcqRel));
        }
        for slot in &OBJECTS {
            free_object(slot.swap(null_mut(), Ordering::AcqRel));
        }
        secondary::on_each(give_up_caches);
    }
}
