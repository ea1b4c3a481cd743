//! Features of this CPU, from its ID registers (Arm ARM D24.2).

use super::errata;
use super::sysreg::{self, DCZID, DCZID_EL0, ID_AA64PFR0, ID_AA64PFR1, SCTLR};
pub(super) use crate::arch::cpufeature::requirement_name;
use crate::arch::cpufeature::{self, IdRegisters, UserIds};
use crate::arch::pgtable::IdMmfr;
use aarch64_cpu::registers::{
    ID_AA64DFR0_EL1, ID_AA64ISAR1_EL1, ID_AA64MMFR0_EL1, ID_AA64MMFR2_EL1, ID_AA64PFR0_EL1,
    ID_AA64PFR1_EL1, MIDR_EL1, Readable, SCTLR_EL1, Writeable,
};
use bitflags::bitflags;
use core::fmt;
use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};
use tock_registers::fields::Field;

bitflags! {
    /// Optional features that concern memory.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Features: u32 {
        /// FEAT_PAN: the kernel can't touch user memory by accident.
        const PAN = 1 << 0;
        /// FEAT_HAFDBS: the walker sets the access flag.
        const HAF = 1 << 1;
        /// FEAT_HAFDBS: the walker sets the dirty state too.
        const HDBS = 1 << 2;
        /// FEAT_VMID16: VMIDs of 16 bits.
        const VMID16 = 1 << 3;
        /// 16-bit ASIDs.
        const ASID16 = 1 << 4;
        /// FEAT_TTCNP: CPUs with the same tables may share TLB entries.
        const CNP = 1 << 5;
        /// FEAT_E0PD: EL0 can't probe the kernel's half by timing.
        const E0PD = 1 << 6;
        /// FEAT_BTI: branch targets are checked.
        const BTI = 1 << 7;
        /// FEAT_LSE: atomic instructions.
        const LSE = 1 << 8;
        /// FEAT_TLBIRANGE: TLB invalidation by range.
        const TLBIRANGE = 1 << 9;
        /// FEAT_PMUv3: a cycle counter.
        const PMU = 1 << 10;
        /// FEAT_BBM level 2: block sizes may be changed without break-before-make.
        const BBML2 = 1 << 11;
    }
}

static FEATURES: AtomicU32 = AtomicU32::new(0);
static ZVA_BLOCK: AtomicUsize = AtomicUsize::new(0);

/// The ID registers of the boot CPU: MMFR0 to MMFR2, ISAR0, DFR0, PFR0.
static BOOT_CPU: [AtomicU64; 6] = [const { AtomicU64::new(0) }; 6];

fn id_registers() -> IdRegisters {
    let (dfr0, pfr0) = (ID_AA64DFR0_EL1.get(), ID_AA64PFR0_EL1.get());
    IdRegisters { mm: errata::id_registers(), dfr0, pfr0 }
}

/// Checks that this CPU has what the kernel uses, by the features of the boot CPU. Called first
/// on each other CPU.
///
/// # Errors
/// What it lacks, a number for [`requirement_name`].
pub(super) fn check_cpu() -> Result<(), usize> {
    let [mmfr0, mmfr1, mmfr2, isar0, dfr0, pfr0] =
        BOOT_CPU.each_ref().map(|word| word.load(Relaxed));
    let boot = IdRegisters { mm: IdMmfr { mmfr0, mmfr1, mmfr2, isar0 }, dfr0, pfr0 };
    cpufeature::check(&boot, &id_registers())
}

/// Reads the ID registers.
fn detect() -> Features {
    let id = id_registers();
    let IdRegisters { mm: IdMmfr { mmfr0, mmfr1, mmfr2, isar0 }, dfr0, pfr0 } = id;
    for (word, value) in BOOT_CPU.iter().zip([mmfr0, mmfr1, mmfr2, isar0, dfr0, pfr0]) {
        word.store(value, Relaxed);
    }
    let mm = &id.mm;
    let mut bits = 0;
    let mut note = |there: bool, feature: Features| bits |= if there { feature.bits() } else { 0 };
    note(mm.has_pan(), Features::PAN);
    note(mm.has_access_flag_update(), Features::HAF);
    note(mm.has_dirty_state(), Features::HDBS);
    note(mm.vmid_bits() == 16, Features::VMID16);
    note(mm.asid_bits() == 16, Features::ASID16);
    note(mm.has_cnp(), Features::CNP);
    note(mm.has_e0pd(), Features::E0PD);
    note(mm.bbm_level() >= 2, Features::BBML2);
    note(ID_AA64PFR1::BT.is_set(ID_AA64PFR1_EL1.get()), Features::BTI);
    note(mm.has_lse(), Features::LSE);
    note(mm.has_tlb_range(), Features::TLBIRANGE);
    note(id.has_pmu(), Features::PMU);
    Features::from_bits_retain(bits)
}

/// Notes the features of the boot CPU, and switches them on.
pub(super) fn init() {
    let features = detect();
    FEATURES.store(features.bits(), Relaxed);
    super::mmu::set_tlb_range(features.contains(Features::TLBIRANGE));

    ZVA_BLOCK.store(own_zva_block(), Relaxed);
    init_cpu();
}

/// The bytes that DC ZVA clears on this CPU; 0 where it must not be used.
fn own_zva_block() -> usize {
    let dczid = DCZID_EL0.extract();
    if dczid.is_set(DCZID::DZP) { 0 } else { 4 << dczid.read(DCZID::BS) }
}

