//! `paging_init`: the final tables (Linux: arch/arm64/mm/mmu.c, paging_init).

use super::progress::Progress;
use super::start::Stop;
use crate::addr::{PAGE_SIZE, Pfn, PhysAddr, PhysRange, VirtAddr, VirtRange};
use crate::arch::pgtable::{
    Kernel, KernelAttrs, MapError, MapFlags, Mapper, Table, TableAccess, TableAddr,
};
use crate::arch::{self, CpuId, IrqMasked, irq, layout};
use crate::arch::{fixmap, image, paging};
use crate::mm::debug::linear_map_flags;
use crate::mm::init_mm;
use crate::mm::memblock::Memblock;
use crate::mm::sparse::PopulateError;
use crate::percpu;
use log::info;

/// Table pages from memblock, through the fixmap's window: there is no linear map yet.
struct EarlyAccess<'a> {
    memblock: &'a mut Memblock,
    tables: u32,
}

impl TableAccess for EarlyAccess<'_> {
    type Regime = Kernel;

    fn alloc(&mut self) -> Option<TableAddr> {
        let page = PAGE_SIZE as u64;
        let pa = self.memblock.phys_alloc(page, page).ok()?.start();
        self.tables += 1;
        // SAFETY: memblock has reserved the page for this; the editor clears it first.
        Some(unsafe { TableAddr::new(pa) })
    }

    fn free(&mut self, table: TableAddr) {
        // A failure leaves the page reserved; the boot ends then anyway.
        let _ = self.memblock.free(PhysRange::from_size(table.phys(), PAGE_SIZE as u64));
    }

    fn with<R>(&self, table: TableAddr, f: impl FnOnce(&Table) -> R) -> R {
        let look = |va| {
            // SAFETY: the window maps the table's page while this runs.
            f(unsafe { Table::at(va) })
        };
        // SAFETY: the boot CPU is alone; the editor looks at one table at a time.
        unsafe { fixmap::with_table(table.phys(), look) }
    }

    #[inline(always)]
    fn tag(&self) {}

    fn window(&self, _: TableAddr, _: VirtRange) -> VirtAddr {
        fixmap::Slot::Table.address()
    }

    fn begin_bbm(&mut self, _: VirtRange) {}

    fn end_bbm(&mut self) {}

    fn may_break(&self, _: VirtRange) -> bool {
        // No walker has these tables yet.
        true
    }
}

/// Builds the final tables and makes them the upper half's: the image section by
/// section, the linear map over all RAM that may be mapped, and the fixmap. Then the
/// first tables are of no more use, but for the fixmap's, and their pages are freed.
///
/// Maps per-CPU data for `cpus` CPUs too, or for as many as there is memory for.
pub(super) fn paging_init(memblock: &mut Memblock, cpus: usize) -> Result<(), Stop> {
    let mut access = EarlyAccess { memblock, tables: 0 };
    let root = build(&mut access).map_err(Stop::PageTables)?;
    let cpus = map_units(root, &mut access, cpus);
    let tables = access.tables;

    // SAFETY: the new tables map the image, the fixmap and the stack as the old ones
    // do; the identity map is still there.
    irq::with_masked(|_| unsafe { paging::switch_ttbr1(root.phys()) });
    // SAFETY: `map_units` has mapped so many, and nothing that was called so far has a per-CPU
    // variable.
    unsafe { percpu::setup_per_cpu_areas(cpus) };
    paging::drop_identity_map();
    paging::forbid_writable_code();
    init_mm::install(root);
    info!("paging: {tables} tables, linear map at {}", layout::LINEAR.start());

    let boot_tables = image::boot_tables();
    let freed = PhysRange::from_size(image::phys(boot_tables.start()), boot_tables.len() as u64);
    memblock.free(freed).map_err(Stop::Memblock)
}

