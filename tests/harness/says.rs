//! Checks of a text's content.

/// Asserts that a text has all of `words`, in this order.
#[track_caller]
pub fn assert_says(text: &str, words: &[&str]) {
    let mut rest = text;
    for word in words {
        let Some(at) = rest.find(word) else {
            panic!("no {word:?} where it should be in:\n{text}")
        };
        rest = &rest[at + word.len()..];
    }
}
