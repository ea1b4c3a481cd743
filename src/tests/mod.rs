//! Tests of all rooms together.
#![expect(unsafe_code, reason = "tests use the raw interfaces")]

mod faults;
