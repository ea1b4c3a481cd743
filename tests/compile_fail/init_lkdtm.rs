//! `init::lkdtm`: causing a fault takes a token, which only `unsafe` code creates.
#![no_std]
#![forbid(unsafe_code)]

use granule::init::lkdtm::{Lkdtm, faults};

pub fn fault() {
    let (name, _) = faults().next().unwrap();
    Lkdtm::new().do_action(name); //~ E0133
}
