//! The kernel's own address space (Linux: init_mm, mm/init-mm.c).
//!
//! One tree of tables for the upper half of the address space, shared by all CPUs and
//! edited under one lock, [`Rank::PageTable`]. Table pages come from the page
//! allocator; the words are reached through the linear map. All functions may be
//! called in any context once [`install`] has run, and none of them sleeps.

use crate::addr::{Order, PhysAddr, VirtAddr, VirtRange};
use crate::arch::irq::with_masked;
use crate::arch::pgtable::{
    BadTree, FlushOwed, KernelAttrs, MapError, MapFlags, Mapper, Table, TableAccess, TableAddr,
    Translation, TreeStats,
};
use crate::arch::{self, layout};
use crate::machine_local;
use crate::mm::gfp::Gfp;
use crate::mm::page::{Frame, PageFlags};
use crate::mm::page_alloc;
use crate::sync::{Rank, SpinLock};
use core::ops::ControlFlow;

machine_local! {
    /// The PGD, once there is one.
    static INIT_MM: SpinLock<Option<TableAddr>> = SpinLock::new(Rank::PageTable, None);
}

/// Table pages from the page allocator, through the linear map.
struct LinearAccess;

impl TableAccess for LinearAccess {
    fn alloc(&mut self) -> Option<TableAddr> {
        let frame = page_alloc::alloc_pages(Gfp::GFP_ATOMIC, Order::ZERO)?;
        frame.page().add_flags(PageFlags::TABLE);
        // SAFETY: the frame was just allocated, and its one use is as a table; the
        // editor clears it before it reads it.
        Some(unsafe { TableAddr::new(frame.phys()) })
    }

    fn free(&mut self, table: TableAddr) {
        let pa = table.phys();
        // Tables of the boot have frames that are reserved: they stay.
        let Some(frame) = pa.pfn().and_then(Frame::new) else {
            return;
        };
        if frame.page().flags().contains(PageFlags::TABLE) {
            frame.page().remove_flags(PageFlags::TABLE);
            page_alloc::free_pages(frame, Order::ZERO);
        }
    }

    fn with<R>(&self, table: TableAddr, f: impl FnOnce(&Table) -> R) -> R {
        // SAFETY: the linear map covers all RAM, and so every table.
        f(unsafe { Table::at(self.window(table)) })
    }

    fn window(&self, table: TableAddr) -> VirtAddr {
        arch::phys_to_virt(table.phys())
    }

    fn may_break(&self, va: VirtRange) -> bool {
        let here = 0u8;
        let stack = VirtAddr::from_ptr(&raw const here);
        !va.overlaps(layout::KIMAGE) && !va.overlaps(layout::VMEMMAP) && !va.contains(stack)
    }
}

/// TLB invalidation owed for kernel mappings that were taken away or changed. Gather
/// several with [`TlbFlush::merge`] and settle them by [`TlbFlush::flush`]; one that is
/// dropped is settled then, so that none is forgotten.
#[must_use = "until the flush is done, CPUs may use the old translations"]
#[derive(Debug)]
pub struct TlbFlush(FlushOwed);

impl TlbFlush {
    /// Nothing owed.
    pub const NONE: Self = Self(FlushOwed::NONE);

    /// Whether nothing is owed.
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
    pub fn flush(self) {
        // Dropping it does.
    }

    /// Both of two.
    pub fn merge(mut self, mut other: Self) -> Self {
        let (a, b) = (self.take(), other.take());
        Self(a.merge(b))
    }

    fn take(&mut self) -> FlushOwed {
        core::mem::replace(&mut self.0, FlushOwed::NONE)
    }
}

impl Drop for TlbFlush {
    fn drop(&mut self) {
        self.take().settle();
    }
}

/// A new, empty PGD from the page allocator, for [`install`] on a machine that did not
/// boot through tables of its own.
///
/// # Errors
/// `NoMemory`.
pub fn new_root() -> Result<TableAddr, MapError> {
    Mapper::new_table(&mut LinearAccess)
}

