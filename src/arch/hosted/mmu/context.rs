//! Registers that decide how a CPU translates: TCR_EL1 and TTBR0_EL1 (Arm ARM D24.2.194,
//! D24.2.198).
//!
//! TTBR1_EL1 is one for all CPUs, the root that [`Mmu::attach`](super::Mmu::attach) was given.
#![deny(unsafe_code)]

use super::rights::Mode;
use super::walker::UPPER_HALF;
use crate::addr::{PhysAddr, VirtAddr};
use crate::arch::pgtable::descriptor::Level;

/// A half of the address space, by the register that holds its root.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Half {
    /// TTBR0_EL1: users.
    Lower,
    /// TTBR1_EL1: the kernel.
    Upper,
}

/// A tree of tables, by its root.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Tree {
    /// The kernel's, from TTBR1_EL1.
    Kernel,
    /// A user's, with its root as in TTBR0_EL1.
    User(PhysAddr),
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
    pub const fn forbids_walks(self, half: Half) -> bool {
        match half {
            Half::Lower => self.bit(7),
            Half::Upper => self.bit(23),
        }
    }
    /// Returns whether the attributes of table descriptors are ignored (HPD0, HPD1).
    pub const fn ignores_hierarchy(self, half: Half) -> bool {
        match half {
            Half::Lower => self.bit(41),
            Half::Upper => self.bit(42),
        }
    }
    /// Returns whether accesses of EL0 to the half fault without a walk (E0PD0, E0PD1).
    const fn keeps_el0_off(self, half: Half) -> bool {
        match half {
            Half::Lower => self.bit(55),
            Half::Upper => self.bit(56),
        }
    }
    /// Returns whether the top byte of addresses of the half is ignored (TBI0, TBI1).
    const fn ignores_top_byte(self, half: Half) -> bool {
        match half {
            Half::Lower => self.bit(37),
            Half::Upper => self.bit(38),
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
}

impl Context {
    pub const INITIAL: Self = Self { tcr: Tcr::INITIAL, ttbr0: 0 };

    /// The current ASID.
    pub const fn asid(&self) -> u16 {
        (self.ttbr0 >> 48) as u16 & self.tcr.asid_mask()
    }

    /// The tree of the lower half; `None` where none is walked.
    pub const fn user(&self) -> Option<Tree> {
        if self.tcr.forbids_walks(Half::Lower) {
            return None;
        }
        Some(Tree::User(self.ttbr0_root()))
    }

    /// The root of the lower half.
    pub const fn ttbr0_root(&self) -> PhysAddr {
        PhysAddr::new(self.ttbr0 & 0x0000_ffff_ffff_f000)
    }

    /// Returns whether a walk with these registers may be one of `tree`.
    pub fn walks(&self, tree: Tree) -> bool {
        match tree {
            Tree::Kernel => true,
            Tree::User(_) => self.user() == Some(tree),
        }
    }

    /// The half and the address that are translated for an access to `va`; `None` where the
    /// registers allow none.
    pub fn input(&self, mode: Mode, va: VirtAddr) -> Option<(Half, VirtAddr)> {
        let (half, va) = self.locate(va)?;
        let kept_off = mode != Mode::El1 && self.tcr.keeps_el0_off(half);
        (!kept_off).then_some((half, va))
    }

    /// The half that `va` lies in, and `va` without a tag (Arm ARM D8.2.1).
    pub fn locate(&self, va: VirtAddr) -> Option<(Half, VirtAddr)> {
        const TOP_BYTE: usize = 0xff << 56;
        let upper = va.get() >> 55 & 1 != 0;
        let half = if upper { Half::Upper } else { Half::Lower };
        let va = match (self.tcr.ignores_top_byte(half), half) {
            (true, Half::Lower) => VirtAddr::new(va.get() & !TOP_BYTE),
            (true, Half::Upper) => VirtAddr::new(va.get() | TOP_BYTE),
            (false, _) => va,
        };
        let inside = match half {
            Half::Lower => va.get() >> (64 - self.tcr.t0sz()) == 0,
            Half::Upper => va >= UPPER_HALF,
        };
        inside.then_some((half, va))
    }

    /// The level at which a walk of the half starts (Arm ARM D8.2.8).
    pub const fn start_level(&self, half: Half) -> Level {
        match (half, 64 - self.tcr.t0sz()) {
            (Half::Upper, _) | (_, 40..) => Level::Pgd,
            (_, 31..) => Level::Pud,
            _ => Level::Pmd,
        }
    }
}
