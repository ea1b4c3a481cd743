//! The MMU: an adversary that keeps stale translations for as long as it may.
//!
//! Every CPU has a TLB of unlimited size, filled by walks of the real table words at
//! any moment: when the CPU accesses memory, and by speculation around every store to
//! a table and every barrier. What the architecture leaves open is chosen by a seeded
//! generator, so that a run can be repeated:
//!
//! - A walk starts at the root or at any cached table pointer for the address.
//! - A store to a table is sure to be seen by walkers only after a `dsb` by the CPU that
//!   stored, or by one that has learnt of it through a lock; until then each walk sees
//!   the old word or the new. The CPU that stored may act on the old word until its next
//!   `isb`.
//! - A cached translation is served until the TLBI that covers it is complete, which
//!   is when the CPU that issued it has executed `dsb ish` after it; on that CPU even
//!   until its `isb`. Invalidation of the last level leaves table pointers cached.
//! - A contiguous set is cached as sixteen entries or as one.
//!
//! - Translations of users' tables are cached under the ASID in TTBR0_EL1, with all ASIDs if they
//!   are global, and stay over any number of switches. So do pointers to tables, which include the
//!   limits that APTable, PXNTable and UXNTable set above them.
//! - A CPU that has written TTBR0_EL1 or TCR_EL1 walks with the old or the new value until its
//!   next `isb`. An exception return does as well: an access by a program at EL0 comes after one.
//! - Hardware may set the access flag and the dirty state, if TCR_EL1 lets it.
//! - Everything is cached under the VMID in VTTBR_EL2. While HCR_EL2.VM is set a guest runs, and its
//!   addresses and the tables of its stage 1 are translated by stage 2: see `stage2`. TLBI by
//!   intermediate address leaves entries that combine both stages. Invalidations that are under way
//!   at once complete in any order, with walks in between.
//!
//! It panics where software breaks the rules: two translations of one address in a TLB
//! that differ in more than permissions (break-before-make), a valid descriptor
//! changed into one that needs it, a TLBI that may overtake the store it is for, the end
//! of a break before what was made is visible, a contiguous set that isn't one, a table page
//! reused while a TLB still points at it, under whatever ASID, a mapping of the kernel that is
//! writable and executable or open to EL0, one of a user that the kernel could execute, and a
//! store that overwrites the dirty state that hardware has just set.
//!
//! Not modelled: sharing of TLB entries between CPUs (TTBR0_EL1.CnP is ignored), TCR_EL1.A1,
//! SCTLR_EL1.WXN and EPAN, granules other than 4 KiB; of guests, the upper half, contiguous sets of
//! stage 1 as one entry, dirty state by hardware, HCR_EL2.FWB and PTW, FEAT_XNX.
//!
//! Sources: Arm ARM D8.17 (TLB maintenance, R_WHZWS, R_DDMVT), D8.7.1 (Contiguous bit),
//! D8.4 (permissions), D8.5 (access flag and dirty state), D8.16 (ASIDs and VMIDs), B2.7.5 and K11
//! (barriers and table walks).
//!
//! Nothing happens until [`Mmu::attach`]: before that the primitives are plain stores.

mod access_flag;
mod adversary;
mod choice;
mod context;
mod el2;
mod instructions;
mod rights;
mod scope;
mod stage2;
mod tables;
mod tlb;
mod walker;

#[cfg(test)]
mod guest_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod user_tests;

pub use choice::{Config, Mutation, Step};
pub use el2::*;
pub use instructions::*;
pub use rights::Mode;
pub use stage2::{Stage2Fault, Stage2Reason};

use super::machine::{self, Machine};
use crate::addr::{PhysAddr, UserAddr, VirtAddr};
use crate::arch::CpuId;
use adversary::State;
use core::sync::atomic::{
    AtomicBool, AtomicU32, AtomicU64,
    Ordering::{Relaxed, SeqCst},
};
use std::boxed::Box;
use std::sync::Mutex;
use std::vec::Vec;

/// Kind of an access.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Load.
    Read,
    /// Store.
    Write,
    /// Fetch an instruction.
    Exec,
}

/// Reason why an access was refused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Fault {
    /// No mapping at the address.
    Translation,
    /// Mapping whose access flag is clear, where hardware doesn't set it.
    AccessFlag,
    /// Mapping that doesn't allow the access.
    Permission,
    /// Mapping of memory that is not this machine's RAM.
    External,
    /// Fault of stage 2, taken to EL2.
    Stage2(Stage2Fault),
}

/// An address as an instruction gives it, of either half.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InputAddr(VirtAddr);

impl From<VirtAddr> for InputAddr {
    fn from(va: VirtAddr) -> Self {
        Self(va)
    }
}

impl From<UserAddr> for InputAddr {
    fn from(va: UserAddr) -> Self {
        Self(VirtAddr::new(va.get()))
    }
}

/// A machine's MMU; see the module above.
#[derive(Default)]
pub struct Mmu {
    on: AtomicBool,
    tlb_range: AtomicBool,
    state: Mutex<Option<Box<State>>>,
    /// Breaks that began, and those that ended.
    breaks: [AtomicU32; 2],
}

impl Mmu {
    /// Turns translation of the upper half on, with the PGD at `root`.
    pub fn attach(&self, root: PhysAddr, config: Config) {
        let state = State::new(root, config);
        *self.state.lock().unwrap_or_else(|e| e.into_inner()) = Some(Box::new(state));
        self.on.store(true, Relaxed);
    }

    /// Takes one step out of what software does from now on; `None` puts it back.
    /// Steps are counted from here.
    pub fn mutate(&self, mutation: Option<Mutation>) {
        self.with(|s| s.mutate(mutation));
    }

