//! Models of what memory management shares without a lock.

use crate::bbm_window::BbmWindow;
use crate::closed::Closed;
use crate::gate::Gate;
use crate::life::Life;
use crate::offer::{Offer, Progress};
use crate::shim::atomic::{AtomicU16, AtomicU32, Ordering};
use crate::sync::Request;
use loom::cell::UnsafeCell;
use loom::thread;
use std::sync::Arc;

/// Two reasons come and one goes, while a CPU comes up: each writes what that CPU looks at.
pub fn a_path_stays_closed_while_there_is_a_reason() {
    struct Shared {
        closed: Closed,
        /// State of the path that the CPU reads: open or not.
        looks_at: AtomicU32,
    }
    impl Shared {
        fn settle(&self) {
            self.closed.update(|open| self.looks_at.store(open.into(), Ordering::Relaxed));
        }
        fn set(&self, why: u32, open: bool) {
            self.closed.set(why, open);
            self.settle();
        }
    }
    let shared = Arc::new(Shared { closed: Closed::new(), looks_at: AtomicU32::new(1) });
    assert_eq!(shared.looks_at.load(Ordering::Relaxed), 1);
    shared.set(2, false);
    let other = Arc::clone(&shared);
    let closes = thread::spawn(move || other.set(1, false));
    let other = Arc::clone(&shared);
    let comes_up = thread::spawn(move || other.settle());
    shared.set(2, true);
    closes.join().expect("no panic");
    comes_up.join().expect("no panic");
    assert_eq!(shared.looks_at.load(Ordering::Relaxed), 0, "open, and there is a reason");
    shared.set(1, true);
    assert_eq!(shared.looks_at.load(Ordering::Relaxed), 1, "closed for no reason");
}

const PCP: u16 = 1 << 5;
const HWPOISON: u16 = 1 << 7;

/// A frame's descriptor.
struct Descriptor {
    refcount: AtomicU32,
    flags: AtomicU16,
}

impl Descriptor {
    fn new(refcount: u32, flags: u16) -> Self {
        let this = Self { refcount: AtomicU32::new(refcount), flags: AtomicU16::new(flags) };
        // The words are made here, before there is a second CPU.
        assert_eq!((this.refcount.load(Ordering::Relaxed), this.flags()), (refcount, flags));
        this
    }
    fn life(&self) -> Life<'_> {
        Life { refcount: &self.refcount, flags: &self.flags }
    }
    fn flags(&self) -> u16 {
        self.flags.load(Ordering::Relaxed)
    }
    /// A store. As a swap, for loom keeps no order between a store and another CPU's
    /// read-modify-write that is not ordered otherwise.
    fn overwrite(&self, flags: u16) {
        self.flags.swap(flags, Ordering::Relaxed);
    }
}

/// `memory_failure` finds a page in use that another CPU has just allocated.
pub fn an_allocation_keeps_a_mark_that_follows_it() {
    let page = Arc::new(Descriptor::new(0, 1 << 1));
    let other = Arc::clone(&page);
    let fails = thread::spawn(move || {
        let in_use = other.life().is_in_use();
        if in_use {
            other.life().mark(HWPOISON);
        }
        in_use
    });
    page.life().hand_out();
    let in_use = fails.join().expect("no panic");
    assert_eq!(page.flags(), if in_use { HWPOISON } else { 0 });
}

