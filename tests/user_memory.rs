//! Code at EL0 whose memory comes by faults.

#![no_std]
#![no_main]

extern crate alloc;

mod harness;

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering::Relaxed};
use granule::addr::{PAGE_SIZE, UserAddr, UserRange};
use granule::arch::el0_entry::{self, Cause, Fast, FastRegs, Slow, User};
use granule::arch::esr::{Exception, Syndrome};
use granule::arch::exception::PtRegs;
use granule::arch::fault::{self, Access, Fault};
use granule::arch::pgtable::{MemoryType, Prot, UserAttrs};
use granule::arch::uaccess::{Efault, UserPtr, UserSlice};
use granule::arch::{CpuId, IrqMasked, irq};
use granule::mm::kthread::kthread_create_on_cpu;
use granule::mm::memory::{Area, MmCounter, UserTables, Zap};
use granule::mm::page_alloc;
use granule::mm::vmstat::{NodeStat, node_page_state};
use granule::sched::{Mm, MmRef, kthread_unuse_mm, kthread_use_mm};

core::arch::global_asm!(
    ".pushsection .rodata.user_text, \"a\"",
    ".balign 4",
    ".global user_text, user_write, user_read, user_add, user_text_end",
    "user_text:",
    // Writes x1 to x0 pages of x2 on.
    "user_write:",
    "1: str x1, [x2]",
    "add x2, x2, #4096",
    "subs x0, x0, #1",
    "b.ne 1b",
    "svc #0",
    // The sum of the first words of x0 pages from x2 on, in x3.
    "user_read:",
    "mov x3, #0",
    "1: ldr x1, [x2]",
    "add x2, x2, #4096",
    "add x3, x3, x1",
    "subs x0, x0, #1",
    "b.ne 1b",
    "svc #0",
    // Adds 1 to a word of each of x0 pages from x2 on, as one of several that do.
    "user_add:",
    "1: ldaxr x1, [x2]",
    "add x1, x1, #1",
    "stlxr w4, x1, [x2]",
    "cbnz w4, 1b",
    "add x2, x2, #4096",
    "subs x0, x0, #1",
    "b.ne 1b",
    "svc #0",
    "user_text_end:",
    ".popsection",
);

macro_rules! program {
    ($name:ident) => {{
        unsafe extern "C" {
            static $name: u8;
            static user_text: u8;
        }
        at(TEXT, (&raw const $name).addr() - (&raw const user_text).addr())
    }};
}

const TEXT: UserAddr = UserAddr::new(0x40_0000).unwrap();
/// Memory that may be read and written.
const DATA: UserAddr = UserAddr::new(0x1000_0000).unwrap();
const DATA_PAGES: usize = 16 << 10;
/// Memory that may be read.
const RODATA: UserAddr = UserAddr::new(0x7000_0000_0000).unwrap();

fn at(base: UserAddr, bytes: usize) -> UserAddr {
    base.checked_add(bytes).expect("a user's")
}

fn pages(base: UserAddr, first: usize, count: usize) -> UserRange {
    UserRange::from_size(at(base, first * PAGE_SIZE), count * PAGE_SIZE).expect("a user's")
}

fn attrs(prot: Prot) -> UserAttrs {
    UserAttrs::new(MemoryType::Normal, prot).expect("normal memory")
}

const RW: Prot = Prot::READ.union(Prot::WRITE);
const RX: Prot = Prot::READ.union(Prot::EXEC);

fn area(range: UserRange, prot: Prot) -> Area<'static> {
    Area { range, attrs: attrs(prot), shared: false, file: None, pgoff: 0, anon: 1, anon_pgoff: 0 }
}

/// The area of an address.
fn find(at: UserAddr) -> Option<Area<'static>> {
    [(pages(TEXT, 0, 1), RX), (pages(DATA, 0, DATA_PAGES), RW), (pages(RODATA, 0, 16), Prot::READ)]
        .into_iter()
        .find(|(range, _)| range.contains(at))
        .map(|(range, prot)| area(range, prot))
}

/// The tables that faults are resolved in.
static TABLES: AtomicPtr<UserTables> = AtomicPtr::new(core::ptr::null_mut());
static SLOW: AtomicUsize = AtomicUsize::new(0);
static FROM_KERNEL: AtomicUsize = AtomicUsize::new(0);
static FAST: AtomicUsize = AtomicUsize::new(0);

fn tables() -> &'static UserTables {
    let tables = NonNull::new(TABLES.load(Relaxed)).expect("a program runs");
    // SAFETY: set for as long as a `Space` is there.
    unsafe { tables.as_ref() }
}

fn slow(at: UserAddr, access: Access, from_kernel: bool) -> Result<(), Fault> {
    assert!(!irq::is_masked());
    SLOW.fetch_add(1, Relaxed);
    FROM_KERNEL.fetch_add(from_kernel.into(), Relaxed);
    tables().handle_mm_fault(&find(at).ok_or(Fault::MapErr)?, at, access)
}

