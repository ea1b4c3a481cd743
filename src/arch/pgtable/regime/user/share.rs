//! Last-level tables that several trees link, read-only: the memory that a fork shares.
//!
//! A table is write-protected as a whole by APTable in the level-2 descriptor, and its entries stay
//! as they are. All CPUs cache that limit with the entries below it and with the pointer to the
//! table, so a change of it owes everything under the tree's ASID. Trees have ASIDs of their own:
//! the flush of one is none of the other's.
//!
//! Software keeps count of who links a table, and changes the entries of none that others link too.
#![deny(unsafe_code)]

use super::User;
use crate::addr::{PAGE_SIZE, UserAddr, VirtAddr, VirtRange};
use crate::arch::pgtable::descriptor::{AP_TABLE_RDONLY, Descriptor, Level};
use crate::arch::pgtable::flush::FlushOwed;
use crate::arch::pgtable::mapper::{MapError, Mapper, publish};
use crate::arch::pgtable::regime::Regime;
use crate::arch::pgtable::table::{Entry, TableAccess, TableAddr};

impl<A: TableAccess<Regime = User>> Mapper<'_, A> {
    /// Write-protects the last-level table that translates `va`, and returns it, to be linked into
    /// other trees. The flush is done before another tree's programs rely on what they read.
    /// `None` where there is no such table.
    pub fn share_table(&mut self, va: UserAddr) -> Option<(TableAddr<User>, FlushOwed<User>)> {
        let (parent, index, table) = self.last_table(va)?;
        self.access.with(parent, |t| t.set_table(index, table, AP_TABLE_RDONLY));
        Some((table, everything()))
    }

    /// Takes the write protection of [`Mapper::share_table`] away, when no other tree links the
    /// table any more. `None` where there is no table.
    ///
    /// Until the flush is done, a CPU may still deny a write:
    /// [`handle_access`](Mapper::handle_access) then says that it may be tried again.
    pub fn unshare_table(&mut self, va: UserAddr) -> Option<FlushOwed<User>> {
        let (parent, index, table) = self.last_table(va)?;
        self.access.with(parent, |t| t.set_table(index, table, 0));
        Some(everything())
    }

    /// Links `table`, which another tree has for the same addresses, read-only for the 2 MiB around
    /// `va`. It is visible to walkers once this returns.
    ///
    /// # Errors
    /// `AlreadyMapped` where a block or another table is; `NoMemory`.
    ///
    /// # Safety
    /// The frame stays a table until the last tree has unlinked it and flushed: no tree that links it
    /// frees it before, by [`Mapper::prune`] above all.
    #[expect(unsafe_code, reason = "says what its callers answer for")]
    pub unsafe fn link_shared_table(
        &mut self,
        va: UserAddr,
        table: TableAddr<User>,
    ) -> Result<(), MapError> {
        let at = User::input(va);
        let parent = self.table_for(at, Level::Pmd)?;
        let index = Level::Pmd.index(at);
        let linked = self.access.with(parent, |t| {
            let free = t.descriptor(index) == Descriptor::INVALID;
            if free {
                t.set_table(index, table, AP_TABLE_RDONLY);
            }
            free
        });
        if !linked {
            return Err(MapError::AlreadyMapped);
        }
        publish::<User>();
        Ok(())
    }

    /// Takes the last-level table that translates `va` out of this tree, with all that it maps, and
    /// leaves it to the trees that link it still. Until the flush is done, CPUs may walk it for this
    /// one. `None` where there is no table.
    pub fn unlink_table(&mut self, va: UserAddr) -> Option<(TableAddr<User>, FlushOwed<User>)> {
        let (parent, index, table) = self.last_table(va)?;
        self.access.with(parent, |t| t.clear(index));
        Some((table, everything()))
    }

    /// The last-level table that translates `va`, and where it is linked.
    fn last_table(&self, va: UserAddr) -> Option<(TableAddr<User>, usize, TableAddr<User>)> {
        let at = User::input(va);
        let (mut parent, mut level) = User::top(self.root, at);
        loop {
            let entry = self.access.with(parent, |t| t.entry(level, level.index(at)));
            let Entry::Table(next) = entry else { return None };
            if level == Level::Pmd {
                return Some((parent, level.index(at), next));
            }
            (parent, level) = (next, level.down()?);
        }
    }
}

/// Owes everything under the tree's ASID, pointers to tables included.
fn everything() -> FlushOwed<User> {
    let mut owed = FlushOwed::NONE;
    owed.add(VirtRange::new(VirtAddr::new(0), VirtAddr::new(crate::addr::TASK_SIZE)), PAGE_SIZE);
    owed
}
