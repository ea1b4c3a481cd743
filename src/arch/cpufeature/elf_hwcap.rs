//! Features of the CPU as programs see them: AT_HWCAP, AT_HWCAP2, and the ID registers that MRS at
//! EL0 has by emulation (Linux: arm64_elf_hwcaps and emulate_mrs of
//! arch/arm64/kernel/cpufeature.c, Documentation/arch/arm64/cpu-feature-registers.rst).
//!
//! A feature is there if programs can use it without the kernel's help. Those that need it, and
//! don't have it yet, are left out: SVE, SME, pointer authentication, BTI, MTE; the event stream; and
//! CPUID, so that libraries ask no ID register for what these words say.

/// The ID registers that programs may know.
#[derive(Clone, Copy, Default, Debug)]
pub struct UserIds {
    /// ID_AA64ISAR0_EL1
    pub isar0: u64,
    /// ID_AA64ISAR1_EL1
    pub isar1: u64,
    /// ID_AA64PFR0_EL1
    pub pfr0: u64,
    /// ID_AA64MMFR2_EL1
    pub mmfr2: u64,
    /// MIDR_EL1
    pub midr: u64,
}

/// One of the registers.
#[derive(Clone, Copy)]
enum Id {
    Isar0,
    Isar1,
    Pfr0,
    Mmfr2,
}

/// Feature: where its field is, the least value of the field, and its bit.
struct Hwcap(Id, u32, u64, u32);

use Id::{Isar0, Isar1, Mmfr2, Pfr0};

/// AT_HWCAP (Linux: arch/arm64/include/uapi/asm/hwcap.h).
const HWCAPS: [Hwcap; 25] = [
    Hwcap(Pfr0, 16, 0, 0),   // FP
    Hwcap(Pfr0, 20, 0, 1),   // ASIMD
    Hwcap(Isar0, 4, 1, 3),   // AES
    Hwcap(Isar0, 4, 2, 4),   // PMULL
    Hwcap(Isar0, 8, 1, 5),   // SHA1
    Hwcap(Isar0, 12, 1, 6),  // SHA2
    Hwcap(Isar0, 16, 1, 7),  // CRC32
    Hwcap(Isar0, 20, 2, 8),  // ATOMICS
    Hwcap(Pfr0, 16, 1, 9),   // FPHP
    Hwcap(Pfr0, 20, 1, 10),  // ASIMDHP
    Hwcap(Isar0, 28, 1, 12), // ASIMDRDM
    Hwcap(Isar1, 12, 1, 13), // JSCVT
    Hwcap(Isar1, 16, 1, 14), // FCMA
    Hwcap(Isar1, 20, 1, 15), // LRCPC
    Hwcap(Isar1, 0, 1, 16),  // DCPOP
    Hwcap(Isar0, 32, 1, 17), // SHA3
    Hwcap(Isar0, 36, 1, 18), // SM3
    Hwcap(Isar0, 40, 1, 19), // SM4
    Hwcap(Isar0, 44, 1, 20), // ASIMDDP
    Hwcap(Isar0, 12, 2, 21), // SHA512
    Hwcap(Isar0, 48, 1, 23), // ASIMDFHM
    Hwcap(Pfr0, 48, 1, 24),  // DIT
    Hwcap(Mmfr2, 32, 1, 25), // USCAT
    Hwcap(Isar1, 20, 2, 26), // ILRCPC
    Hwcap(Isar0, 52, 1, 27), // FLAGM
];
/// SB has a bit of AT_HWCAP, too, but a field that starts at a value of its own.
const HWCAP_SB: Hwcap = Hwcap(Isar1, 36, 1, 29);

/// AT_HWCAP2.
const HWCAPS2: [Hwcap; 7] = [
    Hwcap(Isar1, 0, 2, 0),   // DCPODP
    Hwcap(Isar0, 52, 2, 7),  // FLAGM2
    Hwcap(Isar1, 32, 1, 8),  // FRINT
    Hwcap(Isar1, 52, 1, 13), // I8MM
    Hwcap(Isar1, 44, 1, 14), // BF16
    Hwcap(Isar1, 48, 1, 15), // DGH
    Hwcap(Isar0, 60, 1, 16), // RNG
];

/// Encoding of a system register: op0, op1, CRn, CRm and op2.
pub type Encoding = (u8, u8, u8, u8, u8);

impl UserIds {
    fn has(&self, &Hwcap(id, field, least, _): &Hwcap) -> bool {
        let register = match id {
            Isar0 => self.isar0,
            Isar1 => self.isar1,
            Pfr0 => self.pfr0,
            Mmfr2 => self.mmfr2,
        };
        let value = register >> field & 0xf;
        // FP and AdvSIMD are signed: -1 says that they are not there.
        let is_signed = matches!(id, Pfr0) && (field == 16 || field == 20);
        !(is_signed && value == 0xf) && value >= least
    }

    /// The words of AT_HWCAP and AT_HWCAP2.
    #[must_use]
    pub fn hwcap(&self) -> (u64, u64) {
        let bits = |caps: &[Hwcap]| {
            caps.iter().filter(|cap| self.has(cap)).fold(0, |bits, cap| bits | 1 << cap.3)
        };
        (bits(&HWCAPS) | bits(&[HWCAP_SB]), bits(&HWCAPS2))
    }

