//! Control of tracing: enabled events, and sizes of the rings.

use super::cpu_ring::{CpuRing, RingList};
use super::events::{COUNT, Id};
use super::ring::Ring;
use super::{DROPPED, ENABLED, EVENTS, RECORDING, RINGS, points};
use crate::addr::PAGE_SIZE;
use crate::arch::CpuId;
use crate::arch::irq::with_masked;
use crate::machine_local;
use crate::mm::alloc::{AllocError, KBox};
use crate::mm::hooks::points::set_sink;
use crate::mm::hooks::{RARE_EVENTS, SLAB_ALLOC_HOOKS, SLAB_FREE_HOOKS};
use crate::mm::page_alloc::{cpus_online, unwatch_pages, watch_pages};
use crate::percpu::possible_cpus;
use crate::sched::{Mutex, MutexGuard};
use crate::sync::SleepRank;
use core::fmt;
use core::mem::ManuallyDrop;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// KiB of a CPU's ring where nobody says otherwise, as in Linux.
const DEFAULT_KB: usize = 1408;
/// The most KiB of a CPU's ring.
const MAX_KB: usize = 1 << 20;

machine_local! {
    /// Lock for changes of rings or keys, and for reads (Linux: trace_types_lock, event_mutex).
    static CONTROL: Mutex = Mutex::new(SleepRank::TraceControl);
    static KB: AtomicUsize = AtomicUsize::new(DEFAULT_KB);
}

/// Reason why a request to tracing failed. Nothing has changed then.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TraceError {
    /// Memory is short (Linux: ENOMEM).
    NoMemory,
    /// There is no such event, or no such size (Linux: EINVAL).
    Invalid,
    /// Events are on (Linux: EBUSY).
    Busy,
}

impl fmt::Display for TraceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoMemory => "no memory for the rings",
            Self::Invalid => "no such event or size",
            Self::Busy => "events are on",
        })
    }
}

impl core::error::Error for TraceError {}

impl From<AllocError> for TraceError {
    fn from(_: AllocError) -> Self {
        Self::NoMemory
    }
}

/// Rings of the CPUs, taken out to be read, and put back when dropped. Events that happen
/// meanwhile are dropped and counted.
pub struct Rings {
    pub(super) rings: RingList,
    _control: MutexGuard<'static>,
}

impl Rings {
    /// Takes them. Threads; waits for others who do.
    #[must_use]
    pub fn take() -> Self {
        let control = CONTROL.lock();
        Self { rings: collect(|cpu| swap(cpu, None)), _control: control }
    }

    /// Like [`take`](Self::take), for callers that can't wait: without the ring of a CPU that
    /// was stopped in the middle of a record, and `None` where another has them all. At the end
    /// of the kernel.
    #[must_use]
    pub fn try_take() -> Option<Self> {
        let control = CONTROL.try_lock()?;
        let take = |cpu| with_masked(|irq| RINGS.of(cpu).try_lock(irq)?.take());
        let rings = collect(|cpu| take(cpu).map(ManuallyDrop::into_inner));
        Some(Self { rings, _control: control })
    }

    /// Number of pages of records of a CPU.
    #[must_use]
    pub fn nr_pages(&self, cpu: CpuId) -> usize {
        self.rings.get(cpu).map_or(0, Ring::nr_raw_pages)
    }

    /// Calls `out` with the pieces of these pages, in the format of Linux's `trace_pipe_raw`,
    /// the oldest first.
    pub fn raw_pages(&self, cpu: CpuId, out: &mut dyn FnMut(&[u8])) {
        if let Some(ring) = self.rings.get(cpu) {
            ring.raw_pages(out);
        }
    }
}

impl Drop for Rings {
    fn drop(&mut self) {
        install(core::mem::replace(&mut self.rings, RingList::new()));
    }
}

/// The rings that `of` returns for the CPUs.
fn collect(of: impl Fn(CpuId) -> Option<KBox<CpuRing>>) -> RingList {
    let mut rings = RingList::new();
    possible_cpus().rev().filter_map(of).for_each(|ring| rings.push_front(ring));
    rings
}

