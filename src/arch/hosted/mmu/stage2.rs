//! Stage 2: intermediate physical addresses of a guest to physical ones, by VTTBR_EL2 and
//! VTCR_EL2 (Arm ARM D8.2.9, D8.3.1, D8.4.2, D24.2.210, D24.2.211).
//!
//! Stage 2 has caches of its own for what a walk of its tables finds. What a guest's access comes
//! to is cached besides as one entry that combines both stages, under the virtual address, and so
//! are pointers to the guest's tables and to those of stage 2: TLBI IPAS2E1IS reaches neither, and a walk that is under way
//! may make them anew from an entry of stage 2 that is not invalidated yet.
#![deny(unsafe_code)]

use super::adversary::State;
use super::context::{Context, Space};
use super::scope::Tag;
use super::tlb::Cached;
use super::walker::Walk;
use super::{Access, Fault};
use crate::addr::{PAGE_SIZE, PhysAddr, VirtAddr, VirtRange};
use crate::arch::pgtable::KernelAttrs;
use crate::arch::pgtable::descriptor::{Descriptor, Level};

const READ: u64 = 1 << 6;
const WRITE: u64 = 1 << 7;
const DBM: u64 = 1 << 51;
const XN_EL1: u64 = 1 << 53;
const XN: u64 = 1 << 54;
/// MemAttr and SH.
const MEMORY: u64 = 0xf << 2 | 3 << 8;

/// Fault of stage 2, as the registers of EL2 report it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Stage2Fault {
    /// The reason (ESR_EL2.DFSC or IFSC).
    pub reason: Stage2Reason,
    /// The level of stage 2's tables (ESR_EL2.DFSC or IFSC).
    pub level: u8,
    /// The page of the intermediate physical address (HPFAR_EL2.FIPA); `None` where that is
    /// UNKNOWN, as after a permission fault that was no read of a table of stage 1's.
    pub ipa: Option<u64>,
    /// True if a table of the guest's stage 1 was read (ESR_EL2.S1PTW).
    pub s1ptw: bool,
}

/// Reason of a fault of stage 2.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Stage2Reason {
    /// No mapping of the intermediate physical address.
    Translation,
    /// Mapping whose access flag is clear, where hardware doesn't set it.
    AccessFlag,
    /// Mapping that doesn't allow the access.
    Permission,
}

/// VTCR_EL2.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Vtcr(u64);

impl Vtcr {
    /// 40 bits from level 1, two root tables, VMIDs of 8 bits.
    pub const INITIAL: Self = Self(1 << 31 | 24 | 1 << 6);

    /// The register with this value.
    ///
    /// # Panics
    /// Where it asks for what is not modelled (another granule than 4 KiB, dirty state by hardware)
    /// or makes each access fault: a first level that doesn't suit the size (D8.2.9).
    pub fn new(bits: u64) -> Self {
        let vtcr = Self(bits);
        assert!(bits >> 14 & 3 == 0b00, "VTCR {bits:#x}: no 4 KiB granule");
        assert!(bits & 1 << 31 != 0, "VTCR {bits:#x}: bit 31 is RES1");
        assert!(bits & 1 << 22 == 0, "VTCR {bits:#x}: HD, dirty state by hardware");
        assert!((16..=39).contains(&(bits & 0x3f)), "VTCR {bits:#x}: T0SZ is not 16 to 39");
        assert!(bits >> 6 & 3 != 3, "VTCR {bits:#x}: SL0");
        let below = vtcr.start_level().shift();
        assert!(
            (below + 1..=below + 13).contains(&vtcr.ipa_bits()),
            "VTCR {bits:#x}: {} bits don't start at {:?}",
            vtcr.ipa_bits(),
            vtcr.start_level()
        );
        vtcr
    }

    /// Bits of an intermediate physical address (T0SZ).
    pub const fn ipa_bits(self) -> u32 {
        64 - (self.0 & 0x3f) as u32
    }
    /// The first level (SL0).
    pub const fn start_level(self) -> Level {
        match self.0 >> 6 & 3 {
            0 => Level::Pmd,
            1 => Level::Pud,
            _ => Level::Pgd,
        }
    }
    /// Number of tables of the first level, one after the other in memory.
    pub const fn root_tables(self) -> usize {
        let one = self.start_level().table_span().trailing_zeros();
        1 << self.ipa_bits().saturating_sub(one)
    }
    /// The table of the first level that translates `ipa`, of those from `root` on.
    pub fn root_table(self, root: PhysAddr, ipa: VirtAddr) -> PhysAddr {
        let size = (self.root_tables() * PAGE_SIZE) as u64;
        assert!(root.is_aligned(size), "VTTBR: {root} is no multiple of {size:#x}");
        root + (ipa.get() / self.start_level().table_span() * PAGE_SIZE) as u64
    }
    /// Returns whether hardware sets the access flag (HA).
    pub const fn updates_access_flag(self) -> bool {
        self.0 >> 21 & 1 != 0
    }
    /// The bits of a VMID that count (VS).
    pub const fn vmid_mask(self) -> u16 {
        if self.0 >> 19 & 1 != 0 { 0xffff } else { 0xff }
    }
}

/// Stage 2's part of a cached translation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Second {
    pub level: Level,
    contiguous: bool,
    descriptor: Descriptor,
}

impl Second {
    pub fn new(level: Level, descriptor: Descriptor) -> Self {
        Self { level, contiguous: descriptor.is_contiguous(), descriptor }
    }

