//! Columns of the per-CPU page lists, and the bytes of a pageblock that say which one its pages
//! go to.
//!
//! Columns are given to a zone when it gets memory. There are enough for [`PcpColumn::ZONES`]
//! zones, more than sixteen nodes with movable memory on each have. Where there are still more, the
//! last ones share columns whose lists stay empty, and their pages go straight to the zone.

use super::{Migratetype, ZoneId};
use crate::machine_local;
use core::sync::atomic::{AtomicU8, Ordering::Relaxed};

/// A zone and one of the migratetypes that per-CPU lists are of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::mm) struct PcpColumn(u8);

machine_local! {
    /// The first column of each zone.
    static FIRST: [AtomicU8; ZoneId::COUNT] = [const { AtomicU8::new(NONE) }; ZoneId::COUNT];
    /// Zones that have columns.
    static ZONES: AtomicU8 = AtomicU8::new(0);
}

/// First of the columns whose lists stay empty.
const NONE: u8 = (PcpColumn::ZONES * PcpColumn::PER_ZONE) as u8;
const _: () = assert!(NONE as usize + PcpColumn::PER_ZONE <= PcpColumn::COUNT);

impl PcpColumn {
    /// Columns of a zone.
    pub(in crate::mm) const PER_ZONE: usize = Migratetype::PCPTYPES;
    /// Number of columns.
    pub(in crate::mm) const COUNT: usize = 128;
    /// Zones that can have columns of their own.
    pub(in crate::mm) const ZONES: usize = Self::COUNT / Self::PER_ZONE - 1;

    /// Gives `zone` columns, if it has none and there are some left. At boot, before its
    /// pageblocks come up.
    pub(in crate::mm) fn assign(zone: ZoneId) {
        let (first, zones) = (&FIRST[zone.index()], ZONES.load(Relaxed));
        if first.load(Relaxed) == NONE && usize::from(zones) < Self::ZONES {
            first.store(zones * Self::PER_ZONE as u8, Relaxed);
            ZONES.store(zones + 1, Relaxed);
        }
    }

    /// The column where a CPU keeps pages of `zone` for allocations of `mt`, or of pageblocks
    /// of `mt`; `None` where those go straight to the zone.
    #[inline]
    pub(in crate::mm) fn new(zone: ZoneId, mt: Migratetype) -> Option<Self> {
        let mt = mt.pcp_migratetype()?;
        match FIRST[zone.index()].load(Relaxed) {
            NONE => None,
            first => Some(Self(first + mt.index() as u8)),
        }
    }

    /// The index of the first of [`PcpColumn::PER_ZONE`] columns of `zone`, or of those whose
    /// lists stay empty.
    #[inline(always)]
    pub(in crate::mm) fn first_of(zone: ZoneId) -> usize {
        let first = FIRST[zone.index()].load(Relaxed);
        // SAFETY: `assign` stores no other.
        unsafe { core::hint::assert_unchecked(first <= NONE) };
        first.into()
    }

    /// Returns the index, below [`PcpColumn::COUNT`].
    #[inline(always)]
    pub(in crate::mm) const fn index(self) -> usize {
        // SAFETY: `new` makes no other, and `from_byte` gives back what it made.
        unsafe { core::hint::assert_unchecked((self.0 as usize) < Self::COUNT) };
        self.0 as usize
    }
}

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
