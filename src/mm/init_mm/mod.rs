//! The kernel's own address space (Linux: init_mm, mm/init-mm.c).
//!
//! One tree of tables for the upper half of the address space, shared by all CPUs and
//! edited under one lock, [`Rank::PageTable`]. Table pages come from the page
//! allocator; the words are reached through the linear map. All functions may be
//! called in any context once [`install`] has run, and none of them sleeps.

mod alias;

pub(in crate::mm) use alias::{
    for_each_alias, linear_address_of, may_map, note_code, reset_linear_alias,
};

use crate::addr::{CONT_PTE_SIZE, Order, PAGE_SIZE, PhysAddr, VirtAddr, VirtRange};
use crate::arch::irq::with_masked;
use crate::arch::pgtable::{
    self, BadTree, FlushOwed, Kernel, KernelAttrs, MapError, MapFlags, Mapper, RecentTables, Table,
    TableAccess, TableAddr, Translation, TreeStats,
};
use crate::arch::{self, IrqMasked, layout};
use crate::machine_local;
use crate::mm::alloc_pages;
use crate::mm::gfp::Gfp;
use crate::mm::page::{Frame, PageFlags, PageType};
use crate::mm::page_alloc;
use crate::mm::vmstat::{NodeStat, mod_node_page_state, node_page_state};
use crate::sync::{Once, Rank, SpinLock};
use core::ops::ControlFlow;

/// State that the lock guards.
struct InitMm {
    /// The PGD, once there is one.
    root: Option<TableAddr>,
    recent: RecentTables,
}

machine_local! {
    static INIT_MM: SpinLock<InitMm> =
        SpinLock::new(Rank::PageTable, InitMm { root: None, recent: RecentTables::new() });
    /// Copy of the PGD's address for code that takes no lock.
    static PGD: Once<TableAddr> = Once::new();
}

/// Number of pages that hold page tables (Linux: NR_PAGETABLE).
#[must_use]
pub fn nr_table_pages() -> usize {
    node_page_state(None, NodeStat::PageTable)
}

/// Table pages from the page allocator, through the linear map.
struct LinearAccess<'a> {
    /// Range that may be unmapped at the moment, between break and make.
    broken: VirtRange,
    recent: &'a mut RecentTables,
}

impl<'a> LinearAccess<'a> {
    const NOTHING: VirtRange = VirtRange::new(VirtAddr::new(0), VirtAddr::new(0));

    #[inline(always)]
    const fn new(recent: &'a mut RecentTables) -> Self {
        Self { broken: Self::NOTHING, recent }
    }
}

impl TableAccess for LinearAccess<'_> {
    type Regime = Kernel;

    fn alloc(&mut self) -> Option<TableAddr> {
        let frame = alloc_pages::alloc_pages(Gfp::GFP_ATOMIC, Order::ZERO)?;
        frame.page().add_type(PageType::Table, PageFlags::empty());
        mod_node_page_state(frame, NodeStat::PageTable, 1);
        // SAFETY: the frame was just allocated, and its one use is as a table; the
        // editor clears it before it reads it.
        Some(unsafe { TableAddr::new(frame.phys()) })
    }

    fn free(&mut self, table: TableAddr) {
        self.recent.forget();
        let pa = table.phys();
        // Tables of the boot have frames that are reserved: they stay.
        let Some(frame) = pa.pfn().and_then(Frame::new) else {
            return;
        };
        if frame.page().is_type(PageType::Table) {
            frame.page().clear_type(PageFlags::empty());
            mod_node_page_state(frame, NodeStat::PageTable, -1);
            // SAFETY: allocated above as a table, which the editor has unlinked, and which no
            // walker has in a TLB any more.
            unsafe { page_alloc::free_pages(frame, Order::ZERO) };
        }
    }

    #[inline(always)]
    fn with<R>(&self, table: TableAddr, f: impl FnOnce(&Table) -> R) -> R {
        let linear = arch::phys_to_virt(table.phys());
        let apart = self.broken.contains(linear);
        let at = if apart { arch::open_table_window(table.phys()) } else { linear };
        // SAFETY: the linear map covers all RAM, and so every table; where another CPU breaks
        // it meanwhile the fault is retried, and where this one does the window maps it.
        let result = f(unsafe { Table::at(at) });
        if apart {
            arch::close_table_window();
        }
        result
    }

    #[inline(always)]
    fn recent(&mut self) -> Option<&mut RecentTables> {
        Some(self.recent)
    }

    #[inline(always)]
    fn near(&self, table: TableAddr) -> Option<&Table> {
        if !self.broken.is_empty() {
            return None;
        }
        // SAFETY: the linear map covers all RAM, and so every table, and is whole.
        Some(unsafe { Table::at(arch::phys_to_virt(table.phys())) })
    }

    #[inline(always)]
    fn tag(&self) {}

    fn window(&self, table: TableAddr, broken: VirtRange) -> VirtAddr {
        let at = arch::phys_to_virt(table.phys());
        if broken.contains(at) { arch::layout::FIXMAP.start() } else { at }
    }

    fn may_break(&self, va: VirtRange) -> bool {
        let here = 0u8;
        let stack = VirtAddr::from_ptr(&raw const here);
        // What exceptions use before they can be told from real faults: text, data, stacks.
        !va.overlaps(layout::KIMAGE) && !va.overlaps(layout::VMEMMAP) && !va.contains(stack)
    }

    fn begin_bbm(&mut self, va: VirtRange) {
        self.broken = va;
        arch::mmu::begin_bbm();
    }

    fn end_bbm(&mut self) {
        arch::mmu::end_bbm();
        self.broken = Self::NOTHING;
    }
}

