//! Tracing: what happens in `mm`, as records in memory (Linux: kernel/trace/, the events of
//! include/trace/events/).
//!
//! | file | what it is |
//! | --- | --- |
//! | `points` | what `mm` calls where something happens |
//! | `events` | the events, with Linux's names and fields |
//! | `event` | how a record is laid out and printed |
//! | `printf`, `flags` | formats and names, for print |
//! | `sites` | the places in the source that records name |
//! | `comms` | the names of the tasks that wrote |
//! | `ring` | a CPU's records, in Linux's page format |
//! | `cpu_ring` | the rings of all CPUs, in a list |
//! | `control` | what is on, how large the rings are |
//! | `text` | the records in the format of Linux's file `trace` |
//!
//! # Cost while off
//! Trace points for pages and objects are called by the hooks behind the static keys of
//! [`debug`](crate::mm::debug), and add nothing to the paths. All others are behind one more key,
//! `RARE_EVENTS`: a `nop` each.
//!
//! # Writing
//! A record is written with interrupts masked into the ring of its CPU, whose lock is tried once.
//! try_lock fails while a reader holds the ring, or when a fault traces inside `record`; the
//! event is dropped and counted. Nothing is allocated, and the oldest records make room for new
//! ones. A reader takes the rings out while it reads, so that they don't change, and puts them
//! back.
//!
//! Memory for rings is allocated before an event is switched on, outside of all locks. If events
//! are on already, that allocation is traced like any other.
//!
//! Lock order: `Rank::Trace` is the innermost.
#![deny(unsafe_code)]

mod comms;
mod control;
mod cpu_ring;
mod event;
mod events;
mod flags;
mod points;
mod printf;
mod ring;
mod sites;
#[cfg(test)]
#[expect(unsafe_code, reason = "tests free objects")]
mod tests;
mod text;

pub use control::{
    Rings, TraceError, add_cpu, buffer_size_kb, clear, enabled, free_buffers, is_recording,
    remove_cpu, set_buffer_size_kb, set_event_names, set_events, set_recording,
};
pub use event::{Event, Format};
pub use events::EVENTS;
pub use points::page_fault_kernel;
pub use sites::Sites;
pub use text::{HEADER_EVENT, HeaderPage, SavedCmdlines, Stats, Trace};

use crate::arch::cpu;
use crate::arch::irq::{is_masked, with_masked};
use crate::machine_local;
use crate::mm::alloc::KBox;
use crate::per_cpu;
use crate::sched;
use crate::sync::{Rank, SpinLock};
use core::mem::ManuallyDrop;
use core::panic::Location;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use cpu_ring::CpuRing;
use event::{MAX_RECORD, Value};
use events::Id;

per_cpu! {
    /// A ring that is there ends with the machine.
    static RINGS: SpinLock<Option<ManuallyDrop<KBox<CpuRing>>>> = SpinLock::new(Rank::Trace, None);
    /// Records of the CPU that found its ring taken, or none.
    static DROPPED: AtomicU64 = AtomicU64::new(0);
}

machine_local! {
    /// The events that are on, a bit for each.
    static ENABLED: AtomicU32 = AtomicU32::new(0);
    /// True while records are written (Linux: tracing_on).
    static RECORDING: AtomicBool = AtomicBool::new(true);
}

const _: () = assert!(events::COUNT <= u32::BITS as usize);

/// Bit of `common_flags`: interrupts were masked (Linux: TRACE_FLAG_IRQS_OFF).
const IRQS_OFF: u8 = 1;

/// Returns true if an event is on.
fn is_on(id: Id) -> bool {
    ENABLED.load(Relaxed) & id.bit() != 0
}

/// Writes a record. Any context.
fn emit(id: Id, values: &[Value<'_>]) {
    record(id, |_, record| id.event().encode(values, record));
}

/// Writes a record of an event whose first field is a call site. Any context.
fn emit_at<const N: usize>(id: Id, site: &'static Location<'static>, mut values: [Value<'_>; N]) {
    record(id, |irq, record| {
        values[0] = Value::N(sites::number(site, irq));
        id.event().encode(&values, record)
    });
}

#[cold]
#[inline(never)]
fn record(id: Id, encode: impl FnOnce(&crate::arch::IrqMasked, &mut [u8; MAX_RECORD]) -> usize) {
    if !is_recording() {
        return;
    }
    let flags = if is_masked() { IRQS_OFF } else { 0 };
    with_masked(|irq| {
        let mut ring = RINGS.get(irq).try_lock(irq);
        let Some(ring) = ring.as_mut().and_then(|ring| ring.as_mut()) else {
            DROPPED.get(irq).fetch_add(1, Relaxed);
            return;
        };
        let ring = &mut ring.ring;
        let mut bytes = [0; MAX_RECORD];
        let len = encode(irq, &mut bytes);
        let task = sched::current();
        let pid = task.pid();
        if pid != 0 {
            ring.comms.note(pid, &task.comm());
        }
        bytes[..2].copy_from_slice(&event::id(id as usize).to_le_bytes());
        bytes[2] = flags;
        bytes[4..8].copy_from_slice(&pid.to_le_bytes());
        ring.write(cpu::sched_clock(), &bytes[..len]);
    });
}

/// The number by which an event's records are told (Linux: events/SYSTEM/EVENT/id).
#[must_use]
pub const fn event_id(place: usize) -> u16 {
    event::id(place)
}
