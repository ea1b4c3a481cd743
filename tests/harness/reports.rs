//! Reports of the debugging tools, for tests that cause them.

use arrayvec::ArrayString;
use core::fmt::{self, Write};
use granule::arch::irq::with_masked;
use granule::mm::debug::report::set_sink;
use granule::sync::{Rank, SpinLock};

static REPORTS: SpinLock<ArrayString<4096>> =
    SpinLock::new(Rank::Console, ArrayString::new_const());

fn sink(args: fmt::Arguments<'_>) {
    with_masked(|irq| {
        // What does not fit was not looked for.
        let _ = writeln!(REPORTS.lock(irq), "{args}");
    });
}

/// Runs `f`; what was reported meanwhile.
pub fn of(f: impl FnOnce()) -> ArrayString<4096> {
    set_sink(sink);
    with_masked(|irq| REPORTS.lock(irq).clear());
    f();
    let text = with_masked(|irq| core::mem::take(&mut *REPORTS.lock(irq)));
    granule::kprintln!("{text}");
    text
}
