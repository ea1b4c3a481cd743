//! The other cores: sent on their way by the boot CPU, and their first Rust function.

use super::cores::{self, LeftOut, Number, Numbers};
use super::redistributors::Redistributors;
use super::{interrupts, numa};
use crate::addr::{PhysAddr, PhysRange, VirtAddr};
use crate::arch::atomic_fn::AtomicFn;
use crate::arch::exception::{self, EMERGENCY_STACK_SIZE};
use crate::arch::extable::probe_read32;
use crate::arch::irq::with_masked;
use crate::arch::smccc::{self, Conduit};
use crate::arch::smp::{self, NotUp};
use crate::arch::switch::{THREAD_ALIGN, THREAD_SIZE};
use crate::arch::{self, CpuId, NR_CPUS, layout};
use crate::arch::{cpu, image};
use crate::firmware::fdt::{Cpu, Psci, PsciMethod, ReservedMemory, Tree};
use crate::mm::gfp::Gfp;
use crate::mm::init_mm;
use crate::mm::ioremap::ioremap_cache;
use crate::mm::{debug, kthread, page_alloc, thread_stack, vmalloc};
use crate::per_cpu;
use crate::percpu::nr_cpu_ids;
use crate::sched::{self, TaskRef};
use crate::sync::{Rank, SpinLock};
use crate::trace;
use arrayvec::ArrayString;
use core::fmt::Write;
use core::sync::atomic::Ordering;
use log::{info, warn};

/// The idle task for the CPU that is about to come up.
static IDLE_TASK: SpinLock<Option<TaskRef>> = SpinLock::new(Rank::Pids, None);

/// Returns the name of the idle thread of a CPU, as Linux calls it.
fn idle_name(cpu: CpuId) -> ArrayString<11> {
    let mut name = ArrayString::new();
    // There is room for three digits.
    let _ = write!(name, "swapper/{}", cpu.index());
    name
}

/// Creates the cache of tasks: each CPU has one, with interrupts or without. Boot CPU, once kmalloc
/// and vmalloc are up.
pub(super) fn fork_init() {
    if let Err(why) = kthread::fork_init() {
        warn!("there is no cache of tasks: {why}");
    }
}

/// The boot becomes the first thread, and the boot CPU has threads from now on. What it runs
/// when all of them sleep has a stack of its own. Boot CPU, once it has interrupts and there is a
/// cache of tasks.
pub(super) fn sched_init() {
    sched::set_kick(interrupts::kick);
    sched::init_cpu();
    let idle = kthread::kthread_create_on_cpu(&idle_name(CpuId::BOOT), CpuId::BOOT, || {
        loop {
            sched::do_idle(|| false);
        }
    });
    match idle {
        Ok(idle) => idle.become_idle(),
        Err(why) => {
            sched::withdraw_cpu();
            warn!("the boot CPU has no threads, for want of an idle one: {why}");
        }
    }
}

/// Number of CPUs that may come up: the boot CPU, and the others that the device tree names.
pub(super) fn nr_possible(tree: &Tree<'_>) -> usize {
    cores::nr_possible(tree, smp::mpidr(), NR_CPUS)
}

/// Brings up the cores of the device tree, one after the other. One that fails is
/// reported, and the others go on. `dtb` is where the tree lies.
pub(super) fn bring_up(tree: &Tree<'_>, dtb: PhysAddr, mut redistributors: Redistributors) {
    smp::init();
    let mut numbers = Numbers::new(NR_CPUS);
    for core in cores::available(tree) {
        let Some(mpidr) = core.mpidr().filter(|mpidr| mpidr & !smp::MPIDR_AFFINITY == 0) else {
            warn!("a cpu node without a usable reg is left out");
            continue;
        };
        let affinity = |n| CpuId::new(n).map(smp::affinity);
        let number = match numbers.find(mpidr, affinity) {
            Number::Free(number) => number,
            // The boot CPU is up.
            Number::Taken(0) | Number::None => continue,
            Number::Taken(_) => {
                warn!("core {mpidr:#x}: its second cpu node is left out");
                continue;
            }
        };
        let Some(id) = CpuId::new(number).filter(|_| number < nr_cpu_ids()) else {
            warn!("core {mpidr:#x} did not start: no memory for its per-CPU data");
            continue;
        };
        redistributors.assign(id, mpidr);
        match start(tree, dtb, &core, id, mpidr) {
            Started::Up => {}
            Started::NotSent(why) => {
                warn!("core {mpidr:#x} did not start: {why}");
                continue;
            }
            Started::NotUp(NotUp::Late) => {
                warn!("core {mpidr:#x} did not start: it was sent off and never came up");
            }
            Started::NotUp(NotUp::Lacks(what)) => {
                warn!("core {mpidr:#x} did not start: it lacks {what}");
            }
        }
        // Whoever was sent off keeps the number, whether it has come or not.
        numbers.take();
    }
    if let Some(LeftOut { count, first }) = numbers.left_out() {
        warn!("{count} cores from {first:#x} on left out: this kernel is built for {NR_CPUS} CPUs");
    }
    info!("SMP: {} CPUs up", smp::online().count());
}

