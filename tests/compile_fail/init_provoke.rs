//! `init::provoke`: faults are provoked by who answers to the user of the machine.
#![no_std]
#![forbid(unsafe_code)]

use granule::init::provoke::{Provoker, faults};

pub fn provoke() {
    let (name, _) = faults().next().unwrap();
    Provoker::new().provoke(name); //~ E0133
}