    /// The steps that software has taken since the last [`Mmu::mutate`].
    #[must_use]
    pub fn steps(&self) -> Vec<Step> {
        self.with(|s| s.steps().to_vec()).unwrap_or_default()
    }

    /// Makes an access to `va` by the calling CPU. The result is any outcome that the
    /// architecture allows now.
    ///
    /// # Errors
    /// The [`Fault`] that the access takes.
    ///
    /// # Panics
    /// Where software has broken the rules; or if no tables are attached.
    pub fn access(&self, va: VirtAddr, access: Access) -> Result<PhysAddr, Fault> {
        self.access_by(this_cpu(), va, access)
    }

    /// The same for an access by another CPU, which need not run as a thread.
    ///
    /// # Errors
    /// As for [`Mmu::access`].
    pub fn access_by(&self, cpu: CpuId, va: VirtAddr, access: Access) -> Result<PhysAddr, Fault> {
        self.access_as(cpu, Mode::El1, va, access)
    }

    /// The same for an access with the privilege of `mode`, to an address of either half.
    ///
    /// # Errors
    /// As for [`Mmu::access`].
    pub fn access_as(
        &self,
        cpu: CpuId,
        mode: Mode,
        va: impl Into<InputAddr>,
        access: Access,
    ) -> Result<PhysAddr, Fault> {
        let InputAddr(va) = va.into();
        self.with(|s| s.access(cpu, mode, va, access)).expect("Mmu::attach comes first")
    }

    /// Variant of [`Mmu::access`] that retries spurious translation faults, as the kernel's
    /// exception handler does: while a break is under way.
    ///
    /// # Errors
    /// As for [`Mmu::access`].
    pub fn access_retried(&self, va: VirtAddr, access: Access) -> Result<PhysAddr, Fault> {
        loop {
            let began = self.breaks[0].load(SeqCst);
            let quiet = self.breaks[1].load(SeqCst) == began;
            match self.access(va, access) {
                Err(Fault::Translation) if !quiet || self.breaks[0].load(SeqCst) != began => {
                    std::thread::yield_now();
                }
                other => return other,
            }
        }
    }

    /// Loads the 8 bytes at `va`, a multiple of 8, through the MMU.
    ///
    /// # Errors
    /// As for [`Mmu::access`].
    pub fn read(&self, va: VirtAddr) -> Result<u64, Fault> {
        Ok(word_at(self.access(va, Access::Read)?)?.load(Relaxed))
    }

    /// Stores 8 bytes at `va`, a multiple of 8, through the MMU.
    ///
    /// # Errors
    /// As for [`Mmu::access`].
    pub fn write(&self, va: VirtAddr, value: u64) -> Result<(), Fault> {
        word_at(self.access(va, Access::Write)?)?.store(value, Relaxed);
        Ok(())
    }

    /// Variant of [`Mmu::read`] with the privilege of `mode`, at an address of either half.
    ///
    /// # Errors
    /// As for [`Mmu::access`].
    pub fn read_as(&self, mode: Mode, va: impl Into<InputAddr>) -> Result<u64, Fault> {
        Ok(word_at(self.access_as(this_cpu(), mode, va, Access::Read)?)?.load(Relaxed))
    }

    /// Variant of [`Mmu::write`] with the privilege of `mode`, at an address of either half.
    ///
    /// # Errors
    /// As for [`Mmu::access`].
    pub fn write_as(&self, mode: Mode, va: impl Into<InputAddr>, value: u64) -> Result<(), Fault> {
        word_at(self.access_as(this_cpu(), mode, va, Access::Write)?)?.store(value, Relaxed);
        Ok(())
    }

    /// Says whether programs on other CPUs write to a page of theirs, as eagerly as configured,
    /// just before software changes its descriptor. At first they don't.
    pub fn let_programs_write(&self, on: bool) {
        self.with(|s| s.programs = on);
    }

    /// Returns true if a TLB still translates some address to the frame at `pa`, under whatever
    /// ASID and VMID: it is too early to give the frame to anyone else.
    #[must_use]
    pub fn reaches(&self, pa: PhysAddr) -> bool {
        self.with(|s| s.cpus.iter().any(|cpu| cpu.tlb.maps(pa) || cpu.stage2.maps(pa)))
            .unwrap_or(false)
    }

    /// All CPUs begin or end at once.
    pub(super) fn all_meet(&self) {
        self.with(State::all_meet);
    }

    fn with<R>(&self, f: impl FnOnce(&mut State) -> R) -> Option<R> {
        if !self.on.load(Relaxed) {
            return None;
        }
        // A panic in here is a finding; the state is looked at no more after it.
        let mut state = self.state.lock().unwrap_or_else(|e| e.into_inner());
        state.as_mut().map(|s| f(s))
    }
}

fn this_cpu() -> CpuId {
    super::irq::with_masked(super::cpu::id)
}

/// The word of RAM at `pa`, a multiple of 8.
fn word_at<'a>(pa: PhysAddr) -> Result<&'a AtomicU64, Fault> {
    if !machine::current().is_ram(pa) {
        return Err(Fault::External);
    }
    assert!(pa.is_aligned(8), "an unaligned access to {pa}");
    let va = super::phys_to_virt(pa).get();
    // SAFETY: RAM of this machine, aligned; its bytes are shared as atomics.
    Ok(unsafe { &*core::ptr::with_exposed_provenance::<AtomicU64>(va) })
}

impl Machine {
    /// The machine's MMU.
    #[must_use]
    pub fn mmu(&self) -> &Mmu {
        &self.mmu
    }
}
