use super::*;

const BARE: IdMmfr = IdMmfr { mmfr0: 0, mmfr1: 0, mmfr2: 0, isar0: 0 };

#[test]
fn the_least_cpu() {
    // 32-bit PA, 8-bit ASIDs, nothing optional.
    assert_eq!(tcr_el1(&BARE, false), 0xb510_3510);
    assert_eq!(tcr_el1(&BARE, true), 0xb510_3590);
    assert_eq!((BARE.pa_bits(), BARE.asid_bits(), BARE.vmid_bits()), (32, 8, 8));
    assert!(BARE.has_4k_granule() && !BARE.has_tlb_range() && !BARE.has_pan());
}

#[test]
fn cortex_a72() {
    // ID_AA64MMFR0_EL1 of the A72: 44-bit PA, 16-bit ASIDs.
    let id = IdMmfr { mmfr0: 0x1124, isar0: 0x1_1120, ..BARE };
    assert_eq!(tcr_el1(&id, false), 0x14_b510_3510);
    assert_eq!((id.pa_bits(), id.asid_bits()), (44, 16));
    assert!(!id.has_access_flag_update() && !id.has_e0pd() && !id.has_lse());
}

#[test]
fn everything_optional() {
    let id = IdMmfr {
        mmfr0: 0x26, // 52-bit PA, held at 48; 16-bit ASIDs.
        mmfr1: 2 | 2 << 4 | 1 << 20,
        mmfr2: 1 | 2 << 52 | 1 << 60,
        isar0: 2 << 56 | 2 << 20,
    };
    assert_eq!(tcr_el1(&id, true), 1 << 56 | 1 << 40 | 1 << 39 | 1 << 36 | 5 << 32 | 0xb510_3590);
    assert_eq!((id.pa_bits(), id.vmid_bits(), id.bbm_level()), (48, 16, 2));
    assert!(id.has_pan() && id.has_cnp() && id.has_tlb_range() && id.has_lse());
}

#[test]
fn the_access_flag_alone() {
    let id = IdMmfr { mmfr1: 1, ..BARE };
    assert_eq!(tcr_el1(&id, false) >> 39 & 3, 0b01);
}

#[test]
fn no_4k_granule() {
    assert!(!IdMmfr { mmfr0: 0xf << 28, ..BARE }.has_4k_granule());
    // With 52-bit addresses.
    assert!(IdMmfr { mmfr0: 0x1 << 28, ..BARE }.has_4k_granule());
}
