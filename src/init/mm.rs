//! `mm_init`: from what the boot loader handed over to a working allocator stack
//! (Linux: mm/mm_init.c, mm_core_init).

use super::progress::Progress;
use super::start::Stop;
use super::{paging, secondary};
use crate::addr::{Order, PAGE_SHIFT, PAGE_SIZE, Pfn, PhysAddr, PhysRange, VirtRange};
use crate::arch::fixmap::MEMBLOCK_PAGES;
use crate::arch::{self, irq, layout};
use crate::arch::{features, fixmap, image};
use crate::drivers::random;
use crate::firmware::cmdline::CommandLine;
use crate::firmware::fdt::Tree;
use crate::mm::heap::KERNEL_HEAP;
use crate::mm::memblock::find::Nodes;
use crate::mm::memblock::scan::{BootInfo, Handover, MemLimit, early_init_dt_scan, present};
use crate::mm::memblock::{Kind, MAX_REGIONS, Memblock, Region, debugfs};
use crate::mm::mmzone::{MAX_NUMNODES, NodeId};
use crate::mm::page_alloc;
use crate::mm::ptdump::{self, Run};
use crate::mm::sparse::Populate;
use crate::mm::{cma, compaction, kthread, slab, vmalloc, vmscan};
use crate::percpu::nr_cpu_ids;
use crate::reserved_mem;
use crate::resource::{self, Resources};
use crate::sched;
use crate::sync::{Once, Rank, SpinLock};
use alloc::vec::Vec;
use core::alloc::Layout;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use log::{Level, debug, info};

/// Regions of each kind that are printed.
const MAP_LINES: usize = 32;

static MEM_LIMIT: Once<MemLimit> = Once::new();
static MEMBLOCK: SpinLock<Memblock> = SpinLock::new(Rank::Memblock, Memblock::new());

/// Runs `f` on memblock. It is the boot CPU's alone, and only during boot.
fn with_memblock<R>(f: impl FnOnce(&mut Memblock) -> R) -> R {
    irq::with_masked(|irq| f(&mut MEMBLOCK.lock(irq)))
}

/// Fills memblock, and prints what it holds.
pub(super) fn memblock_init<'a>(
    tree: Tree<'a>,
    dtb: PhysAddr,
    command_line: CommandLine<'a>,
) -> Result<BootInfo<'a>, Stop> {
    let handover = Handover {
        tree,
        dtb: PhysRange::from_size(dtb, tree.total_size() as u64),
        image: image::all_phys(),
        command_line,
        reach: PhysAddr::new(1 << features::physical_address_bits()),
    };
    let mut sink = |level: Level, message: core::fmt::Arguments<'_>| log::log!(level, "{message}");
    with_memblock(|memblock| {
        memblock.set_clear(clear_early);
        let info = early_init_dt_scan(memblock, handover, Some(grow_early), &mut sink)?;
        if let Some(limit) = info.mem_limit {
            MEM_LIMIT.call_once(|| limit);
        }
        print_map(memblock);
        Ok(info)
    })
}

/// Returns the limit of `mem=`, if it took RAM away: to blame when the rest is too little.
pub(super) fn mem_limit() -> Option<MemLimit> {
    MEM_LIMIT.get().copied()
}

/// Prints RAM, and what of it is taken.
fn print_map(memblock: &Memblock) {
    for (name, regions) in [("memory", memblock.memory()), ("reserved", memblock.reserved())] {
        info!("{name}: {} regions", regions.len());
        for region in regions.iter().take(MAP_LINES) {
            info!("  {region}");
        }
        if regions.len() > MAP_LINES {
            info!("  ... and {} more", regions.len() - MAP_LINES);
        }
    }
}

/// Makes one of memblock's grown arrays reachable before there is a linear map.
fn grow_early(range: PhysRange) -> Option<&'static mut [Region]> {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    const { assert!(MAX_REGIONS * size_of::<Region>() <= MEMBLOCK_PAGES * PAGE_SIZE) };
    let window = NEXT.fetch_add(1, Relaxed);
    // SAFETY: memblock, before the linear map and the other CPUs are there, asks for an array that
    // it has reserved; each window is given out once.
    let va = unsafe { fixmap::map_memblock(window, range) }?;
    let slots = range.len() as usize / size_of::<Region>();
    let ptr = core::ptr::with_exposed_provenance_mut::<Region>(va.get());
    for slot in 0..slots {
        // SAFETY: within the range that was just mapped, for this alone.
        unsafe { ptr.add(slot).write(Region::EMPTY) };
    }
    // SAFETY: mapped for good, for this alone, and each slot is written.
    Some(unsafe { core::slice::from_raw_parts_mut(ptr, slots) })
}

