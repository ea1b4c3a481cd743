//! Edits of users' tables beside those of [`Mapper`] that all regimes have.
//!
//! Hardware may make an entry young or dirty while software changes it, so entries in use are
//! swapped or exchanged, never overwritten, and what they said last is handed to the caller.
#![deny(unsafe_code)]

use super::{User, UserPte};
use crate::addr::{PAGE_SIZE, UserAddr, VirtRange};
use crate::arch::mmu;
use crate::arch::pgtable::descriptor::Level;
use crate::arch::pgtable::flush::FlushOwed;
use crate::arch::pgtable::mapper::{MapError, Mapper};
use crate::arch::pgtable::regime::{Attributes, Regime};
use crate::arch::pgtable::table::{Leaf, TableAccess};
use crate::arch::pgtable::tlbi::VaOp;

impl<A: TableAccess<Regime = User>> Mapper<'_, A> {
    /// Returns the last-level entry of `va`; `UserPte::None` where a block or no table is.
    #[must_use]
    pub fn pte(&self, va: UserAddr) -> UserPte {
        let va = User::input(va);
        match self.lookup(va) {
            (Level::Pte, table, _) => {
                self.access.with(table, |t| UserPte::decode(t.descriptor(Level::Pte.index(va))))
            }
            _ => UserPte::None,
        }
    }

    /// Stores `new` as the last-level entry of `va` if it is `old`, makes tables for it where they
    /// are missing, and owes the flush for what walkers could find there. `None`, with nothing
    /// changed, if the entry is another; hardware that made the page young or dirty since `old`
    /// was read is enough (Linux: ptep_cmpxchg). New entries are visible to walkers at the next
    /// DSB; until then an access may fault once more.
    ///
    /// # Errors
    /// `NoMemory`; `AlreadyMapped` where a block is; `BreakBeforeMake` where a page is to become
    /// another without an entry in between that walkers take for invalid.
    pub fn exchange_pte(
        &mut self,
        va: UserAddr,
        old: UserPte,
        new: UserPte,
    ) -> Result<Option<FlushOwed<User>>, MapError> {
        if let (UserPte::Present(from), UserPte::Present(to)) = (old, new)
            && from.valid
            && to.valid
            && !(from.pa == to.pa
                && from.contiguous == to.contiguous
                && from.attrs.same_memory(to.attrs))
        {
            return Err(MapError::BreakBeforeMake);
        }
        let at = User::input(va).align_down(PAGE_SIZE);
        let table = self.table_for(at, Level::Pte)?;
        let index = Level::Pte.index(at);
        if !self.access.with(table, |t| t.exchange(index, old.encode(), new.encode())) {
            return Ok(None);
        }
        let mut owed = FlushOwed::NONE;
        if matches!(old, UserPte::Present(leaf) if leaf.valid && leaf.attrs.is_young()) {
            owed.add(VirtRange::from_size(at, PAGE_SIZE), PAGE_SIZE);
        }
        Ok(Some(owed))
    }

    /// Does with the page at `va` what hardware with FEAT_HAFDBS does at an access: makes it young,
    /// and dirty if it is written to. Returns true if the access is allowed, and may be tried
    /// again. An access that another CPU has made room for meanwhile is allowed as well (Linux:
    /// ptep_set_access_flags, spurious faults).
    ///
    /// The entry may only have been less permissive, so no other CPU has to forget it; this one
    /// does, as it may hold the clean entry, or a pointer to the table from when that was linked
    /// read-only. A write below a table that is linked so is not allowed.
    pub fn handle_access(&mut self, va: UserAddr, write: bool) -> bool {
        let index = Level::Pte.index(User::input(va));
        let (Level::Pte, table, _, limits) = self.lookup_limits(User::input(va)) else {
            return false;
        };
        if write && limits.is_read_only() {
            return false;
        }
        loop {
            let UserPte::Present(leaf) =
                self.access.with(table, |t| UserPte::decode(t.descriptor(index)))
            else {
                return false;
            };
            let Some(attrs) = leaf.attrs.accessed(write).filter(|_| leaf.valid) else {
                return false;
            };
            let (old, new) = (UserPte::Present(leaf), UserPte::Present(Leaf { attrs, ..leaf }));
            if old == new
                || self.access.with(table, |t| t.exchange(index, old.encode(), new.encode()))
            {
                mmu::dsb_ishst();
                if let Some(asid) = self.access.tag() {
                    mmu::tlbi_vae1(VaOp::of_user(va, asid.get()));
                    mmu::dsb_nsh();
                    mmu::isb();
                }
                return true;
            }
        }
    }

    /// Makes the page at `va` old. Returns whether it was young, and owes the flush that makes
    /// CPUs note the next access (Linux: ptep_test_and_clear_young, which leaves that out).
    pub fn test_and_clear_young(&mut self, va: UserAddr) -> (bool, FlushOwed<User>) {
        let mut owed = FlushOwed::NONE;
        loop {
            let old = self.pte(va);
            let UserPte::Present(leaf) = old else { return (false, owed) };
            if !leaf.attrs.is_young() {
                return (false, owed);
            }
            let new = UserPte::Present(Leaf { attrs: leaf.attrs.old(), ..leaf });
            match self.exchange_pte(va, old, new) {
                Ok(Some(flush)) => {
                    owed.absorb(flush);
                    return (true, owed);
                }
                Ok(None) => {}
                Err(_) => return (false, owed),
            }
        }
    }
}
