//! Page tables, as the policy of areas uses them.

use super::Vma;
use crate::addr::{UserAddr, UserRange};
pub use crate::arch::fault::{Access, Fault};

/// State of an entry that is not empty.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PageState {
    /// A page of users.
    Page {
        /// Anonymous, or the copy of a file's page.
        anon: bool,
        /// Number of entries of all address spaces that map it.
        mappings: u32,
        /// Accessed.
        young: bool,
        /// Written to.
        dirty: bool,
    },
    /// The shared zero page, or a page of the kernel's.
    Special,
    /// A guard: an access gets SIGSEGV.
    Guard,
    /// Something else that software keeps where no page is.
    Other,
}

/// Tables of an address space. All of it can be called with the lock of the areas held for reading,
/// but for `free_tables`, `change_protection` and `move_tables`, which ask for the writer's. Ranges are
/// of whole pages.
pub trait PageTables: Sync {
    /// Takes everything in `range` out, guards too (Linux: unmap_vmas).
    fn zap(&self, range: UserRange);
    /// Takes the pages in `range` out; guards stay (Linux: zap_page_range_single).
    fn zap_pages(&self, range: UserRange);
    /// Frees tables that are empty and lie within `hole`, where no area is (Linux: free_pgtables).
    fn free_tables(&self, hole: UserRange);
    /// Gives what is mapped in `range` the rights of `vma`, which it lies in.
    fn change_protection(&self, range: UserRange, vma: &Vma);
    /// Moves `len` bytes of entries (Linux: move_page_tables).
    ///
    /// # Errors
    /// Memory is short; the number of bytes whose entries have moved.
    fn move_tables(&self, from: UserAddr, to: UserAddr, len: usize) -> Result<(), usize>;
    /// Makes an access to an address of `vma` possible. `family` is the number of the address space's
    /// family, for anonymous pages.
    ///
    /// # Errors
    /// [`Fault`]
    fn handle_mm_fault(
        &self,
        family: u32,
        vma: &Vma,
        at: UserAddr,
        access: Access,
    ) -> Result<(), Fault>;
    /// Faults all pages of `range` in (Linux: populate_vma_page_range).
    ///
    /// # Errors
    /// That of the first page that can't be had.
    fn populate(&self, family: u32, vma: &Vma, range: UserRange, write: bool) -> Result<(), Fault>;
    /// Puts guards at all pages of `range` in place of what is there.
    ///
    /// # Errors
    /// Memory is short; guards up to some page are there then.
    fn install_guard(&self, range: UserRange) -> Result<(), Fault>;
    /// Takes the guards of `range` away.
    fn remove_guard(&self, range: UserRange);
    /// Calls `each` for each entry of `range` that is not empty, upwards, with interrupts masked.
    fn resident(&self, range: UserRange, each: &mut dyn FnMut(UserAddr, PageState));
}
