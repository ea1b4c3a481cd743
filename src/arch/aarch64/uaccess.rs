//! Accesses to a user's memory, with the user's rights: LDTR and STTR (Linux:
//! arch/arm64/lib/copy_from_user.S, arch/arm64/include/asm/uaccess.h).
//!
//! The MMU checks each access as if EL0 made it, so none reaches the kernel's memory, with or
//! without FEAT_PAN. Each has an entry in the exception table. Addresses are below `TASK_SIZE` as
//! of their type; a fault at another one is the kernel's and ends it.

use super::extable::{FAULTED, ex_table_entry};
use crate::addr::UserRange;
use core::arch::asm;

/// Reads 1, 2, 4 or 8 bytes, which need no alignment; `None` if one of them can't be read.
///
/// # Panics
/// For another length.
#[inline(always)]
#[must_use]
pub fn get_user(from: UserRange) -> Option<u64> {
    macro_rules! load {
        ($instruction:literal) => {{
            let (value, faulted): (u64, u64);
            // SAFETY: a load with the user's rights changes nothing; where it faults, the entry
            // leads behind it.
            unsafe {
                asm!(
                    concat!("2:  ", $instruction, ", [{at}]"),
                    "3:",
                    ex_table_entry!("2b", "3b", "2"),
                    at = in(reg) from.start().get(),
                    value = out(reg) value,
                    inout("x0") 0u64 => faulted,
                    options(nostack, preserves_flags),
                );
            }
            (faulted != FAULTED).then_some(value)
        }};
    }
    match from.len() {
        1 => load!("ldtrb {value:w}"),
        2 => load!("ldtrh {value:w}"),
        4 => load!("ldtr {value:w}"),
        8 => load!("ldtr {value}"),
        len => panic!("a load of {len} bytes"),
    }
}

/// Writes the low 1, 2, 4 or 8 bytes of `value`, with no need of alignment. Returns false if one of
/// the bytes can't be written; others may be written then.
///
/// # Panics
/// For another length.
#[inline(always)]
#[must_use]
pub fn put_user(to: UserRange, value: u64) -> bool {
    macro_rules! store {
        ($instruction:literal) => {{
            let faulted: u64;
            // SAFETY: a store with the user's rights, to memory that is the user's; where it
            // faults, the entry leads behind it.
            unsafe {
                asm!(
                    concat!("2:  ", $instruction, ", [{at}]"),
                    "3:",
                    ex_table_entry!("2b", "3b", "2"),
                    at = in(reg) to.start().get(),
                    value = in(reg) value,
                    inout("x0") 0u64 => faulted,
                    options(nostack, preserves_flags),
                );
            }
            faulted != FAULTED
        }};
    }
    match to.len() {
        1 => store!("sttrb {value:w}"),
        2 => store!("sttrh {value:w}"),
        4 => store!("sttr {value:w}"),
        8 => store!("sttr {value}"),
        len => panic!("a store of {len} bytes"),
    }
}

