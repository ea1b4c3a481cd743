//! Users' regime: EL1&0, lower half, by TTBR0_EL1.
//!
//! No mapping of it can be executed by the kernel, and none is global:
//!
//! ```compile_fail,E0308
//! # use granule::addr::PhysAddr;
//! # use granule::arch::pgtable::{KernelAttrs, Leaf, User};
//! let pa = PhysAddr::new(0);
//! let leaf = Leaf::<User> { pa, attrs: KernelAttrs::KERNEL, contiguous: false, valid: true };
//! ```
#![deny(unsafe_code)]

mod attrs;
mod edit;
mod pte;
mod share;
mod word;

pub use attrs::{Prot, UserAttrs};
pub use pte::{MigrationPte, PteMarker, SwapPte, UserPte};
pub use word::PteWord;

use super::Regime;
use crate::addr::{PAGE_SIZE, UserAddr, UserRange, VirtAddr, VirtRange};
use crate::arch::asid::{Asid, Context};
use crate::arch::mmu;
use crate::arch::pgtable::descriptor::{
    Descriptor, Level, NG, PXN, PXN_TABLE, TableLimits, VA_BITS,
};
use crate::arch::pgtable::flush::{FlushOwed, Reach};
use crate::arch::pgtable::table::{Entry, Leaf, Table, TableAddr};
use crate::arch::pgtable::tlbi::{RangeOp, VaOp};

/// Users' regime. Its translations are cached under an ASID.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum User {}

impl Regime for User {
    type Addr = UserAddr;
    type Range = UserRange;
    type Attrs = UserAttrs;
    type Root = TableAddr<Self>;
    type Pte = UserPte;
    const HARDWARE_UPDATES: bool = true;
    /// PXNTable: no leaf under a table is executable at EL1; for EL0 the leaves decide.
    const TABLE_BITS: u64 = PXN_TABLE;

    #[inline(always)]
    fn top(root: TableAddr<Self>, _: VirtAddr) -> (TableAddr<Self>, Level) {
        (root, Level::Pgd)
    }
    fn span(_: TableAddr<Self>) -> usize {
        1 << VA_BITS
    }
    #[inline(always)]
    fn pte(level: Level, word: Descriptor) -> Option<UserPte> {
        let pte = match (level, Table::decode(level, word)) {
            (Level::Pte, _) => UserPte::decode(word),
            (_, Entry::Leaf(leaf)) => UserPte::Present(leaf),
            _ => UserPte::None,
        };
        (pte != UserPte::None).then_some(pte)
    }
    #[inline(always)]
    fn leaf(pte: UserPte) -> Option<Leaf<Self>> {
        match pte {
            UserPte::Present(leaf) => Some(leaf),
            _ => None,
        }
    }
    #[inline(always)]
    fn input_range(range: UserRange) -> VirtRange {
        VirtRange::from_size(VirtAddr::new(range.start().get()), range.len())
    }
    #[inline(always)]
    fn input(at: UserAddr) -> VirtAddr {
        VirtAddr::new(at.get())
    }
    #[inline(always)]
    fn output(at: VirtAddr) -> UserAddr {
        UserAddr::new(at.get()).expect("users' tables translate the lower half alone")
    }
    #[inline(always)]
    fn hide(leaf: Descriptor) -> Descriptor {
        Descriptor::from_bits(leaf.bits() & !(1 | NG) | pte::HIDDEN)
    }
    #[inline(always)]
    fn show(entry: Descriptor) -> Option<Descriptor> {
        let hidden = entry.bits() & (1 | NG | pte::FORM) == pte::HIDDEN;
        hidden.then(|| Descriptor::from_bits(entry.bits() & !pte::FORM | NG | 1))
    }
    /// A user's leaf says itself what it must, whatever the tables do.
    fn defect(leaf: Descriptor, _: TableLimits) -> Option<&'static str> {
        if leaf.bits() & PXN == 0 {
            Some("executable by the kernel")
        } else if leaf.bits() & NG == 0 {
            Some("global")
        } else {
            None
        }
    }
    fn is_software_entry(word: Descriptor, level: Level) -> bool {
        level == Level::Pte && !matches!(pte::UserPte::decode(word), UserPte::Bad(_))
    }

    /// The ASID of the tree's context; `None` if it has never run, and so nothing is cached.
    type Tag = Option<Asid>;

    #[inline(always)]
    fn may_be_cached(tag: Option<Asid>) -> bool {
        tag.is_some()
    }
    #[inline(always)]
    fn op(at: VirtAddr, tag: Option<Asid>) -> VaOp {
        VaOp::of_user(User::output(at), number(tag))
    }
    #[inline(always)]
    fn range_op(at: VirtAddr, pages: usize, tag: Option<Asid>) -> Option<RangeOp> {
        RangeOp::largest_of_user(User::output(at), pages, number(tag))
    }
    #[inline(always)]
    fn tlbi(op: VaOp, reach: Reach, _: Option<Asid>) {
        match reach {
            Reach::LastLevel => mmu::tlbi_vale1is(op),
            Reach::AllLevels => mmu::tlbi_vae1is(op),
        }
    }
    #[inline(always)]
    fn tlbi_range(op: RangeOp, reach: Reach, _: Option<Asid>) {
        match reach {
            Reach::LastLevel => mmu::tlbi_rvale1is(op),
            Reach::AllLevels => mmu::tlbi_rvae1is(op),
        }
    }
    #[inline(always)]
    fn tlbi_all(tag: Option<Asid>) {
        mmu::tlbi_aside1is(number(tag));
    }
}

