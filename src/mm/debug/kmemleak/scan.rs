//! A scan, and what it reports.

use super::super::memory::for_each_word;
use super::super::objects::{
    AREA, BLACK, COUNT, CRC, DEAD_LINK, LINK, MIN_COUNT, Node, ObjectFlags, PID, SIZE, STACK,
};
use super::super::report::report;
use super::super::stackdepot::{Handle, Stack};
use super::{State, kmemleak_on, with_state};
use crate::addr::{PAGE_SIZE, VirtAddr, VirtRange};
use crate::arch::{cpu, stack_pointer};
use crate::percpu;
use crate::sched;
use core::fmt;

/// Bytes that are looked at under one hold of the lock (Linux: MAX_SCAN_SIZE).
const PIECE: usize = PAGE_SIZE;

/// Result of a scan.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ScanResult {
    /// Leaks that are new, and were reported.
    pub new_leaks: usize,
    /// Objects with no reference to them, that have changed since the last scan: one of
    /// another CPU's registers may hold their address.
    pub suspects: usize,
    /// Objects that it knows.
    pub objects: usize,
}

impl State {
    /// Notes a reference to whatever `word` is an address in.
    fn refer(&mut self, word: usize) {
        let Some(node) = self.objects.find(VirtAddr::new(word)) else { return };
        let objects = &self.objects;
        let (count, min) = (objects.get(node, COUNT) + 1, objects.get(node, MIN_COUNT));
        objects.set(node, COUNT, count);
        if min != BLACK && count >= min {
            self.queue(node);
        }
    }

    /// Has an object scanned, once.
    fn queue(&mut self, node: Node) {
        if !self.objects.flags(node).contains(ObjectFlags::QUEUED) {
            self.objects.set_flag(node, ObjectFlags::QUEUED, true);
            self.objects.set(node, LINK, self.grey);
            self.grey = node;
        }
    }

    fn scan_words(&mut self, range: VirtRange) {
        for_each_word(range, |word| self.refer(word));
    }

    /// The words of an object that may hold addresses.
    fn words_of(&self, node: Node) -> VirtRange {
        let objects = &self.objects;
        let (start, size) = (objects.start(node), objects.get(node, SIZE) as usize);
        let flags = objects.flags(node);
        if flags.intersects(ObjectFlags::NO_SCAN | ObjectFlags::DEAD) {
            return VirtRange::new(start, start);
        }
        let end = start + size;
        if !flags.contains(ObjectFlags::SCAN_AREA) {
            return VirtRange::new(start, end);
        }
        let area = objects.get(node, AREA);
        let first = start + (area & 0xffff) as usize * 8;
        VirtRange::new(first.min(end), (first + (area >> 16) as usize * 8).min(end))
    }

    /// Calls `f` on each object in order of address.
    fn for_each(&mut self, mut f: impl FnMut(&mut Self, Node)) {
        let mut at = VirtAddr::new(0);
        while let Some(node) = self.objects.next(at) {
            at = self.objects.start(node) + 1;
            f(self, node);
        }
    }

    fn is_white(&self, node: Node) -> bool {
        let (count, min) = (self.objects.get(node, COUNT), self.objects.get(node, MIN_COUNT));
        min != BLACK && count < min
    }
}

/// Calls `f` on the parts of a range, one after the other.
fn pieces(range: VirtRange, mut f: impl FnMut(VirtRange)) {
    let mut at = range.start();
    while at < range.end() {
        let end = at.saturating_add(PIECE).min(range.end());
        f(VirtRange::new(at, end));
        at = end;
    }
}

/// Scans what is queued, and what that leads to.
fn scan_grey() {
    loop {
        let next = with_state(|state| {
            let node = state.grey;
            if node == 0 {
                return None;
            }
            state.grey = state.objects.get(node, LINK);
            Some((node, state.words_of(node)))
        });
        let Some((node, range)) = next else { return };
        pieces(range, |piece| {
            with_state(|state| {
                if !state.objects.flags(node).contains(ObjectFlags::DEAD) {
                    state.scan_words(piece);
                }
            });
        });
        sched::cond_resched();
    }
}

