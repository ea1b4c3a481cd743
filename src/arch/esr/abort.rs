//! Instruction aborts and data aborts (Arm ARM D24.2.40, ISS encodings for exceptions from
//! instruction and data aborts).

use core::fmt;

/// An access that was aborted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Abort {
    /// The reason.
    pub status: FaultStatus,
    /// The access was a store. Cache operations count as loads, as their rights are those of
    /// loads (Linux: is_write_abort).
    pub is_write: bool,
    /// FAR_EL1 holds the address.
    pub has_address: bool,
}

/// The reason why an access was aborted (Arm ARM: DFSC and IFSC). Levels are those of the
/// translation table walk, from -1 to 3.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FaultStatus {
    /// An entry or a table base leads beyond the physical addresses in use.
    AddressSize(i8),
    /// There is no translation.
    Translation(i8),
    /// The access flag is clear.
    AccessFlag(i8),
    /// The translation doesn't permit the access.
    Permission(i8),
    /// The memory system answered with an error.
    External,
    /// The memory system answered a read of a table with an error.
    ExternalOnWalk(i8),
    /// The tag of the address isn't that of the memory (FEAT_MTE2).
    TagCheck,
    /// Memory has a parity or ECC error.
    Parity,
    /// A table has a parity or ECC error.
    ParityOnWalk(i8),
    /// The address is no multiple of the size of the access.
    Alignment,
    /// The granule protection check failed (FEAT_RME), on a walk where there is a level.
    GranuleProtection(Option<i8>),
    /// The TLB has several translations of the address.
    TlbConflict,
    /// A hardware update of the access flag or the dirty state that memory doesn't support.
    UnsupportedAtomicUpdate,
    /// An exclusive or an atomic to memory that doesn't support it.
    UnsupportedAtomic,
    /// Reserved or implementation defined, by number.
    Other(u8),
}

impl Abort {
    /// The abort of a syndrome of that class.
    pub(super) fn new(esr: u64) -> Self {
        let bit = |n: u32| esr >> n & 1 != 0;
        let (wnr, cm, fnv) = (bit(6), bit(8), bit(10));
        let status = FaultStatus::new((esr & 0x3f) as u8);
        // FnV has a meaning for external aborts alone.
        let has_address = !(fnv && matches!(status, FaultStatus::External));
        Self { status, is_write: wnr && !cm, has_address }
    }

    /// The same of an instruction abort, whose syndrome has no WnR.
    pub(super) fn of_fetch(self) -> Self {
        Self { is_write: false, ..self }
    }
}

impl FaultStatus {
    fn new(code: u8) -> Self {
        let level = (code & 3) as i8;
        match code {
            0x00..=0x03 => Self::AddressSize(level),
            0x04..=0x07 => Self::Translation(level),
            0x08..=0x0b => Self::AccessFlag(level),
            0x0c..=0x0f => Self::Permission(level),
            0x10 => Self::External,
            0x11 => Self::TagCheck,
            0x13 => Self::ExternalOnWalk(-1),
            0x14..=0x17 => Self::ExternalOnWalk(level),
            0x18 => Self::Parity,
            0x1b => Self::ParityOnWalk(-1),
            0x1c..=0x1f => Self::ParityOnWalk(level),
            0x21 => Self::Alignment,
            0x23 => Self::GranuleProtection(Some(-1)),
            0x24..=0x27 => Self::GranuleProtection(Some(level)),
            0x28 => Self::GranuleProtection(None),
            0x29 => Self::AddressSize(-1),
            0x2b => Self::Translation(-1),
            0x30 => Self::TlbConflict,
            0x31 => Self::UnsupportedAtomicUpdate,
            0x35 => Self::UnsupportedAtomic,
            _ => Self::Other(code),
        }
    }

    /// The level of the walk at which the access failed, if that is known.
    fn level(self) -> Option<i8> {
        match self {
            Self::AddressSize(level)
            | Self::Translation(level)
            | Self::AccessFlag(level)
            | Self::Permission(level)
            | Self::ExternalOnWalk(level)
            | Self::ParityOnWalk(level) => Some(level),
            Self::GranuleProtection(level) => level,
            _ => None,
        }
    }
}

impl fmt::Display for Abort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.status {
            FaultStatus::AddressSize(_) => "address size fault",
            FaultStatus::Translation(_) => "translation fault",
            FaultStatus::AccessFlag(_) => "access flag fault",
            FaultStatus::Permission(_) => "permission fault",
            FaultStatus::External => "synchronous external abort",
            FaultStatus::ExternalOnWalk(_) => "external abort on a table walk",
            FaultStatus::TagCheck => "tag check fault",
            FaultStatus::Parity => "parity or ECC error",
            FaultStatus::ParityOnWalk(_) => "parity or ECC error on a table walk",
            FaultStatus::Alignment => "alignment fault",
            FaultStatus::GranuleProtection(_) => "granule protection fault",
            FaultStatus::TlbConflict => "TLB conflict",
            FaultStatus::UnsupportedAtomicUpdate => "unsupported atomic hardware update",
            FaultStatus::UnsupportedAtomic => "unsupported exclusive or atomic",
            FaultStatus::Other(_) => "other fault",
        })?;
        match self.status.level() {
            Some(level) => write!(f, ", level {level}"),
            None => Ok(()),
        }
    }
}
