//! Interrupts: the controller and the timer of the device tree, and who is called.

use super::irq as actions;
pub use super::irq::{IrqReturn, MAX_ACTIONS, UNHANDLED_LIMIT, free_irq, request_irq};
use super::redistributors::Redistributors;
use crate::addr::{PhysRange, VirtAddr};
use crate::arch::atomic_fn::AtomicFn;
use crate::arch::cpumask::{AtomicCpuMask, CpuMask};
use crate::arch::{CpuId, IrqMasked, irq};
use crate::arch::{clock, cpu, exception, irq as arch_irq, smp, timer};
use crate::drivers::irqchip::gic::{v2, v3};
use crate::drivers::irqchip::{self, IrqchipError, Private, bcm2836};
use crate::firmware::fdt::{Gic, InterruptController, Timer, Tree};
use crate::mm::debug::kfence_tick;
use crate::mm::ioremap::ioremap;
use crate::mm::{page_alloc, slab};
use crate::per_cpu;
use crate::sched::{self, HZ};
use crate::sync::Request;
use crate::time::hrtimer;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use log::{info, warn};

/// The interrupt that has a CPU look for something to do (Linux: IPI_RESCHEDULE).
const SGI_RESCHEDULE: Private = Private::sgi(0);
const SGI_RESCHEDULE_ID: u32 = 0;
/// The interrupt that stops a CPU for good.
const SGI_STOP: Private = Private::sgi(1);
const SGI_STOP_ID: u32 = 1;

static TIMER_ID: AtomicU32 = AtomicU32::new(timer::DEFAULT_INTERRUPT);
per_cpu! {
    static TICKS: AtomicU64 = AtomicU64::new(0);
    static RESCHEDULES: AtomicU64 = AtomicU64::new(0);
    /// Time of the next tick, in ticks of the clock; 0 on a CPU that has none.
    static NEXT_TICK: AtomicU64 = AtomicU64::new(0);
    /// Requests of other CPUs to look for the next event anew.
    static REPROGRAM: Request = Request::new();
}
static TICK_HOOK: AtomicFn<fn()> = AtomicFn::none();

/// Number of timer interrupts of this CPU.
#[must_use]
pub fn ticks(cpu: CpuId) -> u64 {
    TICKS.try_of(cpu).map_or(0, |ticks| ticks.load(Relaxed))
}

/// Number of times that other CPUs have had this one look for something to do (Linux:
/// "Rescheduling interrupts" of /proc/interrupts).
#[must_use]
pub fn reschedules(cpu: CpuId) -> u64 {
    RESCHEDULES.try_of(cpu).map_or(0, |count| count.load(Relaxed))
}

/// Calls `hook` from each tick on each CPU, with interrupts masked; one hook at a time.
pub fn set_tick_hook(hook: Option<fn()>) {
    TICK_HOOK.store(hook, Relaxed);
}

/// Has the clock run at the frequency that the device tree names, if CNTFRQ_EL0 tells none that
/// can be (Linux: arch_timer_of_configure_rate). Boot CPU, as soon as there is a tree: what is
/// said before has no time.
pub(super) fn clock_init(tree: &Tree<'_>) {
    if cpu::tick_frequency() < HZ {
        set_frequency(tree.timer().as_ref());
    }
}

/// Sets the clock's frequency. The device tree's goes before the register's: it is there for
/// firmware that failed to set that. A frequency from which no tick could be made is none.
fn set_frequency(timer: Option<&Timer<'_>>) {
    let own = cpu::tick_frequency();
    let told = timer.and_then(Timer::clock_frequency).map(u64::from);
    match told.filter(|&hz| hz >= HZ) {
        Some(hz) if hz == own => {}
        Some(hz) => {
            clock::set_frequency(hz);
            info!("clock: {hz} Hz as the device tree says, CNTFRQ_EL0 says {own}");
        }
        None if own < HZ => clock::set_frequency(0),
        None => {}
    }
}

/// Result of [`init`].
pub(super) struct Interrupts {
    /// True if the boot CPU has interrupts.
    pub enabled: bool,
    /// Redistributors of the other CPUs, if the controller is a GICv3.
    pub redistributors: Redistributors,
}

