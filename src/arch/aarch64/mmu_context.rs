//! The tables of the lower half that a CPU has, and under which ASID (Linux:
//! arch/arm64/include/asm/mmu_context.h).
//!
//! At first no CPU walks the lower half (`TCR_EL1.EPD0`), since the kernel has nothing there. A CPU
//! that is to run users opens it, with tables that map nothing.

use super::features::{self, Features};
use super::sysreg::SCTLR;
use super::{cpu, image, mmu, paging, tls};
use crate::addr::{PhysAddr, VirtAddr};
use crate::arch::asid::{Asid, Ttbr0};
use crate::arch::{CpuId, IrqMasked};
use aarch64_cpu::registers::{
    CNTKCTL_EL1, ReadWriteable, Readable, SCTLR_EL1, TCR_EL1, TTBR0_EL1, Writeable,
};

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
}

/// The steps of this CPU from one context to another.
pub struct ThisCpu<'a>(&'a IrqMasked);

impl<'a> ThisCpu<'a> {
    /// Has this CPU walk the lower half from now on: tables that map nothing, at first. EL0 may
    /// use cache maintenance by address, DC ZVA, CTR_EL0, WFE and WFI, and CNTVCT_EL0, and has to
    /// keep its stack pointer aligned.
    #[must_use]
    pub fn open(irq: &'a IrqMasked) -> Self {
        let this = Self(irq);
        if TCR_EL1.is_set(TCR_EL1::EPD0) {
            // Nothing is mapped in the lower half; the TLB forgets that it isn't walked.
            this.set_reserved();
            TCR_EL1.modify(TCR_EL1::EPD0::EnableTTBR0Walks);
            // Linux: INIT_SCTLR_EL1_MMU_ON.
            SCTLR_EL1.modify(
                SCTLR_EL1::UCI::DontTrap
                    + SCTLR_EL1::NTWE::DontTrap
                    + SCTLR_EL1::NTWI::DontTrap
                    + SCTLR_EL1::UCT::DontTrap
                    + SCTLR_EL1::DZE::DontTrap
                    + SCTLR_EL1::SA0::Enable,
            );
            // The virtual counter alone (Linux: arch_counter_set_user_access).
            CNTKCTL_EL1.write(CNTKCTL_EL1::EL0VCTEN::TrappedNone);
            if tls::has_tpidr2() {
                SCTLR_EL1.set(SCTLR::EnTP2::SET.modify(SCTLR_EL1.get()));
            }
            mmu::isb();
            this.local_flush_tlb_all();
        }
        this
    }

    fn set_ttbr0(&self, pgd: PhysAddr, asid: Asid) {
        let cnp = u64::from(self.has_cnp());
        let ttbr0 = pgd.get() | u64::from(asid.get()) << 48 | cnp;
        // `UserRoot` answers for the tables, and the ASID for what TLBs hold.
        TTBR0_EL1.set(ttbr0);
        mmu::isb();
    }
}

impl Ttbr0 for ThisCpu<'_> {
    type Root = UserRoot;

    fn cpu(&self) -> CpuId {
        cpu::id(self.0)
    }

    fn has_cnp(&self) -> bool {
        features::features().contains(Features::CNP)
    }

    fn set_reserved(&self) {
        let empty = image::phys(VirtAddr::from_ptr(&raw const paging::RESERVED_PG_DIR));
        self.set_ttbr0(empty, Asid::RESERVED);
    }

    fn dsb_ish(&self) {
        mmu::dsb_ish();
    }

    fn local_flush_tlb_all(&self) {
        mmu::tlbi_vmalle1();
        mmu::dsb_nsh();
        mmu::isb();
    }

    fn switch_mm(&self, root: UserRoot, asid: Asid) {
        self.set_ttbr0(root.0, asid);
    }
}
