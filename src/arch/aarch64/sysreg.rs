//! System registers and system instructions that `aarch64-cpu` lacks, and accesses that its way
//! would break (Linux: arch/arm64/include/asm/sysreg.h). All others go through that crate.
//!
//! The crate's accesses are `asm!` with `nomem`. The compiler keeps the order of two pieces of
//! assembly, but may move an access to memory over one with `nomem`. That is right for registers
//! that say what a CPU is, and for those that take effect at a barrier behind them: the barriers
//! below are without `nomem`. It is wrong for masking interrupts, for counters and for the GIC's
//! CPU interface, so these are here, without.

use crate::addr::PAGE_SIZE;
use core::arch::asm;
use tock_registers::interfaces::{Readable, Writeable};
use tock_registers::register_bitfields;

/// Declares a system register by its name in assembly, as a constant with the traits of
/// tock-registers. `id`: reads have no effect and may be moved. `read` and `write`: accesses to
/// memory before and behind stay there.
macro_rules! system_register {
    ($(#[$doc:meta])* $name:ident, $asm:literal, $fields:ty, $($way:ident)+) => {
        $(#[$doc])*
        pub(crate) const $name: reg::$name = reg::$name;
        $(system_register!(@$way $name, $asm, $fields);)+
    };
    (@id $name:ident, $asm:literal, $fields:ty) => {
        system_register!(@get $name, $asm, $fields, options(nomem, nostack, preserves_flags));
    };
    (@read $name:ident, $asm:literal, $fields:ty) => {
        system_register!(@get $name, $asm, $fields, options(nostack, preserves_flags));
    };
    (@get $name:ident, $asm:literal, $fields:ty, $options:ident ($($option:ident),+)) => {
        impl Readable for reg::$name {
            type T = u64;
            type R = $fields;

            #[inline(always)]
            fn get(&self) -> u64 {
                let value;
                // SAFETY: reads a system register, which changes no memory.
                unsafe { asm!(concat!("mrs {}, ", $asm), out(reg) value, $options($($option),+)) };
                value
            }
        }
    };
    (@write $name:ident, $asm:literal, $fields:ty) => {
        impl Writeable for reg::$name {
            type T = u64;
            type R = $fields;

            #[inline(always)]
            fn set(&self, value: u64) {
                // SAFETY: none of these registers has a say in what memory is or who may use it.
                unsafe {
                    asm!(concat!("msr ", $asm, ", {}"), in(reg) value,
                        options(nostack, preserves_flags));
                }
            }
        }
    };
}

/// The types of the registers below.
mod reg {
    macro_rules! types {
        ($($name:ident)+) => { $(#[allow(non_camel_case_types)] pub(crate) struct $name;)+ };
    }
    types!(TPIDR2_EL0 CTR_EL0 DCZID_EL0 PMCEID0_EL0 PMCR_EL0 PMEVTYPER0_EL0 PMCNTENSET_EL0);
    types!(ICC_PMR_EL1 ICC_IAR1_EL1 ICC_EOIR1_EL1 ICC_SGI1R_EL1 ICC_CTLR_EL1 ICC_SRE_EL1);
    types!(ICC_IGRPEN1_EL1 ICC_AP1R0_EL1 ICC_AP1R1_EL1 ICC_AP1R2_EL1 ICC_AP1R3_EL1);
}

register_bitfields! { u64,
    pub(crate) CTR [
        /// Instruction caches need no invalidation.
        DIC OFFSET(29) NUMBITS(1) [],
        /// Data caches need no cleaning for instruction fetches to see what was stored.
        IDC OFFSET(28) NUMBITS(1) [],
        /// log2 of the words of the smallest line of the instruction caches.
        IminLine OFFSET(0) NUMBITS(4) [],
        /// log2 of the words that a write-back takes along at most; 0 where it is not told.
        CWG OFFSET(24) NUMBITS(4) [],
        /// log2 of the words of the smallest line of the data caches.
        DminLine OFFSET(16) NUMBITS(4) [],
    ],
    pub(crate) DCZID [
        /// DC ZVA is forbidden.
        DZP OFFSET(4) NUMBITS(1) [],
        /// log2 of the words that DC ZVA zeroes.
        BS OFFSET(0) NUMBITS(4) [],
    ],
    pub(crate) PMCR [
        /// The event counters that there are.
        N OFFSET(11) NUMBITS(5) [],
    ],
    pub(crate) ICC_CTLR [
        /// Bits of a priority, less one.
        PRIbits OFFSET(8) NUMBITS(3) [],
    ],
    pub(crate) ICC_SRE [
        /// The interface is in system registers.
        SRE OFFSET(0) NUMBITS(1) [],
    ],
    pub(crate) ICC_IGRPEN [
        Enable OFFSET(0) NUMBITS(1) [],
    ],
    pub(crate) ICC_IAR [
        INTID OFFSET(0) NUMBITS(24) [],
    ],
    pub(crate) ICC_SGIR [
        Aff3 OFFSET(48) NUMBITS(8) [],
        /// Upper half of Aff0 of the CPUs in the target list.
        RS OFFSET(44) NUMBITS(4) [],
        Aff2 OFFSET(32) NUMBITS(8) [],
        INTID OFFSET(24) NUMBITS(4) [],
        Aff1 OFFSET(16) NUMBITS(8) [],
        TargetList OFFSET(0) NUMBITS(16) [],
    ],
    // Fields that the crate's registers of these names lack.
    pub(crate) ID_AA64PFR0 [
        GIC OFFSET(24) NUMBITS(4) [],
    ],
    pub(crate) ID_AA64PFR1 [
        SME OFFSET(24) NUMBITS(4) [],
        BT OFFSET(0) NUMBITS(4) [],
    ],
    pub(crate) SCTLR [
        /// EL0 may use TPIDR2_EL0.
        EnTP2 OFFSET(60) NUMBITS(1) [],
        /// Exceptions leave PSTATE.PAN as it is.
        SPAN OFFSET(23) NUMBITS(1) [],
    ],
}

// Of FEAT_SME, by number: the target has no such CPU.
system_register!(TPIDR2_EL0, "S3_3_C13_C0_5", (), read write);
system_register!(CTR_EL0, "ctr_el0", CTR::Register, id);
system_register!(DCZID_EL0, "dczid_el0", DCZID::Register, id);
system_register!(PMCEID0_EL0, "pmceid0_el0", (), id);
system_register!(PMCR_EL0, "pmcr_el0", PMCR::Register, id);
system_register!(PMEVTYPER0_EL0, "pmevtyper0_el0", (), read write);
system_register!(PMCNTENSET_EL0, "pmcntenset_el0", (), read write);
// The CPU interface of a GICv3 (Arm IHI 0069, 12.2), by number: the target has no such CPU.
system_register!(ICC_PMR_EL1, "S3_0_C4_C6_0", (), write);
system_register!(ICC_IAR1_EL1, "S3_0_C12_C12_0", ICC_IAR::Register, read);
system_register!(ICC_EOIR1_EL1, "S3_0_C12_C12_1", ICC_IAR::Register, write);
system_register!(ICC_SGI1R_EL1, "S3_0_C12_C11_5", ICC_SGIR::Register, write);
system_register!(ICC_CTLR_EL1, "S3_0_C12_C12_4", ICC_CTLR::Register, read write);
system_register!(ICC_SRE_EL1, "S3_0_C12_C12_5", ICC_SRE::Register, read write);
system_register!(ICC_IGRPEN1_EL1, "S3_0_C12_C12_7", ICC_IGRPEN::Register, write);
system_register!(ICC_AP1R0_EL1, "S3_0_C12_C9_0", (), write);
system_register!(ICC_AP1R1_EL1, "S3_0_C12_C9_1", (), write);
system_register!(ICC_AP1R2_EL1, "S3_0_C12_C9_2", (), write);
system_register!(ICC_AP1R3_EL1, "S3_0_C12_C9_3", (), write);

/// Declares functions of one instruction that nothing may be moved over.
macro_rules! instructions {
    ($($(#[$doc:meta])* $name:ident, $asm:literal;)+) => {
        $($(#[$doc])*
        #[inline(always)]
        pub fn $name() {
            // SAFETY: orders memory accesses, or drops what is cached of translations or of
            // instructions, which is harmless at any time.
            unsafe { asm!($asm, options(nostack, preserves_flags)) }
        })+
    };
}

instructions! {
    /// Earlier stores are visible to all CPUs of the inner shareable domain, their
    /// table walkers included.
    dsb_ishst, "dsb ishst";
    /// Earlier accesses and maintenance are complete on all CPUs of the inner shareable domain.
    dsb_ish, "dsb ish";
    /// Earlier accesses and local TLB invalidations are complete for this CPU.
    dsb_nsh, "dsb nsh";
    /// Earlier accesses and maintenance are complete for the whole system.
    dsb_sy, "dsb sy";
    /// Earlier accesses come before later ones, for the whole system.
    dmb_sy, "dmb sy";
    /// Earlier loads come before later accesses, for the inner shareable domain.
    dmb_ishld, "dmb ishld";
    /// Synchronizes the context: later instructions are fetched and translated anew.
    isb, "isb";
    /// Drops all EL1&0 translations on all CPUs.
    tlbi_vmalle1is, "tlbi vmalle1is";
    /// Drops all EL1&0 translations on this CPU.
    tlbi_vmalle1, "tlbi vmalle1";
    /// Drops what is cached of address 0, of ASID 0, at the last level, on all CPUs.
    tlbi_vale1is_zero, "tlbi vale1is, xzr";
    /// Drops the instruction cache of this CPU.
    ic_iallu, "ic iallu";
}

/// Declares TLB invalidations by an operand.
macro_rules! invalidations {
    ($($(#[$doc:meta])* $name:ident, $asm:literal;)+) => {
        $($(#[$doc])*
        #[inline(always)]
        pub fn $name(operand: u64) {
            // SAFETY: drops cached translations, which is harmless at any time.
            unsafe { asm!($asm, in(reg) operand, options(nostack, preserves_flags)) }
        })+
    };
}

invalidations! {
    /// Drops what is cached of an address, of all ASIDs, at all levels, on all CPUs.
    tlbi_vaae1is, "tlbi vaae1is, {}";
    /// Drops what is cached of an address, of all ASIDs, at the last level, on all CPUs.
    tlbi_vaale1is, "tlbi vaale1is, {}";
    /// TLBI RVAAE1IS: range form of the same, at all levels. By its number: assemblers know the
    /// name only from Armv8.4 on.
    tlbi_rvaae1is, "sys #0, c8, c2, #3, {}";
    /// TLBI RVAALE1IS: range form, at the last level.
    tlbi_rvaale1is, "sys #0, c8, c2, #7, {}";
    /// Drops what is cached of an address and ASID, at all levels, on all CPUs.
    tlbi_vae1is, "tlbi vae1is, {}";
    /// Drops what is cached of an address and ASID, at the last level, on all CPUs.
    tlbi_vale1is, "tlbi vale1is, {}";
    /// Drops what is cached of an address and ASID, at all levels, on this CPU.
    tlbi_vae1, "tlbi vae1, {}";
    /// Drops all that is cached under an ASID, on all CPUs.
    tlbi_aside1is, "tlbi aside1is, {}";
    /// TLBI RVAE1IS: range form, of an ASID, at all levels.
    tlbi_rvae1is, "sys #0, c8, c2, #1, {}";
    /// TLBI RVALE1IS: range form, of an ASID, at the last level.
    tlbi_rvale1is, "sys #0, c8, c2, #5, {}";
}

/// Declares maintenance by virtual address.
macro_rules! maintenance {
    ($($(#[$doc:meta])* $name:ident, $asm:literal;)+) => {
        $($(#[$doc])*
        ///
        /// # Safety
        /// The address is mapped, and losing or writing what the function says is the caller's right.
        #[inline(always)]
        pub unsafe fn $name(at: usize) {
            // SAFETY: the caller's.
            unsafe { asm!($asm, in(reg) at, options(nostack, preserves_flags)) }
        })+
    };
}

maintenance! {
    /// Drops a line of the data caches without writing it back.
    dc_ivac, "dc ivac, {}";
    /// Writes a line of the data caches back to memory.
    dc_cvac, "dc cvac, {}";
    /// Writes a line of the data caches back to memory, and drops it.
    dc_civac, "dc civac, {}";
    /// Writes a line of the data caches back to where instruction fetches look.
    dc_cvau, "dc cvau, {}";
    /// Zeroes a block of memory, as large as DCZID_EL0 says.
    dc_zva, "dc zva, {}";
    /// Drops a line of the instruction caches.
    ic_ivau, "ic ivau, {}";
}

/// Size in bytes of the blocks that DC ZVA zeroes on nearly all CPUs.
pub(super) const ZVA_BLOCK: usize = 64;

/// Zeroes a page, without a branch between its blocks.
///
/// # Safety
/// DCZID_EL0 says that blocks have [`ZVA_BLOCK`] bytes, and the caller owns the page at `at`.
#[inline(always)]
pub(super) unsafe fn dc_zva_page(at: usize) {
    // SAFETY: zeroes what the caller owns.
    unsafe {
        asm!(
            ".rept {blocks} - 1",
            "dc zva, {at}",
            "add {at}, {at}, #{block}",
            ".endr",
            "dc zva, {at}",
            at = inout(reg) at => _,
            blocks = const PAGE_SIZE / ZVA_BLOCK,
            block = const ZVA_BLOCK,
            options(nostack, preserves_flags),
        );
    }
}

/// Translates an address as a read at EL1 would; PAR_EL1 has the answer behind an [`isb`].
#[inline(always)]
pub(super) fn at_s1e1r(va: u64) {
    // SAFETY: translates and writes PAR_EL1.
    unsafe { asm!("at s1e1r, {}", in(reg) va, options(nostack, preserves_flags)) };
}

/// Masks IRQs and FIQs, and returns DAIF as it was. Later accesses to memory stay behind.
#[inline(always)]
pub(super) fn save_and_mask_interrupts() -> u64 {
    let daif;
    // SAFETY: masking interrupts breaks nobody's assumption.
    unsafe { asm!("mrs {}, daif", "msr daifset, #3", out(reg) daif, options(nostack)) };
    daif
}

/// Gives DAIF a value that it had. Earlier accesses to memory stay before.
///
/// # Safety
/// Interrupts may come from here on if `daif` says so.
#[inline(always)]
pub(super) unsafe fn restore_interrupts(daif: u64) {
    // SAFETY: the caller's.
    unsafe { asm!("msr daif, {}", in(reg) daif, options(nostack)) };
}

/// Unmasks IRQs and FIQs.
///
/// # Safety
/// They may come from here on.
#[inline(always)]
pub(super) unsafe fn unmask_interrupts() {
    // SAFETY: the caller's.
    unsafe { asm!("msr daifclr, #3", options(nostack)) };
}

/// Masks all exceptions that can be masked: debug exceptions, SErrors, IRQs and FIQs.
#[inline(always)]
pub(super) fn mask_exceptions() {
    // SAFETY: masking interrupts breaks nobody's assumption.
    unsafe { asm!("msr daifset, #0xf", options(nostack)) };
}

/// Unmasks SErrors. Whoever is interrupted by one does not go on.
#[inline(always)]
pub(super) fn unmask_serror() {
    // SAFETY: nobody finds memory changed by a handler that does not come back.
    unsafe { asm!("msr daifclr, #4", options(nostack)) };
}

/// Sets PSTATE.PAN: the kernel faults where it touches memory that EL0 may touch. The CPU has
/// FEAT_PAN.
#[inline(always)]
pub(super) fn set_pan() {
    // MSR PAN, #1, by its word: assemblers know the name only from Armv8.1 on.
    // SAFETY: the kernel has no business with EL0's memory. Accesses stay on their side.
    unsafe { asm!(".inst 0xd500419f", options(nostack)) };
}

/// PMCCNTR_EL0, the cycle counter, read where the call stands.
#[inline(always)]
pub(super) fn cycle_counter() -> u64 {
    let n;
    // SAFETY: reads a counter. No `nomem`: it must stay where it was put.
    unsafe { asm!("isb", "mrs {}, pmccntr_el0", out(reg) n, options(nostack, preserves_flags)) };
    n
}

/// PMEVCNTR0_EL0, the first event counter, read where the call stands.
#[inline(always)]
pub(super) fn event_counter() -> u64 {
    let n;
    // SAFETY: reads a counter. No `nomem`: it must stay where it was put.
    unsafe { asm!("isb", "mrs {}, pmevcntr0_el0", out(reg) n, options(nostack, preserves_flags)) };
    n
}

/// CNTVCT_EL0, twice in a row, read where the call stands. The crate's read could be moved, and
/// other instructions come between two of it.
#[inline(always)]
pub(super) fn virtual_counter_twice() -> (u64, u64) {
    let (first, second);
    // SAFETY: reads a counter. No `nomem`: it must stay where it was put.
    unsafe {
        asm!("isb", "mrs {}, cntvct_el0", "mrs {}, cntvct_el0", out(reg) first, out(reg) second,
            options(nostack, preserves_flags));
    }
    (first, second)
}

/// RNDR, by its number, since assemblers know the name only from Armv8.5 on. `None` where there
/// was no number ready. The CPU has FEAT_RNG.
#[inline(always)]
pub(super) fn random_number() -> Option<u64> {
    let (value, given): (u64, u64);
    // SAFETY: reads RNDR. It sets the flags: Z where there was no number.
    unsafe {
        asm!("mrs {}, s3_3_c2_c4_0", "cset {}, ne", out(reg) value, out(reg) given,
            options(nomem, nostack));
    }
    (given != 0).then_some(value)
}
