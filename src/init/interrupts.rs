//! Interrupts: the controller and the timer of the device tree, and who is called.

use crate::addr::{PhysRange, VirtAddr};
use crate::arch::aarch64::{cpu, exception, irq as arch_irq, smp, timer};
use crate::arch::{CpuId, IrqMasked, NR_CPUS, irq};
use crate::drivers::irqchip::{self, IrqchipError, Private, Shared, bcm2836, gic};
use crate::firmware::fdt::{Gic, InterruptController, Tree};
use crate::mm::debug::kfence_tick;
use crate::mm::ioremap::ioremap;
use crate::mm::page_alloc;
use crate::sched::{self, HZ};
use core::sync::atomic::{
    AtomicPtr, AtomicU32, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};
use log::{info, warn};

/// The interrupt that has a CPU look for something to do (Linux: IPI_RESCHEDULE).
const SGI_RESCHEDULE: Private = Private::sgi(0);
const SGI_RESCHEDULE_ID: u32 = 0;
/// The interrupt that stops a CPU for good.
const SGI_STOP: Private = Private::sgi(1);
const SGI_STOP_ID: u32 = 1;

static TIMER_ID: AtomicU32 = AtomicU32::new(timer::DEFAULT_INTERRUPT);
static TICKS: [AtomicU64; NR_CPUS] = [const { AtomicU64::new(0) }; NR_CPUS];
static RESCHEDULES: [AtomicU64; NR_CPUS] = [const { AtomicU64::new(0) }; NR_CPUS];
static TICK_HOOK: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());
/// The device's interrupt that somebody wants; 0, which is a private one's number, for none.
static DEVICE_ID: AtomicU32 = AtomicU32::new(0);
static DEVICE_HANDLER: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());

/// How often the timer has interrupted this CPU.
#[must_use]
pub fn ticks(cpu: CpuId) -> u64 {
    TICKS[cpu.index()].load(Relaxed)
}

/// How often other CPUs have had this one look for something to do (Linux: "Rescheduling
/// interrupts" of /proc/interrupts).
#[must_use]
pub fn reschedules(cpu: CpuId) -> u64 {
    RESCHEDULES[cpu.index()].load(Relaxed)
}

/// Calls `hook` from each tick on each CPU, with interrupts masked; one hook at a time.
pub fn set_tick_hook(hook: Option<fn()>) {
    TICK_HOOK.store(hook.map_or(core::ptr::null_mut(), |hook| hook as *mut ()), Relaxed);
}

/// Calls `handler` whenever the device's interrupt numbered `id` comes, on this CPU, with
/// interrupts masked; one device has one (Linux: request_irq). Boot CPU.
///
/// # Errors
/// There is no such interrupt, or no controller that has it.
pub fn request_irq(id: u32, handler: fn()) -> Result<(), IrqchipError> {
    let shared = Shared::from_id(id).ok_or(IrqchipError::CannotEnable)?;
    DEVICE_HANDLER.store(handler as *mut (), Relaxed);
    DEVICE_ID.store(id, Release);
    irq::with_masked(|irq| irqchip::enable_shared(shared, irq))
}

/// Finds the interrupt controller and the timer; whether this CPU has interrupts now. Boot
/// CPU, once vmalloc is up.
pub(super) fn init(tree: &Tree<'_>) -> bool {
    let timer = tree.timer();
    let (found, timer) = match tree.interrupt_controller() {
        Some(controller) => (gic(&controller), timer.and_then(|timer| timer.interrupt_id(2))),
        None => (bcm2836(tree), timer.and_then(|timer| timer.interrupt_line(2)).map(bcm2836::id)),
    };
    match found {
        Ok(kind) => info!("Interrupt controller: {kind}"),
        Err(why) => {
            warn!("no interrupts, no tick: {why}");
            return false;
        }
    }
    if let Some(id) = timer {
        TIMER_ID.store(id, Relaxed);
    }
    // SAFETY: once, before an interrupt can come; `handle` acknowledges each.
    unsafe { exception::set_irq_handler(handle) };
    init_cpu()
}

/// Lets this CPU be interrupted, and starts its tick; whether it could. On each CPU.
pub(super) fn init_cpu() -> bool {
    if !irqchip::present() {
        return false;
    }
    let ready = irq::with_masked(|irq| {
        irqchip::init_cpu(irq)?;
        let timer = Private::from_id(TIMER_ID.load(Relaxed)).ok_or(IrqchipError::CannotEnable)?;
        irqchip::enable(SGI_RESCHEDULE, irq)?;
        irqchip::enable(SGI_STOP, irq)?;
        irqchip::enable(timer, irq)
    });
    match ready {
        Ok(()) => {
            timer::fire_in(cpu::tick_frequency() / HZ);
            // SAFETY: the boot of this CPU calls this outside of any `with_masked`, above which
            // the proof was for the closure alone; handler and controller were set up before.
            unsafe { arch_irq::enable() };
        }
        Err(why) => warn!("this CPU has no interrupts: {why:?}"),
    }
    ready.is_ok()
}

/// Has a CPU leave its wait for an interrupt or an event.
pub(super) fn kick(cpu: CpuId) {
    irq::with_masked(|irq| irqchip::send(SGI_RESCHEDULE, cpu, irq));
    cpu::wake_all();
}

