//! The fixmap: addresses known at compile time for what must be mapped before an
//! allocator is there (Linux: arch/arm64/mm/fixmap.c).
//!
//! Its three tables are part of the image and linked into the first and the final
//! PGD alike, so a slot survives the change of tables. The first 2 MiB are single
//! pages; behind them lies the window for the device tree, two blocks of 2 MiB.
//! The boot CPU alone changes slots, before the others are up; the window for a page
//! table is afterwards the page-table lock's holder's, that for instructions is who
//! patches the image's.

use super::early::BootTable;
use super::mmu;
use crate::addr::{PAGE_SIZE, PMD_SIZE, PhysAddr, PhysRange, VirtAddr, VirtRange};
use crate::arch::layout::FIXMAP;
use crate::arch::pgtable::{Descriptor, KernelAttrs, Level};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What a slot is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Slot {
    /// The console's registers, two pages of them.
    Console,
    /// The window on the page table that is being edited before the linear map is up.
    Table,
    /// The window on the page of the image that is being patched.
    TextPoke,
    /// memblock's region arrays once they outgrow the static ones: 64 pages each for
    /// memory and reserved regions, twice, since growth copies from old to new.
    Memblock(usize),
    /// [`early_ioremap`]'s slots of 16 pages.
    EarlyIoremap(usize),
}

/// Pages of one of memblock's windows.
pub const MEMBLOCK_PAGES: usize = 64;
/// How many windows memblock has.
pub const MEMBLOCK_WINDOWS: usize = 4;
const EARLY_IOREMAP_PAGES: usize = 16;
const EARLY_IOREMAP_SLOTS: usize = 7;

impl Slot {
    /// The address that the slot maps at.
    #[must_use]
    pub fn address(self) -> VirtAddr {
        let page = match self {
            Self::Console => 1,
            Self::Table => 4,
            Self::TextPoke => 6,
            Self::EarlyIoremap(n) => 16 + n * EARLY_IOREMAP_PAGES,
            Self::Memblock(n) => 256 + n * MEMBLOCK_PAGES,
        };
        FIXMAP.start() + page * PAGE_SIZE
    }
}

#[unsafe(link_section = ".boot.keep")]
static TABLES: [BootTable; 3] = [const { BootTable::new() }; 3];

/// Bytes of the fixmap's tables.
pub(super) const TABLES_BYTES: usize = 3 * PAGE_SIZE;

/// The end of the fixmap's tables, which follow the boot tables. Runs with the MMU off.
#[inline(always)]
pub(super) fn tables_end() -> usize {
    (&raw const TABLES).addr() + TABLES_BYTES
}

/// Links the fixmap's tables: calls `f(table, index, next)` for each link, with 0 for
/// the PGD. Runs with the MMU off.
#[inline(always)]
pub(super) fn link_first_tables(mut f: impl FnMut(usize, usize, usize)) {
    let tables = (&raw const TABLES).addr();
    let (pud, pmd, pte) = (tables, tables + PAGE_SIZE, tables + 2 * PAGE_SIZE);
    f(0, Level::Pgd.index(FIXMAP.start()), pud);
    f(pud, Level::Pud.index(FIXMAP.start()), pmd);
    f(pmd, Level::Pmd.index(FIXMAP.start()), pte);
}

/// The table that the final PGD's entry for the fixmap points to.
#[must_use]
pub fn pud_phys() -> PhysAddr {
    super::image::phys(VirtAddr::from_ptr(&raw const TABLES))
}

fn entry(level: Level, va: VirtAddr) -> &'static AtomicU64 {
    let table = if level == Level::Pmd { &TABLES[1] } else { &TABLES[2] };
    // SAFETY: an array of u64 is one of AtomicU64; all accesses from now on are atomic.
    let table = unsafe { &*table.0.get().cast::<[AtomicU64; 512]>() };
    &table[level.index(va)]
}

/// Maps `pages` pages from `pa` at `va`, replacing what was there: break before make.
fn set(va: VirtAddr, pa: PhysAddr, pages: usize, attrs: KernelAttrs) {
    clear(va, pages);
    for i in 0..pages {
        let pa = pa + (i * PAGE_SIZE) as u64;
        let leaf = Descriptor::leaf(Level::Pte, pa, attrs, false);
        entry(Level::Pte, va + i * PAGE_SIZE).store(leaf.bits(), Relaxed);
    }
    mmu::dsb_ishst();
    mmu::isb();
}

fn clear(va: VirtAddr, pages: usize) {
    let mut was = 0;
    for i in 0..pages {
        was |= entry(Level::Pte, va + i * PAGE_SIZE).swap(0, Relaxed);
    }
    if was & 1 != 0 {
        mmu::dsb_ishst();
        for i in 0..pages {
            mmu::tlbi_vaale1is(va + i * PAGE_SIZE);
        }
        mmu::dsb_ish();
        mmu::isb();
    }
}

/// Maps the console's registers, which may begin anywhere in a page.
///
/// # Safety
/// No console uses the slot yet, `pa` is that of a console's registers, and the boot CPU is alone.
#[must_use]
pub(crate) unsafe fn map_console(pa: PhysAddr) -> VirtAddr {
    let va = Slot::Console.address();
    set(va, pa.align_down(PAGE_SIZE as u64), 2, KernelAttrs::DEVICE);
    va + pa.page_offset()
}

