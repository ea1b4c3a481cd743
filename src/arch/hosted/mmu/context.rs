//! Registers that decide how a CPU translates: TCR_EL1 and TTBR0_EL1 (Arm ARM D24.2.194,
//! D24.2.198), and those of [`stage2`](super::stage2).
//!
//! TTBR1_EL1 is one for all CPUs, the root that [`Mmu::attach`](super::Mmu::attach) was given.
#![deny(unsafe_code)]

use super::rights::Mode;
use super::scope::Tag;
use super::stage2::Vtcr;
use super::tables::Linked;
use super::walker::UPPER_HALF;
use crate::addr::{PhysAddr, VirtAddr};
use crate::arch::pgtable::descriptor::Level;
use std::vec::Vec;

/// Input addresses of one set of tables, by the register that holds the root.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Space {
    /// The lower half, by TTBR0_EL1: users.
    Lower,
    /// The upper half, by TTBR1_EL1: the kernel.
    Upper,
    /// Intermediate physical addresses, by VTTBR_EL2: a guest's memory.
    Ipa,
}

/// A tree of tables, by its root.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Tree {
    /// The kernel's, from TTBR1_EL1.
    Kernel,
    /// A user's, with its root as in TTBR0_EL1.
    User(PhysAddr),
    /// A guest's at stage 2, with its root as in VTTBR_EL2.
    Stage2(PhysAddr),
}

/// TCR_EL1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Tcr(u64);

impl Tcr {
    /// A machine whose software never writes it: 48 bits in both halves, no walks of the lower
    /// half, no updates by hardware.
    pub const INITIAL: Self = Self(16 | 1 << 7 | 16 << 16 | 0b10 << 30);

    /// The register with this value.
    ///
    /// # Panics
    /// Where it asks for what is not modelled: another granule than 4 KiB, ASIDs from TTBR1, or
    /// an upper half of other than 48 bits.
    pub fn new(bits: u64) -> Self {
        let tcr = Self(bits);
        assert!(
            bits >> 14 & 3 == 0b00 && bits >> 30 & 3 == 0b10,
            "TCR {bits:#x}: no 4 KiB granule"
        );
        assert!(bits & 1 << 22 == 0, "TCR {bits:#x}: A1, ASIDs from TTBR1");
        assert!(bits >> 16 & 0x3f == 16, "TCR {bits:#x}: T1SZ is not 16");
        assert!((16..=39).contains(&tcr.t0sz()), "TCR {bits:#x}: T0SZ is not 16 to 39");
        tcr
    }

    const fn t0sz(self) -> u32 {
        (self.0 & 0x3f) as u32
    }
    const fn bit(self, n: u32) -> bool {
        self.0 >> n & 1 != 0
    }
    /// Returns whether a miss in the half is a fault instead of a walk (EPD0, EPD1).
    pub const fn forbids_walks(self, space: Space) -> bool {
        match space {
            Space::Lower => self.bit(7),
            Space::Upper => self.bit(23),
            Space::Ipa => false,
        }
    }
    /// Returns whether the attributes of table descriptors are ignored (HPD0, HPD1).
    pub const fn ignores_hierarchy(self, space: Space) -> bool {
        match space {
            Space::Lower => self.bit(41),
            Space::Upper => self.bit(42),
            // There are none at stage 2.
            Space::Ipa => true,
        }
    }
    /// Returns whether accesses of EL0 to the half fault without a walk (E0PD0, E0PD1).
    const fn keeps_el0_off(self, space: Space) -> bool {
        match space {
            Space::Lower => self.bit(55),
            Space::Upper => self.bit(56),
            Space::Ipa => false,
        }
    }
    /// Returns whether the top byte of addresses of the half is ignored (TBI0, TBI1).
    const fn ignores_top_byte(self, space: Space) -> bool {
        match space {
            Space::Lower => self.bit(37),
            Space::Upper => self.bit(38),
            Space::Ipa => false,
        }
    }
    /// Returns whether hardware sets the access flag (HA).
    pub const fn updates_access_flag(self) -> bool {
        self.bit(39)
    }
    /// Returns whether hardware keeps the dirty state (HD, which takes HA).
    pub const fn updates_dirty_state(self) -> bool {
        self.bit(40) && self.bit(39)
    }
    /// The bits of an ASID that count (AS).
    pub const fn asid_mask(self) -> u16 {
        if self.bit(36) { 0xffff } else { 0xff }
    }
}

/// Registers with which a CPU translates.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Context {
    pub tcr: Tcr,
    pub ttbr0: u64,
    /// SCTLR_EL1.M: stage 1 is on. A guest's is off at first; the host's always is on.
    pub stage1: bool,
    /// The CPU is at EL2. It walks for EL1 and EL0 no more until it returns there: their regime is
    /// out of context (Arm ARM D8.17.6).
    pub el2: bool,
    /// HCR_EL2.VM: stage 2 is on, a guest runs.
    pub vm: bool,
    pub vttbr: u64,
    pub vtcr: Vtcr,
}

impl Context {
    pub const INITIAL: Self = Self {
        tcr: Tcr::INITIAL,
        ttbr0: 0,
        stage1: true,
        el2: false,
        vm: false,
        vttbr: 0,
        vtcr: Vtcr::INITIAL,
    };