/// The number of a tag's ASID; where there is none, nothing is invalidated.
fn number(tag: Option<Asid>) -> u16 {
    tag.map_or(0, Asid::get)
}

impl FlushOwed<User> {
    /// Invalidates on all CPUs what is cached under the ASID of `context`, if it has ever run.
    /// Any context.
    pub fn flush(self, context: &Context) {
        if !self.is_none() {
            self.settle(|| context.asid());
        }
    }
    /// [`flush`](Self::flush) between break and make, after which the CPU is synchronized by its
    /// return to the access.
    #[inline(always)]
    pub fn flush_for_make(self, context: &Context) {
        self.flush_before_make(Reach::LastLevel, || context.asid());
    }
    /// [`flush`](Self::flush) of pointers to tables that were empty. The CPU need not be synchronized:
    /// nothing changes by the tables alone.
    pub fn flush_empty_tables(self, context: &Context) {
        self.flush_before_make(Reach::AllLevels, || context.asid());
    }
    /// [`flush`](Self::flush) of pointers to tables too.
    pub fn flush_tables(self, context: &Context) {
        if !self.is_none() {
            self.flush_before_make(Reach::AllLevels, || context.asid());
            User::synchronize();
        }
    }
    /// Owes the pages of `range`, which is not empty.
    #[inline(always)]
    pub fn owe(&mut self, range: UserRange) {
        self.add(User::input_range(range), PAGE_SIZE);
    }
    /// Owes the tables that a table of `level` links in `range`, which is not empty, with what they
    /// map, for [`flush_tables`](Self::flush_tables).
    pub fn owe_tables(&mut self, range: UserRange, level: Level) {
        self.add(User::input_range(range), level.size());
    }
}

/// Has this CPU forget what is cached of `at` in `context`: an entry that is less permissive than
/// that in the table now (Linux: flush_tlb_fix_spurious_fault).
pub fn flush_spurious(at: UserAddr, context: &Context) {
    mmu::dsb_ishst();
    if let Some(asid) = context.asid() {
        mmu::tlbi_vae1(VaOp::of_user(at, asid.get()));
        mmu::dsb_nsh();
        mmu::isb();
    }
}
