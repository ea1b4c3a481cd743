//! Iteration that takes the values.
#![deny(unsafe_code)]

use super::Vec;
use crate::mm::alloc::Allocator;

/// The values of a [`Vec`], one after the other.
pub struct IntoIter<T, A: Allocator> {
    /// Remaining values, in reverse.
    rest: Vec<T, A>,
}

impl<T, A: Allocator> Iterator for IntoIter<T, A> {
    type Item = T;
    fn next(&mut self) -> Option<T> {
        self.rest.pop()
    }
    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.rest.len(), Some(self.rest.len()))
    }
}

impl<T, A: Allocator> IntoIterator for Vec<T, A> {
    type Item = T;
    type IntoIter = IntoIter<T, A>;
    fn into_iter(mut self) -> IntoIter<T, A> {
        self.reverse();
        IntoIter { rest: self }
    }
}
