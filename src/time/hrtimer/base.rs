//! A CPU's queues of timers, and the part of a timer that they know.
//!
//! The mechanism: it reaches timers by their addresses, under the lock of the queues.

use super::heap::{Heap, Links, Nodes};
use super::{ClockId, Expiry, HrTimerRestart};
use crate::arch::CpuId;
use core::cell::Cell;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicUsize, Ordering};

/// CPU of a timer that was never started.
const NEVER: usize = usize::MAX;

/// Function that calls that of a timer.
type Call = unsafe fn(NodePtr, &mut Expiry) -> HrTimerRestart;

/// The part of a timer by which it is queued. It is used by the holder of the lock of the queues of
/// `cpu`, which changes under that lock.
pub struct Node {
    links: Links<NodePtr>,
    expires: Cell<u64>,
    /// Number by which those of one time are in the order in which they were started.
    number: Cell<u64>,
    queued: Cell<bool>,
    cpu: AtomicUsize,
    clock: ClockId,
    call: Call,
}

/// Address of the node of a timer, by which the timer around it can be reached too.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct NodePtr(NonNull<Node>);

impl NodePtr {
    /// # Safety
    /// The node is that of a timer, by a pointer to the whole of it. The timer is there while the
    /// value is used: it is borrowed, is on a queue, or its function runs, as each timer is pinned and
    /// cancelled before it goes.
    pub const unsafe fn new(node: NonNull<Node>) -> Self {
        Self(node)
    }
    fn node(&self) -> &Node {
        // SAFETY: it is there while this value is used (`new`).
        unsafe { self.0.as_ref() }
    }
    pub const fn get(self) -> NonNull<Node> {
        self.0
    }
    /// Calls the timer's function.
    ///
    /// # Safety
    /// The timer is there until this returns.
    pub unsafe fn call(self, expiry: &mut Expiry) -> HrTimerRestart {
        let call = self.node().call;
        // SAFETY: the node is that of a timer of the type that `call` is for, and it is there.
        unsafe { call(self, expiry) }
    }
}

impl Node {
    pub const fn new(clock: ClockId, call: Call) -> Self {
        Self {
            links: Links::new(),
            expires: Cell::new(0),
            number: Cell::new(0),
            queued: Cell::new(false),
            cpu: AtomicUsize::new(NEVER),
            clock,
            call,
        }
    }
    /// Returns the CPU to whose queues it belongs.
    pub fn cpu(&self, order: Ordering) -> CpuId {
        CpuId::new(self.cpu.load(order)).unwrap_or(CpuId::BOOT)
    }
    pub fn set_cpu(&self, cpu: CpuId, order: Ordering) {
        self.cpu.store(cpu.index(), order);
    }
    pub fn was_started(&self) -> bool {
        self.cpu.load(Ordering::Relaxed) != NEVER
    }
    pub fn clock(&self) -> ClockId {
        self.clock
    }
    pub fn is_queued(&self) -> bool {
        self.queued.get()
    }
}

/// Way from the addresses of timers on queues to the timers.
struct Queued;

impl Nodes for Queued {
    type Id = NodePtr;
    fn links(&self, id: NodePtr) -> &Links<NodePtr> {
        // SAFETY: a timer on a queue is there (`NodePtr::new`).
        unsafe { &id.0.as_ref().links }
    }
    fn key(&self, id: NodePtr) -> (u64, u64) {
        let node = id.node();
        (node.expires.get(), node.number.get())
    }
}

/// A CPU's queues, one for each clock.
pub struct Base {
    monotonic: Heap<NodePtr>,
    realtime: Heap<NodePtr>,
    /// The timer whose function runs.
    running: Option<NodePtr>,
    started: u64,
    len: usize,
}

// SAFETY: what it names is used under its lock alone, by any CPU.
unsafe impl Send for Base {}

impl Base {
    pub const fn new() -> Self {
        Self { monotonic: Heap::new(), realtime: Heap::new(), running: None, started: 0, len: 0 }
    }

    /// Returns the number of timers on the queues.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Returns true if the function of this timer runs.
    pub fn runs(&self, at: NodePtr) -> bool {
        self.running == Some(at)
    }

    fn heap(&mut self, clock: ClockId) -> &mut Heap<NodePtr> {
        match clock {
            ClockId::Monotonic => &mut self.monotonic,
            ClockId::Realtime => &mut self.realtime,
        }
    }

    /// Puts a timer in for a time of its clock.
    ///
    /// # Panics
    /// It is in already.
    pub fn enqueue(&mut self, at: NodePtr, expires: u64) {
        let node = at.node();
        assert!(!node.queued.replace(true), "a timer is put in twice");
        self.started += 1;
        node.expires.set(expires);
        node.number.set(self.started);
        self.len += 1;
        self.heap(node.clock).insert(&Queued, at);
    }

    /// Takes a timer of this CPU out. Returns true if it was in.
    pub fn dequeue(&mut self, at: NodePtr) -> bool {
        let node = at.node();
        let queued = node.queued.replace(false);
        if queued {
            self.len -= 1;
            self.heap(node.clock).remove(&Queued, at);
        }
        queued
    }

    /// Returns true if it is the first of those of its clock.
    pub fn is_first(&mut self, at: NodePtr) -> bool {
        self.heap(at.node().clock).first() == Some(at)
    }

    /// Returns the first of all times, of the monotonic clock, where the realtime clock is ahead of it
    /// by `offset`.
    pub fn next_event(&self, offset: u64) -> Option<u64> {
        let time = |at: NodePtr| at.node().expires.get();
        let monotonic = self.monotonic.first().map(time);
        let realtime = self.realtime.first().map(|at| time(at).saturating_sub(offset));
        monotonic.into_iter().chain(realtime).min()
    }

    /// Takes the first timer out whose time has come when the monotonic clock shows `now`, as the one
    /// whose function runs. Returns it with its time and clock.
    pub fn begin(&mut self, now: u64, offset: u64) -> Option<(NodePtr, u64, ClockId)> {
        let due =
            |first: Option<NodePtr>, now: u64| first.filter(|at| at.node().expires.get() <= now);
        let at = due(self.monotonic.first(), now)
            .or_else(|| due(self.realtime.first(), now.saturating_add(offset)))?;
        self.dequeue(at);
        self.running = Some(at);
        Some((at, at.node().expires.get(), at.node().clock))
    }

    /// Ends the run of its function. It waits for the time `again`, if there is one, unless it was
    /// started meanwhile. Without the lock it may be gone from here on.
    pub fn end(&mut self, at: NodePtr, again: Option<u64>) {
        if let Some(expires) = again
            && !at.node().queued.get()
        {
            self.enqueue(at, expires);
        }
        self.running = None;
    }
}
