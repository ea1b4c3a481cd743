use super::*;
use std::vec::Vec;

const fn midr(model: Model, version: u8) -> Midr {
    Midr::new(
        (model.implementer as u64) << 24
            | (version as u64 >> 4) << 20
            | 0xf << 16
            | (model.part as u64) << 4
            | version as u64 & 0xf,
    )
}
fn names(midr: Midr) -> Vec<&'static str> {
    of(midr).map(|erratum| erratum.name).collect()
}

#[test]
fn registers_as_cpus_have_them() {
    // Cortex-A53 r0p4 (Raspberry Pi 3), A72 r0p3 (Raspberry Pi 4), A57 r1p0, A55 r2p0,
    // Neoverse N1 r4p1, QEMU's max.
    assert_eq!(names(Midr::new(0x410f_d034)), ["855873"]);
    assert_eq!(names(Midr::new(0x410f_d083)), [""; 0]);
    assert_eq!(names(Midr::new(0x411f_d070)), ["832075"]);
    assert_eq!(names(Midr::new(0x412f_d050)), ["1024718", "2441007"]);
    assert_eq!(names(Midr::new(0x414f_d0c1)), ["4118414"]);
    assert_eq!(names(Midr::new(0x000f_0510)), [""; 0]);
    // The reserved half says nothing.
    assert_eq!(names(Midr::new(0xffff_ffff_410f_d034)), ["855873"]);
}

#[test]
fn first_and_last_versions() {
    let cleans = ["826319", "827319", "824069", "819472", "855873"];
    assert_eq!(names(midr(CORTEX_A53, 0x00)), cleans);
    assert_eq!(names(midr(CORTEX_A53, 0x01)), cleans);
    assert_eq!(names(midr(CORTEX_A53, 0x02)), ["826319", "827319", "824069", "855873"]);
    assert_eq!(names(midr(CORTEX_A53, 0x03)), ["855873"]);
    assert_eq!(names(midr(CORTEX_A53, 0x05)), [""; 0]);
    assert_eq!(names(midr(CORTEX_A57, 0x12)), ["832075"]);
    assert_eq!(names(midr(CORTEX_A57, 0x13)), [""; 0]);
    assert_eq!(names(midr(CORTEX_A76, 0x30)), ["1286807", "4118414"]);
    assert_eq!(names(midr(CORTEX_A76, 0x31)), ["4118414"]);
    assert_eq!(names(midr(CORTEX_A510, 0x02)), ["2051678", "2441009"]);
    // r0p3 is above r0p2, r1p1 above both.
    assert_eq!(names(midr(CORTEX_A510, 0x03)), ["2441009"]);
    assert_eq!(names(midr(CORTEX_A510, 0x11)), ["2441009"]);
    assert_eq!(names(midr(CORTEX_A510, 0x12)), [""; 0]);
    for (version, has) in [(0xcd, false), (0xce, true), (0xdf, true), (0xff, false)] {
        assert_eq!(!names(midr(KRYO_4XX_GOLD, version)).is_empty(), has, "{version:#x}");
    }
    for (version, has) in [(0xdd, false), (0xde, true), (0xdf, false)] {
        assert_eq!(!names(midr(KRYO_4XX_SILVER, version)).is_empty(), has, "{version:#x}");
    }
}

#[test]
fn implementer_and_part_both_count() {
    assert_eq!(names(midr(FALKOR_V1, 0x00)), ["QCOM_FALKOR_1009"]);
    assert_eq!(names(midr(FALKOR_V1, 0x01)), [""; 0]);
    // The whole family of Kryo, and no other part of Qualcomm's or of anyone else's.
    for part in [0x200, 0x201, 0x211, 0x2ff] {
        assert_eq!(names(midr(qualcomm(part), 0x21)), ["QCOM_FALKOR_1009"]);
        assert_eq!(names(midr(arm(part), 0x21)), [""; 0]);
    }
    assert_eq!(names(midr(qualcomm(0x300), 0x21)), [""; 0]);
    // Cobalt 100 has the part number of a Neoverse N2.
    assert_eq!(names(midr(AZURE_COBALT_100, 0x00)), ["4118414"]);
    assert_eq!(names(midr(nvidia(0xd49), 0x00)), [""; 0]);
    assert_eq!(names(midr(OLYMPUS, 0x00)), ["NVIDIA_OLYMPUS_1027", "4118414"]);
}

#[test]
fn no_entry_is_there_twice_or_empty() {
    for (i, one) in ERRATA.iter().enumerate() {
        assert!(one.first <= one.last && !one.needs.is_empty(), "{}", one.name);
        assert_eq!(one.model.part & !one.part_mask, 0, "{}", one.name);
        let twice = |other: &&Erratum| other.name == one.name && other.model == one.model;
        assert!(!ERRATA[i + 1..].iter().any(|other| twice(&other)), "{}", one.name);
    }
    assert!(DOES.iter().fold(Workarounds::empty(), |all, (w, _)| all | *w).is_all());
}

#[test]
fn what_is_needed_adds_up() {
    let a55 = workarounds(midr(CORTEX_A55, 0x20));
    assert_eq!(a55, Workarounds::REPEAT_TLBI | Workarounds::NO_DIRTY_STATE);
    assert_eq!(std::format!("{a55}"), "TLB invalidations are repeated, HDBS is off");
    assert!(workarounds(Midr::new(0x410f_d083)).is_empty());
}

#[test]
fn features_that_are_broken_are_hidden_and_no_others() {
    let id = IdMmfr { mmfr0: 0x1124, mmfr1: 0x1021_1122, mmfr2: 0x1011, isar0: 0x2 };
    let none = sanitise(id, Workarounds::REPEAT_TLBI);
    assert_eq!((none.mmfr1, none.mmfr2), (id.mmfr1, id.mmfr2));
    let af = sanitise(id, Workarounds::NO_DIRTY_STATE);
    assert!(af.has_access_flag_update() && !af.has_dirty_state());
    assert_eq!((af.mmfr1, af.mmfr2), (0x1021_1121, id.mmfr2));
    let cnp = sanitise(id, Workarounds::NO_CNP);
    assert_eq!((cnp.mmfr1, cnp.mmfr2, cnp.has_cnp()), (id.mmfr1, 0x1010, false));
    // What isn't there doesn't come by it.
    let bare = sanitise(IdMmfr { mmfr1: 0, ..id }, Workarounds::all());
    assert!(!bare.has_access_flag_update());
}
