//! Users' memory of tasks, and its tables on the CPUs that run them (Linux: switch_mm,
//! kernel/sched/core.c, arch/arm64/include/asm/mmu_context.h; kthread_use_mm, kernel/kthread.c).
//!
//! A task has none, as threads of the kernel, or refers to an [`Mm`]. A CPU walks the tables of an
//! `Mm` while it runs a task that refers to it, and tables that map nothing while it runs another: so
//! who has the last reference knows that no CPU walks the tables. Linux lets a thread of the kernel
//! keep the tables of the task before, and counts the CPU as an owner (active_mm). That saves a
//! write of TTBR0_EL1 and an ISB where the same task comes back, and makes the memory of a task that
//! has ended stay for as long as its CPUs have nothing but such threads. The entries of TLBs stay
//! either way, since they are tagged with the ASID.

use super::current;
use super::task::Task;
use crate::arch::asid::{ActiveAsid, ActiveAsids, AsidMap, Asids, Context, TooFewAsids, Ttbr0};
use crate::arch::features::{self, Features};
use crate::arch::irq::with_masked;
use crate::arch::mmu_context::{ThisCpu, UserRoot};
use crate::arch::{CpuId, IrqMasked, NR_CPUS, thread};
use crate::per_cpu;
use crate::percpu::nr_cpu_ids;
use crate::sync::atomic::{AtomicU32, Ordering, fence};
use crate::sync::{Once, Rank, SpinLock};
use core::ops::Deref;
use core::ptr::NonNull;

/// The ASIDs that the CPUs of the machine run.
struct OfCpus;

per_cpu! {
    static ACTIVE_ASID: ActiveAsid = ActiveAsid::new();
}

impl ActiveAsids for OfCpus {
    #[inline]
    fn of(&self, cpu: usize) -> &ActiveAsid {
        ACTIVE_ASID.of(CpuId::new(cpu).expect("a CPU"))
    }
}

static ASIDS: Asids<OfCpus> = Asids::new(OfCpus);
/// Room for ASIDs of 16 bits.
static ASID_MAP: SpinLock<AsidMap<NR_CPUS, 1024>> = SpinLock::new(Rank::Asids, AsidMap::new());
static ASIDS_READY: Once<Result<(), TooFewAsids>> = Once::new();

/// An address space of users, as far as CPUs have to know it (Linux: mm_count, pgd and context of
/// struct mm_struct). It is the first field of what its owner allocates.
#[repr(C)]
pub struct Mm {
    count: AtomicU32,
    context: Context,
    root: UserRoot,
    release: ReleaseMm,
}

/// Function that takes the memory of an [`Mm`], and of what it is part of, back.
pub type ReleaseMm = unsafe fn(NonNull<Mm>);

impl Mm {
    /// Creates an address space with the tables of `root` and one reference, which is to become an
    /// [`MmRef`].
    ///
    /// # Safety
    /// `root`'s tables stay until `release` is called. Whoever frees them then has invalidated what
    /// TLBs hold of them.
    #[must_use]
    pub const unsafe fn new(root: UserRoot, release: ReleaseMm) -> Self {
        Self { count: AtomicU32::new(1), context: Context::new(), root, release }
    }

    /// Returns the name of the address space in TLBs.
    #[must_use]
    pub fn context(&self) -> &Context {
        &self.context
    }
}

/// A counted reference to an address space.
pub struct MmRef(NonNull<Mm>);

// SAFETY: an `Mm` is shared by all CPUs; its owner lets any of them drop the last reference.
unsafe impl Send for MmRef {}
// SAFETY: as above.
unsafe impl Sync for MmRef {}

/// References that are one too many: a count that leaks ends the kernel before it wraps.
const MAX: u32 = u32::MAX / 2;

impl MmRef {
    /// Takes the first reference to `mm`.
    ///
    /// # Safety
    /// `mm` was just [created](Mm::new), and stays where it is until its `release` is called, which
    /// any CPU may do, in process context.
    #[must_use]
    pub unsafe fn new(mm: NonNull<Mm>) -> Self {
        Self(mm)
    }