fn build(access: &mut EarlyAccess<'_>) -> Result<TableAddr, MapError> {
    let root = Mapper::new_table(access)?;
    let flags = MapFlags::empty();
    let guards = [image::boot_stack_guard(), image::emergency_stack_guard()];
    let data = image::data();
    // The symbol table lies behind .bss and ends with the Image.
    let sections = [
        (image::text(), KernelAttrs::KERNEL_ROX),
        (image::rodata(), KernelAttrs::KERNEL_RO),
        (VirtRange::new(data.start(), guards[0].start()), KernelAttrs::KERNEL),
        (VirtRange::new(guards[0].end(), guards[1].start()), KernelAttrs::KERNEL),
        (VirtRange::new(guards[1].end(), data.end()), KernelAttrs::KERNEL),
        (image::symbol_table(), KernelAttrs::KERNEL_RO),
    ];
    let mut mapper = Mapper::new(root, access);
    for (va, attrs) in sections.into_iter().filter(|(va, _)| !va.is_empty()) {
        mapper.map(va, image::phys(va.start()), attrs, flags)?;
    }
    // SAFETY: the fixmap's PUD is linked into the first tables, so it is a table.
    let fixmap_pud = unsafe { TableAddr::new(fixmap::pud_phys()) };
    mapper.link_table(layout::FIXMAP.start(), fixmap_pud)?;

    // What the image may not write must not be writable by its other address either.
    let read_only = PhysRange::new(image::phys(image::text().start()), image_data_start());
    let symbols = image::symbol_table();
    let symbols = PhysRange::from_size(image::phys(symbols.start()), symbols.len() as u64);
    let mut at = PhysAddr::new(0);
    while let Some(ram) = next_mapped(access.memblock, at) {
        at = ram.end();
        map_linear(root, access, ram, &[read_only, symbols])?;
    }
    map_image_outside_ram(root, access, &[read_only, symbols])?;
    Ok(root)
}

/// Maps the units of per-CPU data of the CPUs from 1 to `cpus`, each to memory of its own. Returns the
/// number of CPUs that have one, the boot CPU counted, which has its own in the image: fewer where
/// memory is short.
fn map_units(root: TableAddr, access: &mut EarlyAccess<'_>, cpus: usize) -> usize {
    let bytes = image::percpu().len() as u64;
    for id in (1..cpus).filter_map(CpuId::new) {
        let Ok(memory) = access.memblock.phys_alloc(bytes, PAGE_SIZE as u64) else {
            return id.index();
        };
        let mut mapper = Mapper::new(root, access);
        let to = memory.start();
        if mapper.map(percpu::unit(id), to, KernelAttrs::KERNEL, MapFlags::empty()).is_err() {
            return id.index();
        }
    }
    cpus
}

/// Maps what of the image's writable part a tree leaves out of RAM: the fixmap's tables lie
/// there, and tables are reached through the linear map.
fn map_image_outside_ram(
    root: TableAddr,
    access: &mut EarlyAccess<'_>,
    read_only: &[PhysRange],
) -> Result<(), MapError> {
    let data = image::data();
    let data = PhysRange::from_size(image::phys(data.start()), data.len() as u64);
    if access.memblock.is_region_memory(data) {
        return Ok(());
    }
    let pages = (0..data.len()).step_by(PAGE_SIZE).map(|at| data.start() + at);
    for page in pages.map(|at| PhysRange::from_size(at, PAGE_SIZE as u64)) {
        if !access.memblock.is_region_memory(page) {
            map_linear(root, access, page, read_only)?;
        }
    }
    Ok(())
}

