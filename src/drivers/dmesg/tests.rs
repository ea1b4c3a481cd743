use super::*;
use proptest::prelude::*;
use std::vec::Vec;

fn all<const N: usize>(ring: &Ring<N>, end: usize, step: usize) -> Vec<u8> {
    let (mut at, mut text) = (ring.first(end), Vec::new());
    loop {
        let mut some = [0; 16];
        let (count, next) = ring.read(at, end, &mut some[..step]);
        if count == 0 {
            return text;
        }
        text.extend_from_slice(&some[..count]);
        at = next;
    }
}

#[test]
fn a_line_that_is_cut_is_left_out() {
    let ring = Ring::<16>::new();
    let mut end = ring.write(0, b"one\ntwo\n");
    assert_eq!(all(&ring, end, 3), b"one\ntwo\n");
    end = ring.write(end, b"three\nfour\n");
    assert_eq!(all(&ring, end, 3), b"two\nthree\nfour\n");
    // Who reads while it is overwritten goes on with what is there.
    assert_eq!(ring.read(0, end, &mut [0; 2]), (2, 6));
}

proptest! {
    /// A reader gets the end of the log, as much as there is room for, from the start of a
    /// line.
    #[test]
    fn keeps_the_end(lines in prop::collection::vec("[a-z]{0,40}\n", 0..40), step in 1usize..16) {
        let ring = Ring::<64>::new();
        let (mut end, mut written) = (0, Vec::new());
        for line in &lines {
            end = ring.write(end, line.as_bytes());
            written.extend_from_slice(line.as_bytes());
        }
        let read = all(&ring, end, step);
        prop_assert!(written.ends_with(&read));
        if written.len() < 64 {
            prop_assert_eq!(read, written);
        } else {
            // A line more would not have had room, but for its own start.
            let before = &written[..written.len() - read.len()];
            let line = before[..before.len() - 1].iter().rposition(|&b| b == b'\n').map_or(0, |n| n + 1);
            prop_assert!(before.ends_with(b"\n") && written.len() - line >= 64);
        }
    }
}