fn fast(at: UserAddr, access: Access, irq: &IrqMasked) -> bool {
    FAST.fetch_add(1, Relaxed);
    find(at).is_some_and(|area| tables().try_handle_mm_fault(irq, &area, at, access))
}

#[repr(C)]
struct Owner {
    tables: UserTables,
}

unsafe fn release(mm: NonNull<Mm>) {
    TABLES.store(core::ptr::null_mut(), Relaxed);
    // SAFETY: from the box of `Space::new`, of which it is the first field.
    drop(unsafe { Box::from_raw(mm.cast::<Owner>().as_ptr()) });
}

/// An address space with the programs at `TEXT`.
struct Space {
    mm: MmRef,
}

impl Space {
    fn new() -> Self {
        fault::set_handler(slow, fast);
        let owner = Box::new(Owner { tables: UserTables::new(release).expect("a PGD") });
        let owner = Box::leak(owner);
        TABLES.store(&raw mut owner.tables, Relaxed);
        // SAFETY: just created, in a box that `release` frees.
        let space = Self { mm: unsafe { MmRef::new(NonNull::from(owner).cast()) } };
        unsafe extern "C" {
            static user_text: u8;
            static user_text_end: u8;
        }
        let start = &raw const user_text;
        let bytes = (&raw const user_text_end).addr() - start.addr();
        // SAFETY: constants of the image, between two symbols.
        let code = unsafe { core::slice::from_raw_parts(start, bytes) };
        let text = pages(TEXT, 0, 1);
        tables().populate(&area(text, RW), text, true).expect("memory");
        space.with(|| {
            let to = UserSlice::from_size(TEXT, bytes).expect("a user's");
            assert_eq!(to.copy_from(code), Ok(()));
        });
        tables().change_protection(text, attrs(RX), false);
        space
    }

    fn with<R>(&self, f: impl FnOnce() -> R) -> R {
        kthread_use_mm(self.mm.clone()).expect("enough ASIDs");
        let result = f();
        drop(kthread_unuse_mm().expect("it was used"));
        result
    }
}

/// A program that ends at its first call, or fault that is not resolved.
struct Program(RefCell<Option<(Cause, PtRegs)>>);

impl User for Program {
    fn sync(&self, _: &mut FastRegs<'_>, _: Syndrome, _: &IrqMasked) -> Fast {
        Fast::AllRegisters
    }
    fn interrupt(&self, _: &IrqMasked) -> Fast {
        Fast::Return
    }
    fn all_registers(&self, regs: &mut PtRegs, cause: Cause) -> Slow {
        *self.0.borrow_mut() = Some((cause, regs.clone()));
        Slow::Leave
    }
}

/// Runs the program at `pc`; what ended it, and its registers then.
fn run(pc: UserAddr, x: [u64; 3]) -> (Cause, PtRegs) {
    let program = Program(RefCell::new(None));
    let mut regs = PtRegs::user(pc, DATA);
    regs.x[..3].copy_from_slice(&x);
    el0_entry::run(&regs, (0, 0), &program);
    program.0.into_inner().expect("it has ended")
}

fn is_done(cause: Cause) -> bool {
    matches!(cause, Cause::Sync(syndrome) if syndrome.exception() == Exception::Svc(0))
}

fn write(first: usize, count: usize, value: u64) {
    let to = at(DATA, first * PAGE_SIZE).get() as u64;
    let (cause, regs) = run(program!(user_write), [count as u64, value, to]);
    assert!(is_done(cause), "{cause:?}\n{regs}");
}

fn sum(first: usize, count: usize) -> u64 {
    let from = at(DATA, first * PAGE_SIZE).get() as u64;
    let (cause, regs) = run(program!(user_read), [count as u64, 0, from]);
    assert!(is_done(cause), "{cause:?}\n{regs}");
    regs.x[3]
}

/// True once a test has had threads.
static HAD_THREADS: AtomicBool = AtomicBool::new(false);

/// Runs `f` in an address space, and checks that all memory is back when that has ended. It runs
/// twice, as what the first leaves in caches (stacks of threads) is nobody's.
fn with_space(f: impl Fn(&Space)) {
    for is_measured in [false, true] {
        page_alloc::drain_all_pages();
        let used = || (page_alloc::nr_used_pages(), node_page_state(None, NodeStat::PageTable));
        let before = used();
        let space = Space::new();
        f(&space);
        tables().validate().expect("all adds up");
        drop(space);
        page_alloc::drain_all_pages();
        assert_eq!(node_page_state(None, NodeStat::AnonMapped), 0);
        // Of threads that have ended, stacks go back when their CPUs have left them.
        let is_exact = is_measured && !HAD_THREADS.load(Relaxed);
        assert!(!is_exact || used() == before, "{:?}, and {before:?} before", used());
    }
}