/// Fills RAM that memblock gives out with zeros before there is a linear map, page by page.
fn clear_early(range: PhysRange) -> bool {
    let mut at = range.start();
    while at < range.end() {
        let page = at.align_down(PAGE_SIZE as u64);
        let len = (range.end() - at).min(PAGE_SIZE as u64 - (at - page));
        // SAFETY: the boot CPU is alone, under memblock's lock: the window is not in use.
        unsafe {
            fixmap::with_table(page, |va| {
                let ptr = core::ptr::with_exposed_provenance_mut::<u8>(va.get());
                // SAFETY: the window maps the page while this runs; memblock says that nobody
                // uses these bytes of it.
                ptr.add(at.page_offset()).write_bytes(0, len as usize);
            });
        }
        at = at + len;
    }
    true
}

/// The same through the linear map.
fn clear_mapped(range: PhysRange) -> bool {
    let va = arch::phys_to_virt(range.start());
    let ptr = core::ptr::with_exposed_provenance_mut::<u8>(va.get());
    // SAFETY: memblock gives out RAM that the linear map has, and nobody uses it.
    unsafe { ptr.write_bytes(0, range.len() as usize) };
    true
}

/// Builds the final page tables.
pub(super) fn paging_init(tree: &Tree<'_>) -> Result<(), Stop> {
    with_memblock(|memblock| {
        paging::paging_init(memblock, secondary::nr_possible(tree))?;
        memblock.set_clear(clear_mapped);
        Ok(())
    })
}

/// Allocates memory on `node`, or elsewhere if there is none; not among what is kept for
/// movable allocations, for it stays.
fn alloc_on(
    memblock: &mut Memblock,
    boot: &BootInfo<'_>,
    node: NodeId,
    layout: Layout,
) -> Option<NonNull<u8>> {
    let (size, align) = (layout.size() as u64, layout.align() as u64);
    let mut alloc = |below: Pfn, nodes: Nodes| {
        let end = memblock.end_of_dram().min(below.phys());
        let within = PhysRange::new(memblock.start_of_dram().min(end), end);
        memblock.alloc_range_nid(size, align, within, nodes).ok()
    };
    let movable = &boot.zones.movable;
    let lowest = movable.iter().copied().min().unwrap_or(Pfn::LIMIT);
    let range = alloc(movable[node.index()], Nodes::Only(node))
        .or_else(|| alloc(lowest, Nodes::Any))
        .or_else(|| alloc(Pfn::LIMIT, Nodes::Any))?;
    let at = arch::phys_to_virt(range.start()).get();
    NonNull::new(core::ptr::with_exposed_provenance_mut(at))
}

/// Hands all free memory to the page allocator (Linux: free_area_init, mem_init).
pub(super) fn mem_init(boot: &BootInfo<'_>) -> Result<(), Stop> {
    with_memblock(|memblock| {
        let nids = memblock.memory().iter().filter_map(|region| region.nid);
        let nodes = nids.fold(0u32, |nodes, nid| nodes | 1 << nid.index());
        let nodes = NodeId::numbers().filter(|node| nodes >> node.index() & 1 != 0);
        let alloc = |node, layout| alloc_on(memblock, boot, node, layout);
        // SAFETY: memory of its own, which stays reserved.
        unsafe { page_alloc::alloc_node_data(nodes, alloc) }.map_err(Stop::Zones)?;
        let (limits, present) = (boot.zones.limits(), present(memblock));
        let free = memblock.free_mem_ranges(None).map(|free| free.range.whole_pages());
        let free = free.filter(|range| !range.is_empty());
        let populate = Populate::Tables(paging::populate_vmemmap);
        // SAFETY: memblock's free memory is RAM that nobody reserved, and the linear
        // map covers all RAM but what is marked no-map, which free ranges leave out.
        unsafe { page_alloc::free_area_init(limits, present, free, populate) }.map_err(Stop::Zones)
    })?;
    debug!("mem_init: {} zones", page_alloc::zones().count());
    Ok(())
}

