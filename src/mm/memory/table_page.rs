//! Pages that hold users' tables: allocation, their words and their descriptors.
//!
//! | field of the descriptor | of a table |
//! | --- | --- |
//! | `mapcount` | the lock of a last-level table |
//! | `private` | number of entries that are not empty |
//! | `next` | the next table that is to be freed |

use crate::addr::{Order, VirtAddr, VirtRange};
use crate::arch;
use crate::arch::asid::Asid;
use crate::arch::pgtable::{Mapper, Table, TableAccess, TableAddr, User};
use crate::mm::alloc_pages::alloc_pages;
use crate::mm::gfp::Gfp;
use crate::mm::page::{Frame, Page, PageFlags, PageType};
use crate::mm::page_alloc::free_pages;
use crate::mm::slab::AllocError;
use crate::mm::vmstat::{NodeStat, mod_node_page_state};
use crate::sync::init_word;

/// Allocates an empty table that walkers may find once it is linked. May sleep (Linux:
/// GFP_PGTABLE_USER, pte_alloc_one).
pub(super) fn alloc_table() -> Result<TableAddr<User>, AllocError> {
    Mapper::new_table(&mut TablePages).map_err(|_| AllocError)
}

/// Frees a table that is empty and that no walker can reach.
pub(super) fn free_table(table: TableAddr<User>) {
    TablePages.free(table);
}

/// The descriptor of a table's page.
#[inline(always)]
pub(super) fn page_of(table: TableAddr<User>) -> &'static Page {
    // SAFETY: the page was allocated for the table, so it has a descriptor.
    unsafe { Page::of_virt_unchecked(arch::phys_to_virt(table.phys())) }
}

/// The frame of a table.
pub(super) fn frame_of(table: TableAddr<User>) -> Frame {
    // SAFETY: as above.
    unsafe { Frame::from_virt_unchecked(arch::phys_to_virt(table.phys())) }
}

/// The table in `frame`, which [`frame_of`] came from.
pub(super) fn table_in(frame: Frame) -> TableAddr<User> {
    assert!(frame.page().is_type(PageType::Table), "{frame:?} holds no table");
    // SAFETY: pages of that type hold tables, which link none that are not.
    unsafe { TableAddr::new(frame.phys()) }
}

/// The words of a table.
///
/// # Safety
/// The table is not freed during `'a`.
#[inline(always)]
pub(super) unsafe fn words<'a>(table: TableAddr<User>) -> &'a Table<User> {
    // SAFETY: the linear map has all RAM; it stays a table, as the caller says.
    unsafe { Table::at(arch::phys_to_virt(table.phys())) }
}

/// Source of pages for tables. Edits that need more of [`TableAccess`] are none of this room's.
pub(super) struct TablePages;

impl TableAccess for TablePages {
    type Regime = User;

    fn alloc(&mut self) -> Option<TableAddr<User>> {
        let frame = alloc_pages(Gfp::GFP_KERNEL_ACCOUNT, Order::ZERO)?;
        let page = frame.page();
        page.add_type(PageType::Table, PageFlags::empty());
        init_word(page.table_lock());
        page.set_private(0);
        mod_node_page_state(frame, NodeStat::PageTable, 1);
        // SAFETY: the frame was just allocated, and its one use is as a table.
        Some(unsafe { TableAddr::new(frame.phys()) })
    }

    fn free(&mut self, table: TableAddr<User>) {
        let frame = frame_of(table);
        let page = frame.page();
        assert!(page.private() == 0, "a table of {} entries is freed", page.private());
        init_word(page.table_lock());
        page.set_next(None);
        page.clear_type(PageFlags::empty());
        mod_node_page_state(frame, NodeStat::PageTable, -1);
        // SAFETY: allocated above as a table, which is out of the tree.
        unsafe { free_pages(frame, Order::ZERO) };
    }

    fn with<T>(&self, table: TableAddr<User>, f: impl FnOnce(&Table<User>) -> T) -> T {
        // SAFETY: called for a table that was just allocated, by `alloc_table`, or while nobody but
        // the caller has the tree.
        f(unsafe { words(table) })
    }

    fn tag(&self) -> Option<Asid> {
        None
    }
    fn window(&self, table: TableAddr<User>, _: VirtRange) -> VirtAddr {
        arch::phys_to_virt(table.phys())
    }
    fn may_break(&self, _: VirtRange) -> bool {
        false
    }
    fn begin_bbm(&mut self, _: VirtRange) {}
    fn end_bbm(&mut self) {}
}