    /// Fields of `id` that the tables name, with what the register has there.
    fn visible(&self, id: Id, register: u64) -> u64 {
        let all = HWCAPS.iter().chain(&HWCAPS2).chain([&HWCAP_SB]);
        let of_id = all.filter(|cap| cap.0 as u8 == id as u8);
        register & of_id.fold(0, |mask, cap| mask | 0xf << cap.1)
    }

    /// Returns what a program reads from an ID register; `None` for registers that aren't emulated.
    /// Fields that programs have nothing to do with have safe values.
    #[must_use]
    pub fn emulated_read(&self, encoding: Encoding) -> Option<u64> {
        let (3, 0, 0, crm, op2) = encoding else { return None };
        match (crm, op2) {
            (0, 0) => Some(self.midr),
            // MPIDR_EL1: the bit that is always set. REVIDR_EL1.
            (0, 5) => Some(1 << 31),
            (0, 6) => Some(0),
            // EL0 and EL1 have AArch64 alone.
            (4, 0) => Some(self.visible(Pfr0, self.pfr0) | 0x11),
            // ID_AA64DFR0_EL1: Armv8 debug.
            (5, 0) => Some(6),
            (6, 0) => Some(self.visible(Isar0, self.isar0)),
            (6, 1) => Some(self.visible(Isar1, self.isar1)),
            // ID_AA64MMFR0_EL1: no granule is promised.
            (7, 0) => Some(0xff00_0000),
            (7, 2) => Some(self.visible(Mmfr2, self.mmfr2)),
            (2..=7, _) => Some(0),
            _ => None,
        }
    }
}

/// Takes an MRS instruction apart: the register that is read, and the number of the one that gets
/// the value, 31 for none. `None` for other instructions.
#[must_use]
pub fn decode_mrs(instruction: u32) -> Option<(Encoding, u8)> {
    // op0 is 2 or 3.
    if instruction & 0xfff0_0000 != 0xd530_0000 {
        return None;
    }
    let field = |shift: u32, mask: u32| (instruction >> shift & mask) as u8;
    let op0 = 2 + field(19, 1);
    let encoding = (op0, field(16, 7), field(12, 0xf), field(8, 0xf), field(5, 7));
    Some((encoding, field(0, 0x1f)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The registers of a Cortex-A72.
    const A72: UserIds =
        UserIds { isar0: 0x1_1120, isar1: 0, pfr0: 0x2222, mmfr2: 0, midr: 0x410f_d083 };

    #[test]
    fn hwcap_of_a_cortex_a72() {
        // fp asimd aes pmull sha1 sha2 crc32
        assert_eq!(A72.hwcap(), (0xfb, 0));
    }

    #[test]
    fn hwcap_of_all_fields() {
        let most = UserIds { isar0: !0, isar1: !0, pfr0: 1 << 16 | 1 << 20 | 1 << 48, ..A72 };
        let most = UserIds { mmfr2: !0, ..most };
        let (hwcap, hwcap2) = most.hwcap();
        // All but EVTSTRM, CPUID, SVE, SSBS, PACA and PACG.
        assert_eq!(hwcap, 0x2fbf_f7fb);
        assert_eq!(hwcap2, 1 | 1 << 7 | 1 << 8 | 7 << 13 | 1 << 16);
        // Negative fields.
        assert_eq!(UserIds { pfr0: !0, ..UserIds::default() }.hwcap(), (1 << 24, 0));
    }

    #[test]
    fn emulated_registers() {
        let ids = UserIds { isar1: !0, pfr0: 0x1_2222_2222, ..A72 };
        let read = |crm, op2| ids.emulated_read((3, 0, 0, crm, op2));
        assert_eq!(read(0, 0), Some(0x410f_d083));
        assert_eq!((read(0, 5), read(0, 6), read(0, 1)), (Some(1 << 31), Some(0), None));
        assert_eq!(read(4, 0), Some(0x22_0011));
        assert_eq!((read(5, 0), read(7, 0)), (Some(6), Some(0xff00_0000)));
        assert_eq!(read(6, 0), Some(0x1_1120));
        // Without pointer authentication, which has fields 4, 8, 24 and 28.
        assert_eq!(read(6, 1), Some(0x00ff_f0ff_00ff_f00f & !(0xf << 40)));
        // AArch32's, reserved ones, and others.
        assert_eq!(
            (read(2, 0), read(1, 0), read(4, 7), read(8, 0)),
            (Some(0), None, Some(0), None)
        );
        for encoding in [(3, 3, 0, 4, 0), (3, 0, 1, 4, 0), (2, 0, 0, 4, 0)] {
            assert_eq!(ids.emulated_read(encoding), None);
        }
    }

    #[test]
    fn instructions() {
        // mrs x3, id_aa64isar0_el1; mrs xzr, midr_el1; msr tpidr_el0, x0; udf #0
        assert_eq!(decode_mrs(0xd538_0603), Some(((3, 0, 0, 6, 0), 3)));
        assert_eq!(decode_mrs(0xd538_001f), Some(((3, 0, 0, 0, 0), 31)));
        assert_eq!(decode_mrs(0xd51b_d040), None);
        assert_eq!(decode_mrs(0), None);
    }
}