    /// Returns whether it allows an access (S2AP, XN). Code must be readable.
    pub const fn allows(&self, access: Access) -> bool {
        let bits = self.descriptor.bits();
        match access {
            Access::Read => bits & READ != 0,
            Access::Write => bits & WRITE != 0,
            Access::Exec => bits & READ != 0 && bits & XN == 0,
        }
    }

    /// Returns whether both may be in one TLB: they may differ in permissions alone.
    pub fn may_coexist(&self, other: &Self) -> bool {
        self.level == other.level
            && self.contiguous == other.contiguous
            && same_memory(self.descriptor, other.descriptor)
    }
}

/// Returns whether a leaf of stage 2 may become the other without a break, if its address stays.
pub(super) const fn same_memory(a: Descriptor, b: Descriptor) -> bool {
    (a.bits() ^ b.bits()) & MEMORY == 0
}

/// Checks what no leaf of stage 2 may be: a memory type that is reserved without HCR_EL2.FWB, or
/// bits that are not modelled.
pub(super) fn check_leaf(va: VirtRange, descriptor: Descriptor) {
    let bits = descriptor.bits();
    let memory = bits >> 2 & 0xf;
    assert!(memory >> 2 == 0 || memory & 3 != 0, "{va:?} has MemAttr {memory:#x}: {descriptor:?}");
    assert!(bits & (XN_EL1 | DBM) == 0, "{va:?} has XN[0] or DBM at stage 2: {descriptor:?}");
}

/// The fault of a walk of `space` at `va`.
pub(super) fn fault(space: Space, level: Level, va: VirtAddr, reason: Stage2Reason) -> Fault {
    match (space, reason) {
        (Space::Ipa, _) => Fault::Stage2(Stage2Fault {
            reason,
            level: level as u8,
            ipa: Some(va.align_down(PAGE_SIZE).get() as u64),
            s1ptw: false,
        }),
        (_, Stage2Reason::Translation) => Fault::Translation,
        (_, Stage2Reason::AccessFlag) => Fault::AccessFlag,
        (_, Stage2Reason::Permission) => Fault::Permission,
    }
}

impl State {
    /// Translates `ipa` by an entry of stage 2 or a walk of its tables.
    pub fn second(
        &mut self,
        cpu: usize,
        context: &Context,
        ipa: PhysAddr,
        walk: Walk,
    ) -> Result<Cached, Fault> {
        let at = VirtAddr::new(ipa.get() as usize);
        let known = self.cpus[cpu].stage2.serving(at, context.tag(Space::Ipa));
        match self.rng.pick(core::iter::once(None).chain(known.map(|c| Some(*c)))).flatten() {
            Some(cached) => Ok(cached),
            None => self.walk(cpu, context, Space::Ipa, at, walk),
        }
    }

    /// The physical address of the table of `space` that `at` names: in a guest's stage 1 that is
    /// an intermediate one, and stage 2 must let it be read.
    pub fn table_at(
        &mut self,
        cpu: usize,
        context: &Context,
        space: Space,
        at: PhysAddr,
        walk: Walk,
    ) -> Result<PhysAddr, Fault> {
        if !context.vm || space == Space::Ipa {
            return Ok(at);
        }
        let ipa = VirtAddr::new(at.get() as usize);
        let found = self.second(cpu, context, at, walk).and_then(|found| {
            let second = found.stage2.expect("an entry of stage 2");
            let denied = fault(Space::Ipa, second.level, ipa, Stage2Reason::Permission);
            if second.allows(Access::Read) { Ok(found.translate(ipa)) } else { Err(denied) }
        });
        found.map_err(|fault| match fault {
            Fault::Stage2(fault) => Fault::Stage2(Stage2Fault { s1ptw: true, ..fault }),
            other => other,
        })
    }

    /// The translation of `va` by both stages, of which `first` is the first.
    pub fn combine(
        &mut self,
        cpu: usize,
        context: &Context,
        va: VirtAddr,
        first: Cached,
        walk: Walk,
    ) -> Result<Cached, Fault> {
        let second = self.second(cpu, context, first.translate(va), walk)?;
        let size = first.va.len().min(second.va.len());
        let start = va.align_down(size);
        let ipa = VirtAddr::new(first.translate(start).get() as usize);
        Ok(Cached {
            va: VirtRange::from_size(start, size),
            pa: second.translate(ipa),
            stage2: second.stage2,
            ..first
        })
    }

    /// All guests that run walk the addresses that guests have used, as eagerly as configured.
    pub fn guests_walk(&mut self) {
        for cpu in 0..self.config.cpus {
            let contexts = self.cpus[cpu].contexts().filter(|c| c.vm);
            for context in contexts.collect::<std::vec::Vec<_>>() {
                if !self.is_eager() {
                    continue;
                }
                for at in self.guest_vas.clone() {
                    self.walk_ahead(cpu, &context, at);
                }
            }
        }
    }
}

/// Translation of a guest's `va` while its stage 1 is off: to the same intermediate address, with
/// all rights.
pub(super) fn flat(va: VirtAddr, vmid: u16) -> Cached {
    const SIZE: usize = 1 << 34;
    let start = va.align_down(SIZE);
    Cached {
        va: VirtRange::from_size(start, SIZE),
        pa: PhysAddr::new(start.get() as u64),
        tag: Tag { vmid, asid: None },
        attrs: KernelAttrs::KERNEL,
        level: Level::Pgd,
        contiguous: false,
        descriptor: Descriptor::INVALID,
        word: PhysAddr::new(0),
        limits: Default::default(),
        flat: true,
        stage2: None,
    }
}
