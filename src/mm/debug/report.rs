//! Output of bug reports, and symbolic names of places in the kernel.

pub use super::stackdepot::{Call, Symbolizer, set_symbolizer};

use super::stackdepot::{self, Handle, Stack};
use crate::sync::Once;
use core::fmt;

/// Takes a report.
pub type Sink = fn(fmt::Arguments<'_>);

static SINK: Once<Sink> = Once::new();

/// Gives reports to `sink` and not to the log. The first one counts.
pub fn set_sink(sink: Sink) {
    SINK.call_once(|| sink);
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

/// Stack of the thread that a report is about, the innermost return address first.
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