    /// The current ASID.
    pub const fn asid(&self) -> u16 {
        (self.ttbr0 >> 48) as u16 & self.tcr.asid_mask()
    }

    /// The current VMID, with which the EL1&0 regime's entries are tagged even while stage 2 is off
    /// (Arm ARM D8.16.2).
    pub const fn vmid(&self) -> u16 {
        (self.vttbr >> 48) as u16 & self.vtcr.vmid_mask()
    }

    /// The identifiers of what walks of `space` find, global entries excepted.
    pub const fn tag(&self, space: Space) -> Tag {
        let asid = match space {
            Space::Lower => Some(self.asid()),
            Space::Upper | Space::Ipa => None,
        };
        Tag { vmid: self.vmid(), asid }
    }

    /// The tree that the host walks of the lower half; `None` where there is none. A guest's own
    /// tables are its own affair: they are no tree.
    pub const fn user(&self) -> Option<Tree> {
        if self.vm || self.el2 || self.tcr.forbids_walks(Space::Lower) {
            return None;
        }
        Some(Tree::User(self.ttbr0_root()))
    }

    /// The tree of stage 2, where that is on.
    pub const fn guest(&self) -> Option<Tree> {
        if self.vm && !self.el2 { Some(Tree::Stage2(self.vttbr_root())) } else { None }
    }

    /// The root of the lower half: in a guest, an intermediate physical address.
    const fn ttbr0_root(&self) -> PhysAddr {
        PhysAddr::new(self.ttbr0 & 0x0000_ffff_ffff_f000)
    }

    const fn vttbr_root(&self) -> PhysAddr {
        PhysAddr::new(self.vttbr & 0x0000_ffff_ffff_f000)
    }

    /// The trees that are checked and walked with these registers beside the kernel's, and the
    /// places of their root tables.
    pub fn roots(&self) -> Vec<(PhysAddr, Linked)> {
        let user = self.user().map(|tree| {
            let place = Linked { tree, level: self.start_level(), va: VirtAddr::new(0) };
            (self.ttbr0_root(), place)
        });
        let guest = self.guest().into_iter().flat_map(|tree| {
            (0..self.vtcr.root_tables()).map(move |n| {
                let level = self.vtcr.start_level();
                let va = VirtAddr::new(n * level.table_span());
                (self.vtcr.root_table(self.vttbr_root(), va), Linked { tree, level, va })
            })
        });
        user.into_iter().chain(guest).collect()
    }

    /// Returns whether a walk with these registers may be one of `tree`.
    pub fn walks(&self, tree: Tree) -> bool {
        match tree {
            Tree::Kernel => !self.vm && !self.el2,
            Tree::User(_) => self.user() == Some(tree),
            Tree::Stage2(_) => self.guest() == Some(tree),
        }
    }

    /// The identifiers of entries for `tree`, which these registers walk.
    pub const fn tag_of(&self, tree: Tree) -> Tag {
        match tree {
            Tree::Kernel => self.tag(Space::Upper),
            Tree::User(_) => self.tag(Space::Lower),
            Tree::Stage2(_) => self.tag(Space::Ipa),
        }
    }

    /// The space and the address that are translated for an access to `va`; `None` where the
    /// registers allow none.
    pub fn input(&self, mode: Mode, va: VirtAddr) -> Option<(Space, VirtAddr)> {
        let (space, va) = self.locate(va)?;
        let kept_off = mode != Mode::El1 && self.tcr.keeps_el0_off(space);
        (!kept_off).then_some((space, va))
    }

    /// The half that `va` lies in, and `va` without a tag (Arm ARM D8.2.1). Guests have no upper
    /// half; with stage 1 off an address of 48 bits is what stage 2 translates.
    pub fn locate(&self, va: VirtAddr) -> Option<(Space, VirtAddr)> {
        if self.el2 {
            return None;
        }
        const TOP_BYTE: usize = 0xff << 56;
        let upper = va.get() >> 55 & 1 != 0;
        let space = if upper { Space::Upper } else { Space::Lower };
        let va = match (self.tcr.ignores_top_byte(space), space) {
            (true, Space::Lower) => VirtAddr::new(va.get() & !TOP_BYTE),
            (true, _) => VirtAddr::new(va.get() | TOP_BYTE),
            (false, _) => va,
        };
        let inside = match space {
            Space::Upper => va >= UPPER_HALF && !self.vm,
            _ if self.stage1 => va.get() >> (64 - self.tcr.t0sz()) == 0,
            _ => va < VirtAddr::new(1 << 48),
        };
        inside.then_some((space, va))
    }

    /// The level and the address of the table at which a walk of `va` starts, if that isn't in the
    /// kernel's half; `None` outside of what is translated.
    pub fn root(&self, space: Space, va: VirtAddr) -> Option<(Level, PhysAddr)> {
        if space == Space::Ipa {
            let inside = va.get() >> self.vtcr.ipa_bits() == 0;
            let root = self.vtcr.root_table(self.vttbr_root(), va);
            return inside.then_some((self.vtcr.start_level(), root));
        }
        Some((self.start_level(), self.ttbr0_root()))
    }

    /// The level at which a walk of the lower half starts (Arm ARM D8.2.8).
    const fn start_level(&self) -> Level {
        match 64 - self.tcr.t0sz() {
            40.. => Level::Pgd,
            31.. => Level::Pud,
            _ => Level::Pmd,
        }
    }
}
