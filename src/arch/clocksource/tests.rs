use super::*;
use proptest::prelude::*;

#[test]
fn a_read_that_was_torn_is_not_taken() {
    for upper in [0u64, 1, 2, 0x7fff_ffff] {
        let before = upper << 32 | 0xffff_ffff;
        let after = before + 1;
        let torn = after | 0xffff_ffff;
        // One of the two reads may be torn, whichever.
        assert_eq!(settled(before, torn), before);
        assert_eq!(settled(torn, after), after);
        assert_eq!(settled(before, after), before);
    }
    assert_eq!(settled(5, 9), 9);
}

#[test]
fn no_product_of_ticks_overflows() {
    let four_days = 4 * 24 * 3600 * 62_500_000;
    assert_eq!(nanoseconds(four_days, mult(62_500_000)), four_days * 16);
    assert_eq!(nanoseconds(u64::MAX, mult(1_000_000_000)), u64::MAX);
    assert_eq!(nanoseconds(12345, mult(0)), 0);
    // 54 MHz is no divisor: a day is told to the microsecond.
    let day = nanoseconds(24 * 3600 * 54_000_000, mult(54_000_000));
    assert!((86_399_999_999_000..=86_400_000_000_000).contains(&day), "{day}");
}

proptest! {
    #[test]
    fn nanoseconds_are_those_of_the_frequency(ticks in 0u64..1 << 50, hz in 1u64..1 << 32) {
        let exact = u128::from(ticks) * u128::from(NSEC_PER_SEC) / u128::from(hz);
        prop_assume!(exact < 1 << 64);
        let told = u128::from(nanoseconds(ticks, mult(hz)));
        prop_assert!(told <= exact && exact - told <= u128::from(ticks >> 32) + 1);
    }
}

proptest::proptest! {
    /// Not one tick too early or too late, at any frequency.
    #[test]
    fn ticks_are_the_fewest_in_which_the_time_has_passed(
        ns in 0..1u64 << 62,
        hz in proptest::prop_oneof![1..1000u64, 1_000_000..2_000_000_000u64],
    ) {
        let mult = mult(hz);
        let ticks = ticks(ns, mult);
        proptest::prop_assert!(nanoseconds(ticks, mult) >= ns);
        proptest::prop_assert!(ticks == 0 || nanoseconds(ticks - 1, mult) < ns);
    }
}

#[test]
fn without_a_frequency_no_time_comes() {
    assert_eq!(ticks(1, mult(0)), u64::MAX);
    assert_eq!(ticks(0, mult(1)), 0);
    assert_eq!(ticks(u64::MAX, 1), u64::MAX);
}
