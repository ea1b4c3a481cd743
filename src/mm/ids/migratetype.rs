//! Migratetypes: what the pages of a pageblock have in common (Linux: enum migratetype).

use core::fmt;

/// Mobility of a pageblock's pages in use. Free blocks of each kind have lists of their own, so
/// that pages that can't be moved do not scatter over all of memory.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Migratetype {
    /// Pages stay where they are.
    Unmovable,
    /// Their owners can move them.
    Movable,
    /// Pages can be reclaimed.
    Reclaimable,
    /// A reserve of large blocks for allocations that can't wait.
    HighAtomic,
    /// A CMA area's, lent to movable allocations.
    Cma,
    /// No page is allocated here: the block is being emptied.
    Isolate,
}

impl Migratetype {
    /// Number of migratetypes.
    pub const COUNT: usize = 6;
    /// Number of migratetypes that allocations ask for, and per-CPU lists hold (Linux:
    /// MIGRATE_PCPTYPES).
    pub const PCPTYPES: usize = 3;
    /// All of them.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Unmovable,
        Self::Movable,
        Self::Reclaimable,
        Self::HighAtomic,
        Self::Cma,
        Self::Isolate,
    ];

    /// The migratetype in the low bits of `bits`.
    #[inline]
    #[must_use]
    pub const fn from_bits(bits: u8) -> Self {
        match bits & 7 {
            0 => Self::Unmovable,
            1 => Self::Movable,
            2 => Self::Reclaimable,
            3 => Self::HighAtomic,
            4 => Self::Cma,
            _ => Self::Isolate,
        }
    }
    /// The migratetype on whose per-CPU lists pages of such a pageblock are kept. Pageblocks
    /// that are lent or reserved get their pages back when the list spills; pages of one
    /// that is being emptied are on no list.
    #[must_use]
    pub(in crate::mm) const fn pcp_migratetype(self) -> Option<Self> {
        match self {
            Self::Isolate => None,
            Self::Cma | Self::HighAtomic => Some(Self::Movable),
            mt => Some(mt),
        }
    }
    /// Returns the index in tables of [`Migratetype::COUNT`] entries.
    #[inline]
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
    /// Returns the migratetypes whose blocks may be taken when this one has none, best first
    /// (Linux: fallbacks).
    #[must_use]
    pub const fn fallbacks(self) -> &'static [Self] {
        match self {
            Self::Unmovable => &[Self::Reclaimable, Self::Movable],
            Self::Movable => &[Self::Reclaimable, Self::Unmovable],
            Self::Reclaimable => &[Self::Unmovable, Self::Movable],
            _ => &[],
        }
    }
    /// Returns whether blocks of it may merge with those of another such kind (Linux:
    /// migratetype_is_mergeable).
    #[inline]
    #[must_use]
    pub const fn is_mergeable(self) -> bool {
        (self as usize) < Self::PCPTYPES
    }
    /// Returns the name that Linux prints in /proc/pagetypeinfo.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unmovable => "Unmovable",
            Self::Movable => "Movable",
            Self::Reclaimable => "Reclaimable",
            Self::HighAtomic => "HighAtomic",
            Self::Cma => "CMA",
            Self::Isolate => "Isolate",
        }
    }
}

impl fmt::Display for Migratetype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