/// Sets up the interrupt controller and the timer on the boot CPU, once vmalloc is up. The
/// result says whether this CPU has interrupts now. Code that follows is process context in any
/// case.
pub(super) fn init(tree: &Tree<'_>) -> Interrupts {
    let interrupts = find(tree);
    if !interrupts.enabled {
        // SAFETY: the boot calls this outside of any `with_masked`.
        unsafe { arch_irq::enable_unhandled() };
    }
    interrupts
}

fn find(tree: &Tree<'_>) -> Interrupts {
    let mut interrupts = Interrupts { enabled: false, redistributors: Redistributors::none() };
    let timer = tree.timer();
    set_frequency(timer.as_ref());
    if cpu::tick_frequency() == 0 {
        warn!(
            "no interrupts, no tick: neither CNTFRQ_EL0 nor the device tree tell the timer's frequency"
        );
        return interrupts;
    }
    let virt = timer.and_then(|timer| timer.interrupt("virt"));
    let (found, timer) = match tree.interrupt_controller() {
        Some(controller) => {
            let found = gic(&controller, &mut interrupts.redistributors);
            (found, virt.and_then(|virt| virt.gic_id()).unwrap_or(timer::DEFAULT_INTERRUPT))
        }
        None => {
            let line = virt.and_then(|virt| virt.bcm2836_line());
            (bcm2836(tree), bcm2836::id(line.unwrap_or(bcm2836::VIRTUAL_TIMER_LINE)))
        }
    };
    match found {
        Ok(kind) => info!("Interrupt controller: {kind}"),
        Err(why) => {
            warn!("no interrupts, no tick: {why}");
            return interrupts;
        }
    }
    TIMER_ID.store(timer, Relaxed);
    // SAFETY: once, before an interrupt can come; `handle` acknowledges each.
    unsafe { exception::set_irq_handler(handle) };
    hrtimer::set_program(program_own, program_all);
    interrupts.redistributors.assign(CpuId::BOOT, smp::mpidr());
    interrupts.enabled = start_cpu();
    interrupts
}

/// Enables this CPU's interrupts, and starts its tick. Returns false if it could not. Called on
/// each CPU but the boot CPU.
pub(super) fn init_cpu() -> bool {
    let ready = start_cpu();
    if !ready {
        // SAFETY: the boot of this CPU calls this outside of any `with_masked`.
        unsafe { arch_irq::enable_unhandled() };
    }
    ready
}

fn start_cpu() -> bool {
    if !irqchip::present() {
        return false;
    }
    let ready = irq::with_masked(|irq| {
        let enable = || {
            irqchip::init_cpu(irq)?;
            let timer = Private::from_id(TIMER_ID.load(Relaxed));
            irqchip::enable(timer.ok_or(IrqchipError::CannotEnable)?, irq)?;
            irqchip::enable(SGI_RESCHEDULE, irq)?;
            irqchip::enable(SGI_STOP, irq)
        };
        // Without a tick the CPU is none that can be interrupted, by others neither.
        enable().inspect_err(|_| irqchip::close_cpu(irq))
    });
    match ready {
        Ok(()) => {
            irq::with_masked(|irq| {
                set_next_tick(irq);
                program(irq);
            });
            // SAFETY: the boot of this CPU calls this outside of any `with_masked`, above which
            // the proof was for the closure alone; handler and controller were set up before.
            unsafe { arch_irq::enable() };
        }
        Err(why) => warn!("this CPU has no interrupts: {why:?}: {why}"),
    }
    ready.is_ok()
}

/// Has a CPU leave its wait for an interrupt or an event.
pub(super) fn kick(cpu: CpuId) {
    irq::with_masked(|irq| irqchip::send(SGI_RESCHEDULE, cpu, irq));
    cpu::wake_all();
}

/// The CPUs that have stopped for the end.
static STOPPED: AtomicCpuMask = AtomicCpuMask::new(CpuMask::NONE);
/// Seconds to wait for the other CPUs at the end: one may be in a long section with interrupts
/// masked, or the host may be busy.
const STOP_SECONDS: u64 = 10;