/// A CPU frees a page, and may allocate it again, while another finds it to be bad: as
/// `pcp::free`, `pcp::alloc_fast`, `drain_local_pages` and `memory_failure` do. Each masked
/// section of the first CPU is one of its steps between interrupts.
pub fn a_bad_page_is_not_freed_as_a_good_one() {
    struct Shared {
        page: Descriptor,
        drain: Request,
        over: AtomicU32,
    }
    impl Shared {
        /// The interrupt by which the other CPU asks to drain.
        fn interrupt(&self) {
            self.drain.run_if_requested(|| {
                if self.page.flags() & PCP != 0 {
                    // To the zone.
                    self.page.overwrite(0);
                    self.page.refcount.store(0, Ordering::Relaxed);
                }
            });
        }
        /// Frees the page; whether it was kept out, as bad ones are.
        fn free(&self) -> bool {
            let is_plain = self.page.flags() == 0;
            if is_plain {
                self.page.overwrite(PCP);
            }
            !is_plain
        }
        /// Takes the page off the list, if it is there.
        fn alloc(&self) -> bool {
            let is_there = self.page.flags() & PCP != 0;
            if is_there {
                self.page.overwrite(0);
            }
            is_there
        }
        /// Returns true if the page is marked, so that its free takes it out.
        fn fail(&self) -> bool {
            let is_allocated = || self.page.life().is_in_use() && self.page.flags() & PCP == 0;
            if !is_allocated() {
                return false;
            }
            self.page.life().mark(HWPOISON);
            let ticket = self.drain.ask();
            while !self.drain.is_answered(ticket) {
                thread::yield_now();
            }
            is_allocated() && self.page.flags() & HWPOISON != 0
        }
    }
    let (page, over) = (Descriptor::new(1, 0), AtomicU32::new(0));
    let shared = Arc::new(Shared { page, drain: Request::new(), over });
    shared.drain.run_if_requested(|| unreachable!("nobody asked"));
    assert_eq!(shared.over.load(Ordering::Relaxed), 0);
    let other = Arc::clone(&shared);
    let fails = thread::spawn(move || {
        let delayed = other.fail();
        other.over.store(1, Ordering::Release);
        delayed
    });
    let mut kept_out = shared.free();
    shared.interrupt();
    if !kept_out && shared.alloc() {
        shared.interrupt();
        kept_out = shared.free();
    }
    // Idle from here on, but for interrupts.
    while shared.over.load(Ordering::Acquire) == 0 {
        shared.interrupt();
        thread::yield_now();
    }
    let delayed = fails.join().expect("no panic");
    assert!(kept_out || !delayed, "to be kept out, and on a list");
}

/// Two holders of a page write to it and let go; who is the last frees it.
pub fn the_last_reference_sees_what_all_did() {
    struct Shared {
        page: Descriptor,
        bytes: [UnsafeCell<u32>; 2],
    }
    // SAFETY: loom checks who is at the bytes, and when.
    unsafe impl Sync for Shared {}
    // SAFETY: as above.
    unsafe impl Send for Shared {}
    impl Shared {
        fn use_and_put(&self, n: usize) -> bool {
            // SAFETY: loom checks that nobody else is there.
            self.bytes[n].with_mut(|at| unsafe { *at = 7 });
            let is_last = self.page.life().put() == 1;
            if is_last {
                for bytes in &self.bytes {
                    // SAFETY: as above.
                    bytes.with(|at| assert_eq!(unsafe { *at }, 7));
                }
            }
            is_last
        }
    }
    let page = Descriptor::new(1, 0);
    let shared = Arc::new(Shared { page, bytes: [UnsafeCell::new(0), UnsafeCell::new(0)] });
    assert_eq!(shared.page.life().get(), 1);
    let other = Arc::clone(&shared);
    let second = thread::spawn(move || other.use_and_put(1));
    let first = shared.use_and_put(0);
    assert!(first != second.join().expect("no panic"), "one of them is the last");
}

/// A holder writes to a page and lets go. Its owner finds itself alone by a look at the count,
/// with no atomic addition, and reuses the page; or drops its reference, and the other is last.
pub fn an_owner_that_is_alone_again_sees_what_others_did() {
    struct Shared {
        page: Descriptor,
        byte: UnsafeCell<u32>,
    }
    // SAFETY: loom checks who is at the byte, and when.
    unsafe impl Sync for Shared {}
    // SAFETY: as above.
    unsafe impl Send for Shared {}
    impl Shared {
        fn reuse(&self) {
            // SAFETY: loom checks that nobody else is there.
            self.byte.with_mut(|at| unsafe {
                assert_eq!(*at, 7);
                *at = 0;
            });
        }
    }
    let page = Descriptor::new(1, 0);
    let shared = Arc::new(Shared { page, byte: UnsafeCell::new(0) });
    assert!(shared.page.life().try_get(), "its owner has it");
    let other = Arc::clone(&shared);
    let second = thread::spawn(move || {
        // SAFETY: loom checks that nobody else is there.
        other.byte.with_mut(|at| unsafe { *at = 7 });
        if other.page.life().put() == 1 {
            other.reuse();
        }
    });
    if shared.page.life().count() == 1 || shared.page.life().put() == 1 {
        shared.reuse();
    }
    second.join().expect("no panic");
}

