//! Tables of pages that were walked to lately.
#![deny(unsafe_code)]

use super::descriptor::Level;
use super::regime::{Kernel, Regime};
use super::table::TableAddr;
use crate::addr::{PhysAddr, VirtAddr};

/// Tables of pages that were walked to recently, so that an edit near by needs no walk. Code
/// that frees a table of the tree makes it [forget](RecentTables::forget) the table first.
#[derive(Debug)]
pub struct RecentTables<R: Regime = Kernel>([Recent<R>; RECENT_TABLES]);

/// Number of tables remembered; each address has one slot.
const RECENT_TABLES: usize = 4;

#[derive(Clone, Copy, Debug)]
struct Recent<R: Regime> {
    /// The number of the 2 MiB that the table translates; one that there isn't where it is none.
    span: usize,
    table: TableAddr<R>,
}

impl<R: Regime> Recent<R> {
    const NONE: Self = Self { span: usize::MAX, table: TableAddr::of_link(PhysAddr::new(0)) };
}

impl<R: Regime> RecentTables<R> {
    /// None.
    #[must_use]
    pub const fn new() -> Self {
        Self([Recent::NONE; RECENT_TABLES])
    }

    /// The table of pages that translates `va`, if it is remembered.
    #[inline(always)]
    #[must_use]
    pub fn get(&self, va: VirtAddr) -> Option<TableAddr<R>> {
        let span = va.get() >> Level::Pmd.shift();
        let recent = &self.0[span % RECENT_TABLES];
        if recent.span == span { Some(recent.table) } else { None }
    }

    /// Remembers the table of pages that translates `va`.
    pub fn note(&mut self, va: VirtAddr, table: TableAddr<R>) {
        let span = va.get() >> Level::Pmd.shift();
        self.0[span % RECENT_TABLES] = Recent { span, table };
    }

    /// Remembers none.
    pub fn forget(&mut self) {
        *self = Self::new();
    }
}

impl<R: Regime> Default for RecentTables<R> {
    fn default() -> Self {
        Self::new()
    }
}