/// TLB invalidation owed for kernel mappings that were taken away or changed. Gather
/// several with [`TlbFlush::merge`] and flush them by [`TlbFlush::flush`]; one that is
/// dropped is settled then, so that none is forgotten.
#[must_use = "until the flush is done, CPUs may use the old translations"]
#[derive(Debug)]
pub struct TlbFlush(FlushOwed);

impl TlbFlush {
    /// No flush is needed.
    pub const NONE: Self = Self(FlushOwed::NONE);

    /// Returns true if no flush is needed.
    #[must_use]
    pub const fn is_none(&self) -> bool {
        self.0.is_none()
    }

    /// The addresses owed, from the lowest to the highest.
    #[must_use]
    pub const fn range(&self) -> Option<VirtRange> {
        self.0.range()
    }

    /// Invalidates on all CPUs.
    pub fn flush(self) -> Flushed {
        // Dropping it does.
        drop(self);
        Flushed(())
    }

    /// Combines two flushes into one.
    pub fn merge(mut self, other: Self) -> Self {
        self.absorb(other);
        self
    }

    /// Owes what `other` does too.
    #[inline(always)]
    pub fn absorb(&mut self, mut other: Self) {
        self.0.absorb(other.take());
        // Nothing is left of it to flush.
        core::mem::forget(other);
    }

    #[inline(always)]
    fn take(&mut self) -> FlushOwed {
        core::mem::replace(&mut self.0, FlushOwed::NONE)
    }
}

impl Drop for TlbFlush {
    fn drop(&mut self) {
        self.take().flush();
    }
}

/// Proof that a flush is complete on all CPUs. Functions that give back what a flush protects,
/// pages or addresses, ask for it, so that they can't be called before [`TlbFlush::flush`].
#[derive(Debug)]
pub struct Flushed(());

/// A new, empty PGD from the page allocator, for [`install`] on a machine that did not
/// boot through tables of its own.
///
/// # Errors
/// `NoMemory`.
pub fn new_root() -> Result<TableAddr, MapError> {
    Mapper::new_table(&mut LinearAccess::new(&mut RecentTables::new()))
}

/// Makes the tree under `root` the kernel's. The boot does, when the page allocator and the linear
/// map are up.
///
/// # Panics
/// Where there is one already, as there is after the boot.
pub fn install(root: TableAddr) {
    with_masked(|irq| {
        let was = INIT_MM.lock(irq).root.replace(root);
        assert!(was.is_none(), "init_mm has a PGD already: {was:?}");
        PGD.call_once(|| root);
    });
}

fn edit<R>(f: impl FnOnce(&mut Mapper<'_, LinearAccess<'_>>) -> R) -> R {
    with_masked(|irq| {
        let mut init_mm = INIT_MM.lock(irq);
        let root = init_mm.root.expect("init_mm::install has run");
        f(&mut Mapper::new(root, &mut LinearAccess::new(&mut init_mm.recent)))
    })
}

/// The PGD's physical address.
#[must_use]
pub fn root() -> Option<PhysAddr> {
    with_masked(|irq| INIT_MM.lock(irq).root.map(TableAddr::phys))
}

