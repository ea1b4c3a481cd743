//! The report of a fault: what, where, the registers, and how it came there.

use super::kallsyms::{Symbolized, Symbols};
use crate::addr::VirtAddr;
use crate::arch::backtrace::Backtrace;
use crate::arch::esr::Syndrome;
use crate::arch::exception::{Kind, PtRegs};
use crate::arch::irq::with_masked;
use crate::arch::layout;
use crate::arch::pgtable::explain::{Start, Walk};
use crate::arch::{image, probe};
use crate::drivers::console::print_dying;
use crate::mm::debug::stackdepot::DEPTH;
use crate::mm::debug::{FaultInfo, is_kfence_address, kfence_handle_page_fault};
use crate::trace;
use core::fmt;

/// The image's symbol table.
fn symbols() -> Option<Symbols<'static>> {
    Symbols::new(image::symbol_table_bytes())
}

/// Writes `/proc/kallsyms`.
pub(super) fn kallsyms(out: &mut dyn fmt::Write) -> fmt::Result {
    symbols().map_or(Ok(()), |symbols| write!(out, "{symbols}"))
}

/// An address as a function and an offset.
struct At(usize);

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_code = image::text().contains(VirtAddr::new(self.0));
        Symbolized { symbols: symbols().filter(|_| is_code), address: self.0 }.fmt(f)
    }
}

/// Resolves a fault on KFENCE's pool. Returns false if the fault is another (Linux: the call of
/// kfence_handle_page_fault in __do_kernel_fault).
pub(super) fn resolve(regs: &PtRegs) -> bool {
    let syndrome = Syndrome(regs.esr);
    let far = VirtAddr::new(regs.far as usize);
    trace::page_fault_kernel(far, regs.elr, regs.esr);
    if !syndrome.is_translation_fault() || !is_kfence_address(far) {
        return false;
    }
    let mut entries = [0; DEPTH];
    // As a return address: of the instruction itself.
    entries[0] = regs.elr as usize + 4;
    let callers = Backtrace::from_fp(regs.x[29] as usize);
    let mut n = 1;
    for (entry, at) in entries[1..].iter_mut().zip(callers) {
        *entry = at.get();
        n += 1;
    }
    kfence_handle_page_fault(far, syndrome.is_write(), &entries[..n])
}

/// Writes the name of an instruction.
pub(super) fn symbolize_call(address: usize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "{}", At(address))
}

/// Prints return addresses as calls, a run of the same one once.
pub(super) fn print_backtrace(backtrace: Backtrace) {
    print_dying(format_args!("Backtrace:\n"));
    let mut backtrace = backtrace.peekable();
    let mut i = 0;
    while let Some(address) = backtrace.next() {
        let mut repeated = 0;
        while backtrace.next_if_eq(&address).is_some() {
            repeated += 1;
        }
        // The call is the instruction before the return address.
        let call = address.get().wrapping_sub(4);
        print_dying(format_args!("  {i:2}: {address:#018x} {}\n", At(call)));
        if repeated > 0 {
            print_dying(format_args!("      ... and again {repeated} times\n"));
        }
        i += 1 + repeated;
    }
}

/// Prints all that is known of an exception.
pub(super) fn report(regs: &PtRegs, kind: Kind) {
    let syndrome = Syndrome(regs.esr);
    let far = VirtAddr::new(regs.far as usize);
    print_dying(format_args!("Unhandled exception: {kind}: {syndrome}\n"));
    if kind == Kind::StackOverflow {
        print_dying(format_args!("  kernel stack overflow: SP was {:#018x}\n", regs.sp));
    }
    print_dying(format_args!("  at {}\n", At(regs.elr as usize)));
    print_dying(format_args!("  called from {} or below\n", At(regs.x[30] as usize)));
    if syndrome.has_address() {
        print_dying(format_args!("  address {far:#018x}: {}\n", Region(far)));
        print_dying(format_args!("{}", FaultInfo(far)));
    }
    print_dying(format_args!(
        "  ESR {:#010x}  FAR {:#018x}  ELR {:#018x}\n{regs}\n",
        regs.esr, regs.far, regs.elr
    ));
    if syndrome.has_address() {
        print_walk(far);
    }
    print_backtrace(Backtrace::from_fp(regs.x[29] as usize));
}

/// Prints how the tables lead to an address, level by level, as far as they can be read.
fn print_walk(va: VirtAddr) {
    let bases = probe::bases();
    let start = bases.start(va);
    print_dying(format_args!("Page-table walk of {va:#018x}: {start}\n"));
    if let Start::Pgd(_, pgd) = start {
        with_masked(|irq| {
            for step in Walk::new(pgd, va, |at| probe::read_phys(at, irq)) {
                print_dying(format_args!("  {step}\n"));
            }
        });
    }
}

/// Description of the memory around an address.
struct Region(VirtAddr);

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let va = self.0;
        let name = if va.get() < crate::addr::PAGE_SIZE {
            "the page at zero"
        } else if image::boot_stack_guard().contains(va) {
            "the guard page of the boot CPU's stack"
        } else if image::emergency_stack_guard().contains(va) {
            "the guard page of the boot CPU's emergency stack"
        } else if image::text().contains(va) {
            "the kernel's text"
        } else if image::rodata().contains(va) {
            "the kernel's constants"
        } else if image::data().contains(va) {
            "the kernel's data"
        } else if layout::LINEAR.contains(va) {
            "the linear map"
        } else if layout::VMALLOC.contains(va) {
            "the vmalloc area"
        } else if layout::VMEMMAP.contains(va) {
            "the frame descriptors"
        } else if layout::FIXMAP.contains(va) {
            "the fixmap"
        } else if va.get() >> 48 == 0 {
            "the user half"
        } else {
            "nothing of the kernel's"
        };
        f.write_str(name)
    }
}