/// Notes what lies where in physical memory, for those who want to look, and ends memblock.
/// Needs kmalloc; nobody waits for it.
pub(super) fn request_standard_resources(tree: &Tree<'static>) {
    let [memory, reserved] = [Kind::Memory, Kind::Reserved].map(|kind| {
        let mut copy = Vec::new();
        let regions = with_memblock(|memblock| memblock.regions(kind).len());
        if copy.try_reserve_exact(regions).is_err() {
            log::warn!("memblock: no memory to remember its {regions} {kind:?} regions");
        }
        let room = copy.capacity();
        with_memblock(|memblock| copy.extend(memblock.regions(kind).iter().take(room)));
        copy
    });
    let part = |va: VirtRange| PhysRange::from_size(image::phys(va.start()), va.len() as u64);
    let image = [(part(image::text()), "Kernel code"), (part(image::data()), "Kernel data")];
    let mut resources = Resources::new();
    let added = resources.add_memory(&memory, &reserved, &image);
    if added.and_then(|()| resources.add_devices(tree)).is_err() {
        log::warn!("iomem: no memory for more than {} resources", resources.as_slice().len());
    }
    resource::set_iomem(resources);
    debugfs::keep(memory, reserved);
    for array in with_memblock(Memblock::discard) {
        // SAFETY: memblock uses its grown arrays no more.
        unsafe { page_alloc::free_reserved_area(array.whole_pages()) };
    }
}

/// Lends the CMA areas to movable allocations, and lets devices find theirs.
pub(super) fn cma_init(boot: &BootInfo<'_>) {
    for area in &boot.cma {
        let name = area.name.valid_prefix();
        // SAFETY: the scan reserved the area for this, in RAM that is mapped.
        let declared =
            unsafe { cma::cma_init_reserved_mem(name, area.range.whole_pages(), Order::ZERO) };
        match declared {
            Ok(declared) if area.is_default => cma::set_default_area(declared),
            Ok(_) => {}
            Err(error) => log::warn!("cma: {name} at {:?}: {error}", area.range),
        }
    }
    cma::cma_init_reserved_areas();
    reserved_mem::init(boot);
}

/// Brings up kmalloc; from here on the heap is on it.
pub(super) fn kmem_cache_init() -> Result<(), Stop> {
    slab::kmem_cache_init(random::get_random_u64());
    info!("SLUB: kmalloc is up; the early heap holds {} bytes", KERNEL_HEAP.early_used());
    Ok(())
}

/// Sets the bounds of vmalloc.
pub(super) fn vmalloc_init() {
    let pages: u32 = page_alloc::zones().map(|zone| zone.managed).sum();
    let cpus = nr_cpu_ids();
    vmalloc::init(cpus, pages as usize);
    debug!("vmalloc: for {cpus} CPUs and {pages} pages");
}

/// Names of what there is once for each node.
macro_rules! names_of_nodes {
    ($name:literal) => {
        names_of_nodes!($name: 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15)
    };
    ($name:literal: $($node:literal)*) => {
        [$(concat!($name, $node)),*]
    };
}

/// Starts the threads that work on memory in the background. Where this CPU has no threads
/// there are none.
pub(super) fn start_threads() {
    if !sched::has_threads() {
        return;
    }
    type Names = [&'static str; MAX_NUMNODES];
    let threads: [(Names, fn(NodeId)); 2] = [
        (names_of_nodes!("kcompactd"), compaction::kcompactd),
        (names_of_nodes!("kswapd"), vmscan::kswapd),
    ];
    for (names, body) in threads {
        for (name, node) in names.into_iter().zip(NodeId::all()) {
            if !page_alloc::zones().any(|zone| zone.id.node() == node) {
                continue;
            }
            let body = move || {
                body(node);
                0
            };
            if let Err(why) = kthread::kthread_run(name, body) {
                log::warn!("{name}: {why}");
            }
        }
    }
}

/// Checks that no page of the kernel's half is both writable and executable (Linux:
/// debug_checkwx).
///
/// # Panics
/// One is.
pub(super) fn check_wx() {
    let ram: u64 = page_alloc::zones().map(|zone| u64::from(zone.present)).sum();
    let (mut progress, mut done) = (Progress::start("W^X check", ram << PAGE_SHIFT), 0);
    let walked = |run: &Run| {
        if layout::LINEAR.contains_range(run.va) {
            done += run.va.len() as u64;
        }
        progress.at(done);
    };
    let found = ptdump::check_wx_by_piece(walked, |run| log::error!("W+X: {run}"));
    assert!(found == 0, "{found} pages are writable and executable");
    info!("Checked W+X mappings: passed, no W+X pages found");
}
