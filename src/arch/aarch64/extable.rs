//! Instructions that may fault, and where to go on if they do (Linux:
//! arch/arm64/include/asm/asm-extable.h, arch/arm64/mm/extable.c).
//!
//! Such an instruction has an entry in the image's `__ex_table`. A data abort that
//! nothing else resolves, and one that is undefined, goes on at the entry's fixup, with
//! `FAULTED` in x0.

use crate::addr::VirtAddr;
use core::arch::asm;

/// Value of x0 after an access that faulted.
const FAULTED: u64 = u64::MAX;

/// An entry: two places in the image, each as a distance from the word that holds it.
#[repr(C)]
struct Entry {
    access: i32,
    fixup: i32,
}

impl Entry {
    fn access(&self) -> u64 {
        relative(&self.access)
    }

    fn fixup(&self) -> u64 {
        relative(&self.fixup)
    }
}

fn relative(distance: &i32) -> u64 {
    (core::ptr::from_ref(distance).addr() as u64).wrapping_add_signed(i64::from(*distance))
}

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

/// Lets the access at `elr` fail: where to go on and what x0 has to be there. `None` where
/// no access may fail there. Any context (Linux: fixup_exception).
pub(super) fn fixup(elr: u64) -> Option<(u64, u64)> {
    let entry = table().iter().find(|entry| entry.access() == elr)?;
    Some((entry.fixup(), FAULTED))
}

/// Text in a template of `asm!`: the entry of the instruction at one label, with its fixup at another
/// (Linux: _ASM_EXTABLE).
macro_rules! ex_table_entry {
    ($instruction:literal, $fixup:literal) => {
        concat!(
            ".pushsection __ex_table, \"a\"\n",
            ".balign 4\n",
            ".long ",
            $instruction,
            " - .\n",
            ".long ",
            $fixup,
            " - .\n",
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
