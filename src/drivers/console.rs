//! The console: where the kernel's log goes.
//!
//! Until a device is known, what is logged waits in a buffer; the device gets it
//! first. Where the device tree names none that the kernel can drive, the
//! semihosting host serves. A panic writes past the lock.
//!
//! What is typed waits in a buffer once somebody [`listen`]s. While that is full the UART
//! does not interrupt, and what comes beyond its FIFO is lost.

use super::dmesg::Ring;
use super::semihosting;
use super::typed::Typed;
use super::uart::{Received, Uart};
use crate::arch::{cpu, irq};
use crate::sync::{Once, Rank, SpinLock};
use arrayvec::{ArrayString, ArrayVec};
use core::fmt::{self, Write};
use log::{Level, LevelFilter, Log, Metadata, Record};

/// The log; how many bytes of it were written is the console's to know.
static LOG: Ring = Ring::new();
/// The console's UART for the end, when its lock may not be had.
static UART: Once<Uart> = Once::new();
static CONSOLE: SpinLock<Console> = SpinLock::new(Rank::Console, Console::new());

/// Bytes of log kept before there is a device. More than that is dropped, and the number dropped
/// is printed.
const EARLY_BYTES: usize = 4096;

struct Console {
    device: Device,
    early: ArrayVec<u8, EARLY_BYTES>,
    lost: usize,
    /// Bytes that were written to the log.
    logged: usize,
    typed: Typed,
    /// True if the UART is to interrupt when a byte comes and there is room for it.
    interrupts: bool,
    /// True if that interrupt is enabled now.
    is_open: bool,
    warnings: Warnings,
}

