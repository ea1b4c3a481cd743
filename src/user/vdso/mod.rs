//! The vDSO, a library that the kernel maps into each program, and its data (Linux:
//! arch/arm64/kernel/vdso.c, kernel/time/vsyscall.c).
//!
//! Programs find it by AT_SYSINFO_EHDR. Its functions read the clock without a system call: the
//! counter by themselves, and its relation to the time from a page that the kernel writes.
//! Linux 6.12 has a `__kernel_getrandom` too, which needs pages that reclaim may drop: it isn't here,
//! and libraries make the call then. arm64 has no getcpu there.

mod special;

use crate::addr::{PAGE_SIZE, PhysAddr, VirtAddr};
use crate::arch::irq::with_masked;
use crate::arch::{clock, image};
use crate::sync::{Once, Rank, SpinLock};
use crate::time::{getboottime64, set_update_vsyscall};
use core::arch::global_asm;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

pub use special::map;

global_asm!(include_str!("vdso.S"));

unsafe extern "C" {
    static vdso_start: [u8; PAGES * PAGE_SIZE];
    static vdso_sigtramp: u8;
}

/// The page before the library, as vdso.S reads it.
#[repr(C, align(4096))]
struct VdsoData {
    seq: AtomicU32,
    has_counter: AtomicU32,
    start: AtomicU64,
    mult: AtomicU64,
    boot_time: AtomicU64,
}

static DATA: VdsoData = VdsoData {
    seq: AtomicU32::new(0),
    has_counter: AtomicU32::new(0),
    start: AtomicU64::new(0),
    mult: AtomicU64::new(0),
    boot_time: AtomicU64::new(0),
};
static WRITER: SpinLock<()> = SpinLock::new(Rank::Process, ());

/// Pages of the library.
pub const PAGES: usize = 2;
/// Pages of data before it, of which the second is Linux's for time namespaces, and is empty (Linux:
/// VVAR_NR_PAGES).
pub const VVAR_PAGES: usize = 2;

/// Writes the data, and has the clock write it whenever it is set. Once, before the first program.
pub fn init() {
    static DONE: Once<()> = Once::new();
    DONE.call_once(|| {
        set_update_vsyscall(update_vsyscall);
        update_vsyscall();
    });
}

/// Writes how the counter and the clock belong together (Linux: update_vsyscall).
fn update_vsyscall() {
    with_masked(|irq| {
        let _writer = WRITER.lock(irq);
        let seq = DATA.seq.load(Ordering::Relaxed);
        DATA.seq.store(seq.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        let (start, mult) = clock::parameters();
        DATA.start.store(start, Ordering::Relaxed);
        DATA.mult.store(mult, Ordering::Relaxed);
        DATA.boot_time.store(getboottime64(), Ordering::Relaxed);
        DATA.has_counter.store((mult != 0).into(), Ordering::Relaxed);
        DATA.seq.store(seq.wrapping_add(2), Ordering::Release);
    });
}

/// The page of data, the first of [`VVAR_PAGES`].
#[must_use]
pub fn vvar_page() -> PhysAddr {
    image::phys(VirtAddr::new((&raw const DATA).addr()))
}

/// The pages of the library: the first of [`PAGES`], one behind the other.
#[must_use]
pub fn vdso_pages() -> PhysAddr {
    image::phys(VirtAddr::new((&raw const vdso_start).addr()))
}

/// The library's bytes.
#[must_use]
pub fn image() -> &'static [u8; PAGES * PAGE_SIZE] {
    // SAFETY: constants of the image.
    unsafe { &vdso_start }
}

/// Offset in the library of the instructions that return from a signal's handler.
#[must_use]
pub fn sigtramp() -> usize {
    (&raw const vdso_sigtramp).addr() - (&raw const vdso_start).addr()
}
