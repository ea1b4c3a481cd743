//! Watermarks and what they keep back.

use super::*;

#[test]
fn watermarks_hold_and_reserves_open() {
    on_16m(|_| {
        let zone = || zones().next().unwrap();
        let [min, low, high] = zone().watermarks;
        assert!(0 < min && min < low && low < high);
        let quiet = |gfp| exhaust(gfp, order(4)).len();
        quiet(KERNEL);
        let after_kernel = zone().free();
        assert!(after_kernel >= min && after_kernel < min + 32, "{after_kernel} of {min}");
        assert_eq!(quiet(Gfp::GFP_NOWAIT), 0);
        assert!(quiet(Gfp::GFP_ATOMIC) > 0);
        let after_atomic = zone().free();
        // Both that it is urgent and that it can't wait lower the mark.
        assert!(after_atomic < min - min / 2 && after_atomic >= min * 3 / 8);
        assert_eq!(quiet(Gfp::GFP_ATOMIC | Gfp::__GFP_NOMEMALLOC), 0);
        exhaust(KERNEL | Gfp::__GFP_MEMALLOC, Order::ZERO);
        assert_eq!(zone().free(), 0);
        assert_eq!(alloc_pages(KERNEL | Gfp::__GFP_NOWARN, Order::ZERO), None);
    });
}

#[test]
fn marks_are_linux_s() {
    use crate::mm::mmzone::{min_free_kbytes, zone_batchsize};
    // Linux 6.12 prints these for machines of so many KiB of low memory.
    assert_eq!(min_free_kbytes(16 * 1024), 512);
    assert_eq!(min_free_kbytes(512 * 1024), 2896);
    assert_eq!(min_free_kbytes(1), 128);
    assert_eq!(min_free_kbytes(1 << 40), 262_144);
    // 16 MiB, 512 MiB and 4 GiB of pages.
    assert_eq!(zone_batchsize(4096), 0);
    assert_eq!(zone_batchsize(131_072), 31);
    assert_eq!(zone_batchsize(1 << 20), 63);
    on(&[ram(0x4000_0000, 16 * MIB)], |_| {
        let zone = ZoneId::all().map(ZoneId::zone).find(|z| z.is_populated()).unwrap();
        // Of 4096 pages 33 are descriptors and tables, which are not managed.
        assert_eq!(min_free_kbytes(4063 * 4), 509);
        assert_eq!(zone.watermark(Wmark::Min), 127);
        assert_eq!(zone.watermark(Wmark::Low), 127 + 31);
        assert_eq!(zone.watermark(Wmark::High), 127 + 62);
    });
}
