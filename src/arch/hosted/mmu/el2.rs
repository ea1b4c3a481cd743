//! Instructions of the emulated CPU that EL2 alone has, and registers of a guest.
//!
//! A CPU that writes one of the registers is at EL2, from the exception that took it there to its
//! next access as EL1 or EL0, which comes after an exception return.

use super::adversary::State;
use super::choice::Step;
use super::context::{Context, Tcr};
use super::instructions::step;
use super::scope::{Scope, Stages};
use super::stage2::Vtcr;
use crate::addr::PAGE_SIZE;
use crate::arch::CpuId;
use crate::arch::hosted::machine;
use crate::arch::pgtable::El2;
use crate::arch::pgtable::tlbi::{RangeOp, VaOp, decode_range, decode_va};

/// Writes VTTBR_EL2: the root of stage 2, and the VMID in bits 63:48. Invalidations use it from the
/// next `isb` on, and may before; EL1 and EL0 do when the CPU returns there.
///
/// # Safety
/// When the CPU leaves EL2 with HCR_EL2.VM set, the root is as many tables of this machine's RAM as
/// VTCR_EL2 says, and they stay tables until it is back at EL2.
pub unsafe fn write_vttbr(value: u64) {
    write(Some(Step::Vttbr), |context| Context { vttbr: value, ..context });
}
/// Returns VTTBR_EL2 as it was last written; 0 on a machine without tables.
#[must_use]
pub fn read_vttbr() -> u64 {
    let cpu = super::this_cpu();
    machine::current().mmu().with(|s| s.cpus[cpu.index()].current.vttbr).unwrap_or(0)
}
/// Writes VTCR_EL2. Takes effect as [`write_vttbr`] does.
///
/// # Safety
/// As for [`write_vttbr`].
///
/// # Panics
/// Where the value asks for what is not modelled.
pub unsafe fn write_vtcr(value: u64) {
    let vtcr = Vtcr::new(value);
    write(None, |context| Context { vtcr, ..context });
}
/// Writes HCR_EL2.VM: while it is set, a guest runs on this CPU below EL2. Takes effect as
/// [`write_vttbr`] does.
///
/// # Safety
/// As for [`write_vttbr`].
pub unsafe fn write_hcr_vm(on: bool) {
    write(Some(Step::Hcr), |context| Context { vm: on, ..context });
}
/// Writes the registers of stage 1 that a guest has: SCTLR_EL1.M, TCR_EL1 and TTBR0_EL1, whose
/// root is an intermediate physical address.
///
/// # Safety
/// A guest runs on this CPU next, or these are the host's.
///
/// # Panics
/// Where the values ask for what is not modelled.
pub unsafe fn write_stage1(on: bool, tcr: u64, ttbr0: u64) {
    let tcr = Tcr::new(tcr);
    assert!(!tcr.updates_access_flag(), "TCR: updates by hardware in a guest's tables");
    write(None, |context| Context { stage1: on, tcr, ttbr0, ..context });
}

fn write(kind: Option<Step>, change: impl Fn(Context) -> Context) {
    let write = |s: &mut State, cpu: CpuId| {
        if !s.cpus[cpu.index()].current.el2 {
            s.enter_el2(cpu);
        }
        s.write_register(cpu, change);
    };
    step(|s, cpu| match kind {
        Some(kind) => s.step(kind, |s| write(s, cpu)),
        None => write(s, cpu),
    });
}

/// Drops what stage 2 has cached of `op`'s intermediate address, at all its levels, under the
/// current VMID, on all CPUs. What combines both stages stays.
pub fn tlbi_ipas2e1is(op: VaOp) {
    invalidate(Step::TlbiIpa, one(op, false));
}
/// Last-level form of [`tlbi_ipas2e1is`].
pub fn tlbi_ipas2le1is(op: VaOp) {
    invalidate(Step::TlbiIpaLast, one(op, true));
}
/// Range form of [`tlbi_ipas2e1is`]. The CPU must have FEAT_TLBIRANGE.
pub fn tlbi_ripas2e1is(op: RangeOp) {
    invalidate(Step::TlbiRangeIpa, range(op, false));
}
/// Range form of [`tlbi_ipas2le1is`]. The CPU must have FEAT_TLBIRANGE.
pub fn tlbi_ripas2le1is(op: RangeOp) {
    invalidate(Step::TlbiRangeIpaLast, range(op, true));
}
/// Drops what is cached of both stages under the current VMID, on all CPUs.
pub fn tlbi_vmalls12e1is() {
    invalidate(Step::TlbiVm, Scope::ALL.of_stages(Stages::Both));
}
/// Drops what is cached of both stages under all VMIDs, on all CPUs.
pub fn tlbi_alle1is() {
    let scope = Scope { vmid: None, ..Scope::ALL.of_stages(Stages::Both) };
    invalidate(Step::TlbiAllVms, scope);
}

fn invalidate(kind: Step, scope: Scope) {
    step(|s, cpu| s.step(kind, |s| s.invalidate(cpu, scope, true)));
}
fn one(op: VaOp, last_level: bool) -> Scope {
    Scope::new(decode_va(op.operand()), PAGE_SIZE, last_level).of_stages(Stages::Second)
}
fn range(op: RangeOp, last_level: bool) -> Scope {
    let (start, pages) = decode_range(op.operand());
    Scope::new(start, pages * PAGE_SIZE, last_level).of_stages(Stages::Second)
}

/// Proof that a CPU of a hosted machine is at EL2: the code that has one runs there by itself.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct AtEl2;

impl El2 for AtEl2 {
    fn vttbr(self) -> u64 {
        read_vttbr()
    }
    fn set_vttbr(self, value: u64) {
        // SAFETY: the former value is back before this CPU leaves EL2 for a guest.
        unsafe { write_vttbr(value) }
    }
    fn tlbi_ipas2e1is(self, op: VaOp) {
        tlbi_ipas2e1is(op);
    }
    fn tlbi_ipas2le1is(self, op: VaOp) {
        tlbi_ipas2le1is(op);
    }
    fn tlbi_ripas2e1is(self, op: RangeOp) {
        tlbi_ripas2e1is(op);
    }
    fn tlbi_ripas2le1is(self, op: RangeOp) {
        tlbi_ripas2le1is(op);
    }
    fn tlbi_vmalls12e1is(self) {
        tlbi_vmalls12e1is();
    }
}