/// Puts `ring` in the place of a CPU's, which is returned.
fn swap(cpu: CpuId, ring: Option<KBox<CpuRing>>) -> Option<KBox<CpuRing>> {
    let ring = ring.map(ManuallyDrop::new);
    let old = with_masked(|irq| core::mem::replace(&mut *RINGS.of(cpu).lock(irq), ring));
    old.map(ManuallyDrop::into_inner)
}

fn has_ring(cpu: CpuId) -> bool {
    with_masked(|irq| RINGS.of(cpu).lock(irq).is_some())
}

/// Rings of `kb` KiB for the CPUs that `lack` one, all or none.
fn allocate(kb: usize, lack: impl Fn(CpuId) -> bool) -> Result<RingList, TraceError> {
    let mut rings = RingList::new();
    for cpu in cpus_online().rev().filter(|&cpu| lack(cpu)) {
        rings.push_front(CpuRing::new(cpu, (kb << 10) / PAGE_SIZE)?);
    }
    Ok(rings)
}

/// Gives each CPU its ring of `rings`, in place of the one that it had.
fn install(mut rings: RingList) {
    while let Some(ring) = rings.pop_front() {
        drop(swap(ring.cpu, Some(ring)));
    }
}

/// The KiB that each CPU's ring has or will have, and whether they have.
#[must_use]
pub fn buffer_size_kb() -> (usize, bool) {
    let _control = CONTROL.lock();
    (KB.load(Relaxed), possible_cpus().any(has_ring))
}

/// Gives the CPUs rings of `kb` KiB, rounded up to pages; what was recorded is forgotten.
/// Threads.
///
/// # Errors
/// [`TraceError`]: for want of memory, or where that is no size for a ring.
pub fn set_buffer_size_kb(kb: usize) -> Result<(), TraceError> {
    if !(1..=MAX_KB).contains(&kb) {
        return Err(TraceError::Invalid);
    }
    let pages = (kb << 10).div_ceil(PAGE_SIZE).max(2);
    let kb = (pages * PAGE_SIZE) >> 10;
    let _control = CONTROL.lock();
    install(allocate(kb, |_| true)?);
    KB.store(kb, Relaxed);
    Ok(())
}

/// Frees the rings, with all that is in them (Linux: free_buffer).
///
/// # Errors
/// [`TraceError::Busy`] while events are on.
pub fn free_buffers() -> Result<(), TraceError> {
    let _control = CONTROL.lock();
    if enabled() != 0 {
        return Err(TraceError::Busy);
    }
    possible_cpus().for_each(|cpu| drop(swap(cpu, None)));
    Ok(())
}

/// Gives a CPU that comes up a ring, where events are on; without memory for it, its events
/// are dropped. The records of one that has a ring already are dropped with that.
pub fn add_cpu(cpu: CpuId) {
    if enabled() == 0 {
        return;
    }
    let _control = CONTROL.lock();
    if let Ok(ring) = CpuRing::new(cpu, (KB.load(Relaxed) << 10) / PAGE_SIZE) {
        drop(swap(cpu, Some(ring)));
    }
}

/// Frees the ring that [`add_cpu`] made for a CPU that did not come.
pub fn remove_cpu(cpu: CpuId) {
    let _control = CONTROL.lock();
    drop(swap(cpu, None));
}

/// Forgets all records (Linux: an empty text to `trace`).
pub fn clear() {
    let mut rings = Rings::take();
    rings.rings.for_each_mut(Ring::clear);
    DROPPED.iter().for_each(|dropped| dropped.store(0, Relaxed));
}

/// The events that are on: a bit for each, by its place in [`EVENTS`].
#[must_use]
pub fn enabled() -> u32 {
    ENABLED.load(Relaxed)
}

/// Returns true if records are written for events that are on.
#[must_use]
pub fn is_recording() -> bool {
    RECORDING.load(Relaxed)
}