/// Maps the frames that `pages` yields one after the other from `va` on, page by page
/// (Linux: vmap_pages_range). All or nothing. The iterator runs under the page-table
/// lock: it may take no lock of lower rank and must not map or unmap.
///
/// # Errors
/// `AlreadyMapped`, `NoMemory`, `Misaligned`, `OutOfRange`.
///
/// # Safety
/// Nobody else maps, unmaps or uses the addresses while they are mapped so. Each page stays
/// allocated, or is a device's, and no other mapping has it with another memory type.
#[inline(always)]
pub unsafe fn map_pages(
    va: VirtAddr,
    mut pages: impl Iterator<Item = PhysAddr>,
    attrs: KernelAttrs,
) -> Result<(), MapError> {
    let mut next = pages.next();
    let (mapped, result) = with_masked(|irq| {
        let recent = &mut INIT_MM.lock(irq).recent;
        pgtable::map_cached(&mut LinearAccess::new(recent), va, &mut next, &mut pages, attrs)
    });
    match next {
        None => Ok(()),
        Some(page) => {
            let done = VirtRange::from_size(va, mapped * PAGE_SIZE);
            map_rest(done, result, page, pages, attrs)
        }
    }
}

/// Maps what `map_cached` left, or takes back what it mapped.
#[cold]
#[inline(never)]
fn map_rest(
    done: VirtRange,
    result: Result<(), MapError>,
    next: PhysAddr,
    pages: impl Iterator<Item = PhysAddr>,
    attrs: KernelAttrs,
) -> Result<(), MapError> {
    if let Err(error) = result {
        if !done.is_empty() {
            // SAFETY: mapped a moment ago, for the caller, who has not heard of it yet.
            unsafe { unmap(done) }.flush();
        }
        return Err(error);
    }
    edit(|m| m.map_rest(done, core::iter::once(next).chain(pages), attrs))
}

/// Maps the blocks of physical memory that `blocks` yields one after the other from `va` on,
/// in the largest pieces that fit (Linux: vmap_pages_range with a page_shift). All or nothing;
/// the iterator as for [`map_pages`].
///
/// # Errors
/// `AlreadyMapped`, `NoMemory`, `Misaligned`, `OutOfRange`.
///
/// # Safety
/// As for [`map_pages`].
pub unsafe fn map_blocks(
    va: VirtAddr,
    blocks: impl Iterator<Item = (PhysAddr, usize)>,
    attrs: KernelAttrs,
) -> Result<(), MapError> {
    edit(|m| {
        let mut at = va;
        for (pa, bytes) in blocks {
            if let Err(error) = m.map(VirtRange::from_size(at, bytes), pa, attrs, MapFlags::empty())
            {
                m.unmap(VirtRange::new(va, at))?.flush();
                return Err(error);
            }
            at = at + bytes;
        }
        Ok(())
    })
}

/// Maps `va` to the physical memory from `pa` on, in the largest pieces that fit
/// (Linux: vmap_range, ioremap_page_range). All or nothing.
///
/// # Errors
/// `AlreadyMapped`, `NoMemory`, `Misaligned`, `OutOfRange`.
///
/// # Safety
/// As for [`map_pages`].
#[inline(always)]
pub unsafe fn map_range(
    va: VirtRange,
    pa: PhysAddr,
    attrs: KernelAttrs,
    flags: MapFlags,
) -> Result<(), MapError> {
    let few = va.len() < CONT_PTE_SIZE && va.len().is_multiple_of(PAGE_SIZE);
    if few && pa.get() < 1 << 47 {
        // Single pages, whatever the flags say.
        let pages = (0..(va.len() / PAGE_SIZE) as u64).map(|n| pa + n * PAGE_SIZE as u64);
        // SAFETY: as the caller says.
        return unsafe { map_pages(va.start(), pages, attrs) };
    }
    map_any(va, pa, attrs, flags)
}

#[inline(never)]
fn map_any(
    va: VirtRange,
    pa: PhysAddr,
    attrs: KernelAttrs,
    flags: MapFlags,
) -> Result<(), MapError> {
    edit(|m| m.map(va, pa, attrs, flags))
}

/// Takes away whatever is mapped in `va` (Linux: vunmap_range_noflush). The tables stay
/// for the next mapping; [`free_tables`] gives back the empty ones.
///
/// # Panics
/// If an end of `va` is no multiple of the page size or cuts a block: unmap what was
/// mapped, as it was mapped, or `split` first.
///
/// # Safety
/// The caller mapped what is there, and nobody uses it any more. What was mapped is given to
/// nobody else before the flush.
#[track_caller]
pub unsafe fn unmap(va: VirtRange) -> TlbFlush {
    match edit(|m| m.unmap(va)) {
        Ok(owed) => TlbFlush(owed),
        Err(e) => panic!("unmap of {va:?}: {e}"),
    }
}

