//! Rights to memory: those of a leaf, and what tables above it leave of them (Arm ARM D8.4).
#![deny(unsafe_code)]

use super::Access;

/// Privilege of an access.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// The kernel's own.
    El1,
    /// The kernel's by LDTR, STTR and their kin: EL0's rights, and PAN doesn't matter.
    Unprivileged,
    /// A program's. The CPU has come to EL0 by an exception return, which synchronizes its
    /// context as an `isb` does.
    El0,
}

const AP_EL0: u64 = 1 << 6;
pub(super) const AP_RDONLY: u64 = 1 << 7;
const PXN: u64 = 1 << 53;
const UXN: u64 = 1 << 54;

/// Limits that the table descriptors on the way set for the leaves below them.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Limits {
    no_el0: bool,
    read_only: bool,
    uxn: bool,
    pxn: bool,
}

impl Limits {
    /// Adds the limits of a table descriptor below: APTable (bits 62:61), UXNTable (60),
    /// PXNTable (59).
    pub const fn and(self, table: u64) -> Self {
        Self {
            no_el0: self.no_el0 || table >> 61 & 1 != 0,
            read_only: self.read_only || table >> 62 & 1 != 0,
            uxn: self.uxn || table >> 60 & 1 != 0,
            pxn: self.pxn || table >> 59 & 1 != 0,
        }
    }

    /// The leaf's bits with the limits worked in.
    const fn apply(self, mut leaf: u64) -> u64 {
        if self.no_el0 {
            leaf &= !AP_EL0;
        }
        if self.read_only {
            leaf |= AP_RDONLY;
        }
        if self.uxn {
            leaf |= UXN;
        }
        if self.pxn {
            leaf |= PXN;
        }
        leaf
    }
}

/// Rights to a leaf.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Rights {
    el0: bool,
    read_only: bool,
    uxn: bool,
    pub pxn: bool,
}

impl Rights {
    /// The rights that the bits of a leaf give within `limits`.
    pub const fn new(leaf: u64, limits: Limits) -> Self {
        let bits = limits.apply(leaf);
        Self {
            el0: bits & AP_EL0 != 0,
            read_only: bits & AP_RDONLY != 0,
            uxn: bits & UXN != 0,
            pxn: bits & PXN != 0,
        }
    }

    /// Returns whether an access is allowed, with PSTATE.PAN as `pan` says. WXN and EPAN are off.
    pub const fn allow(self, mode: Mode, pan: bool, access: Access) -> bool {
        match (mode, access) {
            (Mode::El1, Access::Read) => !(pan && self.el0),
            (Mode::El1, Access::Write) => !(self.read_only || pan && self.el0),
            // What EL0 may write, EL1 doesn't execute.
            (Mode::El1, Access::Exec) => !(self.pxn || self.el0 && !self.read_only),
            (_, Access::Read) => self.el0,
            (_, Access::Write) => self.el0 && !self.read_only,
            (Mode::El0, Access::Exec) => !self.uxn,
            (Mode::Unprivileged, Access::Exec) => panic!("no instruction fetches as EL0 does"),
        }
    }
}