    /// Returns the address, for the owner of what the `Mm` is part of.
    #[must_use]
    pub fn as_ptr(&self) -> NonNull<Mm> {
        self.0
    }
}

impl Deref for MmRef {
    type Target = Mm;
    fn deref(&self) -> &Mm {
        // SAFETY: it is there while it has a reference, which this is.
        unsafe { self.0.as_ref() }
    }
}

/// Linux: mmgrab.
impl Clone for MmRef {
    fn clone(&self) -> Self {
        let before = self.count.fetch_add(1, Ordering::Relaxed);
        assert!(before < MAX && before != 0, "an address space with {before} references");
        Self(self.0)
    }
}

/// Linux: mmdrop.
impl Drop for MmRef {
    fn drop(&mut self) {
        if self.count.fetch_sub(1, Ordering::Release) != 1 {
            return;
        }
        // All that was done by others comes before its end.
        fence(Ordering::Acquire);
        let release = self.release;
        // SAFETY: this was the last reference; no CPU has the tables, since each that has runs a
        // task with a reference.
        unsafe { release(self.0) };
    }
}

/// Installs the tables of `mm` on this CPU, for the current task.
fn install(mm: &Mm, irq: &IrqMasked) {
    let cpu = ThisCpu::open(irq);
    ASIDS.check_and_switch_context(&cpu, &mm.context, mm.root, || ASID_MAP.lock(irq));
}

/// Has the current task, a thread of the kernel, run with users' memory from now on. It can run code
/// at EL0 then. Process context (Linux: kthread_use_mm).
///
/// # Errors
/// The CPUs have too few ASIDs for so many CPUs.
///
/// # Panics
/// The task has users' memory already.
pub fn kthread_use_mm(mm: MmRef) -> Result<(), TooFewAsids> {
    (*ASIDS_READY.call_once(|| {
        let wide = features::features().contains(Features::ASID16);
        with_masked(|irq| ASID_MAP.lock(irq).init(if wide { 16 } else { 8 }, nr_cpu_ids()))
    }))?;
    let task = current();
    assert!(task.mm().is_none(), "{:?} has users' memory already", *task);
    with_masked(|irq| {
        thread::flush(irq);
        install(&mm, irq);
        // SAFETY: the task has the reference from here on.
        unsafe { task.set_mm(Some(mm.0.cast())) };
    });
    core::mem::forget(mm);
    Ok(())
}

/// Ends what [`kthread_use_mm`] began. Returns the task's reference; `None` if it has none. Process
/// context (Linux: kthread_unuse_mm).
pub fn kthread_unuse_mm() -> Option<MmRef> {
    let task = current();
    let mm = task.mm()?;
    with_masked(|irq| {
        // SAFETY: it has none.
        unsafe { task.set_mm(None) };
        ThisCpu::open(irq).set_reserved();
        thread::flush(irq);
    });
    // SAFETY: the reference that `kthread_use_mm` has kept, given out once: the task has none now.
    Some(unsafe { MmRef::new(mm.cast()) })
}

/// Takes users' state from this CPU, before the current task, with users' memory, leaves it for
/// `next`.
pub(super) fn switch_out(next: &Task, irq: &IrqMasked) {
    thread::switch_out(irq);
    if next.mm().is_none() {
        ThisCpu::open(irq).set_reserved();
    }
}

/// Brings users' state of the current task to this CPU, where `prev` ran before.
pub(super) fn switch_in(prev: &Task, irq: &IrqMasked) {
    if let Some(mm) = current().mm()
        && prev.mm() != Some(mm)
    {
        // SAFETY: the current task has a reference (`set_mm`), and gives it back by code of its own
        // alone, which this is.
        install(unsafe { mm.cast().as_ref() }, irq);
    }
    thread::switch_in(irq);
}
