//! Faults of accesses to a user's memory, and who resolves them (Linux: do_page_fault of
//! arch/arm64/mm/fault.c).
//!
//! The room that has address spaces registers a [`Handler`]. It is called in process context, with
//! interrupts unmasked: for code at EL0, and for the kernel's accesses by `uaccess` before they fail.
//! With interrupts masked, which they are under a spin lock too, such an access fails as it is
//! (Linux: pagefault_disabled).
#![deny(unsafe_code)]

use super::atomic_fn::AtomicFn;
use crate::addr::UserAddr;
use crate::arch::IrqMasked;
use crate::arch::esr::Syndrome;
use core::sync::atomic::Ordering::Relaxed;

/// Kind of an access to memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// A load, or a cache operation.
    Read,
    /// A store.
    Write,
    /// A fetch of an instruction.
    Exec,
}

/// Reason why an access can't be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// No area has the address (SIGSEGV, SEGV_MAPERR).
    MapErr,
    /// The mapping does not allow the access (SIGSEGV, SEGV_ACCERR).
    AccErr,
    /// The object that is mapped has no memory there (SIGBUS, BUS_ADRERR).
    BusAdrErr,
    /// There was no memory (VM_FAULT_OOM).
    Oom,
    /// The task is to end (SIGKILL).
    Killed,
}

/// Function that makes an access possible, or says why it can't be. `from_kernel` is true for the
/// kernel's own by `uaccess`. Process context; may sleep.
pub type Handler = fn(at: UserAddr, access: Access, from_kernel: bool) -> Result<(), Fault>;

/// Function that makes an access of code at EL0 possible if all that takes is at hand, and returns
/// true then. Interrupts are masked.
pub type FastHandler = fn(at: UserAddr, access: Access, irq: &IrqMasked) -> bool;

static HANDLER: AtomicFn<Handler> = AtomicFn::none();
static FAST_HANDLER: AtomicFn<FastHandler> = AtomicFn::none();

/// Registers who resolves faults at addresses of users. The last call counts.
pub fn set_handler(handler: Handler, fast: FastHandler) {
    HANDLER.store(Some(handler), Relaxed);
    FAST_HANDLER.store(Some(fast), Relaxed);
}

/// The registered handler.
#[cfg_attr(not(target_os = "none"), expect(dead_code, reason = "the hosted machine has no EL0"))]
pub(super) fn handler() -> Option<Handler> {
    HANDLER.load(Relaxed)
}

/// The registered handler for faults at EL0 with interrupts masked.
#[cfg_attr(not(target_os = "none"), expect(dead_code, reason = "the hosted machine has no EL0"))]
#[inline(always)]
pub(super) fn fast_handler() -> Option<FastHandler> {
    FAST_HANDLER.load(Relaxed)
}

/// The access that a syndrome tells of, if its address `far` is a user's and memory management may
/// resolve it: there is no translation, or it does not permit the access.
#[inline(always)]
#[must_use]
pub fn user_access(syndrome: Syndrome, far: u64) -> Option<(UserAddr, Access)> {
    let access = match syndrome.0 >> EC_SHIFT {
        DATA_ABORT_LOWER | DATA_ABORT if syndrome.0 & (WNR | CM) == WNR => Access::Write,
        DATA_ABORT_LOWER | DATA_ABORT => Access::Read,
        INSTRUCTION_ABORT_LOWER => Access::Exec,
        _ => return None,
    };
    // Translation, access flag and permission faults, of any level; all have an address.
    let resolvable = (0x04..=0x0f).contains(&(syndrome.0 & 0x3f));
    let at = usize::try_from(far).ok().and_then(UserAddr::new)?;
    resolvable.then_some((at, access))
}

// ESR_EL1 (Arm ARM D24.2.40).
const EC_SHIFT: u32 = 26;
const INSTRUCTION_ABORT_LOWER: u64 = 0x20;
const DATA_ABORT_LOWER: u64 = 0x24;
const DATA_ABORT: u64 = 0x25;
/// The access was a store.
const WNR: u64 = 1 << 6;
/// The access was a cache operation.
const CM: u64 = 1 << 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::esr::{Exception, FaultStatus};

    /// The shortcut agrees with the full decoder for each class, status and direction.
    #[test]
    fn agrees_with_the_syndrome() {
        let at = UserAddr::new(0x5555_0000_1234).expect("a user's");
        let mut resolvable = 0;
        for bits in 0..1u64 << 16 {
            let (ec, rest) = (bits >> 10, bits & 0x3ff);
            let syndrome = Syndrome(ec << EC_SHIFT | rest);
            let expected = match syndrome.exception() {
                Exception::DataAbort(_, abort) => {
                    Some((abort, if abort.is_write { Access::Write } else { Access::Read }))
                }
                Exception::InstructionAbort(crate::arch::esr::Origin::Lower, abort) => {
                    Some((abort, Access::Exec))
                }
                _ => None,
            };
            let expected = expected.filter(|(abort, _)| {
                matches!(
                    abort.status,
                    FaultStatus::Translation(0..)
                        | FaultStatus::AccessFlag(_)
                        | FaultStatus::Permission(_)
                )
            });
            let got = user_access(syndrome, at.get() as u64);
            assert_eq!(got, expected.map(|(_, access)| (at, access)), "{syndrome:?}");
            resolvable += usize::from(got.is_some());
        }
        assert!(resolvable > 0);
        let write = Syndrome(DATA_ABORT_LOWER << EC_SHIFT | WNR | 7);
        assert_eq!(user_access(write, u64::MAX), None, "an address of the kernel's");
    }
}