/// Makes the tree under `root` the kernel's. Once, at boot, when the page allocator and
/// the linear map are up.
///
/// # Panics
/// If there is one already.
pub fn install(root: TableAddr) {
    with_masked(|irq| {
        let was = INIT_MM.lock(irq).replace(root);
        assert!(was.is_none(), "init_mm has a PGD already: {was:?}");
    });
}

fn edit<R>(f: impl FnOnce(&mut Mapper<'_, LinearAccess>) -> R) -> R {
    with_masked(|irq| {
        let root = INIT_MM.lock(irq);
        let root = root.expect("init_mm::install has run");
        f(&mut Mapper::new(root, &mut LinearAccess))
    })
}

/// The PGD's physical address.
#[must_use]
pub fn root() -> Option<PhysAddr> {
    with_masked(|irq| INIT_MM.lock(irq).map(TableAddr::phys))
}

/// Maps the frames that `pages` yields one after the other from `va` on, page by page
/// (Linux: vmap_pages_range). All or nothing. The iterator runs under the page-table
/// lock: it may take no lock of lower rank and must not map or unmap.
///
/// # Errors
/// `AlreadyMapped`, `NoMemory`, `Misaligned`, `OutOfRange`.
pub fn map_pages(
    va: VirtAddr,
    pages: impl Iterator<Item = PhysAddr>,
    attrs: KernelAttrs,
) -> Result<(), MapError> {
    edit(|m| m.map_pages(va, pages, attrs))
}

/// Maps `va` to the physical memory from `pa` on, in the largest pieces that fit
/// (Linux: vmap_range, ioremap_page_range). All or nothing.
///
/// # Errors
/// `AlreadyMapped`, `NoMemory`, `Misaligned`, `OutOfRange`.
pub fn map_range(
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
/// mapped, as it was mapped, or [`split`] first.
#[track_caller]
pub fn unmap(va: VirtRange) -> TlbFlush {
    match edit(|m| m.unmap(va)) {
        Ok(owed) => TlbFlush(owed),
        Err(e) => panic!("unmap of {va:?}: {e}"),
    }
}

/// Frees the tables for `va` that map nothing, after a flush. Walks whole tables: for
/// batches, not for every unmap (Linux: pmd_free_pte_page).
pub fn free_tables(va: VirtRange) {
    edit(|m| m.prune(va, FlushOwed::NONE));
}

/// Gives everything that is mapped in `va` these attributes (Linux: change_memory_common,
/// set_memory_ro and its kin). Holes stay holes.
///
/// # Errors
/// `Misaligned`, `OutOfRange`; `BreakBeforeMake` where the range cuts a block ([`split`]
/// it first), or where a change of memory type would break what is in use.
pub fn protect(va: VirtRange, attrs: KernelAttrs) -> Result<TlbFlush, MapError> {
    edit(|m| m.protect(va, attrs)).map(TlbFlush)
}

/// Splits blocks and contiguous sets so that none spans an end of `va` (Linux:
/// split_kernel_leaf_mapping). For a moment each of them maps nothing: the caller
/// sees to it that no CPU uses it then, and that this CPU's stack isn't in it.
///
/// # Errors
/// `NoMemory`, `Misaligned`, `OutOfRange`; `BreakBeforeMake` where the block maps the
/// kernel image, the frame descriptors, this stack, or the very table to change.
pub fn split(va: VirtRange) -> Result<(), MapError> {
    edit(|m| m.split(va))
}

/// Where `va` leads, as the tables say (Linux: vmalloc_to_pfn, walking by software).
#[must_use]
pub fn translate(va: VirtAddr) -> Option<(PhysAddr, KernelAttrs)> {
    edit(|m| m.translate(va)).map(|t| (t.pa, t.attrs))
}

/// Calls `f` with each page or block that maps some of `va`, rising, until it breaks
/// off. `f` runs under the page-table lock: it may take no lock of lower rank.
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

/// Whether anything is mapped in `va`.
#[must_use]
pub fn is_mapped(va: VirtRange) -> bool {
    let mut mapped = false;
    for_each_leaf(va, |_, _| {
        mapped = true;
        ControlFlow::Break(())
    });
    mapped
}
