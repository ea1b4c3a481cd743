use super::*;
use std::vec::Vec;

fn lines(start: usize, end: usize, size: usize) -> Vec<(usize, bool)> {
    Lines::of(start, end, size).map(|line| (line.at, line.whole)).collect()
}

#[test]
fn lines_hold_each_byte_and_no_others() {
    for size in [16, 64, 128] {
        for start in 0x1000..0x1000 + 2 * size {
            for end in start + 1..start + 3 * size {
                let found = lines(start, end, size);
                let first = start / size * size;
                let wanted: Vec<_> = (first..end)
                    .step_by(size)
                    .map(|at| (at, start <= at && at + size <= end))
                    .collect();
                assert_eq!(found, wanted, "{start:#x}..{end:#x} by {size}");
            }
        }
    }
}

#[test]
fn a_byte_has_a_line_and_nothing_has_none() {
    assert_eq!(lines(0x1040, 0x1041, 64), [(0x1040, false)]);
    assert_eq!(lines(0x103f, 0x1041, 64), [(0x1000, false), (0x1040, false)]);
    assert_eq!(lines(0x1000, 0x1040, 64), [(0x1000, true)]);
    assert_eq!(lines(0x1001, 0x1001, 64), []);
    assert_eq!(lines(0x1040, 0x1000, 64), []);
    assert_eq!(lines(0, 0, 64), []);
}

#[test]
fn the_ends_of_the_address_space_have_lines() {
    let top = usize::MAX;
    assert_eq!(lines(top - 64, top, 64), [(top - 127, false), (top - 63, false)]);
    assert_eq!(lines(0, 1, 64), [(0, false)]);
    assert_eq!(Lines::of(0, top, 1 << 63).count(), 2);
}
