//! The end: a panic reports and stops the machine.
//!
//! The first CPU that comes here stops the others and reports; one that comes while it
//! does has nothing to add and stops too. Where the report itself panics or faults, one
//! line tells that, and the machine ends.

use super::{fault, interrupts, trace_file};
use crate::arch::backtrace::Backtrace;
use crate::arch::cpumask::CpuMask;
use crate::arch::irq::with_masked;
use crate::arch::{cpu, exception};
use crate::drivers::{console, semihosting};
use crate::sched;
use core::fmt;
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The exit code of a kernel that panicked or faulted.
pub const EXIT_PANIC: u8 = 101;

/// The CPU that reports, plus 1; 0 while none does.
static REPORTER: AtomicUsize = AtomicUsize::new(0);

/// Returns whether this is the first attempt to report an end. Of CPUs that are not the one that
/// reports, none returns.
fn first_report() -> bool {
    let own = with_masked(|irq| cpu::id(irq).index()) + 1;
    match REPORTER.compare_exchange(0, own, Relaxed, Relaxed) {
        Ok(_) => true,
        Err(reporter) if reporter == own => false,
        Err(_) => interrupts::stop(),
    }
}

/// Stops the others, and says so.
fn stop_others() {
    let (stopped, running) = interrupts::stop_others();
    let own = with_masked(|irq| cpu::id(irq).index());
    console::print_dying(format_args!("\nCPU {own}"));
    if let Some(comm) = sched::current_comm() {
        console::print_dying(format_args!(", thread {comm},"));
    }
    console::print_dying(format_args!(" reports"));
    if !stopped.is_empty() {
        console::print_dying(format_args!(", stopped: {}", Cpus(stopped)));
    }
    if !running.is_empty() {
        console::print_dying(format_args!(", NOT stopped: {}", Cpus(running)));
    }
    console::print_dying(format_args!("\n"));
}

/// CPUs by their numbers.
struct Cpus(CpuMask);

impl fmt::Display for Cpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CPU")?;
        self.0.iter().try_for_each(|cpu| write!(f, " {}", cpu.index()))
    }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    if first_report() {
        stop_others();
        console::print_dying(format_args!("Kernel panic: {}\n", info.message()));
        if let Some(at) = info.location() {
            console::print_dying(format_args!("  at {at}\n"));
        }
        fault::print_backtrace(Backtrace::here());
    } else {
        console::print_dying(format_args!("\nKernel panic while reporting another\n"));
    }
    end(EXIT_PANIC)
}

/// Ends the machine: what was traced and the exit code to the semihosting host; without one
/// the CPU parks.
pub fn end(code: u8) -> ! {
    trace_file::write();
    console::flush();
    semihosting::exit(code);
    console::print_dying(format_args!("[halted with code {code}]\n"));
    cpu::park()
}

/// Reports an exception that nothing resolves, and ends.
pub(super) fn fatal_exception(regs: &exception::PtRegs, kind: exception::Kind) -> ! {
    if first_report() {
        stop_others();
        fault::report(regs, kind);
    } else {
        console::print_dying(format_args!(
            "\n{kind} while reporting: ESR {:#x} ELR {:#x} FAR {:#x}\n",
            regs.esr, regs.elr, regs.far
        ));
    }
    end(EXIT_PANIC)
}
