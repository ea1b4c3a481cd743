//! Tests of the settings of watermarks and reserves, against Linux's arithmetic.

use super::*;
use crate::mm::mmzone::{Wmark, ZoneType, lowmem_reserve_ratio, watermark_scale_factor};

fn marks() -> [u32; 4] {
    let zone = ZoneId::all().map(ZoneId::zone).find(|z| z.is_populated()).unwrap();
    [Wmark::Min, Wmark::Low, Wmark::High, Wmark::Promo].map(|mark| zone.watermark(mark))
}

#[test]
fn the_scale_factor_keeps_the_marks_apart() {
    on(&[ram(0x4000_0000, 16 * MIB)], |_| {
        // Of 4096 pages 4063 are managed. 509 KiB of them are kept free: 127 pages, and a
        // quarter of that between the marks, which is more than the thousandth of the zone.
        assert_eq!(watermark_scale_factor(), 10);
        assert_eq!(marks(), [127, 158, 189, 220]);
        // A tenth of the managed pages is more than a quarter of that.
        set_watermark_scale_factor(1000);
        assert_eq!(marks(), [127, 127 + 406, 127 + 812, 127 + 1218]);
        set_watermark_scale_factor(4000);
        assert_eq!(watermark_scale_factor(), 3000);
        assert_eq!(marks()[1], 127 + 1218);
        set_watermark_scale_factor(0);
        assert_eq!(watermark_scale_factor(), 1);
        assert_eq!(marks(), [127, 158, 189, 220]);
    });
}

#[test]
fn the_reserve_ratio_keeps_narrow_zones_for_those_who_need_them() {
    let ranges = [ram(0x4000_0000, 64 * MIB)];
    Machine::run(&ranges, |_| {
        let all = ranges[0].whole_pages();
        let limits = ZoneLimits {
            dma: Pfn::new(0x4_0800),
            dma32: Pfn::new(0x4_1000),
            movable: [Pfn::new(0x4_3000); crate::mm::mmzone::MAX_NUMNODES],
        };
        sections::start(limits, &[(0, all)], &[all]).unwrap();
        let managed = |kind| ZoneId::new(NodeId::FIRST, kind).zone().managed();
        let reserve = |kind| {
            let zone = ZoneId::new(NodeId::FIRST, kind).zone();
            ZoneType::ALL.map(|highest| zone.lowmem_reserve(highest))
        };
        let [_, dma32, normal, movable] = ZoneType::ALL.map(managed);
        assert_eq!(lowmem_reserve_ratio(), [256, 256, 32, 0]);
        assert_eq!(
            reserve(ZoneType::Dma),
            [0, dma32 / 256, (dma32 + normal) / 256, (dma32 + normal + movable) / 256]
        );
        assert_eq!(reserve(ZoneType::Normal), [0, 0, 0, movable / 32]);
        set_lowmem_reserve_ratio([8, 0, 1, 0]);
        assert_eq!(
            reserve(ZoneType::Dma),
            [0, dma32 / 8, (dma32 + normal) / 8, (dma32 + normal + movable) / 8]
        );
        assert_eq!(reserve(ZoneType::Dma32), [0; 4]);
        assert_eq!(reserve(ZoneType::Normal), [0, 0, 0, movable]);
        // And it is kept.
        exhaust(KERNEL, Order::ZERO);
        let dma = ZoneId::new(NodeId::FIRST, ZoneType::Dma).zone();
        let kept = (dma32 + normal) / 8;
        assert!(dma.free() > kept && dma.free() < kept + 200, "{} are left", dma.free());
    });
}
