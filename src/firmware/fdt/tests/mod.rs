//! Device trees: those in `tests/data`, and small ones made on the spot. That every fact
//! of the good ones is read is tested with the program that prints them (examples/dtmap).

mod build;
pub(crate) mod corpus;
mod hostile;
mod interrupts;
mod mutate;
mod small;
mod third_reader;
pub(crate) mod work;

pub(crate) use build::Builder;
pub(crate) use hostile::read;
pub(crate) use mutate::{mutate, mutations, numbers};
