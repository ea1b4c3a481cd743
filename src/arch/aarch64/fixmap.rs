//! The fixmap: addresses known at compile time for what must be mapped before an
//! allocator is there (Linux: arch/arm64/mm/fixmap.c).
//!
//! Its tables are part of the image and linked into the first and the final PGD alike, so
//! a slot survives the change of tables. Behind the slots, from the second 2 MiB on, lies
//! the window for the device tree, in single pages too: nothing but the tree may be mapped,
//! since what lies beside it may be a region that must not be (no-map).
//! The boot CPU alone changes slots, before the others are up; the window for a page
//! table is afterwards the page-table lock's holder's, that for instructions is who
//! patches the image's.

use super::boot_table::BootTable;
use super::{features, mmu};
use crate::addr::{PAGE_SIZE, PMD_SIZE, PhysAddr, PhysRange, VirtAddr, VirtRange};
use crate::arch::layout::FIXMAP;
use crate::arch::pgtable::descriptor::PTRS_PER_TABLE;
use crate::arch::pgtable::{Descriptor, KernelAttrs, Level};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Use of a slot.
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
/// Number of windows for memblock.
pub const MEMBLOCK_WINDOWS: usize = 4;
const CONSOLE_PAGES: usize = 2;
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
static TABLES: [BootTable; 3 + FDT_TABLES] = [const { BootTable::new() }; 3 + FDT_TABLES];

/// Bytes of the fixmap's tables.
pub(super) const TABLES_BYTES: usize = (3 + FDT_TABLES) * PAGE_SIZE;

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
    let mut n = 0;
    while n < FDT_TABLES {
        f(pmd, Level::Pmd.index(FDT + n * PMD_SIZE), pte + (n + 1) * PAGE_SIZE);
        n += 1;
    }
}

/// The table that the final PGD's entry for the fixmap points to.
#[must_use]
pub fn pud_phys() -> PhysAddr {
    super::image::phys(VirtAddr::from_ptr(&raw const TABLES))
}

/// The entries of a table.
fn words(table: &'static BootTable) -> &'static [AtomicU64; 512] {
    // SAFETY: an array of u64 is one of AtomicU64; all accesses from now on are atomic.
    unsafe { &*table.0.get().cast::<[AtomicU64; 512]>() }
}

/// The entry of a slot's page.
fn entry(va: VirtAddr) -> &'static AtomicU64 {
    &words(&TABLES[2])[Level::Pte.index(va)]
}

/// Maps `pages` pages from `pa` at `va`, replacing what was there: break before make.
fn set(va: VirtAddr, pa: PhysAddr, pages: usize, attrs: KernelAttrs) {
    clear(va, pages);
    for i in 0..pages {
        let pa = pa + (i * PAGE_SIZE) as u64;
        let leaf = Descriptor::leaf(Level::Pte, pa, attrs, false);
        entry(va + i * PAGE_SIZE).store(leaf.bits(), Relaxed);
    }
    mmu::dsb_ishst();
    mmu::isb();
}

fn clear(va: VirtAddr, pages: usize) {
    let mut was = 0;
    for i in 0..pages {
        was |= entry(va + i * PAGE_SIZE).swap(0, Relaxed);
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

/// Maps the pages of the console's registers, which may begin anywhere in a page; `None`
/// where they are on more than two.
///
/// # Safety
/// No console uses the slot yet, `registers` are a console's, and the boot CPU is alone.
#[must_use]
pub(crate) unsafe fn map_console(registers: PhysRange) -> Option<VirtAddr> {
    let start = registers.start();
    let pages = (start.page_offset() + registers.len() as usize).div_ceil(PAGE_SIZE);
    if !(1..=CONSOLE_PAGES).contains(&pages) {
        return None;
    }
    let va = Slot::Console.address();
    set(va, start.align_down(PAGE_SIZE as u64), pages, KernelAttrs::DEVICE);
    Some(va + start.page_offset())
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
        .find(|&va| entry(va).load(Relaxed) == 0)?;
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

/// The window for the device tree, from the second 2 MiB on.
const FDT: VirtAddr = VirtAddr::new(FIXMAP.start().get() + PMD_SIZE);
/// Bytes of the largest device tree that there is room for, wherever in a page it begins.
pub(crate) const MAX_FDT_SIZE: usize = 2 << 20;
/// Page tables of the window.
const FDT_TABLES: usize = 2;
const _: () = assert!((MAX_FDT_SIZE + PAGE_SIZE).div_ceil(PMD_SIZE) <= FDT_TABLES);

/// Maps the pages of `size` bytes of the device tree at `pa`, read-only, and says where `pa`
/// is. To be called for the header first, and then for the whole tree. `None` where `pa` is
/// misaligned, or the tree is larger than [`MAX_FDT_SIZE`] or out of the CPU's reach.
#[must_use]
pub(crate) fn map_fdt(pa: PhysAddr, size: usize) -> Option<VirtAddr> {
    let end = pa.checked_add(size as u64)?;
    if !pa.is_aligned(8)
        || size > MAX_FDT_SIZE
        || (end.get() - 1) >> features::physical_address_bits() != 0
    {
        return None;
    }
    let pages = (pa.page_offset() + size).div_ceil(PAGE_SIZE);
    let first = pa.align_down(PAGE_SIZE as u64);
    let mut leaf = Descriptor::leaf(Level::Pte, first, KernelAttrs::KERNEL_RO, false).bits();
    let mut left = pages;
    for table in &TABLES[3..] {
        let entries = &words(table)[..left.min(PTRS_PER_TABLE)];
        for entry in entries {
            entry.store(leaf, Relaxed);
            // The next page: the address is in the descriptor as it is.
            leaf += PAGE_SIZE as u64;
        }
        left -= entries.len();
    }
    mmu::dsb_ishst();
    mmu::isb();
    Some(FDT + pa.page_offset())
}

/// Takes the window for the device tree away.
///
/// # Safety
/// No reference into the window is left.
pub(crate) unsafe fn unmap_fdt() {
    for i in 0..FDT_TABLES {
        words(&TABLES[1])[Level::Pmd.index(FDT + i * PMD_SIZE)].store(0, Relaxed);
    }
    mmu::dsb_ishst();
    // One for all of the pages, and for the tables above them.
    mmu::tlbi_vmalle1is();
    mmu::dsb_ish();
    mmu::isb();
}
