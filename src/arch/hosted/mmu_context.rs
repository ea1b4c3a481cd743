//! The root of tables of the lower half. Tests install it by
//! [`write_ttbr0`](super::mmu::write_ttbr0).

use crate::addr::PhysAddr;

/// The root of tables of the lower half, in a form that can be installed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UserRoot(PhysAddr);

impl UserRoot {
    /// The tables at `pgd`, a whole page.
    ///
    /// # Safety
    /// They map for EL0 only frames that are the user's, and stay there while a CPU may walk them.
    /// EL1 may execute nothing that they map.
    #[must_use]
    pub unsafe fn new(pgd: PhysAddr) -> Self {
        assert!(pgd.is_aligned(crate::addr::PAGE_SIZE as u64), "tables at {pgd}");
        Self(pgd)
    }

    /// Address of the PGD.
    #[must_use]
    pub const fn phys(self) -> PhysAddr {
        self.0
    }
}