/// Result of starting a core.
enum Started {
    Up,
    /// The core was not sent off: all is as before.
    NotSent(&'static str),
    /// The core was sent off. Its number and its stack are lost to it.
    NotUp(NotUp),
}

fn start(tree: &Tree<'_>, dtb: PhysAddr, core: &Cpu<'_>, id: CpuId, mpidr: u64) -> Started {
    let Some(stack) = vmalloc::vmalloc_aligned(THREAD_SIZE, THREAD_ALIGN, Gfp::GFP_KERNEL) else {
        return Started::NotSent("no memory for its stack");
    };
    let top = stack + THREAD_SIZE;
    let Some(emergency_stack) = emergency_stack(id) else {
        // SAFETY: allocated above, and nobody knows of it.
        unsafe { vmalloc::vfree(stack) };
        return Started::NotSent("no memory for its emergency stack");
    };
    let Some(idle_task) = kthread::fork_idle(&idle_name(id), id) else {
        // SAFETY: allocated above, and nobody knows of them.
        unsafe {
            vmalloc::vfree(stack);
            vmalloc::vfree(emergency_stack);
        }
        return Started::NotSent("no memory for its idle task");
    };
    with_masked(|irq| *IDLE_TASK.lock(irq) = Some(idle_task));
    thread_stack::account_kernel_stack(stack, 1);
    // The core alone knows it from here on, by its stack pointer.
    debug::kmemleak_not_leak(stack);
    numa::set_cpu(id, core);
    page_alloc::cpu_online(id);
    trace::add_cpu(id);
    // SAFETY: the stack is new. It is given back where the core was not sent off, and never
    // else: a core that may be on its way could still use it.
    let entry = unsafe { smp::prepare(id, mpidr, top) };
    let sent = match core.enable_method() {
        Some(method) if method == "spin-table" => release(tree, dtb, core, entry),
        Some(method) if method == "psci" => match tree.psci() {
            Some(psci) => cpu_on(&psci, mpidr, entry),
            None => Err("the device tree has no PSCI node"),
        },
        _ => Err("its enable-method is neither psci nor spin-table"),
    };
    let started = match sent {
        Err(why) => Started::NotSent(why),
        Ok(()) => match smp::wait_up(id) {
            Ok(()) => return Started::Up,
            Err(why) => Started::NotUp(why),
        },
    };
    // One that comes too late parks, and takes none.
    drop(with_masked(|irq| IDLE_TASK.lock(irq).take()));
    // It has no share of memory.
    page_alloc::cpu_dead(id);
    trace::remove_cpu(id);
    if let Started::NotSent(_) = started {
        // SAFETY: no core was sent off.
        unsafe { smp::take_back(id) };
        thread_stack::account_kernel_stack(stack, -1);
        // SAFETY: allocated above, and no core knows of them.
        unsafe {
            vmalloc::vfree(stack);
            vmalloc::vfree(emergency_stack);
        }
    }
    started
}

/// A new stack on which `id` reports the overflow of another. vmalloc leaves a page free behind
/// each area, so nothing is mapped below this one.
fn emergency_stack(id: CpuId) -> Option<VirtAddr> {
    let stack = vmalloc::vmalloc_aligned(EMERGENCY_STACK_SIZE, THREAD_ALIGN, Gfp::GFP_KERNEL)?;
    // vectors.S alone knows it, by its top.
    debug::kmemleak_not_leak(stack);
    // SAFETY: mapped just now, for this CPU, which has not started.
    unsafe { exception::set_emergency_stack(id, stack) };
    Some(stack)
}

fn cpu_on(psci: &Psci<'_>, mpidr: u64, entry: PhysAddr) -> Result<(), &'static str> {
    let function = psci.cpu_on().ok_or("PSCI has no cpu_on")?;
    let conduit = match psci.method().ok_or("PSCI names neither hvc nor smc")? {
        PsciMethod::Hvc => Conduit::Hvc,
        PsciMethod::Smc => Conduit::Smc,
    };
    // SAFETY: PSCI's CPU_ON, with a context of 0; it changes nothing for this core, and the
    // other begins at the entry.
    let result = unsafe { smccc::call(conduit, function, [mpidr, entry.get(), 0]) };
    // Return codes have 32 bits (Arm DEN 0022, 5.2.2).
    match result as i32 {
        0 => Ok(()),
        -1 => Err("nobody answers to PSCI"),
        -2 => Err("PSCI knows no such core"),
        -3 => Err("PSCI denies it"),
        -4 => Err("PSCI says that it is on already"),
        -5 => Err("PSCI says that it is being switched on already"),
        _ => Err("PSCI failed"),
    }
}

/// Returns true if the tree reserves these bytes and nobody uses them: the kernel, the boot
/// loader's data or CMA (Linux: Documentation/arch/arm64/booting.rst has `cpu-release-addr` in
/// memory that the tree reserves).
fn is_reserved(tree: &Tree<'_>, dtb: PhysAddr, bytes: PhysRange) -> bool {
    let tree_range = PhysRange::from_size(dtb, tree.total_size() as u64);
    let initrd = tree.chosen().and_then(|chosen| chosen.initrd());
    let initrd = initrd.map(|initrd| PhysRange::new(initrd.start, initrd.end));
    let taken = [Some(image::all_phys()), Some(tree_range), initrd];
    if taken.into_iter().flatten().any(|taken| taken.overlaps(bytes)) {
        return false;
    }
    let reserved = tree.reserved_memory();
    let mut regions = reserved.iter().flat_map(ReservedMemory::regions);
    tree.reservations().any(|reg| reg.range().contains_range(bytes))
        || regions.any(|region| {
            let mut regs = region.regs().into_iter().flatten();
            region.is_available()
                && !region.reusable()
                && regs.any(|reg| reg.range().contains_range(bytes))
        })
}

fn release(
    tree: &Tree<'_>,
    dtb: PhysAddr,
    core: &Cpu<'_>,
    entry: PhysAddr,
) -> Result<(), &'static str> {
    let at = core.release_address().ok_or("its cpu-release-addr is missing")?;
    if !at.is_aligned(8) {
        return Err("its cpu-release-addr is no multiple of 8");
    }
    if !is_reserved(tree, dtb, PhysRange::from_size(at, 8)) {
        return Err("its cpu-release-addr is not in memory that the device tree reserves");
    }
    // In RAM it has an address in the linear map already.
    let linear = arch::phys_to_virt(at);
    if layout::LINEAR.contains(linear) && init_mm::translate(linear).is_some() {
        // SAFETY: the device tree says that the core waits on this word, and nobody else has it.
        unsafe { smp::release_spin_table(linear, entry) };
        return Ok(());
    }
    let word = ioremap_cache(at, 8).map_err(|_| "its release address can't be mapped")?;
    // SAFETY: a word of memory, if anything is there.
    unsafe { probe_read32(word.virt()) }.ok_or("nothing answers at its release address")?;
    // SAFETY: as above.
    unsafe { smp::release_spin_table(word.virt(), entry) };
    Ok(())
}

/// head.S comes here on a core that started, on its own stack, with TPIDR_EL1 set.
///
/// # Safety
/// For head.S alone, once on each core.
#[unsafe(no_mangle)]
unsafe extern "C" fn secondary_start_kernel(number: u64) -> ! {
    let Some(id) = CpuId::new(number as usize).filter(|&id| smp::claim(id)) else { cpu::park() };
    // The boot CPU waits for this one, and has put one there.
    if let Some(idle) = with_masked(|irq| IDLE_TASK.lock(irq).take()) {
        sched::set_current(idle);
    }
    smp::init_cpu(id);
    exception::unmask_serror();
    let interrupted = interrupts::init_cpu();
    if interrupted {
        sched::init_cpu();
        sched::make_idle();
    }
    smp::came_up(id);
    idle(id, interrupted)
}

per_cpu! {
    /// Work for the CPU; see [`on_each`].
    static WORK: AtomicFn<fn(CpuId)> = AtomicFn::none();
}

/// Idle loop of a CPU that is not the boot CPU. Without interrupts the CPU has no threads, and
/// only waits for work.
fn idle(id: CpuId, interrupted: bool) -> ! {
    loop {
        let Some(work) = WORK.of(id).load(Ordering::Acquire) else {
            if interrupted {
                sched::do_idle(|| WORK.of(id).load(Ordering::Acquire).is_some());
            } else {
                cpu::wait();
            }
            continue;
        };
        work(id);
        WORK.of(id).store(None, Ordering::Release);
    }
}

/// Runs `work` on all CPUs at once, this one too, and waits until all are done. On the
/// others it runs in the idle thread, and may not sleep; a thread that is running there has
/// to yield first.
///
/// # Panics
/// On another than the boot CPU, which alone gives work out.
pub fn on_each(work: fn(CpuId)) {
    arch::irq::with_masked(|irq| {
        assert!(cpu::id(irq) == CpuId::BOOT, "on_each: not on the boot CPU")
    });
    for other in smp::online().skip(1) {
        WORK.of(other).store(Some(work), Ordering::Release);
        interrupts::kick(other);
    }
    work(CpuId::BOOT);
    for other in smp::online().skip(1) {
        while WORK.of(other).load(Ordering::Acquire).is_some() {
            // A thread that keeps the idle one from running there may wait for one of here.
            if !sched::cond_resched() {
                cpu::relax();
            }
        }
    }
}
