use super::*;

#[test]
fn the_register_holds_the_manuals_encodings() {
    // Attr5..Attr0: GRE, nGnRnE, nGnRE, WT, NC, WB.
    assert_eq!(MAIR_EL1, 0x0000_0c00_04bb_44ff);
    for memory in MemoryType::ALL {
        let attr = (MAIR_EL1 >> (8 * memory.index())) as u8;
        assert_eq!(attr, memory.attr());
        assert_eq!(MemoryType::from_index(memory.index()), memory);
        // Device memory has a zero upper nibble and zeros in bits 1:0; Normal
        // memory has neither nibble zero.
        if memory.is_device() {
            assert_eq!(attr & 0b1111_0011, 0);
        } else {
            assert!(attr >> 4 != 0 && attr & 0xf != 0);
        }
    }
}

#[test]
fn what_the_register_leaves_out_reads_as_ngnrne() {
    for index in [6, 7] {
        assert_eq!((MAIR_EL1 >> (8 * index)) as u8, 0);
        assert_eq!(MemoryType::from_index(index), MemoryType::DeviceNgnrne);
    }
}
