use super::*;
use std::vec::Vec;

fn failures(attr: Attr, chances: u32) -> Vec<u32> {
    let fault = FaultAttr::new();
    assert!(!fault.is_on() && fault.set(Some(attr)) == 0 && fault.is_on());
    let failed: Vec<_> = (0..chances).filter(|_| fault.should_fail()).collect();
    assert_eq!(fault.set(None) as usize, failed.len());
    assert!(!fault.is_on() && fault.set(None) == 0);
    failed
}

#[test]
fn what_fails_is_what_was_asked_for() {
    let all = Attr { interval: 1, probability: 100, space: 0, times: u32::MAX };
    assert_eq!(failures(all, 4), [0, 1, 2, 3]);
    assert_eq!(failures(Attr { interval: 0, ..all }, 2), [0, 1]);
    assert!(failures(Attr { times: 0, ..all }, 9).is_empty());
    assert!(failures(Attr { probability: 0, ..all }, 99).is_empty());
    assert_eq!(failures(Attr { interval: 3, space: 2, times: 4, ..all }, 30), [4, 7, 10, 13]);
    assert_eq!(failures(Attr { space: 7, times: 1, ..all }, 30), [7]);
    let some = failures(Attr { probability: 30, ..all }, 1000);
    assert!((200..400).contains(&some.len()), "{} of 1000 failed", some.len());
    assert_eq!(some, failures(Attr { probability: 30, ..all }, 1000));
}

#[test]
fn counts_start_anew() {
    let fault = FaultAttr::new();
    let third = Attr { interval: 1, probability: 100, space: 2, times: 1 };
    for before in [0, 1, 1] {
        assert_eq!(fault.set(Some(third)), before);
        let failed: Vec<_> = (0..9).filter(|_| fault.should_fail()).collect();
        assert_eq!(failed, [2]);
    }
}

#[test]
fn the_command_line_says_which_fail() {
    let parsed = |text| Attr::parse(text).map(|f| (f.interval, f.probability, f.space, f.times));
    assert_eq!(parsed("3,100,0,5"), Some((3, 100, 0, 5)));
    assert_eq!(parsed("1,10,7,-1"), Some((1, 10, 7, u32::MAX)));
    for bad in ["", "0,100,0,1", "1,101,0,1", "1,1,1", "1,1,1,1,1", "1,1,-1,1", "x,1,1,1"] {
        assert_eq!(parsed(bad), None, "{bad:?}");
    }
}
