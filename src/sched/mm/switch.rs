//! The tables that a CPU walks for the task that it runs.

use super::{Mm, MmRef};
use crate::arch::asid::{ActiveAsid, ActiveAsids, AsidMap, Asids, TooFewAsids, Ttbr0};
use crate::arch::features::{self, Features};
use crate::arch::irq::with_masked;
use crate::arch::mmu_context::ThisCpu;
use crate::arch::{CpuId, IrqMasked, NR_CPUS, thread};
use crate::per_cpu;
use crate::percpu::nr_cpu_ids;
use crate::sched::current;
use crate::sched::task::Task;
use crate::sync::{Once, Rank, SpinLock};
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

/// Returns the address space of the current task, which has a reference as long as it keeps it;
/// `None` if it has none. Any context (Linux: current->mm).
#[must_use]
#[inline]
pub fn current_mm() -> Option<NonNull<Mm>> {
    current().mm().map(NonNull::cast)
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
pub(in crate::sched) fn switch_out(next: &Task, irq: &IrqMasked) {
    thread::switch_out(irq);
    if next.mm().is_none() {
        ThisCpu::open(irq).set_reserved();
    }
}

/// Brings users' state of the current task to this CPU, where `prev` ran before.
pub(in crate::sched) fn switch_in(prev: &Task, irq: &IrqMasked) {
    if let Some(mm) = current().mm()
        && prev.mm() != Some(mm)
    {
        // SAFETY: the current task has a reference (`set_mm`), and gives it back by code of its own
        // alone, which this is.
        install(unsafe { mm.cast().as_ref() }, irq);
    }
    thread::switch_in(irq);
}
