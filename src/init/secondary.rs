//! The other cores: sent on their way by the boot CPU, and their first Rust function.

use super::{interrupts, numa};
use crate::addr::{PhysAddr, VirtAddr};
use crate::arch::aarch64::exception::{self, EMERGENCY_STACK_SIZE};
use crate::arch::aarch64::extable::probe_read32;
use crate::arch::aarch64::switch::{THREAD_ALIGN, THREAD_SIZE};
use crate::arch::aarch64::{cpu, smp};
use crate::arch::{self, CpuId, NR_CPUS};
use crate::firmware::fdt::{Cpu, Psci, PsciMethod, Tree};
use crate::mm::gfp::Gfp;
use crate::mm::init_mm;
use crate::mm::ioremap::ioremap_cache;
use crate::mm::{debug, kthread, page_alloc, trace, vmalloc};
use crate::sched;
use core::sync::atomic::{AtomicPtr, Ordering};
use log::{info, warn};

/// The idle threads of the CPUs, as Linux calls them.
const IDLE_NAMES: [&str; NR_CPUS] = [
    "swapper/0",
    "swapper/1",
    "swapper/2",
    "swapper/3",
    "swapper/4",
    "swapper/5",
    "swapper/6",
    "swapper/7",
];

/// The boot becomes the first thread, and the boot CPU has threads from now on. What it runs
/// when all of them sleep has a stack of its own. Boot CPU, once it has interrupts.
pub(super) fn sched_init() {
    sched::set_kick(interrupts::kick);
    sched::init_cpu("init");
    let idle = kthread::kthread_create_on_cpu(IDLE_NAMES[0], CpuId::BOOT, || {
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

/// Brings up the cores of the device tree, one after the other. One that fails is
/// reported, and the others go on.
pub(super) fn bring_up(tree: &Tree<'_>) {
    smp::init();
    let Some(cpus) = tree.cpus() else { return };
    let own = smp::mpidr();
    let mut next = 1;
    for core in cpus.iter().filter(Cpu::is_available) {
        let Some(mpidr) = core.mpidr() else {
            warn!("a cpu node without a usable reg is left out");
            continue;
        };
        if mpidr == own {
            continue;
        }
        let Some(id) = CpuId::new(next) else {
            warn!("core {mpidr:#x}: left out, this kernel is built for {NR_CPUS} CPUs");
            continue;
        };
        match start(tree, &core, id, mpidr) {
            Ok(()) => next += 1,
            Err(why) => warn!("core {mpidr:#x} did not start: {why}"),
        }
    }
    info!("SMP: {} of {NR_CPUS} CPUs up", smp::online().count());
}

fn start(tree: &Tree<'_>, core: &Cpu<'_>, id: CpuId, mpidr: u64) -> Result<(), &'static str> {
    let stack = vmalloc::vmalloc_aligned(THREAD_SIZE, THREAD_ALIGN, Gfp::GFP_KERNEL)
        .ok_or("no memory for its stack")?;
    let top = stack + THREAD_SIZE;
    let Some(emergency_stack) = emergency_stack(id) else {
        // SAFETY: allocated above, and nobody knows of it.
        unsafe { vmalloc::vfree(stack) };
        return Err("no memory for its emergency stack");
    };
    kthread::account_kernel_stack(stack, 1);
    // The core alone knows it from here on, by its stack pointer.
    debug::kmemleak_not_leak(stack);
    numa::set_cpu(id, core);
    page_alloc::cpu_online(id);
    trace::add_cpu(id);
    // SAFETY: the boot CPU runs this, for one core at a time; the stack is new.
    let entry = unsafe { smp::prepare(id, mpidr, top) };
    let sent = match core.enable_method() {
        Some(method) if method == "spin-table" => release(core, entry),
        Some(method) if method == "psci" => match tree.psci() {
            Some(psci) => cpu_on(&psci, mpidr, entry),
            None => Err("the device tree has no PSCI node"),
        },
        _ => Err("its enable-method is neither psci nor spin-table"),
    };
    let started = sent.and_then(|()| {
        if smp::wait_online(id) { Ok(()) } else { Err("it was sent off and never came up") }
    });
    if started.is_err() {
        smp::withdraw();
        // A core that may be on its way could still use the stack: only one that was
        // never sent off gives it back.
        if sent.is_err() {
            // SAFETY: allocated above, and the core that they were for does not know of them.
            unsafe {
                vmalloc::vfree(stack);
                vmalloc::vfree(emergency_stack);
            }
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
    let mut args = [0; 17];
    (args[0], args[1]) = (mpidr, entry.get());
    let result = match psci.method().ok_or("PSCI names neither hvc nor smc")? {
        PsciMethod::Hvc => smccc::hvc64(function, args)[0],
        PsciMethod::Smc => smccc::smc64(function, args)[0],
    };
    if result == 0 { Ok(()) } else { Err("PSCI refused") }
}

fn release(core: &Cpu<'_>, entry: PhysAddr) -> Result<(), &'static str> {
    let at = core.release_address().ok_or("its cpu-release-addr is missing")?;
    // In RAM it is reserved, and has an address in the linear map already.
    let linear = arch::phys_to_virt(at);
    if init_mm::translate(linear).is_some() {
        // SAFETY: the device tree says that the core waits on this word.
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
    let Some(id) = CpuId::new(number as usize) else { cpu::park() };
    smp::init_cpu();
    let interrupted = interrupts::init_cpu();
    if interrupted {
        sched::init_cpu(IDLE_NAMES[id.index()]);
        sched::make_idle();
    }
    smp::came_up(id);
    idle(id, interrupted)
}

/// What other CPUs are asked to do; see [`on_each`].
static WORK: [AtomicPtr<()>; NR_CPUS] = [const { AtomicPtr::new(core::ptr::null_mut()) }; NR_CPUS];

/// What a CPU does that has nothing to do. Without interrupts it has no threads.
fn idle(id: CpuId, interrupted: bool) -> ! {
    loop {
        let work = WORK[id.index()].load(Ordering::Acquire);
        if work.is_null() {
            if interrupted {
                sched::do_idle(|| !WORK[id.index()].load(Ordering::Acquire).is_null());
            } else {
                cpu::wait();
            }
            continue;
        }
        // SAFETY: `on_each` is the only writer, and stores a `fn(CpuId)`.
        let work = unsafe { core::mem::transmute::<*mut (), fn(CpuId)>(work) };
        work(id);
        WORK[id.index()].store(core::ptr::null_mut(), Ordering::Release);
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
        WORK[other.index()].store(work as *mut (), Ordering::Release);
        interrupts::kick(other);
    }
    work(CpuId::BOOT);
    for other in smp::online().skip(1) {
        while !WORK[other.index()].load(Ordering::Acquire).is_null() {
            cpu::relax();
        }
    }
}
