use super::*;

#[test]
fn the_command_line_says_which_fail() {
    let parsed =
        |text| FailPageAlloc::parse(text).map(|f| (f.interval, f.times, f.skip, f.min_order.get()));
    assert_eq!(parsed("3"), Some((3, u32::MAX, 0, 0)));
    assert_eq!(parsed("10,2"), Some((10, 2, 0, 0)));
    assert_eq!(parsed("1,5,100,9"), Some((1, 5, 100, 9)));
    for bad in ["", "0", "x", "1,", "1,2,3,11", "1,2,3,4,5", "-1", "1 2"] {
        assert_eq!(parsed(bad), None, "{bad:?}");
    }
}