/// The warnings and errors in the log so far, each text as far as it fits a line.
#[derive(Clone, Copy, Debug)]
pub struct Warnings {
    /// Number of warnings and errors.
    pub count: u32,
    /// Text of the first.
    pub first: ArrayString<80>,
    /// Text of the last.
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
        Self {
            device: Device::None,
            early: ArrayVec::new_const(),
            lost: 0,
            logged: 0,
            typed: Typed::new(),
            interrupts: false,
            is_open: false,
            warnings: Warnings { count, first, last },
        }
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
            Device::Uart(uart) => uart.print(bytes),
            Device::Semihosting => semihosting::write(bytes),
        }
    }

    /// Takes what has come from the UART, as much as there is room for.
    fn receive(&mut self) {
        let Device::Uart(uart) = &mut self.device else { return };
        while !self.typed.is_full() {
            let Some((received, lost)) = uart.receive() else { break };
            if lost {
                self.typed.lose();
            }
            if let Received::Byte(byte) = received {
                self.typed.push(byte);
            }
        }
        let open = self.interrupts && !self.typed.is_full();
        if open != self.is_open {
            self.is_open = open;
            uart.listen(open);
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
    UART.call_once(|| uart.again());
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

/// Returns true if the console is a UART, at which people can type.
#[must_use]
pub fn has_input() -> bool {
    irq::with_masked(|irq| matches!(CONSOLE.lock(irq).device, Device::Uart(_)))
}

/// Lets the UART receive, and interrupt if somebody calls [`receive`] then.
pub fn listen(interrupts: bool) {
    irq::with_masked(|irq| {
        let mut console = CONSOLE.lock(irq);
        (console.interrupts, console.is_open) = (interrupts, interrupts);
        if let Device::Uart(uart) = &mut console.device {
            uart.listen(interrupts);
        }
    });
}

/// Receives bytes from the UART. Returns true if any wait to be [`read`]. Called by its
/// interrupt, by the tick and by waiters. Any context but under the console's lock.
pub fn receive() -> bool {
    irq::with_masked(|irq| {
        let mut console = CONSOLE.lock(irq);
        console.receive();
        !console.typed.is_empty()
    })
}

/// The byte that was typed first of those not read yet, if there is one.
pub fn read() -> Option<u8> {
    irq::with_masked(|irq| {
        let mut console = CONSOLE.lock(irq);
        if console.typed.is_empty() {
            console.receive();
        }
        console.typed.pop()
    })
}

/// Returns true if Ctrl-C was typed and not read yet. In that case it and what was typed before
/// it are discarded.
pub fn interrupted() -> bool {
    irq::with_masked(|irq| {
        let mut console = CONSOLE.lock(irq);
        console.receive();
        console.typed.interrupted()
    })
}

/// Returns the number of times that received bytes were lost since the last call because nobody
/// read them in time.
pub fn take_overruns() -> u32 {
    irq::with_masked(|irq| CONSOLE.lock(irq).typed.take_lost())
}

/// Writes to the console, line by line. Any context. What is printed may take locks to
/// find out what it says: the console's is held for each line alone.
pub fn print(args: fmt::Arguments<'_>) {
    print_line(args, false);
}

/// [`print`], and keeps it in the log if `logs` says so.
fn print_line(args: fmt::Arguments<'_>, logs: bool) {
    let mut line = Line { bytes: ArrayVec::new(), logs };
    let _ = line.write_fmt(args);
    line.flush();
}

/// Writes bytes of a program to the console, a part of them at a time. Any context.
pub fn write(bytes: &[u8]) {
    for part in bytes.chunks(160) {
        irq::with_masked(|irq| CONSOLE.lock(irq).write(part));
    }
}

/// Reads the log from byte `from` on, counted since the boot. Returns the number of bytes read,
/// and where to go on. If bytes at `from` were overwritten, the rest of their line is left out.
/// Any context.
pub fn read_log(from: usize, into: &mut [u8]) -> (usize, usize) {
    irq::with_masked(|irq| {
        let end = CONSOLE.lock(irq).logged;
        let from = if from == 0 { LOG.first(end) } else { from };
        LOG.read(from, end, into)
    })
}

/// A line in the making, or as much of a long one as fits.
struct Line {
    bytes: ArrayVec<u8, 160>,
    logs: bool,
}

impl Line {
    fn flush(&mut self) {
        if !self.bytes.is_empty() {
            irq::with_masked(|irq| {
                let mut console = CONSOLE.lock(irq);
                console.write(&self.bytes);
                if self.logs {
                    console.logged = LOG.write(console.logged, &self.bytes);
                }
            });
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

/// Writes for a kernel that is about to end. The lock may be held by this CPU, or by one that
/// will never give it up: then the text goes past it, to the same device.
pub fn print_dying(args: fmt::Arguments<'_>) {
    irq::with_masked(|irq| match CONSOLE.try_lock(irq) {
        Some(mut console) => {
            if matches!(console.device, Device::None) {
                console.attach(Device::Semihosting);
            }
            let _ = console.write_fmt(args);
        }
        None => {
            let _ = PastLock.write_fmt(args);
        }
    });
}

/// The console's device without its lock.
struct PastLock;

impl Write for PastLock {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        match UART.get() {
            Some(uart) => uart.again().print(s.as_bytes()),
            None => semihosting::write(s.as_bytes()),
        }
        Ok(())
    }
}

/// Runs `f` with the console's lock held: `granule.fault=console` ends the kernel so.
pub(crate) fn with_lock(f: impl FnOnce()) {
    irq::with_masked(|irq| {
        let _console = CONSOLE.lock(irq);
        f();
    });
}

/// Waits until all that was written has left.
pub fn flush() {
    irq::with_masked(|irq| match CONSOLE.try_lock(irq) {
        Some(mut console) => {
            if let Device::Uart(uart) = &mut console.device {
                uart.flush();
            }
        }
        None => {
            if let Some(uart) = UART.get() {
                uart.again().flush();
            }
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

/// Beginning of a text, as much as there is room for.
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
        let micros = cpu::sched_clock() / 1000;
        let kind = match record.level() {
            Level::Error => "error: ",
            Level::Warn => "warning: ",
            _ => "",
        };
        if record.level() <= Level::Warn {
            note(record.args());
        }
        let (s, us) = (micros / 1_000_000, micros % 1_000_000);
        print_line(format_args!("[{s:5}.{us:06}] {kind}{}\n", record.args()), true);
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
