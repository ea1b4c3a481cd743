//! What was traced, as a file of the semihosting host's at the end of the kernel, a panic's
//! too: `granule.trace_file=PATH`. scripts/trace makes of it what trace-cmd reads.
//!
//! After a line `granule trace 1` it is made of parts: a line with a name and how many bytes
//! follow, and these. The pages of records are in Linux's format.

use crate::arch::{CpuId, NR_CPUS};
use crate::drivers::semihosting::HostFile;
use crate::mm::trace::{
    self, EVENTS, Format, HEADER_EVENT, HeaderPage, Rings, SavedCmdlines, Sites, Trace,
};
use crate::sync::Once;
use core::fmt::{self, Write};

static PATH: Once<&'static str> = Once::new();

/// Has the file written at the end, to `path` on the host.
pub(super) fn set_path(path: &'static str) {
    PATH.call_once(|| path);
}

/// Writes the file, if one is wanted. Any context in which the kernel ends.
pub(super) fn write() {
    let Some(&path) = PATH.get() else { return };
    trace::set_recording(false);
    let Some(rings) = Rings::try_take() else {
        return log::error!("trace: {path} not written: somebody reads what was traced");
    };
    let Some(file) = HostFile::create(path) else {
        return log::error!("trace: {path} can't be written");
    };
    let mut out = Output { file, buffer: [0; BUFFER], len: 0, failed: false };
    let result = parts(&mut out, &rings);
    out.flush();
    if result.is_err() || out.failed {
        log::error!("trace: {path} could not be written to its end");
    }
}

fn parts(out: &mut Output, rings: &Rings) -> fmt::Result {
    writeln!(out, "granule trace 1")?;
    part(out, "header_page", &HeaderPage)?;
    part(out, "header_event", &HEADER_EVENT)?;
    for (n, event) in EVENTS.iter().enumerate() {
        part(out, event.system, &Format(n))?;
    }
    part(out, "kallsyms", &Sites)?;
    part(out, "saved_cmdlines", &SavedCmdlines(rings))?;
    part(out, "trace", &Trace::new(rings, None))?;
    for cpu in (0..NR_CPUS).filter_map(CpuId::new) {
        let pages = rings.nr_pages(cpu);
        writeln!(out, "cpu{} {}", cpu.index(), pages * crate::addr::PAGE_SIZE)?;
        rings.raw_pages(cpu, &mut |bytes| out.put(bytes));
    }
    writeln!(out, "end 0")
}

fn part(out: &mut Output, name: &str, what: &dyn fmt::Display) -> fmt::Result {
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

/// Bytes that go to the host at once.
const BUFFER: usize = 512;

struct Output {
    file: HostFile,
    buffer: [u8; BUFFER],
    len: usize,
    failed: bool,
}

impl Output {
    fn put(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(BUFFER) {
            if self.len + chunk.len() > BUFFER {
                self.flush();
            }
            self.buffer[self.len..self.len + chunk.len()].copy_from_slice(chunk);
            self.len += chunk.len();
        }
    }

    fn flush(&mut self) {
        self.failed |= !self.file.write_all(&self.buffer[..self.len]);
        self.len = 0;
    }
}

impl Write for Output {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.put(text.as_bytes());
        Ok(())
    }
}