/// The CPUs that have stopped for the end, a bit each.
static STOPPED: AtomicU32 = AtomicU32::new(0);
/// How long the end waits for them: they may be in the middle of something long with
/// interrupts masked, or on a host that is busy.
const STOP_SECONDS: u64 = 10;

/// Stops all other CPUs, for the end, and waits for them. The CPUs that have stopped, and
/// those that did not in time, a bit each.
pub(super) fn stop_others() -> (u32, u32) {
    let others = irq::with_masked(|irq| {
        let own = cpu::id(irq);
        for other in smp::online().filter(|&other| other != own) {
            irqchip::send(SGI_STOP, other, irq);
        }
        smp::online_mask() & !(1 << own.index())
    });
    let limit = cpu::ticks() + STOP_SECONDS * cpu::tick_frequency();
    while irqchip::present() && STOPPED.load(Relaxed) & others != others && cpu::ticks() < limit {
        cpu::relax();
    }
    let stopped = STOPPED.load(Relaxed) & others;
    (stopped, others & !stopped)
}

/// Stops this CPU: another one ends the machine.
pub(super) fn stop() -> ! {
    irq::with_masked(|irq| STOPPED.fetch_or(1 << cpu::id(irq).index(), Relaxed));
    cpu::park()
}

/// Maps the registers of an interrupt controller, for good.
fn map(range: PhysRange) -> Result<VirtAddr, &'static str> {
    let registers =
        ioremap(range.start(), range.len()).map_err(|_| "its controller can't be mapped")?;
    let at = registers.virt();
    core::mem::forget(registers);
    Ok(at)
}

fn gic(controller: &InterruptController<'_>) -> Result<&'static str, &'static str> {
    // The smallest that a block of registers can be.
    let region = |index: usize, least: usize| {
        let range = controller.reg(index).map(|reg| reg.range());
        range.filter(|range| range.len() >= least as u64)
    };
    let least = if controller.gic == Gic::V2 { 4 << 10 } else { 64 << 10 };
    let distributor = region(0, least).ok_or("the GIC has no distributor")?;
    let (name, started) = match controller.gic {
        Gic::V2 => {
            let interface = region(1, 0x100).ok_or("the GIC has no CPU interface")?;
            let (distributor, interface) = (map(distributor)?, map(interface)?);
            // SAFETY: the device tree says that a GICv2 is there; mapped for good, for
            // this driver alone.
            ("GICv2", unsafe { gic::init_v2(distributor, interface) })
        }
        Gic::V3 => {
            let least = gic::REDISTRIBUTOR_BYTES;
            let redistributors = region(1, least).ok_or("the GIC has no redistributors")?;
            // QEMU's window holds hundreds; as many as there can be CPUs are enough.
            let bytes = redistributors.len().min((NR_CPUS * gic::REDISTRIBUTOR_BYTES) as u64);
            let redistributors = PhysRange::from_size(redistributors.start(), bytes);
            let (distributor, redistributors) = (map(distributor)?, map(redistributors)?);
            // SAFETY: as above, for a GICv3.
            ("GICv3", unsafe { gic::init_v3(distributor, redistributors, bytes as usize) })
        }
    };
    match started {
        Ok(()) => Ok(name),
        Err(_) => Err("no GIC answers where the device tree says"),
    }
}

fn bcm2836(tree: &Tree<'_>) -> Result<&'static str, &'static str> {
    let registers =
        tree.bcm2836_l1_intc().ok_or("the device tree names no controller known here")?;
    let registers = map(PhysRange::from_size(registers.start(), bcm2836::BYTES))?;
    // SAFETY: the device tree says where it is; mapped for good, for this driver alone.
    match unsafe { bcm2836::init(registers) } {
        Ok(()) => Ok("BCM2836"),
        Err(_) => Err("no BCM2836 answers where the device tree says"),
    }
}

/// The IRQ vector.
fn handle() {
    irq::with_masked(|irq| {
        irqchip::handle(irq, |id| match id {
            // Taking it has ended the wait.
            SGI_RESCHEDULE_ID => {
                count(&RESCHEDULES, irq);
                page_alloc::heed_drain(irq);
            }
            SGI_STOP_ID => stop(),
            id if id == TIMER_ID.load(Relaxed) => tick(irq),
            id if id == DEVICE_ID.load(Acquire) => {
                // SAFETY: `request_irq` is the only writer, and stores a `fn()` before the id.
                let handler =
                    unsafe { core::mem::transmute::<*mut (), fn()>(DEVICE_HANDLER.load(Relaxed)) };
                handler();
            }
            id => warn!("unexpected interrupt {id}"),
        });
    });
}

/// Adds 1 to this CPU's counter, which nobody else writes.
fn count(counters: &[AtomicU64; NR_CPUS], irq: &IrqMasked) {
    let counter = &counters[cpu::id(irq).index()];
    counter.store(counter.load(Relaxed) + 1, Relaxed);
}

fn tick(irq: &IrqMasked) {
    timer::fire_in(cpu::tick_frequency() / HZ);
    count(&TICKS, irq);
    sched::tick(irq);
    kfence_tick();
    let hook = TICK_HOOK.load(Relaxed);
    if !hook.is_null() {
        // SAFETY: `set_tick_hook` is the only writer, and stores a `fn()`.
        let hook = unsafe { core::mem::transmute::<*mut (), fn()>(hook) };
        hook();
    }
}
