use super::*;
use proptest::prelude::*;
use std::vec::Vec;

#[test]
fn all_and_none() {
    assert_eq!(aligned_runs(0).count(), 0);
    assert!(aligned_runs(!0).eq([(0, 6)]));
    assert!(aligned_runs(1 << 63).eq([(63, 0)]));
    assert!(aligned_runs(0b1111_0110).eq([(1, 0), (2, 0), (4, 2)]));
}

proptest! {
    #[test]
    fn runs_are_whole_aligned_and_as_few_as_can_be(
        bits in any::<u64>(),
        more in any::<u64>(),
        pick in 0u8..3,
    ) {
        let bits = [bits, bits | more, bits & more][usize::from(pick)];
        let mut seen = 0u64;
        let runs: Vec<_> = aligned_runs(bits).collect();
        for &(at, k) in &runs {
            prop_assert_eq!(at % (1 << k), 0);
            let run = (u128::from(u64::MAX) >> (64 - (1 << k)) << at) as u64;
            prop_assert_eq!(seen & run, 0);
            seen |= run;
        }
        prop_assert_eq!(seen, bits);
        for (i, a) in runs.iter().enumerate() {
            // No two could have been one.
            let buddy = (a.0 ^ 1 << a.1, a.1);
            prop_assert!(!runs[i + 1..].contains(&buddy), "{:?} in {:#b}", a, bits);
        }
    }
}
