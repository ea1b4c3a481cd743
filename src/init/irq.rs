//! Handlers of devices' interrupts (Linux: kernel/irq/manage.c, handle.c, spurious.c).
//!
//! A line may be shared: each of its handlers is called and says whether the interrupt was its
//! device's. A line that nobody answers for is disabled, so that a device which asks for ever
//! does not keep the CPU from all else.

use crate::arch::atomic_fn::AtomicFn;
use crate::arch::{CpuId, IrqMasked, cpu, irq};
use crate::drivers::irqchip::{self, IrqchipError, Shared};
use core::ptr::fn_addr_eq;
use core::sync::atomic::{
    AtomicU32,
    Ordering::{Acquire, Relaxed, Release},
};
use log::warn;

/// Answer of a handler to an interrupt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IrqReturn {
    /// The interrupt was not the device's (Linux: IRQ_NONE).
    None,
    /// The interrupt was the device's, which asks no longer (Linux: IRQ_HANDLED).
    Handled,
}

/// Handles an interrupt, with interrupts masked.
pub type IrqHandler = fn() -> IrqReturn;

/// A handler of a line.
struct Action {
    /// The line; 0, which is a private one's number, where this is free.
    id: AtomicU32,
    handler: AtomicFn<IrqHandler>,
    /// Interrupts of the line in a row that nobody has handled; kept in its first action.
    unhandled: AtomicU32,
}

/// Handlers of all lines together.
pub const MAX_ACTIONS: usize = 32;
/// Interrupts in a row that nobody has handled, after which their line is disabled.
pub const UNHANDLED_LIMIT: u32 = 1000;

static ACTIONS: [Action; MAX_ACTIONS] = [const {
    Action { id: AtomicU32::new(0), handler: AtomicFn::none(), unhandled: AtomicU32::new(0) }
}; MAX_ACTIONS];

/// The interrupts that there was a warning of, a bit each; those beyond share the last.
static WARNED: [AtomicU32; 32] = [const { AtomicU32::new(0) }; 32];

/// The actions of a line.
fn actions_of(id: u32) -> impl Iterator<Item = &'static Action> {
    ACTIONS.iter().filter(move |action| action.id.load(Acquire) == id)
}

impl Action {
    fn is(&self, handler: IrqHandler) -> bool {
        self.handler.load(Relaxed).is_some_and(|own| fn_addr_eq(own, handler))
    }

    /// Calls the handler, which was stored before the id.
    fn call(&self) -> IrqReturn {
        self.handler.load(Relaxed).map_or(IrqReturn::None, |handler| handler())
    }
}

/// The lines are the boot CPU's, and so is the table.
fn on_boot_cpu<R>(
    f: impl FnOnce(&IrqMasked) -> Result<R, IrqchipError>,
) -> Result<R, IrqchipError> {
    irq::with_masked(|irq| {
        if cpu::id(irq) == CpuId::BOOT { f(irq) } else { Err(IrqchipError::NotBootCpu) }
    })
}

/// Calls `handler` whenever the device's interrupt numbered `id` comes, on this CPU, with
/// interrupts masked. Others may have the same line: each is called (Linux: request_irq with
/// IRQF_SHARED). Boot CPU, any context.
///
/// # Errors
/// `Busy`: the handler is there already, or there are [`MAX_ACTIONS`]. `CannotEnable`, `None`:
/// there is no such interrupt, or no controller that has it. `NotBootCpu`.
pub fn request_irq(id: u32, handler: IrqHandler) -> Result<(), IrqchipError> {
    let shared = Shared::from_id(id).ok_or(IrqchipError::CannotEnable)?;
    on_boot_cpu(|irq| {
        if actions_of(id).any(|action| action.is(handler)) {
            return Err(IrqchipError::Busy);
        }
        let free = actions_of(0).next().ok_or(IrqchipError::Busy)?;
        // A line that was disabled for want of an answer is tried again.
        actions_of(id).for_each(|action| action.unhandled.store(0, Relaxed));
        free.unhandled.store(0, Relaxed);
        free.handler.store(Some(handler), Relaxed);
        free.id.store(id, Release);
        irqchip::enable_shared(shared, irq).inspect_err(|_| free.id.store(0, Relaxed))
    })
}

/// Removes `handler` from interrupt `id`, and disables the line with its last handler. Returns
/// false if it was not registered (Linux: free_irq). Boot CPU, any context.
///
/// # Errors
/// `NotBootCpu`.
pub fn free_irq(id: u32, handler: IrqHandler) -> Result<bool, IrqchipError> {
    on_boot_cpu(|irq| {
        let Some(action) = actions_of(id).find(|action| id != 0 && action.is(handler)) else {
            return Ok(false);
        };
        action.id.store(0, Relaxed);
        if actions_of(id).next().is_none() {
            irqchip::disable(id, irq);
        }
        Ok(true)
    })
}

/// Handles an interrupt that has come on this CPU, and is none of the kernel's own.
pub(super) fn handle(id: u32, irq: &IrqMasked) {
    let Some(first) = actions_of(id).next() else {
        irqchip::disable(id, irq);
        if is_first_warning(id) {
            warn!("unexpected interrupt {id}: disabled");
        }
        return;
    };
    // Each is called: several devices may ask at once.
    let handled = actions_of(id).filter(|action| action.call() == IrqReturn::Handled).count();
    if handled > 0 {
        first.unhandled.store(0, Relaxed);
        return;
    }
    let unhandled = first.unhandled.load(Relaxed) + 1;
    first.unhandled.store(unhandled, Relaxed);
    if unhandled >= UNHANDLED_LIMIT {
        irqchip::disable(id, irq);
        first.unhandled.store(0, Relaxed);
        warn!("irq {id}: nobody cared {unhandled} times: disabled");
    }
}

/// Returns true for the first unexpected interrupt of this number.
fn is_first_warning(id: u32) -> bool {
    let last = WARNED.len() as u32 * 32 - 1;
    let (word, bit) = (id.min(last) as usize / 32, 1 << (id.min(last) % 32));
    WARNED[word].fetch_or(bit, Relaxed) & bit == 0
}
