//! Handlers of a device's interrupt: QEMU's real-time clock, whose line stays up until it is told.

#![no_std]
#![no_main]

mod harness;

use core::ptr::with_exposed_provenance_mut;
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed};
use granule::addr::PhysAddr;
use granule::arch::CpuId;
use granule::arch::{cpu, smp};
use granule::init::interrupts::{
    self, IrqReturn, MAX_ACTIONS, UNHANDLED_LIMIT, free_irq, request_irq,
};
use granule::init::secondary;
use granule::mm::ioremap::ioremap;

/// The PL031 of QEMU's machine virt, and its interrupt.
const RTC: PhysAddr = PhysAddr::new(0x0901_0000);
const RTC_IRQ: u32 = 32 + 2;
/// Registers: the time, the time to interrupt at, the interrupt's mask, the raw status, and the
/// clear register.
const DR: usize = 0x00;
const MR: usize = 0x04;
const IMSC: usize = 0x10;
const RIS: usize = 0x14;
const ICR: usize = 0x1c;

static REGISTERS: AtomicUsize = AtomicUsize::new(0);

fn register(offset: usize) -> *mut u32 {
    with_exposed_provenance_mut(REGISTERS.load(Relaxed) + offset)
}

fn read(offset: usize) -> u32 {
    // SAFETY: a register of the clock, which `with_rtc` has mapped.
    unsafe { register(offset).read_volatile() }
}

fn write(offset: usize, value: u32) {
    // SAFETY: as above.
    unsafe { register(offset).write_volatile(value) }
}

/// Runs `f` with the clock's registers mapped and its interrupt let out.
fn with_rtc(f: impl FnOnce()) {
    let registers = ioremap(RTC, 0x1000).expect("the clock");
    REGISTERS.store(registers.virt().get(), Relaxed);
    write(ICR, 1);
    write(IMSC, 1);
    f();
    write(IMSC, 0);
    write(ICR, 1);
}

/// Has the clock ask for ever, until [`quiet`], which a handler may already have called.
fn raise() {
    let before = calls();
    while read(RIS) & 1 == 0 && calls() == before {
        write(MR, read(DR));
    }
}

fn quiet() {
    write(ICR, 1);
}

/// Number of calls of each handler.
static FIRST: AtomicU32 = AtomicU32::new(0);
static SECOND: AtomicU32 = AtomicU32::new(0);

/// Handler of a device that shares the line, and does not ask.
fn first() -> IrqReturn {
    FIRST.fetch_add(1, Relaxed);
    IrqReturn::None
}

/// Handler of the clock.
fn second() -> IrqReturn {
    SECOND.fetch_add(1, Relaxed);
    quiet();
    IrqReturn::Handled
}

fn calls() -> (u32, u32) {
    (FIRST.load(Relaxed), SECOND.load(Relaxed))
}

/// Lets interrupts come for a few ticks.
fn wait_ticks() {
    let until = interrupts::ticks(CpuId::BOOT) + 3;
    while interrupts::ticks(CpuId::BOOT) < until {
        cpu::relax();
    }
}

static REFUSED: AtomicU32 = AtomicU32::new(0);

fn request_elsewhere(id: CpuId) {
    let wrong = request_irq(RTC_IRQ, first).is_err() && free_irq(RTC_IRQ, first).is_err();
    if id != CpuId::BOOT && wrong {
        REFUSED.fetch_add(1, Relaxed);
    }
}

kernel_tests! {
    fn devices_share_a_line() {
        with_rtc(|| {
            request_irq(RTC_IRQ, first).expect("a line");
            request_irq(RTC_IRQ, second).expect("the same line");
            let (before, _) = calls();
            for n in 1..=5 {
                let (_, handled) = calls();
                raise();
                while calls().1 == handled {
                    cpu::relax();
                }
                assert!(calls().0 >= before + n, "the first handler was not called");
            }
            assert_eq!(free_irq(RTC_IRQ, first), Ok(true));
            assert_eq!(free_irq(RTC_IRQ, first), Ok(false));
            let (last, handled) = calls();
            raise();
            while calls().1 == handled {
                cpu::relax();
            }
            assert_eq!(calls().0, last, "a handler that was freed is called");
            assert_eq!(free_irq(RTC_IRQ, second), Ok(true));
            let last = calls();
            raise();
            wait_ticks();
            assert_eq!(calls(), last, "a line without handlers is off");
            quiet();
        });
    }

    fn a_line_that_nobody_answers_for_is_disabled() {
        with_rtc(|| {
            request_irq(RTC_IRQ, first).expect("a line");
            let (before, _) = calls();
            raise();
            while calls().0 < before + UNHANDLED_LIMIT {
                cpu::relax();
            }
            // The clock still asks.
            wait_ticks();
            assert_eq!(calls().0, before + UNHANDLED_LIMIT);
            assert_eq!(read(RIS) & 1, 1);
            // Somebody who answers has the line back.
            let (_, handled) = calls();
            request_irq(RTC_IRQ, second).expect("the line");
            while calls().1 == handled {
                cpu::relax();
            }
            assert_eq!(free_irq(RTC_IRQ, second), Ok(true));
            assert_eq!(free_irq(RTC_IRQ, first), Ok(true));
        });
    }

    fn what_can_t_be_requested_is_refused() {
        for id in [0, 1, 27, 31, 1020, 1023, u32::MAX] {
            assert!(request_irq(id, first).is_err(), "{id}");
        }
        assert_eq!(free_irq(0, first), Ok(false));
        request_irq(RTC_IRQ, first).expect("a line");
        assert!(request_irq(RTC_IRQ, first).is_err(), "twice");
        assert_eq!(free_irq(RTC_IRQ, first), Ok(true));
        // As many as there is room for, and not one more.
        let lines = 64..64 + MAX_ACTIONS as u32;
        assert!(lines.clone().all(|id| request_irq(id, first).is_ok()));
        assert!(request_irq(RTC_IRQ, first).is_err(), "no room");
        assert!(lines.clone().all(|id| free_irq(id, first) == Ok(true)));
        request_irq(RTC_IRQ, first).expect("room");
        assert_eq!(free_irq(RTC_IRQ, first), Ok(true));
    }

    fn lines_are_the_boot_cpu_s() {
        request_irq(RTC_IRQ, second).expect("a line");
        REFUSED.store(0, Relaxed);
        secondary::on_each(request_elsewhere);
        assert_eq!(REFUSED.load(Relaxed) as usize, smp::online().count() - 1);
        assert_eq!(free_irq(RTC_IRQ, second), Ok(true));
        free_irq(RTC_IRQ, first).expect("the boot CPU");
    }
}
