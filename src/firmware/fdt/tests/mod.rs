//! Device trees: those in `tests/data`, and small ones made on the spot.

mod build;
pub(crate) mod corpus;
mod facts;
mod hostile;
mod small;

pub(crate) use build::Builder;
pub(crate) use hostile::{mutate, mutations};
