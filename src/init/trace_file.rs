//! Trace file of the semihosting host, written at the end of the kernel, also after a panic:
//! `granule.trace_file=PATH`. scripts/trace converts it for trace-cmd.
//!
//! After a line `granule trace 1` it is made of parts: a line with a name and how many bytes
//! follow, and these. The pages of records are in Linux's format.

use crate::drivers::console;
use crate::drivers::semihosting::HostFile;
use crate::percpu::possible_cpus;
use crate::sync::Once;
use crate::trace::{
    self, EVENTS, Format, HEADER_EVENT, HeaderPage, Rings, SavedCmdlines, Sites, Trace,
};
use core::fmt::{self, Write};
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

static PATH: Once<&'static str> = Once::new();

/// Has the file written at the end, to `path` on the host.
pub(super) fn set_path(path: &'static str) {
    PATH.call_once(|| path);
}

/// True if it was tried: a panic on the way does not try again.
static TRIED: AtomicBool = AtomicBool::new(false);

/// Writes the file, if one is wanted. Any context in which the kernel ends.
pub(crate) fn write() {
    let Some(&path) = PATH.get() else { return };
    if TRIED.swap(true, Relaxed) {
        return;
    }
    trace::set_recording(false);
    if let Err(why) = try_write(path) {
        console::print_dying(format_args!("error: trace: {path} {why}\n"));
    }
}

fn try_write(path: &str) -> Result<(), &'static str> {
    let rings = Rings::try_take().ok_or("is not written: somebody reads what was traced")?;
    let mut file = HostFile::create(path).ok_or("can't be written")?;
    let written = parts(&mut file, &rings);
    if file.finish() && written.is_ok() { Ok(()) } else { Err("is not written to its end") }
}

fn parts(out: &mut HostFile, rings: &Rings) -> fmt::Result {
    writeln!(out, "granule trace 1")?;
    part(out, "header_page", &HeaderPage)?;
    part(out, "header_event", &HEADER_EVENT)?;
    for (n, event) in EVENTS.iter().enumerate() {
        part(out, event.system, &Format(n))?;
    }
    part(out, "kallsyms", &Sites)?;
    part(out, "saved_cmdlines", &SavedCmdlines(rings))?;
    part(out, "trace", &Trace::new(rings, None))?;
    for cpu in possible_cpus() {
        let pages = rings.nr_pages(cpu);
        writeln!(out, "cpu{} {}", cpu.index(), pages * crate::addr::PAGE_SIZE)?;
        let mut written = Ok(());
        rings.raw_pages(cpu, &mut |bytes| written = written.and_then(|()| out.put(bytes)));
        written?;
    }
    writeln!(out, "end 0")
}

fn part(out: &mut HostFile, name: &str, what: &dyn fmt::Display) -> fmt::Result {
    let mut len = Length(0);
    write!(len, "{what}")?;
    write!(out, "{name} {}\n{what}", len.0)
}

/// Counts the bytes of a text.
struct Length(usize);

impl Write for Length {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 += text.len();
        Ok(())
    }
}