/// Switches on, on this CPU, what needs only a bit: PAN; and notes its errata, its cache lines
/// and what DC ZVA clears here.
pub(super) fn init_cpu() {
    errata::init_cpu();
    super::cache::init_cpu();
    // A larger block than this CPU's would be cleared in part; one smaller than another CPU's
    // is cleared twice. 0, for none, is the smallest.
    ZVA_BLOCK.fetch_min(own_zva_block(), Relaxed);
    if features().contains(Features::PAN) {
        // SPAN clear sets PSTATE.PAN on each exception to EL1; and it is set now.
        SCTLR_EL1.set(SCTLR::SPAN::CLEAR.modify(SCTLR_EL1.get()));
        sysreg::isb();
        sysreg::set_pan();
    }
}

/// Returns the features that were found at boot.
#[must_use]
pub fn features() -> Features {
    Features::from_bits_retain(FEATURES.load(Relaxed))
}

/// Each feature, what it is called, and what this kernel does with it.
const USES: [(Features, &str, &str); 12] = [
    (Features::PAN, "PAN", "on"),
    (Features::HAF, "HAF", "on: the walker sets the access flag"),
    (Features::HDBS, "HDBS", "on: the walker keeps the dirty state"),
    (Features::VMID16, "VMID16", "for stage 2"),
    (Features::ASID16, "ASID16", "on"),
    (Features::CNP, "CnP", "on: CPUs share TLB entries"),
    (Features::E0PD, "E0PD", "on"),
    (Features::BTI, "BTI", "unused: the compiler emits no landing pads"),
    (Features::LSE, "LSE", "unused: the image is built for Armv8.0"),
    (Features::TLBIRANGE, "TLBIRANGE", "on"),
    (Features::BBML2, "BBML2", "unused: block sizes change by break-before-make"),
    (Features::PMU, "PMUv3", "counts cycles"),
];

impl Features {
    /// Names of the features that are present.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let there = USES.iter().filter(move |(feature, ..)| self.contains(*feature));
        there.map(|&(_, name, _)| name)
    }
}

impl fmt::Display for Features {
    /// A line for each feature there is, and one that names those there are not.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (_, name, used) in USES.iter().filter(|(feature, ..)| self.contains(*feature)) {
            writeln!(f, "  {name:<10} {used}")?;
        }
        write!(f, "  missing:  ")?;
        for (_, name, _) in USES.iter().filter(|(feature, ..)| !self.contains(*feature)) {
            write!(f, " {name}")?;
        }
        writeln!(f)
    }
}

/// The ID registers of the calling CPU that programs may know.
#[must_use]
pub fn user_ids() -> UserIds {
    UserIds {
        isar0: errata::id_registers().isar0,
        isar1: ID_AA64ISAR1_EL1.get(),
        pfr0: ID_AA64PFR0_EL1.get(),
        mmfr2: ID_AA64MMFR2_EL1.get(),
        midr: MIDR_EL1.get(),
    }
}

/// Returns true if the CPU has the system registers of a GICv3 (ID_AA64PFR0_EL1.GIC).
#[must_use]
pub fn has_gic_system_registers() -> bool {
    ID_AA64PFR0::GIC.is_set(ID_AA64PFR0_EL1.get())
}

/// The bytes that DC ZVA clears on all CPUs, or 0 where it must not be used on one of them.
#[inline]
#[must_use]
pub fn zva_block() -> usize {
    ZVA_BLOCK.load(Relaxed)
}

/// The CPU's name and revision, from MIDR_EL1.
pub struct CpuName(u64);

/// Reads the calling CPU's name from MIDR_EL1.
#[must_use]
pub fn cpu_name() -> CpuName {
    CpuName(MIDR_EL1.get())
}

impl fmt::Display for CpuName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let field = |field: Field<u64, MIDR_EL1::Register>| field.read(self.0);
        let (implementer, part) = (field(MIDR_EL1::Implementer), field(MIDR_EL1::PartNum));
        let name = match (implementer, part) {
            (0x41, 0xd03) => "Cortex-A53",
            (0x41, 0xd04) => "Cortex-A35",
            (0x41, 0xd05) => "Cortex-A55",
            (0x41, 0xd07) => "Cortex-A57",
            (0x41, 0xd08) => "Cortex-A72",
            (0x41, 0xd0b) => "Cortex-A76",
            (0x41, 0xd0c) => "Neoverse-N1",
            (0x41, 0xd40) => "Neoverse-V1",
            (0x41, 0xd47) => "Cortex-A710",
            (0x41, 0xd49) => "Neoverse-N2",
            (0x00, 0x051) => "QEMU max",
            _ => "unknown CPU",
        };
        let (variant, revision) = (field(MIDR_EL1::Variant), field(MIDR_EL1::Revision));
        write!(f, "{name} r{variant}p{revision} (MIDR {:#010x})", self.0)
    }
}

/// The bits of a physical address that the CPU can emit (ID_AA64MMFR0_EL1.PARange).
#[must_use]
pub fn physical_address_bits() -> u32 {
    match ID_AA64MMFR0_EL1.read(ID_AA64MMFR0_EL1::PARange) {
        0 => 32,
        1 => 36,
        2 => 40,
        3 => 42,
        4 => 44,
        5 => 48,
        _ => 52,
    }
}
