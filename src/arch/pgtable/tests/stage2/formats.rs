//! Attributes, first tables and VTCR_EL2, as words.

use super::*;
use crate::arch::pgtable::TableLimits;

#[test]
fn words() {
    let word = |memory, prot| {
        let attrs = Stage2Attrs::new(memory, prot).unwrap();
        let leaf = Leaf::<Guest> { pa: M, attrs, contiguous: false, valid: true };
        leaf.descriptor(Level::Pte).bits()
    };
    let (rw, xn, af) = (Stage2Prot::READ | Stage2Prot::WRITE, 1 << 54, 1 << 10);
    let ram = M.get() | af | 0b11 << 8 | 0b1111 << 2 | 0b11;
    assert_eq!(word(Stage2Memory::Normal, Stage2Prot::all()), ram | 0b11 << 6);
    assert_eq!(word(Stage2Memory::Normal, Stage2Prot::READ), ram | 0b01 << 6 | xn);
    assert_eq!(word(Stage2Memory::Normal, Stage2Prot::WRITE), ram | 0b10 << 6 | xn);
    let other = M.get() | af | 0b10 << 8 | 0b11 << 6 | xn | 0b11;
    assert_eq!(word(Stage2Memory::Device, rw), other | 0b0001 << 2);
    assert_eq!(word(Stage2Memory::NormalNc, rw), other | 0b0101 << 2);
    assert_eq!(Stage2Attrs::new(Stage2Memory::Device, Stage2Prot::all()), None);
}

#[test]
fn attributes_change_one_thing_at_a_time() {
    for memory in [Stage2Memory::Normal, Stage2Memory::NormalNc, Stage2Memory::Device] {
        for prot in (0..8).map(Stage2Prot::from_bits_truncate) {
            let Some(attrs) = Stage2Attrs::new(memory, prot) else {
                assert!(memory == Stage2Memory::Device && prot.contains(Stage2Prot::EXEC));
                continue;
            };
            assert_eq!((attrs.memory(), attrs.prot()), (memory, prot));
            assert!(attrs.is_young() && !attrs.old().is_young());
            assert_eq!(attrs.old().young(), attrs);
            assert_eq!(attrs.write_protected().prot(), prot - Stage2Prot::WRITE);
            let read = attrs.old().with_prot(Stage2Prot::READ).unwrap();
            assert_eq!((read.memory(), read.is_young()), (memory, false));
            let leaf = Leaf::<Guest> { pa: M, attrs, contiguous: false, valid: true };
            let word = leaf.descriptor(Level::Pte);
            assert_eq!(Guest::defect(word, TableLimits::NONE), None);
            assert_eq!(Guest::show(Guest::hide(word)), Some(word));
            assert_eq!(Guest::show(word), None);
        }
    }
    let reserved = Descriptor::from_bits(0b0100 << 2 | 1 << 54);
    assert!(Guest::defect(reserved, TableLimits::NONE).is_some());
    assert!(
        Guest::defect(Descriptor::from_bits(0b0001 << 2), TableLimits::NONE).is_some(),
        "code in Device memory"
    );
}

/// First tables by size: their level, their number, and T0SZ, SL0 and PS of VTCR_EL2.
#[test]
fn geometry() {
    let id = IdMmfr { mmfr0: 5, ..ID };
    for (bits, level, tables, sl0) in [
        (32, Level::Pmd, 4, 0),
        (34, Level::Pmd, 16, 0),
        (35, Level::Pud, 1, 1),
        (39, Level::Pud, 1, 1),
        (40, Level::Pud, 2, 1),
        (43, Level::Pud, 16, 1),
        (44, Level::Pgd, 1, 2),
        (48, Level::Pgd, 1, 2),
    ] {
        let geometry = Geometry::new(&id, bits).unwrap();
        assert_eq!((geometry.start_level(), geometry.root_tables()), (level, tables), "{bits}");
        let vtcr = 0x8005_3500 | (64 - u64::from(bits)) | sl0 << 6;
        assert_eq!(geometry.vtcr(&id), vtcr, "{bits} bits");
    }
    for bits in [0, 31, 49, 64] {
        assert_eq!(Geometry::new(&id, bits), None, "{bits} bits");
    }
    // No more than the CPU's physical addresses have.
    assert_eq!(Geometry::new(&IdMmfr { mmfr0: 2, ..ID }, 41), None);
    // VMIDs of 16 bits, the access flag by hardware, 52-bit addresses held at 48.
    let all = IdMmfr { mmfr0: 6, mmfr1: 2 | 2 << 4, ..ID };
    let vtcr = 0x8005_3500 | 24 | 1 << 6 | 1 << 19 | 1 << 21;
    assert_eq!(Geometry::new(&all, 40).unwrap().vtcr(&all), vtcr);
}

#[test]
fn vmids() {
    assert_eq!(Vmid::new(0, 16), None, "the host's");
    assert_eq!(Vmid::new(255, 8).map(Vmid::get), Some(255));
    assert_eq!(Vmid::new(256, 8), None);
    assert_eq!(Vmid::new(u16::MAX, 16).map(Vmid::get), Some(u16::MAX));
}

#[test]
fn first_tables_are_in_a_row_and_aligned() {
    let geometry = Geometry::new(&ID, 40).unwrap();
    // SAFETY: never used as tables.
    let table = |n: u64| unsafe { TableAddr::<Guest>::new(RAM + n * PAGE_SIZE as u64) };
    let root = |tables: &[u64]| {
        let tables: Vec<_> = tables.iter().map(|&n| table(n)).collect();
        Stage2Root::new(&tables, geometry).map(Stage2Root::phys)
    };
    assert_eq!(root(&[2, 3]), Some(table(2).phys()));
    for bad in [&[][..], &[2], &[2, 3, 4], &[3, 4], &[2, 4], &[3, 2]] {
        assert_eq!(root(bad), None, "{bad:?}");
    }
}