/// Runs `f` on the address of the page table at `pa`, through the table window.
///
/// # Safety
/// The boot CPU is alone, and the window is not in use: the call is not nested.
pub(crate) unsafe fn with_table<R>(pa: PhysAddr, f: impl FnOnce(VirtAddr) -> R) -> R {
    let result = f(open_table(pa));
    close_table();
    result
}

/// Maps the page table at `pa` in the table window until [`close_table`].
pub(super) fn open_table(pa: PhysAddr) -> VirtAddr {
    let va = Slot::Table.address();
    set(va, pa, 1, KernelAttrs::KERNEL);
    va
}

/// Ends what [`open_table`] began.
pub(super) fn close_table() {
    clear(Slot::Table.address(), 1);
}

/// Runs `f` on a writable address of the page of the image at `pa` (Linux: FIX_TEXT_POKE0).
/// One at a time, with interrupts masked.
pub(super) fn with_text_poke<R>(pa: PhysAddr, f: impl FnOnce(VirtAddr) -> R) -> R {
    let va = Slot::TextPoke.address();
    set(va, pa, 1, KernelAttrs::KERNEL);
    let result = f(va);
    clear(va, 1);
    result
}

/// Maps RAM for one of memblock's arrays; `None` if it is larger than the window.
///
/// # Safety
/// The boot CPU is alone, no array is in use through the window, and `range` is RAM that is
/// reserved for the array.
#[must_use]
pub(crate) unsafe fn map_memblock(window: usize, range: PhysRange) -> Option<VirtAddr> {
    let pages = (range.len() as usize).div_ceil(PAGE_SIZE);
    if window >= MEMBLOCK_WINDOWS || pages > MEMBLOCK_PAGES {
        return None;
    }
    let va = Slot::Memblock(window).address();
    set(va, range.start(), pages, KernelAttrs::KERNEL);
    Some(va)
}

/// Maps up to 64 KiB for a short look before `ioremap` is there; [`early_iounmap`] gives it
/// back. `None` if it is larger or all slots are in use. (Linux: early_ioremap.)
///
/// # Safety
/// The boot CPU is alone, and nothing else maps `range` with another memory type.
#[must_use]
pub unsafe fn early_ioremap(range: PhysRange, attrs: KernelAttrs) -> Option<VirtAddr> {
    let first = range.start().align_down(PAGE_SIZE as u64);
    let pages = ((range.end() - first) as usize).div_ceil(PAGE_SIZE);
    if pages == 0 || pages > EARLY_IOREMAP_PAGES {
        return None;
    }
    let slot = (0..EARLY_IOREMAP_SLOTS)
        .map(|n| Slot::EarlyIoremap(n).address())
        .find(|&va| entry(Level::Pte, va).load(Relaxed) == 0)?;
    set(slot, first, pages, attrs);
    Some(slot + range.start().page_offset())
}

/// Gives a mapping of [`early_ioremap`] back.
///
/// # Panics
/// Where `va` is in none of its slots.
///
/// # Safety
/// The boot CPU is alone, [`early_ioremap`] returned `va`, and it is not used any more.
#[track_caller]
pub unsafe fn early_iounmap(va: VirtAddr) {
    let base = Slot::EarlyIoremap(0).address();
    let bytes = EARLY_IOREMAP_PAGES * PAGE_SIZE;
    assert!(
        VirtRange::from_size(base, EARLY_IOREMAP_SLOTS * bytes).contains(va),
        "early_iounmap: {va} is no early_ioremap address"
    );
    clear(base + (va - base) / bytes * bytes, EARLY_IOREMAP_PAGES);
}

/// The window for the device tree: any address in the second 2 MiB.
const FDT: VirtAddr = VirtAddr::new(FIXMAP.start().get() + PMD_SIZE);

/// Maps the 4 MiB around the device tree at `pa`, read-only, and says where `pa` is.
/// The boot protocol keeps the tree below 2 MiB and away from memory that must not
/// be mapped cacheable; `None` where `pa` is misaligned or beyond 48 bits.
#[must_use]
pub(crate) fn map_fdt(pa: PhysAddr) -> Option<VirtAddr> {
    let base = pa.align_down(PMD_SIZE as u64);
    if !pa.is_aligned(8)
        || pa.get() >> 48 != 0
        || base.get() >> 48 != (base.get() + (2 * PMD_SIZE as u64) - 1) >> 48
    {
        return None;
    }
    for i in 0..2 {
        let block = base + (i * PMD_SIZE) as u64;
        let leaf = Descriptor::leaf(Level::Pmd, block, KernelAttrs::KERNEL_RO, false);
        entry(Level::Pmd, FDT + i * PMD_SIZE).store(leaf.bits(), Relaxed);
    }
    mmu::dsb_ishst();
    mmu::isb();
    Some(FDT + (pa - base) as usize)
}

/// Takes the window for the device tree away, once the tree lies in the linear map.
///
/// # Safety
/// No reference into the window is left.
pub unsafe fn unmap_fdt() {
    for i in 0..2 {
        entry(Level::Pmd, FDT + i * PMD_SIZE).store(0, Relaxed);
    }
    mmu::dsb_ishst();
    for i in 0..2 {
        mmu::tlbi_vaale1is(FDT + i * PMD_SIZE);
    }
    mmu::dsb_ish();
    mmu::isb();
}
