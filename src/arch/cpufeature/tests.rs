use super::*;

/// ID registers of a Cortex-A76: PAN, HDBS, 16-bit ASIDs, 40 bits of addresses, PMUv3.
fn a76() -> IdRegisters {
    let mm =
        IdMmfr { mmfr0: 0x10_1122, mmfr1: 2 << 20 | 1 << 4 | 2, mmfr2: 0, isar0: 0x2000_0000_0000 };
    IdRegisters { mm, dfr0: 0x10305408 | 4 << 8, pfr0: 0x11_0011 }
}

fn lacking(boot: IdRegisters, core: IdRegisters) -> Option<&'static str> {
    check(&boot, &core).err().map(requirement_name)
}

#[test]
fn a_core_like_the_boot_cpu_or_above_passes() {
    let mut above = a76();
    above.mm.mmfr0 += 1;
    above.mm.mmfr1 |= 3 << 20;
    above.mm.mmfr2 |= 1 | 1 << 60;
    above.mm.isar0 |= 2 << 56;
    assert_eq!(lacking(a76(), a76()), None);
    assert_eq!(lacking(a76(), above), None);
    // And the other way round, what the boot CPU has and the core lacks is named.
    assert_eq!(lacking(above, a76()), Some("the boot CPU's TLBI by range"));
}

#[test]
fn each_requirement_is_asked_for() {
    let lacks = |change: fn(&mut IdRegisters)| {
        let (mut boot, mut core) = (a76(), a76());
        boot.mm.mmfr2 = 1 | 1 << 60;
        boot.mm.isar0 |= 2 << 56;
        (core.mm.mmfr2, core.mm.isar0) = (boot.mm.mmfr2, boot.mm.isar0);
        assert_eq!(lacking(boot, core), None);
        change(&mut core);
        lacking(boot, core).unwrap_or("nothing")
    };
    assert_eq!(lacks(|id| id.mm.mmfr1 &= !(0xf << 20)), "the boot CPU's PAN");
    assert_eq!(lacks(|id| id.mm.isar0 &= !(0xf << 56)), "the boot CPU's TLBI by range");
    assert_eq!(lacks(|id| id.mm.mmfr1 &= !0xf), "the boot CPU's access flag by hardware");
    assert_eq!(lacks(|id| id.mm.mmfr0 &= !0xf0), "the boot CPU's ASIDs of 16 bits");
    assert_eq!(lacks(|id| id.mm.mmfr2 &= !0xf), "the boot CPU's common TLB entries");
    assert_eq!(lacks(|id| id.mm.mmfr2 &= !(0xf << 60)), "the boot CPU's E0PD");
    assert_eq!(lacks(|id| id.dfr0 &= !0xf00), "the boot CPU's cycle counter");
    assert_eq!(lacks(|id| id.dfr0 |= 0xf00), "the boot CPU's cycle counter");
    let fpsimd = "the boot CPU's floating point and SIMD";
    assert_eq!(lacks(|id| id.pfr0 |= 0xf << 16), fpsimd);
    assert_eq!(lacks(|id| id.pfr0 |= 0xf << 20), fpsimd);
    assert_eq!(lacks(|id| id.mm.mmfr0 -= 1), "the boot CPU's physical addresses");
    assert_eq!(lacks(|id| id.mm.mmfr0 |= 0xf << 28), "the 4 KiB granule");
    // Of PAN2 no more is used than of PAN.
    assert_eq!(lacks(|id| id.mm.mmfr1 -= 1 << 20), "nothing");
    // The dirty state is not used, and a core whose erratum takes it away goes on.
    assert_eq!(lacks(|id| id.mm.mmfr1 -= 1), "nothing");
}
