//! vmalloc (being built).
pub mod slots;
pub mod tree;
pub mod va_space;
#[cfg(test)]
mod va_space_tests;
