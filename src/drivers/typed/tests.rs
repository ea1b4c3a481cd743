use super::*;
use proptest::prelude::*;
use std::collections::VecDeque;
use std::vec::Vec;

fn rest(typed: &mut Typed) -> Vec<u8> {
    core::iter::from_fn(|| typed.pop()).collect()
}

#[test]
fn what_has_no_room_is_lost_and_counted() {
    let mut typed = Typed::new();
    for n in 0..ROOM + 3 {
        assert_eq!(typed.is_full(), n >= ROOM);
        typed.push(n as u8);
    }
    assert_eq!((typed.take_lost(), typed.take_lost()), (3, 0));
    assert_eq!(rest(&mut typed), (0..ROOM).map(|n| n as u8).collect::<Vec<_>>());
}

#[test]
fn ctrl_c_forgets_what_came_before() {
    let mut typed = Typed::new();
    assert!(!typed.interrupted());
    b"ab\x03cd\x03ef".iter().for_each(|&byte| typed.push(byte));
    assert_eq!(typed.pop(), Some(b'a'));
    assert!(typed.interrupted());
    assert!(!typed.interrupted());
    assert_eq!(rest(&mut typed), b"ef");
}

proptest! {
    /// Whatever is pushed and popped comes out in its order.
    #[test]
    fn is_a_queue(steps in prop::collection::vec(prop::option::of(any::<u8>()), 0..4000)) {
        let (mut typed, mut model) = (Typed::new(), VecDeque::new());
        for step in steps {
            match step {
                Some(byte) => {
                    if model.len() < ROOM {
                        model.push_back(byte);
                    }
                    typed.push(byte);
                }
                None => prop_assert_eq!(typed.pop(), model.pop_front()),
            }
            prop_assert_eq!(typed.is_empty(), model.is_empty());
        }
    }
}
