//! Guests' regime: stage 2 of EL1&0, by VTTBR_EL2.
//!
//! Its instructions are EL2's alone, and UNDEFINED below. So the regime has a parameter, the proof
//! that the CPU is at EL2: [`El2`] is implemented by the part of the kernel that runs there, whose
//! entry from an exception makes the value and passes it on. A [`Vm`] holds one, invalidation asks
//! for a [`Vm`], and no other code can come by either. On the hosted machine all code may be at EL2.
//!
//! A guest's translations are cached in two ways, and an invalidation by address reaches only the
//! entries of stage 2 itself; those that combine both stages are known by a virtual address of the
//! guest's. So it is followed by an invalidation of the guest's whole stage 1, once it is complete:
//! a walk could combine anew what is still there (Linux: __kvm_tlb_flush_vmid_ipa; Arm ARM D8.17.5).
#![deny(unsafe_code)]

mod attrs;
mod geometry;

pub use attrs::{Stage2Attrs, Stage2Memory, Stage2Prot};
pub use geometry::Geometry;

use super::{Attributes, Regime, leaf_of};
use crate::addr::{Ipa, IpaRange, PAGE_SIZE, PhysAddr, VirtAddr, VirtRange};
use crate::arch::mmu;
use crate::arch::pgtable::descriptor::{Descriptor, Level, TableLimits};
use crate::arch::pgtable::flush::{FlushOwed, Issued, Reach};
use crate::arch::pgtable::table::{Leaf, TableAccess, TableAddr};
use crate::arch::pgtable::tlbi::{RangeOp, VaOp};
use core::fmt::Debug;
use core::hash::Hash;
use core::marker::PhantomData;

/// Proof that this CPU is at EL2, with the instructions and the register that are there.
pub trait El2: Copy + Eq + Hash + Debug + 'static {
    /// Returns VTTBR_EL2.
    fn vttbr(self) -> u64;
    /// Writes VTTBR_EL2, for invalidations under its VMID: no guest runs on this CPU until another
    /// value is written.
    fn set_vttbr(self, value: u64);
    /// TLBI IPAS2E1IS: an intermediate address of the VMID in VTTBR_EL2, at all levels of stage 2.
    fn tlbi_ipas2e1is(self, op: VaOp);
    /// TLBI IPAS2LE1IS: the same at the last level.
    fn tlbi_ipas2le1is(self, op: VaOp);
    /// TLBI RIPAS2E1IS: a range. The CPU must have FEAT_TLBIRANGE.
    fn tlbi_ripas2e1is(self, op: RangeOp);
    /// TLBI RIPAS2LE1IS: a range, at the last level. The CPU must have FEAT_TLBIRANGE.
    fn tlbi_ripas2le1is(self, op: RangeOp);
    /// TLBI VMALLS12E1IS: both stages of the VMID in VTTBR_EL2.
    fn tlbi_vmalls12e1is(self);
}

/// A virtual machine identifier. 0 is the host's, and no guest's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(transparent)]
pub struct Vmid(u16);

impl Vmid {
    /// The identifier with this number, of `bits` bits (8 or 16). `None` for 0 and where there are
    /// not as many.
    #[must_use]
    pub const fn new(number: u16, bits: u32) -> Option<Self> {
        if number == 0 || (number as u32) >> bits != 0 { None } else { Some(Self(number)) }
    }
    /// The number.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }
}

/// Tables at the top of a guest's tree.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Stage2Root<E: El2> {
    first: TableAddr<Stage2<E>>,
    geometry: Geometry,
}

impl<E: El2> Stage2Root<E> {
    /// Joins as many tables as `geometry` says. `None` where they are not as many, not one after the other
    /// in memory, or not aligned to their size together.
    #[must_use]
    pub fn new(tables: &[TableAddr<Stage2<E>>], geometry: Geometry) -> Option<Self> {
        let root = Self { first: *tables.first()?, geometry };
        let count = geometry.root_tables();
        let aligned = root.phys().is_aligned((count * PAGE_SIZE) as u64);
        let in_row = tables.iter().enumerate().all(|(n, &table)| table == root.table(n));
        (tables.len() == count && aligned && in_row).then_some(root)
    }

    /// Empties the tables, which no walker reaches yet; walkers may once this returns.
    pub fn clear<A: TableAccess<Regime = Stage2<E>>>(self, access: &A) {
        for n in 0..self.geometry.root_tables() {
            access.with(self.table(n), |t| t.clear_all());
        }
        mmu::dsb_ishst();
    }

    /// The address of the first table.
    #[must_use]
    pub fn phys(self) -> PhysAddr {
        self.first.phys()
    }

    fn table(self, n: usize) -> TableAddr<Stage2<E>> {
        TableAddr::of_link(self.first.phys() + (n * PAGE_SIZE) as u64)
    }
}

/// A guest as TLBs know it: its VMID, which no other guest has, and its tables.
#[derive(Clone, Copy, Debug)]
pub struct Vm<E: El2> {
    root: Stage2Root<E>,
    vmid: Vmid,
    el2: E,
}

impl<E: El2> Vm<E> {
    /// The guest that has `vmid` and the tables under `root`, for code at EL2.
    #[must_use]
    pub fn new(root: Stage2Root<E>, vmid: Vmid, el2: E) -> Self {
        Self { root, vmid, el2 }
    }

    /// The value of VTTBR_EL2 while it runs.
    #[must_use]
    pub fn vttbr(self) -> u64 {
        self.root.phys().get() | u64::from(self.vmid.get()) << 48
    }

