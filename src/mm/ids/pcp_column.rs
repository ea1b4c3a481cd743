//! Columns of the per-CPU page lists, and the bytes of a pageblock that say which one its pages
//! go to.

use super::{Migratetype, ZoneId};

/// A zone and one of the migratetypes that per-CPU lists are of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::mm) struct PcpColumn(u8);

impl PcpColumn {
    /// Columns of a zone; a power of two.
    pub(in crate::mm) const PER_ZONE: usize = 4;
    /// Number of columns.
    pub(in crate::mm) const COUNT: usize = ZoneId::COUNT * Self::PER_ZONE;

    /// The column where a CPU keeps pages of `zone` for allocations of `mt`, or of pageblocks
    /// of `mt`; `None` where those go straight to the zone.
    pub(in crate::mm) const fn new(zone: ZoneId, mt: Migratetype) -> Option<Self> {
        match mt.pcp_migratetype() {
            Some(mt) => Some(Self((zone.index() * Self::PER_ZONE + mt.index()) as u8)),
            None => None,
        }
    }

    /// Returns the index, below [`PcpColumn::COUNT`].
    #[inline(always)]
    pub(in crate::mm) const fn index(self) -> usize {
        // SAFETY: `new` makes no other, and `from_byte` gives back what it made.
        unsafe { core::hint::assert_unchecked((self.0 as usize) < Self::COUNT) };
        self.0 as usize
    }
}

const _: () = assert!(Migratetype::PCPTYPES <= PcpColumn::PER_ZONE);

/// No column: the sign, so that it takes one instruction to see.
const NO_COLUMN: u8 = 1 << 7;
const _: () = assert!(PcpColumn::COUNT <= NO_COLUMN as usize);

impl PcpColumn {
    /// The byte that says `column`.
    #[inline(always)]
    pub(in crate::mm) const fn to_byte(column: Option<Self>) -> u8 {
        match column {
            Some(column) => column.0,
            None => NO_COLUMN,
        }
    }

    /// The column that `byte` says.
    ///
    /// # Safety
    /// It came from [`to_byte`](Self::to_byte), or is 0, which is the first column.
    #[inline(always)]
    pub(in crate::mm) const unsafe fn from_byte(byte: u8) -> Option<Self> {
        if byte & NO_COLUMN == 0 { Some(Self(byte)) } else { None }
    }
}
