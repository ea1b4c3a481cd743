//! Where reports of bugs go, and how they name places in the kernel.

use crate::sync::Once;
use core::fmt;

/// Takes a report.
pub type Sink = fn(fmt::Arguments<'_>);
/// Writes the name of an instruction.
pub type Symbolizer = fn(usize, &mut fmt::Formatter<'_>) -> fmt::Result;

static SINK: Once<Sink> = Once::new();
static SYMBOLIZER: Once<Symbolizer> = Once::new();

/// Gives reports to `sink` and not to the log. The first one counts.
pub fn set_sink(sink: Sink) {
    SINK.call_once(|| sink);
}

/// Lets `symbolizer` name instructions in reports. The first one counts.
pub fn set_symbolizer(symbolizer: Symbolizer) {
    SYMBOLIZER.call_once(|| symbolizer);
}

/// Prints a report. Any context.
pub(in crate::mm) fn print(args: fmt::Arguments<'_>) {
    match SINK.get() {
        Some(sink) => sink(args),
        None => log::error!("{args}"),
    }
}

/// A line of a report, in the manner of `println!`.
macro_rules! report {
    ($($arg:tt)*) => { $crate::mm::debug::report::print(format_args!($($arg)*)) };
}
pub(in crate::mm) use report;

/// A return address, as the place of the call.
#[derive(Clone, Copy)]
pub struct Call(pub usize);

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The call is the instruction before the return address.
        let call = self.0.wrapping_sub(4);
        match SYMBOLIZER.get() {
            Some(symbolizer) => symbolizer(call, f),
            None => write!(f, "{call:#x}"),
        }
    }
}
