use super::*;
use std::format;

#[test]
fn names_are_the_prefix_and_the_number() {
    static NAMES: Names<11, 256> = Names::new("swapper/");
    for n in 0..256 {
        assert_eq!(NAMES.get(n), Some(format!("swapper/{n}").as_str()));
    }
    assert_eq!(NAMES.get(256), None);
}

#[test]
#[should_panic(expected = "too long")]
fn a_name_has_to_fit() {
    let _ = Names::<4, 11>::new("cpu");
}