/// [`unmap`] of `pages` pages from `va` on, for callers that have interrupts masked already and
/// gather what is owed.
///
/// # Panics
/// As `unmap`.
///
/// # Safety
/// As for [`unmap`].
#[inline(always)]
#[track_caller]
pub unsafe fn unmap_pages(irq: &IrqMasked, va: VirtAddr, pages: usize, owed: &mut TlbFlush) {
    // SAFETY: as the caller says.
    if !unsafe { unmap_cached(irq, va, pages, owed) } {
        // SAFETY: as above.
        unsafe { unmap_any(VirtRange::from_size(va, pages * PAGE_SIZE), owed) };
    }
}

/// Unmaps as [`unmap_pages`] does, if all pages are in one table that was walked to recently and
/// no contiguous set is cut. Returns false otherwise, and does nothing.
///
/// # Safety
/// As for [`unmap`].
#[inline(always)]
pub unsafe fn unmap_cached(
    irq: &IrqMasked,
    va: VirtAddr,
    pages: usize,
    owed: &mut TlbFlush,
) -> bool {
    let recent = &mut INIT_MM.lock(irq).recent;
    pgtable::unmap_cached(&mut LinearAccess::new(recent), va, pages, &mut owed.0)
}

/// [`unmap_pages`] where the first page is mapped; else `false`, and nothing done.
///
/// # Panics
/// As `unmap`.
///
/// # Safety
/// As for [`unmap`].
#[inline(always)]
#[track_caller]
pub unsafe fn unmap_mapped(
    irq: &IrqMasked,
    va: VirtAddr,
    pages: usize,
    owed: &mut TlbFlush,
) -> bool {
    let mapped = {
        let recent = &mut INIT_MM.lock(irq).recent;
        pgtable::is_page_mapped(&mut LinearAccess::new(recent), va)
    };
    if !mapped.unwrap_or_else(|| is_mapped(VirtRange::from_size(va, PAGE_SIZE))) {
        return false;
    }
    // SAFETY: as the caller says.
    unsafe { unmap_pages(irq, va, pages, owed) };
    true
}

#[cold]
#[inline(never)]
#[track_caller]
unsafe fn unmap_any(va: VirtRange, owed: &mut TlbFlush) {
    // SAFETY: as the caller says.
    owed.absorb(unsafe { unmap(va) });
}

/// Frees the tables for `va` that map nothing, after a flush. Walks whole tables: for
/// batches, not for every unmap (Linux: pmd_free_pte_page).
///
/// # Safety
/// The tables are none of those that are reached without the page-table lock: the linear map's
/// ([`set_page_valid`]) and the fixmap's.
pub unsafe fn free_tables(va: VirtRange) {
    edit(|m| m.prune(va, FlushOwed::NONE));
}

/// Gives everything that is mapped in `va` these attributes (Linux: change_memory_common,
/// set_memory_ro and its kin). Holes stay holes.
///
/// # Errors
/// `Misaligned`, `OutOfRange`; `BreakBeforeMake` where the range cuts a block (`split`
/// it first), or where a change of memory type would break what is in use.
///
/// # Safety
/// What is mapped there is the caller's, who does without the rights that are taken away, and
/// gives none by which others' memory can be reached or code be changed.
pub unsafe fn protect(va: VirtRange, attrs: KernelAttrs) -> Result<TlbFlush, MapError> {
    edit(|m| m.protect(va, attrs)).map(TlbFlush)
}

/// Gives everything that is mapped in `va` the attributes that `new` makes of its old ones
/// (Linux: change_memory_common). All or nothing; holes stay holes. `new` runs under the
/// page-table lock.
///
/// # Errors
/// As for [`protect`]; `Refused` where `new` says `None`.
///
/// # Safety
/// As for [`protect`].
pub unsafe fn change(
    va: VirtRange,
    new: impl Fn(KernelAttrs) -> Option<KernelAttrs>,
) -> Result<TlbFlush, MapError> {
    edit(|m| m.change(va, &new)).map(TlbFlush)
}

