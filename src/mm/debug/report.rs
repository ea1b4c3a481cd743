//! Output of bug reports, and symbolic names of places in the kernel.

use super::stackdepot::{self, Handle, Stack};
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

/// The stack of whoever a report is about, the innermost return address first.
#[derive(Clone, Copy)]
pub(super) enum Trail<'a> {
    /// Return addresses of the stack.
    Entries(&'a [usize]),
    /// A stack that was saved, if it was.
    Saved(Option<Handle>),
}

impl Trail<'_> {
    /// The return addresses.
    pub(super) fn entries(&self) -> impl Iterator<Item = usize> {
        let (entries, saved) = match *self {
            Self::Entries(entries) => (entries, None),
            Self::Saved(handle) => (&[][..], handle),
        };
        entries.iter().copied().chain(saved.into_iter().flat_map(stackdepot::fetch))
    }
}

impl fmt::Display for Trail<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Entries(_) => self.entries().try_for_each(|at| writeln!(f, " {}", Call(at))),
            Self::Saved(handle) => Stack(*handle).fmt(f),
        }
    }
}