/// Stops all other CPUs, for the end, and waits for them. The CPUs that have stopped, and
/// those that did not in time.
pub(super) fn stop_others() -> (CpuMask, CpuMask) {
    let others = irq::with_masked(|irq| {
        let own = cpu::id(irq);
        for other in smp::online().filter(|&other| other != own) {
            irqchip::send(SGI_STOP, other, irq);
        }
        smp::online_mask().without_cpu(own)
    });
    let limit = cpu::ticks().saturating_add(cpu::timeout(STOP_SECONDS));
    let running = || others.and_not(STOPPED.load(Relaxed));
    while irqchip::present() && !running().is_empty() && cpu::ticks() < limit {
        cpu::relax();
    }
    let running = running();
    (others.and_not(running), running)
}

/// Stops this CPU: another one ends the machine.
pub(super) fn stop() -> ! {
    irq::with_masked(|irq| STOPPED.set(cpu::id(irq), Relaxed));
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

fn gic(
    controller: &InterruptController<'_>,
    redistributors: &mut Redistributors,
) -> Result<&'static str, &'static str> {
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
            ("GICv2", unsafe { v2::init(distributor, interface) })
        }
        Gic::V3 => {
            *redistributors = Redistributors::of(controller);
            // The registers end with the block's identification.
            let distributor = map(PhysRange::from_size(distributor.start(), least as u64))?;
            // SAFETY: as above, for a GICv3.
            ("GICv3", unsafe { v3::init(distributor) })
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
    if let Some(devices) = tree.bcm2835_armctrl() {
        let devices = ioremap(devices.start(), bcm2836::ARMCTRL_BYTES)
            .map_err(|_| "its devices' controller can't be mapped")?;
        // SAFETY: the device tree says where it is; nobody else uses it.
        unsafe { bcm2836::quiesce_armctrl(devices.virt()) };
    }
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
                count(RESCHEDULES.get(irq));
                slab::flush_if_requested(irq);
                page_alloc::drain_if_requested(irq);
                sched::sync_core_if_requested(irq);
                REPROGRAM.get(irq).run_if_requested(|| program(irq));
            }
            SGI_STOP_ID => stop(),
            id if id == TIMER_ID.load(Relaxed) => timer_interrupt(irq),
            id => actions::handle(id, irq),
        });
    });
}

/// Adds 1 to this CPU's counter, which nobody else writes.
fn count(counter: &AtomicU64) {
    counter.store(counter.load(Relaxed) + 1, Relaxed);
}

/// Has the next tick come one period from now.
fn set_next_tick(irq: &IrqMasked) {
    NEXT_TICK.get(irq).store(cpu::ticks() + cpu::tick_frequency() / HZ, Relaxed);
}

/// Has this CPU's timer fire at the next tick, or at the first hrtimer's time if that is earlier
/// (Linux: tick_program_event). Does nothing on a CPU that has no tick.
fn program(irq: &IrqMasked) {
    let tick = NEXT_TICK.get(irq).load(Relaxed);
    if tick != 0 {
        let event = hrtimer::next_event(irq).map_or(tick, |ns| clock::ticks_at(ns).min(tick));
        timer::fire_at(event);
    }
}

fn program_own() {
    irq::with_masked(program);
}

/// Has all CPUs look for their next events anew.
fn program_all() {
    irq::with_masked(|irq| {
        program(irq);
        let own = cpu::id(irq);
        for other in smp::online().filter(|&other| other != own) {
            let _ticket = REPROGRAM.of(other).ask();
            kick(other);
        }
    });
}

/// The interrupt of this CPU's timer.
fn timer_interrupt(irq: &IrqMasked) {
    if cpu::ticks() >= NEXT_TICK.get(irq).load(Relaxed) {
        set_next_tick(irq);
        tick(irq);
    }
    hrtimer::hrtimer_run_queues(irq);
    program(irq);
}

fn tick(irq: &IrqMasked) {
    count(TICKS.get(irq));
    sched::tick(irq);
    kfence_tick();
    if let Some(hook) = TICK_HOOK.load(Relaxed) {
        hook();
    }
}
