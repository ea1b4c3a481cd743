use super::*;

#[test]
fn blocks_name_flags_and_caches() {
    const F: SlabFlags = SlabFlags::CONSISTENCY_CHECKS;
    const Z: SlabFlags = SlabFlags::RED_ZONE;
    const P: SlabFlags = SlabFlags::POISON;
    const NONE: SlabFlags = SlabFlags::empty();
    let cases = [
        ("", "any", SlabFlags::DEBUG_DEFAULT),
        ("-", "any", NONE),
        ("FZ", "any", F | Z),
        ("fzpu", "any", SlabFlags::DEBUG_DEFAULT),
        (",kmalloc-64", "kmalloc-64", SlabFlags::DEBUG_DEFAULT),
        (",kmalloc-64", "kmalloc-6", NONE),
        ("P,kmalloc-*,other", "kmalloc-8k", P),
        ("P,kmalloc-*,other", "other", P),
        ("P,kmalloc-*,other", "others", NONE),
        ("F;Z,one;P,two", "one", Z),
        ("F;Z,one;P,two", "two", P),
        ("F;Z,one;P,two", "three", F),
        ("Z,one;F", "one", Z),
        ("Z,one;P,one", "one", Z),
        ("F;P", "any", P),
        ("F;", "any", F),
        (";F;;P,one;", "one", P),
        ("fz-p", "any", P),
        ("T", "any", SlabFlags::TRACE),
        ("A,one;Z", "one", SlabFlags::FAILSLAB),
        ("O", "any", NONE),
        ("FO,one", "one", F),
        ("F;-,quiet", "quiet", NONE),
    ];
    for (value, name, flags) in cases {
        let debug = SlabDebug::parse(value).expect("letters");
        assert_eq!(debug.select(name), flags, "{value:?} for {name}");
    }
    assert_eq!(SlabDebug::parse("FX"), Err('X'));
    assert_eq!(SlabDebug::parse("F;Q,one"), Err('Q'));
}