/// Makes all entries of `va` present-invalid, or valid again (see [`Mapper::set_valid`]).
///
/// # Errors
/// `Misaligned`, `OutOfRange`; `BreakBeforeMake` where the range cuts a block.
///
/// # Safety
/// Nobody uses the addresses while they are invalid. Pages that become valid are still allocated.
pub unsafe fn set_valid(va: VirtRange, valid: bool) -> Result<TlbFlush, MapError> {
    edit(|m| m.set_valid(va, valid)).map(TlbFlush)
}

/// Variant of [`set_valid`] for one page of the linear map, whose tables are never freed. Takes
/// no lock. `None`, and nothing done, if the page is mapped by a block or in a contiguous set:
/// see `split_to_pages`.
///
/// # Safety
/// The page is the caller's, so that no other call changes its entry at the same time, and
/// nobody uses it while it is invalid.
pub unsafe fn set_page_valid(va: VirtAddr, valid: bool) -> Option<TlbFlush> {
    let root = *PGD.get()?;
    debug_assert!(layout::LINEAR.contains(va));
    let recent = &mut RecentTables::new();
    Mapper::new(root, &mut LinearAccess::new(recent)).set_page_valid(va, valid).map(TlbFlush)
}

/// Splits blocks and contiguous sets so that none spans an end of `va` (Linux:
/// split_kernel_leaf_mapping). For a moment each of them maps nothing: other CPUs that
/// use it then fault and try again, which they can as long as their stacks are not in it.
///
/// # Errors
/// `NoMemory`, `Misaligned`, `OutOfRange`; `BreakBeforeMake` where the block maps the
/// kernel image, the frame descriptors or this stack.
pub(in crate::mm) fn split(va: VirtRange) -> Result<(), MapError> {
    edit(|m| m.split(va))
}

/// Splits all that is mapped in `va` into single pages (Linux: linear_map_split_to_ptes);
/// otherwise as [`split`].
///
/// # Errors
/// As for [`split`]. What is split by then stays so.
pub(in crate::mm) fn split_to_pages(va: VirtRange) -> Result<(), MapError> {
    edit(|m| m.split_to_pages(va))
}

/// Translates `va` by walking the tables in software (Linux: vmalloc_to_pfn).
#[must_use]
pub fn translate(va: VirtAddr) -> Option<(PhysAddr, KernelAttrs)> {
    edit(|m| m.translate(va)).map(|t| (t.pa, t.attrs))
}

/// The page or block at `va`, present-invalid or valid.
#[must_use]
pub fn entry(va: VirtAddr) -> Option<Translation> {
    edit(|m| m.entry(va))
}

/// Returns true if the linear map's entry for the page at `pa` is present-invalid (see
/// [`set_valid`]).
pub(in crate::mm) fn is_present_invalid_in_linear_map(pa: PhysAddr) -> bool {
    let va = usize::try_from(pa.get()).ok().and_then(|pa| layout::LINEAR.start().checked_add(pa));
    va.and_then(entry).is_some_and(|entry| !entry.valid)
}

/// Calls `f` with each page or block that maps some of `va`, present-invalid ones too, rising,
/// until it breaks off. `f` runs under the page-table lock: it may take no lock of lower rank.
pub fn for_each_leaf(va: VirtRange, f: impl FnMut(VirtAddr, Translation) -> ControlFlow<()>) {
    edit(|m| m.for_each_leaf(va, f));
}

/// Walks the whole tree and checks every invariant; see [`Mapper::validate`].
///
/// # Errors
/// The first entry found that is wrong.
pub fn validate() -> Result<TreeStats, BadTree> {
    edit(|m| m.validate(layout::LINEAR.start()))
}

/// Returns true if any page in `va` has an entry, valid or present-invalid.
#[must_use]
pub fn is_mapped(va: VirtRange) -> bool {
    edit(|m| m.is_mapped(va))
}

#[cfg(test)]
mod tests;

/// Edits for tests, each of which has a machine of its own, whose memory it does not use by the
/// addresses that it edits.
#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// [`super::map_range`].
    pub fn map_range(
        va: VirtRange,
        pa: PhysAddr,
        attrs: KernelAttrs,
        flags: MapFlags,
    ) -> Result<(), MapError> {
        // SAFETY: as said.
        unsafe { super::map_range(va, pa, attrs, flags) }
    }

    /// [`super::unmap`].
    pub fn unmap(va: VirtRange) -> TlbFlush {
        // SAFETY: as said.
        unsafe { super::unmap(va) }
    }
}