core::arch::global_asm!(
    ".macro user_access instruction:vararg",
    "9:  \\instruction",
    ".endm",
    ".macro to_bytes label",
    ".pushsection __ex_table, \"a\"",
    ".balign 4",
    ".long 9b - .",
    ".long \\label - .",
    ".long 1",
    ".popsection",
    ".endm",
    ".section .text, \"ax\"",
    // copy_from_user(to, from, n): x0 = the bytes that were not copied. Where a word faults, its
    // bytes are tried one by one.
    "uaccess_copy_from:",
    "1:  cmp x2, #64",
    "b.lo 2f",
    ".irp n, 0, 1, 2, 3, 4, 5, 6, 7",
    "user_access ldtr x1\\n, [x1, #(8 * \\n)]",
    "to_bytes uaccess_from_bytes",
    ".endr",
    "stp x10, x11, [x0]",
    "stp x12, x13, [x0, #16]",
    "stp x14, x15, [x0, #32]",
    "stp x16, x17, [x0, #48]",
    "add x0, x0, #64",
    "add x1, x1, #64",
    "sub x2, x2, #64",
    "b 1b",
    "2:  cmp x2, #8",
    "b.lo uaccess_from_bytes",
    "user_access ldtr x3, [x1]",
    "to_bytes uaccess_from_bytes",
    "str x3, [x0], #8",
    "add x1, x1, #8",
    "sub x2, x2, #8",
    "b 2b",
    "uaccess_from_bytes:",
    "cbz x2, uaccess_done",
    "user_access ldtrb w3, [x1]",
    "to_bytes uaccess_done",
    "strb w3, [x0], #1",
    "add x1, x1, #1",
    "sub x2, x2, #1",
    "b uaccess_from_bytes",
    "uaccess_done:",
    "mov x0, x2",
    "ret",
    // copy_to_user(to, from, n), likewise.
    "uaccess_copy_to:",
    "1:  cmp x2, #64",
    "b.lo 2f",
    "ldp x10, x11, [x1]",
    "ldp x12, x13, [x1, #16]",
    "ldp x14, x15, [x1, #32]",
    "ldp x16, x17, [x1, #48]",
    ".irp n, 0, 1, 2, 3, 4, 5, 6, 7",
    "user_access sttr x1\\n, [x0, #(8 * \\n)]",
    "to_bytes uaccess_to_bytes",
    ".endr",
    "add x0, x0, #64",
    "add x1, x1, #64",
    "sub x2, x2, #64",
    "b 1b",
    "2:  cmp x2, #8",
    "b.lo uaccess_to_bytes",
    "ldr x3, [x1]",
    "user_access sttr x3, [x0]",
    "to_bytes uaccess_to_bytes",
    "add x0, x0, #8",
    "add x1, x1, #8",
    "sub x2, x2, #8",
    "b 2b",
    "uaccess_to_bytes:",
    "cbz x2, uaccess_done",
    "ldrb w3, [x1]",
    "user_access sttrb w3, [x0]",
    "to_bytes uaccess_done",
    "add x0, x0, #1",
    "add x1, x1, #1",
    "sub x2, x2, #1",
    "b uaccess_to_bytes",
    // clear_user(to, -, n), likewise.
    "uaccess_clear:",
    "1:  cmp x2, #64",
    "b.lo 2f",
    ".irp n, 0, 1, 2, 3, 4, 5, 6, 7",
    "user_access sttr xzr, [x0, #(8 * \\n)]",
    "to_bytes uaccess_clear_bytes",
    ".endr",
    "add x0, x0, #64",
    "sub x2, x2, #64",
    "b 1b",
    "2:  cmp x2, #8",
    "b.lo uaccess_clear_bytes",
    "user_access sttr xzr, [x0]",
    "to_bytes uaccess_clear_bytes",
    "add x0, x0, #8",
    "sub x2, x2, #8",
    "b 2b",
    "uaccess_clear_bytes:",
    "cbz x2, uaccess_done",
    "user_access sttrb wzr, [x0]",
    "to_bytes uaccess_done",
    "add x0, x0, #1",
    "sub x2, x2, #1",
    "b uaccess_clear_bytes",
    ".purgem user_access",
    ".purgem to_bytes",
);

unsafe extern "C" {
    fn uaccess_copy_from(to: *mut u8, from: usize, n: usize) -> usize;
    fn uaccess_copy_to(to: usize, from: *const u8, n: usize) -> usize;
    fn uaccess_clear(to: usize, unused: usize, n: usize) -> usize;
}

/// Copies `from` to `to`, of the same length, up to the first byte that can't be read. Returns the
/// number of bytes that were not copied (Linux: raw_copy_from_user).
///
/// # Panics
/// If the lengths differ.
#[must_use]
pub fn copy_from_user(to: &mut [u8], from: UserRange) -> usize {
    assert_eq!(to.len(), from.len(), "a copy between ranges of two lengths");
    // SAFETY: writes `to` alone, and reads with the user's rights.
    unsafe { uaccess_copy_from(to.as_mut_ptr(), from.start().get(), to.len()) }
}

/// Copies `from` to `to`, of the same length, up to the first byte that can't be written. Returns
/// the number of bytes that were not copied (Linux: raw_copy_to_user).
///
/// # Panics
/// If the lengths differ.
#[must_use]
pub fn copy_to_user(to: UserRange, from: &[u8]) -> usize {
    assert_eq!(to.len(), from.len(), "a copy between ranges of two lengths");
    // SAFETY: reads `from` alone, and writes with the user's rights, to memory that is the user's.
    unsafe { uaccess_copy_to(to.start().get(), from.as_ptr(), from.len()) }
}

/// Writes zeros up to the first byte that can't be written. Returns the number of bytes that were
/// not written (Linux: __clear_user).
#[must_use]
pub fn clear_user(to: UserRange) -> usize {
    // SAFETY: writes with the user's rights, to memory that is the user's.
    unsafe { uaccess_clear(to.start().get(), 0, to.len()) }
}
