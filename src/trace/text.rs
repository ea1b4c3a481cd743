//! The records in the format of Linux's file `trace` (Linux: kernel/trace/trace_output.c), and
//! what other programs need to read them.

use super::control::Rings;
use super::cpu_ring::CpuRing;
use super::event::{self, COMMON, Text};
use super::ring::{ROOM, Record, Ring};
use super::{DROPPED, EVENTS, IRQS_OFF};
use crate::arch::{CpuId, cpu};
use crate::mm::page_alloc::cpus_online;
use core::fmt;
use core::sync::atomic::Ordering::Relaxed;

/// The file `events/header_page`: how a page begins.
pub struct HeaderPage;

impl fmt::Display for HeaderPage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (ty, name, offset, size, signed) in [
            ("u64", "timestamp", 0, 8, 0),
            ("local_t", "commit", 8, 8, 1),
            ("int", "overwrite", 8, 1, 1),
            ("char", "data", 16, ROOM, 0),
        ] {
            writeln!(f, "\tfield: {ty} {name};\toffset:{offset};\tsize:{size};\tsigned:{signed};")?;
        }
        Ok(())
    }
}

/// The file `events/header_event`: how a record begins.
pub const HEADER_EVENT: &str = "# compressed entry header
\ttype_len    :    5 bits
\ttime_delta  :   27 bits
\tarray       :   32 bits

\tpadding     : type == 29
\ttime_extend : type == 30
\ttime_stamp : type == 31
\tdata max type_len  == 28
";

/// Common head of all records, and the fields behind it.
struct Entry<'a> {
    record: Record<'a>,
    kind: u16,
    flags: u8,
    pid: u32,
}

impl<'a> Entry<'a> {
    fn new(record: Record<'a>) -> Option<Self> {
        let common: &[u8; COMMON] = record.data.first_chunk()?;
        let [a, b, flags, _, pid @ ..] = *common;
        Some(Self { record, kind: u16::from_le_bytes([a, b]), flags, pid: u32::from_le_bytes(pid) })
    }
}

/// The records of one CPU, or of all in the order of their times.
pub struct Trace<'a> {
    rings: &'a Rings,
    only: Option<CpuId>,
}

impl<'a> Trace<'a> {
    /// Reads the records of one CPU, or of all.
    #[must_use]
    pub fn new(rings: &'a Rings, only: Option<CpuId>) -> Self {
        Self { rings, only }
    }

    /// The rings to print, by their CPUs.
    fn rings(&self) -> impl Iterator<Item = &'a CpuRing> + Clone {
        let only = self.only;
        self.rings.rings.iter().filter(move |ring| only.is_none_or(|only| only == ring.cpu))
    }
}

impl fmt::Display for Trace<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sum = |of: fn(&Ring) -> u64| self.rings().map(|ring| of(&ring.ring)).sum::<u64>();
        write!(
            f,
            "# tracer: nop\n#\n\
             # entries-in-buffer/entries-written: {}/{}   #P:{}\n#\n\
             #                                _-----=> irqs-off/BH-disabled\n\
             #                               / _----=> need-resched\n\
             #                              | / _---=> hardirq/softirq\n\
             #                              || / _--=> preempt-depth\n\
             #                              ||| / _-=> migrate-disable\n\
             #                              |||| /     delay\n\
             #           TASK-PID     CPU#  |||||  TIMESTAMP  FUNCTION\n\
             #              | |         |   |||||     |         |\n",
            sum(Ring::entries),
            sum(Ring::written),
            cpus_online().count()
        )?;
        self.rings().for_each(CpuRing::rewind);
        let first = || self.rings().filter_map(|ring| Some((ring.time()?, ring)));
        while let Some((_, of)) = first().min_by_key(|&(time, ring)| (time, ring.cpu)) {
            let (cpu, ring) = (of.cpu.index(), &of.ring);
            if of.is_at_first() && ring.overrun() != 0 {
                writeln!(f, "CPU:{cpu} [LOST {} EVENTS]", ring.overrun())?;
            }
            if let Some(entry) = of.read().and_then(Entry::new) {
                line(f, cpu, ring, &entry)?;
            }
        }
        Ok(())
    }
}

fn line(f: &mut fmt::Formatter<'_>, cpu: usize, ring: &Ring, entry: &Entry<'_>) -> fmt::Result {
    let Some(event) = event::index(entry.kind).and_then(|n| EVENTS.get(n)) else {
        return writeln!(f, "Unknown type {}", entry.kind);
    };
    let comm = match entry.pid {
        0 => "<idle>",
        pid => ring.comms.find(pid).unwrap_or("<...>"),
    };
    let irqs = if entry.flags & IRQS_OFF != 0 { 'd' } else { '.' };
    let (seconds, micros) = rounded(entry.record.time);
    writeln!(
        f,
        "{comm:>16}-{:<7} [{cpu:03}] {irqs}.... {seconds:>5}.{micros:06}: {}: {}",
        entry.pid,
        event.name,
        Text(event, entry.record.data)
    )
}

/// Seconds and microseconds of a time, to the nearest (Linux: trace_print_time).
fn rounded(time: u64) -> (u64, u64) {
    let micros = (time + 500) / 1000;
    (micros / 1_000_000, micros % 1_000_000)
}

/// A CPU's file `per_cpu/cpuN/stats`.
pub struct Stats<'a>(pub &'a Rings, pub CpuId);

impl fmt::Display for Stats<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ring = self.0.rings.get(self.1);
        let of = |get: fn(&Ring) -> u64| ring.map_or(0, get);
        let oldest = ring.and_then(|ring| ring.records().next()).map_or(0, |record| record.time);
        let ((old, old_us), (now, now_us)) = (rounded(oldest), rounded(cpu::sched_clock()));
        writeln!(f, "entries: {}", of(Ring::entries))?;
        writeln!(f, "overrun: {}", of(Ring::overrun))?;
        writeln!(f, "commit overrun: 0")?;
        writeln!(f, "bytes: {}", of(|ring| ring.bytes() as u64))?;
        writeln!(f, "oldest event ts: {old:>5}.{old_us:06}")?;
        writeln!(f, "now ts: {now:>5}.{now_us:06}")?;
        writeln!(
            f,
            "dropped events: {}",
            DROPPED.try_of(self.1).map_or(0, |dropped| dropped.load(Relaxed))
        )?;
        writeln!(f, "read events: 0")
    }
}

/// The file `saved_cmdlines`: the threads that wrote, with their names.
pub struct SavedCmdlines<'a>(pub &'a Rings);

impl fmt::Display for SavedCmdlines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rings = || self.0.rings.iter().map(|of| &of.ring);
        for (n, ring) in rings().enumerate() {
            // A task may have written on several CPUs.
            let known = |pid: u32| rings().take(n).any(|ring| ring.comms.find(pid).is_some());
            for (pid, comm) in ring.comms.iter().filter(|&(pid, _)| !known(pid)) {
                writeln!(f, "{pid} {comm}")?;
            }
        }
        Ok(())
    }
}