    /// Runs `f` with the guest's VMID current.
    fn enter<R>(self, f: impl FnOnce() -> R) -> R {
        let former = self.el2.vttbr();
        self.el2.set_vttbr(self.vttbr());
        mmu::isb();
        let result = f();
        self.el2.set_vttbr(former);
        // Later invalidations are the former VMID's again.
        mmu::isb();
        result
    }

    /// Invalidates everything of both stages that is cached under the VMID, on all CPUs: before it
    /// is handed on, or the tables are freed. No CPU runs the guest any more (Linux:
    /// __kvm_tlb_flush_vmid).
    pub fn flush_all(self) {
        self.enter(|| {
            self.el2.tlbi_vmalls12e1is();
            mmu::dsb_ish();
        });
    }
}

/// Guests' regime. Its translations are cached under a VMID.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Stage2<E: El2>(PhantomData<E>);

/// Bit of software's: the entry is hidden from walkers.
const HIDDEN: u64 = 1 << 55;

impl<E: El2> Regime for Stage2<E> {
    type Addr = Ipa;
    type Range = IpaRange;
    type Attrs = Stage2Attrs;
    type Root = Stage2Root<E>;
    type Pte = Leaf<Self>;
    /// VTCR_EL2.HA.
    const HARDWARE_UPDATES: bool = true;
    /// There are no hierarchical attributes at stage 2.
    const TABLE_BITS: u64 = 0;

    #[inline(always)]
    fn top(root: Stage2Root<E>, at: VirtAddr) -> (TableAddr<Self>, Level) {
        let level = root.geometry.start_level();
        (root.table(at.get() / level.table_span()), level)
    }
    fn span(root: Stage2Root<E>) -> usize {
        1 << root.geometry.ipa_bits()
    }
    #[inline(always)]
    fn reaches(root: Stage2Root<E>, at: VirtAddr) -> bool {
        at.get() < Self::span(root)
    }
    #[inline(always)]
    fn pte(level: Level, word: Descriptor) -> Option<Leaf<Self>> {
        leaf_of(level, word)
    }
    #[inline(always)]
    fn leaf(pte: Leaf<Self>) -> Option<Leaf<Self>> {
        Some(pte)
    }
    #[inline(always)]
    fn input_range(range: IpaRange) -> VirtRange {
        VirtRange::new(Self::input(range.start()), Self::input(range.end()))
    }
    #[inline(always)]
    fn input(at: Ipa) -> VirtAddr {
        VirtAddr::new(at.get() as usize)
    }
    #[inline(always)]
    fn output(at: VirtAddr) -> Ipa {
        Ipa::new(at.get() as u64)
    }
    #[inline(always)]
    fn hide(leaf: Descriptor) -> Descriptor {
        Descriptor::from_bits(leaf.bits() & !1 | HIDDEN)
    }
    #[inline(always)]
    fn show(entry: Descriptor) -> Option<Descriptor> {
        let hidden = entry.bits() & (1 | HIDDEN) == HIDDEN;
        hidden.then(|| Descriptor::from_bits(entry.bits() & !HIDDEN | 1))
    }
    fn defect(leaf: Descriptor, _: TableLimits) -> Option<&'static str> {
        let attrs = Stage2Attrs::of_leaf(leaf);
        let memory = attrs.memory() as u64;
        if leaf.bits() & attrs::MEM_ATTR != memory << attrs::MEM_ATTR.trailing_zeros() {
            Some("of no memory type that is ours")
        } else if attrs.memory() == Stage2Memory::Device && attrs.prot().contains(Stage2Prot::EXEC)
        {
            Some("Device memory, and executable")
        } else {
            None
        }
    }

    /// The guest; `None` if it has never run, and so nothing is cached.
    type Tag = Option<Vm<E>>;

    #[inline(always)]
    fn may_be_cached(tag: Option<Vm<E>>) -> bool {
        tag.is_some()
    }
    #[inline(always)]
    fn op(at: VirtAddr, _: Option<Vm<E>>) -> VaOp {
        VaOp::from(at)
    }
    #[inline(always)]
    fn range_op(at: VirtAddr, pages: usize, _: Option<Vm<E>>) -> Option<RangeOp> {
        RangeOp::largest(at, pages)
    }
    fn tlbi(op: VaOp, reach: Reach, tag: Option<Vm<E>>) {
        match (tag, reach) {
            (None, _) => {}
            (Some(vm), Reach::LastLevel) => vm.el2.tlbi_ipas2le1is(op),
            (Some(vm), Reach::AllLevels) => vm.el2.tlbi_ipas2e1is(op),
        }
    }
    fn tlbi_range(op: RangeOp, reach: Reach, tag: Option<Vm<E>>) {
        match (tag, reach) {
            (None, _) => {}
            (Some(vm), Reach::LastLevel) => vm.el2.tlbi_ripas2le1is(op),
            (Some(vm), Reach::AllLevels) => vm.el2.tlbi_ripas2e1is(op),
        }
    }
    fn tlbi_all(tag: Option<Vm<E>>) {
        if let Some(vm) = tag {
            vm.el2.tlbi_vmalls12e1is();
        }
    }
    fn complete(tag: Option<Vm<E>>, issue: impl FnOnce() -> Issued) {
        let Some(vm) = tag else { return };
        vm.enter(|| {
            let issued = issue();
            mmu::dsb_ish();
            if issued == Issued::ByAddress {
                mmu::tlbi_vmalle1is();
                mmu::dsb_ish();
            }
        });
    }
    /// Does nothing: this CPU comes to the guest by an exception return.
    #[inline(always)]
    fn synchronize() {}
}

impl<E: El2> FlushOwed<Stage2<E>> {
    /// Invalidates on all CPUs what is cached of the guest, if it has ever run.
    pub fn flush(self, vm: Option<Vm<E>>) {
        if !self.is_none() {
            self.settle(|| vm);
        }
    }
}
