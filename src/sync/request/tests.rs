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