/// Counts the objects, and takes the white ones for used that have changed since the last scan.
fn note_changes(result: &mut ScanResult) {
    let mut at = VirtAddr::new(0);
    let next = |at| with_state(|state| Some(state.look_at(state.objects.next(at)?)));
    while let Some((node, range, is_white)) = next(at) {
        at = range.start() + 1;
        result.objects += 1;
        if !is_white {
            continue;
        }
        let mut sum = Checksum::NEW;
        pieces(range, |piece| {
            with_state(|state| {
                if !state.is_dead(node) {
                    sum.add(piece);
                }
            });
        });
        let has_changed = with_state(|state| {
            let has_changed = !state.is_dead(node) && state.note_checksum(node, sum);
            if has_changed {
                state.objects.set(node, COUNT, state.objects.get(node, MIN_COUNT));
                state.queue(node);
            }
            has_changed
        });
        result.suspects += usize::from(has_changed);
        sched::cond_resched();
    }
}

/// Checksum of an object's words.
#[derive(Clone, Copy)]
struct Checksum(u32);

impl Checksum {
    /// Not 0, so that what is noted first is a change.
    const NEW: Self = Self(0x811c_9dc5);

    fn add(&mut self, piece: VirtRange) {
        for_each_word(piece, |word| {
            let word = word as u64;
            let mixed = (self.0 ^ (word ^ word >> 32) as u32).wrapping_mul(0x0100_0193);
            self.0 = mixed.rotate_left(5);
        });
    }
}

/// Looks for leaks, and reports those that are new and at least `min_age` nanoseconds old
/// (Linux: kmemleak_scan; there, 5 seconds). A leak is found by the second scan after it came
/// to be: the first notes what is in it. A scan that begins during another finds nothing. Process
/// context.
pub fn scan(min_age: u64) -> ScanResult {
    let mut result = ScanResult::default();
    let begun = kmemleak_on()
        && with_state(|state| {
            if state.scanning {
                return false;
            }
            state.scanning = true;
            state.grey = 0;
            state.for_each(|state, node| {
                state.objects.set(node, COUNT, 0);
                state.objects.set_flag(node, ObjectFlags::QUEUED, false);
                if state.objects.get(node, MIN_COUNT) == 0 {
                    state.queue(node);
                }
            });
            true
        });
    if !begun {
        return result;
    }
    // What lies below the stack pointer is nobody's any more.
    let here = stack_pointer();
    let roots = with_state(|state| state.roots.clone());
    for area in percpu::dynamic_areas() {
        // Its last pages may go: those that are there are looked at before anybody can free them.
        let is_there = |piece| percpu::dynamic_areas().any(|now| now.contains_range(piece));
        pieces(area, |piece| {
            with_state(|state| {
                if is_there(piece) {
                    state.scan_words(piece);
                }
            });
        });
    }
    for root in roots.into_iter().chain(percpu::units()) {
        let live = if root.contains(here) { VirtRange::new(here, root.end()) } else { root };
        pieces(live, |piece| with_state(|state| state.scan_words(piece)));
        sched::cond_resched();
    }
    scan_grey();
    // Whose bytes have changed since the last scan is in use, by who is not seen.
    note_changes(&mut result);
    scan_grey();
    let now = cpu::sched_clock();
    let mut at = VirtAddr::new(0);
    while let Some(leak) = with_state(|state| state.next_leak(at, now, min_age)) {
        at = leak.at + 1;
        result.new_leaks += 1;
        report!("{leak}");
    }
    with_state(State::end_scan);
    if result.new_leaks > 0 {
        report!("kmemleak: {} new suspected memory leaks", result.new_leaks);
    }
    result
}

/// The leaks that scans have reported, as debugfs' kmemleak shows them. Its lock is taken for
/// each. While a scan counts references, all that it has not come to looks like one.
pub struct Leaks;

impl fmt::Display for Leaks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let now = cpu::sched_clock();
        let mut at = VirtAddr::new(0);
        let next = |at| with_state(|state| Some(state.leak(state.next_reported(at)?, now)));
        while let Some(leak) = next(at) {
            at = leak.at + 1;
            write!(f, "{leak}")?;
        }
        Ok(())
    }
}

