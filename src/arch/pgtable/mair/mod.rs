//! Memory types and the register that says what they mean (Arm ARM D24.2.111 MAIR_EL1).
//!
//! A descriptor holds an index into the eight attribute fields of `MAIR_EL1`;
//! [`MemoryType`] is that index, and [`MAIR_EL1`] the register's one value.
#![deny(unsafe_code)]

#[cfg(test)]
mod tests;

/// Memory type of a mapping: the `AttrIndx` of its descriptors.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum MemoryType {
    /// RAM: Normal, write-back, read and write allocate, inner and outer.
    Normal = 0,
    /// RAM shared with devices that don't snoop; write combining (Linux: `ioremap_wc`).
    NormalNc = 1,
    /// Normal, write-through, read and write allocate, inner and outer.
    NormalWt = 2,
    /// Device-nGnRE: no gathering, no reordering, early acknowledgement (Linux: `ioremap`).
    DeviceNgnre = 3,
    /// Device-nGnRnE: no early acknowledgement either (Linux: `ioremap_np`).
    DeviceNgnrne = 4,
    /// Device-GRE: the weakest kind of device memory.
    DeviceGre = 5,
}

impl MemoryType {
    /// All of them, in the order of their indices.
    pub const ALL: [Self; 6] = [
        Self::Normal,
        Self::NormalNc,
        Self::NormalWt,
        Self::DeviceNgnre,
        Self::DeviceNgnrne,
        Self::DeviceGre,
    ];

    /// The type with this `AttrIndx`; the two that [`MAIR_EL1`] leaves at zero are
    /// Device-nGnRnE, which is what zero means.
    #[must_use]
    pub const fn from_index(index: u8) -> Self {
        match index & 7 {
            0 => Self::Normal,
            1 => Self::NormalNc,
            2 => Self::NormalWt,
            3 => Self::DeviceNgnre,
            5 => Self::DeviceGre,
            _ => Self::DeviceNgnrne,
        }
    }

    /// Returns the `AttrIndx`.
    #[must_use]
    pub const fn index(self) -> u8 {
        self as u8
    }

    /// Returns the `Attr` field: `0b0000dd00` for Device, outer and inner nibbles for Normal.
    #[must_use]
    pub const fn attr(self) -> u8 {
        match self {
            Self::Normal => 0xff,
            Self::NormalNc => 0x44,
            Self::NormalWt => 0xbb,
            Self::DeviceNgnre => 0x04,
            Self::DeviceNgnrne => 0x00,
            Self::DeviceGre => 0x0c,
        }
    }

    /// Returns whether accesses have side effects: never speculated, never unaligned.
    #[must_use]
    pub const fn is_device(self) -> bool {
        matches!(self, Self::DeviceNgnre | Self::DeviceNgnrne | Self::DeviceGre)
    }

    /// Returns whether data caches may hold it.
    #[must_use]
    pub const fn is_cacheable(self) -> bool {
        matches!(self, Self::Normal | Self::NormalWt)
    }
}

/// The value of `MAIR_EL1`.
pub const MAIR_EL1: u64 = {
    let mut mair = 0;
    let mut i = 0;
    while i < MemoryType::ALL.len() {
        let memory = MemoryType::ALL[i];
        mair |= (memory.attr() as u64) << (8 * memory.index());
        i += 1;
    }
    mair
};
