//! Errata of CPUs that this kernel can meet, by MIDR_EL1 (Linux:
//! Documentation/arch/arm64/silicon-errata.rst, arch/arm64/kernel/cpu_errata.c, whose
//! names the entries have, and whose ranges of revisions).
//!
//! The table holds those that concern memory and that the kernel has to act on, with
//! what it does ([`Workarounds`]). The others of Linux's list don't matter here:
//!
//! - Speculative AT (1165522, 1319367, 1319537, 1530923): a walk while the registers of
//!   a guest and of a host are mixed. This kernel runs at EL1, leaves EL2 for good before
//!   its MMU is on, and changes TTBR1 by way of an empty table alone.
//! - Stage 2 (834220, Cavium 30115, ThunderX2 219, AC04_CPU_23), AArch32 (845719,
//!   1418040, 1742098), EL0 (2966298, 3117295, 1542419, Falkor 1003, Cavium 27456, A64FX
//!   010001), trace and SME: there are no guests, no processes, and no code is written.
//! - 843419 (Cortex-A53, ADRP at the end of a page): the linker keeps such sequences out
//!   of the image (`--fix-cortex-a53-843419` in .cargo/config.toml).
//! - 1508412 (Cortex-A77): PAR_EL1 is read for fault reports alone, between barriers, as
//!   the kernel's part asks; the rest is the firmware's.
//! - AC03_CPU_38 (AmpereOne): TCR_EL1.HA and HD are set only where the ID register has
//!   them, which is what it asks for.
//! - 2645198 (Cortex-A715): spoils no more than the report of a fetch that may not be.
//! - Interrupt controllers' and timers' (Cavium 22375, 23144, 23154, 858921).
#![deny(unsafe_code)]

use super::pgtable::IdMmfr;
use bitflags::bitflags;
use core::fmt;

#[cfg(test)]
mod tests;

bitflags! {
    /// Workarounds that the kernel applies for errata.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Workarounds: u32 {
        /// Cleans of the data cache invalidate too.
        const CLEAN_INVALIDATE = 1 << 0;
        /// A broadcast TLB invalidation is complete after a second one.
        const REPEAT_TLBI = 1 << 1;
        /// The walker is not let keep the dirty state (TCR_EL1.HD).
        const NO_DIRTY_STATE = 1 << 2;
        /// CPUs don't share TLB entries (TTBR1_EL1.CnP).
        const NO_CNP = 1 << 3;
        /// Registers of devices are read by LDAR.
        const DEVICE_LOAD_ACQUIRE = 1 << 4;
        /// Registers of devices are written by STLR.
        const DEVICE_STORE_RELEASE = 1 << 5;
    }
}

/// Description of each workaround.
const DOES: [(Workarounds, &str); 6] = [
    (Workarounds::CLEAN_INVALIDATE, "cache cleans invalidate too"),
    (Workarounds::REPEAT_TLBI, "TLB invalidations are repeated"),
    (Workarounds::NO_DIRTY_STATE, "HDBS is off"),
    (Workarounds::NO_CNP, "CnP is off"),
    (Workarounds::DEVICE_LOAD_ACQUIRE, "device reads are load-acquires"),
    (Workarounds::DEVICE_STORE_RELEASE, "device writes are store-releases"),
];

impl fmt::Display for Workarounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut between = "";
        for (_, what) in DOES.iter().filter(|(workaround, _)| self.contains(*workaround)) {
            write!(f, "{between}{what}")?;
            between = ", ";
        }
        Ok(())
    }
}

/// A CPU's identity, MIDR_EL1 (Arm ARM D24.2.100).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Midr(u32);

