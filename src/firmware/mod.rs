//! Untrusted bytes in, plain values out.
//!
//! What the boot loader hands over: the flattened device tree ([`fdt`]) and the
//! kernel command line ([`cmdline`]). Everything here borrows from those bytes,
//! allocates nothing, recurses nowhere, and has an answer for any input: nothing
//! in this room panics, wraps or loops for ever, whatever it is given.

#![deny(unsafe_code)]

pub mod cmdline;
pub mod fdt;