kernel_tests! {
    fn programs_get_memory_by_faults() {
        with_space(|space| space.with(|| {
            assert_eq!(sum(0, 1000), 0);
            assert_eq!(tables().rss(MmCounter::Anon), 1, "the text's page");
            write(100, 600, 7);
            assert_eq!(sum(0, 1000), 600 * 7);
            assert_eq!(tables().rss(MmCounter::Anon), 601);
            assert_eq!(node_page_state(None, NodeStat::AnonMapped), 601);
            tables().zap(pages(DATA, 200, 100), Zap::All);
            assert_eq!(sum(0, 1000), 500 * 7);
            tables().change_protection(pages(DATA, 0, 1000), attrs(Prot::READ), false);
            tables().change_protection(pages(DATA, 0, 1000), attrs(RW), false);
            write(0, 1000, 3);
            assert_eq!(sum(0, 1000), 3000);
            tables().move_tables(DATA, at(DATA, 4096 * PAGE_SIZE), 1000 * PAGE_SIZE).expect("memory");
            assert_eq!(sum(4096, 1000), 3000);
            assert_eq!(sum(0, 1000), 0);
        }));
        assert!(FAST.load(Relaxed) > SLOW.load(Relaxed), "most faults find what they need");
    }

    fn an_access_that_nothing_allows_ends_the_program() {
        with_space(|space| space.with(|| {
            let to = |at: UserAddr| [1, 0, at.get() as u64];
            let guard = at(DATA, 5 * PAGE_SIZE);
            tables().install_guard(pages(DATA, 5, 1)).expect("memory");
            for (pc, place, why) in [
                (program!(user_write), RODATA, Fault::AccErr),
                (program!(user_write), TEXT, Fault::AccErr),
                (program!(user_read), at(DATA, DATA_PAGES * PAGE_SIZE), Fault::MapErr),
                (program!(user_write), UserAddr::default(), Fault::MapErr),
                (program!(user_read), guard, Fault::MapErr),
                (DATA, DATA, Fault::AccErr),
            ] {
                let (cause, regs) = run(pc, to(place));
                assert!(matches!(cause, Cause::Fault(_, fault) if fault == why), "{place}: {cause:?}");
                assert_eq!(regs.far, place.get() as u64);
            }
            let (cause, _) = run(program!(user_read), to(RODATA));
            assert!(is_done(cause));
        }));
    }

    fn the_kernel_s_accesses_bring_memory_in() {
        with_space(|space| space.with(|| {
            let before = FROM_KERNEL.load(Relaxed);
            assert_eq!(UserPtr::new(DATA).put(0x1234_5678u64), Ok(()));
            assert_eq!(UserPtr::<u64>::new(at(DATA, PAGE_SIZE)).get(), Ok(0));
            let bytes: Vec<u8> = (0..3 * PAGE_SIZE).map(|n| n as u8).collect();
            let place = at(DATA, 8 * PAGE_SIZE - 100);
            let slice = UserSlice::from_size(place, bytes.len()).expect("a user's");
            assert_eq!(slice.copy_from(&bytes), Ok(()));
            let mut back = alloc::vec![0; bytes.len()];
            assert_eq!(slice.copy_to(&mut back), Ok(()));
            assert!(back == bytes);
            assert_eq!(FROM_KERNEL.load(Relaxed) - before, 6);
            assert_eq!(sum(0, 1), 0x1234_5678);
            // What nothing allows fails exactly.
            assert_eq!(UserPtr::new(RODATA).put(1u8), Err(Efault { not_copied: 1 }));
            let end = at(DATA, DATA_PAGES * PAGE_SIZE - 10);
            let over = UserSlice::from_size(end, 30).expect("a user's");
            assert_eq!(over.copy_from(&bytes[..30]), Err(Efault { not_copied: 20 }));
            // With interrupts masked nobody is asked.
            let asked = SLOW.load(Relaxed);
            let masked = irq::with_masked(|_| UserPtr::<u64>::new(at(DATA, 64 * PAGE_SIZE)).get());
            assert_eq!(masked, Err(Efault { not_copied: 8 }));
            assert_eq!(SLOW.load(Relaxed), asked);
        }));
    }

    fn threads_of_one_space_fault_at_once() {
        const PAGES: u64 = 3000;
        HAD_THREADS.store(true, Relaxed);
        with_space(|space| {
            let start = |cpu| {
                let mm = space.mm.clone();
                let thread = kthread_create_on_cpu("user", cpu, move || {
                    kthread_use_mm(mm).expect("enough ASIDs");
                    for _ in 0..3 {
                        let (cause, regs) = run(program!(user_add), [PAGES, 0, DATA.get() as u64]);
                        assert!(is_done(cause), "{cause:?}\n{regs}");
                    }
                    drop(kthread_unuse_mm());
                    0
                });
                let thread = thread.expect("a thread");
                thread.wake_up();
                thread
            };
            let cpus: Vec<CpuId> = page_alloc::cpus_online().take(3).collect();
            let threads: Vec<_> = cpus.iter().map(|&cpu| start(cpu)).collect();
            for thread in threads {
                assert_eq!(thread.join(), 0);
            }
            space.with(|| assert_eq!(sum(0, PAGES as usize), 3 * PAGES * cpus.len() as u64));
            assert_eq!(tables().rss(MmCounter::Anon), PAGES as usize + 1);
        });
    }
}