impl Midr {
    /// Takes the register's value; its upper half is reserved.
    #[must_use]
    pub const fn new(register: u64) -> Self {
        Self(register as u32)
    }
    /// Implementer and part: what Linux calls the model.
    const fn model(self) -> Model {
        Model { implementer: (self.0 >> 24) as u8, part: (self.0 >> 4) as u16 & 0xfff }
    }
    /// Variant and revision: 0x13 is r1p3.
    const fn version(self) -> u8 {
        (self.0 >> 16) as u8 & 0xf0 | self.0 as u8 & 0xf
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Model {
    implementer: u8,
    part: u16,
}

const fn arm(part: u16) -> Model {
    Model { implementer: 0x41, part }
}
const fn qualcomm(part: u16) -> Model {
    Model { implementer: 0x51, part }
}
const fn nvidia(part: u16) -> Model {
    Model { implementer: 0x4e, part }
}

const CORTEX_A53: Model = arm(0xd03);
const CORTEX_A55: Model = arm(0xd05);
const CORTEX_A57: Model = arm(0xd07);
const CORTEX_A76: Model = arm(0xd0b);
const NEOVERSE_N1: Model = arm(0xd0c);
const CORTEX_A77: Model = arm(0xd0d);
const CORTEX_A76AE: Model = arm(0xd0e);
const NEOVERSE_V1: Model = arm(0xd40);
const CORTEX_A78: Model = arm(0xd41);
const CORTEX_A78AE: Model = arm(0xd42);
const CORTEX_X1: Model = arm(0xd44);
const CORTEX_A510: Model = arm(0xd46);
const CORTEX_A710: Model = arm(0xd47);
const CORTEX_X2: Model = arm(0xd48);
const NEOVERSE_N2: Model = arm(0xd49);
const CORTEX_A78C: Model = arm(0xd4b);
const CORTEX_X1C: Model = arm(0xd4c);
const CORTEX_X3: Model = arm(0xd4e);
const NEOVERSE_V2: Model = arm(0xd4f);
const CORTEX_X4: Model = arm(0xd82);
const NEOVERSE_V3AE: Model = arm(0xd83);
const NEOVERSE_V3: Model = arm(0xd84);
const CORTEX_X925: Model = arm(0xd85);
const C1_ULTRA: Model = arm(0xd8c);
const C1_PREMIUM: Model = arm(0xd90);
const AZURE_COBALT_100: Model = Model { implementer: 0x6d, part: 0xd49 };
const CARMEL: Model = nvidia(0x004);
const OLYMPUS: Model = nvidia(0x010);
const FALKOR_V1: Model = qualcomm(0x800);
const KRYO_4XX_GOLD: Model = qualcomm(0x804);
const KRYO_4XX_SILVER: Model = qualcomm(0x805);
/// The first of a family that the upper digit of the part tells.
const KRYO: Model = qualcomm(0x200);

/// An erratum of a CPU. No pointer but the name: the table is read with the MMU off, too.
#[derive(Clone, Copy)]
pub struct Erratum {
    /// Name in Linux, or in the vendor's notice.
    pub name: &'static str,
    /// Workarounds that the kernel applies.
    pub needs: Workarounds,
    model: Model,
    part_mask: u16,
    first: u8,
    last: u8,
}

impl Erratum {
    const fn new(name: &'static str, needs: Workarounds, model: Model) -> Self {
        Self { name, needs, model, part_mask: 0xfff, first: 0, last: 0xff }
    }
    /// Restricts the erratum to these versions, inclusive: 0x13 is r1p3.
    const fn versions(mut self, first: u8, last: u8) -> Self {
        (self.first, self.last) = (first, last);
        self
    }
    /// Applies the erratum to all parts whose number begins with the same digit.
    const fn family(mut self) -> Self {
        self.part_mask = 0xf00;
        self
    }
    /// Returns whether a CPU has it.
    #[must_use]
    pub const fn concerns(&self, midr: Midr) -> bool {
        let (model, version) = (midr.model(), midr.version());
        model.implementer == self.model.implementer
            && model.part & self.part_mask == self.model.part
            && self.first <= version
            && version <= self.last
    }
}

/// Completion of a TLB invalidation is no completion of what used the translation.
const fn repeat(model: Model) -> Erratum {
    Erratum::new("4118414", Workarounds::REPEAT_TLBI, model)
}

/// All that the kernel acts on.
pub static ERRATA: [Erratum; 40] = {
    use Workarounds as W;
    [
        Erratum::new("826319", W::CLEAN_INVALIDATE, CORTEX_A53).versions(0x00, 0x02),
        Erratum::new("827319", W::CLEAN_INVALIDATE, CORTEX_A53).versions(0x00, 0x02),
        Erratum::new("824069", W::CLEAN_INVALIDATE, CORTEX_A53).versions(0x00, 0x02),
        Erratum::new("819472", W::CLEAN_INVALIDATE, CORTEX_A53).versions(0x00, 0x01),
        // Linux leaves it to firmware (Trusted Firmware-A: ERRATA_A53_855873), and there
        // is none of that kind on a Raspberry Pi 3.
        Erratum::new("855873", W::CLEAN_INVALIDATE, CORTEX_A53).versions(0x00, 0x04),
        Erratum::new("832075", W::DEVICE_LOAD_ACQUIRE, CORTEX_A57).versions(0x00, 0x12),
        Erratum::new("1024718", W::NO_DIRTY_STATE, CORTEX_A55),
        Erratum::new("1024718", W::NO_DIRTY_STATE, KRYO_4XX_SILVER).versions(0xde, 0xde),
        Erratum::new("2051678", W::NO_DIRTY_STATE, CORTEX_A510).versions(0x00, 0x02),
        Erratum::new("NVIDIA_CARMEL_CNP", W::NO_CNP, CARMEL),
        Erratum::new("NVIDIA_OLYMPUS_1027", W::DEVICE_STORE_RELEASE, OLYMPUS),
        Erratum::new("QCOM_FALKOR_1009", W::REPEAT_TLBI, FALKOR_V1).versions(0x00, 0x00),
        Erratum::new("QCOM_FALKOR_1009", W::REPEAT_TLBI, KRYO).family(),
        Erratum::new("1286807", W::REPEAT_TLBI, CORTEX_A76).versions(0x00, 0x30),
        Erratum::new("1286807", W::REPEAT_TLBI, KRYO_4XX_GOLD).versions(0xce, 0xfe),
        Erratum::new("2441007", W::REPEAT_TLBI, CORTEX_A55),
        Erratum::new("2441009", W::REPEAT_TLBI, CORTEX_A510).versions(0x00, 0x11),
        repeat(C1_PREMIUM),
        repeat(C1_ULTRA),
        repeat(CORTEX_A76),
        repeat(CORTEX_A76AE),
        repeat(CORTEX_A77),
        repeat(CORTEX_A78),
        repeat(CORTEX_A78AE),
        repeat(CORTEX_A78C),
        repeat(CORTEX_A710),
        repeat(CORTEX_X1),
        repeat(CORTEX_X1C),
        repeat(CORTEX_X2),
        repeat(CORTEX_X3),
        repeat(CORTEX_X4),
        repeat(CORTEX_X925),
        repeat(NEOVERSE_N1),
        repeat(NEOVERSE_N2),
        repeat(NEOVERSE_V1),
        repeat(NEOVERSE_V2),
        repeat(NEOVERSE_V3),
        repeat(NEOVERSE_V3AE),
        repeat(OLYMPUS),
        repeat(AZURE_COBALT_100),
    ]
};

/// The errata of a CPU.
pub fn of(midr: Midr) -> impl Iterator<Item = &'static Erratum> {
    ERRATA.iter().filter(move |erratum| erratum.concerns(midr))
}

/// Returns the workarounds that a CPU needs. Plain integers only: the early boot calls it too.
#[inline(always)]
#[must_use]
pub fn workarounds(midr: Midr) -> Workarounds {
    let mut needs = Workarounds::empty();
    for erratum in &ERRATA {
        if erratum.concerns(midr) {
            needs = needs.union(erratum.needs);
        }
    }
    needs
}

/// The ID registers without the features that a CPU can't be trusted with.
#[inline(always)]
#[must_use]
pub const fn sanitise(mut id: IdMmfr, needs: Workarounds) -> IdMmfr {
    if needs.contains(Workarounds::NO_DIRTY_STATE) && id.has_dirty_state() {
        // HAFDBS: the access flag alone.
        id.mmfr1 = id.mmfr1 & !0xf | 1;
    }
    if needs.contains(Workarounds::NO_CNP) {
        id.mmfr2 &= !0xf;
    }
    id
}