/// Two timers open the gate, and two allocations go through while they may.
pub fn a_gate_lets_one_through_and_its_key_is_taken() {
    struct Shared {
        gate: Gate,
        /// Number of users that hold the key on.
        key: AtomicU32,
        opened: AtomicU32,
        through: AtomicU32,
    }
    impl Shared {
        fn tick(&self) {
            self.gate.open(|| {
                self.key.fetch_add(1, Ordering::Relaxed);
                self.opened.fetch_add(1, Ordering::Relaxed);
            });
        }
        fn allocate(&self) {
            if self.gate.is_open()
                && self.gate.pass(|| {
                    let taken = self.key.fetch_sub(1, Ordering::Relaxed);
                    assert!(taken > 0, "a key is given back that nobody took");
                })
            {
                self.through.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
    let word = || AtomicU32::new(0);
    let shared =
        Arc::new(Shared { gate: Gate::new(), key: word(), opened: word(), through: word() });
    let all = || [&shared.key, &shared.opened, &shared.through].map(|w| w.load(Ordering::Relaxed));
    assert_eq!((all(), shared.gate.is_closed()), ([0; 3], true));
    let spawn = |f: fn(&Shared)| {
        let shared = Arc::clone(&shared);
        thread::spawn(move || f(&shared))
    };
    let others = [spawn(Shared::tick), spawn(Shared::allocate)];
    shared.tick();
    shared.allocate();
    others.into_iter().for_each(|other| other.join().expect("no panic"));
    let [key, opened, through] = all();
    assert_eq!(key, u32::from(shared.gate.is_open()), "the key of a closed gate is taken");
    assert_eq!(opened, through + key, "each opening is for one");
}

/// A CPU reads what another one's break takes away for a moment, twice; and what is not mapped
/// at all.
pub fn a_fault_between_break_and_make_is_tried_again() {
    struct Shared {
        bbm: BbmWindow,
        /// True (1) while a table's entry is valid.
        valid: AtomicU32,
    }
    let shared = Arc::new(Shared { bbm: BbmWindow::new(), valid: AtomicU32::new(1) });
    assert_eq!(shared.valid.load(Ordering::Relaxed), 1);
    shared.bbm.begin(0);
    shared.bbm.end();
    let other = Arc::clone(&shared);
    let reads = thread::spawn(move || {
        let is_mapped = || other.valid.load(Ordering::Acquire) == 1;
        if !is_mapped() {
            assert!(other.bbm.is_spurious_fault(1, is_mapped), "a fault that was of a moment");
        }
        assert!(!other.bbm.is_spurious_fault(1, || false), "nothing is there");
    });
    for _ in 0..2 {
        shared.bbm.begin(0);
        shared.valid.store(0, Ordering::Release);
        assert!(!shared.bbm.is_spurious_fault(0, || false), "its own fault");
        shared.valid.store(1, Ordering::Release);
        shared.bbm.end();
    }
    reads.join().expect("no panic");
}

/// A core that was sent off comes while the boot CPU gives it up: it parks, or the stack that it
/// was sent off with is its own. Where it was given up the boot CPU may have the stack.
pub fn a_late_core_parks_or_has_its_stack_for_itself() {
    struct Shared {
        offer: Offer,
        stack: UnsafeCell<u32>,
        came: UnsafeCell<u32>,
    }
    // SAFETY: loom checks who is at the cells, and when.
    unsafe impl Sync for Shared {}
    // SAFETY: as above.
    unsafe impl Send for Shared {}
    let (stack, came) = (UnsafeCell::new(0), UnsafeCell::new(0));
    let shared = Arc::new(Shared { offer: Offer::new(), stack, came });
    assert!(shared.offer.progress() == Progress::NotExpected && !shared.offer.withdraw());
    // What the core finds on its stack is written before it is sent off.
    shared.stack.with_mut(|at| {
        // SAFETY: there is no other CPU yet.
        unsafe { *at = 1 }
    });
    assert!(shared.offer.send(), "for the first time");
    let other = Arc::clone(&shared);
    let core = thread::spawn(move || {
        let claimed = other.offer.claim();
        if claimed {
            add(&other.stack, 1);
            add(&other.came, 0);
            other.offer.came_up();
        }
        claimed
    });
    let withdrawn = shared.offer.withdraw();
    if withdrawn {
        add(&shared.stack, 1);
    } else {
        while shared.offer.progress() != Progress::Up {
            thread::yield_now();
        }
        // What the core did before it was up is seen.
        // SAFETY: loom checks that nobody writes it any more.
        shared.came.with(|at| assert_eq!(unsafe { *at }, 1));
    }
    assert!(withdrawn != core.join().expect("no panic"), "the number is one's alone");
    assert!(!withdrawn || shared.offer.progress() == Progress::NotExpected);
}

/// Adds 1 to what is `expected` in two steps, as who has it alone.
fn add(cell: &UnsafeCell<u32>, expected: u32) {
    cell.with_mut(|at| {
        // SAFETY: loom checks that nobody else is there.
        unsafe {
            assert_eq!(*at, expected);
            *at += 1;
        }
    });
}
