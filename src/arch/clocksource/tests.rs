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
