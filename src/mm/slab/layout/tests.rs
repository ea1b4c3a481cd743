use super::*;

/// Returns true if two ranges of a slot have a byte in common.
fn overlap(a: (u32, u32), b: (u32, u32)) -> bool {
    a.0.max(b.0) < a.1.min(b.1)
}

#[test]
fn the_link_lies_clear_of_all_that_must_survive() {
    for size in 1..600 {
        let of_layout = SlabFlags::DEBUG_DEFAULT
            | SlabFlags::HWCACHE_ALIGN
            | SlabFlags::KMALLOC
            | SlabFlags::TYPESAFE_BY_RCU;
        let all = (0..=SlabFlags::all().bits()).filter_map(SlabFlags::from_bits);
        for flags in all.filter(|&flags| of_layout.contains(flags)) {
            for (align, has_ctor) in [(1, false), (8, true), (64, false), (64, true)] {
                let l = CacheLayout::new(size, align, flags, has_ctor).expect("a layout");
                let what = std::format!("{size} bytes, align {align}, {flags:?}: {l:?}");
                let link = (l.offset, l.offset + WORD as u32);
                let track = (l.track, l.track + 2 * Track::BYTES as u32);
                assert!(link.1 <= l.meta_end, "{what}");
                assert!(l.offset.is_multiple_of(WORD as u32), "{what}");
                assert!(l.red_left + l.meta_end <= l.size, "{what}");
                if flags.contains(SlabFlags::STORE_USER) {
                    assert!(!overlap(link, track) && track.0 >= l.red_end, "{what}");
                    assert!(track.1 <= l.meta_end && track.0.is_multiple_of(8), "{what}");
                }
                assert!(!overlap(link, (l.object_size, l.red_end)), "{what}");
                if l.orig_size != 0 {
                    let kept = (l.orig_size, l.orig_size + WORD as u32);
                    let tracks = flags.contains(SlabFlags::STORE_USER);
                    assert!(!overlap(link, kept), "{what}");
                    assert!(!tracks || !overlap(track, kept), "{what}");
                    assert!(kept.0 >= l.red_end && kept.1 <= l.meta_end, "{what}");
                    // The red zone may begin at any byte of the object.
                    let red = flags.contains(SlabFlags::RED_ZONE);
                    assert!(!red || !overlap(link, (0, l.red_end)), "{what}");
                }
                let survives = SlabFlags::POISON | SlabFlags::TYPESAFE_BY_RCU;
                if has_ctor || flags.intersects(survives) {
                    assert!(!overlap(link, (0, l.object_size)), "{what}");
                }
                if flags.contains(SlabFlags::RED_ZONE) {
                    assert!(l.red_end > l.object_size && l.red_left >= 8, "{what}");
                    assert!(l.red_left.is_multiple_of(l.align), "{what}");
                }
                assert!(l.red_end <= l.size && l.size.is_multiple_of(l.align), "{what}");
            }
        }
    }
}