/// Forgets the leaks that were reported: they are none from now on (Linux: kmemleak_clear).
pub fn clear() {
    with_state(|state| {
        let mut at = VirtAddr::new(0);
        while let Some(node) = state.next_reported(at) {
            at = state.objects.start(node) + 1;
            state.objects.set(node, MIN_COUNT, 0);
        }
    });
}

/// Bytes of a leak that a report shows (Linux: HEX_MAX_LINES rows).
const DUMP: usize = 32;

/// Content of a report.
struct Leak {
    at: VirtAddr,
    size: usize,
    pid: u32,
    age: u64,
    crc: u32,
    stack: Option<Handle>,
    bytes: [u8; DUMP],
}

impl State {
    /// An object, its bytes, and whether it is white.
    fn look_at(&self, node: Node) -> (Node, VirtRange, bool) {
        let size = self.objects.get(node, SIZE) as usize;
        (node, VirtRange::from_size(self.objects.start(node), size), self.is_white(node))
    }

    /// Returns true if an object was freed since the scan began.
    fn is_dead(&self, node: Node) -> bool {
        self.objects.flags(node).contains(ObjectFlags::DEAD)
    }

    /// Stores the checksum of an object's words. Returns true if it has changed since the last
    /// scan (Linux: update_checksum).
    fn note_checksum(&mut self, node: Node, sum: Checksum) -> bool {
        let was = self.objects.get(node, CRC);
        self.objects.set(node, CRC, sum.0.max(1));
        was != sum.0.max(1)
    }

    /// The first leak from `at` on that nobody has been told of yet.
    fn next_leak(&mut self, mut at: VirtAddr, now: u64, min_age: u64) -> Option<Leak> {
        loop {
            let node = self.objects.next(at)?;
            at = self.objects.start(node) + 1;
            let age = now.saturating_sub(self.objects.time(node));
            let told = self.objects.flags(node).contains(ObjectFlags::REPORTED);
            if told || !self.is_white(node) || age < min_age {
                continue;
            }
            self.objects.set_flag(node, ObjectFlags::REPORTED, true);
            return Some(self.leak(node, now));
        }
    }

    /// The first object from `at` on that was reported as a leak, and is one yet.
    fn next_reported(&self, mut at: VirtAddr) -> Option<Node> {
        loop {
            let node = self.objects.next(at)?;
            at = self.objects.start(node) + 1;
            let told = self.objects.flags(node).contains(ObjectFlags::REPORTED);
            if told && self.is_white(node) {
                return Some(node);
            }
        }
    }

    /// Collects the content of the report of a leak.
    fn leak(&self, node: Node, now: u64) -> Leak {
        let start = self.objects.start(node);
        let size = self.objects.get(node, SIZE) as usize;
        let mut bytes = [0; DUMP];
        let mut rows = bytes.chunks_exact_mut(8);
        for_each_word(VirtRange::from_size(start, size.min(DUMP)), |word| {
            if let Some(row) = rows.next() {
                row.copy_from_slice(&word.to_ne_bytes());
            }
        });
        Leak {
            at: start,
            size,
            pid: self.objects.get(node, PID),
            age: now.saturating_sub(self.objects.time(node)),
            crc: self.objects.get(node, CRC),
            stack: Handle::from_number(self.objects.get(node, STACK)),
            bytes,
        }
    }

    /// Gives back the nodes of what was freed meanwhile.
    fn end_scan(&mut self) {
        self.scanning = false;
        while self.dead != 0 {
            let node = self.dead;
            self.dead = self.objects.get(node, DEAD_LINK);
            self.objects.free_node(node);
        }
    }
}

/// Linux: print_unreferenced.
impl fmt::Display for Leak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "unreferenced object {} (size {}):", self.at, self.size)?;
        writeln!(f, "  pid {}, age {} ms", self.pid, self.age / 1_000_000)?;
        let shown = self.size.min(DUMP) / 8 * 8;
        writeln!(f, "  hex dump (first {shown} bytes):")?;
        for row in self.bytes[..shown].chunks(16) {
            write!(f, "   ")?;
            row.iter().try_for_each(|byte| write!(f, " {byte:02x}"))?;
            writeln!(f)?;
        }
        write!(f, "  backtrace (crc {:x}):\n{}", self.crc, Stack(self.stack))
    }
}