/// Has records written, or not (Linux: tracing_on).
pub fn set_recording(on: bool) {
    RECORDING.store(on, Relaxed);
}

/// Events that stand behind the same key, and what switches it.
struct Key {
    events: u32,
    switch: fn(bool),
}

const PAGES: u32 = Id::MmPageAlloc.bit() | Id::MmPageFree.bit();
const ALLOCS: u32 = Id::Kmalloc.bit() | Id::KmemCacheAlloc.bit();
const FREES: u32 = Id::Kfree.bit() | Id::KmemCacheFree.bit();

const KEYS: [Key; 4] = [
    Key { events: PAGES, switch: |on| if on { watch_pages() } else { unwatch_pages() } },
    Key {
        events: ALLOCS,
        switch: |on| if on { SLAB_ALLOC_HOOKS.inc() } else { SLAB_ALLOC_HOOKS.dec() },
    },
    Key {
        events: FREES,
        switch: |on| if on { SLAB_FREE_HOOKS.inc() } else { SLAB_FREE_HOOKS.dec() },
    },
    Key {
        events: !(PAGES | ALLOCS | FREES),
        switch: |on| if on { RARE_EVENTS.inc() } else { RARE_EVENTS.dec() },
    },
];

/// Switches the events of `set` on, a bit for each by its place in [`EVENTS`], and all others
/// off. The first brings the memory of the rings. Threads.
///
/// # Errors
/// [`TraceError`]: for want of memory, or where a bit is no event's.
pub fn set_events(set: u32) -> Result<(), TraceError> {
    change_events(|_| set)
}

fn change_events(to: impl FnOnce(u32) -> u32) -> Result<(), TraceError> {
    let _control = CONTROL.lock();
    let before = enabled();
    let set = to(before);
    if set >> COUNT != 0 {
        return Err(TraceError::Invalid);
    }
    if set != 0 {
        install(allocate(KB.load(Relaxed), |cpu| !has_ring(cpu))?);
    }
    set_sink(points::record);
    // An event that is on comes through only with its key, so the order is free.
    ENABLED.store(set, Relaxed);
    for Key { events, switch } in KEYS {
        if (before & events == 0) != (set & events == 0) {
            switch(set & events != 0);
        }
    }
    Ok(())
}

/// Switches events on and off by name: `SYSTEM:EVENT`, `SYSTEM:*`, `SYSTEM` or `EVENT`, each
/// with a `!` before it to be switched off, separated by white space or commas. Where the first
/// has none, what is not named is switched off (Linux: `> set_event`; else `>> set_event`).
///
/// # Errors
/// As [`set_events`]; a name that is none's is invalid.
pub fn set_event_names(names: &str) -> Result<(), TraceError> {
    let names = || names.split([' ', '\t', '\n', ',']).filter(|name| !name.is_empty());
    let parsed = names().try_fold((0u32, 0u32), |(on, off), name| {
        Some(match name.strip_prefix('!') {
            Some(name) => (on & !matching(name)?, off | matching(name)?),
            None => (on | matching(name)?, off & !matching(name)?),
        })
    });
    let (on, off) = parsed.ok_or(TraceError::Invalid)?;
    let keeps = names().next().is_some_and(|name| name.starts_with('!'));
    change_events(|before| if keeps { before & !off | on } else { on })
}

/// The events that a name stands for; `None` where there are none.
fn matching(name: &str) -> Option<u32> {
    let is = |pattern: &str, text: &str| match pattern.strip_suffix('*') {
        Some(start) => text.starts_with(start),
        None => pattern == text,
    };
    let events = EVENTS.iter().enumerate().filter(|(_, event)| match name.split_once(':') {
        Some((system, "")) => is(system, event.system),
        Some((system, name)) => is(system, event.system) && is(name, event.name),
        None => is(name, event.system) || is(name, event.name),
    });
    let set = events.fold(0, |set, (n, _)| set | 1 << n);
    (set != 0).then_some(set)
}