/// Maps a range of RAM in the linear map, those of `read_only` that lie in it so.
fn map_linear(
    root: TableAddr,
    access: &mut EarlyAccess<'_>,
    ram: PhysRange,
    read_only: &[PhysRange],
) -> Result<(), MapError> {
    let mut at = ram.start();
    while at < ram.end() {
        let inside = read_only.iter().find(|r| r.contains(at));
        let next = read_only.iter().map(|r| r.start()).filter(|&start| start > at).min();
        let (end, attrs) = match inside {
            Some(range) => (range.end(), KernelAttrs::KERNEL_RO),
            None => (next.unwrap_or(ram.end()), KernelAttrs::KERNEL),
        };
        let end = end.min(ram.end());
        let range = PhysRange::new(at, end);
        if linear_map_flags().contains(MapFlags::NO_BLOCK) {
            map_by_page(root, access, range, attrs)?;
        } else {
            let va = VirtRange::from_size(arch::phys_to_virt(at), range.len() as usize);
            Mapper::new(root, access).map(va, at, attrs, linear_map_flags())?;
        }
        at = end;
    }
    Ok(())
}

/// Maps a range of RAM in single pages, which takes time for each: the largest machines wait
/// for it.
#[cold]
fn map_by_page(
    root: TableAddr,
    access: &mut EarlyAccess<'_>,
    range: PhysRange,
    attrs: KernelAttrs,
) -> Result<(), MapError> {
    const PIECE: u64 = 128 << 20;
    let mut progress = Progress::start("paging", range.len());
    let mut at = range.start();
    while at < range.end() {
        let end = (at.align_down(PIECE) + PIECE).min(range.end());
        let va = VirtRange::from_size(arch::phys_to_virt(at), (end - at) as usize);
        Mapper::new(root, access).map(va, at, attrs, linear_map_flags())?;
        at = end;
        progress.at(at - range.start());
    }
    Ok(())
}

fn image_data_start() -> PhysAddr {
    image::phys(image::data().start())
}

/// The first range of whole pages of RAM at or above `from` that may be mapped.
fn next_mapped(memblock: &Memblock, from: PhysAddr) -> Option<PhysRange> {
    memblock
        .memory()
        .iter()
        .filter(|region| !region.is_nomap())
        .map(|region| region.range.whole_pages().phys())
        .find(|range| range.start() >= from && !range.is_empty())
}

/// Access to the tables of the vmemmap; pages for new ones come from the caller.
struct SectionAccess<'a> {
    page: &'a mut dyn FnMut() -> Option<Pfn>,
}

impl TableAccess for SectionAccess<'_> {
    type Regime = Kernel;

    fn alloc(&mut self) -> Option<TableAddr> {
        let pfn = (self.page)()?;
        // SAFETY: taken for this, from free RAM; the editor clears it first.
        Some(unsafe { TableAddr::new(pfn.phys()) })
    }

    fn free(&mut self, _: TableAddr) {
        // Only a failed map gives tables back; the page stays set aside for tables.
    }

    fn with<R>(&self, table: TableAddr, f: impl FnOnce(&Table) -> R) -> R {
        // SAFETY: the linear map covers all RAM, and so every table.
        f(unsafe { Table::at(arch::phys_to_virt(table.phys())) })
    }

    #[inline(always)]
    fn tag(&self) {}

    fn window(&self, table: TableAddr, _: VirtRange) -> VirtAddr {
        arch::phys_to_virt(table.phys())
    }

    fn begin_bbm(&mut self, _: VirtRange) {}

    fn end_bbm(&mut self) {}

    fn may_break(&self, _: VirtRange) -> bool {
        false
    }
}

/// Maps frame descriptors: the kernel's `sparse::MapVmemmap`. The tables of the vmemmap
/// are edited here alone, under the lock of sections, so no other lock is needed.
pub(super) fn populate_vmemmap(
    _: &IrqMasked,
    va: VirtRange,
    backing: PhysRange,
    page: &mut dyn FnMut() -> Option<Pfn>,
) -> Result<(), PopulateError> {
    // SAFETY: TTBR1 holds the final PGD.
    let root =
        unsafe { TableAddr::new(PhysAddr::new(paging::ttbr1()).align_down(PAGE_SIZE as u64)) };
    Mapper::new(root, &mut SectionAccess { page })
        .map(va, backing.start(), KernelAttrs::KERNEL, MapFlags::empty())
        .map_err(|_| PopulateError)
}
