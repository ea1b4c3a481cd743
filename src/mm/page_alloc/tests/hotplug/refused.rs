//! What can be no section is refused.

use super::*;

#[test]
fn what_is_no_section_is_refused() {
    on_384m(|_| {
        let part = |from: u32, to: u32| PfnRange::new(Pfn::new(from), Pfn::new(to));
        for range in [
            part(0x4_8000, 0x4_8000),
            part(0x4_8000, 0x4_8400),
            part(0x4_8400, 0x5_0000),
            part(0x4_0000, 0x5_0400),
            part(0x1_0000, 0x1_8000),
            part(0x5_0000, 0x6_0000),
            part(0xffff_0000, 0xffff_ffff),
        ] {
            assert_eq!(offline_pages(range), Err(HotplugError::Invalid), "{range:?}");
            assert_eq!(online_pages(range), Err(HotplugError::Invalid), "{range:?}");
        }
        let online = Err(HotplugError::State(section(1).start()));
        assert_eq!(online_pages(section(1)), online);
        offline_pages(section(1)).unwrap();
        assert_eq!(offline_pages(section(1)), online);
        let all = PfnRange::new(section(0).start(), section(2).end());
        assert_eq!(offline_pages(all), online);
        assert_eq!(online_pages(all), Err(HotplugError::State(section(0).start())));
        let words = HotplugError::State(section(1).start()).to_string();
        assert_eq!(words, "section [0x48000000..0x50000000) is offline");
        assert_eq!(section_state(Section::of(Pfn::new(0x1_0000))), None);
    });
}

#[test]
fn holes_and_the_borders_of_zones_are_refused() {
    let ranges = [
        PhysRange::from_size(PhysAddr::new(RAM), 200 * MIB),
        PhysRange::from_size(PhysAddr::new(RAM + 201 * MIB), 183 * MIB),
    ];
    Machine::run(&ranges, |_| {
        let free = ranges.iter().map(|range| range.whole_pages());
        let present = free.clone().map(|range| (NodeId::FIRST, range));
        let movable = [Pfn::new(0x4_0000 + (320 << 8)); MAX_NUMNODES];
        let limits = ZoneLimits { movable, ..ZoneLimits::default() };
        // SAFETY: the machine is fresh.
        unsafe { free_area_init(limits, present, free, Populate::Mapped) }.unwrap();
        assert_eq!(offline_pages(section(1)), Err(HotplugError::Invalid), "it has a hole");
        assert_eq!(offline_pages(section(2)), Err(HotplugError::Invalid), "it is of two zones");
        validate().unwrap();
        assert_eq!(sections().count(), 3);
    });
}
