//! The end: a panic reports and stops the machine.

use super::{fault, interrupts};
use crate::arch::aarch64::backtrace::Backtrace;
use crate::arch::aarch64::{cpu, exception};
use crate::drivers::{console, semihosting};
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// The exit code of a kernel that panicked or faulted.
pub const EXIT_PANIC: u8 = 101;

/// How often a CPU came here: a report that itself panics is cut short.
static DEPTH: AtomicU32 = AtomicU32::new(0);

/// Whether this is the first attempt to report an end.
pub(super) fn first_report() -> bool {
    DEPTH.fetch_add(1, Relaxed) == 0
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    if first_report() {
        interrupts::stop_others();
        console::print_dying(format_args!("\nKernel panic: {}\n", info.message()));
        if let Some(at) = info.location() {
            console::print_dying(format_args!("  at {at}\n"));
        }
        fault::print_backtrace(Backtrace::here());
    } else {
        console::print_dying(format_args!("\nKernel panic while reporting another\n"));
    }
    end(EXIT_PANIC)
}

/// Ends the machine: exit code to the semihosting host; without one the CPU parks.
pub fn end(code: u8) -> ! {
    console::flush();
    semihosting::exit(code);
    console::print_dying(format_args!("[halted with code {code}]\n"));
    cpu::park()
}

/// Reports an exception that nothing resolves, and ends.
pub(super) fn fatal_exception(frame: &exception::Frame, kind: exception::Kind) -> ! {
    if first_report() {
        interrupts::stop_others();
        fault::report(frame, kind);
    } else {
        console::print_dying(format_args!(
            "\n{kind} while reporting: ESR {:#x} ELR {:#x} FAR {:#x}\n",
            frame.esr, frame.elr, frame.far
        ));
    }
    end(EXIT_PANIC)
}
