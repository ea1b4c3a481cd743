//! The console: where the kernel's log goes.
//!
//! Until a device is known, what is logged waits in a buffer; the device gets it
//! first. Where the device tree names none that the kernel can drive, the
//! semihosting host serves. A panic writes past the lock.

use super::{semihosting, uart::Uart};
use crate::arch::{cpu, irq};
use crate::sync::{Rank, SpinLock};
use arrayvec::{ArrayString, ArrayVec};
use core::fmt::{self, Write};
use log::{Level, LevelFilter, Log, Metadata, Record};

static CONSOLE: SpinLock<Console> = SpinLock::new(Rank::Console, Console::new());

/// What is logged before there is a device; more than this is lost, and said so.
const EARLY_BYTES: usize = 4096;

struct Console {
    device: Device,
    early: ArrayVec<u8, EARLY_BYTES>,
    lost: usize,
    warnings: Warnings,
}

/// The warnings and errors in the log so far, each text as far as it fits a line.
#[derive(Clone, Copy, Debug)]
pub struct Warnings {
    /// How many.
    pub count: u32,
    /// What the first said.
    pub first: ArrayString<80>,
    /// What the last said.
    pub last: ArrayString<80>,
}

/// The warnings and errors so far. Any context.
#[must_use]
pub fn warnings() -> Warnings {
    irq::with_masked(|irq| CONSOLE.lock(irq).warnings)
}

enum Device {
    None,
    Uart(Uart),
    Semihosting,
}

impl Console {
    const fn new() -> Self {
        let (count, first, last) = (0, ArrayString::new_const(), ArrayString::new_const());
        let warnings = Warnings { count, first, last };
        Self { device: Device::None, early: ArrayVec::new_const(), lost: 0, warnings }
    }

    fn attach(&mut self, device: Device) {
        self.device = device;
        let early = core::mem::take(&mut self.early);
        self.write(&early);
        let lost = core::mem::take(&mut self.lost);
        if lost > 0 {
            let _ = writeln!(self, "console: {lost} bytes of the early log were lost");
        }
    }

    fn write(&mut self, bytes: &[u8]) {
        match &mut self.device {
            Device::None => {
                let room = self.early.remaining_capacity().min(bytes.len());
                self.early.extend(bytes[..room].iter().copied());
                self.lost += bytes.len() - room;
            }
            Device::Uart(uart) => {
                for &byte in bytes {
                    if byte == b'\n' {
                        uart.send(b'\r');
                    }
                    uart.send(byte);
                }
            }
            Device::Semihosting => semihosting::write(bytes),
        }
    }
}

impl Write for Console {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        self.write(s.as_bytes());
        Ok(())
    }
}

/// Makes `uart` the console; what was logged so far goes there.
pub fn attach_uart(uart: Uart) {
    irq::with_masked(|irq| CONSOLE.lock(irq).attach(Device::Uart(uart)));
}

/// Makes the semihosting host the console unless there is a device already.
pub fn attach_semihosting() {
    irq::with_masked(|irq| {
        let mut console = CONSOLE.lock(irq);
        if matches!(console.device, Device::None) {
            console.attach(Device::Semihosting);
        }
    });
}

/// Writes to the console, line by line. Any context. What is printed may take locks to
/// find out what it says: the console's is held for each line alone.
pub fn print(args: fmt::Arguments<'_>) {
    let mut line = Line { bytes: ArrayVec::new() };
    let _ = line.write_fmt(args);
    line.flush();
}

/// A line in the making, or as much of a long one as fits.
struct Line {
    bytes: ArrayVec<u8, 160>,
}

impl Line {
    fn flush(&mut self) {
        if !self.bytes.is_empty() {
            irq::with_masked(|irq| CONSOLE.lock(irq).write(&self.bytes));
            self.bytes.clear();
        }
    }
}

impl Write for Line {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        for &byte in s.as_bytes() {
            if self.bytes.is_full() {
                self.flush();
            }
            self.bytes.push(byte);
            if byte == b'\n' {
                self.flush();
            }
        }
        Ok(())
    }
}

/// Writes for a kernel that is about to end: whatever holds the lock won't return.
pub fn print_dying(args: fmt::Arguments<'_>) {
    irq::with_masked(|irq| match CONSOLE.try_lock(irq) {
        Some(mut console) => {
            if matches!(console.device, Device::None) {
                console.attach(Device::Semihosting);
            }
            let _ = console.write_fmt(args);
        }
        None => {
            let _ = Host.write_fmt(args);
        }
    });
}

struct Host;

impl Write for Host {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        semihosting::write(s.as_bytes());
        Ok(())
    }
}

/// Waits until all that was written has left.
pub fn flush() {
    irq::with_masked(|irq| {
        if let Some(mut console) = CONSOLE.try_lock(irq)
            && let Device::Uart(uart) = &mut console.device
        {
            uart.flush();
        }
    });
}

/// Remembers a warning. What is printed may take locks: the console's is held after that.
#[cold]
fn note(args: &fmt::Arguments<'_>) {
    let mut text = Head(ArrayString::new());
    let _ = text.write_fmt(*args);
    irq::with_masked(|irq| {
        let noted = &mut CONSOLE.lock(irq).warnings;
        noted.count += 1;
        noted.last = text.0;
        if noted.count == 1 {
            noted.first = text.0;
        }
    });
}

/// As much of a text as there is room for.
struct Head(ArrayString<80>);

impl Write for Head {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars().try_for_each(|c| self.0.try_push(c)).map_err(|_| fmt::Error)
    }
}

struct Logger;

impl Log for Logger {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        if record.level() > log::max_level() {
            return;
        }
        let micros = cpu::ticks().saturating_mul(1_000_000) / cpu::tick_frequency().max(1);
        let kind = match record.level() {
            Level::Error => "error: ",
            Level::Warn => "warning: ",
            _ => "",
        };
        if record.level() <= Level::Warn {
            note(record.args());
        }
        let (s, us) = (micros / 1_000_000, micros % 1_000_000);
        print(format_args!("[{s:5}.{us:06}] {kind}{}\n", record.args()));
    }

    fn flush(&self) {
        flush();
    }
}

/// Makes the console the log's destination. Once; the MMU must be on (atomics).
pub fn init() {
    if log::set_logger(&Logger).is_ok() {
        log::set_max_level(LevelFilter::Info);
    }
}

/// Writes to the console like `print!`.
#[macro_export]
macro_rules! kprint {
    ($($arg:tt)*) => { $crate::drivers::console::print(format_args!($($arg)*)) };
}

/// Writes a line to the console like `println!`.
#[macro_export]
macro_rules! kprintln {
    () => { $crate::kprint!("\n") };
    ($($arg:tt)*) => {
        $crate::drivers::console::print(format_args!("{}\n", format_args!($($arg)*)))
    };
}
