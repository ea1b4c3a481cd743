use super::*;
use crate::addr::PAGE_SIZE;

#[test]
fn operands() {
    let va = VirtAddr::new(0xffff_8000_1234_5678);
    // VA[55:12]: the ASID and level fields above stay clear.
    assert_eq!(va_operand(va), 0x0ff8_0001_2345);
    assert_eq!(decode_va(va_operand(va)), VirtAddr::new(0xffff_8000_1234_5000));
    // The linear map: bit 47 is clear, and the address is of the upper half all the same.
    let linear = VirtAddr::new(0xffff_0000_4040_0000);
    assert_eq!(decode_va(va_operand(linear)), linear);
    let op = RangeOp::largest(linear, 16).unwrap();
    assert_eq!(decode_range(op.operand()), (linear, 16));
    // 16 pages: SCALE 0, NUM 7.
    let op = RangeOp::largest(VirtAddr::new(0xffff_8000_1234_5000), 16).unwrap();
    assert_eq!(op.operand(), 1 << 46 | 7 << 39 | 0x18_0001_2345);
    // 64 pages: SCALE 1, NUM 0.
    let op = RangeOp::largest(VirtAddr::new(0xffff_0000_0000_0000), 64).unwrap();
    assert_eq!(op.operand(), 1 << 46 | 1 << 44 | 0x10_0000_0000);
}

#[test]
fn operands_further_up() {
    let va = VirtAddr::new(0xffff_8000_1234_5678);
    for bytes in [0, PAGE_SIZE, 3 << 21, 0x7fff_edcb_a000] {
        assert_eq!(VaOp::from(va).further(bytes), VaOp::from(va + bytes), "{bytes:#x}");
    }
}

#[test]
fn ranges_cover_no_more_than_asked_and_add_up() {
    for pages in (0..5000).chain([MAX_RANGE_PAGES - 1, MAX_RANGE_PAGES]) {
        let (mut left, mut ops) = (pages, 0);
        let mut at = VirtAddr::new(0xffff_8000_0000_0000);
        while let Some(op) = RangeOp::largest(at, left) {
            assert_eq!(decode_range(op.operand()), (at, op.pages()));
            assert!(op.pages() <= left);
            left -= op.pages();
            at = at + (op.pages() << PAGE_SHIFT);
            ops += 1;
        }
        assert!(left <= 1 && ops <= 4, "{pages}: {left} left after {ops}");
    }
    let op = RangeOp::largest(VirtAddr::new(0), usize::MAX).unwrap();
    assert_eq!(op.pages(), MAX_RANGE_PAGES);
}
