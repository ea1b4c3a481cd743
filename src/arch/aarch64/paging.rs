//! Changes of the translation tables as a whole (Arm ARM D8.17).

use super::features::{self, Features};
use super::sysreg::{dsb_nsh, isb, tlbi_vmalle1};
use super::{image, mmu};
use crate::addr::{PhysAddr, VirtAddr};
use aarch64_cpu::registers::{
    ReadWriteable, Readable, SCTLR_EL1, TCR_EL1, TTBR0_EL1, TTBR1_EL1, Writeable,
};
use core::arch::asm;

/// A table without an entry.
#[repr(align(4096))]
pub(super) struct EmptyTable {
    _words: [u64; 512],
}

/// Tables that map nothing.
pub(super) static RESERVED_PG_DIR: EmptyTable = EmptyTable { _words: [0; 512] };

core::arch::global_asm!(
    ".section .idmap.text, \"ax\"",
    ".global replace_ttbr1",
    "replace_ttbr1:", // x0 = the new tables, x1 = the empty one
    "msr ttbr1_el1, x1",
    "isb",
    "tlbi vmalle1",
    "dsb nsh",
    "isb",
    "msr ttbr1_el1, x0",
    "isb",
    "ret",
);

unsafe extern "C" {
    static replace_ttbr1: u8;
}

/// Makes `pgd` the tables of the upper half. Old and new may map the same address
/// with different block sizes, so there is a moment with neither: the switch runs in
/// the identity map (Linux: cpu_replace_ttbr1).
///
/// # Safety
/// `pgd` maps all that the kernel uses, alike but for block sizes and permissions;
/// the identity map is still there; interrupts are masked.
pub(crate) unsafe fn switch_ttbr1(pgd: PhysAddr) {
    let code = image::phys(VirtAddr::from_ptr(&raw const replace_ttbr1));
    let empty = image::phys(VirtAddr::from_ptr(&raw const RESERVED_PG_DIR));
    // All CPUs use these tables, so they may share what they know of them.
    let cnp = u64::from(features::features().contains(Features::CNP));
    mmu::dsb_ishst();
    // SAFETY: as the caller says; the code touches no memory while nothing is mapped.
    unsafe {
        asm!(
            "blr {code}",
            code = in(reg) code.get(),
            in("x0") pgd.get() | cnp,
            in("x1") empty.get(),
            out("x30") _,
            options(nostack)
        );
    }
}

/// Stops walks of the lower half: the identity map has served. Nothing of the kernel
/// lies there until processes come.
pub(crate) fn drop_identity_map() {
    // The kernel runs in the upper half by now; EPD0 makes each access to the lower half a fault,
    // and the TLB forgets what it knew of it.
    TCR_EL1.modify(TCR_EL1::EPD0::DisableTTBR0Walks);
    TTBR0_EL1.set(0);
    isb();
    forget_translations();
}

/// Drops this CPU's translations, once what changes them is in place.
fn forget_translations() {
    tlbi_vmalle1();
    dsb_nsh();
    isb();
}

/// Has the MMU take all that may be written for not executable, whatever its descriptor says
/// (SCTLR_EL1.WXN). On the final tables: the first ones map the image as it was loaded. Other CPUs
/// take SCTLR_EL1 over from this one.
pub(crate) fn forbid_writable_code() {
    // Nothing that runs is mapped to be written any more; TLBs may hold what WXN was.
    SCTLR_EL1.modify(SCTLR_EL1::WXN::Enable);
    isb();
    forget_translations();
}

/// TCR_EL1 as it is.
#[must_use]
pub fn tcr() -> u64 {
    TCR_EL1.get()
}

/// SCTLR_EL1 as it is.
#[must_use]
pub fn sctlr() -> u64 {
    SCTLR_EL1.get()
}

/// TTBR1_EL1 as it is.
#[must_use]
pub fn ttbr1() -> u64 {
    TTBR1_EL1.get()
}
