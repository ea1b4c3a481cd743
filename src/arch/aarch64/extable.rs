//! Instructions that may fault, and where to go on if they do (Linux:
//! arch/arm64/include/asm/asm-extable.h, arch/arm64/mm/extable.c).
//!
//! Such an instruction has an entry in the image's `__ex_table`. A data abort that
//! nothing else resolves, and one that is undefined, goes on at the entry's fixup, with
//! `FAULTED` in x0 where the entry is of that kind.

use super::exception::PtRegs;
use crate::addr::{TASK_SIZE, VirtAddr};
use crate::arch::esr::Syndrome;
use crate::arch::ex_table::{self, Entry, Kind};
use core::arch::asm;

/// Value of x0 after an access that faulted.
pub(super) const FAULTED: u64 = u64::MAX;

unsafe extern "C" {
    static __start___ex_table: Entry;
    static __stop___ex_table: Entry;
}

fn table() -> &'static [Entry] {
    let (start, stop) = (&raw const __start___ex_table, &raw const __stop___ex_table);
    let count = (stop.addr() - start.addr()) / size_of::<Entry>();
    // SAFETY: linker.ld puts the entries of all accesses between these symbols, in memory
    // that is never written.
    unsafe { core::slice::from_raw_parts(start, count) }
}

/// Returns true if the image's table is in order, as [`ex_table::search`] needs it.
#[must_use]
pub fn is_sorted() -> bool {
    ex_table::is_sorted(table())
}

/// Lets the access of an exception at EL1 fail, and has it go on at its fixup. Returns false where
/// no access may fail, or not in this way. Any context (Linux: fixup_exception).
pub(super) fn fixup(regs: &mut PtRegs, syndrome: Syndrome) -> bool {
    let Some(entry) = ex_table::search(table(), regs.elr) else { return false };
    let is_abort = syndrome.is_data_abort_at_el1();
    // The access to the kernel's side of a copy has no entry, and one past the user's half is a
    // mistake of the kernel's.
    let is_user = is_abort && (!syndrome.has_address() || regs.far < TASK_SIZE as u64);
    match entry.kind() {
        Some(Kind::Kernel) if is_abort || syndrome.is_undefined() => regs.x[0] = FAULTED,
        Some(Kind::UserX0) if is_user => regs.x[0] = FAULTED,
        Some(Kind::User) if is_user => {}
        _ => return false,
    }
    regs.elr = entry.fixup();
    true
}

/// Returns true if the instruction at `pc` is an access to a user's memory.
pub(super) fn is_user_access(pc: u64) -> bool {
    let kind = ex_table::search(table(), pc).and_then(Entry::kind);
    matches!(kind, Some(Kind::User | Kind::UserX0))
}

/// Text in a template of `asm!`: the entry of the instruction at one label, with its fixup at another
/// and the number of a [`Kind`] (Linux: _ASM_EXTABLE_RAW).
macro_rules! ex_table_entry {
    ($instruction:literal, $fixup:literal) => {
        ex_table_entry!($instruction, $fixup, "0")
    };
    ($instruction:literal, $fixup:literal, $kind:literal) => {
        concat!(
            ".pushsection __ex_table, \"a\"\n",
            ".balign 4\n",
            ".long ",
            $instruction,
            " - .\n",
            ".long ",
            $fixup,
            " - .\n",
            ".long ",
            $kind,
            "\n",
            ".popsection"
        )
    };
}
pub(super) use ex_table_entry;

/// Reads the 32-bit register at `at`, where there may be none: `None` if nothing answers
/// (a synchronous external abort) or nothing is mapped. Any context.
///
/// # Safety
/// What is mapped at `at`, if anything, is a device register, for which reading has no
/// effect that matters, or memory.
#[must_use]
pub unsafe fn probe_read32(at: VirtAddr) -> Option<u32> {
    if !at.is_aligned(4) {
        return None;
    }
    let value: u32;
    let faulted: u64;
    // SAFETY: a read as the caller says; where it faults, the entry leads behind it.
    unsafe {
        asm!(
            "2:  ldr {value:w}, [{at}]",
            "3:",
            ex_table_entry!("2b", "3b"),
            at = in(reg) at.get(),
            value = out(reg) value,
            inout("x0") 0u64 => faulted,
            options(nostack),
        );
    }
    (faulted != FAULTED).then_some(value)
}

/// Copies bytes from `from` on, as many as `to` has. Returns false if some of them are not
/// mapped; `to` then holds those before the first that is not. Others may be writing the bytes:
/// each is as it was or as it is. Any context (Linux: copy_from_kernel_nofault).
///
/// # Safety
/// What is mapped there, if anything, is memory.
#[must_use]
pub unsafe fn copy_from_kernel_nofault(to: &mut [u8], from: VirtAddr) -> bool {
    let faulted: u64;
    // SAFETY: reads as the caller says, and writes to `to` alone; where a read faults, the entry leads
    // behind the loop.
    unsafe {
        asm!(
            "cbz {left}, 3f",
            "2:  ldrb {byte:w}, [{from}], #1",
            "strb {byte:w}, [{to}], #1",
            "subs {left}, {left}, #1",
            "b.ne 2b",
            "3:",
            ex_table_entry!("2b", "3b"),
            left = inout(reg) to.len() => _,
            from = inout(reg) from.get() => _,
            to = inout(reg) to.as_mut_ptr() => _,
            byte = out(reg) _,
            inout("x0") 0u64 => faulted,
            options(nostack),
        );
    }
    faulted != FAULTED
}
