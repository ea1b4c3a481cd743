use super::*;

/// A request made while `f` runs is not answered by that run: `f` has to run once more.
#[test]
fn what_is_asked_meanwhile_is_not_answered_yet() {
    let request = Request::new();
    let first = request.ask();
    let mut second = None;
    request.run_if_requested(|| second = Some(request.ask()));
    let second = second.expect("`f` ran");
    assert!(request.is_answered(first) && !request.is_answered(second));
    let mut again = false;
    request.run_if_requested(|| again = true);
    assert!(again && request.is_answered(second));
    request.run_if_requested(|| panic!("nothing is asked"));
}

/// The latest request is answered no sooner than those before it.
#[test]
fn the_last_ticket_stands_for_all_before() {
    let request = Request::new();
    let first = request.ask();
    assert_eq!(request.last(), first);
    let mut later = None;
    request.run_if_requested(|| later = Some(request.ask()));
    assert!(request.is_answered(first) && !request.is_answered(request.last()));
    assert_eq!(Some(request.last()), later);
    request.run_if_requested(|| ());
    assert!(request.is_answered(request.last()));
}
